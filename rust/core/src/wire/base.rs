//! The steps that requests and responses share: write the signature base, sign it; check it, find who signed.
use super::LABEL;
use super::components::Covered;
use super::error::WireError;
use super::member;
use super::parameters::{KeyId, Parameters, Stated, WireLimits};
use super::session::{Direction, Session};
use crate::eth::{Address, SigningKey, recover_personal};

/// Values of the two headers that a signature adds to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Of `Signature-Input`.
    pub input: String,
    /// Of `Signature`.
    pub signature: String,
}

/// A signature that holds: the key `parameters.keyid` made it, or a session of its owner, over the message as it is,
/// and it has not expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    pub parameters: Parameters,
}

/// By what a message is signed.
#[derive(Debug, Clone, Copy)]
pub enum Signer<'a> {
    /// The node's own key, which `parameters.keyid` must name.
    Key(&'a SigningKey),
    /// A session with the other node, which stands for `parameters.keyid`.
    Session(&'a Session),
}

impl<'a> From<&'a SigningKey> for Signer<'a> {
    fn from(key: &'a SigningKey) -> Self {
        Self::Key(key)
    }
}

/// A longer `Signature-Input` than any of ours: the longest has under 900 bytes.
const INPUT_BYTES: usize = 1_024;

/// Signs what is covered; also gives the base.
///
/// # Errors
/// [`WireError::Signer`] if `parameters` name another key.
pub(super) fn sign(
    covered: &Covered<'_>,
    parameters: &Parameters,
    signer: Signer<'_>,
    direction: Direction,
) -> Result<(Signed, String), WireError> {
    let list = covered.list();
    let (signed, base, signature) = match signer {
        Signer::Key(key) if parameters.keyid != key.address() => return Err(WireError::Signer),
        Signer::Key(key) => {
            let signed = format!("{list}{parameters}");
            let base = covered.base(&signed);
            let signature = key
                .sign_message_form(base.as_bytes())
                .map_err(|_| WireError::Components)?;
            (signed, base, member::write(&signature))
        }
        Signer::Session(session) => {
            let signed = format!("{list}{}", parameters.of_session(session.id()));
            let base = covered.base(&signed);
            let mac = session.sign(direction, base.as_bytes());
            (signed, base, member::write_bytes(mac.as_ref()))
        }
    };
    let input = format!("{LABEL}={signed}");
    Ok((Signed { input, signature }, base))
}

/// What a `Signature-Input` says, and that it says it of exactly what is covered.
pub(super) struct Claim<'a> {
    covered: &'a Covered<'a>,
    signed: &'a str,
    stated: Stated<'a>,
}

impl<'a> Claim<'a> {
    /// Reads the header; compares the component list with what must be covered.
    ///
    /// # Errors
    /// [`WireError::Input`], [`WireError::Components`].
    pub(super) fn read(covered: &'a Covered<'a>, input: &'a [u8]) -> Result<Self, WireError> {
        if input.len() > INPUT_BYTES {
            return Err(WireError::Input);
        }
        let signed = std::str::from_utf8(input)
            .ok()
            .and_then(|text| text.strip_prefix(LABEL)?.strip_prefix('='))
            .filter(|signed| signed.starts_with('('))
            .ok_or(WireError::Input)?;
        // The text that the message itself asks for is the only list that is believed: nothing else needs to be read.
        let rest = signed
            .strip_prefix(&covered.list())
            .ok_or(WireError::Components)?;
        Ok(Self {
            covered,
            signed,
            stated: Stated::read(rest)?,
        })
    }

    /// The session that is named, if one is.
    pub(super) fn session(&self) -> Option<&'a str> {
        match self.stated.key {
            KeyId::Session(id) => Some(id),
            KeyId::Operator(_) => None,
        }
    }

    /// Checks the times, and only then who signed. Also gives the base.
    ///
    /// # Errors
    /// All of [`WireError`] that concern signatures; [`WireError::Input`] if a session is named.
    pub(super) fn check_key(
        &self,
        signature: &[u8],
        now: i64,
        limits: &WireLimits,
    ) -> Result<(Verified, String), WireError> {
        let signature = member::read(signature)?;
        let KeyId::Operator(keyid) = self.stated.key else {
            return Err(WireError::Input);
        };
        let parameters = self.stated.parameters(keyid);
        parameters.check_times(now, limits)?;
        signature.check_strict().map_err(|_| WireError::Signature)?;
        let base = self.covered.base(self.signed);
        let signer =
            recover_personal(base.as_bytes(), &signature).map_err(|_| WireError::Signer)?;
        if signer == keyid {
            Ok((Verified { parameters }, base))
        } else {
            Err(WireError::Signer)
        }
    }

    /// The same of a message that names this session; `holder` is the operator at the other end of it.
    ///
    /// # Errors
    /// All of [`WireError`] that concern signatures; [`WireError::Session`] if it names another one or none.
    pub(super) fn check_session(
        &self,
        signature: &[u8],
        now: i64,
        limits: &WireLimits,
        (session, holder): (&Session, Address),
        direction: Direction,
    ) -> Result<Verified, WireError> {
        let mac: [u8; 32] = member::read_bytes(signature)?;
        if self.session() != Some(session.id()) {
            return Err(WireError::Session);
        }
        let parameters = self.stated.parameters(holder);
        parameters.check_times(now, limits)?;
        let base = self.covered.base(self.signed);
        session.verify(direction, base.as_bytes(), &mac)?;
        Ok(Verified { parameters })
    }
}
