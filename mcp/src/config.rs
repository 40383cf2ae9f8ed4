//! The settings of the gateway as plain data.
//!
//! Read from the server's settings by the Postgres main thread, which alone may, and handed to the runtime as a whole; a reload
//! replaces it as a whole. Limits that hold per role are not here: the executor reads them after it has become the role.

use std::path::PathBuf;
use std::time::Duration;

use crate::audit;
use crate::jwt::Jwt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Version of the extension, as `serverInfo.version`.
    pub version: String,
    /// The library is preloaded: the gateway stays, whether the extension is installed anywhere or not.
    pub preloaded: bool,
    /// The database behind `/mcp` and behind a newline connection.
    pub database: String,
    /// Host names or addresses for TCP; empty: no TCP at all. `*` stands for all interfaces.
    pub listen_addresses: Vec<String>,
    pub port: u16,
    /// Where the Unix socket goes; `None`: no Unix socket.
    pub socket: Option<PathBuf>,
    /// Permission bits of the socket file.
    pub socket_mode: u32,
    /// Values of `Host` that are answered on TCP, besides the loopback names.
    pub allowed_hosts: Vec<String>,
    /// Values of `Origin` that are answered on TCP, besides the server's own loopback origins.
    pub allowed_origins: Vec<String>,
    /// Connections of clients, all listeners together.
    pub max_connections: usize,
    /// Longest request, in bytes: an HTTP body, or a line.
    pub max_body_bytes: usize,
    /// Longest wait for a first byte, and for a request's head.
    pub header_timeout: Duration,
    /// Longest silence on a kept HTTP connection.
    pub idle_timeout: Duration,
    /// Longest time from a request's first byte to its last.
    pub body_timeout: Duration,
    /// Executor processes at the most, busy, idle and starting.
    pub max_executors: usize,
    /// Bridges that wait, bound to nobody, in each database that bridges are used in.
    pub spare_bridges: usize,
    /// An executor leaves after this time without a call.
    pub executor_idle_timeout: Duration,
    /// An executor leaves after this many calls.
    pub executor_max_calls: u64,
    /// Calls of one role that may wait for an executor.
    pub queue_length: usize,
    /// Longest wait for an executor.
    pub queue_timeout: Duration,
    /// Calls of one role in a minute; 0: no limit.
    pub calls_per_minute: u32,
    /// Calls of one role at the same time; 0: no limit.
    pub max_concurrent_calls: u32,
    /// The role of callers without a credential.
    pub anonymous_role: Option<String>,
    /// Roles that are served although they could get past every other guard.
    pub privileged_roles: Vec<String>,
    /// Settings that no caller may change, besides those that tokens carry.
    pub locked_settings: Vec<String>,
    /// A peer's operating system name stands for the role of the same name.
    pub peer_equal_names: bool,
    /// The statistics are at `/metrics`.
    pub metrics: bool,
    /// Who may come with a JSON Web Token.
    pub jwt: Jwt,
    pub audit: audit::Settings,
}

impl Config {
    /// Whether TCP reaches beyond this machine.
    pub fn listens_beyond_loopback(&self) -> bool {
        self.listen_addresses.iter().any(|a| !matches!(a.as_str(), "localhost" | "127.0.0.1" | "::1"))
    }
}

/// The defaults, as the settings define them, and no socket file.
impl Default for Config {
    fn default() -> Config {
        Config {
            version: "0.0.0".into(),
            preloaded: false,
            database: "postgres".into(),
            listen_addresses: vec!["localhost".into()],
            port: 5627,
            socket: None,
            socket_mode: 0o777,
            allowed_hosts: vec![],
            allowed_origins: vec![],
            max_connections: 1000,
            max_body_bytes: 4 << 20,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            body_timeout: Duration::from_secs(30),
            max_executors: 4,
            spare_bridges: 1,
            executor_idle_timeout: Duration::from_secs(60),
            executor_max_calls: 1_000_000,
            queue_length: 64,
            queue_timeout: Duration::from_secs(10),
            calls_per_minute: 0,
            max_concurrent_calls: 0,
            anonymous_role: None,
            privileged_roles: vec![],
            locked_settings: vec![],
            peer_equal_names: false,
            metrics: false,
            jwt: Jwt::default(),
            audit: audit::Settings::default(),
        }
    }
}
