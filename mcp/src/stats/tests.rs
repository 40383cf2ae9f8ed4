//! Bounds, percentiles, the file from one life to the next, and the text that a scraper reads.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn finished<'a>(tool: &'a str, outcome: Outcome) -> Finished<'a> {
    Finished {
        database: "shop",
        role: "app",
        principal: "token:1",
        client: "tests 1",
        kind: JobKind::Call,
        tool,
        outcome,
        writes: false,
        rows: 2,
        bytes: 10,
        queue: Duration::from_millis(1),
        run: Duration::from_millis(3),
        total: Duration::from_millis(4),
        cold: false,
    }
}

fn row<'a>(rows: &'a Value, column: &str, value: &str) -> &'a Value {
    rows.as_array().unwrap().iter().find(|row| row[column] == value).unwrap_or_else(|| panic!("no {value} in {rows}"))
}

fn len(stats: &Stats, of: Of) -> usize {
    stats.copies(of).count()
}

/// A file of one test, gone after it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let folder = std::env::temp_dir().join(format!("mcp-stats-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Scratch(folder.join(FILE))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

#[test]
fn calls_are_counted_by_tool_by_caller_and_altogether() {
    let stats = Stats::default();
    for outcome in row::OUTCOMES {
        stats.note(&finished("t", outcome));
    }
    stats.note(&Finished { database: "other", cold: true, ..finished("t", Outcome::Ok) });
    let (tools, callers, server) = (stats.tools("shop"), stats.callers("shop"), stats.server(Events::default()));
    for numbers in [row(&tools, "tool", "t"), row(&callers, "principal", "token:1")] {
        for (column, count) in
            [("calls", 7), ("errors", 1), ("timeouts", 1), ("terminations", 1), ("refusals", 1), ("cancellations", 2), ("rows", 14)]
        {
            assert_eq!(numbers[column], count, "{column}");
        }
        assert_eq!((&numbers["bytes"], &numbers["total_ms"], &numbers["queue_ms"]), (&70.into(), &28.0.into(), &7.0.into()));
        assert_eq!((&numbers["cold_starts"], &numbers["mean_ms"]), (&0.into(), &4.0.into()));
    }
    assert_eq!((&server["calls"], &server["cold_starts"]), (&8.into(), &1.into()));
    assert_eq!(stats.tools("other").as_array().unwrap().len(), 1);
    assert_eq!(stats.tools("third"), serde_json::json!([]));
}

#[test]
fn percentiles_are_true_to_two_digits() {
    let stats = Stats::default();
    for ms in 1..=1000 {
        stats.note(&Finished { total: Duration::from_millis(ms), ..finished("t", Outcome::Ok) });
    }
    let tools = stats.tools("shop");
    for (column, wanted) in [("p50_ms", 500.0), ("p95_ms", 950.0), ("p99_ms", 990.0)] {
        let seen = row(&tools, "tool", "t")[column].as_f64().unwrap();
        assert!((seen - wanted).abs() <= wanted * 0.01, "{column} is {seen}");
    }
    assert_eq!(row(&tools, "tool", "t")["max_ms"], 1000.0);
}

#[test]
fn percentile_is_never_beyond_the_longest_time() {
    let stats = Stats::default();
    stats.note(&Finished { total: Duration::from_micros(100_001), ..finished("t", Outcome::Ok) });
    stats.note(&Finished { total: Duration::from_secs(100_000), ..finished("long", Outcome::Ok) });
    stats.note(&Finished { total: Duration::MAX, ..finished("longest", Outcome::Ok) });
    let tools = stats.tools("shop");
    assert_eq!(row(&tools, "tool", "t")["p99_ms"], 100.001);
    assert_eq!(row(&tools, "tool", "long")["max_ms"], 100_000_000.0);
}

#[test]
fn made_up_tools_share_a_row() {
    let stats = Stats::default();
    for n in 0..10_000 {
        for outcome in [Outcome::Refused, Outcome::Error, Outcome::Cancelled, Outcome::Terminated] {
            stats.note(&finished(&format!("made up {n}"), outcome));
        }
    }
    assert_eq!(len(&stats, Of::Tools), 1);
    assert_eq!(row(&stats.tools("shop"), "tool", UNKNOWN)["calls"], 40_000);
    stats.note(&finished("real", Outcome::Ok));
    stats.note(&finished("real", Outcome::Refused));
    assert_eq!(row(&stats.tools("shop"), "tool", "real")["refusals"], 1);
}

#[test]
fn tools_beyond_the_bound_share_a_row() {
    let stats = Stats::default();
    for n in 0..TOOLS + 1000 {
        stats.note(&finished(&format!("tool {n}"), Outcome::Ok));
    }
    stats.note(&finished(&"x".repeat(NAME_BYTES + 1), Outcome::Ok));
    assert_eq!(len(&stats, Of::Tools), TOOLS + 1);
    assert_eq!(row(&stats.tools("shop"), "tool", OTHER)["calls"], 1001);
    assert_eq!(row(&stats.tools("shop"), "tool", "tool 0")["calls"], 1);
}

#[test]
fn a_long_name_has_no_row() {
    let stats = Stats::default();
    stats.note(&finished(&"x".repeat(NAME_BYTES + 1), Outcome::Ok));
    stats.note(&finished(&"x".repeat(NAME_BYTES), Outcome::Ok));
    assert_eq!(len(&stats, Of::Tools), 2);
    assert_eq!(row(&stats.tools("shop"), "tool", OTHER)["calls"], 1);
}

#[test]
fn uris_have_no_row_of_their_own() {
    let stats = Stats::default();
    for n in 0..100 {
        stats.note(&Finished { kind: JobKind::Resource, ..finished(&format!("note://{n}"), Outcome::Ok) });
    }
    let tools = stats.tools("shop");
    assert_eq!(row(&tools, "method", "resources/read")["calls"], 100);
    assert_eq!(row(&tools, "method", "resources/read")["tool"], Value::Null);
}

#[test]
fn callers_beyond_the_bound_share_a_row_in_each_database() {
    let stats = Stats::default();
    for n in 0..CALLERS + 100 {
        stats.note(&Finished { principal: &format!("jwt:i:{n}"), ..finished("t", Outcome::Ok) });
    }
    stats.note(&Finished { database: "late", ..finished("t", Outcome::Ok) });
    assert_eq!(len(&stats, Of::Callers), CALLERS + 2);
    assert_eq!(row(&stats.callers("shop"), "role", OTHER)["calls"], 100);
    assert_eq!(row(&stats.callers("late"), "role", OTHER)["calls"], 1);
    for n in 0..10_000 {
        stats.note(&Finished { database: &format!("d{n}"), ..finished("t", Outcome::Ok) });
    }
    assert!(len(&stats, Of::Callers) <= CALLERS + TOGETHER && len(&stats, Of::Tools) <= TOOLS + TOGETHER);
    assert!(stats.lock().clients.len() <= CALLERS);
    assert_eq!(stats.server(Events::default())["calls"], 12_101);
}

#[test]
fn a_caller_cannot_fill_the_table_with_names_of_clients() {
    let stats = Stats::default();
    for n in 0..5000 {
        stats.note(&Finished { client: &format!("made up {n}"), ..finished("t", Outcome::Ok) });
    }
    assert_eq!(len(&stats, Of::Callers), usize::from(CLIENTS) + 1);
    assert_eq!(row(&stats.callers("shop"), "client", OTHER)["calls"], 5000 - u64::from(CLIENTS));
    stats.note(&Finished { principal: "token:2", ..finished("t", Outcome::Ok) });
    assert_eq!(row(&stats.callers("shop"), "principal", "token:2")["client"], "tests 1");
}

#[test]
fn who_is_nobody_has_no_row() {
    let stats = Stats::default();
    for n in 0..100 {
        let database = format!("made up {n}");
        stats.note(&Finished { role: "", principal: "", database: &database, ..finished("t", Outcome::Refused) });
    }
    assert_eq!((len(&stats, Of::Tools), len(&stats, Of::Callers)), (0, 0));
    assert_eq!(stats.server(Events::default())["refusals"], 100);
}

#[test]
fn long_names_are_cut_between_characters() {
    let stats = Stats::default();
    let name = format!("{}ä", "x".repeat(NAME_BYTES - 1));
    stats.note(&Finished { principal: &name, client: &name, ..finished("t", Outcome::Ok) });
    assert_eq!(row(&stats.callers("shop"), "role", "app")["principal"], "x".repeat(NAME_BYTES - 1));
}

// ---- the file

fn used() -> Stats {
    let stats = Stats::default();
    for n in 0..2000u64 {
        let (tool, principal) = (format!("tool \"{}\"\n", n % 50), format!("token:{}", n % 20));
        let total = Duration::from_micros(n * n);
        stats.note(&Finished { principal: &principal, total, ..finished(&tool, row::OUTCOMES[(n % 7) as usize]) });
    }
    stats
}

#[test]
fn file_keeps_everything() {
    let scratch = Scratch::new("keeps");
    let stats = used();
    let live = Events { connections: 7, evictions: 2, ..Events::default() };
    assert!(stats.unsaved(live));
    stats.save(&scratch.0, live).unwrap();
    assert!(!stats.unsaved(live));
    assert!(stats.unsaved(live.plus(live)), "an event alone is a change");
    let next = Stats::default();
    next.load(&scratch.0).unwrap();
    assert!(!next.unsaved(Events::default()));
    assert_eq!((next.tools("shop"), next.callers("shop")), (stats.tools("shop"), stats.callers("shop")));
    assert_eq!(next.server(Events::default()), stats.server(live));
    let again = Events { connections: 1, ..Events::default() };
    assert_eq!(next.server(again)["connections"], 8);
    next.note(&Finished { principal: "token:0", ..finished("tool \"0\"\n", Outcome::Ok) });
    assert_eq!(len(&next, Of::Callers), 20, "a restored row is found again");
}

#[test]
fn restored_caller_has_no_more_clients_than_before() {
    let scratch = Scratch::new("clients");
    let (stats, next) = (Stats::default(), Stats::default());
    for n in 0..20 {
        stats.note(&Finished { client: &format!("c{n}"), ..finished("t", Outcome::Ok) });
    }
    stats.save(&scratch.0, Events::default()).unwrap();
    next.load(&scratch.0).unwrap();
    for n in 20..40 {
        next.note(&Finished { client: &format!("c{n}"), ..finished("t", Outcome::Ok) });
    }
    assert_eq!(len(&next, Of::Callers), usize::from(CLIENTS) + 1);
    assert_eq!(row(&next.callers("shop"), "client", OTHER)["calls"], 40 - u64::from(CLIENTS));
}

#[test]
fn no_file_is_a_beginning() {
    let scratch = Scratch::new("none");
    assert_eq!(Stats::default().load(&scratch.0), Ok(()));
}

#[test]
fn file_that_was_touched_is_not_used() {
    let scratch = Scratch::new("touched");
    used().save(&scratch.0, Events::default()).unwrap();
    let good = std::fs::read(&scratch.0).unwrap();
    let mut bad: Vec<Vec<u8>> = vec![vec![], b"{}".to_vec(), vec![0; 4096], b"\xff\xfe".to_vec(), good[..good.len() / 2].to_vec()];
    for at in [0, 10, 30, 200, good.len() / 2, good.len() - 2] {
        let mut copy = good.clone();
        copy[at] ^= 1;
        bad.push(copy);
    }
    bad.push([good.as_slice(), b"x"].concat());
    for text in bad {
        std::fs::write(&scratch.0, &text).unwrap();
        let stats = Stats::default();
        assert!(stats.load(&scratch.0).is_err(), "{:?}", String::from_utf8_lossy(&text[..text.len().min(100)]));
        assert_eq!(len(&stats, Of::Tools), 0);
    }
    std::fs::write(&scratch.0, good).unwrap();
    assert_eq!(Stats::default().load(&scratch.0), Ok(()));
}

#[test]
fn reset_begins_anew_and_reaches_the_file() {
    let scratch = Scratch::new("reset");
    let (stats, next) = (used(), Stats::default());
    let live = Events { connections: 7, ..Events::default() };
    stats.save(&scratch.0, live).unwrap();
    stats.reset(live);
    assert!(stats.unsaved(live));
    assert_eq!((len(&stats, Of::Tools), &stats.server(live)["calls"], &stats.server(live)["connections"]), (0, &0.into(), &0.into()));
    stats.note(&finished("t", Outcome::Ok));
    let later = Events { connections: 9, ..live };
    stats.save(&scratch.0, later).unwrap();
    next.load(&scratch.0).unwrap();
    assert_eq!((&next.server(Events::default())["calls"], &next.server(Events::default())["connections"]), (&1.into(), &2.into()));
}

#[test]
fn full_tables_fit_into_the_file() {
    let scratch = Scratch::new("full");
    let (stats, next) = (Stats::default(), Stats::default());
    for n in 0..(CALLERS as u64) * 20 {
        let (tool, principal) = (format!("{:0128}", n % TOOLS as u64), format!("{:0128}", n % CALLERS as u64));
        let total = Duration::from_micros(n * n % 60_000_000);
        stats.note(&Finished { principal: &principal, total, ..finished(&tool, Outcome::Ok) });
    }
    stats.save(&scratch.0, Events::default()).unwrap();
    next.load(&scratch.0).unwrap();
    assert_eq!((len(&next, Of::Tools), len(&next, Of::Callers)), (TOOLS, CALLERS));
}

// ---- the text for scrapers

fn scraped(stats: &Stats) -> String {
    stats.open_metrics(Events { evictions: 3, ..Events::default() }, Gauges { max_executors: 4, ..Gauges::default() }).unwrap()
}

#[test]
fn metrics_are_counted_exactly() {
    let stats = Stats::default();
    for us in [500, 501, 1000, 30_000_000, 30_000_001] {
        stats.note(&Finished { total: Duration::from_micros(us), ..finished("t", Outcome::Ok) });
    }
    let text = scraped(&stats);
    let labels = r#"database="shop",method="tools/call",tool="t""#;
    for line in [
        &format!("supabase_mcp_calls_total{{{labels},outcome=\"ok\"}} 5"),
        &format!("supabase_mcp_rows_total{{{labels}}} 10"),
        &format!("supabase_mcp_answer_bytes_total{{{labels}}} 50"),
        &format!("supabase_mcp_call_duration_seconds_bucket{{le=\"0.001\",{labels}}} 3"),
        &format!("supabase_mcp_call_duration_seconds_bucket{{le=\"30.0\",{labels}}} 4"),
        &format!("supabase_mcp_call_duration_seconds_bucket{{le=\"+Inf\",{labels}}} 5"),
        &format!("supabase_mcp_call_duration_seconds_count{{{labels}}} 5"),
        "supabase_mcp_role_calls_total{database=\"shop\",role=\"app\",outcome=\"ok\"} 5",
        "supabase_mcp_evictions_total 3",
        "supabase_mcp_executors_max 4",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n") && !text.contains("token:1") && !text.contains("tests 1"));
}

proptest! {
    #[test]
    fn no_name_breaks_out_of_its_label(tool in ".{0,40}", role in "[a\"\\\\\n{}#,= ]{1,20}") {
        let stats = Stats::default();
        stats.note(&Finished { role: &role, ..finished(&tool, Outcome::Ok) });
        let text = scraped(&stats);
        let known = ["# HELP ", "# TYPE ", "# UNIT ", "# EOF", "supabase_mcp_"];
        prop_assert!(text.split_terminator('\n').all(|line| known.iter().any(|start| line.starts_with(start))));
        let escape = |name: &str| name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels = format!(",tool=\"{}\",outcome=\"ok\"}} 1\n", escape(&tool));
        let role = format!(",role=\"{}\",outcome=\"ok\"}} 1\n", escape(&role));
        prop_assert!(text.contains(&labels) && text.contains(&role));
    }
}
