//! The way back into the event loop: a lock-free queue and one eventfd wake for many completions.
//!
//! Tokio threads push without the interpreter lock; the loop watches the descriptor and drains. Whoever
//! pushes onto a queue that nobody was told about yet writes the eventfd; everybody after that rides on
//! the same wake. `docs/decisions/0002-crossing.md` has the reasons and the figures.
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_queue::SegQueue;
use rustix::event::{EventfdFlags, eventfd};

/// Completions on their way to the event loop.
///
/// Not bounded itself: every item belongs to a message or a call that was admitted under a limit.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    items: SegQueue<T>,
    /// The loop was told and has not started draining yet.
    told: AtomicBool,
    eventfd: OwnedFd,
    completions: AtomicU64,
    wakes: AtomicU64,
}

impl<T> Queue<T> {
    /// An empty queue with an eventfd of its own. Fails where the process is out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            items: SegQueue::new(),
            told: AtomicBool::new(false),
            eventfd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            completions: AtomicU64::new(0),
            wakes: AtomicU64::new(0),
        })
    }

    /// The descriptor that becomes readable when there is something to drain.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }

    /// Hands an item to the loop; wakes it unless somebody already did. Never blocks.
    pub(crate) fn push(&self, item: T) {
        self.items.push(item);
        self.completions.fetch_add(1, Ordering::Relaxed);
        if !self.told.swap(true, Ordering::AcqRel) {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            // Cannot fail in a way that loses the wake: EAGAIN means that the counter is at its
            // maximum, hence readable.
            let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
        }
    }

    /// Everything that is waiting, oldest first.
    ///
    /// The flag is cleared before the first item is taken: an item pushed after the last `pop` then
    /// finds it cleared and wakes the loop again. Cleared afterwards, that item would lie there for ever.
    pub(crate) fn drain(&self) -> impl Iterator<Item = T> + '_ {
        let mut count = [0; 8];
        // EAGAIN: a wake that an earlier drain has already served.
        let _ = rustix::io::read(&self.eventfd, &mut count);
        // A read-modify-write, so that it sees the items of whoever found the flag still set.
        self.told.swap(false, Ordering::AcqRel);
        std::iter::from_fn(|| self.items.pop())
    }

    /// Items pushed so far.
    pub(crate) fn completions(&self) -> u64 {
        self.completions.load(Ordering::Relaxed)
    }

    /// Times the loop was woken so far.
    pub(crate) fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    /// Whether the loop would be woken within `wait`.
    fn readable<T>(queue: &Queue<T>, wait: Duration) -> bool {
        let mut fds = [PollFd::new(&queue.eventfd, PollFlags::IN)];
        let timeout = Timespec::try_from(wait).unwrap();
        poll(&mut fds, Some(&timeout)).unwrap() == 1
    }

    #[test]
    fn many_completions_ride_on_one_wake() {
        let queue = Queue::new().unwrap();
        for item in 0..64 {
            queue.push(item);
        }
        assert!(readable(&queue, Duration::ZERO));
        assert_eq!(
            queue.drain().collect::<Vec<_>>(),
            (0..64).collect::<Vec<_>>()
        );
        assert_eq!((queue.completions(), queue.wakes()), (64, 1));
        assert!(!readable(&queue, Duration::ZERO));
    }

    #[test]
    fn an_item_pushed_while_draining_is_delivered_or_wakes_again() {
        let queue = Queue::new().unwrap();
        queue.push(1);
        let mut drain = queue.drain();
        assert_eq!(drain.next(), Some(1));
        assert_eq!(drain.next(), None);
        queue.push(2);
        drop(drain);
        assert!(readable(&queue, Duration::ZERO));
        assert_eq!(queue.drain().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        const EACH: u64 = 50_000;
        let queue = Arc::new(Queue::new().unwrap());
        let pushers: Vec<_> = (0..4)
            .map(|_| {
                let queue = Arc::clone(&queue);
                std::thread::spawn(move || (0..EACH).for_each(|item| queue.push(item)))
            })
            .collect();
        let mut seen = 0;
        while seen < 4 * EACH {
            assert!(
                readable(&queue, Duration::from_secs(10)),
                "a wake was lost at {seen}"
            );
            seen += queue.drain().count() as u64;
        }
        for pusher in pushers {
            pusher.join().unwrap();
        }
        assert_eq!((queue.completions(), queue.drain().count()), (4 * EACH, 0));
        assert!(queue.wakes() <= queue.completions());
    }
}
