//! keccak-256, EIP-55 addresses, keys, personal-sign and public-key recovery (libsecp256k1).
