//! The extension's own Tokio runtime: made in the worker when the node opens, ended when it closes.
//!
//! Granian has a runtime of its own; ours is a second one in the same process, so that the relay's
//! sockets and timers never wait for the interpreter. Threads do not survive a fork, so the runtime
//! remembers which process made it and refuses to serve another.
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::{Builder, Handle, Runtime as Tokio};

/// The runtime cannot be used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuntimeError {
    /// It was ended.
    Closed,
    /// This process was forked from the one that made it.
    Forked,
}

/// A Tokio runtime that belongs to one process.
#[derive(Debug)]
pub(crate) struct Runtime {
    process: u32,
    tokio: Mutex<Option<Tokio>>,
}

impl Runtime {
    /// Starts `threads` worker threads (at least one) in this process.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let tokio = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("ocn-relay")
            .enable_all()
            .build()?;
        Ok(Self {
            process: std::process::id(),
            tokio: Mutex::new(Some(tokio)),
        })
    }

    /// Where to spawn.
    pub(crate) fn handle(&self) -> Result<Handle, RuntimeError> {
        if std::process::id() != self.process {
            return Err(RuntimeError::Forked);
        }
        let tokio = self.tokio.lock().unwrap_or_else(PoisonError::into_inner);
        tokio
            .as_ref()
            .map(|tokio| tokio.handle().clone())
            .ok_or(RuntimeError::Closed)
    }

    /// Ends the runtime; tasks that are still there get `grace` for the step they are in and are then
    /// dropped. Harmless when repeated. In a forked child the threads are not there to be waited for.
    pub(crate) fn stop(&self, grace: Duration) {
        let tokio = self
            .tokio
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match tokio {
            Some(tokio) if std::process::id() == self.process => tokio.shutdown_timeout(grace),
            Some(tokio) => std::mem::forget(tokio),
            None => {}
        }
    }
}

/// Runs a task to its end; `None` if it panicked. Whoever waits for it must hear of that
/// (`safety.md` A144).
pub(crate) async fn caught<T>(task: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(task).catch_unwind().await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_until_it_is_stopped() {
        let runtime = Runtime::start(1).unwrap();
        let handle = runtime.handle().unwrap();
        assert_eq!(handle.block_on(async { 42 }), 42);
        runtime.stop(Duration::from_secs(1));
        runtime.stop(Duration::from_secs(1));
        assert_eq!(runtime.handle().err(), Some(RuntimeError::Closed));
    }

    #[test]
    fn test_a144_a_planted_panic_ends_its_task_and_nothing_else() {
        let runtime = Runtime::start(1).unwrap();
        let handle = runtime.handle().unwrap();
        let planted = handle.spawn(caught(async { panic!("planted") }));
        assert_eq!(handle.block_on(planted).unwrap(), None::<()>);
        assert_eq!(
            handle.block_on(handle.spawn(caught(async { 42 }))).unwrap(),
            Some(42)
        );
        runtime.stop(Duration::from_secs(1));
    }

    #[test]
    fn a_forked_process_is_refused() {
        let mut runtime = Runtime::start(1).unwrap();
        runtime.process += 1;
        assert_eq!(runtime.handle().err(), Some(RuntimeError::Forked));
        runtime.stop(Duration::ZERO);
    }
}
