//! The session with another node, kept beside its operator: it survives the registry's snapshots as long as the
//! operator's domain stays the same, and there is never more than one for each operator.
//!
//! Time comes in as an argument (monotonic).
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::wire::Session;

/// A session is renewed when this part of its life is left.
const LAST_PART: u32 = 4;

/// The memory of the session by which one node is sent messages.
#[derive(Debug, Default)]
pub struct SessionSlot(Mutex<Slot>);

#[derive(Debug, Default)]
struct Slot {
    held: Option<Held>,
    asked: Option<Duration>,
}

#[derive(Debug)]
struct Held {
    session: Arc<Session>,
    renew: Duration,
    ends: Duration,
}

impl SessionSlot {
    /// The session, while it lasts.
    pub fn usable(&self, now: Duration) -> Option<Arc<Session>> {
        let slot = self.slot();
        let held = slot.held.as_ref().filter(|held| now < held.ends)?;
        Some(Arc::clone(&held.session))
    }

    /// Whether it is time to ask for a session: there is none, or not for long, and nobody has asked in the last
    /// `pause`. Whoever is told so is the one who asks.
    pub fn should_ask(&self, now: Duration, pause: Duration) -> bool {
        let mut slot = self.slot();
        let lasting = slot.held.as_ref().is_some_and(|held| now < held.renew);
        let pausing = slot.asked.is_some_and(|asked| now < asked + pause);
        let ask = !lasting && !pausing;
        if ask {
            slot.asked = Some(now);
        }
        ask
    }

    /// Keeps a session for so long, in the place of any other.
    pub fn hold(&self, session: Session, now: Duration, lasts: Duration) {
        self.slot().held = Some(Held {
            session: Arc::new(session),
            renew: now + lasts - lasts / LAST_PART,
            ends: now + lasts,
        });
    }

    /// Forgets that session; another one that came meanwhile stays.
    pub fn lose(&self, session: &Session) {
        let mut slot = self.slot();
        if let Some(held) = &slot.held
            && held.session.id() == session.id()
        {
            slot.held = None;
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        // Nothing can panic while it is held: the value is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SessionKeys;

    const PAUSE: Duration = Duration::from_secs(60);

    fn session(id: &str) -> Session {
        Session::new(id, SessionKeys::from_bytes(&[7; SessionKeys::BYTES])).unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_asks_and_the_others_wait_out_the_pause() {
        let slot = SessionSlot::default();
        assert!(slot.usable(at(0)).is_none());
        assert!(slot.should_ask(at(0), PAUSE));
        assert!(!slot.should_ask(at(59), PAUSE));
        assert!(slot.should_ask(at(60), PAUSE));
    }

    #[test]
    fn a_session_is_used_to_its_end_and_renewed_before() {
        let slot = SessionSlot::default();
        slot.hold(session("one"), at(100), at(400));
        assert!(!slot.should_ask(at(399), PAUSE));
        assert!(slot.should_ask(at(400), PAUSE));
        assert_eq!(slot.usable(at(499)).unwrap().id(), "one");
        assert!(slot.usable(at(500)).is_none());
        slot.hold(session("two"), at(500), at(400));
        assert_eq!(slot.usable(at(500)).unwrap().id(), "two");
    }

    #[test]
    fn only_the_session_that_was_lost_is_forgotten() {
        let slot = SessionSlot::default();
        slot.hold(session("two"), at(0), at(400));
        slot.lose(&session("one"));
        assert!(slot.usable(at(1)).is_some());
        slot.lose(&session("two"));
        assert!(slot.usable(at(1)).is_none());
    }
}
