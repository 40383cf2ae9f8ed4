//! What the gateway's main thread needs of the server as a whole: databases by name, server settings, its version.
//!
//! Main thread of the gateway, which is connected to no database: only the shared catalogs can be read, and only by scanning them,
//! because nothing else of the relation cache is there. Knows no roles and runs no SQL.

use std::ffi::CStr;

use mcp::host::Database;
use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::{Pg, ffi};

/// Minor releases that first have the fixes of November 2026: before them SQL alone can be enough to become the server's user.
const SAFE_MINORS: [(i32, i32); 4] = [(15, 20), (16, 16), (17, 12), (18, 7)];

/// Mark in `bgw_extra` of a gateway that the postmaster registered.
pub const PRELOADED: &CStr = c"preloaded";

/// Refuses settings of our name that do not exist, instead of keeping them as placeholders.
pub fn reserve_prefix() {
    // SAFETY: a C string; called from _PG_init, where a Postgres error is its caller's to catch.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"supabase_mcp".as_ptr()) }
}

/// Whether this is the postmaster reading shared_preload_libraries.
pub fn preloading() -> bool {
    // SAFETY: a plain variable of this process.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// The value of `unix_socket_directories`: a comma-separated list.
pub fn unix_socket_directories() -> String {
    // SAFETY: the name is a C string; a missing setting is answered by null; the value is copied before anything can change it.
    unsafe {
        let value = pg_sys::GetConfigOption(c"unix_socket_directories".as_ptr(), true, false);
        if value.is_null() { String::new() } else { CStr::from_ptr(value).to_string_lossy().into_owned() }
    }
}

/// What to tell the administrator about this server's minor release, if anything.
pub fn minor_release_warning() -> Option<String> {
    let version = i32::try_from(pg_sys::PG_VERSION_NUM).ok()?;
    // The library's headers may be of another minor release than the server that loaded it.
    // SAFETY: as in `unix_socket_directories`.
    let running = unsafe {
        let value = pg_sys::GetConfigOption(c"server_version_num".as_ptr(), true, false);
        if value.is_null() { None } else { CStr::from_ptr(value).to_str().ok()?.parse::<i32>().ok() }
    }
    .unwrap_or(version);
    let (major, minor) = (running / 10_000, running % 10_000);
    let (_, safe) = *SAFE_MINORS.iter().find(|(m, _)| *m == major)?;
    (minor < safe).then(|| {
        format!(
            "PostgreSQL {major}.{minor} has known holes that SQL alone can reach; {major}.{safe} closes them. \
             Upgrade before you let an agent run SQL that you did not write"
        )
    })
}

/// Connects this process to the server, to no database.
pub fn connect_to_none(_: &Pg) -> Result<(), PgError> {
    // SAFETY: once per process, after the signal handlers are in place.
    unsafe { attempt(|| ffi::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0)) }
}

/// All databases by name.
pub fn databases(_: &mut Pg) -> Result<Vec<(String, Database)>, PgError> {
    let mut found: Vec<(pg_sys::NameData, Database)> = Vec::new();
    let rows = &raw mut found;
    // SAFETY: no transaction is open in the gateway. An error jumps out of the calls into Postgres only, and past no destructor: the
    // list lives in this frame.
    let outcome = unsafe {
        attempt(|| {
            ffi::StartTransactionCommand();
            let relation = ffi::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as i32);
            let scan = ffi::systable_beginscan(relation, pg_sys::InvalidOid, false, std::ptr::null_mut(), 0, std::ptr::null_mut());
            loop {
                let tuple = ffi::systable_getnext(scan);
                if tuple.is_null() {
                    break;
                }
                let row = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>();
                let database = Database { oid: row.oid.to_u32(), allows_connections: row.datallowconn && !row.datistemplate };
                (*rows).push((row.datname, database));
            }
            ffi::systable_endscan(scan);
            ffi::table_close(relation, pg_sys::AccessShareLock as i32);
            ffi::CommitTransactionCommand();
        })
    };
    if let Err(error) = outcome {
        // SAFETY: after an error, as Postgres' own main loops do.
        unsafe { attempt(|| ffi::AbortCurrentTransaction()) }?;
        return Err(error);
    }
    Ok(found.into_iter().map(|(name, database)| (text_of(&name), database)).collect())
}

fn text_of(name: &pg_sys::NameData) -> String {
    let bytes: Vec<u8> = name.data.iter().map(|c| *c as u8).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether this worker was registered by the postmaster itself, from shared_preload_libraries.
pub fn was_preloaded(_: &Pg) -> bool {
    // SAFETY: set before the worker's main function runs; the text is NUL-terminated.
    unsafe { CStr::from_ptr((*pg_sys::MyBgworkerEntry).bgw_extra.as_ptr()) == PRELOADED }
}

/// Bytes from Postgres' own source of randomness.
pub fn random_bytes(count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0u8; count];
    // SAFETY: the buffer is as long as is said.
    let filled = unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), count) };
    filled.then_some(bytes)
}

/// Acts upon a cancel or a termination that came meanwhile, by a Postgres error.
pub fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
}
