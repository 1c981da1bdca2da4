//! What a signature covers: the values of one message, under their identifiers, in the order of the protocol.
use std::fmt::{self, Write};

use super::error::WireError;

/// A header that is covered whenever it is present.
pub(super) struct Field {
    pub(super) name: &'static str,
    /// Without it there is nothing to verify.
    pub(super) required: bool,
}

impl Field {
    pub(super) const fn required(name: &'static str) -> Self {
        Self::required_if(true, name)
    }

    pub(super) const fn optional(name: &'static str) -> Self {
        Self::required_if(false, name)
    }

    pub(super) const fn required_if(required: bool, name: &'static str) -> Self {
        Self { name, required }
    }
}

/// Components in order.
pub(super) struct Covered<'a>(Vec<Component<'a>>);

/// One line of the signature base.
struct Component<'a> {
    name: &'static str,
    /// Serialised, with the `;` in front of each.
    parameters: &'static str,
    value: &'a str,
}

impl fmt::Display for Component<'_> {
    /// The identifier (RFC 9421, 2.5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"{}", self.name, self.parameters)
    }
}

impl<'a> Covered<'a> {
    pub(super) fn new() -> Self {
        // The longer of the two lists.
        Self(Vec::with_capacity(15))
    }

    /// Adds a value under a name without parameters. The bytes are those of the message, so that both ends write the
    /// same base; what could break a line, or is not in every reader's alphabet, is refused.
    ///
    /// # Errors
    /// [`WireError::Text`].
    pub(super) fn add(&mut self, name: &'static str, value: &'a [u8]) -> Result<(), WireError> {
        let value = printable(name, value)?;
        self.add_with(name, "", value);
        Ok(())
    }

    /// Adds a value that is known to be printable, under a name with serialised parameters.
    pub(super) fn add_with(
        &mut self,
        name: &'static str,
        parameters: &'static str,
        value: &'a str,
    ) {
        self.0.push(Component {
            name,
            parameters,
            value,
        });
    }

    /// Adds those of `fields` that are present, in the order of `fields`, without the blanks around them
    /// (RFC 9421, 2.1).
    ///
    /// # Errors
    /// [`WireError::Missing`], [`WireError::Repeated`], [`WireError::Text`].
    pub(super) fn add_headers<const N: usize>(
        &mut self,
        fields: &'static [Field; N],
        headers: &[(&str, &'a [u8])],
    ) -> Result<(), WireError> {
        let mut found: [Option<&'a [u8]>; N] = [None; N];
        for (name, value) in headers {
            if let Some(index) = fields.iter().position(|field| field.name == *name)
                && found[index].replace(value).is_some()
            {
                return Err(WireError::Repeated(fields[index].name));
            }
        }
        for (field, value) in fields.iter().zip(found) {
            match value {
                Some(value) => self.add(field.name, trim(value))?,
                None if field.required => return Err(WireError::Missing(field.name)),
                None => {}
            }
        }
        Ok(())
    }

    /// The identifiers as an inner list (RFC 8941, 4.1.1.1).
    pub(super) fn list(&self) -> String {
        let mut list = String::with_capacity(self.0.len() * 32);
        list.push('(');
        for (index, component) in self.0.iter().enumerate() {
            if index > 0 {
                list.push(' ');
            }
            // Writing into a string cannot fail.
            let _ = write!(list, "{component}");
        }
        list.push(')');
        list
    }

    /// The signature base (RFC 9421, 2.5) that ends in these signature parameters.
    pub(super) fn base(&self, parameters: &str) -> String {
        let values: usize = self.0.iter().map(|part| part.value.len() + 40).sum();
        let mut base = String::with_capacity(values + parameters.len() + 32);
        for component in &self.0 {
            // Writing into a string cannot fail.
            let _ = writeln!(base, "{component}: {}", component.value);
        }
        let _ = write!(base, "\"@signature-params\": {parameters}");
        base
    }
}

fn printable<'a>(name: &'static str, value: &'a [u8]) -> Result<&'a str, WireError> {
    if !value.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(WireError::Text(name));
    }
    std::str::from_utf8(value).map_err(|_| WireError::Text(name))
}

/// Without the white space that HTTP allows around a value.
fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !blank(byte));
    let end = value.iter().rposition(|byte| !blank(byte));
    match (start, end) {
        (Some(start), Some(end)) => &value[start..=end],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FIELDS: [Field; 3] = [
        Field::required("first"),
        Field::optional("second"),
        Field::required("third"),
    ];

    fn covered<'a>(headers: &[(&str, &'a [u8])]) -> Result<Covered<'a>, WireError> {
        let mut covered = Covered::new();
        covered.add_headers(&FIELDS, headers)?;
        Ok(covered)
    }

    #[test]
    fn headers_stand_in_the_order_of_the_protocol_without_outer_blanks() {
        let covered = covered(&[
            ("third", b" \tc d\t "),
            ("other", b"\xff"),
            ("second", b" "),
            ("first", b"a"),
        ])
        .unwrap();
        assert_eq!(covered.list(), r#"("first" "second" "third")"#);
        assert_eq!(
            covered.base("()"),
            "\"first\": a\n\"second\": \n\"third\": c d\n\"@signature-params\": ()"
        );
    }

    #[test]
    fn what_is_missing_repeated_or_unprintable_is_named() {
        let error = |headers: &[(&str, &[u8])]| covered(headers).err();
        assert_eq!(error(&[("first", b"a")]), Some(WireError::Missing("third")));
        let twice: [(&str, &[u8]); 3] = [("first", b"a"), ("third", b"c"), ("first", b"a")];
        assert_eq!(error(&twice), Some(WireError::Repeated("first")));
        for value in [&b"a\nb"[..], b"a\rb", b"a\0", b"a\tb", b"\x7f", b"\xc3\xa9"] {
            assert_eq!(
                error(&[("first", value), ("third", b"c")]),
                Some(WireError::Text("first")),
                "{value:?}"
            );
        }
    }
}
