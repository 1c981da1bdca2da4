//! What one worker keeps for all its messages: table, keys, settings, counters.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::link::PageLinks;
use super::metrics::Metrics;
use super::ring::KeyRing;
use super::session::Sessions;
use super::settings::{PolicyName, Settings};
use crate::eth::SigningKey;
use crate::json;
use crate::notary::{self, Container, Notary, NumberForm, Part, Values};
use crate::ocpi::{IdError, Party};
use crate::table::{BreakerLimits, TableHandle};
use crate::wire::Replays;

/// The native state of a worker.
pub struct Node {
    pub table: TableHandle,
    pub metrics: Metrics,
    pub(super) settings: Settings,
    pub(super) party: Party,
    pub(super) key: SigningKey,
    pub(super) page_links: PageLinks,
    pub(super) sessions: Sessions,
    /// Messages of other nodes that were taken.
    pub(super) replays: Replays,
    pub(super) json_limits: json::Limits,
    pub(super) notary_limits: notary::Limits,
    pub(super) policy: notary::Policy,
    pub(super) breaker: BreakerLimits,
    pub(super) forward_headers: Vec<&'static str>,
    buffered: Arc<AtomicUsize>,
    in_flight: Arc<AtomicUsize>,
}

/// Header names that never pass through the hub, whatever the settings say (`safety.md` A14).
const NEVER_FORWARDED: [&str; 14] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

impl Node {
    /// `ring`: the master keys that seal page links and sessions, current one first, each with its id byte.
    ///
    /// # Errors
    /// The hub's own ids are not valid.
    pub fn new(
        mut settings: Settings,
        key: SigningKey,
        ring: Vec<(u8, [u8; 32])>,
    ) -> Result<Self, IdError> {
        let party = Party::new(&settings.node.country_code, &settings.node.party_id)?;
        settings
            .node
            .url
            .truncate(settings.node.url.trim_end_matches('/').len());
        let json_limits = json::Limits {
            // Counted from the values object, of which a body is a member.
            depth: settings.limits.json_depth.saturating_sub(1),
            number_chars: settings.limits.number_chars,
        };
        let notary_limits = notary::Limits {
            text_bytes: settings.signatures.text_bytes,
            notary_bytes: settings.signatures.notary_bytes,
            fields: settings.signatures.fields,
            rewrites: settings.signatures.rewrites,
            rewrite_paths: settings.signatures.rewrite_paths,
            depth: settings.limits.json_depth,
            number_chars: settings.limits.number_chars,
        };
        let policy = match settings.signatures.policy {
            PolicyName::Strict => notary::Policy::Strict,
            PolicyName::Covered => notary::Policy::Covered,
            PolicyName::Compatible => notary::Policy::Compatible,
        };
        let breaker = BreakerLimits {
            failures: settings.relay.breaker_failures,
            open: Duration::from_secs(settings.relay.breaker_open_s),
        };
        // Leaked once per start: the names live as long as the process.
        let forward_headers = settings
            .relay
            .forward_headers
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .filter(|name| may_be_forwarded(name))
            .map(|name| &*Box::leak(name.into_boxed_str()))
            .collect();
        let ring = Arc::new(KeyRing::new(ring));
        Ok(Self {
            table: TableHandle::new(),
            metrics: Metrics::default(),
            party,
            key,
            sessions: Sessions::new(ring.clone()),
            page_links: PageLinks::new(ring),
            replays: Replays::new(settings.node.replay_entries),
            json_limits,
            notary_limits,
            policy,
            breaker,
            forward_headers,
            buffered: Arc::default(),
            in_flight: Arc::default(),
            settings,
        })
    }

    /// The settings of the journey.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The key with which this node signs.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// An answer of the hub's own with its `ocn_signature`, signed by the operator. A body that cannot
    /// be signed goes out as it is: an answer is worth more than its signature.
    pub fn sign_answer(&self, body: Vec<u8>, container: Container) -> Vec<u8> {
        let values = Values {
            headers: Part::Absent,
            params: Part::Absent,
            body: Part::Json(&body),
        };
        Notary::sign(&values, &self.key, NumberForm::Js, &self.notary_limits)
            .ok()
            .and_then(|notary| {
                let quoted = json::quote(&notary.pack(container));
                json::insert_member(&body, "ocn_signature", quoted.as_bytes(), &self.json_limits)
                    .ok()
            })
            .unwrap_or(body)
    }

    /// Books bytes against `limits.buffered_bytes`; given back when dropped. `None` if there is no room.
    pub fn book(&self, bytes: usize) -> Option<Booking> {
        Booking::take(&self.buffered, bytes, self.settings.limits.buffered_bytes)
    }

    /// The account behind `limits.buffered_bytes`, which the outbound port shares: answers count too.
    pub fn buffer_account(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.buffered)
    }

    /// Takes one place of `limits.in_flight`; given back when dropped. `None` if all are taken.
    pub(super) fn begin(&self) -> Option<Booking> {
        Booking::take(&self.in_flight, 1, self.settings.limits.in_flight)
    }

    /// Messages in work.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Bytes booked.
    pub fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Relaxed)
    }
}

/// Whether an operator may put that name on `relay.forward_headers`.
fn may_be_forwarded(name: &str) -> bool {
    !NEVER_FORWARDED.contains(&name)
        && ![
            "ocpi-",
            "ocn-",
            "x-forwarded-",
            "proxy-",
            "x-request-id",
            "x-correlation-id",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// A share of a bounded amount, given back when dropped.
#[derive(Debug)]
pub struct Booking {
    pool: Arc<AtomicUsize>,
    amount: usize,
}

impl Booking {
    fn take(pool: &Arc<AtomicUsize>, amount: usize, limit: usize) -> Option<Self> {
        let booked = pool.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |taken| {
            taken.checked_add(amount).filter(|sum| *sum <= limit)
        });
        booked.ok().map(|_| Self {
            pool: Arc::clone(pool),
            amount,
        })
    }
}

impl Drop for Booking {
    fn drop(&mut self) {
        self.pool.fetch_sub(self.amount, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a138_booking_stops_at_the_limit_and_is_given_back() {
        let pool = Arc::new(AtomicUsize::new(0));
        let all = Booking::take(&pool, 10, 10).expect("at the limit");
        assert!(Booking::take(&pool, 1, 10).is_none(), "one above");
        drop(all);
        assert!(Booking::take(&pool, 1, 10).is_some());
    }

    #[test]
    fn test_a14_names_that_never_pass() {
        for name in [
            "cookie",
            "ocn-delivery",
            "x-forwarded-for",
            "proxy-x",
            "authorization",
        ] {
            assert!(!may_be_forwarded(name), "{name}");
        }
        assert!(may_be_forwarded("x-vendor-trace"));
    }
}
