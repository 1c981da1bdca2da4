//! The rows: which messages are counted, through which nodes, and what must have come of them.
use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use ocn_core::notary::{Container, Limits, Notary, NumberForm, Part, Policy, Values};
use ocn_core::ocpi::Party;
use ocn_core::relay::ports::Answer;
use ocn_core::relay::{Reply, keep_sessions};
use ocn_core::table::TableHandle;
use serde_json::json;

use crate::bodies::{envelope, location, session, start_session};
use crate::meter::{count, mark, once_more, own};
use crate::metered::{Counted, Metered};
use crate::nodes::{B, Network};
use crate::table_rows::{change, ids, many, party_row, platform_row};
use crate::world::{
    Request, World, answer, cpo_key, header, msp_key, request, settings, signed_answer,
};

/// Messages before a row is counted: what is made once is made then.
const WARM_UP: u32 = 3;
/// Messages that are counted, each with other bytes: what a recovery costs depends on what was signed.
const COUNTED: u32 = 4;
const PARTIES: usize = 10_000;
const LOOK_UPS: u64 = 1_000;

/// Counts the rows of which the name is wanted.
pub(crate) fn all(wanted: impl Fn(&str) -> bool) {
    for (row, signed, body) in [
        (
            "unsigned local, 1.2 kB",
            false,
            session as fn(u32) -> String,
        ),
        ("unsigned local, 10 kB", false, |number| {
            location(number, 18)
        }),
        ("unsigned local, 200 kB", false, |number| {
            location(number, 370)
        }),
        ("signed local, 1.2 kB", true, session),
        ("signed local, 10 kB", true, |number| location(number, 18)),
        ("signed local, 200 kB", true, |number| location(number, 370)),
    ] {
        if wanted(row) {
            local(
                row,
                signed,
                |number| put(number, &body(number)),
                &[],
                "null",
            );
        }
    }
    if wanted("signed local, command") {
        local(
            "signed local, command",
            true,
            command,
            &[],
            r#"{"result":"ACCEPTED","timeout":30}"#,
        );
    }
    if wanted("signed local, list with Link") {
        let page =
            "<https://cpo.example/ocpi/2.2.1/sender/locations?offset=50&limit=50>; rel=\"next\"";
        let headers = [("link", page), ("x-limit", "50"), ("x-total-count", "100")];
        let list = format!("[{}]", location(7, 18));
        local("signed local, list with Link", true, get, &headers, &list);
    }
    for (halves, algorithm) in [
        (
            [
                "signed, sender's node, 1.2 kB",
                "signed, receiver's node, 1.2 kB",
            ],
            "secp256k1-keccak256",
        ),
        (
            [
                "signed, sender's node, session key, 1.2 kB",
                "signed, receiver's node, session key, 1.2 kB",
            ],
            "hmac-sha256",
        ),
    ] {
        if halves.iter().any(|half| wanted(half)) {
            between_nodes(halves, algorithm);
        }
    }
    if wanted("notary") {
        notary();
    }
    if wanted("table") {
        table();
    }
}

fn put(number: u32, body: &str) -> Request {
    request(
        "PUT",
        &format!("/ocpi/receiver/2.2.1/sessions/DE/CPO/{number}"),
        body,
    )
}

fn command(number: u32) -> Request {
    request(
        "POST",
        "/ocpi/receiver/2.2.1/commands/START_SESSION",
        &start_session(number),
    )
}

fn get(number: u32) -> Request {
    Request {
        query: format!("offset={number}&limit=50"),
        ..request("GET", "/ocpi/sender/2.2.1/locations", "")
    }
}

/// Messages to a party that is connected to the same node; it answers with these headers and data.
fn local(
    row: &'static str,
    signed: bool,
    message: impl Fn(u32) -> Request,
    headers: &[(&str, &str)],
    data: &str,
) {
    let mut settings = settings();
    settings["signatures"]["required"] = json!(signed);
    let node = Metered::new(Arc::new(World::with(settings, crate::world::change())), row);
    let answer = given(signed, headers, data);
    node.world.answers(move |_| Ok(answer.clone()));
    for number in numbers() {
        let mut message = message(number);
        message.signer = message.signer.filter(|_| signed);
        let (head, body) = message.finish();
        let reply = node.send(head, body.clone());
        assert_right(&node.world, &body, headers, &reply);
    }
}

/// Messages from a party of one node to a party of another one; each node is a row. `algorithm` is that of the hop.
fn between_nodes([sender, receiver]: [&'static str; 2], algorithm: &str) {
    let network = Network::new();
    let answer = given(true, &[], "null");
    network.b.answers(move |_| Ok(answer.clone()));
    if algorithm == "hmac-sha256" {
        let opened = async {
            network.a.send(put(0, &session(0))).await;
            keep_sessions(&network.a.node, &*network.a).await;
        };
        opened
            .now_or_never()
            .expect("nothing here is ever waited for");
    }
    let before = network.legs().len() as u32;
    let a = Metered::new(Arc::clone(&network.a), sender);
    let b = Metered::new(Arc::clone(&network.b), receiver);
    let way = Counted {
        to: b,
        base: B,
        other: Arc::clone(&network.a_to_b),
    };
    *a.world.receiver.peers.lock().unwrap() = vec![(B.to_owned(), Arc::new(way))];
    for number in numbers() {
        let (head, body) = put(number, &session(number)).finish();
        let reply = a.send(head, body.clone());
        assert_right(&network.b, &body, &[], &reply);
        assert_eq!(network.legs().len() as u32, before + number + 1);
        let leg = network.legs().pop().unwrap();
        let input = header(&leg.headers, "signature-input").unwrap();
        assert!(input.contains(algorithm), "{input}");
    }
}

/// What the receiver answers.
fn given(signed: bool, headers: &[(&str, &str)], data: &str) -> Answer {
    let body = envelope(data);
    if signed {
        signed_answer(cpo_key(), headers, &body)
    } else {
        answer(200, headers, body)
    }
}

/// Numbers of messages; from the first one that is counted on, parts have owners.
fn numbers() -> impl Iterator<Item = u32> {
    (0..WARM_UP + COUNTED)
        .inspect(|number| count(*number >= WARM_UP))
        .chain(std::iter::from_fn(|| {
            count(false);
            None
        }))
}

/// The receiver of that node got the body that was sent, save a rewritten URL; its answer came back.
fn assert_right(node: &World, body: &Bytes, headers: &[(&str, &str)], reply: &Reply) {
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let sent = node.delivered().pop().unwrap();
    let urls = |text: &[u8]| {
        String::from_utf8_lossy(text)
            .matches("https://hub.example/")
            .count()
    };
    if body.starts_with(br#"{"response_url""#) {
        assert_eq!(urls(&sent.body), 1, "the URL of ours");
    } else {
        assert_eq!(sent.body, *body);
    }
    for (name, value) in headers {
        let came = header(&reply.headers, name).unwrap();
        assert_eq!(came == *value, *name != "link", "{name}: {came}");
    }
    let link = header(&reply.headers, "link").unwrap_or_default();
    assert_eq!(
        urls(link.as_bytes()),
        headers.iter().filter(|(name, _)| *name == "link").count()
    );
}

/// A piece of work, which has one stage.
fn work<T>(
    row: &'static str,
    times: u64,
    mut work: impl FnMut(u32) -> T,
    right: impl Fn(u32, T) -> bool,
) {
    for number in numbers() {
        let start = mark();
        let made = black_box(work(number));
        own(start..mark(), Some((row, "all")));
        once_more(row, times);
        assert!(right(number, made), "{row}");
    }
}

/// Verifying and signing alone.
fn notary() {
    let headers = [
        ("x-correlation-id", "b3c4f3ac-3d0b-4a53-9f1c-6a2c51f1d9b7"),
        ("ocpi-from-country-code", "DE"),
        ("ocpi-from-party-id", "MSP"),
        ("ocpi-to-country-code", "DE"),
        ("ocpi-to-party-id", "CPO"),
    ];
    let (key, limits) = (msp_key(), Limits::default());
    let bodies: Vec<String> = (0..WARM_UP + COUNTED).map(session).collect();
    let values = |number: u32| Values {
        headers: Part::Pairs(&headers),
        params: Part::Absent,
        body: Part::Json(bodies[number as usize].as_bytes()),
    };
    let sign = |number| Notary::sign(&values(number), &key, NumberForm::Js, &limits).unwrap();
    let verify = |notary: &Notary, number| {
        let verdict = notary.verify(&values(number), Policy::Strict, &[], &limits);
        verdict.is_ok_and(|verdict| verdict.chain == [key.address()])
    };
    work("notary: sign", 1, sign, |number, notary| {
        verify(&notary, number)
    });
    for (container, pack, open) in [
        (
            Container::Brotli,
            "notary: pack Brotli",
            "notary: open Brotli",
        ),
        (Container::Gzip, "notary: pack gzip", "notary: open gzip"),
    ] {
        let signed: Vec<Notary> = (0..WARM_UP + COUNTED).map(sign).collect();
        let texts: Vec<String> = signed.iter().map(|notary| notary.pack(container)).collect();
        let pack_one = |number| signed[number as usize].pack(container);
        work(pack, 1, pack_one, |number, text| {
            text == texts[number as usize]
        });
        let open_one = |number| {
            let text = texts[number as usize].as_bytes();
            Notary::open_for(text, &values(number), &limits).unwrap()
        };
        work(open, 1, open_one, |number, notary| verify(&notary, number));
    }
    let signed: Vec<Notary> = (0..WARM_UP + COUNTED).map(sign).collect();
    work(
        "notary: verify",
        1,
        |number| verify(&signed[number as usize], number),
        |_, right| right,
    );
}

/// Look-ups in a table of ten thousand parties and a thousand platforms, with a delta in place.
fn table() {
    let handle = TableHandle::new();
    let parties = many(PARTIES, |number| party_row(number, number));
    let platforms = many(PARTIES / 10, |id| platform_row(id, id));
    handle.apply(change(1, true, &parties, &platforms)).unwrap();
    for turn in 0..300 {
        handle
            .apply(change(2 + turn, false, &party_row(turn, PARTIES), ""))
            .unwrap();
    }
    let table = handle.load();
    // Numbers with which all are visited, in no order that a cache could foresee.
    let scattered = |count: usize| {
        (0..LOOK_UPS as usize).map(move |turn| turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) % count)
    };
    let keys: Vec<Party> = scattered(PARTIES)
        .map(|number| {
            let (country, party) = ids(number);
            Party::new(&country, &party).unwrap()
        })
        .collect();
    let digests: Vec<[u8; 32]> = scattered(PARTIES / 10)
        .map(|number| {
            let mut digest = [0; 32];
            digest[24..].copy_from_slice(&(number as u64).to_be_bytes());
            digest
        })
        .collect();
    let found = |_: u32, found: usize| found == LOOK_UPS as usize;
    work(
        "table: a registered party",
        LOOK_UPS,
        |_| {
            let found = |key: &&Party| {
                table
                    .registered(**key)
                    .is_some_and(|found| found.party == **key)
            };
            black_box(&keys).iter().filter(found).count()
        },
        found,
    );
    work(
        "table: a platform by its token",
        LOOK_UPS,
        |_| {
            let found = |digest: &&[u8; 32]| table.platform_by_token(digest).is_some();
            black_box(&digests).iter().filter(found).count()
        },
        found,
    );
    work(
        "table: one change applied",
        1,
        |number| {
            let number = 1_000 + number as usize;
            handle
                .apply(change(number, false, &party_row(number % 400, number), ""))
                .is_ok()
        },
        |_, right| right,
    );
}
