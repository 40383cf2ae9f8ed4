//! The administrator's switches: `mcp.status()`, `mcp.drain()`, `mcp.off()` and `mcp.on()`, and the questions of the statistics, as they arrive on the private socket.
//!
//! Runs on the gateway's runtime thread. Who may use them is decided where they are SQL functions: by GRANT. Everything counts at once.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::children::Admin;
use crate::gateway::Gateway;
use crate::host::Level;
use crate::types::AdminCommand;

/// Exists while the server is switched off; in the data directory, so that it outlives a restart.
const OFF_FILE: &str = "supabase_mcp.off";
/// How long a drained database takes no new calls: time for a DROP, RENAME or CREATE ... TEMPLATE.
const DRAIN_FOR: Duration = Duration::from_secs(30);
/// How long running calls may take to end by themselves.
const DRAIN_WAIT: Duration = Duration::from_secs(10);
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long the audit trail may take for what it has not written yet.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// Whether the switch was off when the server last ran.
pub fn was_off() -> bool {
    std::path::Path::new(OFF_FILE).exists()
}

impl Admin for Gateway {
    async fn command(self: Arc<Self>, command: AdminCommand) -> Vec<u8> {
        let answer = match command.command.as_str() {
            "status" => self.status(),
            "drain" => self.drain(command.database).await,
            "off" => self.switch(true).await,
            "on" => self.switch(false).await,
            "stat_tools" => self.report(move |stats, _| stats.tools(&command.database.unwrap_or_default())).await,
            "stat_callers" => self.report(move |stats, _| stats.callers(&command.database.unwrap_or_default())).await,
            "stat_gateway" => self.report(|stats, events| stats.server(events)).await,
            "stat_reset" => self.reset_statistics().await,
            other => json!({"error": format!("unknown command \"{other}\"")}),
        };
        answer.to_string().into_bytes()
    }
}

impl Gateway {
    fn status(&self) -> Value {
        let config = self.config();
        let (idle, spare, busy, waiting, total, evictions) = {
            let scheduler = self.pool.lock();
            let idle: Vec<Value> = scheduler
                .idle()
                .map(|(key, p)| json!({"pid": p.pid(), "database": key.database_name, "role": key.role_name, "calls": p.calls, "idle_ms": p.idle_since.elapsed().as_millis() as u64}))
                .collect();
            let spare: Vec<Value> = scheduler
                .spares()
                .map(|(site, p)| json!({"pid": p.pid(), "database": site.database_name, "idle_ms": p.idle_since.elapsed().as_millis() as u64}))
                .collect();
            (idle, spare, scheduler.busy_in(None), scheduler.waiting(), scheduler.total(), scheduler.evictions)
        };
        let keepers: Vec<Value> =
            self.keepers.pids().into_iter().map(|(database, pid)| json!({"pid": pid, "database": database})).collect();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "version": config.version,
            "gateway_pid": std::process::id(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "switched_off": self.off.load(Ordering::Relaxed),
            "socket": config.socket,
            "listen_addresses": config.listen_addresses,
            "port": config.port,
            "default_database": config.database,
            "executors": {"total": total, "busy": busy, "waiting_calls": waiting, "max": config.max_executors, "idle": idle, "spare": spare},
            "keepers": keepers,
            "calls": count(&self.counters.calls),
            "errors": count(&self.counters.errors),
            "refused_logins": count(&self.counters.refused_logins),
            "connections": count(&self.counters.connections),
            "limited_calls": count(&self.counters.limited),
            "refused_connections": count(&self.counters.refused_connections),
            "evictions": evictions,
            "audit": self.audit.status(&config.audit),
        })
    }

    /// Frees a database, or all, of our processes and keeps it so for a while.
    async fn drain(&self, database: Option<String>) -> Value {
        let oid = match &database {
            None => None,
            Some(name) => match self.keepers.resolve(name).await {
                Ok(database) => Some(database.oid),
                Err(error) => return json!({"error": error.message}),
            },
        };
        self.draining.lock().unwrap_or_else(PoisonError::into_inner).push((oid, Instant::now() + DRAIN_FOR));
        let gone = self.dismiss(oid).await;
        json!({"drained": gone, "database": database, "refusing_new_calls_seconds": DRAIN_FOR.as_secs()})
    }

    async fn switch(&self, off: bool) -> Value {
        let kept = if off {
            std::fs::write(OFF_FILE, "switched off by mcp.off(); mcp.on() removes this file\n")
        } else {
            std::fs::remove_file(OFF_FILE)
        };
        if let Err(error) = kept
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return json!({"error": format!("the switch could not be kept in \"{OFF_FILE}\": {error}")});
        }
        self.off.store(off, Ordering::Relaxed);
        self.log(Level::Log, format!("supabase_mcp: switched {}", if off { "off" } else { "on" }));
        if off {
            self.dismiss(None).await;
        } else {
            self.draining.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        json!({"switched_off": off})
    }

    /// Ends keepers, spares and idle executors, and waits for the running ones; `false` if some still run.
    async fn dismiss(&self, database: Option<u32>) -> bool {
        let deadline = Instant::now() + DRAIN_WAIT;
        self.hand_over_uses(|used| database.is_none_or(|d| d == used)).await;
        loop {
            // Records may have come meanwhile, and a keeper with them. A trail that cannot be written is no reason to wait for ever.
            let _ = timeout(FLUSH_LIMIT, self.audit.flush(database)).await;
            self.keepers.dismiss(database);
            self.pool.dismiss(database);
            if !self.pool.is_busy(database) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }
}
