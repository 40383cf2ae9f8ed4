//! Settings whose definition or value needs more than pgrx gives: those that an executor forces on itself, so that no caller can undo
//! them, and those that nobody may read.

use std::ffi::{CStr, CString};

use std::os::raw::c_char;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, pg_sys};

use super::error::{PgError, attempt};
use super::{Pg, Tx, ffi};
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

/// Defines a setting that `SHOW` masks, for superusers too, and `pg_settings` leaves out.
pub fn define_hidden(name: &'static CStr, short: &'static CStr, long: &'static CStr, setting: &'static GucSetting<Option<CString>>) {
    let flags = GucFlags::SUPERUSER_ONLY | GucFlags::NO_SHOW_ALL;
    // SAFETY: the hook returns a constant and cannot panic.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(name, short, long, setting, GucContext::Sighup, flags, None, None, Some(mask));
    }
}

unsafe extern "C-unwind" fn mask() -> *const c_char {
    c"********".as_ptr()
}

/// What a setting is until the transaction ends. While statements of a caller are still to come, for settings that only a superuser may change: his RESET is
/// refused then.
pub fn set_local(_: &Tx, name: &'static CStr, value: impl ToString) -> Result<(), PgError> {
    let value = CString::new(value.to_string()).unwrap_or_default();
    // SAFETY: inside a transaction; both strings are copied. RESET ALL comes too late for what reads the limits of a call.
    unsafe {
        attempt(|| {
            ffi::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_LOCAL,
                true,
                0,
                false,
            );
        })
    }
}

fn set(_: &Pg, name: &'static CStr, value: &CStr, source: pg_sys::GucSource::Type) -> Result<(), PgError> {
    // SAFETY: both strings are copied. PGC_POSTMASTER is the context in which any setting may be given a value.
    unsafe { attempt(|| ffi::SetConfigOption(name.as_ptr(), value.as_ptr(), pg_sys::GucContext::PGC_POSTMASTER, source)) }
}
