//! `route`: the `OCPI-to-*` party becomes a [`Target`].
use std::sync::Arc;

use super::Walk;
use super::authenticate::Message;
use super::error::{Kind, Refusal};
use super::message::Stale;
use super::ports::Ports;
use super::record::Stage;
use crate::ocpi::Party;
use crate::table::Platform;

/// Where a message goes: a party on a platform of this node.
pub(super) struct Target {
    pub(super) party: Party,
    pub(super) platform: Arc<Platform>,
}

/// Finds the receiver (`ocpi-hub.md` 2.1, design section 10).
pub(super) fn route<P: Ports>(
    walk: &mut Walk<'_, P>,
    message: &Message,
) -> Result<Target, Refusal> {
    walk.enter(Stage::Route);
    let Some(to) = message.envelope.to.as_ref().map(|address| address.party) else {
        walk.record.route = Some("none");
        return Err(Refusal::new(
            Kind::UnknownReceiver,
            "no OCPI-to-* headers: this hub does not find receivers by content",
        ));
    };
    find(walk, to)
}

/// The target of a party id; also what `explain` asks.
pub(super) fn find<P: Ports>(walk: &mut Walk<'_, P>, to: Party) -> Result<Target, Refusal> {
    if let Some(platform) = walk.table.local_party(to).cloned() {
        walk.record.route = Some("platform");
        walk.record.receiver_platform = Some(platform.id);
        return Ok(Target {
            party: to,
            platform,
        });
    }
    if to == walk.node.party {
        walk.record.route = Some("hub");
        return Err(Refusal::new(
            Kind::NotOffered,
            "the hub itself offers nothing here",
        ));
    }
    let registered = walk.table.registered(to).map(|party| party.operator);
    match registered {
        Some(operator) if operator == walk.node.key.address() => {
            walk.record.route = Some("planned");
            Err(Refusal::new(
                Kind::NotConnected,
                "the receiver is listed but not connected",
            )
            .stale(Stale::Receiver))
        }
        Some(_) => {
            walk.record.route = Some("node");
            Err(Refusal::new(
                Kind::NotOffered,
                "the receiver's node cannot be reached from here",
            ))
        }
        None => {
            walk.record.route = Some("unknown");
            Err(Refusal::new(
                Kind::UnknownReceiver,
                "Receiver not registered on Open Charging Network",
            )
            .stale(Stale::Receiver))
        }
    }
}
