//! Whom a node believes: what is refused of other nodes' messages and answers, and what that says.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use ocn_core::relay::ports::{Answer, Outgoing};
use ocn_core::relay::{Stale, relay, unavailable};
use ocn_core::table::Change;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::nodes::{
    B, Bend, Network, SECOND, a_key, address, advance, alterations, answer_header, arrive,
    assert_verdict, b_key, c_key, change, cpo_platform, leg, list, put, registry, set, sign, taken,
    text,
};
use crate::world::{
    Request, Whole, answer as unsigned_answer, cpo_key, header, json_of, key, msp_key, plain_body,
    request, signed_answer,
};

/// Refusals of `ocn-relay.md` 7 for signatures; nothing is delivered, and a 401 is never signed.
#[tokio::test]
async fn test_r2_r3_a151_what_is_not_signed_as_it_is_is_refused() {
    let more: [(&'static str, Bend); 7] = [
        ("no body", Box::new(|leg| leg.body = Bytes::new())),
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
    ];
    let network = Network::new();
    let good = leg(&network, put()).await;
    assert_eq!(network.at_cpo().len(), 1);
    for (what, bend) in alterations().into_iter().chain(more) {
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
fn assert_signed_by_b(answer: &Answer, request: &Outgoing, what: &str) {
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
            head, Whole(body), &network.a.node, &*network.a, &Default::default(),
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
fn resign_as_b(request: &Outgoing, answer: &mut Answer, more: &[(&str, &str)]) {
    answer.body = signed_answer(cpo_key(), more, &plain_body()).body;
    answer
        .headers
        .retain(|(name, _)| !matches!(name.as_str(), "link" | "location"));
    for (name, value) in more {
        let value = Bytes::copy_from_slice(value.as_bytes());
        answer.headers.push(((*name).to_owned(), value));
    }
    sign_as_b(request, answer);
}

/// An answer as it is, signed as B would.
pub(crate) fn sign_as_b(request: &Outgoing, answer: &mut Answer) {
    use ocn_core::wire::{Parameters, ResponseView, content_digest, sign_response};
    let dropped = ["content-digest", "signature", "signature-input"];
    answer
        .headers
        .retain(|(name, _)| !dropped.contains(&name.as_str()));
    let owned = |text: &str| Bytes::copy_from_slice(text.as_bytes());
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
    // What was heard is believed for `node.dialect_ttl_s`.
    network.a_to_b.bend_answer(|_, _| {});
    network.a.send(list()).await;
    let asked = questions().len();
    for (seconds, more) in [(3_590, 0), (20, 1)] {
        advance(&network.a, seconds);
        assert_eq!(network.a.send(list()).await.status, 200);
        assert_eq!(questions().len(), asked + more);
    }
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
            *answer = unsigned_answer(503, &[], "away");
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
    type Bend = fn(&Outgoing, &mut Answer);
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
                Some(earlier) => *answer = Answer::clone(earlier),
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
