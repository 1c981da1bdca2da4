//! What a node was found to speak, kept beside its operator: it survives the registry's snapshots as long as
//! the operator's domain stays the same.
//!
//! Time comes in as an argument (monotonic). Whoever asks holds [`Dialect::turn`], so that many messages at
//! once ask only once.
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::lock::{Mutex as Turn, MutexGuard as TurnGuard};

use crate::eth::Address;

/// What a node said of itself, or that it said nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// `ocn-relay/3`.
    Relay3,
    /// It names no protocol that we speak.
    Foreign,
    /// Another operator answers under this domain (`safety.md` A99); the address that it named, if any.
    Stranger(Option<Address>),
    /// It did not answer; the text is from our own list.
    Silent(&'static str),
}

/// The memory of one node's speech.
#[derive(Debug, Default)]
pub struct Dialect {
    heard: Mutex<Option<(Speech, Duration)>>,
    turn: Turn<()>,
}

impl Dialect {
    /// The last answer and when it was given, however old.
    pub fn heard(&self) -> Option<(Speech, Duration)> {
        *self.slot()
    }

    /// Keeps an answer.
    pub fn hear(&self, speech: Speech, now: Duration) {
        *self.slot() = Some((speech, now));
    }

    /// Forgets it: the next message asks again.
    pub fn forget(&self) {
        *self.slot() = None;
    }

    /// The right to ask. Whoever waited for it looks at [`Dialect::heard`] again first.
    pub async fn turn(&self) -> TurnGuard<'_, ()> {
        self.turn.lock().await
    }

    fn slot(&self) -> MutexGuard<'_, Option<(Speech, Duration)>> {
        // Nothing can panic while it is held: the value is whole.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
