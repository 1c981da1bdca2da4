//! The OCN Notary signature scheme: sign, verify, stash, rewrites, containers, policies.
//!
//! One pass over the raw documents: each non-empty leaf's path is compared with the next entry of
//! `fields`, and its text goes into a running keccak-256. Paths are compared as strings and never
//! evaluated; documents are never turned into trees; nothing is allocated per leaf. `ocn-notary.md`.
mod codec;
mod error;
mod fields;
mod message;
mod number;
mod sign;
mod values;
mod verify;

pub use error::{NotaryError, Reason};
pub use fields::Fields;
pub use values::{HEADERS, Part, Values};
pub use verify::{NumberFormSeen, Verdict};

use crate::eth::Address;

/// The signature that rides in a response: never signed itself.
pub const OCN_SIGNATURE: &str = "$['body']['ocn_signature']";
/// What v2 nodes write into responses on the way: unsigned unless listed.
pub const OCN_VERIFICATION_STATUS: &str = "$['body']['ocn_verification_status']";

/// The paths that a node may rewrite (`ocn-notary.md` 10, `rewrite_path`).
pub const RESPONSE_URL_BODY: &str = "$['body']['response_url']";
pub const RESPONSE_URL_PARAMS: &str = "$['params']['response_url']";
pub const LINK: &str = "$['headers']['link']";
pub const LOCATION: &str = "$['headers']['location']";
pub const TO_COUNTRY_CODE: &str = "$['headers']['ocpi-to-country-code']";
pub const TO_PARTY_ID: &str = "$['headers']['ocpi-to-party-id']";

/// All paths that may be rewritten.
pub const REWRITABLE: [&str; 6] = [
    RESPONSE_URL_BODY,
    RESPONSE_URL_PARAMS,
    LINK,
    LOCATION,
    TO_COUNTRY_CODE,
    TO_PARTY_ID,
];

/// How the notary object is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Container {
    /// v1 nodes and the JavaScript package.
    Brotli,
    /// v2 nodes.
    Gzip,
}

/// How much of the received document must be signed, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Every leaf, in document order, in the one strict form of signature.
    Strict,
    /// Every leaf, in any order of the body; signatures in any spelling.
    Covered,
    /// Leaves may be unsigned: they are counted. Accepts forgeries (`ocn-notary.md` 9 #1).
    Compatible,
}

/// How numbers become text (`ocn-notary.md` 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NumberForm {
    /// ECMAScript Number-to-string.
    Js,
    /// Java: integers as they are, other numbers by `Double.toString`.
    Jvm,
}

/// Bounds of a notary object and of what it signs (`safety.md` 3.1, `signatures.*` and `limits.json_depth`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Characters of the Base64 text.
    pub text_bytes: usize,
    /// Bytes of the inflated JSON.
    pub notary_bytes: usize,
    pub fields: usize,
    pub rewrites: usize,
    /// Paths in one rewrite.
    pub rewrite_paths: usize,
    /// Brackets of the signed document, counted from the values object.
    pub depth: usize,
    /// Characters of one number.
    pub number_chars: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes: 98_304,
            notary_bytes: 1 << 20,
            fields: 20_000,
            rewrites: 16,
            rewrite_paths: 16,
            depth: 128,
            number_chars: 1_000,
        }
    }
}

/// A notary object: who signed which leaves, and what was rewritten on the way.
///
/// Opened objects have the right shape; only [`Notary::verify`] says whether they are true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notary {
    fields: Fields,
    seal: Seal,
    /// Oldest first, as on the wire.
    rewrites: Vec<Rewrite>,
    container: Container,
}

/// One signature: hash, rsv and signatory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// `0x` and 64 lower-case digits.
    hash: String,
    /// `0x` and 130 digits, as it came.
    rsv: String,
    signatory: Address,
    /// Whether the signatory was spelt in lower case or with its EIP-55 checksum.
    checksummed: bool,
}

/// A stashed signature and the values that it signed instead of the present ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// Path and previous value, the latter as raw JSON.
    values: Vec<(String, String)>,
    seal: Seal,
}

impl Seal {
    /// `0x` and 64 lower-case digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// `0x` and 130 digits, as it came.
    pub fn rsv(&self) -> &str {
        &self.rsv
    }

    /// Who claims to have signed.
    pub fn signatory(&self) -> Address {
        self.signatory
    }
}

impl Rewrite {
    /// Paths and previous values (raw JSON), in the order of the wire.
    pub fn values(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(path, raw)| (path.as_str(), raw.as_str()))
    }

    /// The stashed signature.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }
}

impl Notary {
    /// The signed paths, in order of signing.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// `0x` and 64 lower-case digits.
    pub fn hash(&self) -> &str {
        self.seal.hash()
    }

    /// `0x` and 130 digits, as it came.
    pub fn rsv(&self) -> &str {
        self.seal.rsv()
    }

    /// Who claims to have signed last.
    pub fn signatory(&self) -> Address {
        self.seal.signatory
    }

    /// Stashed signatures, oldest first.
    pub fn rewrites(&self) -> &[Rewrite] {
        &self.rewrites
    }

    /// The container it came in; Brotli for what was signed here.
    pub fn container(&self) -> Container {
        self.container
    }
}
