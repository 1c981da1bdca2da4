//! The steps that requests and responses share: write the signature base, sign it; check it, recover who signed.
use super::LABEL;
use super::components::Covered;
use super::error::WireError;
use super::member;
use super::parameters::{Parameters, WireLimits};
use crate::eth::{SigningKey, recover_personal};

/// Values of the two headers that a signature adds to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Of `Signature-Input`.
    pub input: String,
    /// Of `Signature`.
    pub signature: String,
}

/// A signature that holds: the key `parameters.keyid` made it, over the message as it is, and it has not expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    pub parameters: Parameters,
}

/// A longer `Signature-Input` than any of ours: the longest has under 600 bytes.
const INPUT_BYTES: usize = 1_024;

/// Signs what is covered.
///
/// # Errors
/// [`WireError::Signer`] if `parameters` name another key.
pub(super) fn sign(
    covered: &Covered<'_>,
    parameters: &Parameters,
    key: &SigningKey,
) -> Result<Signed, WireError> {
    if parameters.keyid != key.address() {
        return Err(WireError::Signer);
    }
    let signed = format!("{}{parameters}", covered.list());
    let signature = key
        .sign_message_form(covered.base(&signed).as_bytes())
        .map_err(|_| WireError::Components)?;
    Ok(Signed {
        input: format!("{LABEL}={signed}"),
        signature: member::write(&signature),
    })
}

/// Checks the form, the component list, the times, and only then who signed.
///
/// # Errors
/// All of [`WireError`] that concern signatures.
pub(super) fn verify(
    covered: &Covered<'_>,
    input: &[u8],
    signature: &[u8],
    now: i64,
    limits: &WireLimits,
) -> Result<Verified, WireError> {
    let signature = member::read(signature)?;
    if input.len() > INPUT_BYTES {
        return Err(WireError::Input);
    }
    let signed = std::str::from_utf8(input)
        .ok()
        .and_then(|text| text.strip_prefix(LABEL)?.strip_prefix('='))
        .filter(|signed| signed.starts_with('('))
        .ok_or(WireError::Input)?;
    // The text that the message itself asks for is the only list that is believed: nothing else needs to be read.
    let rest = signed
        .strip_prefix(&covered.list())
        .ok_or(WireError::Components)?;
    let parameters = Parameters::read(rest)?;
    parameters.check_times(now, limits)?;
    signature.check_strict().map_err(|_| WireError::Signature)?;
    let signer = recover_personal(covered.base(signed).as_bytes(), &signature)
        .map_err(|_| WireError::Signer)?;
    if signer == parameters.keyid {
        Ok(Verified { parameters })
    } else {
        Err(WireError::Signer)
    }
}
