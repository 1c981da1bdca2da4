//! What a run tells.
use std::time::Duration;

use serde::Serialize;

/// Of one run.
#[derive(Debug, Default)]
pub struct Outcome {
    pub sent: usize,
    /// Answers with another status than 200 to 299.
    pub bad: usize,
    /// From the first moment at which a message was due to the end.
    pub took: Duration,
    /// For each answer: from the moment at which its message was due to the answer's last byte.
    pub latencies: Vec<Duration>,
    /// For each message: how late the generator came to know that it was due.
    pub lags: Vec<Duration>,
    /// Whether the relay fell so far behind that the run was ended.
    pub behind: bool,
}

/// The figures of an outcome; times in seconds.
#[derive(Debug, Serialize)]
pub struct Figures {
    pub sent: usize,
    pub answered: usize,
    pub bad: usize,
    pub behind: bool,
    pub seconds: f64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub worst: f64,
    pub lag_p99: f64,
}

impl Outcome {
    #[must_use]
    pub fn figures(mut self) -> Figures {
        self.latencies.sort_unstable();
        self.lags.sort_unstable();
        let latency = |per_mille| ranked(&self.latencies, per_mille);
        Figures {
            sent: self.sent,
            answered: self.latencies.len(),
            bad: self.bad,
            behind: self.behind,
            seconds: self.took.as_secs_f64(),
            p50: latency(500),
            p99: latency(990),
            p999: latency(999),
            worst: latency(1_000),
            lag_p99: ranked(&self.lags, 990),
        }
    }
}

/// The time that so many of a thousand do not reach; nothing where there are none.
fn ranked(ordered: &[Duration], per_mille: usize) -> f64 {
    let last = ordered.len().saturating_sub(1);
    let rank = (ordered.len() * per_mille / 1_000).min(last);
    ordered.get(rank).map_or(0.0, Duration::as_secs_f64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Outcome;

    #[test]
    fn figures_are_those_of_the_ordered_times() {
        let backwards = |count| (0..count).rev().map(Duration::from_secs).collect();
        let outcome = Outcome {
            latencies: backwards(2_000),
            lags: backwards(100),
            ..Outcome::default()
        };
        let told = outcome.figures();
        let times = [told.p50, told.p99, told.p999, told.worst, told.lag_p99];
        assert_eq!(times, [1_000.0, 1_980.0, 1_998.0, 1_999.0, 99.0]);
        assert_eq!(told.answered, 2_000);
    }

    #[test]
    fn where_nothing_came_there_are_no_times() {
        let told = Outcome::default().figures();
        assert_eq!((told.answered, told.worst, told.lag_p99), (0, 0.0, 0.0));
    }
}
