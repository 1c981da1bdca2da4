//! Party ids, party roles, interface roles, module ids and versions.
use std::fmt;
use std::str::FromStr;

/// An id from the wire or a file that is not what OCPI allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("country code must be two ASCII letters or digits")]
    CountryCode,
    #[error("party id must be three ASCII letters or digits")]
    PartyId,
    #[error("unknown interface role: expected SENDER or RECEIVER")]
    InterfaceRole,
    #[error("unknown version: expected 2.2 or 2.2.1")]
    Version,
}

/// A party: country code (2) and party id (3), folded to upper case.
///
/// OCPI compares both without case (`CiString`), so `de/abc` and `DE/ABC` are one party
/// everywhere; what is forwarded keeps the spelling of the sender. `safety.md` A70, A71.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Party([u8; 5]);

impl Party {
    /// Takes the two ids as they stand in headers or rows.
    pub fn new(country_code: &str, party_id: &str) -> Result<Self, IdError> {
        let (country, party) = (country_code.as_bytes(), party_id.as_bytes());
        if country.len() != 2 || !country.iter().all(u8::is_ascii_alphanumeric) {
            return Err(IdError::CountryCode);
        }
        if party.len() != 3 || !party.iter().all(u8::is_ascii_alphanumeric) {
            return Err(IdError::PartyId);
        }
        let mut bytes = [0; 5];
        bytes[..2].copy_from_slice(country);
        bytes[2..].copy_from_slice(party);
        bytes.make_ascii_uppercase();
        Ok(Self(bytes))
    }

    /// The country code in upper case.
    pub fn country_code(&self) -> &str {
        std::str::from_utf8(&self.0[..2]).unwrap_or_default()
    }

    /// The party id in upper case.
    pub fn party_id(&self) -> &str {
        std::str::from_utf8(&self.0[2..]).unwrap_or_default()
    }

    /// The five folded bytes: the key of every table.
    pub fn key(&self) -> &[u8; 5] {
        &self.0
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.country_code(), self.party_id())
    }
}

impl fmt::Debug for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a party does in the market. Unknown strings are kept as `OTHER` (`ocpi-hub.md` section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Cpo,
    Emsp,
    Hub,
    Nap,
    Nsp,
    Other,
    Scsp,
}

impl Role {
    /// OCPI's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpo => "CPO",
            Self::Emsp => "EMSP",
            Self::Hub => "HUB",
            Self::Nap => "NAP",
            Self::Nsp => "NSP",
            Self::Other => "OTHER",
            Self::Scsp => "SCSP",
        }
    }

    /// Reads OCPI's spelling without case; anything unknown counts as `OTHER`.
    pub fn from_name(name: &str) -> Self {
        [
            Self::Cpo,
            Self::Emsp,
            Self::Hub,
            Self::Nap,
            Self::Nsp,
            Self::Scsp,
        ]
        .into_iter()
        .find(|role| role.as_str().eq_ignore_ascii_case(name))
        .unwrap_or(Self::Other)
    }
}

/// Which side of a module an endpoint serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InterfaceRole {
    Sender,
    Receiver,
}

impl InterfaceRole {
    /// As in version details.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "SENDER",
            Self::Receiver => "RECEIVER",
        }
    }

    /// As in our paths.
    pub fn path_segment(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
        }
    }
}

impl FromStr for InterfaceRole {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.eq_ignore_ascii_case("SENDER") {
            Ok(Self::Sender)
        } else if text.eq_ignore_ascii_case("RECEIVER") {
            Ok(Self::Receiver)
        } else {
            Err(IdError::InterfaceRole)
        }
    }
}

/// A module id: one of OCPI's functional modules or a custom one (compared without case).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Module {
    Cdrs,
    ChargingProfiles,
    Commands,
    Locations,
    Sessions,
    Tariffs,
    Tokens,
    /// Any other id, folded to lower case.
    Custom(Box<str>),
}

impl Module {
    /// Reads an identifier without case. Configuration modules are not functional: see
    /// [`Module::is_configuration`].
    pub fn from_id(id: &str) -> Self {
        [
            Self::Cdrs,
            Self::ChargingProfiles,
            Self::Commands,
            Self::Locations,
            Self::Sessions,
            Self::Tariffs,
            Self::Tokens,
        ]
        .into_iter()
        .find(|module| module.as_str().eq_ignore_ascii_case(id))
        .unwrap_or_else(|| Self::Custom(id.to_ascii_lowercase().into_boxed_str()))
    }

    /// OCPI's identifier, or the folded custom id.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Cdrs => "cdrs",
            Self::ChargingProfiles => "chargingprofiles",
            Self::Commands => "commands",
            Self::Locations => "locations",
            Self::Sessions => "sessions",
            Self::Tariffs => "tariffs",
            Self::Tokens => "tokens",
            Self::Custom(id) => id,
        }
    }

    /// Whether this id names a configuration module, which a hub never relays.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self.as_str(),
            "credentials" | "versions" | "hubclientinfo" | "ocnrules"
        )
    }
}

/// OCPI versions that this node speaks with its platforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    V2_2,
    V2_2_1,
}

impl Version {
    /// As in URLs and version lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2_2 => "2.2",
            Self::V2_2_1 => "2.2.1",
        }
    }
}

impl FromStr for Version {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match text {
            "2.2" => Ok(Self::V2_2),
            "2.2.1" => Ok(Self::V2_2_1),
            _ => Err(IdError::Version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a70_party_is_one_in_any_case() {
        assert_eq!(Party::new("de", "aBc"), Party::new("DE", "ABC"));
        assert_eq!(
            Party::new("de", "abc").map(|p| p.to_string()),
            Ok("DE/ABC".into())
        );
    }

    #[test]
    fn test_a71_ids_of_other_length_or_alphabet_are_refused() {
        for (country, party) in [("D", "ABC"), ("DEU", "ABC"), ("D ", "ABC"), ("Д", "ABC")] {
            assert_eq!(
                Party::new(country, party),
                Err(IdError::CountryCode),
                "{country}"
            );
        }
        for party in ["", "AB", "ABCD", "AB\n", "A/B", "ÄB"] {
            assert_eq!(Party::new("DE", party), Err(IdError::PartyId), "{party}");
        }
    }

    #[test]
    fn module_ids_are_compared_without_case() {
        assert_eq!(Module::from_id("LOCATIONS"), Module::Locations);
        assert_eq!(
            Module::from_id("NLTNM-Tokens"),
            Module::from_id("nltnm-tokens")
        );
        assert!(Module::from_id("Credentials").is_configuration());
    }
}
