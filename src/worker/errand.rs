//! The errand process: runs, for an administrator's session that waits, the commands that Postgres allows at top level alone
//! (CREATE DATABASE), and what has to be done inside another database.
//!
//! Connected as the very role of that session, so it can do nothing that the session could not do itself with another connection. In
//! another database than the session's it does something only if the role owns that database: `pg_hba.conf`, which may forbid the role to
//! go elsewhere, is not asked for a worker. Single-threaded, one list of statements, each in a transaction of its own; ends with exit
//! code 0 or 1. `sqlapi` is the other end of the socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mcp::ipc::{self, Decoder, KIND_HELLO, KIND_JOB, KIND_REPLY, MAX_FRAME};
use mcp::types::{Form, Hello, Ticket};
use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime, DynamicBackgroundWorker};
use serde::{Deserialize, Serialize};

use crate::pg::identity::Identity;
use crate::pg::query::{RunError, Workspace};
use crate::pg::receiver::{Target, Value};
use crate::pg::{Pg, PgError, bgw, report, session, signals};

const NAME: &str = "supabase_mcp errand";
const MAIN: &str = "supabase_mcp_errand_main";
/// Longest value that a statement may hand back.
const MAX_VALUE: usize = 16 * 1024 * 1024;
const OWNS: &str = "select pg_catalog.pg_has_role(d.datdba, 'USAGE') \
                    from pg_catalog.pg_database d where d.datname operator(pg_catalog.=) pg_catalog.current_database()";

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Errand {
    pub statements: Vec<String>,
    /// It is not the database of the session that asks.
    pub elsewhere: bool,
}

/// Why it was not done, in the words of Postgres.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failed {
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

/// The socket of the session with this process id, relative to the data folder as all our sockets are.
pub fn socket_of(pid: u32) -> String {
    format!("supabase_mcp.errand.{pid}")
}

/// Registers the process. `None`: no slot is free.
pub fn launch(ticket: &Ticket) -> Option<DynamicBackgroundWorker> {
    BackgroundWorkerBuilder::new(NAME)
        .set_type(NAME)
        .set_library("supabase_mcp")
        .set_function(MAIN)
        .set_extra(&ticket.to_extra())
        .set_notify_pid(i32::try_from(std::process::id()).ok()?)
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(None)
        .load_dynamic()
        .ok()
}

/// The body of `supabase_mcp_errand_main`.
pub fn main() -> ! {
    let Some(mut pg) = Pg::claim() else { session::exit(1) };
    match catch_unwind(AssertUnwindSafe(|| run(&mut pg))) {
        Ok(Ok(())) => session::exit(0),
        Ok(Err(error)) => pgrx::log!("supabase_mcp errand: {error}"),
        Err(_) => pgrx::log!("supabase_mcp errand: it panicked"),
    }
    session::exit(1)
}

fn run(pg: &mut Pg) -> Result<(), PgError> {
    signals::install_for_sql(pg);
    let ticket = bgw::ticket(pg).filter(|t| t.form == Form::Direct).ok_or_else(|| PgError::internal("started without a ticket"))?;
    bgw::connect(pg, ticket.database, ticket.role)?;
    session::prepare(pg)?;
    let identity = Identity::direct(pg, ticket.role)?;
    let lost = |error: std::io::Error| PgError::internal(format!("the session that sent this process is gone: {error}"));
    let mut stream = UnixStream::connect(socket_of(bgw::starter(pg))).map_err(lost)?;
    let hello = serde_json::to_vec(&Hello { secret: ticket.secret }).unwrap_or_default();
    stream.write_all(&ipc::encode(KIND_HELLO, &hello)).map_err(lost)?;
    let errand = receive(&mut stream)?;
    let mut workspace = Workspace::new(pg)?;
    let outcome = perform(pg, &identity, &mut workspace, &errand);
    report::idle(pg);
    let answer = match outcome {
        Ok(value) => [b"{\"value\":".as_slice(), if value.is_empty() { b"null" } else { &value }, b"}"].concat(),
        Err(error) => serde_json::to_vec(&serde_json::json!({ "error": error })).unwrap_or_default(),
    };
    stream.write_all(&ipc::encode(KIND_REPLY, &answer)).map_err(lost)
}

fn receive(stream: &mut UnixStream) -> Result<Errand, PgError> {
    let mut decoder = Decoder::new(MAX_FRAME);
    let mut piece = [0u8; 8192];
    loop {
        if let Some(frame) = decoder.next_frame().map_err(|e| PgError::internal(e.to_string()))? {
            let errand = serde_json::from_slice(&frame.body).ok().filter(|_| frame.kind == KIND_JOB);
            return errand.ok_or_else(|| PgError::internal("the session sent something that is no errand"));
        }
        match stream.read(&mut piece) {
            Ok(0) => return Err(PgError::internal("the session that sent this process is gone")),
            Ok(count) => decoder.feed(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(PgError::internal(error.to_string())),
        }
    }
}

/// Runs the statements in order, up to the first that fails. Returns what the last one returned, as JSON.
fn perform(pg: &mut Pg, identity: &Identity, workspace: &mut Workspace, errand: &Errand) -> Result<Vec<u8>, Failed> {
    if errand.elsewhere && run_one(pg, identity, workspace, OWNS)? != b"true" {
        let refused = PgError::new("42501", "must be owner of the database");
        return Err(refused.into());
    }
    let mut last = Vec::new();
    for text in &errand.statements {
        last = run_one(pg, identity, workspace, text)?;
    }
    Ok(last)
}

/// One text, which is one statement, in one transaction, at top level.
fn run_one(pg: &mut Pg, identity: &Identity, workspace: &mut Workspace, text: &str) -> Result<Vec<u8>, Failed> {
    let mut out = Vec::new();
    let outcome = (|| {
        let mut tx = pg.begin(identity)?;
        let statements = workspace.parse(&tx, text)?;
        let [statement] = statements.as_slice() else { return Err(PgError::internal("not one statement").into()) };
        let mut value = Value::new(&mut out, workspace.row(), MAX_VALUE);
        workspace.run_at_top_level(&mut tx, statement, Target::Value(&mut value))?;
        Ok::<(), RunError>(tx.finish()?)
    })();
    workspace.clear();
    match outcome {
        Ok(()) => Ok(out),
        Err(RunError::Sql(error)) => Err(error.into()),
        Err(RunError::Params(message)) => Err(PgError::internal(message).into()),
    }
}

impl From<PgError> for Failed {
    fn from(error: PgError) -> Failed {
        let report = *error.0;
        Failed { sqlstate: report.sqlstate, message: report.message, detail: report.detail, hint: report.hint }
    }
}
