//! Marks between the parts of a count, and whose each part is.
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

static MARKS: AtomicU64 = AtomicU64::new(0);
static COUNTING: AtomicBool = AtomicBool::new(false);
static LEDGER: Mutex<Ledger> = Mutex::new(Ledger {
    entries: Vec::new(),
    times: BTreeMap::new(),
});

struct Ledger {
    entries: Vec<Entry>,
    times: BTreeMap<&'static str, u64>,
}

struct Entry {
    parts: Range<u64>,
    owner: Option<(&'static str, &'static str)>,
}

/// Callgrind is told to close a part whenever this function is entered.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn ocn_guard_mark() {
    black_box(());
}

/// Closes a part and gives the number of the next one.
pub(crate) fn mark() -> u64 {
    ocn_guard_mark();
    MARKS.fetch_add(1, Ordering::Relaxed) + 1
}

/// From now on parts have owners: what has run before has only warmed up.
pub(crate) fn count(counting: bool) {
    COUNTING.store(counting, Ordering::Relaxed);
}

/// These parts belong to a stage of a row; `None`: to nobody. Parts within them may be given to others.
pub(crate) fn own(parts: Range<u64>, owner: Option<(&'static str, &'static str)>) {
    if COUNTING.load(Ordering::Relaxed) {
        LEDGER.lock().unwrap().entries.push(Entry { parts, owner });
    }
}

/// One more message, or piece of work, of a row: its counts are divided by how many there were.
pub(crate) fn once_more(row: &'static str, times: u64) {
    if COUNTING.load(Ordering::Relaxed) {
        *LEDGER.lock().unwrap().times.entry(row).or_default() += times;
    }
}

/// Everything that is known of the parts, as JSON.
pub(crate) fn told() -> String {
    let mut ledger = LEDGER.lock().unwrap();
    // A message within a message: the inner one answers for its parts.
    ledger
        .entries
        .sort_by_key(|entry| Reverse(entry.parts.end - entry.parts.start));
    let mut owners = vec![None; MARKS.load(Ordering::Relaxed) as usize + 1];
    for entry in &ledger.entries {
        for part in entry.parts.clone() {
            owners[part as usize] = entry.owner;
        }
    }
    json!({ "parts": owners, "times": ledger.times }).to_string()
}
