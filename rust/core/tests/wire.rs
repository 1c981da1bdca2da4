//! What must hold for every message between nodes: it verifies as it was signed, and in no other form.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use ocn_core::eth::{Address, SigningKey, recover_personal};
use ocn_core::wire::{
    Parameters, RequestView, ResponseView, Session, SessionKeys, Signed, Signer, Verified,
    WireError, WireLimits, content_digest, sign_request, sign_response, verify_message,
    verify_request, verify_response, verify_session_response,
};
use proptest::prelude::*;
use proptest::sample::Index;

const NOW: i64 = 1_718_000_010;

const LIMITS: WireLimits = WireLimits {
    clock_skew_s: 60,
    window_s: 300,
};

/// Covered in this order; the first of each pair says whether a request needs it.
const REQUEST: [(bool, &str); 12] = [
    (true, "ocn-to-node"),
    (true, "x-request-id"),
    (true, "x-correlation-id"),
    (true, "ocpi-from-country-code"),
    (true, "ocpi-from-party-id"),
    (true, "ocpi-to-country-code"),
    (true, "ocpi-to-party-id"),
    (false, "ocn-ocpi-version"),
    (true, "ocn-deadline"),
    (false, "ocn-signature"),
    (false, "content-type"),
    (false, "content-digest"),
];

const RESPONSE: [(bool, &str); 8] = [
    (false, "content-digest"),
    (true, "x-request-id"),
    (false, "link"),
    (false, "location"),
    (false, "x-total-count"),
    (false, "x-limit"),
    (true, "ocn-origin"),
    (false, "ocn-delivery"),
];

type Headers = Vec<(String, String)>;

#[derive(Debug, Clone)]
struct Request {
    method: String,
    path: String,
    query: String,
    headers: Headers,
}

#[derive(Debug, Clone)]
struct Response {
    status: u16,
    headers: Headers,
    request_signature: String,
}

/// Lends headers in the form that views want.
fn lend<T>(headers: &Headers, to: impl FnOnce(&[(&str, &[u8])]) -> T) -> T {
    let lent: Vec<(&str, &[u8])> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    to(&lent)
}

impl Request {
    fn view<T>(&self, to: impl FnOnce(&RequestView<'_>) -> T) -> T {
        lend(&self.headers, |headers| {
            to(&RequestView {
                method: &self.method,
                path: self.path.as_bytes(),
                query: self.query.as_bytes(),
                headers,
            })
        })
    }

    fn sign(&self) -> Signed {
        self.view(|view| sign_request(view, &parameters(1), &key(1)))
            .unwrap()
    }

    fn verify(&self, signed: &Signed) -> Result<Verified, WireError> {
        self.view(|view| {
            let (input, signature) = (signed.input.as_bytes(), signed.signature.as_bytes());
            verify_request(view, input, signature, NOW, &LIMITS)
        })
    }
}

impl Request {
    fn sign_by(&self, session: &Session) -> Signed {
        self.view(|view| sign_request(view, &parameters(1), Signer::Session(session)))
            .unwrap()
    }

    fn verify_by(&self, signed: &Signed, session: Session) -> Result<Verified, WireError> {
        let (input, signature) = (signed.input.as_bytes(), signed.signature.as_bytes());
        let find = |id: &str| (id == session.id()).then_some((session, key(1).address()));
        self.view(|view| verify_message(view, input, signature, NOW, &LIMITS, find))
            .map(|(verified, _)| verified)
    }
}

impl Response {
    fn sign_by(&self, session: &Session) -> Signed {
        self.view(|view| sign_response(view, &parameters(2), Signer::Session(session)))
            .unwrap()
    }

    fn verify_by(&self, signed: &Signed, session: &Session) -> Result<Verified, WireError> {
        let (input, signature) = (signed.input.as_bytes(), signed.signature.as_bytes());
        let held = (session, key(2).address());
        self.view(|view| verify_session_response(view, input, signature, NOW, &LIMITS, held))
    }
}

impl Response {
    fn view<T>(&self, to: impl FnOnce(&ResponseView<'_>) -> T) -> T {
        lend(&self.headers, |headers| {
            to(&ResponseView {
                status: self.status,
                headers,
                request_signature: &self.request_signature,
            })
        })
    }

    fn sign(&self) -> Signed {
        self.view(|view| sign_response(view, &parameters(2), &key(2)))
            .unwrap()
    }

    fn verify(&self, signed: &Signed) -> Result<Verified, WireError> {
        self.verify_from(signed, key(2).address())
    }

    fn verify_from(&self, signed: &Signed, expected: Address) -> Result<Verified, WireError> {
        self.view(|view| {
            let (input, signature) = (signed.input.as_bytes(), signed.signature.as_bytes());
            verify_response(view, input, signature, NOW, &LIMITS, expected)
        })
    }
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32]).unwrap()
}

fn parameters(number: u8) -> Parameters {
    Parameters {
        created: NOW - 10,
        expires: NOW + 20,
        nonce: [number; 16],
        keyid: key(number).address(),
    }
}

/// Headers of a list: the needed ones and some of the others, shuffled, with one that nobody covers.
fn headers(list: &'static [(bool, &'static str)]) -> impl Strategy<Value = Headers> {
    let value = "[!-~]([ -~]{0,20}[!-~])?";
    prop::collection::vec((any::<bool>(), value), list.len())
        .prop_map(move |drawn| {
            let mut headers: Headers = list
                .iter()
                .zip(drawn)
                .filter(|((needed, _), (wanted, _))| *needed || *wanted)
                .map(|((_, name), (_, value))| ((*name).to_owned(), value))
                .collect();
            headers.push(("traceparent".into(), "00-0af7\u{e9}".into()));
            headers
        })
        .prop_shuffle()
}

fn requests() -> impl Strategy<Value = Request> {
    (
        prop::sample::select(&["GET", "POST", "PUT", "PATCH", "DELETE"][..]),
        "/[!-~]{0,40}",
        "[!-~]{0,40}",
        headers(&REQUEST),
    )
        .prop_map(|(method, path, query, headers)| Request {
            method: method.into(),
            path,
            query,
            headers,
        })
}

fn responses() -> impl Strategy<Value = Response> {
    (100..600u16, headers(&RESPONSE), requests()).prop_map(|(status, headers, request)| Response {
        status,
        headers,
        request_signature: request.sign().signature,
    })
}

/// Each way to alter, remove or repeat one covered header, or to add one.
fn altered_headers(headers: &Headers, list: &[(bool, &str)]) -> Vec<Headers> {
    let mut all = Vec::new();
    for (_, name) in list {
        match headers.iter().position(|(present, _)| present == name) {
            Some(index) => {
                for value in ["", "x", "\n", "é"] {
                    let mut other = headers.clone();
                    other[index].1.push_str(value);
                    if value.is_empty() {
                        // Another letter of the same length.
                        let last = if headers[index].1.ends_with('a') {
                            'b'
                        } else {
                            'a'
                        };
                        other[index].1.pop();
                        other[index].1.push(last);
                    }
                    all.push(other);
                }
                let mut other = headers.clone();
                other.remove(index);
                all.push(other);
                let mut other = headers.clone();
                other.push(headers[index].clone());
                all.push(other);
            }
            None => {
                let mut other = headers.clone();
                other.push(((*name).to_owned(), "added".into()));
                all.push(other);
            }
        }
    }
    all
}

/// The same with another bit of the signature.
fn flipped(signed: &Signed, bit: usize) -> Signed {
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = signed.signature.clone().into_bytes();
    // Behind `ocn=:`; six bits a digit.
    let digit = &mut text[5 + bit / 6];
    let value = digits.find(char::from(*digit)).unwrap() ^ (1 << (5 - bit % 6));
    *digit = digits.as_bytes()[value];
    Signed {
        input: signed.input.clone(),
        signature: String::from_utf8(text).unwrap(),
    }
}

/// The identifiers between the brackets of a `Signature-Input`.
fn identifiers(input: &str) -> Vec<String> {
    let list = &input[input.find('(').unwrap() + 1..input.find(')').unwrap()];
    list.split(' ').map(ToOwned::to_owned).collect()
}

fn with_identifiers(signed: &Signed, identifiers: &[String]) -> Signed {
    let rest = &signed.input[signed.input.find(')').unwrap()..];
    Signed {
        input: format!("ocn=({}{rest}", identifiers.join(" ")),
        signature: signed.signature.clone(),
    }
}

/// Component lists that are not the one asked for, made of the one that is.
fn other_lists(signed: &Signed) -> Vec<Signed> {
    let list = identifiers(&signed.input);
    let mut all = Vec::new();
    for index in 0..list.len() {
        let mut other = list.clone();
        other.remove(index);
        all.push(other);
        let mut other = list.clone();
        other.insert(index, list[index].clone());
        all.push(other);
        let mut other = list.clone();
        other.insert(index, "\"host\"".into());
        all.push(other);
        let mut other = list.clone();
        other[index].push_str(";sf");
        all.push(other);
        if index > 0 {
            let mut other = list.clone();
            other.swap(index - 1, index);
            all.push(other);
        }
    }
    all.into_iter()
        .map(|list| with_identifiers(signed, &list))
        .collect()
}

/// The same signature, spelt as only tolerant readers take it.
fn respellings(signed: &Signed) -> Vec<Signed> {
    let input = |input: String| Signed {
        input,
        signature: signed.signature.clone(),
    };
    let text = &signed.input;
    vec![
        input(text.replacen("ocn=", "OCN=", 1)),
        input(text.replacen("ocn=", "sig=", 1)),
        input(text.replacen("ocn=", "ocn= ", 1)),
        input(text.replacen("(\"", "( \"", 1)),
        input(text.replacen("\" \"", "\"  \"", 1)),
        input(text.replacen(");", ") ;", 1)),
        input(text.replacen(");", ");;", 1)),
        input(format!("{text}, {text}")),
        input(format!("{text}, a=()")),
        input(format!("{text};a")),
        input(text.replacen("relay/3", "relay/2", 1)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn requests_verify_as_they_were_signed(request in requests()) {
        let signed = request.sign();
        prop_assert_eq!(request.verify(&signed), Ok(Verified { parameters: parameters(1) }));
        prop_assert!(signed.input.len() < 600, "{}", signed.input.len());
    }

    #[test]
    fn test_a151_an_altered_request_is_refused(request in requests()) {
        let signed = request.sign();
        for headers in altered_headers(&request.headers, &REQUEST) {
            let other = Request { headers, ..request.clone() };
            prop_assert!(other.verify(&signed).is_err(), "{:?}", other);
        }
        let method = if request.method == "GET" { "PUT" } else { "GET" };
        let path = format!("{}/", request.path);
        let query = format!("{}&", request.query);
        for other in [
            Request { method: method.into(), ..request.clone() },
            Request { path, ..request.clone() },
            Request { query, ..request.clone() },
            Request { path: format!("{}\n\"a\": b", request.path), ..request.clone() },
        ] {
            prop_assert!(other.verify(&signed).is_err(), "{:?}", other);
        }
        let uncovered = Request {
            headers: request.headers.iter().filter(|(name, _)| name != "traceparent").cloned().collect(),
            ..request.clone()
        };
        prop_assert!(uncovered.verify(&signed).is_ok());
    }

    #[test]
    fn test_a152_another_component_list_is_refused_unread(request in requests()) {
        let signed = request.sign();
        for other in other_lists(&signed) {
            prop_assert_eq!(request.verify(&other), Err(WireError::Components), "{}", other.input);
        }
        for other in respellings(&signed) {
            let refused = request.verify(&other);
            prop_assert!(matches!(refused, Err(WireError::Input | WireError::Components)), "{}", other.input);
        }
    }

    #[test]
    fn answers_verify_as_they_were_signed(response in responses()) {
        let signed = response.sign();
        prop_assert_eq!(response.verify(&signed), Ok(Verified { parameters: parameters(2) }));
        prop_assert!(signed.input.len() < 600, "{}", signed.input.len());
        prop_assert_eq!(response.verify_from(&signed, key(1).address()), Err(WireError::Signer));
    }

    #[test]
    fn test_a151_an_altered_or_swapped_answer_is_refused(response in responses(), other in requests()) {
        let signed = response.sign();
        for headers in altered_headers(&response.headers, &RESPONSE) {
            let other = Response { headers, ..response.clone() };
            prop_assert!(other.verify(&signed).is_err(), "{:?}", other);
        }
        for altered in [
            Response { status: response.status + 1, ..response.clone() },
            Response { request_signature: other.sign().signature, ..response.clone() },
        ] {
            prop_assert_eq!(altered.verify(&signed), Err(WireError::Signer));
        }
        for other in other_lists(&signed) {
            prop_assert_eq!(response.verify(&other), Err(WireError::Components), "{}", other.input);
        }
    }

    #[test]
    fn test_a151_another_bit_of_the_signature_is_refused(request in requests(), bit in 0..520usize) {
        let signed = request.sign();
        let refused = request.verify(&flipped(&signed, bit));
        prop_assert!(matches!(refused, Err(WireError::Signature | WireError::Signer)), "{:?}", refused);
    }

    #[test]
    fn test_a151_under_a_session_no_more_is_believed(
        request in requests(), response in responses(), bit in 0..256usize,
    ) {
        let name = "A-session_1";
        let signed = request.sign_by(&session(name));
        let verified = request.verify_by(&signed, session(name));
        prop_assert_eq!(verified.map(|it| it.parameters), Ok(parameters(1)));
        prop_assert_eq!(request.verify(&signed), Err(WireError::Session));
        prop_assert_eq!(request.verify_by(&signed, session("another")), Err(WireError::Session));
        for headers in altered_headers(&request.headers, &REQUEST) {
            let altered = Request { headers, ..request.clone() };
            prop_assert!(altered.verify_by(&signed, session(name)).is_err());
        }
        for other in other_lists(&signed).iter().chain(&respellings(&signed)) {
            prop_assert!(request.verify_by(other, session(name)).is_err());
        }
        let mut bent = request.clone();
        bent.path.push('x');
        prop_assert_eq!(bent.verify_by(&signed, session(name)), Err(WireError::Signer));
        // A signature is none of a session's, and the reverse.
        let by_key = request.sign();
        for (input, signature) in [(&by_key, &signed), (&signed, &by_key)] {
            let mixed = Signed { input: input.input.clone(), signature: signature.signature.clone() };
            prop_assert_eq!(request.verify_by(&mixed, session(name)), Err(WireError::Signature));
        }

        let answered = response.sign_by(&session(name));
        let verified = response.verify_by(&answered, &session(name));
        prop_assert_eq!(verified.map(|it| it.parameters), Ok(parameters(2)));
        prop_assert!(response.verify(&answered).is_err());
        prop_assert!(response.verify_by(&response.sign(), &session(name)).is_err());
        prop_assert_eq!(response.verify_by(&answered, &session("another")), Err(WireError::Session));
        for headers in altered_headers(&response.headers, &RESPONSE) {
            let altered = Response { headers, ..response.clone() };
            prop_assert!(altered.verify_by(&answered, &session(name)).is_err());
        }
        let other = Response { request_signature: signed.signature.clone(), ..response.clone() };
        prop_assert_eq!(other.verify_by(&answered, &session(name)), Err(WireError::Signer));
        prop_assert!(response.verify_by(&flipped(&answered, bit), &session(name)).is_err());
    }

    #[test]
    fn test_a152_no_bytes_make_it_panic(
        request in requests(),
        input in prop::collection::vec(any::<u8>(), 0..200),
        at: Index,
    ) {
        let signed = request.sign();
        let mut edited = signed.input.clone().into_bytes();
        let at = at.index(edited.len());
        edited.splice(at..at, input.iter().copied());
        request.view(|view| {
            let signature = signed.signature.as_bytes();
            for (text, signature) in [(&input, signature), (&edited, signature), (&edited, &input[..])] {
                let refused = verify_request(view, text, signature, NOW, &LIMITS);
                assert!(input.is_empty() || refused.is_err());
            }
        });
    }
}

fn example() -> Request {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Request {
        method: "GET".into(),
        path: "/ocn/relay/sender/locations/LOC%2F1".into(),
        query: "limit=10".into(),
        headers: vec![
            header("ocn-to-node", &key(2).address().to_string()),
            header("x-request-id", "r"),
            header("x-correlation-id", "c"),
            header("ocpi-from-country-code", "DE"),
            header("ocpi-from-party-id", "MSP"),
            header("ocpi-to-country-code", "NL"),
            header("ocpi-to-party-id", "CPO"),
            header("ocn-deadline", "15"),
        ],
    }
}

/// The signature base of [`example`], written by hand.
fn base_of_example(signed: &Signed) -> String {
    let parameters = signed.input.strip_prefix("ocn=").unwrap();
    format!(
        "\"@method\": GET\n\
         \"@path\": /ocn/relay/sender/locations/LOC%2F1\n\
         \"@query\": ?limit=10\n\
         \"ocn-to-node\": {}\n\
         \"x-request-id\": r\n\
         \"x-correlation-id\": c\n\
         \"ocpi-from-country-code\": DE\n\
         \"ocpi-from-party-id\": MSP\n\
         \"ocpi-to-country-code\": NL\n\
         \"ocpi-to-party-id\": CPO\n\
         \"ocn-deadline\": 15\n\
         \"@signature-params\": {parameters}",
        key(2).address()
    )
}

/// An answer to [`example`].
fn answer_to(signed: &Signed) -> Response {
    Response {
        status: 200,
        headers: vec![
            ("x-request-id".into(), "r".into()),
            ("ocn-origin".into(), "receiver".into()),
        ],
        request_signature: signed.signature.clone(),
    }
}

/// The signature base of that answer, written by hand.
fn base_of_answer(signed: &Signed, answered: &Signed) -> String {
    let member = &signed.signature["ocn=".len()..];
    format!(
        "\"@status\": 200\n\
         \"x-request-id\": r\n\
         \"ocn-origin\": receiver\n\
         \"signature\";req;key=\"ocn\": {member}\n\
         \"@signature-params\": {}",
        answered.input.strip_prefix("ocn=").unwrap()
    )
}

#[test]
fn the_base_is_what_the_key_signed() {
    let signed = example().sign();
    assert_eq!(
        signer_of(&base_of_example(&signed), &signed),
        key(1).address()
    );
    let answered = answer_to(&signed).sign();
    let base = base_of_answer(&signed, &answered);
    assert_eq!(signer_of(&base, &answered), key(2).address());
}

/// Keys of 32 bytes 1 for requests and 32 bytes 2 for answers.
fn session(id: &str) -> Session {
    let keys = std::array::from_fn(|at| if at < 32 { 1 } else { 2 });
    Session::new(id, SessionKeys::from_bytes(&keys)).unwrap()
}

#[test]
fn the_base_is_what_a_session_authenticates() {
    let session = session("A-session_1");
    let signed = example().sign_by(&session);
    let by_key = example().sign();
    let renamed = by_key
        .input
        .replace(&key(1).address().to_string(), "A-session_1")
        .replace("secp256k1-keccak256", "hmac-sha256");
    assert_eq!(signed.input, renamed);
    assert_eq!(
        signed.signature,
        mac(1, &base_of_example(&signed)),
        "with the key of requests"
    );
    let answered = answer_to(&signed).sign_by(&session);
    let base = base_of_answer(&signed, &answered);
    assert_eq!(answered.signature, mac(2, &base), "with that of answers");
}

/// The header `Signature` for a key of 32 such bytes.
fn mac(byte: u8, base: &str) -> String {
    use base64::Engine;
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[byte; 32]);
    let mac = ring::hmac::sign(&key, base.as_bytes());
    let digits = base64::engine::general_purpose::STANDARD.encode(mac);
    format!("ocn=:{digits}:")
}

fn signer_of(base: &str, signed: &Signed) -> Address {
    use base64::Engine;
    let text = signed.signature.strip_prefix("ocn=:").unwrap();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text.strip_suffix(':').unwrap())
        .unwrap();
    let (mut r, mut s) = ([0; 32], [0; 32]);
    r.copy_from_slice(&bytes[..32]);
    s.copy_from_slice(&bytes[32..64]);
    let signature = ocn_core::eth::Signature { r, s, v: bytes[64] };
    assert_eq!(signature.check_strict(), Ok(()));
    recover_personal(base.as_bytes(), &signature).unwrap()
}

#[test]
fn no_query_and_an_empty_path_are_signed_as_the_rfc_says() {
    let bare = Request {
        path: String::new(),
        query: String::new(),
        ..example()
    };
    let signed = bare.sign();
    let slash = Request {
        path: "/".into(),
        ..bare
    };
    assert!(slash.verify(&signed).is_ok());
}

#[test]
fn test_a151_a_key_signs_only_in_its_own_name() {
    let refused = example().view(|view| sign_request(view, &parameters(1), &key(2)));
    assert_eq!(refused, Err(WireError::Signer));
}

#[test]
fn test_a95_a_signature_in_the_name_of_another_key_is_refused() {
    let request = example();
    let signed = request.sign();
    let (own, other) = (key(1).address().to_string(), key(2).address().to_string());
    let spoofed = Signed {
        input: signed.input.replace(&own, &other),
        ..signed
    };
    assert_eq!(request.verify(&spoofed), Err(WireError::Signer));
}

#[test]
fn test_a151_times_are_judged_before_the_curve() {
    let request = example();
    let signed = request.sign();
    // The signature is no point of the curve: whoever tried it would say so.
    let broken = format!("ocn=:{}:", "A".repeat(87) + "=");
    for (now, expected) in [
        (NOW + 20, WireError::Signature),
        (NOW + 21, WireError::Expired),
        (NOW - 10 - 60, WireError::Signature),
        (NOW - 10 - 61, WireError::Future),
    ] {
        let refused = request.view(|view| {
            verify_request(
                view,
                signed.input.as_bytes(),
                broken.as_bytes(),
                now,
                &LIMITS,
            )
        });
        assert_eq!(refused, Err(expected), "{now}");
    }
}

#[test]
fn test_a152_bombs_are_refused_in_linear_time() {
    let request = example();
    let signed = request.sign();
    let list = &signed.input[..=signed.input.find(')').unwrap()];
    let bombs = [
        format!("ocn=({})", "\"@method\" ".repeat(1_000_000)),
        format!("ocn={}", "(".repeat(10_000_000)),
        format!("{list}{}", ";created=1".repeat(1_000_000)),
        format!("{list};nonce=\"{}", "\\\"".repeat(5_000_000)),
        format!("{list}{}", ", ocn=()".repeat(1_000_000)),
        "a=(), ".repeat(1_000_000),
    ];
    let started = Instant::now();
    for bomb in bombs {
        let other = Signed {
            input: bomb,
            ..signed.clone()
        };
        assert_eq!(request.verify(&other), Err(WireError::Input));
    }
    let other = Signed {
        signature: format!("ocn=:{}:", "A".repeat(10_000_000)),
        ..signed
    };
    assert_eq!(request.verify(&other), Err(WireError::Signature));
    assert!(started.elapsed() < Duration::from_secs(2));
}

/// The texts between the fences of that language in the documentation, in order.
fn blocks(language: &str) -> Vec<&'static str> {
    include_str!("../../../docs/wire.md")
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .map(|block| block.trim_end_matches('\n'))
        .collect()
}

/// First line, headers in lower case, body.
fn parse(block: &str) -> (Vec<&str>, Headers, &str) {
    let (head, body) = block.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let first = lines.next().unwrap().split(' ').collect();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    (first, headers, body)
}

fn take(headers: &mut Headers, name: &str) -> String {
    let index = headers.iter().position(|(found, _)| found == name).unwrap();
    headers.remove(index).1
}

#[test]
fn the_documented_example_is_what_is_signed() {
    let messages = blocks("http");
    let bases = blocks("text");
    let (line, mut headers, body) = parse(messages[0]);
    let given = Signed {
        input: take(&mut headers, "signature-input"),
        signature: take(&mut headers, "signature"),
    };
    let (path, query) = line[1].split_once('?').unwrap();
    let digest = headers.iter().find(|(name, _)| name == "content-digest");
    assert_eq!(digest.unwrap().1, content_digest(body.as_bytes()));
    let request = Request {
        method: line[0].into(),
        path: path.into(),
        query: query.into(),
        headers,
    };
    let nonce = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeffu128;
    let with_nonce = |number, nonce: u128| Parameters {
        nonce: nonce.to_be_bytes(),
        ..parameters(number)
    };
    let signed = request.view(|view| sign_request(view, &with_nonce(1, nonce), &key(1)));
    assert_eq!(signed, Ok(given.clone()));
    assert_eq!(signer_of(bases[0], &given), key(1).address());

    let (line, mut headers, body) = parse(messages[1]);
    let answered = Signed {
        input: take(&mut headers, "signature-input"),
        signature: take(&mut headers, "signature"),
    };
    let digest = headers.iter().find(|(name, _)| name == "content-digest");
    assert_eq!(digest.unwrap().1, content_digest(body.as_bytes()));
    let response = Response {
        status: line[1].parse().unwrap(),
        headers,
        request_signature: given.signature,
    };
    let signed = response.view(|view| sign_response(view, &with_nonce(2, !nonce), &key(2)));
    assert_eq!(signed, Ok(answered.clone()));
    assert_eq!(signer_of(bases[1], &answered), key(2).address());
}
