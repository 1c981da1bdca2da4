//! Unused connections and the count of used ones, per owner (platform or node) and origin. A connection never
//! changes owners: an answer that a hostile receiver sends too late or too long cannot reach another's request
//! (`safety.md` F38).
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ocn_core::relay::ports::Owner;
use tokio::time::{Instant, sleep};

use crate::link::Link;
use crate::text;

/// Whom a connection belongs to, and the origin it leads to.
pub(crate) type Key = (Owner, String);

pub(crate) struct Pool {
    state: Mutex<State>,
    idle_time: Duration,
    connections: usize,
    per_receiver: usize,
}

#[derive(Default)]
struct State {
    receivers: HashMap<Key, Receiver>,
    used: usize,
    idle: usize,
    sweeping: bool,
}

#[derive(Default)]
struct Receiver {
    used: usize,
    /// Oldest first.
    idle: Vec<Idle>,
}

struct Idle {
    link: Box<Link>,
    since: Instant,
}

/// Connections of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) used: usize,
    pub(crate) idle: usize,
}

impl Pool {
    pub(crate) fn new(idle_time: Duration, connections: usize, per_receiver: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            idle_time,
            connections,
            per_receiver,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held; were it so, counts would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> Counts {
        let state = self.state();
        Counts {
            used: state.used,
            idle: state.idle,
        }
    }

    /// Books one connection to a receiver, taking an unused one away from somebody if there are too many in all.
    ///
    /// # Errors
    /// A sentence of [`text`] if a limit is reached.
    pub(crate) fn enter(self: &Arc<Self>, key: Key) -> Result<Seat, &'static str> {
        let mut state = self.state();
        if state.used >= self.connections {
            return Err(text::TOO_MANY_CONNECTIONS);
        }
        let receiver = state.receivers.entry(key.clone()).or_default();
        if receiver.used >= self.per_receiver {
            return Err(text::TOO_MANY_AT_RECEIVER);
        }
        receiver.used += 1;
        state.used += 1;
        let evicted = if state.used + state.idle > self.connections {
            state.evict(&key)
        } else {
            None
        };
        drop(state);
        // Closing a socket is a system call: not under the lock.
        drop(evicted);
        Ok(Seat {
            pool: Arc::clone(self),
            key,
        })
    }

    fn give_back(self: &Arc<Self>, key: &Key, link: Box<Link>) {
        let mut state = self.state();
        let Some(receiver) = state.receivers.get_mut(key) else {
            return;
        };
        receiver.idle.push(Idle {
            link,
            since: Instant::now(),
        });
        state.idle += 1;
        if !state.sweeping {
            state.sweeping = true;
            tokio::spawn(sweep(Arc::downgrade(self), self.idle_time));
        }
    }

    fn take(&self, key: &Key) -> Option<Box<Link>> {
        let here = std::thread::current().id();
        let mut state = self.state();
        let full = state.used + state.idle > self.connections;
        let receiver = state.receivers.get_mut(key)?;
        let full = full || receiver.used + receiver.idle.len() > self.per_receiver;
        // Where there may be more connections, those of other threads are left to them: every answer on one would
        // wake two threads.
        let own = receiver
            .idle
            .iter()
            .rposition(|idle| idle.link.home() == here);
        let last = receiver.idle.len().checked_sub(1).filter(|_| full);
        let idle = receiver.idle.remove(own.or(last)?);
        state.idle -= 1;
        drop(state);
        (idle.since.elapsed() < self.idle_time).then_some(idle.link)
    }

    fn leave(&self, key: &Key) {
        let mut state = self.state();
        state.used -= 1;
        if let Some(receiver) = state.receivers.get_mut(key) {
            receiver.used -= 1;
            if receiver.used == 0 && receiver.idle.is_empty() {
                state.receivers.remove(key);
            }
        }
    }
}

impl State {
    /// Takes the connection that has been unused for longest, of other receivers than this one, which wants its own.
    fn evict(&mut self, wanting: &Key) -> Option<Idle> {
        let (key, _) = self
            .receivers
            .iter()
            .filter(|(key, _)| *key != wanting)
            .filter_map(|(key, receiver)| Some((key.clone(), receiver.idle.first()?.since)))
            .min_by_key(|(_, since)| *since)?;
        let receiver = self.receivers.get_mut(&key)?;
        let oldest = receiver.idle.remove(0);
        self.idle -= 1;
        if receiver.used == 0 && receiver.idle.is_empty() {
            self.receivers.remove(&key);
        }
        Some(oldest)
    }

    /// Takes every connection that has been unused for too long.
    fn expired(&mut self, idle_time: Duration) -> Vec<Idle> {
        let mut expired = Vec::new();
        self.receivers.retain(|_, receiver| {
            let fresh = receiver
                .idle
                .partition_point(|idle| idle.since.elapsed() >= idle_time);
            expired.extend(receiver.idle.drain(..fresh));
            receiver.used > 0 || !receiver.idle.is_empty()
        });
        self.idle -= expired.len();
        expired
    }
}

/// Closes connections that nobody used for long; ends when there are none, or the pool is gone.
async fn sweep(pool: Weak<Pool>, idle_time: Duration) {
    loop {
        sleep(idle_time / 2).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut state = pool.state();
        let expired = state.expired(idle_time);
        let done = state.idle == 0;
        state.sweeping = !done;
        drop(state);
        drop(expired);
        if done {
            return;
        }
    }
}

/// The right to one connection to a receiver; given back when dropped.
pub(crate) struct Seat {
    pool: Arc<Pool>,
    key: Key,
}

impl Seat {
    /// An unused connection, of this thread's the one used last. It may have been closed by the peer meanwhile.
    pub(crate) fn take(&self) -> Option<Box<Link>> {
        self.pool.take(&self.key)
    }

    /// Keeps a connection for the next request.
    pub(crate) fn give_back(&self, link: Box<Link>) {
        self.pool.give_back(&self.key, link);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.pool.leave(&self.key);
    }
}
