//! `Content-Digest` (RFC 9530): one `sha-256` over the bytes of the body as they are on the wire.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::error::WireError;

const START: &str = "sha-256=:";

/// The header's value for a body.
pub fn content_digest(body: &[u8]) -> String {
    format!("{START}{}:", STANDARD.encode(Sha256::digest(body)))
}

/// Compares a body with its header. An empty body may come without one; any other must have it.
///
/// # Errors
/// [`WireError::Missing`], [`WireError::DigestForm`], [`WireError::Digest`].
pub fn check_digest(header: Option<&[u8]>, body: &[u8]) -> Result<(), WireError> {
    let Some(header) = header else {
        return if body.is_empty() {
            Ok(())
        } else {
            Err(WireError::Missing("content-digest"))
        };
    };
    let expected = content_digest(body);
    if header == expected.as_bytes() {
        Ok(())
    } else if header.len() == expected.len() && header.starts_with(START.as_bytes()) {
        Err(WireError::Digest)
    } else {
        Err(WireError::DigestForm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_the_empty_body_is_the_known_one() {
        let empty = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
        assert_eq!(content_digest(b""), empty);
        assert_eq!(check_digest(Some(empty.as_bytes()), b""), Ok(()));
    }

    #[test]
    fn a_body_needs_its_digest() {
        assert_eq!(check_digest(None, b""), Ok(()));
        assert_eq!(
            check_digest(None, b"{}"),
            Err(WireError::Missing("content-digest"))
        );
        let digest = content_digest(b"{}");
        assert_eq!(check_digest(Some(digest.as_bytes()), b"{}"), Ok(()));
        assert_eq!(
            check_digest(Some(digest.as_bytes()), b"{} "),
            Err(WireError::Digest)
        );
        for header in [
            String::new(),
            digest.replace("sha-256", "sha-512"),
            format!("{digest}, {digest}"),
            format!("{digest};a=1"),
            digest.replace(":", ""),
        ] {
            assert_eq!(
                check_digest(Some(header.as_bytes()), b"{}"),
                Err(WireError::DigestForm),
                "{header}"
            );
        }
    }
}
