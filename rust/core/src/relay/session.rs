//! Sessions with other nodes: asked for beside the messages, given as sealed tickets, and found again by them
//! (`docs/decisions/0005-session-keys.md`). A message never waits for one.
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Walk;
use super::authenticate::{enter, read};
use super::error::{Kind, Refusal};
use super::home::NODE_DOOR;
use super::hub;
use super::message::{Head, Reply};
use super::node::Node;
use super::parse::{Method, parse_asking};
use super::peer::{self, Leg, Origin};
use super::ports::{Body, Clock as _, Departure, Outbound as _, Outgoing, Owner, Ports, Random};
use super::ring::KeyRing;
use super::seal::uuid;
use crate::eth::Address;
use crate::json;
use crate::table::{Operator, Table};
use crate::wire::{Offer, PUBLIC_BYTES, Session, SessionKeys, Terms, content_digest, sign_asking};

/// What follows the nodes' door in the path under which a session is asked for.
const PLACE: &str = "session";

/// The largest request for a session, and the largest answer to one.
const DOCUMENT_BYTES: usize = 1_024;

/// How long a node may take to give a session, beyond connecting.
const ANSWER: Duration = Duration::from_secs(3);

/// What a ticket is sealed for, in front of whom. No page link's context begins so.
const CONTEXT: &[u8] = b"\0ocn-relay/3 session\0";

/// What is asked.
#[derive(Serialize, Deserialize)]
struct Asking {
    /// An X25519 key in Base64.
    key: String,
}

/// What is given.
#[derive(Serialize, Deserialize)]
struct Given {
    /// The name of the session: a ticket, which means something to the giver only.
    id: String,
    /// An X25519 key in Base64.
    key: String,
    /// How long it lasts, in seconds.
    expires_s: u32,
}

/// What a worker needs for sessions besides what stands beside each operator in the table.
pub(super) struct Sessions {
    ring: Arc<KeyRing>,
    /// Nodes that are to be asked for one; each at most once in `relay.session_retry_s`.
    wanted: Mutex<VecDeque<Arc<Operator>>>,
}

impl Sessions {
    pub(super) fn new(ring: Arc<KeyRing>) -> Self {
        Self {
            ring,
            wanted: Mutex::default(),
        }
    }

    /// A ticket: who may use it, and sealed for him at his present domain its keys and its end (Unix seconds).
    fn seal(
        &self,
        keys: &SessionKeys,
        own: Address,
        holder: &Operator,
        ends_at: i64,
        random: &impl Random,
    ) -> Option<String> {
        let context = context(own, holder.address, holder.base()?);
        let plain = Zeroizing::new([&keys.expose()[..], &ends_at.to_be_bytes()].concat());
        let sealed = self.ring.seal(&plain, &context, random)?;
        Some(URL_SAFE_NO_PAD.encode([&holder.address.as_bytes()[..], &sealed].concat()))
    }

    /// The session of a ticket and its holder, if it was sealed here for a node that the registry still lists under the
    /// same domain, and lasts between now and `longest` seconds more. Everything else is one and the same `None`.
    fn open(
        &self,
        id: &str,
        own: Address,
        table: &Table,
        now: i64,
        longest: i64,
    ) -> Option<(Session, Address)> {
        let bytes = URL_SAFE_NO_PAD.decode(id).ok()?;
        let (holder, sealed) = bytes.split_first_chunk::<20>()?;
        let holder = Address::from_bytes(*holder);
        let context = context(own, holder, table.operator(&holder)?.base()?);
        let plain = Zeroizing::new(self.ring.open(sealed, &context)?);
        let (keys, ends_at) = plain.split_first_chunk::<{ SessionKeys::BYTES }>()?;
        let left = i64::from_be_bytes(ends_at.try_into().ok()?).saturating_sub(now);
        if !(1..=longest).contains(&left) {
            return None;
        }
        Some((
            Session::new(id, SessionKeys::from_bytes(keys)).ok()?,
            holder,
        ))
    }

    fn want(&self, operator: &Arc<Operator>) {
        // Nothing panics while the lock is held.
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.push_back(Arc::clone(operator));
    }

    fn next(&self) -> Option<Arc<Operator>> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.pop_front()
    }
}

/// Who gives to whom, and where that one is reached: a ticket opens for all of them together.
fn context(own: Address, holder: Address, base: &str) -> Vec<u8> {
    [CONTEXT, own.as_bytes(), holder.as_bytes(), base.as_bytes()].concat()
}

/// The session by which a message to that node is signed, if there is one. Wishes for one where there is none, or
/// not for long.
pub(super) fn with<P: Ports>(walk: &Walk<'_, P>, operator: &Arc<Operator>) -> Option<Arc<Session>> {
    let relay = &walk.node.settings.relay;
    if !relay.session_keys {
        return None;
    }
    let now = walk.ports.clock().monotonic();
    let pause = Duration::from_secs(relay.session_retry_s);
    if operator.session.should_ask(now, pause) {
        walk.node.sessions.want(operator);
    }
    operator.session.usable(now)
}

/// The session of another node's message, by the ticket that it shows; `now` in Unix seconds.
pub(super) fn find<P: Ports>(walk: &Walk<'_, P>, id: &str, now: i64) -> Option<(Session, Address)> {
    let (node, relay) = (walk.node, &walk.node.settings.relay);
    let own = node.key.address();
    let open = || {
        node.sessions
            .open(id, own, &walk.table, now, relay.session_ttl_s.into())
    };
    relay.session_keys.then(open).flatten()
}

/// Asks other nodes for the sessions that messages have wished for. To be called when a message is over, by nobody who
/// is waited for: it takes as long as the other nodes do.
pub async fn keep_sessions<P: Ports>(node: &Node, ports: &P) {
    while let Some(operator) = node.sessions.next() {
        match ask(node, ports, &operator).await {
            Some(()) => node.metrics.session_opened(),
            None => node.metrics.session_refused(),
        }
    }
}

/// Asks one node. `None` is no session for now, for whatever reason: messages go on being signed, and after a while
/// somebody asks again.
async fn ask<P: Ports>(node: &Node, ports: &P, operator: &Operator) -> Option<()> {
    let departure = Departure::default();
    let walk = Walk::new(node, ports, &departure);
    let relay = &node.settings.relay;
    // It ends before anybody could ask again.
    let deadline = (Duration::from_millis(relay.connect_ms) + ANSWER)
        .min(Duration::from_secs(relay.session_retry_s));
    let offer = Offer::new().ok()?;
    let asker_key = *offer.public();
    let asking = Asking {
        key: STANDARD.encode(asker_key),
    };
    let body = serde_json::to_vec(&asking).ok()?;
    let url = format!("{}{NODE_DOOR}{PLACE}", operator.base()?);
    let mut headers = vec![
        ("x-request-id", Bytes::from(uuid(ports.random()))),
        ("content-type", Bytes::from_static(b"application/json")),
        ("ocn-to-node", Bytes::from(operator.address.to_string())),
        ("ocn-deadline", Bytes::from(deadline.as_secs().to_string())),
        ("content-digest", Bytes::from(content_digest(&body))),
    ];
    let method = Method::Post.as_str();
    let parameters = peer::parameters(&walk, deadline);
    let (signed, request) = peer::with_view(method, &url, operator, &headers, |view| {
        sign_asking(view, &parameters, &node.key)
    })
    .ok()?;
    let leg = Leg::by_key(peer::add(&mut headers, signed), parameters);
    let outgoing = Outgoing {
        method: Bytes::from_static(method.as_bytes()),
        url,
        headers,
        body: Bytes::from(body),
        owner: Owner::Node(operator.address),
        deadline,
        response_bytes: DOCUMENT_BYTES,
    };
    let began = ports.clock().monotonic();
    let answer = ports.outbound().send(outgoing, &departure).await.ok()?;
    if !peer::verify_given(&walk, &answer, &leg, operator) {
        return None;
    }
    let given: Given = document(&walk, &answer.body)?;
    let terms = Terms {
        asker: node.key.address(),
        asked: operator.address,
        request: &request,
        asker_key: &asker_key,
        asked_key: &public_key(&given.key)?,
        lasts_s: given.expires_s,
    };
    let keys = offer.agree(terms.asked_key, &terms).ok()?;
    let session = Session::new(&given.id, keys).ok()?;
    let lasts = given.expires_s.min(relay.session_ttl_s);
    let lasts = Duration::from_secs(lasts.into());
    // Counted from before it was given, so that it ends here first.
    operator.session.hold(session, began, lasts);
    Some(())
}

/// Whether a request is one for a session, of a node that gives some.
pub(super) fn is_asked_for(head: &Head, node: &Node) -> bool {
    head.path
        .strip_prefix(NODE_DOOR.as_bytes())
        .is_some_and(|place| place == PLACE.as_bytes())
        && node.settings.relay.session_keys
        && node.sessions.ring.has_key()
}

/// Answers a request for a session. It is no message: no record, and none of the messages' counters.
pub(super) async fn give<P: Ports>(head: Head, body: impl Body, node: &Node, ports: &P) -> Reply {
    let departure = Departure::default();
    let mut walk = Walk::new(node, ports, &departure);
    let given = AssertUnwindSafe(answer(&mut walk, head, body))
        .catch_unwind()
        .await;
    match given {
        Ok(Ok(mut reply)) => {
            peer::sign_reply(&walk, &mut reply, Origin::Node);
            node.metrics.session_given();
            reply
        }
        refused => hub::conclude(&mut walk, refused),
    }
}

async fn answer<P: Ports>(
    walk: &mut Walk<'_, P>,
    head: Head,
    body: impl Body,
) -> Result<Reply, Refusal> {
    let proof = parse_asking(walk, &head, DOCUMENT_BYTES)?;
    let (asker, once, request) = peer::authenticate_asking(walk, &proof)?;
    let _held = enter(walk, &asker.live)?;
    let body = read(body, DOCUMENT_BYTES).await?;
    peer::check_body(&proof, &body)?;
    peer::only_once(walk, Some(&once))?;
    let malformed = || Refusal::new(Kind::Malformed, "the body offers no key for a session");
    let asker_key = document(walk, &body)
        .and_then(|asking: Asking| public_key(&asking.key))
        .ok_or_else(malformed)?;
    let internal = || Refusal::new(Kind::Internal, "no session can be made now");
    let offer = Offer::new().map_err(|_| internal())?;
    let asked_key = *offer.public();
    let own = walk.node.key.address();
    let lasts_s = walk.node.settings.relay.session_ttl_s;
    let terms = Terms {
        asker: asker.address,
        asked: own,
        request: &request,
        asker_key: &asker_key,
        asked_key: &asked_key,
        lasts_s,
    };
    let keys = offer.agree(&asker_key, &terms).map_err(|_| malformed())?;
    let ends_at = peer::seconds(walk) + i64::from(lasts_s);
    let random = walk.ports.random();
    let sealed = walk.node.sessions.seal(&keys, own, &asker, ends_at, random);
    let given = Given {
        id: sealed.ok_or_else(internal)?,
        key: STANDARD.encode(asked_key),
        expires_s: lasts_s,
    };
    Ok(Reply {
        status: 200,
        headers: walk.requester.headers(),
        body: Bytes::from(serde_json::to_vec(&given).map_err(|_| internal())?),
        stale: None,
    })
}

/// Read by a library only after its depth is known to be bounded.
fn document<'a, P: Ports, T: Deserialize<'a>>(walk: &Walk<'_, P>, body: &'a [u8]) -> Option<T> {
    json::validate(body, &walk.node.json_limits).ok()?;
    serde_json::from_slice(body).ok()
}

fn public_key(text: &str) -> Option<[u8; PUBLIC_BYTES]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}
