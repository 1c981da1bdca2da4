//! Every shared notary vector under the three policies, and every signature made again from its key.
//!
//! The vectors lie in the folder that `OCN_FAST_SHARED` names (default `../shared` beside the repository).
//! Without them the tests say so and pass, unless `OCN_FAST_REQUIRE_TOOLS=1`.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use ocn_core::eth::{
    Address, Signature, SigningKey, hex_decode, hex_encode, personal_digest, recover_prehash,
};
use ocn_core::notary::{
    Container, Limits, Notary, NotaryError, NumberForm, NumberFormSeen, Policy, Reason, Values,
    Verdict,
};
use serde_json::Value;

/// The vectors of all files with their file names; none if the folder is not there.
fn shared() -> Vec<(String, Value)> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("OCN_FAST_SHARED")
        .map_or_else(|| repository.join("../shared"), PathBuf::from);
    let folder = shared.join("vectors/notary");
    if !folder.is_dir() {
        let required = std::env::var("OCN_FAST_REQUIRE_TOOLS").is_ok_and(|value| value == "1");
        assert!(
            !required,
            "the shared vectors are missing; OCN_FAST_SHARED names their folder"
        );
        eprintln!("skipped: no shared vectors (OCN_FAST_SHARED)");
        return Vec::new();
    }
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    files.sort();
    let mut vectors = Vec::new();
    for path in files {
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        for vector in file["vectors"].as_array().unwrap() {
            vectors.push((format!("{name}/{}", text(vector, "name")), vector.clone()));
        }
    }
    vectors
}

fn text<'v>(vector: &'v Value, member: &str) -> &'v str {
    vector[member].as_str().unwrap()
}

fn judge(vector: &Value, packed: &str, policy: Policy) -> Result<Verdict, NotaryError> {
    let limits = Limits::default();
    let values = Values::from_document(text(vector, "values_json").as_bytes(), &limits);
    // What the notary object itself does wrong comes first, as in the order of the checks.
    let notary = Notary::open(packed.as_bytes(), &limits);
    if let Ok(values) = &values {
        // The tighter bound can only turn one refusal into another.
        let bounded = Notary::open_for(packed.as_bytes(), values, &limits);
        let refused = |opened: &Result<_, NotaryError>| opened.as_ref().err().map(|e| e.reason);
        assert!(bounded == notary || refused(&bounded) == Some(Reason::Size));
        assert!(bounded.is_ok() || notary.is_err());
    }
    let notary = notary?;
    notary.verify(&values?, policy, &[], &limits)
}

#[test]
fn test_a33_strict_answers_as_stated() {
    let mut wrong = Vec::new();
    for (name, vector) in shared() {
        for packed in [&vector["serialized"], &vector["serialized_gzip"]] {
            let Some(packed) = packed.as_str() else {
                continue;
            };
            let verdict = judge(&vector, packed, Policy::Strict);
            if verdict.is_ok() != vector["strict_valid"].as_bool().unwrap() {
                wrong.push(format!(
                    "{name}: {verdict:?}, expected {}",
                    vector["strict_reason"]
                ));
                continue;
            }
            let as_stated = match &verdict {
                Ok(verdict) => {
                    let form = match verdict.number_form {
                        NumberFormSeen::Any => "any",
                        NumberFormSeen::Js => "js",
                        NumberFormSeen::Jvm => "jvm",
                    };
                    form == text(&vector, "strict_rendering")
                }
                Err(error) => {
                    error.reason.as_str() == text(&vector, "strict_reason")
                        && (error.path.is_some() || !tells_a_leaf(error.reason))
                }
            };
            if !as_stated {
                wrong.push(
                    format!("{name}: {verdict:?}, expected {vector}")
                        .chars()
                        .take(300)
                        .collect(),
                );
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Checks that compare leaves, so that one can be named.
fn tells_a_leaf(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Coverage
            | Reason::Number
            | Reason::Order
            | Reason::RewritePath
            | Reason::RewriteValue
    )
}

#[test]
fn test_a34_covered_takes_what_strict_takes_and_refuses_uncovered_leaves() {
    for (name, vector) in shared() {
        let Some(packed) = vector["serialized"].as_str() else {
            continue;
        };
        let strict = judge(&vector, packed, Policy::Strict);
        let covered = judge(&vector, packed, Policy::Covered);
        let compatible = judge(&vector, packed, Policy::Compatible);
        if strict.is_ok() {
            assert_eq!(covered, strict, "{name}");
        }
        if let Ok(covered) = &covered {
            assert_eq!(compatible.as_ref(), Ok(covered), "{name}");
            assert_eq!(covered.uncovered, 0, "{name}");
        }
        let uncovered = uncovered_leaves(&vector, packed);
        if uncovered > 0 {
            assert!(covered.is_err(), "{name}");
        }
        if let Ok(verdict) = compatible {
            assert_eq!(verdict.uncovered as usize, uncovered, "{name}");
        }
    }
}

/// Leaves that no field names, counted the plain way: a tree of the document and a list of paths.
fn uncovered_leaves(vector: &Value, packed: &str) -> usize {
    const EXEMPT: [&str; 2] = [
        "$['body']['ocn_signature']",
        "$['body']['ocn_verification_status']",
    ];
    let Ok(notary) = Notary::open(packed.as_bytes(), &Limits::default()) else {
        return 0;
    };
    let Ok(values) = serde_json::from_str::<Value>(text(vector, "values_json")) else {
        return 0;
    };
    let mut leaves = Vec::new();
    naive_walk("$", &values, &mut leaves);
    let mut signed: Vec<String> = notary.fields().iter().map(str::to_lowercase).collect();
    signed.extend(notary.fields().iter().map(str::to_owned));
    let unsigned = |path: &&String| !signed.contains(path) && !EXEMPT.contains(&path.as_str());
    leaves.iter().filter(unsigned).count()
}

fn naive_walk(path: &str, value: &Value, leaves: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                naive_walk(&format!("{path}[{index}]"), element, leaves);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                naive_walk(&format!("{path}['{name}']"), member, leaves);
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => leaves.push(path.to_owned()),
    }
}

fn key_of(step: &Value) -> SigningKey {
    SigningKey::from_bytes(&hex_decode(text(step, "private_key")).unwrap()).unwrap()
}

fn fields_of(step: &Value) -> Vec<&str> {
    step["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field.as_str().unwrap())
        .collect()
}

/// What others sign, we sign the same; JVM vectors in their own number form.
#[test]
fn signatures_are_reproduced_from_their_keys() {
    let limits = Limits::default();
    for (name, vector) in shared() {
        // Another order than ours, or a document that we do not sign.
        let ours = !matches!(
            vector["strict_reason"].as_str(),
            Some("document" | "limits" | "order")
        );
        if text(&vector, "kind") != "sign" || !ours {
            continue;
        }
        let js = text(&vector, "source_impl") == "js";
        let form = if js { NumberForm::Js } else { NumberForm::Jvm };
        let key = key_of(&vector);
        assert_eq!(
            key.address().to_string(),
            text(&vector, "address"),
            "{name}"
        );
        let document = text(&vector, "values_json").as_bytes();
        let values = Values::from_document(document, &limits).unwrap();
        let notary = Notary::sign(&values, &key, form, &limits).unwrap();
        assert_eq!(
            notary.fields().iter().collect::<Vec<_>>(),
            fields_of(&vector),
            "{name}"
        );
        assert_eq!(notary.hash(), text(&vector, "hash"), "{name}");
        assert_eq!(notary.rsv(), text(&vector, "rsv"), "{name}");
        for container in [Container::Brotli, Container::Gzip] {
            let opened = Notary::open(notary.pack(container).as_bytes(), &limits).unwrap();
            assert_eq!(opened.container(), container, "{name}");
            assert_eq!(opened.to_json(), notary.to_json(), "{name}");
        }
    }
}

/// Each step of a chain, made again from the step before.
#[test]
fn chains_are_reproduced_step_by_step() {
    let limits = Limits::default();
    for (name, vector) in shared() {
        let valid = vector["strict_valid"].as_bool().unwrap();
        let Some(steps) = vector["steps"].as_array().filter(|_| valid) else {
            continue;
        };
        let document = |step: &Value| text(step, "values_json").as_bytes().to_vec();
        let keys: Vec<SigningKey> = steps.iter().map(key_of).collect();
        let first = document(&steps[0]);
        let values = Values::from_document(&first, &limits).unwrap();
        let mut notary = Notary::open(text(&steps[0], "serialized").as_bytes(), &limits).unwrap();
        if text(&vector, "source_impl") == "js" {
            let signed = Notary::sign(&values, &keys[0], NumberForm::Js, &limits).unwrap();
            assert_eq!(signed.hash(), notary.hash(), "{name}");
        }
        for (pair, key) in steps.windows(2).zip(&keys[1..]) {
            let (before, after) = (document(&pair[0]), document(&pair[1]));
            let rewritten = pair[1]["rewritten_fields"].as_object().unwrap();
            let changed: Vec<&str> = rewritten.keys().map(String::as_str).collect();
            let before = Values::from_document(&before, &limits).unwrap();
            let after = Values::from_document(&after, &limits).unwrap();
            notary = notary
                .resign(&before, &after, &changed, key, &limits)
                .unwrap();
            assert_eq!(
                notary.fields().iter().collect::<Vec<_>>(),
                fields_of(&pair[1]),
                "{name}"
            );
            let stashed = notary.rewrites().last().unwrap();
            for (path, raw) in stashed.values() {
                assert_eq!(
                    serde_json::from_str::<Value>(raw).unwrap(),
                    rewritten[path],
                    "{name}"
                );
            }
        }
        let last = document(steps.last().unwrap());
        let values = Values::from_document(&last, &limits).unwrap();
        let verdict = notary
            .verify(&values, Policy::Strict, &[], &limits)
            .unwrap();
        let signers: Vec<_> = keys.iter().rev().map(SigningKey::address).collect();
        assert_eq!(verdict.chain, signers, "{name}");
        assert_eq!(verdict.origin(), keys[0].address(), "{name}");
    }
}

/// The vectors of this repository: see `tests/vectors/ORIGIN.md`.
fn own(file: &str, group: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    let content: Value =
        serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap();
    content[group].as_array().unwrap().clone()
}

#[test]
fn test_a34_a35_our_own_messages_are_judged_as_written_out() {
    for vector in own("notary.json", "messages") {
        let name = text(&vector, "name");
        for packed in ["serialized", "serialized_gzip"] {
            for (policy, member) in [
                (Policy::Strict, "strict"),
                (Policy::Covered, "covered"),
                (Policy::Compatible, "compatible"),
            ] {
                let verdict = judge(&vector, text(&vector, packed), policy);
                let answer = match &verdict {
                    Ok(_) => "valid",
                    Err(error) => error.reason.as_str(),
                };
                assert_eq!(answer, text(&vector, member), "{name} {member}");
                if let (Ok(verdict), "compatible") = (verdict, member) {
                    assert_eq!(
                        Some(u64::from(verdict.uncovered)),
                        vector["uncovered"].as_u64(),
                        "{name}"
                    );
                }
            }
        }
        let signed = &vector["signed"];
        if signed.is_null() {
            continue;
        }
        let limits = Limits::default();
        let values =
            Values::from_document(text(signed, "values_json").as_bytes(), &limits).unwrap();
        let notary = Notary::sign(&values, &key_of(signed), NumberForm::Js, &limits).unwrap();
        assert_eq!(
            notary.fields().iter().collect::<Vec<_>>(),
            fields_of(signed),
            "{name}"
        );
        assert_eq!(
            (notary.hash(), notary.rsv()),
            (text(signed, "hash"), text(signed, "rsv")),
            "{name}"
        );
    }
}

#[test]
fn addresses_and_personal_messages_are_those_of_other_implementations() {
    for checksum in own("eth.json", "checksums") {
        let checksum = checksum.as_str().unwrap();
        let address: Address = checksum.to_lowercase().parse().unwrap();
        assert_eq!(address.to_string(), checksum);
    }
    for vector in own("eth.json", "personal") {
        let key = key_of(&vector);
        let message = format!("0x{}", text(&vector, "message"));
        let message: Vec<u8> = (2..message.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&message[at..at + 2], 16).unwrap())
            .collect();
        assert_eq!(key.address().to_string(), text(&vector, "address"));
        assert_eq!(
            hex_encode(&personal_digest(&message)),
            text(&vector, "digest")
        );
        assert_eq!(key.personal_sign(&message).to_rsv(), text(&vector, "rsv"));
    }
}

#[test]
fn test_a36_recoveries_at_the_edges_are_those_of_two_implementations() {
    for vector in own("eth.json", "recovery") {
        let name = text(&vector, "name");
        let signature = Signature::parse(text(&vector, "rsv")).unwrap();
        let digest = hex_decode(text(&vector, "digest")).unwrap();
        let signer = recover_prehash(&digest, &signature)
            .ok()
            .map(|address| address.to_string());
        assert_eq!(signer.as_deref(), vector["address"].as_str(), "{name}");
        assert_eq!(
            Some(signature.check_strict().is_ok()),
            vector["strict_form"].as_bool(),
            "{name}"
        );
    }
}
