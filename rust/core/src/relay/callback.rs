//! What a receiver could call back: the sender's `response_url`, and the `Location` of a CDR. Found in the
//! message, exchanged for a URL of this node or of the receiver's, and made into a link to be written down
//! (`ocpi-hub.md` 2.11, `safety.md` A84, A94).
use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Walk;
use super::authenticate::Sender;
use super::error::{Kind, Refusal};
use super::home::{Home, is_below_the_door};
use super::link::{is_id, random_id};
use super::parse::{Envelope, Method, decode};
use super::ports::{Clock as _, Link, Ports};
use super::route::Target;
use super::seal::segments;
use super::verify::pieces;
use crate::json;
use crate::notary::{RESPONSE_URL_BODY, RESPONSE_URL_PARAMS};
use crate::ocpi::{InterfaceRole, Module, Version};

/// OCPI's limit for the type URL.
pub(super) const URL_CHARS: usize = 255;

/// Where a request carries its `response_url`.
pub(super) enum ResponseUrl {
    Body {
        range: std::ops::Range<usize>,
        url: String,
    },
    Query {
        range: std::ops::Range<usize>,
        url: String,
    },
}

impl ResponseUrl {
    pub(super) fn url(&self) -> &str {
        match self {
            Self::Body { url, .. } | Self::Query { url, .. } => url,
        }
    }

    pub(super) fn in_query(&self) -> bool {
        matches!(self, Self::Query { .. })
    }

    pub(super) fn path(&self) -> &'static str {
        if self.in_query() {
            RESPONSE_URL_PARAMS
        } else {
            RESPONSE_URL_BODY
        }
    }

    /// Envelope and body with our URL in its place; every other byte stays.
    pub(super) fn exchange(
        &self,
        envelope: &Envelope,
        body: &Bytes,
        ours: &str,
    ) -> (Envelope, Bytes) {
        let mut envelope = envelope.clone();
        match self {
            Self::Body { range, .. } => {
                let quoted = json::quote(ours);
                (
                    envelope,
                    Bytes::from(json::splice(body, range.clone(), quoted.as_bytes())),
                )
            }
            Self::Query { range, .. } => {
                let mut query = envelope.query.to_vec();
                query.splice(range.clone(), percent_encode(ours).into_bytes());
                envelope.query = Bytes::from(query);
                (envelope, body.clone())
            }
        }
    }
}

/// A URL as a query value: everything but unreserved characters encoded.
fn percent_encode(url: &str) -> String {
    url.bytes()
        .fold(String::with_capacity(url.len() * 2), |mut out, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(byte as char);
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
            out
        })
}

/// Finds the `response_url` of a command or charging profile, if this is one (`ocpi-hub.md` 2.11).
pub(super) fn response_url<P: Ports>(
    walk: &Walk<'_, P>,
    envelope: &Envelope,
    body: &[u8],
) -> Result<Option<ResponseUrl>, Refusal> {
    if envelope.role != InterfaceRole::Receiver {
        return Ok(None);
    }
    match (&envelope.module, envelope.method) {
        (Module::Commands, Method::Post) | (Module::ChargingProfiles, Method::Put) => {
            in_body(walk, body)
        }
        (Module::ChargingProfiles, Method::Get | Method::Delete) => in_query(&envelope.query),
        _ => Ok(None),
    }
}

fn in_body<P: Ports>(walk: &Walk<'_, P>, body: &[u8]) -> Result<Option<ResponseUrl>, Refusal> {
    let bad = |text: String| Refusal::new(Kind::Malformed, text);
    let [range] = json::members(body, ["response_url"], &walk.node.json_limits)
        .map_err(|error| bad(format!("response_url cannot be read: {error}")))?;
    let Some(range) = range else { return Ok(None) };
    let url = json::string(&body[range.clone()])
        .map_err(|error| bad(format!("response_url is not a string: {error}")))?
        .into_owned();
    Ok(Some(ResponseUrl::Body { range, url }))
}

fn in_query(query: &[u8]) -> Result<Option<ResponseUrl>, Refusal> {
    let mut found = None;
    for (name, value) in pieces(query) {
        if decode(name) == b"response_url" {
            let start = value.as_ptr() as usize - query.as_ptr() as usize;
            let url = String::from_utf8_lossy(&decode(value)).into_owned();
            let here = ResponseUrl::Query {
                range: start..start + value.len(),
                url,
            };
            if found.replace(here).is_some() {
                return Err(Refusal::new(Kind::Malformed, "response_url is there twice"));
            }
        }
    }
    Ok(found)
}

/// The stored link that our `response_url` will stand for.
pub(super) fn callback_link<P: Ports>(
    walk: &Walk<'_, P>,
    envelope: &Envelope,
    body: &[u8],
    place: &ResponseUrl,
    sender: &Sender,
    target: &Target,
) -> Result<Link, Refusal> {
    let bad = |text: &'static str| Refusal::new(Kind::BadParameter, text);
    if place.url().len() > URL_CHARS {
        return Err(bad("response_url is longer than 255 characters"));
    }
    let kept = sender
        .home
        .keep(place.url())
        .ok_or_else(|| bad("response_url is not on an origin of the sending platform"))?;
    let ends = callback_place(walk, envelope, body)?;
    let id = random_id(walk.ports.random());
    Ok(callback(envelope, sender, target, id, kept, ends))
}

/// The stored link for a `response_url` that the sender's node named on our behalf: it must be ours, and the
/// id is taken as it is. `reserve` refuses one that is there already (`safety.md` A94).
pub(super) fn named_link<P: Ports>(
    walk: &Walk<'_, P>,
    envelope: &Envelope,
    body: &[u8],
    place: &ResponseUrl,
    sender: &Sender,
    target: &Target,
) -> Result<Link, Refusal> {
    let bad = || {
        Refusal::new(
            Kind::BadParameter,
            "response_url is none that this node gives out for the receiver",
        )
    };
    let (module_place, expires_at) = callback_place(walk, envelope, body)?;
    let version = envelope.version.ok_or_else(bad)?;
    let module = envelope.module.as_str();
    let start = format!(
        "{}/ocpi/sender/{}/{module}/{module_place}/",
        walk.node.settings.node.url,
        version.as_str()
    );
    let rest = place.url().strip_prefix(&start).ok_or_else(bad)?;
    let (id, query) = rest
        .split_once('?')
        .map_or((rest, None), |(id, query)| (id, Some(query)));
    let kept = format!("sender/{module}/{module_place}/{rest}");
    if !is_id(id) || query == Some("") || place.url().len() > URL_CHARS || !is_below_the_door(&kept)
    {
        return Err(bad());
    }
    let ends = (module_place, expires_at);
    Ok(callback(
        envelope,
        sender,
        target,
        id.to_owned(),
        kept,
        ends,
    ))
}

/// The row for a `response_url`; the last is what [`callback_place`] found.
fn callback(
    envelope: &Envelope,
    sender: &Sender,
    target: &Target,
    id: String,
    url: String,
    (place, expires_at): (String, i64),
) -> Link {
    Link {
        id,
        caller: target.party,
        owner: sender.party,
        module: envelope.module.clone(),
        role: InterfaceRole::Sender,
        method: "POST",
        place,
        url,
        expires_at,
        platform: accountable(&sender.home, &target.home),
    }
}

/// The platform against which a link counts: its owner's, or, where that lives elsewhere, the caller's.
fn accountable(owner: &Home, caller: &Home) -> i64 {
    let platform = owner.platform().or(caller.platform());
    platform.map_or(0, |platform| platform.id)
}

/// Command name, or what stands for it, and when a `response_url` for it ends.
fn callback_place<P: Ports>(
    walk: &Walk<'_, P>,
    envelope: &Envelope,
    body: &[u8],
) -> Result<(String, i64), Refusal> {
    let settings = &walk.node.settings.links;
    let now = walk.ports.clock().unix_millis();
    let segment = segments(&envelope.suffix).next().unwrap_or_default();
    Ok(match envelope.module {
        Module::Commands => {
            let command = std::str::from_utf8(segment)
                .ok()
                .filter(|name| {
                    (1..=64).contains(&name.len())
                        && name
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
                })
                .ok_or_else(|| {
                    Refusal::new(
                        Kind::BadParameter,
                        "the command's name is missing or unusable",
                    )
                })?;
            let ttl = now + settings.command_ttl_s * 1_000;
            let expires_at = if command == "RESERVE_NOW" {
                let margin = settings.reserve_margin_days * 86_400_000;
                ttl.max(expiry_date(walk, body).unwrap_or(now)) + margin
            } else {
                ttl
            };
            (command.to_owned(), expires_at)
        }
        _ => ("result".to_owned(), now + settings.command_ttl_s * 1_000),
    })
}

/// The URL that the receiver calls back: ours in the receiver's version, or its own node's in the version of
/// the message. A query of the original shows on the latter: this node could not sign for a party of another
/// node what that did not sign.
pub(super) fn callback_url<P: Ports>(
    walk: &Walk<'_, P>,
    link: &Link,
    envelope: &Envelope,
    target: &Target,
) -> String {
    let (base, version, query) = match &target.home {
        Home::Platform(platform) => (
            walk.node.settings.node.url.as_str(),
            Some(platform.version),
            None,
        ),
        Home::Node(operator) => (
            operator.base().unwrap_or_default(),
            envelope.version,
            link.url.split_once('?').map(|(_, query)| query),
        ),
    };
    format!(
        "{base}/ocpi/sender/{}/{}/{}/{}{}{}",
        version.map_or("", Version::as_str),
        link.module.as_str(),
        link.place,
        link.id,
        query.map_or("", |_| "?"),
        query.unwrap_or_default()
    )
}

/// `expiry_date` of a reservation in Unix milliseconds; OCPI's DateTime may lack the `Z`.
fn expiry_date<P: Ports>(walk: &Walk<'_, P>, body: &[u8]) -> Option<i64> {
    let [range] = json::members(body, ["expiry_date"], &walk.node.json_limits).ok()?;
    let text = json::string(&body[range?]).ok()?;
    let read = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    let moment = read(&text).or_else(|| read(&format!("{text}Z")))?;
    i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
}

/// The row reserved for the `Location` that answers a CDR.
pub(super) fn location_link<P: Ports>(
    walk: &Walk<'_, P>,
    envelope: &Envelope,
    sender: &Sender,
    target: &Target,
) -> Option<Link> {
    let is_cdr = envelope.module == Module::Cdrs
        && envelope.role == InterfaceRole::Receiver
        && envelope.method == Method::Post;
    is_cdr.then(|| Link {
        id: random_id(walk.ports.random()),
        caller: sender.party,
        owner: target.party,
        module: Module::Cdrs,
        role: InterfaceRole::Receiver,
        method: "GET",
        place: String::new(),
        url: String::new(),
        expires_at: walk.ports.clock().unix_millis()
            + walk.node.settings.links.location_days * 86_400_000,
        platform: accountable(&target.home, &sender.home),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a85_response_url_twice_is_refused() {
        let twice = b"response_url=https%3A%2F%2Fa%2Fb&response%5Furl=https%3A%2F%2Fa%2Fc";
        assert!(in_query(twice).is_err());
        let once = in_query(b"duration=1&response_url=https%3A%2F%2Fa%2Fb").expect("one");
        assert_eq!(once.expect("found").url(), "https://a/b");
    }
}
