//! At the door of a call: its limits, and the note that its token was used.
//!
//! Runs on the gateway's runtime thread. The accounts are kept in `limits`, the notes in `uses`.

use std::sync::atomic::Ordering;

use super::Gateway;
use crate::caller::{Caller, Login, Principal};
use crate::limits::Pass;
use crate::logins::LoginError;

/// What the limits say to a call.
pub(super) enum Entry {
    Granted(Pass),
    /// Ask again, as this.
    Reconsider(Login),
}

impl Gateway {
    /// Counts a call against its limits. A refusal is first held against the limits as they are now.
    pub(super) async fn pass(&self, caller: &Caller, principal: &Principal, tool: &str, last: bool) -> Result<Entry, LoginError> {
        let config = self.config();
        let refusal = match self.limits.admit(principal, tool, &config) {
            Ok(pass) => return Ok(Entry::Granted(pass)),
            Err(refusal) => refusal,
        };
        if !last && let Some(login) = self.logins.look_again(caller, &config).await {
            self.note_refusal(caller, &login);
            return login.map(Entry::Reconsider);
        }
        self.counters.limited.fetch_add(1, Ordering::Relaxed);
        Err(refusal.into())
    }

    /// Tells the keepers that are there which tokens were used. What no keeper takes is kept for the next one.
    pub async fn hand_over_uses(&self, of: impl Fn(u32) -> bool) {
        for database in self.uses.databases().into_iter().filter(|d| of(*d)) {
            let batch = self.uses.take(database);
            if !self.keepers.note_uses(database, &batch).await {
                self.uses.put_back(database, batch);
            }
        }
    }
}
