//! The atomic pointer to the newest snapshot: readers never wait, writers come one at a time.
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::build::Change;
use super::error::TableError;
use super::snapshot::{Counts, Table};

/// Holds the newest [`Table`].
#[derive(Debug, Default)]
pub struct TableHandle {
    newest: ArcSwap<Table>,
    writer: Mutex<()>,
}

/// What a change led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    pub version: u64,
    pub counts: Counts,
}

impl TableHandle {
    /// An empty table, version 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// The newest snapshot. A message loads it once and keeps it to its end.
    pub fn load(&self) -> Arc<Table> {
        self.newest.load_full()
    }

    /// Publishes the next snapshot; on an error the table stays as it was. Readers go on meanwhile. A large
    /// change, or one that folds a delta into its base, takes time in proportion to the table: callers keep it
    /// off threads that answer messages.
    pub fn apply(&self, change: Change) -> Result<Applied, TableError> {
        // The lock guards no data: after a panic in another writer the published table is still whole.
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let next = change.apply_to(&self.newest.load())?;
        let applied = Applied {
            version: next.version(),
            counts: next.counts(),
        };
        self.newest.store(Arc::new(next));
        Ok(applied)
    }
}
