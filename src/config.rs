//! The settings `supabase_mcp.*`: their definitions, and two views of their values.
//!
//! Defined in every process that loads the library. `gateway()` is read on the gateway's main thread and handed to its runtime as plain
//! data; `limits()` is read in an executor after it has become its role, so that `ALTER ROLE ... SET` counts. Every setting
//! has an entry in docs/settings.md; a test compares the two.

use std::ffi::CString;
use std::path::PathBuf;
use std::time::Duration;

use mcp::config::Config;
use mcp::types::Caps;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::pg::{PgError, Tx, guc, server};

pub mod audit;
mod jwt;
mod metrics;
mod offer;

static DATABASE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"postgres"));
static LISTEN_ADDRESSES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"localhost"));
static PORT: GucSetting<i32> = GucSetting::<i32>::new(5627);
static PUBLIC_URL: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static SOCKET_DIRECTORY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static SOCKET_NAME: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static SOCKET_MODE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"0777"));
static ALLOWED_HOSTS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static ALLOWED_ORIGINS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static ANONYMOUS_ROLE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static PRIVILEGED_ROLES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static LOCKED_SETTINGS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static PEER_EQUAL_NAMES: GucSetting<bool> = GucSetting::<bool>::new(false);
static MAX_CONNECTIONS: GucSetting<i32> = GucSetting::<i32>::new(1000);
static MAX_BODY_BYTES: GucSetting<i32> = GucSetting::<i32>::new(4 * 1024 * 1024);
static HEADER_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static IDLE_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(600_000);
static BODY_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(30_000);
static MAX_EXECUTORS: GucSetting<i32> = GucSetting::<i32>::new(4);
static SPARE_BRIDGES: GucSetting<i32> = GucSetting::<i32>::new(1);
static EXECUTOR_IDLE_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(60_000);
static EXECUTOR_MAX_CALLS: GucSetting<i32> = GucSetting::<i32>::new(1_000_000);
static QUEUE_LENGTH: GucSetting<i32> = GucSetting::<i32>::new(64);
static QUEUE_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static CALLS_PER_MINUTE: GucSetting<i32> = GucSetting::<i32>::new(0);
static MAX_CONCURRENT_CALLS: GucSetting<i32> = GucSetting::<i32>::new(0);
static MAX_ROWS: GucSetting<i32> = GucSetting::<i32>::new(1000);
static MAX_BYTES: GucSetting<i32> = GucSetting::<i32>::new(1024 * 1024);
static STATEMENT_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(30_000);

const DAY_MS: i32 = 86_400_000;

/// What one call may cost: what the role is allowed, or less, if the caller's own limits (mcp.limits) say so.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_rows: u64,
    /// Of rendered rows, in bytes of JSON.
    pub max_bytes: usize,
    /// Milliseconds; 0: no limit of ours.
    pub statement_timeout: i32,
    /// What the limits on rows and on bytes are called.
    pub rows_name: &'static str,
    pub bytes_name: &'static str,
}

/// Defines all settings. Called once per process, from `_PG_init`.
pub fn define() {
    use GucContext::{Sighup, Suset};
    let text = |name, short, long, setting| GucRegistry::define_string_guc(name, short, long, setting, Sighup, GucFlags::default());
    let number =
        |name, short, long, setting, min, max, unit| GucRegistry::define_int_guc(name, short, long, setting, min, max, Sighup, unit);
    let limit = |name, short, long, setting, min, max, unit| GucRegistry::define_int_guc(name, short, long, setting, min, max, Suset, unit);
    let (count, ms, bytes) = (GucFlags::default(), GucFlags::UNIT_MS, GucFlags::UNIT_BYTE);

    text(c"supabase_mcp.database", c"Sets the database behind the path /mcp.", c"Other databases are at /mcp/<database>.", &DATABASE);
    text(
        c"supabase_mcp.listen_addresses",
        c"Sets the host names or addresses to listen on for HTTP.",
        c"A comma-separated list; * is all interfaces, empty switches TCP off. Beyond loopback every caller needs a credential.",
        &LISTEN_ADDRESSES,
    );
    text(
        c"supabase_mcp.public_url",
        c"Sets the address that clients are told, where it is not the one that the server listens on.",
        c"Such as https://db.example.org/mcp, behind a proxy. Empty: http on the first address that is listened on.",
        &PUBLIC_URL,
    );
    number(c"supabase_mcp.port", c"Sets the TCP port, and the number in the socket's name.", c"", &PORT, 1, 65535, count);
    text(
        c"supabase_mcp.socket_directory",
        c"Sets the directory of the Unix socket.",
        c"Empty: the first of unix_socket_directories. The value off switches the Unix socket off.",
        &SOCKET_DIRECTORY,
    );
    text(c"supabase_mcp.socket_name", c"Sets the file name of the Unix socket.", c"Empty: .s.MCP.<port>.", &SOCKET_NAME);
    text(c"supabase_mcp.socket_mode", c"Sets the permissions of the Unix socket, in octal.", c"", &SOCKET_MODE);
    text(
        c"supabase_mcp.allowed_hosts",
        c"Sets the Host values that are served on TCP besides the loopback names.",
        c"A comma-separated list; an entry without a port matches every port.",
        &ALLOWED_HOSTS,
    );
    text(
        c"supabase_mcp.allowed_origins",
        c"Sets the Origin values that are served on TCP besides the server's own.",
        c"A comma-separated list of scheme://host:port.",
        &ALLOWED_ORIGINS,
    );
    text(
        c"supabase_mcp.anonymous_role",
        c"Sets the role of callers on this machine who show no credential.",
        c"Empty: they are refused.",
        &ANONYMOUS_ROLE,
    );
    text(
        c"supabase_mcp.privileged_roles",
        c"Names the roles that are served although they are, or can become, superusers or the like.",
        c"A comma-separated list. Such a role can do anything to the server.",
        &PRIVILEGED_ROLES,
    );
    text(
        c"supabase_mcp.locked_settings",
        c"Names settings that callers can read and not change, besides those that tokens carry.",
        c"A comma-separated list of names such as app.tenant_id; they are empty for callers who carry none.",
        &LOCKED_SETTINGS,
    );
    GucRegistry::define_bool_guc(
        c"supabase_mcp.peer_equal_names",
        c"Lets an operating system user be the role of the same name without an entry in mcp.peer_map.",
        c"",
        &PEER_EQUAL_NAMES,
        Sighup,
        GucFlags::default(),
    );
    number(c"supabase_mcp.max_connections", c"Sets the number of client connections.", c"", &MAX_CONNECTIONS, 1, 100_000, count);
    number(c"supabase_mcp.max_body_bytes", c"Sets the longest request.", c"", &MAX_BODY_BYTES, 1024, 128 * 1024 * 1024, bytes);
    number(
        c"supabase_mcp.header_timeout",
        c"Sets the longest wait for the head of an HTTP request.",
        c"",
        &HEADER_TIMEOUT,
        100,
        DAY_MS,
        ms,
    );
    number(
        c"supabase_mcp.idle_timeout",
        c"Sets the longest silence on an HTTP connection that is kept open.",
        c"",
        &IDLE_TIMEOUT,
        100,
        DAY_MS,
        ms,
    );
    number(c"supabase_mcp.body_timeout", c"Sets the longest wait for the rest of a request.", c"", &BODY_TIMEOUT, 100, DAY_MS, ms);
    number(
        c"supabase_mcp.max_executors",
        c"Sets the number of processes that run calls.",
        c"Each takes a slot of max_worker_processes, as do the gateway and one keeper per active database.",
        &MAX_EXECUTORS,
        1,
        10_000,
        count,
    );
    number(
        c"supabase_mcp.spare_bridges",
        c"Sets the number of processes that wait in each active database for new end users of roles that cannot log in.",
        c"They count within max_executors, leave one place free, and are the first to make room.",
        &SPARE_BRIDGES,
        0,
        100,
        count,
    );
    number(
        c"supabase_mcp.executor_idle_timeout",
        c"Sets how long an idle process waits for another call of its role.",
        c"",
        &EXECUTOR_IDLE_TIMEOUT,
        0,
        DAY_MS,
        ms,
    );
    number(
        c"supabase_mcp.executor_max_calls",
        c"Sets the number of calls after which a process is replaced.",
        c"",
        &EXECUTOR_MAX_CALLS,
        1,
        i32::MAX,
        count,
    );
    number(c"supabase_mcp.queue_length", c"Sets how many calls of one role may wait for a process.", c"", &QUEUE_LENGTH, 0, 100_000, count);
    number(c"supabase_mcp.queue_timeout", c"Sets how long a call may wait for a process.", c"", &QUEUE_TIMEOUT, 1, DAY_MS, ms);
    number(
        c"supabase_mcp.calls_per_minute",
        c"Sets how many calls a role may make in a minute.",
        c"0 is no limit. mcp.set_limit gives a role, a token or a tool less.",
        &CALLS_PER_MINUTE,
        0,
        i32::MAX,
        count,
    );
    number(
        c"supabase_mcp.max_concurrent_calls",
        c"Sets how many calls of a role may run or wait at the same time.",
        c"0 is no limit. mcp.set_limit gives a role, a token or a tool less.",
        &MAX_CONCURRENT_CALLS,
        0,
        i32::MAX,
        count,
    );
    limit(
        c"supabase_mcp.max_rows",
        c"Sets the number of rows in one answer.",
        c"Only superusers can change it; ALTER ROLE ... SET gives a role its own.",
        &MAX_ROWS,
        1,
        i32::MAX,
        count,
    );
    limit(
        c"supabase_mcp.max_bytes",
        c"Sets the size of the rows in one answer.",
        c"Only superusers can change it; ALTER ROLE ... SET gives a role its own.",
        &MAX_BYTES,
        1024,
        64 * 1024 * 1024,
        bytes,
    );
    limit(
        c"supabase_mcp.statement_timeout",
        c"Sets how long one call may run.",
        c"The role's own statement_timeout counts as well if it is shorter; 0 leaves only that. Only superusers can change it.",
        &STATEMENT_TIMEOUT,
        0,
        DAY_MS,
        ms,
    );
    jwt::define();
    audit::define();
    metrics::define();
    offer::define();
    server::reserve_prefix();
}

/// The limits of the role that this process runs as.
pub fn limits() -> Limits {
    Limits {
        max_rows: u64::try_from(MAX_ROWS.get()).unwrap_or(1),
        max_bytes: usize::try_from(MAX_BYTES.get()).unwrap_or(1024),
        statement_timeout: STATEMENT_TIMEOUT.get(),
        rows_name: "supabase_mcp.max_rows",
        bytes_name: "supabase_mcp.max_bytes",
    }
}

/// The same for one call with caps of its own. Until the transaction ends the settings say what counts, for the tools that are SQL read them.
pub fn capped(tx: &Tx, caps: &Caps) -> Result<Limits, PgError> {
    let mut limits = limits();
    if let Some(rows) = caps.max_rows.filter(|rows| *rows < limits.max_rows) {
        limits = Limits { max_rows: rows, rows_name: "max_rows", ..limits };
        guc::set_local(tx, c"supabase_mcp.max_rows", rows)?;
    }
    if let Some(bytes) = caps.max_bytes.filter(|bytes| *bytes < limits.max_bytes as u64) {
        limits = Limits { max_bytes: bytes as usize, bytes_name: "max_bytes", ..limits };
        guc::set_local(tx, c"supabase_mcp.max_bytes", bytes)?;
    }
    if let Some(ms) = caps.timeout_ms.and_then(|ms| i32::try_from(ms).ok())
        && (limits.statement_timeout == 0 || ms < limits.statement_timeout)
    {
        limits.statement_timeout = ms.max(1);
    }
    Ok(limits)
}

/// Where clients find this server.
pub struct Address {
    /// Ends with `/mcp`, the path of `database`. `None`: TCP is off, and nobody said another address.
    pub url: Option<String>,
    pub socket: Option<PathBuf>,
    pub database: String,
}

pub fn address() -> Address {
    let config = gateway(false);
    let named = word(&PUBLIC_URL).map(|url| url.trim_end_matches('/').to_string());
    let url = match named {
        Some(url) if url.ends_with("/mcp") => Some(url),
        Some(url) => Some(format!("{url}/mcp")),
        None => config.listen_addresses.first().map(|address| {
            let host = match address.as_str() {
                "*" | "0.0.0.0" | "::" | "localhost" => "127.0.0.1".to_string(),
                v6 if v6.contains(':') => format!("[{v6}]"),
                other => other.to_string(),
            };
            format!("http://{host}:{}/mcp", config.port)
        }),
    };
    Address { url, socket: config.socket, database: config.database }
}

/// The gateway's settings as they are now. `preloaded`: how the process was started.
pub fn gateway(preloaded: bool) -> Config {
    let port = u16::try_from(PORT.get()).unwrap_or(5627);
    Config {
        version: env!("CARGO_PKG_VERSION").into(),
        preloaded,
        database: word(&DATABASE).unwrap_or_else(|| "postgres".into()),
        listen_addresses: list(&LISTEN_ADDRESSES),
        port,
        socket: socket(port),
        socket_mode: socket_mode(),
        allowed_hosts: list(&ALLOWED_HOSTS),
        allowed_origins: list(&ALLOWED_ORIGINS),
        max_connections: size(&MAX_CONNECTIONS),
        max_body_bytes: size(&MAX_BODY_BYTES),
        header_timeout: time(&HEADER_TIMEOUT),
        idle_timeout: time(&IDLE_TIMEOUT),
        body_timeout: time(&BODY_TIMEOUT),
        max_executors: size(&MAX_EXECUTORS),
        spare_bridges: size(&SPARE_BRIDGES),
        executor_idle_timeout: time(&EXECUTOR_IDLE_TIMEOUT),
        executor_max_calls: size(&EXECUTOR_MAX_CALLS) as u64,
        queue_length: size(&QUEUE_LENGTH),
        queue_timeout: time(&QUEUE_TIMEOUT),
        calls_per_minute: u32::try_from(CALLS_PER_MINUTE.get()).unwrap_or(0),
        max_concurrent_calls: u32::try_from(MAX_CONCURRENT_CALLS.get()).unwrap_or(0),
        anonymous_role: word(&ANONYMOUS_ROLE),
        privileged_roles: list(&PRIVILEGED_ROLES),
        locked_settings: list(&LOCKED_SETTINGS),
        peer_equal_names: PEER_EQUAL_NAMES.get(),
        metrics: metrics::are_served(),
        jwt: jwt::rules(),
        audit: audit::settings(),
    }
}

/// What cannot be read is taken for the strictest mode.
fn socket_mode() -> u32 {
    let text = word(&SOCKET_MODE).unwrap_or_default();
    u32::from_str_radix(&text, 8).ok().filter(|m| *m <= 0o777).unwrap_or_else(|| {
        pgrx::warning!("supabase_mcp: supabase_mcp.socket_mode \"{text}\" is not an octal mode up to 0777; 0700 is used");
        0o700
    })
}

fn socket(port: u16) -> Option<PathBuf> {
    let directory = match word(&SOCKET_DIRECTORY) {
        Some(off) if off == "off" => return None,
        Some(directory) => directory,
        None => server::unix_socket_directories().split(',').map(str::trim).find(|d| !d.is_empty())?.to_string(),
    };
    Some(PathBuf::from(directory).join(word(&SOCKET_NAME).unwrap_or_else(|| format!(".s.MCP.{port}"))))
}

fn word(setting: &GucSetting<Option<CString>>) -> Option<String> {
    setting.get().map(|s| s.to_string_lossy().trim().to_string()).filter(|s| !s.is_empty())
}

fn list(setting: &GucSetting<Option<CString>>) -> Vec<String> {
    word(setting).map_or_else(Vec::new, |s| s.split(',').map(|w| w.trim().to_string()).filter(|w| !w.is_empty()).collect())
}

fn size(setting: &GucSetting<i32>) -> usize {
    usize::try_from(setting.get()).unwrap_or(0)
}

fn time(setting: &GucSetting<i32>) -> Duration {
    Duration::from_millis(u64::try_from(setting.get()).unwrap_or(0))
}
