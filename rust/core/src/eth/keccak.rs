//! keccak-256 with the padding from before the SHA-3 standard, and the digest of EIP-191 messages.
use tiny_keccak::{Hasher, Keccak};

/// A running hash. A clone continues on its own.
#[derive(Clone)]
pub struct Keccak256(Keccak);

impl Keccak256 {
    /// The hash of nothing, so far.
    pub fn new() -> Self {
        Self(Keccak::v256())
    }

    /// Takes more bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The hash of all bytes taken.
    pub fn finalize(self) -> [u8; 32] {
        let mut digest = [0; 32];
        self.0.finalize(&mut digest);
        digest
    }
}

impl Default for Keccak256 {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Keccak256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keccak256")
    }
}

/// keccak-256 of `data`.
pub fn keccak256(data: &[u8]) -> [u8; 32] {
    let mut hash = Keccak256::new();
    hash.update(data);
    hash.finalize()
}

/// The digest that `personal_sign` signs: EIP-191, version `E`. The length counts bytes.
pub fn personal_digest(message: &[u8]) -> [u8; 32] {
    let mut hash = Keccak256::new();
    hash.update(b"\x19Ethereum Signed Message:\n");
    hash.update(message.len().to_string().as_bytes());
    hash.update(message);
    hash.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eth::hex_encode;

    #[test]
    fn known_digests() {
        let empty = "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470";
        assert_eq!(hex_encode(&keccak256(b"")), empty);
        let abc = "0x4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45";
        assert_eq!(hex_encode(&keccak256(b"abc")), abc);
    }

    #[test]
    fn pieces_and_forks_hash_like_the_whole() {
        let data: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        for cut in [0, 1, 135, 136, 137, 272, 999] {
            let mut hash = Keccak256::new();
            hash.update(&data[..cut]);
            let mut fork = hash.clone();
            fork.update(b"something else");
            hash.update(&data[cut..]);
            assert_eq!(hash.finalize(), keccak256(&data), "{cut}");
        }
    }
}
