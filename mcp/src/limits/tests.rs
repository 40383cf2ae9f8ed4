//! Accounts, refusals and terms, with a clock that the tests turn.

use super::*;
use crate::config::Config;
use crate::types::{About, Form};

fn caller(role: u32, token: Option<i64>, limits: &[Limit]) -> Principal {
    Principal {
        id: "".into(),
        about: Arc::new(About::default()),
        database: 1,
        role,
        login: role,
        role_name: format!("r{role}").into(),
        form: Form::Direct,
        read_only: false,
        ascii: false,
        features: None,
        until: None,
        connection_limit: None,
        token,
        limits: limits.to_vec(),
    }
}

fn rate(of: Of, calls_per_minute: u32, burst: u32) -> Limit {
    Limit { of, calls_per_minute: Some(calls_per_minute), burst: Some(burst), ..Limit::default() }
}

fn at_once(of: Of, max: u32) -> Limit {
    Limit { of, max_concurrent: Some(max), ..Limit::default() }
}

/// How many calls get through, one after the other.
fn through(limits: &Arc<Limits>, principal: &Principal, tool: &str) -> usize {
    (0..1000).take_while(|_| limits.admit(principal, tool, &Config::default()).is_ok()).count()
}

fn refused(limits: &Arc<Limits>, principal: &Principal, tool: &str) -> CallError {
    limits.admit(principal, tool, &Config::default()).err().expect("a refusal")
}

#[tokio::test(start_paused = true)]
async fn tokens_come_back_evenly_up_to_the_burst() {
    let limits = Arc::new(Limits::default());
    let caller = caller(1, None, &[rate(Of::Role, 60, 3)]);
    assert_eq!(through(&limits, &caller, "t"), 3);
    tokio::time::advance(Duration::from_millis(2500)).await;
    assert_eq!(through(&limits, &caller, "t"), 2, "one a second");
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(through(&limits, &caller, "t"), 1, "the half that was left counts");
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(through(&limits, &caller, "t"), 3, "never more than the burst");
}

#[tokio::test(start_paused = true)]
async fn refusal_says_what_and_when_and_means_it() {
    let limits = Arc::new(Limits::default());
    let caller = caller(1, None, &[Limit { tool: Some("t".into()), ..rate(Of::Role, 7, 2) }]);
    assert_eq!(through(&limits, &caller, "t"), 2);
    let error = refused(&limits, &caller, "t");
    assert_eq!(error.limit.as_deref(), Some("calls_per_minute = 7 (burst 2) for role \"r1\" and tool \"t\""));
    assert_eq!((error.kind, error.retry_after_ms), (Kind::Limited, Some(8572)));
    assert!(error.hint.as_ref().is_some_and(|h| h.contains("9 s")), "{error:?}");
    tokio::time::advance(Duration::from_millis(8500)).await;
    assert!(limits.admit(&caller, "t", &Config::default()).is_err(), "not before");
    tokio::time::advance(Duration::from_millis(72)).await;
    assert!(limits.admit(&caller, "t", &Config::default()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_takes_nothing_and_the_longest_wait_is_named() {
    let limits = Arc::new(Limits::default());
    let caller = caller(1, Some(5), &[rate(Of::Role, 60, 10), rate(Of::Token, 6, 2), at_once(Of::All, 1)]);
    assert_eq!(through(&limits, &caller, "t"), 2);
    for _ in 0..20 {
        assert!(refused(&limits, &caller, "t").limit.is_some_and(|l| l.contains("= 6 (burst 2) for this token")));
    }
    let other = self::caller(1, Some(6), &[rate(Of::Role, 60, 10)]);
    assert_eq!(through(&limits, &other, "t"), 8, "of the role's ten two are gone");
}

#[tokio::test(start_paused = true)]
async fn accounts_are_apart_by_whose_they_are_and_by_tool() {
    let limits = Arc::new(Limits::default());
    let of_role = [rate(Of::Role, 1, 4)];
    assert_eq!(through(&limits, &caller(1, Some(1), &of_role), "t"), 4);
    assert_eq!(through(&limits, &caller(1, Some(2), &of_role), "t"), 0, "tokens of a role share its account");
    assert_eq!(through(&limits, &caller(2, None, &of_role), "t"), 4);
    let of_token = [rate(Of::Token, 1, 3)];
    assert_eq!([1, 2].map(|t| through(&limits, &caller(3, Some(t), &of_token), "t")), [3, 3]);
    let of_tool = [Limit { tool: Some("a".into()), ..rate(Of::Role, 1, 2) }];
    assert_eq!(["a", "b"].map(|tool| through(&limits, &caller(4, None, &of_tool), tool)), [2, 1000]);
    let of_all = [rate(Of::All, 1, 5)];
    assert_eq!([5, 6].map(|role| through(&limits, &caller(role, None, &of_all), "t")), [5, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_call_runs_until_its_last_pass_is_gone() {
    let limits = Arc::new(Limits::default());
    let caller = caller(1, None, &[at_once(Of::Role, 2)]);
    let passes = [(); 2].map(|()| limits.admit(&caller, "t", &Config::default()).expect("a pass"));
    let error = refused(&limits, &caller, "");
    assert_eq!(error.limit.as_deref(), Some("max_concurrent = 2 for role \"r1\""));
    let held = passes[0].clone();
    drop(passes);
    let again = limits.admit(&caller, "t", &Config::default());
    assert!(again.is_ok() && limits.admit(&caller, "t", &Config::default()).is_err());
    drop(held);
    assert!(limits.admit(&caller, "t", &Config::default()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_changed_limit_does_not_begin_anew() {
    let limits = Arc::new(Limits::default());
    assert_eq!(through(&limits, &caller(1, None, &[rate(Of::Role, 60, 10)]), "t"), 10);
    assert_eq!(through(&limits, &caller(1, None, &[rate(Of::Role, 600, 100)]), "t"), 0);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(through(&limits, &caller(1, None, &[rate(Of::Role, 600, 100)]), "t"), 10);
    assert_eq!(through(&limits, &caller(1, None, &[]), "t"), 1000);
}

#[tokio::test(start_paused = true)]
async fn what_did_not_run_is_given_back() {
    let limits = Arc::new(Limits::default());
    let caller = caller(1, None, &[rate(Of::Role, 1, 1), at_once(Of::Role, 1)]);
    for _ in 0..3 {
        limits.admit(&caller, "t", &Config::default()).expect("a pass").give_back();
    }
    assert_eq!(through(&limits, &caller, "t"), 1);
}

#[tokio::test(start_paused = true)]
async fn settings_go_for_each_role_in_all_databases() {
    let limits = Arc::new(Limits::default());
    let config = Config { calls_per_minute: 2, max_concurrent_calls: 1, ..Config::default() };
    let [here, mut elsewhere] = [caller(1, None, &[]), caller(1, None, &[])];
    elsewhere.database = 2;
    let pass = limits.admit(&here, "t", &config);
    assert!(pass.is_ok());
    let error = limits.admit(&elsewhere, "t", &config).err().expect("a refusal");
    assert_eq!(error.limit.as_deref(), Some("supabase_mcp.max_concurrent_calls = 1 for role \"r1\""));
    drop(pass);
    assert!(limits.admit(&elsewhere, "t", &config).is_ok());
    let error = limits.admit(&here, "t", &config).err().expect("a refusal");
    assert_eq!(error.limit.as_deref(), Some("supabase_mcp.calls_per_minute = 2 for role \"r1\""));
    assert!(limits.admit(&caller(2, None, &[]), "t", &config).is_ok());
}

#[tokio::test(start_paused = true)]
async fn accounts_are_forgotten_when_they_are_as_new() {
    let limits = Arc::new(Limits::default());
    for role in 0..100 {
        assert!(limits.admit(&caller(role, None, &[rate(Of::Role, 60, 2)]), "t", &Config::default()).is_ok());
    }
    let running = limits.admit(&caller(7, None, &[at_once(Of::Role, 2)]), "t", &Config::default());
    limits.sweep();
    assert_eq!(limits.lock().len(), 100);
    tokio::time::advance(Duration::from_secs(1)).await;
    limits.sweep();
    assert_eq!(limits.lock().len(), 1, "but for the one that runs");
    drop(running);
    limits.sweep();
    assert!(limits.lock().is_empty());
}

#[test]
fn of_all_that_fits_the_strictest_counts_each_for_itself() {
    let rows = Limit { max_rows: Some(10), max_bytes: Some(5000), queue_ms: Some(20_000), ..Limit::default() };
    let time = Limit { of: Of::Token, max_rows: Some(20), max_ms: Some(700), queue_ms: Some(300), ..Limit::default() };
    let other = Limit { tool: Some("other".into()), max_rows: Some(1), read_only: true, ..Limit::default() };
    let terms = Terms::of(&caller(1, Some(2), &[rows, time, other]), "t", &Config::default());
    assert_eq!(terms.caps, Caps { max_rows: Some(10), max_bytes: Some(5000), timeout_ms: Some(700) });
    assert_eq!((terms.read_only, terms.queue_wait), (false, Duration::from_millis(300)));
    assert_eq!(terms.queue_name.as_deref(), Some("queue_seconds = 0.3 for this token"));
}
