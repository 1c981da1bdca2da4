//! What can be wrong with a change. Texts name the row, never repeat a token or a URL.
use crate::ocpi::{IdError, Party};

/// Why a change was refused; the table stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("registry: {what} must be an address of 20 bytes in hex")]
    Address { what: &'static str },
    #[error("change {number} is older than the table, which is at {version}")]
    Behind { number: u64, version: u64 },
    #[error("platform {platform}: a token digest must be 64 hex digits")]
    Digest { platform: i64 },
    #[error("platform {platform}: {what} is not an http(s) URL that may be called")]
    Url { platform: i64, what: String },
    #[error("{place}: {source}")]
    Id { place: String, source: IdError },
    #[error("the change is not JSON of the expected form: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("platform {claimant}: party {party} already belongs to platform {holder}")]
    PartyTaken {
        party: Party,
        holder: i64,
        claimant: i64,
    },
    #[error("platform {id} is named more than once")]
    Repeated { id: i64 },
    #[error("platform {platform}: party {party} has more than one entry in the rules")]
    RuleRepeated { platform: i64, party: Party },
    #[error("platform {claimant}: a token digest already belongs to platform {holder}")]
    TokenTaken { holder: i64, claimant: i64 },
}
