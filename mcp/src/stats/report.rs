//! The accounts as JSON, for the views `mcp.stat_tools`, `mcp.stat_callers` and `mcp.stat_gateway`.
//!
//! Runs on a thread of its own: percentiles of some thousand rows take milliseconds.

use std::time::UNIX_EPOCH;

use serde_json::{Map, Value, json};

use super::row::Row;
use super::{Events, Of, Stats};
use crate::audit::Outcome;

impl Stats {
    /// The rows of a database's tools.
    pub fn tools(&self, database: &str) -> Value {
        let rows = self.copies(Of::Tools).filter(|(name, _)| *name[0] == *database);
        rows.map(|([_, method, tool, _], row)| with(json!({"method": method, "tool": (!tool.is_empty()).then_some(tool)}), numbers(&row)))
            .collect()
    }

    /// The rows of a database's callers.
    pub fn callers(&self, database: &str) -> Value {
        let rows = self.copies(Of::Callers).filter(|(name, _)| *name[0] == *database);
        rows.map(|([_, role, principal, client], row)| with(json!({"role": role, "principal": principal, "client": client}), numbers(&row)))
            .collect()
    }

    /// The one row of the server.
    pub fn server(&self, live: Events) -> Value {
        let (row, since) = {
            let accounts = self.lock();
            (accounts.server.clone(), accounts.since)
        };
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as f64 / 1e6;
        let events = serde_json::to_value(self.events(live)).unwrap_or_default();
        with(with(json!({"stats_since": since}), events), numbers(&row))
    }
}

fn with(mut object: Value, more: Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

/// The columns that all three views have.
fn numbers(row: &Row) -> Value {
    let mut columns = Map::new();
    let calls = row.calls();
    let counts = [
        ("calls", calls),
        ("errors", row.count(Outcome::Error)),
        ("timeouts", row.count(Outcome::Timeout)),
        ("terminations", row.count(Outcome::Terminated)),
        ("refusals", row.count(Outcome::Refused)),
        ("cancellations", row.count(Outcome::Cancelled).wrapping_add(row.count(Outcome::Disconnected))),
        ("rows", row.rows),
        ("bytes", row.bytes),
        ("cold_starts", row.cold_starts),
    ];
    columns.extend(counts.map(|(name, count)| (name.to_string(), count.into())));
    let ms = |us: u64| us as f64 / 1000.0;
    let times = [
        ("queue_ms", ms(row.queue_us)),
        ("run_ms", ms(row.run_us)),
        ("total_ms", ms(row.total_us)),
        ("mean_ms", if calls == 0 { 0.0 } else { ms(row.total_us) / calls as f64 }),
        ("p50_ms", ms(row.quantile(0.5))),
        ("p95_ms", ms(row.quantile(0.95))),
        ("p99_ms", ms(row.quantile(0.99))),
        ("max_ms", ms(row.max_us)),
    ];
    columns.extend(times.map(|(name, time)| (name.to_string(), time.into())));
    Value::Object(columns)
}
