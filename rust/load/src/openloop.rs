//! Each message has a moment at which it is due, fixed before the run. Its latency runs from that moment to the last
//! byte of its answer, also where it had to wait for a connection because others took long: a stall of the relay is
//! seen by all messages that fell due in it (no coordinated omission).
//!
//! One thread, one `epoll`, which sleeps until something comes back or the next message is due. How late the generator
//! itself came to know that one was due is part of the latency, and told as the lag.
use std::io;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::retry_on_intr;

use crate::connection::Connection;
use crate::outcome::Outcome;

/// From the clock's first reading to the first message.
const LEAD: Duration = Duration::from_millis(10);
const PIECE: usize = 1 << 18;
const MOST_EVENTS: usize = 256;
/// Between two looks at whether it should go on, when nothing is due any more.
const LOOK: Duration = Duration::from_millis(100);

/// How much, for how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Messages a second.
    pub rate: f64,
    pub seconds: f64,
    /// Most messages that are out at a time.
    pub connections: usize,
    /// A relay that is so far behind does not hold the rate: there is no point in going on.
    pub backlog: Duration,
    /// For answers that are still out when the last message has been sent.
    pub grace: Duration,
}

impl Plan {
    #[must_use]
    pub fn new(rate: f64, seconds: f64, connections: usize) -> Self {
        Self {
            rate,
            seconds,
            connections,
            backlog: Duration::from_secs(5),
            grace: Duration::from_secs(15),
        }
    }

    /// How many messages there are.
    #[must_use]
    pub fn messages(&self) -> usize {
        (self.rate * self.seconds) as usize
    }
}

/// Sends the requests of a plan to a port of this machine, the first again after the last one.
///
/// # Errors
/// If a connection cannot be made, breaks, or brings something else than answers of HTTP/1.1 that tell their length;
/// if there is nothing to send.
pub fn run(port: u16, requests: &[Vec<u8>], plan: &Plan) -> io::Result<Outcome> {
    let total = plan.messages();
    let interval = Duration::try_from_secs_f64(1.0 / plan.rate).map_err(io::Error::other)?;
    let planned = Duration::try_from_secs_f64(plan.seconds).map_err(io::Error::other)?;
    if requests.is_empty() || plan.connections == 0 || interval.is_zero() {
        return Err(io::Error::other(
            "no requests, no connections, or no time between messages",
        ));
    }
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = Vec::with_capacity(plan.connections);
    for number in 0..plan.connections {
        let connection = Connection::open(port)?;
        // Each move of a socket is told once: nothing has to be asked for again.
        let moves = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        let number = epoll::EventData::new_u64(number as u64);
        epoll::add(&epoll, &connection.stream, number, moves)?;
        connections.push(connection);
    }
    let mut idle: Vec<usize> = (0..plan.connections).collect();
    let mut outcome = Outcome {
        latencies: Vec::with_capacity(total),
        lags: Vec::with_capacity(total),
        ..Outcome::default()
    };
    let mut events = Vec::with_capacity(MOST_EVENTS);
    let mut piece = vec![0; PIECE];
    let start = Instant::now() + LEAD;
    let last = start + planned + plan.grace;
    let due = |number: usize| start + interval * number as u32;
    let mut known = 0;
    while outcome.latencies.len() < total {
        let now = Instant::now();
        while known < total && due(known) <= now {
            outcome.lags.push(now - due(known));
            known += 1;
        }
        while outcome.sent < known
            && let Some(free) = idle.pop()
        {
            let request = &requests[outcome.sent % requests.len()];
            connections[free].begin(request, due(outcome.sent))?;
            outcome.sent += 1;
        }
        let waiting = outcome.sent < known;
        if now > last || waiting && now - due(outcome.sent) > plan.backlog {
            outcome.behind = true;
            break;
        }
        let pause = if known < total {
            due(known).saturating_duration_since(Instant::now())
        } else {
            LOOK
        };
        // Not in milliseconds, as epoll's own timeout: this is `epoll_pwait2`.
        let pause: Timespec = pause.try_into().map_err(io::Error::other)?;
        retry_on_intr(|| epoll::wait(&epoll, spare_capacity(&mut events), Some(&pause)))?;
        for event in events.drain(..) {
            let number = event.data.u64() as usize;
            if let Some(answered) = connections[number].go_on(&mut piece)? {
                outcome.latencies.push(answered.due.elapsed());
                outcome.bad += usize::from(!(200..300).contains(&answered.status));
                idle.push(number);
            }
        }
    }
    outcome.took = start.elapsed();
    Ok(outcome)
}
