//! Counted, not claimed: what reading, signing and verifying allocate, and what hostile input costs.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ocn_core::eth::SigningKey;
use ocn_core::json::{self, JsonError, Leaves};
use ocn_core::notary::{Container, Limits, Notary, NumberForm, Part, Policy, Reason, Values};

/// Counts what this thread asks for; other tests run beside it.
struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(calls: usize, bytes: isize) {
    CALLS.set(CALLS.get() + calls);
    HELD.set(HELD.get() + bytes);
    PEAK.set(PEAK.get().max(HELD.get()));
}

// SAFETY: every call goes to the system's allocator unchanged; the counters are plain cells of this thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size().cast_signed());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size().cast_signed());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -layout.size().cast_signed());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The result, the number of allocations, and the most bytes held at once beyond those held before.
fn counted<T>(work: impl FnOnce() -> T) -> (T, usize, isize) {
    let (calls, held) = (CALLS.get(), HELD.get());
    PEAK.set(held);
    let result = work();
    (result, CALLS.get() - calls, PEAK.get() - held)
}

/// A location with that many leaves of every kind: texts, escapes, numbers in and out of the safe set.
fn document(leaves: usize) -> String {
    let evses: Vec<String> = (0..leaves / 5)
        .map(|n| {
            format!(
                r#"{{"uid":"E{n:07}","status":"AVAILABLE","name":"K\u00f6ln \"{n:07}\"","kwh":20.0,"price":{n}.{}}}"#,
                n % 9 + 1
            )
        })
        .collect();
    format!("{{\"evses\":[{}]}}", evses.join(","))
}

fn values(document: &str) -> Values<'_> {
    Values {
        body: Part::Json(document.as_bytes()),
        ..Values::default()
    }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32]).unwrap()
}

/// Ten times as many leaves may double a few buffers a few times more.
const GROWTH: usize = 20;

#[test]
fn no_allocation_per_leaf() {
    let (small, large) = (document(1_000), document(10_000));
    let walk = |text: &str| {
        let mut leaves = Leaves::new(text.as_bytes(), "$", &json::Limits::default()).unwrap();
        let mut count = 0;
        while leaves.next().unwrap().is_some() {
            count += 1;
        }
        count
    };
    assert_eq!((walk(&small), walk(&large)), (1_000, 10_000));
    let walked = [&small, &large].map(|text| counted(|| walk(text)).1);
    assert!(walked[1] <= walked[0] + 2, "{walked:?}");

    let validated = counted(|| json::validate(large.as_bytes(), &json::Limits::default())).1;
    assert_eq!(validated, 0);

    let limits = Limits::default();
    let signed = [&small, &large].map(|text| {
        let sign = || Notary::sign(&values(text), &key(), NumberForm::Js, &limits).unwrap();
        let (notary, signing, _) = counted(sign);
        let verify = || {
            notary
                .verify(&values(text), Policy::Strict, &[], &limits)
                .unwrap()
        };
        let verifying = counted(verify).1;
        let packed = notary.pack(Container::Gzip);
        let opening = counted(|| Notary::open(packed.as_bytes(), &limits).unwrap()).1;
        [signing, verifying, opening]
    });
    for (small, large) in signed[0].iter().zip(signed[1]) {
        assert!(large <= small + GROWTH, "{signed:?}");
    }
}

#[test]
fn test_a25_four_million_brackets_do_not_touch_the_stack() {
    const STACK: usize = 96 << 10;
    let work = || {
        let limits = json::Limits {
            depth: json::MAX_DEPTH,
            number_chars: 1_000,
        };
        for bracket in ["[", "{\"a\":"] {
            let deep = bracket.repeat(4_000_000);
            let depth = json::validate(deep.as_bytes(), &limits);
            assert!(matches!(depth, Err(JsonError::Depth { .. })));
            let (refused, _, peak) = counted(|| {
                Notary::sign(&values(&deep), &key(), NumberForm::Js, &Limits::default())
            });
            assert_eq!(refused.unwrap_err().reason, Reason::Limits);
            assert!(peak < 64 << 10, "{peak}");
        }
        // So many in a row, each closed, are no deeper than two.
        let wide = format!("[{}0]", "[],".repeat(4_000_000));
        assert_eq!(json::validate(wide.as_bytes(), &limits), Ok(()));
    };
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn test_a32_bombs_are_refused_within_four_mebibytes() {
    use std::io::Write;
    const EXTRA: isize = 4 << 20;
    let limits = Limits::default();
    let text = document(10);
    let notary = Notary::sign(&values(&text), &key(), NumberForm::Js, &limits).unwrap();
    let mut padded = notary.to_json().into_bytes();
    padded.resize(50_000_000, b' ');
    let zeros = vec![0; 50_000_000];
    for bomb in [padded, zeros] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&bomb).unwrap();
        let mut packed = vec![gzip.finish().unwrap()];
        for lgwin in [16, 22, 24] {
            let params = brotli::enc::BrotliEncoderParams {
                quality: 4,
                lgwin,
                ..Default::default()
            };
            let mut brotli = Vec::new();
            brotli::BrotliCompress(&mut bomb.as_slice(), &mut brotli, &params).unwrap();
            packed.push(brotli);
        }
        for packed in packed {
            let packed = STANDARD.encode(packed);
            let open = || Notary::open_for(packed.as_bytes(), &values(&text), &limits);
            let (refused, _, peak) = counted(open);
            assert_eq!(refused.unwrap_err().reason, Reason::Size);
            assert!(peak <= EXTRA, "{peak}");
        }
    }
}
