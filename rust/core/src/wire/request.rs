//! Requests between nodes.
use super::base::{self, Signed, Verified};
use super::components::{Covered, Field};
use super::error::WireError;
use super::parameters::{Parameters, WireLimits};
use crate::eth::SigningKey;

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
static FIELDS: [Field; 12] = [
    Field::required("ocn-to-node"),
    Field::required("x-request-id"),
    Field::required("x-correlation-id"),
    Field::required("ocpi-from-country-code"),
    Field::required("ocpi-from-party-id"),
    Field::required("ocpi-to-country-code"),
    Field::required("ocpi-to-party-id"),
    Field::optional("ocn-ocpi-version"),
    Field::required("ocn-deadline"),
    Field::optional("ocn-signature"),
    Field::optional("content-type"),
    Field::optional("content-digest"),
];

/// Signs a request that is otherwise complete. A body is covered by its `content-digest`, which the caller adds.
///
/// # Errors
/// [`WireError::Missing`], [`WireError::Repeated`], [`WireError::Text`] if the message cannot be signed;
/// [`WireError::Signer`] if `parameters` name another key than `key`.
pub fn sign_request(
    view: &RequestView<'_>,
    parameters: &Parameters,
    key: &SigningKey,
) -> Result<Signed, WireError> {
    let target = Target::of(view);
    base::sign(&covered(view, &target)?, parameters, key)
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
    let target = Target::of(view);
    base::verify(&covered(view, &target)?, input, signature, now, limits)
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

fn covered<'a>(view: &RequestView<'a>, target: &'a Target<'_>) -> Result<Covered<'a>, WireError> {
    let mut covered = Covered::new();
    covered.add("@method", view.method.as_bytes())?;
    covered.add("@path", target.path)?;
    covered.add("@query", &target.query)?;
    covered.add_headers(&FIELDS, view.headers)?;
    Ok(covered)
}
