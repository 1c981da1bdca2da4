//! The notary's limits, at the limit and one above, and its refusals, one by one.
#![allow(clippy::unwrap_used)]

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ocn_core::eth::SigningKey;
use ocn_core::notary::{
    Container, LINK, Limits, Notary, NotaryError, NumberForm, NumberFormSeen, Part, Policy,
    RESPONSE_URL_BODY, Reason, TO_COUNTRY_CODE, TO_PARTY_ID, Values, Verdict,
};

const BODY: &[u8] = br#"{"response_url":"https://a.example/1","id":"LOC1","kwh":20.5}"#;

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32]).unwrap()
}

fn body(body: &[u8]) -> Values<'_> {
    Values {
        body: Part::Json(body),
        ..Values::default()
    }
}

fn signed(document: &[u8]) -> Notary {
    Notary::sign(&body(document), &key(1), NumberForm::Js, &Limits::default()).unwrap()
}

/// As other writers might send it.
fn packed(json: &str) -> String {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(json.as_bytes()).unwrap();
    STANDARD.encode(encoder.finish().unwrap())
}

fn open(json: &str, limits: &Limits) -> Result<Notary, NotaryError> {
    Notary::open(packed(json).as_bytes(), limits)
}

fn verify(json: &str, document: &[u8], policy: Policy) -> Result<Verdict, NotaryError> {
    let limits = Limits::default();
    open(json, &limits)?.verify(&body(document), policy, &[], &limits)
}

fn reason<T>(result: Result<T, NotaryError>) -> Option<Reason> {
    result.err().map(|error| error.reason)
}

#[test]
fn test_a32_text_at_the_limit_and_one_above() {
    let text = signed(BODY).pack(Container::Brotli);
    let at = |text_bytes| Limits {
        text_bytes,
        ..Limits::default()
    };
    assert!(Notary::open(text.as_bytes(), &at(text.len())).is_ok());
    assert_eq!(
        reason(Notary::open(text.as_bytes(), &at(text.len() - 1))),
        Some(Reason::Size)
    );
}

#[test]
fn test_a32_inflated_size_at_the_limit_and_one_above() {
    let notary = signed(BODY);
    let length = notary.to_json().len();
    for container in [Container::Brotli, Container::Gzip] {
        let text = notary.pack(container);
        let at = |notary_bytes| Limits {
            notary_bytes,
            ..Limits::default()
        };
        assert!(Notary::open(text.as_bytes(), &at(length)).is_ok());
        assert_eq!(
            reason(Notary::open(text.as_bytes(), &at(length - 1))),
            Some(Reason::Size)
        );
    }
}

#[test]
fn test_a32_the_document_bounds_its_own_signature() {
    let json = signed(BODY).to_json();
    let limits = Limits::default();
    let blanks = |count: usize| packed(&(json.clone() + &" ".repeat(count)));
    assert!(Notary::open_for(blanks(60_000).as_bytes(), &body(BODY), &limits).is_ok());
    let padded = blanks(80_000);
    assert!(Notary::open(padded.as_bytes(), &limits).is_ok());
    assert_eq!(
        reason(Notary::open_for(padded.as_bytes(), &body(BODY), &limits)),
        Some(Reason::Size)
    );
}

#[test]
fn a_large_message_may_have_a_large_signature() {
    let elements: Vec<String> = (0..5_000)
        .map(|n| format!("{{\"name_of_it\":\"x{n}\"}}"))
        .collect();
    let document = format!("[{}]", elements.join(","));
    let notary = signed(document.as_bytes());
    assert!(notary.to_json().len() > 128 << 10);
    for container in [Container::Brotli, Container::Gzip] {
        let text = notary.pack(container);
        let values = body(document.as_bytes());
        let opened = Notary::open_for(text.as_bytes(), &values, &Limits::default()).unwrap();
        assert_eq!(opened.fields().len(), 5_000);
    }
}

#[test]
fn test_a32_fields_at_the_limit_and_one_above() {
    let limits = Limits {
        fields: 3,
        ..Limits::default()
    };
    let sign =
        |document: &'static [u8]| Notary::sign(&body(document), &key(1), NumberForm::Js, &limits);
    let three = sign(b"[1,2,3]").unwrap();
    let error = sign(b"[1,2,null,3,4]").unwrap_err();
    assert_eq!(
        (error.reason, error.path.as_deref()),
        (Reason::Limits, Some("$['body'][4]"))
    );
    assert!(open(&three.to_json(), &limits).is_ok());
    let four = signed(b"[1,2,3,4]").to_json();
    assert_eq!(reason(open(&four, &limits)), Some(Reason::Limits));
}

#[test]
fn test_a25_depth_counts_from_the_values_object() {
    let nested = |depth: usize| "[".repeat(depth) + "1" + &"]".repeat(depth);
    let limits = Limits::default();
    let sign = |document: &str| {
        reason(Notary::sign(
            &body(document.as_bytes()),
            &key(1),
            NumberForm::Js,
            &limits,
        ))
    };
    assert_eq!(sign(&nested(127)), None);
    assert_eq!(sign(&nested(128)), Some(Reason::Limits));
    let whole = |depth| format!("{{\"body\":{}}}", nested(depth));
    let document = |depth: usize| reason(Values::from_document(whole(depth).as_bytes(), &limits));
    assert_eq!((document(127), document(128)), (None, Some(Reason::Limits)));
}

#[test]
fn test_a39_rewrites_and_their_paths_at_the_limit_and_one_above() {
    let limits = Limits {
        rewrites: 2,
        rewrite_paths: 2,
        ..Limits::default()
    };
    let headers = |country: &'static str, party: &'static str, link: &'static str| {
        [
            ("ocpi-to-country-code", country),
            ("ocpi-to-party-id", party),
            ("link", link),
        ]
    };
    let (first, second) = (headers("DE", "ONE", "<a>"), headers("NL", "TWO", "<b>"));
    let values = |headers| Values {
        headers: Part::Pairs(headers),
        ..Values::default()
    };
    let paths = [TO_COUNTRY_CODE, TO_PARTY_ID, LINK];
    let wide = Limits::default();
    let notary = Notary::sign(&values(&first), &key(1), NumberForm::Js, &limits).unwrap();
    let again = |notary: &Notary, from, to, paths: &[&str], limits: &Limits| {
        notary.resign(&values(from), &values(to), paths, &key(2), limits)
    };
    let three_paths = again(&notary, &first, &second, &paths, &wide).unwrap();
    assert_eq!(
        reason(again(&notary, &first, &second, &paths, &limits)),
        Some(Reason::Limits)
    );
    assert!(open(&three_paths.to_json(), &wide).is_ok());
    assert_eq!(
        reason(open(&three_paths.to_json(), &limits)),
        Some(Reason::Limits)
    );

    let other_country = [("ocpi-to-country-code", "NL"), first[1], first[2]];
    let one = again(&notary, &first, &other_country, &paths[..1], &limits).unwrap();
    let two = again(&one, &other_country, &first, &paths[..1], &limits).unwrap();
    let three = again(&two, &first, &other_country, &paths[..1], &wide).unwrap();
    assert_eq!(
        reason(again(&two, &first, &other_country, &paths[..1], &limits)),
        Some(Reason::Limits)
    );
    assert!(open(&two.to_json(), &limits).is_ok());
    assert_eq!(
        reason(open(&three.to_json(), &limits)),
        Some(Reason::Limits)
    );
    let verdict = three
        .verify(&values(&other_country), Policy::Strict, &[], &wide)
        .unwrap();
    assert_eq!(
        verdict.chain,
        [key(2), key(2), key(2), key(1)].map(|key| key.address())
    );
}

#[test]
fn test_a39_only_signed_values_on_the_list_are_rewritten() {
    let limits = Limits::default();
    let notary = signed(BODY);
    let dearer = br#"{"response_url":"https://a.example/1","id":"LOC1","kwh":2000}"#;
    let resign = |after: &[u8], path: &str| {
        let error = notary
            .resign(&body(BODY), &body(after), &[path], &key(2), &limits)
            .unwrap_err();
        assert!(error.path.as_deref() == Some(path) || error.reason == Reason::RewriteHash);
        error.reason
    };
    assert_eq!(resign(dearer, "$['body']['kwh']"), Reason::RewritePath);
    assert_eq!(resign(BODY, LINK), Reason::RewritePath);
    assert_eq!(resign(dearer, RESPONSE_URL_BODY), Reason::RewriteHash);
    let lost = br#"{"response_url":"","id":"LOC1","kwh":20.5}"#;
    assert_eq!(resign(lost, RESPONSE_URL_BODY), Reason::RewriteValue);

    // The same, from a node that does not ask.
    let after = br#"{"response_url":"https://n.example/2","id":"LOC1","kwh":20.5}"#;
    let resigned = notary
        .resign(
            &body(BODY),
            &body(after),
            &[RESPONSE_URL_BODY],
            &key(2),
            &limits,
        )
        .unwrap();
    let json = resigned.to_json();
    let stashed = r#""$['body']['response_url']":"https://a.example/1""#;
    assert!(json.contains(stashed));
    for (other, reason) in [
        (r#""$['body']['kwh']":20.5"#, Reason::RewritePath),
        (r#""$['body']['gone']":"x""#, Reason::RewritePath),
        (r#""$['body']['response_url']":"""#, Reason::RewriteValue),
        (r#""$['body']['response_url']":null"#, Reason::RewriteValue),
        (
            r#""$['body']['response_url']":{"a":"x"}"#,
            Reason::RewriteValue,
        ),
        (
            r#""$['body']['response_url']":["https://a.example/1"]"#,
            Reason::RewriteValue,
        ),
        (
            r#""$['body']['response_url']":"https://a.example/2""#,
            Reason::RewriteHash,
        ),
    ] {
        let error = verify(&json.replace(stashed, other), after, Policy::Strict).unwrap_err();
        assert_eq!((error.reason, error.rewrite), (reason, Some(0)), "{other}");
    }
    let twice = format!("{stashed},{stashed}");
    assert_eq!(
        reason(open(&json.replace(stashed, &twice), &limits)),
        Some(Reason::Format)
    );
}

#[test]
fn test_a35_order_and_emptiness() {
    let limits = Limits::default();
    let json = signed(BODY).to_json();
    let swapped = json.replace(
        r#""$['body']['id']","$['body']['kwh']""#,
        r#""$['body']['kwh']","$['body']['id']""#,
    );
    let error = verify(&swapped, BODY, Policy::Strict).unwrap_err();
    assert_eq!(
        (error.reason, error.path.as_deref()),
        (Reason::Order, Some("$['body']['id']"))
    );
    // Another order is another message, unless the document was reordered after signing.
    assert_eq!(
        reason(verify(&swapped, BODY, Policy::Covered)),
        Some(Reason::Hash)
    );
    let reordered = br#"{"kwh":20.5,"response_url":"https://a.example/1","id":"LOC1"}"#;
    assert_eq!(
        reason(verify(&json, reordered, Policy::Strict)),
        Some(Reason::Order)
    );
    assert!(verify(&json, reordered, Policy::Covered).is_ok());

    for policy in [Policy::Strict, Policy::Covered, Policy::Compatible] {
        let nothing = Notary::sign(&Values::default(), &key(1), NumberForm::Js, &limits).unwrap();
        let verdict = nothing.verify(&Values::default(), policy, &[], &limits);
        assert_eq!(reason(verdict), Some(Reason::Empty));
    }
}

#[test]
fn test_a35_headers_keep_their_order_or_have_the_receiver_first() {
    let limits = Limits::default();
    let canonical = [
        ("x-correlation-id", "1"),
        ("ocpi-from-country-code", "DE"),
        ("ocpi-from-party-id", "ONE"),
        ("ocpi-to-country-code", "NL"),
        ("ocpi-to-party-id", "TWO"),
    ];
    let judge = |order: [usize; 5], policy| {
        // Signed in that order by somebody else: the fields and the text follow it.
        let pairs = order.map(|index| canonical[index]);
        let fields: Vec<String> = pairs
            .iter()
            .map(|(name, _)| format!("\"$['headers']['{name}']\""))
            .collect();
        let text: String = pairs.iter().map(|(_, value)| *value).collect();
        let hash = ocn_core::eth::hex_encode(&ocn_core::eth::keccak256(text.as_bytes()));
        let rsv = key(1).personal_sign(hash.as_bytes()).to_rsv();
        let json = format!(
            r#"{{"fields":[{}],"hash":"{hash}","rsv":"{rsv}","signatory":"{}"}}"#,
            fields.join(","),
            key(1).address(),
        );
        let values = Values {
            headers: Part::Pairs(&canonical),
            ..Values::default()
        };
        open(&json, &limits)
            .unwrap()
            .verify(&values, policy, &[], &limits)
    };
    assert!(judge([0, 1, 2, 3, 4], Policy::Strict).is_ok());
    assert_eq!(
        reason(judge([0, 3, 4, 1, 2], Policy::Strict)),
        Some(Reason::Order)
    );
    assert!(judge([0, 3, 4, 1, 2], Policy::Covered).is_ok());
    for order in [
        [0, 3, 2, 1, 4],
        [1, 0, 2, 3, 4],
        [0, 2, 1, 3, 4],
        [0, 3, 4, 2, 1],
    ] {
        assert_eq!(
            reason(judge(order, Policy::Covered)),
            Some(Reason::Order),
            "{order:?}"
        );
        assert!(judge(order, Policy::Compatible).is_ok(), "{order:?}");
    }
}

#[test]
fn exempt_leaves_need_no_signature_but_are_checked_where_listed() {
    let limits = Limits::default();
    let timestamp = "$['body']['timestamp']";
    let unsigned =
        br#"{"ocn_signature":"x","id":1,"timestamp":"t","ocn_verification_status":"VERIFIED"}"#;
    let notary = signed(br#"{"id":1}"#);
    let judge = |notary: &Notary, document: &[u8], exempt: &[&str]| {
        notary.verify(&body(document), Policy::Strict, exempt, &limits)
    };
    let error = judge(&notary, unsigned, &[]).unwrap_err();
    assert_eq!(
        (error.reason, error.path.as_deref()),
        (Reason::Coverage, Some(timestamp))
    );
    assert_eq!(judge(&notary, unsigned, &[timestamp]).unwrap().uncovered, 0);

    let listed = signed(unsigned);
    assert!(!listed.fields().contains("$['body']['ocn_signature']"));
    assert!(judge(&listed, unsigned, &[timestamp]).is_ok());
    let forged =
        br#"{"ocn_signature":"x","id":1,"timestamp":"u","ocn_verification_status":"VERIFIED"}"#;
    assert_eq!(
        reason(judge(&listed, forged, &[timestamp])),
        Some(Reason::Hash)
    );
}

#[test]
fn each_signature_of_a_chain_has_its_own_number_form() {
    let limits = Limits::default();
    let before = br#"{"response_url":"https://a.example/1","kwh":20.0}"#;
    let after = br#"{"response_url":"https://n.example/2","kwh":20.0}"#;
    let jvm = Notary::sign(&body(before), &key(1), NumberForm::Jvm, &limits).unwrap();
    let verdict = jvm
        .verify(&body(before), Policy::Strict, &[], &limits)
        .unwrap();
    assert_eq!(verdict.number_form, NumberFormSeen::Jvm);
    let resigned = jvm
        .resign(
            &body(before),
            &body(after),
            &[RESPONSE_URL_BODY],
            &key(2),
            &limits,
        )
        .unwrap();
    let verdict = resigned
        .verify(&body(after), Policy::Strict, &[], &limits)
        .unwrap();
    assert_eq!(verdict.number_form, NumberFormSeen::Js);
    assert_eq!(verdict.origin(), key(1).address());
}

#[test]
fn test_a36_spellings_of_a_signature() {
    let notary = signed(BODY);
    let json = notary.to_json();
    let lower = notary.signatory().to_string().to_lowercase();
    let respelt = |from: &str, to: &str| json.replace(from, to);
    let signatory = notary.signatory().to_string();

    assert!(verify(&respelt(&signatory, &lower), BODY, Policy::Strict).is_ok());
    let shouted = respelt(&signatory, &lower.to_uppercase().replace("0X", "0x"));
    assert_eq!(
        reason(verify(&shouted, BODY, Policy::Strict)),
        Some(Reason::Format)
    );
    assert!(verify(&shouted, BODY, Policy::Covered).is_ok());
    assert_eq!(
        verify(&shouted, BODY, Policy::Covered).unwrap().signatory,
        key(1).address()
    );

    let zero_v = &notary.rsv()[..130];
    let v = if notary.rsv().ends_with("1b") {
        "00"
    } else {
        "01"
    };
    let low_v = respelt(notary.rsv(), &format!("{zero_v}{v}"));
    assert_eq!(
        reason(verify(&low_v, BODY, Policy::Strict)),
        Some(Reason::Signature)
    );
    assert!(verify(&low_v, BODY, Policy::Covered).is_ok());

    for (from, to) in [
        (notary.rsv(), notary.rsv().replace("0x", "0X")),
        (notary.rsv(), format!("{}00", notary.rsv())),
        (
            notary.hash(),
            notary.hash().to_uppercase().replace("0X", "0x"),
        ),
        (&signatory, signatory.replace("0x", "")),
        ("\"hash\"", "\"rewrites\":[],\"hash\"".to_owned()),
        ("\"hash\"", "\"more\":1,\"hash\"".to_owned()),
        ("\"fields\":[", "\"fields\":[1,".to_owned()),
    ] {
        let other = respelt(from, &to);
        assert_eq!(
            reason(verify(&other, BODY, Policy::Compatible)),
            Some(Reason::Format),
            "{to}"
        );
    }
}

#[test]
fn the_compatible_policy_looks_paths_up_without_evaluating_them() {
    let limits = Limits::default();
    let notary = |fields: &str, text: &str| {
        let hash = ocn_core::eth::hex_encode(&ocn_core::eth::keccak256(text.as_bytes()));
        let rsv = key(1).personal_sign(hash.as_bytes()).to_rsv();
        let signatory = key(1).address();
        open(
            &format!(r#"{{"fields":[{fields}],"hash":"{hash}","rsv":"{rsv}","signatory":"{signatory}","rewrites":null}}"#),
            &limits,
        )
        .unwrap()
    };
    let judge = |notary: Notary, document: &[u8]| {
        notary.verify(&body(document), Policy::Compatible, &[], &limits)
    };
    // Exact case first, then lower case; what names nothing adds nothing; the rest is counted.
    let upper = notary(r#""$['body']['Id']""#, "x");
    assert_eq!(
        judge(upper.clone(), br#"{"Id":"x","id":"y","more":[1,2]}"#)
            .unwrap()
            .uncovered,
        3
    );
    assert_eq!(judge(upper.clone(), br#"{"id":"x"}"#).unwrap().uncovered, 0);
    assert_eq!(reason(judge(upper, br#"{"id":"y"}"#)), Some(Reason::Hash));
    let ghost = notary(r#""$['body']['gone']","$['body']['id']""#, "x");
    assert_eq!(judge(ghost, br#"{"id":"x"}"#).unwrap().uncovered, 0);
    // A container is no value, and an expression is no path.
    let container = notary(r#""$['body']['list']""#, "1,2");
    assert_eq!(
        reason(judge(container, br#"{"list":[1,2]}"#)),
        Some(Reason::Coverage)
    );
    for path in [
        "$..id",
        "$.body.id",
        "$['body'][*]",
        "$['body'][?(@.id)]",
        "$['body'][0:1]",
    ] {
        let expression = notary(&format!("\"{path}\""), "x");
        let error = judge(expression, br#"{"id":"x"}"#).unwrap_err();
        assert_eq!(
            (error.reason, error.path.as_deref()),
            (Reason::Coverage, Some(path))
        );
    }
    // So many unsigned leaves are no message.
    let many = format!("[\"x\"{}]", ",1".repeat(limits.fields));
    let first = notary(r#""$['body'][0]""#, "x");
    assert_eq!(
        judge(first.clone(), many.as_bytes()).unwrap().uncovered,
        20_000
    );
    let more = many.replace(']', ",1]");
    assert_eq!(reason(judge(first, more.as_bytes())), Some(Reason::Limits));
}

#[test]
fn text_bodies_are_one_leaf_and_parts_that_are_no_values_are_refused() {
    let limits = Limits::default();
    let text = Values {
        body: Part::Text("{not json"),
        ..Values::default()
    };
    let notary = Notary::sign(&text, &key(1), NumberForm::Js, &limits).unwrap();
    assert_eq!(notary.fields().iter().collect::<Vec<_>>(), ["$['body']"]);
    assert!(notary.verify(&text, Policy::Strict, &[], &limits).is_ok());

    let refused = |values: Values<'_>| {
        assert_eq!(
            reason(Notary::sign(&values, &key(1), NumberForm::Js, &limits)),
            Some(Reason::Document)
        );
        assert_eq!(
            reason(notary.verify(&values, Policy::Covered, &[], &limits)),
            Some(Reason::Document)
        );
    };
    for headers in [
        Part::Text("x"),
        Part::Pairs(&[("x-request-id", "1")]),
        Part::Pairs(&[("X-Limit", "1")]),
        Part::Pairs(&[("link", "1"), ("link", "2")]),
        Part::Json(b"[1]"),
        Part::Json(br#"{"authorization":"x"}"#),
        Part::Json(br#"{"link":"1","\u006cink":"2"}"#),
    ] {
        refused(Values {
            headers,
            ..Values::default()
        });
    }
    for params in [
        Part::Pairs(&[("limit", "1"), ("limit", "2")]),
        Part::Pairs(&[("it's", "1")]),
        Part::Json(b"{\"a\":1"),
    ] {
        refused(Values {
            params,
            ..Values::default()
        });
    }
    for document in [
        &br#"{"a":1,"a":2}"#[..],
        br#"{"a":"\ud800"}"#,
        b"\xff",
        b"{}x",
        br#"{"it's":1}"#,
    ] {
        refused(body(document));
    }
    for document in [
        &br#"{"other":1}"#[..],
        br#"{"body":1,"body":2}"#,
        b"[]",
        b"",
    ] {
        assert_eq!(
            reason(Values::from_document(document, &limits)),
            Some(Reason::Document)
        );
    }
}

#[test]
fn errors_say_what_failed_in_our_own_words() {
    let json = signed(BODY).to_json();
    let error = verify(&json, br#"{"id":"<script>"}"#, Policy::Strict).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the signed paths are not the leaves of the message"
    );
    let long = format!("{{\"{}\":1}}", "é".repeat(5_000));
    let error = verify(&json, long.as_bytes(), Policy::Strict).unwrap_err();
    assert_eq!(error.path.map(|path| path.chars().count()), Some(256));
}
