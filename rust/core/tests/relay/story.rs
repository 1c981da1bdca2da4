//! Whole walks of a message with in-memory ports: what goes out, what comes back, what is written down.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use ocn_core::relay::ports::{Departure, SendError};
use ocn_core::relay::record::{Signature, Stage};
use ocn_core::relay::{Query, Reply, Stale, explain, relay};
use serde_json::{Value, json};

use crate::world::{
    NOW, Request, Whole, World, answer, change, cpo_key, header, json_of, key, msp_key, node_key,
    plain_body, request, routing, settings, signed_answer, verified,
};

#[track_caller]
fn assert_refused(reply: &Reply, http: u16, ocpi: u16, delivery: &str) {
    let body = json_of(&reply.body);
    assert_eq!(
        (reply.status, &body["status_code"]),
        (http, &json!(ocpi)),
        "{body}"
    );
    assert_eq!(header(&reply.headers, "ocn-delivery"), Some(delivery));
    assert_eq!(header(&reply.headers, "ocpi-from-party-id"), Some("HUB"));
}

fn signature_of(body: &[u8]) -> String {
    json_of(body)["ocn_signature"].as_str().unwrap().to_owned()
}

fn address(key: &ocn_core::eth::SigningKey) -> String {
    key.address().to_string()
}

#[tokio::test]
async fn a_plain_signed_message_passes_byte_for_byte() {
    let world = World::new();
    let body = "{\"id\":\"S1\", \"kwh\":2.50e1,\r\n \"note\":\"\\/\\u00e4\", \"unknown\":{\"b\":1,\"a\":[]}}";
    let mut put = request("PUT", "/ocpi/receiver/2.2.1/sessions/DE/CPO/S%2F1", body);
    put.more = vec![
        ("x-vendor", "kept".into()),
        ("cookie", "no".into()),
        ("x-other", "no".into()),
    ];
    let (head, _) = put.clone().finish();
    let signature = head
        .headers
        .iter()
        .find(|(name, _)| name == "ocn-signature")
        .unwrap()
        .1
        .clone();
    let reply = world.send(put).await;
    let sent = &world.delivered()[0];
    assert_eq!(
        sent.url,
        "https://cpo.example/ocpi/2.2.1/receiver/sessions/DE/CPO/S%2F1"
    );
    assert_eq!(&sent.body[..], body.as_bytes());
    assert_eq!(
        header(&sent.headers, "ocn-signature").unwrap().as_bytes(),
        &signature[..]
    );
    assert_eq!(
        header(&sent.headers, "authorization"),
        Some("Token dG9rZW4tYi1vZi1DUE8=")
    );
    assert_ne!(header(&sent.headers, "x-request-id"), Some("r-1"));
    assert_eq!(header(&sent.headers, "x-correlation-id"), Some("c-1"));
    assert_eq!(header(&sent.headers, "x-vendor"), Some("kept"));
    assert!(
        header(&sent.headers, "cookie").is_none() && header(&sent.headers, "x-other").is_none()
    );
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .body
            .starts_with(&plain_body().as_bytes()[..plain_body().len() - 1])
    );
    assert_eq!(header(&reply.headers, "x-request-id"), Some("r-1"));
    assert_eq!(header(&reply.headers, "ocpi-from-party-id"), Some("CPO"));
    assert_eq!(header(&reply.headers, "ocpi-to-party-id"), Some("MSP"));
    let record = world.last_record();
    assert_eq!(record.signature, Some(Signature::Party));
    assert_eq!(record.answer_signature, Some(Signature::Party));
    assert_eq!(record.stage, Some(Stage::Settle));
    assert!(record.stage_us.iter().all(Option::is_some));
    assert!(world.links().is_empty(), "a plain message writes nothing");
}

#[tokio::test]
async fn what_must_not_pass_is_refused_before_anything_is_sent() {
    let world = World::new();
    let put = || {
        request(
            "PUT",
            "/ocpi/receiver/2.2.1/sessions/DE/CPO/S1",
            r#"{"id":"S1"}"#,
        )
    };
    let reply = world
        .send(Request {
            token: "wrong".into(),
            ..put()
        })
        .await;
    assert_refused(&reply, 401, 2001, "no");
    assert_eq!(reply.stale, Some(Stale::Token));
    assert!(
        json_of(&reply.body)["ocn_signature"].is_null(),
        "a 401 is never signed"
    );
    assert_refused(
        &world
            .send(Request {
                from: ("DE", "CPO"),
                ..put()
            })
            .await,
        403,
        2001,
        "no",
    );
    let reply = world
        .send(Request {
            to: Some(("DE", "XXX")),
            ..put()
        })
        .await;
    assert_refused(&reply, 200, 4001, "no");
    assert_eq!(reply.stale, Some(Stale::Receiver));
    assert_refused(
        &world
            .send(Request {
                to: Some(("DE", "NEW")),
                ..put()
            })
            .await,
        200,
        4003,
        "no",
    );
    assert_refused(
        &world
            .send(Request {
                to: Some(("NL", "hub")),
                ..put()
            })
            .await,
        200,
        4000,
        "no",
    );
    assert_refused(
        &world.send(Request { to: None, ..put() }).await,
        200,
        4001,
        "no",
    );
    assert_refused(
        &world
            .send(Request {
                signer: None,
                ..put()
            })
            .await,
        200,
        2001,
        "no",
    );
    assert_refused(
        &world
            .send(Request {
                signer: Some([4; 32]),
                ..put()
            })
            .await,
        200,
        2001,
        "no",
    );
    let not_json = Request {
        body: Bytes::from_static(b"{\"a\":01}"),
        signer: None,
        ..put()
    };
    assert_refused(&world.send(not_json).await, 400, 2001, "no");
    let empty = Request {
        body: Bytes::new(),
        ..put()
    };
    assert_refused(&world.send(empty).await, 400, 2001, "no");
    let odd_method = request("FOO", "/ocpi/receiver/2.2.1/sessions", "");
    assert_refused(&world.send(odd_method).await, 405, 2000, "no");
    let configuration = request("GET", "/ocpi/receiver/2.2.1/credentials", "");
    assert_refused(&world.send(configuration).await, 404, 2000, "no");
    assert!(world.delivered().is_empty());
}

#[tokio::test]
async fn test_a35_tampered_body_is_refused_and_the_answer_is_signed_by_the_hub() {
    let world = World::new();
    let put = request(
        "PUT",
        "/ocpi/receiver/2.2.1/sessions/DE/CPO/S1",
        r#"{"id":"S1","kwh":1}"#,
    );
    let (head, _) = put.finish();
    let bent = Whole(Bytes::from_static(br#"{"id":"S1","kwh":2}"#));
    let reply = relay(head, bent, &world.node, &world, &Departure::default()).await;
    assert_refused(&reply, 200, 2001, "no");
    let chain = verified(&signature_of(&reply.body), &[], &[], &reply.body);
    assert_eq!(chain, [address(&node_key())]);
    assert_eq!(world.last_record().signature_reason, Some("hash"));
    assert!(world.delivered().is_empty());
}

#[tokio::test]
async fn test_a12_a71_repeated_and_half_headers_are_refused() {
    let world = World::new();
    let get = || request("GET", "/ocpi/sender/2.2.1/locations", "");
    for name in [
        "authorization",
        "ocpi-to-party-id",
        "ocn-signature",
        "x-request-id",
        "host",
    ] {
        let twice = Request {
            more: vec![(name, "Token x".into())],
            ..get()
        };
        assert_refused(&world.send(twice).await, 400, 2001, "no");
    }
    let half = Request {
        to: None,
        more: vec![("ocpi-to-party-id", "CPO".into())],
        ..get()
    };
    assert_refused(&world.send(half).await, 400, 2001, "no");
    for to in [("DEU", "CPO"), ("D\u{415}", "CPO"), ("DE", "CP ")] {
        let odd = Request {
            to: Some(to),
            signer: None,
            ..get()
        };
        assert_refused(&world.send(odd).await, 400, 2001, "no");
    }
    assert!(world.delivered().is_empty());
}

#[tokio::test]
async fn test_a70_parties_are_found_in_any_case_and_forwarded_as_spelt() {
    let world = World::new();
    let get = request("GET", "/ocpi/sender/2.2.1/locations", "");
    let lower = Request {
        from: ("de", "msp"),
        to: Some(("de", "cPo")),
        ..get
    };
    assert_eq!(world.send(lower).await.status, 200);
    let sent = &world.delivered()[0];
    assert_eq!(header(&sent.headers, "ocpi-to-party-id"), Some("cPo"));
    assert_eq!(header(&sent.headers, "ocpi-from-country-code"), Some("de"));
}

#[tokio::test]
async fn test_a82_a83_a_command_carries_our_response_url_and_the_result_finds_its_way() {
    let world = World::new();
    let theirs = "https://msp.example/cb/START_SESSION/77?x=1";
    let escaped = theirs.replace('/', "\\/");
    let body =
        format!(r#"{{"token":{{"uid":"1"}}, "response_url" : "{escaped}","location_id":"L1"}}"#);
    let reply = world
        .send(request(
            "POST",
            "/ocpi/receiver/2.2.1/commands/START_SESSION",
            &body,
        ))
        .await;
    assert_eq!(
        json_of(&reply.body)["status_code"],
        1000,
        "{:?}",
        reply.body
    );
    let sent = world.delivered().remove(0);
    let ours = json_of(&sent.body)["response_url"]
        .as_str()
        .unwrap()
        .to_owned();
    let id = ours
        .strip_prefix("https://hub.example/ocpi/sender/2.2.1/commands/START_SESSION/")
        .unwrap();
    assert!(ours.len() <= 255 && id.len() == 32);
    assert_eq!(
        String::from_utf8_lossy(&sent.body).replace(&ours, &escaped),
        body,
        "only the URL changed"
    );
    let signature = header(&sent.headers, "ocn-signature").unwrap();
    let chain = verified(signature, &routing(&sent), &[], &sent.body);
    assert_eq!(chain, [address(&node_key()), address(&msp_key())]);
    assert_eq!(world.links()[id].url, theirs);

    let place = format!("/ocpi/sender/2.2.1/commands/START_SESSION/{id}");
    let result = request("POST", &place, r#"{"result":"ACCEPTED"}"#).by_cpo();
    let reply = world.send(result.clone()).await;
    assert_eq!(
        json_of(&reply.body)["status_code"],
        1000,
        "{:?}",
        reply.body
    );
    let called = world.delivered().remove(1);
    assert_eq!(
        (called.url.as_str(), &called.body[..]),
        (theirs, &br#"{"result":"ACCEPTED"}"#[..])
    );
    // Its query adds a leaf that the CPO never signed: the operator signs what is sent.
    let signature = header(&called.headers, "ocn-signature").unwrap();
    let chain = verified(signature, &routing(&called), &[("x", "1")], &called.body);
    assert_eq!(chain, [address(&node_key())]);

    let post = |path: String| request("POST", &path, r#"{"a":1}"#).by_cpo();
    let wrong = [
        post(format!("/ocpi/sender/2.2.1/commands/STOP_SESSION/{id}")),
        post(format!(
            "/ocpi/sender/2.2.1/commands/START_SESSION/{}",
            "0".repeat(32)
        )),
        post(format!("/ocpi/sender/2.2.1/chargingprofiles/result/{id}")),
        request("POST", &place, r#"{"a":1}"#),
    ];
    let mut texts = Vec::new();
    for request in wrong {
        let reply = world.send(request).await;
        assert_refused(&reply, 404, 2003, "no");
        texts.push(json_of(&reply.body)["status_message"].clone());
    }
    assert!(
        texts.windows(2).all(|pair| pair[0] == pair[1]),
        "nothing can be learnt from the text"
    );
    world
        .clock
        .millis
        .store(NOW + 86_400_000, Ordering::Relaxed);
    assert_refused(&world.send(result).await, 404, 2003, "no");
    assert_eq!(world.delivered().len(), 2);
}

#[tokio::test]
async fn test_a84_a_response_url_elsewhere_is_refused() {
    let world = World::new();
    let command = |url: &str| {
        let body = format!(r#"{{"response_url":"{url}","location_id":"L1"}}"#);
        request("POST", "/ocpi/receiver/2.2.1/commands/STOP_SESSION", &body)
    };
    for url in [
        "https://evil.example/cb",
        "http://msp.example/cb",
        "https://msp.example:8443/cb",
        "//msp.example/cb",
        "/cb",
        "https://msp.example@evil.example/cb",
        "https://u:p@msp.example/cb",
        "https://msp.example\\\\@evil.example/",
        "https://msp.exam\\tple/",
        "https://msp.example/cb#x",
        "https://msp.example.evil.example/",
        "javascript:alert(1)",
        "",
    ] {
        assert_refused(&world.send(command(url)).await, 200, 2001, "no");
    }
    let of_length = |length: usize| {
        let start = "https://msp.example/";
        format!("{start}{}", "x".repeat(length - start.len()))
    };
    assert_refused(&world.send(command(&of_length(256))).await, 200, 2001, "no");
    let reply = world.send(command(&of_length(255))).await;
    assert_eq!(json_of(&reply.body)["status_code"], 1000, "at the limit");
    assert_eq!(world.delivered().len(), 1);
}

#[tokio::test]
async fn test_a26_duplicates_are_relayed_unsigned_unless_the_hub_reads_them() {
    let world = World::with(unsigned_settings(), change());
    let body =
        r#"{"response_url":"https://msp.example/a","response\u005furl":"https://msp.example/b"}"#;
    let command = request("POST", "/ocpi/receiver/2.2.1/commands/START_SESSION", body);
    assert_refused(
        &world
            .send(Request {
                signer: None,
                ..command
            })
            .await,
        400,
        2001,
        "no",
    );
    world.answers(|_| Ok(answer(200, &[], plain_body())));
    let put = request(
        "PUT",
        "/ocpi/receiver/2.2.1/sessions/DE/CPO/S",
        "{\"a\":1,\"a\":\"\\ud800\"}",
    );
    assert_eq!(
        world
            .send(Request {
                signer: None,
                ..put
            })
            .await
            .status,
        200
    );
    assert_eq!(
        &world.delivered()[0].body[..],
        b"{\"a\":1,\"a\":\"\\ud800\"}"
    );
}

fn unsigned_settings() -> Value {
    let mut settings = settings();
    settings["signatures"]["required"] = json!(false);
    settings
}

#[tokio::test]
async fn a_charging_profile_query_carries_our_response_url() {
    let world = World::new();
    let mut get = request("GET", "/ocpi/receiver/2.2.1/chargingprofiles/S1", "");
    get.query = "duration=900&response_url=https%3A%2F%2Fmsp.example%2Fcb".into();
    let reply = world.send(get).await;
    assert_eq!(
        json_of(&reply.body)["status_code"],
        1000,
        "{:?}",
        reply.body
    );
    let sent = world.delivered().remove(0);
    let (_, query) = sent.url.split_once('?').unwrap();
    let encoded = query.strip_prefix("duration=900&response_url=").unwrap();
    let ours = encoded.replace("%3A", ":").replace("%2F", "/");
    assert!(
        ours.starts_with("https://hub.example/ocpi/sender/2.2.1/chargingprofiles/result/"),
        "{ours}"
    );
    let params = [("duration", "900"), ("response_url", ours.as_str())];
    let signature = header(&sent.headers, "ocn-signature").unwrap();
    assert_eq!(verified(signature, &routing(&sent), &params, b"").len(), 2);
}

#[tokio::test]
async fn test_a83_a_page_link_leads_back_through_the_hub_again_and_again() {
    let world = World::new();
    let next = "https://cpo.example/ocpi/2.2.1/sender/locations?offset=2&limit=2";
    let theirs = format!("<{next}>; rel=\"next\"");
    world.answers(move |_| {
        let headers = [("x-limit", "2"), ("x-total-count", "4"), ("link", &*theirs)];
        Ok(signed_answer(cpo_key(), &headers, &plain_body()))
    });
    let mut list = request("GET", "/ocpi/sender/2.2.1/locations", "");
    list.query = "limit=2".into();
    let reply = world.send(list).await;
    assert_eq!(
        world.delivered()[0].url,
        "https://cpo.example/ocpi/2.2.1/sender/locations?limit=2"
    );
    let link = header(&reply.headers, "link").unwrap();
    let page = link.strip_prefix("<https://hub.example").unwrap();
    let page = page.strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    let headers = [("x-limit", "2"), ("x-total-count", "4"), ("link", link)];
    let chain = verified(&signature_of(&reply.body), &headers, &[], &reply.body);
    assert_eq!(chain, [address(&node_key()), address(&cpo_key())]);
    assert!(world.links().is_empty(), "no row for a page");

    world.answers(|_| Ok(signed_answer(cpo_key(), &[("x-limit", "2")], &plain_body())));
    let follow = request("GET", &page, "");
    for _ in 0..2 {
        assert_eq!(world.send(follow.clone()).await.status, 200);
    }
    assert_eq!(world.delivered()[1].url, next);
    assert_refused(&world.send(follow.clone().by_cpo()).await, 404, 2003, "no");
    world
        .clock
        .millis
        .store(NOW + 86_400_000, Ordering::Relaxed);
    assert_refused(&world.send(follow).await, 404, 2003, "no");
}

#[tokio::test]
async fn test_a84_links_to_foreign_origins_are_dropped() {
    let world = World::new();
    world.answers(|_| {
        let headers = [
            ("x-limit", "2"),
            ("link", "<https://evil.example/x>; rel=\"next\""),
        ];
        Ok(signed_answer(cpo_key(), &headers, &plain_body()))
    });
    let reply = world
        .send(request("GET", "/ocpi/sender/2.2.1/locations", ""))
        .await;
    assert_eq!((reply.status, header(&reply.headers, "link")), (200, None));
    let chain = verified(
        &signature_of(&reply.body),
        &[("x-limit", "2")],
        &[],
        &reply.body,
    );
    assert_eq!(chain, [address(&node_key())]);
}

#[tokio::test]
async fn a_cdr_gets_a_location_of_ours_and_can_be_read_there() {
    let world = World::new();
    world.answers(|_| {
        let headers = [("location", "/ocpi/2.2.1/receiver/cdrs/42")];
        Ok(signed_answer(msp_key(), &headers, &plain_body()))
    });
    let cdr = request(
        "POST",
        "/ocpi/receiver/2.2.1/cdrs",
        r#"{"id":"C1","signed_data":"x\/y"}"#,
    );
    let reply = world.send(cdr.by_cpo()).await;
    let location = header(&reply.headers, "location").unwrap().to_owned();
    let path = location
        .strip_prefix("https://hub.example")
        .unwrap()
        .to_owned();
    assert!(path.starts_with("/ocpi/receiver/2.2.1/cdrs/") && location.len() <= 255);
    world.answers(|_| Ok(signed_answer(msp_key(), &[], &plain_body())));
    let reply = world.send(request("GET", &path, "").by_cpo()).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(
        world.delivered()[1].url,
        "https://msp.example/ocpi/2.2.1/receiver/cdrs/42"
    );
    assert_refused(
        &world.send(request("GET", &path, "")).await,
        404,
        2003,
        "no",
    );
}

/// `links.command_ttl_s`, `links.reserve_margin_days` and `links.location_days`.
#[tokio::test]
async fn rows_are_kept_as_long_as_the_settings_say() {
    let mut settings = unsigned_settings();
    settings["links"]["command_ttl_s"] = json!(100);
    settings["links"]["reserve_margin_days"] = json!(2);
    settings["links"]["location_days"] = json!(5);
    let day = 86_400_000;
    let command = |name: &str, more: &str| {
        let body = format!(r#"{{"response_url":"https://msp.example/cb"{more}}}"#);
        let path = format!("/ocpi/receiver/2.2.1/commands/{name}");
        request("POST", &path, &body)
    };
    // An hour after what the clock says, and a year before.
    let later = command("RESERVE_NOW", r#","expiry_date":"2026-09-21T15:13:20Z""#);
    let past = command("RESERVE_NOW", r#","expiry_date":"2025-09-21T14:13:20""#);
    let cdr = request("POST", "/ocpi/receiver/2.2.1/cdrs", r#"{"id":"C"}"#).by_cpo();
    for (sent, lasts) in [
        (command("START_SESSION", ""), 100_000),
        (later, 3_600_000 + 2 * day),
        (past, 100_000 + 2 * day),
        (cdr, 5 * day),
    ] {
        let world = World::with(settings.clone(), change());
        world.answers(|_| Ok(answer(200, &[("location", "/cdrs/42")], plain_body())));
        let reply = world
            .send(Request {
                signer: None,
                ..sent
            })
            .await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        let kept = world.links().into_values().next().unwrap();
        assert_eq!(kept.expires_at, i64::try_from(NOW).unwrap() + lasts);
    }
}

#[tokio::test]
async fn test_f09_without_a_store_plain_messages_pass_and_rows_are_demanded_before_sending() {
    let world = World::new();
    world.break_the_store();
    let body = r#"{"response_url":"https://msp.example/cb"}"#;
    let command = request("POST", "/ocpi/receiver/2.2.1/commands/START_SESSION", body);
    assert_refused(&world.send(command).await, 503, 3000, "no");
    let cdr = request("POST", "/ocpi/receiver/2.2.1/cdrs", r#"{"id":"C"}"#).by_cpo();
    assert_refused(&world.send(cdr).await, 503, 3000, "no");
    assert!(world.delivered().is_empty());
    assert_eq!(
        world
            .send(request("GET", "/ocpi/sender/2.2.1/locations", ""))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn test_f09_a_location_that_cannot_be_written_is_left_out() {
    let world = std::sync::Arc::new(World::new());
    let store = std::sync::Arc::downgrade(&world);
    world.answers(move |_| {
        store.upgrade().unwrap().break_the_store();
        Ok(signed_answer(
            msp_key(),
            &[("location", "/cdrs/42")],
            &plain_body(),
        ))
    });
    let cdr = request("POST", "/ocpi/receiver/2.2.1/cdrs", r#"{"id":"C1"}"#).by_cpo();
    let reply = world.send(cdr).await;
    assert_eq!(
        (reply.status, header(&reply.headers, "location")),
        (200, None)
    );
    assert_eq!(json_of(&reply.body)["status_code"], 1000);
}

#[tokio::test]
async fn the_verdict_of_a_failed_forward_says_what_may_have_happened() {
    let world = World::new();
    let get = || request("GET", "/ocpi/sender/2.2.1/locations", "");
    world.answers(|_| Err(SendError::NotSent("connection refused")));
    assert_refused(&world.send(get()).await, 200, 4003, "no");
    world.answers(|_| Err(SendError::MaybeSent("no answer in time")));
    assert_refused(&world.send(get()).await, 200, 4002, "maybe");
    world.answers(|_| Err(SendError::Unusable("garbage")));
    let reply = world.send(get()).await;
    assert_refused(&reply, 200, 4000, "yes");
    let text = json_of(&reply.body)["status_message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(text.ends_with("[answered by the receiver]"));
}

#[tokio::test]
async fn test_a53_a_refused_token_is_not_the_requesters() {
    let world = World::new();
    for status in [401, 403] {
        world.answers(move |_| Ok(answer(status, &[], plain_body())));
        assert_refused(
            &world
                .send(request("GET", "/ocpi/sender/2.2.1/tariffs", ""))
                .await,
            200,
            4003,
            "no",
        );
    }
}

#[tokio::test]
async fn test_a31_f35_answers_that_are_no_envelope_are_unusable() {
    let world = World::new();
    for (status, body) in [
        (204, ""),
        (302, "{}"),
        (304, ""),
        (200, ""),
        (200, "<html>"),
        (200, "[]"),
        (200, r#"{"status_code":1000.0}"#),
        (200, r#"{"status_code":1000,"status_code":1000}"#),
        (500, "oops"),
    ] {
        world.answers(move |_| Ok(answer(status, &[], body)));
        let reply = world
            .send(request("GET", "/ocpi/sender/2.2.1/locations", ""))
            .await;
        assert_refused(&reply, 200, 4000, "yes");
    }
    world.answers(|_| Ok(answer(200, &[("content-encoding", "gzip")], plain_body())));
    assert_refused(
        &world
            .send(request("GET", "/ocpi/sender/2.2.1/locations", ""))
            .await,
        200,
        4000,
        "yes",
    );
}

#[tokio::test]
async fn test_a38_answers_without_the_right_signature_are_refused() {
    let world = World::new();
    let get = || request("GET", "/ocpi/sender/2.2.1/locations", "");
    world.answers(|_| Ok(answer(200, &[], plain_body())));
    assert_refused(&world.send(get()).await, 200, 3000, "yes");
    world.answers(|_| Ok(signed_answer(key(6), &[], &plain_body())));
    assert_refused(&world.send(get()).await, 200, 3000, "yes");
    world.answers(|_| {
        let mut bent = signed_answer(cpo_key(), &[], &plain_body());
        bent.headers
            .push(("x-limit".into(), Bytes::from_static(b"9")));
        Ok(bent)
    });
    assert_refused(&world.send(get()).await, 200, 3000, "yes");
}

#[tokio::test]
async fn the_receivers_own_errors_pass_as_they_are() {
    let world = World::new();
    let body =
        r#"{"status_code":2004,"status_message":"unknown","timestamp":"2026-01-01T00:00:00Z"}"#;
    world.answers(move |_| {
        let mut unknown = signed_answer(cpo_key(), &[], body);
        unknown.status = 404;
        Ok(unknown)
    });
    let reply = world
        .send(request("POST", "/ocpi/sender/2.2.1/tokens/X/authorize", ""))
        .await;
    assert_eq!(
        (reply.status, json_of(&reply.body)["status_code"].as_u64()),
        (404, Some(2004))
    );
    assert_eq!(
        header(&reply.headers, "ocn-delivery"),
        None,
        "not made by the hub"
    );
}

/// The clock is asked when each stage begins: the n-th question fails inside one of them (I08, I12).
#[tokio::test]
async fn test_i08_a_fault_planted_in_each_stage_is_refused_and_named() {
    let body = r#"{"response_url":"https://msp.example/cb"}"#;
    let command = || request("POST", "/ocpi/receiver/2.2.1/commands/START_SESSION", body);
    let sound = World::new();
    sound.send(command()).await;
    let mut failed_in = Vec::new();
    for nth in 1..=sound.clock.asked.load(Ordering::Relaxed) {
        let world = World::new();
        world.clock.blows_at.store(nth, Ordering::Relaxed);
        let reply = world.send(command()).await;
        let sent = !world.delivered().is_empty();
        let Some(stage) = world.records().first().and_then(|record| record.failed_in) else {
            assert_eq!(
                json_of(&reply.body)["status_code"],
                1000,
                "settle cannot change the answer"
            );
            continue;
        };
        assert_refused(&reply, 500, 3000, if sent { "maybe" } else { "no" });
        assert!(
            !String::from_utf8_lossy(&reply.body).contains("planted"),
            "I22"
        );
        if stage != Stage::Forward {
            assert_eq!(sent, stage as usize > Stage::Forward as usize, "{stage:?}");
        }
        failed_in.push(stage);
    }
    for stage in &Stage::ALL[..9] {
        assert!(
            failed_in.contains(stage),
            "{stage:?} is missing in {failed_in:?}"
        );
    }
}

#[tokio::test]
async fn test_a24_a_requester_that_hangs_up_before_the_forward_leaves_nothing() {
    let world = World::new();
    let departure = Departure::default();
    assert!(departure.cancel());
    world
        .send_with(
            request("GET", "/ocpi/sender/2.2.1/locations", ""),
            &departure,
        )
        .await;
    assert!(world.delivered().is_empty());
    let departure = Departure::default();
    let reply = world
        .send_with(
            request("GET", "/ocpi/sender/2.2.1/locations", ""),
            &departure,
        )
        .await;
    assert_eq!(reply.status, 200);
    assert!(!departure.cancel(), "too late");
}

#[tokio::test]
async fn a_node_may_sign_for_a_party_that_cannot() {
    let mut change = change();
    change["platforms"][0]["sign_for_party"] = json!(true);
    change["platforms"][1]["sign_for_party"] = json!(true);
    let world = World::with(settings(), change);
    world.answers(|_| Ok(answer(200, &[("x-limit", "5")], plain_body())));
    let put = request(
        "PUT",
        "/ocpi/receiver/2.2.1/sessions/DE/CPO/S1",
        r#"{"id":"S1"}"#,
    );
    let reply = world
        .send(Request {
            signer: None,
            ..put
        })
        .await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let sent = world.delivered().remove(0);
    let signature = header(&sent.headers, "ocn-signature").unwrap();
    let chain = verified(signature, &routing(&sent), &[], &sent.body);
    assert_eq!(chain, [address(&node_key())]);
    assert_eq!(
        verified(
            &signature_of(&reply.body),
            &[("x-limit", "5")],
            &[],
            &reply.body
        ),
        chain
    );
    assert_eq!(world.last_record().signature, Some(Signature::ForParty));
}

#[tokio::test]
async fn test_a73_the_receivers_rules_hold_on_every_way() {
    let mut change = change();
    change["platforms"][1]["rules"] = json!({"signatures": false, "mode": "blacklist",
        "entries": [{"country_code": "DE", "party_id": "MSP", "modules": []}]});
    let world = World::with(settings(), change);
    for path in [
        "/ocpi/sender/2.2.1/locations",
        "/ocpi/2.2.1/receiver/chargingprofiles/S1",
        "/ocpi/custom/receiver/NLTNM-x",
        "/ocpi/sender/2.2.1/locations/page/AAAA",
        "/ocpi/receiver/2.2.1/cdrs/00000000000000000000000000000000",
    ] {
        let spelt = Request {
            from: ("de", "Msp"),
            ..request("GET", path, "")
        };
        assert_refused(&world.send(spelt).await, 200, 2000, "no");
    }
    assert!(world.delivered().is_empty());
}

#[tokio::test]
async fn test_a79_a_receiver_that_is_not_there_gets_nothing() {
    for status in ["OFFLINE", "PLANNED", "SUSPENDED"] {
        let mut change = change();
        change["platforms"][1]["status"] = json!(status);
        let world = World::with(settings(), change);
        let reply = world
            .send(request("GET", "/ocpi/sender/2.2.1/locations", ""))
            .await;
        assert_refused(&reply, 200, 4003, "no");
        assert!(world.delivered().is_empty());
    }
}

#[tokio::test]
async fn test_a147_the_breaker_opens_after_failures_in_a_row() {
    let world = World::new();
    world.answers(|_| Err(SendError::NotSent("connection refused")));
    let get = || request("GET", "/ocpi/sender/2.2.1/locations", "");
    for _ in 0..10 {
        world.send(get()).await;
    }
    assert_eq!(
        world.delivered().len(),
        10,
        "at the limit every message is tried"
    );
    assert_refused(&world.send(get()).await, 200, 4003, "no");
    assert_eq!(world.delivered().len(), 10, "one above is not");
}

#[tokio::test]
async fn a_custom_module_takes_any_bytes() {
    let world = World::with(unsigned_settings(), change());
    world.answers(|_| Ok(answer(200, &[], plain_body())));
    let post = request("POST", "/ocpi/custom/receiver/nltnm-x/a%20b", "");
    let odd = Request {
        signer: None,
        body: Bytes::from_static(b"\xff not json"),
        ..post
    };
    assert_eq!(world.send(odd).await.status, 200);
    let sent = &world.delivered()[0];
    assert_eq!(
        sent.url,
        "https://cpo.example/ocpi/2.2.1/receiver/nltnm-x/a%20b"
    );
    assert_eq!(&sent.body[..], b"\xff not json");
}

#[tokio::test]
async fn explain_says_where_a_message_would_go_and_why() {
    let world = World::new();
    let query = |to: &str, module: &str| Query {
        from: ["DE".into(), "MSP".into()],
        to: ["DE".into(), to.into()],
        module: module.into(),
        role: "SENDER".into(),
        method: None,
        path: String::new(),
    };
    let relayed = explain(&query("CPO", "locations"), &world.node, &world).unwrap();
    assert!(relayed.relayed);
    assert_eq!(
        relayed.steps.last().unwrap().says,
        "https://cpo.example/ocpi/2.2.1/sender/locations"
    );
    let unknown = explain(&query("XXX", "locations"), &world.node, &world).unwrap();
    assert_eq!((unknown.relayed, unknown.ocpi_status), (false, Some(4001)));
    assert_eq!(
        explain(&query("CPO", "nope"), &world.node, &world)
            .unwrap()
            .ocpi_status,
        Some(4000)
    );
    assert!(world.delivered().is_empty());
}
