//! `open`: the receiver's answer is checked, its `Link` and `Location` exchanged, all else byte for byte.
use std::ops::Range;

use bytes::Bytes;

use super::Walk;
use super::authenticate::Sender;
use super::error::{Kind, Refusal};
use super::forward::Answered;
use super::home::Home;
use super::link::{Binding, next_of};
use super::message::Reply;
use super::parse::Method;
use super::peer;
use super::ports::{Answer, Clock as _, Journal as _, Ports};
use super::record::{Signature, Stage};
use super::route::Target;
use super::seal::Sent;
use super::verify::signer;
use crate::json;
use crate::notary::{LINK, LOCATION, Notary, NumberForm, Part, Values};
use crate::ocpi::{InterfaceRole, Status};

/// Checks the answer and makes the reply (`ocpi-hub.md` 2.9-2.11, `safety.md` A31, A80, A84, A98).
pub(super) async fn open<P: Ports>(
    walk: &mut Walk<'_, P>,
    answered: Answered,
    sender: &Sender,
    target: &Target,
) -> Result<Reply, Refusal> {
    walk.enter(Stage::Open);
    let Answered { answer, sent } = answered;
    if let (Some(operator), Some(leg)) = (target.home.operator(), &sent.leg) {
        peer::judge(walk, &answer, leg, operator)?;
    }
    let status = usable(walk, &answer)?;
    let content = Content::read(walk, &answer)?;
    let notary = check_signature(walk, &answer, &content, &sent, sender, target)?;
    let after = if status && content.status.is_success() {
        exchange(walk, &content, &sent, sender, target).await
    } else {
        content.headers.without_links()
    };
    let body = resign(walk, &answer, &content, &after, notary, &sent, target)?;
    walk.record.ocpi_status = Some(content.status.0);
    let mut headers = walk.requester.headers();
    let from = &target.party;
    let own = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    headers.push(("ocpi-from-country-code", own(from.country_code())));
    headers.push(("ocpi-from-party-id", own(from.party_id())));
    headers.extend(
        after
            .0
            .iter()
            .map(|(name, value)| (*name, Bytes::from(value.clone()))),
    );
    Ok(Reply {
        status: answer.status,
        headers,
        body,
        stale: None,
    })
}

/// Judges the HTTP side. True if its status is a success.
fn usable<P: Ports>(walk: &Walk<'_, P>, answer: &Answer) -> Result<bool, Refusal> {
    let unusable = |text| Err(Refusal::new(Kind::UnusableAnswer, text));
    match answer.status {
        401 | 403 => {
            walk.node.metrics.token_refused();
            return Err(Refusal::new(
                Kind::TokenRefused,
                "the receiver refused the hub's token",
            ));
        }
        100..=199 | 204 | 205 | 300..=399 => {
            return unusable("the receiver's answer has a status that OCPI does not know");
        }
        _ => {}
    }
    let coded = answer.headers.iter().any(|(name, value)| {
        name == "content-encoding" && !value.eq_ignore_ascii_case(b"identity")
    });
    if coded {
        return unusable("the receiver's answer has a content coding that was not asked for");
    }
    Ok((200..300).contains(&answer.status))
}

/// The response headers that OCPI defines, in the order in which they are signed.
#[derive(Clone, PartialEq)]
struct Headers(Vec<(&'static str, String)>);

const RESPONSE_HEADERS: [&str; 4] = ["x-limit", "x-total-count", "link", "location"];

impl Headers {
    fn read(answer: &Answer) -> Result<Self, Refusal> {
        let unusable = || {
            Refusal::new(
                Kind::UnusableAnswer,
                "the receiver's answer repeats or garbles a header",
            )
        };
        let mut read = Vec::new();
        for name in RESPONSE_HEADERS {
            let mut values = answer
                .headers
                .iter()
                .filter(|(n, _)| n == name)
                .map(|(_, value)| value);
            let Some(first) = values.next() else { continue };
            let text = |value: &Bytes| {
                let visible = value.iter().all(|byte| (b' '..=b'~').contains(byte));
                std::str::from_utf8(value)
                    .ok()
                    .filter(|_| visible)
                    .map(str::to_owned)
                    .ok_or_else(unusable)
            };
            let mut value = text(first)?;
            for more in values {
                if name != "link" {
                    return Err(unusable());
                }
                // Several Link headers are one list (RFC 8288).
                value = format!("{value}, {}", text(more)?);
            }
            read.push((name, value));
        }
        Ok(Self(read))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }

    fn without_links(&self) -> Self {
        let kept = self
            .0
            .iter()
            .filter(|(name, _)| !matches!(*name, "link" | "location"));
        Self(kept.cloned().collect())
    }

    /// The same with other values for `Link` and `Location`; `None` leaves the header out.
    fn with(&self, link: Option<String>, location: Option<String>) -> Self {
        let mut headers = self.without_links();
        headers.0.extend(link.map(|value| ("link", value)));
        headers.0.extend(location.map(|value| ("location", value)));
        headers
    }

    fn with_values<T>(&self, body: &[u8], use_values: impl FnOnce(&Values<'_>) -> T) -> T {
        let pairs: Vec<(&str, &str)> = self
            .0
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let values = Values {
            headers: if pairs.is_empty() {
                Part::Absent
            } else {
                Part::Pairs(&pairs)
            },
            params: Part::Absent,
            body: Part::Json(body),
        };
        use_values(&values)
    }
}

/// What an answer says, as far as the hub reads it.
struct Content {
    status: Status,
    signature: Option<Range<usize>>,
    headers: Headers,
}

impl Content {
    fn read<P: Ports>(walk: &Walk<'_, P>, answer: &Answer) -> Result<Self, Refusal> {
        let unusable = || {
            Refusal::new(
                Kind::UnusableAnswer,
                "the receiver's answer is not an OCPI envelope",
            )
        };
        let names = ["status_code", "ocn_signature"];
        let [status, signature] =
            json::members(&answer.body, names, &walk.node.json_limits).map_err(|_| unusable())?;
        let status = status
            .map(|range| &answer.body[range])
            .and_then(status_code)
            .ok_or_else(unusable)?;
        // A null counts as no signature, as in existing nodes' answers.
        let signature = signature.filter(|range| &answer.body[range.clone()] != b"null");
        Ok(Self {
            status,
            signature,
            headers: Headers::read(answer)?,
        })
    }
}

/// An integer, or a string of digits (`safety.md` A31).
pub(super) fn status_code(raw: &[u8]) -> Option<Status> {
    let digits = raw
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(raw);
    let plain = (1..=4).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| plain)?
        .parse()
        .ok()
        .map(Status)
}

/// Verifies the answer's signature where there is one, and demands one where it is due.
fn check_signature<P: Ports>(
    walk: &mut Walk<'_, P>,
    answer: &Answer,
    content: &Content,
    sent: &Sent,
    sender: &Sender,
    target: &Target,
) -> Result<Option<Notary>, Refusal> {
    let Some(range) = content.signature.clone() else {
        let due = walk.node.settings.signatures.required
            || sender.home.demands_signatures()
            || sent.signed;
        if due && !target.home.signs_for_party() {
            walk.record.answer_signature = Some(Signature::Refused);
            return Err(answer_signature("Missing OCN Signature"));
        }
        let verdict = if due {
            Signature::ForParty
        } else {
            Signature::Absent
        };
        walk.record.answer_signature = Some(verdict);
        return Ok(None);
    };
    let node = walk.node;
    let exempt = target.home.exempt();
    let judged = json::string(&answer.body[range])
        .map_err(|error| error.to_string())
        .and_then(|text| {
            let open = |values: &Values<'_>| {
                Notary::open_for(text.as_bytes(), values, &node.notary_limits)
            };
            content
                .headers
                .with_values(&answer.body, open)
                .map_err(|error| error.to_string())
        })
        .and_then(|notary| {
            let verdict = content.headers.with_values(&answer.body, |values| {
                notary.verify(values, node.policy, &exempt, &node.notary_limits)
            });
            let verdict = verdict.map_err(|error| error.to_string())?;
            let signer = signer(walk, &verdict, target.party).map_err(|text| text.into_owned())?;
            Ok((notary, signer))
        });
    match judged {
        Ok((notary, signer)) => {
            walk.record.answer_signature = Some(signer);
            Ok(Some(notary))
        }
        Err(text) => {
            walk.record.answer_signature = Some(Signature::Refused);
            Err(answer_signature(&text))
        }
    }
}

fn answer_signature(text: &str) -> Refusal {
    Refusal::new(
        Kind::AnswerSignature,
        format!("Unable to verify response signature: {text}"),
    )
}

/// Puts our URLs in the place of the receiver's. What leads to a foreign origin is dropped and counted.
async fn exchange<P: Ports>(
    walk: &Walk<'_, P>,
    content: &Content,
    sent: &Sent,
    sender: &Sender,
    target: &Target,
) -> Headers {
    let link = match content.headers.get("link") {
        Some(header) if sent.method == Method::Get => page_link(walk, header, sent, sender, target),
        _ => None,
    };
    let location = match (content.headers.get("location"), &sent.location) {
        (Some(location), Some(id)) => location_link(walk, location, id, sent, sender, target).await,
        _ => None,
    };
    content.headers.with(link, location)
}

fn page_link<P: Ports>(
    walk: &Walk<'_, P>,
    header: &str,
    sent: &Sent,
    sender: &Sender,
    target: &Target,
) -> Option<String> {
    let url = resolve(walk, next_of(header)?, sent, target)?;
    let binding = Binding {
        caller: sender.party,
        owner: target.party,
        module: &sent.module,
        role: sent.role,
    };
    let expires_at = walk.ports.clock().unix_millis() + walk.node.settings.links.page_ttl_s * 1_000;
    let sealed = walk
        .node
        .page_links
        .seal(&url, &binding, expires_at, walk.ports.random())?;
    let door = door(walk, sent, sent.role, sender);
    // Another node sees the parameters, so that it can sign them for its party, which we could not.
    let query = url
        .split_once('?')
        .filter(|_| sender.home.operator().is_some());
    let query = query.map_or(String::new(), |(_, query)| format!("?{query}"));
    Some(format!("<{door}/page/{sealed}{query}>; rel=\"next\""))
}

/// Where the requester reaches this node for the module of the message.
fn door<P: Ports>(walk: &Walk<'_, P>, sent: &Sent, role: InterfaceRole, sender: &Sender) -> String {
    let base = &walk.node.settings.node.url;
    let (side, module) = (role.path_segment(), sent.module.as_str());
    match (&sender.home, sent.version) {
        (Home::Node(_), _) => peer::door(base, role, &sent.module),
        (Home::Platform(_), Some(version)) => {
            format!("{base}/ocpi/{side}/{}/{module}", version.as_str())
        }
        (Home::Platform(_), None) => format!("{base}/ocpi/custom/{side}/{module}"),
    }
}

/// Fills in the reserved row. If that fails the answer goes back without `Location`, never as an
/// error: that would bring the CDR twice (`safety.md` F09).
async fn location_link<P: Ports>(
    walk: &Walk<'_, P>,
    location: &str,
    id: &str,
    sent: &Sent,
    sender: &Sender,
    target: &Target,
) -> Option<String> {
    let url = resolve(walk, location, sent, target)?;
    if walk.ports.journal().fill(id.to_owned(), url).await.is_err() {
        walk.node.metrics.link_dropped();
        return None;
    }
    let door = door(walk, sent, InterfaceRole::Receiver, sender);
    Some(format!("{door}/{id}"))
}

/// What is kept of a URL that the receiver or its node may give out, or nothing.
fn resolve<P: Ports>(
    walk: &Walk<'_, P>,
    reference: &str,
    sent: &Sent,
    target: &Target,
) -> Option<String> {
    let absolute = if reference.contains("://") {
        // Kept as written: the receiver will see it again byte for byte.
        Some(reference.to_owned())
    } else {
        url::Url::parse(&sent.url)
            .ok()
            .and_then(|base| base.join(reference).ok())
            .map(String::from)
    };
    let url = absolute.and_then(|url| target.home.keep(&url));
    if url.is_none() {
        walk.node.metrics.link_dropped();
    }
    url
}

/// The body that goes back: untouched, or with the `ocn_signature` that fits what was changed.
fn resign<P: Ports>(
    walk: &mut Walk<'_, P>,
    answer: &Answer,
    content: &Content,
    after: &Headers,
    notary: Option<Notary>,
    sent: &Sent,
    target: &Target,
) -> Result<Bytes, Refusal> {
    let failed = |error: &dyn std::fmt::Display| {
        Refusal::new(
            Kind::AnswerSignature,
            format!("Unable to re-sign the response: {error}"),
        )
    };
    let node = walk.node;
    let limits = &node.notary_limits;
    let afresh = || {
        after
            .with_values(&answer.body, |values| {
                Notary::sign(values, &node.key, NumberForm::Js, limits)
            })
            .map_err(|error| failed(&error))
    };
    match (notary, &content.signature) {
        (Some(_), Some(_)) if *after == content.headers => Ok(answer.body.clone()),
        (Some(notary), Some(range)) => {
            walk.record.rewritten = Some("answer");
            let changed: Vec<&str> = [("link", LINK), ("location", LOCATION)]
                .into_iter()
                .filter(|(name, _)| after.get(name) != content.headers.get(name))
                .map(|(_, path)| path)
                .collect();
            let dropped = after.0.len() < content.headers.0.len();
            let resigned = if dropped {
                // A chain cannot lose a leaf: the operator signs what is left.
                afresh()?
            } else {
                content
                    .headers
                    .with_values(&answer.body, |before| {
                        after.with_values(&answer.body, |after| {
                            notary.resign(before, after, &changed, &node.key, limits)
                        })
                    })
                    .map_err(|error| failed(&error))?
            };
            let quoted = json::quote(&resigned.pack(notary.container()));
            Ok(Bytes::from(json::splice(
                &answer.body,
                range.clone(),
                quoted.as_bytes(),
            )))
        }
        _ if walk.record.answer_signature == Some(Signature::ForParty)
            && target.home.signs_for_party() =>
        {
            let quoted = json::quote(&afresh()?.pack(sent.container));
            let body = json::insert_member(
                &answer.body,
                "ocn_signature",
                quoted.as_bytes(),
                &node.json_limits,
            );
            body.map(Bytes::from).map_err(|error| failed(&error))
        }
        _ => Ok(answer.body.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a31_status_code_is_an_integer_or_digits() {
        assert_eq!(status_code(b"1000"), Some(Status(1000)));
        assert_eq!(status_code(b"\"2001\""), Some(Status(2001)));
        for bad in [
            &b"1000.0"[..],
            b"\"1000.0\"",
            b"1e3",
            b"null",
            b"true",
            b"\"\"",
            b"-100",
            b"10000",
        ] {
            assert_eq!(status_code(bad), None);
        }
    }
}
