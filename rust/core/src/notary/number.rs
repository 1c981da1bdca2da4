//! Numbers as text, the way signers on JavaScript and on the JVM write them (`ocn-notary.md` 4.1).
use std::fmt::Write;

use super::NumberForm;

/// Room for both renderings of a number; the longest double takes 26 characters.
pub(super) struct Renderer {
    js: ryu_js::Buffer,
    jvm: Buffer,
}

/// A number in both forms.
pub(super) struct Rendered<'a> {
    pub(super) js: &'a str,
    pub(super) jvm: &'a str,
}

impl Rendered<'_> {
    pub(super) fn in_form(&self, form: NumberForm) -> &str {
        match form {
            NumberForm::Js => self.js,
            NumberForm::Jvm => self.jvm,
        }
    }
}

impl Renderer {
    pub(super) fn new() -> Self {
        Self {
            js: ryu_js::Buffer::new(),
            jvm: Buffer::default(),
        }
    }

    /// Both renderings of a JSON number.
    pub(super) fn render<'a>(&'a mut self, lexeme: &'a str) -> Rendered<'a> {
        if is_safe(lexeme) {
            return Rendered {
                js: lexeme,
                jvm: lexeme,
            };
        }
        // JSON numbers are a subset of what `parse` reads; too large ones become infinite.
        let value: f64 = lexeme.parse().unwrap_or(f64::INFINITY);
        let jvm = if !lexeme.contains(['.', 'e', 'E']) {
            if lexeme == "-0" { "0" } else { lexeme }
        } else {
            self.jvm.java_double(value)
        };
        Rendered {
            js: self.js.format(value),
            jvm,
        }
    }
}

/// Whether every rendering equals the lexeme (`ocn-notary.md` 4.2).
fn is_safe(lexeme: &str) -> bool {
    const SIGNIFICANT: usize = 15;
    let digits = lexeme.strip_prefix('-').unwrap_or(lexeme);
    let Some((whole, fraction)) = digits.split_once('.') else {
        let plain = digits.len() <= SIGNIFICANT && digits.bytes().all(|byte| byte.is_ascii_digit());
        return plain && lexeme != "-0";
    };
    let fraction_digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !fraction_digits || fraction.ends_with('0') || whole.len() > 7 {
        return false;
    }
    if whole == "0" {
        // At least 0.001, so the first significant digit is one of the first three.
        let zeros = fraction.bytes().take_while(|&byte| byte == b'0').count();
        zeros < 3 && fraction.len() - zeros <= SIGNIFICANT
    } else {
        whole.len() + fraction.len() <= SIGNIFICANT
    }
}

/// Text on the stack.
#[derive(Default)]
struct Buffer {
    bytes: [u8; 32],
    length: usize,
}

impl Buffer {
    /// Java's `Double.toString`, as JDK 19 and later write it.
    fn java_double(&mut self, value: f64) -> &str {
        self.length = 0;
        // None of these is longer than the buffer.
        let _ = self.write_java_double(value);
        self.as_str()
    }

    fn write_java_double(&mut self, value: f64) -> std::fmt::Result {
        if value.is_infinite() {
            return self.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
        }
        if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
            // Debug keeps the sign of zero and one digit after the point.
            return write!(self, "{value:?}");
        }
        let mut shortest = Self::default();
        write!(shortest, "{value:e}")?;
        if !shortest.as_str().contains('.') {
            // Where one digit would do, Java takes the two that are nearest: 4.9E-324, not 5.0E-324.
            shortest = Self::default();
            write!(shortest, "{value:.1e}")?;
        }
        let (digits, exponent) = shortest.as_str().split_once('e').unwrap_or_default();
        write!(self, "{digits}E{exponent}")
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes
            .get_mut(self.length..end)
            .ok_or(std::fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Whether a rendering has exactly the decimal value of its lexeme.
pub(super) fn is_exact(lexeme: &str, rendered: &str) -> bool {
    lexeme == rendered
        || (!rendered.ends_with("Infinity") && Decimal::of(lexeme) == Decimal::of(rendered))
}

/// A decimal number without the ways of writing it.
#[derive(Debug)]
struct Decimal<'a> {
    negative: bool,
    /// Digits and points, from the first to the last digit that is not zero.
    digits: &'a str,
    /// The power of ten just above the first digit.
    magnitude: i64,
}

impl<'a> Decimal<'a> {
    fn of(text: &'a str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let digits = mantissa
            .trim_start_matches(['0', '.'])
            .trim_end_matches(['0', '.']);
        if digits.is_empty() {
            return Self {
                negative: false,
                digits,
                magnitude: 0,
            };
        }
        let point = mantissa.find('.').unwrap_or(mantissa.len());
        let first = mantissa.len() - mantissa.trim_start_matches(['0', '.']).len();
        // Above the point by so many digits, or below it by so many zeros.
        let place = if first < point {
            (point - first) as i64
        } else {
            -((first - point).saturating_sub(1) as i64)
        };
        Self {
            negative,
            digits,
            magnitude: saturating_exponent(exponent).saturating_add(place),
        }
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        let digits = |text: &str, other: &str| {
            let significant = |byte: &u8| *byte != b'.';
            text.bytes()
                .filter(significant)
                .eq(other.bytes().filter(significant))
        };
        self.negative == other.negative
            && self.magnitude == other.magnitude
            && digits(self.digits, other.digits)
    }
}

/// Exponents beyond any double only need to stay beyond.
fn saturating_exponent(text: &str) -> i64 {
    const BEYOND: i64 = i64::MAX / 4;
    let text = text.strip_prefix('+').unwrap_or(text);
    text.parse().unwrap_or(if text.starts_with('-') {
        -BEYOND
    } else {
        BEYOND
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(lexeme: &str) -> (String, String) {
        let mut renderer = Renderer::new();
        let rendered = renderer.render(lexeme);
        (rendered.js.to_owned(), rendered.jvm.to_owned())
    }

    /// The table of `ocn-notary.md` 4.1.
    #[test]
    fn renderings_of_the_specification() {
        for (lexeme, js, jvm) in [
            ("20", "20", "20"),
            ("20.0", "20", "20.0"),
            ("1.0", "1", "1.0"),
            ("0.0", "0", "0.0"),
            ("-0", "0", "0"),
            ("-0.0", "0", "-0.0"),
            ("1.50", "1.5", "1.5"),
            ("54.002", "54.002", "54.002"),
            ("0.001", "0.001", "0.001"),
            ("0.0006", "0.0006", "6.0E-4"),
            ("0.000001", "0.000001", "1.0E-6"),
            ("1e-7", "1e-7", "1.0E-7"),
            ("1e5", "100000", "100000.0"),
            ("1e20", "100000000000000000000", "1.0E20"),
            ("1e21", "1e+21", "1.0E21"),
            (
                "100000000000000000000",
                "100000000000000000000",
                "100000000000000000000",
            ),
            (
                "123456789012345678901234567890",
                "1.2345678901234568e+29",
                "123456789012345678901234567890",
            ),
            ("9007199254740993", "9007199254740992", "9007199254740993"),
            ("12345678.9", "12345678.9", "1.23456789E7"),
            ("10000000", "10000000", "10000000"),
            ("10000000.0", "10000000", "1.0E7"),
            ("9999999.5", "9999999.5", "9999999.5"),
            ("5e-324", "5e-324", "4.9E-324"),
            ("1e400", "Infinity", "Infinity"),
            ("-1e400", "-Infinity", "-Infinity"),
            (
                "-1.7976931348623157e308",
                "-1.7976931348623157e+308",
                "-1.7976931348623157E308",
            ),
        ] {
            assert_eq!(both(lexeme), (js.to_owned(), jvm.to_owned()), "{lexeme}");
        }
    }

    #[test]
    fn the_safe_set_is_what_needs_no_parsing() {
        for lexeme in [
            "0",
            "-1",
            "999999999999999",
            "0.001",
            "0.1",
            "9999999.9",
            "-1234567.12345678",
            "0.00123456789012345",
        ] {
            assert!(is_safe(lexeme), "{lexeme}");
            assert_eq!(both(lexeme), (lexeme.to_owned(), lexeme.to_owned()));
        }
        for lexeme in [
            "-0",
            "1.0",
            "1e1",
            "0.0009",
            "10000000.5",
            "1000000000000000",
            "1.234567890123456",
            "0.0",
            "1E1",
            "0.1e1",
        ] {
            assert!(!is_safe(lexeme), "{lexeme}");
        }
    }

    #[test]
    fn test_a27_exactness_compares_decimal_values() {
        for (lexeme, rendered) in [
            ("20.0", "20"),
            ("1e5", "100000"),
            ("1e21", "1e+21"),
            ("0.0006", "6.0E-4"),
            ("-0", "0"),
            ("0e9", "0"),
            ("120e-1", "12"),
            ("0.00e5", "0.0"),
            ("12345678.90", "1.23456789E7"),
            ("1.5E+300", "1.5e+300"),
        ] {
            assert!(is_exact(lexeme, rendered), "{lexeme} {rendered}");
        }
        for (lexeme, rendered) in [
            ("9007199254740993", "9007199254740992"),
            ("1e400", "Infinity"),
            ("1e-400", "0"),
            ("1", "-1"),
            ("1", "10"),
            ("1e5", "10000"),
            ("3.141592653589793238", "3.141592653589793"),
            ("0.1", "0.01"),
            ("1e99999999999999999999", "1"),
            ("5e-324", "4.9E-324"),
        ] {
            assert!(!is_exact(lexeme, rendered), "{lexeme} {rendered}");
        }
    }
}
