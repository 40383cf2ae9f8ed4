//! What the functions of `sqlapi` must know of the session that called them: who it is, and whether it may send a worker in its name.
//!
//! Runs in the backend of whoever calls, inside that caller's statement. Reads plain state of the process; changes nothing.

use std::ffi::CStr;
use std::path::PathBuf;

use pgrx::pg_sys;

/// The session as it is now.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    pub database: u32,
    /// Who has signed in, or became somebody by SET SESSION AUTHORIZATION.
    pub role: u32,
    /// A client's backend, not a background worker.
    pub has_client: bool,
    /// The current user is not the session's: SET ROLE, or a SECURITY DEFINER function somewhere up the stack.
    pub switched: bool,
    /// Between BEGIN and COMMIT.
    pub in_block: bool,
    pub read_only: bool,
}

/// Looks at the process.
pub fn session() -> Session {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: inside a statement of a connected backend, on its only thread; none of these raises an error.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        let role = pg_sys::GetSessionUserId();
        Session {
            database: pg_sys::MyDatabaseId.to_u32(),
            role: role.to_u32(),
            has_client: pg_sys::MyBgworkerEntry.is_null() && !pg_sys::MyProcPort.is_null(),
            switched: user != role || context != 0,
            in_block: pg_sys::IsTransactionBlock(),
            read_only: pg_sys::XactReadOnly || pg_sys::RecoveryInProgress(),
        }
    }
}

/// The folder of the server's programs.
pub fn programs() -> Option<PathBuf> {
    // SAFETY: an array of MAXPGPATH bytes that the postmaster filled with a C string before it forked.
    let server = unsafe { CStr::from_ptr((&raw const pg_sys::my_exec_path).cast()) };
    PathBuf::from(server.to_str().ok()?).parent().map(PathBuf::from)
}
