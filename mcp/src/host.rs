//! What the runtime may ask of the Postgres main thread of its process.
//!
//! The only door from this crate towards Postgres, and it carries plain data one way: a demand goes out, its answer comes back through
//! the channel inside it. The main thread takes demands between its waits; nothing here blocks on it.

use std::path::PathBuf;

use tokio::sync::oneshot;

use crate::types::Ticket;

pub enum Demand {
    /// Start an executor or a keeper. Answered only if it fails: success is the process's own hello.
    Spawn { ticket: Ticket, failed: oneshot::Sender<SpawnError> },
    /// Look a database up by name.
    Resolve { database: String, answer: oneshot::Sender<Option<Database>> },
    /// All databases by name.
    Databases { answer: oneshot::Sender<Vec<(String, Database)>> },
    /// No database has the extension any more: the process may end for good.
    Unused,
    /// The socket file that was made, to be taken away should the server be stopped on the spot.
    Made { socket: PathBuf, device: u64, inode: u64 },
    /// Write one line to the server log.
    Log { level: Level, message: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Database {
    pub oid: u32,
    /// `datallowconn`, and no template.
    pub allows_connections: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnError {
    /// No free slot in `max_worker_processes`.
    NoSlot,
    /// The process ended before it said hello; the server log says why.
    Died,
    /// The server is shutting down, or the process did not say hello in time.
    Unavailable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Log,
    Warning,
}

pub trait Host: Send + Sync + 'static {
    fn demand(&self, demand: Demand);
}
