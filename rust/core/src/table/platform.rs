//! A platform: one OCPI connection, with its parties, endpoints, tokens and rules.
use std::fmt;
use std::sync::Arc;

use super::live::Live;
use super::rules::Rules;
use crate::ocpi::{InterfaceRole, Module, Party, Role, Version};

/// OCPI's connection status (`ocpi-hub.md` 5). Only connected platforms receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PlatformStatus {
    Connected,
    Offline,
    Planned,
    Suspended,
}

/// How a platform wants its token to be written into `Authorization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenEncoding {
    Base64,
    Plain,
}

/// Something that no log may show (`safety.md` I05).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The secret itself: for the one place that sends it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// One platform as it stood when its snapshot was made.
#[derive(Debug)]
pub struct Platform {
    pub id: i64,
    pub status: PlatformStatus,
    /// The one version that the handshake settled on.
    pub version: Version,
    /// A party may have several roles, never several platforms (`safety.md` I13).
    pub parties: Vec<(Party, Role)>,
    /// The token that we present to it; empty before the handshake.
    pub token_b: Secret<String>,
    pub token_encoding: TokenEncoding,
    pub(super) endpoints: Vec<Endpoint>,
    /// Origins that URLs given by this platform may lie on: see [`super::origin_of`].
    pub origins: Vec<String>,
    pub rules: Rules,
    /// The operator signs for parties whose software cannot.
    pub sign_for_party: bool,
    /// Leaves of its messages that need not be covered by a signature.
    pub exempt: Vec<String>,
    /// Digests of the tokens that it presents to us.
    pub(super) tokens: Vec<[u8; 32]>,
    pub live: Arc<Live>,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) module: Module,
    pub(super) role: InterfaceRole,
    pub(super) url: String,
}

impl Platform {
    /// Where this platform takes messages of a version for one side of a module; `None` if it has no such
    /// endpoint or cannot take that version.
    pub fn endpoint(&self, version: Version, module: &Module, role: InterfaceRole) -> Option<&str> {
        // A version that does not pass untouched between the two (`ocpi-hub.md` 9) must be decided on here.
        match (version, self.version) {
            (Version::V2_2 | Version::V2_2_1, Version::V2_2 | Version::V2_2_1) => {}
        }
        // A dozen entries, a few hundred at most: a scan beats hashing.
        self.endpoints
            .iter()
            .find(|endpoint| endpoint.role == role && endpoint.module == *module)
            .map(|endpoint| endpoint.url.as_str())
    }
}
