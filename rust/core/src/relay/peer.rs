//! Other nodes: what their messages and answers are believed by, and how ours are signed (`ocn-relay.md`).
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Walk;
use super::authenticate::Sender;
use super::error::{Kind, Refusal, VERDICTS};
use super::home::{Home, NODE_DOOR};
use super::message::{Reply, Stale};
use super::parse::{Envelope, Method, Proof};
use super::ports::{Answer, Clock as _, Outgoing, Ports, Random as _};
use super::record::Delivery;
use super::session;
use crate::eth::Address;
use crate::ocpi::{InterfaceRole, Module, Status};
use crate::table::Operator;
use crate::wire::{
    self, Parameters, RequestView, ResponseView, Session, Signed, Signer, Verified, WireError,
    WireLimits, check_digest, content_digest, sign_request, sign_response, verify_asking,
    verify_message, verify_response, verify_session_response,
};

/// The longest text of another node that is passed on.
const TEXT_CHARS: usize = 200;

/// A node that brought a message.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// What an answer has to be bound to: the request's `Signature`, once that has been found good. Before,
    /// nothing is signed: an answer for a stranger could be held against the node whose signature he copied.
    request: Option<Bytes>,
    /// The session by which it was found good; the answer is signed by the same.
    session: Option<Session>,
}

/// The proof that a message of another node is this once only.
pub(super) type Once = Parameters;

/// The header by which a node says that it does not know the session of a message, and so has not taken it.
pub(super) const SESSION_HEADER: &str = "ocn-session";
pub(super) const SESSION_LOST: &[u8] = b"lost";

/// Finds the node that brought a message, and whether it may speak for the sender (`ocn-relay.md` 2, 3, 7;
/// `safety.md` A95, A151). What costs nothing is looked at first; the one recovery is the last thing.
pub(super) fn authenticate<P: Ports>(
    walk: &mut Walk<'_, P>,
    envelope: &Envelope,
    proof: &Proof,
) -> Result<Sender, Refusal> {
    let (input, signature) = for_this_node(walk, proof)?;
    let Some(address) = envelope.from.clone() else {
        return Err(refused("the OCPI-from-* headers are missing"));
    };
    let headers: Vec<(&str, &[u8])> = proof.headers.iter().map(|(n, v)| (*n, &v[..])).collect();
    let view = RequestView {
        method: envelope.method.as_str(),
        path: &proof.path,
        query: &envelope.query,
        headers: &headers,
    };
    let now = seconds(walk);
    let (Verified { parameters }, session) =
        verify_message(&view, input, signature, now, &limits(walk), |id| {
            session::find(walk, id, now)
        })
        .map_err(disbelieved)?;
    let signer = parameters.keyid;
    let operator = listed(walk, signer).map_err(|refusal| refusal.stale(Stale::Sender))?;
    walk.record.operator = Some(operator.address.to_string());
    walk.requester.peer = Some(Peer {
        request: Some(signature.clone()),
        session,
    });
    walk.requester.authenticated = true;
    let registered = walk.table.registered(address.party);
    if registered.is_none_or(|party| party.operator != signer) {
        return Err(Refusal::new(
            Kind::ForeignSender,
            "the OCPI-from party is not a party of that node",
        )
        .stale(Stale::Sender));
    }
    Ok(Sender {
        home: Home::Node(operator),
        party: address.party,
        address,
        once: Some(parameters),
    })
}

/// Finds the node that asks for a session. Also gives the SHA-256 of what it signed, of which the keys are made.
pub(super) fn authenticate_asking<P: Ports>(
    walk: &mut Walk<'_, P>,
    proof: &Proof,
) -> Result<(Arc<Operator>, Once, [u8; 32]), Refusal> {
    let (input, signature) = for_this_node(walk, proof)?;
    let headers: Vec<(&str, &[u8])> = proof.headers.iter().map(|(n, v)| (*n, &v[..])).collect();
    let view = RequestView {
        method: Method::Post.as_str(),
        path: &proof.path,
        query: b"",
        headers: &headers,
    };
    let (Verified { parameters }, request) =
        verify_asking(&view, input, signature, seconds(walk), &limits(walk))
            .map_err(disbelieved)?;
    let operator = listed(walk, parameters.keyid)?;
    walk.requester.peer = Some(Peer {
        request: Some(signature.clone()),
        session: None,
    });
    Ok((operator, parameters, request))
}

fn refused(text: &'static str) -> Refusal {
    Refusal::new(Kind::NodeSignature, text)
}

/// The two headers of a signature, if the message names this node.
fn for_this_node<'p, P: Ports>(
    walk: &Walk<'_, P>,
    proof: &'p Proof,
) -> Result<(&'p Bytes, &'p Bytes), Refusal> {
    let (Some(input), Some(signature)) = (proof.get("signature-input"), proof.get("signature"))
    else {
        return Err(refused("the message is not signed by a node"));
    };
    let to_node = proof
        .get("ocn-to-node")
        .and_then(|text| std::str::from_utf8(text).ok()?.parse::<Address>().ok());
    if to_node != Some(walk.node.key.address()) {
        return Err(refused("OCN-To-Node does not name this node"));
    }
    Ok((input, signature))
}

/// The node of a signer, if the registry has one that is not this.
fn listed<P: Ports>(walk: &Walk<'_, P>, signer: Address) -> Result<Arc<Operator>, Refusal> {
    if signer == walk.node.key.address() {
        return Err(refused("the signature is this node's own"));
    }
    walk.table
        .operator(&signer)
        .filter(|operator| operator.base().is_some())
        .cloned()
        .ok_or_else(|| refused("the signer is no node of the registry"))
}

/// Refuses what was taken before. Called when all else that could be mended by a newer table has passed:
/// the door may try a message twice.
pub(super) fn only_once<P: Ports>(walk: &Walk<'_, P>, once: Option<&Once>) -> Result<(), Refusal> {
    match once {
        Some(once) if !walk.node.replays.first(once) => Err(refused(
            "this message was here before, or cannot be told from one that was",
        )),
        _ => Ok(()),
    }
}

/// Compares the body of a node's message with the digest that is signed.
pub(super) fn check_body(proof: &Proof, body: &[u8]) -> Result<(), Refusal> {
    let digest = proof.get("content-digest").map(|value| &value[..]);
    check_digest(digest, body).map_err(disbelieved)
}

fn disbelieved(error: WireError) -> Refusal {
    let kind = match error {
        WireError::Session => Kind::SessionLost,
        _ if error.is_malformed() => Kind::Malformed,
        _ => Kind::NodeSignature,
    };
    Refusal::new(kind, error.to_string())
}

/// A message on its way to another node: what its answer is bound to.
pub(super) struct Leg {
    signature: String,
    parameters: Parameters,
    /// By which it is signed, if not by this node's key.
    session: Option<Arc<Session>>,
}

impl Leg {
    pub(super) fn by_key(signature: String, parameters: Parameters) -> Self {
        Self {
            signature,
            parameters,
            session: None,
        }
    }

    pub(super) fn is_by_session(&self) -> bool {
        self.session.is_some()
    }
}

/// A head for another node, and what its answer is bound to.
pub(super) struct PeerHead {
    pub(super) headers: Vec<(&'static str, Bytes)>,
    pub(super) leg: Leg,
}

/// Completes the head of a message to a node: the party's ids and signature, what the protocol adds, and nothing else
/// (`safety.md` A91). Signed by the session with that node, if there is one.
///
/// `url` lies under the node's domain.
pub(super) fn complete<P: Ports>(
    walk: &Walk<'_, P>,
    mut headers: Vec<(&'static str, Bytes)>,
    envelope: &Envelope,
    operator: &Arc<Operator>,
    url: &str,
    body: &[u8],
    deadline: Duration,
) -> Result<PeerHead, Refusal> {
    if let Some(version) = envelope.version.filter(|_| !envelope.is_custom()) {
        headers.push((
            "ocn-ocpi-version",
            Bytes::from_static(version.as_str().as_bytes()),
        ));
    }
    headers.push(("ocn-to-node", Bytes::from(operator.address.to_string())));
    headers.push(("ocn-deadline", Bytes::from(deadline.as_secs().to_string())));
    if !body.is_empty() {
        headers.push(("content-digest", Bytes::from(content_digest(body))));
    }
    let session = session::with(walk, operator);
    let parameters = parameters(walk, deadline);
    let signer = match &session {
        Some(session) => Signer::Session(session),
        None => Signer::Key(&walk.node.key),
    };
    let signed = with_view(envelope.method.as_str(), url, operator, &headers, |view| {
        sign_request(view, &parameters, signer)
    })
    .map_err(unsignable)?;
    let signature = add(&mut headers, signed);
    let leg = Leg {
        signature,
        parameters,
        session,
    };
    Ok(PeerHead { headers, leg })
}

/// Forgets the session of a message that the other node did not take for its sake, and signs the message by this
/// node's key. The nonce stays: whatever the first one came to, both together are taken once.
pub(super) fn sign_again<P: Ports>(
    walk: &Walk<'_, P>,
    outgoing: &mut Outgoing,
    leg: &mut Leg,
    operator: &Operator,
) -> Result<(), Refusal> {
    if let Some(session) = leg.session.take() {
        operator.session.lose(&session);
        walk.node.metrics.session_lost();
    }
    if outgoing.deadline.is_zero() {
        return Err(Refusal::new(
            Kind::NoTime,
            "no time is left for the receiver",
        ));
    }
    let left = outgoing.deadline.as_secs().to_string();
    let headers = &mut outgoing.headers;
    headers.retain(|(name, _)| !matches!(*name, "signature-input" | "signature"));
    if let Some((_, deadline)) = headers.iter_mut().find(|(name, _)| *name == "ocn-deadline") {
        *deadline = Bytes::from(left);
    }
    let method = std::str::from_utf8(&outgoing.method).unwrap_or_default();
    let signed = with_view(method, &outgoing.url, operator, headers, |view| {
        sign_request(view, &leg.parameters, &walk.node.key)
    })
    .map_err(unsignable)?;
    leg.signature = add(headers, signed);
    Ok(())
}

/// A request to a node as its signature sees it: of the URL the path from the door on, because whatever stands in front
/// of a node may take a prefix off.
pub(super) fn with_view<T>(
    method: &str,
    url: &str,
    operator: &Operator,
    headers: &[(&'static str, Bytes)],
    look: impl FnOnce(&RequestView<'_>) -> T,
) -> T {
    let own = url
        .strip_prefix(operator.base().unwrap_or_default())
        .unwrap_or(url);
    let (path, query) = own.split_once('?').unwrap_or((own, ""));
    let views: Vec<(&str, &[u8])> = headers.iter().map(|(n, v)| (*n, &v[..])).collect();
    look(&RequestView {
        method,
        path: path.as_bytes(),
        query: query.as_bytes(),
        headers: &views,
    })
}

/// Adds the two headers of a signature; gives back the second.
pub(super) fn add(headers: &mut Vec<(&'static str, Bytes)>, signed: Signed) -> String {
    headers.push(("signature-input", Bytes::from(signed.input)));
    headers.push(("signature", Bytes::from(signed.signature.clone())));
    signed.signature
}

fn unsignable(error: WireError) -> Refusal {
    Refusal::new(
        Kind::BadParameter,
        format!("the message cannot be signed for another node: {error}"),
    )
}

/// Whose answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Receiver,
    Node,
}

impl Origin {
    fn as_str(self) -> &'static str {
        match self {
            Self::Receiver => "receiver",
            Self::Node => "node",
        }
    }
}

/// Makes an answer one for a node: whose it is, digest and signature (`ocn-relay.md` 3, 4).
pub(super) fn sign_reply<P: Ports>(walk: &Walk<'_, P>, reply: &mut Reply, origin: Origin) {
    let Some(peer) = &walk.requester.peer else {
        return;
    };
    let headers = &mut reply.headers;
    headers.push(("ocn-origin", Bytes::from_static(origin.as_str().as_bytes())));
    if !reply.body.is_empty() {
        headers.push(("content-digest", Bytes::from(content_digest(&reply.body))));
    }
    let request = peer.request.as_ref().filter(|_| reply.status != 401);
    let Some(request) = request.and_then(|text| std::str::from_utf8(text).ok()) else {
        return;
    };
    let views: Vec<(&str, &[u8])> = headers.iter().map(|(n, v)| (*n, &v[..])).collect();
    let view = ResponseView {
        status: reply.status,
        headers: &views,
        request_signature: request,
    };
    let signer = match &peer.session {
        Some(session) => Signer::Session(session),
        None => Signer::Key(&walk.node.key),
    };
    // An answer that cannot be signed goes out as it is: the other node then says so.
    if let Ok(signed) = sign_response(&view, &parameters(walk, Duration::ZERO), signer) {
        add(headers, signed);
    }
}

/// Judges the answer of another node: `Ok` if it is the receiver's and the node vouches for it, otherwise
/// the refusal for our own party (`ocn-relay.md` 4, 7; `safety.md` A98, R9).
pub(super) fn judge<P: Ports>(
    walk: &mut Walk<'_, P>,
    answer: &Answer,
    leg: &Leg,
    operator: &Operator,
) -> Result<(), Refusal> {
    let origin = origin(answer);
    walk.record.far_origin = origin.map(Origin::as_str);
    if answer.status == 404 && origin.is_none() {
        // Only another software at the other end explains that (`ocn-relay.md` 1).
        operator.dialect.forget();
    }
    if let Err(error) = verify_answer(walk, answer, leg, operator) {
        walk.node.metrics.node_answer_refused();
        if is_unsigned_refusal(answer.status) && origin == Some(Origin::Node) {
            let text = far_text(walk, &answer.body);
            return Err(Refusal::new(
                Kind::NodeRefused,
                format!("the receiver's node does not take this node's messages: {text}"),
            ));
        }
        return Err(Refusal::new(
            Kind::AnswerSignature,
            format!("Unable to verify response signature: {error}"),
        ));
    }
    if origin == Some(Origin::Receiver) {
        return Ok(());
    }
    let delivery = match header(answer, "ocn-delivery") {
        Some(b"no") => Delivery::No,
        Some(b"yes") => Delivery::Yes,
        // Without a word about it, it may have been.
        _ => Delivery::Maybe,
    };
    walk.record.far_delivery = Some(delivery.as_str());
    let kind = kind_of(answer.status, far_status(walk, &answer.body), delivery);
    let text = far_text(walk, &answer.body);
    Err(Refusal::new(
        kind,
        format!("the receiver's node says: {text}"),
    ))
}

/// What a node answers before it knows who asks, and so cannot sign for him: nothing was delivered.
fn is_unsigned_refusal(status: u16) -> bool {
    matches!(
        status,
        400 | 401 | 404 | 405 | 408 | 413..=415 | 429 | 431 | 503
    )
}

/// Whether a node says that it has not taken a message because it does not know the session. Like every refusal of
/// what it does not believe, it is not signed: the message that follows is safe against a lie (see [`sign_again`]).
pub(super) fn is_session_lost(answer: &Answer) -> bool {
    answer.status == 401
        && origin(answer) == Some(Origin::Node)
        && header(answer, "ocn-delivery") == Some(b"no")
        && header(answer, SESSION_HEADER) == Some(SESSION_LOST)
}

/// The value of a header that an answer has exactly once.
fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a [u8]> {
    let mut values = answer.headers.iter().filter(|(known, _)| known == name);
    let first = values.next().map(|(_, value)| &value[..]);
    first.filter(|_| values.next().is_none())
}

fn origin(answer: &Answer) -> Option<Origin> {
    match header(answer, "ocn-origin") {
        Some(b"receiver") => Some(Origin::Receiver),
        Some(b"node") => Some(Origin::Node),
        _ => None,
    }
}

/// Checks an answer by the means by which it was asked for, and by no other.
fn verify_answer<P: Ports>(
    walk: &Walk<'_, P>,
    answer: &Answer,
    leg: &Leg,
    operator: &Operator,
) -> Result<(), WireError> {
    let input = header(answer, "signature-input").ok_or(WireError::Missing("signature-input"))?;
    let signature = header(answer, "signature").ok_or(WireError::Missing("signature"))?;
    let views: Vec<(&str, &[u8])> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), &value[..]))
        .collect();
    let view = ResponseView {
        status: answer.status,
        headers: &views,
        request_signature: &leg.signature,
    };
    let (now, limits, expected) = (seconds(walk), limits(walk), operator.address);
    match &leg.session {
        Some(session) => {
            let held = (&**session, expected);
            verify_session_response(&view, input, signature, now, &limits, held)
        }
        None => verify_response(&view, input, signature, now, &limits, expected),
    }?;
    check_digest(header(answer, "content-digest"), &answer.body)
}

/// Checks the answer to a request for a session, which has no message's meaning.
pub(super) fn verify_given<P: Ports>(
    walk: &Walk<'_, P>,
    answer: &Answer,
    leg: &Leg,
    operator: &Operator,
) -> bool {
    answer.status == 200
        && origin(answer) == Some(Origin::Node)
        && verify_answer(walk, answer, leg, operator).is_ok()
}

/// What the other node's refusal is to our party (`ocpi-hub.md` 2.9). The verdict is passed on as it is.
fn kind_of(http: u16, status: Option<Status>, delivery: Delivery) -> Kind {
    match (delivery, status, http) {
        (Delivery::Yes, Some(Status::SERVER_ERROR), _) => Kind::AnswerSignature,
        (Delivery::Yes, _, _) => Kind::UnusableAnswer,
        (Delivery::Maybe, _, _) => Kind::NoAnswer,
        (Delivery::No, Some(Status::UNKNOWN_RECEIVER), _) => Kind::UnknownReceiver,
        (Delivery::No, Some(Status::HUB_ERROR), _) => Kind::NotOffered,
        (Delivery::No, Some(Status::UNKNOWN_LOCATION), _) => Kind::UnknownLink,
        (Delivery::No, Some(Status::CLIENT_ERROR), 403) => Kind::RuleForbids,
        (Delivery::No, Some(Status::INVALID_PARAMETERS), 400) => Kind::BadParameter,
        (Delivery::No, _, _) => Kind::NodeRefused,
    }
}

fn far_status<P: Ports>(walk: &Walk<'_, P>, body: &[u8]) -> Option<Status> {
    let [range] = crate::json::members(body, ["status_code"], &walk.node.json_limits).ok()?;
    super::open::status_code(&body[range?])
}

/// The other node's own words, cleaned: they come from outside (`safety.md` I22).
fn far_text<P: Ports>(walk: &Walk<'_, P>, body: &[u8]) -> String {
    let found = crate::json::members(body, ["status_message"], &walk.node.json_limits)
        .ok()
        .and_then(|[range]| crate::json::string(&body[range?]).ok());
    match found {
        Some(text) => clean(&text),
        None => "nothing that can be read".to_owned(),
    }
}

/// Printable ASCII, bounded, and without the verdict at its end, which we add ourselves.
fn clean(text: &str) -> String {
    let own = VERDICTS
        .iter()
        .find_map(|verdict| text.strip_suffix(verdict))
        .unwrap_or(text);
    own.chars()
        .take(TEXT_CHARS)
        .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
        .collect()
}

pub(super) fn seconds<P: Ports>(walk: &Walk<'_, P>) -> i64 {
    walk.ports.clock().unix_millis().div_euclid(1_000)
}

fn limits<P: Ports>(walk: &Walk<'_, P>) -> WireLimits {
    WireLimits {
        clock_skew_s: walk.node.settings.node.clock_skew_s,
        ..WireLimits::default()
    }
}

/// Ours for what is sent now and may take `deadline`: it must hold for a reader whose clock is ahead.
pub(super) fn parameters<P: Ports>(walk: &Walk<'_, P>, deadline: Duration) -> Parameters {
    let mut nonce = [0; 16];
    walk.ports.random().fill(&mut nonce);
    let created = seconds(walk);
    let lasts = i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX);
    let window = WireLimits::default().window_s;
    let skew = walk.node.settings.node.clock_skew_s;
    Parameters {
        created,
        expires: created + skew.saturating_add(lasts).saturating_add(1).min(window),
        nonce,
        keyid: walk.node.key.address(),
    }
}

/// Where the node at `base` takes messages of nodes for a module; the version is not in it.
pub(super) fn door(base: &str, role: InterfaceRole, module: &Module) -> String {
    let custom = if matches!(module, Module::Custom(_)) {
        "custom/"
    } else {
        ""
    };
    let (role, module) = (role.path_segment(), module.as_str());
    format!("{base}{NODE_DOOR}{custom}{role}/{module}")
}

/// What this node says that it speaks, and what it asks of others.
pub(super) const PROTOCOL: &str = wire::PROTOCOL;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_i22_texts_of_other_nodes_are_cleaned_and_bounded() {
        assert_eq!(
            clean("the store\r\nis\u{202e} away [not delivered]"),
            "the store??is? away"
        );
        assert_eq!(clean(&"x".repeat(10_000)).len(), TEXT_CHARS);
    }

    #[test]
    fn the_verdict_of_the_other_node_is_passed_on() {
        for http in [200, 400, 401, 403, 404, 429, 500, 502, 503, 504] {
            for status in (1_999..4_010).map(|code| Some(Status(code))).chain([None]) {
                for delivery in [Delivery::No, Delivery::Maybe, Delivery::Yes] {
                    assert_eq!(kind_of(http, status, delivery).delivery(), delivery);
                }
            }
        }
    }
}
