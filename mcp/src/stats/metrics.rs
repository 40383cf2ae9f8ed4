//! The accounts in the OpenMetrics text format, for `/metrics`.
//!
//! Runs on a thread of its own, over copies. Labels are databases, methods, tools, roles and outcomes, of which there are as many as rows
//! (see the bounds beside [`Stats`]); principals and clients are nobody's label. The library does the escaping: a tool may be called anything.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::row::{BOUNDS, OUTCOMES, Row};
use super::table::Name;
use super::{Events, Of, Stats};

pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is so now.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    pub version: String,
    pub uptime_seconds: f64,
    pub busy_executors: usize,
    pub idle_executors: usize,
    pub spare_executors: usize,
    pub max_executors: usize,
    pub waiting_calls: usize,
    pub open_connections: usize,
    pub max_connections: usize,
    /// Databases whose audit trail cannot be written.
    pub failing_trails: usize,
}

#[derive(Debug)]
struct Scrape {
    gauges: Gauges,
    events: Events,
    cold_starts: u64,
    tools: Vec<(Name, Row)>,
    /// Outcomes by database and role.
    roles: BTreeMap<[Box<str>; 2], [u64; OUTCOMES.len()]>,
}

impl Stats {
    /// The whole answer of `/metrics`.
    pub fn open_metrics(&self, live: Events, gauges: Gauges) -> Result<String, fmt::Error> {
        let mut roles: BTreeMap<_, [u64; OUTCOMES.len()]> = BTreeMap::new();
        for ([database, role, ..], row) in self.copies(Of::Callers) {
            let sums = roles.entry([database, role]).or_default();
            sums.iter_mut().zip(row.outcomes).for_each(|(sum, count)| *sum = sum.wrapping_add(count));
        }
        let cold_starts = self.lock().server.cold_starts;
        let scrape = Scrape { gauges, events: self.events(live), cold_starts, tools: self.copies(Of::Tools).collect(), roles };
        let mut registry = Registry::with_prefix("supabase_mcp");
        registry.register_collector(Box::new(scrape));
        let mut answer = String::new();
        text::encode(&mut answer, &registry)?;
        Ok(answer)
    }
}

impl Collector for Scrape {
    fn encode(&self, mut out: DescriptorEncoder) -> fmt::Result {
        self.of_server(&mut out)?;
        self.of_tools(&mut out)?;
        let mut family = out.encode_descriptor("role_calls", "Calls by role and how they ended.", None, MetricType::Counter)?;
        for ([database, role], outcomes) in &self.roles {
            for (outcome, count) in counted(outcomes) {
                let labels = [("database", &**database), ("role", &**role), ("outcome", outcome)];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&count, None)?;
            }
        }
        Ok(())
    }
}

impl Scrape {
    fn of_server(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let (now, events) = (&self.gauges, &self.events);
        let mut build = out.encode_descriptor("build", "The version of the extension.", None, MetricType::Info)?;
        build.encode_info(&[("version", now.version.as_str())])?;
        gauge(out, "uptime", "Time since the gateway started.", Some(&Unit::Seconds), &now.uptime_seconds)?;
        let mut executors = out.encode_descriptor("executors", "Processes that run calls, by what they do.", None, MetricType::Gauge)?;
        for (state, count) in [("busy", now.busy_executors), ("idle", now.idle_executors), ("spare", now.spare_executors)] {
            executors.encode_family(&[("state", state)])?.encode_gauge(&count)?;
        }
        gauge(out, "executors_max", "The setting supabase_mcp.max_executors.", None, &now.max_executors)?;
        gauge(out, "waiting_calls", "Calls that wait for a process.", None, &now.waiting_calls)?;
        gauge(out, "open_connections", "Connections of clients.", None, &now.open_connections)?;
        gauge(out, "audit_failing", "Databases whose audit trail cannot be written.", None, &now.failing_trails)?;
        gauge(out, "connections_max", "The setting supabase_mcp.max_connections.", None, &now.max_connections)?;
        for (name, help, count) in [
            ("connections", "Connections that clients made.", events.connections),
            ("refused_connections", "Connections beyond supabase_mcp.max_connections.", events.refused_connections),
            ("refused_logins", "Credentials that were missing, wrong or not served.", events.refused_logins),
            ("limited_calls", "Calls refused by a limit on calls per minute or at the same time.", events.limited_calls),
            ("queue_waits", "Calls that had to wait for a process.", events.queue_waits),
            ("queue_full", "Calls refused because too many waited.", events.queue_full),
            ("queue_timeouts", "Calls that waited for a process in vain.", events.queue_timeouts),
            ("no_worker_slot", "Processes that could not be started for want of a worker slot.", events.no_worker_slot),
            ("evictions", "Idle processes ended to make room for another caller's.", events.evictions),
            ("cold_starts", "Calls that a process was started for.", self.cold_starts),
        ] {
            out.encode_descriptor(name, help, None, MetricType::Counter)?.encode_counter::<NoLabelSet, _, f64>(&count, None)?;
        }
        Ok(())
    }

    fn of_tools(&self, out: &mut DescriptorEncoder) -> fmt::Result {
        let mut family = out.encode_descriptor("calls", "Calls by tool and how they ended.", None, MetricType::Counter)?;
        for ([database, method, tool, _], row) in &self.tools {
            for (outcome, count) in counted(&row.outcomes) {
                let labels = [("database", &**database), ("method", &**method), ("tool", &**tool), ("outcome", outcome)];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&count, None)?;
            }
        }
        self.sum(out, "rows", "Rows in the answers.", None, |row| row.rows)?;
        self.sum(out, "answer", "Length of the answers' results.", Some(&Unit::Bytes), |row| row.bytes)?;
        self.sum(out, "queue", "Time from requests to the start of their work.", Some(&Unit::Seconds), |row| seconds(row.queue_us))?;
        self.sum(out, "run", "Time of work in the database.", Some(&Unit::Seconds), |row| seconds(row.run_us))?;
        let unit = Some(&Unit::Seconds);
        let mut family = out.encode_descriptor("call_duration", "From requests to their answers.", unit, MetricType::Histogram)?;
        for (name, row) in &self.tools {
            let ends = BOUNDS.iter().map(|us| seconds(*us)).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = ends.zip(row.buckets).collect();
            family.encode_family(&tool(name))?.encode_histogram::<NoLabelSet>(seconds(row.total_us), row.calls(), &buckets, None)?;
        }
        Ok(())
    }

    fn sum<V: EncodeCounterValue>(
        &self,
        out: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        of: impl Fn(&Row) -> V,
    ) -> fmt::Result {
        let mut family = out.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (name, row) in &self.tools {
            family.encode_family(&tool(name))?.encode_counter::<NoLabelSet, _, f64>(&of(row), None)?;
        }
        Ok(())
    }
}

fn gauge(out: &mut DescriptorEncoder, name: &str, help: &str, unit: Option<&Unit>, value: &impl EncodeGaugeValue) -> fmt::Result {
    out.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(value)
}

fn tool([database, method, tool, _]: &Name) -> [(&str, &str); 3] {
    [("database", database), ("method", method), ("tool", tool)]
}

/// The outcomes that there were.
fn counted(outcomes: &[u64; OUTCOMES.len()]) -> impl Iterator<Item = (&'static str, u64)> {
    OUTCOMES.iter().map(|outcome| outcome.name()).zip(*outcomes).filter(|(_, count)| *count > 0)
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
