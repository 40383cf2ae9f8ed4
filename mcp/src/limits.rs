//! How much a caller may use: counts calls against limits per minute and at the same time, and works out what one call may cost.
//!
//! Runs on the gateway's runtime thread. The limits come with the caller's principal (rows of mcp._limits, as the keeper told them) and from
//! the settings; this file keeps an account for each of them, in memory alone. Starts nothing, waits for nothing.
//!
//! A rate is a token bucket: a call takes one token, tokens come back evenly, and after a rest there are as many as the burst allows.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::caller::Principal;
use crate::config::Config;
use crate::error::{CallError, Kind};
use crate::types::Caps;

/// Nobody knows when a running call will end; a client that waits this long before it asks again harms nobody.
const RETRY_CONCURRENT: Duration = Duration::from_secs(1);

/// Whose calls an account counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Every caller of the database.
    #[default]
    All,
    Role,
    Token,
}

/// One row of mcp._limits that fits a caller, or the settings that go for every role.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Limit {
    pub of: Of,
    pub tool: Option<String>,
    pub calls_per_minute: Option<u32>,
    pub burst: Option<u32>,
    pub max_concurrent: Option<u32>,
    pub max_rows: Option<u64>,
    pub max_bytes: Option<u64>,
    pub max_ms: Option<u64>,
    pub queue_ms: Option<u64>,
    pub read_only: bool,
    /// From settings: the role's calls in every database count.
    #[serde(skip)]
    pub is_setting: bool,
}

impl Limit {
    /// What the settings say about every role; `None`: nothing.
    fn of_settings(config: &Config) -> Option<Limit> {
        let some = |n: u32| (n > 0).then_some(n);
        let (calls_per_minute, max_concurrent) = (some(config.calls_per_minute), some(config.max_concurrent_calls));
        (calls_per_minute.is_some() || max_concurrent.is_some()).then(|| Limit {
            of: Of::Role,
            calls_per_minute,
            burst: calls_per_minute,
            max_concurrent,
            is_setting: true,
            ..Limit::default()
        })
    }

    fn fits(&self, tool: &str) -> bool {
        self.tool.as_ref().is_none_or(|t| t == tool)
    }

    fn counts(&self) -> bool {
        self.calls_per_minute.is_some() || self.max_concurrent.is_some()
    }

    fn account(&self, principal: &Principal) -> Account {
        Account {
            database: if self.is_setting { 0 } else { principal.database },
            of: self.of,
            who: match self.of {
                Of::All => 0,
                Of::Role => i64::from(principal.role),
                Of::Token => principal.token.unwrap_or_default(),
            },
            tool: self.tool.clone(),
        }
    }

    /// The limit as an administrator knows it: which one, its value, whose it is.
    fn name(&self, kind: &str, value: impl std::fmt::Display, principal: &Principal) -> String {
        let mut name = match (self.is_setting, kind) {
            (true, "max_concurrent") => format!("supabase_mcp.max_concurrent_calls = {value}"),
            (true, _) => format!("supabase_mcp.{kind} = {value}"),
            (false, _) => format!("{kind} = {value}"),
        };
        match self.of {
            Of::All => name.push_str(" for all callers together"),
            Of::Role => drop(write!(name, " for role \"{}\"", principal.role_name)),
            Of::Token => name.push_str(" for this token"),
        }
        if let Some(tool) = &self.tool {
            let _ = write!(name, " and tool \"{tool}\"");
        }
        name
    }
}

/// What is counted together. By scope and not by row, so that a limit that is changed does not begin anew.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Account {
    /// 0: in all databases, for settings.
    database: u32,
    of: Of,
    who: i64,
    tool: Option<String>,
}

/// The state of an account.
#[derive(Debug)]
struct Meter {
    /// Calls that could begin now. With no limit per minute it stands still.
    tokens: f64,
    at: Instant,
    /// Per minute, and the most tokens there can be, when last looked at.
    rate: f64,
    burst: f64,
    running: u32,
}

impl Meter {
    fn new(now: Instant) -> Meter {
        Meter { tokens: f64::MAX, at: now, rate: 0.0, burst: f64::MAX, running: 0 }
    }

    fn refill(&mut self, now: Instant) {
        let minutes = now.saturating_duration_since(self.at).as_secs_f64() / 60.0;
        self.tokens = (self.tokens + minutes * self.rate).min(self.burst);
        self.at = now;
    }

    /// Takes on what the limit says now. What was used up stays used up.
    fn adjust(&mut self, limit: &Limit, now: Instant) {
        self.refill(now);
        if let Some(rate) = limit.calls_per_minute {
            self.rate = f64::from(rate);
            self.burst = f64::from(limit.burst.unwrap_or(rate).max(1));
            self.tokens = self.tokens.min(self.burst);
        }
    }

    /// How long until a call can begin.
    fn wait(&self) -> Duration {
        Duration::from_secs_f64(((1.0 - self.tokens) * 60.0 / self.rate.max(f64::MIN_POSITIVE)).clamp(0.0, 3600.0))
    }

    /// Whether forgetting it would change nothing.
    fn is_new(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.running == 0 && self.tokens >= self.burst
    }
}

#[derive(Default)]
pub struct Limits {
    /// One for each limit that somebody set and some caller uses: callers cannot make it grow.
    meters: Mutex<HashMap<Account, Meter>>,
}

/// The right to one call. The call counts as running until the last clone is dropped.
#[derive(Clone, Default)]
pub struct Pass {
    counted: Option<Arc<Counted>>,
}

struct Counted {
    limits: Arc<Limits>,
    accounts: Vec<(Account, bool)>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut meters = self.limits.lock();
        for (account, _) in &self.accounts {
            if let Some(meter) = meters.get_mut(account) {
                meter.running = meter.running.saturating_sub(1);
            }
        }
    }
}

impl Pass {
    /// The call did not begin after all: its tokens go back.
    pub fn give_back(self) {
        let Some(counted) = &self.counted else { return };
        let mut meters = counted.limits.lock();
        for (account, _) in counted.accounts.iter().filter(|(_, took)| *took) {
            if let Some(meter) = meters.get_mut(account) {
                meter.tokens = (meter.tokens + 1.0).min(meter.burst);
            }
        }
    }
}

impl Limits {
    fn lock(&self) -> MutexGuard<'_, HashMap<Account, Meter>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, or says which limit stands against it. A refused call takes nothing.
    pub fn admit(self: &Arc<Limits>, principal: &Principal, tool: &str, config: &Config) -> Result<Pass, CallError> {
        let of_settings = Limit::of_settings(config);
        let fitting = || principal.limits.iter().chain(&of_settings).filter(|l| l.counts() && l.fits(tool));
        if fitting().next().is_none() {
            return Ok(Pass::default());
        }
        let now = Instant::now();
        let mut meters = self.lock();
        let mut refused: Option<(Duration, CallError)> = None;
        let mut accounts = Vec::new();
        for limit in fitting() {
            let account = limit.account(principal);
            let meter = meters.entry(account.clone()).or_insert_with(|| Meter::new(now));
            meter.adjust(limit, now);
            let over = if limit.calls_per_minute.is_some() && meter.tokens < 1.0 {
                Some((meter.wait(), too_many(limit, principal, meter.wait())))
            } else {
                limit
                    .max_concurrent
                    .filter(|max| meter.running >= *max)
                    .map(|max| (RETRY_CONCURRENT, too_concurrent(limit, max, principal)))
            };
            // The one that holds longest: what is said to a client must be true.
            if let Some(over) = over.filter(|over| refused.as_ref().is_none_or(|r| over.0 > r.0)) {
                refused = Some(over);
            }
            accounts.push((account, limit.calls_per_minute.is_some()));
        }
        if let Some((_, error)) = refused {
            return Err(error);
        }
        for (account, takes) in &accounts {
            if let Some(meter) = meters.get_mut(account) {
                meter.running += 1;
                meter.tokens -= if *takes { 1.0 } else { 0.0 };
            }
        }
        drop(meters);
        Ok(Pass { counted: Some(Arc::new(Counted { limits: self.clone(), accounts })) })
    }

    /// Forgets accounts that are as new.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.lock().retain(|_, meter| !meter.is_new(now));
    }
}

fn too_many(limit: &Limit, principal: &Principal, wait: Duration) -> CallError {
    let rate = limit.calls_per_minute.unwrap_or_default();
    let value = match limit.burst {
        Some(burst) if burst != rate => format!("{rate} (burst {burst})"),
        _ => rate.to_string(),
    };
    let name = limit.name("calls_per_minute", value, principal);
    // Up, so that a client that waits exactly this long is let in.
    let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    refusal(format!("too many calls: the limit is {name}"), name, ms)
        .hint(format!("Try again in {}. Fewer calls that ask for more each do better.", seconds(ms)))
}

fn too_concurrent(limit: &Limit, max: u32, principal: &Principal) -> CallError {
    let name = limit.name("max_concurrent", max, principal);
    let ms = u64::try_from(RETRY_CONCURRENT.as_millis()).unwrap_or(u64::MAX);
    refusal(format!("too many calls at the same time: the limit is {name}"), name, ms)
        .hint("Try again when one of the running calls has ended; if it is not known which, in a second.")
}

fn refusal(message: String, limit: String, retry_after_ms: u64) -> CallError {
    CallError { limit: Some(limit), retry_after_ms: Some(retry_after_ms), ..CallError::new(Kind::Limited, message).sqlstate("53400") }
}

fn seconds(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        _ => format!("{} s", ms.div_ceil(1000)),
    }
}

/// What one call may cost and how long it may wait: of all that fits the strictest, each for itself.
pub struct Terms {
    pub caps: Caps,
    pub read_only: bool,
    pub queue_wait: Duration,
    /// What to call the limit on waiting.
    pub queue_name: Option<String>,
}

impl Terms {
    pub fn of(principal: &Principal, tool: &str, config: &Config) -> Terms {
        let mut terms = Terms { caps: Caps::default(), read_only: false, queue_wait: config.queue_timeout, queue_name: None };
        for limit in principal.limits.iter().filter(|l| l.fits(tool)) {
            let stricter = |have: &mut Option<u64>, new: Option<u64>| *have = [*have, new].into_iter().flatten().min();
            stricter(&mut terms.caps.max_rows, limit.max_rows);
            stricter(&mut terms.caps.max_bytes, limit.max_bytes);
            stricter(&mut terms.caps.timeout_ms, limit.max_ms);
            terms.read_only |= limit.read_only;
            if let Some(ms) = limit.queue_ms
                && Duration::from_millis(ms) < terms.queue_wait
            {
                terms.queue_wait = Duration::from_millis(ms);
                terms.queue_name = Some(limit.name("queue_seconds", terms.queue_wait.as_secs_f64(), principal));
            }
        }
        terms
    }
}

#[cfg(test)]
mod tests;
