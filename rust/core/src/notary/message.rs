//! The text that is hashed: leaves put into the order of `fields`, in both number forms at once.
use std::borrow::Cow;
use std::ops::Range;

use super::number::{Renderer, is_exact};
use super::values::{check_text, header_rank};
use super::{
    Fields, Limits, NotaryError, NumberForm, NumberFormSeen, OCN_SIGNATURE,
    OCN_VERIFICATION_STATUS, Policy, REWRITABLE, Reason, Values,
};
use crate::eth::{Keccak256, hex_encode, keccak256};
use crate::json::{JsonError, Scalar};

/// A message on its way into the hash.
pub(super) struct Message<'v> {
    js: Lane,
    /// Set from the first number on that the two forms write differently.
    jvm: Option<Lane>,
    /// The first number that is not exact in each form.
    inexact_js: Option<String>,
    inexact_jvm: Option<String>,
    /// Where the leaves stand that may be rewritten; kept with the text only.
    marks: [Option<Mark<'v>>; REWRITABLE.len()],
    renderer: Renderer,
}

/// The text of one number form: hashed on the way, or kept because rewrites need it again.
#[derive(Clone)]
enum Lane {
    Hash(Box<Keccak256>),
    Text(Vec<u8>),
}

#[derive(Clone)]
struct Mark<'v> {
    js: Range<usize>,
    jvm: Range<usize>,
    value: Scalar<'v>,
}

/// Values to put in place of the marked leaves.
pub(super) type Substitutes<'s> = [Option<Scalar<'s>>; REWRITABLE.len()];

impl Lane {
    fn push(&mut self, text: &str) {
        match self {
            Self::Hash(hash) => hash.update(text.as_bytes()),
            Self::Text(bytes) => bytes.extend_from_slice(text.as_bytes()),
        }
    }

    fn position(&self) -> usize {
        match self {
            Self::Hash(_) => 0,
            Self::Text(bytes) => bytes.len(),
        }
    }

    fn digest(&self) -> [u8; 32] {
        match self {
            Self::Hash(hash) => Keccak256::clone(hash).finalize(),
            Self::Text(bytes) => keccak256(bytes),
        }
    }
}

impl<'v> Message<'v> {
    /// `keep` the text if values are to be restored in it.
    pub(super) fn new(keep: bool) -> Self {
        let js = if keep {
            Lane::Text(Vec::new())
        } else {
            Lane::Hash(Box::default())
        };
        Self {
            js,
            jvm: None,
            inexact_js: None,
            inexact_jvm: None,
            marks: Default::default(),
            renderer: Renderer::new(),
        }
    }

    /// Takes the next leaf.
    pub(super) fn add(&mut self, path: &str, value: Scalar<'v>) -> Result<(), JsonError> {
        let (js, jvm) = self.positions();
        match value {
            Scalar::Null => {}
            Scalar::Bool(value) => self.push(if value { "true" } else { "false" }),
            Scalar::String(text) => text.pieces(|piece| self.push(piece))?,
            Scalar::Number(lexeme) => self.push_number(path, lexeme),
        }
        if let (Lane::Text(_), Some(index)) = (&self.js, rewritable(path)) {
            let (js_end, jvm_end) = self.positions();
            self.marks[index] = Some(Mark {
                js: js..js_end,
                jvm: jvm..jvm_end,
                value,
            });
        }
        Ok(())
    }

    fn push(&mut self, text: &str) {
        self.js.push(text);
        if let Some(jvm) = &mut self.jvm {
            jvm.push(text);
        }
    }

    fn push_number(&mut self, path: &str, lexeme: &str) {
        let rendered = self.renderer.render(lexeme);
        if rendered.js != rendered.jvm && self.jvm.is_none() {
            self.jvm = Some(self.js.clone());
        }
        self.js.push(rendered.js);
        if let Some(jvm) = &mut self.jvm {
            jvm.push(rendered.jvm);
        }
        if self.inexact_js.is_none() && !is_exact(lexeme, rendered.js) {
            self.inexact_js = Some(path.to_owned());
        }
        if self.inexact_jvm.is_none() && !is_exact(lexeme, rendered.jvm) {
            self.inexact_jvm = Some(path.to_owned());
        }
    }

    fn positions(&self) -> (usize, usize) {
        let js = self.js.position();
        (js, self.jvm.as_ref().map_or(js, Lane::position))
    }

    /// The hash in one form.
    pub(super) fn digest(&self, form: NumberForm) -> [u8; 32] {
        match form {
            NumberForm::Js => self.js.digest(),
            NumberForm::Jvm => self.jvm.as_ref().unwrap_or(&self.js).digest(),
        }
    }

    /// The form in which the message has this hash.
    pub(super) fn form_of(&self, hash: &str) -> Option<NumberFormSeen> {
        if hex_encode(&self.digest(NumberForm::Js)) == hash {
            return Some(if self.jvm.is_none() {
                NumberFormSeen::Any
            } else {
                NumberFormSeen::Js
            });
        }
        let jvm = self.jvm.as_ref()?.digest();
        (hex_encode(&jvm) == hash).then_some(NumberFormSeen::Jvm)
    }

    /// The form in which the message has this hash once values are restored.
    pub(super) fn form_restored(
        &mut self,
        values: &Substitutes<'_>,
        hash: &str,
    ) -> Option<NumberFormSeen> {
        let js = self.restored(values, NumberForm::Js);
        let jvm = self.restored(values, NumberForm::Jvm);
        let same = js == jvm;
        if hex_encode(&js) == hash {
            Some(if same {
                NumberFormSeen::Any
            } else {
                NumberFormSeen::Js
            })
        } else if !same && hex_encode(&jvm) == hash {
            Some(NumberFormSeen::Jvm)
        } else {
            None
        }
    }

    fn restored(&mut self, values: &Substitutes<'_>, form: NumberForm) -> [u8; 32] {
        let lane = match form {
            NumberForm::Js => &self.js,
            NumberForm::Jvm => self.jvm.as_ref().unwrap_or(&self.js),
        };
        let Lane::Text(text) = lane else {
            // Without the text there are no marks either, and nothing to put in their place.
            return lane.digest();
        };
        let mut places: Vec<(Range<usize>, &Scalar<'_>)> = self
            .marks
            .iter()
            .zip(values)
            .filter_map(|(mark, value)| Some((mark.as_ref()?, value.as_ref()?)))
            .map(|(mark, value)| {
                let place = if form == NumberForm::Js {
                    &mark.js
                } else {
                    &mark.jvm
                };
                (place.clone(), value)
            })
            .collect();
        places.sort_unstable_by_key(|(place, _)| place.start);
        let mut hash = Keccak256::new();
        let mut done = 0;
        for (place, value) in places {
            hash.update(&text[done..place.start]);
            match value {
                Scalar::Null => {}
                Scalar::Bool(value) => hash.update(if *value { b"true" } else { b"false" }),
                Scalar::Number(lexeme) => {
                    hash.update(self.renderer.render(lexeme).in_form(form).as_bytes());
                }
                Scalar::String(text) => {
                    // Stashed texts were decoded once already, so none of them fails here.
                    let _ = text.pieces(|piece| hash.update(piece.as_bytes()));
                }
            }
            done = place.end;
        }
        hash.update(&text[done..]);
        hash.finalize()
    }

    /// The first number whose text in this form is not exactly its value.
    pub(super) fn inexact(&self, form: NumberFormSeen) -> Option<&str> {
        match form {
            NumberFormSeen::Any | NumberFormSeen::Js => self.inexact_js.as_deref(),
            NumberFormSeen::Jvm => self.inexact_jvm.as_deref(),
        }
    }

    /// The marked leaf of that path; `None` if the message has none. Needs the text to be kept.
    pub(super) fn marked(&self, path: &str) -> Option<Scalar<'v>> {
        self.marks[rewritable(path)?]
            .as_ref()
            .map(|mark| mark.value)
    }
}

/// The place of a path among those that may be rewritten.
pub(super) fn rewritable(path: &str) -> Option<usize> {
    REWRITABLE.iter().position(|allowed| *allowed == path)
}

/// What [`arrange`] made of a message.
pub(super) struct Arranged<'v> {
    pub(super) message: Message<'v>,
    /// Leaves that no field names.
    pub(super) uncovered: u32,
}

/// Puts the leaves of a message into the order of `fields`, as far as the policy lets them differ.
///
/// The usual message has both in the same order: one pass, nothing remembered. Only another order costs
/// an index, which is made of the fields (they are bounded) and never of the document.
///
/// # Errors
/// [`Reason::Document`] and [`Reason::Limits`] before anything else, then [`Reason::Coverage`] and
/// [`Reason::Order`], each with the first leaf that differs.
pub(super) fn arrange<'v>(
    fields: &Fields,
    values: &Values<'v>,
    policy: Policy,
    exempt: &[&str],
    keep: bool,
    limits: &Limits,
) -> Result<Arranged<'v>, NotaryError> {
    let rules = Rules {
        fields,
        exempt,
        limits,
    };
    let mut message = Message::new(keep);
    let mut next = 0;
    let mut differs: Option<String> = None;
    values.walk(limits, |path, value| {
        if path == OCN_SIGNATURE || differs.is_some() {
            // Read to the end all the same: a document that cannot be signed is the first reason.
            check_text(&value)?;
        } else if fields.get(next) == Some(path) {
            message.add(path, value)?;
            next += 1;
        } else if rules.is_exempt(path) {
            check_text(&value)?;
        } else {
            check_text(&value)?;
            differs = Some(path.to_owned());
        }
        Ok(())
    })?;
    if differs.is_none() && next == fields.len() {
        return Ok(Arranged {
            message,
            uncovered: 0,
        });
    }
    match policy {
        Policy::Strict => {
            rules.cover(values)?;
            Err(NotaryError::at(
                Reason::Order,
                differs.as_deref().unwrap_or_default(),
            ))
        }
        Policy::Covered => {
            let index = rules.cover(values)?;
            rules.check_header_order()?;
            Ok(Arranged {
                message: rules.in_order(&index, keep)?,
                uncovered: 0,
            })
        }
        Policy::Compatible => {
            let (index, uncovered) = rules.match_loosely(values)?;
            Ok(Arranged {
                message: rules.in_order(&index, keep)?,
                uncovered,
            })
        }
    }
}

/// The slow way: fields and leaves in different orders.
struct Rules<'f> {
    fields: &'f Fields,
    exempt: &'f [&'f str],
    limits: &'f Limits,
}

/// Sorted paths and the leaves found for them.
struct Index<'f, 'v> {
    names: Vec<Cow<'f, str>>,
    leaves: Vec<Option<Scalar<'v>>>,
}

impl<'v> Index<'_, 'v> {
    fn place(&self, path: &str) -> Option<usize> {
        self.names
            .binary_search_by(|name| name.as_ref().cmp(path))
            .ok()
    }

    /// The place of a path for which there is a leaf.
    fn found(&self, path: &str) -> Option<usize> {
        self.place(path)
            .filter(|&place| self.leaves[place].is_some())
    }

    fn leaf(&self, path: &str) -> Option<Scalar<'v>> {
        self.leaves[self.place(path)?]
    }
}

impl<'f> Rules<'f> {
    /// Leaves that need no signature and have none. Listed ones count like all others.
    fn is_exempt(&self, path: &str) -> bool {
        (path == OCN_VERIFICATION_STATUS || self.exempt.contains(&path))
            && !self.fields.contains(path)
    }

    fn index<'v>(&self, more: impl Iterator<Item = String>) -> Index<'f, 'v> {
        let mut names: Vec<Cow<'f, str>> = self.fields.iter().map(Cow::Borrowed).collect();
        names.extend(more.map(Cow::Owned));
        names.sort_unstable();
        names.dedup();
        let leaves = vec![None; names.len()];
        Index { names, leaves }
    }

    /// Every leaf is a field and every field a leaf, each once.
    ///
    /// Stops at the first leaf that is no field, so the work is bounded by the fields.
    fn cover<'v>(&self, values: &Values<'v>) -> Result<Index<'f, 'v>, NotaryError> {
        let mut index = self.index(std::iter::empty());
        let mut found = 0;
        values.walk(self.limits, |path, value| {
            if path != OCN_SIGNATURE && !self.is_exempt(path) {
                let place = index
                    .place(path)
                    .ok_or_else(|| NotaryError::at(Reason::Coverage, path))?;
                index.leaves[place] = Some(value);
                found += 1;
            }
            Ok(())
        })?;
        if found < self.fields.len() {
            let mut seen = vec![false; index.names.len()];
            let surplus = self.fields.iter().find(|path| match index.place(path) {
                Some(place) => {
                    std::mem::replace(&mut seen[place], true) || index.leaves[place].is_none()
                }
                None => true,
            });
            return Err(NotaryError::at(
                Reason::Coverage,
                surplus.unwrap_or_default(),
            ));
        }
        Ok(index)
    }

    /// Headers in canonical order, or with the receiver before the sender.
    fn check_header_order(&self) -> Result<(), NotaryError> {
        const RECEIVER_FIRST: [usize; 9] = [0, 3, 4, 1, 2, 5, 6, 7, 8];
        let headers = || {
            self.fields
                .iter()
                .filter_map(|path| Some((path, header_rank(path)?)))
        };
        let mut canonical = headers();
        let mut before = None;
        let out_of_order = canonical.find(|(_, rank)| before.replace(*rank) > Some(*rank));
        let receiver_first = headers().map(|(_, rank)| RECEIVER_FIRST[rank]).is_sorted();
        match out_of_order {
            Some((path, _)) if !receiver_first => Err(NotaryError::at(Reason::Order, path)),
            _ => Ok(()),
        }
    }

    /// Fields name what they name: exactly, or else in lower case, as existing readers look them up.
    /// A field that names nothing adds nothing. The rest of the leaves is counted.
    fn match_loosely<'v>(&self, values: &Values<'v>) -> Result<(Index<'f, 'v>, u32), NotaryError> {
        /// Longer paths are not looked up: they count as unsigned. Bounds what comparing costs.
        const LOOKED_UP: usize = 4_096;
        if let Some(path) = self.fields.iter().find(|path| !is_generated(path)) {
            return Err(NotaryError::at(Reason::Coverage, path));
        }
        let lower = self.fields.iter().map(str::to_lowercase);
        let mut index = self.index(lower);
        let mut uncovered = 0;
        let mut before = String::new();
        values.walk(self.limits, |path, value| {
            if path == OCN_SIGNATURE || self.is_exempt(path) {
                return Ok(());
            }
            let place = if path.len() > LOOKED_UP {
                None
            } else {
                index.place(path)
            };
            match place {
                Some(place) => index.leaves[place] = Some(value),
                None => {
                    uncovered += 1;
                    if uncovered as usize > self.limits.fields {
                        return Err(NotaryError::new(Reason::Limits));
                    }
                }
            }
            if path.len() <= LOOKED_UP {
                refuse_containers(path, &before, &index)?;
                before.clear();
                before.push_str(path);
            }
            Ok(())
        })?;
        // A leaf that only lower case finds belongs to a field whose own spelling finds nothing.
        let mut used = vec![false; index.names.len()];
        for path in self.fields.iter() {
            let lower = || index.found(&path.to_lowercase());
            if let Some(place) = index.found(path).or_else(lower) {
                used[place] = true;
            }
        }
        let unused = index
            .leaves
            .iter()
            .zip(used)
            .filter(|(leaf, used)| leaf.is_some() && !used);
        uncovered += unused.count() as u32;
        Ok((index, uncovered))
    }

    /// The message in the order of the fields.
    fn in_order<'v>(&self, index: &Index<'f, 'v>, keep: bool) -> Result<Message<'v>, NotaryError> {
        let mut message = Message::new(keep);
        for path in self.fields.iter() {
            let leaf = index
                .leaf(path)
                .or_else(|| index.leaf(&path.to_lowercase()));
            if let Some(value) = leaf {
                message.add(path, value)?;
            }
        }
        Ok(message)
    }
}

/// No field may name an array or object on the way to this leaf; those shared with the leaf before are
/// known to be fine.
fn refuse_containers(path: &str, before: &str, fields: &Index<'_, '_>) -> Result<(), NotaryError> {
    let shared = path
        .bytes()
        .zip(before.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    let inner = path
        .match_indices('[')
        .map(|(at, _)| at)
        .filter(|&at| at >= shared.max(1));
    for at in inner {
        if fields.place(&path[..at]).is_some() {
            return Err(NotaryError::at(Reason::Coverage, &path[..at]));
        }
    }
    Ok(())
}

/// Whether a path has the form that signers generate: `$`, then `['name']` or `[0]`.
fn is_generated(path: &str) -> bool {
    let Some(mut rest) = path.strip_prefix('$') else {
        return false;
    };
    while !rest.is_empty() {
        let step = match rest.strip_prefix("['") {
            Some(name) => name
                .split_once('\'')
                .and_then(|(_, after)| after.strip_prefix(']')),
            None => rest
                .strip_prefix('[')
                .and_then(|index| index.split_once(']'))
                .and_then(|(digits, after)| {
                    let number =
                        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                    number.then_some(after)
                }),
        };
        match step {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_generated_paths_are_taken_in_the_compatible_policy() {
        for path in [
            "$",
            "$['body']",
            "$['body'][0]['a b']",
            "$['']",
            "$['a]b[']",
            "$['é']",
        ] {
            assert!(is_generated(path), "{path}");
        }
        for path in [
            "",
            "body",
            "$.body",
            "$['body",
            "$['body'",
            "$[\"body\"]",
            "$[*]",
            "$['a','b']",
            "$[0:2]",
            "$[-1]",
            "$..a",
            "$[?(@.a)]",
            "$['a']x",
        ] {
            assert!(!is_generated(path), "{path}");
        }
    }
}
