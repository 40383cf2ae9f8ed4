//! The intent of a call that may write: from the moment its executor asks until its outcome is on its way to disk.
//!
//! Runs on the gateway's runtime thread. Whoever holds it says how the call ended, exactly once; one that is dropped without a word is settled by the
//! keeper, from what became of its transaction.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::oneshot;

use super::Outcome;
use super::journal::Journal;
use super::row::Row;
use crate::error::CallError;
use crate::types::Facts;

/// How a call with an intent ended.
#[derive(Debug, Clone)]
pub struct End {
    pub ended: SystemTime,
    pub outcome: Outcome,
    pub sqlstate: Option<String>,
    pub rule: Option<String>,
    pub facts: Box<Facts>,
    pub bytes: Option<u64>,
    pub queue_us: Option<u64>,
    pub answer_us: Option<u64>,
}

impl End {
    pub fn new(outcome: Outcome, facts: Box<Facts>) -> End {
        End { ended: SystemTime::now(), outcome, sqlstate: None, rule: None, facts, bytes: None, queue_us: None, answer_us: None }
    }

    /// `at`: when the call came in; an outcome stands on the day of its intent.
    pub fn row(&self, intent: i64, at: SystemTime) -> Row<'_> {
        let facts = &self.facts;
        Row {
            intent: Some(intent),
            outcome: Some(self.outcome.name()),
            sqlstate: self.sqlstate.as_deref(),
            rule: self.rule.as_deref(),
            queryid: Some(facts.queryid),
            rows: Some(facts.rows),
            bytes: self.bytes,
            changed: Some(&facts.changed),
            wal_bytes: Some(facts.wal_bytes),
            queue_us: self.queue_us,
            run_us: Some(facts.run_us),
            answer_us: self.answer_us,
            committed: Some(facts.committed),
            objects: Some(&facts.objects),
            ended: Some(self.ended),
            ..Row::new('o', at)
        }
    }
}

enum State {
    /// On its way to disk.
    Pending(Option<oneshot::Sender<Result<i64, CallError>>>),
    Written(i64),
    /// The call ended before its intent was known to be on disk.
    Ended(Box<End>),
    /// Nobody knows what became of its transaction.
    Left(Option<Left>),
}

/// A call that was lost: what it is recorded as, and who is told whether its transaction was committed, once that is on disk.
pub struct Left {
    pub outcome: Outcome,
    pub fate: oneshot::Sender<bool>,
}

/// What the journal knows of an intent.
pub struct Slot {
    pub at: SystemTime,
    state: Mutex<State>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The intent is on disk. Returns how its call ended, if it has.
    pub fn written(&self, id: i64) -> Option<Box<End>> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Written(id)) {
            State::Pending(waiter) => {
                if let Some(waiter) = waiter {
                    let _ = waiter.send(Ok(id));
                }
                None
            }
            State::Ended(end) => Some(end),
            other => {
                *state = other;
                None
            }
        }
    }

    /// The intent could not be written so far. Whoever waits is told; it may be written yet.
    pub fn failed(&self, error: &CallError) {
        if let State::Pending(waiter) = &mut *self.lock()
            && let Some(waiter) = waiter.take()
        {
            let _ = waiter.send(Err(error.clone()));
        }
    }

    /// The call was lost before its intent was known to be on disk. To be asked once.
    pub fn left(&self) -> Option<Left> {
        match &mut *self.lock() {
            State::Left(left) => left.take(),
            _ => None,
        }
    }
}

pub struct Intent {
    journal: Arc<Journal>,
    slot: Arc<Slot>,
    word: Option<oneshot::Receiver<Result<i64, CallError>>>,
}

impl Intent {
    pub fn new(journal: Arc<Journal>, at: SystemTime) -> Intent {
        let (sender, word) = oneshot::channel();
        Intent { journal, slot: Arc::new(Slot { at, state: Mutex::new(State::Pending(Some(sender))) }), word: Some(word) }
    }

    pub fn slot(&self) -> Arc<Slot> {
        self.slot.clone()
    }

    /// Waits until it is on disk.
    pub async fn written(&mut self) -> Result<(), CallError> {
        match &mut self.word {
            Some(word) => word.await.unwrap_or_else(|_| Err(super::unwritten("the gateway is ending"))).map(drop),
            None => Ok(()),
        }
    }

    /// Records how the call ended. The receiver hears when that is on disk; `None`: the intent itself never got there.
    pub fn end(self, end: End) -> Option<oneshot::Receiver<()>> {
        let mut state = self.slot.lock();
        match &*state {
            State::Written(id) => {
                let id = *id;
                drop(state);
                Some(self.journal.outcome(id, self.slot.at, &end))
            }
            _ => {
                *state = State::Ended(Box::new(end));
                None
            }
        }
    }

    /// Nobody knows what the call came to, for its process was ended, which may have been after the commit: its transaction tells. The receiver hears
    /// whether that was committed, once its outcome is on disk.
    pub fn leave(self, outcome: Outcome) -> oneshot::Receiver<bool> {
        let (fate, settled) = oneshot::channel();
        let left = Left { outcome, fate };
        let mut state = self.slot.lock();
        match *state {
            State::Written(id) => {
                *state = State::Left(None);
                drop(state);
                self.journal.left(id, left);
            }
            _ => *state = State::Left(Some(left)),
        }
        settled
    }
}
