//! `forward`: to the receiver's endpoint with its token, or to its node, once. Only what a node has refused because it
//! does not know the session any more is signed and sent again.
use super::Walk;
use super::error::{Kind, Refusal};
use super::peer::{self, Leg};
use super::permit;
use super::ports::{Answer, Clock as _, Outbound as _, Outgoing, Ports, SendError};
use super::record::Stage;
use super::route::Target;
use super::seal::{Sealed, Sent};
use crate::table::Operator;

/// A whole answer, and what was sent to get it.
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) sent: Sent,
}

/// Sends the sealed message and waits for the whole answer (`safety.md` I01, F25-F38).
pub(super) async fn forward<P: Ports>(
    walk: &mut Walk<'_, P>,
    sealed: Sealed,
    target: &Target,
) -> Result<Answered, Refusal> {
    walk.enter(Stage::Forward);
    let Sealed {
        outgoing, mut sent, ..
    } = sealed;
    let live = target.home.live();
    if !live.may_try(walk.ports.clock().monotonic(), &walk.node.breaker) {
        return Err(permit::broken());
    }
    let result = match (target.home.operator(), &mut sent.leg) {
        (Some(operator), Some(leg)) if leg.is_by_session() => {
            by_session(walk, outgoing, leg, operator).await?
        }
        _ => walk.ports.outbound().send(outgoing, walk.departure).await,
    };
    match result {
        Ok(_) | Err(SendError::Unusable(_)) => live.succeeded(),
        Err(SendError::NotSent(_) | SendError::MaybeSent(_)) => {
            live.failed(walk.ports.clock().monotonic(), &walk.node.breaker);
        }
        Err(SendError::Cancelled) => {}
    }
    match result {
        Ok(answer) => {
            walk.record.answer_bytes = answer.body.len();
            Ok(Answered { answer, sent })
        }
        Err(SendError::NotSent(text)) => Err(Refusal::new(Kind::NoConnection, text)),
        Err(SendError::Cancelled) => Err(Refusal::new(Kind::Gone, "the requester hung up")),
        Err(SendError::MaybeSent(text)) => Err(Refusal::new(Kind::NoAnswer, text)),
        Err(SendError::Unusable(text)) => Err(Refusal::new(Kind::UnusableAnswer, text)),
    }
}

/// Sends what is signed by a session. If the other node does not know that any more, nothing was delivered: the message
/// goes once more, signed by this node's key and under the same nonce, so that it cannot be taken twice.
async fn by_session<P: Ports>(
    walk: &Walk<'_, P>,
    outgoing: Outgoing,
    leg: &mut Leg,
    operator: &Operator,
) -> Result<Result<Answer, SendError>, Refusal> {
    let began = walk.ports.clock().monotonic();
    let mut again = outgoing.clone();
    let result = walk.ports.outbound().send(outgoing, walk.departure).await;
    if !result.as_ref().is_ok_and(peer::is_session_lost) {
        return Ok(result);
    }
    let spent = walk.ports.clock().monotonic().saturating_sub(began);
    again.deadline = again.deadline.saturating_sub(spent);
    peer::sign_again(walk, &mut again, leg, operator)?;
    Ok(walk.ports.outbound().send(again, walk.departure).await)
}
