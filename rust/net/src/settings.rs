//! The settings that concern outbound calls, read from the node's settings document (`safety.md` 3.1).
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::address::Cidr;

/// The tables of the settings document that this crate reads; other tables and keys belong to others.
/// What `node.dev` stands for is already in `outbound` when the document is made.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NetSettings {
    pub node: NodeSettings,
    pub relay: RelaySettings,
    pub outbound: OutboundSettings,
    pub limits: LimitSettings,
    pub http: HttpSettings,
}

/// Who we are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeSettings {
    /// Our own public URL; never called.
    pub url: Option<String>,
}

/// Times of a leg.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct RelaySettings {
    /// For name, TCP and TLS together, milliseconds.
    pub connect_ms: u64,
    /// How long an unused connection is kept, milliseconds.
    pub idle_ms: u64,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            connect_ms: 5_000,
            idle_ms: 15_000,
        }
    }
}

impl RelaySettings {
    pub(crate) fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_ms)
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }
}

/// What may be called.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct OutboundSettings {
    /// `https`, `http` or both.
    pub schemes: Vec<String>,
    /// Networks that are not global and may be called all the same.
    pub private_networks: Vec<Cidr>,
    /// For one name lookup, milliseconds.
    pub dns_timeout_ms: u64,
    /// How many addresses of a name are tried.
    pub dns_addresses: usize,
    /// PEM file with further issuers.
    pub ca_file: Option<PathBuf>,
}

impl Default for OutboundSettings {
    fn default() -> Self {
        Self {
            schemes: vec!["https".to_owned()],
            private_networks: Vec::new(),
            dns_timeout_ms: 2_000,
            dns_addresses: 16,
            ca_file: None,
        }
    }
}

/// How much at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct LimitSettings {
    /// Connections at once, used and unused together.
    pub in_flight: usize,
    /// Requests at once to one origin of one platform.
    pub in_flight_per_receiver: usize,
    /// Bytes of messages in memory at once, requests and answers together.
    pub buffered_bytes: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            in_flight: 2_048,
            in_flight_per_receiver: 256,
            buffered_bytes: 256 << 20,
        }
    }
}

/// Bounds of a message head; an answer's obeys the same ones as a request's.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct HttpSettings {
    pub header_bytes: usize,
    pub header_count: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            header_bytes: 131_072,
            header_count: 100,
        }
    }
}

impl NetSettings {
    /// Reads the settings document.
    ///
    /// # Errors
    /// If it is not JSON, or one of our settings has another form.
    pub fn from_json(document: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(document)
    }
}
