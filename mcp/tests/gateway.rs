//! The gateway's front against executors of our own: protocol, limits, queue and changes of identity, without a Postgres.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use mcp::config::Config;
use mcp::types::{Form, Job, JobKind, Outcome, Reply, Ticket};
use serde_json::{Value, json};

use host::Channel;

mod host;

/// What the next executor jobs answer instead of running.
static SCRIPT: Mutex<VecDeque<Outcome>> = Mutex::new(VecDeque::new());

const HEADER_TIMEOUT: Duration = Duration::from_secs(1);

/// An executor or a keeper: answers until the gateway closes.
fn process(ticket: Ticket, mut channel: Channel) {
    while let Some((job, arguments)) = channel.job() {
        let (outcome, payload) = if ticket.form == Form::Keeper { (Outcome::Ok, keeper(&arguments)) } else { answer(&job, &arguments) };
        let reply = Reply { id: job.id, outcome, untrusted: false, leaving: outcome == Outcome::Retire, facts: None };
        if !channel.reply(&reply, &payload) || reply.leaving {
            return;
        }
    }
}

fn keeper(question: &[u8]) -> Vec<u8> {
    let question: Value = serde_json::from_slice(question).unwrap();
    let found = question.get("peer").is_some() || question["token"] == json!(sha256_of_good());
    json!({"found": found, "principal": "peer:0", "role_oid": 10, "role": "r", "can_login": true, "privileged": null, "valid_until": null,
        "connection_limit": -1, "can_connect": true, "token_expires": null, "read_only": false})
    .to_string()
    .into_bytes()
}

fn sha256_of_good() -> &'static str {
    // Of the text `good`.
    "770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c"
}

fn answer(job: &Job, arguments: &[u8]) -> (Outcome, Vec<u8>) {
    if let Some(outcome) = SCRIPT.lock().unwrap().pop_front() {
        return (outcome, b"{}".to_vec());
    }
    match job.kind {
        JobKind::List => {
            (Outcome::Ok, json!([{"name": "echo", "description": "d", "inputSchema": {"type": "object"}}]).to_string().into_bytes())
        }
        _ if job.tool == "sleep" => {
            std::thread::sleep(Duration::from_millis(300));
            (Outcome::Ok, b"{}".to_vec())
        }
        _ if job.tool == "nothing" => {
            (Outcome::Error, json!({"error": {"kind": "unknown_tool", "message": "no tool \"nothing\""}}).to_string().into_bytes())
        }
        _ => (Outcome::Ok, [b"{\"echo\":", arguments, b"}"].concat()),
    }
}

fn socket() -> PathBuf {
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    let config = || Config {
        max_connections: 50,
        max_body_bytes: 10_000,
        header_timeout: HEADER_TIMEOUT,
        body_timeout: Duration::from_millis(300),
        max_executors: 2,
        spare_bridges: 0,
        queue_length: 1000,
        queue_timeout: Duration::from_secs(5),
        ..Config::default()
    };
    SERVER.get_or_init(|| host::start(config(), process)).clone()
}

struct Newline(BufReader<UnixStream>);

impl Newline {
    fn open() -> Newline {
        let stream = UnixStream::connect(socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Newline(BufReader::new(stream))
    }

    fn initialized() -> Newline {
        let mut client = Newline::open();
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let answer = client.ask(0, "initialize", params);
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string());
        client
    }

    fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(line.as_bytes()).unwrap();
        self.0.get_mut().write_all(b"\n").unwrap();
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
    }

    fn ask(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
        self.receive()
    }

    fn call(&mut self, id: u64, tool: &str, arguments: Value) -> Value {
        self.ask(id, "tools/call", json!({"name": tool, "arguments": arguments}))
    }
}

#[test]
fn newline_client_lists_and_calls() {
    let mut client = Newline::initialized();
    assert_eq!(client.ask(1, "tools/list", json!({}))["result"]["tools"][0]["name"], "echo");
    let answer = client.call(2, "echo", json!({"a": ["é", "\n"]}));
    assert_eq!(answer["result"]["structuredContent"], json!({"echo": {"a": ["é", "\n"]}}));
    assert_eq!(answer["result"]["isError"], false);
}

#[test]
fn bad_lines_are_answered_and_harm_nothing() {
    let mut client = Newline::initialized();
    client.send("this is not JSON");
    assert_eq!(client.receive()["error"]["code"], -32700);
    client.send(&format!("{}1{}", "[".repeat(5000), "]".repeat(4000)));
    assert_eq!(client.receive()["error"]["code"], -32700);
    client.send(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#);
    assert_eq!(client.receive()["error"]["code"], -32600);
    client.send(r#"{"jsonrpc":"2.0","id":7}"#);
    client.send(&"x".repeat(20_000));
    let codes: Vec<Value> = (0..2).map(|_| client.receive()).collect();
    assert!(codes.iter().all(|c| c["error"]["code"] == -32600), "{codes:?}");
    assert_eq!(client.call(8, "nothing", json!({}))["error"]["code"], -32602);
    assert_eq!(client.call(9, "echo", json!({}))["result"]["isError"], false);
}

#[test]
fn a_client_that_stops_sending_still_gets_its_answers() {
    let mut client = Newline::initialized();
    client.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "sleep"}}).to_string());
    client.send(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}).to_string());
    client.0.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    let mut ids: Vec<u64> = (0..2).map(|_| client.receive()["id"].as_u64().unwrap()).collect();
    ids.sort();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn a_notification_before_any_request_is_no_offence() {
    let mut client = Newline::open();
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}).to_string());
    assert!(client.ask(1, "ping", json!({})).get("result").is_some());
}

#[test]
fn half_a_line_ends_the_connection() {
    let mut client = Newline::initialized();
    client.0.get_mut().write_all(b"{\"jsonrpc\":").unwrap();
    let mut rest = Vec::new();
    client.0.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn a_client_that_never_reads_is_not_read_from_for_ever() {
    let mut client = UnixStream::connect(socket()).unwrap();
    client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"a": "x".repeat(9000)},
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}});
    let line = format!("{call}\n");
    let mut sent = 0;
    while client.write_all(line.as_bytes()).is_ok() {
        sent += 1;
        assert!(sent < 5000, "the gateway swallowed {sent} requests without one answer being read");
    }
    assert_eq!(Newline::initialized().call(1, "echo", json!({}))["result"]["isError"], false, "others are served meanwhile");
}

fn http(request: &str) -> String {
    let mut stream = UnixStream::connect(socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let accept = "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\nConnection: close\r\n";
    http(&format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{accept}{headers}Content-Length: {}\r\n\r\n{body}", body.len()))
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":1}}}"#;
const LEGACY: &str = "MCP-Protocol-Version: 2025-11-25\r\n";

#[test]
fn http_client_calls_with_and_without_a_token() {
    for authorization in ["", "Authorization: Bearer good\r\n"] {
        let answer = post("/mcp", &format!("{LEGACY}{authorization}"), CALL);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(r#""structuredContent":{"echo":{"a":1}}"#), "{answer}");
    }
    let refused = post("/mcp", "Authorization: Bearer bad\r\n", CALL);
    assert!(refused.starts_with("HTTP/1.1 401") && refused.to_lowercase().contains("www-authenticate: bearer"), "{refused}");
    assert!(post("/mcp/other", LEGACY, CALL).starts_with("HTTP/1.1 404"));
    assert!(post("/elsewhere", "", "").starts_with("HTTP/1.1 404"));
}

/// A progress token sends a call the long way; nothing else about it differs.
#[test]
fn the_short_way_and_the_long_way_give_the_same_answers() {
    let params = |tool: &str, meta: Value| {
        let mut params = json!({"name": tool, "arguments": {"a": "\u{1F40D} \\ \""}});
        if meta != json!({}) {
            params["_meta"] = meta;
        }
        params
    };
    let modern = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let mut slow = modern.clone();
    slow["progressToken"] = json!(1);
    for (short, long) in [(json!({}), json!({"progressToken": 1})), (modern, slow)] {
        let era = if short == json!({}) { "2025-11-25" } else { "2026-07-28" };
        let mut client = Newline::initialized();
        for tool in ["echo", "nothing"] {
            let bodies = [&short, &long]
                .map(|meta| json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params(tool, meta.clone())}));
            let lines = bodies.each_ref().map(|body| {
                client.send(&body.to_string());
                client.receive()
            });
            assert_eq!(lines[0], lines[1]);
            let named = if era == "2026-07-28" { format!("Mcp-Method: tools/call\r\nMcp-Name: {tool}\r\n") } else { String::new() };
            let answers = bodies.map(|body| {
                let answer = post("/mcp", &format!("MCP-Protocol-Version: {era}\r\n{named}"), &body.to_string());
                let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                (head.lines().next().unwrap().to_string(), serde_json::from_str::<Value>(body).unwrap())
            });
            assert_eq!(answers[0], answers[1]);
            assert_eq!(answers[0].1, lines[0]);
        }
    }
}

#[test]
fn http_limits_and_bad_bodies_are_answered() {
    assert!(post("/mcp", LEGACY, "{not json").starts_with("HTTP/1.1 400"));
    assert!(post("/mcp", LEGACY, &"x".repeat(20_000)).starts_with("HTTP/1.1 413"));
    let silent =
        http("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\nContent-Length: 100\r\n\r\n{");
    assert!(silent.starts_with("HTTP/1.1 408"), "{silent}");
    assert!(http("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 200"));
    assert!(http("GET /mcp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 405"));
}

#[test]
fn upgraded_connection_speaks_lines() {
    let mut stream = UnixStream::connect(socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
        .write_all(b"GET /mcp/postgres HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: mcp\r\nAuthorization: Bearer good\r\n\r\n")
        .unwrap();
    let mut client = Newline(BufReader::new(stream));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(client.0.read_line(&mut head).unwrap() > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(client.ask(1, "ping", json!({})).get("result").is_some());
    // Longer than the deadline for a head, which is over.
    std::thread::sleep(HEADER_TIMEOUT + Duration::from_millis(300));
    assert!(client.ask(2, "ping", json!({})).get("result").is_some());
}

#[test]
fn stale_and_retired_executors_are_no_business_of_the_client() {
    let mut client = Newline::initialized();
    for outcome in [Outcome::Stale, Outcome::Retire] {
        SCRIPT.lock().unwrap().push_back(outcome);
    }
    for id in 1..6 {
        assert_eq!(client.call(id, "echo", json!({}))["result"]["isError"], false);
    }
}

#[test]
fn many_clients_share_two_executors() {
    let started = Instant::now();
    let clients: Vec<_> = (0..6)
        .map(|_| {
            std::thread::spawn(|| {
                let mut client = Newline::initialized();
                assert_eq!(client.call(1, "sleep", json!({}))["result"]["isError"], false);
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    assert!(started.elapsed() >= Duration::from_millis(850), "six calls of 300 ms on two executors take three rounds");
}
