//! The one task of a journal: it writes what is pending, and has seals and outcomes made when it is time for them.
//!
//! On the gateway's runtime thread, as long as the database is there. Nothing else talks to the keeper about the trail, so that one thing happens
//! after the other; but for `Journal::flush`, which seals.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep, sleep_until};

use super::delivery::tell;
use super::{COLLECT, Journal, RETRY, SETTLE_ALL, State};
use crate::audit::unwritten;
use crate::keepers::Unanswered;
use crate::types::{JobKind, Written};

impl Journal {
    pub(super) async fn run(self: Arc<Journal>) {
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
        let (mut batch, name) = {
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
                    pending.close(clock, self.is_ascii());
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
                        self.to_log(batch, &message);
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
