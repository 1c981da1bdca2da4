//! The header `Signature`: one member, `ocn=:base64:` of r, s and v or of a MAC, in its one spelling.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::LABEL;
use super::error::WireError;
use crate::eth::Signature;

/// The header's value.
pub(super) fn write(signature: &Signature) -> String {
    let mut bytes = [0; 65];
    bytes[..32].copy_from_slice(&signature.r);
    bytes[32..64].copy_from_slice(&signature.s);
    bytes[64] = signature.v;
    write_bytes(&bytes)
}

/// The header's value for bytes of any meaning.
pub(super) fn write_bytes(bytes: &[u8]) -> String {
    format!("{LABEL}=:{}:", STANDARD.encode(bytes))
}

/// Reads the header's value. The scalars are not looked at.
///
/// # Errors
/// [`WireError::Signature`] for anything but exactly one member `ocn` of 65 bytes in canonical base64.
pub(super) fn read(header: &[u8]) -> Result<Signature, WireError> {
    let bytes: [u8; 65] = read_bytes(header)?;
    let (mut r, mut s) = ([0; 32], [0; 32]);
    r.copy_from_slice(&bytes[..32]);
    s.copy_from_slice(&bytes[32..64]);
    Ok(Signature { r, s, v: bytes[64] })
}

/// Reads the header's value.
///
/// # Errors
/// [`WireError::Signature`] for anything but exactly one member `ocn` of `N` bytes in canonical base64.
pub(super) fn read_bytes<const N: usize>(header: &[u8]) -> Result<[u8; N], WireError> {
    header
        .strip_prefix(LABEL.as_bytes())
        .and_then(|rest| rest.strip_prefix(b"=:"))
        .and_then(|rest| rest.strip_suffix(b":"))
        .filter(|digits| digits.len() == N.div_ceil(3) * 4)
        .and_then(|digits| STANDARD.decode(digits).ok()?.try_into().ok())
        .ok_or(WireError::Signature)
}

/// The member's own value, `:base64:`, of a header with a signature or a MAC.
///
/// # Errors
/// [`WireError::Signature`] as [`read`].
pub(super) fn value(header: &str) -> Result<&str, WireError> {
    read(header.as_bytes())
        .map(drop)
        .or_else(|_| read_bytes::<32>(header.as_bytes()).map(drop))?;
    Ok(&header[LABEL.len() + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eth::SigningKey;

    #[test]
    fn only_the_one_spelling_is_read() {
        let signature = SigningKey::from_bytes(&[0x46; 32])
            .unwrap()
            .personal_sign(b"text");
        let header = write(&signature);
        assert_eq!(read(header.as_bytes()), Ok(signature));
        assert_eq!(value(&header), Ok(&header[4..]));
        let digits = &header[5..header.len() - 1];
        // The last digit has two bits to spare, which must be zero: `s` ends v 27, `w` ends v 28.
        let (kept, last) = digits.split_at(86);
        let odd = if last == "w=" { "x=" } else { "t=" };
        for other in [
            String::new(),
            "ocn=".into(),
            "ocn=:".into(),
            "ocn=::".into(),
            format!("ocn=:{digits}"),
            format!("ocn={digits}:"),
            format!("OCN=:{digits}:"),
            format!("sig=:{digits}:"),
            format!(" ocn=:{digits}:"),
            format!("ocn=:{digits}: "),
            format!("ocn=:{digits}:;a=1"),
            format!("ocn=:{digits}:, ocn=:{digits}:"),
            format!("ocn=:{}:", &digits[..87]),
            format!("ocn=:{kept}{odd}:"),
            format!("ocn=:{}A:", &digits[..87]),
            format!("ocn=:{}_{}:", &digits[..1], &digits[2..]),
            format!("ocn=:{}:", STANDARD.encode([1; 64])),
            format!("ocn=:{}:", STANDARD.encode([1; 66])),
        ] {
            assert_eq!(read(other.as_bytes()), Err(WireError::Signature), "{other}");
        }
    }
}
