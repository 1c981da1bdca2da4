//! A hash table that is built once and read often: open addressing, linear probing, nothing ever removed.
//!
//! Key and value lie side by side, so that a look-up nearly always goes to memory once, where a general map
//! goes twice. Two thirds full at most: half as much again as the entries themselves.
use std::hash::{BuildHasher, Hash};

#[derive(Debug, Clone)]
pub(super) struct Slots<K, V> {
    slots: Box<[Option<(K, V)>]>,
    len: usize,
}

impl<K, V> Default for Slots<K, V> {
    fn default() -> Self {
        Self {
            slots: Box::default(),
            len: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, V> Slots<K, V> {
    pub(super) fn with_capacity(entries: usize) -> Self {
        Self {
            slots: empty(entries + entries.div_ceil(2)),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().flatten().map(|(key, value)| (key, value))
    }

    /// `hash` is the key's, by the hasher that every insertion used.
    pub(super) fn get(&self, hash: u64, key: &K) -> Option<&V> {
        // An empty slot always follows: the table is never full.
        self.probe(hash)
            .map_while(|at| self.slots[at].as_ref())
            .find(|(taken, _)| taken == key)
            .map(|(_, value)| value)
    }

    /// Puts an entry in, over an older one of the same key.
    pub(super) fn insert(&mut self, key: K, value: V, hasher: &impl BuildHasher) {
        if (self.len + 1) * 3 > self.slots.len() * 2 {
            self.grow(hasher);
        }
        let free = self.probe(hasher.hash_one(key)).find(|at| {
            self.slots[*at]
                .as_ref()
                .is_none_or(|(taken, _)| *taken == key)
        });
        let at = free.expect("a third of the slots is free");
        self.len += usize::from(self.slots[at].is_none());
        self.slots[at] = Some((key, value));
    }

    fn grow(&mut self, hasher: &impl BuildHasher) {
        let larger = empty((self.slots.len() * 2).max(8));
        self.len = 0;
        for (key, value) in std::mem::replace(&mut self.slots, larger)
            .into_iter()
            .flatten()
        {
            self.insert(key, value, hasher);
        }
    }

    /// All slots, from the one that the hash points to round to the one before it.
    fn probe(&self, hash: u64) -> impl Iterator<Item = usize> + use<K, V> {
        let count = self.slots.len();
        // The upper bits of the hash, scaled: any number of slots will do, not only powers of two.
        let first = ((u128::from(hash) * count as u128) >> 64) as usize;
        (first..count).chain(0..first)
    }
}

fn empty<K, V>(slots: usize) -> Box<[Option<(K, V)>]> {
    std::iter::repeat_with(|| None).take(slots).collect()
}
