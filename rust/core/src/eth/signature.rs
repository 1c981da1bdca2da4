//! Recoverable signatures as they travel: `0x`, r (32 bytes), s (32 bytes), v.
use secp256k1::Message;
use secp256k1::constants::CURVE_ORDER;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};

use super::{Address, EthError, hex, personal_digest};

/// A signature as it was written: [`Signature::check_strict`] says whether it is in the one strict form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    pub r: [u8; 32],
    pub s: [u8; 32],
    /// 27 or 28 in the strict form; some writers use 0 and 1.
    pub v: u8,
}

/// Half the order of the curve: the largest low `s`.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

impl Signature {
    /// Reads `0x` and 130 digits of any case; judges nothing else.
    ///
    /// # Errors
    /// [`EthError::SignatureForm`].
    pub fn parse(rsv: &str) -> Result<Self, EthError> {
        let bytes: [u8; 65] = hex::decode(rsv).ok_or(EthError::SignatureForm)?;
        let mut compact = [0; 64];
        compact.copy_from_slice(&bytes[..64]);
        Ok(Self::from_compact(&compact, bytes[64]))
    }

    /// Reads a signature and refuses all but the strict form.
    ///
    /// # Errors
    /// [`EthError::SignatureForm`] and those of [`Signature::check_strict`].
    pub fn parse_strict(rsv: &str) -> Result<Self, EthError> {
        let signature = Self::parse(rsv)?;
        signature.check_strict()?;
        Ok(signature)
    }

    pub(super) fn from_compact(compact: &[u8; 64], v: u8) -> Self {
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&compact[..32]);
        s.copy_from_slice(&compact[32..]);
        Self { r, s, v }
    }

    /// The one form that cannot be respelt: v 27 or 28, 0 < r < n, 0 < s <= n/2.
    ///
    /// # Errors
    /// [`EthError::V`], [`EthError::Range`], [`EthError::HighS`].
    pub fn check_strict(&self) -> Result<(), EthError> {
        let in_range = |scalar: &[u8; 32]| *scalar != [0; 32] && *scalar < CURVE_ORDER;
        if !matches!(self.v, 27 | 28) {
            Err(EthError::V)
        } else if !in_range(&self.r) || !in_range(&self.s) {
            Err(EthError::Range)
        } else if self.s > HALF_ORDER {
            Err(EthError::HighS)
        } else {
            Ok(())
        }
    }

    /// `0x` and 130 lower-case digits.
    pub fn to_rsv(&self) -> String {
        let mut bytes = [0; 65];
        bytes[..32].copy_from_slice(&self.r);
        bytes[32..64].copy_from_slice(&self.s);
        bytes[64] = self.v;
        hex::encode(&bytes)
    }
}

/// Who signed a digest. Takes high `s` and v 0, 1 as well: callers that mind check the strict form first.
///
/// # Errors
/// [`EthError::V`], [`EthError::Range`]; [`EthError::Recovery`] if no key fits.
pub fn recover_prehash(digest: &[u8; 32], signature: &Signature) -> Result<Address, EthError> {
    let id = match signature.v {
        0 | 27 => RecoveryId::Zero,
        1 | 28 => RecoveryId::One,
        _ => return Err(EthError::V),
    };
    let mut compact = [0; 64];
    compact[..32].copy_from_slice(&signature.r);
    compact[32..].copy_from_slice(&signature.s);
    let recoverable =
        RecoverableSignature::from_compact(&compact, id).map_err(|_| EthError::Range)?;
    let key = recoverable
        .recover_ecdsa(Message::from_digest(*digest))
        .map_err(|_| EthError::Recovery)?;
    Ok(Address::of_public_key(&key.serialize_uncompressed()[1..]))
}

/// Who signed a message by `personal_sign`.
///
/// # Errors
/// As [`recover_prehash`].
pub fn recover_personal(message: &[u8], signature: &Signature) -> Result<Address, EthError> {
    recover_prehash(&personal_digest(message), signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eth::SigningKey;

    fn signed() -> (Address, Signature) {
        let key = SigningKey::from_bytes(&[0x46; 32]).unwrap();
        (key.address(), key.personal_sign(b"text"))
    }

    #[test]
    fn half_the_order_is_half_the_order() {
        let mut carry = 0;
        let mut half = [0; 32];
        for (half, byte) in half.iter_mut().zip(CURVE_ORDER) {
            *half = (byte >> 1) | (carry << 7);
            carry = byte & 1;
        }
        assert_eq!(half, HALF_ORDER);
    }

    #[test]
    fn what_is_signed_is_recovered() {
        let (address, signature) = signed();
        assert_eq!(recover_personal(b"text", &signature), Ok(address));
        assert_ne!(recover_personal(b"texT", &signature), Ok(address));
        assert_eq!(Signature::parse_strict(&signature.to_rsv()), Ok(signature));
    }

    #[test]
    fn test_a36_every_respelling_is_refused_by_the_strict_form() {
        let (address, signature) = signed();
        let mut low_v = signature;
        low_v.v -= 27;
        assert_eq!(recover_personal(b"text", &low_v), Ok(address));
        assert_eq!(low_v.check_strict(), Err(EthError::V));

        // n - s with the other v is the same signature.
        let mut high = signature;
        let mut borrow = 0;
        for index in (0..32).rev() {
            let digit = i16::from(CURVE_ORDER[index]) - i16::from(signature.s[index]) - borrow;
            borrow = i16::from(digit < 0);
            high.s[index] = digit.rem_euclid(256) as u8;
        }
        high.v = 27 + 28 - signature.v;
        assert_eq!(recover_personal(b"text", &high), Ok(address));
        assert_eq!(high.check_strict(), Err(EthError::HighS));

        for v in [2, 26, 29, 30, 31, 255] {
            let other = Signature { v, ..signature };
            assert_eq!(recover_personal(b"text", &other), Err(EthError::V));
            assert_eq!(other.check_strict(), Err(EthError::V));
        }
    }

    #[test]
    fn test_a36_scalars_out_of_range_never_recover() {
        let (_, signature) = signed();
        let mut above = CURVE_ORDER;
        above[31] += 1;
        for scalar in [[0; 32], CURVE_ORDER, above, [0xff; 32]] {
            for other in [
                Signature {
                    r: scalar,
                    ..signature
                },
                Signature {
                    s: scalar,
                    ..signature
                },
            ] {
                assert!(recover_personal(b"text", &other).is_err());
                assert_eq!(other.check_strict(), Err(EthError::Range));
            }
        }
        let at_half = Signature {
            s: HALF_ORDER,
            ..signature
        };
        assert_eq!(at_half.check_strict(), Ok(()));
    }

    #[test]
    fn test_a36_other_spellings_are_no_signatures() {
        let rsv = signed().1.to_rsv();
        let upper = rsv.to_uppercase().replace("0X", "0x");
        assert!(Signature::parse_strict(&upper).is_ok());
        for text in [
            "",
            "0x",
            &rsv[2..],
            &rsv[..131],
            &format!("{rsv}0"),
            &format!("{rsv}00"),
            &rsv.replace("0x", "0X"),
        ] {
            assert_eq!(
                Signature::parse(text),
                Err(EthError::SignatureForm),
                "{text}"
            );
        }
    }
}
