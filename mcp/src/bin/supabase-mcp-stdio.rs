//! `supabase-mcp-stdio`: carries an MCP client that speaks stdio only to a database's MCP socket or URL.
//!
//! Owns: its own standard input and output, and one connection. A process of its own beside the client, one thread; the
//! database never starts it. It copies lines and understands none of them: no message is parsed, changed or held back, except
//! that requests are answered with an error when there is no connection. It must not print anything but JSON-RPC on standard
//! output, and never a token anywhere.

#![forbid(unsafe_code)]

#[path = "stdio/target.rs"]
mod target;

use std::env;
use std::io::Write as _;
use std::process::ExitCode;
use target::{Address, Target};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixStream};

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

impl Target {
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

/// What a refusal says: the message of a JSON-RPC error, or the text as it is.
fn reason(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|body| body.pointer("/error/message")?.as_str());
    let text = message.map_or_else(|| String::from_utf8_lossy(body), Into::into);
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

    #[test]
    fn a_refusal_is_told_in_its_own_words() {
        assert_eq!(reason(br#"{"jsonrpc":"2.0","id":null,"error":{"code":403,"message":"no such host"}}"#), ": no such host");
        assert_eq!(reason(b" busy\n"), ": busy");
        assert_eq!(reason(b""), "");
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
