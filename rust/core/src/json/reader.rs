//! The tokens of a document, pulled one at a time by a loop: no recursion, no allocation.
use std::ops::Range;

use super::{JsonError, Limits, MAX_DEPTH, Text};

/// One step of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    BeginArray,
    BeginObject,
    EndArray,
    EndObject,
    Key(Text<'a>),
    Scalar(Scalar<'a>),
}

/// A value without parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar<'a> {
    Bool(bool),
    Null,
    /// The lexeme as it stands in the document.
    Number(&'a str),
    String(Text<'a>),
}

impl Scalar<'_> {
    /// Whether the value is `null` or `""`, which the notary counts as absent.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::String(text) => text.raw().is_empty(),
            Self::Bool(_) | Self::Number(_) => false,
        }
    }
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    FirstElement,
    FirstKey,
    CommaOrEnd,
    End,
}

/// Pulls tokens out of a document, checking all of RFC 8259 on the way.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    text: &'a str,
    pos: usize,
    start: usize,
    expect: Expect,
    depth: usize,
    /// One bit per open bracket, innermost at `depth - 1`: set for an object.
    objects: [u64; MAX_DEPTH / 64],
    limits: Limits,
}

impl<'a> Reader<'a> {
    /// Checks the encoding of the whole document; reads nothing else yet.
    ///
    /// # Errors
    /// [`JsonError::Encoding`] for bytes that are not UTF-8, or a byte order mark.
    pub fn new(doc: &'a [u8], limits: &Limits) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(doc).map_err(|error| JsonError::Encoding {
            offset: error.valid_up_to(),
        })?;
        if text.starts_with('\u{feff}') {
            return Err(JsonError::Encoding { offset: 0 });
        }
        Ok(Self {
            text,
            pos: 0,
            start: 0,
            expect: Expect::Value,
            depth: 0,
            objects: [0; MAX_DEPTH / 64],
            limits: Limits {
                depth: limits.depth.min(MAX_DEPTH),
                ..*limits
            },
        })
    }

    /// The bytes of the token returned last; for a key, up to the colon.
    pub fn range(&self) -> Range<usize> {
        self.start..self.pos
    }

    /// Brackets open now.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The next token; `None` after the end of a complete document.
    #[allow(clippy::should_implement_trait)] // fallible, and ends with the document rather than the items
    pub fn next(&mut self) -> Result<Option<Token<'a>>, JsonError> {
        self.skip_blanks();
        self.start = self.pos;
        match self.expect {
            Expect::Value => self.value().map(Some),
            Expect::FirstElement if self.peek() == Some(b']') => self.close().map(Some),
            Expect::FirstElement => self.value().map(Some),
            Expect::FirstKey if self.peek() == Some(b'}') => self.close().map(Some),
            Expect::FirstKey => self.key().map(Some),
            Expect::CommaOrEnd => {
                let object = self.in_object();
                match self.peek() {
                    Some(b',') => {
                        self.pos += 1;
                        self.skip_blanks();
                        self.start = self.pos;
                        if object { self.key() } else { self.value() }.map(Some)
                    }
                    Some(b'}') if object => self.close().map(Some),
                    Some(b']') if !object => self.close().map(Some),
                    _ => Err(self.syntax()),
                }
            }
            Expect::End if self.pos == self.text.len() => Ok(None),
            Expect::End => Err(self.syntax()),
        }
    }

    fn value(&mut self) -> Result<Token<'a>, JsonError> {
        let scalar = match self.peek() {
            Some(b'{') => return self.open(true),
            Some(b'[') => return self.open(false),
            Some(b'"') => Scalar::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => Scalar::Number(self.number()?),
            Some(b't') => self.word("true", Scalar::Bool(true))?,
            Some(b'f') => self.word("false", Scalar::Bool(false))?,
            Some(b'n') => self.word("null", Scalar::Null)?,
            _ => return Err(self.syntax()),
        };
        self.after_value();
        Ok(Token::Scalar(scalar))
    }

    fn open(&mut self, object: bool) -> Result<Token<'a>, JsonError> {
        if self.depth >= self.limits.depth {
            return Err(JsonError::Depth { offset: self.pos });
        }
        let (word, bit) = (self.depth / 64, 1 << (self.depth % 64));
        if object {
            self.objects[word] |= bit;
        } else {
            self.objects[word] &= !bit;
        }
        self.depth += 1;
        self.pos += 1;
        if object {
            self.expect = Expect::FirstKey;
            Ok(Token::BeginObject)
        } else {
            self.expect = Expect::FirstElement;
            Ok(Token::BeginArray)
        }
    }

    /// The closing bracket under the cursor is known to match.
    fn close(&mut self) -> Result<Token<'a>, JsonError> {
        let token = if self.in_object() {
            Token::EndObject
        } else {
            Token::EndArray
        };
        self.pos += 1;
        self.depth -= 1;
        self.after_value();
        Ok(token)
    }

    fn key(&mut self) -> Result<Token<'a>, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax());
        }
        let key = self.string()?;
        self.skip_blanks();
        if self.peek() != Some(b':') {
            return Err(self.syntax());
        }
        self.pos += 1;
        self.expect = Expect::Value;
        Ok(Token::Key(key))
    }

    fn after_value(&mut self) {
        self.expect = if self.depth == 0 {
            Expect::End
        } else {
            Expect::CommaOrEnd
        };
    }

    fn string(&mut self) -> Result<Text<'a>, JsonError> {
        let bytes = self.text.as_bytes();
        let from = self.pos + 1;
        let mut at = from;
        let mut escaped = false;
        loop {
            at += plain_run(&bytes[at..]);
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += match bytes.get(at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u') if is_hex4(bytes.get(at + 2..at + 6)) => 6,
                        _ => return Err(JsonError::Syntax { offset: at }),
                    };
                }
                _ => return Err(JsonError::Syntax { offset: at }),
            }
        }
        self.pos = at + 1;
        Ok(Text::new(&self.text[from..at], escaped, from))
    }

    fn number(&mut self) -> Result<&'a str, JsonError> {
        let bytes = self.text.as_bytes();
        let start = self.pos;
        let mut at = start + usize::from(bytes[start] == b'-');
        let integer = digits(&bytes[at..]);
        if integer == 0 || (integer > 1 && bytes[at] == b'0') {
            return Err(JsonError::Syntax { offset: start });
        }
        at += integer;
        if bytes.get(at) == Some(&b'.') {
            let fraction = digits(&bytes[at + 1..]);
            if fraction == 0 {
                return Err(JsonError::Syntax { offset: at });
            }
            at += 1 + fraction;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let exponent = digits(&bytes[at + 1 + sign..]);
            if exponent == 0 {
                return Err(JsonError::Syntax { offset: at });
            }
            at += 1 + sign + exponent;
        }
        if at - start > self.limits.number_chars {
            return Err(JsonError::NumberLength { offset: start });
        }
        self.pos = at;
        Ok(&self.text[start..at])
    }

    fn word(&mut self, word: &str, scalar: Scalar<'a>) -> Result<Scalar<'a>, JsonError> {
        if !self.text.as_bytes()[self.pos..].starts_with(word.as_bytes()) {
            return Err(self.syntax());
        }
        self.pos += word.len();
        Ok(scalar)
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.pos += 1;
        }
    }

    fn in_object(&self) -> bool {
        let innermost = self.depth - 1;
        self.objects[innermost / 64] & (1 << (innermost % 64)) != 0
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    fn syntax(&self) -> JsonError {
        JsonError::Syntax { offset: self.pos }
    }
}

/// Checks that `doc` is one JSON text. Repeated members and lone surrogates are grammar, so they pass.
///
/// # Errors
/// Anything that RFC 8259 does not allow, or that exceeds `limits`.
pub fn validate(doc: &[u8], limits: &Limits) -> Result<(), JsonError> {
    let mut reader = Reader::new(doc, limits)?;
    while reader.next()?.is_some() {}
    Ok(())
}

/// How many bytes of a string come before the next quote, backslash or control character.
///
/// Eight bytes at a time: a borrow can only reach bytes above the first hit, so the lowest hit is exact.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut rest = bytes;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * 0x22);
        let slash = word ^ (ONES * 0x5c);
        let hit = (word.wrapping_sub(ONES * 0x20) & !word)
            | (quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash);
        let hit = hit & HIGHS;
        if hit != 0 {
            return bytes.len() - rest.len() + hit.trailing_zeros() as usize / 8;
        }
        rest = tail;
    }
    let more = rest
        .iter()
        .take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    bytes.len() - rest.len() + more.count()
}

fn digits(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count()
}

fn is_hex4(bytes: Option<&[u8]>) -> bool {
    bytes.is_some_and(|four| four.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(doc: &[u8]) -> Result<(), JsonError> {
        validate(doc, &Limits::default())
    }

    #[test]
    fn test_a29_what_the_grammar_allows_passes() {
        for doc in [
            "0",
            "-0",
            "-0.0e-0",
            "1E+2",
            "true",
            " null ",
            "\"\"",
            "[]",
            "{}",
            "[[],{}]",
            "\t[1 , 2\r\n]",
            r#"{"":0}"#,
            r#"{"a":1,"a":2}"#,
            r#""\"\\\/\b\f\n\r\t\u00e9""#,
            r#""\ud800""#,
            r#""\uDC00x""#,
            "\"\u{7f}\u{2028}😀\"",
            "[1e400]",
            "[123456789012345678901234567890]",
            r#"["\u0000"]"#,
        ] {
            assert_eq!(judge(doc.as_bytes()), Ok(()), "{doc}");
        }
    }

    #[test]
    fn test_a29_what_the_grammar_does_not_allow_is_refused() {
        for doc in [
            "",
            " ",
            "01",
            "-",
            "-a",
            "+1",
            "1.",
            ".5",
            "1e",
            "1e+",
            "0x1",
            "NaN",
            "Infinity",
            "-Infinity",
            "tru",
            "True",
            "nul",
            "truex",
            "[",
            "]",
            "{",
            "}",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1}",
            "{1:2}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":1]",
            "{\"a\" 1}",
            "{a:1}",
            "{'a':1}",
            "[]x",
            "[] []",
            "1 2",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "\"\t\"",
            "\"\u{0}\"",
            "/**/1",
            "1//",
            "#",
            "\u{c}1",
            "\u{a0}1",
            "\u{2060}1",
            "[\"a\",\n4\n,1,",
            "{\"a\":\"b\"}#",
            "[\u{0}]",
        ] {
            assert!(
                matches!(judge(doc.as_bytes()), Err(JsonError::Syntax { .. })),
                "{doc}"
            );
        }
    }

    #[test]
    fn test_a28_other_encodings_are_refused() {
        for doc in [
            &b"\xef\xbb\xbf1"[..],
            b"\"\xff\"",
            b"\"\xed\xa0\x80\"",
            b"\"\xc0\xaf\"",
            b"\xff\xfe1\0",
            b"\"\xe2\x82\"",
        ] {
            assert!(
                matches!(judge(doc), Err(JsonError::Encoding { .. })),
                "{doc:?}"
            );
        }
        assert!(judge(b"\0\"\0a\0\"").is_err());
    }

    #[test]
    fn test_a25_depth_at_the_limit_and_one_above() {
        for limit in [1, 63, 64, 65, 128, MAX_DEPTH] {
            let limits = Limits {
                depth: limit,
                ..Limits::default()
            };
            let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
            assert_eq!(validate(nested(limit).as_bytes(), &limits), Ok(()));
            let error = validate(nested(limit + 1).as_bytes(), &limits);
            assert_eq!(error, Err(JsonError::Depth { offset: limit }));
        }
        let unbounded = Limits {
            depth: usize::MAX,
            ..Limits::default()
        };
        let error = validate("[".repeat(4_000_000).as_bytes(), &unbounded);
        assert_eq!(error, Err(JsonError::Depth { offset: MAX_DEPTH }));
    }

    #[test]
    fn brackets_of_both_kinds_must_match_at_every_depth() {
        let doc = "{\"a\":[".repeat(40) + &"]}".repeat(40);
        assert_eq!(judge(doc.as_bytes()), Ok(()));
        for at in 0..80 {
            let mut broken = doc.clone().into_bytes();
            let end = broken.len() - 1 - at;
            broken[end] = if broken[end] == b']' { b'}' } else { b']' };
            assert!(judge(&broken).is_err(), "{at}");
        }
    }

    #[test]
    fn test_a27_number_length_at_the_limit_and_one_above() {
        let limits = Limits::default();
        assert_eq!(validate("1".repeat(1_000).as_bytes(), &limits), Ok(()));
        let error = validate(format!("[{}]", "1".repeat(1_001)).as_bytes(), &limits);
        assert_eq!(error, Err(JsonError::NumberLength { offset: 1 }));
    }

    #[test]
    fn strings_end_at_the_first_quote_wherever_it_stands() {
        for length in 0..40 {
            let doc = format!("\"{}\"", "é".repeat(length / 2) + &"x".repeat(length % 2));
            assert_eq!(judge(doc.as_bytes()), Ok(()), "{length}");
            for control in [0u8, 1, 0x1f] {
                let mut broken = doc.clone().into_bytes();
                broken.insert(1, control);
                assert_eq!(
                    judge(&broken),
                    Err(JsonError::Syntax { offset: 1 }),
                    "{length}"
                );
            }
        }
    }
}
