//! The extension's own threads: made in the worker when the node opens, ended when it closes.
//!
//! Granian has a runtime of its own; ours are in the same process, so that the relay's sockets and timers
//! never wait for the interpreter. Each thread has a Tokio runtime to itself: a message stays on the thread
//! that got it, its sockets are watched there, and no step of it wakes another thread (a shared runtime woke
//! its threads two to three times as often). Threads do not survive a fork, so they remember which process
//! made them and refuse to serve another.
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The runtime cannot be used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuntimeError {
    /// It was ended.
    Closed,
    /// This process was forked from the one that made it.
    Forked,
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Threads that belong to one process.
#[derive(Debug)]
pub(crate) struct Runtime {
    process: u32,
    /// None once it was ended.
    threads: Mutex<Vec<Thread>>,
    /// Hangs up when all threads are gone.
    ended: Mutex<Receiver<()>>,
}

/// One thread, seen from those that give it work.
#[derive(Debug)]
struct Thread {
    /// The thread ends when this is dropped.
    tasks: UnboundedSender<Task>,
    /// Tasks that were given to it and are not over.
    tasks_left: Arc<AtomicUsize>,
}

/// One task of `tasks_left`.
struct Left(Arc<AtomicUsize>);

impl Runtime {
    /// Starts `threads` threads (at least one) in this process.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let (alive, ended) = channel();
        let threads = (0..threads.max(1)).map(|_| Thread::start(alive.clone()));
        Ok(Self {
            process: std::process::id(),
            threads: Mutex::new(threads.collect::<io::Result<_>>()?),
            ended: Mutex::new(ended),
        })
    }

    /// Gives a task to the thread that has the fewest; it stays there.
    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), RuntimeError> {
        if std::process::id() != self.process {
            return Err(RuntimeError::Forked);
        }
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = threads
            .iter()
            .min_by_key(|thread| thread.tasks_left.load(Ordering::Relaxed))
            .ok_or(RuntimeError::Closed)?;
        let left = Left::one_of(&thread.tasks_left);
        let task = Box::pin(async move {
            let _left = left;
            task.await;
        });
        thread.tasks.send(task).map_err(|_| RuntimeError::Closed)
    }

    /// Ends the threads; tasks that are still there get `grace` for the step they are in and are then
    /// dropped. Harmless when repeated. In a forked child the threads are not there to be waited for.
    pub(crate) fn stop(&self, grace: Duration) {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if std::process::id() != self.process {
            std::mem::forget(threads);
            return;
        }
        drop(threads);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is ever sent: they have all hung up, or the time is over.
        let _ = ended.recv_timeout(grace);
    }
}

impl Thread {
    fn start(alive: Sender<()>) -> io::Result<Self> {
        let (tasks, coming) = unbounded_channel();
        // A new message is the third step from the end of another one at the earliest ([`spawn_all`] is between them). So
        // the sockets are looked at in between, and a kept connection that was closed meanwhile is not written to.
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(2)
            .build()?;
        std::thread::Builder::new()
            .name("ocn-relay".into())
            .spawn(move || {
                runtime.block_on(spawn_all(coming));
                // A look-up of a name may still be under way; it is nobody's any more.
                runtime.shutdown_background();
                drop(alive);
            })?;
        Ok(Self {
            tasks,
            tasks_left: Arc::default(),
        })
    }
}

async fn spawn_all(mut coming: UnboundedReceiver<Task>) {
    while let Some(task) = coming.recv().await {
        tokio::spawn(task);
    }
}

impl Left {
    fn one_of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs a task to its end; `None` if it panicked. Whoever waits for it must hear of that
/// (`safety.md` A144).
pub(crate) async fn caught<T>(task: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(task).catch_unwind().await.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::ThreadId;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    /// What a task gives.
    fn outcome<T: Send + 'static>(
        runtime: &Runtime,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let (give, take) = mpsc::channel();
        runtime.spawn(async move { give.send(task.await).unwrap() })?;
        Ok(take.recv_timeout(LONG).unwrap())
    }

    async fn thread() -> ThreadId {
        std::thread::current().id()
    }

    /// A task is counted a moment longer than until it has given its outcome.
    fn until_one_is_left(runtime: &Runtime) {
        let since = Instant::now();
        let left = |thread: &Thread| thread.tasks_left.load(Ordering::Relaxed);
        while runtime
            .threads
            .lock()
            .unwrap()
            .iter()
            .map(left)
            .sum::<usize>()
            > 1
        {
            assert!(since.elapsed() < LONG);
            std::thread::yield_now();
        }
    }

    #[test]
    fn serves_until_it_is_stopped() {
        let runtime = Runtime::start(1).unwrap();
        assert_eq!(outcome(&runtime, async { 42 }), Ok(42));
        runtime.stop(LONG);
        runtime.stop(LONG);
        assert_eq!(outcome(&runtime, async {}), Err(RuntimeError::Closed));
    }

    #[test]
    fn a_task_goes_to_the_thread_that_has_the_fewest_and_stays_there() {
        let runtime = Runtime::start(2).unwrap();
        let (told, tell) = mpsc::channel();
        let (go_on, waiting) = tokio::sync::oneshot::channel::<()>();
        let long = async move {
            told.send(thread().await).unwrap();
            waiting.await.unwrap();
            told.send(thread().await).unwrap();
        };
        runtime.spawn(long).unwrap();
        let busy = tell.recv_timeout(LONG).unwrap();
        for _ in 0..8 {
            until_one_is_left(&runtime);
            assert_ne!(outcome(&runtime, thread()), Ok(busy));
        }
        go_on.send(()).unwrap();
        assert_eq!(tell.recv_timeout(LONG), Ok(busy));
        runtime.stop(LONG);
    }

    #[test]
    fn tasks_that_are_left_are_dropped_and_the_threads_end() {
        let runtime = Runtime::start(2).unwrap();
        let (held, dropped) = mpsc::channel::<()>();
        for _ in 0..4 {
            let held = held.clone();
            runtime
                .spawn(async move {
                    let _held = held;
                    std::future::pending().await
                })
                .unwrap();
        }
        drop(held);
        runtime.stop(LONG);
        assert_eq!(
            dropped.recv_timeout(LONG),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    }

    #[test]
    fn test_a144_a_planted_panic_ends_its_task_and_nothing_else() {
        let runtime = Runtime::start(1).unwrap();
        let planted = caught(async { panic!("planted") });
        assert_eq!(outcome(&runtime, planted), Ok(None::<()>));
        let task: Task = Box::pin(async { panic!("planted outside") });
        runtime.spawn(task).unwrap();
        assert_eq!(outcome(&runtime, caught(async { 42 })), Ok(Some(42)));
        runtime.stop(LONG);
    }

    #[test]
    fn a_forked_process_is_refused() {
        let mut runtime = Runtime::start(1).unwrap();
        runtime.process += 1;
        assert_eq!(outcome(&runtime, async {}), Err(RuntimeError::Forked));
        runtime.stop(Duration::ZERO);
    }
}
