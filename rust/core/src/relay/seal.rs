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
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Walk;
use super::authenticate::{Held, Sender};
use super::dialect;
use super::error::{Kind, Refusal};
use super::home::{Home, is_below_the_door};
use super::link::{Binding, is_id, random_id};
use super::parse::{Door, Envelope, Method, decode};
use super::peer;
use super::permit::Permit;
use super::ports::{Clock as _, Journal as _, Link, Outgoing, Ports};
use super::record::Stage;
use super::reserve;
use super::route::Target;
use super::verify::{SignedRequest, Verified, container, pieces};
use crate::json;
use crate::notary::{Container, Notary, NumberForm, RESPONSE_URL_BODY, RESPONSE_URL_PARAMS};
use crate::ocpi::{InterfaceRole, Module, Version};
use crate::table::{InFlight, Platform, TokenEncoding, origin_of};

/// OCPI's limit for the type URL.
const URL_CHARS: usize = 255;

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
    /// The signature of this node, to which the answer of another one is bound.
    pub(super) node_signature: Option<String>,
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
    let (headers, node_signature) = match &target.home {
        Home::Platform(platform) => {
            let mut headers = vec![("authorization", authorization(platform))];
            headers.extend(head(walk, &mut envelope, sender, signature, has_body));
            headers.append(&mut envelope.extra);
            (headers, None)
        }
        Home::Node(operator) => {
            let headers = head(walk, &mut envelope, sender, signature, has_body);
            let head = peer::complete(walk, headers, &envelope, operator, &url, &body, deadline)?;
            (head.headers, Some(head.signature))
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
        node_signature,
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
fn uuid(random: &impl super::ports::Random) -> String {
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

/// Where a request carries its `response_url`.
enum ResponseUrl {
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
    fn url(&self) -> &str {
        match self {
            Self::Body { url, .. } | Self::Query { url, .. } => url,
        }
    }

    fn in_query(&self) -> bool {
        matches!(self, Self::Query { .. })
    }

    fn path(&self) -> &'static str {
        if self.in_query() {
            RESPONSE_URL_PARAMS
        } else {
            RESPONSE_URL_BODY
        }
    }

    /// Envelope and body with our URL in its place; every other byte stays.
    fn exchange(&self, envelope: &Envelope, body: &Bytes, ours: &str) -> (Envelope, Bytes) {
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
fn response_url<P: Ports>(
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
fn callback_link<P: Ports>(
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
    let (module_place, expires_at) = callback_place(walk, envelope, body)?;
    Ok(Link {
        id: random_id(walk.ports.random()),
        caller: target.party,
        owner: sender.party,
        module: envelope.module.clone(),
        role: InterfaceRole::Sender,
        method: "POST",
        place: module_place,
        url: kept,
        expires_at,
        platform: accountable(sender, target),
    })
}

/// The stored link for a `response_url` that the sender's node named on our behalf: it must be ours, and the
/// id is taken as it is. `reserve` refuses one that is there already (`safety.md` A94).
fn named_link<P: Ports>(
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
    Ok(Link {
        id: id.to_owned(),
        caller: target.party,
        owner: sender.party,
        module: envelope.module.clone(),
        role: InterfaceRole::Sender,
        method: "POST",
        place: module_place,
        url: kept,
        expires_at,
        platform: accountable(sender, target),
    })
}

/// The platform against which a link counts: its owner's, or, where that lives elsewhere, the caller's.
fn accountable(owner: &Sender, caller: &Target) -> i64 {
    let platform = owner.home.platform().or(caller.home.platform());
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
fn callback_url<P: Ports>(
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
fn location_link<P: Ports>(
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
        platform: target
            .home
            .platform()
            .or(sender.home.platform())
            .map_or(0, |platform| platform.id),
    })
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

fn segments(suffix: &[u8]) -> impl Iterator<Item = &[u8]> {
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

    #[test]
    fn test_a85_response_url_twice_is_refused() {
        let twice = b"response_url=https%3A%2F%2Fa%2Fb&response%5Furl=https%3A%2F%2Fa%2Fc";
        assert!(in_query(twice).is_err());
        let once = in_query(b"duration=1&response_url=https%3A%2F%2Fa%2Fb").expect("one");
        assert_eq!(once.expect("found").url(), "https://a/b");
    }
}
