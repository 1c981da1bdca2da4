//! Properties of whole walks: bytes, names, origins and order, whatever is sent.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use ocn_core::relay::Reply;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{
    MSP_TOKEN, Request, World, answer, change, header, json_of, plain_body, request, settings,
};

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(work)
}

fn unsigned() -> World {
    let mut settings = settings();
    settings["signatures"]["required"] = json!(false);
    let world = World::with(settings, change());
    world.answers(|_| Ok(answer(200, &[], plain_body())));
    world
}

fn verdict(reply: &Reply) -> (u16, u64) {
    (
        reply.status,
        json_of(&reply.body)["status_code"].as_u64().unwrap(),
    )
}

/// A JSON document in odd spelling: blanks, escapes and number forms that a parser would lose.
fn document() -> impl Strategy<Value = String> {
    let blank = "[ \t\r\n]{0,2}";
    let leaf = prop_oneof![
        "-?(0|[1-9][0-9]{0,6})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?",
        "\"([a-z ]|\\\\/|\\\\n|\\\\u00[0-9a-fA-F]{2}|ä){0,8}\"",
        Just("null".to_owned()),
        Just("true".to_owned()),
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..4), blank).prop_map(|(items, blank)| format!(
                "[{blank}{}{blank}]",
                items.join(&format!("{blank},{blank}"))
            )),
            (prop::collection::vec(("[a-c]{1,2}", inner), 0..4), blank).prop_map(
                |(members, blank)| {
                    let members: Vec<String> = members
                        .iter()
                        .map(|(key, value)| format!("\"{key}\"{blank}:{blank}{value}"))
                        .collect();
                    format!("{{{blank}{}{blank}}}", members.join(&format!("{blank},")))
                }
            ),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// I03: body, path suffix and query arrive byte for byte, and so does the answer.
    #[test]
    fn test_i03_relay_bytes_identity(
        body in document(),
        suffix in "(/([a-zA-Z0-9_~-]|%2F|%20|%C3%A4|;|'){1,6}){0,3}/?",
        query in "([a-z]{1,3}(=([a-z0-9+*!']|%26|%3D){0,4})?&?){0,4}",
        data in document(),
    ) {
        let world = unsigned();
        let wrapped = format!("{{ \"data\":{data} ,\"status_code\":1000}}\r\n");
        let sent_back = wrapped.clone();
        world.answers(move |_| Ok(answer(200, &[], sent_back.clone())));
        let mut put = request("PUT", &format!("/ocpi/receiver/2.2.1/sessions{suffix}"), &body);
        put.signer = None;
        put.query = query.clone();
        let reply = run(world.send(put));
        prop_assert_eq!(reply.status, 200, "{:?}", reply.body);
        let sent = &world.delivered()[0];
        prop_assert_eq!(&sent.body[..], body.as_bytes());
        let mark = if query.is_empty() { "" } else { "?" };
        let expected = format!("https://cpo.example/ocpi/2.2.1/receiver/sessions{suffix}{mark}{query}");
        prop_assert_eq!(&sent.url, &expected);
        prop_assert_eq!(&reply.body[..], wrapped.as_bytes());
    }

    /// A16, I07: whatever the path, what is called lies on the endpoint of the receiver.
    #[test]
    fn test_i07_a16_no_foreign_origin(suffix in "(/?([.]{1,3}|%2[eEfF]|%5[cC]|[a-z@:;\\\\#?]|//)){0,8}", custom in any::<bool>()) {
        let world = unsigned();
        let door = if custom { "/ocpi/custom/sender/nltnm-x" } else { "/ocpi/sender/2.2.1/locations" };
        let endpoint =
            format!("https://cpo.example/ocpi/2.2.1/sender/{}", door.rsplit('/').next().unwrap());
        let get = Request { signer: None, ..request("GET", &format!("{door}{suffix}"), "") };
        run(world.send(get));
        for sent in world.delivered() {
            let called = url::Url::parse(&sent.url).unwrap();
            prop_assert_eq!(called.origin(), url::Url::parse(&endpoint).unwrap().origin());
            prop_assert!(called.as_str().starts_with(&endpoint), "{}", called);
            prop_assert_eq!(header(&sent.headers, "authorization"), Some("Token dG9rZW4tYi1vZi1DUE8="));
        }
    }

    /// A91 for local messages: what is written outwards is our own header set, whatever came in.
    #[test]
    fn prop_headers_out_are_ours(id in "[\\x00-\\x7f]{0,12}", name in "[a-z-]{1,12}", value in "[ -~]{0,8}") {
        let world = unsigned();
        let get = Request { signer: None, ..request("GET", "/ocpi/sender/2.2.1/tariffs", "") };
        let (mut head, body) = Request { more: vec![], ..get }.finish();
        head.headers.retain(|(known, _)| known != "x-correlation-id");
        head.headers.push((Bytes::from("x-correlation-id"), Bytes::from(id)));
        head.headers.push((Bytes::from(name), Bytes::from(value)));
        run(ocn_core::relay::relay(head, crate::world::Whole(body), &world.node, &world, &Default::default()));
        for sent in world.delivered() {
            let names: Vec<&str> = sent.headers.iter().map(|(name, _)| *name).collect();
            prop_assert!(names.iter().all(|name| {
                name.starts_with("ocpi-") || matches!(*name, "authorization" | "x-request-id" | "x-correlation-id" | "x-vendor")
            }), "{:?}", names);
            prop_assert!(sent.headers.iter().all(|(_, value)| value.iter().all(|b| (b' '..=b'~').contains(b))));
        }
    }
}

#[test]
fn test_a51_a_token_is_read_as_it_stands_and_decoded_once() {
    let encoded = STANDARD.encode("a foreign platform's");
    let mut change = change();
    change["platforms"][0]["tokens"] = json!([
        {"digest": digest(MSP_TOKEN), "expires_at": null},
        {"digest": digest(&encoded), "expires_at": null},
        {"digest": digest("replaced"), "expires_at": crate::world::NOW},
        {"digest": digest("in its grace"), "expires_at": crate::world::NOW + 1},
    ]);
    let world = World::with(settings(), change);
    let status = |token: String| {
        run(world.send(Request {
            token,
            ..request("GET", "/ocpi/sender/2.2.1/locations", "")
        }))
        .status
    };
    let newline = STANDARD.encode(format!("{MSP_TOKEN}\n"));
    for known in [
        MSP_TOKEN.to_owned(),
        STANDARD.encode(MSP_TOKEN),
        newline,
        encoded,
        STANDARD.encode("in its grace"),
    ] {
        assert_eq!(status(known.clone()), 200, "{known}");
    }
    let twice = STANDARD.encode(STANDARD.encode(MSP_TOKEN));
    let url_safe = URL_SAFE_NO_PAD.encode(format!("{MSP_TOKEN}\n"));
    let two_newlines = STANDARD.encode(format!("{MSP_TOKEN}\n\n"));
    for unknown in [
        twice,
        url_safe,
        two_newlines,
        "replaced".into(),
        STANDARD.encode("replaced"),
        "=".into(),
        "x".repeat(300),
    ] {
        assert_eq!(status(unknown.clone()), 401, "{unknown}");
    }
}

fn digest(token: &str) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(token)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn test_a54_i06_a_platform_speaks_for_its_own_parties_only() {
    let world = unsigned();
    for from in [
        ("DE", "CPO"),
        ("DE", "NEW"),
        ("FR", "FAR"),
        ("NL", "HUB"),
        ("XX", "XXX"),
    ] {
        let foreign = Request {
            from,
            signer: None,
            ..request("GET", "/ocpi/sender/2.2.1/locations", "")
        };
        let reply = run(world.send(foreign));
        assert_eq!(verdict(&reply), (403, 2001), "{from:?}");
    }
    assert!(world.delivered().is_empty());
    let own = Request {
        signer: None,
        ..request("GET", "/ocpi/sender/2.2.1/locations", "")
    };
    assert_eq!(verdict(&run(world.send(own))), (200, 1000));
}

/// One message with every fault; each is mended in turn and the next stage refuses (I26).
#[test]
fn test_i26_every_stage_refuses_before_the_next_one_acts() {
    let mut change = change();
    change["platforms"][1]["rules"] = json!({"signatures": true, "mode": "blacklist",
        "entries": [{"country_code": "DE", "party_id": "MSP", "modules": ["commands"]}]});
    let forbidding = World::with(settings(), change);
    let allowing = World::new();
    forbidding.break_the_store();
    allowing.break_the_store();
    let path = "/ocpi/receiver/2.2.1/commands/STOP_SESSION";
    let bad = Request {
        token: "x".into(),
        body: Bytes::from_static(b"{"),
        signer: None,
        ..request("POST", path, "")
    };
    let authenticated = Request {
        token: MSP_TOKEN.into(),
        ..bad.clone()
    };
    let with_body = Request {
        body: command(),
        ..authenticated.clone()
    };
    let signed = Request {
        signer: Some([2; 32]),
        ..with_body.clone()
    };
    let seen: Vec<(u16, u64)> = [
        (&forbidding, &bad),
        (&forbidding, &authenticated),
        (&forbidding, &with_body),
        (&allowing, &with_body),
        (&allowing, &signed),
    ]
    .into_iter()
    .map(|(world, request)| verdict(&run(world.send(request.clone()))))
    .collect();
    assert_eq!(
        seen,
        [
            (401, 2001),
            (400, 2001),
            (200, 2000),
            (200, 2001),
            (503, 3000)
        ]
    );
    assert!(forbidding.delivered().is_empty() && allowing.delivered().is_empty());
    let sound = World::new();
    assert_eq!(verdict(&run(sound.send(signed))), (200, 1000));
    assert_eq!(sound.links().len(), 1);
}

fn command() -> Bytes {
    Bytes::from(json!({"response_url": "https://msp.example/cb", "session_id": "1"}).to_string())
}

/// Every limit of the walk at its value and one above (`safety.md` 3.1).
#[test]
fn limits_hold_at_the_limit_and_one_above() {
    let with = |table: &str, key: &str, value: Value| {
        let mut settings = settings();
        settings["signatures"]["required"] = json!(false);
        settings[table][key] = value;
        let world = World::with(settings, change());
        world.answers(|_| Ok(answer(200, &[], plain_body())));
        world
    };
    let status = |world: &World, request: Request| {
        run(world.send(Request {
            signer: None,
            ..request
        }))
        .status
    };
    let get = |path: &str| request("GET", path, "");
    let put = |body: &str| request("PUT", "/ocpi/receiver/2.2.1/sessions/DE/MSP/1", body);

    let path = "/ocpi/sender/2.2.1/locations";
    assert_eq!(
        status(&with("http", "target_bytes", json!(path.len())), get(path)),
        200
    );
    assert_eq!(
        status(
            &with("http", "target_bytes", json!(path.len() - 1)),
            get(path)
        ),
        414
    );
    let head = Request {
        signer: None,
        ..get(path)
    }
    .finish()
    .0;
    for (name, size) in [
        ("header_count", head.headers.len()),
        ("header_bytes", head.bytes()),
    ] {
        assert_eq!(status(&with("http", name, json!(size)), get(path)), 200);
        assert_eq!(status(&with("http", name, json!(size - 1)), get(path)), 431);
    }
    // A07: by what is announced, before the body.
    assert_eq!(
        status(&with("http", "body_bytes", json!(7)), put(r#"{"a":1}"#)),
        200
    );
    assert_eq!(
        status(&with("http", "body_bytes", json!(6)), put(r#"{"a":1}"#)),
        413
    );
    // A25: counted from the values object, so a body has one level less.
    assert_eq!(
        status(&with("limits", "json_depth", json!(3)), put("[[1]]")),
        200
    );
    assert_eq!(
        status(&with("limits", "json_depth", json!(3)), put("[[[1]]]")),
        400
    );
    assert_eq!(
        status(&with("limits", "number_chars", json!(4)), put("[1234]")),
        200
    );
    assert_eq!(
        status(&with("limits", "number_chars", json!(4)), put("[12345]")),
        400
    );
    // A138
    assert_eq!(
        status(
            &with("limits", "buffered_bytes", json!(7)),
            put(r#"{"a":1}"#)
        ),
        200
    );
    assert_eq!(
        status(
            &with("limits", "buffered_bytes", json!(6)),
            put(r#"{"a":1}"#)
        ),
        503
    );
    for (key, refused) in [
        ("in_flight", 503),
        ("in_flight_per_platform", 429),
        ("in_flight_per_receiver", 200),
    ] {
        assert_eq!(status(&with("limits", key, json!(1)), get(path)), 200);
        let none = with("limits", key, json!(0));
        assert_eq!(status(&none, get(path)), refused);
        assert!(none.delivered().is_empty(), "{key}");
    }
    for (length, expected) in [(3, 200), (4, 400)] {
        let world = with("limits", "id_bytes", json!(3));
        let (mut head, body) = Request {
            signer: None,
            ..get(path)
        }
        .finish();
        for (name, value) in &mut head.headers {
            if name == "x-request-id" {
                *value = Bytes::from("x".repeat(length));
            }
        }
        let reply = run(ocn_core::relay::relay(
            head,
            crate::world::Whole(body),
            &world.node,
            &world,
            &Default::default(),
        ));
        assert_eq!(reply.status, expected);
    }
}
