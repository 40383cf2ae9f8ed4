//! Batches of the audit trail, seen from a keeper of our own: two are on their way at a time, and what happens when either is lost or refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Barrier, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use mcp::audit::line::{lines, parts};
use mcp::config::Config;
use mcp::ipc::{self, KIND_ASK, KIND_WORD};
use mcp::types::{Ask, BatchHead, Facts, Form, JobKind, Outcome, Recorded, Reply, Ticket, Word};
use serde_json::{Value, json};

use host::{Channel, wait_until};

mod host;

/// What the keeper does with the next two batches, once it has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Writes them.
    None,
    /// Writes neither, and ends.
    Lose,
    /// Writes both, and ends without having said so.
    LoseAnswers,
    /// Writes the second alone.
    Refuse,
    /// The same, but does not wait long for a second.
    RefuseFirst,
}

/// The keeper's table.
struct Trail {
    /// Batches in the order in which they were written, each with the id of its first row.
    written: Vec<(String, i64)>,
    rows: Vec<String>,
    /// `Some`: of the next two batches.
    fault: Option<Fault>,
    /// Those that wait for it.
    held: Vec<String>,
    /// Ids of callers, and rows of others.
    callers: Vec<String>,
    strangers: u64,
}

static TRAIL: Mutex<Trail> =
    Mutex::new(Trail { written: Vec::new(), rows: Vec::new(), fault: None, held: Vec::new(), callers: Vec::new(), strangers: 0 });

/// Calls of this tool run at the same time, in two executors.
static MEETING: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(2));

fn trail() -> MutexGuard<'static, Trail> {
    TRAIL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trail {
    /// As mcp._audit_begin does: one of the last two batches is known by its name.
    fn write(&mut self, message: &[u8]) -> i64 {
        let (head, text) = read(message);
        if let Some((_, first)) = self.written.iter().rev().take(2).find(|(name, _)| *name == head.batch) {
            return *first;
        }
        self.callers
            .extend(head.callers.iter().map(|who| serde_json::from_str::<Value>(who.get()).unwrap()["id"].as_str().unwrap().to_string()));
        for row in lines(&text) {
            let caller = row.split('\t').nth(2).unwrap();
            if caller != "\\N" && !self.callers.iter().any(|known| known == caller) {
                self.strangers += 1;
            }
        }
        let first = self.rows.len() as i64 + 1;
        self.rows.extend(lines(&text).map(str::to_string));
        assert_eq!(self.rows.len() as i64 + 1 - first, head.rows as i64);
        self.written.push((head.batch, first));
        first
    }
}

fn read(message: &[u8]) -> (BatchHead, String) {
    let (rows, head) = parts(std::str::from_utf8(message).unwrap());
    (serde_json::from_str(head).unwrap(), rows.to_string())
}

fn process(ticket: Ticket, channel: Channel) {
    if ticket.form == Form::Keeper { keeper(channel) } else { executor(channel) }
}

fn reply(channel: &mut Channel, id: u64, outcome: Outcome, facts: Option<Facts>, payload: &Value) {
    let reply = Reply { id, outcome, untrusted: false, leaving: false, facts: facts.map(Box::new) };
    assert!(channel.reply(&reply, payload.to_string().as_bytes()));
}

fn refuse(channel: &mut Channel, id: u64) {
    let error = json!({"error": {"kind": "internal", "message": "out of ink", "sqlstate": "53100"}});
    reply(channel, id, Outcome::Error, None, &error);
}

/// Every call may write: it asks first.
fn executor(mut channel: Channel) {
    while let Some((job, _)) = channel.job() {
        if job.tool == "meet" {
            MEETING.wait();
        }
        let ask = Ask { id: job.id, xid: job.id, recorded: Recorded::AsIs };
        assert!(channel.send(&ipc::encode_with_header(KIND_ASK, &ask, &[])));
        let Some((KIND_WORD, body)) = channel.next() else { return };
        let (word, _): (Word, _) = ipc::split(body).unwrap();
        match word.refused {
            None => reply(&mut channel, job.id, Outcome::Ok, Some(Facts { committed: true, ..Facts::default() }), &json!({})),
            Some(error) => reply(&mut channel, job.id, Outcome::Error, Some(Facts::default()), &json!({ "error": error })),
        }
    }
}

fn keeper(mut channel: Channel) {
    while let Some((job, question)) = channel.job() {
        match job.kind {
            JobKind::Audit if trail().fault.is_some() => {
                trail().held.push(read(&question).0.batch);
                let patient = trail().fault != Some(Fault::RefuseFirst);
                channel.stream.set_read_timeout((!patient).then_some(Duration::from_millis(300))).unwrap();
                let second = channel.job();
                channel.stream.set_read_timeout(None).unwrap();
                let Some((second, more)) = second else {
                    assert!(!patient, "a second batch");
                    trail().fault = None;
                    refuse(&mut channel, job.id);
                    continue;
                };
                assert_eq!(second.kind, JobKind::Audit, "what is sent while a batch is written");
                trail().held.push(read(&more).0.batch);
                if !both(&mut channel, (job.id, &question), (second.id, &more)) {
                    return;
                }
            }
            JobKind::Audit => {
                let first = trail().write(&question);
                reply(&mut channel, job.id, Outcome::Ok, None, &json!({"from": first}));
            }
            JobKind::Settle => {
                reply(&mut channel, job.id, Outcome::Ok, None, &json!({"settled": 0, "open": false, "more": false, "committed": {}}))
            }
            JobKind::Seal => reply(&mut channel, job.id, Outcome::Ok, None, &json!(false)),
            _ => reply(
                &mut channel,
                job.id,
                Outcome::Ok,
                None,
                &json!({"found": true, "principal": "peer:0", "role_oid": 10, "role": "r", "can_login": true, "connection_limit": -1, "can_connect": true}),
            ),
        }
    }
}

/// Whether the process goes on.
fn both(channel: &mut Channel, first: (u64, &[u8]), second: (u64, &[u8])) -> bool {
    let fault = trail().fault.take().unwrap();
    if fault == Fault::Lose {
        return false;
    }
    for (id, message) in [first, second] {
        let refuses = matches!(fault, Fault::Refuse | Fault::RefuseFirst);
        if refuses && id == first.0 {
            refuse(channel, id);
            continue;
        }
        let written = trail().write(message);
        if refuses || fault == Fault::None {
            reply(channel, id, Outcome::Ok, None, &json!({"from": written}));
        }
    }
    fault != Fault::LoseAnswers
}

fn start() -> PathBuf {
    host::start(Config { spare_bridges: 0, ..Config::default() }, process)
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn open(socket: &Path) -> Client {
        Client::open_as(socket, "t")
    }

    fn open_as(socket: &Path, name: &str) -> Client {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut client = Client(BufReader::new(stream));
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": name, "version": "1"}});
        client.ask("initialize", &params);
        writeln!(client.0.get_mut(), "{}", json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).unwrap();
        client
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        writeln!(self.0.get_mut(), "{}", json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Whether it was done.
    fn call(&mut self, tool: &str) -> bool {
        let answer = self.ask("tools/call", &json!({"name": tool, "arguments": {}}));
        answer.get("result").is_some_and(|result| result["isError"] != json!(true))
    }

    fn call_apart(mut self, tool: &'static str) -> JoinHandle<(Client, bool)> {
        std::thread::spawn(move || {
            let done = self.call(tool);
            (self, done)
        })
    }
}

/// Two calls at once whose intents are two batches: the second goes out while the first is being written. Whether each was done, and the names of the batches.
fn two_calls(one: Client, two: Client, fault: Fault) -> (Client, Client, [bool; 2], Vec<String>) {
    {
        let mut trail = trail();
        (trail.fault, trail.held) = (Some(fault), Vec::new());
    }
    let one = one.call_apart("write");
    wait_until("the first intent is with the keeper", || trail().held.len() == 1);
    let two = two.call_apart("write");
    let ((one, first), (two, second)) = (one.join().unwrap(), two.join().unwrap());
    (one, two, [first, second], trail().held.clone())
}

fn names_from(start: usize) -> Vec<String> {
    trail().written[start..].iter().map(|(name, _)| name.clone()).collect()
}

/// Ids of intents and of outcomes, in order; a row that was written twice is there twice.
fn intents_and_outcomes() -> (Vec<i64>, Vec<i64>) {
    let trail = trail();
    let (mut intents, mut outcomes) = (Vec::new(), Vec::new());
    for (id, row) in (1..).zip(&trail.rows) {
        let fields: Vec<&str> = row.split('\t').collect();
        match fields[1] {
            "i" => intents.push(id),
            "o" => outcomes.push(fields[3].parse().unwrap()),
            // Calls that were refused before they asked.
            _ => {}
        }
    }
    outcomes.sort_unstable();
    (intents, outcomes)
}

#[test]
fn two_batches_are_on_their_way_and_neither_is_lost_or_doubled() {
    let socket = start();
    let (one, two) = (Client::open(&socket).call_apart("meet"), Client::open(&socket).call_apart("meet"));
    let ((mut one, _), (mut two, _)) = (one.join().unwrap(), two.join().unwrap());
    // Known from here on to both executors: a login would wait for the keeper.
    assert!(one.call("write") && two.call("write"));
    let (one, two, done, _) = two_calls(one, two, Fault::None);
    assert_eq!(done, [true, true]);

    let before = trail().written.len();
    let (mut one, two, done, held) = two_calls(one, two, Fault::Lose);
    assert_eq!(done, [false, false], "neither may begin: nobody knows that its intent is on disk");
    wait_until("both are written", || trail().written.len() >= before + 2);
    assert_eq!(names_from(before)[..2], held[..], "by another keeper, in their order, under their names");

    wait_until("calls are done again", || one.call("write"));
    let (mut one, two, done, _) = two_calls(one, two, Fault::LoseAnswers);
    assert_eq!(done, [false, false]);
    wait_until("calls are done again", || one.call("write"));

    let before = trail().written.len();
    let (mut one, two, done, held) = two_calls(one, two, Fault::Refuse);
    assert!(!done[0], "its intent was not written");
    wait_until("both are written", || held.iter().all(|name| names_from(before).contains(name)));
    assert_eq!(names_from(before)[0], held[1], "the one that could be written was");

    // The first batch says who its caller is, and the second is his, too: it does not overtake.
    wait_until("calls are done again", || one.call("write"));
    drop((one, two));
    let (one, two) = (Client::open_as(&socket, "new"), Client::open_as(&socket, "new"));
    let (_, _, done, _) = two_calls(one, two, Fault::RefuseFirst);
    assert!(!done[0], "its intent was not written");
    wait_until("every intent has its outcome", || {
        let (intents, outcomes) = intents_and_outcomes();
        intents == outcomes
    });
    assert_eq!(trail().strangers, 0, "nobody is named before the trail says who that is");
    let names = names_from(0);
    assert!(names.iter().all(|name| names.iter().filter(|other| *other == name).count() == 1), "{names:?}");
    let _ = std::fs::remove_dir_all(std::env::current_dir().unwrap());
}
