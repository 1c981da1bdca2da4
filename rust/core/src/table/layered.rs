//! An index in two layers: a large shared base and a small delta over it.
//!
//! Cloning shares both layers; the first write to a clone copies the delta only, which is bounded by
//! [`DELTA_BOUND`]. So one change allocates the same at a hundred parties and at a million. A look-up hashes
//! once (with a secret key: strangers choose the keys of the indexes) and goes to one place in the base.
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use super::slots::Slots;

/// Entries that a delta may hold before it is folded into a new base. Each change copies the delta (about
/// 25 kB at this size); each folding copies the base (100 MB at a million parties), once in so many changes.
pub(super) const DELTA_BOUND: usize = 512;

#[derive(Debug)]
pub(super) struct Layered<K, V> {
    hasher: RandomState,
    base: Arc<Slots<K, V>>,
    /// `None` hides an entry of the base. Values lie elsewhere: the delta is in the way of every look-up and
    /// has to stay small, and copying it should not copy them.
    delta: Arc<Slots<K, Option<Arc<V>>>>,
    len: usize,
}

// Derived, this would ask for bounds on K and V that sharing does not need.
impl<K, V> Clone for Layered<K, V> {
    fn clone(&self) -> Self {
        Self {
            hasher: self.hasher.clone(),
            base: Arc::clone(&self.base),
            delta: Arc::clone(&self.delta),
            len: self.len,
        }
    }
}

impl<K, V> Default for Layered<K, V> {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            base: Arc::default(),
            delta: Arc::default(),
            len: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Layered<K, V> {
    /// An empty index with room for so many entries in its base.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            base: Arc::new(Slots::with_capacity(capacity)),
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let hash = self.hasher.hash_one(key);
        match self.delta.get(hash, key) {
            Some(entry) => entry.as_deref(),
            None => self.base.get(hash, key),
        }
    }

    /// All values, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        let replaced = |key: &K| self.delta.get(self.hasher.hash_one(key), key).is_some();
        self.base
            .iter()
            .filter_map(move |(key, value)| (!replaced(key)).then_some(value))
            .chain(self.delta.iter().filter_map(|(_, entry)| entry.as_deref()))
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.len += usize::from(self.get(&key).is_none());
        // A base that no snapshot shares is still being built: no detour through the delta.
        if self.delta.len() == 0
            && let Some(base) = Arc::get_mut(&mut self.base)
        {
            base.insert(key, value, &self.hasher);
        } else {
            Arc::make_mut(&mut self.delta).insert(key, Some(Arc::new(value)), &self.hasher);
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        if self.get(key).is_some() {
            self.len -= 1;
            Arc::make_mut(&mut self.delta).insert(*key, None, &self.hasher);
        }
    }

    /// Folds a delta that has passed the bound into a new base. The old base stays with its readers.
    pub(super) fn compact(&mut self) {
        if self.delta.len() <= DELTA_BOUND {
            return;
        }
        let mut base = Slots::with_capacity(self.len);
        for (key, value) in self.base.iter() {
            if self.delta.get(self.hasher.hash_one(key), key).is_none() {
                base.insert(*key, value.clone(), &self.hasher);
            }
        }
        for (key, entry) in self.delta.iter() {
            if let Some(value) = entry {
                base.insert(*key, V::clone(value), &self.hasher);
            }
        }
        self.base = Arc::new(base);
        self.delta = Arc::default();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_delta_is_folded_only_past_its_bound() {
        let mut index = Layered::<usize, usize>::with_capacity(1);
        index.insert(0, 0);
        let before = index.clone();
        for key in 1..=DELTA_BOUND {
            index.insert(key, key);
        }
        index.compact();
        assert_eq!((index.delta.len(), index.base.len()), (DELTA_BOUND, 1));
        index.insert(DELTA_BOUND + 1, 7);
        index.compact();
        assert_eq!((index.delta.len(), index.base.len()), (0, DELTA_BOUND + 2));
        assert_eq!(
            (before.len(), before.get(&0), before.get(&1)),
            (1, Some(&0), None)
        );
    }

    proptest! {
        #[test]
        fn equals_a_plain_map_and_leaves_clones_alone(
            steps in prop::collection::vec((0_u16..900, prop::option::of(any::<u8>()), any::<bool>()), 0..3_000)
        ) {
            let (mut index, mut model) = (Layered::<u16, u8>::default(), HashMap::new());
            let mut kept = Vec::new();
            for (at, (key, value, settle)) in steps.into_iter().enumerate() {
                match value {
                    Some(value) => { index.insert(key, value); model.insert(key, value); }
                    None => { index.remove(&key); model.remove(&key); }
                }
                if settle {
                    index.compact();
                }
                if at % 500 == 0 {
                    kept.push((index.clone(), model.clone()));
                }
            }
            kept.push((index, model));
            for (index, model) in kept {
                prop_assert_eq!(index.len(), model.len());
                let (mut values, mut expected): (Vec<_>, Vec<_>) = (index.values().collect(), model.values().collect());
                values.sort();
                expected.sort();
                prop_assert_eq!(values, expected);
                for key in 0..900 {
                    prop_assert_eq!(index.get(&key), model.get(&key));
                }
            }
        }
    }
}
