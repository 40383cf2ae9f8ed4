//! What an executor refuses to run although Postgres would: commands that would outlast the call or reach past it.
//!
//! A ProcessUtility hook, installed in executors alone, so that it holds for a command wherever it comes from: the caller's text, DO, EXECUTE
//! in a function. It looks at what is about to be executed, never at text. Each rule says why it is there; docs/security.md lists them.

use std::cell::Cell;
use std::ffi::{CStr, c_char};

use pgrx::pg_sys::{self, NodeTag};

use super::{Mode, Pg, effects, ffi};
use crate::weaken;

/// Which rules are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Our own housekeeping between calls.
    Off,
    Call(Mode),
}

thread_local! {
    static WATCH: Cell<Watch> = const { Cell::new(Watch::Off) };
    static PREVIOUS: Cell<pg_sys::ProcessUtility_hook_type> = const { Cell::new(None) };
}

struct Refusal {
    sqlstate: &'static [u8; 5],
    message: &'static CStr,
    hint: &'static CStr,
}

/// Rules are in force until the guard is dropped.
pub struct Watching(());

/// Watches over a caller's statements.
pub fn watch(mode: Mode) -> Watching {
    WATCH.set(Watch::Call(mode));
    effects::start();
    Watching(())
}

impl Drop for Watching {
    fn drop(&mut self) {
        WATCH.set(Watch::Off);
        effects::stop();
    }
}

/// Installs the hook in front of those that other libraries installed. Once per process.
pub fn install(_: &Pg) {
    if weaken::off("utility_hook") {
        return;
    }
    // SAFETY: a variable of Postgres' own that exists to be chained this way.
    unsafe {
        PREVIOUS.set(pg_sys::ProcessUtility_hook);
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

/// # Safety
/// Called by Postgres. May raise a Postgres error; nothing here has a destructor.
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    dest: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: arguments are passed on as they came; the statement is live.
    unsafe {
        if let Watch::Call(mode) = WATCH.get()
            && let Some(refusal) = refusal((*statement).utilityStmt, mode)
        {
            ffi::raise(refusal.sqlstate, refusal.message.as_ptr(), refusal.hint.as_ptr());
        }
        match PREVIOUS.get() {
            Some(next) => next(statement, text, read_only_tree, context, parameters, environment, dest, completion),
            None => ffi::standard_ProcessUtility(statement, text, read_only_tree, context, parameters, environment, dest, completion),
        }
    }
}

/// The rules.
///
/// # Safety
/// A live utility statement; looking up a role may raise a Postgres error.
unsafe fn refusal(node: *mut pg_sys::Node, mode: Mode) -> Option<&'static Refusal> {
    let read_only = mode == Mode::ReadOnly;
    // SAFETY: the tag says what the node is.
    unsafe {
        match (*node).type_ {
            // A call is one transaction, which the server ends: a COMMIT would keep what a read-only call did.
            NodeTag::T_TransactionStmt => Some(&TRANSACTION),
            // A password or a setting of one's own turns a token that can be revoked into access that stays, and one end user would
            // change the settings of the role that all of them share.
            NodeTag::T_AlterRoleStmt if is_self((*node.cast::<pg_sys::AlterRoleStmt>()).role) => Some(&OWN_ROLE),
            NodeTag::T_AlterRoleSetStmt => {
                let role = (*node.cast::<pg_sys::AlterRoleSetStmt>()).role;
                // No role at all is ALTER ROLE ALL SET.
                (role.is_null() || is_self(role)).then_some(&OWN_ROLE)
            }
            // A library stays in the process, and later calls run with it.
            NodeTag::T_LoadStmt => Some(&LOAD),
            NodeTag::T_CopyStmt => {
                let copy = node.cast::<pg_sys::CopyStmt>();
                if (*copy).is_program {
                    // A program runs as the server's operating system user.
                    Some(&COPY_PROGRAM)
                } else if (*copy).filename.is_null() {
                    // There is no client connection behind the statement; Postgres would take the server's own input and output.
                    Some(&COPY_CLIENT)
                } else {
                    None
                }
            }
            // Postgres lets these through in a read-only transaction. They hold up or load the server although nothing may change.
            NodeTag::T_LockStmt if read_only && (*node.cast::<pg_sys::LockStmt>()).mode > pg_sys::RowShareLock as i32 => Some(&READ_ONLY),
            NodeTag::T_NotifyStmt | NodeTag::T_ReindexStmt | NodeTag::T_ClusterStmt | NodeTag::T_VacuumStmt if read_only => {
                Some(&READ_ONLY)
            }
            _ => None,
        }
    }
}

/// Whether the role is whom the process is now, or its session: in a SECURITY DEFINER function these differ.
///
/// # Safety
/// A live RoleSpec; may raise a Postgres error.
unsafe fn is_self(role: *const pg_sys::RoleSpec) -> bool {
    // SAFETY: a look-up by name, or of CURRENT_USER and its like. A role that does not exist is for Postgres to say.
    unsafe {
        let oid = ffi::get_rolespec_oid(role, true);
        oid == pg_sys::GetUserId() || oid == pg_sys::GetSessionUserId()
    }
}

static TRANSACTION: Refusal = Refusal {
    sqlstate: b"2D000",
    message: c"transaction commands cannot be used in a call",
    hint: c"All statements of a call run in one transaction. It is committed when all of them succeed, and rolled back otherwise or if the call is read-only.",
};
static OWN_ROLE: Refusal = Refusal {
    sqlstate: b"42501",
    message: c"a call cannot alter its own role",
    hint: c"Ask a database administrator; use SET LOCAL for a setting that is to hold in this call.",
};
static LOAD: Refusal = Refusal { sqlstate: b"42501", message: c"LOAD cannot be used in a call", hint: c"Ask a database administrator." };
static COPY_PROGRAM: Refusal = Refusal {
    sqlstate: b"42501",
    message: c"COPY with PROGRAM cannot be used in a call",
    hint: c"A program would run as the server's operating system user.",
};
static COPY_CLIENT: Refusal = Refusal {
    sqlstate: b"0A000",
    message: c"COPY to or from the client cannot be used in a call",
    hint: c"Use SELECT to read rows, and INSERT with parameters to write them.",
};
static READ_ONLY: Refusal = Refusal {
    sqlstate: b"25006",
    message: c"this command cannot be used in a read-only call",
    hint: c"It would hold up or load the server although the call may only read.",
};
