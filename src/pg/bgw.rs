//! The beginning of a background worker: what it was told, and its connection.

use std::ffi::CStr;

use mcp::types::Ticket;
use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::{Pg, ffi};

/// What this process was started for. `None`: not by us.
pub fn ticket(_: &Pg) -> Option<Ticket> {
    // SAFETY: set before the process's main function runs; the text is NUL-terminated, because tickets are shorter than the field.
    let text = unsafe { CStr::from_ptr((*pg_sys::MyBgworkerEntry).bgw_extra.as_ptr()) };
    Ticket::from_extra(text.to_str().ok()?)
}

/// The process id of the session that had this process started; 0 for none.
pub fn starter(_: &Pg) -> u32 {
    // SAFETY: as above.
    u32::try_from(unsafe { (*pg_sys::MyBgworkerEntry).bgw_notify_pid }).unwrap_or(0)
}

/// Connects to a database as a role, both by OID: names can change hands. Role 0 is the bootstrap superuser.
///
/// No bypass flag: a role that may not log in or connect is refused, by an error that ends the process and stands in the log.
pub fn connect(_: &Pg, database: u32, role: u32) -> Result<(), PgError> {
    // SAFETY: once per process, after the signal handlers are in place.
    unsafe {
        attempt(|| {
            ffi::BackgroundWorkerInitializeConnectionByOid(pg_sys::Oid::from(database), pg_sys::Oid::from(role), 0);
        })
    }
}
