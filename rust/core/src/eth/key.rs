//! Private keys: never printed, wiped when dropped.
use std::fmt;

use secp256k1_signing::{Message, PublicKey, SecretKey};

use super::curve::with_secret;
use super::{Address, EthError, Signature, personal_digest};

/// The text has none of the forms that a node may sign for others (`safety.md` I21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a node key signs only notary hashes, JSON objects and signature bases")]
pub struct ForbiddenForm;

/// A private key and its address.
pub struct SigningKey {
    secret: SecretKey,
    address: Address,
}

impl SigningKey {
    /// Takes the key's 32 bytes.
    ///
    /// # Errors
    /// [`EthError::Key`] for zero and for anything from the order of the curve on.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, EthError> {
        let secret = SecretKey::from_byte_array(*bytes).map_err(|_| EthError::Key)?;
        let point = with_secret(|context| PublicKey::from_secret_key(context, &secret));
        let point = point.serialize_uncompressed();
        Ok(Self {
            secret,
            address: Address::of_public_key(&point[1..]),
        })
    }

    /// Draws a new key; `fill` brings unpredictable bytes.
    pub fn generate(fill: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut bytes = [0; 32];
        loop {
            fill(&mut bytes);
            // All but one in 2^127 draws are keys.
            if let Ok(key) = Self::from_bytes(&bytes) {
                wipe(&mut bytes);
                return key;
            }
        }
    }

    /// The 32 bytes, for writing the key down.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.secret.secret_bytes()
    }

    /// Whose signatures these are.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Signs a notary hash: the text `0x` and 64 lower-case digits, as `ocn-notary.md` 5 has it.
    pub fn sign_notary_hash(&self, hash: &[u8; 32]) -> Signature {
        self.personal_sign(super::hex_encode(hash).as_bytes())
    }

    /// Signs any message in the form of EIP-191. For tools and parties; see
    /// [`SigningKey::sign_message_form`] for nodes.
    pub fn personal_sign(&self, message: &[u8]) -> Signature {
        let digest = Message::from_digest(personal_digest(message));
        let signature = with_secret(|context| context.sign_ecdsa_recoverable(digest, &self.secret));
        let (id, compact) = signature.serialize_compact();
        Signature::from_compact(&compact, 27 + id as u8)
    }

    /// Signs as [`SigningKey::personal_sign`], but only texts that cannot be mistaken for anything else:
    /// notary hashes (66 characters), JSON objects (`{`) and HTTP signature bases (`"@`).
    /// Everything that signs on the way of a message uses this.
    ///
    /// # Errors
    /// [`ForbiddenForm`] for any other text, 32 raw bytes above all.
    pub fn sign_message_form(&self, message: &[u8]) -> Result<Signature, ForbiddenForm> {
        if is_notary_hash(message) || message.starts_with(b"{") || message.starts_with(b"\"@") {
            Ok(self.personal_sign(message))
        } else {
            Err(ForbiddenForm)
        }
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.secret.non_secure_erase();
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.address)
    }
}

/// `0x` and 64 lower-case digits.
fn is_notary_hash(message: &[u8]) -> bool {
    message.len() == 66
        && message.starts_with(b"0x")
        && message[2..]
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Overwrites bytes that were a key, in a way the compiler keeps.
fn wipe(bytes: &mut [u8; 32]) {
    *bytes = [0; 32];
    std::hint::black_box(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eth::recover_personal;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[0x46; 32]).unwrap()
    }

    #[test]
    fn the_address_of_a_known_key() {
        assert_eq!(
            key().address().to_string(),
            "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F"
        );
    }

    #[test]
    fn zero_and_the_order_are_no_keys() {
        let order = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        let order: [u8; 32] = crate::eth::hex_decode(order).unwrap();
        for bytes in [[0; 32], order, [0xff; 32]] {
            assert_eq!(SigningKey::from_bytes(&bytes).err(), Some(EthError::Key));
        }
        let mut below = order;
        below[31] -= 1;
        assert!(SigningKey::from_bytes(&below).is_ok());
    }

    #[test]
    fn generate_draws_until_it_has_a_key() {
        let mut draws = 0;
        let key = SigningKey::generate(&mut |bytes| {
            bytes.fill(draws);
            draws += 1;
        });
        assert_eq!((draws, key.to_bytes()), (2, [1; 32]));
    }

    #[test]
    fn a_key_does_not_print_itself() {
        let printed = format!("{:?} {:#?}", key(), key());
        assert!(
            !printed.contains("46464646") && !printed.contains("70, 70"),
            "{printed}"
        );
    }

    #[test]
    fn test_i21_a44_only_our_forms_are_signed_on_the_message_path() {
        let hash = format!("0x{}", "a1".repeat(32));
        for message in [hash.as_str(), "{", "{\"a\":1}", "\"@method\": POST"] {
            let signature = key().sign_message_form(message.as_bytes()).unwrap();
            assert_eq!(
                recover_personal(message.as_bytes(), &signature),
                Ok(key().address())
            );
        }
        let upper = hash.to_uppercase().replace("0X", "0x");
        let raw = [7; 32];
        for message in [
            &b""[..],
            &raw,
            upper.as_bytes(),
            &hash.as_bytes()[..65],
            b" {",
            b"[",
            b"\"a",
            b"\"",
            b"\xf8",
        ] {
            assert_eq!(
                key().sign_message_form(message).err(),
                Some(ForbiddenForm),
                "{message:?}"
            );
        }
    }
}
