//! The ports: everything that the journey needs of the outside world.
//!
//! `ocn-net` implements [`Outbound`]; `ocn-python` implements the others; tests bring in-memory ones.
use std::future::Future;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::record::Record;
use crate::eth::Address;
use crate::ocpi::{InterfaceRole, Module, Party};

/// All ports of one message.
pub trait Ports: Send + Sync + 'static {
    type Outbound: Outbound;
    type Journal: Journal;
    type Clock: Clock;
    type Random: Random;
    fn outbound(&self) -> &Self::Outbound;
    fn journal(&self) -> &Self::Journal;
    fn clock(&self) -> &Self::Clock;
    fn random(&self) -> &Self::Random;
    /// Takes the finished decision record: log line and metrics. Must not block and cannot fail.
    fn record(&self, record: &Record);
}

/// The request's body, awaited only after the sender is authenticated.
pub trait Body: Send {
    fn read(self) -> impl Future<Output = Result<Bytes, BodyError>> + Send;
}

/// The body never arrived whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the client hung up before the body was complete")]
    Gone,
    #[error("the body did not arrive in time")]
    Slow,
    #[error("the body is larger than allowed")]
    TooLarge,
    /// Its length was not announced, and what came no longer fits into `limits.buffered_bytes`.
    #[error("there is no room for the body")]
    NoRoom,
}

/// Whose a connection is. Connections are pooled per owner and origin, never shared between owners
/// (`safety.md` F38).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The platform of this id.
    Platform(i64),
    /// The node of this operator.
    Node(Address),
}

/// One request to a receiver.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub method: Bytes,
    /// Absolute URL, already checked to lie on an origin of the platform or under the node's domain.
    pub url: String,
    /// Names in lower case; written in title case. `host` and `content-length` are the client's business.
    pub headers: Vec<(&'static str, Bytes)>,
    pub body: Bytes,
    /// Whose connections may be used.
    pub owner: Owner,
    /// In all: connect, write, wait, read.
    pub deadline: Duration,
    /// The largest answer body taken.
    pub response_bytes: usize,
}

/// What the receiver answered, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, repeated ones repeated.
    pub headers: Vec<(String, Bytes)>,
    pub body: Bytes,
}

/// Why there is no whole answer, sorted by what may have become of the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Not one byte was written: surely not delivered (4003). The text is from our own list.
    #[error("{0}")]
    NotSent(&'static str),
    /// The client gave up before the first byte was written.
    #[error("the requester hung up")]
    Cancelled,
    /// Something was written and no whole answer came in time (4002).
    #[error("{0}")]
    MaybeSent(&'static str),
    /// The receiver answered, but not with a usable HTTP answer (4000).
    #[error("{0}")]
    Unusable(&'static str),
}

/// Calls receivers.
pub trait Outbound: Send + Sync {
    /// Sends one request. Calls [`Departure::depart`] immediately before the first byte can be written and
    /// gives up with [`SendError::Cancelled`] when that says no. A request is tried again, on another
    /// connection, only while it is certain that no byte of it was written (`safety.md` I01).
    fn send(
        &self,
        request: Outgoing,
        departure: &Departure,
    ) -> impl Future<Output = Result<Answer, SendError>> + Send;
}

/// The moment after which a message can no longer be taken back.
#[derive(Debug, Default)]
pub struct Departure(AtomicU8);

impl Departure {
    const WAITING: u8 = 0;
    const SENT: u8 = 1;
    const CANCELLED: u8 = 2;

    /// The first byte is about to be written. False if the requester gave up before.
    /// Once true it stays true.
    pub fn depart(&self) -> bool {
        match self.0.compare_exchange(
            Self::WAITING,
            Self::SENT,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => true,
            Err(state) => state == Self::SENT,
        }
    }

    /// The requester gave up. True if nothing has left and nothing will.
    pub fn cancel(&self) -> bool {
        match self.0.compare_exchange(
            Self::WAITING,
            Self::CANCELLED,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => true,
            Err(state) => state == Self::CANCELLED,
        }
    }

    /// Whether a byte may have left.
    pub fn departed(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::SENT
    }

    /// Whether the requester gave up in time.
    pub fn cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::CANCELLED
    }
}

/// A URL of one party that another may call through us: `response_url` or a CDR's `Location`
/// (`design.md` section 4, state).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// 128 random bits, 32 lower-case hex digits.
    pub id: String,
    /// Who may call it.
    pub caller: Party,
    /// Whose URL it is.
    pub owner: Party,
    pub module: Module,
    /// The interface of ours on which it is called.
    pub role: InterfaceRole,
    pub method: &'static str,
    /// Command name or session id in front of the id; part of the binding. Empty for CDRs.
    pub place: String,
    /// What `Home::keep` keeps: a URL, or a path below the door of the owner's node. Empty while a CDR's
    /// `Location` is not known yet.
    pub url: String,
    /// Unix time, milliseconds.
    pub expires_at: i64,
    /// The platform whose share of live rows it counts against.
    pub platform: i64,
}

/// SQL did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error("the store is not available")]
    Unavailable,
    #[error("the platform holds too many links")]
    Full,
    #[error("there is a link of that id already")]
    Taken,
}

/// Remembers links; durable before it returns.
pub trait Journal: Send + Sync {
    /// Writes down a link before anybody can call it; what is there already is never replaced.
    fn reserve(&self, link: Link) -> impl Future<Output = Result<(), JournalError>> + Send;
    /// Fills in the URL of a reserved link.
    fn fill(
        &self,
        id: String,
        url: String,
    ) -> impl Future<Output = Result<(), JournalError>> + Send;
    /// The link of that id, expired or not; `None` if there is none.
    fn find(&self, id: String) -> impl Future<Output = Result<Option<Link>, JournalError>> + Send;
}

/// Time, so that tests can bring their own.
pub trait Clock: Send + Sync {
    /// Monotonic, from an arbitrary start. Deadlines use it (`safety.md` I25).
    fn monotonic(&self) -> Duration;
    /// Wall clock, Unix milliseconds. Expiry and timestamps use it.
    fn unix_millis(&self) -> i64;
}

/// Unpredictable bytes.
pub trait Random: Send + Sync {
    fn fill(&self, bytes: &mut [u8]);
}
