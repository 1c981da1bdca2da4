//! Stories across two nodes: what each of them sends, answers and writes down.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use ocn_core::relay::ports::{Answer, Outgoing, SendError};
use ocn_core::relay::record::Signature;
use ocn_core::relay::{Query, explain};
use ocn_core::table::Change;
use serde_json::{Value, json};

use crate::nodes::{
    A, B, Network, SECOND, a_key, address, answer_header, arrive, assert_verdict, b_key, change,
    cpo_platform, leg, list, msp_platform, next, path_at, registry, set, sign, signature_of, text,
};
use crate::world::{
    NOW, Peer, Request, World, answer, cpo_key, header, json_of, key, msp_key, plain_body, request,
    routing, signed_answer, verified,
};

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

/// What the party gets of a refusal of the other node: `ocpi-hub.md` 2.9, in its own words.
#[tokio::test]
async fn the_party_gets_the_far_verdict_in_its_own_terms() {
    type Fail = fn(&Outgoing) -> Result<Answer, SendError>;
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

/// The registry says where a party is, also while a platform here still has it.
#[tokio::test]
async fn a_party_that_moves_is_reached_at_its_new_node() {
    let mut before = registry();
    before["parties"][1]["operator"] = json!(address(&a_key()));
    let node = |registry: Value| {
        let platforms = json!([msp_platform(), cpo_platform()]);
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
        let change = change(rows, json!([msp_platform()]));
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
        let table = change(rows, json!([msp_platform()]));
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
    impl Peer for Dead {
        fn call(&self, _: Outgoing) -> BoxFuture<'static, Result<Answer, SendError>> {
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
