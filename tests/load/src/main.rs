//! `load`: calls one tool of a running server from N connections and prints latencies and calls per second as one line of JSON.
//!
//! Owns: arguments, threads, the clock and the figures; `client` owns the bytes. A process of its own, outside the database. It
//! must not be the bottleneck: two threads, as pgbench is run beside it, and nothing is parsed in the timed part but framing.

#![forbid(unsafe_code)]

mod client;

use client::{Client, Framing};
use memchr::memmem;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// As many as pgbench is given, so that both generators compete alike with the server for the cores.
const THREADS: usize = 2;

const HELP: &str = "\
Usage: load --connect unix:PATH|tcp:HOST:PORT [options]

  --framing newline|http     default newline
  --revision DATE            protocol revision, default 2025-11-25
  --token TOKEN              bearer token; without one the socket's peer is the caller
  --database NAME            default: the server's
  --tool NAME                default execute_sql
  --arguments JSON           default {\"query\":\"select 1\"}; %d in it becomes a random number from 1 to --range
  --range N                  default 1000000
  --connections N            default 1
  --seconds S                how long to measure, default 3
  --calls N                  how many calls per connection at most; default no limit
  --warm-up N                calls per connection before the clock starts, default 50
  --rows N                   rows that the first answer must have
";

pub struct Options {
    pub connect: String,
    pub framing: Framing,
    pub revision: String,
    pub token: Option<String>,
    pub database: Option<String>,
    pub tool: String,
    pub arguments: String,
    pub range: u64,
    pub connections: usize,
    pub seconds: f64,
    pub calls: usize,
    pub warm_up: usize,
    pub rows: Option<usize>,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            connect: String::new(),
            framing: Framing::Newline,
            revision: "2025-11-25".into(),
            token: None,
            database: None,
            tool: "execute_sql".into(),
            arguments: r#"{"query":"select 1"}"#.into(),
            range: 1_000_000,
            connections: 1,
            seconds: 3.0,
            calls: usize::MAX,
            warm_up: 50,
            rows: None,
        };
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let wrong = |_| format!("{name}: \"{value}\" is not a number");
            match name.as_str() {
                "--connect" => options.connect = value,
                "--framing" => {
                    options.framing = match value.as_str() {
                        "newline" => Framing::Newline,
                        "http" => Framing::Http,
                        _ => return Err(format!("--framing: \"{value}\" is neither newline nor http")),
                    }
                }
                "--revision" => options.revision = value,
                "--token" => options.token = Some(value),
                "--database" => options.database = Some(value),
                "--tool" => options.tool = value,
                "--arguments" => options.arguments = value,
                "--range" => options.range = value.parse().map_err(wrong)?,
                "--connections" => options.connections = value.parse().map_err(wrong)?,
                "--seconds" => options.seconds = value.parse().map_err(|_| format!("{name}: \"{value}\" is not a number"))?,
                "--calls" => options.calls = value.parse().map_err(wrong)?,
                "--warm-up" => options.warm_up = value.parse().map_err(wrong)?,
                "--rows" => options.rows = Some(value.parse().map_err(wrong)?),
                _ => return Err(format!("unknown option {name}\n\n{HELP}")),
            }
        }
        if options.connect.is_empty() || options.connections == 0 || options.range == 0 {
            return Err(HELP.into());
        }
        Ok(options)
    }
}

impl Seen {
    fn and(mut self, other: Self) -> Self {
        self.latencies.extend(other.latencies);
        self.bytes += other.bytes;
        self.wrong += other.wrong;
        self.example = self.example.or(other.example);
        self.first = self.first.max(other.first);
        self
    }
}

/// What connections saw.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    bytes: usize,
    wrong: usize,
    example: Option<String>,
    first: Option<Duration>,
}

/// One thread's connections from beginning to end. Every thread passes the barrier exactly once, also after a failure, or the rest
/// would wait for ever.
fn run(options: &Options, numbers: Vec<usize>, barrier: &Barrier) -> Result<Seen, String> {
    let prepared: Result<Vec<Line>, String> = numbers.into_iter().map(|number| Line::open(options, number)).collect();
    barrier.wait();
    let mut lines = prepared?;
    let end = Instant::now() + Duration::from_secs_f64(options.seconds);
    if let [line] = lines.as_mut_slice() {
        while line.calls < options.calls {
            line.send(options)?;
            while !line.receive()? {}
            if Instant::now() >= end {
                break;
            }
        }
    } else {
        take_turns(&mut lines, options, end)?;
    }
    Ok(lines.into_iter().fold(Seen::default(), |sum, line| sum.and(line.seen)))
}

/// Several connections on one thread: whichever has an answer gets its next request.
fn take_turns(lines: &mut [Line], options: &Options, end: Instant) -> Result<(), String> {
    for line in lines.iter_mut() {
        line.send(options)?;
    }
    loop {
        let mut waiting: Vec<PollFd<'_>> = lines.iter().map(|line| PollFd::new(&line.client, PollFlags::IN)).collect();
        poll(&mut waiting, None).map_err(|error| format!("poll: {error}"))?;
        let ready: Vec<bool> = waiting.iter().map(|one| !one.revents().is_empty()).collect();
        let over = Instant::now() >= end;
        for (line, _) in lines.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            if line.receive()? && !over && line.calls < options.calls {
                line.send(options)?;
            }
        }
        // The answers that are still under way are not waited for, and not counted.
        if over || lines.iter().all(|line| line.calls >= options.calls) {
            return Ok(());
        }
    }
}

/// One connection, and what it has under way.
struct Line {
    client: Client,
    random: Random,
    sent: Instant,
    calls: usize,
    seen: Seen,
}

impl Line {
    fn open(options: &Options, number: usize) -> Result<Self, String> {
        let (client, seen) = prepare(options)?;
        let random = Random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(number as u64 + 1));
        Ok(Self { client, random, sent: Instant::now(), calls: 0, seen })
    }

    fn send(&mut self, options: &Options) -> Result<(), String> {
        let request = self.client.request(self.random.below(options.range));
        self.sent = Instant::now();
        self.client.send(&request)
    }

    /// Takes in what has arrived; whether the answer is complete.
    fn receive(&mut self) -> Result<bool, String> {
        let Some(answer) = self.client.receive()? else { return Ok(false) };
        self.seen.latencies.push(self.sent.elapsed());
        self.seen.bytes += answer.len();
        if !looks_right(answer) {
            self.seen.wrong += 1;
            self.seen.example.get_or_insert_with(|| String::from_utf8_lossy(answer).chars().take(400).collect());
        }
        self.calls += 1;
        Ok(true)
    }
}

/// Connects, looks closely at one answer, and warms up.
fn prepare(options: &Options) -> Result<(Client, Seen), String> {
    let mut client = Client::connect(options)?;
    let mut random = Random(1);
    let start = Instant::now();
    let request = client.request(random.below(options.range));
    let answer = client.call(&request)?.to_vec();
    let first = Some(start.elapsed());
    check_closely(&answer, options.rows)?;
    for _ in 0..options.warm_up {
        let request = client.request(random.below(options.range));
        client.call(&request)?;
    }
    Ok((client, Seen { first, ..Seen::default() }))
}

fn check_closely(answer: &[u8], rows: Option<usize>) -> Result<(), String> {
    let text = String::from_utf8_lossy(answer);
    let brief: String = text.chars().take(600).collect();
    let value: Value = serde_json::from_str(&text).map_err(|error| format!("the answer is not JSON ({error}): {brief}"))?;
    let result = value.get("result").ok_or_else(|| format!("the answer is an error: {brief}"))?;
    if result.get("isError").and_then(Value::as_bool) == Some(true) {
        return Err(format!("the tool failed: {brief}"));
    }
    if let Some(rows) = rows {
        let got = result.pointer("/structuredContent/results/0/rows").and_then(Value::as_array).map(Vec::len);
        if got != Some(rows) {
            return Err(format!("{rows} rows were expected, not {got:?}: {brief}"));
        }
    }
    Ok(())
}

/// A cheap look at every answer: a tool's failure and a protocol error each show near the edges, however long the rows between.
fn looks_right(answer: &[u8]) -> bool {
    let edge = answer.len().min(512);
    let (head, tail) = (answer.get(..edge).unwrap_or_default(), answer.get(answer.len() - edge..).unwrap_or_default());
    let has = |part: &[u8], word: &[u8]| memmem::find(part, word).is_some();
    let answered = has(head, br#""result":"#) || has(tail, br#""result":"#);
    answered && !has(head, br#""isError":true"#) && !has(tail, br#""isError":true"#)
}

/// xorshift64*: keys must differ from call to call, no more.
struct Random(u64);

impl Random {
    fn below(&mut self, range: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % range + 1
    }
}

fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).map_or(0.0, |latency| latency.as_nanos() as f64 / 1000.0)
}

fn measure(options: &Options) -> Result<Value, String> {
    let threads = options.connections.min(THREADS);
    let barrier = Barrier::new(threads + 1);
    let (results, elapsed) = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let barrier = &barrier;
                let numbers = (thread..options.connections).step_by(threads).collect();
                scope.spawn(move || run(options, numbers, barrier))
            })
            .collect();
        barrier.wait();
        let began = Instant::now();
        let results: Vec<_> = running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread failed".into()))).collect();
        (results, began.elapsed().as_secs_f64())
    });
    let seen = results.into_iter().try_fold(Seen::default(), |sum, result| Ok::<_, String>(sum.and(result?)))?;
    let Seen { latencies: mut all, bytes, wrong, example, first } = seen;
    if let Some(example) = example {
        return Err(format!("{wrong} of {} answers are wrong, for example: {example}", all.len()));
    }
    all.sort_unstable();
    Ok(json!({
        "calls": all.len(),
        "seconds": elapsed,
        "per_second": all.len() as f64 / elapsed,
        "p50_us": percentile(&all, 0.5),
        "p99_us": percentile(&all, 0.99),
        "max_us": percentile(&all, 1.0),
        "mean_us": all.iter().sum::<Duration>().as_secs_f64() * 1e6 / all.len().max(1) as f64,
        "bytes_per_answer": bytes / all.len().max(1),
        "slowest_first_us": first.unwrap_or_default().as_secs_f64() * 1e6,
    }))
}

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| measure(&options)) {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("load: {message}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_list() {
        let list: Vec<Duration> = (1..=100).map(Duration::from_micros).collect();
        assert_eq!(percentile(&list, 0.5), 50.0);
        assert_eq!(percentile(&list, 0.99), 99.0);
        assert_eq!(percentile(&list, 1.0), 100.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }

    #[test]
    fn failures_are_seen_at_either_edge() {
        let rows = "x".repeat(5000);
        assert!(looks_right(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"c":"{rows}","isError":false}}}}"#).as_bytes()));
        assert!(!looks_right(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"c":"{rows}","isError":true}}}}"#).as_bytes()));
        assert!(!looks_right(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}"#));
    }

    #[test]
    fn random_numbers_stay_in_range() {
        let mut random = Random(7);
        assert!((0..1000).all(|_| (1..=10).contains(&random.below(10))));
    }
}
