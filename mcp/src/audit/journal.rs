//! The audit trail of one database, on the gateway's side: rows are collected here, and one task hands them to the keeper, batch by batch.
//!
//! Runs on the gateway's runtime thread. While one batch is being written the next one fills: many calls share one flush. A batch that could not be
//! written is kept and tried again under the same name until the keeper has it, so that nothing is lost or doubled when an answer is.
//! `delivery` is what happens once it is known what became of a batch.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::batch::{Batch, Refusal, Waiter};
use super::intent::{End, Intent, Left};
use super::row::{Clock, Row};
use super::who::Who;
use super::{Pace, unwritten};
use crate::error::CallError;
use crate::host::Host;
use crate::keepers::{Keepers, Unanswered};
use crate::types::{JobKind, Written};

mod delivery;
mod upkeep;

use delivery::tell;

/// How long rows that nobody waits for are collected: with the time to write them, they are at most 200 ms behind.
const COLLECT: Duration = Duration::from_millis(120);
/// Rows that go out at once, in bytes: the keeper has other work, too.
const LARGE: usize = 1 << 20;
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
    /// Full batches that wait for their turn, before `pending`.
    full: VecDeque<Batch>,
    pending: Batch,
    /// When the first row of `pending` came.
    since: Option<Instant>,
    clock: Clock,
    told: HashSet<String>,
    told_since: Option<Instant>,
    /// Why nothing can be written now.
    failing: Option<CallError>,
    standby: bool,
    /// Rows were written since the last seal.
    to_seal: bool,
    /// All that was written is sealed, before its time.
    flushed: bool,
    /// The last attempt to seal failed.
    unsealed: bool,
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
    ascii: bool,
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
    pub fn start(database: u32, name: Arc<str>, ascii: bool, keepers: Arc<Keepers>, host: Arc<dyn Host>, pace: Arc<Pace>) -> Arc<Journal> {
        let journal = Arc::new(Journal {
            database,
            name,
            ascii,
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

    fn add(&self, state: &mut State, row: &Row, who: Option<&Arc<Who>>) {
        if state.pending.lines.len() >= LARGE {
            let State { pending, clock, full, .. } = state;
            pending.close(clock, self.ascii);
            full.push_back(std::mem::take(pending));
            self.wake.notify_one();
        }
        let now = Instant::now();
        if let Some(who) = who {
            tell_who(state, who);
        }
        let State { pending, clock, .. } = state;
        pending.push(row, clock, self.ascii);
        if state.since.is_none() {
            state.since = Some(now);
            self.wake.notify_one();
        }
    }

    fn hurry(&self, state: &mut State) {
        if !state.pending.urgent {
            state.pending.urgent = true;
            self.wake.notify_one();
        }
    }

    /// Has a row written within the next moments. The receiver hears when it is on disk, where one is asked for.
    pub fn note(&self, row: &Row, who: &Arc<Who>, wait: bool) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        if state.full.len() * LARGE > MOST {
            state.dropped += 1;
            state.dropped_since.get_or_insert_with(SystemTime::now);
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
        tell_who(&mut state, who);
        state.pending.refuse(refusal, at, times);
        if state.since.is_none() {
            state.since = Some(Instant::now());
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
            (!state.pending.is_empty() || !state.full.is_empty() || state.since.is_some()).then(|| {
                let (sender, written) = oneshot::channel();
                let end = state.pending.rows;
                state.pending.waiters.push((end, Waiter::Written(sender)));
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

    async fn run(self: Arc<Journal>) {
        // An earlier keeper may have left rows to seal, and a crash intents to settle.
        let mut seal_at = Some(Instant::now() + self.pace.seal_every());
        let mut settle_at = Some(Instant::now());
        let mut settle_all_at: Option<Instant> = None;
        while !self.is_over() {
            let now = Instant::now();
            if self.unsettled.load(Ordering::Relaxed) && settle_at.is_none() {
                settle_at = Some(now);
            }
            let (due, urgent) = {
                let mut state = self.lock();
                if std::mem::take(&mut state.flushed) {
                    (seal_at, settle_all_at) = (None, None);
                }
                (state.since.map(|since| since + COLLECT), state.pending.urgent || !state.full.is_empty())
            };
            // What has its time comes before rows: those never end under load.
            if seal_at.is_some_and(|at| at <= now) {
                seal_at = self.seal().await.then(|| Instant::now() + self.pace.seal_every());
                continue;
            }
            if settle_at.or(settle_all_at).is_some_and(|at| at <= now) {
                let (settled, again) = self.settle().await;
                settle_at = again.map(|wait| Instant::now() + wait);
                settle_all_at = None;
                if settled {
                    seal_at.get_or_insert_with(|| Instant::now() + self.pace.seal_every());
                }
                continue;
            }
            if urgent || due.is_some_and(|due| due <= now) {
                if self.write().await {
                    seal_at.get_or_insert_with(|| Instant::now() + self.pace.seal_every());
                    // The next search for lost intents begins where all were settled.
                    settle_all_at.get_or_insert_with(|| Instant::now() + SETTLE_ALL);
                }
                continue;
            }
            match [due, seal_at, settle_at, settle_all_at].into_iter().flatten().min() {
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.wake.notified() => {}
                },
                None => self.wake.notified().await,
            }
        }
    }

    /// Writes what is pending; returns when it is on disk. `false`: it was not written, and there is nothing to seal.
    async fn write(&self) -> bool {
        let (batch, name) = {
            let mut state = self.lock();
            state.flushed = false;
            if state.dropped > 0 {
                self.add_gap(&mut state);
            }
            let batch = match state.full.pop_front() {
                Some(full) => full,
                None => {
                    state.since = None;
                    let State { pending, clock, .. } = &mut *state;
                    pending.close(clock, self.ascii);
                    std::mem::take(pending)
                }
            };
            (batch, self.pace.batch_name())
        };
        if batch.rows == 0 {
            tell(batch.waiters);
            return false;
        }
        let message = batch.message(name);
        loop {
            let error = match self.keepers.work(self.database, &self.name, JobKind::Audit, &message).await {
                Ok(payload) => match serde_json::from_slice(&payload) {
                    Ok(Written::From(first)) => {
                        self.written(batch, first);
                        return true;
                    }
                    Ok(Written::Standby) => {
                        self.to_log(batch);
                        return false;
                    }
                    Err(_) => unwritten("the keeper's answer could not be read"),
                },
                Err(Unanswered::Dropped) => {
                    self.over.store(true, Ordering::Relaxed);
                    self.discard(batch, &unwritten("the database was dropped"));
                    return false;
                }
                Err(Unanswered::NotInstalled(error)) => {
                    // There is no trail to write to any more, and none that was.
                    self.discard(batch, &error);
                    return false;
                }
                Err(Unanswered::Failed(error)) => unwritten(&error.message),
                Err(Unanswered::Lost) => unwritten("the keeper process was lost"),
            };
            self.fail(&batch, error);
            sleep(RETRY).await;
        }
    }
}

/// Has the keeper told who calls, unless it knows.
fn tell_who(state: &mut State, who: &Arc<Who>) {
    if state.told_since.is_none_or(|since| since.elapsed() > FORGET_CALLERS) {
        state.told.clear();
        state.told_since = Some(Instant::now());
    }
    if !state.told.contains(&who.id) {
        state.told.insert(who.id.clone());
        state.pending.callers.push(who.clone());
    }
}
