//! The one task of a journal: it writes what is pending, and has seals and outcomes made when it is time for them.
//!
//! On the gateway's runtime thread, as long as the database is there. Nothing else talks to the keeper about the trail, so that one thing happens
//! after the other; but for `Journal::flush`, which seals.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep_until};

use super::{COLLECT, Journal, SETTLE_ALL};

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
}
