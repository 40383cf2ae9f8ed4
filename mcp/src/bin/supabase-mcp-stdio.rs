//! `supabase-mcp-stdio`: carries an MCP client that speaks stdio only to a database's MCP socket or URL.
//!
//! Owns: its own standard input and output, and one connection. A process of its own beside the client, one thread; the
//! database never starts it. It copies lines and understands none of them: no message is parsed, changed or held back, except
//! that requests are answered with an error when there is no connection. It must not print anything but JSON-RPC on standard
//! output, and never a token anywhere.

#![forbid(unsafe_code)]

use std::env;
use std::io::Write as _;
use std::process::ExitCode;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixStream};

const DEFAULT_SOCKET: &str = "/var/run/postgresql/.s.MCP.5627";
const DEFAULT_PORT: u16 = 5627;
/// The longest answer to the upgrade request that is read: a few headers and a short error text.
const MAX_HEAD: usize = 16 * 1024;

const HELP: &str = "\
Carries an MCP client that speaks stdio to a PostgreSQL server with supabase_mcp.

Usage: supabase-mcp-stdio [SOCKET | URL]

  SOCKET  a Unix socket: /path/to/.s.MCP.5627 or unix:/path/to/.s.MCP.5627
          (default: /var/run/postgresql/.s.MCP.5627)
  URL     http://host:port/mcp or http://host:port/mcp/database

Environment:
  SUPABASE_MCP_TOKEN     a token made by mcp.create_token(); without one the
                         socket tells the server which OS user is calling
  SUPABASE_MCP_DATABASE  the database, where SOCKET or URL names none
";

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

#[derive(Debug, PartialEq)]
enum Address {
    Unix(String),
    Tcp { host: String, port: u16 },
}

/// Where to connect, and how to introduce ourselves there.
#[derive(Debug, PartialEq)]
struct Target {
    address: Address,
    database: Option<String>,
    token: Option<String>,
}

impl Target {
    fn parse(argument: Option<&str>, token: Option<String>, database: Option<String>) -> Result<Self, String> {
        let (address, named) = match argument {
            None | Some("") => (Address::Unix(DEFAULT_SOCKET.into()), None),
            Some(url) if url.starts_with("https://") => {
                return Err("https:// is not supported: supabase-mcp-stdio has no TLS. Use the Unix socket, http:// on the loopback \
                            interface, or an SSH tunnel to either"
                    .into());
            }
            Some(url) if url.starts_with("http://") => parse_url(url)?,
            Some(path) => {
                let path = path.strip_prefix("unix://").or_else(|| path.strip_prefix("unix:")).unwrap_or(path);
                if !path.starts_with('/') {
                    return Err(format!("\"{path}\" is neither an absolute socket path nor an http:// URL"));
                }
                (Address::Unix(path.into()), None)
            }
        };
        let token = token.filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err("SUPABASE_MCP_TOKEN holds characters that no token has".into());
        }
        Ok(Self { address, database: named.or(database).filter(|name| !name.is_empty()), token })
    }

    /// The request that turns an HTTP connection into newline-delimited JSON-RPC; none where the socket can be used as it is.
    fn upgrade(&self) -> Option<String> {
        let host = match &self.address {
            Address::Unix(_) if self.token.is_none() && self.database.is_none() => return None,
            Address::Unix(_) => "localhost".to_owned(),
            Address::Tcp { host, port } => format!("{host}:{port}"),
        };
        let path = self.database.as_deref().map(|name| format!("/{}", percent_encode(name))).unwrap_or_default();
        let authorization = self.token.as_deref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        Some(format!("GET /mcp{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: mcp\r\nConnection: upgrade\r\n{authorization}\r\n"))
    }

    fn describe(&self) -> String {
        match &self.address {
            Address::Unix(path) => path.clone(),
            Address::Tcp { host, port } => format!("{host}:{port}"),
        }
    }

    /// Connects and introduces itself. The second part is what the server sent behind its answer to the introduction.
    async fn connect(&self) -> Result<(Box<dyn Stream>, Vec<u8>), String> {
        let refused = |error: std::io::Error| format!("cannot connect to {}: {error}{}", self.describe(), hint(&error));
        let mut stream: Box<dyn Stream> = match &self.address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(refused)?),
            Address::Tcp { host, port } => {
                let name = host.trim_start_matches('[').trim_end_matches(']');
                let stream = TcpStream::connect((name, *port)).await.map_err(refused)?;
                stream.set_nodelay(true).map_err(refused)?;
                Box::new(stream)
            }
        };
        let Some(request) = self.upgrade() else { return Ok((stream, Vec::new())) };
        stream.write_all(request.as_bytes()).await.map_err(refused)?;
        let rest = expect_switch(&mut stream).await.map_err(|error| format!("{}: {error}", self.describe()))?;
        Ok((stream, rest))
    }
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
            ". Is the server running, and has `create extension supabase_mcp` been run in it?"
        }
        std::io::ErrorKind::PermissionDenied => ". The socket's directory or mode keeps this OS user out",
        _ => "",
    }
}

fn parse_url(url: &str) -> Result<(Address, Option<String>), String> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, "mcp"));
    if authority.contains('@') {
        return Err("a URL with a user or password in it is refused: put the token into SUPABASE_MCP_TOKEN".into());
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| format!("\"{port}\" in \"{url}\" is not a port number"))?)
        }
        _ => (authority, DEFAULT_PORT),
    };
    if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("\"{url}\" names no host"));
    }
    let database = match path.trim_end_matches('/') {
        "" | "mcp" => None,
        path => match path.strip_prefix("mcp/") {
            Some(name) if !name.contains(['/', '?', '#']) => Some(percent_decode(name)?),
            _ => return Err(format!("the path of \"{url}\" must be /mcp or /mcp/database")),
        },
    };
    Ok((Address::Tcp { host: host.into(), port }, database))
}

fn percent_encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn percent_decode(name: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = [bytes.next().unwrap_or(b'?'), bytes.next().unwrap_or(b'?')];
        let value = std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(value.ok_or_else(|| format!("\"{name}\" has a % that is not followed by two hexadecimal digits"))?);
    }
    String::from_utf8(out).map_err(|_| format!("\"{name}\" is not UTF-8"))
}

/// Reads the answer to the upgrade request; gives back what came after its head.
async fn expect_switch(stream: &mut Box<dyn Stream>) -> Result<Vec<u8>, String> {
    let mut seen = Vec::with_capacity(1024);
    let end = loop {
        if let Some(at) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if seen.len() > MAX_HEAD {
            return Err("the server's answer is no HTTP".into());
        }
        match stream.read_buf(&mut seen).await {
            Ok(0) => return Err("the server closed the connection before it answered".into()),
            Ok(_) => {}
            Err(error) => return Err(format!("the connection broke: {error}")),
        }
    };
    let rest = seen.split_off(end);
    let head = String::from_utf8_lossy(&seen);
    let status = head.split(' ').nth(1).unwrap_or("");
    match status {
        "101" => Ok(rest),
        "401" => Err("the server asks for a credential (401): put a token made by mcp.create_token() into SUPABASE_MCP_TOKEN".into()),
        _ => Err(format!("the server refused ({}){}", head.lines().next().unwrap_or("no status"), reason(&rest))),
    }
}

fn reason(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!(": {}", text.chars().take(500).collect::<String>()) }
}

/// The error answer to one line of a client that we could not connect for; none for notifications and for what is no request.
fn error_answer(line: &str, message: &str) -> Option<String> {
    let request: serde_json::Value = serde_json::from_str(line).ok()?;
    let id = request.get("id").filter(|id| !id.is_null())?;
    request.get("method")?;
    Some(serde_json::json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": message}}).to_string())
}

/// Tells the client why there is nobody behind this bridge: it shows an answer to its user, but not always standard error.
async fn answer_with_error(message: &str) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut out = tokio::io::stdout();
    while let Ok(Some(line)) = lines.next_line().await {
        let Some(answer) = error_answer(&line, message) else { continue };
        if out.write_all(format!("{answer}\n").as_bytes()).await.is_err() || out.flush().await.is_err() {
            return;
        }
    }
}

/// Copies until either side ends. When the client ends its input the server may still be answering, so only our half closes.
async fn carry(stream: Box<dyn Stream>, first: Vec<u8>) -> std::io::Result<()> {
    let (mut from_server, mut to_server) = tokio::io::split(stream);
    let upward = async {
        let mut input = tokio::io::stdin();
        tokio::io::copy(&mut input, &mut to_server).await?;
        to_server.shutdown().await
    };
    let downward = async {
        let mut output = tokio::io::stdout();
        output.write_all(&first).await?;
        output.flush().await?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = from_server.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            output.write_all(buffer.get(..count).unwrap_or_default()).await?;
            output.flush().await?;
        }
    };
    tokio::pin!(upward, downward);
    tokio::select! {
        ended = &mut downward => ended,
        sent = &mut upward => match sent {
            Ok(()) => downward.await,
            Err(error) => Err(error),
        },
    }
}

async fn bridge(target: Result<Target, String>) -> ExitCode {
    let connected = match target {
        Ok(target) => target.connect().await,
        Err(message) => Err(message),
    };
    let failure = match connected {
        Ok((stream, first)) => match carry(stream, first).await {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("the connection broke: {error}"));
                return ExitCode::FAILURE;
            }
        },
        Err(message) => message,
    };
    complain(&failure);
    answer_with_error(&format!("supabase-mcp-stdio: {failure}")).await;
    ExitCode::FAILURE
}

fn complain(message: &str) {
    // Nobody is left to tell when standard error is closed as well.
    let _ = writeln!(std::io::stderr(), "supabase-mcp-stdio: {message}");
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("-h" | "--help") => return print(HELP),
        Some("-V" | "--version") => return print(concat!("supabase-mcp-stdio ", env!("CARGO_PKG_VERSION"), "\n")),
        _ => {}
    }
    let variable = |name| env::var(name).ok();
    let target = match arguments.len() {
        0 | 1 => Target::parse(arguments.first().map(String::as_str), variable("SUPABASE_MCP_TOKEN"), variable("SUPABASE_MCP_DATABASE")),
        _ => Err("too many arguments; see --help".into()),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(bridge(target));
    // A read of standard input cannot be called off; waiting for it would keep the process alive after the server has gone.
    runtime.shutdown_background();
    code
}

fn print(text: &str) -> ExitCode {
    if std::io::stdout().write_all(text.as_bytes()).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(argument: &str) -> Result<Target, String> {
        Target::parse(Some(argument), None, None)
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[test]
    fn nothing_means_the_stock_socket_without_an_introduction() {
        let target = Target::parse(None, None, None).unwrap();
        assert_eq!(target.address, Address::Unix(DEFAULT_SOCKET.into()));
        assert_eq!(target.upgrade(), None);
    }

    #[test]
    fn a_socket_may_be_written_in_three_ways() {
        for text in ["/run/x/.s.MCP.1", "unix:/run/x/.s.MCP.1", "unix:///run/x/.s.MCP.1"] {
            assert_eq!(parse(text).unwrap().address, Address::Unix("/run/x/.s.MCP.1".into()), "{text}");
        }
    }

    #[test]
    fn urls_name_host_port_and_database() {
        assert_eq!(parse("http://127.0.0.1:5627/mcp").unwrap().address, tcp("127.0.0.1", 5627));
        assert_eq!(parse("http://localhost").unwrap().address, tcp("localhost", DEFAULT_PORT));
        assert_eq!(parse("http://[::1]:99/mcp").unwrap().address, tcp("[::1]", 99));
        assert_eq!(parse("http://[::1]/mcp").unwrap().address, tcp("[::1]", DEFAULT_PORT));
        assert_eq!(parse("http://h:1/mcp/my%20shop").unwrap().database.as_deref(), Some("my shop"));
        assert_eq!(parse("http://h:1/mcp/").unwrap().database, None);
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_reason() {
        for (text, part) in [
            ("https://h/mcp", "no TLS"),
            ("relative/path", "absolute socket path"),
            ("http://h:port/mcp", "port number"),
            ("http:///mcp", "no host"),
            ("http://h/other", "/mcp or /mcp/database"),
            ("http://h/mcp/a/b", "/mcp or /mcp/database"),
            ("http://u:p@h/mcp", "SUPABASE_MCP_TOKEN"),
            ("http://h/mcp/%zz", "hexadecimal"),
        ] {
            assert!(parse(text).unwrap_err().contains(part), "{text}");
        }
        let smuggled = Target::parse(None, Some("x\r\nHost: y".into()), None);
        assert!(smuggled.unwrap_err().contains("SUPABASE_MCP_TOKEN"));
    }

    #[test]
    fn a_token_or_a_database_needs_the_introduction() {
        let target = Target::parse(None, Some("mcp_t".into()), Some("sho p".into())).unwrap();
        let request = target.upgrade().unwrap();
        assert!(request.starts_with("GET /mcp/sho%20p HTTP/1.1\r\nHost: localhost\r\nUpgrade: mcp\r\n"), "{request}");
        assert!(request.ends_with("Authorization: Bearer mcp_t\r\n\r\n"), "{request}");
    }

    #[test]
    fn the_database_of_the_url_wins_over_the_environment() {
        let target = Target::parse(Some("http://h:1/mcp/a"), None, Some("b".into())).unwrap();
        assert_eq!(target.database.as_deref(), Some("a"));
    }

    #[test]
    fn only_requests_are_answered_when_there_is_no_connection() {
        let answer = error_answer(r#"{"jsonrpc":"2.0","id":"a","method":"initialize"}"#, "no").unwrap();
        assert_eq!(answer, r#"{"error":{"code":-32000,"message":"no"},"id":"a","jsonrpc":"2.0"}"#);
        assert_eq!(error_answer(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, "no"), None);
        assert_eq!(error_answer(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "no"), None);
        assert_eq!(error_answer("not json", "no"), None);
    }
}
