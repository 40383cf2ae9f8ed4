//! What makes a connected worker fit to run a caller's SQL, what is cleared after each call, and how the process ends.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::{Pg, effects, encoding, ffi, guc, hook, inval, memory, timeout};
use crate::weaken;

/// Prepares the process, once, after it has connected and before it says hello.
pub fn prepare(pg: &mut Pg) -> Result<(), PgError> {
    memory::keep_small(pg);
    if !weaken::off("dummy_port") {
        make_port(pg)?;
    }
    // A client's backend would load these; a worker has to ask for it. Some guard the database (supautils).
    // SAFETY: before the first transaction, as in a client's backend.
    unsafe { attempt(|| ffi::process_session_preload_libraries()) }?;
    in_transaction(pg, encoding::init)?;
    inval::init(pg)?;
    timeout::init(pg)?;
    guc::force(pg)?;
    hook::install(pg);
    effects::install(pg);
    Ok(())
}

/// Runs something of ours in a transaction of its own, as the connected role.
fn in_transaction<T>(pg: &mut Pg, work: impl FnOnce(&Pg) -> Result<T, PgError>) -> Result<T, PgError> {
    // SAFETY: no transaction is open: only `Tx` opens one, and it borrows the token.
    unsafe { attempt(|| ffi::StartTransactionCommand()) }?;
    let result = work(pg);
    // SAFETY: one is open now.
    let ended = unsafe {
        match &result {
            Ok(_) => attempt(|| ffi::CommitTransactionCommand()),
            Err(_) => attempt(|| ffi::AbortCurrentTransaction()),
        }
    };
    ended.and(result)
}

/// Gives the process the structure that a client's connection has. Extensions read it without asking whether it is there:
/// `select ssl_is_used()` by anybody would crash the server. It says "no connection, no encryption", and names role and database for the
/// prefix of log lines.
fn make_port(pg: &mut Pg) -> Result<(), PgError> {
    in_transaction(pg, |_| {
        // SAFETY: zeroed memory that is larger than the structure in any version and lives as long as the process. The names' places
        // follow from the structure's beginning, which `ffi` declares for each version.
        unsafe {
            attempt(|| {
                let port = ffi::MemoryContextAllocZero(pg_sys::TopMemoryContext, ffi::PORT_ROOM);
                let head = port.cast::<ffi::PortHead>();
                let user = ffi::GetUserNameFromId(pg_sys::GetSessionUserId(), true);
                let database = ffi::get_database_name(pg_sys::MyDatabaseId);
                // A family without TCP: settings of TCP connections are asked of the socket otherwise, and there is none.
                (*head).laddr.addr.ss_family = libc::AF_UNIX as libc::sa_family_t;
                (*head).raddr.addr.ss_family = libc::AF_UNIX as libc::sa_family_t;
                if !user.is_null() {
                    (*head).user_name = ffi::MemoryContextStrdup(pg_sys::TopMemoryContext, user);
                }
                if !database.is_null() {
                    (*head).database_name = ffi::MemoryContextStrdup(pg_sys::TopMemoryContext, database);
                }
                pg_sys::MyProcPort = port.cast();
            })
        }
    })
}

/// What ran since the session was last cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// A caller's text, or a function that is not ours.
    Anything,
    /// Functions of the extension alone, which take the caller's values and none of his SQL.
    OwnCode,
}

/// USER_LOCKMETHOD of `storage/lock.h`: advisory locks.
const USER_LOCKMETHOD: u16 = 2;

/// Clears what a call left behind in the session: settings, temporary tables, prepared statements, cursors, advisory locks. Outside a
/// transaction and as the connected role: it resets the session's authorization as well.
///
/// After anything of the caller's this is DISCARD ALL. After our own code it is the same but for the plans, which DISCARD ALL drops too: making those
/// of the catalog tools costs as much as running them.
pub fn discard_all(_: &mut Pg, ran: Ran) -> Result<(), PgError> {
    if weaken::off("discard_all") {
        return Ok(());
    }
    let mut statement = pg_sys::DiscardStmt { type_: pg_sys::NodeTag::T_DiscardStmt, target: pg_sys::DiscardMode::DISCARD_ALL };
    // SAFETY: no transaction is open. The snapshot is there for the removal of temporary tables, which asserts one. A cancel that comes
    // now is meant for the call that has ended: it is held off (an error would reset the count) and forgotten.
    let result = unsafe {
        attempt(|| {
            pg_sys::QueryCancelHoldoffCount += 1;
            ffi::StartTransactionCommand();
            ffi::PushActiveSnapshot(ffi::GetTransactionSnapshot());
            match ran {
                Ran::Anything => ffi::DiscardCommand(&mut statement, true),
                Ran::OwnCode => {
                    ffi::PortalHashTableDeleteAll();
                    ffi::SetPGVariable(c"session_authorization".as_ptr(), std::ptr::null_mut(), false);
                    ffi::ResetAllOptions();
                    ffi::DropAllPreparedStatements();
                    ffi::Async_UnlistenAll();
                    ffi::LockReleaseAll(USER_LOCKMETHOD, true);
                    ffi::ResetTempTableNamespace();
                    ffi::ResetSequenceCaches();
                }
            }
            ffi::PopActiveSnapshot();
            ffi::CommitTransactionCommand();
            pg_sys::QueryCancelHoldoffCount -= 1;
            pg_sys::QueryCancelPending = 0;
        })
    };
    if let Err(error) = result {
        // SAFETY: after an error, whatever state it left.
        unsafe { attempt(|| ffi::AbortCurrentTransaction()) }?;
        return Err(error);
    }
    Ok(())
}

thread_local! {
    static FAREWELL: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// Has `farewell` called when the process ends in an orderly way, by a termination too, after its transaction is gone.
pub fn on_exit(_: &Pg, farewell: fn()) -> Result<(), PgError> {
    FAREWELL.set(Some(farewell));
    // SAFETY: the callback is a function of this library, which is never unloaded.
    unsafe { attempt(|| ffi::on_proc_exit(say_farewell, pg_sys::Datum::from(0))) }
}

unsafe extern "C-unwind" fn say_farewell(_code: i32, _: pg_sys::Datum) {
    if let Some(farewell) = FAREWELL.take() {
        let _ = catch_unwind(AssertUnwindSafe(farewell));
    }
}

/// Ends the process. 0 and 1 are harmless; anything else, and any signal, would restart the whole server.
pub fn exit(code: i32) -> ! {
    // SAFETY: runs Postgres' exit callbacks and never returns.
    unsafe { ffi::proc_exit(code) }
}

pub(super) fn leave_now(_: &Pg, code: i32) -> ! {
    exit(code)
}
