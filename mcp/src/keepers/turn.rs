//! A turn at a keeper's process: jobs one after the other, the next of which may be sent before those in front of it are answered.
//!
//! Runs on the gateway's runtime thread. Whoever has the turn is the only one who asks; must end it when somebody waits, as logins do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::MutexGuard;
use tokio::time::{Instant, timeout_at};

use super::{Unanswered, failed};
use crate::process::Process;
use crate::types::{Job, JobKind, Outcome};

/// A question takes well under a millisecond; a keeper that needs this long is stuck behind a lock.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Longest turn: a keeper that was dismissed ends with it, and who has the turn may have something else to do.
const LONGEST: Duration = Duration::from_millis(50);

/// One keeper, and how many wait for it.
pub struct Keeper {
    pub(super) database: u32,
    pub(super) database_name: String,
    pub(super) process: tokio::sync::Mutex<Option<Process>>,
    waiting: AtomicUsize,
}

impl Keeper {
    pub(super) fn new(database: u32, name: &str) -> Keeper {
        Keeper { database, database_name: name.to_string(), process: tokio::sync::Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// Waits for the process, which may not have been started.
    async fn process(&self) -> MutexGuard<'_, Option<Process>> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        self.process.lock().await
    }
}

pub struct Turn<'a> {
    keeper: &'a Keeper,
    process: MutexGuard<'a, Option<Process>>,
    /// Jobs that have no answer yet.
    sent: VecDeque<u64>,
    /// For the answer to the first of them.
    deadline: Instant,
    /// When it has lasted long enough.
    over_at: Instant,
}

impl Turn<'_> {
    /// Waits until nobody else asks this keeper, whose process may not be there.
    pub(super) async fn wait(keeper: &Keeper) -> Turn<'_> {
        let process = keeper.process().await;
        let now = Instant::now();
        Turn { keeper, process, sent: VecDeque::new(), deadline: now, over_at: now + LONGEST }
    }

    pub(super) fn has_process(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_alive)
    }

    pub(super) fn take(&mut self, started: Process) {
        *self.process = Some(started);
        self.over_at = Instant::now() + LONGEST;
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.process.as_ref().map(|p| p.idle_since)
    }

    /// What was done in this turn does not count as use of the process.
    pub(super) fn stay_idle(&mut self, since: Option<Instant>) {
        if let (Some(process), Some(since)) = (self.process.as_mut(), since) {
            process.idle_since = since;
        }
    }

    /// Ends the process: the next question begins with a new one.
    pub(super) fn dismiss(&mut self) {
        *self.process = None;
    }

    /// Nothing more should be sent: somebody else waits for the keeper, or it may have been dismissed meanwhile.
    pub fn is_over(&self) -> bool {
        self.keeper.waiting.load(Ordering::Relaxed) > 0 || self.over_at <= Instant::now()
    }

    /// `id`: a number that no other job has. A process that is lost is found out with the answer.
    pub async fn send(&mut self, id: u64, kind: JobKind, arguments: &[u8]) {
        if self.sent.is_empty() {
            self.deadline = Instant::now() + ANSWER_LIMIT;
        }
        self.sent.push_back(id);
        let Some(process) = self.process.as_mut() else { return };
        let sent = timeout_at(self.deadline, process.send(&Job { id, kind, ..Job::default() }, arguments)).await;
        // A process that left has perhaps answered what it was sent before: that is read first.
        if sent.is_err() {
            *self.process = None;
        }
    }

    /// Waits for the answer to the first job that has none; may be given up and called again. The process is given up when it takes too long.
    pub async fn receive(&mut self) -> Result<Vec<u8>, Unanswered> {
        let (Some(id), Some(process)) = (self.sent.front(), self.process.as_mut()) else {
            self.sent.pop_front();
            return Err(Unanswered::Lost);
        };
        let answer = timeout_at(self.deadline, process.receive(*id)).await;
        let now = Instant::now();
        (process.idle_since, self.deadline) = (now, now + ANSWER_LIMIT);
        self.sent.pop_front();
        let Ok(Ok((reply, payload))) = answer else {
            *self.process = None;
            return Err(Unanswered::Lost);
        };
        if reply.outcome == Outcome::Ok { Ok(payload) } else { Err(failed(&self.keeper.database_name, &payload)) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Its next answer would be to a question that nobody remembers.
        if !self.sent.is_empty() {
            *self.process = None;
        }
    }
}
