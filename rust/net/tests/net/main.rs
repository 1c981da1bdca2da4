//! The client against peers that misbehave, over real sockets. Test names carry the rows of `safety.md`.
#![allow(clippy::unwrap_used)]
mod addresses;
mod answers;
mod connections;
mod faults;
mod limits;
mod peer;
mod tls;
