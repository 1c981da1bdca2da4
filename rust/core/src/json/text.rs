//! JSON strings: decoded piece by piece, without a copy where there is no escape.
use std::borrow::Cow;
use std::fmt::Write;

use super::reader::plain_run;
use super::{JsonError, Limits, Reader, Scalar, Token};

/// The inside of a string literal whose escapes are known to be well formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    raw: &'a str,
    escaped: bool,
    offset: usize,
}

impl<'a> Text<'a> {
    pub(super) fn new(raw: &'a str, escaped: bool, offset: usize) -> Self {
        Self {
            raw,
            escaped,
            offset,
        }
    }

    /// Text that came from elsewhere, without escapes whatever it contains.
    pub(crate) fn plain(raw: &'a str) -> Self {
        Self {
            raw,
            escaped: false,
            offset: 0,
        }
    }

    /// The characters between the quotes as they stand in the document.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Where the first character stands in the document.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The bytes of the whole literal in the document, quotes included.
    pub fn literal(&self) -> std::ops::Range<usize> {
        self.offset - 1..self.offset + self.raw.len() + 1
    }

    /// Hands over the decoded characters in pieces, in order.
    ///
    /// # Errors
    /// [`JsonError::Surrogate`] for half of a surrogate pair.
    pub fn pieces(&self, mut piece: impl FnMut(&str)) -> Result<(), JsonError> {
        if !self.escaped {
            piece(self.raw);
            return Ok(());
        }
        let mut rest = self.raw;
        while let Some(at) = rest.find('\\') {
            if at > 0 {
                piece(&rest[..at]);
            }
            let offset = self.offset + self.raw.len() - rest.len() + at;
            let (decoded, length) = unescape(&rest[at..]).ok_or(JsonError::Surrogate { offset })?;
            piece(decoded.encode_utf8(&mut [0; 4]));
            rest = &rest[at + length..];
        }
        if !rest.is_empty() {
            piece(rest);
        }
        Ok(())
    }

    /// The decoded characters in one piece, borrowed if there is no escape.
    ///
    /// # Errors
    /// As [`Text::pieces`].
    pub fn decode(&self) -> Result<Cow<'a, str>, JsonError> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.raw));
        }
        let mut decoded = String::with_capacity(self.raw.len());
        self.pieces(|piece| decoded.push_str(piece))?;
        Ok(Cow::Owned(decoded))
    }

    /// Whether the decoded characters are exactly `other`. Half of a surrogate pair equals nothing.
    pub fn equals(&self, other: &str) -> bool {
        if !self.escaped {
            return self.raw == other;
        }
        let mut rest = Some(other);
        let whole = self.pieces(|piece| rest = rest.and_then(|left| left.strip_prefix(piece)));
        whole.is_ok() && rest == Some("")
    }
}

/// The character of the escape at the start of `text`, and how many bytes it takes.
fn unescape(text: &str) -> Option<(char, usize)> {
    let plain = |character| Some((character, 2));
    match text.as_bytes().get(1)? {
        b'b' => plain('\u{8}'),
        b'f' => plain('\u{c}'),
        b'n' => plain('\n'),
        b'r' => plain('\r'),
        b't' => plain('\t'),
        b'u' => {
            let unit = hex4(text, 2)?;
            if !(0xd800..0xe000).contains(&unit) {
                return Some((char::from_u32(unit)?, 6));
            }
            let low = text
                .get(6..8)
                .filter(|start| *start == "\\u")
                .and(hex4(text, 8))?;
            if unit >= 0xdc00 || !(0xdc00..0xe000).contains(&low) {
                return None;
            }
            let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            Some((char::from_u32(code)?, 12))
        }
        &byte => plain(char::from(byte)),
    }
}

fn hex4(text: &str, at: usize) -> Option<u32> {
    u32::from_str_radix(text.get(at..at + 4)?, 16).ok()
}

/// Decodes a raw string literal, quotes included.
///
/// # Errors
/// [`JsonError::NotAString`] for any other value, [`JsonError::Surrogate`] for half of a surrogate pair.
pub fn string(raw: &[u8]) -> Result<Cow<'_, str>, JsonError> {
    let mut reader = Reader::new(raw, &Limits::default())?;
    let Some(Token::Scalar(Scalar::String(text))) = reader.next()? else {
        return Err(JsonError::NotAString { offset: 0 });
    };
    match reader.next()? {
        None => text.decode(),
        Some(_) => Err(JsonError::NotAString { offset: 0 }),
    }
}

/// A string literal, escaped as `JSON.stringify` does: only what must be.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quote_into(text, &mut quoted);
    quoted
}

/// How many bytes [`quote`] makes of it, quotes apart.
pub(crate) fn quoted_length(text: &str) -> usize {
    let mut length = text.len();
    let mut rest = text.as_bytes();
    while let Some((special, after)) = rest[plain_run(rest)..].split_first() {
        length += match special {
            b'"' | b'\\' | 8 | 9 | 10 | 12 | 13 => 1,
            _ => 5,
        };
        rest = after;
    }
    length
}

/// [`quote`] at the end of `out`.
pub(crate) fn quote_into(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    loop {
        let at = plain_run(rest.as_bytes());
        out.push_str(&rest[..at]);
        let Some(special) = rest.as_bytes().get(at) else {
            break;
        };
        match special {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            8 => out.push_str("\\b"),
            12 => out.push_str("\\f"),
            control => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{control:04x}");
            }
        }
        rest = &rest[at + 1..];
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded() {
        let raw = r#""\"\\\/\b\f\n\r\t\u00e9\uD83d\uDE00a\u0000""#;
        let expected = "\"\\/\u{8}\u{c}\n\r\té😀a\0";
        assert_eq!(string(raw.as_bytes()).as_deref(), Ok(expected));
        assert!(matches!(string(b"\"plain\""), Ok(Cow::Borrowed("plain"))));
        assert_eq!(string(quote(expected).as_bytes()).as_deref(), Ok(expected));
        assert_eq!(
            quote("a\"\\\n\u{1}\u{7f}é"),
            "\"a\\\"\\\\\\n\\u0001\u{7f}é\""
        );
        for text in ["", "plain", expected, "a\u{1}\u{1f}\u{20}\u{7f}é\"\\"] {
            assert_eq!(quoted_length(text) + 2, quote(text).len(), "{text:?}");
        }
    }

    #[test]
    fn test_a28_lone_surrogates_are_refused_where_they_are_decoded() {
        for raw in [
            r#""x\ud800""#,
            r#""x\udc00""#,
            r#""x\ud800\ud800""#,
            r#""x\ud800\n""#,
            r#""x\ud800\u0041""#,
        ] {
            assert_eq!(
                string(raw.as_bytes()),
                Err(JsonError::Surrogate { offset: 2 }),
                "{raw}"
            );
        }
    }

    #[test]
    fn other_values_are_no_strings() {
        for raw in ["1", "null", "[\"a\"]", "{}"] {
            assert_eq!(
                string(raw.as_bytes()),
                Err(JsonError::NotAString { offset: 0 }),
                "{raw}"
            );
        }
        assert!(string(b"\"a\" \"b\"").is_err());
    }
}
