//! Batches on their way to the keeper. While one is being written, the next one may be on its way already: it goes out as soon as nobody else is likely
//! to join it, so that the keeper need not wait for the gateway to read its answer and to collect what to write next.
//!
//! Part of the journal, on the gateway's runtime thread. Must not have more than two batches without an answer: the keeper knows so many by their names.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use tokio::time::sleep;

use super::delivery::tell;
use super::{Journal, RETRY, State};
use crate::audit::batch::Batch;
use crate::audit::unwritten;
use crate::keepers::{Turn, Unanswered};
use crate::types::{JobKind, Written};

/// A batch that is to follow another at once is of so many bytes at the most: sending it must not wait for the keeper to read.
const SHORT: usize = 64 * 1024;

/// A batch with its name.
struct Sent {
    batch: Batch,
    message: Vec<u8>,
}

impl Journal {
    /// Writes what is pending, and what comes in the keeper's turn; returns when it is on disk. `false`: there is nothing new to seal.
    pub(super) async fn write(&self) -> bool {
        let Some(first) = self.take() else { return false };
        let mut queue = VecDeque::from([first]);
        let mut wrote = self.write_all(&mut queue, true).await;
        while !queue.is_empty() {
            sleep(RETRY).await;
            wrote |= self.write_all(&mut queue, false).await;
        }
        self.lock().enough = 1;
        wrote
    }

    /// The batch that comes next, under a name of its own.
    fn take(&self) -> Option<Sent> {
        let mut state = self.lock();
        state.flushed = false;
        if state.dropped > 0 {
            self.add_gap(&mut state);
        }
        let mut batch = match state.full.pop_front() {
            Some(full) => full,
            None => {
                state.since = None;
                let State { pending, clock, .. } = &mut *state;
                pending.close(clock, self.is_ascii());
                std::mem::take(pending)
            }
        };
        if batch.rows == 0 {
            drop(state);
            tell(batch.waiters);
            return None;
        }
        state.taken += 1;
        drop(state);
        let message = batch.message(self.pace.batch_name());
        Some(Sent { batch, message })
    }

    /// Has the batches written, and `more` that come in one turn with them. Those that could not be written are left in the queue.
    async fn write_all(&self, queue: &mut VecDeque<Sent>, more: bool) -> bool {
        let keeper = self.keepers.keeper(self.database, &self.name);
        let mut turn = match self.keepers.turn(&keeper).await {
            Ok(turn) => turn,
            Err(unanswered) => {
                for sent in std::mem::take(queue) {
                    queue.extend(self.conclude(sent, &[], Err(&unanswered)).err());
                }
                return false;
            }
        };
        let (mut wrote, mut left) = (false, Vec::new());
        for sent in queue.iter() {
            turn.send(self.keepers.now(), JobKind::Audit, &sent.message).await;
        }
        while let Some(first) = queue.front() {
            // Whoever is named in a batch must be in the trail by then: nothing overtakes the batch that says who it is.
            let more = more && left.is_empty() && first.batch.callers.is_empty();
            self.lock().enough = if queue.len() == 1 { first.batch.waiters.len().max(1) } else { usize::MAX };
            let answer = loop {
                if more
                    && queue.len() == 1
                    && let Some(next) = self.next(&turn)
                {
                    turn.send(self.keepers.now(), JobKind::Audit, &next.message).await;
                    queue.push_back(next);
                }
                tokio::select! {
                    biased;
                    answer = turn.receive() => break answer,
                    () = self.wake.notified(), if more && queue.len() == 1 => {}
                }
            };
            let Some(sent) = queue.pop_front() else { break };
            match self.conclude(sent, queue.make_contiguous(), answer.as_deref()) {
                Ok(written) => wrote |= written,
                Err(sent) => left.push(sent),
            }
        }
        if left.is_empty() {
            self.recovered();
        }
        queue.extend(left);
        wrote
    }

    /// The batch that may go out while another one is being written: as many wait for it as for that one, so that hardly anybody will join it.
    fn next(&self, turn: &Turn<'_>) -> Option<Sent> {
        {
            let State { full, pending, enough, .. } = &mut *self.lock();
            let ready =
                full.is_empty() && !pending.in_order && pending.rows > 0 && pending.waiters.len() >= *enough && pending.lines.len() < SHORT;
            if !ready || turn.is_over() || self.unsettled.load(Ordering::Relaxed) {
                return None;
            }
            *enough = usize::MAX;
        }
        self.take()
    }

    /// What became of a batch: whether there is something to seal. It comes back if it is still to be written, as `others` are that were sent behind it.
    fn conclude(&self, sent: Sent, others: &[Sent], answer: Result<&[u8], &Unanswered>) -> Result<bool, Sent> {
        let error = match answer {
            Ok(payload) => match serde_json::from_slice(payload) {
                Ok(Written::From(first)) => {
                    self.written(sent.batch, first);
                    return Ok(true);
                }
                Ok(Written::Standby) => {
                    self.to_log(sent.batch, &sent.message);
                    return Ok(false);
                }
                Err(_) => unwritten("the keeper's answer could not be read"),
            },
            Err(Unanswered::Dropped) => {
                self.over.store(true, Ordering::Relaxed);
                self.discard(sent.batch, &unwritten("the database was dropped"));
                return Ok(false);
            }
            Err(Unanswered::NotInstalled(error)) => {
                // There is no trail to write to any more, and none that was.
                self.discard(sent.batch, error);
                return Ok(false);
            }
            Err(Unanswered::Failed(error)) => unwritten(&error.message),
            Err(Unanswered::Lost) => unwritten("the keeper process was lost"),
        };
        let batches: Vec<&Batch> = others.iter().chain([&sent]).map(|sent| &sent.batch).collect();
        self.fail(&batches, error);
        Err(sent)
    }
}
