//! The decision record: what happened to one message, filled in stage by stage.
//!
//! It is the single source of the log line, the metric labels, the hub's error texts and of
//! `ocn-fast explain` (`design.md` section 2).
use std::time::Duration;

use serde::Serialize;

use super::error::Kind;
use crate::ocpi::{InterfaceRole, Party};

/// The stages of the journey, in order. The names are final: functions, errors, metrics and log
/// fields use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Parse,
    Authenticate,
    Route,
    Permit,
    Verify,
    Seal,
    Reserve,
    Forward,
    Open,
    Settle,
}

impl Stage {
    /// All stages, in the order of the journey.
    pub const ALL: [Self; 10] = [
        Self::Parse,
        Self::Authenticate,
        Self::Route,
        Self::Permit,
        Self::Verify,
        Self::Seal,
        Self::Reserve,
        Self::Forward,
        Self::Open,
        Self::Settle,
    ];

    /// The stage's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Authenticate => "authenticate",
            Self::Route => "route",
            Self::Permit => "permit",
            Self::Verify => "verify",
            Self::Seal => "seal",
            Self::Reserve => "reserve",
            Self::Forward => "forward",
            Self::Open => "open",
            Self::Settle => "settle",
        }
    }
}

/// What may have become of the message at its receiver (`safety.md` section 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    No,
    Maybe,
    Yes,
}

impl Delivery {
    /// The value of the header `OCN-Delivery`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Maybe => "maybe",
            Self::Yes => "yes",
        }
    }
}

/// How the message's signature was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// Nothing was signed and nothing had to be.
    Absent,
    /// Signed by the party itself.
    Party,
    /// Signed by the party's operator.
    Operator,
    /// The node signed for a party whose software cannot (`sign_for_party`).
    ForParty,
    /// Refused; the reason is in the record.
    Refused,
}

/// One message's decisions. `None` means that the stage which decides it was not reached.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(default)]
pub struct Record {
    /// Unix milliseconds.
    pub started_at: i64,
    /// The door on which it came: `party` or `node`.
    pub door: Option<&'static str>,
    pub request_id: Option<String>,
    pub correlation_id: Option<String>,
    #[serde(serialize_with = "display")]
    pub from: Option<Party>,
    #[serde(serialize_with = "display")]
    pub to: Option<Party>,
    pub method: Option<&'static str>,
    pub module: Option<String>,
    #[serde(serialize_with = "role")]
    pub role: Option<InterfaceRole>,
    /// Where the message went and why: `platform`, `node`, `hub`, `unknown`, …
    pub route: Option<&'static str>,
    pub sender_platform: Option<i64>,
    pub receiver_platform: Option<i64>,
    /// The other node's operator, wherever it stands: at the sender's end or at the receiver's.
    pub operator: Option<String>,
    /// Whose answer came from the other node, as it says: `receiver` or `node`; and for its own what it says
    /// has become of the message.
    pub far_origin: Option<&'static str>,
    pub far_delivery: Option<&'static str>,
    /// The receiver's rule that decided, if any is active.
    pub rule: Option<&'static str>,
    pub block: Option<u64>,
    pub table_version: u64,
    pub dialect: Option<&'static str>,
    pub policy: Option<&'static str>,
    pub signature: Option<Signature>,
    /// Code of the failed check (`ocn-notary.md` section 10) and the first leaf that differs.
    pub signature_reason: Option<&'static str>,
    pub signature_path: Option<String>,
    pub answer_signature: Option<Signature>,
    /// Leaves that no signature covered (policy `compatible`).
    pub uncovered: u32,
    pub rewritten: Option<&'static str>,
    pub request_bytes: usize,
    pub answer_bytes: usize,
    /// The stage that was entered last.
    #[serde(serialize_with = "stage")]
    pub stage: Option<Stage>,
    /// The stage that refused the message, if one did.
    #[serde(serialize_with = "stage")]
    pub failed_in: Option<Stage>,
    /// Microseconds spent in each stage entered so far, in the order of [`Stage::ALL`].
    pub stage_us: [Option<u32>; 10],
    pub outcome: Option<Outcome>,
    pub delivery: Option<Delivery>,
    pub http_status: Option<u16>,
    pub ocpi_status: Option<u16>,
    /// The hub's own error text, if the hub answered.
    pub error: Option<String>,
    #[serde(skip)]
    pub(super) entered_at: Duration,
}

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The receiver's answer went back.
    Answered,
    /// The hub answered, for the reason of this kind.
    Refused(Kind),
    /// Nobody was there any more to take an answer.
    Closed,
}

impl Outcome {
    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused(kind) => kind.as_str(),
            Self::Closed => "closed",
        }
    }
}

impl Record {
    /// Notes that a stage begins; [`Record::clocked`] follows.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = Some(stage);
    }

    /// The stage `ended` took until now; the next one starts.
    pub(super) fn clocked(&mut self, ended: Option<Stage>, now: Duration) {
        if let Some(stage) = ended {
            let spent = now.saturating_sub(self.entered_at).as_micros();
            let slot = &mut self.stage_us[stage as usize];
            *slot = Some(
                slot.unwrap_or(0)
                    .saturating_add(u32::try_from(spent).unwrap_or(u32::MAX)),
            );
        }
        self.entered_at = now;
    }

    /// Microseconds in all stages together.
    pub fn total_us(&self) -> u64 {
        self.stage_us
            .iter()
            .flatten()
            .map(|us| u64::from(*us))
            .sum()
    }
}

fn display<S: serde::Serializer>(party: &Option<Party>, to: S) -> Result<S::Ok, S::Error> {
    match party {
        Some(party) => to.collect_str(party),
        None => to.serialize_none(),
    }
}

fn role<S: serde::Serializer>(role: &Option<InterfaceRole>, to: S) -> Result<S::Ok, S::Error> {
    match role {
        Some(role) => to.serialize_str(role.as_str()),
        None => to.serialize_none(),
    }
}

fn stage<S: serde::Serializer>(stage: &Option<Stage>, to: S) -> Result<S::Ok, S::Error> {
    match stage {
        Some(stage) => to.serialize_str(stage.as_str()),
        None => to.serialize_none(),
    }
}
