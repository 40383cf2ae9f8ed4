//! At the door of a call: who calls, its limits, and the note that its token was used.
//!
//! Runs on the gateway's runtime thread. The accounts are kept in `limits`, the notes in `uses`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Gateway;
use crate::caller::{Caller, Login};
use crate::error::{CallError, Kind};
use crate::host::Level;
use crate::logins::LoginError;

/// Log lines about refused callers: at most one in this time, with a count of the others.
const LOG_EVERY: Duration = Duration::from_secs(1);

impl Gateway {
    /// Whether the caller is somebody; the transports ask before they show a request to the protocol.
    pub async fn admit(&self, caller: &Caller) -> Result<(), LoginError> {
        self.login(caller, false).await.map(drop)
    }

    pub(super) async fn login(&self, caller: &Caller, anew: bool) -> Result<Login, LoginError> {
        if self.off.load(Ordering::Relaxed) {
            return Err(CallError::new(Kind::Unavailable, "the MCP server is switched off")
                .hint("An administrator switches it on by: select mcp.on()")
                .into());
        }
        let mut config = self.config();
        let mut login = match anew {
            true => Box::pin(self.logins.verify(caller, &config)).await,
            false => self.logins.login(caller, &config).await,
        };
        // A reload in the meantime has forgotten the logins before this one came to be kept, by rules that are no longer in force.
        loop {
            let now = self.config();
            if Arc::ptr_eq(&now, &config) {
                break;
            }
            config = now;
            login = Box::pin(self.logins.verify(caller, &config)).await;
        }
        if login.is_err() {
            // Rare, and its state is large: boxed, it is no part of every call's.
            Box::pin(self.note_refusal(caller, &login)).await;
        }
        login
    }

    async fn note_refusal(&self, caller: &Caller, login: &Result<Login, LoginError>) {
        if let Err(error) = login {
            self.counters.refused_logins.fetch_add(1, Ordering::Relaxed);
            let reason = match error {
                LoginError::Unknown(message) => message,
                LoginError::Refused(error) | LoginError::Scope(error) => &error.message,
            };
            self.log_refusal(&caller.origin, reason);
            self.audit.refused_login(caller, reason, &self.config().audit).await;
        }
    }

    fn log_refusal(&self, origin: &str, reason: &str) {
        let suppressed = {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.0.is_some_and(|last| last.elapsed() < LOG_EVERY) {
                log.1 += 1;
                return;
            }
            log.0 = Some(Instant::now());
            std::mem::take(&mut log.1)
        };
        let more = if suppressed > 0 { format!(" ({suppressed} more refusals since the last line)") } else { String::new() };
        self.log(Level::Log, format!("supabase_mcp: refused {origin}: {reason}{more}"));
    }

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
