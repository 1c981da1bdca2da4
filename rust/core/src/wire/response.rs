//! Answers between nodes: each belongs to one request, whose signature it covers.
use super::base::{self, Claim, Signed, Signer, Verified};
use super::components::{Covered, Field};
use super::error::WireError;
use super::member;
use super::parameters::{Parameters, WireLimits};
use super::session::{Direction, Session};
use crate::eth::Address;

/// An answer as a signature sees it. All headers may be given; only those of the protocol are covered.
#[derive(Debug, Clone, Copy)]
pub struct ResponseView<'a> {
    pub status: u16,
    /// Names in lower case.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The request's header `Signature`.
    pub request_signature: &'a str,
}

/// In the order of the protocol, between `@status` and the request's signature.
static FIELDS: [Field; 8] = [
    Field::optional("content-digest"),
    Field::required("x-request-id"),
    Field::optional("link"),
    Field::optional("location"),
    Field::optional("x-total-count"),
    Field::optional("x-limit"),
    Field::required("ocn-origin"),
    Field::optional("ocn-delivery"),
];

/// Of `signature`: the member `ocn` of the request's header (RFC 9421, 2.1.2 and 2.4).
const OF_REQUEST: &str = ";req;key=\"ocn\"";

/// Signs an answer that is otherwise complete. A body is covered by its `content-digest`, which the caller adds.
///
/// # Errors
/// As [`super::sign_request`]; [`WireError::Signature`] if the request's signature is none.
pub fn sign_response<'a>(
    view: &ResponseView<'_>,
    parameters: &Parameters,
    signer: impl Into<Signer<'a>>,
) -> Result<Signed, WireError> {
    let status = view.status.to_string();
    let covered = covered(view, &status)?;
    base::sign(&covered, parameters, signer.into(), Direction::Answer).map(|(signed, _)| signed)
}

/// Verifies an answer to the request whose signature `view` holds: form, exact component list, times, then one
/// recovery. Whether the body fits its digest is for the caller to see.
///
/// # Arguments
/// `input` and `signature` are the values of the two headers; `now` is Unix time in seconds; `expected` is the
/// operator that was asked.
///
/// # Errors
/// [`WireError`] says why it is refused.
pub fn verify_response(
    view: &ResponseView<'_>,
    input: &[u8],
    signature: &[u8],
    now: i64,
    limits: &WireLimits,
    expected: Address,
) -> Result<Verified, WireError> {
    let status = view.status.to_string();
    let covered = covered(view, &status)?;
    let (verified, _) = Claim::read(&covered, input)?.check_key(signature, now, limits)?;
    if verified.parameters.keyid == expected {
        Ok(verified)
    } else {
        Err(WireError::Signer)
    }
}

/// The same of an answer to a request that was made by a session: only that session answers it.
///
/// # Errors
/// [`WireError`] says why it is refused.
pub fn verify_session_response(
    view: &ResponseView<'_>,
    input: &[u8],
    signature: &[u8],
    now: i64,
    limits: &WireLimits,
    (session, expected): (&Session, Address),
) -> Result<Verified, WireError> {
    let status = view.status.to_string();
    let covered = covered(view, &status)?;
    let held = (session, expected);
    Claim::read(&covered, input)?.check_session(signature, now, limits, held, Direction::Answer)
}

fn covered<'a>(view: &ResponseView<'a>, status: &'a str) -> Result<Covered<'a>, WireError> {
    let mut covered = Covered::new();
    covered.add("@status", status.as_bytes())?;
    covered.add_headers(&FIELDS, view.headers)?;
    let signature = member::value(view.request_signature)?;
    covered.add_with("signature", OF_REQUEST, signature);
    Ok(covered)
}
