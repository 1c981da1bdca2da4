//! Walks across two nodes: what each of them sends, answers and writes down, and what it refuses.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use ocn_core::relay::ports::{Outgoing, SendError};
use ocn_core::relay::record::Signature;
use ocn_core::relay::{Query, Reply, Stale, explain, relay, unavailable};
use ocn_core::table::Change;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::nodes::{
    A, B, Network, a_key, answer_header, arrive, b_key, c_key, change, cpo_platform, next, path_at,
    registry, set, sign, taken,
};
use crate::world::{
    NOW, Request, World, answer, cpo_key, header, json_of, key, msp_key, plain_body, request,
    routing, signed_answer, verified,
};

const SECOND: i64 = (NOW / 1_000) as i64;

#[track_caller]
fn assert_verdict(reply: &Reply, http: u16, ocpi: u16, delivery: Option<&str>) {
    let body = json_of(&reply.body);
    assert_eq!(
        (reply.status, &body["status_code"]),
        (http, &json!(ocpi)),
        "{body}"
    );
    assert_eq!(header(&reply.headers, "ocn-delivery"), delivery, "{body}");
}

fn text(reply: &Reply) -> String {
    json_of(&reply.body)["status_message"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn list() -> Request {
    request("GET", "/ocpi/sender/2.2.1/locations", "")
}

fn address(key: &ocn_core::eth::SigningKey) -> String {
    key.address().to_string()
}

fn signature_of(body: &[u8]) -> String {
    json_of(body)["ocn_signature"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn test_r1_a91_a_message_passes_byte_for_byte_and_the_head_is_ours() {
    let network = Network::new();
    let body = "{\"id\":\"S1\", \"kwh\":2.50e1,\r\n \"note\":\"\\/\\u00e4\", \"unknown\":{\"b\":1,\"a\":[]}}";
    let mut put = request("PUT", "/ocpi/receiver/2.2.1/sessions/DE/CPO/S%2F1;x", body);
    put.query = "a=%2B&a=%2b".into();
    put.signer = None;
    put.more = vec![("x-vendor", "kept".into()), ("cookie", "no".into())];
    let network_unsigned = Network::with(|_, settings| {
        settings["signatures"]["required"] = json!(false);
    });
    network_unsigned
        .b
        .answers(|_| Ok(answer(200, &[], plain_body())));
    let reply = network_unsigned.a.send(put).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(&reply.body[..], plain_body().as_bytes());
    let leg = network_unsigned.legs().remove(0);
    assert_eq!(
        leg.url,
        format!("{B}/ocn/relay/receiver/sessions/DE/CPO/S%2F1;x?a=%2B&a=%2b")
    );
    assert_eq!(&leg.body[..], body.as_bytes());
    let names: Vec<&str> = leg.headers.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "x-request-id",
            "x-correlation-id",
            "ocpi-from-country-code",
            "ocpi-from-party-id",
            "ocpi-to-country-code",
            "ocpi-to-party-id",
            "content-type",
            "ocn-ocpi-version",
            "ocn-to-node",
            "ocn-deadline",
            "content-digest",
            "signature-input",
            "signature"
        ]
    );
    assert_eq!(
        header(&leg.headers, "ocn-to-node"),
        Some(address(&b_key()).as_str())
    );
    assert_eq!(
        header(&leg.headers, "ocn-deadline"),
        Some("14"),
        "a part was spent on asking"
    );
    assert_eq!(leg.deadline.as_secs(), 14);
    let sent = network_unsigned.at_cpo().remove(0);
    assert_eq!(
        sent.url,
        "https://cpo.example/ocpi/2.2.1/receiver/sessions/DE/CPO/S%2F1;x?a=%2B&a=%2b"
    );
    assert_eq!(&sent.body[..], body.as_bytes());
    assert_eq!(
        header(&sent.headers, "authorization"),
        Some("Token dG9rZW4tYi1vZi1DUE8=")
    );
    assert_eq!(sent.deadline.as_secs(), 12);
    let ids: Vec<_> = [&leg.headers, &sent.headers]
        .iter()
        .map(|headers| header(headers, "x-request-id").unwrap().to_owned())
        .collect();
    assert!(
        ids[0] != "r-1" && ids[1] != "r-1" && ids[0] != ids[1],
        "new for each hop"
    );
    assert_eq!(header(&sent.headers, "x-correlation-id"), Some("c-1"));

    // Signed by the party, its signature passes both nodes as it is.
    let put = request(
        "PUT",
        "/ocpi/receiver/2.2.1/sessions/DE/CPO/S1",
        r#"{"id":"S1"}"#,
    );
    let (head, _) = put.clone().finish();
    let signature = head
        .headers
        .iter()
        .find(|(name, _)| name == "ocn-signature")
        .unwrap();
    let reply = network.a.send(put).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let sent = network.at_cpo().remove(0);
    assert_eq!(
        header(&sent.headers, "ocn-signature").unwrap().as_bytes(),
        &signature.1[..]
    );
    assert_eq!(header(&reply.headers, "x-request-id"), Some("r-1"));
    assert_eq!(header(&reply.headers, "ocpi-from-party-id"), Some("CPO"));
    assert_eq!(header(&reply.headers, "ocpi-to-party-id"), Some("MSP"));
    for name in ["ocn-origin", "ocn-delivery", "content-digest", "signature"] {
        assert_eq!(
            header(&reply.headers, name),
            None,
            "{name} is between nodes"
        );
    }
    let (sending, receiving) = (network.a.last_record(), network.b.last_record());
    assert_eq!((sending.door, sending.route), (Some("party"), Some("node")));
    assert_eq!(sending.operator, Some(address(&b_key())));
    assert_eq!(sending.dialect, Some("ocn-relay/3"));
    assert_eq!(sending.far_origin, Some("receiver"));
    assert_eq!(sending.answer_signature, Some(Signature::Party));
    assert_eq!(
        (receiving.door, receiving.route),
        (Some("node"), Some("platform"))
    );
    assert_eq!(receiving.operator, Some(address(&a_key())));
    assert_eq!(receiving.dialect, Some("ocn-relay/3"));
    assert_eq!(receiving.signature, Some(Signature::Party));
}

#[tokio::test]
async fn test_r6_pages_lead_back_through_both_nodes() {
    let network = Network::new();
    let theirs = "<https://cpo.example/ocpi/2.2.1/sender/locations?offset=2&limit=2>; rel=\"next\"";
    network.cpo_answers(
        Box::leak(Box::new([
            ("x-limit", "2"),
            ("x-total-count", "4"),
            ("link", theirs),
        ])),
        &plain_body(),
    );
    let reply = network
        .a
        .send(Request {
            query: "limit=2".into(),
            ..list()
        })
        .await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let page = next(&reply);
    let path = path_at(A, &page);
    assert!(
        path.starts_with("/ocpi/sender/2.2.1/locations/page/"),
        "{path}"
    );
    let link = header(&reply.headers, "link").unwrap();
    let headers = [("x-limit", "2"), ("x-total-count", "4"), ("link", link)];
    let chain = verified(&signature_of(&reply.body), &headers, &[], &reply.body);
    assert_eq!(
        chain,
        [address(&a_key()), address(&b_key()), address(&cpo_key())]
    );
    assert!(
        network.a.links().is_empty() && network.b.links().is_empty(),
        "no row for a page"
    );

    network.cpo_answers(&[("x-limit", "2")], &plain_body());
    let follow = request("GET", path, "");
    for _ in 0..2 {
        let reply = network.a.send(follow.clone()).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
    }
    let sent = network.at_cpo().remove(1);
    assert_eq!(
        sent.url,
        "https://cpo.example/ocpi/2.2.1/sender/locations?offset=2&limit=2"
    );
    // The parameters are signed by the sender's operator, which is the one that may.
    let signature = header(&sent.headers, "ocn-signature").unwrap();
    let params = [("offset", "2"), ("limit", "2")];
    assert_eq!(
        verified(signature, &routing(&sent), &params, b""),
        [address(&a_key())]
    );

    // Between the nodes the parameters cannot be changed, and the link leads nobody else.
    let leg = network.legs().remove(1);
    let mut other = leg.clone();
    other.url = other.url.replace("offset=2", "offset=3");
    sign(&mut other, &a_key(), SECOND, 1);
    let answer = arrive(&network.b, B, &other).await;
    assert_eq!(
        (answer.status, answer_header(&answer, "ocn-delivery")),
        (400, Some("no"))
    );
    network
        .a
        .clock
        .millis
        .store(NOW + 86_400_000, Ordering::Relaxed);
    assert_verdict(&network.a.send(follow).await, 404, 2003, Some("no"));
    assert_eq!(network.at_cpo().len(), 3);
}

#[tokio::test]
async fn test_r6_a_command_and_its_result_across_nodes() {
    let network = Network::new();
    let theirs = "https://msp.example/cb/START_SESSION/77?x=1";
    let body =
        format!(r#"{{"token":{{"uid":"1"}}, "response_url" : "{theirs}","location_id":"L1"}}"#);
    let command = request("POST", "/ocpi/receiver/2.2.1/commands/START_SESSION", &body);
    let reply = network.a.send(command).await;
    assert_eq!(
        json_of(&reply.body)["status_code"],
        1000,
        "{:?}",
        reply.body
    );
    let sent = network.at_cpo().remove(0);
    let given = json_of(&sent.body)["response_url"]
        .as_str()
        .unwrap()
        .to_owned();
    let rest = given
        .strip_prefix(&format!("{B}/ocpi/sender/2.2.1/commands/START_SESSION/"))
        .unwrap();
    let (id, query) = rest.split_once('?').unwrap();
    assert_eq!((id.len(), query), (32, "x=1"));
    assert_eq!(
        String::from_utf8_lossy(&sent.body).replace(&given, theirs),
        body
    );
    let signature = header(&sent.headers, "ocn-signature").unwrap();
    let chain = verified(signature, &routing(&sent), &[], &sent.body);
    assert_eq!(
        chain,
        [address(&a_key()), address(&msp_key())],
        "B changed nothing"
    );
    assert_eq!(network.a.links()[id].url, theirs);
    let kept = network.b.links()[id].clone();
    assert_eq!(kept.url, format!("sender/commands/START_SESSION/{rest}"));
    assert_eq!(
        (kept.caller.party_id(), kept.owner.party_id(), kept.platform),
        ("CPO", "MSP", 2)
    );

    let place = path_at(B, &given).split_once('?').unwrap().0.to_owned();
    let mut result = request("POST", &place, r#"{"result":"ACCEPTED"}"#).by_cpo();
    result.query = "x=1".into();
    let reply = network.b.send(result.clone()).await;
    assert_eq!(
        json_of(&reply.body)["status_code"],
        1000,
        "{:?}",
        reply.body
    );
    let called = network.at_msp().remove(0);
    assert_eq!(
        (called.url.as_str(), &called.body[..]),
        (theirs, &br#"{"result":"ACCEPTED"}"#[..])
    );
    let signature = header(&called.headers, "ocn-signature").unwrap();
    let chain = verified(signature, &routing(&called), &[("x", "1")], &called.body);
    assert_eq!(
        chain,
        [address(&cpo_key())],
        "nobody had to sign for the CPO"
    );

    // One that drops the parameters is served too: its own operator signs them for it.
    let reply = network
        .b
        .send(Request {
            query: String::new(),
            ..result.clone()
        })
        .await;
    assert_eq!(
        json_of(&reply.body)["status_code"],
        1000,
        "{:?}",
        reply.body
    );
    let called = network.at_msp().remove(1);
    let signature = header(&called.headers, "ocn-signature").unwrap();
    let chain = verified(signature, &routing(&called), &[("x", "1")], &called.body);
    assert_eq!(chain, [address(&b_key())]);

    // Refused to another party, at another place, and when it has ended.
    let wrong = [
        request("POST", &place.replace("START", "STOP"), r#"{"a":1}"#).by_cpo(),
        request("POST", &place.replace(id, &"0".repeat(32)), r#"{"a":1}"#).by_cpo(),
    ];
    for request in wrong {
        assert_verdict(&network.b.send(request).await, 404, 2003, Some("no"));
    }
    network
        .b
        .clock
        .millis
        .store(NOW + 86_400_000, Ordering::Relaxed);
    assert_verdict(&network.b.send(result).await, 404, 2003, Some("no"));
    assert_eq!(network.at_msp().len(), 2);
}

#[tokio::test]
async fn test_r6_a_charging_profile_across_nodes() {
    let network = Network::new();
    let mut get = request("GET", "/ocpi/receiver/2.2.1/chargingprofiles/S1", "");
    get.query = "duration=900&response_url=https%3A%2F%2Fmsp.example%2Fcb".into();
    let reply = network.a.send(get).await;
    assert_eq!(
        json_of(&reply.body)["status_code"],
        1000,
        "{:?}",
        reply.body
    );
    let sent = network.at_cpo().remove(0);
    let (_, query) = sent.url.split_once('?').unwrap();
    let given = query.strip_prefix("duration=900&response_url=").unwrap();
    let given = given.replace("%3A", ":").replace("%2F", "/");
    let params = [("duration", "900"), ("response_url", given.as_str())];
    let signature = header(&sent.headers, "ocn-signature").unwrap();
    assert_eq!(verified(signature, &routing(&sent), &params, b"").len(), 2);
    let result = request("POST", path_at(B, &given), r#"{"result":"ACCEPTED"}"#).by_cpo();
    let reply = network.b.send(result).await;
    assert_eq!(
        json_of(&reply.body)["status_code"],
        1000,
        "{:?}",
        reply.body
    );
    assert_eq!(network.at_msp()[0].url, "https://msp.example/cb");
}

#[tokio::test]
async fn test_r6_a_cdr_and_its_location_across_nodes() {
    let network = Network::new();
    network.a.answers(|_| {
        let headers = [("location", "/ocpi/2.2.1/receiver/cdrs/42")];
        Ok(signed_answer(msp_key(), &headers, &plain_body()))
    });
    let cdr = request("POST", "/ocpi/receiver/2.2.1/cdrs", r#"{"id":"C1"}"#).by_cpo();
    let reply = network.b.send(cdr).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let location = header(&reply.headers, "location").unwrap().to_owned();
    let path = path_at(B, &location);
    assert!(path.starts_with("/ocpi/receiver/2.2.1/cdrs/") && location.len() <= 255);
    let chain = verified(
        &signature_of(&reply.body),
        &[("location", location.as_str())],
        &[],
        &reply.body,
    );
    assert_eq!(
        chain,
        [address(&b_key()), address(&a_key()), address(&msp_key())]
    );
    let kept = network.b.links().into_values().next().unwrap();
    assert!(
        kept.url.starts_with("receiver/cdrs/"),
        "no URL of another node: {}",
        kept.url
    );
    network
        .a
        .answers(|_| Ok(signed_answer(msp_key(), &[], &plain_body())));
    let reply = network.b.send(request("GET", path, "").by_cpo()).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(
        network.at_msp()[1].url,
        "https://msp.example/ocpi/2.2.1/receiver/cdrs/42"
    );
}

#[tokio::test]
async fn a_real_time_authorisation_and_a_custom_module_across_nodes() {
    let network = Network::with(|_, settings| {
        settings["signatures"]["required"] = json!(false);
    });
    network.a.answers(|_| Ok(answer(200, &[], plain_body())));
    network.b.answers(|_| Ok(answer(200, &[], plain_body())));
    let authorize = request("POST", "/ocpi/sender/2.2.1/tokens/ABC/authorize", "").by_cpo();
    let authorize = Request {
        query: "type=RFID".into(),
        signer: None,
        ..authorize
    };
    assert_eq!(network.b.send(authorize).await.status, 200);
    let url = "https://msp.example/ocpi/2.2.1/sender/tokens/ABC/authorize?type=RFID";
    assert_eq!(network.at_msp()[0].url, url);
    let odd = Request {
        signer: None,
        body: Bytes::from_static(b"\xff not json"),
        ..request("POST", "/ocpi/custom/receiver/nltnm-x/a%20b", "")
    };
    assert_eq!(network.a.send(odd).await.status, 200);
    let leg = network.legs().remove(0);
    assert_eq!(
        leg.url,
        format!("{B}/ocn/relay/custom/receiver/nltnm-x/a%20b")
    );
    assert_eq!(header(&leg.headers, "ocn-ocpi-version"), None);
    assert_eq!(&network.at_cpo()[0].body[..], b"\xff not json");
}

/// A leg as the node A makes it, to be bent.
async fn leg(network: &Network, request: Request) -> Outgoing {
    let before = network.legs().len();
    network.a.send(request).await;
    network.legs().remove(before)
}

fn put() -> Request {
    request(
        "PUT",
        "/ocpi/receiver/2.2.1/sessions/DE/CPO/S1",
        r#"{"id":"S1"}"#,
    )
}

/// Refusals of `ocn-relay.md` 7 for signatures; nothing is delivered, and a 401 is never signed.
#[tokio::test]
async fn test_r2_r3_a151_what_is_not_signed_as_it_is_is_refused() {
    type Bend = Box<dyn Fn(&mut Outgoing)>;
    let bends: Vec<(&str, Bend)> = vec![
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
        ("no body", Box::new(|leg| leg.body = Bytes::new())),
        (
            "x-request-id",
            Box::new(|leg| set(leg, "x-request-id", "r-9")),
        ),
        (
            "x-correlation-id",
            Box::new(|leg| set(leg, "x-correlation-id", "c-9")),
        ),
        (
            "from",
            Box::new(|leg| set(leg, "ocpi-from-party-id", "NEW")),
        ),
        ("to", Box::new(|leg| set(leg, "ocpi-to-party-id", "NEW"))),
        (
            "version",
            Box::new(|leg| set(leg, "ocn-ocpi-version", "2.2")),
        ),
        ("deadline", Box::new(|leg| set(leg, "ocn-deadline", "99"))),
        (
            "ocn-signature",
            Box::new(|leg| set(leg, "ocn-signature", "AAAA")),
        ),
        (
            "content-type",
            Box::new(|leg| set(leg, "content-type", "text/plain")),
        ),
        (
            "content-digest",
            Box::new(|leg| set(leg, "content-digest", "sha-256=:AAAA:")),
        ),
        (
            "another node",
            Box::new(|leg| {
                set(leg, "ocn-to-node", &address(&c_key()));
                sign(leg, &a_key(), SECOND, 1);
            }),
        ),
        (
            "expired",
            Box::new(|leg| sign(leg, &a_key(), SECOND - 31, 1)),
        ),
        (
            "from the future",
            Box::new(|leg| sign(leg, &a_key(), SECOND + 61, 1)),
        ),
        (
            "no signature",
            Box::new(|leg| leg.headers.retain(|(name, _)| *name != "signature")),
        ),
        (
            "no input",
            Box::new(|leg| leg.headers.retain(|(name, _)| *name != "signature-input")),
        ),
        (
            "no to-node",
            Box::new(|leg| leg.headers.retain(|(name, _)| *name != "ocn-to-node")),
        ),
        (
            "stripped",
            Box::new(|leg| leg.headers.retain(|(name, _)| *name != "ocn-signature")),
        ),
    ];
    let network = Network::new();
    let good = leg(&network, put()).await;
    assert_eq!(network.at_cpo().len(), 1);
    for (what, bend) in bends {
        let mut bent = good.clone();
        // Each with a nonce of its own, so that none is refused for being there twice.
        sign(&mut bent, &a_key(), SECOND, what.as_ptr() as u128);
        bend(&mut bent);
        let answer = arrive(&network.b, B, &bent).await;
        assert_eq!(answer.status, 401, "{what}: {:?}", answer.body);
        assert_eq!(json_of(&answer.body)["status_code"], 2001, "{what}");
        assert_eq!(answer_header(&answer, "ocn-origin"), Some("node"), "{what}");
        assert_eq!(answer_header(&answer, "ocn-delivery"), Some("no"), "{what}");
        assert_eq!(answer_header(&answer, "signature"), None, "{what}");
    }
    // The same message again, and at the edges of the clock.
    assert_eq!(arrive(&network.b, B, &good).await.status, 401, "replayed");
    for created in [SECOND - 30, SECOND + 60] {
        let mut edge = good.clone();
        sign(&mut edge, &a_key(), created, 7);
        assert_eq!(arrive(&network.b, B, &edge).await.status, 200);
    }
    assert_eq!(network.at_cpo().len(), 3);
}

#[tokio::test]
async fn refusals_to_a_node_are_signed_and_say_what_became_of_the_message() {
    let forbidding = |rules: Value| {
        let mut cpo = cpo_platform();
        cpo["rules"] = rules;
        Network::of(|_, _| {}, change(registry(), json!([cpo])))
    };
    let none = || Network::new();
    let to = |party: &'static str| Request {
        to: Some(("DE", party)),
        ..put()
    };
    type Case = (&'static str, Network, Request, fn(&mut Outgoing), u16, u16);
    let same: fn(&mut Outgoing) = |_| {};
    let cases: Vec<Case> = vec![
        (
            "unknown",
            none(),
            put(),
            |leg| set(leg, "ocpi-to-party-id", "XXX"),
            404,
            4001,
        ),
        (
            "of a third node",
            none(),
            put(),
            |leg| set(leg, "ocpi-to-party-id", "FAR"),
            404,
            4001,
        ),
        (
            "of the sender's node",
            none(),
            put(),
            |leg| set(leg, "ocpi-to-party-id", "MSP"),
            404,
            4001,
        ),
        ("planned", none(), to("NEW"), same, 502, 4003),
        (
            "rules",
            forbidding(
                json!({"signatures": false, "mode": "blacklist", "entries": [
            {"country_code": "DE", "party_id": "MSP", "modules": ["sessions"]}]}),
            ),
            put(),
            same,
            403,
            2000,
        ),
        (
            "no party signature",
            none(),
            put(),
            |leg| leg.headers.retain(|(name, _)| *name != "ocn-signature"),
            400,
            2001,
        ),
        (
            "wrong party signature",
            none(),
            put(),
            |leg| leg.body = Bytes::from_static(br#"{"id":"S2"}"#),
            400,
            2001,
        ),
        (
            "busy",
            Network::with(|node, settings| {
                if node == "b" {
                    settings["limits"]["in_flight_per_receiver"] = json!(0);
                }
            }),
            put(),
            same,
            503,
            4003,
        ),
        (
            "node busy",
            Network::with(|node, settings| {
                if node == "b" {
                    settings["limits"]["in_flight_per_platform"] = json!(0);
                }
            }),
            put(),
            same,
            503,
            4003,
        ),
    ];
    for (what, network, request, bend, http, ocpi) in cases {
        let mut bent = leg(&network, request).await;
        bend(&mut bent);
        if let Some(digest) = header(&bent.headers, "content-digest") {
            assert_ne!(digest, "");
            let digest = ocn_core::wire::content_digest(&bent.body);
            set(&mut bent, "content-digest", &digest);
        }
        sign(&mut bent, &a_key(), SECOND, 99);
        let delivered = network.at_cpo().len();
        let answer = arrive(&network.b, B, &bent).await;
        let body = json_of(&answer.body);
        assert_eq!(
            (answer.status, &body["status_code"]),
            (http, &json!(ocpi)),
            "{what}: {body}"
        );
        assert_eq!(answer_header(&answer, "ocn-origin"), Some("node"), "{what}");
        assert_eq!(answer_header(&answer, "ocn-delivery"), Some("no"), "{what}");
        assert_eq!(
            answer_header(&answer, "retry-after").is_some(),
            http == 503,
            "{what}"
        );
        assert_signed_by_b(&answer, &bent, what);
        assert_eq!(network.at_cpo().len(), delivered, "{what}");
    }
}

#[track_caller]
fn assert_signed_by_b(answer: &ocn_core::relay::ports::Answer, request: &Outgoing, what: &str) {
    use ocn_core::wire::{ResponseView, check_digest, verify_response};
    let headers: Vec<(&str, &[u8])> = answer
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), &v[..]))
        .collect();
    let view = ResponseView {
        status: answer.status,
        headers: &headers,
        request_signature: header(&request.headers, "signature").unwrap(),
    };
    let value = |name| answer_header(answer, name).map(str::as_bytes);
    let (input, signature) = (
        value("signature-input").unwrap(),
        value("signature").unwrap(),
    );
    let verified = verify_response(
        &view,
        input,
        signature,
        SECOND,
        &Default::default(),
        b_key().address(),
    );
    assert!(verified.is_ok(), "{what}: {verified:?}");
    assert_eq!(
        check_digest(value("content-digest"), &answer.body),
        Ok(()),
        "{what}"
    );
}

/// What the party gets of a refusal of the other node: `ocpi-hub.md` 2.9, in its own words.
#[tokio::test]
async fn the_party_gets_the_far_verdict_in_its_own_terms() {
    type Fail = fn(&Outgoing) -> Result<ocn_core::relay::ports::Answer, SendError>;
    let cases: [(Fail, u16, u16, &str); 7] = [
        (
            |_| Err(SendError::NotSent("connection refused")),
            200,
            4003,
            "no",
        ),
        (
            |_| Err(SendError::MaybeSent("no answer in time")),
            200,
            4002,
            "maybe",
        ),
        (|_| Err(SendError::Unusable("garbage")), 200, 4000, "yes"),
        (|_| Ok(answer(401, &[], plain_body())), 200, 4003, "no"),
        (|_| Ok(answer(200, &[], "<html>")), 200, 4000, "yes"),
        (|_| Ok(answer(200, &[], plain_body())), 200, 3000, "yes"),
        (
            |_| Ok(signed_answer(key(6), &[], &plain_body())),
            200,
            3000,
            "yes",
        ),
    ];
    for (fail, http, ocpi, delivery) in cases {
        let network = Network::new();
        network.b.answers(fail);
        let reply = network.a.send(list()).await;
        assert_verdict(&reply, http, ocpi, Some(delivery));
        assert!(
            text(&reply).starts_with("the receiver's node says: "),
            "{}",
            text(&reply)
        );
        assert!(
            text(&reply).matches('[').count() <= 1,
            "one verdict: {}",
            text(&reply)
        );
        let record = network.a.last_record();
        assert_eq!(record.far_origin, Some("node"));
        assert_eq!(record.far_delivery, Some(delivery));
        assert_eq!(header(&reply.headers, "ocpi-from-party-id"), Some("HBA"));
    }
    let network = Network::new();
    let to = |party: &'static str| Request {
        to: Some(("DE", party)),
        ..list()
    };
    assert_verdict(&network.a.send(to("NEW")).await, 200, 4003, Some("no"));
    assert_verdict(&network.a.send(to("LOS")).await, 200, 4001, Some("no"));
    // The receiver's own errors pass both nodes as they are.
    network.b.answers(|_| {
        let body = r#"{"status_code":2004,"timestamp":"2026-01-01T00:00:00Z"}"#;
        let mut unknown = signed_answer(cpo_key(), &[], body);
        unknown.status = 404;
        Ok(unknown)
    });
    let reply = network
        .a
        .send(request("POST", "/ocpi/sender/2.2.1/tokens/X/authorize", ""))
        .await;
    assert_verdict(&reply, 404, 2004, None);
}

/// A95: whoever signs, only the operator of the sending party is believed, by the table that also routes.
#[tokio::test]
async fn test_a95_r5_only_the_senders_operator_speaks_for_it() {
    let network = Network::new();
    let good = leg(&network, put()).await;
    for (what, signer, http) in [
        ("another operator", c_key(), 403),
        ("an unlisted key", key(99), 401),
        ("the party's own key", msp_key(), 401),
        ("our own key", b_key(), 401),
    ] {
        let mut spoofed = good.clone();
        sign(&mut spoofed, &signer, SECOND, 5);
        let answer = arrive(&network.b, B, &spoofed).await;
        assert_eq!(answer.status, http, "{what}");
        assert_eq!(json_of(&answer.body)["status_code"], 2001, "{what}");
        assert_eq!(
            answer_header(&answer, "signature").is_some(),
            http == 403,
            "{what}"
        );
    }
    assert_eq!(network.at_cpo().len(), 1);
    // The operator changes on the chain: from that table on the old one is refused.
    let mut moved = registry();
    moved["parties"][0]["operator"] = json!(address(&c_key()));
    let change = change(moved, json!([cpo_platform()]));
    let change = Change::parse(change.to_string().as_bytes()).unwrap();
    network.b.node.table.apply(change).unwrap();
    let mut late = good.clone();
    sign(&mut late, &a_key(), SECOND, 6);
    assert_eq!(arrive(&network.b, B, &late).await.status, 403);
    sign(&mut late, &c_key(), SECOND, 6);
    assert_eq!(arrive(&network.b, B, &late).await.status, 200);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A95 and I06 over registries: a message passes exactly if its signer is listed and is the party's
    /// operator, and is neither zero nor this node itself.
    #[test]
    fn prop_a95_i06_names_across_nodes(
        operators in prop::collection::vec(20_u8..26, 0..6),
        operator_of_party in prop::option::of(20_u8..26),
        signer in 20_u8..26,
        usable in any::<bool>(),
    ) {
        let run = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let good = run.block_on(async { leg(&Network::new(), put()).await });
        let mut rows = registry();
        let domain = |byte: u8| if usable { format!("https://n{byte}.example") } else { "ftp://x".into() };
        let operator = |byte: u8| json!({"address": address(&key(byte)), "domain": domain(byte)});
        rows["operators"] = operators.iter().map(|byte| operator(*byte)).collect();
        match operator_of_party {
            Some(byte) => rows["parties"][0]["operator"] = json!(address(&key(byte))),
            None => { rows["parties"].as_array_mut().unwrap().remove(0); }
        }
        let network = Network::of(|_, _| {}, change(rows, json!([cpo_platform()])));
        let mut spoofed = good;
        sign(&mut spoofed, &key(signer), SECOND, 5);
        let answer = run.block_on(arrive(&network.b, B, &spoofed));
        let may = usable && operators.contains(&signer) && operator_of_party == Some(signer)
            && signer != 22;
        prop_assert_eq!(answer.status == 200, may, "{:?}", answer.body);
        prop_assert_eq!(network.at_cpo().len(), usize::from(may));
    }

    /// A91: whatever comes in, what leaves for the other node is exactly our own set of headers, in ASCII.
    #[test]
    fn prop_a91_headers_between_nodes_are_ours(
        id in "[\\x00-\\x7f]{0,12}", name in "[a-z-]{1,12}", value in "[ -~]{0,8}",
    ) {
        let network = Network::with(|_, settings| settings["signatures"]["required"] = json!(false));
        let get = Request { signer: None, ..list() };
        let (mut head, body) = get.finish();
        head.headers.retain(|(known, _)| known != "x-correlation-id");
        head.headers.push((Bytes::from("x-correlation-id"), Bytes::from(id)));
        head.headers.push((Bytes::from(name), Bytes::from(value)));
        let run = tokio::runtime::Builder::new_current_thread().build().unwrap();
        run.block_on(ocn_core::relay::relay(
            head, crate::world::Whole(body), &network.a.node, &*network.a, &Default::default(),
        ));
        for sent in network.legs() {
            let names: Vec<&str> = sent.headers.iter().map(|(name, _)| *name).collect();
            prop_assert_eq!(names, [
                "x-request-id", "x-correlation-id", "ocpi-from-country-code", "ocpi-from-party-id",
                "ocpi-to-country-code", "ocpi-to-party-id", "ocn-ocpi-version", "ocn-to-node",
                "ocn-deadline", "signature-input", "signature",
            ]);
            let plain = sent.headers.iter().all(|(_, value)| value.iter().all(|b| (b' '..=b'~').contains(b)));
            prop_assert!(plain);
        }
    }
}

/// A93: the other node can name nothing but what lies behind its own door, and that under its current domain.
#[tokio::test]
async fn test_a93_r7_no_url_of_another_node_is_kept() {
    for link in [
        "https://evil.example/ocn/relay/sender/locations/page/AAAA",
        "https://b.example/ocn/relay/sender/locations/page/AAAA",
        "https://b.example/ocn-node/admin/parties",
        "https://b.example/ocn-node/ocn/relay/../../admin",
        "https://b.example/ocn-node/ocn/relay/registry/node-info",
        "https://b.example/ocn-node@evil.example/ocn/relay/sender/x",
        "//evil.example/x",
        "http://127.0.0.1/",
    ] {
        let network = Network::new();
        let header_value = format!("<{link}>; rel=\"next\"");
        network.a_to_b.bend_answer(move |request, answer| {
            if request.url.contains("/ocn/relay/") {
                resign_as_b(request, answer, &[("link", &header_value)]);
            }
        });
        let reply = network.a.send(list()).await;
        assert_eq!(
            (reply.status, header(&reply.headers, "link")),
            (200, None),
            "{link}"
        );
    }
    // The receiving node calls nothing that a sender's node names.
    let network = Network::new();
    let command = r#"{"response_url":"https://msp.example/cb","location_id":"L1"}"#;
    let command = request(
        "POST",
        "/ocpi/receiver/2.2.1/commands/STOP_SESSION",
        command,
    );
    let good = leg(&network, command).await;
    let given = json_of(&good.body)["response_url"]
        .as_str()
        .unwrap()
        .to_owned();
    let id = given.rsplit('/').next().unwrap();
    for (nonce, url) in [
        "https://msp.example/cb".to_owned(),
        "https://evil.example/".into(),
        format!(
            "{B}/ocpi/sender/2.2.1/commands/START_SESSION/{}",
            "0".repeat(32)
        ),
        format!(
            "{B}/ocpi/sender/2.2/commands/STOP_SESSION/{}",
            "0".repeat(32)
        ),
        format!(
            "{B}/ocpi/receiver/2.2.1/commands/STOP_SESSION/{}",
            "0".repeat(32)
        ),
        format!(
            "{B}/ocpi/sender/2.2.1/commands/STOP_SESSION/{}",
            "0".repeat(31)
        ),
        format!(
            "{B}/ocpi/sender/2.2.1/commands/STOP_SESSION/{}",
            "A".repeat(32)
        ),
        format!(
            "{B}/ocpi/sender/2.2.1/commands/STOP_SESSION/{}/x",
            "0".repeat(32)
        ),
        format!(
            "{B}/ocpi/sender/2.2.1/commands/STOP_SESSION/../{}",
            "0".repeat(32)
        ),
        format!(
            "{B}/ocpi/sender/2.2.1/commands/STOP_SESSION/{}?",
            "0".repeat(32)
        ),
        format!(
            "{B}/ocpi/sender/2.2.1/commands/STOP_SESSION/{}#x",
            "0".repeat(32)
        ),
        format!(
            "https://b.example/ocpi/sender/2.2.1/commands/STOP_SESSION/{}",
            "0".repeat(32)
        ),
        // A94: an id that is there already.
        format!("{B}/ocpi/sender/2.2.1/commands/STOP_SESSION/{id}"),
    ]
    .into_iter()
    .enumerate()
    {
        let unsigned = Network::of(
            |_, settings| settings["signatures"]["required"] = json!(false),
            change(registry(), json!([cpo_platform()])),
        );
        let mut bent = good.clone();
        bent.headers.retain(|(name, _)| *name != "ocn-signature");
        let first = leg(&unsigned, unsigned_command()).await;
        assert_eq!(unsigned.at_cpo().len(), 1, "{:?}", first);
        let taken = unsigned.b.links().into_keys().next().unwrap();
        let body = format!(r#"{{"response_url":"{}"}}"#, url.replace(id, &taken));
        bent.body = Bytes::from(body);
        let digest = ocn_core::wire::content_digest(&bent.body);
        set(&mut bent, "content-digest", &digest);
        sign(&mut bent, &a_key(), SECOND, nonce as u128);
        let answer = arrive(&unsigned.b, B, &bent).await;
        let body = json_of(&answer.body);
        assert_eq!(
            (answer.status, &body["status_code"]),
            (400, &json!(2001)),
            "{url}: {body}"
        );
        assert_eq!(answer_header(&answer, "ocn-delivery"), Some("no"));
        let duplicate = body["status_message"] == "duplicate message";
        assert_eq!(duplicate, url.ends_with(id), "{url}: {body}");
        assert_eq!(
            (unsigned.at_cpo().len(), unsigned.b.links().len()),
            (1, 1),
            "{url}"
        );
    }
}

fn unsigned_command() -> Request {
    let body = r#"{"response_url":"https://msp.example/cb"}"#;
    let command = request("POST", "/ocpi/receiver/2.2.1/commands/STOP_SESSION", body);
    Request {
        signer: None,
        ..command
    }
}

/// An answer with other headers, signed as B would; its body is signed by the CPO again.
fn resign_as_b(
    request: &Outgoing,
    answer: &mut ocn_core::relay::ports::Answer,
    more: &[(&str, &str)],
) {
    use ocn_core::wire::{Parameters, ResponseView, content_digest, sign_response};
    answer.body = signed_answer(cpo_key(), more, &plain_body()).body;
    let dropped = [
        "link",
        "location",
        "content-digest",
        "signature",
        "signature-input",
    ];
    answer
        .headers
        .retain(|(name, _)| !dropped.contains(&name.as_str()));
    let owned = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    for (name, value) in more {
        answer.headers.push(((*name).to_owned(), owned(value)));
    }
    answer.headers.push((
        "content-digest".into(),
        owned(&content_digest(&answer.body)),
    ));
    let headers: Vec<(&str, &[u8])> = answer
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), &v[..]))
        .collect();
    let view = ResponseView {
        status: answer.status,
        headers: &headers,
        request_signature: header(&request.headers, "signature").unwrap(),
    };
    let key = b_key();
    let parameters = Parameters {
        created: SECOND,
        expires: SECOND + 30,
        nonce: [3; 16],
        keyid: key.address(),
    };
    let signed = sign_response(&view, &parameters, &key).unwrap();
    answer
        .headers
        .push(("signature-input".into(), owned(&signed.input)));
    answer
        .headers
        .push(("signature".into(), owned(&signed.signature)));
}

/// A97: the dialect comes from GET alone, asked once, and nothing is sent twice to find out.
#[tokio::test]
async fn test_a97_i01_the_dialect_is_asked_once_and_nothing_is_sent_twice() {
    let network = Network::new();
    let questions = || {
        let delivered = network.a.delivered().into_iter();
        delivered
            .filter(|sent| sent.url.ends_with("/ocn/registry/node-info"))
            .collect::<Vec<_>>()
    };
    let (one, two) = tokio::join!(network.a.send(list()), network.a.send(list()));
    assert_eq!((one.status, two.status), (200, 200));
    assert_eq!(
        (questions().len(), network.legs().len()),
        (1, 2),
        "one question for both"
    );
    let question = questions().remove(0);
    assert_eq!(
        (&question.method[..], question.body.len()),
        (&b"GET"[..], 0)
    );
    assert!(
        question.headers.iter().all(|(name, _)| *name == "accept"),
        "nothing of the message"
    );
    // Whatever the node answers to a message, it is not sent again.
    for status in [401, 404, 500, 503] {
        network.a_to_b.bend_answer(move |request, answer| {
            if request.url.contains("/ocn/relay/") {
                answer.status = status;
                answer.headers.clear();
            }
        });
        let before = network.legs().len();
        assert_verdict(&network.a.send(list()).await, 200, 3000, Some("yes"));
        assert_eq!(network.legs().len(), before + 1, "{status}");
    }
    // The 404 that only another software explains made it ask again, once.
    assert_eq!(questions().len(), 2);
    // A node that hides what it speaks is refused, not spoken to in another way.
    let hiding = Network::new();
    hiding.a_to_b.bend_answer(|request, answer| {
        if request.url.ends_with("/node-info") {
            let mut info = json_of(&answer.body);
            info.as_object_mut().unwrap().remove("relay");
            answer.body = Bytes::from(info.to_string());
        }
    });
    let reply = hiding.a.send(list()).await;
    assert_verdict(&reply, 200, 4000, Some("no"));
    assert!(
        text(&reply).contains("speaks no protocol"),
        "{}",
        text(&reply)
    );
    assert!(hiding.legs().is_empty());
}

#[tokio::test]
async fn a_node_that_cannot_be_asked_is_not_connected_and_asked_again() {
    let network = Network::new();
    let failing = Arc::new(AtomicUsize::new(1));
    let left = Arc::clone(&failing);
    network.a_to_b.bend_answer(move |request, answer| {
        if request.url.ends_with("/node-info") && left.load(Ordering::Relaxed) > 0 {
            left.fetch_sub(1, Ordering::Relaxed);
            *answer = crate::world::answer(503, &[], "away");
        }
    });
    assert_verdict(&network.a.send(list()).await, 200, 4003, Some("no"));
    assert_eq!(network.a.send(list()).await.status, 200);
    assert_eq!(network.legs().len(), 1);
}

/// A99: identity is the operator's address, whatever the domain says.
#[tokio::test]
async fn test_a99_a_domain_that_changed_hands_gets_no_message() {
    let network = Network::new();
    network.a_to_b.bend_answer(|request, answer| {
        if request.url.ends_with("/node-info") {
            let mut info = json_of(&answer.body);
            info["address"] = json!(address(&c_key()));
            answer.body = Bytes::from(info.to_string());
        }
    });
    let reply = network.a.send(list()).await;
    assert_verdict(&reply, 200, 4003, Some("no"));
    assert!(
        text(&reply).contains(&address(&c_key())),
        "{}",
        text(&reply)
    );
    assert!(network.legs().is_empty());
    assert_eq!(network.a.node.metrics.to_json()["node_strangers"], 1);
}

/// A98, R4: an answer that the receiver's node did not sign for this very request is not believed.
#[tokio::test]
async fn test_a98_r4_answers_are_believed_only_from_the_node_that_was_asked() {
    type Bend = fn(&Outgoing, &mut ocn_core::relay::ports::Answer);
    let bends: Vec<(&str, Bend)> = vec![
        ("unsigned", |_, answer| {
            answer
                .headers
                .retain(|(name, _)| !name.starts_with("signature"))
        }),
        ("status", |_, answer| answer.status = 201),
        ("body", |_, answer| {
            answer.body = signed_answer(cpo_key(), &[], r#"{"status_code":1001}"#).body;
        }),
        ("origin", |_, answer| {
            answer.headers.retain(|(name, _)| name != "ocn-origin");
            answer
                .headers
                .push(("ocn-origin".into(), Bytes::from_static(b"node")));
        }),
        ("added", |_, answer| {
            answer
                .headers
                .push(("x-limit".into(), Bytes::from_static(b"9")));
        }),
        ("no digest", |_, answer| {
            answer.headers.retain(|(name, _)| name != "content-digest")
        }),
    ];
    for (what, bend) in bends {
        let network = Network::new();
        network.a_to_b.bend_answer(move |request, answer| {
            if request.url.contains("/ocn/relay/") {
                bend(request, answer);
            }
        });
        let reply = network.a.send(list()).await;
        assert_verdict(&reply, 200, 3000, Some("yes"));
        assert!(
            text(&reply).starts_with("Unable to verify response signature: "),
            "{what}: {}",
            text(&reply)
        );
        assert_eq!(network.at_cpo().len(), 1, "{what}");
    }
    // The answer to another request.
    let network = Network::new();
    let first = std::sync::Mutex::new(None);
    network.a_to_b.bend_answer(move |request, answer| {
        if request.url.contains("/ocn/relay/") {
            let mut first = first.lock().unwrap();
            match &*first {
                None => *first = Some(answer.clone()),
                Some(earlier) => *answer = ocn_core::relay::ports::Answer::clone(earlier),
            }
        }
    });
    assert_eq!(network.a.send(list()).await.status, 200);
    assert_verdict(&network.a.send(list()).await, 200, 3000, Some("yes"));
}

/// R9: who does not take our signature is not asked again for the same message.
#[tokio::test]
async fn test_r9_a_node_that_refuses_our_signature_is_not_asked_again() {
    let network = Network::new();
    network
        .a_to_b
        .bend(|leg| set(leg, "x-correlation-id", "bent"));
    let reply = network.a.send(list()).await;
    assert_verdict(&reply, 200, 4003, Some("no"));
    assert!(
        text(&reply).contains("was not made by the key that it names"),
        "{}",
        text(&reply)
    );
    assert_eq!((network.legs().len(), network.at_cpo().len()), (1, 0));
}

/// What a node refuses before it looks at signatures it cannot sign: it was not delivered all the same.
#[tokio::test]
async fn an_unsigned_refusal_of_a_node_is_not_held_for_an_answer_of_the_receiver() {
    let network = Network::new();
    network
        .a_to_b
        .bend(|leg| set(leg, "ocn-deadline", "at noon"));
    let reply = network.a.send(list()).await;
    assert_verdict(&reply, 200, 4003, Some("no"));
    assert!(text(&reply).contains("OCN-Deadline"), "{}", text(&reply));
    assert_eq!((network.legs().len(), network.at_cpo().len()), (1, 0));
}

#[tokio::test]
async fn time_between_nodes_ends_at_the_far_node_first() {
    let network = Network::new();
    let good = leg(&network, list()).await;
    for (nonce, (left, expected)) in [
        ("3", Some(2)),
        ("2.5", Some(1)),
        ("99", Some(12)),
        ("1", None),
    ]
    .into_iter()
    .enumerate()
    {
        let mut bent = good.clone();
        set(&mut bent, "ocn-deadline", left);
        sign(&mut bent, &a_key(), SECOND, nonce as u128);
        let answer = arrive(&network.b, B, &bent).await;
        match expected {
            Some(seconds) => {
                assert_eq!(network.at_cpo().pop().unwrap().deadline.as_secs(), seconds);
            }
            None => assert_eq!((answer.status, network.at_cpo().len()), (504, 4)),
        }
    }
}

/// I06: what the signature does not cover does not pass on, whatever the operator's list says.
#[tokio::test]
async fn test_i06_headers_that_a_node_adds_unsigned_do_not_reach_the_receiver() {
    let network = Network::new();
    network.a_to_b.bend(|leg| set(leg, "x-vendor", "added"));
    assert_eq!(network.a.send(list()).await.status, 200);
    assert_eq!(header(&network.at_cpo()[0].headers, "x-vendor"), None);
}

/// What a newer table may mend says so, and the very same message then passes: it was not taken yet.
#[tokio::test]
async fn test_r5_a_table_that_is_behind_is_looked_at_again_for_the_same_message() {
    let network = Network::new();
    let good = leg(&network, list()).await;
    let (mut no_sender, mut no_operator) = (registry(), registry());
    no_sender["parties"].as_array_mut().unwrap().remove(0);
    no_operator["operators"].as_array_mut().unwrap().remove(0);
    for (what, behind, stale, http) in [
        (
            "party",
            change(no_sender, json!([cpo_platform()])),
            Stale::Sender,
            403,
        ),
        (
            "operator",
            change(no_operator, json!([cpo_platform()])),
            Stale::Sender,
            401,
        ),
        (
            "receiver",
            change(registry(), json!([])),
            Stale::Receiver,
            502,
        ),
    ] {
        let fresh = Network::of(|_, _| {}, behind);
        let (head, body) = taken(B, &good);
        let world = &*fresh.b;
        let reply = relay(head.clone(), body, &world.node, world, &Default::default()).await;
        assert_eq!((reply.status, reply.stale), (http, Some(stale)), "{what}");
        let reply = unavailable(head, &world.node, world);
        assert_eq!(reply.status, 503, "{what}");
        assert_eq!(header(&reply.headers, "ocn-origin"), Some("node"), "{what}");
        let signed = header(&reply.headers, "signature").is_some();
        assert_eq!(signed, what != "operator", "{what}");
        let table = change(registry(), json!([cpo_platform()]));
        let table = Change::parse(table.to_string().as_bytes()).unwrap();
        world.node.table.apply(table).unwrap();
        assert_eq!(arrive(world, B, &good).await.status, 200, "{what}");
        assert_eq!(
            arrive(world, B, &good).await.status,
            401,
            "{what}: only once"
        );
        assert_eq!(fresh.at_cpo().len(), 1, "{what}");
    }
}

/// The registry says where a party is, also while a platform here still has it.
#[tokio::test]
async fn a_party_that_moves_is_reached_at_its_new_node() {
    let mut before = registry();
    before["parties"][1]["operator"] = json!(address(&a_key()));
    let node = |registry: Value| {
        let platforms = json!([crate::nodes::msp_platform(), cpo_platform()]);
        Change::parse(change(registry, platforms).to_string().as_bytes()).unwrap()
    };
    let network = Network::new();
    network.a.node.table.apply(node(before)).unwrap();
    network
        .a
        .answers(|_| Ok(signed_answer(cpo_key(), &[], &plain_body())));
    assert_eq!(network.a.send(list()).await.status, 200);
    assert_eq!(
        (network.legs().len(), network.a.delivered().len()),
        (0, 1),
        "both at A"
    );
    network.a.node.table.apply(node(registry())).unwrap();
    assert_eq!(network.a.send(list()).await.status, 200);
    assert_eq!(
        (network.legs().len(), network.at_cpo().len()),
        (1, 1),
        "now at B"
    );
}

/// Counters and what a node was found to speak survive a new registry, as long as the domain is the same.
#[tokio::test]
async fn what_is_known_of_a_node_survives_snapshots() {
    let network = Network::new();
    network.a.send(list()).await;
    let table = |domain: &str| {
        let mut rows = registry();
        rows["operators"][1]["domain"] = json!(domain);
        let change = change(rows, json!([crate::nodes::msp_platform()]));
        Change::parse(change.to_string().as_bytes()).unwrap()
    };
    let operator = || {
        network
            .a
            .node
            .table
            .load()
            .operator(&b_key().address())
            .unwrap()
            .clone()
    };
    let before = operator();
    assert!(before.dialect.heard().is_some());
    network.a.node.table.apply(table(B)).unwrap();
    assert!(Arc::ptr_eq(&before.live, &operator().live) && operator().dialect.heard().is_some());
    network
        .a
        .node
        .table
        .apply(table("https://moved.example"))
        .unwrap();
    assert!(Arc::ptr_eq(&before.live, &operator().live) && operator().dialect.heard().is_none());
}

#[tokio::test]
async fn domains_that_lead_nowhere_make_their_parties_unknown() {
    for domain in [
        "",
        "b.example",
        "ftp://b.example",
        "https://u:p@b.example",
        "https://b.example?x",
        "https://b.example#x",
        "https://b .example",
        "//b.example",
    ] {
        let network = Network::new();
        let mut rows = registry();
        rows["operators"][1]["domain"] = json!(domain);
        let table = change(rows, json!([crate::nodes::msp_platform()]));
        let table = Change::parse(table.to_string().as_bytes()).unwrap();
        network.a.node.table.apply(table).unwrap();
        assert_verdict(&network.a.send(list()).await, 200, 4001, Some("no"));
        assert!(network.a.delivered().is_empty(), "{domain}");
    }
}

#[tokio::test]
async fn test_a147_the_breaker_of_a_node_opens_and_its_one_trial_is_the_message_itself() {
    let network = Network::new();
    assert_eq!(network.a.send(list()).await.status, 200);
    let calls = Arc::new(AtomicUsize::new(0));
    struct Dead(Arc<AtomicUsize>);
    impl crate::world::Peer for Dead {
        fn call(
            &self,
            _: Outgoing,
        ) -> futures_util::future::BoxFuture<
            'static,
            Result<ocn_core::relay::ports::Answer, SendError>,
        > {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Err(SendError::NotSent("connection refused")) })
        }
    }
    network.a.receiver.peers.lock().unwrap()[0].1 = Arc::new(Dead(Arc::clone(&calls)));
    for _ in 0..12 {
        assert_verdict(&network.a.send(list()).await, 200, 4003, Some("no"));
    }
    assert_eq!(calls.load(Ordering::Relaxed), 10);
    // A message that is refused later on takes no trial away.
    network
        .a
        .clock
        .asked
        .fetch_add(1_100_000, Ordering::Relaxed);
    let bent = Request {
        signer: Some([9; 32]),
        ..list()
    };
    assert_verdict(&network.a.send(bent).await, 200, 2001, Some("no"));
    network.a.send(list()).await;
    assert_eq!(calls.load(Ordering::Relaxed), 11, "the trial");
}

#[tokio::test]
async fn explain_knows_nodes_at_both_ends() {
    let network = Network::new();
    let query = |from: &str, to: &str| Query {
        from: ["DE".into(), from.into()],
        to: ["DE".into(), to.into()],
        module: "locations".into(),
        role: "SENDER".into(),
        method: None,
        path: String::new(),
    };
    let at = |world: &World, from: &str, to: &str| {
        explain(&query(from, to), &world.node, world).unwrap()
    };
    let going = at(&network.a, "MSP", "CPO");
    assert!(going.relayed);
    assert!(
        going.steps[1].says.contains("would be asked first"),
        "{}",
        going.steps[1].says
    );
    assert_eq!(
        going.steps.last().unwrap().says,
        format!("{B}/ocn/relay/sender/locations")
    );
    assert!(network.a.delivered().is_empty(), "nobody is asked");
    network.a.send(list()).await;
    let going = at(&network.a, "MSP", "CPO");
    assert!(
        going.steps[1].says.contains("speaks ocn-relay/3"),
        "{}",
        going.steps[1].says
    );
    let coming = at(&network.b, "MSP", "CPO");
    assert!(coming.relayed && coming.steps[0].says.contains(&address(&a_key())));
    let through = at(&network.b, "MSP", "FAR");
    assert_eq!((through.relayed, through.http_status), (false, Some(404)));
}
