//! Settings that an executor forces on itself, so that no caller can undo them.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::{Pg, ffi};
use crate::weaken;

/// Sets what holds for the process's whole life. Outside a transaction.
pub fn force(pg: &Pg) -> Result<(), PgError> {
    if !weaken::off("read_only_reset") {
        // PostgreSQL 15 lets anybody RESET transaction_read_only at any time. With "on" as the value that a reset goes back to, the
        // reset is harmless: in a read-only call it changes nothing, in a writing call the caller only ties his own hands.
        set(pg, c"transaction_read_only", c"on", pg_sys::GucSource::PGC_S_OVERRIDE)?;
    }
    // Warnings are raised by the million by whoever wants to fill the disk with log.
    set(pg, c"log_min_messages", c"error", pg_sys::GucSource::PGC_S_OVERRIDE)
}

/// What `pg_stat_activity` and the log show as the application: the MCP client. As a default, so that `DISCARD ALL` goes back to it.
/// Postgres keeps printable ASCII of such a name, and 63 bytes.
pub fn set_application_name(pg: &Pg, name: &str) -> Result<(), PgError> {
    let printable = |c: char| if c == ' ' || c.is_ascii_graphic() { c as u8 } else { b'?' };
    let name = CString::new(name.chars().take(63).map(printable).collect::<Vec<u8>>()).unwrap_or_default();
    set(pg, c"application_name", &name, pg_sys::GucSource::PGC_S_CLIENT)
}

fn set(_: &Pg, name: &'static CStr, value: &CStr, source: pg_sys::GucSource::Type) -> Result<(), PgError> {
    // SAFETY: both strings are copied. PGC_POSTMASTER is the context in which any setting may be given a value.
    unsafe { attempt(|| ffi::SetConfigOption(name.as_ptr(), value.as_ptr(), pg_sys::GucContext::PGC_POSTMASTER, source)) }
}
