//! One thread, fixed keys, fixed random, fixed hash seeds: what is counted here is the same in every run.
//!
//! Run by `python -m bench.guard` under callgrind, which closes a part of its count at each [`meter::mark`].
//! What this prints says which part is what: `parts` names row and stage of each, `null` what nobody answers for.
//! Before a row is counted its messages are seen to be answered rightly.
#![allow(
    clippy::unwrap_used,
    reason = "a tool of developers: what is wrong ends it"
)]

mod bodies;
mod meter;
mod metered;
mod rows;
mod seeds;

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../../core/tests/relay/nodes.rs"]
mod nodes;
#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../../core/tests/support/rows.rs"]
mod table_rows;
#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../../core/tests/relay/world.rs"]
mod world;

fn main() {
    assert!(
        seeds::are_fixed(),
        "hash seeds differ from run to run: std no longer asks getrandom() for them"
    );
    let wanted = std::env::args().nth(1);
    rows::all(|name| wanted.as_deref().is_none_or(|wanted| wanted == name));
    println!("{}", meter::told());
}
