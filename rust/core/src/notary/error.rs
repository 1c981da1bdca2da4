//! Why a signature is refused: the failed check and the first leaf that differs.
use std::fmt;

use crate::json::JsonError;

/// The check that failed, named as in `ocn-notary.md` 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Container,
    Coverage,
    Document,
    Empty,
    Encoding,
    Format,
    Hash,
    Limits,
    Number,
    Order,
    RewriteHash,
    RewritePath,
    RewriteSignatory,
    RewriteValue,
    Signatory,
    Signature,
    Size,
}

impl Reason {
    /// The code of the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Coverage => "coverage",
            Self::Document => "document",
            Self::Empty => "empty",
            Self::Encoding => "encoding",
            Self::Format => "format",
            Self::Hash => "hash",
            Self::Limits => "limits",
            Self::Number => "number",
            Self::Order => "order",
            Self::RewriteHash => "rewrite_hash",
            Self::RewritePath => "rewrite_path",
            Self::RewriteSignatory => "rewrite_signatory",
            Self::RewriteValue => "rewrite_value",
            Self::Signatory => "signatory",
            Self::Signature => "signature",
            Self::Size => "size",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Container => "the signature is neither one Brotli stream nor one gzip member",
            Self::Coverage => "the signed paths are not the leaves of the message",
            Self::Document => "the message is no JSON that can be signed",
            Self::Empty => "nothing is signed",
            Self::Encoding => "the signature is not padded standard Base64",
            Self::Format => "the notary object has another shape",
            Self::Hash => "the message has been modified",
            Self::Limits => "the signature or the message exceeds a limit",
            Self::Number => "a number has more digits than the signature covers",
            Self::Order => "the signed paths are in another order",
            Self::RewriteHash => {
                "the stashed values do not restore the message of the previous signature"
            }
            Self::RewritePath => "a value was rewritten that must not be",
            Self::RewriteSignatory => "the previous signature is not by its signatory",
            Self::RewriteValue => "a stashed value is empty or not a scalar",
            Self::Signatory => "the signature is not by its signatory",
            Self::Signature => "r, s or v is not that of a signature in its strict form",
            Self::Size => "the signature is larger than allowed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refused signature. The text is from our own list and repeats nothing of the input; the path does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotaryError {
    pub reason: Reason,
    /// The first leaf that differs, where one can be told; at most 256 characters of it.
    pub path: Option<String>,
    /// The rewrite concerned, counted from 0 at the newest, as existing implementations do.
    pub rewrite: Option<u8>,
}

impl NotaryError {
    pub(super) fn new(reason: Reason) -> Self {
        Self {
            reason,
            path: None,
            rewrite: None,
        }
    }

    #[cold]
    pub(super) fn at(reason: Reason, path: &str) -> Self {
        const SHOWN: usize = 256;
        let path = path.chars().take(SHOWN).collect();
        Self {
            reason,
            path: Some(path),
            rewrite: None,
        }
    }

    pub(super) fn in_rewrite(mut self, rewrite: usize) -> Self {
        self.rewrite = u8::try_from(rewrite).ok();
        self
    }
}

/// Of the signed document. What the notary object itself does wrong is a matter of format.
impl From<JsonError> for NotaryError {
    fn from(error: JsonError) -> Self {
        Self::new(match error {
            JsonError::Depth { .. } | JsonError::NumberLength { .. } => Reason::Limits,
            JsonError::Duplicate { .. }
            | JsonError::Encoding { .. }
            | JsonError::NotAnObject { .. }
            | JsonError::NotAString { .. }
            | JsonError::Quote { .. }
            | JsonError::Surrogate { .. }
            | JsonError::Syntax { .. } => Reason::Document,
        })
    }
}

impl fmt::Display for NotaryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rewrite) = self.rewrite {
            write!(f, "rewrite {rewrite}: ")?;
        }
        f.write_str(self.reason.sentence())
    }
}

impl std::error::Error for NotaryError {}
