//! What must hold for every document: of the JSON reader and of the notary.
#![allow(clippy::unwrap_used)]

use ocn_core::eth::{SigningKey, hex_encode, keccak256};
use ocn_core::json::{self, Leaves, Scalar};
use ocn_core::notary::{
    Container, Limits, Notary, NumberForm, Part, Policy, RESPONSE_URL_BODY, Reason, Values,
};
use proptest::prelude::*;
use proptest::sample::Index;

/// A document with a spelling for every value.
#[derive(Debug, Clone)]
enum Doc {
    /// `null`, `true`, `false` or a number, as it is written.
    Word(&'static str),
    Text(String),
    Array(Vec<Doc>),
    Object(Vec<(String, Doc)>),
}

/// Words as they are written, and as ECMAScript signs them.
const WORDS: [(&str, &str); 12] = [
    ("null", ""),
    ("true", "true"),
    ("false", "false"),
    ("0", "0"),
    ("-0", "0"),
    ("20.0", "20"),
    ("1.50", "1.5"),
    ("1e5", "100000"),
    ("0.0006", "0.0006"),
    ("1E-7", "1e-7"),
    ("123456789012345678e3", "123456789012345680000"),
    ("-12.25", "-12.25"),
];

fn words() -> impl Strategy<Value = Doc> {
    prop::sample::select(&WORDS[..]).prop_map(|(word, _)| Doc::Word(word))
}

fn docs() -> impl Strategy<Value = Doc> {
    let leaf = prop_oneof![words(), any::<String>().prop_map(Doc::Text)];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let name = "[^']{0,6}|[a-z_]{1,12}";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Doc::Array),
            prop::collection::btree_map(name, inner, 0..6)
                .prop_map(|members| Doc::Object(members.into_iter().collect())),
        ]
    })
}

/// Objects that can be a message's body, with at least one signed leaf and no inexact number.
fn bodies() -> impl Strategy<Value = Doc> {
    prop::collection::btree_map("[a-z]{1,8}", docs(), 0..6).prop_map(|members| {
        let url = Doc::Text("https://party.example/callback".into());
        let mut members: Vec<_> = members.into_iter().collect();
        members.retain(|(name, _)| name != "response_url");
        members.insert(members.len() / 2, ("response_url".into(), url));
        exact(Doc::Object(members))
    })
}

/// Without the one word whose text is not exactly its value, which the strict policy refuses.
fn exact(doc: Doc) -> Doc {
    match doc {
        Doc::Word("123456789012345678e3") => Doc::Word("7"),
        Doc::Array(elements) => Doc::Array(elements.into_iter().map(exact).collect()),
        Doc::Object(members) => Doc::Object(
            members
                .into_iter()
                .map(|(name, value)| (name, exact(value)))
                .collect(),
        ),
        other => other,
    }
}

/// Writes a document; `spell` turns some blanks and escapes on.
fn write(doc: &Doc, spell: usize, out: &mut String) {
    let blank = ["", " ", "\r\n\t"][spell % 3];
    match doc {
        Doc::Word(word) => out.push_str(word),
        Doc::Text(text) => write_text(text, spell, out),
        Doc::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                out.push_str(blank);
                write(element, spell / 2 + index, out);
            }
            out.push(']');
        }
        Doc::Object(members) => {
            out.push('{');
            for (index, (name, value)) in members.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                write_text(name, spell + index, out);
                out.push_str(blank);
                out.push(':');
                write(value, spell / 2 + index, out);
            }
            out.push_str(blank);
            out.push('}');
        }
    }
}

fn write_text(text: &str, spell: usize, out: &mut String) {
    if !spell.is_multiple_of(5) {
        out.push_str(&json::quote(text));
        return;
    }
    out.push('"');
    for unit in text.encode_utf16() {
        out.push_str(&format!("\\u{unit:04X}"));
    }
    out.push('"');
}

fn text_of(doc: &Doc, spell: usize) -> String {
    let mut out = String::new();
    write(doc, spell, &mut out);
    out
}

/// What a word adds to the message.
fn signed_text(word: &str) -> &str {
    WORDS
        .iter()
        .find(|(lexeme, _)| *lexeme == word)
        .map_or(word, |(_, text)| text)
}

/// The walk of the specification, on the tree.
fn naive_walk(path: &str, doc: &Doc, leaves: &mut Vec<(String, String)>) {
    match doc {
        Doc::Word(word) => {
            let text = signed_text(word);
            if !text.is_empty() {
                leaves.push((path.into(), text.into()));
            }
        }
        Doc::Text(text) if text.is_empty() => {}
        Doc::Text(text) => leaves.push((path.into(), text.clone())),
        Doc::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                naive_walk(&format!("{path}[{index}]"), element, leaves);
            }
        }
        Doc::Object(members) => {
            for (name, member) in members {
                naive_walk(&format!("{path}['{name}']"), member, leaves);
            }
        }
    }
}

const LIMITS: Limits = Limits {
    text_bytes: 98_304,
    notary_bytes: 1 << 20,
    fields: 20_000,
    rewrites: 16,
    rewrite_paths: 16,
    depth: 128,
    number_chars: 1_000,
};

const JSON: json::Limits = json::Limits {
    depth: 128,
    number_chars: 1_000,
};

const HEADERS: [(&str, &str); 5] = [
    ("x-correlation-id", "b1a4"),
    ("ocpi-from-country-code", "DE"),
    ("ocpi-from-party-id", "CPO"),
    ("ocpi-to-country-code", "NL"),
    ("ocpi-to-party-id", "MSP"),
];

fn message(body: &str) -> Values<'_> {
    Values {
        headers: Part::Pairs(&HEADERS),
        params: Part::Absent,
        body: Part::Json(body.as_bytes()),
    }
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32]).unwrap()
}

/// Paths and byte ranges of the leaves of a body.
fn leaves_of(body: &str) -> Vec<(String, std::ops::Range<usize>)> {
    let mut walk = Leaves::new(body.as_bytes(), "$['body']", &JSON).unwrap();
    let mut leaves = Vec::new();
    while let Some(leaf) = walk.next().unwrap() {
        leaves.push((leaf.path.to_owned(), leaf.range));
    }
    leaves
}

fn splice(body: &str, range: std::ops::Range<usize>, value: &str) -> String {
    String::from_utf8(json::splice(body.as_bytes(), range, value.as_bytes())).unwrap()
}

fn refusal(notary: &Notary, body: &str, policy: Policy) -> Option<(Reason, Option<String>)> {
    let error = notary.verify(&message(body), policy, &[], &LIMITS).err()?;
    Some((error.reason, error.path))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn leaves_are_those_of_the_naive_walk(doc in docs(), spell in 0..1_000usize) {
        let text = text_of(&doc, spell);
        let mut expected = Vec::new();
        naive_walk("$", &doc, &mut expected);
        let mut walk = Leaves::new(text.as_bytes(), "$", &JSON).unwrap();
        let mut found = Vec::new();
        while let Some(leaf) = walk.next().unwrap() {
            let value = match leaf.value {
                Scalar::String(text) => text.decode().unwrap().into_owned(),
                _ => signed_text(&text[leaf.range.clone()]).to_owned(),
            };
            found.push((leaf.path.to_owned(), value));
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn the_hash_is_that_of_the_naive_message(doc in bodies(), spell in 0..1_000usize) {
        let body = text_of(&doc, spell);
        let notary = Notary::sign(&message(&body), &key(1), NumberForm::Js, &LIMITS).unwrap();
        let mut leaves: Vec<(String, String)> = HEADERS
            .iter()
            .map(|(name, value)| (format!("$['headers']['{name}']"), (*value).to_owned()))
            .collect();
        naive_walk("$['body']", &doc, &mut leaves);
        prop_assert!(notary.fields().iter().eq(leaves.iter().map(|(path, _)| path.as_str())));
        let signed: String = leaves.into_iter().map(|(_, text)| text).collect();
        prop_assert_eq!(notary.hash(), hex_encode(&keccak256(signed.as_bytes())));
    }

    #[test]
    fn what_is_signed_verifies_in_both_containers(doc in bodies(), spell in 0..1_000usize) {
        let body = text_of(&doc, spell);
        let signed = Notary::sign(&message(&body), &key(1), NumberForm::Js, &LIMITS).unwrap();
        for container in [Container::Brotli, Container::Gzip] {
            let packed = signed.pack(container);
            let opened = Notary::open_for(packed.as_bytes(), &message(&body), &LIMITS).unwrap();
            prop_assert_eq!(opened.to_json(), signed.to_json());
            for policy in [Policy::Strict, Policy::Covered, Policy::Compatible] {
                let verdict = opened.verify(&message(&body), policy, &[], &LIMITS).unwrap();
                prop_assert_eq!((verdict.signatory, verdict.uncovered), (key(1).address(), 0));
            }
        }
    }

    #[test]
    fn test_a35_any_edit_of_any_leaf_is_refused(doc in bodies(), spell in 0..1_000usize, at: Index) {
        let body = text_of(&doc, spell);
        let notary = Notary::sign(&message(&body), &key(1), NumberForm::Js, &LIMITS).unwrap();
        let leaves = leaves_of(&body);
        let (path, range) = leaves[at.index(leaves.len())].clone();
        for value in ["\"other text\"", "4711", "\"\\u0000\""] {
            let edited = splice(&body, range.clone(), value);
            for policy in [Policy::Strict, Policy::Covered, Policy::Compatible] {
                prop_assert_eq!(refusal(&notary, &edited, policy), Some((Reason::Hash, None)));
            }
        }
        // Emptied or taken apart, it is another set of leaves.
        for value in ["null", "\"\"", "[]", "{}"] {
            let emptied = splice(&body, range.clone(), value);
            let missing = Some((Reason::Coverage, Some(path.chars().take(256).collect())));
            prop_assert_eq!(refusal(&notary, &emptied, Policy::Strict), missing.clone());
            prop_assert_eq!(refusal(&notary, &emptied, Policy::Covered), missing);
            prop_assert!(refusal(&notary, &emptied, Policy::Compatible).is_some());
        }
    }

    #[test]
    fn test_a35_an_added_leaf_is_refused_and_named(doc in bodies(), spell in 0..1_000usize) {
        let body = text_of(&doc, spell);
        let notary = Notary::sign(&message(&body), &key(1), NumberForm::Js, &LIMITS).unwrap();
        let added = json::insert_member(body.as_bytes(), "ADDED", b"0", &JSON).unwrap();
        let added = String::from_utf8(added).unwrap();
        let uncovered = Some((Reason::Coverage, Some("$['body']['ADDED']".to_owned())));
        prop_assert_eq!(refusal(&notary, &added, Policy::Strict), uncovered.clone());
        prop_assert_eq!(refusal(&notary, &added, Policy::Covered), uncovered);
        let counted = notary.verify(&message(&added), Policy::Compatible, &[], &LIMITS).unwrap();
        prop_assert_eq!(counted.uncovered, 1);
        // Nothing to sign, nothing to refuse.
        let empty = json::insert_member(body.as_bytes(), "ADDED", b"[null,{}]", &JSON).unwrap();
        prop_assert_eq!(refusal(&notary, &String::from_utf8(empty).unwrap(), Policy::Strict), None);
    }

    #[test]
    fn test_a39_stash_and_restore_is_identity(doc in bodies(), spell in 0..1_000usize, steps in 1..4usize) {
        let mut body = text_of(&doc, spell);
        let mut notary = Notary::sign(&message(&body), &key(1), NumberForm::Js, &LIMITS).unwrap();
        let mut chain = vec![key(1).address()];
        for step in 0..steps {
            let (_, range) = leaves_of(&body).into_iter().find(|(path, _)| path == RESPONSE_URL_BODY).unwrap();
            let after = splice(&body, range, &format!("\"https://node.example/{step}\""));
            let signer = key(2 + step as u8);
            notary = notary
                .resign(&message(&body), &message(&after), &[RESPONSE_URL_BODY], &signer, &LIMITS)
                .unwrap();
            chain.insert(0, signer.address());
            body = after;
        }
        let opened = Notary::open(notary.pack(Container::Gzip).as_bytes(), &LIMITS).unwrap();
        for policy in [Policy::Strict, Policy::Covered, Policy::Compatible] {
            let verdict = opened.verify(&message(&body), policy, &[], &LIMITS).unwrap();
            prop_assert_eq!(&verdict.chain, &chain);
            prop_assert_eq!(verdict.origin(), key(1).address());
            // Twice gives the same answer.
            prop_assert_eq!(opened.verify(&message(&body), policy, &[], &LIMITS), Ok(verdict));
        }
        // Another stashed value restores another message: the newest rewrite is number 0.
        let altered = notary.to_json().replace("party.example/callback", "evil.example/callback");
        let packed = pack_json(&altered);
        let error = Notary::open(packed.as_bytes(), &LIMITS)
            .unwrap()
            .verify(&message(&body), Policy::Strict, &[], &LIMITS)
            .unwrap_err();
        prop_assert_eq!((error.reason, error.rewrite), (Reason::RewriteHash, Some(steps as u8 - 1)));
    }

    #[test]
    fn splicing_a_value_moves_nothing_else(doc in bodies(), spell in 0..1_000usize, at: Index, text: String) {
        let body = text_of(&doc, spell);
        let leaves = leaves_of(&body);
        let (path, range) = leaves[at.index(leaves.len())].clone();
        prop_assert_eq!(&splice(&body, range.clone(), &body[range.clone()]), &body);
        let value = json::quote(&format!("x{text}"));
        let spliced = splice(&body, range.clone(), &value);
        prop_assert_eq!(&spliced[..range.start], &body[..range.start]);
        prop_assert_eq!(&spliced[range.start + value.len()..], &body[range.end..]);
        let again = leaves_of(&spliced);
        prop_assert_eq!(again.len(), leaves.len());
        let (_, range) = again.into_iter().find(|(other, _)| *other == path).unwrap();
        prop_assert_eq!(json::string(&spliced.as_bytes()[range]).unwrap(), format!("x{text}"));
    }

    #[test]
    fn members_are_those_of_the_tree(doc in bodies(), spell in 0..1_000usize) {
        let body = text_of(&doc, spell);
        let [url, none] = json::members(body.as_bytes(), ["response_url", "NONE"], &JSON).unwrap();
        prop_assert_eq!(json::string(&body.as_bytes()[url.unwrap()]).unwrap(), "https://party.example/callback");
        prop_assert_eq!(none, None);
        let with = json::insert_member(body.as_bytes(), "NONE", b"[1]", &JSON).unwrap();
        let removed = json::remove_member(&with, "NONE", &JSON).unwrap().unwrap();
        prop_assert_eq!((removed.rest, removed.value), (body.into_bytes(), &b"[1]"[..]));
    }

    /// The grammar is that of another reader, whatever becomes of a document.
    #[test]
    fn test_a29_the_grammar_is_that_of_serde_json(doc in docs(), spell in 0..1_000usize, edits in prop::collection::vec((any::<Index>(), 0..5u8), 0..4)) {
        let mut text: Vec<u8> = text_of(&doc, spell).into_bytes();
        for (at, edit) in edits {
            if text.is_empty() { break }
            let at = at.index(text.len());
            let odd = br#"{}[],:"\0e.-x "#;
            match edit {
                0 => { text.remove(at); }
                1 => text.insert(at, odd[at % odd.len()]),
                2 => text[at] = odd[at % odd.len()],
                3 => text.truncate(at),
                _ => text.swap(at, 0),
            }
        }
        let theirs = std::str::from_utf8(&text).is_ok()
            && serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(json::validate(&text, &JSON).is_ok(), theirs, "{:?}", String::from_utf8_lossy(&text));
    }

    /// Damaged signatures are refused or mean the same; nothing panics.
    #[test]
    fn test_a33_damaged_text_never_verifies_as_something_else(at: Index, byte: u8, cut: bool, gzip: bool) {
        let body = r#"{"response_url":"https://party.example/callback"}"#;
        let notary = Notary::sign(&message(body), &key(1), NumberForm::Js, &LIMITS).unwrap();
        let container = if gzip { Container::Gzip } else { Container::Brotli };
        let mut packed = notary.pack(container).into_bytes();
        let at = at.index(packed.len());
        packed[at] = byte;
        if cut { packed.truncate(at) }
        if let Ok(opened) = Notary::open(&packed, &LIMITS)
            && let Ok(verdict) = opened.verify(&message(body), Policy::Strict, &[], &LIMITS)
        {
            prop_assert_eq!(verdict.chain, vec![key(1).address()]);
        }
    }
}

/// A notary object as other writers would send it: gzip, Base64.
fn pack_json(json: &str) -> String {
    use base64::Engine;
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(json.as_bytes()).unwrap();
    base64::engine::general_purpose::STANDARD.encode(encoder.finish().unwrap())
}
