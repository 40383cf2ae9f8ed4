//! What operators see of the process: pg_stat_activity, the cumulative statistics, the statement in the log.

use std::ffi::c_char;
use std::time::Duration;

use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::{Pg, ffi};

/// A statement is running. `text` must stay until `idle`.
pub(super) fn running(text: *const c_char) {
    // SAFETY: the backend's own status entry; the text is copied there, and pointed to by debug_query_string until `idle`.
    unsafe {
        pg_sys::debug_query_string = text;
        let _ = attempt(|| ffi::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text));
    }
}

/// Nothing runs.
pub fn idle(_: &Pg) {
    // SAFETY: as above.
    unsafe {
        pg_sys::debug_query_string = std::ptr::null();
        let _ = attempt(|| ffi::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null()));
    }
}

/// Sends counted statistics off, at most once a second. Returns when to call again with `force`, if something is left to send.
pub fn statistics(_: &Pg, force: bool) -> Result<Option<Duration>, PgError> {
    // SAFETY: outside a transaction, as Postgres asks.
    let wait = unsafe { attempt(|| ffi::pgstat_report_stat(force)) }?;
    Ok(u64::try_from(wait).ok().filter(|ms| *ms > 0).map(Duration::from_millis))
}
