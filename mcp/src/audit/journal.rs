//! The audit trail of one database, on the gateway's side: rows are collected here, and one task hands them to the keeper, batch by batch.
//!
//! Runs on the gateway's runtime thread. While one batch is being written the next one fills: many calls share one flush. A batch that could not be
//! written is kept and tried again under the same name until the keeper has it, so that nothing is lost or doubled when an answer is.
//! `task` is that one task, `writing` the batches on their way, `delivery` what happens once it is known what became of a batch, `upkeep` seals and lost calls.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::Pace;
use super::batch::{Batch, Refusal, Waiter};
use super::intent::{End, Intent, Left};
use super::row::{Clock, Row};
use super::who::{Audience, Who};
use crate::error::CallError;
use crate::host::Host;
use crate::keepers::Keepers;
use crate::types::JobKind;

mod delivery;
mod task;
mod upkeep;
mod writing;

/// How long rows that nobody waits for are collected: with the time to write them, they are at most 200 ms behind.
const COLLECT: Duration = Duration::from_millis(120);
/// Rows that go out at once, in bytes: the keeper has other work, too, and would get the memory for more from the system anew each time.
const LARGE: usize = 480 * 1024;
/// Callers that go out at once: of some thousand bytes each at the most, and of as many names as they like.
const MANY: usize = 500;
/// What is kept while nothing can be written, in bytes. Beyond, reads are dropped and counted.
const MOST: usize = 64 << 20;
/// Between two attempts to write a batch.
const RETRY: Duration = Duration::from_millis(500);
/// Callers are told to the keeper again after this time, for somebody may have made the extension anew.
const FORGET_CALLERS: Duration = Duration::from_secs(60);
/// Between two looks for intents whose call was lost: while callers wait, and else; and for how far all are settled.
const SETTLE_SOON: Duration = Duration::from_millis(50);
const SETTLE: Duration = Duration::from_secs(1);
const SETTLE_ALL: Duration = Duration::from_secs(60);

#[derive(Default)]
struct State {
    /// So many that wait for `pending` are worth a word to the task; none are while two batches are on their way.
    enough: usize,
    /// Batches that left `full` and `pending`, and are not done with.
    taken: u64,
    /// Full batches that wait for their turn, before `pending`.
    full: VecDeque<Batch>,
    pending: Batch,
    /// When the first row of `pending` came.
    since: Option<Instant>,
    clock: Clock,
    /// Who was told of callers, and since when.
    audience: Option<(Audience, Instant)>,
    /// Why nothing can be written now.
    failing: Option<CallError>,
    standby: bool,
    /// Rows were written since the last seal.
    to_seal: bool,
    /// All that was written is sealed, before its time.
    flushed: bool,
    /// The last attempt to seal failed.
    unsealed: bool,
    /// The last attempt to settle failed.
    unsettling: bool,
    dropped: u64,
    dropped_since: Option<SystemTime>,
    /// Intents on disk whose calls run, and those whose calls were lost.
    running: HashSet<i64>,
    left: HashMap<i64, Left>,
    written: u64,
    /// The trail's next row has this number at the least.
    next_id: i64,
}

/// Numbers for `mcp.status()`.
pub struct Health {
    pub waiting_rows: u64,
    pub written_rows: u64,
    pub dropped_rows: u64,
    pub failing: Option<String>,
    pub standby: bool,
}

pub struct Journal {
    database: u32,
    name: Arc<str>,
    /// The database has no place for all characters, as far as that is known.
    ascii: AtomicBool,
    keepers: Arc<Keepers>,
    host: Arc<dyn Host>,
    pace: Arc<Pace>,
    state: Mutex<State>,
    wake: Notify,
    /// Some intents may have no outcome and no call.
    unsettled: AtomicBool,
    /// The database was dropped.
    over: AtomicBool,
}

impl Journal {
    pub fn start(database: u32, name: Arc<str>, keepers: Arc<Keepers>, host: Arc<dyn Host>, pace: Arc<Pace>) -> Arc<Journal> {
        let journal = Arc::new(Journal {
            database,
            name,
            ascii: AtomicBool::new(true),
            keepers,
            host,
            pace,
            state: Mutex::default(),
            wake: Notify::new(),
            unsettled: AtomicBool::new(true),
            over: AtomicBool::new(false),
        });
        tokio::spawn(journal.clone().run());
        journal
    }

    /// Its database was dropped, and it with it.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Whether characters beyond ASCII become escapes, which is so until somebody who knows the database's encoding calls.
    pub fn is_ascii(&self) -> bool {
        self.ascii.load(Ordering::Relaxed)
    }

    pub fn set_ascii(&self, ascii: bool) {
        self.ascii.store(ascii, Ordering::Relaxed);
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing can be written now, if so.
    pub fn failing(&self) -> Option<CallError> {
        self.lock().failing.clone()
    }

    pub fn health(&self) -> Health {
        let state = self.lock();
        Health {
            waiting_rows: state.pending.rows + state.full.iter().map(|batch| batch.rows).sum::<u64>(),
            written_rows: state.written,
            dropped_rows: state.dropped,
            failing: state.failing.as_ref().map(|e| e.detail.clone().unwrap_or_default()),
            standby: state.standby,
        }
    }

    /// The batch that is being filled goes out as it is.
    fn close_batch(&self, state: &mut State) {
        let State { pending, clock, full, .. } = state;
        pending.close(clock, self.is_ascii());
        full.push_back(std::mem::take(pending));
        self.wake.notify_one();
    }

    /// No room for rows that nobody waits for: counts so many instead.
    fn is_full(&self, state: &mut State, rows: u64) -> bool {
        let full = state.full.len() * LARGE > MOST;
        if full {
            state.dropped += rows;
            state.dropped_since.get_or_insert_with(SystemTime::now);
        }
        full
    }

    fn add(&self, state: &mut State, row: &Row, who: Option<&Arc<Who>>) {
        if state.pending.lines.len() >= LARGE {
            self.close_batch(state);
        }
        let now = Instant::now();
        if let Some(who) = who {
            tell_who(state, who, now);
        }
        let State { pending, clock, .. } = state;
        pending.push(row, clock, self.is_ascii());
        if state.since.is_none() {
            state.since = Some(now);
            self.wake.notify_one();
        }
    }

    fn hurry(&self, state: &mut State) {
        state.pending.urgent = true;
        if state.pending.waiters.len() >= state.enough {
            self.wake.notify_one();
        }
    }

    /// Has a row written within the next moments. The receiver hears when it is on disk, where one is asked for.
    pub fn note(&self, row: &Row, who: &Arc<Who>, wait: bool) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        if self.is_full(&mut state, 1) {
            return None;
        }
        self.add(&mut state, row, Some(who));
        wait.then(|| {
            let (sender, written) = oneshot::channel();
            let place = state.pending.rows - 1;
            state.pending.waiters.push((place, Waiter::Written(sender)));
            self.hurry(&mut state);
            written
        })
    }

    /// Counts refusals; like ones within a short time become one row.
    pub fn refuse(&self, who: &Arc<Who>, refusal: Refusal, at: SystemTime, times: u64) {
        let mut state = self.lock();
        if self.is_full(&mut state, times) {
            return;
        }
        if state.pending.callers.len() >= MANY {
            self.close_batch(&mut state);
        }
        let now = Instant::now();
        tell_who(&mut state, who, now);
        state.pending.refuse(refusal, at, times);
        if state.since.is_none() {
            state.since = Some(now);
            self.wake.notify_one();
        }
    }

    /// Has an intent written at once.
    pub fn intend(self: &Arc<Journal>, row: &Row, who: &Arc<Who>) -> Intent {
        let intent = Intent::new(self.clone(), row.at);
        let mut state = self.lock();
        self.add(&mut state, row, Some(who));
        let place = state.pending.rows - 1;
        state.pending.waiters.push((place, Waiter::Intent(intent.slot())));
        self.hurry(&mut state);
        intent
    }

    /// Has an outcome written at once.
    pub fn outcome(&self, intent: i64, at: SystemTime, end: &End) -> oneshot::Receiver<()> {
        let (sender, written) = oneshot::channel();
        let mut state = self.lock();
        self.add_outcome(&mut state, intent, at, end, Some(sender));
        written
    }

    fn add_outcome(&self, state: &mut State, intent: i64, at: SystemTime, end: &End, sender: Option<oneshot::Sender<()>>) {
        self.add(state, &end.row(intent, at), None);
        let place = state.pending.rows - 1;
        state.pending.waiters.push((place, Waiter::Outcome(intent, sender)));
        self.hurry(state);
    }

    /// A call was lost, with this intent.
    pub fn left(&self, intent: i64, left: Left) {
        self.note_left(&mut self.lock(), intent, left);
    }

    fn note_left(&self, state: &mut State, intent: i64, left: Left) {
        state.running.remove(&intent);
        state.left.insert(intent, left);
        self.unsettled.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Waits until all that was noted so far is on disk and sealed, or until it cannot be.
    pub async fn flush(&self) {
        let written = {
            let mut state = self.lock();
            if state.failing.is_some() {
                return;
            }
            (!state.pending.is_empty() || !state.full.is_empty() || state.since.is_some() || state.taken > 0).then(|| {
                let (sender, written) = oneshot::channel();
                let end = state.pending.rows;
                state.pending.waiters.push((end, Waiter::Written(sender)));
                state.pending.in_order = true;
                self.hurry(&mut state);
                written
            })
        };
        if let Some(written) = written {
            let _ = written.await;
        }
        if !self.lock().to_seal {
            return;
        }
        let before = self.lock().written;
        // A keeper's first seal is over what others left, and not the last.
        loop {
            match self.keepers.work(self.database, &self.name, JobKind::Seal, b"").await {
                Ok(more) if more == b"true" => {}
                Ok(_) => break,
                Err(_) => return,
            }
        }
        // No keeper is to be started for it once more: the database may be about to be dropped.
        let mut state = self.lock();
        state.flushed = state.written == before;
        state.to_seal = !state.flushed;
        self.wake.notify_one();
    }
}

/// Has the keeper told who calls, unless it knows.
fn tell_who(state: &mut State, who: &Arc<Who>, now: Instant) {
    let known = state.audience.filter(|(_, since)| now.saturating_duration_since(*since) <= FORGET_CALLERS);
    let (audience, _) = *state.audience.insert(known.unwrap_or_else(|| (Audience::new(), now)));
    if who.tell(audience) {
        state.pending.callers.push(who.clone());
    }
}
