//! When tokens were last used, until a keeper writes it down.
//!
//! Runs on the gateway's runtime thread; in memory alone, so that a call pays next to nothing for it. Approximate by design: what a gateway
//! that is ended has not handed over is lost.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tokens of one database that are remembered at once; the uses of further ones are not.
const MOST: usize = 10_000;

/// Seconds since 1970 by the token's number.
pub type Batch = HashMap<i64, f64>;

/// By database.
#[derive(Default)]
pub struct Uses(Mutex<HashMap<u32, Batch>>);

impl Uses {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, database: u32, token: i64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        self.put_back(database, [(token, now)]);
    }

    /// What could not be handed over after all.
    pub fn put_back(&self, database: u32, batch: impl IntoIterator<Item = (i64, f64)>) {
        let mut uses = self.lock();
        let known = uses.entry(database).or_default();
        for (token, at) in batch {
            if known.len() < MOST || known.contains_key(&token) {
                let last = known.entry(token).or_insert(at);
                *last = last.max(at);
            }
        }
    }

    pub fn databases(&self) -> Vec<u32> {
        self.lock().keys().copied().collect()
    }

    pub fn take(&self, database: u32) -> Batch {
        self.lock().remove(&database).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_use_wins_and_what_was_put_back_is_not_newer() {
        let uses = Uses::default();
        uses.put_back(1, [(7, 5.0), (8, 6.0)]);
        uses.put_back(1, [(7, 4.0), (8, 9.0)]);
        assert_eq!(uses.databases(), [1]);
        assert_eq!(uses.take(1), HashMap::from([(7, 5.0), (8, 9.0)]));
        assert!(uses.databases().is_empty() && uses.take(1).is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let uses = Uses::default();
        (0..2 * MOST as i64).for_each(|token| uses.note(1, token));
        uses.put_back(1, [(3, f64::MAX)]);
        let batch = uses.take(1);
        assert_eq!((batch.len(), batch[&3]), (MOST, f64::MAX));
    }
}
