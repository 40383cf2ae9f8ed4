//! One connection: newline-delimited JSON-RPC or HTTP/1.1 with keep-alive, over a Unix socket or TCP.
//!
//! Owns the socket, its buffer and the text around the arguments, which is made once. Runs on the thread that has the connection. It
//! must not allocate per call beyond the request, nor understand more of an answer than where it ends.

use crate::Options;
use memchr::{memchr, memmem::find};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

#[derive(Clone, Copy, PartialEq)]
pub enum Framing {
    Newline,
    Http,
}

enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Unix(stream) => stream.as_fd(),
            Socket::Tcp(stream) => stream.as_fd(),
        }
    }
}

impl Socket {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Unix(stream) => stream.write_all(bytes),
            Self::Tcp(stream) => stream.write_all(bytes),
        }
    }
}

pub struct Client {
    socket: Socket,
    framing: Framing,
    /// Bytes received; `used` of them belong to the answer that was given out last.
    buffer: Vec<u8>,
    filled: usize,
    used: usize,
    /// How much of the unread part holds no newline.
    searched: usize,
    /// The request's text before and behind the random number; one part when there is none.
    parts: Vec<String>,
    head: String,
}

impl Client {
    pub fn connect(options: &Options) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot connect to {}: {error}", options.connect);
        let (socket, host) = if let Some(path) = options.connect.strip_prefix("unix:") {
            (Socket::Unix(UnixStream::connect(path).map_err(failed)?), "localhost")
        } else if let Some(address) = options.connect.strip_prefix("tcp:") {
            let stream = TcpStream::connect(address).map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            (Socket::Tcp(stream), address)
        } else {
            return Err(format!("\"{}\" is neither unix:PATH nor tcp:HOST:PORT", options.connect));
        };
        let path = options.database.as_deref().map(|name| format!("/{name}")).unwrap_or_default();
        let authorization = options.token.as_deref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let modern = options.revision.as_str() >= "2026-07-28";
        let routing = if modern { format!("Mcp-Method: tools/call\r\nMcp-Name: {}\r\n", options.tool) } else { String::new() };
        let head = format!(
            "POST /mcp{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {}\r\n{routing}{authorization}Content-Length: ",
            options.revision
        );
        let mut client = Self {
            socket,
            framing: options.framing,
            buffer: vec![0; 256 * 1024],
            filled: 0,
            used: 0,
            searched: 0,
            parts: request_parts(options, modern)?,
            head,
        };
        if options.framing == Framing::Newline {
            if options.token.is_some() || options.database.is_some() {
                client.upgrade(&format!(
                    "GET /mcp{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: mcp\r\nConnection: upgrade\r\n{authorization}\r\n"
                ))?;
            }
            if !modern {
                client.initialize(&options.revision)?;
            }
        }
        Ok(client)
    }

    fn upgrade(&mut self, request: &str) -> Result<(), String> {
        self.send(request.as_bytes())?;
        let end = loop {
            if let Some(at) = find(self.unread(), b"\r\n\r\n") {
                break at;
            }
            self.fill()?;
        };
        let head = String::from_utf8_lossy(self.unread().get(..end).unwrap_or_default()).into_owned();
        self.used += end + 4;
        if head.starts_with("HTTP/1.1 101") { Ok(()) } else { Err(format!("the server did not switch to newline framing: {head}")) }
    }

    fn initialize(&mut self, revision: &str) -> Result<(), String> {
        let request = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "load", "version": "1"}}});
        let answer = String::from_utf8_lossy(self.call(format!("{request}\n").as_bytes())?).into_owned();
        if !answer.contains("\"result\"") {
            return Err(format!("initialize was refused: {answer}"));
        }
        self.send(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n")
    }

    /// The bytes of one request.
    pub fn request(&self, number: u64) -> Vec<u8> {
        let body = self.parts.join(&number.to_string());
        match self.framing {
            Framing::Newline => body.into_bytes(),
            Framing::Http => format!("{}{}\r\n\r\n{body}", self.head, body.len()).into_bytes(),
        }
    }

    /// Sends a request and waits for the answer's JSON text.
    pub fn call(&mut self, request: &[u8]) -> Result<&[u8], String> {
        self.send(request)?;
        loop {
            if let Some((start, end)) = self.whole_answer()? {
                return self.buffer.get(start..end).ok_or_else(|| "the answer lies outside the buffer".into());
            }
            self.fill()?;
        }
    }

    /// Takes in what has arrived, and gives back the answer's JSON text if that was the rest of it. Waits unless something has.
    pub fn receive(&mut self) -> Result<Option<&[u8]>, String> {
        self.fill()?;
        Ok(self.whole_answer()?.and_then(|(start, end)| self.buffer.get(start..end)))
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.socket.write_all(bytes).map_err(|error| format!("the connection broke while writing: {error}"))
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.used..self.filled).unwrap_or_default()
    }

    /// Waits for more bytes. What was given out before is let go first, so positions relative to `used` stay true.
    fn fill(&mut self) -> Result<(), String> {
        if self.used > 0 {
            self.buffer.copy_within(self.used..self.filled, 0);
            self.filled -= self.used;
            self.used = 0;
        }
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
        match self.socket.read(free) {
            Ok(0) => Err("the server closed the connection".into()),
            Ok(count) => {
                self.filled += count;
                Ok(())
            }
            Err(error) => Err(format!("the connection broke while reading: {error}")),
        }
    }

    /// The next answer's place in the buffer, once all of it is there.
    fn whole_answer(&mut self) -> Result<Option<(usize, usize)>, String> {
        match self.framing {
            Framing::Newline => Ok(self.line()),
            Framing::Http => self.body(),
        }
    }

    fn line(&mut self) -> Option<(usize, usize)> {
        let found = self.unread().get(self.searched..).and_then(|rest| memchr(b'\n', rest));
        let Some(at) = found else {
            self.searched = self.unread().len();
            return None;
        };
        let start = self.used;
        let end = start + self.searched + at;
        self.used = end + 1;
        self.searched = 0;
        Some((start, end))
    }

    fn body(&mut self) -> Result<Option<(usize, usize)>, String> {
        let Some(head_end) = find(self.unread(), b"\r\n\r\n") else { return Ok(None) };
        let head = self.unread().get(..head_end).unwrap_or_default();
        let length = content_length(head).ok_or_else(|| format!("an answer without Content-Length: {}", String::from_utf8_lossy(head)))?;
        let whole = head_end + 4 + length;
        if self.unread().len() < whole {
            return Ok(None);
        }
        let good = head.starts_with(b"HTTP/1.1 200");
        if !good {
            return Err(format!("the server refused: {}", String::from_utf8_lossy(self.unread().get(..whole).unwrap_or_default())));
        }
        let (start, end) = (self.used + head_end + 4, self.used + whole);
        self.used = end;
        Ok(Some((start, end)))
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
        if !name.eq_ignore_ascii_case(b"content-length") {
            return None;
        }
        std::str::from_utf8(value.get(1..)?).ok()?.trim().parse().ok()
    })
}

fn request_parts(options: &Options, modern: bool) -> Result<Vec<String>, String> {
    let arguments: Value = serde_json::from_str(&options.arguments).map_err(|error| format!("--arguments: {error}"))?;
    let mut params = json!({"name": options.tool, "arguments": arguments});
    if modern && let Some(params) = params.as_object_mut() {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": options.revision,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "load", "version": "1"},
        });
        params.insert("_meta".into(), meta);
    }
    let mut text = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    if options.framing == Framing::Newline {
        text.push('\n');
    }
    Ok(text.split("%d").map(str::to_owned).collect())
}
