//! How long the paths of a document's leaves are, counted without writing any of them.
use super::{JsonError, Limits, Reader, Text, Token, quoted_length};

/// Hands over the length of each non-empty leaf's path as it stands in quotes, until `take` says that it is enough.
///
/// `root` is the length of the document's own path. Names are not compared: where [`super::Leaves`] refuses a
/// document for them, this counts on.
///
/// # Errors
/// As [`super::validate`].
pub(crate) fn path_lengths(
    doc: &[u8],
    root: usize,
    limits: &Limits,
    mut take: impl FnMut(usize) -> bool,
) -> Result<(), JsonError> {
    let mut reader = Reader::new(doc, limits)?;
    let mut frames: Vec<Frame> = Vec::with_capacity(16);
    let mut here = root;
    while let Some(token) = reader.next()? {
        match token {
            Token::Key(name) => {
                let outside = frames.last().map_or(root, |frame| frame.path);
                here = outside + "['']".len() + name_length(&name)?;
            }
            Token::EndObject | Token::EndArray => {
                frames.pop();
            }
            Token::BeginObject | Token::BeginArray | Token::Scalar(_) => {
                if let Some(Frame {
                    path,
                    next: Some(next),
                }) = frames.last_mut()
                {
                    here = *path + "[]".len() + next.checked_ilog10().unwrap_or(0) as usize + 1;
                    *next += 1;
                }
                match token {
                    Token::Scalar(value) => {
                        if !value.is_empty() && !take(here) {
                            return Ok(());
                        }
                    }
                    _ => frames.push(Frame {
                        path: here,
                        next: (token == Token::BeginArray).then_some(0),
                    }),
                }
            }
        }
    }
    Ok(())
}

/// An open bracket.
struct Frame {
    /// Length of its own path.
    path: usize,
    /// The next element's index, in an array.
    next: Option<usize>,
}

/// As it is written between quotes again, which may not be as it stands here.
fn name_length(name: &Text<'_>) -> Result<usize, JsonError> {
    let mut length = 0;
    name.pieces(|piece| length += quoted_length(piece))?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Leaves, quote};

    #[test]
    fn lengths_are_those_of_the_quoted_paths() {
        let many: Vec<String> = (0..1_200).map(|n| format!("[{n},null,\"\"]")).collect();
        for doc in [
            "7".to_owned(),
            "null".to_owned(),
            "[[],{},1]".to_owned(),
            r#"{"b":[null,"x",[],{},[ 1.0e2 ]],"a":{"":false,"n":null,"e":""},"2":"\u00e9","1":-0}"#
                .to_owned(),
            r#"{"a\u0041\n\u0001\"\\é\ud83d\ude00":{"]":1,"\/":[2]},"z":3}"#.to_owned(),
            format!("{{\"a\":[{}],\"b\":1}}", many.join(",")),
        ] {
            let limits = Limits::default();
            let mut leaves = Leaves::new(doc.as_bytes(), "$['body']", &limits).unwrap();
            let mut expected = Vec::new();
            while let Some(leaf) = leaves.next().unwrap() {
                expected.push(quote(leaf.path).len() - 2);
            }
            let mut found = Vec::new();
            let root = "$['body']".len();
            let take = |length| {
                found.push(length);
                true
            };
            path_lengths(doc.as_bytes(), root, &limits, take).unwrap();
            assert_eq!(found, expected, "{doc}");
        }
    }

    #[test]
    fn counting_ends_when_it_is_told_so_and_where_the_grammar_does() {
        let count = |doc: &str, enough: usize| {
            let mut taken = 0;
            let take = |_| {
                taken += 1;
                taken < enough
            };
            let end = path_lengths(doc.as_bytes(), 0, &Limits::default(), take);
            (taken, end.is_ok())
        };
        assert_eq!(count("[1,2,3,}", 2), (2, true));
        assert_eq!(count("[1,2,3,}", 9), (3, false));
        assert_eq!(count(r#"{"\ud800":1}"#, 9), (0, false));
    }
}
