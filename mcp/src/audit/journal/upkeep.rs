//! What the keeper is asked for besides writing: seals over what was written, and outcomes for calls that were lost.
//!
//! Part of the journal, on the gateway's runtime thread.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Journal, SETTLE, SETTLE_SOON};
use crate::host::{Demand, Level};
use crate::keepers::Unanswered;
use crate::types::JobKind;

impl Journal {
    /// `true`: there is more to seal.
    pub(super) async fn seal(&self) -> bool {
        match self.keepers.work(self.database, &self.name, JobKind::Seal, b"").await {
            Ok(more) => {
                let more = more == b"true";
                let mut state = self.lock();
                (state.unsealed, state.to_seal) = (false, more);
                more
            }
            Err(Unanswered::NotInstalled(_)) => false,
            Err(Unanswered::Dropped) => {
                self.over.store(true, Ordering::Relaxed);
                false
            }
            Err(Unanswered::Failed(error)) => {
                let message = format!("supabase_mcp audit: the trail of database \"{}\" could not be sealed: {}", self.name, error.message);
                if !std::mem::replace(&mut self.lock().unsealed, true) {
                    self.host.demand(Demand::Log { level: Level::Warning, message });
                }
                true
            }
            Err(Unanswered::Lost) => true,
        }
    }

    /// Has the keeper give outcomes to intents whose calls were lost: whether it did, and when it is to look again, if there is more to settle.
    pub(super) async fn settle(&self) -> (bool, Option<Duration>) {
        #[derive(serde::Deserialize)]
        struct Settled {
            settled: i64,
            /// Some are still to be settled.
            open: bool,
            /// Not all was looked through.
            more: bool,
            /// Of those that were asked for, by id, unless they are still to be settled. Null: nobody knows any more.
            committed: HashMap<i64, Option<bool>>,
        }
        self.unsettled.store(false, Ordering::Relaxed);
        if self.lock().to_seal {
            // Outcomes take the next ids. What was written before is sealed from the keeper's memory only while nothing comes between.
            self.seal().await;
        }
        let (running, left): (Vec<i64>, HashMap<i64, &str>) = {
            let state = self.lock();
            (state.running.iter().copied().collect(), state.left.iter().map(|(id, left)| (*id, left.outcome.name())).collect())
        };
        let question = serde_json::json!({"running": running, "left": left}).to_string().into_bytes();
        match self.keepers.work(self.database, &self.name, JobKind::Settle, &question).await {
            Ok(answer) => match serde_json::from_slice::<Settled>(&answer) {
                Ok(Settled { settled, open, more, committed }) => {
                    let mut state = self.lock();
                    state.unsettling = false;
                    for (id, committed) in committed {
                        if let (Some(left), Some(committed)) = (state.left.remove(&id), committed) {
                            // Whoever waited may have gone.
                            let _ = left.fate.send(committed);
                        }
                    }
                    let again = if state.left.values().any(|left| !left.fate.is_closed()) { SETTLE_SOON } else { SETTLE };
                    let again = if more { Duration::ZERO } else { again };
                    (settled > 0, (more || open || !state.left.is_empty()).then_some(again))
                }
                // A standby has nothing to settle.
                Err(_) => (false, None),
            },
            Err(Unanswered::Dropped) => {
                self.over.store(true, Ordering::Relaxed);
                (false, None)
            }
            Err(Unanswered::NotInstalled(_)) => {
                self.forget(&mut self.lock());
                (false, None)
            }
            Err(Unanswered::Failed(error)) => {
                if !std::mem::replace(&mut self.lock().unsettling, true) {
                    let message =
                        format!("supabase_mcp audit: lost calls of database \"{}\" could not be settled: {}", self.name, error.message);
                    self.host.demand(Demand::Log { level: Level::Warning, message });
                }
                (false, Some(SETTLE))
            }
            Err(Unanswered::Lost) => (false, Some(SETTLE)),
        }
    }
}
