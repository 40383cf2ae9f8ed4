//! What became of a batch: written, not written, or written to the server log, and who is told.
//!
//! Part of the journal, on the gateway's runtime thread. Waits for nothing.

use std::collections::HashMap;
use std::time::SystemTime;

use super::{Journal, State};
use crate::audit::batch::{Batch, Waiter};
use crate::audit::line::{lines, to_json};
use crate::audit::row::Row;
use crate::audit::unwritten;
use crate::error::CallError;
use crate::host::{Demand, Level};

impl Journal {
    pub(super) fn written(&self, batch: Batch, first: i64) {
        let mut state = self.lock();
        state.taken -= 1;
        state.standby = false;
        state.to_seal = true;
        state.written += batch.rows;
        if first < state.next_id {
            // It is another trail than before: the extension was made anew, and knows nobody.
            state.audience = None;
            state.pending.callers.extend(batch.callers);
        }
        state.next_id = first + i64::try_from(batch.rows).unwrap_or(0);
        for (place, waiter) in batch.waiters {
            match waiter {
                Waiter::Intent(slot) => {
                    let id = first + i64::try_from(place).unwrap_or(0);
                    match slot.written(id) {
                        Some(end) => {
                            // Open until its outcome is on disk, and nobody else's to settle.
                            state.running.insert(id);
                            self.add_outcome(&mut state, id, slot.at, &end, None);
                        }
                        None => match slot.left() {
                            Some(left) => self.note_left(&mut state, id, left),
                            None => drop(state.running.insert(id)),
                        },
                    }
                }
                Waiter::Written(sender) => drop(sender.send(())),
                Waiter::Outcome(intent, sender) => {
                    state.running.remove(&intent);
                    if let Some(sender) = sender {
                        let _ = sender.send(());
                    }
                }
            }
        }
    }

    /// Nothing is left that could not be written.
    pub(super) fn recovered(&self) {
        if self.lock().failing.take().is_some() {
            let message = format!("supabase_mcp audit: the trail of database \"{}\" is written again", self.name);
            self.host.demand(Demand::Log { level: Level::Log, message });
        }
    }

    /// Whoever waits to begin is told, and new ones need not wait.
    pub(super) fn fail(&self, batches: &[&Batch], error: CallError) {
        let mut state = self.lock();
        let tell = |batch: &Batch| {
            for (_, waiter) in &batch.waiters {
                if let Waiter::Intent(slot) = waiter {
                    slot.failed(&error);
                }
            }
        };
        batches.iter().copied().chain(&state.full).for_each(tell);
        tell(&state.pending);
        if state.failing.is_none() {
            let cause = error.detail.as_deref().unwrap_or_default();
            let message = format!(
                "supabase_mcp audit: the trail of database \"{}\" cannot be written, calls that may write are refused: {cause}",
                self.name
            );
            self.host.demand(Demand::Log { level: Level::Warning, message });
        }
        state.failing = Some(error);
    }

    pub(super) fn discard(&self, batch: Batch, error: &CallError) {
        let mut state = self.lock();
        state.failing = None;
        state.taken -= 1;
        self.forget(&mut state);
        for (_, waiter) in batch.waiters {
            if let Waiter::Intent(slot) = waiter {
                slot.failed(error);
            }
        }
    }

    /// The trail is no more: its callers and intents are nobody's.
    pub(super) fn forget(&self, state: &mut State) {
        state.audience = None;
        state.running.clear();
        state.left.clear();
    }

    /// A standby has no tables to write to: its log keeps the trail.
    pub(super) fn to_log(&self, batch: Batch, message: &[u8]) {
        {
            let mut state = self.lock();
            (state.standby, state.failing) = (true, None);
            state.taken -= 1;
            // Whoever called is told with each batch: lines of a log are read one by one.
            state.audience = None;
        }
        let callers: HashMap<&str, serde_json::Value> =
            batch.callers.iter().map(|who| (who.id.as_str(), serde_json::from_str(who.json.get()).unwrap_or_default())).collect();
        for line in lines(&String::from_utf8_lossy(message)) {
            let mut record = to_json(line);
            if let Some(caller) = record.get("caller").and_then(|c| c.as_str()).and_then(|id| callers.get(id)) {
                let caller = caller.clone();
                record.insert("caller".into(), caller);
            }
            record.insert("database".into(), self.name.to_string().into());
            let message = format!("supabase_mcp audit: {}", serde_json::Value::Object(record));
            self.host.demand(Demand::Log { level: Level::Log, message });
        }
        for (_, waiter) in &batch.waiters {
            if let Waiter::Intent(slot) = waiter {
                slot.failed(&unwritten("the server is a standby"));
            }
        }
        tell(batch.waiters);
    }

    /// Says how many rows there was no room for.
    pub(super) fn add_gap(&self, state: &mut State) {
        let dropped = std::mem::take(&mut state.dropped);
        let since = state.dropped_since.take().unwrap_or_else(SystemTime::now);
        let arguments =
            serde_json::json!({"rows": dropped, "cause": "the trail could not be written, and no more rows could be kept in memory"})
                .to_string();
        let row = Row {
            method: Some("gap"),
            arguments: Some(&arguments),
            arguments_bytes: Some(arguments.len() as u64),
            times: Some(dropped),
            ..Row::new('e', since)
        };
        self.add(state, &row, None);
    }
}

/// Those that wait for more than an intent.
pub(super) fn tell(waiters: Vec<(u64, Waiter)>) {
    for (_, waiter) in waiters {
        match waiter {
            Waiter::Written(sender) | Waiter::Outcome(_, Some(sender)) => drop(sender.send(())),
            Waiter::Intent(_) | Waiter::Outcome(_, None) => {}
        }
    }
}
