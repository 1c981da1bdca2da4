//! Keys, hashes and personal-sign for tools, parties and tests. Bytes in, text out.
use ocn_core::eth::{self, Address, EthError, Signature, SigningKey};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

/// keccak-256 of `data`: 32 bytes.
#[pyfunction]
pub(crate) fn keccak256(data: &[u8]) -> [u8; 32] {
    eth::keccak256(data)
}

/// Draws a private key from the operating system: 32 bytes.
#[pyfunction]
pub(crate) fn new_key() -> PyResult<[u8; 32]> {
    let mut failed = None;
    let key = SigningKey::generate(&mut |bytes| {
        if let Err(error) = getrandom::fill(bytes) {
            // A fixed key ends the drawing; it never leaves this function.
            bytes.fill(1);
            failed = Some(error);
        }
    });
    match failed {
        Some(error) => Err(PyOSError::new_err(error.to_string())),
        None => Ok(key.to_bytes()),
    }
}

/// The address of a private key, with its EIP-55 checksum.
#[pyfunction]
pub(crate) fn address_of(key: &[u8]) -> PyResult<String> {
    Ok(signing_key(key)?.address().to_string())
}

/// Signs `message` as EIP-191 `personal_sign`: `0x`, r, s, v.
#[pyfunction]
pub(crate) fn personal_sign(key: &[u8], message: &[u8]) -> PyResult<String> {
    Ok(signing_key(key)?.personal_sign(message).to_rsv())
}

/// Who signed `message`; high s and v 0, 1 are taken too.
#[pyfunction]
pub(crate) fn personal_recover(message: &[u8], rsv: &str) -> PyResult<String> {
    let signature = Signature::parse(rsv).map_err(value_error)?;
    Ok(eth::recover_personal(message, &signature)
        .map_err(value_error)?
        .to_string())
}

/// The address with its EIP-55 checksum; the case of `address` is not looked at.
#[pyfunction]
pub(crate) fn checksum_address(address: &str) -> PyResult<String> {
    Ok(address.parse::<Address>().map_err(value_error)?.to_string())
}

/// A private key out of 32 bytes.
pub(crate) fn signing_key(key: &[u8]) -> PyResult<SigningKey> {
    let bytes = key.try_into().map_err(|_| value_error(EthError::Key))?;
    SigningKey::from_bytes(bytes).map_err(value_error)
}

fn value_error(error: EthError) -> PyErr {
    PyValueError::new_err(error.to_string())
}
