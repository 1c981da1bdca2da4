//! The pure heart of `ocn_fast`. No Python, no sockets, no clock of its own.
//!
//! Floor by floor; a floor may use only those above it:
//!
//! | module | holds |
//! | --- | --- |
//! | [`eth`] | keccak-256, addresses, keys, personal-sign, recover |
//! | [`json`] | one-pass walk over raw JSON bytes: leaves, paths, splice of a value in place |
//! | [`ocpi`] | ids, modules, roles, versions, headers, status codes |
//! | [`notary`] | sign, verify, stash, rewrites, containers, policies |
//! | [`wire`] | ocn-relay/3: signatures, digests and the memory of nonces between nodes |
//! | [`table`] | immutable snapshots behind an atomic pointer; registry half and local half |
//! | [`relay`] | the journey of a message; start reading at [`relay::relay`] |
#![forbid(unsafe_code)]

pub mod eth;
pub mod json;
pub mod notary;
pub mod ocpi;
pub mod relay;
pub mod table;
pub mod wire;
