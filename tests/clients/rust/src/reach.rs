//! The ways to the server: newline-delimited messages or HTTP on its Unix socket, HTTP on TCP, a child process.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rmcp::RoleClient;
use rmcp::model::ClientConfig;
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, RunningService};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::Anything;

/// Longest answer to an upgrade, in bytes.
const HEAD_BYTES: usize = 8192;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// One message a line, on this Unix socket.
    Newline(PathBuf),
    /// Streamable HTTP on this Unix socket.
    Socket(String),
    /// Streamable HTTP at this URL.
    Url(String),
    /// The standard input and output of this command.
    Command(Vec<String>),
}

pub async fn connect(
    client: ClientConfig,
    way: Way,
    token: Option<String>,
    lifecycle: ClientLifecycleMode,
) -> Result<RunningService<RoleClient, ClientConfig>, Anything> {
    let running = match way {
        Way::Newline(path) => client.serve_with_lifecycle(newline(&path, token).await?, lifecycle).await?,
        Way::Socket(path) => {
            let config = http("http://localhost/mcp", token);
            let transport = StreamableHttpClientTransport::from_unix_socket_with_config(&path, config);
            client.serve_with_lifecycle(transport, lifecycle).await?
        }
        Way::Url(url) => {
            let transport = StreamableHttpClientTransport::from_config(http(&url, token));
            client.serve_with_lifecycle(transport, lifecycle).await?
        }
        Way::Command(words) => client.serve_with_lifecycle(child(&words, token)?, lifecycle).await?,
    };
    Ok(running)
}

fn http(url: &str, token: Option<String>) -> StreamableHttpClientTransportConfig {
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    match token {
        Some(token) => config.auth_header(token),
        None => config,
    }
}

/// A connection whose peer the server knows needs no word before the messages; a token is given in an HTTP upgrade.
async fn newline(path: &Path, token: Option<String>) -> Result<UnixStream, Anything> {
    let mut stream = UnixStream::connect(path).await?;
    let Some(token) = token else { return Ok(stream) };
    let upgrade =
        format!("GET /mcp HTTP/1.1\r\nHost: localhost\r\nUpgrade: mcp\r\nConnection: upgrade\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(upgrade.as_bytes()).await?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head is the library's.
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES {
        head.push(stream.read_u8().await?);
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        return Err(String::from_utf8_lossy(&head).into());
    }
    Ok(stream)
}

fn child(words: &[String], token: Option<String>) -> Result<TokioChildProcess, Anything> {
    let (program, arguments) = words.split_first().ok_or("a command without a word")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stderr(Stdio::inherit());
    if let Some(token) = token {
        command.env("SUPABASE_MCP_TOKEN", token);
    }
    Ok(TokioChildProcess::new(command)?)
}
