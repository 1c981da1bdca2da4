//! `verify`: the party's notary signature against the registry, by policy.
use std::borrow::Cow;

use super::Walk;
use super::authenticate::{Message, Sender};
use super::error::{Kind, Refusal};
use super::parse::{Envelope, decode};
use super::ports::Ports;
use super::record::{Signature, Stage};
use super::route::Target;
use crate::eth::Address;
use crate::notary::{Container, Notary, Part, Values, Verdict};
use crate::ocpi::Party;

/// A message whose signature was judged.
pub(super) struct Verified {
    pub(super) message: Message,
    pub(super) notary: Option<Notary>,
    /// The node has to sign for the party (`sign_for_party`).
    pub(super) sign_for_party: bool,
}

/// Judges the signature of the message (design section 7, `ocn-notary.md` section 10).
pub(super) fn verify<P: Ports>(
    walk: &mut Walk<'_, P>,
    message: Message,
    sender: &Sender,
    target: &Target,
) -> Result<Verified, Refusal> {
    walk.enter(Stage::Verify);
    let Some(text) = message.envelope.signature.clone() else {
        return unsigned(walk, message, sender, target);
    };
    walk.record.policy = Some(walk.node.settings.signatures.policy.as_str());
    let (limits, policy) = (&walk.node.notary_limits, walk.node.policy);
    let (envelope, body) = (&message.envelope, &message.body);
    let bound = SignedRequest::new(envelope, body, envelope.is_custom());
    let opened = bound.with_values(|values| Notary::open_for(&text, values, limits));
    let opened = opened.and_then(|notary| {
        let signed = SignedRequest::new(envelope, body, names_text_body(&notary));
        let verdict = signed.with_values(|values| notary.verify(values, policy, &[], limits))?;
        Ok((notary, verdict))
    });
    let (notary, verdict) = opened.map_err(|error| {
        walk.record.signature = Some(Signature::Refused);
        walk.record.signature_reason = Some(error.reason.as_str());
        walk.record.signature_path = error.path.clone();
        Refusal::new(Kind::Signature, format!("Invalid signature: {error}"))
    })?;
    walk.record.uncovered = verdict.uncovered;
    let signer = signer(walk, &verdict, sender.party).map_err(|text| {
        walk.record.signature = Some(Signature::Refused);
        walk.record.signature_reason = Some("signatory");
        Refusal::new(Kind::Signature, text)
    })?;
    walk.record.signature = Some(signer);
    Ok(Verified {
        message,
        notary: Some(notary),
        sign_for_party: false,
    })
}

fn unsigned<P: Ports>(
    walk: &mut Walk<'_, P>,
    message: Message,
    sender: &Sender,
    target: &Target,
) -> Result<Verified, Refusal> {
    let required = walk.node.settings.signatures.required || target.home.demands_signatures();
    let sign_for_party = sender.home.signs_for_party();
    if required && !sign_for_party {
        walk.record.signature = Some(Signature::Refused);
        walk.record.signature_reason = Some("missing");
        return Err(Refusal::new(Kind::Signature, "Missing OCN Signature"));
    }
    walk.record.signature = Some(if sign_for_party {
        Signature::ForParty
    } else {
        Signature::Absent
    });
    Ok(Verified {
        message,
        notary: None,
        sign_for_party,
    })
}

/// Who signed in the end, judged with the registry: the party itself or its operator. Every other
/// signatory of a chain must be an operator, and the first one the party or its operator
/// (`ocn-notary.md` 9 #9, `safety.md` A38).
pub(super) fn signer<P: Ports>(
    walk: &Walk<'_, P>,
    verdict: &Verdict,
    party: Party,
) -> Result<Signature, Cow<'static, str>> {
    let Some(registered) = walk.table.registered(party) else {
        return Err("the signing party is not registered".into());
    };
    let own = |address: &Address| *address == registered.address || *address == registered.operator;
    if !own(&verdict.signatory) {
        return Err(format!(
            "Actual signatory {} differs from expected signatory {} (party) or {} (operator)",
            verdict.signatory, registered.address, registered.operator
        )
        .into());
    }
    let origin = verdict.chain.last().unwrap_or(&verdict.signatory);
    if !own(origin) {
        return Err(
            "the first signatory of the chain is neither the party nor its operator".into(),
        );
    }
    if verdict
        .chain
        .iter()
        .any(|signatory| !own(signatory) && walk.table.operator(signatory).is_none())
    {
        return Err("a signatory of the chain is not known to the registry".into());
    }
    Ok(if *origin == registered.address {
        Signature::Party
    } else {
        Signature::Operator
    })
}

/// Whether a signature takes the body as one piece of text, as existing nodes do for custom modules.
pub(super) fn names_text_body(notary: &Notary) -> bool {
    notary.fields().contains("$['body']")
}

/// The signed values of a request, gathered once: headers and parameters as text, the body as bytes.
pub(super) struct SignedRequest<'a> {
    headers: Vec<(&'static str, &'a str)>,
    params: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    body: &'a [u8],
    text_body: bool,
}

impl<'a> SignedRequest<'a> {
    /// Of an envelope. Headers that are not text contribute nothing, and are refused by coverage.
    pub(super) fn new(envelope: &'a Envelope, body: &'a [u8], text_body: bool) -> Self {
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).unwrap_or_default();
        let mut headers = Vec::with_capacity(5);
        if let Some(id) = &envelope.correlation_id {
            headers.push(("x-correlation-id", text(id)));
        }
        if let Some(from) = &envelope.from {
            headers.push(("ocpi-from-country-code", text(&from.country_code)));
            headers.push(("ocpi-from-party-id", text(&from.party_id)));
        }
        if let Some(to) = &envelope.to {
            headers.push(("ocpi-to-country-code", text(&to.country_code)));
            headers.push(("ocpi-to-party-id", text(&to.party_id)));
        }
        Self {
            headers,
            params: params(&envelope.query),
            body,
            text_body,
        }
    }

    /// The same with another value of `response_url` among the parameters.
    pub(super) fn with_response_url(mut self, url: &'a str) -> Self {
        for (name, value) in &mut self.params {
            if name == "response_url" {
                *value = Cow::Borrowed(url);
            }
        }
        self
    }

    /// Lends the values.
    pub(super) fn with_values<T>(&self, use_values: impl FnOnce(&Values<'_>) -> T) -> T {
        let params: Vec<(&str, &str)> = self
            .params
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let values = Values {
            headers: Part::Pairs(&self.headers),
            params: if params.is_empty() {
                Part::Absent
            } else {
                Part::Pairs(&params)
            },
            body: match (self.body.is_empty(), self.text_body) {
                (true, _) => Part::Absent,
                (false, false) => Part::Json(self.body),
                (false, true) => {
                    std::str::from_utf8(self.body).map_or(Part::Json(self.body), Part::Text)
                }
            },
        };
        use_values(&values)
    }
}

/// The container in which an answer to this request is signed.
pub(super) fn container(notary: Option<&Notary>) -> Container {
    notary.map_or(Container::Brotli, Notary::container)
}

/// Decoded query parameters in their order. A `+` is a blank, as in every existing node:
/// the plus of a date's `+01:00` is written `%2B`. An unescaped `response_url` takes the rest of the query (`ocpi-hub.md` 2.11).
pub(super) fn params(query: &[u8]) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    pieces(query)
        .into_iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

/// Raw names and values of a query.
pub(super) fn pieces(query: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut pieces = Vec::new();
    let mut rest = query;
    while !rest.is_empty() {
        let end = piece_end(rest);
        let piece = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        let equals = piece
            .iter()
            .position(|byte| *byte == b'=')
            .unwrap_or(piece.len());
        if !piece.is_empty() {
            pieces.push((
                &piece[..equals],
                piece.get(equals + 1..).unwrap_or_default(),
            ));
        }
    }
    pieces
}

/// Where the first piece of a query ends.
fn piece_end(query: &[u8]) -> usize {
    let end = |from: usize| {
        query[from..]
            .iter()
            .position(|byte| *byte == b'&')
            .map_or(query.len(), |at| from + at)
    };
    let first = end(0);
    if !query.starts_with(b"response_url=http://") && !query.starts_with(b"response_url=https://") {
        return first;
    }
    // Unescaped: what follows belongs to the URL, unless it is the module's own other parameter.
    let mut at = first;
    while at < query.len() {
        let next = &query[at + 1..];
        if next.starts_with(b"duration=") || next.starts_with(b"response_url=") {
            break;
        }
        at = end(at + 1);
    }
    at
}

fn text(raw: &[u8]) -> Cow<'_, str> {
    if !raw.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return String::from_utf8_lossy(raw);
    }
    let blanks: Vec<u8> = raw
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    Cow::Owned(String::from_utf8_lossy(&decode(&blanks)).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Vec<(String, String)> {
        params(query.as_bytes())
            .into_iter()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect()
    }

    #[test]
    fn parameters_are_decoded_in_order() {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            read("limit=10&date_from=2026-01-01T00:00:00%2B01:00&x=a%20b&date_to=1+1"),
            [
                own("limit", "10"),
                own("date_from", "2026-01-01T00:00:00+01:00"),
                own("x", "a b"),
                own("date_to", "1 1")
            ]
        );
        assert_eq!(
            read("a&b=&&c=d=e"),
            [own("a", ""), own("b", ""), own("c", "d=e")]
        );
    }

    #[test]
    fn test_a85_unescaped_response_url_takes_the_rest() {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            read("duration=900&response_url=https://msp.example/r?id=5&x=y"),
            [
                own("duration", "900"),
                own("response_url", "https://msp.example/r?id=5&x=y")
            ]
        );
        assert_eq!(
            read("response_url=https://msp.example/r?id=5&duration=900"),
            [
                own("response_url", "https://msp.example/r?id=5"),
                own("duration", "900")
            ]
        );
        assert_eq!(
            read("response_url=https%3A%2F%2Fmsp.example%2Fr&x=y"),
            [own("response_url", "https://msp.example/r"), own("x", "y")]
        );
    }
}
