//! The leaves of a document with their paths, in document order (`ocn-notary.md` 3).
use std::ops::Range;

use super::{JsonError, Limits, Reader, Scalar, Text, Token};

/// A scalar that is neither `null` nor `""`.
#[derive(Debug, Clone)]
pub struct Leaf<'p, 'a> {
    /// For example `$['body']['evses'][0]['uid']`; names decoded, otherwise as they are.
    pub path: &'p str,
    pub value: Scalar<'a>,
    /// The bytes of the value in the document.
    pub range: Range<usize>,
}

/// Walks the leaves of one document.
///
/// Stricter than the grammar, as the paths must be unique and say what they mean: refuses repeated
/// members (compared after unescaping), member names with `'`, and half surrogate pairs in names.
#[derive(Debug, Clone)]
pub struct Leaves<'a> {
    reader: Reader<'a>,
    path: String,
    frames: Vec<Frame>,
    /// The names of all open objects, innermost last.
    names: Vec<Name<'a>>,
}

/// An open bracket.
#[derive(Debug, Clone, Copy)]
struct Frame {
    /// Length of its own path.
    path: usize,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Array {
        next: usize,
    },
    Object {
        /// Where its names start in [`Leaves::names`].
        names: usize,
    },
}

#[derive(Debug, Clone, Copy)]
struct Name<'a> {
    /// Equal for equal names and different for most others: makes comparing cheap.
    tag: u64,
    text: Text<'a>,
}

impl<'a> Leaves<'a> {
    /// `root` is the path of the document itself.
    ///
    /// # Errors
    /// As [`Reader::new`].
    pub fn new(doc: &'a [u8], root: &str, limits: &Limits) -> Result<Self, JsonError> {
        let mut path = String::with_capacity(256);
        path.push_str(root);
        Ok(Self {
            reader: Reader::new(doc, limits)?,
            path,
            frames: Vec::with_capacity(16),
            names: Vec::with_capacity(32),
        })
    }

    /// The next leaf; `None` after the end of a complete document.
    ///
    /// # Errors
    /// As [`super::validate`], and those named at [`Leaves`].
    #[allow(clippy::should_implement_trait)] // lends the path buffer, which an iterator cannot
    pub fn next(&mut self) -> Result<Option<Leaf<'_, 'a>>, JsonError> {
        while let Some(token) = self.reader.next()? {
            match token {
                Token::Key(text) => self.enter_member(text)?,
                Token::BeginObject => {
                    self.enter_element();
                    self.push(Kind::Object {
                        names: self.names.len(),
                    });
                }
                Token::BeginArray => {
                    self.enter_element();
                    self.push(Kind::Array { next: 0 });
                }
                Token::EndObject | Token::EndArray => self.leave()?,
                Token::Scalar(value) => {
                    self.enter_element();
                    if !value.is_empty() {
                        let range = self.reader.range();
                        return Ok(Some(Leaf {
                            path: &self.path,
                            value,
                            range,
                        }));
                    }
                }
            }
        }
        Ok(None)
    }

    fn push(&mut self, kind: Kind) {
        self.frames.push(Frame {
            path: self.path.len(),
            kind,
        });
    }

    /// Appends the index if the value at hand is an element of an array.
    fn enter_element(&mut self) {
        if let Some(Frame {
            path,
            kind: Kind::Array { next },
        }) = self.frames.last_mut()
        {
            self.path.truncate(*path);
            push_index(*next, &mut self.path);
            *next += 1;
        }
    }

    fn enter_member(&mut self, text: Text<'a>) -> Result<(), JsonError> {
        if let Some(frame) = self.frames.last() {
            self.path.truncate(frame.path);
        }
        self.path.push_str("['");
        let from = self.path.len();
        let path = &mut self.path;
        text.pieces(|piece| path.push_str(piece))?;
        let name = &self.path.as_bytes()[from..];
        if name.contains(&b'\'') {
            return Err(JsonError::Quote {
                offset: text.offset(),
            });
        }
        self.names.push(Name {
            tag: tag(name),
            text,
        });
        self.path.push_str("']");
        Ok(())
    }

    fn leave(&mut self) -> Result<(), JsonError> {
        if let Some(frame) = self.frames.pop() {
            self.path.truncate(frame.path);
            if let Kind::Object { names } = frame.kind {
                refuse_duplicates(&mut self.names[names..])?;
                self.names.truncate(names);
            }
        }
        Ok(())
    }
}

/// Appends `[index]`. Formatting it the usual way would take most of a short leaf's time.
fn push_index(index: usize, path: &mut String) {
    path.push('[');
    let mut place = 1;
    while index / place >= 10 {
        place *= 10;
    }
    while place > 0 {
        path.push(char::from(b'0' + (index / place % 10) as u8));
        place /= 10;
    }
    path.push(']');
}

/// Length, first and last eight bytes.
fn tag(name: &[u8]) -> u64 {
    let eight = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    let first = &name[..name.len().min(8)];
    let last = &name[name.len().saturating_sub(8)..];
    eight(first) ^ eight(last).rotate_left(27) ^ (name.len() as u64).rotate_left(47)
}

/// Small objects pair by pair, larger ones sorted: `n log n` whatever the names are.
fn refuse_duplicates(names: &mut [Name<'_>]) -> Result<(), JsonError> {
    const PAIRWISE: usize = 24;
    if names.len() > PAIRWISE {
        names.sort_unstable_by(|a, b| a.tag.cmp(&b.tag).then_with(|| compare(&a.text, &b.text)));
        return match names.windows(2).find(|pair| same(&pair[0], &pair[1])) {
            Some(pair) => Err(JsonError::Duplicate {
                offset: pair[0].text.offset().max(pair[1].text.offset()),
            }),
            None => Ok(()),
        };
    }
    for (index, name) in names.iter().enumerate() {
        if names[..index].iter().any(|other| same(other, name)) {
            return Err(JsonError::Duplicate {
                offset: name.text.offset(),
            });
        }
    }
    Ok(())
}

fn same(a: &Name<'_>, b: &Name<'_>) -> bool {
    a.tag == b.tag && compare(&a.text, &b.text).is_eq()
}

/// By decoded characters. Names were decoded before, so nothing can fail here any more.
fn compare(a: &Text<'_>, b: &Text<'_>) -> std::cmp::Ordering {
    a.decode().ok().cmp(&b.decode().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(doc: &str) -> Result<Vec<(String, String)>, JsonError> {
        let mut walk = Leaves::new(doc.as_bytes(), "$", &Limits::default())?;
        let mut found = Vec::new();
        while let Some(leaf) = walk.next()? {
            found.push((leaf.path.to_owned(), doc[leaf.range].to_owned()));
        }
        Ok(found)
    }

    #[test]
    fn leaves_come_in_document_order_and_empty_ones_only_count_as_elements() {
        let doc = r#"{"b":[null,"x",[],{},[ 1.0e2 ]],"a":{"":false,"n":null,"e":""},"2":"\u00e9","1":-0}"#;
        let expected = [
            ("$['b'][1]", "\"x\""),
            ("$['b'][4][0]", "1.0e2"),
            ("$['a']['']", "false"),
            ("$['2']", r#""\u00e9""#),
            ("$['1']", "-0"),
        ];
        let found = leaves(doc).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(leaves("7").unwrap(), [("$".to_owned(), "7".to_owned())]);
        assert_eq!(leaves("[[]]").unwrap(), []);
    }

    #[test]
    fn indices_are_written_in_full() {
        for index in [0, 1, 9, 10, 99, 100, 101, 90_807, usize::MAX] {
            let mut path = String::new();
            push_index(index, &mut path);
            assert_eq!(path, format!("[{index}]"));
        }
    }

    #[test]
    fn names_are_decoded_into_the_path() {
        let found = leaves(r#"{"a\u005f\n\"\ud83d\ude00":{"]":1}}"#).unwrap();
        assert_eq!(found[0].0, "$['a_\n\"😀'][']']");
    }

    #[test]
    fn test_a26_repeated_members_are_refused_however_they_are_spelt() {
        assert_eq!(
            leaves(r#"{"a":1,"\u0061":2}"#),
            Err(JsonError::Duplicate { offset: 8 })
        );
        assert_eq!(
            leaves(r#"{"a":{"b":1},"c":{"b":null,"b":2}}"#),
            Err(JsonError::Duplicate { offset: 28 })
        );
        assert!(leaves(r#"{"a":{"a":[{"a":1},{"a":2}]}}"#).is_ok());
        for width in [2, 24, 25, 300] {
            let names: Vec<_> = (0..width)
                .map(|n| format!("\"name number {n} of some\":{n}"))
                .collect();
            assert!(leaves(&format!("{{{}}}", names.join(","))).is_ok());
            let repeated = format!("{{{},\"name number \\u0031 of some\":0}}", names.join(","));
            assert!(
                matches!(leaves(&repeated), Err(JsonError::Duplicate { .. })),
                "{width}"
            );
        }
    }

    #[test]
    fn test_a30_names_that_would_blur_paths_are_refused() {
        assert_eq!(
            leaves(r#"{"a']['b":1}"#),
            Err(JsonError::Quote { offset: 2 })
        );
        assert_eq!(
            leaves(r#"{"\u0027":1}"#),
            Err(JsonError::Quote { offset: 2 })
        );
        assert!(matches!(
            leaves(r#"{"\ud800":1}"#),
            Err(JsonError::Surrogate { .. })
        ));
    }
}
