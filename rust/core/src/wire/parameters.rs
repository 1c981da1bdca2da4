//! The parameters of a signature: written in one way, read strictly, judged by the clock.
use std::fmt;

use super::PROTOCOL;
use super::error::WireError;
use crate::eth::Address;

/// The name of the algorithm: EIP-191 over the base, keccak-256, recoverable ECDSA on secp256k1.
const ALGORITHM: &str = "secp256k1-keccak256";

/// The name of the algorithm of sessions, as RFC 9421 registers it.
const SESSION_ALGORITHM: &str = "hmac-sha256";

/// Most digits of an integer in a structured field (RFC 8941, 3.3.1).
const INTEGER_DIGITS: usize = 15;

/// What a signature says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// Unix time, seconds.
    pub created: i64,
    /// Unix time, seconds; still valid at that second.
    pub expires: i64,
    /// Unpredictable; written as 32 lower-case hex digits.
    pub nonce: [u8; 16],
    /// Whose key signed, or who is at the other end of the session that did.
    pub keyid: Address,
}

/// The parameters as a message states them: whose session it is has yet to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stated<'a> {
    created: i64,
    expires: i64,
    nonce: [u8; 16],
    pub(super) key: KeyId<'a>,
}

/// What `keyid` names, as `alg` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyId<'a> {
    /// `secp256k1-keccak256`: the address of an operator.
    Operator(Address),
    /// `hmac-sha256`: the name of a session.
    Session(&'a str),
}

/// How far the clocks of two nodes may be apart, and how long a signature may live. Seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireLimits {
    /// `created` may lie this far in the future.
    pub clock_skew_s: i64,
    /// The most between `created` and `expires`.
    pub window_s: i64,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self {
            clock_skew_s: 60,
            window_s: 300,
        }
    }
}

impl fmt::Display for Parameters {
    /// With the `;` in front of each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, self.keyid, ALGORITHM)
    }
}

/// Parameters of which a session is to be the key.
pub(super) struct OfSession<'a>(&'a Parameters, &'a str);

impl fmt::Display for OfSession<'_> {
    /// With the `;` in front of each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, self.1, SESSION_ALGORITHM)
    }
}

impl<'a> Stated<'a> {
    /// Reads what follows the component list. Each of the six exactly once, in any order, nothing else, in the
    /// canonical spelling of RFC 8941: so the text is what its writer signed.
    ///
    /// # Errors
    /// [`WireError::Input`].
    pub(super) fn read(text: &'a str) -> Result<Self, WireError> {
        let mut found = Found::default();
        let mut rest = text;
        while !rest.is_empty() {
            rest = found.take(rest).ok_or(WireError::Input)?;
        }
        found.complete().ok_or(WireError::Input)
    }

    /// The parameters, once it is known who `keyid` is.
    pub(super) fn parameters(&self, keyid: Address) -> Parameters {
        Parameters {
            created: self.created,
            expires: self.expires,
            nonce: self.nonce,
            keyid,
        }
    }
}

impl Parameters {
    pub(super) fn of_session<'a>(&'a self, id: &'a str) -> OfSession<'a> {
        OfSession(self, id)
    }

    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        keyid: impl fmt::Display,
        algorithm: &str,
    ) -> fmt::Result {
        write!(
            f,
            ";created={};expires={};nonce=\"{:032x}\";keyid=\"{keyid}\";alg=\"{algorithm}\";tag=\"{PROTOCOL}\"",
            self.created,
            self.expires,
            u128::from_be_bytes(self.nonce),
        )
    }

    /// Judges the times at `now`, in Unix seconds.
    ///
    /// # Errors
    /// [`WireError::Window`], [`WireError::Future`], [`WireError::Expired`].
    pub(super) fn check_times(&self, now: i64, limits: &WireLimits) -> Result<(), WireError> {
        if !(0..=limits.window_s).contains(&self.expires.saturating_sub(self.created)) {
            Err(WireError::Window)
        } else if self.created > now.saturating_add(limits.clock_skew_s) {
            Err(WireError::Future)
        } else if self.expires < now {
            Err(WireError::Expired)
        } else {
            Ok(())
        }
    }
}

/// The parameters read so far. The texts are checked when all are there.
#[derive(Default)]
struct Found<'a> {
    created: Option<i64>,
    expires: Option<i64>,
    nonce: Option<&'a str>,
    keyid: Option<&'a str>,
    alg: Option<&'a str>,
    tag: Option<&'a str>,
}

impl<'a> Found<'a> {
    /// Takes one parameter off the front of `text` and returns the rest.
    fn take(&mut self, text: &'a str) -> Option<&'a str> {
        let text = text.strip_prefix(';')?;
        let (name, text) = text.split_once('=')?;
        match name {
            "created" => integer(text, &mut self.created),
            "expires" => integer(text, &mut self.expires),
            "nonce" => string(text, &mut self.nonce),
            "keyid" => string(text, &mut self.keyid),
            "alg" => string(text, &mut self.alg),
            "tag" => string(text, &mut self.tag),
            _ => None,
        }
    }

    fn complete(self) -> Option<Stated<'a>> {
        (self.tag? == PROTOCOL).then_some(())?;
        let keyid = self.keyid?;
        let key = match self.alg? {
            ALGORITHM => KeyId::Operator(Address::from_checksummed(keyid).ok()?),
            SESSION_ALGORITHM => KeyId::Session(keyid),
            _ => return None,
        };
        Some(Stated {
            created: self.created?,
            expires: self.expires?,
            nonce: nonce(self.nonce?)?,
            key,
        })
    }
}

/// An integer without sign and leading zeros, into a slot that is empty; what follows it.
fn integer<'a>(text: &'a str, slot: &mut Option<i64>) -> Option<&'a str> {
    let end = text
        .bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let canonical = digits == "0" || !digits.starts_with('0');
    (canonical && digits.len() <= INTEGER_DIGITS && slot.is_none()).then_some(())?;
    *slot = Some(digits.parse().ok()?);
    Some(rest)
}

/// A string without escapes, which none of our values needs, into a slot that is empty; what follows it.
fn string<'a>(text: &'a str, slot: &mut Option<&'a str>) -> Option<&'a str> {
    let (value, rest) = text.strip_prefix('"')?.split_once('"')?;
    (!value.contains('\\') && slot.replace(value).is_none()).then_some(rest)
}

fn nonce(text: &str) -> Option<[u8; 16]> {
    let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == 32 && text.bytes().all(lower)).then_some(())?;
    Some(u128::from_str_radix(text, 16).ok()?.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: WireLimits = WireLimits {
        clock_skew_s: 60,
        window_s: 300,
    };

    fn parameters() -> Parameters {
        Parameters {
            created: 1_718_000_000,
            expires: 1_718_000_030,
            nonce: *b"\x00sixteen bytes!\xff",
            keyid: "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F"
                .parse()
                .unwrap(),
        }
    }

    /// What is read of parameters that name an operator.
    fn read(text: &str) -> Result<Parameters, WireError> {
        let stated = Stated::read(text)?;
        match stated.key {
            KeyId::Operator(keyid) => Ok(stated.parameters(keyid)),
            KeyId::Session(_) => Err(WireError::Input),
        }
    }

    #[test]
    fn what_is_written_is_read_in_any_order() {
        let text = parameters().to_string();
        assert_eq!(
            text,
            ";created=1718000000;expires=1718000030;nonce=\"007369787465656e20627974657321ff\"\
             ;keyid=\"0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F\";alg=\"secp256k1-keccak256\"\
             ;tag=\"ocn-relay/3\""
        );
        assert_eq!(read(&text), Ok(parameters()));
        let mut parts: Vec<&str> = text.split(';').skip(1).collect();
        parts.reverse();
        assert_eq!(read(&format!(";{}", parts.join(";"))), Ok(parameters()));
    }

    #[test]
    fn test_a152_anything_else_is_malformed() {
        let text = parameters().to_string();
        let edits = [
            (";created=1718000000", ""),
            (";expires=1718000030", ""),
            (";nonce=\"007369787465656e20627974657321ff\"", ""),
            (";alg=\"secp256k1-keccak256\"", ""),
            (";tag=\"ocn-relay/3\"", ""),
            (";created", "; created"),
            (";created", " ;created"),
            (";created", ";Created"),
            (";created", ";created=1718000000;created"),
            (";created", ";a=1;created"),
            (";created", ";a;created"),
            ("=1718000000", "=01718000000"),
            ("=1718000000", "=+1718000000"),
            ("=1718000000", "=-1718000000"),
            ("=1718000000", "=1718000000.0"),
            ("=1718000000", "=1718000000000000"),
            ("=1718000000", "=99999999999999999999"),
            ("=1718000000", "="),
            ("=1718000000", "=\"1718000000\""),
            ("0073", "0173 "),
            ("0073", "073"),
            ("0073", "00A3"),
            ("0073", "+073"),
            ("\"0073", "0073"),
            ("0x9d8A", "0x9D8A"),
            ("0x9d8A", "9d8A"),
            ("4F\"", "4F"),
            ("keccak256", "keccak"),
            ("keccak256", "keccak\\256"),
            ("relay/3", "relay/4"),
            ("relay/3\"", "relay/3\","),
            ("relay/3\"", "relay/3\", other=();a=1"),
            ("relay/3\"", "relay/3\" "),
            ("relay/3\"", "relay/3\";"),
        ];
        for (from, to) in edits {
            let edited = text.replacen(from, to, 1);
            assert_ne!(edited, text);
            assert_eq!(read(&edited), Err(WireError::Input), "{edited}");
        }
        assert_eq!(read(""), Err(WireError::Input));
    }

    #[test]
    fn a_session_stands_in_the_place_of_the_key() {
        let text = parameters().of_session("AZaz09-_").to_string();
        assert_eq!(
            text,
            ";created=1718000000;expires=1718000030;nonce=\"007369787465656e20627974657321ff\"\
             ;keyid=\"AZaz09-_\";alg=\"hmac-sha256\";tag=\"ocn-relay/3\""
        );
        let stated = Stated::read(&text).unwrap();
        assert_eq!(stated.key, KeyId::Session("AZaz09-_"));
        assert_eq!(stated.parameters(parameters().keyid), parameters());
        // The name of an operator under the other algorithm is the name of a session, and the reverse is none.
        let operator = parameters().to_string();
        let renamed = operator.replace("secp256k1-keccak256", "hmac-sha256");
        assert!(matches!(
            Stated::read(&renamed).unwrap().key,
            KeyId::Session(_)
        ));
        let renamed = text.replace("hmac-sha256", "secp256k1-keccak256");
        assert_eq!(Stated::read(&renamed), Err(WireError::Input));
    }

    #[test]
    fn the_key_may_be_named_in_lower_case() {
        let text = parameters().to_string();
        let keyid = parameters().keyid.to_string();
        let lower = text.replace(&keyid, &keyid.to_lowercase());
        assert_eq!(read(&lower), Ok(parameters()));
    }

    #[test]
    fn times_at_each_limit_and_one_beyond() {
        let Parameters {
            created, expires, ..
        } = parameters();
        let at = |now| parameters().check_times(now, &LIMITS);
        assert_eq!(at(created - 60), Ok(()));
        assert_eq!(at(created - 61), Err(WireError::Future));
        assert_eq!(at(expires), Ok(()));
        assert_eq!(at(expires + 1), Err(WireError::Expired));
        let lasting = |seconds| {
            Parameters {
                expires: created + seconds,
                ..parameters()
            }
            .check_times(created, &LIMITS)
        };
        assert_eq!(lasting(0), Ok(()));
        assert_eq!(lasting(300), Ok(()));
        assert_eq!(lasting(301), Err(WireError::Window));
        assert_eq!(lasting(-1), Err(WireError::Window));
    }
}
