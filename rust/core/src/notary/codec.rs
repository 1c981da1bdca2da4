//! The wire form: Base64, one Brotli stream or gzip member, JSON. Bounded before anything is inflated.
use std::cell::Cell;
use std::io::{Read, Write};
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use brotli::enc::{BrotliEncoderParams, StandardAlloc};
use brotli::{Allocator, BrotliDecompressStream, BrotliResult, BrotliState, SliceWrapper};

use super::{Container, Fields, Limits, Notary, NotaryError, Reason, Rewrite, Seal, Values};
use crate::eth::{Address, Signature, hex_decode};
use crate::json::{JsonError, Reader, Scalar, Text, Token, quote_into};

/// Inflated data is taken in steps of this size, and the limit is looked at after each.
const STEP: usize = 64 << 10;
/// The first step, in packed bytes: paths repeat, and most notaries inflate to less.
const FIRST_STEP: usize = 16;
const LEAST_STEP: usize = 1 << 10;

/// What a member of the notary object may nest: a list of objects of objects.
const NOTARY_DEPTH: usize = 8;

/// Existing writers set 4 and a window of 22 bits; readers take any. 3 makes 2 % more bytes in two thirds of the
/// time (2 is faster still, but its fixed codes cost readers more than that), and a window beyond the text is only
/// memory to clear.
const BROTLI_QUALITY: i32 = 3;
const BROTLI_WINDOWS: std::ops::RangeInclusive<u32> = 16..=22;

impl Notary {
    /// Reads a notary object from its wire form; the container is told from its first bytes.
    ///
    /// # Errors
    /// [`Reason::Encoding`], [`Reason::Size`], [`Reason::Container`], [`Reason::Format`],
    /// [`Reason::Limits`].
    pub fn open(text: &[u8], limits: &Limits) -> Result<Self, NotaryError> {
        Self::open_within(text, limits, &mut || limits.notary_bytes)
    }

    /// As [`Notary::open`], with the tighter bound that the signed message itself sets: no more than its
    /// own paths need and 64 KiB (`ocn-notary.md` 9 #11). Only large signatures cost a walk for that.
    ///
    /// # Errors
    /// As [`Notary::open`].
    pub fn open_for(
        text: &[u8],
        values: &Values<'_>,
        limits: &Limits,
    ) -> Result<Self, NotaryError> {
        Self::open_within(text, limits, &mut || {
            values.expected_notary_bytes(limits, limits.notary_bytes)
        })
    }

    fn open_within(
        text: &[u8],
        limits: &Limits,
        expected: &mut dyn FnMut() -> usize,
    ) -> Result<Self, NotaryError> {
        if text.is_empty() {
            return Err(NotaryError::new(Reason::Encoding));
        }
        if text.len() > limits.text_bytes {
            return Err(NotaryError::new(Reason::Size));
        }
        let packed = STANDARD
            .decode(text)
            .map_err(|_| NotaryError::new(Reason::Encoding))?;
        let mut bound = Bound {
            limit: limits.notary_bytes,
            expected,
            known: false,
        };
        // A Brotli stream may begin like a gzip member, so a failed gzip gets a second chance.
        let gzip = packed
            .starts_with(&[0x1f, 0x8b, 0x08])
            .then(|| inflate_gzip(&packed, &mut bound));
        let (json, container) = match gzip {
            Some(Err(NotaryError {
                reason: Reason::Container,
                ..
            }))
            | None => (inflate_brotli(&packed, &mut bound)?, Container::Brotli),
            Some(inflated) => (inflated?, Container::Gzip),
        };
        parse(&json, container, limits)
    }

    /// The JSON of the notary object, members in the order of existing writers.
    pub fn to_json(&self) -> String {
        let paths: usize = self.fields.iter().map(|path| path.len() + 3).sum();
        let mut json = String::with_capacity(512 + paths);
        json.push_str("{\"fields\":[");
        for (index, path) in self.fields.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            quote_into(path, &mut json);
        }
        json.push_str("],");
        write_seal(&self.seal, &mut json);
        json.push_str(",\"rewrites\":[");
        for (index, rewrite) in self.rewrites.iter().enumerate() {
            json.push_str(if index > 0 { ",{" } else { "{" });
            json.push_str("\"rewrittenFields\":{");
            for (index, (path, raw)) in rewrite.values.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                quote_into(path, &mut json);
                json.push(':');
                json.push_str(raw);
            }
            json.push_str("},");
            write_seal(&rewrite.seal, &mut json);
            json.push('}');
        }
        json.push_str("]}");
        json
    }

    /// The wire form in that container.
    pub fn pack(&self, container: Container) -> String {
        let json = self.to_json();
        let packed = match container {
            Container::Brotli => deflate_brotli(json.as_bytes()),
            Container::Gzip => deflate_gzip(json.as_bytes()),
        };
        STANDARD.encode(packed)
    }
}

fn write_seal(seal: &Seal, json: &mut String) {
    json.extend([
        "\"hash\":\"",
        &seal.hash,
        "\",\"rsv\":\"",
        &seal.rsv,
        "\",\"signatory\":\"",
        &seal.signatory.to_string(),
        "\"",
    ]);
}

/// How much may be inflated. The expected size is asked for only once a step is full.
struct Bound<'e> {
    limit: usize,
    expected: &'e mut dyn FnMut() -> usize,
    known: bool,
}

impl Bound<'_> {
    fn check(&mut self, inflated: usize) -> Result<(), NotaryError> {
        if !self.known && inflated >= STEP {
            self.limit = self.limit.min((self.expected)());
            self.known = true;
        }
        if inflated > self.limit {
            Err(NotaryError::new(Reason::Size))
        } else {
            Ok(())
        }
    }
}

fn inflate_gzip(packed: &[u8], bound: &mut Bound<'_>) -> Result<Vec<u8>, NotaryError> {
    let refused = |_| NotaryError::new(Reason::Container);
    let mut decoder = flate2::bufread::GzDecoder::new(packed);
    let mut inflated = Vec::new();
    loop {
        let step = (&mut decoder)
            .take(STEP as u64)
            .read_to_end(&mut inflated)
            .map_err(refused)?;
        bound.check(inflated.len())?;
        if step < STEP {
            break;
        }
    }
    // The decoder has checked length and CRC; what it left unread comes after the end.
    if decoder.into_inner().is_empty() {
        Ok(inflated)
    } else {
        Err(NotaryError::new(Reason::Container))
    }
}

fn inflate_brotli(packed: &[u8], bound: &mut Bound<'_>) -> Result<Vec<u8>, NotaryError> {
    let budget = Budget::for_output(bound.limit);
    let mut state = BrotliState::new_strict(budget.clone(), budget.clone(), budget.clone());
    let mut inflated = Vec::new();
    let (mut left, mut read, mut total) = (packed.len(), 0, 0);
    loop {
        let start = inflated.len();
        let step = match start {
            0 => (FIRST_STEP * packed.len()).clamp(LEAST_STEP, STEP),
            _ => STEP,
        };
        inflated.resize(start + step, 0);
        let mut room = inflated.len() - start;
        let mut written = start;
        let result = BrotliDecompressStream(
            &mut left,
            &mut read,
            packed,
            &mut room,
            &mut written,
            &mut inflated,
            &mut total,
            &mut state,
        );
        inflated.truncate(written);
        bound.check(inflated.len())?;
        match result {
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultSuccess if left == 0 => return Ok(inflated),
            BrotliResult::ResultFailure if budget.exceeded() => {
                return Err(NotaryError::new(Reason::Size));
            }
            BrotliResult::ResultSuccess
            | BrotliResult::NeedsMoreInput
            | BrotliResult::ResultFailure => {
                return Err(NotaryError::new(Reason::Container));
            }
        }
    }
}

/// Memory for one decoder. Streams announce what they need before they bring it, so a few bytes could ask
/// for a window of 16 MiB: more than any notary within its limit needs is refused.
#[derive(Clone)]
struct Budget(Rc<Balance>);

struct Balance {
    left: Cell<usize>,
    exceeded: Cell<bool>,
}

impl Budget {
    /// For so many inflated bytes: the ring buffer, once more half of it while it grows, and the code tables.
    fn for_output(bytes: usize) -> Self {
        const TABLES: usize = 1 << 20;
        let ring = bytes.next_power_of_two();
        let left = Cell::new(ring + ring / 2 + TABLES);
        Self(Rc::new(Balance {
            left,
            exceeded: Cell::new(false),
        }))
    }

    fn exceeded(&self) -> bool {
        self.0.exceeded.get()
    }
}

impl<T: Clone + Default> Allocator<T> for Budget {
    type AllocatedMemory = <StandardAlloc as Allocator<T>>::AllocatedMemory;

    /// Gives an empty cell beyond the budget, which the decoder takes for a failure.
    fn alloc_cell(&mut self, length: usize) -> Self::AllocatedMemory {
        let bytes = length.saturating_mul(size_of::<T>());
        match self.0.left.get().checked_sub(bytes) {
            Some(left) => {
                self.0.left.set(left);
                StandardAlloc::default().alloc_cell(length)
            }
            None => {
                self.0.exceeded.set(true);
                Self::AllocatedMemory::default()
            }
        }
    }

    fn free_cell(&mut self, cell: Self::AllocatedMemory) {
        let left = self.0.left.get();
        self.0
            .left
            .set(left.saturating_add(size_of_val(cell.slice())));
    }
}

fn deflate_brotli(json: &[u8]) -> Vec<u8> {
    /// What the format keeps back of each window.
    const GAP: usize = 16;
    let window = (json.len() + GAP).next_power_of_two().ilog2();
    let window = window.clamp(*BROTLI_WINDOWS.start(), *BROTLI_WINDOWS.end());
    let params = BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: window.cast_signed(),
        size_hint: json.len(),
        ..BrotliEncoderParams::default()
    };
    let mut packed = Vec::new();
    let mut input = json;
    // Reading from a slice and writing to a vector cannot fail.
    let _ = brotli::BrotliCompress(&mut input, &mut packed, &params);
    packed
}

fn deflate_gzip(json: &[u8]) -> Vec<u8> {
    /// What the JVM writes for "unknown": its readers see the header they know.
    const UNKNOWN_SYSTEM: u8 = 255;
    let builder = flate2::GzBuilder::new()
        .mtime(0)
        .operating_system(UNKNOWN_SYSTEM);
    let mut encoder = builder.write(Vec::new(), flate2::Compression::default());
    // Writing to a vector cannot fail.
    let _ = encoder.write_all(json);
    encoder.finish().unwrap_or_default()
}

/// Why parsing stops: another shape, or too much of the right one.
enum Refusal {
    Format,
    Limits,
}

impl From<JsonError> for Refusal {
    fn from(_: JsonError) -> Self {
        Self::Format
    }
}

impl From<Refusal> for NotaryError {
    fn from(refusal: Refusal) -> Self {
        Self::new(match refusal {
            Refusal::Format => Reason::Format,
            Refusal::Limits => Reason::Limits,
        })
    }
}

fn parse(json: &[u8], container: Container, limits: &Limits) -> Result<Notary, NotaryError> {
    let bounds = crate::json::Limits {
        depth: NOTARY_DEPTH,
        number_chars: limits.number_chars,
    };
    let reader = Reader::new(json, &bounds).map_err(Refusal::from)?;
    let mut parser = Parser {
        reader,
        json,
        limits,
    };
    Ok(parser.notary(container)?)
}

/// Reads what it expects, token by token, and nothing else.
struct Parser<'a> {
    reader: Reader<'a>,
    json: &'a [u8],
    limits: &'a Limits,
}

/// The signature members, wherever they stand.
#[derive(Default)]
struct Seals {
    hash: Option<String>,
    rsv: Option<String>,
    signatory: Option<String>,
}

impl Seals {
    /// Whether it took the member.
    fn take(&mut self, name: &str, parser: &mut Parser<'_>) -> Result<bool, Refusal> {
        let slot = match name {
            "hash" => &mut self.hash,
            "rsv" => &mut self.rsv,
            "signatory" => &mut self.signatory,
            _ => return Ok(false),
        };
        let value = parser.string()?.decode()?.into_owned();
        if slot.replace(value).is_some() {
            Err(Refusal::Format)
        } else {
            Ok(true)
        }
    }

    fn finish(self) -> Result<Seal, Refusal> {
        let (Some(hash), Some(rsv), Some(text)) = (self.hash, self.rsv, self.signatory) else {
            return Err(Refusal::Format);
        };
        let lower = !hash.bytes().any(|byte| byte.is_ascii_uppercase());
        let signatory: Address = text.parse().map_err(|_| Refusal::Format)?;
        if !lower || hex_decode::<32>(&hash).is_none() || Signature::parse(&rsv).is_err() {
            return Err(Refusal::Format);
        }
        let checksummed = Address::from_checksummed(&text).is_ok();
        Ok(Seal {
            hash,
            rsv,
            signatory,
            checksummed,
        })
    }
}

impl<'a> Parser<'a> {
    fn notary(&mut self, container: Container) -> Result<Notary, Refusal> {
        let mut seals = Seals::default();
        let mut fields = None;
        let mut rewrites = None;
        self.expect(Token::BeginObject)?;
        while let Some(name) = self.name()? {
            let name = name.decode()?;
            match name.as_ref() {
                "fields" if fields.is_none() => fields = Some(self.fields()?),
                "rewrites" if rewrites.is_none() => rewrites = Some(self.rewrites()?),
                other => {
                    if !seals.take(other, self)? {
                        return Err(Refusal::Format);
                    }
                }
            }
        }
        if self.reader.next()?.is_some() {
            return Err(Refusal::Format);
        }
        Ok(Notary {
            fields: fields.ok_or(Refusal::Format)?,
            seal: seals.finish()?,
            rewrites: rewrites.unwrap_or_default(),
            container,
        })
    }

    fn fields(&mut self) -> Result<Fields, Refusal> {
        let mut fields = Fields::default();
        self.expect(Token::BeginArray)?;
        loop {
            match self.reader.next()? {
                Some(Token::Scalar(Scalar::String(path))) => {
                    if fields.len() == self.limits.fields {
                        return Err(Refusal::Limits);
                    }
                    fields.push_with(|text| path.pieces(|piece| text.push_str(piece)))?;
                }
                Some(Token::EndArray) => return Ok(fields),
                _ => return Err(Refusal::Format),
            }
        }
    }

    /// A list, or null for none.
    fn rewrites(&mut self) -> Result<Vec<Rewrite>, Refusal> {
        let mut rewrites = Vec::new();
        match self.reader.next()? {
            Some(Token::Scalar(Scalar::Null)) => return Ok(rewrites),
            Some(Token::BeginArray) => {}
            _ => return Err(Refusal::Format),
        }
        loop {
            match self.reader.next()? {
                Some(Token::BeginObject) if rewrites.len() == self.limits.rewrites => {
                    return Err(Refusal::Limits);
                }
                Some(Token::BeginObject) => rewrites.push(self.rewrite()?),
                Some(Token::EndArray) => return Ok(rewrites),
                _ => return Err(Refusal::Format),
            }
        }
    }

    fn rewrite(&mut self) -> Result<Rewrite, Refusal> {
        let mut seals = Seals::default();
        let mut values = None;
        while let Some(name) = self.name()? {
            let name = name.decode()?;
            if name == "rewrittenFields" && values.is_none() {
                values = Some(self.stashed_values()?);
            } else if !seals.take(&name, self)? {
                return Err(Refusal::Format);
            }
        }
        Ok(Rewrite {
            values: values.ok_or(Refusal::Format)?,
            seal: seals.finish()?,
        })
    }

    fn stashed_values(&mut self) -> Result<Vec<(String, String)>, Refusal> {
        let mut values: Vec<(String, String)> = Vec::new();
        self.expect(Token::BeginObject)?;
        while let Some(path) = self.name()? {
            let path = path.decode()?.into_owned();
            if values.iter().any(|(other, _)| *other == path) {
                return Err(Refusal::Format);
            }
            if values.len() == self.limits.rewrite_paths {
                return Err(Refusal::Limits);
            }
            let raw = self.raw_value()?;
            values.push((path, raw.to_owned()));
        }
        Ok(values)
    }

    /// Any value, as it stands: whether it is a scalar is looked at when it is restored.
    fn raw_value(&mut self) -> Result<&'a str, Refusal> {
        let outside = self.reader.depth();
        self.reader.next()?;
        let start = self.reader.range().start;
        while self.reader.depth() > outside {
            self.reader.next()?;
        }
        let raw = &self.json[start..self.reader.range().end];
        std::str::from_utf8(raw).map_err(|_| Refusal::Format)
    }

    /// The next member's name; `None` at the end of the object.
    fn name(&mut self) -> Result<Option<Text<'a>>, Refusal> {
        match self.reader.next()? {
            Some(Token::Key(name)) => Ok(Some(name)),
            Some(Token::EndObject) => Ok(None),
            _ => Err(Refusal::Format),
        }
    }

    fn string(&mut self) -> Result<Text<'a>, Refusal> {
        match self.reader.next()? {
            Some(Token::Scalar(Scalar::String(text))) => Ok(text),
            _ => Err(Refusal::Format),
        }
    }

    fn expect(&mut self, token: Token<'_>) -> Result<(), Refusal> {
        if self.reader.next()? == Some(token) {
            Ok(())
        } else {
            Err(Refusal::Format)
        }
    }
}
