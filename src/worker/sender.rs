//! The session's side of an errand: starts the process, gives it its statements, waits for the answer.
//!
//! Runs in the backend of the administrator who called, inside that statement: a cancel or a termination ends the wait, and the process
//! with it. It refuses to send anybody where the session's own role is not who asks: a function of somebody else's that a stronger
//! session happens to run must not borrow that session's strength.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use mcp::ipc::{self, Decoder, KIND_HELLO, KIND_JOB, KIND_REPLY, MAX_FRAME};
use mcp::types::{Form, Hello, Ticket};
use pgrx::bgworkers::{BackgroundWorkerStatus, DynamicBackgroundWorker};

use super::errand::{self, Errand};
use crate::pg::{backend, server};

/// How often cancels, and a process that died, are looked for.
const LOOK: Duration = Duration::from_millis(5);
/// Somewhat longer than an executor stays idle by default.
const SLOT_WAIT: Duration = Duration::from_secs(65);
const SLOT_LOOK: Duration = Duration::from_millis(50);
const ENDED: &str = "its process ended before it answered";

/// Why an errand was not run, and what to do.
pub struct Obstacle {
    pub sqlstate: &'static str,
    pub message: String,
    pub hint: &'static str,
}

fn obstacle(sqlstate: &'static str, message: impl Into<String>, hint: &'static str) -> Obstacle {
    Obstacle { sqlstate, message: message.into(), hint }
}

fn broken(cause: impl std::fmt::Display) -> Obstacle {
    obstacle("58000", format!("the work could not be handed to a process of its own: {cause}"), "The server log may say why.")
}

/// Runs the statements in a database, as this session's role and one by one. The answer is JSON: `value` or `error`.
pub fn send(database: u32, statements: Vec<String>) -> Result<String, Obstacle> {
    let session = backend::session();
    if !session.has_client {
        return Err(obstacle(
            "0A000",
            "this cannot be done in a call of an MCP client, nor in a background worker",
            "Do it in an ordinary database session, psql for example.",
        ));
    }
    if session.switched {
        return Err(obstacle(
            "42501",
            "the current user is not the one who signed in",
            "Sign in as the role that is to do it, without SET ROLE, and call no SECURITY DEFINER function around it.",
        ));
    }
    if session.in_block {
        return Err(obstacle("25001", "this cannot run inside a transaction block", "Say COMMIT first: a database cannot be rolled back."));
    }
    if session.read_only {
        return Err(obstacle("25006", "this cannot run in a read-only transaction or on a standby", "It makes or drops a database."));
    }
    let secret = server::random_bytes(16).ok_or_else(|| broken("no random bytes"))?;
    let secret: String = secret.iter().map(|b| format!("{b:02x}")).collect();
    let door = Door::open().map_err(broken)?;
    let ticket = Ticket { database, role: session.role, form: Form::Direct, secret };
    let process = Sent(Some(launch(&ticket)?));
    let mut stream = door.answer(&process)?;
    // One look: the process says hello with its first bytes.
    stream.set_read_timeout(Some(LOOK)).map_err(broken)?;
    let mut decoder = Decoder::new(MAX_FRAME);
    let hello = receive(&mut stream, &mut decoder)?;
    let known = hello.kind == KIND_HELLO && serde_json::from_slice::<Hello>(&hello.body).is_ok_and(|h| h.secret == ticket.secret);
    if !known {
        return Err(broken("somebody else answered"));
    }
    let errand = Errand { statements, elsewhere: database != session.database };
    let body = serde_json::to_vec(&errand).map_err(broken)?;
    stream.write_all(&ipc::encode(KIND_JOB, &body)).map_err(broken)?;
    let answer = receive(&mut stream, &mut decoder)?;
    if answer.kind != KIND_REPLY {
        return Err(broken("it answered something else"));
    }
    process.done();
    String::from_utf8(answer.body).map_err(broken)
}

/// Starts the process. Executors that nobody uses leave after a while, and with them a slot; so this waits for one.
fn launch(ticket: &Ticket) -> Result<DynamicBackgroundWorker, Obstacle> {
    let deadline = Instant::now() + SLOT_WAIT;
    let mut told = false;
    loop {
        if let Some(process) = errand::launch(ticket) {
            return Ok(process);
        }
        if !told {
            pgrx::notice!("no background worker slot is free; waiting for one");
            told = true;
        }
        server::check_for_interrupts();
        if Instant::now() >= deadline {
            let hint = "Try again when less is going on, or raise max_worker_processes and restart the server.";
            return Err(obstacle("53400", "no background worker slot is free", hint));
        }
        std::thread::sleep(SLOT_LOOK);
    }
}

/// The socket that the process comes to. Its file goes with it.
struct Door {
    listener: UnixListener,
    path: String,
}

impl Door {
    fn open() -> std::io::Result<Door> {
        let path = errand::socket_of(std::process::id());
        // A session that was killed left it, and its process id came round again.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let door = Door { listener, path };
        door.listener.set_nonblocking(true)?;
        Ok(door)
    }

    fn answer(&self, process: &Sent) -> Result<UnixStream, Obstacle> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).map_err(broken)?;
                    return Ok(stream);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(broken(error)),
            }
            server::check_for_interrupts();
            if process.ended() {
                return Err(broken(ENDED));
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The process, which does not outlive the wait for it.
struct Sent(Option<DynamicBackgroundWorker>);

impl Sent {
    fn ended(&self) -> bool {
        self.0.as_ref().is_none_or(|p| matches!(p.pid(), Err(BackgroundWorkerStatus::Stopped | BackgroundWorkerStatus::PostmasterDied)))
    }

    /// Waits for its end: until then it is connected, and in the way of a DROP DATABASE.
    fn done(mut self) {
        if let Some(process) = self.0.take() {
            let _ = process.wait_for_shutdown();
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(process) = self.0.take() {
            process.terminate();
        }
    }
}

fn receive(stream: &mut UnixStream, decoder: &mut Decoder) -> Result<ipc::Frame, Obstacle> {
    let mut piece = [0u8; 8192];
    loop {
        if let Some(frame) = decoder.next_frame().map_err(broken)? {
            return Ok(frame);
        }
        server::check_for_interrupts();
        match stream.read(&mut piece) {
            Ok(0) => return Err(broken(ENDED)),
            Ok(count) => decoder.feed(&piece[..count]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => return Err(broken(error)),
        }
    }
}
