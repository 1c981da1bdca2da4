//! Two nodes, A with the MSP and B with the CPO, that reach each other through their outbound ports; a third
//! operator C is only listed. What passes between them can be bent on the way.
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ocn_core::eth::SigningKey;
use ocn_core::relay::ports::{Answer, Departure, Outgoing, SendError};
use ocn_core::relay::{Head, Reply, relay};
use serde_json::{Value, json};

use crate::world::{
    CPO_TOKEN, MSP_TOKEN, NOW, Peer, Request, Whole, World, cpo_key, header, json_of, key, msp_key,
    platform, request, settings, signed_answer,
};

pub(crate) const A: &str = "https://a.example";
pub(crate) const B: &str = "https://b.example/ocn-node";

pub(crate) fn a_key() -> SigningKey {
    key(21)
}
pub(crate) fn b_key() -> SigningKey {
    key(22)
}
pub(crate) fn c_key() -> SigningKey {
    key(23)
}

type Bender = dyn Fn(&mut Outgoing) + Send + Sync;
type AnswerBender = dyn Fn(&Outgoing, &mut Answer) + Send + Sync;

/// The way from one node to another.
pub(crate) struct Way {
    to: Weak<World>,
    base: &'static str,
    bend: Mutex<Arc<Bender>>,
    bend_answer: Mutex<Arc<AnswerBender>>,
}

impl Way {
    fn new(to: &Arc<World>, base: &'static str) -> Arc<Self> {
        Arc::new(Self {
            to: Arc::downgrade(to),
            base,
            bend: Mutex::new(Arc::new(|_| {})),
            bend_answer: Mutex::new(Arc::new(|_, _| {})),
        })
    }

    /// Changes what passes from now on; `node-info` does not come here.
    pub(crate) fn bend(&self, bend: impl Fn(&mut Outgoing) + Send + Sync + 'static) {
        *self.bend.lock().unwrap() = Arc::new(bend);
    }

    /// Changes what comes back from now on, `node-info` too.
    pub(crate) fn bend_answer(
        &self,
        bend: impl Fn(&Outgoing, &mut Answer) + Send + Sync + 'static,
    ) {
        *self.bend_answer.lock().unwrap() = Arc::new(bend);
    }
}

impl Peer for Way {
    fn call(&self, mut request: Outgoing) -> BoxFuture<'static, Result<Answer, SendError>> {
        let (to, base) = (self.to.upgrade().unwrap(), self.base);
        let bend = self.bend.lock().unwrap().clone();
        let bend_answer = self.bend_answer.lock().unwrap().clone();
        Box::pin(async move {
            let mut answer = if request.url == format!("{base}/ocn/registry/node-info") {
                node_info(&to, base)
            } else {
                bend(&mut request);
                arrive(&to, base, &request).await
            };
            bend_answer(&request, &mut answer);
            Ok(answer)
        })
    }
}

fn node_info(node: &World, base: &str) -> Answer {
    let address = node.node.key().address().to_string();
    let info = json!({"url": base, "address": address, "relay": ["ocn-relay/3"]});
    Answer {
        status: 200,
        headers: Vec::new(),
        body: Bytes::from(info.to_string()),
    }
}

/// Hands a request over as a server would: whatever stands in front of the node takes its prefix off.
pub(crate) async fn arrive(to: &World, base: &str, request: &Outgoing) -> Answer {
    let (head, body) = taken(base, request);
    let Reply {
        status,
        headers,
        body,
        ..
    } = relay(head, body, &to.node, to, &Departure::default()).await;
    let headers = headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Answer {
        status,
        headers: headers.collect(),
        body,
    }
}

/// A request as the node at `base` takes it from its server.
pub(crate) fn taken(base: &str, request: &Outgoing) -> (Head, Whole) {
    let target = request.url.strip_prefix(base).unwrap_or("/elsewhere");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let mut headers: Vec<(Bytes, Bytes)> = request
        .headers
        .iter()
        .map(|(name, value)| (bytes(name), value.clone()))
        .collect();
    headers.push((bytes("host"), bytes("in.front")));
    headers.push((
        bytes("content-length"),
        bytes(&request.body.len().to_string()),
    ));
    let head = Head {
        method: request.method.clone(),
        path: bytes(path),
        query: bytes(query),
        headers,
        peer: None,
    };
    (head, Whole(request.body.clone()))
}

/// Both nodes and the ways between them.
pub(crate) struct Network {
    pub(crate) a: Arc<World>,
    pub(crate) b: Arc<World>,
    pub(crate) a_to_b: Arc<Way>,
}

/// The registry that both nodes see.
pub(crate) fn registry() -> Value {
    let address = |key: SigningKey| key.address().to_string();
    let party = |id: &str, own: SigningKey, operator: SigningKey| {
        json!({"country_code": "DE", "party_id": id, "address": address(own),
            "operator": address(operator), "roles": ["CPO"], "modules": []})
    };
    json!({"block": 7, "block_hash": null, "block_time": "2026-01-01T00:00:00Z",
        "operators": [
            {"address": address(a_key()), "domain": format!("{A}/")},
            {"address": address(b_key()), "domain": B},
            {"address": address(c_key()), "domain": "https://c.example"}],
        "gone_operators": [],
        "parties": [party("MSP", msp_key(), a_key()), party("CPO", cpo_key(), b_key()),
            party("NEW", key(8), b_key()), party("FAR", key(7), c_key()),
            party("LOS", key(6), key(24))],
        "gone_parties": []})
}

pub(crate) fn own_settings(url: &str, party_id: &str) -> Value {
    let mut settings = settings();
    settings["node"]["url"] = json!(url);
    settings["node"]["party_id"] = json!(party_id);
    settings
}

pub(crate) fn change(registry: Value, platforms: Value) -> Value {
    json!({"number": 1, "full": true, "registry": registry, "platforms": platforms,
        "gone_platforms": []})
}

pub(crate) fn msp_platform() -> Value {
    platform(1, "MSP", "EMSP", MSP_TOKEN, "https://msp.example")
}

pub(crate) fn cpo_platform() -> Value {
    platform(2, "CPO", "CPO", CPO_TOKEN, "https://cpo.example")
}

impl Network {
    pub(crate) fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// With other settings: they are given with the name of their node.
    pub(crate) fn with(adjust: impl Fn(&str, &mut Value)) -> Self {
        Self::of(adjust, change(registry(), json!([cpo_platform()])))
    }

    /// With other settings, and another table at B.
    pub(crate) fn of(adjust: impl Fn(&str, &mut Value), table_of_b: Value) -> Self {
        let (mut of_a, mut of_b) = (own_settings(A, "HBA"), own_settings(B, "HBB"));
        adjust("a", &mut of_a);
        adjust("b", &mut of_b);
        let a = World::of(a_key(), of_a, change(registry(), json!([msp_platform()])));
        let b = World::of(b_key(), of_b, table_of_b);
        let (a, b) = (Arc::new(a), Arc::new(b));
        let (a_to_b, b_to_a) = (Way::new(&b, B), Way::new(&a, A));
        a.receiver
            .peers
            .lock()
            .unwrap()
            .push((B.into(), Arc::clone(&a_to_b) as _));
        b.receiver
            .peers
            .lock()
            .unwrap()
            .push((A.into(), Arc::clone(&b_to_a) as _));
        Self { a, b, a_to_b }
    }

    /// What left the node A for the node B, questions apart.
    pub(crate) fn legs(&self) -> Vec<Outgoing> {
        self.a
            .delivered()
            .into_iter()
            .filter(|sent| sent.url.starts_with(&format!("{B}/ocn/relay/")))
            .collect()
    }

    /// What arrived at the CPO.
    pub(crate) fn at_cpo(&self) -> Vec<Outgoing> {
        at(&self.b, "https://cpo.example/")
    }

    /// What arrived at the MSP.
    pub(crate) fn at_msp(&self) -> Vec<Outgoing> {
        at(&self.a, "https://msp.example/")
    }

    /// How the CPO answers from now on: with these headers, signed.
    pub(crate) fn cpo_answers(&self, headers: &'static [(&str, &str)], body: &str) {
        let body = body.to_owned();
        self.b
            .answers(move |_| Ok(signed_answer(cpo_key(), headers, &body)));
    }
}

fn at(node: &World, origin: &str) -> Vec<Outgoing> {
    let delivered = node.delivered().into_iter();
    delivered
        .filter(|sent| sent.url.starts_with(origin))
        .collect()
}

/// A header of an answer.
pub(crate) fn answer_header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .headers
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| std::str::from_utf8(value).unwrap())
}

/// Sets a header of a request.
pub(crate) fn set(request: &mut Outgoing, name: &'static str, value: &str) {
    request.headers.retain(|(known, _)| *known != name);
    request
        .headers
        .push((name, Bytes::copy_from_slice(value.as_bytes())));
}

/// Lets time pass for a node.
pub(crate) fn advance(node: &World, seconds: u64) {
    node.clock
        .asked
        .fetch_add(seconds * 100_000, Ordering::Relaxed);
}

pub(crate) type Bend = Box<dyn Fn(&mut Outgoing)>;

/// What somebody between two nodes may change of a message, one thing at a time, each with its name.
pub(crate) fn alterations() -> Vec<(&'static str, Bend)> {
    let headers = [
        ("x-request-id", "r-9"),
        ("x-correlation-id", "c-9"),
        ("ocpi-from-party-id", "NEW"),
        ("ocpi-to-party-id", "NEW"),
        ("ocn-ocpi-version", "2.2"),
        ("ocn-deadline", "99"),
        ("ocn-signature", "AAAA"),
        ("content-type", "text/plain"),
        ("content-digest", "sha-256=:AAAA:"),
    ];
    let mut bends: Vec<(&str, Bend)> = vec![
        (
            "method",
            Box::new(|leg| leg.method = Bytes::from_static(b"PATCH")),
        ),
        (
            "path",
            Box::new(|leg| leg.url = leg.url.replace("/S1", "/S2")),
        ),
        ("query", Box::new(|leg| leg.url += "?a=1")),
        (
            "body",
            Box::new(|leg| leg.body = Bytes::from_static(br#"{"id":"S2"}"#)),
        ),
        (
            "ocn-to-node",
            Box::new(|leg| set(leg, "ocn-to-node", &address(&c_key()))),
        ),
        (
            "stripped",
            Box::new(|leg| leg.headers.retain(|(name, _)| *name != "ocn-signature")),
        ),
    ];
    for (name, value) in headers {
        bends.push((name, Box::new(move |leg| set(leg, name, value))));
    }
    bends
}

/// Signs a request anew, as the node with that key would.
pub(crate) fn sign(request: &mut Outgoing, key: &SigningKey, created: i64, nonce: u128) {
    use ocn_core::wire::{Parameters, RequestView, sign_request};
    request
        .headers
        .retain(|(name, _)| !name.starts_with("signature"));
    let target = request.url.strip_prefix(B).unwrap().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let headers: Vec<(&str, &[u8])> = request.headers.iter().map(|(n, v)| (*n, &v[..])).collect();
    let view = RequestView {
        method: std::str::from_utf8(&request.method).unwrap(),
        path: path.as_bytes(),
        query: query.as_bytes(),
        headers: &headers,
    };
    let parameters = Parameters {
        created,
        expires: created + 30,
        nonce: nonce.to_be_bytes(),
        keyid: key.address(),
    };
    let signed = sign_request(&view, &parameters, key).unwrap();
    request
        .headers
        .push(("signature-input", Bytes::from(signed.input)));
    request
        .headers
        .push(("signature", Bytes::from(signed.signature)));
}

/// The path of a link of that node.
pub(crate) fn path_at<'a>(base: &str, url: &'a str) -> &'a str {
    url.strip_prefix(base).unwrap()
}

/// The target of a `Link` header.
pub(crate) fn next(reply: &Reply) -> String {
    let link = header(&reply.headers, "link").unwrap();
    let (target, _) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
    target.to_owned()
}

pub(crate) const SECOND: i64 = (NOW / 1_000) as i64;

#[track_caller]
pub(crate) fn assert_verdict(reply: &Reply, http: u16, ocpi: u16, delivery: Option<&str>) {
    let body = json_of(&reply.body);
    assert_eq!(
        (reply.status, &body["status_code"]),
        (http, &json!(ocpi)),
        "{body}"
    );
    assert_eq!(header(&reply.headers, "ocn-delivery"), delivery, "{body}");
}

pub(crate) fn text(reply: &Reply) -> String {
    json_of(&reply.body)["status_message"]
        .as_str()
        .unwrap()
        .to_owned()
}

pub(crate) fn list() -> Request {
    request("GET", "/ocpi/sender/2.2.1/locations", "")
}

pub(crate) fn address(key: &SigningKey) -> String {
    key.address().to_string()
}

pub(crate) fn signature_of(body: &[u8]) -> String {
    json_of(body)["ocn_signature"].as_str().unwrap().to_owned()
}

/// A leg as the node A makes it, to be bent.
pub(crate) async fn leg(network: &Network, request: Request) -> Outgoing {
    let before = network.legs().len();
    network.a.send(request).await;
    network.legs().remove(before)
}

pub(crate) fn put() -> Request {
    request(
        "PUT",
        "/ocpi/receiver/2.2.1/sessions/DE/CPO/S1",
        r#"{"id":"S1"}"#,
    )
}
