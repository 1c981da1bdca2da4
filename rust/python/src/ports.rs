//! The ports of the relay, as this extension fills them.
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ocn_core::relay::ports::{Clock, Ports, Random};
use ocn_core::relay::record::Record;
use ocn_net::Client;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::journal::SqlJournal;
use crate::log::Log;

/// Everything outside of the relay that one worker has.
pub(crate) struct NativePorts {
    pub(crate) client: Client,
    pub(crate) journal: SqlJournal,
    pub(crate) log: Log,
    /// Whether `log.level` lets lines about messages through.
    pub(crate) log_messages: bool,
    pub(crate) clock: SystemClock,
    pub(crate) random: SystemRandom,
}

impl Ports for NativePorts {
    type Outbound = Client;
    type Journal = SqlJournal;
    type Clock = SystemClock;
    type Random = SystemRandom;

    fn outbound(&self) -> &Client {
        &self.client
    }

    fn journal(&self) -> &SqlJournal {
        &self.journal
    }

    fn clock(&self) -> &SystemClock {
        &self.clock
    }

    fn random(&self) -> &SystemRandom {
        &self.random
    }

    fn record(&self, record: &Record) {
        if self.log_messages {
            self.log.write(&Line {
                time: rfc3339(self.clock.unix_millis()),
                level: "info",
                process: "worker",
                pid: std::process::id(),
                event: "message",
                record,
            });
        }
    }
}

/// One line of the message log; the first five members are those of every line of this node.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'static str,
    process: &'static str,
    pid: u32,
    event: &'static str,
    #[serde(flatten)]
    record: &'a Record,
}

fn rfc3339(unix_millis: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_millis) * 1_000_000)
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// The system's clocks.
#[derive(Debug)]
pub(crate) struct SystemClock {
    start: Instant,
}

impl SystemClock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn unix_millis(&self) -> i64 {
        // Before 1970 everything has expired, which is the safe side.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The system's random number generator.
#[derive(Debug)]
pub(crate) struct SystemRandom;

impl Random for SystemRandom {
    /// # Panics
    /// The system gives no random bytes. Going on would make guessable links; the panic becomes a 500.
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the system gives random bytes");
    }
}
