//! `forward`: to the receiver's endpoint with its token, or to its node, once.
use super::Walk;
use super::error::{Kind, Refusal};
use super::permit;
use super::ports::{Answer, Clock as _, Outbound as _, Ports, SendError};
use super::record::Stage;
use super::route::Target;
use super::seal::{Sealed, Sent};

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
    let Sealed { outgoing, sent, .. } = sealed;
    let live = target.home.live();
    if !live.may_try(walk.ports.clock().monotonic(), &walk.node.breaker) {
        return Err(permit::broken());
    }
    let result = walk.ports.outbound().send(outgoing, walk.departure).await;
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
