//! Session keys between two nodes: when they are used, what is refused under them, and that losing one costs nothing but
//! a signature.
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use ocn_core::relay::ports::{Answer, Outgoing};
use ocn_core::relay::{Node, keep_sessions, relay};
use ocn_core::table::Change;
use ocn_core::wire::{Parameters, RequestView, content_digest, sign_asking};
use serde_json::{Value, json};

use crate::nodes::{
    A, B, Network, SECOND, a_key, address, advance, alterations, answer_header, arrive, b_key,
    c_key, change, cpo_platform, msp_platform, own_settings, put, registry, set, taken,
};
use crate::trust::sign_as_b;
use crate::world::{World, header, json_of, key};

const MAC: &str = "hmac-sha256";
const KEY: &str = "secp256k1-keccak256";

/// A network in which A has a session with B.
async fn opened() -> Network {
    let network = Network::new();
    network.a.send(put()).await;
    keep(&network).await;
    assert_eq!(counts(&network.a), (1, 0, 0));
    network
}

async fn keep(network: &Network) {
    keep_sessions(&network.a.node, &*network.a).await;
}

/// Sessions opened, refused and lost.
fn counts(node: &World) -> (u64, u64, u64) {
    let metrics = node.node.metrics.to_json();
    let count = |name: &str| metrics["sessions"][name].as_u64().unwrap();
    (count("opened"), count("refused"), count("lost"))
}

fn input(request: &Outgoing) -> &str {
    header(&request.headers, "signature-input").unwrap()
}

/// A parameter of a `Signature-Input`.
fn parameter<'a>(input: &'a str, name: &str) -> &'a str {
    let (_, rest) = input.split_once(&format!(";{name}=")).unwrap();
    rest.split(';').next().unwrap().trim_matches('"')
}

fn alg(request: &Outgoing) -> &str {
    parameter(input(request), "alg")
}

/// Messages that left A for B, requests for sessions apart.
fn legs(network: &Network) -> Vec<Outgoing> {
    let mut legs = network.legs();
    legs.retain(|sent| !sent.url.ends_with("/ocn/relay/session"));
    legs
}

/// A message that B has not seen, as A makes it.
async fn held(network: &Network) -> Outgoing {
    network
        .a_to_b
        .bend(|request| set(request, "signature", "none"));
    network.a.send(put()).await;
    network.a_to_b.bend(|_| {});
    legs(network).pop().unwrap()
}

fn apply(node: &World, registry: Value, platform: Value) {
    let change = change(registry, json!([platform]));
    let change = Change::parse(change.to_string().as_bytes()).unwrap();
    node.node.table.apply(change).unwrap();
}

fn assert_lost(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 401, "{what}");
    assert_eq!(answer_header(answer, "ocn-session"), Some("lost"), "{what}");
    assert_eq!(answer_header(answer, "ocn-origin"), Some("node"), "{what}");
    assert_eq!(answer_header(answer, "ocn-delivery"), Some("no"), "{what}");
    assert_eq!(answer_header(answer, "signature"), None, "{what}");
}

#[tokio::test]
async fn the_first_message_is_signed_and_those_after_a_session_carry_macs() {
    let network = opened().await;
    let inputs: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&inputs);
    network.a_to_b.bend_answer(move |_, answer| {
        let input = answer_header(answer, "signature-input").unwrap();
        seen.lock().unwrap().push(input.to_owned());
    });
    let reply = network.a.send(put()).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let [first, second] = &legs(&network)[..] else {
        panic!("two messages")
    };
    assert_eq!((alg(first), alg(second)), (KEY, MAC));
    let names = |leg: &Outgoing| -> Vec<&str> { leg.headers.iter().map(|(n, _)| *n).collect() };
    assert_eq!(names(first), names(second));
    let answered = inputs.lock().unwrap().pop().unwrap();
    assert_eq!(parameter(&answered, "alg"), MAC);
    assert_eq!(
        parameter(&answered, "keyid"),
        parameter(input(second), "keyid")
    );
    let at_cpo = network.at_cpo();
    assert_eq!(at_cpo.len(), 2);
    assert_eq!(at_cpo[0].body, at_cpo[1].body);
    // Nothing is written and nothing looked up for it.
    network.a.break_the_store();
    network.b.break_the_store();
    assert_eq!(network.a.send(put()).await.status, 200);
}

#[tokio::test]
async fn a_session_is_asked_for_once_and_beside_the_messages() {
    let network = Network::new();
    for _ in 0..3 {
        network.a.send(put()).await;
    }
    keep(&network).await;
    keep(&network).await;
    let asked = network.legs().len() - legs(&network).len();
    assert_eq!((asked, counts(&network.a)), (1, (1, 0, 0)));
    // B is nobody's message for it, and has a record of none.
    assert_eq!(network.b.records().len(), 3);
    assert_eq!(network.b.node.metrics.to_json()["received"], 3);
    assert_eq!(network.b.node.metrics.to_json()["sessions"]["given"], 1);
}

#[tokio::test]
async fn test_r2_r3_a151_what_is_altered_under_a_session_is_refused() {
    let mut bends = alterations();
    for (name, edit) in [
        ("created", |text: &str| {
            text.replacen(";created=1", ";created=2", 1)
        }),
        ("expires", |text| {
            text.replacen(";expires=1", ";expires=2", 1)
        }),
        ("nonce", |text| {
            let nonce = parameter(text, "nonce").to_owned();
            text.replace(&nonce, &"0".repeat(32))
        }),
    ] as [(&str, fn(&str) -> String); 3]
    {
        bends.push((
            name,
            Box::new(move |leg| {
                let edited = edit(input(leg));
                set(leg, "signature-input", &edited);
            }),
        ));
    }
    for at in [0, 31] {
        bends.push((
            "mac",
            Box::new(move |leg| {
                let text = header(&leg.headers, "signature").unwrap();
                let digits = text.trim_start_matches("ocn=:").trim_end_matches(':');
                let mut mac = STANDARD.decode(digits).unwrap();
                mac[at] ^= 1;
                let text = format!("ocn=:{}:", STANDARD.encode(mac));
                set(leg, "signature", &text);
            }),
        ));
    }
    let network = opened().await;
    let good = held(&network).await;
    for (what, bend) in bends {
        let mut bent = good.clone();
        bend(&mut bent);
        let answer = arrive(&network.b, B, &bent).await;
        assert_eq!(answer.status, 401, "{what}: {:?}", answer.body);
        assert_eq!(answer_header(&answer, "ocn-session"), None, "{what}");
        assert_eq!(answer_header(&answer, "signature"), None, "{what}");
    }
    assert_eq!(network.at_cpo().len(), 1);
    // As it was made it is good, and once.
    assert_eq!(arrive(&network.b, B, &good).await.status, 200);
    let replayed = arrive(&network.b, B, &good).await;
    assert_eq!(replayed.status, 401);
    assert_eq!(answer_header(&replayed, "ocn-session"), None);
    assert_eq!(network.at_cpo().len(), 2);
}

#[tokio::test]
async fn a_ticket_opens_only_where_it_was_given_for_whom_it_was_given_and_unaltered() {
    let network = opened().await;
    let good = held(&network).await;
    let ticket = parameter(input(&good), "keyid").to_owned();
    let with_ticket = |other: &str| {
        let mut bent = good.clone();
        let text = input(&good).replace(&ticket, other);
        set(&mut bent, "signature-input", &text);
        bent
    };
    let mut bytes = URL_SAFE_NO_PAD.decode(&ticket).unwrap();
    for at in 0..bytes.len() {
        bytes[at] ^= 1;
        let bent = with_ticket(&URL_SAFE_NO_PAD.encode(&bytes));
        bytes[at] ^= 1;
        let answer = arrive(&network.b, B, &bent).await;
        assert_lost(&answer, &format!("byte {at}"));
    }
    for holder in [c_key(), b_key()] {
        bytes[..20].copy_from_slice(holder.address().as_bytes());
        let bent = with_ticket(&URL_SAFE_NO_PAD.encode(&bytes));
        assert_lost(&arrive(&network.b, B, &bent).await, "another holder");
    }
    for short in [
        "",
        "A",
        "AAAA",
        &ticket[..ticket.len() - 4],
        &"A".repeat(300),
    ] {
        let answer = arrive(&network.b, B, &with_ticket(short)).await;
        assert_lost(&answer, short);
    }
    // Another node with the same key ring.
    let table = change(registry(), json!([cpo_platform()]));
    let other = World::of(c_key(), own_settings("https://c.example", "HBC"), table);
    let mut astray = good.clone();
    set(&mut astray, "ocn-to-node", &address(&c_key()));
    assert_lost(&arrive(&other, B, &astray).await, "another node");
    // The same node with another key ring.
    let settings = serde_json::from_value(own_settings(B, "HBB")).unwrap();
    let node = Node::new(settings, b_key(), vec![(1, [6; 32])]).unwrap();
    let table = change(registry(), json!([cpo_platform()])).to_string();
    let table = Change::parse(table.as_bytes()).unwrap();
    node.table.apply(table).unwrap();
    let (head, body) = taken(B, &good);
    let reply = relay(head, body, &node, &*network.b, &Default::default()).await;
    assert_eq!(header(&reply.headers, "ocn-session"), Some("lost"));
    assert_eq!(network.at_cpo().len(), 1);
    assert_eq!(arrive(&network.b, B, &good).await.status, 200);
}

#[tokio::test]
async fn a_lost_session_costs_one_signature_and_the_message_arrives_once() {
    let network = opened().await;
    // At B the operator of A has moved: its session ends.
    let mut moved = registry();
    moved["operators"][0]["domain"] = json!("https://a2.example");
    apply(&network.b, moved, cpo_platform());
    let reply = network.a.send(put()).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(network.at_cpo().len(), 2);
    assert_eq!(counts(&network.a), (1, 0, 1));
    let [_, lost, again] = &legs(&network)[..] else {
        panic!("three messages")
    };
    assert_eq!((alg(lost), alg(again)), (MAC, KEY));
    for name in ["created", "nonce"] {
        assert_eq!(
            parameter(input(lost), name),
            parameter(input(again), name),
            "{name}"
        );
    }
    // From then on messages are signed at once, until there is another session.
    network.a.send(put()).await;
    assert_eq!(alg(&legs(&network)[3]), KEY);
    advance(&network.a, 60);
    network.a.send(put()).await;
    keep(&network).await;
    network.a.send(put()).await;
    assert_eq!(alg(&legs(&network)[5]), MAC);
    assert_eq!(network.at_cpo().len(), 5);
    assert_eq!(counts(&network.a), (2, 0, 1));
}

#[tokio::test]
async fn a_session_ends_with_its_time_at_both_ends() {
    let network = opened().await;
    // At B it has ended, at A not yet.
    for node in [&network.a, &network.b] {
        let hour = 3_600_000;
        node.clock.millis.fetch_add(hour, Ordering::Relaxed);
    }
    assert_eq!(network.a.send(put()).await.status, 200);
    assert_eq!(counts(&network.a), (1, 0, 1));
    // At A it is renewed before it ends, and not used after that.
    advance(&network.a, 60);
    network.a.send(put()).await;
    keep(&network).await;
    advance(&network.a, 2_600);
    network.a.send(put()).await;
    keep(&network).await;
    assert_eq!(counts(&network.a), (2, 0, 1));
    advance(&network.a, 200);
    network.a.send(put()).await;
    let old = legs(&network).pop().unwrap();
    assert_eq!(
        alg(&old),
        MAC,
        "the old one is used while a new one is asked for"
    );
    keep(&network).await;
    assert_eq!(counts(&network.a), (3, 0, 1));
    network.a.send(put()).await;
    let new = legs(&network).pop().unwrap();
    assert_ne!(
        parameter(input(&new), "keyid"),
        parameter(input(&old), "keyid")
    );
    advance(&network.a, 3_601);
    network.a.send(put()).await;
    assert_eq!(alg(&legs(&network).pop().unwrap()), KEY);
    assert_eq!(counts(&network.a), (3, 0, 1));
}

#[tokio::test]
async fn a_ticket_that_outlives_the_limit_is_not_taken() {
    let network = opened().await;
    let good = held(&network).await;
    network.b.clock.millis.fetch_sub(1_000, Ordering::Relaxed);
    assert_lost(&arrive(&network.b, B, &good).await, "given in the future");
    network.b.clock.millis.fetch_add(1_000, Ordering::Relaxed);
    assert_eq!(arrive(&network.b, B, &good).await.status, 200);
}

#[tokio::test]
async fn test_r5_a95_the_registry_rules_over_sessions() {
    // The party has moved to another operator: A is told so, under its session.
    let network = opened().await;
    let mut moved = registry();
    moved["parties"][0]["operator"] = json!(address(&c_key()));
    let good = held(&network).await;
    apply(&network.b, moved, cpo_platform());
    let answer = arrive(&network.b, B, &good).await;
    assert_eq!(answer.status, 403);
    let signed = answer_header(&answer, "signature-input").unwrap();
    assert_eq!(parameter(signed, "alg"), MAC);
    // A is no operator any more: neither its session nor its signature counts.
    let mut gone = registry();
    gone["operators"].as_array_mut().unwrap().remove(0);
    apply(&network.b, gone, cpo_platform());
    assert_lost(&arrive(&network.b, B, &good).await, "no operator");
    assert_eq!(network.at_cpo().len(), 1);
    let reply = network.a.send(put()).await;
    assert_eq!(json_of(&reply.body)["status_code"], 4003);
    assert_eq!(network.at_cpo().len(), 1);

    // B has moved: A drops its session with it and signs.
    let network = opened().await;
    let mut moved = registry();
    moved["operators"][1]["domain"] = json!(format!("{B}/"));
    apply(&network.a, moved, msp_platform());
    assert_eq!(network.a.send(put()).await.status, 200);
    assert_eq!(alg(&legs(&network).pop().unwrap()), KEY);
}

/// What a node says that did not know a session, said by somebody in between.
fn lie(answer: &mut Answer) {
    *answer = Answer {
        status: 401,
        headers: [
            ("ocn-origin", "node"),
            ("ocn-delivery", "no"),
            ("ocn-session", "lost"),
        ]
        .map(|(name, value)| (name.to_owned(), Bytes::from_static(value.as_bytes())))
        .to_vec(),
        body: Bytes::new(),
    };
}

#[tokio::test]
async fn test_r9_a_lie_about_a_lost_session_makes_no_second_delivery() {
    let network = opened().await;
    network.a_to_b.bend_answer(|_, answer| lie(answer));
    let reply = network.a.send(put()).await;
    assert_eq!(json_of(&reply.body)["status_code"], 4003);
    // One went under the session and was taken; the second had the same nonce and was not.
    assert_eq!(legs(&network).len(), 3);
    assert_eq!(network.at_cpo().len(), 2);
    // What is signed is not sent again for it.
    network.a.send(put()).await;
    assert_eq!(legs(&network).len(), 4);
    assert_eq!(network.at_cpo().len(), 3);
}

#[tokio::test]
async fn test_r9_any_other_401_is_not_asked_again() {
    for (name, value) in [
        ("ocn-session", "gone"),
        ("ocn-session", ""),
        ("ocn-delivery", "maybe"),
        ("ocn-origin", "receiver"),
    ] {
        let network = opened().await;
        network.a_to_b.bend_answer(move |_, answer| {
            lie(answer);
            answer.headers.retain(|(known, _)| known != name);
            let value = Bytes::from_static(value.as_bytes());
            answer.headers.push((name.to_owned(), value));
        });
        network.a.send(put()).await;
        assert_eq!(legs(&network).len(), 2, "{name}: {value}");
        assert_eq!(counts(&network.a), (1, 0, 0));
    }
}

#[tokio::test]
async fn test_r4_a98_an_answer_comes_by_the_means_of_its_request_and_belongs_to_it() {
    // Signed by B's own key, which it is: but the request was not.
    let network = opened().await;
    network.a_to_b.bend_answer(sign_as_b);
    let reply = network.a.send(put()).await;
    assert_eq!(
        json_of(&reply.body)["status_code"],
        3000,
        "{:?}",
        reply.body
    );
    // The answer to another request of the same session.
    let network = opened().await;
    let earlier: Arc<Mutex<Option<Answer>>> = Arc::default();
    let keep_it = Arc::clone(&earlier);
    network
        .a_to_b
        .bend_answer(move |_, answer| *keep_it.lock().unwrap() = Some(answer.clone()));
    assert_eq!(network.a.send(put()).await.status, 200);
    let old = earlier.lock().unwrap().take().unwrap();
    let by_session = old.clone();
    network
        .a_to_b
        .bend_answer(move |_, answer| *answer = old.clone());
    let reply = network.a.send(put()).await;
    assert_eq!(json_of(&reply.body)["status_code"], 3000);
    // A MAC where a signature was asked for.
    let network = Network::new();
    network.a_to_b.bend_answer(move |request, answer| {
        if request.url.contains("/ocn/relay/") {
            *answer = by_session.clone();
        }
    });
    let reply = network.a.send(put()).await;
    assert_eq!(json_of(&reply.body)["status_code"], 3000);
    // Every covered part of an answer.
    for name in [
        "x-request-id",
        "ocn-origin",
        "content-digest",
        "signature",
        "signature-input",
    ] {
        let network = opened().await;
        network.a_to_b.bend_answer(move |_, answer| {
            let found = answer.headers.iter_mut().find(|(known, _)| known == name);
            let (_, value) = found.unwrap();
            let mut bent = value.to_vec();
            bent[6] ^= 1;
            *value = Bytes::from(bent);
        });
        let reply = network.a.send(put()).await;
        assert_eq!(json_of(&reply.body)["status_code"], 3000, "{name}");
    }
    for bend in [
        |answer: &mut Answer| answer.status = 201,
        |answer: &mut Answer| answer.body = Bytes::from_static(b"{}"),
        |answer: &mut Answer| {
            answer
                .headers
                .push(("x-limit".into(), Bytes::from_static(b"1")));
        },
    ] {
        let network = opened().await;
        network.a_to_b.bend_answer(move |_, answer| bend(answer));
        let reply = network.a.send(put()).await;
        assert_eq!(json_of(&reply.body)["status_code"], 3000);
    }
}

#[tokio::test]
async fn a_node_without_sessions_is_left_alone_for_a_while_and_messages_go_on() {
    let off = |node: &'static str| {
        Network::with(move |name, settings| {
            settings["relay"]["session_keys"] = json!(name != node);
        })
    };
    // B gives none: what is under that path is nothing.
    let network = off("b");
    for _ in 0..3 {
        assert_eq!(network.a.send(put()).await.status, 200);
        keep(&network).await;
    }
    assert_eq!(counts(&network.a), (0, 1, 0));
    advance(&network.a, 60);
    network.a.send(put()).await;
    keep(&network).await;
    assert_eq!(counts(&network.a), (0, 2, 0));
    let asking = network
        .legs()
        .into_iter()
        .find(|sent| sent.url.ends_with("/ocn/relay/session"))
        .unwrap();
    let mut elsewhere = asking.clone();
    elsewhere.url = format!("{B}/ocn/relay/nothing");
    for unknown in [asking, elsewhere] {
        let answer = arrive(&network.b, B, &unknown).await;
        assert_eq!(answer.status, 404, "{:?}", answer.body);
    }
    assert!(legs(&network).iter().all(|leg| alg(leg) == KEY));
    // A asks for none.
    let network = off("a");
    network.a.send(put()).await;
    keep(&network).await;
    assert_eq!(network.legs().len(), 1);
    // B has stopped giving them: a session that A still has is lost.
    let network = opened().await;
    let good = held(&network).await;
    let b = off("b").b;
    assert_lost(&arrive(&b, B, &good).await, "switched off");
}

#[tokio::test]
async fn a_session_that_is_not_given_rightly_is_not_used() {
    type Bend = fn(&Outgoing, &mut Answer);
    let bends: [(&str, Bend); 4] = [
        ("another key", |_, answer| {
            let mut given = json_of(&answer.body);
            given["key"] = json!(STANDARD.encode([9; 32]));
            answer.body = Bytes::from(given.to_string());
        }),
        ("unsigned", |_, answer| {
            answer.headers.retain(|(name, _)| name != "signature");
        }),
        ("a key of small order, signed", |request, answer| {
            let mut given = json_of(&answer.body);
            given["key"] = json!(STANDARD.encode([0; 32]));
            answer.body = Bytes::from(given.to_string());
            sign_as_b(request, answer);
        }),
        ("a receiver's, signed", |request, answer| {
            answer.headers.retain(|(name, _)| name != "ocn-origin");
            let receiver = Bytes::from_static(b"receiver");
            answer.headers.push(("ocn-origin".into(), receiver));
            sign_as_b(request, answer);
        }),
    ];
    for (what, bend) in bends {
        let network = Network::new();
        network.a_to_b.bend_answer(move |request, answer| {
            if request.url.ends_with("/ocn/relay/session") {
                bend(request, answer);
            }
        });
        network.a.send(put()).await;
        keep(&network).await;
        assert_eq!(counts(&network.a), (0, 1, 0), "{what}");
        network.a.send(put()).await;
        assert_eq!(alg(&legs(&network)[1]), KEY, "{what}");
    }
}

/// A request for a session that B has not seen, of A's or with this body and signer.
fn asking(body: &str, signer: &ocn_core::eth::SigningKey, nonce: u128) -> Outgoing {
    let headers = vec![
        ("x-request-id", Bytes::from_static(b"r-1")),
        ("content-type", Bytes::from_static(b"application/json")),
        ("ocn-to-node", Bytes::from(address(&b_key()))),
        ("ocn-deadline", Bytes::from_static(b"8")),
        (
            "content-digest",
            Bytes::from(content_digest(body.as_bytes())),
        ),
    ];
    let views: Vec<(&str, &[u8])> = headers.iter().map(|(n, v)| (*n, &v[..])).collect();
    let view = RequestView {
        method: "POST",
        path: b"/ocn/relay/session",
        query: b"",
        headers: &views,
    };
    let parameters = Parameters {
        created: SECOND,
        expires: SECOND + 30,
        nonce: nonce.to_be_bytes(),
        keyid: signer.address(),
    };
    let (signed, _) = sign_asking(&view, &parameters, signer).unwrap();
    let mut asking = Outgoing {
        method: Bytes::from_static(b"POST"),
        url: format!("{B}/ocn/relay/session"),
        headers,
        body: Bytes::copy_from_slice(body.as_bytes()),
        owner: ocn_core::relay::ports::Owner::Node(b_key().address()),
        deadline: std::time::Duration::from_secs(8),
        response_bytes: 1_024,
    };
    set(&mut asking, "signature-input", &signed.input);
    set(&mut asking, "signature", &signed.signature);
    asking
}

#[tokio::test]
async fn a_request_for_a_session_is_judged_like_any_message() {
    let body = json!({"key": STANDARD.encode([9; 32])}).to_string();
    let network = Network::new();
    type Bend = fn(&mut Outgoing);
    let bends: [(&str, u16, Bend); 11] = [
        ("method", 405, |asking| {
            asking.method = Bytes::from_static(b"GET")
        }),
        ("query", 400, |asking| asking.url += "?a=1"),
        ("path", 404, |asking| asking.url += "/"),
        ("body", 401, |asking| {
            asking.body = Bytes::from_static(b"{}")
        }),
        ("long body", 413, |asking| {
            asking.body = Bytes::from(vec![b' '; 1_025])
        }),
        ("x-request-id", 401, |asking| {
            set(asking, "x-request-id", "r-2")
        }),
        ("another node", 401, |asking| {
            set(asking, "ocn-to-node", &address(&c_key()));
        }),
        ("deadline", 401, |asking| set(asking, "ocn-deadline", "9")),
        ("a party", 401, |asking| {
            set(asking, "x-correlation-id", "c-1")
        }),
        ("no digest", 401, |asking| {
            asking.headers.retain(|(name, _)| *name != "content-digest");
        }),
        ("a session's", 400, |asking| {
            let renamed = input(asking).replace(KEY, MAC);
            set(asking, "signature-input", &renamed);
        }),
    ];
    for (what, http, bend) in bends {
        let mut bent = asking(&body, &a_key(), 1);
        bend(&mut bent);
        let answer = arrive(&network.b, B, &bent).await;
        assert_eq!(answer.status, http, "{what}: {:?}", answer.body);
    }
    for (signer, http) in [(c_key(), 200), (b_key(), 401), (key(99), 401)] {
        let answer = arrive(&network.b, B, &asking(&body, &signer, 2)).await;
        assert_eq!(answer.status, http);
    }
    let good = asking(&body, &a_key(), 3);
    assert_eq!(arrive(&network.b, B, &good).await.status, 200);
    assert_eq!(arrive(&network.b, B, &good).await.status, 401, "replayed");
    for (number, key) in [
        json!({"key": STANDARD.encode([0; 32])}),
        json!({"key": STANDARD.encode([9; 31])}),
        json!({"key": "?"}),
        json!({}),
        json!([]),
    ]
    .iter()
    .enumerate()
    {
        let bad = asking(&key.to_string(), &a_key(), 10 + number as u128);
        let answer = arrive(&network.b, B, &bad).await;
        assert_eq!(answer.status, 400, "{key}");
        assert!(
            answer_header(&answer, "signature").is_some(),
            "it is known who asks"
        );
    }
    // Without a key ring there are no tickets.
    let settings = serde_json::from_value(own_settings(A, "HBA")).unwrap();
    let node = Node::new(settings, b_key(), Vec::new()).unwrap();
    let (head, body) = taken(B, &good);
    let reply = relay(head, body, &node, &*network.b, &Default::default()).await;
    assert_eq!(reply.status, 404);
}
