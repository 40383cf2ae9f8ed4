//! What the tests of the gateway share: its start, processes of ours in the place of Postgres', and waiting.
//!
//! One runtime per test binary, in a working directory of its own, because the private socket's name is relative. The processes are threads that speak
//! the real frames. Knows nothing of what they answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp::config::Config;
use mcp::host::{Database, Demand, Host};
use mcp::ipc::{self, Decoder};
use mcp::types::{Job, Reply, Ticket};
use serde_json::json;

/// There is one database, postgres.
struct FakeHost {
    process: fn(Ticket, Channel),
}

impl Host for FakeHost {
    fn demand(&self, demand: Demand) {
        match demand {
            Demand::Spawn { ticket, .. } => {
                let process = self.process;
                drop(std::thread::spawn(move || {
                    let channel = Channel::open(&ticket);
                    process(ticket, channel);
                }));
            }
            Demand::Resolve { database, answer } => {
                let known = (database == "postgres").then_some(Database { oid: 5, allows_connections: true });
                let _ = answer.send(known);
            }
            Demand::Made { .. } | Demand::Databases { .. } | Demand::Unused => {}
            Demand::Log { message, .. } => eprintln!("{message}"),
        }
    }
}

/// Starts the gateway with a Unix socket alone, whose name this is. `process`: the body of an executor or a keeper.
pub fn start(config: Config, process: fn(Ticket, Channel)) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("mcp-test-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::env::set_current_dir(&directory).unwrap();
    // Cancels and terminations are for processes, which all are this one.
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::default()).unwrap();
    }
    let socket = directory.join("s");
    let config = Config { preloaded: true, listen_addresses: vec![], socket: Some(socket.clone()), ..config };
    let (control, body) = mcp::runtime::prepare(config, Arc::new(FakeHost { process }));
    std::thread::spawn(move || {
        body().unwrap();
        drop(control);
    });
    wait_until("the gateway opens its socket", || socket.exists());
    socket
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A process's end of the private socket.
pub struct Channel {
    pub stream: UnixStream,
    decoder: Decoder,
}

impl Channel {
    fn open(ticket: &Ticket) -> Channel {
        let stream = UnixStream::connect(ipc::INTERNAL_SOCKET).unwrap();
        let mut channel = Channel { stream, decoder: Decoder::new(ipc::MAX_FRAME) };
        let hello = json!({"secret": ticket.secret}).to_string();
        assert!(channel.send(&ipc::encode(ipc::KIND_HELLO, hello.as_bytes())));
        channel
    }

    /// The next frame's kind and body. `None`: the gateway has closed the socket, or the stream's time is up.
    pub fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut chunk = [0; 65536];
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some((frame.kind, frame.body));
            }
            match self.stream.read(&mut chunk) {
                Ok(n) if n > 0 => self.decoder.feed(&chunk[..n]),
                _ => return None,
            }
        }
    }

    /// The next job, with its arguments.
    pub fn job(&mut self) -> Option<(Job, Vec<u8>)> {
        self.next().map(|(_, body)| ipc::split(body).unwrap())
    }

    /// Whether the gateway is still there to take it.
    pub fn send(&mut self, frame: &[u8]) -> bool {
        self.stream.write_all(frame).is_ok()
    }

    /// As `send`.
    pub fn reply(&mut self, reply: &Reply, payload: &[u8]) -> bool {
        self.send(&ipc::encode_reply(reply, payload))
    }
}
