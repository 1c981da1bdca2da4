//! Addresses of keys and contracts.
use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;

use super::{EthError, hex, keccak256};

/// The last 20 bytes of the keccak-256 of a public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address([u8; 20]);

/// How many checksums a thread remembers: 16 KB.
const KNOWN_ADDRESSES: usize = 256;

/// An address and its digits with the checksum.
type Known = Option<(Address, [u8; 40])>;

thread_local! {
    /// Each address has one place, which it shares with others: whoever collides on purpose slows only that.
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

impl Address {
    /// The address of these bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The 20 bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Reads an address that is all lower case or has the correct EIP-55 checksum.
    ///
    /// # Errors
    /// [`EthError::AddressForm`], [`EthError::Checksum`].
    pub fn from_checksummed(text: &str) -> Result<Self, EthError> {
        let address: Self = text.parse()?;
        let digits = &text[2..];
        let lower = !digits.bytes().any(|byte| byte.is_ascii_uppercase());
        if lower || address.digits() == *digits.as_bytes() {
            Ok(address)
        } else {
            Err(EthError::Checksum)
        }
    }

    /// The address of a public key: 64 bytes, x and y.
    pub(super) fn of_public_key(point: &[u8]) -> Self {
        let digest = keccak256(point);
        let mut bytes = [0; 20];
        bytes.copy_from_slice(&digest[12..]);
        Self(bytes)
    }

    /// The 40 digits, in the case that EIP-55 asks for.
    ///
    /// Each message brings the same few addresses several times over, so each thread remembers some.
    fn digits(&self) -> [u8; 40] {
        KNOWN.with_borrow_mut(|known| {
            if known.is_empty() {
                known.resize(KNOWN_ADDRESSES, None);
            }
            let place = &mut known[usize::from(self.0[19]) % KNOWN_ADDRESSES];
            match place {
                Some((address, digits)) if address == self => *digits,
                _ => {
                    let digits = self.checksummed();
                    *place = Some((*self, digits));
                    digits
                }
            }
        })
    }

    fn checksummed(&self) -> [u8; 40] {
        let mut digits = [0; 40];
        let text = hex::encode(&self.0);
        digits.copy_from_slice(&text.as_bytes()[2..]);
        let digest = keccak256(&digits);
        for (index, digit) in digits.iter_mut().enumerate() {
            let nibble = (digest[index / 2] >> (4 * (1 - index % 2))) & 15;
            if nibble >= 8 {
                digit.make_ascii_uppercase();
            }
        }
        digits
    }
}

impl fmt::Display for Address {
    /// `0x` and 40 digits with the EIP-55 checksum.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        f.write_str(std::str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = EthError;

    /// Reads `0x` and 40 digits of any case; a checksum is not looked at.
    fn from_str(text: &str) -> Result<Self, EthError> {
        hex::decode(text).map(Self).ok_or(EthError::AddressForm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_checksums_are_those_of_the_address() {
        let address = |number: u16| {
            let mut bytes = [0x5a; 20];
            bytes[..2].copy_from_slice(&number.to_le_bytes());
            bytes[19] = (number % 3) as u8;
            Address(bytes)
        };
        for number in (0..60).chain(0..60) {
            let address = address(number);
            assert_eq!(address.digits(), address.checksummed());
            assert_eq!(address.digits(), address.checksummed());
        }
    }

    /// The examples of EIP-55.
    const EXAMPLES: [&str; 8] = [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ];

    #[test]
    fn addresses_are_written_with_their_checksum() {
        for example in EXAMPLES {
            let address: Address = example.to_lowercase().parse().unwrap();
            assert_eq!(address.to_string(), example);
            assert_eq!(Address::from_checksummed(example), Ok(address));
            assert_eq!(
                Address::from_checksummed(&example.to_lowercase()),
                Ok(address)
            );
        }
    }

    #[test]
    fn test_a36_a_wrong_checksum_is_refused_where_one_is_asked_for() {
        let wrong = "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        assert_eq!(Address::from_checksummed(wrong), Err(EthError::Checksum));
        assert!(wrong.parse::<Address>().is_ok());
        let upper = EXAMPLES[4].to_uppercase().replace("0X", "0x");
        assert_eq!(Address::from_checksummed(&upper), Err(EthError::Checksum));
        for text in [
            "",
            "0x",
            &EXAMPLES[0][2..],
            &EXAMPLES[0][..41],
            "0X52908400098527886E0F7030069857D2E4169EE7",
        ] {
            assert_eq!(
                text.parse::<Address>(),
                Err(EthError::AddressForm),
                "{text}"
            );
        }
    }
}
