//! `route`: the `OCPI-to-*` party becomes a [`Target`].
use std::sync::Arc;

use super::Walk;
use super::authenticate::Message;
use super::error::{Kind, Refusal};
use super::home::Home;
use super::message::Stale;
use super::ports::Ports;
use super::record::Stage;
use crate::eth::Address;
use crate::ocpi::Party;

/// Where a message goes: a party, and the platform or node that it is reached by.
pub(super) struct Target {
    pub(super) party: Party,
    pub(super) home: Home,
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
    find(walk, to, message.envelope.is_from_node())
}

/// The target of a party id; also what `explain` asks.
///
/// A party whose operator is another node is reached through that node, even while a platform here still
/// has it: the registry says where a party is. What another node brought goes to nobody but the parties of
/// this one, so no circle can form (`ocn-relay.md` 2).
pub(super) fn find<P: Ports>(
    walk: &mut Walk<'_, P>,
    to: Party,
    from_node: bool,
) -> Result<Target, Refusal> {
    let own = walk.node.key.address();
    let operator = walk.table.registered(to).map(|party| party.operator);
    if let Some(operator) = operator.filter(|operator| *operator != own) {
        walk.record.route = Some("node");
        return elsewhere(walk, to, &operator, from_node);
    }
    if let Some(platform) = walk.table.local_party(to).cloned() {
        walk.record.route = Some("platform");
        walk.record.receiver_platform = Some(platform.id);
        return Ok(Target {
            party: to,
            home: Home::Platform(platform),
        });
    }
    if to == walk.node.party {
        walk.record.route = Some("hub");
        return Err(Refusal::new(
            Kind::NotOffered,
            "the hub itself offers nothing here",
        ));
    }
    if operator.is_some() {
        walk.record.route = Some("planned");
        return Err(Refusal::new(
            Kind::NotConnected,
            "the receiver is listed but not connected",
        )
        .stale(Stale::Receiver));
    }
    walk.record.route = Some("unknown");
    Err(unknown("Receiver not registered on Open Charging Network"))
}

fn elsewhere<P: Ports>(
    walk: &mut Walk<'_, P>,
    to: Party,
    operator: &Address,
    from_node: bool,
) -> Result<Target, Refusal> {
    if from_node {
        return Err(unknown("the receiver is not a party of this node"));
    }
    let operator = walk.table.operator(operator);
    match operator.filter(|operator| operator.base().is_some()) {
        Some(operator) => {
            walk.record.operator = Some(operator.address.to_string());
            Ok(Target {
                party: to,
                home: Home::Node(Arc::clone(operator)),
            })
        }
        None => Err(unknown(
            "the receiver's node is not listed, or not with a usable domain",
        )),
    }
}

fn unknown(text: &'static str) -> Refusal {
    Refusal::new(Kind::UnknownReceiver, text).stale(Stale::Receiver)
}
