//! `seal`: only what must change changes; the head that goes out is built anew.
//!
//! `response_url` is exchanged for a URL of ours and spliced in place; the old value is stashed and
//! the message re-signed in the incoming field order (`ocn-notary.md` 8). Across nodes the sender's node does
//! that, with a URL of the receiver's node, which only writes it down. Links of ours are opened here, after
//! the message was permitted and verified (`safety.md` I18, I26).
use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::Walk;
use super::authenticate::{Held, Sender};
use super::callback::{
    ResponseUrl, URL_CHARS, callback_link, callback_url, location_link, named_link, response_url,
};
use super::dialect;
use super::error::{Kind, Refusal};
use super::home::Home;
use super::link::{Binding, is_id};
use super::parse::{Door, Envelope, Method};
use super::peer::{self, Leg};
use super::permit::Permit;
use super::ports::{Clock as _, Journal as _, Link, Outgoing, Ports};
use super::record::Stage;
use super::reserve;
use super::route::Target;
use super::verify::{SignedRequest, Verified, container};
use crate::notary::{Container, Notary, NumberForm};
use crate::ocpi::{InterfaceRole, Module, Version};
use crate::table::{InFlight, Platform, TokenEncoding, origin_of};

/// A message ready to go.
pub(super) struct Sealed {
    pub(super) outgoing: Outgoing,
    /// What the receiver could call back.
    pub(super) reservation: Option<Link>,
    pub(super) sent: Sent,
}

/// What `open` needs to know of the message that was sent.
pub(super) struct Sent {
    /// The URL called: relative links of the answer are resolved against it.
    pub(super) url: String,
    pub(super) method: Method,
    pub(super) module: Module,
    pub(super) role: InterfaceRole,
    /// The version in which the requester spoke.
    pub(super) version: Option<Version>,
    /// What the answer of another node is bound to.
    pub(super) leg: Option<Leg>,
    pub(super) signed: bool,
    pub(super) container: Container,
    /// Id of the link reserved for the `Location` of a CDR.
    pub(super) location: Option<String>,
    _held: Held,
    _place: InFlight,
}

/// Builds the outgoing request.
pub(super) async fn seal<P: Ports>(
    walk: &mut Walk<'_, P>,
    verified: Verified,
    sender: &Sender,
    target: &Target,
    permit: Permit,
) -> Result<Sealed, Refusal> {
    walk.enter(Stage::Seal);
    let began = walk.ports.clock().monotonic();
    dialect::settle_on(walk, &target.home).await?;
    let Verified {
        message,
        notary,
        sign_for_party,
    } = verified;
    let mut envelope = message.envelope;
    if envelope.correlation_id.is_none() {
        // Only unsigned messages come here without one: a signature covers it.
        envelope.correlation_id = Some(Bytes::from(uuid(walk.ports.random())));
        walk.requester
            .adopt_correlation_id(envelope.correlation_id.clone());
    }
    let mut signing = Signing::new(notary, sign_for_party);
    let (url, body, reservation) = match (
        &permit.endpoint,
        response_url(walk, &envelope, &message.body)?,
    ) {
        (None, _) => {
            let url = follow(walk, &envelope, sender, target).await?;
            let query = url.split_once('?').map_or("", |(_, query)| query);
            if query.as_bytes() != &envelope.query[..] {
                if sender.home.operator().is_some() && signing.is_signed() {
                    // This node cannot sign for the party of another: its node does, or the party itself.
                    return Err(Refusal::new(
                        Kind::Signature,
                        "the message's parameters are not those of the link",
                    ));
                }
                // The receiver sees other parameters than the requester signed, and a chain cannot add
                // leaves: the operator signs what is sent.
                envelope.query = Bytes::copy_from_slice(query.as_bytes());
                signing.renew();
            }
            (url, message.body, None)
        }
        (Some(endpoint), Some(place)) if sender.home.operator().is_some() => {
            let link = named_link(walk, &envelope, &message.body, &place, sender, target)?;
            (
                join(endpoint, &envelope.suffix, &envelope.query),
                message.body,
                Some(link),
            )
        }
        (Some(endpoint), Some(place)) => {
            let link = callback_link(walk, &envelope, &message.body, &place, sender, target)?;
            let ours = callback_url(walk, &link, &envelope, target);
            if ours.len() > URL_CHARS {
                return Err(Refusal::new(
                    Kind::BadParameter,
                    "the hub cannot make a response_url short enough",
                ));
            }
            walk.record.rewritten = Some("response_url");
            let (envelope_after, body) = place.exchange(&envelope, &message.body, &ours);
            signing.exchange(
                walk,
                &place,
                (&envelope, &message.body),
                (&envelope_after, &body),
                &ours,
            )?;
            envelope = envelope_after;
            (
                join(endpoint, &envelope.suffix, &envelope.query),
                body,
                Some(link),
            )
        }
        (Some(endpoint), None) => {
            let reservation = location_link(walk, &envelope, sender, target);
            (
                join(endpoint, &envelope.suffix, &envelope.query),
                message.body,
                reservation,
            )
        }
    };
    let (signature, container) = signing.finish(walk, &envelope, &body)?;
    let signed = signature.is_some();
    let location = reservation
        .as_ref()
        .filter(|link| link.module == Module::Cdrs)
        .map(|link| link.id.clone());
    let deadline = deadline(walk, &envelope, target, began)?;
    let has_body = !body.is_empty();
    let (headers, leg) = match &target.home {
        Home::Platform(platform) => {
            let mut headers = vec![("authorization", authorization(platform))];
            headers.extend(head(walk, &mut envelope, sender, signature, has_body));
            headers.append(&mut envelope.extra);
            (headers, None)
        }
        Home::Node(operator) => {
            let headers = head(walk, &mut envelope, sender, signature, has_body);
            let head = peer::complete(walk, headers, &envelope, operator, &url, &body, deadline)?;
            (head.headers, Some(head.leg))
        }
    };
    let sent = Sent {
        url: url.clone(),
        method: envelope.method,
        module: envelope.module.clone(),
        role: envelope.role,
        version: envelope.version,
        signed,
        container,
        location,
        leg,
        _held: message.held,
        _place: permit.place,
    };
    let outgoing = Outgoing {
        method: Bytes::from_static(envelope.method.as_str().as_bytes()),
        url,
        headers,
        body,
        owner: target.home.owner(),
        deadline,
        response_bytes: walk.node.settings.limits.response_bytes,
    };
    Ok(Sealed {
        outgoing,
        reservation,
        sent,
    })
}

/// How long the receiver may take. A node's deadline ends before that of the node that asks it.
fn deadline<P: Ports>(
    walk: &Walk<'_, P>,
    envelope: &Envelope,
    target: &Target,
    began: Duration,
) -> Result<Duration, Refusal> {
    let relay = &walk.node.settings.relay;
    let left = match (&target.home, &envelope.door) {
        (Home::Node(_), _) => {
            // Finding out what it speaks may have taken a part of it.
            let spent = walk.ports.clock().monotonic().saturating_sub(began);
            Duration::from_millis(relay.node_deadline_ms).saturating_sub(spent)
        }
        (Home::Platform(_), Door::Node(proof)) => Duration::from_millis(relay.deadline_ms)
            .min(proof.time_left.saturating_sub(NODE_MARGIN)),
        (Home::Platform(_), Door::Party) => Duration::from_millis(relay.deadline_ms),
    };
    if left.is_zero() {
        return Err(Refusal::new(
            Kind::NoTime,
            "no time is left for the receiver",
        ));
    }
    Ok(left)
}

/// By how much a node stops earlier than the one that asked it.
const NODE_MARGIN: Duration = Duration::from_secs(1);

/// What every head that goes out has: from our list, never by deletion from theirs (`safety.md` A13, A14).
fn head<P: Ports>(
    walk: &Walk<'_, P>,
    envelope: &mut Envelope,
    sender: &Sender,
    signature: Option<String>,
    has_body: bool,
) -> Vec<(&'static str, Bytes)> {
    let mut head = Vec::with_capacity(16);
    head.push(("x-request-id", Bytes::from(uuid(walk.ports.random()))));
    if let Some(id) = envelope.correlation_id.take() {
        head.push(("x-correlation-id", id));
    }
    head.push((
        "ocpi-from-country-code",
        sender.address.country_code.clone(),
    ));
    head.push(("ocpi-from-party-id", sender.address.party_id.clone()));
    if let Some(to) = envelope.to.take() {
        head.push(("ocpi-to-country-code", to.country_code));
        head.push(("ocpi-to-party-id", to.party_id));
    }
    if let Some(signature) = signature {
        head.push(("ocn-signature", Bytes::from(signature)));
    }
    if has_body {
        let json = Bytes::from_static(b"application/json");
        head.push(("content-type", envelope.content_type.take().unwrap_or(json)));
    }
    head
}

fn authorization(platform: &Platform) -> Bytes {
    let token = platform.token_b.expose();
    Bytes::from(match platform.token_encoding {
        TokenEncoding::Base64 => format!("Token {}", STANDARD.encode(token)),
        TokenEncoding::Plain => format!("Token {token}"),
    })
}

/// A fresh message id (UUID version 4).
pub(super) fn uuid(random: &impl super::ports::Random) -> String {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .hyphenated()
        .to_string()
}

/// The endpoint, the suffix and the query, joined without touching a byte of them.
pub(super) fn join(endpoint: &str, suffix: &[u8], query: &[u8]) -> String {
    let (base, own_query) = endpoint
        .split_once('?')
        .map_or((endpoint, ""), |(b, q)| (b, q));
    // Both were checked to be free of blanks and control bytes in `parse`.
    let (suffix, query) = (
        String::from_utf8_lossy(suffix),
        String::from_utf8_lossy(query),
    );
    let queries: Vec<&str> = [own_query, &query]
        .into_iter()
        .filter(|q| !q.is_empty())
        .collect();
    let mark = if queries.is_empty() { "" } else { "?" };
    format!(
        "{}{suffix}{mark}{}",
        base.trim_end_matches('/'),
        queries.join("&")
    )
}

/// Who signs what goes out, and how.
struct Signing {
    notary: Option<Notary>,
    container: Container,
    /// The node has to sign afresh, as the party's operator.
    afresh: bool,
}

impl Signing {
    fn new(notary: Option<Notary>, sign_for_party: bool) -> Self {
        Self {
            container: container(notary.as_ref()),
            notary,
            afresh: sign_for_party,
        }
    }

    fn is_signed(&self) -> bool {
        self.notary.is_some()
    }

    /// Drops a signature that no longer fits; a message that was signed is signed again.
    fn renew(&mut self) {
        self.afresh |= self.notary.take().is_some();
    }

    /// Stashes the old `response_url` and signs the new one in the incoming field order.
    fn exchange<P: Ports>(
        &mut self,
        walk: &Walk<'_, P>,
        place: &ResponseUrl,
        before: (&Envelope, &[u8]),
        after: (&Envelope, &[u8]),
        ours: &str,
    ) -> Result<(), Refusal> {
        let Some(notary) = self.notary.take() else {
            return Ok(());
        };
        let before = SignedRequest::new(before.0, before.1, false);
        let after = SignedRequest::new(after.0, after.1, false);
        let after = if place.in_query() {
            after.with_response_url(ours)
        } else {
            after
        };
        let limits = &walk.node.notary_limits;
        let resigned = before.with_values(|before| {
            after.with_values(|after| {
                notary.resign(before, after, &[place.path()], &walk.node.key, limits)
            })
        });
        self.notary = Some(resigned.map_err(|error| {
            Refusal::new(Kind::Signature, format!("Invalid signature: {error}"))
        })?);
        Ok(())
    }

    /// The header's text, if the message goes out signed.
    fn finish<P: Ports>(
        self,
        walk: &Walk<'_, P>,
        envelope: &Envelope,
        body: &[u8],
    ) -> Result<(Option<String>, Container), Refusal> {
        let notary = if self.afresh {
            let values = SignedRequest::new(envelope, body, false);
            let signed = values.with_values(|values| {
                Notary::sign(
                    values,
                    &walk.node.key,
                    NumberForm::Js,
                    &walk.node.notary_limits,
                )
            });
            Some(signed.map_err(|error| {
                Refusal::new(
                    Kind::Signature,
                    format!("the hub cannot sign this message: {error}"),
                )
            })?)
        } else {
            self.notary
        };
        // An untouched signature goes out as it came in, byte for byte.
        let untouched = !self.afresh && walk.record.rewritten.is_none();
        let text = notary.map(|notary| match &envelope.signature {
            Some(text) if untouched => String::from_utf8_lossy(text).into_owned(),
            _ => notary.pack(self.container),
        });
        Ok((text, self.container))
    }
}

/// Which link of ours a request follows.
enum LinkUse<'a> {
    Page(&'a [u8]),
    Stored { place: &'a [u8], id: &'a [u8] },
}

/// Whether the message goes to a URL behind a link of ours instead of an endpoint.
pub(super) fn uses_link(envelope: &Envelope) -> bool {
    link_use(envelope).is_some()
}

fn link_use(envelope: &Envelope) -> Option<LinkUse<'_>> {
    let mut segments = segments(&envelope.suffix);
    let parts = (segments.next(), segments.next(), segments.next());
    match (envelope.method, envelope.role, &envelope.module, parts) {
        (Method::Get, _, _, (Some(b"page"), Some(text), None)) => Some(LinkUse::Page(text)),
        (Method::Post, InterfaceRole::Sender, Module::Commands, (Some(place), Some(id), None)) => {
            Some(LinkUse::Stored { place, id })
        }
        (
            Method::Post,
            InterfaceRole::Sender,
            Module::ChargingProfiles,
            (Some(place @ b"result"), Some(id), None),
        ) => Some(LinkUse::Stored { place, id }),
        (Method::Get, InterfaceRole::Receiver, Module::Cdrs, (Some(id), None, None)) => {
            Some(LinkUse::Stored { place: b"", id })
        }
        _ => None,
    }
}

pub(super) fn segments(suffix: &[u8]) -> impl Iterator<Item = &[u8]> {
    suffix
        .split(|byte| *byte == b'/')
        .filter(|segment| !segment.is_empty())
}

/// The URL behind the link that this request follows; unknown, foreign and expired are one refusal.
async fn follow<P: Ports>(
    walk: &Walk<'_, P>,
    envelope: &Envelope,
    sender: &Sender,
    target: &Target,
) -> Result<String, Refusal> {
    let unknown = || Refusal::new(Kind::UnknownLink, "Proxied resource not found");
    let now = walk.ports.clock().unix_millis();
    let url = match link_use(envelope).ok_or_else(unknown)? {
        LinkUse::Page(text) => {
            let binding = Binding {
                caller: sender.party,
                owner: target.party,
                module: &envelope.module,
                role: envelope.role,
            };
            walk.node.page_links.open(text, &binding, now)
        }
        LinkUse::Stored { place, id } => {
            stored(walk, envelope, sender, target, place, id, now).await?
        }
    };
    url.and_then(|url| target.home.url(url)).ok_or_else(unknown)
}

async fn stored<P: Ports>(
    walk: &Walk<'_, P>,
    envelope: &Envelope,
    sender: &Sender,
    target: &Target,
    place: &[u8],
    id: &[u8],
    now: i64,
) -> Result<Option<String>, Refusal> {
    let Some(id) = std::str::from_utf8(id).ok().filter(|id| is_id(id)) else {
        return Ok(None);
    };
    let link = walk
        .ports
        .journal()
        .find(id.to_owned())
        .await
        .map_err(reserve::refusal)?;
    Ok(link
        .filter(|link| {
            link.caller == sender.party
                && link.owner == target.party
                && link.module == envelope.module
                && link.role == envelope.role
                && link.method == envelope.method.as_str()
                && link.place.as_bytes() == place
                && now < link.expires_at
                && !link.url.is_empty()
        })
        .map(|link| link.url))
}

/// Whether a URL lies on an origin of a platform and hides nothing (`safety.md` A84, I07). The parser
/// is the one that also decides where to connect.
pub(super) fn lies_on(text: &str, platform: &Platform) -> bool {
    let plain = text
        .bytes()
        .all(|byte| byte > b' ' && byte != 0x7f && byte != b'\\');
    let Some(url) = plain.then(|| url::Url::parse(text).ok()).flatten() else {
        return false;
    };
    url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
        && origin_of(text).is_some_and(|origin| platform.origins.contains(&origin))
}

/// What `explain` says of this stage.
pub(super) fn describe(envelope: &Envelope, endpoint: Option<&str>) -> Cow<'static, str> {
    match endpoint {
        None => "follows a link of this hub".into(),
        Some(endpoint) => join(endpoint, &envelope.suffix, &envelope.query).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_suffix_and_query_are_joined_without_change() {
        for (endpoint, suffix, query, url) in [
            ("https://a/b", "", "", "https://a/b"),
            (
                "https://a/b/",
                "/c%20d/",
                "x=%2B",
                "https://a/b/c%20d/?x=%2B",
            ),
            ("https://a/b?k=1", "/c", "x=1", "https://a/b/c?k=1&x=1"),
            ("https://a/b?k=1", "", "", "https://a/b?k=1"),
        ] {
            assert_eq!(join(endpoint, suffix.as_bytes(), query.as_bytes()), url);
        }
    }
}
