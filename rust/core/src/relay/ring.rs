//! The key ring: what a node gives out sealed, so that only it can read it again and it need not remember.
//!
//! XChaCha20-Poly1305 with a random nonce of 192 bits. What is sealed in one context does not open in another.
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::ports::Random;

const NONCE: usize = 24;

/// The node's master keys.
pub(super) struct KeyRing {
    /// Current key first; older ones only open.
    ciphers: Vec<(u8, XChaCha20Poly1305)>,
}

impl KeyRing {
    pub(super) fn new(keys: Vec<(u8, [u8; 32])>) -> Self {
        let cipher = |key: [u8; 32]| XChaCha20Poly1305::new(&key.into());
        Self {
            ciphers: keys
                .into_iter()
                .map(|(id, key)| (id, cipher(key)))
                .collect(),
        }
    }

    /// Whether there is a key to seal with.
    pub(super) fn has_key(&self) -> bool {
        !self.ciphers.is_empty()
    }

    /// Id of the key, nonce and the sealed text. `None` without a key.
    pub(super) fn seal(
        &self,
        plain: &[u8],
        context: &[u8],
        random: &impl Random,
    ) -> Option<Vec<u8>> {
        let (id, cipher) = self.ciphers.first()?;
        let mut nonce = [0; NONCE];
        random.fill(&mut nonce);
        let payload = Payload {
            msg: plain,
            aad: context,
        };
        let sealed = cipher.encrypt(XNonce::from_slice(&nonce), payload).ok()?;
        Some([&[*id][..], &nonce, &sealed].concat())
    }

    /// What was sealed here in exactly that context.
    pub(super) fn open(&self, bytes: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = bytes.split_first()?;
        let (nonce, sealed) = rest.split_at_checked(NONCE)?;
        let (_, cipher) = self.ciphers.iter().find(|(known, _)| known == id)?;
        let payload = Payload {
            msg: sealed,
            aad: context,
        };
        cipher.decrypt(XNonce::from_slice(nonce), payload).ok()
    }
}
