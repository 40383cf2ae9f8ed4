//! The executor process: connects, says hello, then runs one job after another until the gateway closes the socket.
//!
//! Single-threaded, one database, one role, one principal for life. It ends with exit code 0 or 1, whatever happens: any other end
//! would restart the whole server. A transaction is never open while it waits for the socket.

use std::cell::{Cell, OnceCell};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use mcp::error::{CallError, Kind};
use mcp::ipc::{self, Decoder, INTERNAL_SOCKET, KIND_ASK, KIND_HELLO, KIND_JOB, KIND_WORD, MAX_FRAME};
use mcp::types::{Ask, Facts, Form, Hello, Job, Outcome, Recorded, Reply, Ticket, Word};

use crate::exec::{Answer, Executor, Permission, progress};
use crate::pg::identity::Identity;
use crate::pg::wait::{self, Interest, WaitSet, Wake};
use crate::pg::{Pg, PgError, bgw, report, session, signals, timeout};

/// How long a process whose termination is a flag (`signals::install_for_loop`) still takes work: the gateway, which is being stopped with it, has
/// something to write down.
const LAST_WORK: Duration = Duration::from_millis(400);
/// Room for reading: most jobs come whole in one piece of this.
const PIECE: usize = 16 * 1024;

thread_local! {
    /// The job that has no answer yet, and where its answer goes: for the last words of a process that is ended from outside.
    static RUNNING: Cell<Option<u64>> = const { Cell::new(None) };
    static LAST_WORDS: OnceCell<UnixStream> = const { OnceCell::new() };
}

/// The body of `supabase_mcp_executor_main`.
pub fn main() -> ! {
    let Some(mut pg) = Pg::claim() else { session::exit(1) };
    // A panic is a fault of ours; it must not become more than the end of this one process.
    let outcome = catch_unwind(AssertUnwindSafe(|| run(&mut pg)));
    match outcome {
        Ok(Ok(())) => session::exit(0),
        Ok(Err(error)) => {
            pgrx::log!("supabase_mcp executor: {error}");
            session::exit(1)
        }
        Err(_) => {
            pgrx::log!("supabase_mcp executor: it panicked");
            session::exit(1)
        }
    }
}

fn run(pg: &mut Pg) -> Result<(), PgError> {
    signals::install_for_sql(pg);
    let ticket = bgw::ticket(pg).ok_or_else(|| PgError::internal("started without a ticket"))?;
    bgw::connect(pg, ticket.database, ticket.role)?;
    session::prepare(pg)?;
    let identity = match ticket.form {
        Form::Direct => Identity::direct(pg, ticket.role)?,
        Form::Bridge => Identity::bridge(pg, ticket.role)?,
        Form::Keeper => return Err(PgError::internal("a keeper's ticket in an executor")),
    };
    let mut executor = Executor::new(pg, identity)?;
    let mut channel = Channel::open(pg, &ticket)?;
    session::on_exit(pg, say_last_words)?;
    let mut statistics_due = None;
    report::idle(pg);
    while let Some((job, arguments)) = channel.next_job(pg, &mut statistics_due)? {
        let answer = catch_unwind(AssertUnwindSafe(|| executor.run(pg, &job, &arguments, &mut channel)));
        RUNNING.set(None);
        let Ok(answer) = answer else {
            let payload = CallError::new(Kind::Internal, "the call could not be run").to_payload();
            channel.reply(pg, job.id, Answer { outcome: Outcome::Error, untrusted: false, leaving: true }, None, &payload)?;
            return Err(PgError::internal("a call panicked"));
        };
        channel.reply(pg, job.id, answer, executor.facts.take(), &executor.payload)?;
        if answer.leaving {
            return Ok(());
        }
        statistics_due = executor.clean(pg)?.map(|wait| Instant::now() + wait);
    }
    Ok(())
}

/// The socket to the gateway.
pub(super) struct Channel {
    stream: UnixStream,
    decoder: Decoder,
    /// What is read into.
    piece: Box<[u8]>,
    wait: WaitSet,
    /// A termination was asked for: what comes until then is still done.
    leave_at: Option<Instant>,
}

fn lost(error: std::io::Error) -> PgError {
    PgError::internal(format!("the gateway cannot be reached: {error}"))
}

impl Channel {
    /// Connects and proves with the ticket's secret that this is the process that the gateway had started.
    pub(super) fn open(pg: &Pg, ticket: &Ticket) -> Result<Channel, PgError> {
        let stream = UnixStream::connect(INTERNAL_SOCKET).map_err(lost)?;
        stream.set_nonblocking(true).map_err(lost)?;
        let wait = WaitSet::new(pg, stream.as_raw_fd())?;
        let last_words = stream.try_clone().map_err(lost)?;
        LAST_WORDS.with(|s| drop(s.set(last_words)));
        timeout::set_peer(pg, stream.as_raw_fd());
        let mut channel = Channel { stream, decoder: Decoder::new(MAX_FRAME), piece: vec![0; PIECE].into(), wait, leave_at: None };
        let hello = serde_json::to_vec(&Hello { secret: ticket.secret.clone() }).unwrap_or_default();
        channel.send(pg, &ipc::encode(KIND_HELLO, &hello))?;
        Ok(channel)
    }

    /// Waits for a job. `None`: the gateway has closed the socket, and the process is to leave.
    pub(super) fn next_job(&mut self, pg: &Pg, statistics_due: &mut Option<Instant>) -> Result<Option<(Job, Vec<u8>)>, PgError> {
        // Not looked for before it is announced: there seldom is another job so soon, and finding none is a system call too.
        let mut ready = false;
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(|e| PgError::internal(e.to_string()))? {
                if frame.kind == KIND_WORD {
                    // About a call that was cancelled while it waited for this word.
                    continue;
                }
                if frame.kind != KIND_JOB {
                    return Err(PgError::internal("the gateway sent something that is no job"));
                }
                let (job, arguments): (Job, _) = ipc::split(frame.body).map_err(|e| PgError::internal(e.to_string()))?;
                // From here on an end of this process is told to the gateway.
                progress::taken();
                RUNNING.set(Some(job.id));
                // A reload counts from the next call on.
                wait::reload_settings(pg)?;
                return Ok(Some((job, arguments)));
            }
            if !ready {
                if self.leave_at.is_some_and(|at| at <= Instant::now()) {
                    return Ok(None);
                }
                ready = self.idle(pg, statistics_due)?;
                continue;
            }
            match self.stream.read(&mut self.piece) {
                Ok(0) => return Ok(None),
                Ok(count) => self.decoder.feed(&self.piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The gateway is gone, as a crash would have it.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(lost(error)),
            }
        }
    }

    /// Sleeps until there is something to read, which `true` says, or to do.
    fn idle(&mut self, pg: &Pg, statistics_due: &mut Option<Instant>) -> Result<bool, PgError> {
        if self.leave_at.is_none() && signals::shutdown_requested(pg) {
            self.leave_at = Some(Instant::now() + LAST_WORK);
        }
        let next = statistics_due.iter().chain(&self.leave_at).min();
        let limit = next.map(|due| due.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let woken = self.wait.wait(pg, Interest::Readable, limit)?;
        match woken {
            Wake::TimedOut => {
                report::statistics(pg, true)?;
                *statistics_due = None;
            }
            Wake::Latch => drop(wait::reload_settings(pg)?),
            Wake::Ready => {}
        }
        Ok(woken == Wake::Ready)
    }

    pub(super) fn reply(&mut self, pg: &Pg, id: u64, answer: Answer, facts: Option<Box<Facts>>, payload: &[u8]) -> Result<(), PgError> {
        self.send(pg, &ipc::encode_reply(&header(id, answer, facts), payload))
    }

    fn send(&mut self, pg: &Pg, mut bytes: &[u8]) -> Result<(), PgError> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => drop(self.wait.wait(pg, Interest::Writable, None)?),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(())
    }
}

impl Permission for Channel {
    fn ask(&mut self, pg: &Pg, job: u64, xid: u64, recorded: &Recorded) -> Result<Result<(), CallError>, PgError> {
        let ask = Ask { id: job, xid, recorded: recorded.clone() };
        self.send(pg, &ipc::encode_with_header(KIND_ASK, &ask, &[]))?;
        loop {
            while let Some(frame) = self.decoder.next_frame().map_err(|e| PgError::internal(e.to_string()))? {
                let word: Option<(Word, _)> = (frame.kind == KIND_WORD).then(|| ipc::split(frame.body).ok()).flatten();
                match word {
                    // About an earlier call, which was cancelled before it came.
                    Some((word, _)) if word.id != job => {}
                    Some((word, _)) => return Ok(word.refused.map_or(Ok(()), Err)),
                    None => return Err(PgError::internal("the gateway sent something that is no word about the call")),
                }
            }
            match self.stream.read(&mut self.piece) {
                Ok(0) => return Err(PgError::internal("the gateway is gone")),
                Ok(count) => self.decoder.feed(&self.piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => drop(self.wait.wait_in_call(pg, Interest::Readable)?),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(error)),
            }
        }
    }
}

fn header(id: u64, answer: Answer, facts: Option<Box<Facts>>) -> Reply {
    Reply { id, outcome: answer.outcome, untrusted: answer.untrusted, leaving: answer.leaving, facts }
}

/// Answers the running job, if there is one, when the process ends in its midst: by a termination, or because its statement would not be
/// cancelled. Its transaction is gone by now.
fn say_last_words() {
    let Some(id) = RUNNING.take() else { return };
    let (outcome, error) = progress::last_words();
    let answer = Answer { outcome, untrusted: false, leaving: true };
    let frame = ipc::encode_reply(&header(id, answer, None), &error.to_payload());
    // Without waiting: if the socket takes no more, its end tells the gateway as much.
    LAST_WORDS.with(|s| s.get().map(|mut stream| stream.write(&frame)));
}
