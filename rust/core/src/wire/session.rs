//! Session keys: what two nodes agree on by two signed messages, so that HMAC-SHA-256 can stand for the signatures of
//! those that follow (`docs/decisions/0005-session-keys.md`).
use std::fmt;

use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::rand::SystemRandom;
use ring::{hkdf, hmac};
use zeroize::Zeroizing;

use super::error::WireError;
use crate::eth::Address;

/// Bytes of a public key of X25519.
pub const PUBLIC_BYTES: usize = 32;

/// The longest name of a session that is taken: it has to fit into a `Signature-Input`.
const ID_CHARS: usize = 256;

const KEY_BYTES: usize = 32;

/// Which of a session's two keys: an answer can never pass for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Answer,
}

/// The two keys of a session. Wiped when dropped, never printed.
pub struct SessionKeys(Zeroizing<[u8; 2 * KEY_BYTES]>);

/// A session as both ends hold it: its name and its keys.
pub struct Session {
    id: String,
    keys: SessionKeys,
}

/// What a session is made of besides the secret. Both ends have signed it, or signed what it is a digest of.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Whose messages the session is for.
    pub asker: Address,
    /// Who takes them.
    pub asked: Address,
    /// SHA-256 of the signature base of the request for the session.
    pub request: &'a [u8; 32],
    pub asker_key: &'a [u8; PUBLIC_BYTES],
    pub asked_key: &'a [u8; PUBLIC_BYTES],
    /// How long it lasts, in seconds.
    pub lasts_s: u32,
}

/// One end's half of an agreement; its private key serves once.
pub struct Offer {
    private: EphemeralPrivateKey,
    public: [u8; PUBLIC_BYTES],
}

impl Offer {
    /// Draws a key from the system's random bytes.
    ///
    /// # Errors
    /// [`WireError::Agreement`] if the system has none.
    pub fn new() -> Result<Self, WireError> {
        let drawn = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new());
        let private = drawn.map_err(|_| WireError::Agreement)?;
        let public = private
            .compute_public_key()
            .ok()
            .and_then(|public| public.as_ref().try_into().ok())
            .ok_or(WireError::Agreement)?;
        Ok(Self { private, public })
    }

    /// What the other end is to be told.
    pub fn public(&self) -> &[u8; PUBLIC_BYTES] {
        &self.public
    }

    /// The keys that the owner of `other`, one of the two in `terms`, comes to as well.
    ///
    /// # Errors
    /// [`WireError::Agreement`] for a key that makes the same secret with every other.
    pub fn agree(
        self,
        other: &[u8; PUBLIC_BYTES],
        terms: &Terms<'_>,
    ) -> Result<SessionKeys, WireError> {
        let other = UnparsedPublicKey::new(&X25519, other);
        agree_ephemeral(self.private, &other, |shared| derive(shared, terms))
            .map_err(|_| WireError::Agreement)
    }
}

/// HKDF-SHA-256 (RFC 5869): salted with what was asked, one key for each direction.
fn derive(shared: &[u8], terms: &Terms<'_>) -> SessionKeys {
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, terms.request).extract(shared);
    let mut keys = Zeroizing::new([0; 2 * KEY_BYTES]);
    let (request, answer) = keys.split_at_mut(KEY_BYTES);
    for (direction, key) in [
        (&b"ocn-relay/3 session request"[..], request),
        (b"ocn-relay/3 session answer", answer),
    ] {
        let info = [
            direction,
            terms.asker.as_bytes(),
            terms.asked.as_bytes(),
            terms.asker_key,
            terms.asked_key,
            &terms.lasts_s.to_be_bytes(),
        ];
        secret
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|key_material| key_material.fill(key))
            .expect("a key is as long as the digest");
    }
    SessionKeys(keys)
}

impl SessionKeys {
    /// How many bytes [`SessionKeys::expose`] gives.
    pub const BYTES: usize = 2 * KEY_BYTES;

    /// Takes what [`SessionKeys::expose`] gave.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// Both keys, for sealing them.
    pub fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    fn hmac(&self, direction: Direction) -> hmac::Key {
        let (request, answer) = self.0.split_at(KEY_BYTES);
        let key = match direction {
            Direction::Request => request,
            Direction::Answer => answer,
        };
        hmac::Key::new(hmac::HMAC_SHA256, key)
    }
}

impl Session {
    /// A session of that name.
    ///
    /// # Errors
    /// [`WireError::Agreement`] for a name that is not 1 to 256 letters, digits, `-` and `_`.
    pub fn new(id: &str, keys: SessionKeys) -> Result<Self, WireError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if (1..=ID_CHARS).contains(&id.len()) && id.bytes().all(plain) {
            Ok(Self {
                id: id.to_owned(),
                keys,
            })
        } else {
            Err(WireError::Agreement)
        }
    }

    /// What its messages name as `keyid`.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn sign(&self, direction: Direction, base: &[u8]) -> hmac::Tag {
        hmac::sign(&self.keys.hmac(direction), base)
    }

    /// Compares in a time that does not depend on the bytes.
    ///
    /// # Errors
    /// [`WireError::Signer`].
    pub(super) fn verify(
        &self,
        direction: Direction,
        base: &[u8],
        mac: &[u8],
    ) -> Result<(), WireError> {
        hmac::verify(&self.keys.hmac(direction), base, mac).map_err(|_| WireError::Signer)
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys(..)")
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offer(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms<'a>(asker_key: &'a [u8; 32], asked_key: &'a [u8; 32]) -> Terms<'a> {
        Terms {
            asker: Address::from_bytes([1; 20]),
            asked: Address::from_bytes([2; 20]),
            request: &[3; 32],
            asker_key,
            asked_key,
            lasts_s: 3_600,
        }
    }

    #[test]
    fn both_ends_come_to_the_same_keys_and_nobody_else_does() {
        let [asker, asked, third] = [(); 3].map(|()| Offer::new().unwrap());
        let (asker_key, asked_key) = (*asker.public(), *asked.public());
        let terms = terms(&asker_key, &asked_key);
        let of_asker = asker.agree(&asked_key, &terms).unwrap();
        let of_asked = asked.agree(&asker_key, &terms).unwrap();
        assert_eq!(of_asker.expose(), of_asked.expose());
        let (request, answer) = of_asker.expose().split_at(32);
        assert_ne!(request, answer);
        let of_third = third.agree(&asker_key, &terms).unwrap();
        assert_ne!(of_third.expose(), of_asker.expose());
    }

    #[test]
    fn the_derivation_is_the_documented_one_and_each_term_counts() {
        let plain = derive(&[9; 32], &terms(&[4; 32], &[5; 32]));
        // Computed with another implementation of HKDF.
        assert_eq!(
            crate::eth::hex_encode(plain.expose()),
            "0x6867e1ff008366240690b91195add5f8d9334160e545f7794cd164472cece00f\
             279b8809561e23761b891f4234f42a84de1330b91fb1467c5869cbffce248d9f"
        );
        let with = terms(&[4; 32], &[5; 32]);
        for other in [
            Terms {
                asker: with.asked,
                ..with
            },
            Terms {
                asked: with.asker,
                ..with
            },
            Terms {
                request: &[7; 32],
                ..with
            },
            Terms {
                asker_key: &[7; 32],
                ..with
            },
            Terms {
                asked_key: &[7; 32],
                ..with
            },
            Terms {
                lasts_s: 3_601,
                ..with
            },
        ] {
            assert_ne!(derive(&[9; 32], &other).expose(), plain.expose());
        }
        assert_ne!(derive(&[8; 32], &with).expose(), plain.expose());
    }

    #[test]
    fn a_key_that_contributes_nothing_is_refused() {
        // Points of small order: whatever is multiplied with them, the secret is zero.
        let mut one = [0; 32];
        one[0] = 1;
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f);
        for low in [[0; 32], one, minus_one] {
            let offer = Offer::new().unwrap();
            let own = *offer.public();
            let refused = offer.agree(&low, &terms(&own, &low));
            assert_eq!(refused.unwrap_err(), WireError::Agreement);
        }
    }

    #[test]
    fn names_have_one_alphabet_and_a_limit() {
        let session = |id: &str| Session::new(id, SessionKeys::from_bytes(&[7; 64])).map(drop);
        assert_eq!(session("AZaz09-_"), Ok(()));
        assert_eq!(session(&"x".repeat(256)), Ok(()));
        for id in ["", "a b", "a\"", "a\\", "a=", "\u{e9}", &"x".repeat(257)] {
            assert_eq!(session(id), Err(WireError::Agreement), "{id}");
        }
    }

    #[test]
    fn a_mac_holds_in_one_direction_over_one_text() {
        let session = Session::new("id", SessionKeys::from_bytes(&[7; 64])).unwrap();
        let mut different = [7; 64];
        different[40] = 8;
        let session_with_two = Session::new("id", SessionKeys::from_bytes(&different)).unwrap();
        let mac = session_with_two.sign(Direction::Request, b"text");
        let check = |session: &Session, direction, text: &[u8]| {
            session.verify(direction, text, mac.as_ref())
        };
        assert_eq!(check(&session, Direction::Request, b"text"), Ok(()));
        assert_eq!(
            check(&session_with_two, Direction::Answer, b"text"),
            Err(WireError::Signer)
        );
        assert_eq!(
            check(&session, Direction::Request, b"texT"),
            Err(WireError::Signer)
        );
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        let keys = SessionKeys::from_bytes(&[0xab; 64]);
        assert_eq!(format!("{keys:?}"), "SessionKeys(..)");
        let session = Session::new("name", keys).unwrap();
        assert_eq!(format!("{session:?}"), "Session(..)");
        assert_eq!(format!("{:?}", Offer::new().unwrap()), "Offer(..)");
    }
}
