//! The Model Context Protocol front of supabase_mcp: everything between a client's socket and the executor that runs its call.
//!
//! This crate never calls Postgres: it has no binding to it. Its code runs on the gateway's runtime thread; the executors and the
//! keeper use `types`, `error` and `ipc` alone, on their only thread.
#![forbid(unsafe_code)]

pub mod error;
pub mod ipc;
pub mod types;
