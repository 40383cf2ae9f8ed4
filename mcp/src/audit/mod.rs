//! The audit trail, seen from the gateway: what is known of a call, and how it comes to be recorded before it matters.
//!
//! Runs on the gateway's runtime thread. The keeper process of each database writes what this module hands it; nothing here decides whether a
//! call may run but for the one rule that a call that may write does not start before its intent is on disk.
//!
//! `Entry` is one call, `Intent` the part of it that comes first, `Journal` the trail of one database on its way to the keeper.

mod batch;
mod entry;
pub mod hide;
mod intent;
mod journal;
pub mod line;
mod outcome;
mod row;
mod statement;
mod who;

pub use entry::Entry;
pub use intent::{End, Intent};
pub use outcome::{Finished, Outcome};
pub use statement::statement;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use batch::Refusal;
use journal::Journal;
use who::Whos;

use crate::caller::{Caller, Principal};
use crate::error::{CallError, Kind};
use crate::host::Host;
use crate::keepers::Keepers;

/// Failed logins that are recorded in a second, over all databases; further ones are only counted, with the next that is.
const LOGINS_PER_SECOND: u64 = 10;

/// The settings of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub on: bool,
    /// Calls that only read wait for their record, too.
    pub reads_wait: bool,
    /// Longest arguments that are kept, in bytes.
    pub text_bytes: usize,
    pub seal_every: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { on: true, reads_wait: false, text_bytes: 8192, seal_every: Duration::from_secs(1) }
    }
}

/// What all journals share.
pub struct Pace {
    seal_every_ms: AtomicU64,
    /// Names of batches: the gateway's life and a number.
    life: String,
    batches: AtomicU64,
}

impl Pace {
    fn seal_every(&self) -> Duration {
        Duration::from_millis(self.seal_every_ms.load(Ordering::Relaxed))
    }

    fn batch_name(&self) -> String {
        format!("{}-{}", self.life, self.batches.fetch_add(1, Ordering::Relaxed))
    }
}

/// Failed logins, so that a flood of them does not become a flood of rows.
#[derive(Default)]
struct Logins {
    /// The second that they are counted in, and how many there were.
    second: u64,
    count: u64,
    /// Those that have no row of their own yet, and one of them, by database.
    beyond: HashMap<u32, (u64, Caller)>,
}

pub struct Audit {
    keepers: Arc<Keepers>,
    host: Arc<dyn Host>,
    /// By the OID of the database. There are few, and each call looks for its own.
    journals: Mutex<BTreeMap<u32, Arc<Journal>>>,
    whos: Whos,
    pace: Arc<Pace>,
    logins: Mutex<Logins>,
}

impl Audit {
    /// `None` if the operating system gives no random bytes.
    pub fn new(keepers: Arc<Keepers>, host: Arc<dyn Host>) -> Option<Audit> {
        let life = crate::children::random_hex()?;
        let pace = Arc::new(Pace { seal_every_ms: AtomicU64::new(1000), life, batches: AtomicU64::new(0) });
        Some(Audit { keepers, host, journals: Mutex::default(), whos: Whos::default(), pace, logins: Mutex::default() })
    }

    pub fn reload(&self, settings: &Settings) {
        self.pace.seal_every_ms.store(u64::try_from(settings.seal_every.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn journal(&self, database: u32, name: &Arc<str>) -> Arc<Journal> {
        let mut journals = self.journals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(journal) = journals.get(&database)
            && !journal.is_over()
        {
            return journal.clone();
        }
        let journal = Journal::start(database, name.clone(), self.keepers.clone(), self.host.clone(), self.pace.clone());
        journals.insert(database, journal.clone());
        journal
    }

    fn journals(&self) -> Vec<(u32, Arc<Journal>)> {
        let mut journals = self.journals.lock().unwrap_or_else(PoisonError::into_inner);
        journals.retain(|_, journal| !journal.is_over());
        journals.iter().map(|(oid, journal)| (*oid, journal.clone())).collect()
    }

    /// Databases whose trail cannot be written at the moment.
    pub fn failing(&self) -> usize {
        self.journals().iter().filter(|(_, journal)| journal.failing().is_some()).count()
    }

    /// Has everything written and sealed that was noted so far, of a database or of all.
    pub async fn flush(&self, database: Option<u32>) {
        for (oid, journal) in self.journals() {
            if database.is_none_or(|d| d == oid) {
                journal.flush().await;
            }
        }
    }

    /// The state of the trails, for `mcp.status()`.
    pub fn status(&self, settings: &Settings) -> serde_json::Value {
        let databases: Vec<serde_json::Value> = self
            .journals()
            .into_iter()
            .map(|(_, journal)| {
                let health = journal.health();
                let state = match (&health.failing, health.standby) {
                    (Some(_), _) => "failing",
                    (None, true) => "to the server log: this server is a standby",
                    (None, false) => "written",
                };
                serde_json::json!({"database": journal.name(), "state": state, "cause": health.failing, "rows_written": health.written_rows,
                    "rows_waiting": health.waiting_rows, "rows_dropped": health.dropped_rows})
            })
            .collect();
        serde_json::json!({"on": settings.on, "reads": if settings.reads_wait { "sync" } else { "batch" }, "databases": databases})
    }

    /// A credential stood for nobody, or was not served. A database that does not exist has no trail.
    pub async fn refused_login(&self, caller: &Caller, rule: &str, settings: &Settings) {
        if settings.on
            && let Ok(database) = self.keepers.resolve(&caller.database).await
            && self.may_record_login(caller, database.oid)
        {
            self.record_logins(caller, database.oid, rule, 1);
        }
    }

    /// Records the failed logins that were too many in their second, as one row of each database. To be called every second or so.
    pub fn refused_logins(&self) {
        let beyond = std::mem::take(&mut self.logins.lock().unwrap_or_else(PoisonError::into_inner).beyond);
        for (database, (times, caller)) in beyond {
            self.record_logins(&caller, database, "failed logins beyond those recorded one by one; the peer is that of one of them", times);
        }
    }

    fn record_logins(&self, caller: &Caller, database: u32, rule: &str, times: u64) {
        let journal = self.journal(database, &caller.database);
        let who = self.whos.of(caller, None, None);
        let refusal = Refusal { caller: who.id.clone(), method: "login", tool: String::new(), rule: rule.chars().take(500).collect() };
        journal.refuse(&who, refusal, SystemTime::now(), times);
    }

    fn may_record_login(&self, caller: &Caller, database: u32) -> bool {
        let second = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        if logins.second != second {
            (logins.second, logins.count) = (second, 0);
        }
        logins.count += 1;
        if logins.count > LOGINS_PER_SECOND {
            logins.beyond.entry(database).or_insert_with(|| (0, caller.clone())).0 += 1;
        }
        logins.count <= LOGINS_PER_SECOND
    }

    fn who(&self, caller: &Caller, principal: &Arc<Principal>, client: &str) -> Arc<who::Who> {
        self.whos.of(caller, Some(principal), Some(client))
    }
}

/// A call cannot be recorded, so it does not begin.
fn unwritten(cause: &str) -> CallError {
    CallError::new(Kind::Unavailable, "the audit trail cannot be written, so calls that may write do not begin")
        .sqlstate("58030")
        .detail(cause)
        .hint("Nothing of this call was done. Try again shortly; an administrator sees the cause in mcp.status() and in the server log.")
}
