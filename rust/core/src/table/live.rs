//! What is counted per platform, and per other node, while messages pass: it survives their snapshots.
//!
//! Plain atomics, no locks: every message touches them. Time comes in as an argument.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Counters of one platform or node, shared by all its snapshots.
#[derive(Debug, Default)]
pub struct Live {
    last_seen: AtomicI64,
    as_sender: AtomicUsize,
    as_receiver: AtomicUsize,
    failures: AtomicU32,
    /// Monotonic milliseconds; meaningful while `failures` has reached the limit.
    retry_at: AtomicU64,
}

/// When a receiver counts as broken, and for how long nothing is sent to it (`relay.breaker_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Failures in a row that open the breaker; at least 1.
    pub failures: u32,
    /// How long it stays open between two trials.
    pub open: Duration,
}

/// One message in flight; dropping it makes room again.
#[derive(Debug)]
#[must_use = "the message counts as in flight only while this is kept"]
pub struct InFlight {
    live: Arc<Live>,
    counter: fn(&Live) -> &AtomicUsize,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        (self.counter)(&self.live).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Live {
    /// The platform sent something at this time (Unix milliseconds). Never goes back.
    pub fn seen(&self, unix_millis: i64) {
        self.last_seen.fetch_max(unix_millis, Ordering::Relaxed);
    }

    /// When the platform last sent something, Unix milliseconds; `None` if not since the start.
    pub fn last_seen(&self) -> Option<i64> {
        Some(self.last_seen.load(Ordering::Relaxed)).filter(|&at| at != 0)
    }

    /// Messages that this platform has sent and that are not answered yet.
    pub fn in_flight_as_sender(&self) -> usize {
        self.as_sender.load(Ordering::Relaxed)
    }

    /// Messages that are on their way to this platform.
    pub fn in_flight_as_receiver(&self) -> usize {
        self.as_receiver.load(Ordering::Relaxed)
    }

    /// Counts one more message of this sender; `None` if `limit` are in flight already.
    pub fn enter_as_sender(self: &Arc<Self>, limit: usize) -> Option<InFlight> {
        self.enter(limit, |live| &live.as_sender)
    }

    /// Counts one more message to this receiver; `None` if `limit` are in flight already.
    pub fn enter_as_receiver(self: &Arc<Self>, limit: usize) -> Option<InFlight> {
        self.enter(limit, |live| &live.as_receiver)
    }

    fn enter(
        self: &Arc<Self>,
        limit: usize,
        counter: fn(&Self) -> &AtomicUsize,
    ) -> Option<InFlight> {
        counter(self)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < limit).then_some(count + 1)
            })
            .ok()?;
        Some(InFlight {
            live: Arc::clone(self),
            counter,
        })
    }

    /// Whether a message may be sent to this receiver now (monotonic time). While the breaker is open one
    /// caller in each `open` period gets through: the trial (`safety.md` A147).
    pub fn may_try(&self, now: Duration, limits: &BreakerLimits) -> bool {
        if self.failures.load(Ordering::Acquire) < limits.failures {
            return true;
        }
        let retry_at = self.retry_at.load(Ordering::Acquire);
        millis(now) >= retry_at
            && self
                .retry_at
                .compare_exchange(
                    retry_at,
                    millis(now + limits.open),
                    Ordering::AcqRel,
                    Ordering::Acquire,
                )
                .is_ok()
    }

    /// Whether nothing may be sent to this receiver now. Asks only: the trial is taken by [`Live::may_try`].
    pub fn is_broken(&self, now: Duration, limits: &BreakerLimits) -> bool {
        self.failures.load(Ordering::Acquire) >= limits.failures
            && millis(now) < self.retry_at.load(Ordering::Acquire)
    }

    /// The receiver answered: the breaker closes.
    pub fn succeeded(&self) {
        // Read first: nearly always there is nothing to write, and the line stays shared between cores.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Release);
        }
    }

    /// The receiver did not answer. The failure that reaches the limit opens the breaker; stragglers after it
    /// do not put the next trial off.
    pub fn failed(&self, now: Duration, limits: &BreakerLimits) {
        // Counting stops at the limit, so it cannot wrap and only one failure reaches it.
        let counted = self
            .failures
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                (count < limits.failures).then_some(count + 1)
            });
        if counted.is_ok_and(|before| before + 1 == limits.failures) {
            self.retry_at
                .store(millis(now + limits.open), Ordering::Release);
        }
    }
}

/// Milliseconds of a monotonic clock: 2^64 of them outlast any process.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BreakerLimits = BreakerLimits {
        failures: 10,
        open: Duration::from_secs(10),
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn test_a147_in_flight_at_the_limit_and_one_above() {
        let live = Arc::new(Live::default());
        let mut guards: Vec<_> = (0..256)
            .map(|_| live.enter_as_receiver(256).expect("within the limit"))
            .collect();
        assert!(live.enter_as_receiver(256).is_none());
        assert_eq!(
            (live.in_flight_as_receiver(), live.in_flight_as_sender()),
            (256, 0)
        );
        guards.pop();
        assert!(live.enter_as_receiver(256).is_some());
        guards.clear();
        assert_eq!(live.in_flight_as_receiver(), 0);
    }

    #[test]
    fn test_a147_in_flight_never_passes_the_limit_under_contention() {
        let live = Arc::new(Live::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let guard = live.enter_as_sender(3);
                        assert!(live.in_flight_as_sender() <= 3);
                        drop(guard);
                    }
                });
            }
        });
        assert_eq!(live.in_flight_as_sender(), 0);
    }

    #[test]
    fn test_a147_breaker_opens_at_the_limit_and_tries_once_per_period() {
        let live = Live::default();
        for _ in 0..LIMITS.failures - 1 {
            live.failed(at(1), &LIMITS);
        }
        assert!(
            live.may_try(at(1), &LIMITS),
            "one failure short of the limit"
        );
        live.failed(at(1), &LIMITS);
        assert!(!live.may_try(at(1), &LIMITS));
        assert!(live.is_broken(Duration::from_millis(10_999), &LIMITS));
        assert!(!live.is_broken(at(11), &LIMITS), "asking takes no trial");
        live.failed(at(9), &LIMITS); // a straggler
        assert!(!live.may_try(Duration::from_millis(10_999), &LIMITS));
        assert!(live.may_try(at(11), &LIMITS), "the trial");
        assert!(!live.may_try(at(11), &LIMITS), "only one");
        live.failed(at(12), &LIMITS);
        assert!(!live.may_try(Duration::from_millis(20_999), &LIMITS));
        assert!(live.may_try(at(21), &LIMITS));
        live.succeeded();
        assert!(live.may_try(at(21), &LIMITS) && live.may_try(at(21), &LIMITS));
    }

    #[test]
    fn test_a147_a_success_in_between_starts_the_count_again() {
        let live = Live::default();
        for _ in 0..3 {
            for _ in 0..LIMITS.failures - 1 {
                live.failed(at(1), &LIMITS);
            }
            live.succeeded();
        }
        assert!(live.may_try(at(1), &LIMITS));
    }

    #[test]
    fn last_seen_never_goes_back() {
        let live = Live::default();
        assert_eq!(live.last_seen(), None);
        live.seen(5);
        live.seen(3);
        assert_eq!(live.last_seen(), Some(5));
    }
}
