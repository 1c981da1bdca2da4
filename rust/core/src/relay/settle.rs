//! `settle`: last seen, metrics, the decision record. Never in the sender's way, never able to change the answer.
use super::Walk;
use super::message::Reply;
use super::ports::{Clock as _, Ports};
use super::record::{Outcome, Stage};

/// Ends the record and hands it on.
pub(super) fn settle<P: Ports>(mut walk: Walk<'_, P>, reply: &Reply) {
    walk.enter(Stage::Settle);
    let now = walk.ports.clock().unix_millis();
    let seen = [
        walk.record.sender_platform,
        walk.record
            .receiver_platform
            .filter(|_| walk.record.outcome == Some(Outcome::Answered)),
    ];
    for platform in seen.into_iter().flatten() {
        if let Some(platform) = walk.table.platform(platform) {
            platform.live.seen(now);
        }
    }
    walk.record.http_status = Some(reply.status);
    walk.record
        .clocked(Some(Stage::Settle), walk.ports.clock().monotonic());
    walk.node.metrics.finish(&walk.record);
    walk.ports.record(&walk.record);
}
