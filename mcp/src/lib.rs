//! The Model Context Protocol front of supabase_mcp: everything between a client's socket and the executor that runs its call.
//!
//! This crate never calls Postgres: it has no binding to it. Its code runs on the gateway's runtime thread; the executors and the
//! keepers use `types`, `error` and `ipc` alone, on their only thread.
//!
//! From the wire inwards: `listen` → `http` / `newline` → `handler` (protocol) or `shortcut` (plain calls) → `gateway` (one call) → `logins` + `jwt` + `keepers` (who) and
//! `pool` + `scheduler` (where) → `process` (one socket). `stream` is the Unix socket at either end. `host` is the door to the Postgres main thread of the same process.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod audit;
pub mod config;
pub mod error;
pub mod host;
pub mod ipc;
pub mod json;
pub mod jwt;
pub mod keyed;
pub mod runtime;
pub mod text;
pub mod types;

mod admin;
mod authorization;
mod caller;
mod children;
mod gateway;
mod handler;
mod http;
mod keepers;
mod limits;
mod listen;
mod logins;
mod newline;
mod notices;
mod oauth;
mod origin;
mod os_user;
mod pages;
mod patient;
mod pool;
mod process;
mod query;
mod scheduler;
mod scram;
mod shortcut;
mod spares;
mod splice;
mod stats;
mod stream;
mod supabase;
mod uses;
