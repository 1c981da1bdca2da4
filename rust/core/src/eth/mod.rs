//! keccak-256, EIP-55 addresses, keys, personal-sign and public-key recovery (libsecp256k1).
//!
//! The curve is libsecp256k1 with its deterministic nonces (RFC 6979) and low `s`; nothing here does
//! arithmetic of its own. `ocn-notary.md` 5; `safety.md` A36, A44, I21.
mod address;
mod curve;
mod hex;
mod keccak;
mod key;
mod signature;

pub use address::Address;
pub use hex::{decode as hex_decode, encode as hex_encode};
pub use keccak::{Keccak256, keccak256, personal_digest};
pub use key::{ForbiddenForm, SigningKey};
pub use signature::{Signature, recover_personal, recover_prehash};

/// What is wrong with bytes that should be a key, an address or a signature. Never repeats the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EthError {
    #[error("expected 0x and 40 hexadecimal digits")]
    AddressForm,
    #[error("the address has a wrong EIP-55 checksum")]
    Checksum,
    #[error("s is above half the order of the curve")]
    HighS,
    #[error("a private key is 32 bytes between 1 and the order of the curve")]
    Key,
    #[error("r and s must lie between 1 and the order of the curve")]
    Range,
    #[error("no public key belongs to this signature")]
    Recovery,
    #[error("expected 0x and 130 hexadecimal digits")]
    SignatureForm,
    #[error("v must be 27 or 28")]
    V,
}
