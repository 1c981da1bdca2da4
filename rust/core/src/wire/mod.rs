//! ocn-relay/3: the signatures with which two nodes talk, as in `docs/wire.md`, "Between nodes".
//!
//! HTTP Message Signatures (RFC 9421) over a fixed list of components, signed as an Ethereum personal message
//! (EIP-191), with Content-Digest (RFC 9530). Pure functions on plain data; who may sign for whom is not known here.
//!
//! | file | holds |
//! | --- | --- |
//! | `components` | what is covered, in which order, and the values found in a message |
//! | `parameters` | `created`, `expires`, `nonce`, `keyid`, `alg`, `tag`: written, read strictly, judged by the clock |
//! | `base` | the signature base, and the common steps of signing and verifying |
//! | `member` | the one member of the header `Signature` |
//! | `session` | keys that two nodes agree on: HMAC-SHA-256 in the place of signatures |
//! | [`request`](sign_request), [`response`](sign_response) | the two kinds of message |
//! | `digest` | `Content-Digest` |
//! | `replays` | the bounded memory of nonces |
mod base;
mod components;
mod digest;
mod error;
mod member;
mod parameters;
mod replays;
mod request;
mod response;
mod session;

pub use base::{Signed, Signer, Verified};
pub use digest::{check_digest, content_digest};
pub use error::WireError;
pub use parameters::{Parameters, WireLimits};
pub use replays::Replays;
pub use request::{
    RequestView, sign_asking, sign_request, verify_asking, verify_message, verify_request,
};
pub use response::{ResponseView, sign_response, verify_response, verify_session_response};
pub use session::{Offer, PUBLIC_BYTES, Session, SessionKeys, Terms};

/// Name and version of the protocol: the signatures' `tag`, and what `node-info` announces.
pub const PROTOCOL: &str = "ocn-relay/3";

/// The one label under which a message is signed.
const LABEL: &str = "ocn";
