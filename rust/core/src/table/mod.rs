//! Who is where: immutable snapshots of registry and platforms behind an atomic pointer.
//!
//! A message loads one [`Table`] and is decided on it from end to end (`safety.md` I16); the writer
//! publishes the next one beside it. Every index is a base plus a small delta, so that a change costs
//! what it changes, not what is there. Nothing here knows the time, SQL or sockets.
//!
//! | file | holds |
//! | --- | --- |
//! | `handle` | [`TableHandle`]: the atomic pointer; readers never wait |
//! | `snapshot` | [`Table`]: registry half and local half, and their look-ups |
//! | `build` | [`Change`]: JSON from the store to the next snapshot, or a [`TableError`] |
//! | `layered` | base plus delta |
//! | `slots` | the hash table of each layer |
//! | `platform` | [`Platform`]: one connection, its parties, endpoints and tokens |
//! | `live` | [`Live`]: what is counted per platform or node and survives its snapshots |
//! | `dialect` | [`Dialect`]: what a node was found to speak |
//! | `session` | [`SessionSlot`]: the session by which a node is sent messages |
//! | `rules` | [`Rules`]: the receiver's white- and blacklist |
//! | `origin` | [`origin_of`]: where a URL leads |
mod build;
mod dialect;
mod error;
mod handle;
mod layered;
mod live;
mod origin;
mod platform;
mod rules;
mod session;
mod slots;
mod snapshot;

pub use build::Change;
pub use dialect::{Dialect, Speech};
pub use error::TableError;
pub use handle::{Applied, TableHandle};
pub use live::{BreakerLimits, InFlight, Live};
pub use origin::origin_of;
pub use platform::{Platform, PlatformStatus, Secret, TokenEncoding};
pub use rules::{RuleRefusal, Rules, RulesMode};
pub use session::SessionSlot;
pub use snapshot::{Counts, Operator, RegistryParty, Roles, Table, TokenEntry};
