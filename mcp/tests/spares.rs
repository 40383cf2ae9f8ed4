//! Spare bridges, seen from the gateway: executors of our own that count themselves, callers that are all end users of one role.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use mcp::config::Config;
use mcp::ipc::{self, Decoder};
use mcp::types::{Form, Job, Outcome, Reply, Ticket};
use serde_json::{Value, json};

use host::{Channel, wait_until};

mod host;

const ROLE: u32 = 10;
const BRIDGE: u32 = 9;

/// Executors that said hello, jobs that are to be answered with *stale*, questions that the keeper got.
static STARTED: AtomicU64 = AtomicU64::new(0);
static STALE: AtomicU64 = AtomicU64::new(0);
static ASKED: AtomicU64 = AtomicU64::new(0);

fn process(ticket: Ticket, mut channel: Channel) {
    let number = if ticket.form == Form::Keeper { 0 } else { STARTED.fetch_add(1, Ordering::SeqCst) + 1 };
    while let Some((job, arguments)) = channel.job() {
        let (outcome, payload) = match ticket.form {
            Form::Keeper => (Outcome::Ok, keeper(&arguments)),
            _ => executor(&ticket, &job, number),
        };
        let reply = Reply { id: job.id, outcome, untrusted: false, leaving: job.tool == "leave", facts: None };
        if !channel.reply(&reply, payload.to_string().as_bytes()) || reply.leaving {
            return;
        }
    }
}

/// Every token is an end user of the one role, which cannot log in.
fn keeper(question: &[u8]) -> Value {
    ASKED.fetch_add(1, Ordering::SeqCst);
    let question: Value = serde_json::from_slice(question).unwrap();
    json!({"found": true, "principal": question["token"], "role_oid": ROLE, "role": "r", "can_login": false, "bridge_oid": BRIDGE,
        "connection_limit": -1, "can_connect": true, "read_only": false})
}

fn executor(ticket: &Ticket, job: &Job, number: u64) -> (Outcome, Value) {
    assert_eq!((ticket.form, ticket.role, job.role), (Form::Bridge, BRIDGE, ROLE), "connected as the bridge, bound by the job");
    if STALE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
        return (Outcome::Stale, json!({}));
    }
    (Outcome::Ok, json!({"process": number}))
}

/// The socket of the one gateway, for one test at a time.
fn gateway() -> (MutexGuard<'static, ()>, PathBuf) {
    static ONE: Mutex<()> = Mutex::new(());
    static SOCKET: OnceLock<PathBuf> = OnceLock::new();
    let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let config = || Config { max_executors: 20, queue_length: 1000, ..Config::default() };
    (turn, SOCKET.get_or_init(|| host::start(config(), process)).clone())
}

/// Number of the process that ran a call of the end user with this token.
fn call(socket: &PathBuf, token: &str, tool: &str) -> u64 {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}}).to_string();
    let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
                MCP-Protocol-Version: 2025-11-25\r\nConnection: close\r\n";
    write!(stream, "{head}Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"));
    body["result"]["structuredContent"]["process"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

fn asked() -> u64 {
    ASKED.load(Ordering::SeqCst)
}

/// How many spares the gateway's status tells of.
fn waiting() -> usize {
    let mut stream = UnixStream::connect(ipc::INTERNAL_SOCKET).unwrap();
    stream.write_all(&ipc::encode(ipc::KIND_ADMIN, br#"{"command": "status"}"#)).unwrap();
    let mut decoder = Decoder::new(ipc::MAX_FRAME);
    stream.read_to_end(decoder.buffer()).unwrap();
    let status: Value = serde_json::from_slice(&decoder.next_frame().unwrap().unwrap().body).unwrap();
    status["executors"]["spare"].as_array().unwrap().len()
}

/// An end user calls, and then a spare waits: its number. It was started after the user's process, and no other was.
fn spare_after(socket: &PathBuf, token: &str) -> u64 {
    let process = call(socket, token, "who");
    wait_until("a spare waits", || waiting() == 1);
    assert_eq!(STARTED.load(Ordering::SeqCst), process + 1);
    process + 1
}

#[test]
fn each_new_end_user_takes_the_spare_and_keeps_it() {
    let (_turn, socket) = gateway();
    let mut spare = spare_after(&socket, "first");
    for user in ["second", "third", "fourth"] {
        let next = spare_after(&socket, user);
        assert_eq!(next, spare + 1, "the user has the one that was waiting, and another has taken its place");
        assert_eq!(call(&socket, user, "who"), spare, "bound for life");
        spare = next;
    }
}

#[test]
fn a_login_that_is_older_than_the_spare_is_looked_up_again() {
    let (_turn, socket) = gateway();
    let spare = spare_after(&socket, "someone");
    let before = asked();
    assert_eq!(call(&socket, "user", "leave"), spare);
    assert_eq!(asked(), before + 1, "the spare was there before the login was read");
    wait_until("another spare", || waiting() == 1);
    assert_eq!(call(&socket, "user", "who"), spare + 1);
    assert_eq!(asked(), before + 2, "the login is older than this one");
    assert_eq!(call(&socket, "user", "who"), spare + 1);
    assert_eq!(asked(), before + 2);
    wait_until("the place is filled", || waiting() == 1);
}

#[test]
fn a_spare_that_saw_a_change_is_asked_again_after_the_login() {
    let (_turn, socket) = gateway();
    let spare = spare_after(&socket, "anyone");
    let before = asked();
    STALE.store(1, Ordering::SeqCst);
    assert_eq!(call(&socket, "stale user", "who"), spare, "it has run nothing, and is the user's now");
    assert_eq!(asked(), before + 2);
    wait_until("the place is filled", || waiting() == 1);
}
