//! When a commit of this process reaches the disk: what `synchronous_commit` and the replicas ask for.
//!
//! In any process with a transaction. Must not let an answer out before what it tells of is on disk: whoever leaves that to another commit waits for it.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys::{self, config_generic};

use super::error::{PgError, attempt};
use super::{Tx, ffi, guc};

const SETTING: &CStr = c"synchronous_commit";

/// Whether a commit waits until it is on disk.
pub fn waits_for_disk(_: &Tx) -> bool {
    // SAFETY: a plain variable of this process; 0 is off.
    unsafe { pg_sys::synchronous_commit != 0 }
}

/// Has the transaction's commit not wait for the disk. For a transaction whose answer waits for a later commit of another process: the log is one, so that
/// commit's flush is this one's, too, and there is one flush instead of two.
///
/// Everything stays as it is where somebody has set `synchronous_commit`, in a file, for a role, for a database or in the call itself, and where commits
/// wait for replicas, or may by settings that this process has not read yet: the other commit may not wait as long.
pub fn leave_to_later_commit(tx: &Tx) -> Result<(), PgError> {
    // SAFETY: plain variables of this process; the setting's record lives as long.
    let free = unsafe {
        let setting = setting(tx)?;
        let replicas = !pg_sys::SyncRepStandbyNames.is_null() && *pg_sys::SyncRepStandbyNames != 0;
        let unread = (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0;
        !setting.is_null() && (*setting).source == pg_sys::GucSource::PGC_S_DEFAULT && !replicas && !unread
    };
    if free { guc::set_local(tx, SETTING, "off") } else { Ok(()) }
}

/// Postgres' record of the setting; a list of hundreds is not searched for each call.
fn setting(_: &Tx) -> Result<*const config_generic, PgError> {
    thread_local! {
        static FOUND: Cell<*const config_generic> = const { Cell::new(std::ptr::null()) };
    }
    if FOUND.get().is_null() {
        // SAFETY: the record of a setting of Postgres itself is a static.
        FOUND.set(unsafe { attempt(|| find()) }?);
    }
    Ok(FOUND.get())
}

/// # Safety
/// In a connected process. May raise a Postgres error.
#[cfg(feature = "pg15")]
unsafe fn find() -> *const config_generic {
    // SAFETY: the list has as many entries as Postgres says, with names that end.
    unsafe {
        let all = std::slice::from_raw_parts(ffi::get_guc_variables(), ffi::GetNumConfigOptions() as usize);
        all.iter().copied().find(|one| CStr::from_ptr((**one).name) == SETTING).unwrap_or(std::ptr::null_mut())
    }
}

/// # Safety
/// In a connected process. May raise a Postgres error.
#[cfg(not(feature = "pg15"))]
unsafe fn find() -> *const config_generic {
    // SAFETY: the name ends; null for one that is not there.
    unsafe { ffi::find_option(SETTING.as_ptr(), false, true, 0) }
}
