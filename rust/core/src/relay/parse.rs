//! `parse`: the head of a request becomes an [`Envelope`]; the body stays bytes.
use std::time::Duration;

use bytes::Bytes;

use super::Walk;
use super::error::{Kind, Refusal};
use super::home::NODE_DOOR;
use super::hub::sniff;
use super::message::Head;
use super::peer::{PROTOCOL, Peer};
use super::ports::Ports;
use super::record::Stage;
use crate::ocpi::{InterfaceRole, Module, Party, Version};

/// OCPI's methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// The method's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    fn read(text: &[u8]) -> Option<Self> {
        [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete]
            .into_iter()
            .find(|method| method.as_str().as_bytes() == text)
    }
}

/// The two routing headers of one side: as sent, and as looked up.
#[derive(Debug, Clone)]
pub struct Address {
    pub country_code: Bytes,
    pub party_id: Bytes,
    pub party: Party,
}

/// The door on which a message came in.
#[derive(Debug, Clone)]
pub enum Door {
    /// `/ocpi/…`: a party's platform, which shows a token.
    Party,
    /// `/ocn/relay/…`: another node, which signs (`ocn-relay.md`).
    Node(Proof),
}

/// By what a node's message is to be believed: what its signature covers, as it came.
#[derive(Debug, Clone)]
pub struct Proof {
    pub path: Bytes,
    /// Names in lower case.
    pub headers: Vec<(&'static str, Bytes)>,
    /// What is left of the other node's time (`OCN-Deadline`).
    pub time_left: Duration,
}

impl Proof {
    /// The value of a header.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.headers
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

/// Everything that the head of a request says, typed once.
#[derive(Debug, Clone)]
pub struct Envelope {
    pub door: Door,
    pub method: Method,
    /// The version in the path, or that a node names; custom modules have none.
    pub version: Option<Version>,
    pub module: Module,
    pub role: InterfaceRole,
    /// What follows the module in the path: empty, or from its `/` on, percent-encoding intact.
    pub suffix: Bytes,
    /// The raw query, without `?`.
    pub query: Bytes,
    pub authorization: Option<Bytes>,
    pub request_id: Option<Bytes>,
    pub correlation_id: Option<Bytes>,
    pub from: Option<Address>,
    pub to: Option<Address>,
    pub signature: Option<Bytes>,
    pub content_type: Option<Bytes>,
    /// As announced; `None` where the length is unknown (chunked) or nothing follows.
    pub content_length: Option<usize>,
    /// Headers on the operator's list.
    pub extra: Vec<(&'static str, Bytes)>,
}

impl Envelope {
    /// Whether the message is for a custom module, whose bodies are opaque.
    pub fn is_custom(&self) -> bool {
        matches!(self.module, Module::Custom(_))
    }

    /// Whether a node brought it.
    pub fn is_from_node(&self) -> bool {
        matches!(self.door, Door::Node(_))
    }
}

/// Reads the head. Refuses what has more than one reading (`safety.md` A05, A06, A07, A11, A12, A15, A16,
/// A18, A20, A71).
pub(super) fn parse<P: Ports>(walk: &mut Walk<'_, P>, head: Head) -> Result<Envelope, Refusal> {
    walk.enter(Stage::Parse);
    let from_node = head.path.starts_with(NODE_DOOR.as_bytes());
    if from_node {
        walk.requester.peer = Some(Peer::default());
        walk.record.door = Some("node");
        walk.record.dialect = Some(PROTOCOL);
    }
    // A node's signature covers nothing beyond its fields, so nothing else of its message passes on.
    let (names, extra): (_, &[&'static str]) = if from_node {
        (&FIELDS[..], &[])
    } else {
        (&FIELDS[..PARTY_FIELDS], &walk.node.forward_headers)
    };
    let fields = Fields::read(&head, names, extra)?;
    walk.requester.remember_ids(
        fields.id(Field::RequestId, walk.node.settings.limits.id_bytes),
        fields.id(Field::CorrelationId, walk.node.settings.limits.id_bytes),
    );
    let http = &walk.node.settings.http;
    if head.headers.len() > http.header_count || head.bytes() > http.header_bytes {
        return Err(Refusal::new(
            Kind::HeadTooLarge,
            "header fields are too many or too large",
        ));
    }
    if head.path.len() + head.query.len() > http.target_bytes {
        return Err(Refusal::new(
            Kind::TargetTooLong,
            "path and query are too long",
        ));
    }
    let mut place = Place::find(&head.path)?;
    check_path(&head.path)?;
    check_percent(&head.query)?;
    let Some(method) = Method::read(&head.method) else {
        return Err(Refusal::new(
            Kind::NoSuchMethod,
            "method not supported here",
        ));
    };
    if !from_node {
        walk.requester.version = place.version;
    } else if !matches!(place.module, Module::Custom(_)) {
        place.version = Some(fields.version()?);
    }
    let record = &mut walk.record;
    record.method = Some(method.as_str());
    record.module = Some(place.module.as_str().to_owned());
    record.role = Some(place.role);
    let content_length = fields.framing(walk.node.settings.http.body_bytes)?;
    for (field, name) in [
        (Field::RequestId, "X-Request-ID"),
        (Field::CorrelationId, "X-Correlation-ID"),
    ] {
        if fields.get(field).is_some()
            && fields
                .id(field, walk.node.settings.limits.id_bytes)
                .is_none()
        {
            return Err(malformed(format!(
                "{name} must be visible ASCII and not too long"
            )));
        }
    }
    let from = fields.address(Field::FromCountry, Field::FromParty, "OCPI-from")?;
    let to = fields.address(Field::ToCountry, Field::ToParty, "OCPI-to")?;
    walk.requester.address = from.clone();
    let door = if from_node {
        Door::Node(fields.proof(head.path.clone())?)
    } else {
        walk.requester.container = fields.get(Field::Signature).map(|text| sniff(&text));
        Door::Party
    };
    walk.record.from = from.as_ref().map(|address| address.party);
    walk.record.to = to.as_ref().map(|address| address.party);
    walk.record.request_id = walk.requester.request_id();
    walk.record.correlation_id = walk.requester.correlation_id();
    Ok(Envelope {
        door,
        method,
        version: place.version,
        module: place.module,
        role: place.role,
        suffix: head.path.slice(place.suffix_at..),
        query: head.query.clone(),
        authorization: fields.get(Field::Authorization),
        request_id: fields.get(Field::RequestId),
        correlation_id: fields.get(Field::CorrelationId),
        from,
        to,
        signature: fields.get(Field::Signature),
        content_type: fields.get(Field::ContentType),
        content_length,
        extra: fields.extra,
    })
}

/// Reads the head of a request for a session, which is nobody's message.
pub(super) fn parse_asking<P: Ports>(
    walk: &mut Walk<'_, P>,
    head: &Head,
    body_bytes: usize,
) -> Result<Proof, Refusal> {
    walk.requester.peer = Some(Peer::default());
    let fields = Fields::read(head, &FIELDS, &[])?;
    walk.requester.remember_ids(
        fields.id(Field::RequestId, walk.node.settings.limits.id_bytes),
        None,
    );
    if Method::read(&head.method) != Some(Method::Post) {
        return Err(Refusal::new(
            Kind::NoSuchMethod,
            "method not supported here",
        ));
    }
    if !head.query.is_empty() {
        return Err(malformed("a session has no parameters"));
    }
    fields.framing(body_bytes)?;
    fields.proof(head.path.clone())
}

fn malformed(text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Kind::Malformed, text)
}

/// The headers that the hub reads.
#[derive(Clone, Copy)]
enum Field {
    Authorization,
    RequestId,
    CorrelationId,
    FromCountry,
    FromParty,
    ToCountry,
    ToParty,
    Signature,
    ContentType,
    ContentLength,
    ContentEncoding,
    TransferEncoding,
    Host,
    Version,
    Deadline,
}

/// In the order of [`Field`]; those that only a node sends come last and are nothing to us elsewhere.
const FIELDS: [&str; 19] = [
    "authorization",
    "x-request-id",
    "x-correlation-id",
    "ocpi-from-country-code",
    "ocpi-from-party-id",
    "ocpi-to-country-code",
    "ocpi-to-party-id",
    "ocn-signature",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "host",
    "ocn-ocpi-version",
    "ocn-deadline",
    "ocn-to-node",
    "content-digest",
    "signature-input",
    "signature",
];
const PARTY_FIELDS: usize = Field::Host as usize + 1;

/// Fields that the signature of a node has nothing to do with.
const UNSIGNED: [Field; 5] = [
    Field::Authorization,
    Field::ContentLength,
    Field::ContentEncoding,
    Field::TransferEncoding,
    Field::Host,
];

/// Header values by field, each at most once.
struct Fields {
    values: [Option<Bytes>; FIELDS.len()],
    extra: Vec<(&'static str, Bytes)>,
}

impl Fields {
    fn read(
        head: &Head,
        names: &[&'static str],
        extra_names: &[&'static str],
    ) -> Result<Self, Refusal> {
        let mut fields = Self {
            values: Default::default(),
            extra: Vec::new(),
        };
        for (name, value) in &head.headers {
            if let Some(index) = names.iter().position(|field| field.as_bytes() == &name[..]) {
                if fields.values[index].replace(value.clone()).is_some() {
                    return Err(malformed(format!("header {} is repeated", names[index])));
                }
            } else if let Some(name) = extra_names
                .iter()
                .find(|extra| extra.as_bytes() == &name[..])
            {
                fields.extra.push((name, value.clone()));
            }
        }
        Ok(fields)
    }

    fn get(&self, field: Field) -> Option<Bytes> {
        self.values[field as usize].clone()
    }

    /// A message id, if it is one that can be written into a header again.
    fn id(&self, field: Field, limit: usize) -> Option<Bytes> {
        self.get(field)
            .filter(|id| (1..=limit).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic))
    }

    /// The length of the body, if it is announced; refuses what is too long, and any other framing and coding than the
    /// plain ones.
    fn framing(&self, body_bytes: usize) -> Result<Option<usize>, Refusal> {
        let content_length = content_length(self.get(Field::ContentLength))?;
        if content_length.is_some_and(|length| length > body_bytes) {
            return Err(Refusal::new(
                Kind::BodyTooLarge,
                "body is larger than allowed",
            ));
        }
        if self
            .get(Field::TransferEncoding)
            .is_some_and(|coding| !coding.eq_ignore_ascii_case(b"chunked"))
        {
            return Err(malformed("Transfer-Encoding must be chunked alone"));
        }
        if self
            .get(Field::ContentEncoding)
            .is_some_and(|coding| &coding[..] != b"identity")
        {
            return Err(Refusal::new(
                Kind::ContentCoding,
                "content codings are not accepted",
            ));
        }
        Ok(content_length)
    }

    /// The version in which the party at the other node spoke.
    fn version(&self) -> Result<Version, Refusal> {
        self.get(Field::Version)
            .and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok())
            .ok_or_else(|| malformed("OCN-OCPI-Version does not name a version served here"))
    }

    /// What a node's message is believed by.
    fn proof(&self, path: Bytes) -> Result<Proof, Refusal> {
        let time_left = self
            .get(Field::Deadline)
            .and_then(|text| seconds(&text))
            .ok_or_else(|| malformed("OCN-Deadline is not a number of seconds"))?;
        let headers = FIELDS.iter().zip(&self.values).enumerate();
        let headers = headers
            .filter(|(index, _)| !UNSIGNED.iter().any(|field| *field as usize == *index))
            .filter_map(|(_, (name, value))| Some((*name, value.clone()?)))
            .collect();
        Ok(Proof {
            path,
            headers,
            time_left,
        })
    }

    /// Both ids of a side, or neither.
    fn address(
        &self,
        country: Field,
        party: Field,
        name: &'static str,
    ) -> Result<Option<Address>, Refusal> {
        match (self.get(country), self.get(party)) {
            (None, None) => Ok(None),
            (Some(country_code), Some(party_id)) => {
                let party = std::str::from_utf8(&country_code)
                    .ok()
                    .zip(std::str::from_utf8(&party_id).ok())
                    .and_then(|(country, id)| Party::new(country, id).ok())
                    .ok_or_else(|| malformed(format!("{name}-* headers do not name a party")))?;
                Ok(Some(Address {
                    country_code,
                    party_id,
                    party,
                }))
            }
            _ => Err(malformed(format!(
                "only one of the two {name}-* headers is present"
            ))),
        }
    }
}

/// Decimal seconds, with up to three places after the point.
fn seconds(text: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(whole, 6) || !digits(part, 3) {
        return None;
    }
    let millis: u64 = format!("{part:0<3}").parse().ok()?;
    Some(Duration::from_secs(whole.parse().ok()?) + Duration::from_millis(millis))
}

fn content_length(value: Option<Bytes>) -> Result<Option<usize>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(&value)
        .ok()
        .filter(|_| digits)
        .map(str::parse::<usize>);
    match length {
        Some(Ok(length)) => Ok(Some(length)),
        // Digits beyond any number are a body beyond any limit.
        Some(Err(_)) => Ok(Some(usize::MAX)),
        None => Err(malformed("Content-Length is not a number")),
    }
}

/// Where a path leads.
struct Place {
    version: Option<Version>,
    module: Module,
    role: InterfaceRole,
    suffix_at: usize,
}

impl Place {
    /// `/ocpi/{role}/{version}/{module}`, `/ocpi/{version}/{role}/{module}` (as existing nodes serve
    /// charging profiles) and `/ocpi/custom/{role}/{module}`; for nodes `/ocn/relay/{role}/{module}`, whose
    /// version is in a header, and `/ocn/relay/custom/{role}/{module}`.
    fn find(path: &Bytes) -> Result<Self, Refusal> {
        Self::read(path)
            .ok_or_else(|| Refusal::new(Kind::NoSuchPath, "nothing is served under this path"))
    }

    fn read(path: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(path).ok()?;
        let (from_node, rest) = match text.strip_prefix(NODE_DOOR) {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("/ocpi/")?),
        };
        let role = |segment: &str| {
            [InterfaceRole::Sender, InterfaceRole::Receiver]
                .into_iter()
                .find(|role| role.path_segment() == segment)
        };
        let mut parts = rest.split('/');
        let (first, second) = (parts.next()?, parts.next()?);
        let (version, role, among_custom, id) = match (role(first), role(second)) {
            (Some(role), _) if from_node => (None, role, false, second),
            (Some(role), None) => (Some(second.parse().ok()?), role, false, parts.next()?),
            (None, Some(role)) if first == "custom" => (None, role, true, parts.next()?),
            (None, Some(role)) if !from_node => {
                (Some(first.parse().ok()?), role, false, parts.next()?)
            }
            _ => return None,
        };
        let suffix_at = id.as_ptr() as usize - text.as_ptr() as usize + id.len();
        let module = Module::from_id(id);
        let custom = matches!(module, Module::Custom(_));
        let known_id = (1..=64).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        // A standard module has one spelling and a custom one its own door: no second way round a rule.
        (custom == among_custom
            && known_id
            && !module.is_configuration()
            && (custom || module.as_str() == id))
            .then_some(Self {
                version,
                module,
                role,
                suffix_at,
            })
    }
}

/// Refuses paths that two readers could resolve differently (`safety.md` A15, A16).
fn check_path(path: &[u8]) -> Result<(), Refusal> {
    check_percent(path)?;
    if path.contains(&b'?') {
        // No server gives one: what comes after it would be the query of whoever reads the URL next.
        return Err(malformed("the path contains a question mark"));
    }
    for segment in path.split(|byte| *byte == b'/') {
        let decoded = decode(segment);
        let climbs = decoded
            .split(|byte| matches!(byte, b'/' | b'\\'))
            .any(|piece| {
                let name = piece.split(|byte| *byte == b';').next().unwrap_or_default();
                matches!(name, b"." | b"..")
            });
        if climbs || decoded.contains(&b'\\') {
            return Err(malformed("the path contains a dot segment or a backslash"));
        }
    }
    Ok(())
}

/// Refuses malformed percent-encoding, `%00`, and encoded or raw line ends.
fn check_percent(text: &[u8]) -> Result<(), Refusal> {
    let bad = || malformed("bad percent-encoding or control byte in path or query");
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        if first <= b' ' || first == 0x7f || first == b'#' {
            return Err(bad());
        }
        rest = tail;
        if first == b'%' {
            let byte = tail.get(..2).and_then(hex_byte).ok_or_else(bad)?;
            if matches!(byte, 0 | b'\r' | b'\n') {
                return Err(bad());
            }
            rest = &tail[2..];
        }
    }
    Ok(())
}

fn hex_byte(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)
}

/// Resolves percent-encoding once; malformed sequences stay.
pub(super) fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        match (first == b'%')
            .then(|| tail.get(..2).and_then(hex_byte))
            .flatten()
        {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Option<(Option<Version>, String, InterfaceRole, String)> {
        let found = Place::read(path.as_bytes())?;
        Some((
            found.version,
            found.module.as_str().into(),
            found.role,
            path[found.suffix_at..].into(),
        ))
    }

    #[test]
    fn the_doors_are_found() {
        let (v, s, r) = (
            Some(Version::V2_2_1),
            InterfaceRole::Sender,
            InterfaceRole::Receiver,
        );
        let own = |text: &str| text.to_owned();
        assert_eq!(
            place("/ocpi/sender/2.2.1/locations"),
            Some((v, own("locations"), s, own("")))
        );
        assert_eq!(
            place("/ocpi/2.2.1/receiver/chargingprofiles/S%201"),
            Some((v, own("chargingprofiles"), r, own("/S%201")))
        );
        assert_eq!(
            place("/ocpi/custom/receiver/nltnm-x/a/b"),
            Some((None, own("nltnm-x"), r, own("/a/b")))
        );
        assert_eq!(
            place("/ocn/relay/sender/locations/2.2.1/sender"),
            Some((None, own("locations"), s, own("/2.2.1/sender")))
        );
        assert_eq!(
            place("/ocn/relay/custom/receiver/nltnm-x"),
            Some((None, own("nltnm-x"), r, own("")))
        );
    }

    #[test]
    fn a_deadline_is_decimal_seconds() {
        for (text, millis) in [("12", 12_000), ("0.5", 500), ("1.25", 1_250), ("0", 0)] {
            assert_eq!(
                seconds(text.as_bytes()),
                Some(Duration::from_millis(millis))
            );
        }
        for bad in [
            "", ".", "1.", ".5", "-1", "+1", "1e3", "1.2345", "9999999", "1 ",
        ] {
            assert_eq!(seconds(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn test_a73_no_second_spelling_of_a_module() {
        for path in [
            "/ocpi/custom/sender/locations",
            "/ocpi/sender/2.2.1/LOCATIONS",
            "/ocpi/sender/2.2.1/nltnm-x",
            "/ocpi/sender/2.2.1/credentials",
            "/ocpi/custom/sender/Credentials",
            "/ocpi/sender/2.1.1/locations",
            "/ocpi/sender/2.2.1",
            "/ocpi/sender/receiver/locations",
            "/ocn/relay/sender/2.2.1/locations",
            "/ocn/relay/2.2.1/sender/locations",
            "/ocn/relay/sender/nltnm-x",
            "/ocn/relay/custom/sender/locations",
            "/ocn/relay/sender/credentials",
            "/ocn/relay/sender",
            "/ocn/relay/",
            "/ocn/relay",
        ] {
            assert_eq!(place(path), None, "{path}");
        }
    }

    #[test]
    fn test_a16_paths_that_climb_are_refused() {
        for path in [
            "/a/../b",
            "/a/%2e%2E/b",
            "/a/..%2Fb",
            "/a/.%2e",
            "/a/..;x/b",
            "/a\\b",
            "/a/%5c..",
            "/a/..?",
            "/a?b",
        ] {
            assert!(check_path(path.as_bytes()).is_err(), "{path}");
        }
        for path in ["/a/b%2Fc/d%20e", "/a//b", "/a/...", "/a/.b", "/ä"] {
            assert!(check_path(path.as_bytes()).is_ok(), "{path}");
        }
    }

    #[test]
    fn test_a15_bad_percent_encoding_is_refused() {
        for text in ["%", "%G1", "%1", "%00", "a%0D", "%0a", "a b", "a\tb", "a#b"] {
            assert!(check_percent(text.as_bytes()).is_err(), "{text}");
        }
        for text in ["%c3%28", "%C0%AF", "a=b&c=%2B", ""] {
            assert!(check_percent(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn content_length_is_digits_only() {
        for bad in ["+5", "0x5", "5,5", "-1", "", " 5"] {
            assert!(content_length(Some(Bytes::from(bad))).is_err(), "{bad}");
        }
        let huge = content_length(Some(Bytes::from_static(b"99999999999999999999999")));
        assert_eq!(huge.expect("digits"), Some(usize::MAX));
    }
}
