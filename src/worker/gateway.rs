//! The gateway process: starts the runtime thread and does for it what only a main thread of Postgres may.
//!
//! Main thread: signals, settings, starting executors and keepers, looking up databases, the server log. It is connected to no database
//! and runs no SQL. The runtime thread (crate `mcp`) does everything that touches a client. They speak through a channel and a pipe.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mcp::host::{Demand, Host, Level, SpawnError};
use mcp::runtime::Control;
use pgrx::bgworkers::{BackgroundWorkerBuilder, BackgroundWorkerStatus, BgWorkerStartTime, DynamicBackgroundWorker};
use tokio::sync::oneshot;

use crate::config;
use crate::pg::wait::{self, Interest, WaitSet, Wake};
use crate::pg::{Pg, PgError, quit, server, session, signals};

pub const MAIN: &str = "supabase_mcp_gateway_main";
const NAME: &str = "supabase_mcp gateway";
/// Held by the one gateway of this server; a file, because a lock on it ends with its holder however that ends.
const LOCK_FILE: &str = "supabase_mcp.lock";
/// How long the runtime thread may take to close its sockets.
const STOP_LIMIT: Duration = Duration::from_millis(500);
/// A gateway that fails this soon after its start waits before it ends, or the postmaster would start it in a tight loop.
const YOUNG: Duration = Duration::from_secs(1);

/// Describes the process to the postmaster. It starts again at once whenever it ends with an error.
pub fn registration() -> BackgroundWorkerBuilder {
    BackgroundWorkerBuilder::new(NAME)
        .set_type(NAME)
        .set_library("supabase_mcp")
        .set_function(MAIN)
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(Some(Duration::ZERO))
}

/// Runs until the server stops or somebody ends the process. `Ok` is an end that needs no restart.
pub fn run(pg: &mut Pg) -> Result<(), PgError> {
    let born = Instant::now();
    signals::install_for_loop(pg);
    quit::install(pg);
    server::connect_to_none(pg)?;
    let Some(_lock) = take_lock()? else {
        // Another gateway serves already: `create extension` in a second database, or twice.
        return Ok(());
    };
    if let Some(warning) = server::minor_release_warning() {
        pgrx::warning!("supabase_mcp: {warning}");
    }
    let outcome = Gateway::start(pg).and_then(|mut gateway| {
        let outcome = gateway.serve(pg);
        gateway.stop();
        outcome
    });
    if outcome.is_err() && born.elapsed() < YOUNG {
        std::thread::sleep(YOUNG);
    }
    outcome
}

fn take_lock() -> Result<Option<File>, PgError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(LOCK_FILE)
        .map_err(|e| PgError::internal(format!("could not open {LOCK_FILE}: {e}")))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(e)) => Err(PgError::internal(format!("could not lock {LOCK_FILE}: {e}"))),
    }
}

/// The runtime's side of the door: puts the demand down and wakes the main thread.
struct Door {
    demands: Sender<Demand>,
    bell: UnixStream,
}

impl Host for Door {
    fn demand(&self, demand: Demand) {
        let _ = self.demands.send(demand);
        // A full pipe rings already.
        let _ = (&self.bell).write(&[1]);
    }
}

/// A process that was registered and has not said hello.
struct Starting {
    worker: DynamicBackgroundWorker,
    failed: oneshot::Sender<SpawnError>,
}

struct Gateway {
    control: Control,
    thread: Option<JoinHandle<Result<(), String>>>,
    demands: Receiver<Demand>,
    bell: UnixStream,
    wait: WaitSet,
    starting: Vec<Starting>,
    /// No database has the extension.
    unused: bool,
    preloaded: bool,
}

impl Gateway {
    fn start(pg: &mut Pg) -> Result<Gateway, PgError> {
        let preloaded = server::was_preloaded(pg);
        let (bell, ringer) = UnixStream::pair().map_err(|e| PgError::internal(format!("no socket pair: {e}")))?;
        let nonblocking = bell.set_nonblocking(true).and_then(|()| ringer.set_nonblocking(true));
        nonblocking.map_err(|e| PgError::internal(format!("no non-blocking socket pair: {e}")))?;
        let wait = WaitSet::new(pg, bell.as_raw_fd())?;
        let (sender, demands) = channel();
        let (control, body) = mcp::runtime::prepare(config::gateway(preloaded), Arc::new(Door { demands: sender, bell: ringer }));
        #[expect(clippy::disallowed_methods, reason = "the one thread of this process, made with every signal blocked")]
        let thread = signals::with_all_blocked(|| std::thread::Builder::new().name("mcp runtime".into()).spawn(body));
        let thread = thread.map_err(|e| PgError::internal(format!("could not start the runtime thread: {e}")))?;
        Ok(Gateway { control, thread: Some(thread), demands, bell, wait, starting: Vec::new(), unused: false, preloaded })
    }

    fn serve(&mut self, pg: &mut Pg) -> Result<(), PgError> {
        loop {
            if signals::shutdown_requested(pg) {
                // With an error code, so that a termination by hand is followed by a new start. The postmaster restarts nothing while
                // it is shutting down itself.
                return Err(PgError::new("57P01", "terminated by a signal"));
            }
            if wait::reload_settings(pg)? {
                self.control.reload(config::gateway(self.preloaded));
            }
            while let Ok(demand) = self.demands.try_recv() {
                self.answer(pg, demand)?;
            }
            if self.unused {
                pgrx::log!("supabase_mcp: no database has the extension any more; the gateway ends");
                return Ok(());
            }
            self.look_at_starting();
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return Err(self.runtime_ended());
            }
            if self.wait.wait(pg, Interest::Readable, Some(Duration::from_secs(10)))? == Wake::Ready {
                let mut rings = [0u8; 256];
                while self.bell.read(&mut rings).is_ok_and(|n| n > 0) {}
            }
        }
    }

    fn answer(&mut self, pg: &mut Pg, demand: Demand) -> Result<(), PgError> {
        match demand {
            Demand::Spawn { ticket, failed } => match super::launch(&ticket) {
                Some(worker) => self.starting.push(Starting { worker, failed }),
                None => drop(failed.send(SpawnError::NoSlot)),
            },
            Demand::Resolve { database, answer } => {
                let found = server::databases(pg)?.into_iter().find(|(name, _)| *name == database);
                let _ = answer.send(found.map(|(_, database)| database));
            }
            Demand::Databases { answer } => drop(answer.send(server::databases(pg)?)),
            Demand::Unused => self.unused = true,
            Demand::Made { socket, device, inode } => quit::own(pg, &socket, device, inode),
            Demand::Log { level: Level::Log, message } => pgrx::log!("{message}"),
            Demand::Log { level: Level::Warning, message } => pgrx::warning!("{message}"),
        }
        Ok(())
    }

    /// Tells the runtime of processes that ended before they said hello. The postmaster wakes us when one starts or ends.
    fn look_at_starting(&mut self) {
        let mut at = 0;
        while at < self.starting.len() {
            let entry = &self.starting[at];
            let ended = matches!(entry.worker.pid(), Err(BackgroundWorkerStatus::Stopped | BackgroundWorkerStatus::PostmasterDied));
            if !ended && !entry.failed.is_closed() {
                at += 1;
                continue;
            }
            let entry = self.starting.swap_remove(at);
            if ended {
                let _ = entry.failed.send(SpawnError::Died);
            }
        }
    }

    fn runtime_ended(&mut self) -> PgError {
        let outcome = self.thread.take().map(JoinHandle::join);
        let reason = match outcome {
            Some(Ok(Err(reason))) => reason,
            Some(Ok(Ok(()))) => "it returned".into(),
            Some(Err(_)) => "it panicked".into(),
            None => "it is gone".into(),
        };
        PgError::internal(format!("the runtime thread ended: {reason}"))
    }

    /// Lets the runtime close its sockets and take its socket files away.
    fn stop(&mut self) {
        self.control.stop();
        let deadline = Instant::now() + STOP_LIMIT;
        while let Some(thread) = self.thread.take_if(|_| true) {
            if thread.is_finished() || Instant::now() >= deadline {
                break;
            }
            self.thread = Some(thread);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The body of `supabase_mcp_gateway_main`.
pub fn main() -> ! {
    let code = match Pg::claim() {
        Some(mut pg) => match run(&mut pg) {
            Ok(()) => 0,
            Err(error) => {
                pgrx::log!("supabase_mcp gateway: {error}");
                1
            }
        },
        None => 1,
    };
    session::exit(code)
}
