//! What the runtime may ask of the Postgres main thread of its process.
//!
//! The only door from this crate towards Postgres, and it carries plain data one way: a demand goes out, its answer comes back through
//! the channel inside it. The main thread takes demands between its waits; nothing here blocks on it.

use tokio::sync::oneshot;

use crate::types::Ticket;

pub enum Demand {
    /// Start an executor or a keeper. Answered only if it fails: success is the process's own hello.
    Spawn { ticket: Ticket, failed: oneshot::Sender<SpawnError> },
    /// Look a database up by name.
    Resolve { database: String, answer: oneshot::Sender<Option<Database>> },
    /// Write one line to the server log.
    Log { level: Level, message: String },
    /// Nothing is left to serve: the last database dropped the extension. The main thread decides whether the process ends.
    Idle,
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
