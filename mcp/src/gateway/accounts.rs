//! The gateway's side of the statistics: what a call is counted as, when the file is written, and the numbers that only the gateway has.
//!
//! Runs on the runtime thread; what takes longer than a call is given to a thread of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{Answer, Gateway, Request};
use crate::audit::{Finished, Outcome};
use crate::caller::{Caller, Principal};
use crate::error;
use crate::host::Level;
use crate::logins::LoginError;
use crate::notices::Event;
use crate::stats::{Events, FILE, Gauges, Stats};
use crate::types::Facts;

/// How often the file is written, if anything changed: what a crash may cost.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// What becomes known of a call while it runs. It is counted when this is dropped, which is also what a client that hangs up does.
pub(super) struct Tally<'a> {
    stats: &'a Stats,
    pub caller: &'a Caller,
    pub request: &'a Request<'a>,
    begun: Instant,
    pub principal: Option<Arc<Principal>>,
    /// When its work in the database began.
    pub running: Option<Instant>,
    pub cold: bool,
    writes: bool,
    rows: u64,
    run: Option<Duration>,
    bytes: u64,
    outcome: Outcome,
}

impl<'a> Tally<'a> {
    pub fn new(stats: &'a Stats, caller: &'a Caller, request: &'a Request<'a>) -> Tally<'a> {
        let begun = Instant::now();
        let outcome = Outcome::Disconnected;
        Tally {
            stats,
            caller,
            request,
            begun,
            principal: None,
            running: None,
            cold: false,
            writes: false,
            rows: 0,
            run: None,
            bytes: 0,
            outcome,
        }
    }

    /// What the executor tells of the call.
    pub fn learn(&mut self, facts: Option<&Facts>, writes: bool) {
        self.writes = writes;
        if let Some(facts) = facts {
            self.rows = facts.rows;
            self.run = Some(Duration::from_micros(facts.run_us));
        }
    }

    pub fn close(&mut self, answer: &Result<Answer, LoginError>) {
        self.outcome = match answer {
            Ok(answer) if answer.is_error => error::from_payload(&answer.payload).map_or(Outcome::Error, |error| Outcome::of(&error)),
            Ok(_) => Outcome::Ok,
            Err(_) => Outcome::Refused,
        };
        self.bytes = answer.as_ref().map_or(0, |answer| answer.payload.len() as u64);
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let running = self.running.unwrap_or(now);
        let principal = self.principal.as_deref();
        self.stats.note(&Finished {
            database: &self.caller.database,
            role: principal.map_or("", |p| &p.role_name),
            principal: principal.map_or("", |p| &p.id),
            client: self.request.client,
            kind: self.request.kind,
            tool: self.request.tool,
            outcome: self.outcome,
            writes: self.writes,
            rows: self.rows,
            bytes: self.bytes,
            queue: running - self.begun,
            run: self.run.unwrap_or(now - running),
            total: now - self.begun,
            cold: self.cold,
        });
    }
}

impl Gateway {
    fn events(&self) -> Events {
        let (queue_waits, evictions) = {
            let scheduler = self.pool.lock();
            (scheduler.waits, scheduler.evictions)
        };
        let notices = &self.children.notices;
        Events {
            refused_logins: self.counters.refused_logins.load(Ordering::Relaxed),
            limited_calls: self.counters.limited.load(Ordering::Relaxed),
            connections: self.counters.connections.load(Ordering::Relaxed),
            refused_connections: self.counters.refused_connections.load(Ordering::Relaxed),
            queue_waits,
            queue_full: notices.total(Event::QueueFull),
            queue_timeouts: notices.total(Event::QueueTimeout),
            no_worker_slot: notices.total(Event::NoWorkerSlot),
            evictions,
        }
    }

    fn gauges(&self) -> Gauges {
        let config = self.config();
        let scheduler = self.pool.lock();
        Gauges {
            version: config.version.clone(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            busy_executors: scheduler.busy_in(None),
            idle_executors: scheduler.idle().count(),
            spare_executors: scheduler.spares().count(),
            max_executors: config.max_executors,
            waiting_calls: scheduler.waiting(),
            open_connections: self.places.taken(),
            max_connections: config.max_connections,
            failing_trails: self.audit.failing(),
        }
    }

    /// Whether the caller is somebody at this moment. A login that is kept will do for calls, whose executors know of changes; nothing like that
    /// stands behind the metrics.
    pub async fn admit_anew(&self, caller: &Caller) -> Result<(), LoginError> {
        self.login(caller, true).await.map(drop)
    }

    /// What `/metrics` answers; `None` when it could not be made.
    pub async fn open_metrics(&self) -> Option<String> {
        let (stats, events, gauges) = (self.stats.clone(), self.events(), self.gauges());
        tokio::task::spawn_blocking(move || stats.open_metrics(events, gauges)).await.ok()?.ok()
    }

    /// One of the views `mcp.stat_*`.
    pub async fn report(&self, report: impl FnOnce(&Stats, Events) -> Value + Send + 'static) -> Value {
        let (stats, events) = (self.stats.clone(), self.events());
        tokio::task::spawn_blocking(move || report(&stats, events)).await.unwrap_or_default()
    }

    pub async fn reset_statistics(&self) -> Value {
        self.stats.reset(self.events());
        // At once: who has reset them must not find them again after a crash.
        self.write_statistics().await;
        Value::Null
    }

    /// Keeps the file current, for ever.
    pub async fn keep_statistics(self: Arc<Gateway>) {
        loop {
            tokio::time::sleep(SAVE_EVERY).await;
            if self.stats.unsaved(self.events()) {
                self.write_statistics().await;
            }
        }
    }

    async fn write_statistics(&self) {
        let (stats, events) = (self.stats.clone(), self.events());
        let saved = tokio::task::spawn_blocking(move || stats.save(Path::new(FILE), events)).await;
        self.complain(saved.unwrap_or_else(|error| Err(error.to_string())));
    }

    /// Takes on what the last gateway left.
    pub fn load_statistics(&self) {
        if let Err(error) = self.stats.load(Path::new(FILE)) {
            self.log(Level::Warning, format!("supabase_mcp: the statistics in \"{FILE}\" are not used, and begin anew: {error}"));
        }
    }

    /// The last time: nothing else is done meanwhile.
    pub fn save_statistics(&self) {
        if self.stats.unsaved(self.events()) {
            self.complain(self.stats.save(Path::new(FILE), self.events()));
        }
    }

    fn complain(&self, saved: Result<(), String>) {
        // A full disk is worth one line, not one every ten seconds.
        let known = self.stats.unwritable.swap(saved.is_err(), Ordering::Relaxed);
        if let Err(error) = saved
            && !known
        {
            self.log(Level::Warning, format!("supabase_mcp: the statistics could not be written to \"{FILE}\": {error}"));
        }
    }
}
