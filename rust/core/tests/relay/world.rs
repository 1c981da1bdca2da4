//! A node with in-memory ports, a receiver that records and answers as told, and requests to send to it.
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ocn_core::eth::{Address, SigningKey};
use ocn_core::notary::{Container, Limits, Notary, NumberForm, Part, Policy, Values};
use ocn_core::relay::ports::{
    Answer, Body, BodyError, Clock, Departure, Journal, JournalError, Link, Outbound, Outgoing,
    Ports, Random, SendError,
};
use ocn_core::relay::record::Record;
use ocn_core::relay::{Head, Node, Reply, Settings, relay};
use ocn_core::table::Change;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

type Answerer = dyn Fn(&Outgoing) -> Result<Answer, SendError> + Send + Sync;

/// The receiver: records what it gets, answers as told.
pub(crate) struct Receiver {
    journal: Mutex<Vec<Outgoing>>,
    answer: Mutex<std::sync::Arc<Answerer>>,
    /// Other nodes, by the start of their URLs.
    pub(crate) peers: Mutex<Vec<(String, std::sync::Arc<dyn Peer>)>>,
}

/// A node that is called like any receiver.
pub(crate) trait Peer: Send + Sync {
    fn call(&self, request: Outgoing) -> BoxFuture<'static, Result<Answer, SendError>>;
}

impl Outbound for Receiver {
    async fn send(&self, request: Outgoing, departure: &Departure) -> Result<Answer, SendError> {
        if !departure.depart() {
            return Err(SendError::Cancelled);
        }
        let peers = self.peers.lock().unwrap().clone();
        let peer = peers.iter().find(|(base, _)| request.url.starts_with(base));
        if let Some((_, peer)) = peer {
            self.journal.lock().unwrap().push(request.clone());
            return peer.call(request).await;
        }
        let answerer = self.answer.lock().unwrap().clone();
        let answer = answerer(&request);
        self.journal.lock().unwrap().push(request);
        answer
    }
}

/// The store: rows in memory, or out of order.
#[derive(Default)]
pub(crate) struct Rows {
    links: Mutex<HashMap<String, Link>>,
    broken: Mutex<bool>,
}

impl Rows {
    fn working(&self) -> Result<(), JournalError> {
        if *self.broken.lock().unwrap() {
            Err(JournalError::Unavailable)
        } else {
            Ok(())
        }
    }
}

impl Journal for Rows {
    async fn reserve(&self, link: Link) -> Result<(), JournalError> {
        self.working()?;
        let mut links = self.links.lock().unwrap();
        if links.contains_key(&link.id) {
            return Err(JournalError::Taken);
        }
        links.insert(link.id.clone(), link);
        Ok(())
    }

    async fn fill(&self, id: String, url: String) -> Result<(), JournalError> {
        self.working()?;
        self.links.lock().unwrap().get_mut(&id).unwrap().url = url;
        Ok(())
    }

    async fn find(&self, id: String) -> Result<Option<Link>, JournalError> {
        self.working()?;
        Ok(self.links.lock().unwrap().get(&id).cloned())
    }
}

/// A clock that can blow up when it is asked for the n-th time, which happens inside a stage.
pub(crate) struct Planted {
    pub(crate) asked: AtomicU64,
    pub(crate) blows_at: AtomicU64,
    pub(crate) millis: AtomicU64,
}

impl Clock for Planted {
    fn monotonic(&self) -> Duration {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        assert_ne!(
            asked,
            self.blows_at.load(Ordering::Relaxed),
            "planted fault"
        );
        Duration::from_micros(asked * 10)
    }

    fn unix_millis(&self) -> i64 {
        self.millis.load(Ordering::Relaxed) as i64
    }
}

/// Bytes that differ from call to call and from node to node, and are the same in every run.
pub(crate) struct Counting(AtomicU64, Address);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let turn = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let digest = Sha256::digest([&turn[..], self.1.as_bytes()].concat());
        for (byte, random) in bytes.iter_mut().zip(digest.iter().cycle()) {
            *byte = *random;
        }
    }
}

pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) clock: Planted,
    pub(crate) receiver: Receiver,
    rows: Rows,
    random: Counting,
    records: Mutex<Vec<Record>>,
}

impl Ports for World {
    type Outbound = Receiver;
    type Journal = Rows;
    type Clock = Planted;
    type Random = Counting;
    fn outbound(&self) -> &Receiver {
        &self.receiver
    }
    fn journal(&self) -> &Rows {
        &self.rows
    }
    fn clock(&self) -> &Planted {
        &self.clock
    }
    fn random(&self) -> &Counting {
        &self.random
    }
    fn record(&self, record: &Record) {
        self.records.lock().unwrap().push(record.clone());
    }
}

/// A body that is already here.
pub(crate) struct Whole(pub(crate) Bytes);

impl Body for Whole {
    async fn read(self) -> Result<Bytes, BodyError> {
        Ok(self.0)
    }
}

pub(crate) const MSP_TOKEN: &str = "token-c-of-the-msp";
pub(crate) const CPO_TOKEN: &str = "token-c-of-the-cpo";
/// What the clock says, Unix milliseconds.
pub(crate) const NOW: u64 = 1_790_000_000_000;

pub(crate) fn key(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&[byte; 32]).unwrap()
}
pub(crate) fn node_key() -> SigningKey {
    key(1)
}
pub(crate) fn msp_key() -> SigningKey {
    key(2)
}
pub(crate) fn cpo_key() -> SigningKey {
    key(3)
}

pub(crate) fn settings() -> Value {
    json!({
        "node": {"url": "https://hub.example/", "country_code": "NL", "party_id": "HUB",
            "replay_entries": 1000, "clock_skew_s": 60, "dialect_ttl_s": 3600},
        "http": {"header_bytes": 131_072, "header_count": 100, "target_bytes": 8192, "body_bytes": 8_388_608},
        "limits": {"in_flight": 4, "in_flight_per_platform": 3, "in_flight_per_receiver": 2,
            "buffered_bytes": 1_000_000, "response_bytes": 1_000_000, "json_depth": 128,
            "number_chars": 1000, "id_bytes": 255},
        "signatures": {"required": true, "policy": "strict", "text_bytes": 98_304,
            "notary_bytes": 1_048_576, "fields": 20_000, "rewrites": 16, "rewrite_paths": 16},
        "relay": {"connect_ms": 5_000, "deadline_ms": 12_000, "node_deadline_ms": 15_000, "breaker_failures": 10, "breaker_open_s": 10,
            "session_keys": true, "session_ttl_s": 3_600, "session_retry_s": 60,
            "forward_headers": ["X-Vendor"]},
        "links": {"page_ttl_s": 86_400, "command_ttl_s": 86_400, "reserve_margin_days": 7,
            "location_days": 3650},
    })
}

pub(crate) fn platform(id: i64, party: &str, role: &str, token: &str, origin: &str) -> Value {
    let modules = [
        "locations",
        "sessions",
        "cdrs",
        "tariffs",
        "tokens",
        "commands",
        "chargingprofiles",
        "nltnm-x",
    ];
    let endpoints: Vec<Value> = modules
        .iter()
        .flat_map(|module| {
            ["SENDER", "RECEIVER"].map(|side| {
                json!({"module": module, "role": side,
                    "url": format!("{origin}/ocpi/2.2.1/{}/{module}", side.to_lowercase())})
            })
        })
        .collect();
    let digest: String = Sha256::digest(token)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    json!({"id": id, "status": "CONNECTED", "version": "2.2.1",
        "parties": [{"country_code": "DE", "party_id": party, "role": role}],
        "tokens": [{"digest": digest, "expires_at": null}],
        "token_b": format!("token-b-of-{party}"), "token_encoding": "base64", "endpoints": endpoints,
        "origins": [], "versions_url": format!("{origin}/ocpi/versions"),
        "rules": {"signatures": false, "mode": "none", "entries": []},
        "sign_for_party": false, "exempt": []})
}

/// The table: MSP and CPO connected here, NEW listed here, FAR on another node.
pub(crate) fn change() -> Value {
    let (operator, other) = (
        node_key().address().to_string(),
        key(9).address().to_string(),
    );
    let party = |country: &str, id: &str, address: SigningKey, operator: &str| {
        json!({"country_code": country, "party_id": id, "address": address.address().to_string(),
            "operator": operator, "roles": ["CPO"], "modules": []})
    };
    json!({"number": 1, "full": true,
        "registry": {"block": 7, "block_hash": null, "block_time": "2026-01-01T00:00:00Z",
            "operators": [{"address": operator, "domain": "https://hub.example"},
                {"address": other, "domain": "https://other.example"}],
            "gone_operators": [],
            "parties": [party("DE", "MSP", msp_key(), &operator), party("DE", "CPO", cpo_key(), &operator),
                party("DE", "NEW", key(8), &operator), party("FR", "FAR", key(7), &other)],
            "gone_parties": []},
        "platforms": [
            platform(1, "MSP", "EMSP", MSP_TOKEN, "https://msp.example"),
            platform(2, "CPO", "CPO", CPO_TOKEN, "https://cpo.example")],
        "gone_platforms": []})
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(settings(), change())
    }

    pub(crate) fn with(settings: Value, change: Value) -> Self {
        Self::of(node_key(), settings, change)
    }

    /// The node with that key.
    pub(crate) fn of(key: SigningKey, settings: Value, change: Value) -> Self {
        let settings: Settings = serde_json::from_value(settings).unwrap();
        let own = key.address();
        let node = Node::new(settings, key, vec![(1, [5; 32])]).unwrap();
        node.table
            .apply(Change::parse(change.to_string().as_bytes()).unwrap())
            .unwrap();
        let world = Self {
            node,
            clock: Planted {
                asked: 0.into(),
                blows_at: 0.into(),
                millis: NOW.into(),
            },
            receiver: Receiver {
                journal: Mutex::default(),
                answer: Mutex::new(std::sync::Arc::new(|_| {
                    Err(SendError::NotSent("no answer set"))
                })),
                peers: Mutex::default(),
            },
            rows: Rows::default(),
            random: Counting(0.into(), own),
            records: Mutex::default(),
        };
        world.answers(|request| {
            let is_cpo = request.url.starts_with("https://cpo.example");
            Ok(signed_answer(
                if is_cpo { cpo_key() } else { msp_key() },
                &[],
                &plain_body(),
            ))
        });
        world
    }

    /// How the receiver answers from now on.
    pub(crate) fn answers(
        &self,
        answer: impl Fn(&Outgoing) -> Result<Answer, SendError> + Send + Sync + 'static,
    ) {
        *self.receiver.answer.lock().unwrap() = std::sync::Arc::new(answer);
    }

    pub(crate) fn break_the_store(&self) {
        *self.rows.broken.lock().unwrap() = true;
    }

    pub(crate) async fn send(&self, request: Request) -> Reply {
        self.send_with(request, &Departure::default()).await
    }

    pub(crate) async fn send_with(&self, request: Request, departure: &Departure) -> Reply {
        let (head, body) = request.finish();
        relay(head, Whole(body), &self.node, self, departure).await
    }

    pub(crate) fn delivered(&self) -> Vec<Outgoing> {
        self.receiver.journal.lock().unwrap().clone()
    }

    pub(crate) fn links(&self) -> HashMap<String, Link> {
        self.rows.links.lock().unwrap().clone()
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }

    pub(crate) fn last_record(&self) -> Record {
        self.records().pop().unwrap()
    }
}

/// A request under construction; by default of the MSP to the CPO, signed.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) token: String,
    pub(crate) from: (&'static str, &'static str),
    pub(crate) to: Option<(&'static str, &'static str)>,
    pub(crate) body: Bytes,
    pub(crate) signer: Option<[u8; 32]>,
    pub(crate) more: Vec<(&'static str, String)>,
}

pub(crate) fn request(method: &'static str, path: &str, body: &str) -> Request {
    Request {
        method,
        path: path.into(),
        query: String::new(),
        token: MSP_TOKEN.into(),
        from: ("DE", "MSP"),
        to: Some(("DE", "CPO")),
        body: Bytes::copy_from_slice(body.as_bytes()),
        signer: Some([2; 32]),
        more: Vec::new(),
    }
}

impl Request {
    /// The other way round.
    pub(crate) fn by_cpo(self) -> Self {
        let to = Some(("DE", "MSP"));
        Self {
            token: CPO_TOKEN.into(),
            from: ("DE", "CPO"),
            to,
            signer: Some([3; 32]),
            ..self
        }
    }

    pub(crate) fn finish(self) -> (Head, Bytes) {
        let mut headers: Vec<(&'static str, String)> = vec![
            ("host", "hub.example".into()),
            ("authorization", format!("Token {}", self.token)),
            ("x-request-id", "r-1".into()),
            ("x-correlation-id", "c-1".into()),
            ("ocpi-from-country-code", self.from.0.into()),
            ("ocpi-from-party-id", self.from.1.into()),
        ];
        if let Some(to) = self.to {
            headers.push(("ocpi-to-country-code", to.0.into()));
            headers.push(("ocpi-to-party-id", to.1.into()));
        }
        if let Some(signature) = self.signature(&headers[3..]) {
            headers.push(("ocn-signature", signature));
        }
        headers.push(("content-length", self.body.len().to_string()));
        headers.extend(self.more);
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let head = Head {
            method: bytes(self.method),
            path: bytes(&self.path),
            query: bytes(&self.query),
            headers: headers
                .iter()
                .map(|(name, value)| (bytes(name), bytes(value)))
                .collect(),
            peer: None,
        };
        (head, self.body)
    }

    fn signature(&self, headers: &[(&'static str, String)]) -> Option<String> {
        let key = SigningKey::from_bytes(&self.signer?).unwrap();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let decoded = self.query.replace("%3A", ":").replace("%2F", "/");
        let params: Vec<(&str, &str)> = decoded
            .split('&')
            .filter_map(|piece| piece.split_once('='))
            .collect();
        let values = Values {
            headers: Part::Pairs(&headers),
            params: if params.is_empty() {
                Part::Absent
            } else {
                Part::Pairs(&params)
            },
            body: if self.body.is_empty() {
                Part::Absent
            } else {
                Part::Json(&self.body)
            },
        };
        let notary = Notary::sign(&values, &key, NumberForm::Js, &Limits::default()).unwrap();
        Some(notary.pack(Container::Brotli))
    }
}

/// An envelope with odd spacing and number forms.
pub(crate) fn plain_body() -> String {
    r#"{ "data":[{"id":"L1","x":1.50e0,"y":"\/"}], "status_code":1000,"timestamp":"2026-01-01T00:00:00Z"}"#.into()
}

pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    Answer {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Bytes::copy_from_slice(value.as_bytes())))
            .collect(),
        body: body.into(),
    }
}

/// A 200 whose body carries a signature of that key over headers and body.
pub(crate) fn signed_answer(key: SigningKey, headers: &[(&str, &str)], body: &str) -> Answer {
    let values = Values {
        headers: if headers.is_empty() {
            Part::Absent
        } else {
            Part::Pairs(headers)
        },
        params: Part::Absent,
        body: Part::Json(body.as_bytes()),
    };
    let notary = Notary::sign(&values, &key, NumberForm::Js, &Limits::default()).unwrap();
    let quoted = serde_json::to_string(&notary.pack(Container::Brotli)).unwrap();
    let open = body.trim_end().strip_suffix('}').unwrap();
    answer(200, headers, format!("{open},\"ocn_signature\":{quoted}}}"))
}

pub(crate) fn header<'a>(headers: &'a [(&'static str, Bytes)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, v)| std::str::from_utf8(v).unwrap())
}

pub(crate) fn json_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

/// Checks a signature as a strict receiver would and gives the addresses of its chain, newest first.
pub(crate) fn verified(
    text: &str,
    headers: &[(&str, &str)],
    params: &[(&str, &str)],
    body: &[u8],
) -> Vec<String> {
    let values = Values {
        headers: if headers.is_empty() {
            Part::Absent
        } else {
            Part::Pairs(headers)
        },
        params: if params.is_empty() {
            Part::Absent
        } else {
            Part::Pairs(params)
        },
        body: if body.is_empty() {
            Part::Absent
        } else {
            Part::Json(body)
        },
    };
    let notary = Notary::open(text.as_bytes(), &Limits::default()).unwrap();
    let verdict = notary
        .verify(&values, Policy::Strict, &[], &Limits::default())
        .unwrap();
    verdict.chain.iter().map(ToString::to_string).collect()
}

/// The signed headers of a request as it went out.
pub(crate) fn routing(sent: &Outgoing) -> Vec<(&str, &str)> {
    sent.headers
        .iter()
        .filter(|(name, _)| *name == "x-correlation-id" || name.starts_with("ocpi-"))
        .map(|(name, value)| (*name, std::str::from_utf8(value).unwrap()))
        .collect()
}
