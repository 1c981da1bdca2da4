//! What a node speaks: asked by GET before the first message, remembered, never found out by sending a
//! message twice (`ocn-relay.md` 1, `safety.md` A97, A99).
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::Walk;
use super::error::{Kind, Refusal};
use super::home::Home;
use super::peer::PROTOCOL;
use super::ports::{Clock as _, Departure, Outbound as _, Outgoing, Owner, Ports, SendError};
use crate::eth::Address;
use crate::json;
use crate::table::{Operator, Speech};

/// The largest document that a node may say of itself.
const DOCUMENT_BYTES: usize = 65_536;

/// How long a node may take for it, beyond connecting.
const ANSWER: Duration = Duration::from_secs(3);

/// `GET {domain}/ocn/registry/node-info`, as far as we read it; existing nodes lack `relay`.
#[derive(Deserialize)]
struct NodeInfo {
    address: String,
    #[serde(default)]
    relay: Vec<String>,
}

/// Makes sure that the receiver's node speaks what we will send. Platforms speak OCPI.
pub(super) async fn settle_on<P: Ports>(
    walk: &mut Walk<'_, P>,
    home: &Home,
) -> Result<(), Refusal> {
    let Some(operator) = home.operator() else {
        return Ok(());
    };
    walk.record.dialect = None;
    let began = walk.ports.clock().monotonic();
    let speech = match known(walk, operator, began) {
        Some(speech) => speech,
        None => {
            let _turn = operator.dialect.turn().await;
            // Somebody may have asked while this message waited for its turn.
            match known(walk, operator, began) {
                Some(speech) => speech,
                None => ask(walk, operator).await?,
            }
        }
    };
    match speech {
        Speech::Relay3 => {
            walk.record.dialect = Some(PROTOCOL);
            Ok(())
        }
        Speech::Stranger(address) => Err(Refusal::new(
            Kind::NodeStranger,
            format!(
                "the domain of the receiver's node belongs to {}",
                whose(address)
            ),
        )),
        Speech::Silent(text) => Err(Refusal::new(Kind::NoConnection, text)),
        Speech::Foreign => Err(Refusal::new(
            Kind::NoDialect,
            "the receiver's node speaks no protocol that this node speaks",
        )),
    }
}

/// What is known without asking; also what `explain` says.
pub(super) fn remembered<P: Ports>(walk: &Walk<'_, P>, operator: &Operator) -> Option<Speech> {
    known(walk, operator, walk.ports.clock().monotonic())
}

/// Who answers where another operator should.
pub(super) fn whose(address: Option<Address>) -> String {
    address.map_or("nobody known".to_owned(), |address| {
        format!("the operator {address}")
    })
}

/// A good answer is believed for long; a bad one only as long as a broken receiver is left alone, and no
/// answer only by those who waited for it (since `began`).
fn known<P: Ports>(walk: &Walk<'_, P>, operator: &Operator, began: Duration) -> Option<Speech> {
    let (speech, heard) = operator.dialect.heard()?;
    let age = walk.ports.clock().monotonic().saturating_sub(heard);
    let believed = match speech {
        Speech::Relay3 => age.as_secs() < walk.node.settings.node.dialect_ttl_s,
        Speech::Foreign | Speech::Stranger(_) => age < walk.node.breaker.open,
        Speech::Silent(_) => heard >= began,
    };
    believed.then_some(speech)
}

/// Asks. The question is a call like any other: the breaker counts it.
async fn ask<P: Ports>(walk: &Walk<'_, P>, operator: &Operator) -> Result<Speech, Refusal> {
    let (clock, breaker) = (walk.ports.clock(), &walk.node.breaker);
    if !operator.live.may_try(clock.monotonic(), breaker) {
        return Err(Refusal::new(
            Kind::ReceiverBusy,
            "the receiver's node has not answered for a while",
        ));
    }
    let relay = &walk.node.settings.relay;
    let question = Outgoing {
        method: Bytes::from_static(b"GET"),
        url: format!(
            "{}/ocn/registry/node-info",
            operator.base().unwrap_or_default()
        ),
        headers: vec![("accept", Bytes::from_static(b"application/json"))],
        body: Bytes::new(),
        owner: Owner::Node(operator.address),
        deadline: (Duration::from_millis(relay.connect_ms) + ANSWER)
            .min(Duration::from_millis(relay.node_deadline_ms)),
        response_bytes: DOCUMENT_BYTES,
    };
    walk.node.metrics.node_asked();
    // A departure of its own: the message itself has not left, and may still be taken back.
    let answer = walk
        .ports
        .outbound()
        .send(question, &Departure::default())
        .await;
    let now = clock.monotonic();
    let speech = match answer {
        Ok(answer) if answer.status == 200 => read(walk, &answer.body, operator.address),
        Ok(answer) if answer.status >= 500 => {
            Speech::Silent("the receiver's node is not in service")
        }
        // Whatever is there, it is no node that we know how to talk to.
        Ok(_) | Err(SendError::Unusable(_)) => Speech::Foreign,
        Err(SendError::NotSent(text) | SendError::MaybeSent(text)) => Speech::Silent(text),
        Err(SendError::Cancelled) => Speech::Silent("the question was taken back"),
    };
    if matches!(speech, Speech::Silent(_)) {
        operator.live.failed(now, breaker);
    } else {
        operator.live.succeeded();
    }
    if matches!(speech, Speech::Stranger(_)) {
        walk.node.metrics.node_stranger();
    }
    operator.dialect.hear(speech, now);
    Ok(speech)
}

fn read<P: Ports>(walk: &Walk<'_, P>, body: &[u8], expected: Address) -> Speech {
    // Read by a library only after its depth is known to be bounded.
    let info = json::validate(body, &walk.node.json_limits)
        .ok()
        .and_then(|_| serde_json::from_slice::<NodeInfo>(body).ok());
    let Some(info) = info else {
        return Speech::Foreign;
    };
    let address = info.address.parse::<Address>().ok();
    if address != Some(expected) {
        Speech::Stranger(address)
    } else if info.relay.iter().any(|name| name == PROTOCOL) {
        Speech::Relay3
    } else {
        Speech::Foreign
    }
}
