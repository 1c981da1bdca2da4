//! Requests between nodes.
use sha2::{Digest as _, Sha256};

use super::base::{self, Claim, Signed, Signer, Verified};
use super::components::{Covered, Field};
use super::error::WireError;
use super::parameters::{Parameters, WireLimits};
use super::session::{Direction, Session};
use crate::eth::{Address, SigningKey};

/// A request as a signature sees it. All headers may be given; only those of the protocol are covered.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    pub method: &'a str,
    /// As on the wire, percent-encoding included; an empty one counts as `/`.
    pub path: &'a [u8],
    /// As on the wire, without `?`. None at all and an empty one are the same to RFC 9421 (2.2.7).
    pub query: &'a [u8],
    /// Names in lower case.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// In the order of the protocol, after `@method`, `@path` and `@query`.
static FIELDS: [Field; 12] = fields(true);

/// The same of a request for a session, which is nobody's message and has a body.
static FIELDS_OF_ASKING: [Field; 12] = fields(false);

const fn fields(message: bool) -> [Field; 12] {
    [
        Field::required("ocn-to-node"),
        Field::required("x-request-id"),
        Field::required_if(message, "x-correlation-id"),
        Field::required_if(message, "ocpi-from-country-code"),
        Field::required_if(message, "ocpi-from-party-id"),
        Field::required_if(message, "ocpi-to-country-code"),
        Field::required_if(message, "ocpi-to-party-id"),
        Field::optional("ocn-ocpi-version"),
        Field::required("ocn-deadline"),
        Field::optional("ocn-signature"),
        Field::optional("content-type"),
        Field::required_if(!message, "content-digest"),
    ]
}

/// Signs a request that is otherwise complete. A body is covered by its `content-digest`, which the caller adds.
///
/// # Errors
/// [`WireError::Missing`], [`WireError::Repeated`], [`WireError::Text`] if the message cannot be signed;
/// [`WireError::Signer`] if `parameters` name another key than `signer`.
pub fn sign_request<'a>(
    view: &RequestView<'_>,
    parameters: &Parameters,
    signer: impl Into<Signer<'a>>,
) -> Result<Signed, WireError> {
    let target = Target::of(view);
    let covered = covered(view, &target, &FIELDS)?;
    base::sign(&covered, parameters, signer.into(), Direction::Request).map(|(signed, _)| signed)
}

/// Signs a request for a session; also gives the SHA-256 of the signature base, of which the keys are made.
///
/// # Errors
/// As [`sign_request`].
pub fn sign_asking(
    view: &RequestView<'_>,
    parameters: &Parameters,
    key: &SigningKey,
) -> Result<(Signed, [u8; 32]), WireError> {
    let target = Target::of(view);
    let covered = covered(view, &target, &FIELDS_OF_ASKING)?;
    base::sign(&covered, parameters, key.into(), Direction::Request)
        .map(|(signed, base)| (signed, Sha256::digest(base).into()))
}

/// Verifies a request: form, exact component list, times, then one recovery. Whether `keyid` may speak for the
/// sender, whether the message is for this node, whether it came before and whether the body fits its digest is for
/// the caller to see.
///
/// # Arguments
/// `input` and `signature` are the values of the two headers; `now` is Unix time in seconds.
///
/// # Errors
/// [`WireError`] says why it is refused.
pub fn verify_request(
    view: &RequestView<'_>,
    input: &[u8],
    signature: &[u8],
    now: i64,
    limits: &WireLimits,
) -> Result<Verified, WireError> {
    verify_message(view, input, signature, now, limits, |_| None).map(|(verified, _)| verified)
}

/// The same, also of a request that names a session; `sessions` gives that and the operator at its other end. Gives
/// back the session by which the request was believed.
///
/// # Errors
/// [`WireError`] says why it is refused; [`WireError::Session`] if `sessions` gives none.
pub fn verify_message(
    view: &RequestView<'_>,
    input: &[u8],
    signature: &[u8],
    now: i64,
    limits: &WireLimits,
    sessions: impl FnOnce(&str) -> Option<(Session, Address)>,
) -> Result<(Verified, Option<Session>), WireError> {
    let target = Target::of(view);
    let covered = covered(view, &target, &FIELDS)?;
    let claim = Claim::read(&covered, input)?;
    let Some(id) = claim.session() else {
        let (verified, _) = claim.check_key(signature, now, limits)?;
        return Ok((verified, None));
    };
    let (session, holder) = sessions(id).ok_or(WireError::Session)?;
    let held = (&session, holder);
    let verified = claim.check_session(signature, now, limits, held, Direction::Request)?;
    Ok((verified, Some(session)))
}

/// Verifies a request for a session, as [`verify_request`] does a message; also gives the SHA-256 of the signature
/// base. One session is never asked for by means of another.
///
/// # Errors
/// [`WireError`] says why it is refused.
pub fn verify_asking(
    view: &RequestView<'_>,
    input: &[u8],
    signature: &[u8],
    now: i64,
    limits: &WireLimits,
) -> Result<(Verified, [u8; 32]), WireError> {
    let target = Target::of(view);
    let covered = covered(view, &target, &FIELDS_OF_ASKING)?;
    let (verified, base) = Claim::read(&covered, input)?.check_key(signature, now, limits)?;
    Ok((verified, Sha256::digest(base).into()))
}

/// The two parts of a target, as they are signed.
struct Target<'a> {
    path: &'a [u8],
    query: Vec<u8>,
}

impl<'a> Target<'a> {
    fn of(view: &RequestView<'a>) -> Self {
        Self {
            path: if view.path.is_empty() {
                b"/"
            } else {
                view.path
            },
            query: [b"?", view.query].concat(),
        }
    }
}

fn covered<'a>(
    view: &RequestView<'a>,
    target: &'a Target<'_>,
    fields: &'static [Field; 12],
) -> Result<Covered<'a>, WireError> {
    let mut covered = Covered::new();
    covered.add("@method", view.method.as_bytes())?;
    covered.add("@path", target.path)?;
    covered.add("@query", &target.query)?;
    covered.add_headers(fields, view.headers)?;
    Ok(covered)
}
