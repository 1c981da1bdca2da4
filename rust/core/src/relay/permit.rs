//! `permit`: may this message go to this receiver, and can the receiver take it now.
use super::Walk;
use super::authenticate::{Message, Sender};
use super::error::{Kind, Refusal};
use super::home::Home;
use super::parse::Envelope;
use super::peer;
use super::ports::{Clock as _, Ports};
use super::record::Stage;
use super::route::Target;
use super::seal;
use crate::ocpi::Party;
use crate::table::{InFlight, Operator, PlatformStatus};

/// What was found and taken for a message, held until the answer is there.
pub(super) struct Permit {
    /// The receiver's endpoint for module and role, or its node's; `None` where the message uses a stored URL.
    pub(super) endpoint: Option<String>,
    /// The message's place at its receiver.
    pub(super) place: InFlight,
}

/// Applies the receiver's status and rules, then the limits (`ocn-node.md` 2.9, `safety.md` A73, A79,
/// A146, A147). Every way to a receiver passes here, links and callbacks too.
pub(super) fn permit<P: Ports>(
    walk: &mut Walk<'_, P>,
    message: &Message,
    sender: &Sender,
    target: &Target,
) -> Result<Permit, Refusal> {
    walk.enter(Stage::Permit);
    peer::only_once(walk, sender.once.as_ref())?;
    let endpoint = allowed(walk, &message.envelope, sender.party, target)?;
    let limits = &walk.node.settings.limits;
    let live = target.home.live();
    let place = live
        .enter_as_receiver(limits.in_flight_per_receiver)
        .ok_or_else(|| Refusal::new(Kind::ReceiverBusy, "the receiver does not keep up"))?;
    if live.is_broken(walk.ports.clock().monotonic(), &walk.node.breaker) {
        return Err(broken());
    }
    Ok(Permit { endpoint, place })
}

/// The refusal while the breaker is open.
pub(super) fn broken() -> Refusal {
    Refusal::new(
        Kind::ReceiverBusy,
        "the receiver has not answered for a while",
    )
}

/// The part without side effects; also what `explain` asks.
pub(super) fn allowed<P: Ports>(
    walk: &mut Walk<'_, P>,
    envelope: &Envelope,
    from: Party,
    target: &Target,
) -> Result<Option<String>, Refusal> {
    let platform = match &target.home {
        Home::Platform(platform) => platform,
        // The receiver's status, rules and endpoints are known to its own node alone, which applies them.
        Home::Node(operator) => return Ok(node_endpoint(envelope, operator)),
    };
    match platform.status {
        PlatformStatus::Connected => {}
        PlatformStatus::Offline => {
            return Err(Refusal::new(Kind::NotConnected, "the receiver is offline"));
        }
        PlatformStatus::Planned => {
            return Err(Refusal::new(
                Kind::NotConnected,
                "the receiver is listed but not connected",
            ));
        }
        PlatformStatus::Suspended => {
            return Err(Refusal::new(
                Kind::NotConnected,
                "the receiver is suspended",
            ));
        }
    }
    walk.record.rule = Some(platform.rules.mode.as_str());
    platform
        .rules
        .judge(from, &envelope.module)
        .map_err(|refusal| Refusal::new(Kind::RuleForbids, refusal.to_string()))?;
    if seal::uses_link(envelope) {
        return Ok(None);
    }
    platform
        .endpoint(platform.version, &envelope.module, envelope.role)
        .map(|endpoint| Some(endpoint.to_owned()))
        .ok_or_else(|| {
            Refusal::new(
                Kind::NotOffered,
                "Receiver does not support the requested module",
            )
        })
}

fn node_endpoint(envelope: &Envelope, operator: &Operator) -> Option<String> {
    let base = operator.base().filter(|_| !seal::uses_link(envelope))?;
    Some(peer::door(base, envelope.role, &envelope.module))
}
