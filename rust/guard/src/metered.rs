//! A node of the tests with other ports: its clock marks where a stage ends, and what the world outside does is
//! nobody's.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ocn_core::relay::ports::{
    Answer, Clock, Departure, Journal, JournalError, Link, Outbound, Outgoing, Ports, Random,
    SendError,
};
use ocn_core::relay::record::{Record, Stage};
use ocn_core::relay::{Head, Reply, relay};

use crate::meter::{mark, once_more, own};
use crate::nodes::{Way, taken};
use crate::world::{Peer, Whole, World};

/// A node whose stages are counted as a row.
pub(crate) struct Metered {
    pub(crate) world: Arc<World>,
    row: &'static str,
    random: SplitMix,
    record: Mutex<Option<Record>>,
}

impl Metered {
    pub(crate) fn new(world: Arc<World>, row: &'static str) -> Arc<Self> {
        Arc::new(Self {
            world,
            row,
            random: SplitMix(AtomicU64::new(1)),
            record: Mutex::default(),
        })
    }

    /// Sends a message through the node, to the end.
    pub(crate) fn send(&self, head: Head, body: Bytes) -> Reply {
        self.walk(head, Whole(body))
            .now_or_never()
            .expect("nothing here is ever waited for")
    }

    async fn walk(&self, head: Head, body: Whole) -> Reply {
        let departure = Departure::default();
        let start = mark();
        let reply = relay(head, body, &self.world.node, self, &departure).await;
        let end = mark();
        let record = self.record.lock().unwrap().take().unwrap();
        // Microseconds of our clock are marks, and each stage begins with one; the first is that of `parse`.
        own(start..end, Some((self.row, "settle")));
        own(start..start + 1, Some((self.row, "begin")));
        let mut at = start + 1;
        for (stage, marks) in Stage::ALL.iter().zip(record.stage_us) {
            let after = at + u64::from(marks.unwrap_or(0));
            own(at..after, Some((self.row, stage.as_str())));
            at = after;
        }
        once_more(self.row, 1);
        reply
    }
}

/// Gives the parts that this takes to nobody.
async fn outside<T>(work: impl Future<Output = T>) -> T {
    let start = mark();
    let made = work.await;
    own(start..mark(), None);
    made
}

impl Ports for Metered {
    type Outbound = Self;
    type Journal = Self;
    type Clock = Self;
    type Random = SplitMix;
    fn outbound(&self) -> &Self {
        self
    }
    fn journal(&self) -> &Self {
        self
    }
    fn clock(&self) -> &Self {
        self
    }
    fn random(&self) -> &SplitMix {
        &self.random
    }
    fn record(&self, record: &Record) {
        *self.record.lock().unwrap() = Some(record.clone());
    }
}

impl Outbound for Metered {
    async fn send(&self, request: Outgoing, departure: &Departure) -> Result<Answer, SendError> {
        outside(self.world.receiver.send(request, departure)).await
    }
}

impl Journal for Metered {
    async fn reserve(&self, link: Link) -> Result<(), JournalError> {
        outside(self.world.journal().reserve(link)).await
    }
    async fn fill(&self, id: String, url: String) -> Result<(), JournalError> {
        outside(self.world.journal().fill(id, url)).await
    }
    async fn find(&self, id: String) -> Result<Option<Link>, JournalError> {
        outside(self.world.journal().find(id)).await
    }
}

impl Clock for Metered {
    fn monotonic(&self) -> Duration {
        Duration::from_micros(mark())
    }
    fn unix_millis(&self) -> i64 {
        self.world.clock().unix_millis()
    }
}

/// Bytes that cost next to nothing and are the same in every run.
pub(crate) struct SplitMix(AtomicU64);

impl Random for SplitMix {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let mut word = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
            word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// The way to a node that is counted too. Questions what it speaks go the way of the tests.
pub(crate) struct Counted {
    pub(crate) to: Arc<Metered>,
    pub(crate) base: &'static str,
    pub(crate) other: Arc<Way>,
}

impl Peer for Counted {
    fn call(&self, request: Outgoing) -> BoxFuture<'static, Result<Answer, SendError>> {
        if !request
            .url
            .starts_with(&format!("{}/ocn/relay/", self.base))
        {
            return self.other.call(request);
        }
        let (head, body) = taken(self.base, &request);
        let to = Arc::clone(&self.to);
        Box::pin(async move {
            let reply = to.walk(head, body).await;
            let headers = reply.headers.into_iter();
            Ok(Answer {
                status: reply.status,
                headers: headers.map(|(n, v)| (n.to_owned(), v)).collect(),
                body: reply.body,
            })
        })
    }
}
