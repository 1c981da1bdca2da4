//! The settings that the journey needs; names and defaults are those of `safety.md` 3.1.
use serde::Deserialize;

/// Tables of the settings document. Tables that concern others are ignored.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    pub node: NodeSettings,
    pub http: HttpSettings,
    pub limits: LimitSettings,
    pub signatures: SignatureSettings,
    pub relay: RelaySettings,
    pub links: LinkSettings,
}

/// Who this hub is.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeSettings {
    /// Public base URL; every link that we make starts with it.
    pub url: String,
    pub country_code: String,
    pub party_id: String,
    /// Messages of other nodes that are remembered, so that none is taken twice.
    pub replay_entries: usize,
    /// How far the clock of another node may be ahead.
    pub clock_skew_s: i64,
    /// How long it is believed what a node said it speaks.
    pub dialect_ttl_s: u64,
}

/// What a request may look like.
#[derive(Debug, Clone, Deserialize)]
pub struct HttpSettings {
    pub header_bytes: usize,
    pub header_count: usize,
    pub target_bytes: usize,
    pub body_bytes: usize,
}

/// What may be in work at once, and how deep documents may be.
#[derive(Debug, Clone, Deserialize)]
pub struct LimitSettings {
    pub in_flight: usize,
    pub in_flight_per_platform: usize,
    pub in_flight_per_receiver: usize,
    pub buffered_bytes: usize,
    pub response_bytes: usize,
    pub json_depth: usize,
    pub number_chars: usize,
    pub id_bytes: usize,
}

/// Who must sign and how signatures are judged.
#[derive(Debug, Clone, Deserialize)]
pub struct SignatureSettings {
    pub required: bool,
    pub policy: PolicyName,
    pub text_bytes: usize,
    pub notary_bytes: usize,
    pub fields: usize,
    pub rewrites: usize,
    pub rewrite_paths: usize,
}

/// The policies of `ocn-notary.md` section 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyName {
    Strict,
    Covered,
    Compatible,
}

impl PolicyName {
    /// As in settings, log lines and the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Covered => "covered",
            Self::Compatible => "compatible",
        }
    }
}

/// The leg to a receiver.
#[derive(Debug, Clone, Deserialize)]
pub struct RelaySettings {
    /// To connect, TLS included.
    pub connect_ms: u64,
    pub deadline_ms: u64,
    /// The same for a message to another node, whose own deadline has to end first.
    pub node_deadline_ms: u64,
    pub breaker_failures: u32,
    pub breaker_open_s: u64,
    /// Whether nodes may agree on keys that stand for their signatures.
    pub session_keys: bool,
    /// How long such a key serves for messages to this node, at most.
    pub session_ttl_s: u32,
    /// How long another node is not asked for one again, whatever it said.
    pub session_retry_s: u64,
    /// Further header names that may pass to the receiver.
    pub forward_headers: Vec<String>,
}

/// Lifetimes of exchanged URLs.
#[derive(Debug, Clone, Deserialize)]
pub struct LinkSettings {
    pub page_ttl_s: i64,
    pub command_ttl_s: i64,
    pub reserve_margin_days: i64,
    pub location_days: i64,
}
