//! Other nodes: what their messages and answers are believed by, and how ours are signed (`ocn-relay.md`).
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Walk;
use super::authenticate::Sender;
use super::error::{Kind, Refusal, VERDICTS};
use super::home::{Home, NODE_DOOR};
use super::message::{Reply, Stale};
use super::parse::{Envelope, Proof};
use super::ports::{Answer, Clock as _, Ports, Random as _};
use super::record::Delivery;
use crate::eth::Address;
use crate::ocpi::{InterfaceRole, Module, Status};
use crate::table::Operator;
use crate::wire::{
    self, Parameters, RequestView, ResponseView, Verified, WireError, WireLimits, check_digest,
    content_digest, sign_request, sign_response, verify_request, verify_response,
};

/// The longest text of another node that is passed on.
const TEXT_CHARS: usize = 200;

/// A node that brought a message.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// What an answer has to be bound to: the request's `Signature`, once that has been found good. Before,
    /// nothing is signed: an answer for a stranger could be held against the node whose signature he copied.
    request: Option<Bytes>,
}

/// The proof that a message of another node is this once only.
pub(super) type Once = Parameters;

/// Finds the node that brought a message, and whether it may speak for the sender (`ocn-relay.md` 2, 3, 7;
/// `safety.md` A95, A151). What costs nothing is looked at first; the one recovery is the last thing.
pub(super) fn authenticate<P: Ports>(
    walk: &mut Walk<'_, P>,
    envelope: &Envelope,
    proof: &Proof,
) -> Result<Sender, Refusal> {
    let refused = |text: String| Refusal::new(Kind::NodeSignature, text);
    let (Some(input), Some(signature)) = (proof.get("signature-input"), proof.get("signature"))
    else {
        return Err(refused("the message is not signed by a node".into()));
    };
    let own = walk.node.key.address();
    let to_node = proof
        .get("ocn-to-node")
        .and_then(|text| std::str::from_utf8(text).ok()?.parse::<Address>().ok());
    if to_node != Some(own) {
        return Err(refused("OCN-To-Node does not name this node".into()));
    }
    let Some(address) = envelope.from.clone() else {
        return Err(refused("the OCPI-from-* headers are missing".into()));
    };
    let headers: Vec<(&str, &[u8])> = proof.headers.iter().map(|(n, v)| (*n, &v[..])).collect();
    let view = RequestView {
        method: envelope.method.as_str(),
        path: &proof.path,
        query: &envelope.query,
        headers: &headers,
    };
    let Verified { parameters } =
        verify_request(&view, input, signature, seconds(walk), &limits(walk))
            .map_err(disbelieved)?;
    let signer = parameters.keyid;
    if signer == own {
        return Err(refused("the signature is this node's own".into()));
    }
    let Some(operator) = walk.table.operator(&signer).filter(|o| o.base().is_some()) else {
        return Err(refused("the signer is no node of the registry".into()).stale(Stale::Sender));
    };
    let operator = Arc::clone(operator);
    walk.record.operator = Some(operator.address.to_string());
    walk.requester.peer = Some(Peer {
        request: Some(signature.clone()),
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

/// Refuses what was taken before. Called when all else that could be mended by a newer table has passed:
/// the door may try a message twice.
pub(super) fn only_once<P: Ports>(walk: &Walk<'_, P>, sender: &Sender) -> Result<(), Refusal> {
    match &sender.once {
        Some(once) if !walk.node.replays.first(once) => Err(Refusal::new(
            Kind::NodeSignature,
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
    let kind = if error.is_malformed() {
        Kind::Malformed
    } else {
        Kind::NodeSignature
    };
    Refusal::new(kind, error.to_string())
}

/// A head for another node: the party's ids and signature, what the protocol adds, and nothing else
/// (`safety.md` A91). Also the signature that the answer must be bound to.
pub(super) struct PeerHead {
    pub(super) headers: Vec<(&'static str, Bytes)>,
    pub(super) signature: String,
}

/// Completes the head of a message to a node with the headers of the protocol and the signature.
///
/// `url` lies under the node's domain; what is signed is its path from the door on, because whatever stands
/// in front of a node may take a prefix off.
pub(super) fn complete<P: Ports>(
    walk: &Walk<'_, P>,
    mut headers: Vec<(&'static str, Bytes)>,
    envelope: &Envelope,
    operator: &Operator,
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
    let own = url
        .strip_prefix(operator.base().unwrap_or_default())
        .unwrap_or(url);
    let (path, query) = own.split_once('?').unwrap_or((own, ""));
    let views: Vec<(&str, &[u8])> = headers.iter().map(|(n, v)| (*n, &v[..])).collect();
    let view = RequestView {
        method: envelope.method.as_str(),
        path: path.as_bytes(),
        query: query.as_bytes(),
        headers: &views,
    };
    let signed =
        sign_request(&view, &parameters(walk, deadline), &walk.node.key).map_err(|error| {
            Refusal::new(
                Kind::BadParameter,
                format!("the message cannot be signed for another node: {error}"),
            )
        })?;
    headers.push(("signature-input", Bytes::from(signed.input)));
    headers.push(("signature", Bytes::from(signed.signature.clone())));
    Ok(PeerHead {
        headers,
        signature: signed.signature,
    })
}

/// Makes an answer one for a node: whose it is, what became of the message, digest and signature
/// (`ocn-relay.md` 3, 4). `delivery` is given where this node made the answer itself.
pub(super) fn sign_reply<P: Ports>(
    walk: &Walk<'_, P>,
    reply: &mut Reply,
    delivery: Option<Delivery>,
) {
    let Some(peer) = &walk.requester.peer else {
        return;
    };
    let origin = if delivery.is_some() {
        "node"
    } else {
        "receiver"
    };
    let headers = &mut reply.headers;
    headers.push(("ocn-origin", Bytes::from_static(origin.as_bytes())));
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
    // An answer that cannot be signed goes out as it is: the other node then says so.
    if let Ok(signed) = sign_response(&view, &parameters(walk, Duration::ZERO), &walk.node.key) {
        headers.push(("signature-input", Bytes::from(signed.input)));
        headers.push(("signature", Bytes::from(signed.signature)));
    }
}

/// Judges the answer of another node: `Ok` if it is the receiver's and the node vouches for it, otherwise
/// the refusal for our own party (`ocn-relay.md` 4, 7; `safety.md` A98, R9).
pub(super) fn judge<P: Ports>(
    walk: &mut Walk<'_, P>,
    answer: &Answer,
    request_signature: &str,
    operator: &Operator,
) -> Result<(), Refusal> {
    let header = |name: &str| {
        let mut values = answer.headers.iter().filter(|(known, _)| known == name);
        let first = values.next().map(|(_, value)| &value[..]);
        first.filter(|_| values.next().is_none())
    };
    let origin = match header("ocn-origin") {
        Some(b"receiver") => Some("receiver"),
        Some(b"node") => Some("node"),
        _ => None,
    };
    walk.record.far_origin = origin;
    if answer.status == 404 && origin.is_none() {
        // Only another software at the other end explains that (`ocn-relay.md` 1).
        operator.dialect.forget();
    }
    if let Err(error) = verify_answer(walk, answer, &header, request_signature, operator) {
        walk.node.metrics.node_answer_refused();
        if is_unsigned_refusal(answer.status) && origin == Some("node") {
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
    if origin == Some("receiver") {
        return Ok(());
    }
    let delivery = match header("ocn-delivery") {
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

fn verify_answer<'a, P: Ports>(
    walk: &Walk<'_, P>,
    answer: &'a Answer,
    header: &impl Fn(&str) -> Option<&'a [u8]>,
    request_signature: &str,
    operator: &Operator,
) -> Result<(), WireError> {
    let input = header("signature-input").ok_or(WireError::Missing("signature-input"))?;
    let signature = header("signature").ok_or(WireError::Missing("signature"))?;
    let views: Vec<(&str, &[u8])> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), &value[..]))
        .collect();
    let view = ResponseView {
        status: answer.status,
        headers: &views,
        request_signature,
    };
    let (now, limits) = (seconds(walk), limits(walk));
    verify_response(&view, input, signature, now, &limits, operator.address)?;
    check_digest(header("content-digest"), &answer.body)
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

fn seconds<P: Ports>(walk: &Walk<'_, P>) -> i64 {
    walk.ports.clock().unix_millis().div_euclid(1_000)
}

fn limits<P: Ports>(walk: &Walk<'_, P>) -> WireLimits {
    WireLimits {
        clock_skew_s: walk.node.settings.node.clock_skew_s,
        ..WireLimits::default()
    }
}

/// Ours for what is sent now and may take `deadline`: it must hold for a reader whose clock is ahead.
fn parameters<P: Ports>(walk: &Walk<'_, P>, deadline: Duration) -> Parameters {
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
