//! Look-ups in tables of 100 to 1,000,000 parties, and what the naive way costs: one lock, one map of strings.
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::RwLock;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ocn_core::ocpi::Party;
use ocn_core::table::TableHandle;

#[path = "../tests/support/rows.rs"]
mod rows;
use rows::{change, ids, many, party_row, platform_row};

const PLATFORMS: usize = 10_000;

/// The n-th number of a walk that visits all in no order that a cache could foresee.
fn scattered(turn: usize, count: usize) -> usize {
    turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) % count
}

fn party(number: usize) -> Party {
    let (country, party) = ids(number);
    Party::new(&country, &party).expect("an id of ours")
}

fn digest(number: usize) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[24..].copy_from_slice(&(number as u64).to_be_bytes());
    digest
}

fn look_ups(criterion: &mut Criterion) {
    for parties in [100, 10_000, 100_000, 1_000_000] {
        let handle = TableHandle::new();
        let platforms = many(PLATFORMS, |id| platform_row(id, id));
        let full = change(
            1,
            true,
            &many(parties, |number| party_row(number, number)),
            &platforms,
        );
        handle.apply(full).expect("a good change");
        // A delta in place, as in a table that lives.
        for turn in 0..parties.min(300) {
            let put = change(2 + turn, false, &party_row(turn, parties), "");
            handle.apply(put).expect("a good change");
        }
        let table = handle.load();
        let keys: Vec<_> = (0..1 << 20)
            .map(|turn| party(scattered(turn, parties)))
            .collect();
        let tokens: Vec<_> = (0..1 << 16)
            .map(|turn| digest(scattered(turn, PLATFORMS)))
            .collect();
        assert!(keys.iter().all(|key| {
            table
                .registered(*key)
                .is_some_and(|found| found.party == *key)
        }));
        assert!(
            tokens
                .iter()
                .all(|token| table.platform_by_token(token).is_some())
        );

        let mut group = criterion.benchmark_group(format!("table, {parties} parties"));
        let mut turn = 0;
        group.bench_function("registered party and its address", |bencher| {
            bencher.iter(|| {
                turn = (turn + 1) & (keys.len() - 1);
                black_box(table.registered(keys[turn]).map(|found| found.address))
            });
        });
        group.bench_function("platform by token", |bencher| {
            bencher.iter(|| {
                turn = (turn + 1) & (tokens.len() - 1);
                black_box(
                    table
                        .platform_by_token(&tokens[turn])
                        .map(|(found, _)| found.id),
                )
            });
        });
        group.bench_function("load the snapshot", |bencher| {
            bencher.iter(|| handle.load())
        });
        let mut number = 1_000;
        group.bench_with_input(
            BenchmarkId::new("one change", "applied"),
            &(),
            |bencher, ()| {
                bencher.iter_batched(
                    || {
                        number += 1;
                        let put = party_row(number % parties.min(400), number);
                        change(number, false, &put, "")
                    },
                    |put| handle.apply(put).expect("a good change"),
                    criterion::BatchSize::SmallInput,
                );
            },
        );
        let naive: RwLock<HashMap<String, String>> = RwLock::new(
            (0..parties)
                .map(|number| (party(number).to_string(), format!("0x{number:040x}")))
                .collect(),
        );
        group.bench_function("naive: locked map of strings", |bencher| {
            bencher.iter(|| {
                turn = (turn + 1) & (keys.len() - 1);
                let map = naive.read().expect("no writer panics");
                black_box(map.get(&keys[turn].to_string()).cloned())
            });
        });
        group.finish();
    }
}

criterion_group!(benches, look_ups);
criterion_main!(benches);
