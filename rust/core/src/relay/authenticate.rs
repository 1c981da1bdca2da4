//! `authenticate`: token C names a platform and `OCPI-from-*` one of its parties, or a node's signature its
//! operator, who speaks for the party; only then is the body awaited.
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::Walk;
use super::error::{Kind, Refusal};
use super::home::Home;
use super::message::Stale;
use super::node::Booking;
use super::parse::{Address, Door, Envelope, Method};
use super::peer::{self, Once};
use super::ports::{Body, BodyError, Clock as _, Ports};
use super::record::Stage;
use crate::json;
use crate::ocpi::{InterfaceRole, Module, Party};
use crate::table::{InFlight, Live, Platform, PlatformStatus, Table};

/// Who sends: the party, and the platform or node that speaks for it.
pub(super) struct Sender {
    pub(super) home: Home,
    pub(super) party: Party,
    pub(super) address: Address,
    /// By what a node's message is told from one that was here before.
    pub(super) once: Option<Once>,
}

/// A message whose sender is known and whose body is here.
pub(super) struct Message {
    pub(super) envelope: Envelope,
    pub(super) body: Bytes,
    /// The message's shares of what the node can bear, held until the reply is made.
    pub(super) held: Held,
}

/// Bookings of one message.
pub(super) struct Held {
    _in_flight: Booking,
    _of_sender: InFlight,
    _bytes: Booking,
}

/// Finds the sending party and who speaks for it (invariant I06).
pub(super) fn authenticate<P: Ports>(
    walk: &mut Walk<'_, P>,
    envelope: &Envelope,
) -> Result<Sender, Refusal> {
    walk.enter(Stage::Authenticate);
    let sender = match &envelope.door {
        Door::Party => by_token(walk, envelope)?,
        Door::Node(proof) => peer::authenticate(walk, envelope, proof)?,
    };
    walk.record.from = Some(sender.party);
    walk.requester.address = Some(sender.address.clone());
    Ok(sender)
}

/// Finds the sending platform and party.
///
/// The same refusal for every token that is not known, so that nothing can be learnt from it
/// (`safety.md` A46, A51, A54).
fn by_token<P: Ports>(walk: &mut Walk<'_, P>, envelope: &Envelope) -> Result<Sender, Refusal> {
    let now = walk.ports.clock().unix_millis();
    let platform = envelope
        .authorization
        .as_deref()
        .and_then(token)
        .and_then(|token| find(&walk.table, token, now))
        .ok_or_else(|| {
            let refusal = Refusal::new(Kind::Unauthorized, "Invalid authorization token");
            if envelope.authorization.is_some() {
                refusal.stale(Stale::Token)
            } else {
                refusal
            }
        })?;
    walk.record.sender_platform = Some(platform.id);
    walk.requester.authenticated = true;
    if platform.status == PlatformStatus::Suspended {
        return Err(Refusal::new(
            Kind::SenderSuspended,
            "this platform is suspended at the hub",
        ));
    }
    let address = match &envelope.from {
        Some(address) => address.clone(),
        None => infer(envelope, &platform)?,
    };
    if !platform
        .parties
        .iter()
        .any(|(party, _)| *party == address.party)
    {
        return Err(Refusal::new(
            Kind::ForeignSender,
            "Could not find role on sending platform using OCPI-from-* headers",
        ));
    }
    Ok(Sender {
        home: Home::Platform(platform),
        party: address.party,
        address,
        once: None,
    })
}

/// Books what the body will take, awaits it, and checks that it is JSON (custom modules: any bytes).
pub(super) async fn receive<P: Ports>(
    walk: &mut Walk<'_, P>,
    envelope: Envelope,
    sender: &Sender,
    body: impl Body,
) -> Result<Message, Refusal> {
    let (in_flight, of_sender) = enter(walk, sender.home.live())?;
    let bytes = walk
        .node
        .book(envelope.content_length.unwrap_or(0))
        .ok_or_else(busy)?;
    let body = read(body, walk.node.settings.http.body_bytes).await?;
    walk.record.request_bytes = body.len();
    if let Door::Node(proof) = &envelope.door {
        peer::check_body(proof, &body)?;
    }
    check_body(walk, &envelope, &body)?;
    Ok(Message {
        envelope,
        body,
        held: Held {
            _in_flight: in_flight,
            _of_sender: of_sender,
            _bytes: bytes,
        },
    })
}

/// Takes the places that a request holds while it is in work.
pub(super) fn enter<P: Ports>(
    walk: &Walk<'_, P>,
    sender: &Arc<Live>,
) -> Result<(Booking, InFlight), Refusal> {
    let in_flight = walk.node.begin().ok_or_else(busy)?;
    let of_sender = sender
        .enter_as_sender(walk.node.settings.limits.in_flight_per_platform)
        .ok_or_else(|| {
            Refusal::new(
                Kind::TooManyRequests,
                "too many requests of this platform or node are in work",
            )
        })?;
    Ok((in_flight, of_sender))
}

/// The whole body, of so many bytes at most.
pub(super) async fn read(body: impl Body, most: usize) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(Kind::BodyTooLarge, "body is larger than allowed");
    let body = body.read().await.map_err(|error| match error {
        BodyError::Gone => Refusal::new(Kind::Gone, "the requester hung up"),
        BodyError::Slow => Refusal::new(Kind::BodyCutOff, "the body did not arrive in time"),
        BodyError::TooLarge => too_large(),
        BodyError::NoRoom => busy(),
    })?;
    if body.len() > most {
        return Err(too_large());
    }
    Ok(body)
}

fn busy() -> Refusal {
    Refusal::new(Kind::Overloaded, "the hub is at its limit")
}

fn check_body<P: Ports>(
    walk: &Walk<'_, P>,
    envelope: &Envelope,
    body: &Bytes,
) -> Result<(), Refusal> {
    if envelope.is_custom() {
        return Ok(());
    }
    if body.is_empty() {
        let optional = envelope.module == Module::Tokens && envelope.role == InterfaceRole::Sender;
        return match envelope.method {
            Method::Put | Method::Patch => {
                Err(Refusal::new(Kind::Malformed, "the body is missing"))
            }
            Method::Post if !optional => Err(Refusal::new(Kind::Malformed, "the body is missing")),
            _ => Ok(()),
        };
    }
    json::validate(body, &walk.node.json_limits).map_err(|error| {
        Refusal::new(
            Kind::Malformed,
            format!("the body is not valid JSON: {error}"),
        )
    })
}

/// An unsigned message without `OCPI-from-*` comes from the platform's only party.
fn infer(envelope: &Envelope, platform: &Platform) -> Result<Address, Refusal> {
    match (&platform.parties[..], &envelope.signature) {
        ([(party, _)], None) => Ok(Address {
            country_code: Bytes::copy_from_slice(party.country_code().as_bytes()),
            party_id: Bytes::copy_from_slice(party.party_id().as_bytes()),
            party: *party,
        }),
        _ => Err(Refusal::new(
            Kind::Malformed,
            "the OCPI-from-* headers are missing",
        )),
    }
}

/// The text after the one blank of `Token <token>`; the scheme word is not checked.
fn token(value: &[u8]) -> Option<&[u8]> {
    let blank = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, token) = (&value[..blank], &value[blank + 1..]);
    (!scheme.is_empty()
        && !token.is_empty()
        && token.len() <= 256
        && token.iter().all(u8::is_ascii_graphic))
    .then_some(token)
}

/// The platform of a token: as it stands, then Base64-decoded once (`ocpi-hub.md` 1.2). Looked up by
/// digest, so that no comparison of secrets takes a time that depends on them.
fn find(table: &Table, token: &[u8], now: i64) -> Option<Arc<Platform>> {
    let by_digest = |token: &[u8]| {
        let digest: [u8; 32] = Sha256::digest(token).into();
        table
            .platform_by_token(&digest)
            .filter(|(_, entry)| entry.expires_at.is_none_or(|expiry| now < expiry))
            .map(|(platform, _)| Arc::clone(platform))
    };
    by_digest(token).or_else(|| {
        let decoded = STANDARD.decode(token).ok()?;
        by_digest(&decoded).or_else(|| by_digest(decoded.strip_suffix(b"\n")?))
    })
}

#[cfg(test)]
mod tests {
    use super::token;

    #[test]
    fn test_a46_token_is_what_follows_one_blank() {
        assert_eq!(token(b"Token abc"), Some(&b"abc"[..]));
        assert_eq!(token(b"Bearer abc"), Some(&b"abc"[..]));
        let long = [&b"Token "[..], &[b'a'; 9000][..]].concat();
        for bad in [
            &b""[..],
            b"Token",
            b"Token ",
            b"Token  abc",
            b"Token a b",
            b" abc",
            b"Token a\x01",
            &long,
        ] {
            assert_eq!(token(bad), None);
        }
    }
}
