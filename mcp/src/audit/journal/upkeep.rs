//! What the keeper is asked for besides writing: seals over what was written, and outcomes for calls that were lost.
//!
//! Part of the journal, on the gateway's runtime thread.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Journal, SETTLE, SETTLE_SOON, State};
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

    /// Has the keeper give outcomes to intents whose calls were lost: whether it did, and when it is to look again, if some are still to be settled.
    pub(super) async fn settle(&self) -> (bool, Option<Duration>) {
        #[derive(serde::Deserialize)]
        struct Settled {
            settled: i64,
            oldest_open: Option<i64>,
            committed: HashMap<i64, bool>,
        }
        self.unsettled.store(false, Ordering::Relaxed);
        let (running, left): (Vec<i64>, HashMap<i64, &str>) = {
            let state = self.lock();
            (state.running.iter().copied().collect(), state.left.iter().map(|(id, left)| (*id, left.outcome.name())).collect())
        };
        let question = serde_json::json!({"running": running, "left": left}).to_string().into_bytes();
        match self.keepers.work(self.database, &self.name, JobKind::Settle, &question).await {
            Ok(answer) => match serde_json::from_slice::<Settled>(&answer) {
                Ok(Settled { settled, oldest_open, committed }) => {
                    let mut state = self.lock();
                    for (id, committed) in committed {
                        if let Some(left) = state.left.remove(&id) {
                            // Whoever waited may have gone.
                            let _ = left.fate.send(committed);
                        }
                    }
                    // Those that are not settled come before no later one that is open.
                    state.left.retain(|id, _| oldest_open.is_some_and(|open| *id >= open));
                    (settled > 0, oldest_open.is_some_and(|id| !running.contains(&id)).then(|| again(&state)))
                }
                Err(_) => (false, None),
            },
            Err(Unanswered::Dropped) => {
                self.over.store(true, Ordering::Relaxed);
                (false, None)
            }
            Err(Unanswered::NotInstalled(_)) => (false, None),
            Err(_) => (false, Some(SETTLE)),
        }
    }
}

/// How soon it is worth to look again for what became of lost calls.
fn again(state: &State) -> Duration {
    let awaited = state.left.values().any(|left| !left.fate.is_closed());
    if awaited { SETTLE_SOON } else { SETTLE }
}
