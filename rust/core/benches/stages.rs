//! The pieces of one message's work, each alone, and the whole walk with in-memory ports; a tree of JSON for scale.
//! What is timed is first seen to be right.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ocn_core::eth::{keccak256, recover_personal};
use ocn_core::json;
use ocn_core::notary::{Container, Limits, Notary, NumberForm, Part, Policy, Values};
use ocn_core::relay::ports::Departure;
use ocn_core::wire::{
    Parameters, RequestView, WireLimits, content_digest, sign_request, verify_request,
};

#[allow(dead_code)]
#[path = "../tests/relay/world.rs"]
mod world;
use world::{World, key, request, settings};

const HEADERS: [(&str, &str); 5] = [
    ("x-correlation-id", "b3c4f3ac-3d0b-4a53-9f1c-6a2c51f1d9b7"),
    ("ocpi-from-country-code", "DE"),
    ("ocpi-from-party-id", "MSP"),
    ("ocpi-to-country-code", "DE"),
    ("ocpi-to-party-id", "CPO"),
];
const PATH: &str = "/ocpi/receiver/2.2.1/sessions/DE/CPO/S1";

/// A session of about 1.2 kB, as parties push them all day.
fn session() -> String {
    let period = |minute: u32| {
        format!(
            r#"{{"start_date_time":"2026-03-01T08:{minute}:00Z","dimensions":[{{"type":"ENERGY","volume":{minute}.125}},{{"type":"CURRENT","volume":31.5}}]}}"#
        )
    };
    let periods: Vec<_> = (30..35).map(period).collect();
    format!(
        r#"{{"country_code":"DE","party_id":"CPO","id":"S1","start_date_time":"2026-03-01T08:30:00Z","kwh":12.5,"cdr_token":{{"country_code":"DE","party_id":"MSP","uid":"04E7A1B2C3D480","type":"RFID","contract_id":"DE-MSP-C00012345-7"}},"auth_method":"COMMAND","location_id":"LOC-0815","evse_uid":"EVSE-0815-1","connector_id":"1","currency":"EUR","charging_periods":[{}],"total_cost":{{"excl_vat":4.75,"incl_vat":5.65}},"status":"ACTIVE","last_updated":"2026-03-01T08:30:00Z"}}"#,
        periods.join(",")
    )
}

fn values(body: &str) -> Values<'_> {
    Values {
        headers: Part::Pairs(&HEADERS),
        params: Part::Absent,
        body: Part::Json(body.as_bytes()),
    }
}

fn curve(criterion: &mut Criterion) {
    let key = key(2);
    let message = format!("0x{}", "5a".repeat(32));
    let signature = key.personal_sign(message.as_bytes());
    assert_eq!(
        recover_personal(message.as_bytes(), &signature),
        Ok(key.address())
    );
    let mut group = criterion.benchmark_group("curve");
    group.bench_function("recover", |bencher| {
        bencher.iter(|| recover_personal(black_box(message.as_bytes()), &signature));
    });
    group.bench_function("sign", |bencher| {
        bencher.iter(|| key.personal_sign(black_box(message.as_bytes())));
    });
    group.finish();
}

fn bytes(criterion: &mut Criterion) {
    let body = session();
    let limits = json::Limits::default();
    assert!(json::validate(body.as_bytes(), &limits).is_ok());
    let mut group = criterion.benchmark_group("a session's bytes");
    group.bench_function("keccak-256", |bencher| {
        bencher.iter(|| keccak256(black_box(body.as_bytes())));
    });
    group.bench_function("walk", |bencher| {
        bencher.iter(|| json::validate(black_box(body.as_bytes()), &limits));
    });
    group.bench_function("naive: a tree of it", |bencher| {
        bencher.iter(|| serde_json::from_str::<serde_json::Value>(black_box(&body)));
    });
    group.finish();
}

fn notary(criterion: &mut Criterion) {
    let (body, limits, key) = (session(), Limits::default(), key(2));
    let values = values(&body);
    let signed = Notary::sign(&values, &key, NumberForm::Js, &limits).unwrap();
    let verdict = signed
        .verify(&values, Policy::Strict, &[], &limits)
        .unwrap();
    assert_eq!(verdict.chain, [key.address()]);
    let mut group = criterion.benchmark_group("notary");
    group.bench_function("sign", |bencher| {
        bencher.iter(|| Notary::sign(black_box(&values), &key, NumberForm::Js, &limits));
    });
    group.bench_function("verify, container opened", |bencher| {
        bencher.iter(|| signed.verify(black_box(&values), Policy::Strict, &[], &limits));
    });
    for (name, container) in [("Brotli", Container::Brotli), ("gzip", Container::Gzip)] {
        let text = signed.pack(container);
        assert_eq!(
            Notary::open(text.as_bytes(), &limits).unwrap().to_json(),
            signed.to_json()
        );
        group.bench_function(format!("pack {name}"), |bencher| {
            bencher.iter(|| black_box(&signed).pack(container));
        });
        group.bench_function(format!("open {name}"), |bencher| {
            bencher.iter(|| Notary::open_for(black_box(text.as_bytes()), &values, &limits));
        });
    }
    group.finish();
}

fn between_nodes(criterion: &mut Criterion) {
    let (body, key, limits) = (session(), key(9), WireLimits::default());
    let (receiver, digest) = (key.address().to_string(), content_digest(body.as_bytes()));
    let mut headers: Vec<(&str, &[u8])> = vec![
        ("ocn-to-node", receiver.as_bytes()),
        ("x-request-id", b"7d1a6f6e-51ad-4ad8-9a1f-0d1b4c8f6a01"),
        ("ocn-ocpi-version", b"2.2.1"),
        ("ocn-deadline", b"12"),
        ("content-type", b"application/json"),
        ("content-digest", digest.as_bytes()),
    ];
    headers.extend(HEADERS.map(|(name, value)| (name, value.as_bytes())));
    let view = RequestView {
        method: "PUT",
        path: b"/ocn/relay/receiver/sessions/DE/CPO/S1",
        query: b"",
        headers: &headers,
    };
    let parameters = Parameters {
        created: 1_790_000_000,
        expires: 1_790_000_030,
        nonce: [7; 16],
        keyid: key.address(),
    };
    let signed = sign_request(&view, &parameters, &key).unwrap();
    let verify = |view: &RequestView<'_>| {
        verify_request(
            view,
            signed.input.as_bytes(),
            signed.signature.as_bytes(),
            parameters.created,
            &limits,
        )
    };
    assert!(verify(&view).is_ok());
    let mut group = criterion.benchmark_group("between nodes");
    group.bench_function("digest", |bencher| {
        bencher.iter(|| content_digest(black_box(body.as_bytes())));
    });
    group.bench_function("sign", |bencher| {
        bencher.iter(|| sign_request(black_box(&view), &parameters, &key));
    });
    group.bench_function("verify", |bencher| {
        bencher.iter(|| verify(black_box(&view)))
    });
    group.finish();
}

fn walk(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let body = session();
    let mut group = criterion.benchmark_group("whole walk, ports in memory");
    for (name, signed) in [("signed", true), ("unsigned", false)] {
        let mut settings = settings();
        settings["signatures"]["required"] = signed.into();
        let world = World::with(settings, world::change());
        let answer = world::signed_answer(world::cpo_key(), &[], &world::plain_body());
        if !signed {
            let plain = world::answer(200, &[], Bytes::from(world::plain_body()));
            world.answers(move |_| Ok(plain.clone()));
        } else {
            world.answers(move |_| Ok(answer.clone()));
        }
        let mut message = request("PUT", PATH, &body);
        message.signer = message.signer.filter(|_| signed);
        let (head, content) = message.finish();
        let send = |head| {
            let departure = Departure::default();
            let whole = world::Whole(content.clone());
            runtime.block_on(async {
                ocn_core::relay::relay(head, whole, &world.node, &world, &departure).await
            })
        };
        let reply = send(head.clone());
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        assert_eq!(world.delivered()[0].body, content);
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| head.clone(), send, BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, curve, bytes, notary, between_nodes, walk);
criterion_main!(benches);
