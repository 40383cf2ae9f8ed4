//! The accounts: what was called, by whom, how it ended and what it took, cumulative since the last reset.
//!
//! Runs on the gateway's runtime thread, where a call costs two look-ups and no allocation, and on threads of their own that read it: they
//! copy row by row, so that no call waits for a report. In the gateway's own memory, and in a file from one life to the next. Must not decide
//! anything about a call, nor grow with what callers make up: names of tools, clients and databases that nobody has take no row.

mod events;
mod file;
mod metrics;
mod report;
mod row;
mod table;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::audit::{Finished, Outcome};
use crate::text;
use crate::types::JobKind;

pub use events::Events;
pub use file::FILE;
pub use metrics::{CONTENT_TYPE, Gauges};
use row::Row;
use table::{Name, Table};

/// Tools with a row of their own, all databases together.
const TOOLS: usize = 500;
/// Callers with a row of their own.
const CALLERS: usize = 2000;
/// Clients of one caller that are told apart: what a client calls itself is its own invention.
const CLIENTS: u8 = 8;
/// Rows beyond those, for what is counted together: a few in each database.
const TOGETHER: usize = 500;
/// Longest name that has a row, in bytes; Postgres' own have 63.
const NAME_BYTES: usize = 128;
const OTHER: &str = "(other)";
const UNKNOWN: &str = "(unknown)";

pub struct Stats {
    accounts: Mutex<Accounts>,
    /// Held while the file is written: one writer at a time.
    writing: Mutex<()>,
    /// The file could not be written the last time.
    pub unwritable: AtomicBool,
}

struct Accounts {
    since: SystemTime,
    /// Changes with each reset.
    era: u64,
    /// Calls that the file does not have yet.
    changed: bool,
    server: Row,
    /// Database, method, tool.
    tools: Table,
    /// Database, role, principal, client.
    callers: Table,
    /// How many clients a caller has rows for, by a hash of the caller.
    clients: HashMap<u64, u8>,
    /// What the counters of events have to be raised by: earlier lives, less what was before the reset. Wraps around.
    base: Events,
    /// As the file has them.
    saved: Events,
}

/// Which of the two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Tools,
    Callers,
}

impl Default for Stats {
    fn default() -> Stats {
        Stats { accounts: Mutex::new(Accounts::new(0, Events::default())), writing: Mutex::default(), unwritable: AtomicBool::new(false) }
    }
}

impl Stats {
    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call that is over.
    pub fn note(&self, finished: &Finished) {
        let mut accounts = self.lock();
        accounts.changed = true;
        accounts.server.add(finished);
        // A credential that stands for nobody: nothing that it said of itself has a row.
        if !finished.role.is_empty() {
            accounts.note_tool(finished);
            accounts.note_caller(finished);
        }
    }

    /// Begins anew; `live` are the counters of this life.
    pub fn reset(&self, live: Events) {
        let mut accounts = self.lock();
        *accounts = Accounts::new(accounts.era.wrapping_add(1), Events::default().minus(live));
        accounts.changed = true;
    }

    fn events(&self, live: Events) -> Events {
        live.plus(self.lock().base)
    }

    /// A copy of one row: what is done with it keeps no call waiting.
    fn copy(&self, of: Of, at: usize) -> Option<(Name, Row)> {
        let accounts = self.lock();
        let table = match of {
            Of::Tools => &accounts.tools,
            Of::Callers => &accounts.callers,
        };
        table.at(at).map(|(name, row)| (name.clone(), row.clone()))
    }

    fn copies(&self, of: Of) -> impl Iterator<Item = (Name, Row)> {
        (0..).map_while(move |at| self.copy(of, at))
    }
}

impl Accounts {
    fn new(era: u64, base: Events) -> Accounts {
        Accounts {
            since: SystemTime::now(),
            era,
            changed: false,
            server: Row::default(),
            tools: Table::default(),
            callers: Table::default(),
            clients: HashMap::new(),
            base,
            saved: Events::default(),
        }
    }

    /// A tool has a row once a call of it has succeeded: a caller can have any name refused, and fail with any name before it is looked for.
    fn note_tool(&mut self, finished: &Finished) {
        let (database, method) = (finished.database, finished.kind.method());
        let tool = match finished.kind {
            JobKind::Call | JobKind::Prompt => finished.tool,
            // URIs, of which a template may have any number, and what is completed.
            _ => "",
        };
        let name = [database, method, tool, ""];
        if let Some(row) = self.tools.get(name) {
            return row.add(finished);
        }
        let own = finished.outcome == Outcome::Ok && tool.len() <= NAME_BYTES && self.tools.len() < TOOLS;
        let together = if finished.outcome == Outcome::Ok { OTHER } else { UNKNOWN };
        let name = if own { name } else { [database, method, together, ""] };
        if let Some(row) = self.tools.get_or_insert(name, TOOLS + TOGETHER) {
            row.add(finished);
        }
    }

    fn note_caller(&mut self, finished: &Finished) {
        let (database, role) = (finished.database, finished.role);
        let (principal, client) = (clip(finished.principal), clip(finished.client));
        if let Some(row) = self.callers.get([database, role, principal, client]) {
            return row.add(finished);
        }
        let caller = self.callers.hash([database, role, principal, ""]);
        let clients = self.clients.get(&caller).copied().unwrap_or(0);
        let client = if clients < CLIENTS { client } else { OTHER };
        let mut name = [database, role, principal, client];
        if self.callers.len() < CALLERS {
            self.clients.insert(caller, clients.saturating_add(1));
        } else if self.callers.get(name).is_none() {
            name = [database, OTHER, OTHER, OTHER];
        }
        if let Some(row) = self.callers.get_or_insert(name, CALLERS + TOGETHER) {
            row.add(finished);
        }
    }
}

/// As much of a name as is kept; two that begin alike are counted together.
fn clip(name: &str) -> &str {
    text::clip(name, NAME_BYTES)
}

#[cfg(test)]
mod tests;
