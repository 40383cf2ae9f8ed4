//! What changed in the catalogs since we last looked, as Postgres tells every process.
//!
//! Callbacks run while invalidations are taken in, at the start of a transaction at the latest. They may only set flags: catalogs cannot
//! be read there.

use std::cell::Cell;

use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::{Pg, Tx, ffi};

thread_local! {
    static CALLERS: Cell<bool> = const { Cell::new(false) };
    static FUNCTIONS: Cell<bool> = const { Cell::new(true) };
    /// Reloads of the server's settings. Lists of tools depend on some, and no invalidation tells of them.
    static RELOADS: Cell<u64> = const { Cell::new(0) };
    /// Tables whose content decides who is who, and who may use how much: mcp._tokens, mcp._peer_map and mcp._limits.
    static WATCHED: Cell<[pg_sys::Oid; 3]> = const { Cell::new([pg_sys::InvalidOid; 3]) };
}

/// Whether roles, memberships, the database's own rights, tokens, the peer map or limits changed since the last call. Clears the flag.
pub fn take_callers_changed() -> bool {
    CALLERS.replace(false)
}

/// How many invalidations and reloads this process has taken in. As long as the number stays, no catalog and no setting of the server has
/// changed: every change sends at least one, also changes of settings of roles (`ALTER ROLE ... SET`) and of comments, which have no callback.
pub fn seen(_: &Tx) -> u64 {
    // SAFETY: a plain counter of this process.
    let invalidations = unsafe { pg_sys::SharedInvalidMessageCounter };
    invalidations.wrapping_add(RELOADS.get())
}

/// The server's settings were read again.
pub(super) fn note_reload() {
    RELOADS.set(RELOADS.get().wrapping_add(1));
}

/// Whether functions or schemas changed: what we know about the extension's own has to be looked up again. Clears the flag.
pub(super) fn take_functions_changed() -> bool {
    FUNCTIONS.replace(false)
}

/// The look-up failed; do it again at the next call.
pub(super) fn mark_functions_changed() {
    FUNCTIONS.set(true);
}

/// Which tables to watch. They change their OIDs when the extension is made anew.
pub(super) fn watch(tables: [pg_sys::Oid; 3]) {
    WATCHED.set(tables);
}

/// Registers the callbacks. Once per process, before it says hello: what changed earlier, the gateway reads itself.
pub fn init(_: &Pg) -> Result<(), PgError> {
    let none = pg_sys::Datum::from(0);
    // SAFETY: the callbacks are functions of this library, which is never unloaded.
    unsafe {
        attempt(|| {
            for cache in
                [pg_sys::SysCacheIdentifier::AUTHOID, pg_sys::SysCacheIdentifier::AUTHMEMROLEMEM, pg_sys::SysCacheIdentifier::DATABASEOID]
            {
                ffi::CacheRegisterSyscacheCallback(cache as i32, Some(callers_changed), none);
            }
            for cache in [pg_sys::SysCacheIdentifier::PROCOID, pg_sys::SysCacheIdentifier::NAMESPACEOID] {
                ffi::CacheRegisterSyscacheCallback(cache as i32, Some(functions_changed), none);
            }
            ffi::CacheRegisterRelcacheCallback(Some(relation_changed), none);
        })
    }
}

unsafe extern "C-unwind" fn callers_changed(_: pg_sys::Datum, _cache: i32, _hash: u32) {
    CALLERS.set(true);
}

unsafe extern "C-unwind" fn functions_changed(_: pg_sys::Datum, _cache: i32, _hash: u32) {
    FUNCTIONS.set(true);
}

unsafe extern "C-unwind" fn relation_changed(_: pg_sys::Datum, relation: pg_sys::Oid) {
    // No OID at all stands for "anything may have changed".
    if relation == pg_sys::InvalidOid || WATCHED.get().contains(&relation) {
        CALLERS.set(true);
        FUNCTIONS.set(true);
    }
}
