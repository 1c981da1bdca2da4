//! Counted, not claimed: what one change to the table allocates, and what a party costs.
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ocn_core::table::{Change, TableHandle};

#[path = "support/rows.rs"]
mod rows;
use rows::{change, many, party_row, platform_row};

/// Counts what this thread asks for; other tests run beside it.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counters are plain cells of this thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + layout.size());
        HELD.set(HELD.get() + layout.size().cast_signed());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size().cast_signed());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bound for a change that folds nothing, whatever the size of the table.
const ONE_CHANGE: usize = 256 * 1024;

fn asked(handle: &TableHandle, change: Change) -> usize {
    let before = ASKED.get();
    handle.apply(change).expect("a good change");
    ASKED.get() - before
}

/// Largest unfolded change, mean of all, and number of foldings in 1,100 single changes to both halves.
fn single_changes(parties: usize) -> (usize, usize, usize) {
    let handle = TableHandle::new();
    let platforms = many(parties / 10, |id| platform_row(id, id));
    let full = change(
        1,
        true,
        &many(parties, |number| party_row(number, number)),
        &platforms,
    );
    handle.apply(full).expect("a good change");
    let mut all: Vec<_> = (0..1_100)
        .map(|turn| {
            let fresh = parties + turn;
            let party = party_row(turn % parties, fresh);
            asked(
                &handle,
                change(2 + turn, false, &party, &platform_row(turn % 100, fresh)),
            )
        })
        .collect();
    all.sort_unstable();
    let foldings = all.iter().filter(|bytes| **bytes > ONE_CHANGE).count();
    (
        all[all.len() - 1 - foldings],
        all.iter().sum::<usize>() / all.len(),
        foldings,
    )
}

#[test]
fn one_change_allocates_a_bounded_number_of_bytes() {
    let (small, _, _) = single_changes(1_000);
    let (large, mean, foldings) = single_changes(100_000);
    println!(
        "one change: at most {small} bytes at 1,000 parties, {large} at 100,000; \
         {mean} on average with {foldings} foldings"
    );
    assert!(large <= ONE_CHANGE, "{large}");
    assert!(foldings <= 5, "folded only past the bound: {foldings}");
    assert!(mean <= ONE_CHANGE, "foldings are rare enough: {mean}");
}

#[test]
fn a_registered_party_costs_at_most_150_bytes() {
    const PARTIES: usize = 100_000;
    let handle = TableHandle::new();
    let before = HELD.get();
    let full = change(
        1,
        true,
        &many(PARTIES, |number| party_row(number, number)),
        "",
    );
    handle.apply(full).expect("a good change");
    let each = HELD.get().abs_diff(before) / PARTIES;
    println!("one party: {each} bytes");
    assert_eq!(handle.load().counts().parties, PARTIES);
    assert!(each <= 150, "{each}");
}
