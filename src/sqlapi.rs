//! The few functions of the extension that cannot be SQL. Declared by hand in `sql/`, thin, no logic of their own.
//!
//! They run in the backend of whoever calls them, under that caller's role; `sql/90_grants.sql` says who may.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use mcp::ipc::{self, Decoder, INTERNAL_SOCKET, KIND_ADMIN, KIND_REPLY};
use mcp::keyed::Key;
use mcp::types::AdminCommand;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::config;
use crate::exec::caller;
use crate::pg::{backend, encoding, lexer, server};
use crate::worker::{gateway, sender};

/// Longest wait for the gateway's answer: a drain waits for running calls.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);
/// A gateway that was just started, or starts again, needs a moment.
const START_LIMIT: Duration = Duration::from_secs(2);
/// Longest answer, in bytes: a status names every idle process.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;
const MOST_RANDOM: i32 = 1024;

/// Random bytes of cryptographic quality.
#[pg_extern]
fn supabase_mcp_random_bytes(count: i32) -> Vec<u8> {
    let count = usize::try_from(count.clamp(0, MOST_RANDOM)).unwrap_or(0);
    match server::random_bytes(count) {
        Some(bytes) => bytes,
        None => error!("the operating system gives no random bytes"),
    }
}

/// Starts the gateway if none runs.
#[pg_extern]
fn supabase_mcp_start() {
    if UnixStream::connect(INTERNAL_SOCKET).is_ok() {
        return;
    }
    if gateway::registration().load_dynamic().is_err() {
        let message = "the MCP gateway could not start: no background worker slot is free";
        ErrorReport::new(PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED, message, "supabase_mcp_start")
            .set_hint("Raise max_worker_processes, restart the server, then run: select mcp.on()")
            .report(PgLogLevel::WARNING);
    }
}

/// Where clients find this server, as JSON text.
#[pg_extern]
fn supabase_mcp_address() -> String {
    let address = config::address();
    let bridge = backend::programs().map(|folder| folder.join("supabase-mcp-stdio"));
    serde_json::json!({ "url": address.url, "socket": address.socket, "database": address.database, "bridge": bridge }).to_string()
}

/// Sends one command to the gateway and returns its answer as JSON text.
#[pg_extern]
fn supabase_mcp_admin(command: &str, database: Option<&str>) -> String {
    match ask(&AdminCommand { command: command.into(), database: database.map(str::to_string) }) {
        Ok(answer) => answer,
        Err(cause) => {
            ErrorReport::new(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                "the MCP gateway does not answer",
                "supabase_mcp_admin",
            )
            .set_detail(cause)
            .set_hint("The server log may say why it is not there. mcp.on() starts it.")
            .report(PgLogLevel::ERROR);
            String::new()
        }
    }
}

/// Runs statements in a process of their own, as the session's role, in a database given by its OID. Returns JSON text.
#[pg_extern]
fn supabase_mcp_errand(database: pg_sys::Oid, statements: Vec<String>) -> String {
    sender::send(database.to_u32(), statements).unwrap_or_else(|obstacle| {
        let error = serde_json::json!({ "sqlstate": obstacle.sqlstate, "message": obstacle.message, "hint": obstacle.hint });
        serde_json::json!({ "error": error }).to_string()
    })
}

/// Who makes the call that runs: a JSON object; null in an ordinary session.
#[pg_extern]
fn supabase_mcp_current_caller() -> Option<pgrx::JsonB> {
    caller::current().map(pgrx::JsonB)
}

/// An SQL text with its constants replaced by numbered parameters; null if it cannot be read.
#[pg_extern]
fn supabase_mcp_audit_normalised(text: &[u8]) -> Option<Vec<u8>> {
    lexer::normalised(text)
}

/// The SQL text in the arguments that were recorded of a call of `tool`; null if there is none.
#[pg_extern]
fn supabase_mcp_audit_statement(tool: &[u8], arguments: &[u8]) -> Option<Vec<u8>> {
    mcp::audit::statement(tool, arguments, encoding::is_utf8())
}

/// What stands for a value, given as UTF-8, in the trail of the installation that has this key.
#[pg_extern]
fn supabase_mcp_audit_hash(key: &[u8], value: &[u8]) -> Option<String> {
    Key::new(key).map(|key| key.shown(value))
}

fn ask(command: &AdminCommand) -> Result<String, String> {
    let fail = |e: std::io::Error| e.to_string();
    let mut stream = connect().map_err(fail)?;
    stream.set_read_timeout(Some(LOOK)).map_err(fail)?;
    stream.set_write_timeout(Some(ANSWER_LIMIT)).map_err(fail)?;
    let body = serde_json::to_vec(command).map_err(|e| e.to_string())?;
    stream.write_all(&ipc::encode(KIND_ADMIN, &body)).map_err(fail)?;
    let deadline = Instant::now() + ANSWER_LIMIT;
    let mut decoder = Decoder::new(ANSWER_BYTES);
    let mut chunk = [0u8; 8192];
    while Instant::now() < deadline {
        if let Some(frame) = decoder.next_frame().map_err(|e| e.to_string())? {
            return match frame.kind {
                KIND_REPLY => String::from_utf8(frame.body).map_err(|e| e.to_string()),
                _ => Err("it answered something else".into()),
            };
        }
        server::check_for_interrupts();
        match stream.read(&mut chunk) {
            Ok(0) => return Err("it closed the connection".into()),
            Ok(n) => decoder.feed(&chunk[..n]),
            Err(e)
                if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut | std::io::ErrorKind::Interrupted) => {}
            Err(e) => return Err(e.to_string()),
        }
    }
    Err("it took too long".into())
}

fn connect() -> std::io::Result<UnixStream> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        match UnixStream::connect(INTERNAL_SOCKET) {
            Err(_) if Instant::now() < deadline => {
                server::check_for_interrupts();
                std::thread::sleep(LOOK);
            }
            outcome => return outcome,
        }
    }
}
