//! The memory of nonces: what was accepted once is refused the second time. It is bounded, and forgets on the safe
//! side: whatever it can no longer tell from a repeat counts as one.
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use super::parameters::Parameters;
use crate::eth::Address;

/// Nonces seen by one process. When it is full, the operator that fills most of it loses its oldest: what that
/// operator signed in the same second or before is refused from then on. So a flood of one operator's messages
/// shortens the time that its own messages may take, and nobody else's.
///
/// Nothing is forgotten because time has passed: a wall clock that is set back must not make an old message new.
#[derive(Debug)]
pub struct Replays {
    entries: usize,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// One window for each key that ever signed; callers ask only for operators that the registry lists.
    windows: HashMap<Address, Window>,
    held: usize,
}

#[derive(Debug)]
struct Window {
    /// `created` and nonce.
    seen: BTreeSet<(i64, [u8; 16])>,
    /// What was created in this second or before is refused.
    closed: i64,
}

impl Replays {
    /// A memory of so many nonces (`node.replay_entries`).
    pub fn new(entries: usize) -> Self {
        Self {
            entries,
            seen: Mutex::default(),
        }
    }

    /// Whether this signature, which must have been verified and be an operator's, is surely seen for the first time.
    pub fn first(&self, parameters: &Parameters) -> bool {
        let entry = (parameters.created, parameters.nonce);
        // Nothing panics while the lock is held; were it so, the sets would still be whole.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let window = seen.windows.entry(parameters.keyid).or_default();
        if parameters.created <= window.closed || !window.seen.insert(entry) {
            return false;
        }
        seen.held += 1;
        if seen.held > self.entries {
            seen.forget_one();
        }
        true
    }
}

impl Seen {
    fn forget_one(&mut self) {
        let fullest = self
            .windows
            .values_mut()
            .max_by_key(|window| window.seen.len());
        if let Some(window) = fullest
            && let Some((created, _)) = window.seen.pop_first()
        {
            window.closed = created;
            self.held -= 1;
        }
    }
}

impl Default for Window {
    fn default() -> Self {
        Self {
            seen: BTreeSet::new(),
            closed: i64::MIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn signed(operator: u8, created: i64, nonce: u128) -> Parameters {
        Parameters {
            created,
            expires: created + 30,
            nonce: nonce.to_be_bytes(),
            keyid: Address::from_bytes([operator; 20]),
        }
    }

    #[test]
    fn test_a151_a_nonce_is_taken_once_for_each_operator() {
        let replays = Replays::new(8);
        assert!(replays.first(&signed(1, 100, 7)));
        assert!(!replays.first(&signed(1, 100, 7)));
        assert!(replays.first(&signed(2, 100, 7)));
        assert!(replays.first(&signed(1, 100, 8)));
    }

    #[test]
    fn test_a151_at_the_limit_all_are_known_and_one_above_closes_the_oldest_second() {
        let replays = Replays::new(4);
        for nonce in 0..4 {
            assert!(replays.first(&signed(1, 100 + nonce as i64, nonce)));
        }
        for nonce in 0..4 {
            assert!(!replays.first(&signed(1, 100 + nonce as i64, nonce)));
        }
        assert!(replays.first(&signed(1, 104, 4)));
        // One above: the second 100 is closed, to the known nonce and to any other.
        assert!(!replays.first(&signed(1, 100, 0)));
        assert!(!replays.first(&signed(1, 100, 99)));
        assert!(!replays.first(&signed(1, 99, 99)));
        assert!(!replays.first(&signed(1, 101, 1)));
        assert!(replays.first(&signed(1, 105, 99)));
        assert_eq!(replays.seen.lock().unwrap().held, 4);
    }

    #[test]
    fn test_a148_a_flood_of_one_operator_closes_no_window_of_another() {
        let replays = Replays::new(100);
        for nonce in 0..10 {
            assert!(replays.first(&signed(1, 50, nonce)));
        }
        for nonce in 0..10_000 {
            replays.first(&signed(2, 60 + nonce as i64 / 100, nonce));
        }
        assert!(!replays.first(&signed(1, 50, 0)));
        assert!(replays.first(&signed(1, 50, 10)));
        assert!(!replays.first(&signed(2, 60, 0)));
        assert_eq!(replays.seen.lock().unwrap().held, 100);
    }

    #[test]
    fn test_a151_many_threads_with_the_same_messages_accept_each_once() {
        let replays = Replays::new(10_000);
        let accepted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for nonce in 0..1_000 {
                        if replays.first(&signed(1, 100, nonce)) {
                            accepted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(accepted.into_inner(), 1_000);
    }

    #[test]
    fn a_memory_without_room_takes_one_message_a_second() {
        let replays = Replays::new(0);
        assert!(replays.first(&signed(1, 100, 1)));
        assert!(!replays.first(&signed(1, 100, 1)));
        assert!(!replays.first(&signed(1, 100, 2)));
        assert!(replays.first(&signed(1, 101, 3)));
    }
}
