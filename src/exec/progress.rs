//! How far the running job has come: what the last words of a process that is ended in its midst depend on.
//!
//! Of an executor, on its only thread. A job that has not begun has had no effect and may run elsewhere; of one that has begun nobody
//! may say so.

use std::cell::Cell;
use std::time::Duration;

use mcp::error::{self, CallError, Kind};
use mcp::types::Outcome;

use crate::config::Limits;
use crate::pg::timeout::{self, Deadline};
use crate::pg::{Pg, PgError, oom, settings, wait};

thread_local! {
    static COMMITTED: Cell<bool> = const { Cell::new(false) };
    static BEGUN: Cell<bool> = const { Cell::new(false) };
    static LIMIT: Cell<Option<TimeLimit>> = const { Cell::new(None) };
}

/// How long a call may run, and by which setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimit {
    setting: &'static str,
    ms: i32,
}

impl TimeLimit {
    /// The shorter of our limit and of Postgres' own, which a role, a database or the server may have.
    fn of_call(pg: &Pg, limits: &Limits) -> Option<TimeLimit> {
        let ours = TimeLimit { setting: "supabase_mcp.statement_timeout", ms: limits.statement_timeout };
        let own =
            TimeLimit { setting: "statement_timeout of the role, the database or the server", ms: settings::statement_timeout_ms(pg) };
        [ours, own].into_iter().filter(|limit| limit.ms > 0).min_by_key(|limit| limit.ms)
    }

    fn duration(self) -> Option<Duration> {
        u64::try_from(self.ms).ok().map(Duration::from_millis)
    }

    pub fn hint(self) -> String {
        let TimeLimit { setting, ms } = self;
        format!(
            "The call ran longer than its time limit, {ms} ms by {setting}. Ask for less, or let EXPLAIN show what takes the time; an \
             administrator can raise the limit with ALTER ROLE ... SET."
        )
    }
}

/// A job was taken: its end may be ordered, but nothing was done for it yet.
pub fn taken() {
    BEGUN.set(false);
    COMMITTED.set(false);
    LIMIT.set(None);
}

/// From here on the job is run, under its time limit. An end that was ordered before comes now, while the job can still run elsewhere.
pub fn begin(pg: &Pg, limits: &Limits) -> Result<Deadline, PgError> {
    let limit = TimeLimit::of_call(pg, limits);
    wait::act_on_signals(pg)?;
    LIMIT.set(limit);
    BEGUN.set(true);
    Deadline::start(pg, limit.and_then(TimeLimit::duration))
}

/// What the job did is kept, whatever becomes of its process now.
pub fn committed() {
    COMMITTED.set(true);
}

/// The limit that `deadline` says has passed.
pub fn time_that_is_up(deadline: &Deadline) -> Option<TimeLimit> {
    LIMIT.get().filter(|_| deadline.passed())
}

/// What to answer to a job that the end of this process cuts off.
pub fn last_words() -> (Outcome, CallError) {
    if !BEGUN.get() {
        // Nobody gets to read this: the gateway runs the job on another process.
        return (Outcome::Retire, CallError::new(Kind::Terminated, "the process ended before the call began"));
    }
    let error = if COMMITTED.get() {
        error::committed()
    } else if oom::exhausted() {
        CallError::new(Kind::Sql, "out of memory: the process that ran the call got no more and was ended; nothing of the call was kept")
            .sqlstate("53200")
            .hint("Ask for less at a time.")
    } else if timeout::ended_process() {
        let error =
            CallError::new(Kind::Timeout, "the call ran longer than its time limit and could not be cancelled; its process was ended");
        LIMIT.get().map_or(error.clone(), |limit| error.hint(limit.hint()))
    } else {
        CallError::new(Kind::Terminated, "the process that ran the call was terminated; nothing of the call was kept")
    };
    (Outcome::Error, error)
}
