//! From a change, as the store writes it, to the next snapshot.
use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;

use super::error::TableError;
use super::layered::Layered;
use super::live::Live;
use super::origin::origin_of;
use super::platform::{Endpoint, Platform, PlatformStatus, Secret, TokenEncoding};
use super::rules::{Rules, RulesMode};
use super::snapshot::{Block, Local, Operator, Registry, RegistryParty, Table, TokenEntry};
use crate::eth::Address;
use crate::ocpi::{InterfaceRole, Module, Party, Role, Version};

/// What changed since the last snapshot, or everything. Unknown members are errors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    number: u64,
    /// Replaces both halves; otherwise the named rows are put and the rest stays.
    full: bool,
    registry: Option<RegistryRows>,
    platforms: Vec<PlatformRow>,
    gone_platforms: Vec<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryRows {
    block: u64,
    block_hash: Option<Box<str>>,
    block_time: Box<str>,
    operators: Vec<OperatorRow>,
    gone_operators: Vec<Box<str>>,
    parties: Vec<RegistryPartyRow>,
    gone_parties: Vec<(Box<str>, Box<str>)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperatorRow {
    address: Box<str>,
    domain: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryPartyRow {
    country_code: Box<str>,
    party_id: Box<str>,
    address: Box<str>,
    operator: Box<str>,
    roles: Vec<Box<str>>,
    modules: Vec<Box<str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlatformRow {
    id: i64,
    status: PlatformStatus,
    version: Box<str>,
    parties: Vec<PartyRow>,
    tokens: Vec<TokenRow>,
    token_b: Option<String>,
    token_encoding: TokenEncoding,
    endpoints: Vec<EndpointRow>,
    origins: Vec<String>,
    versions_url: Option<String>,
    rules: RulesRow,
    sign_for_party: bool,
    exempt: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartyRow {
    country_code: Box<str>,
    party_id: Box<str>,
    role: Box<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRow {
    digest: Box<str>,
    expires_at: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointRow {
    module: Box<str>,
    role: Box<str>,
    url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesRow {
    signatures: bool,
    mode: RulesMode,
    entries: Vec<RuleRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleRow {
    country_code: Box<str>,
    party_id: Box<str>,
    modules: Vec<Box<str>>,
}

impl Change {
    /// Reads a change from JSON.
    pub fn parse(json: &[u8]) -> Result<Self, TableError> {
        Ok(serde_json::from_slice(json)?)
    }

    /// The table after this change. `table` itself is not touched and shares with the new one all that is
    /// the same.
    ///
    /// Parts of a change may come in any order: what goes is taken out before anything is put in, so a party
    /// may move from one platform to another within one change.
    pub(super) fn apply_to(self, table: &Table) -> Result<Table, TableError> {
        // A full change may go back: the store may have been restored from a backup.
        if !self.full && self.number < table.version {
            return Err(TableError::Behind {
                number: self.number,
                version: table.version,
            });
        }
        let mut next = if self.full {
            Table::default()
        } else {
            table.clone()
        };
        next.version = self.number;
        if let Some(rows) = self.registry {
            next.registry.put(rows, &table.registry)?;
        }
        next.local
            .put(self.platforms, self.gone_platforms, &table.local)?;
        Ok(next)
    }
}

impl Registry {
    /// `before` is the half that is being followed: counters of its nodes live on under the same address.
    fn put(&mut self, rows: RegistryRows, before: &Self) -> Result<(), TableError> {
        if self.parties.len() == 0 {
            self.parties = Layered::with_capacity(rows.parties.len());
        }
        for address in &rows.gone_operators {
            self.operators
                .remove(&address_in(address, "a gone operator")?);
        }
        for (country_code, party_id) in &rows.gone_parties {
            self.parties
                .remove(&party_in(country_code, party_id, || "registry".into())?);
        }
        for row in rows.operators {
            let address = address_in(&row.address, "an operator")?;
            let known = before.operators.get(&address);
            self.operators
                .insert(address, Arc::new(operator(address, row.domain, known)));
        }
        for row in rows.parties {
            let party = party_in(&row.country_code, &row.party_id, || "registry".into())?;
            let entry = RegistryParty {
                party,
                address: address_in(&row.address, "a party's address")?,
                operator: address_in(&row.operator, "a party's operator")?,
                roles: row.roles.iter().map(|role| Role::from_name(role)).collect(),
                modules: row.modules.iter().map(|id| Module::from_id(id)).collect(),
            };
            self.parties.insert(party, entry);
        }
        self.operators.compact();
        self.parties.compact();
        self.block = Some(Block {
            number: rows.block,
            hash: rows.block_hash.map(Arc::from),
            time: Arc::from(rows.block_time),
        });
        Ok(())
    }
}

impl Local {
    /// `before` is the half that is being followed: its counters live on in platforms of the same id.
    fn put(
        &mut self,
        rows: Vec<PlatformRow>,
        gone: Vec<i64>,
        before: &Self,
    ) -> Result<(), TableError> {
        let mut named = HashSet::new();
        for id in gone.iter().copied().chain(rows.iter().map(|row| row.id)) {
            if !named.insert(id) {
                return Err(TableError::Repeated { id });
            }
        }
        let mut arriving = Vec::with_capacity(rows.len());
        for row in rows {
            let live = before
                .platforms
                .get(&row.id)
                .map(|old| Arc::clone(&old.live));
            arriving.push(platform(row, live.unwrap_or_default())?);
        }

        for id in gone {
            self.take_out(id, &HashSet::new());
            self.platforms.remove(&id);
        }
        for (new, _) in &arriving {
            self.take_out(
                new.id,
                &new.parties.iter().map(|(party, _)| *party).collect(),
            );
        }
        for (new, tokens) in arriving {
            self.put_in(new, tokens)?;
        }
        self.platforms.compact();
        self.parties.compact();
        self.tokens.compact();
        Ok(())
    }

    /// Takes a platform's tokens and parties out of the indexes, except those that stay.
    fn take_out(&mut self, id: i64, stay: &HashSet<Party>) {
        let Some(old) = self.platforms.get(&id).map(Arc::clone) else {
            return;
        };
        for token in &old.tokens {
            self.tokens.remove(token);
        }
        for (party, _) in old
            .parties
            .iter()
            .filter(|(party, _)| !stay.contains(party))
        {
            self.parties.remove(party);
        }
    }

    fn put_in(&mut self, new: Platform, tokens: Vec<TokenEntry>) -> Result<(), TableError> {
        let claimant = new.id;
        for (&digest, entry) in new.tokens.iter().zip(tokens) {
            if let Some(holder) = self.tokens.get(&digest) {
                return Err(TableError::TokenTaken {
                    holder: holder.platform,
                    claimant,
                });
            }
            self.tokens.insert(digest, entry);
        }
        for &(party, _) in &new.parties {
            match self.parties.get(&party) {
                None => self.parties.insert(party, claimant),
                Some(&holder) if holder == claimant => {}
                Some(&holder) => {
                    return Err(TableError::PartyTaken {
                        party,
                        holder,
                        claimant,
                    });
                }
            }
        }
        self.platforms.insert(claimant, Arc::new(new));
        Ok(())
    }
}

/// An operator with the counters of `known`, and with what it was found to speak and its session if it is still
/// reached under the same domain.
fn operator(address: Address, domain: String, known: Option<&Arc<Operator>>) -> Operator {
    let usable =
        address.as_bytes() != &[0; 20] && !domain.contains('?') && origin_of(&domain).is_some();
    let same = known.filter(|old| old.domain == domain);
    Operator {
        address,
        base: usable.then(|| domain.trim_end_matches('/').to_owned()),
        live: known.map(|old| Arc::clone(&old.live)).unwrap_or_default(),
        dialect: same.map(|old| Arc::clone(&old.dialect)).unwrap_or_default(),
        session: same.map(|old| Arc::clone(&old.session)).unwrap_or_default(),
        domain,
    }
}

/// A row, checked, and the entries of its tokens in the order of `Platform::tokens`.
fn platform(row: PlatformRow, live: Arc<Live>) -> Result<(Platform, Vec<TokenEntry>), TableError> {
    let id = row.id;
    let place = || format!("platform {id}");
    let in_place = |source| TableError::Id {
        place: place(),
        source,
    };

    let mut parties = Vec::with_capacity(row.parties.len());
    for party in &row.parties {
        let role = Role::from_name(&party.role);
        parties.push((party_in(&party.country_code, &party.party_id, place)?, role));
    }
    let mut endpoints = Vec::with_capacity(row.endpoints.len());
    let mut origins = Vec::new();
    for endpoint in row.endpoints {
        let module = Module::from_id(&endpoint.module);
        let role: InterfaceRole = endpoint.role.parse().map_err(in_place)?;
        add_origin(&mut origins, &endpoint.url, id, || {
            format!("the {} endpoint of {}", role.as_str(), module.as_str())
        })?;
        endpoints.push(Endpoint {
            module,
            role,
            url: endpoint.url,
        });
    }
    if let Some(url) = &row.versions_url {
        add_origin(&mut origins, url, id, || "its versions URL".into())?;
    }
    for url in &row.origins {
        add_origin(&mut origins, url, id, || "a further origin".into())?;
    }
    let mut tokens = Vec::with_capacity(row.tokens.len());
    let mut entries = Vec::with_capacity(row.tokens.len());
    for token in row.tokens {
        tokens.push(digest_in(&token.digest).ok_or(TableError::Digest { platform: id })?);
        entries.push(TokenEntry {
            platform: id,
            expires_at: token.expires_at,
        });
    }
    let platform = Platform {
        id,
        status: row.status,
        version: row.version.parse::<Version>().map_err(in_place)?,
        parties,
        token_b: Secret::new(row.token_b.unwrap_or_default()),
        token_encoding: row.token_encoding,
        endpoints,
        origins,
        rules: rules(row.rules, id)?,
        sign_for_party: row.sign_for_party,
        exempt: row.exempt,
        tokens,
        live,
    };
    Ok((platform, entries))
}

fn rules(row: RulesRow, platform: i64) -> Result<Rules, TableError> {
    let mut rules = Rules {
        signatures: row.signatures,
        mode: row.mode,
        entries: Default::default(),
    };
    for entry in row.entries {
        let place = || format!("platform {platform}, rules");
        let party = party_in(&entry.country_code, &entry.party_id, place)?;
        let modules = entry.modules.iter().map(|id| Module::from_id(id)).collect();
        if rules.entries.insert(party, modules).is_some() {
            return Err(TableError::RuleRepeated { platform, party });
        }
    }
    Ok(rules)
}

fn add_origin(
    origins: &mut Vec<String>,
    url: &str,
    platform: i64,
    what: impl FnOnce() -> String,
) -> Result<(), TableError> {
    let origin = origin_of(url).ok_or_else(|| TableError::Url {
        platform,
        what: what(),
    })?;
    if !origins.contains(&origin) {
        origins.push(origin);
    }
    Ok(())
}

fn party_in(
    country_code: &str,
    party_id: &str,
    place: impl FnOnce() -> String,
) -> Result<Party, TableError> {
    Party::new(country_code, party_id).map_err(|source| TableError::Id {
        place: place(),
        source,
    })
}

fn address_in(text: &str, what: &'static str) -> Result<Address, TableError> {
    text.parse().map_err(|_| TableError::Address { what })
}

fn digest_in(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    let nibble = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(digest)
}
