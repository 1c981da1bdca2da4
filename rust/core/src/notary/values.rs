//! What is signed: headers, parameters and body, walked without being turned into a tree.
use super::{Limits, NotaryError, Reason};
use crate::json::{self, JsonError, Leaves, Scalar, Text, TopLevel};

/// The signed headers in canonical order: those of requests, then those of responses (`ocn-notary.md` 2).
pub const HEADERS: [&str; 9] = [
    "x-correlation-id",
    "ocpi-from-country-code",
    "ocpi-from-party-id",
    "ocpi-to-country-code",
    "ocpi-to-party-id",
    "x-limit",
    "x-total-count",
    "link",
    "location",
];

const HEADER_PATHS: [&str; 9] = [
    "$['headers']['x-correlation-id']",
    "$['headers']['ocpi-from-country-code']",
    "$['headers']['ocpi-from-party-id']",
    "$['headers']['ocpi-to-country-code']",
    "$['headers']['ocpi-to-party-id']",
    "$['headers']['x-limit']",
    "$['headers']['x-total-count']",
    "$['headers']['link']",
    "$['headers']['location']",
];

/// The place of a header's path in the canonical order.
pub(super) fn header_rank(path: &str) -> Option<usize> {
    HEADER_PATHS.iter().position(|header| *header == path)
}

/// One of the three parts of a message.
#[derive(Debug, Clone, Copy, Default)]
pub enum Part<'a> {
    #[default]
    Absent,
    /// Raw JSON.
    Json(&'a [u8]),
    /// Names and decoded values, in order.
    Pairs(&'a [(&'a str, &'a str)]),
    /// One string, whatever it contains: bodies of custom modules as existing nodes see them.
    Text(&'a str),
}

/// A message as the notary sees it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Values<'a> {
    /// Lower-case names out of [`HEADERS`], in any order: they are walked in the canonical one.
    pub headers: Part<'a>,
    /// Query parameters, in the order of the URL.
    pub params: Part<'a>,
    pub body: Part<'a>,
}

impl<'a> Values<'a> {
    /// Takes a values object: `{"headers": …, "params": …, "body": …}`.
    ///
    /// # Errors
    /// [`Reason::Document`] for other members; [`Reason::Limits`] for too deep ones.
    pub fn from_document(document: &'a [u8], limits: &Limits) -> Result<Self, NotaryError> {
        let names = ["headers", "params", "body"];
        let mut parts: [Option<Part<'a>>; 3] = [None; 3];
        let mut top = TopLevel::new(document, &limits.json())?;
        while let Some(member) = top.next()? {
            let index = names
                .iter()
                .position(|name| member.name.equals(name))
                .filter(|&index| parts[index].is_none())
                .ok_or(NotaryError::new(Reason::Document))?;
            parts[index] = Some(Part::Json(&document[member.value]));
        }
        let [headers, params, body] = parts.map(Option::unwrap_or_default);
        Ok(Self {
            headers,
            params,
            body,
        })
    }

    /// Visits every non-empty leaf: headers in canonical order, then parameters and body as they come.
    ///
    /// # Errors
    /// [`Reason::Document`], [`Reason::Limits`], and whatever `visit` returns.
    pub(super) fn walk(
        &self,
        limits: &Limits,
        mut visit: impl FnMut(&str, Scalar<'a>) -> Result<(), NotaryError>,
    ) -> Result<(), NotaryError> {
        walk_headers(self.headers, limits, &mut visit)?;
        walk_part(self.params, "$['params']", limits, &mut visit)?;
        walk_part(self.body, "$['body']", limits, &mut visit)
    }

    /// How many bytes of notary JSON this message can honestly need: its paths, quoted and separated, and
    /// 64 KiB for the rest. Stops counting at `enough`.
    pub(super) fn expected_notary_bytes(&self, limits: &Limits, enough: usize) -> usize {
        const REST: usize = 64 << 10;
        let mut expected = REST;
        let mut take = |path: usize| {
            /// Two quotes and a comma.
            const AROUND: usize = 3;
            expected += path + AROUND;
            expected < enough
        };
        // Bodies make messages large, and for theirs only lengths are needed.
        let (body, rest) = match self.body {
            Part::Json(doc) => (doc, Part::Absent),
            other => (&b"null"[..], other),
        };
        let small = Self {
            body: rest,
            ..*self
        };
        // A document that cannot be walked is refused later, for its own reason.
        let _ = small.walk(limits, |path, _| match take(json::quoted_length(path)) {
            true => Ok(()),
            false => Err(NotaryError::new(Reason::Size)),
        });
        let _ = json::path_lengths(body, "$['body']".len(), &limits.part(1), &mut take);
        expected.min(enough)
    }
}

impl Limits {
    /// Of the values object itself.
    pub(super) fn json(&self) -> json::Limits {
        json::Limits {
            depth: self.depth,
            number_chars: self.number_chars,
        }
    }

    /// Of a part, which lies one bracket inside the values object.
    fn part(&self, inside: usize) -> json::Limits {
        json::Limits {
            depth: self.depth.saturating_sub(inside),
            number_chars: self.number_chars,
        }
    }
}

type Visit<'v, 'a> = &'v mut dyn FnMut(&str, Scalar<'a>) -> Result<(), NotaryError>;

fn walk_headers<'a>(
    part: Part<'a>,
    limits: &Limits,
    visit: Visit<'_, 'a>,
) -> Result<(), NotaryError> {
    let refused = || NotaryError::new(Reason::Document);
    let mut values: [Part<'a>; 9] = [Part::Absent; 9];
    let mut take = |name: &dyn Fn(&str) -> bool, value: Part<'a>| {
        let index = HEADERS
            .iter()
            .position(|header| name(header))
            .ok_or_else(refused)?;
        if !matches!(values[index], Part::Absent) {
            return Err(refused());
        }
        values[index] = value;
        Ok(())
    };
    match part {
        Part::Absent => {}
        Part::Json(doc) if is_null(doc) => {}
        Part::Json(doc) => {
            let mut top = TopLevel::new(doc, &limits.part(1))?;
            while let Some(member) = top.next()? {
                take(
                    &|header| member.name.equals(header),
                    Part::Json(&doc[member.value]),
                )?;
            }
        }
        Part::Pairs(pairs) => {
            for (name, value) in pairs {
                take(&|header| *name == header, Part::Text(value))?;
            }
        }
        Part::Text(_) => return Err(refused()),
    }
    for (value, path) in values.into_iter().zip(HEADER_PATHS) {
        walk_value(value, path, &limits.part(2), visit)?;
    }
    Ok(())
}

fn walk_part<'a>(
    part: Part<'a>,
    root: &str,
    limits: &Limits,
    visit: Visit<'_, 'a>,
) -> Result<(), NotaryError> {
    let Part::Pairs(pairs) = part else {
        return walk_value(part, root, &limits.part(1), visit);
    };
    let mut names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    if names.windows(2).any(|two| two[0] == two[1]) || names.iter().any(|name| name.contains('\''))
    {
        return Err(NotaryError::new(Reason::Document));
    }
    let mut path = String::from(root);
    for (name, value) in pairs {
        path.truncate(root.len());
        path.extend(["['", name, "']"]);
        walk_value(Part::Text(value), &path, &limits.part(1), visit)?;
    }
    Ok(())
}

fn walk_value<'a>(
    part: Part<'a>,
    path: &str,
    limits: &json::Limits,
    visit: Visit<'_, 'a>,
) -> Result<(), NotaryError> {
    match part {
        Part::Text(text) if !text.is_empty() => visit(path, Scalar::String(Text::plain(text))),
        Part::Json(doc) => {
            let mut leaves = Leaves::new(doc, path, limits)?;
            while let Some(leaf) = leaves.next()? {
                visit(leaf.path, leaf.value)?;
            }
            Ok(())
        }
        Part::Absent | Part::Pairs(_) | Part::Text(_) => Ok(()),
    }
}

fn is_null(doc: &[u8]) -> bool {
    doc.trim_ascii() == b"null"
}

/// Half surrogate pairs in strings show only when their text is needed; this finds the others.
pub(super) fn check_text(value: &Scalar<'_>) -> Result<(), JsonError> {
    match value {
        Scalar::String(text) => text.pieces(|_| {}),
        Scalar::Bool(_) | Scalar::Null | Scalar::Number(_) => Ok(()),
    }
}
