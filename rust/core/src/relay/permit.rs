//! `permit`: may this message go to this receiver, and can the receiver take it now.
use super::Walk;
use super::authenticate::{Message, Sender};
use super::error::{Kind, Refusal};
use super::parse::Envelope;
use super::ports::{Clock as _, Ports};
use super::record::Stage;
use super::route::Target;
use super::seal;
use crate::ocpi::Party;
use crate::table::{InFlight, PlatformStatus};

/// Places taken at both platforms, held until the answer is there.
pub(super) struct Permit {
    /// The receiver's endpoint for module and role; `None` where the message uses a stored URL.
    pub(super) endpoint: Option<String>,
    pub(super) places: (InFlight, InFlight),
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
    let endpoint = allowed(walk, &message.envelope, sender.party, target)?;
    let limits = &walk.node.settings.limits;
    let from = sender
        .platform
        .live
        .enter_as_sender(limits.in_flight_per_platform)
        .ok_or_else(|| {
            Refusal::new(
                Kind::TooManyRequests,
                "too many requests of this platform are in work",
            )
        })?;
    let to = target
        .platform
        .live
        .enter_as_receiver(limits.in_flight_per_receiver)
        .ok_or_else(|| Refusal::new(Kind::ReceiverBusy, "the receiver does not keep up"))?;
    if !target
        .platform
        .live
        .may_try(walk.ports.clock().monotonic(), &walk.node.breaker)
    {
        return Err(Refusal::new(
            Kind::ReceiverBusy,
            "the receiver has not answered for a while",
        ));
    }
    Ok(Permit {
        endpoint,
        places: (from, to),
    })
}

/// The part without side effects; also what `explain` asks.
pub(super) fn allowed<P: Ports>(
    walk: &mut Walk<'_, P>,
    envelope: &Envelope,
    from: Party,
    target: &Target,
) -> Result<Option<String>, Refusal> {
    match target.platform.status {
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
    walk.record.rule = Some(target.platform.rules.mode.as_str());
    target
        .platform
        .rules
        .judge(from, &envelope.module)
        .map_err(|refusal| Refusal::new(Kind::RuleForbids, refusal.to_string()))?;
    if seal::uses_link(envelope) {
        return Ok(None);
    }
    target
        .platform
        .endpoint(target.platform.version, &envelope.module, envelope.role)
        .map(|endpoint| Some(endpoint.to_owned()))
        .ok_or_else(|| {
            Refusal::new(
                Kind::NotOffered,
                "Receiver does not support the requested module",
            )
        })
}
