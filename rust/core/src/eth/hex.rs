//! Hexadecimal text with `0x` in front.
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// `0x` and two lower-case digits a byte.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Exactly `N` bytes from `0x` and `2 * N` digits of any case.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    let mut seen = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (nibble(pair[0]), nibble(pair[1]));
        seen |= high | low;
        *byte = (high << 4) | (low & 15);
    }
    (seen < 16).then_some(bytes)
}

/// What each byte is worth as a digit; [`NO_DIGIT`] for others.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        let digit = DIGITS[value as usize];
        nibbles[digit as usize] = value;
        nibbles[digit.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    nibbles
};
const NO_DIGIT: u8 = 0xff;

fn nibble(digit: u8) -> u8 {
    NIBBLES[usize::from(digit)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_length_with_prefix_is_read() {
        assert_eq!(encode(&[0, 0xab, 0xff]), "0x00abff");
        assert_eq!(decode::<3>("0x00ABff"), Some([0, 0xab, 0xff]));
        for text in [
            "",
            "0x",
            "00abff",
            "0X00abff",
            "0x00abf",
            "0x00abff0",
            "0x00abfg",
            "0x+0abff",
            "0xé0abf",
        ] {
            assert_eq!(decode::<3>(text), None, "{text}");
        }
    }
}
