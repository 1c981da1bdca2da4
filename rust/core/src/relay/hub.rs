//! The hub's own answers: every refusal becomes an OCPI envelope that says what became of the message.
use std::any::Any;

use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Walk;
use super::error::{Audience, Kind, Refusal};
use super::message::Reply;
use super::parse::Address;
use super::peer::{self, Origin, Peer};
use super::ports::{Clock as _, Ports};
use super::record::{Delivery, Outcome};
use crate::json;
use crate::notary::Container;
use crate::ocpi::Version;

/// What is known of who asks, for the head and the form of a hub-made answer.
#[derive(Default)]
pub(super) struct Requester {
    request_id: Option<Bytes>,
    correlation_id: Option<Bytes>,
    pub(super) address: Option<Address>,
    pub(super) version: Option<Version>,
    pub(super) authenticated: bool,
    /// Set when the requester signed: the form in which it reads signatures.
    pub(super) container: Option<Container>,
    /// Set when another node brought the message.
    pub(super) peer: Option<Peer>,
}

impl Requester {
    pub(super) fn remember_ids(
        &mut self,
        request_id: Option<Bytes>,
        correlation_id: Option<Bytes>,
    ) {
        self.request_id = request_id;
        self.correlation_id = correlation_id;
    }

    pub(super) fn adopt_correlation_id(&mut self, id: Option<Bytes>) {
        self.correlation_id = id;
    }

    fn audience(&self) -> Audience {
        match self.peer {
            None => Audience::Party(self.version),
            Some(_) => Audience::Node,
        }
    }

    pub(super) fn request_id(&self) -> Option<String> {
        self.request_id
            .as_ref()
            .map(|id| String::from_utf8_lossy(id).into_owned())
    }

    pub(super) fn correlation_id(&self) -> Option<String> {
        self.correlation_id
            .as_ref()
            .map(|id| String::from_utf8_lossy(id).into_owned())
    }

    /// The headers that every answer to this requester carries.
    pub(super) fn headers(&self) -> Vec<(&'static str, Bytes)> {
        let mut headers = Vec::with_capacity(14);
        headers.push(("content-type", Bytes::from_static(b"application/json")));
        headers.push(("x-content-type-options", Bytes::from_static(b"nosniff")));
        headers.extend(self.request_id.clone().map(|id| ("x-request-id", id)));
        headers.extend(
            self.correlation_id
                .clone()
                .map(|id| ("x-correlation-id", id)),
        );
        if let Some(to) = &self.address {
            headers.push(("ocpi-to-country-code", to.country_code.clone()));
            headers.push(("ocpi-to-party-id", to.party_id.clone()));
        }
        headers
    }
}

/// The container of a signature text, without opening it: gzip's first bytes in Base64.
pub(super) fn sniff(signature: &[u8]) -> Container {
    if signature.starts_with(b"H4sI") {
        Container::Gzip
    } else {
        Container::Brotli
    }
}

/// Turns what the journey came to into an answer. A panic is refused like any other failure.
pub(super) fn conclude<P: Ports>(
    walk: &mut Walk<'_, P>,
    walked: Result<Result<Reply, Refusal>, Box<dyn Any + Send>>,
) -> Reply {
    let refusal = match walked {
        Ok(Ok(mut reply)) => {
            peer::sign_reply(walk, &mut reply, Origin::Receiver);
            walk.record.outcome = Some(Outcome::Answered);
            walk.record.delivery = Some(Delivery::Yes);
            return reply;
        }
        Ok(Err(refusal)) => refusal,
        Err(_panic) => {
            walk.node.metrics.panicked();
            let kind = if walk.departure.departed() {
                Kind::InternalAfterSending
            } else {
                Kind::Internal
            };
            Refusal::new(kind, "internal error")
        }
    };
    let gone = refusal.kind == Kind::Gone;
    walk.record.outcome = Some(if gone {
        Outcome::Closed
    } else {
        Outcome::Refused(refusal.kind)
    });
    walk.record.delivery = Some(refusal.kind.delivery());
    refuse(walk, refusal)
}

/// The answer where the relay itself fell over: nothing is known of the message any more.
pub fn broken(unix_millis: i64) -> Reply {
    let kind = Kind::InternalAfterSending;
    let audience = Audience::Party(None);
    let text = format!(
        "internal error{}",
        kind.verdict_suffix().unwrap_or_default()
    );
    let headers = vec![
        ("content-type", Bytes::from_static(b"application/json")),
        (
            "ocn-delivery",
            Bytes::from_static(kind.delivery().as_str().as_bytes()),
        ),
    ];
    let status = kind.status(audience);
    let body = Bytes::from(envelope_body(status.0, &text, unix_millis));
    Reply {
        status: kind.http(audience),
        headers,
        body,
        stale: None,
    }
}

fn refuse<P: Ports>(walk: &mut Walk<'_, P>, refusal: Refusal) -> Reply {
    let Refusal { kind, text, stale } = refusal;
    let audience = walk.requester.audience();
    let status = kind.status(audience);
    let text = format!("{text}{}", kind.verdict_suffix().unwrap_or_default());
    let body = envelope_body(status.0, &text, walk.ports.clock().unix_millis());
    let signs = walk.requester.authenticated && kind != Kind::Unauthorized;
    let body = match walk.requester.container.filter(|_| signs) {
        Some(container) => walk.node.sign_answer(body, container),
        None => body,
    };
    walk.record.failed_in = walk.record.stage;
    walk.record.ocpi_status = Some(status.0);
    walk.record.error = Some(text);
    let mut headers = walk.requester.headers();
    let party = walk.node.party;
    let own = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    headers.push(("ocpi-from-country-code", own(party.country_code())));
    headers.push(("ocpi-from-party-id", own(party.party_id())));
    headers.push((
        "ocn-delivery",
        Bytes::from_static(kind.delivery().as_str().as_bytes()),
    ));
    if let Some(seconds) = kind.retry_after(audience) {
        headers.push(("retry-after", Bytes::from(seconds.to_string())));
    }
    if kind == Kind::SessionLost {
        headers.push((peer::SESSION_HEADER, Bytes::from_static(peer::SESSION_LOST)));
    }
    let mut reply = Reply {
        status: kind.http(audience),
        headers,
        body: Bytes::from(body),
        stale,
    };
    peer::sign_reply(walk, &mut reply, Origin::Node);
    reply
}

/// An OCPI envelope without data.
fn envelope_body(status: u16, text: &str, unix_millis: i64) -> Vec<u8> {
    let quoted = json::quote(text);
    let timestamp = timestamp(unix_millis);
    format!(r#"{{"status_code":{status},"status_message":{quoted},"timestamp":"{timestamp}"}}"#)
        .into_bytes()
}

/// RFC 3339 in UTC with milliseconds as they are.
fn timestamp(unix_millis: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_millis) * 1_000_000)
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}
