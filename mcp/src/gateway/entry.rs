//! At the door of a call: its limits, and the note that its token was used.
//!
//! Runs on the gateway's runtime thread. The accounts are kept in `limits`, the notes in `uses`.

use std::sync::atomic::Ordering;

use super::Gateway;
use crate::caller::{Caller, Login};
use crate::error::CallError;
use crate::logins::LoginError;

impl Gateway {
    /// A call is over its limits: as they are now, or only as they were? The login to go on with, or the refusal that stands.
    pub(super) async fn reconsider(&self, caller: &Caller, refusal: CallError, last: bool) -> Result<Login, LoginError> {
        if !last && let Some(login) = self.logins.look_again(caller, &self.config()).await {
            Box::pin(self.note_refusal(caller, &login)).await;
            return login;
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
