//! Counters of one worker; labels come from closed sets (`safety.md` A143).
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Value, json};

use super::error::Kind;
use super::record::{Outcome, Record, Signature, Stage};
use crate::ocpi::InterfaceRole;

const MODULES: [&str; 8] = [
    "cdrs",
    "chargingprofiles",
    "commands",
    "locations",
    "sessions",
    "tariffs",
    "tokens",
    "custom",
];
const ROLES: [&str; 3] = ["SENDER", "RECEIVER", "none"];
/// Answered, closed, then one per kind of refusal.
const OUTCOMES: usize = 2 + Kind::ALL.len();

/// Upper bounds in seconds; the last bucket has none.
const BUCKETS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0,
    15.0,
];

/// Counts of durations by bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Adds one duration.
    pub fn observe_us(&self, us: u64) {
        let seconds = us as f64 / 1e6;
        let bucket = BUCKETS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BUCKETS.len());
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    fn to_json(&self) -> Value {
        json!({
            "bounds": BUCKETS,
            "counts": self.counts.iter().map(|count| count.load(Relaxed)).collect::<Vec<_>>(),
            "sum": self.sum_us.load(Relaxed) as f64 / 1e6,
        })
    }
}

/// Everything counted.
#[derive(Debug)]
pub struct Metrics {
    messages: Box<[AtomicU64]>,
    stages: [Histogram; Stage::ALL.len()],
    total: Histogram,
    /// Time in stages other than `forward`: what the hub itself takes.
    hub: Histogram,
    received: AtomicU64,
    signed: AtomicU64,
    uncovered: AtomicU64,
    links_dropped: AtomicU64,
    panics: AtomicU64,
    tokens_refused: AtomicU64,
    nodes_asked: AtomicU64,
    node_strangers: AtomicU64,
    node_answers_refused: AtomicU64,
    sessions_given: AtomicU64,
    sessions_opened: AtomicU64,
    sessions_refused: AtomicU64,
    sessions_lost: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            messages: (0..MODULES.len() * ROLES.len() * OUTCOMES)
                .map(|_| AtomicU64::new(0))
                .collect(),
            stages: Default::default(),
            total: Histogram::default(),
            hub: Histogram::default(),
            received: AtomicU64::new(0),
            signed: AtomicU64::new(0),
            uncovered: AtomicU64::new(0),
            links_dropped: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            tokens_refused: AtomicU64::new(0),
            nodes_asked: AtomicU64::new(0),
            node_strangers: AtomicU64::new(0),
            node_answers_refused: AtomicU64::new(0),
            sessions_given: AtomicU64::new(0),
            sessions_opened: AtomicU64::new(0),
            sessions_refused: AtomicU64::new(0),
            sessions_lost: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    pub(super) fn begin(&self) {
        self.received.fetch_add(1, Relaxed);
    }

    pub(super) fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    pub(super) fn link_dropped(&self) {
        self.links_dropped.fetch_add(1, Relaxed);
    }

    pub(super) fn token_refused(&self) {
        self.tokens_refused.fetch_add(1, Relaxed);
    }

    /// Another node was asked what it speaks.
    pub(super) fn node_asked(&self) {
        self.nodes_asked.fetch_add(1, Relaxed);
    }

    /// Under another node's domain somebody else answered (`safety.md` A99).
    pub(super) fn node_stranger(&self) {
        self.node_strangers.fetch_add(1, Relaxed);
    }

    /// An answer of another node was not signed by it (`safety.md` A98).
    pub(super) fn node_answer_refused(&self) {
        self.node_answers_refused.fetch_add(1, Relaxed);
    }

    /// Another node got a session for its messages to this one.
    pub(super) fn session_given(&self) {
        self.sessions_given.fetch_add(1, Relaxed);
    }

    /// Another node gave a session for messages to it.
    pub(super) fn session_opened(&self) {
        self.sessions_opened.fetch_add(1, Relaxed);
    }

    /// Another node was asked for a session, and none came of it.
    pub(super) fn session_refused(&self) {
        self.sessions_refused.fetch_add(1, Relaxed);
    }

    /// Another node did not know its session: the message was signed and sent again.
    pub(super) fn session_lost(&self) {
        self.sessions_lost.fetch_add(1, Relaxed);
    }

    pub(super) fn finish(&self, record: &Record) {
        let module = record.module.as_deref().unwrap_or("custom");
        let module = MODULES
            .iter()
            .position(|name| *name == module)
            .unwrap_or(MODULES.len() - 1);
        let role = match record.role {
            Some(InterfaceRole::Sender) => 0,
            Some(InterfaceRole::Receiver) => 1,
            None => 2,
        };
        let outcome = match record.outcome {
            Some(Outcome::Answered) => 0,
            Some(Outcome::Refused(kind)) => 2 + kind as usize,
            Some(Outcome::Closed) | None => 1,
        };
        let cell = (module * ROLES.len() + role) * OUTCOMES + outcome;
        self.messages[cell].fetch_add(1, Relaxed);
        if matches!(
            record.signature,
            Some(Signature::Party | Signature::Operator)
        ) {
            self.signed.fetch_add(1, Relaxed);
        }
        self.uncovered
            .fetch_add(u64::from(record.uncovered), Relaxed);
        for (stage, us) in self.stages.iter().zip(record.stage_us) {
            if let Some(us) = us {
                stage.observe_us(u64::from(us));
            }
        }
        let total = record.total_us();
        let forward = record.stage_us[Stage::Forward as usize].map_or(0, u64::from);
        self.total.observe_us(total);
        self.hub.observe_us(total - forward);
    }

    /// All counters; cells that are zero are left out.
    pub fn to_json(&self) -> Value {
        let mut messages = Vec::new();
        for (cell, count) in self.messages.iter().enumerate() {
            let count = count.load(Relaxed);
            if count > 0 {
                let (rest, outcome) = (cell / OUTCOMES, cell % OUTCOMES);
                let outcome = match outcome {
                    0 => Outcome::Answered,
                    1 => Outcome::Closed,
                    kind => Outcome::Refused(Kind::ALL[kind - 2]),
                };
                messages.push(json!({
                    "module": MODULES[rest / ROLES.len()],
                    "role": ROLES[rest % ROLES.len()],
                    "outcome": outcome.label(),
                    "count": count,
                }));
            }
        }
        let stages: serde_json::Map<String, Value> = Stage::ALL
            .iter()
            .zip(&self.stages)
            .map(|(stage, histogram)| (stage.as_str().to_owned(), histogram.to_json()))
            .collect();
        json!({
            "received": self.received.load(Relaxed),
            "messages": messages,
            "signed": self.signed.load(Relaxed),
            "uncovered_leaves": self.uncovered.load(Relaxed),
            "links_dropped": self.links_dropped.load(Relaxed),
            "panics": self.panics.load(Relaxed),
            "tokens_refused": self.tokens_refused.load(Relaxed),
            "nodes_asked": self.nodes_asked.load(Relaxed),
            "node_strangers": self.node_strangers.load(Relaxed),
            "node_answers_refused": self.node_answers_refused.load(Relaxed),
            "sessions": {
                "given": self.sessions_given.load(Relaxed),
                "opened": self.sessions_opened.load(Relaxed),
                "refused": self.sessions_refused.load(Relaxed),
                "lost": self.sessions_lost.load(Relaxed),
            },
            "stages": stages,
            "total": self.total.to_json(),
            "hub": self.hub.to_json(),
        })
    }
}
