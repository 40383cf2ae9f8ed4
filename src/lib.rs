//! supabase_mcp: a PostgreSQL server that is an MCP server.
//!
//! This crate is the shared library. It runs in background workers that the server starts; see `docs/architecture.md` for the processes.
//! One way down: `lib` → `worker` → `exec` → `pg`; `config` and `sqlapi` beside them. Everything that needs no Postgres is in the crate `mcp`.
#![deny(unsafe_code)]

pgrx::pg_module_magic!();

mod config;
mod exec;
mod pg;
mod sqlapi;
mod weaken;
mod worker;

/// Runs in every process that loads the library: in the postmaster if it is preloaded, else in a session that uses one of its functions
/// and in its own workers. Starts no thread and no transaction.
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // First: what is not defined when `config` reserves the prefix is removed.
    #[cfg(feature = "weaken")]
    weaken::define();
    config::define();
    if pg::server::preloading() {
        worker::gateway::registration().set_extra("preloaded").load();
    }
}
