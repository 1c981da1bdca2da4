//! One immutable table: the registry half and the local half, and what can be asked of them.
//!
//! Look-ups allocate nothing and hash five to 32 bytes with a keyed hash, since strangers choose the keys.
//! A registered party costs about 110 bytes in all.
use std::sync::Arc;

use super::dialect::Dialect;
use super::layered::Layered;
use super::live::Live;
use super::platform::Platform;
use super::session::SessionSlot;
use crate::eth::Address;
use crate::ocpi::{Module, Party, Role};

/// A snapshot. Everything that one message is decided on comes from the same one.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub(super) version: u64,
    pub(super) registry: Registry,
    pub(super) local: Local,
}

/// What the chain, or a signed snapshot file, says.
#[derive(Debug, Clone, Default)]
pub(super) struct Registry {
    pub(super) block: Option<Block>,
    pub(super) parties: Layered<Party, RegistryParty>,
    pub(super) operators: Layered<Address, Arc<Operator>>,
}

/// The block of the registry half.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) number: u64,
    pub(super) hash: Option<Arc<str>>,
    pub(super) time: Arc<str>,
}

/// Platforms connected here. Parties and tokens point to platforms by id: a platform that changes is
/// replaced in one place.
#[derive(Debug, Clone, Default)]
pub(super) struct Local {
    pub(super) platforms: Layered<i64, Arc<Platform>>,
    pub(super) parties: Layered<Party, i64>,
    pub(super) tokens: Layered<[u8; 32], TokenEntry>,
}

/// A token C, found by its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenEntry {
    pub(super) platform: i64,
    /// Unix milliseconds; `None` = until it is revoked. The caller, who has the clock, judges.
    pub expires_at: Option<i64>,
}

/// A party as the registry lists it. Lies in the index itself: a look-up goes to memory once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryParty {
    pub party: Party,
    /// Its own signing address.
    pub address: Address,
    /// The node that speaks for it. May be unknown to [`Table::operator`] if it has left the registry.
    pub operator: Address,
    pub roles: Roles,
    pub modules: Box<[Module]>,
}

/// A set of party roles in one byte: there are a million of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    pub fn contains(self, role: Role) -> bool {
        self.0 & Self::bit(role) != 0
    }

    fn bit(role: Role) -> u8 {
        1 << role as u8
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |set, role| set | Self::bit(role)))
    }
}

/// A node as the registry lists it.
#[derive(Debug)]
pub struct Operator {
    pub address: Address,
    /// As listed: text that its owner chose.
    pub domain: String,
    pub(super) base: Option<String>,
    pub live: Arc<Live>,
    pub dialect: Arc<Dialect>,
    pub session: Arc<SessionSlot>,
}

impl Operator {
    /// Where this node is reached, without a slash at its end; `None` where the domain is no absolute
    /// http(s) URL without user info, query and fragment, or the address is zero. Parties of such a node
    /// cannot be routed to (`ocn-registry.md` 2.9, 7.6).
    pub fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }
}

/// Sizes of the halves, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub parties: usize,
    pub operators: usize,
    pub platforms: usize,
    pub local_parties: usize,
    pub tokens: usize,
}

impl Table {
    /// The platform whose token C has this SHA-256.
    pub fn platform_by_token(&self, sha256: &[u8; 32]) -> Option<(&Arc<Platform>, &TokenEntry)> {
        let token = self.local.tokens.get(sha256)?;
        Some((self.platform(token.platform)?, token))
    }

    /// The platform of this id.
    pub fn platform(&self, id: i64) -> Option<&Arc<Platform>> {
        self.local.platforms.get(&id)
    }

    /// All platforms, in no order.
    pub fn platforms(&self) -> impl Iterator<Item = &Arc<Platform>> {
        self.local.platforms.values()
    }

    /// The platform that this party is connected by, if it is connected here.
    pub fn local_party(&self, party: Party) -> Option<&Arc<Platform>> {
        self.platform(*self.local.parties.get(&party)?)
    }

    /// The party in the registry.
    pub fn registered(&self, party: Party) -> Option<&RegistryParty> {
        self.registry.parties.get(&party)
    }

    /// The node with this address in the registry.
    pub fn operator(&self, address: &Address) -> Option<&Arc<Operator>> {
        self.registry.operators.get(address)
    }

    /// The number of the last change in it.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The block of the registry half; `None` before the first registry.
    pub fn block(&self) -> Option<u64> {
        self.registry.block.as_ref().map(|block| block.number)
    }

    /// Hash of that block, if its source gave one.
    pub fn block_hash(&self) -> Option<&str> {
        self.registry.block.as_ref()?.hash.as_deref()
    }

    /// Time of that block, RFC 3339.
    pub fn block_time(&self) -> Option<&str> {
        self.registry.block.as_ref().map(|block| &*block.time)
    }

    pub fn counts(&self) -> Counts {
        Counts {
            parties: self.registry.parties.len(),
            operators: self.registry.operators.len(),
            platforms: self.local.platforms.len(),
            local_parties: self.local.parties.len(),
            tokens: self.local.tokens.len(),
        }
    }
}
