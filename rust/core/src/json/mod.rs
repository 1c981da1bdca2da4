//! One pass over raw JSON bytes: leaves with their paths, in order; members; splice of one value in place.
//!
//! Everything here reads the document as it came over the wire (RFC 8259, UTF-8, no byte order mark) and
//! never builds a tree. The walk is a loop with a bit per open bracket, so nesting costs no stack; it
//! allocates for the deepest path and the widest object, never per leaf. Numbers keep their lexemes.
//! `safety.md` A25 to A30.
mod edit;
mod leaves;
mod lengths;
mod reader;
mod text;

pub(crate) use edit::TopLevel;
pub use edit::{Removed, insert_member, members, remove_member, splice};
pub use leaves::{Leaf, Leaves};
pub(crate) use lengths::path_lengths;
pub use reader::{Reader, Scalar, Token, validate};
pub use text::{Text, quote, string};
pub(crate) use text::{quote_into, quoted_length};

/// The deepest nesting that [`Limits::depth`] can allow: one bit each is kept for open brackets.
pub const MAX_DEPTH: usize = 1024;

/// Bounds of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Brackets open at the same time, at most [`MAX_DEPTH`].
    pub depth: usize,
    /// Characters of one number.
    pub number_chars: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 128,
            number_chars: 1_000,
        }
    }
}

/// Why a document is refused. The text never repeats the input; `offset` counts bytes from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("nesting is deeper than allowed at byte {offset}")]
    Depth { offset: usize },
    #[error("a member appears twice in one object at byte {offset}")]
    Duplicate { offset: usize },
    #[error("not UTF-8, or starts with a byte order mark, at byte {offset}")]
    Encoding { offset: usize },
    #[error("expected a JSON object at byte {offset}")]
    NotAnObject { offset: usize },
    #[error("expected a JSON string at byte {offset}")]
    NotAString { offset: usize },
    #[error("a number has more characters than allowed at byte {offset}")]
    NumberLength { offset: usize },
    #[error("a member name contains an apostrophe at byte {offset}")]
    Quote { offset: usize },
    #[error("half of a surrogate pair at byte {offset}")]
    Surrogate { offset: usize },
    #[error("not JSON (RFC 8259) at byte {offset}")]
    Syntax { offset: usize },
}

impl JsonError {
    /// Where in the document, in bytes from its start.
    pub fn offset(&self) -> usize {
        match *self {
            Self::Depth { offset }
            | Self::Duplicate { offset }
            | Self::Encoding { offset }
            | Self::NotAnObject { offset }
            | Self::NotAString { offset }
            | Self::NumberLength { offset }
            | Self::Quote { offset }
            | Self::Surrogate { offset }
            | Self::Syntax { offset } => offset,
        }
    }
}
