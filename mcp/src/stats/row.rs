//! The numbers of one tool, of one caller, or of the whole server.
//!
//! Adding a call is arithmetic and one step in a histogram. Times are kept twice: in a histogram of two digits' precision, which percentiles
//! are read off, and in the few fixed buckets that Prometheus is given, which have to be exact.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::audit::{Finished, Outcome};

/// In the order in which a row counts them.
pub const OUTCOMES: [Outcome; 7] =
    [Outcome::Ok, Outcome::Error, Outcome::Cancelled, Outcome::Timeout, Outcome::Disconnected, Outcome::Refused, Outcome::Terminated];
/// Upper ends of the buckets, in microseconds; one more bucket is beyond them.
pub const BOUNDS: [u64; 12] = [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];
/// Percentiles know no longer time: an hour.
const LONGEST: u64 = 3_600_000_000;
const DIGITS: u8 = 2;

#[derive(Debug, Clone)]
pub struct Row {
    pub outcomes: [u64; OUTCOMES.len()],
    pub rows: u64,
    pub bytes: u64,
    pub cold_starts: u64,
    pub queue_us: u64,
    pub run_us: u64,
    pub total_us: u64,
    pub max_us: u64,
    pub buckets: [u64; BOUNDS.len() + 1],
    /// `None`: out of memory.
    pub times: Option<Histogram<u64>>,
}

impl Default for Row {
    fn default() -> Row {
        Row {
            outcomes: [0; OUTCOMES.len()],
            rows: 0,
            bytes: 0,
            cold_starts: 0,
            queue_us: 0,
            run_us: 0,
            total_us: 0,
            max_us: 0,
            buckets: [0; BOUNDS.len() + 1],
            // Grows with the longest time, to some 25 kB at the most.
            times: Histogram::new(DIGITS).ok(),
        }
    }
}

impl Row {
    pub fn add(&mut self, finished: &Finished) {
        let at = OUTCOMES.iter().position(|outcome| *outcome == finished.outcome);
        if let Some(count) = at.and_then(|at| self.outcomes.get_mut(at)) {
            *count = count.wrapping_add(1);
        }
        let total = micros(finished.total);
        self.rows = self.rows.wrapping_add(finished.rows);
        self.bytes = self.bytes.wrapping_add(finished.bytes);
        self.cold_starts = self.cold_starts.wrapping_add(u64::from(finished.cold));
        self.queue_us = self.queue_us.wrapping_add(micros(finished.queue));
        self.run_us = self.run_us.wrapping_add(micros(finished.run));
        self.total_us = self.total_us.wrapping_add(total);
        self.max_us = self.max_us.max(total);
        if let Some(count) = self.buckets.get_mut(BOUNDS.partition_point(|bound| *bound < total)) {
            *count = count.wrapping_add(1);
        }
        self.record(total, 1);
    }

    pub fn record(&mut self, us: u64, times: u64) {
        if let Some(histogram) = &mut self.times {
            // Fails only where no memory is left to grow.
            let _ = histogram.record_n(us.min(LONGEST), times);
        }
    }

    pub fn calls(&self) -> u64 {
        self.outcomes.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    pub fn count(&self, outcome: Outcome) -> u64 {
        OUTCOMES.iter().zip(self.outcomes).filter(|(is, _)| **is == outcome).map(|(_, count)| count).sum()
    }

    /// Microseconds that a share of the calls were done in.
    pub fn quantile(&self, share: f64) -> u64 {
        // The upper end of a step of the histogram may lie beyond the longest time that there was.
        self.times.as_ref().map_or(0, |times| times.value_at_quantile(share)).min(self.max_us)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
