//! Members of the top-level object, and edits that keep every other byte.
use std::ops::Range;

use super::text::quote_into;
use super::{JsonError, Limits, Reader, Text, Token};

/// Checks the whole document and finds some members of its top-level object.
///
/// Gives the ranges of the raw values, in the order of `names`. Names are compared after unescaping.
///
/// # Errors
/// [`JsonError::NotAnObject`] unless the top is an object; [`JsonError::Duplicate`] if a wanted member
/// appears twice (`safety.md` A26); otherwise as [`super::validate`].
pub fn members<const N: usize>(
    doc: &[u8],
    names: [&str; N],
    limits: &Limits,
) -> Result<[Option<Range<usize>>; N], JsonError> {
    let mut found = [const { None }; N];
    let mut top = TopLevel::new(doc, limits)?;
    while let Some(member) = top.next()? {
        if let Some(index) = names.iter().position(|name| member.name.equals(name)) {
            if found[index].is_some() {
                return Err(JsonError::Duplicate {
                    offset: member.key.start,
                });
            }
            found[index] = Some(member.value);
        }
    }
    Ok(found)
}

/// The document with the bytes of one value replaced. `range` comes from [`members`] or [`super::Leaf`].
pub fn splice(doc: &[u8], range: Range<usize>, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(doc.len() - range.len() + value.len());
    out.extend_from_slice(&doc[..range.start]);
    out.extend_from_slice(value);
    out.extend_from_slice(&doc[range.end..]);
    out
}

/// The document with a member added as the last one of its top-level object. `value` is raw JSON.
///
/// # Errors
/// As [`members`]; [`JsonError::Duplicate`] if there is a member of that name.
pub fn insert_member(
    doc: &[u8],
    name: &str,
    value: &[u8],
    limits: &Limits,
) -> Result<Vec<u8>, JsonError> {
    let mut top = TopLevel::new(doc, limits)?;
    let mut end = None;
    while let Some(member) = top.next()? {
        if member.name.equals(name) {
            return Err(JsonError::Duplicate {
                offset: member.key.start,
            });
        }
        end = Some(member.value.end);
    }
    let mut inserted = String::with_capacity(name.len() + 4);
    if end.is_some() {
        inserted.push(',');
    }
    quote_into(name, &mut inserted);
    inserted.push(':');
    let mut bytes = inserted.into_bytes();
    bytes.extend_from_slice(value);
    let at = end.unwrap_or(top.opened);
    Ok(splice(doc, at..at, &bytes))
}

/// What [`remove_member`] leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed<'a> {
    /// The document without the member.
    pub rest: Vec<u8>,
    /// The member's raw value.
    pub value: &'a [u8],
}

/// The document without a member of its top-level object; `None` if there is no such member.
///
/// # Errors
/// As [`members`].
pub fn remove_member<'a>(
    doc: &'a [u8],
    name: &str,
    limits: &Limits,
) -> Result<Option<Removed<'a>>, JsonError> {
    let mut top = TopLevel::new(doc, limits)?;
    let mut before = None;
    let mut removed: Option<(Range<usize>, Range<usize>)> = None;
    let mut first_of_two = false;
    while let Some(member) = top.next()? {
        if let Some((cut, _)) = removed.as_mut().filter(|_| first_of_two) {
            // The first member goes together with the comma behind it.
            cut.end = member.key.start;
            first_of_two = false;
        }
        if member.name.equals(name) {
            if removed.is_some() {
                return Err(JsonError::Duplicate {
                    offset: member.key.start,
                });
            }
            first_of_two = before.is_none();
            let from = before.unwrap_or(member.key.start);
            removed = Some((from..member.value.end, member.value.clone()));
        }
        before = Some(member.value.end);
    }
    Ok(removed.map(|(cut, value)| Removed {
        rest: splice(doc, cut, b""),
        value: &doc[value],
    }))
}

/// One member of the top-level object.
pub(crate) struct Member<'a> {
    pub(crate) name: Text<'a>,
    /// Bytes of the name, quotes included.
    pub(crate) key: Range<usize>,
    /// Bytes of the value.
    pub(crate) value: Range<usize>,
}

/// Steps over the members of the top-level object, checking everything inside them.
pub(crate) struct TopLevel<'a> {
    reader: Reader<'a>,
    /// Where the object's first byte inside the braces stands.
    opened: usize,
}

impl<'a> TopLevel<'a> {
    pub(crate) fn new(doc: &'a [u8], limits: &Limits) -> Result<Self, JsonError> {
        let mut reader = Reader::new(doc, limits)?;
        match reader.next()? {
            Some(Token::BeginObject) => {
                let opened = reader.range().end;
                Ok(Self { reader, opened })
            }
            first => {
                let offset = reader.range().start;
                if first.is_some() {
                    // What is no JSON at all is told apart from JSON that is no object.
                    while reader.next()?.is_some() {}
                }
                Err(JsonError::NotAnObject { offset })
            }
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Member<'a>>, JsonError> {
        let name = loop {
            match self.reader.next()? {
                Some(Token::Key(name)) => break name,
                Some(_) => {}
                None => return Ok(None),
            }
        };
        let key = name.literal();
        self.reader.next()?;
        let start = self.reader.range().start;
        while self.reader.depth() > 1 {
            self.reader.next()?;
        }
        Ok(Some(Member {
            name,
            key,
            value: start..self.reader.range().end,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        depth: 128,
        number_chars: 1_000,
    };

    #[test]
    fn members_are_found_by_their_decoded_names_at_the_top_only() {
        let doc = br#" { "a" : {"b":1,"c":[2]} , "response\u005furl" :"x\/y","c":[ 1 ] } "#;
        let [url, c, b] = members(doc, ["response_url", "c", "b"], &LIMITS).unwrap();
        assert_eq!(url.map(|range| &doc[range]), Some(&br#""x\/y""#[..]));
        assert_eq!(c.map(|range| &doc[range]), Some(&b"[ 1 ]"[..]));
        assert_eq!(b, None);
    }

    #[test]
    fn test_a26_a_wanted_member_must_not_repeat() {
        let doc = br#"{"a":1,"\u0061":2,"b":1,"b":2}"#;
        assert_eq!(
            members(doc, ["a"], &LIMITS),
            Err(JsonError::Duplicate { offset: 7 })
        );
        assert_eq!(members(doc, ["c"], &LIMITS), Ok([None]));
    }

    #[test]
    fn only_objects_have_members() {
        for doc in [&b"[]"[..], b"1", b" \"a\"", b"null"] {
            assert!(matches!(
                members(doc, ["a"], &LIMITS),
                Err(JsonError::NotAnObject { .. })
            ));
        }
        assert!(matches!(
            members(b"[", ["a"], &LIMITS),
            Err(JsonError::Syntax { .. })
        ));
        assert!(matches!(
            members(b"{\"a\":1} x", ["a"], &LIMITS),
            Err(JsonError::Syntax { .. })
        ));
    }

    #[test]
    fn inserting_adds_a_last_member_and_moves_nothing_else() {
        for (doc, expected) in [
            ("{}", r#"{"n":1}"#),
            (" { \n} ", " {\"n\":1 \n} "),
            ("{ \"a\" : [1] \r\n}", "{ \"a\" : [1],\"n\":1 \r\n}"),
        ] {
            let out = insert_member(doc.as_bytes(), "n", b"1", &LIMITS).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        assert!(matches!(
            insert_member(b"{\"n\":0}", "n", b"1", &LIMITS),
            Err(JsonError::Duplicate { .. })
        ));
    }

    #[test]
    fn removing_takes_one_comma_along() {
        for (doc, expected) in [
            (r#"{"n":[1,2]}"#, "{}"),
            (r#"{ "n" : 1 , "a":2 }"#, r#"{ "a":2 }"#),
            (r#"{ "a":2 , "n" : 1 }"#, r#"{ "a":2 }"#),
            (r#"{"a":2, "n":1 ,"b":3}"#, r#"{"a":2 ,"b":3}"#),
        ] {
            let removed = remove_member(doc.as_bytes(), "n", &LIMITS)
                .unwrap()
                .unwrap();
            assert_eq!(String::from_utf8(removed.rest).unwrap(), expected);
        }
        assert_eq!(remove_member(b"{\"a\":1}", "n", &LIMITS), Ok(None));
        assert!(matches!(
            remove_member(b"{\"n\":1,\"n\":1}", "n", &LIMITS),
            Err(JsonError::Duplicate { .. })
        ));
    }

    #[test]
    fn removing_what_was_inserted_is_identity() {
        for doc in ["{}", "{ }", "{\"a\":1}", "{ \"a\" : {\"n\":2} }\n"] {
            let with = insert_member(doc.as_bytes(), "n", b"\"v\"", &LIMITS).unwrap();
            let removed = remove_member(&with, "n", &LIMITS).unwrap().unwrap();
            assert_eq!(
                (removed.rest.as_slice(), removed.value),
                (doc.as_bytes(), &b"\"v\""[..])
            );
        }
    }
}
