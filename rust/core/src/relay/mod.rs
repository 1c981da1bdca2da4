//! The journey of a message. Start reading at [`relay`]: it is the whole path.
//!
//! The stages are named in `ARCHITECTURE.md` and in [`record::Stage`], in the same order. Each is one
//! file: public function first, helpers below, tests last. The outside is reached only through
//! [`ports`]. `safety.md` I26 gives the order: authenticate, then read the body, then permit, then
//! verify, then (if needed) write SQL, then call out.
mod authenticate;
mod callback;
mod dialect;
pub mod error;
mod explain;
mod forward;
mod home;
mod hub;
mod link;
pub mod message;
mod metrics;
mod node;
mod open;
mod parse;
mod peer;
mod permit;
pub mod ports;
pub mod record;
mod reserve;
mod ring;
mod route;
mod seal;
mod session;
mod settings;
mod settle;
mod verify;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt as _;

pub use explain::{Explanation, Query, explain};
pub use hub::broken;
pub use message::{Head, Reply, Stale};
pub use metrics::{Histogram, Metrics};
pub use node::{Booking, Node};
pub use parse::{Door, Envelope, Method, Proof};
pub use session::keep_sessions;
pub use settings::Settings;

use authenticate::{authenticate, receive};
use error::Refusal;
use forward::forward;
use hub::Requester;
use open::open;
use parse::parse;
use permit::permit;
use ports::{Body, Clock as _, Departure, Ports};
use record::{Record, Stage};
use reserve::reserve;
use route::route;
use seal::seal;
use settle::settle;
use verify::verify;

use crate::table::Table;

/// Relays one OCPI message from its party to the other and the answer back.
///
/// Never fails: every refusal, and a panic in any stage, becomes an OCPI answer that says whether the
/// message may have been delivered. `departure` is shared with whoever may learn that the requester
/// hung up. A node that asks for a session is answered here, too. When it is over, [`keep_sessions`] is due.
pub async fn relay<P: Ports>(
    head: Head,
    body: impl Body,
    node: &Node,
    ports: &P,
    departure: &Departure,
) -> Reply {
    if session::is_asked_for(&head, node) {
        return session::give(head, body, node, ports).await;
    }
    node.metrics.begin();
    let mut walk = Walk::new(node, ports, departure);
    let walked = AssertUnwindSafe(journey(&mut walk, head, body))
        .catch_unwind()
        .await;
    let reply = hub::conclude(&mut walk, walked);
    if catch_unwind(AssertUnwindSafe(|| settle(walk, &reply))).is_err() {
        node.metrics.panicked();
    }
    reply
}

/// Refuses a message that cannot be judged: the table may be behind, and the store does not answer.
/// What may exist is never called unknown (`design.md` section 4).
pub fn unavailable<P: Ports>(head: Head, node: &Node, ports: &P) -> Reply {
    node.metrics.begin();
    let departure = Departure::default();
    let mut walk = Walk::new(node, ports, &departure);
    // For the ids that the answer repeats, and for its signature where a node asked; whether the head is
    // well-formed and the sender known was judged before.
    let _ = parse(&mut walk, head).and_then(|envelope| authenticate(&mut walk, &envelope));
    let refusal = Refusal::new(
        error::Kind::StoreUnavailable,
        "the hub cannot look up who is meant now",
    );
    let reply = hub::conclude(&mut walk, Ok(Err(refusal)));
    settle(walk, &reply);
    reply
}

/// The stages, one after the other. Each takes what the one before it gave.
async fn journey<P: Ports>(
    walk: &mut Walk<'_, P>,
    head: Head,
    body: impl Body,
) -> Result<Reply, Refusal> {
    let envelope = parse(walk, head)?;
    let sender = authenticate(walk, &envelope)?;
    let message = receive(walk, envelope, &sender, body).await?;
    let target = route(walk, &message)?;
    let permit = permit(walk, &message, &sender, &target)?;
    let verified = verify(walk, message, &sender, &target)?;
    let sealed = seal(walk, verified, &sender, &target, permit).await?;
    reserve(walk, &sealed).await?;
    let answer = forward(walk, sealed, &target).await?;
    open(walk, answer, &sender, &target).await
}

/// What every stage sees: one table snapshot for the whole message, the node, the ports, the record.
struct Walk<'a, P: Ports> {
    node: &'a Node,
    ports: &'a P,
    departure: &'a Departure,
    table: Arc<Table>,
    record: Record,
    requester: Requester,
}

impl<'a, P: Ports> Walk<'a, P> {
    fn new(node: &'a Node, ports: &'a P, departure: &'a Departure) -> Self {
        let table = node.table.load();
        let record = Record {
            started_at: ports.clock().unix_millis(),
            block: table.block(),
            table_version: table.version(),
            door: Some("party"),
            dialect: Some("ocpi"),
            ..Record::default()
        };
        Self {
            node,
            ports,
            departure,
            table,
            record,
            requester: Requester::default(),
        }
    }

    /// Notes that a stage begins.
    fn enter(&mut self, stage: Stage) {
        let ended = self.record.stage;
        self.record.enter(stage);
        self.record.clocked(ended, self.ports.clock().monotonic());
    }
}
