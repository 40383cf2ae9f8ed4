//! One call from the caller to the executor and back: login, lease, job, and what to do when either end says that things changed.
//!
//! Runs on the gateway's runtime thread. Knows neither MCP nor HTTP; transports know it as `Gateway::call`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Principal};
use crate::children::Children;
use crate::config::Config;
use crate::error::{CallError, Kind};
use crate::host::{Demand, Host, Level};
use crate::keepers::Keepers;
use crate::limits::{Limits, Pass, Terms};
use crate::listen::Places;
use crate::logins::{LoginError, Logins};
use crate::pool::{Lease, Pool};
use crate::process::{Lost, Said};
use crate::scheduler::Key;
use crate::stats::Stats;
use crate::supabase;
use crate::types::{Ask, Form, Job, JobKind, Outcome, Reply, Word};
use crate::uses::Uses;
use accounts::Tally;

mod accounts;
mod entry;

/// How often one call may be turned back by changes of roles or settings before it is given up.
const ATTEMPTS: usize = 5;
/// How often idle processes are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// How often an idle gateway that was started by `create extension` looks whether the extension is still installed anywhere.
const LOOK_FOR_USE: Duration = Duration::from_secs(30);
/// How often the keepers are told which tokens were used.
const HAND_OVER_USES: Duration = Duration::from_secs(30);

/// What a caller asks for.
pub struct Request<'a> {
    pub kind: JobKind,
    /// What is called: name of a tool or of a prompt, or the URI of a resource; empty for lists.
    pub tool: &'a str,
    /// A JSON object.
    pub arguments: &'a [u8],
    /// What the client calls itself.
    pub client: &'a str,
    /// The request's JSON-RPC id, as the client wrote it.
    pub id: &'a str,
    /// `traceparent` of the request, where the client sent one.
    pub trace: Option<&'a str>,
    /// The connection is gone, and not only this call cancelled.
    pub gone: Option<&'a CancellationToken>,
}

/// What a call comes to.
#[derive(Debug)]
pub struct Answer {
    /// One line of JSON, an object: the structured result, or `{"error":{...}}`.
    pub payload: Vec<u8>,
    pub is_error: bool,
    /// The payload carries values out of tables.
    pub untrusted: bool,
    /// The text block, where it is not the usual one.
    pub text: Option<String>,
}

impl From<CallError> for Answer {
    fn from(error: CallError) -> Answer {
        Answer { payload: error.to_payload(), is_error: true, untrusted: false, text: None }
    }
}

/// Numbers for `mcp.status()`.
#[derive(Default)]
pub struct Counters {
    pub calls: AtomicU64,
    pub errors: AtomicU64,
    pub refused_logins: AtomicU64,
    /// By a limit on calls per minute or at the same time.
    pub limited: AtomicU64,
    pub connections: AtomicU64,
    pub refused_connections: AtomicU64,
}

pub struct Gateway {
    config: RwLock<Arc<Config>>,
    host: Arc<dyn Host>,
    pub children: Arc<Children>,
    pub pool: Arc<Pool>,
    pub keepers: Arc<Keepers>,
    logins: Logins,
    limits: Arc<Limits>,
    uses: Uses,
    pub audit: Audit,
    pub counters: Counters,
    pub stats: Arc<Stats>,
    pub places: Arc<Places>,
    pub started: Instant,
    /// Switched off by an administrator; see `admin`.
    pub off: AtomicBool,
    pub draining: std::sync::Mutex<Vec<(Option<u32>, Instant)>>,
    next_id: AtomicU64,
    log: std::sync::Mutex<(Option<Instant>, u64)>,
}

impl Gateway {
    /// `None` if the operating system gives no random bytes.
    pub fn new(config: Config, host: Arc<dyn Host>) -> Option<Arc<Gateway>> {
        let children = Arc::new(Children::new(host.clone()));
        let keepers = Arc::new(Keepers::new(host.clone(), children.clone()));
        let pool = Pool::new(children.clone());
        let (weak_pool, weak_keepers) = (Arc::downgrade(&pool), Arc::downgrade(&keepers));
        children.set_make_room(Box::new(move |form| {
            let made = weak_pool.upgrade().is_some_and(|pool| pool.make_room());
            if !made && let Some(keepers) = weak_keepers.upgrade() {
                // One slot stays with the keepers, who pass it on among themselves: a call holds its new executor while a keeper is
                // asked again, so executors in every slot would all wait for a keeper.
                keepers.make_room(if form == Form::Keeper { 0 } else { 1 });
            }
        }));
        let audit = Audit::new(keepers.clone(), host.clone())?;
        audit.reload(&config.audit);
        Some(Arc::new(Gateway {
            audit,
            config: RwLock::new(Arc::new(config)),
            pool,
            logins: Logins::new(keepers.clone(), host.clone())?,
            limits: Arc::default(),
            uses: Uses::default(),
            keepers,
            children,
            host,
            counters: Counters::default(),
            stats: Arc::default(),
            places: Arc::default(),
            started: Instant::now(),
            off: AtomicBool::new(false),
            draining: std::sync::Mutex::default(),
            next_id: AtomicU64::new(1),
            log: std::sync::Mutex::default(),
        }))
    }

    pub fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn reload(&self, config: Config) {
        self.audit.reload(&config.audit);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        // Some settings say who may call.
        self.logins.forget();
        // Others count for new connections only (session_preload_libraries), which a spare stands for.
        self.pool.dismiss_spares(None);
    }

    /// Reads keys that the settings name, and says in the log what is wrong with them.
    pub async fn read_keys(&self) {
        self.logins.read_keys(&self.config()).await;
    }

    pub fn log(&self, level: Level, message: impl Into<String>) {
        self.host.demand(Demand::Log { level, message: message.into() });
    }

    pub fn demand(&self, demand: Demand) {
        self.host.demand(demand);
    }

    /// Ends idle processes, for ever.
    pub async fn sweep(self: Arc<Gateway>) {
        let (mut looked, mut handed_over) = (Instant::now(), Instant::now());
        loop {
            tokio::time::sleep(SWEEP).await;
            let config = self.config();
            self.pool.sweep(&config);
            self.limits.sweep();
            self.audit.refused_logins();
            self.children.notices.flush();
            if handed_over.elapsed() >= HAND_OVER_USES {
                handed_over = Instant::now();
                self.hand_over_uses(|_| true).await;
            }
            let leaving = self.keepers.overdue(config.executor_idle_timeout);
            self.hand_over_uses(|database| leaving.contains(&database)).await;
            self.keepers.sweep(config.executor_idle_timeout);
            let unused = self.pool.lock().total() == 0 && self.keepers.is_empty();
            if unused && !config.preloaded && looked.elapsed() >= LOOK_FOR_USE {
                // DROP EXTENSION tells nobody outside its database, so it has to be looked for.
                looked = Instant::now();
                if !self.keepers.installed_anywhere().await {
                    self.demand(Demand::Unused);
                }
            }
        }
    }

    fn is_draining(&self, database: u32) -> bool {
        let mut draining = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        draining.retain(|(_, until)| Instant::now() < *until);
        draining.iter().any(|(d, _)| d.is_none_or(|d| d == database))
    }

    /// Runs one job for a caller. Dropping the future cancels it, so does the token.
    pub async fn call(&self, caller: &Caller, request: &Request<'_>, cancel: &CancellationToken) -> Result<Answer, LoginError> {
        self.counters.calls.fetch_add(1, Ordering::Relaxed);
        let config = self.config();
        let mut entry = Entry::open(&self.audit, request, &config.audit);
        let mut tally = Tally::new(&self.stats, caller, request);
        let mut answer = self.attempt(cancel, &mut entry, &mut tally).await;
        if let Err(refused) = &answer {
            entry.refused(refused);
        } else if let Ok(given) = &mut answer
            && let Some(error) = entry.close(given, request.gone.is_some_and(CancellationToken::is_cancelled)).await
        {
            *given = error.into();
        }
        tally.close(&answer);
        if caller.supabase_texts
            && request.kind == JobKind::Call
            && let Ok(answer) = &mut answer
        {
            answer.text = Some(supabase::text(request.tool, answer));
        }
        if answer.as_ref().map_or(true, |a| a.is_error) {
            self.counters.errors.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    async fn attempt(&self, cancel: &CancellationToken, entry: &mut Entry<'_>, tally: &mut Tally<'_>) -> Result<Answer, LoginError> {
        let (caller, request) = (tally.caller, tally.request);
        let mut login = self.login(caller, false).await?;
        let mut held: Option<Lease> = None;
        let mut passed: Option<(Arc<Principal>, Pass)> = None;
        let mut looked_again = false;
        for _ in 0..ATTEMPTS {
            if cancel.is_cancelled() {
                return Ok(cancelled().into());
            }
            let config = self.config();
            let principal = login.principal.clone();
            if let Err(error) = entry.known(caller, &principal) {
                return Ok(error.into());
            }
            tally.principal = Some(principal.clone());
            if self.is_draining(principal.database) {
                return Ok(CallError::new(Kind::Unavailable, "the database is being drained").hint("Try again later.").into());
            }
            if !passed.as_ref().is_some_and(|(whose, _)| Arc::ptr_eq(whose, &principal)) {
                // Nothing ran on the earlier pass, which was for other limits.
                held.iter_mut().for_each(|lease| lease.hold(Pass::default()));
                passed.take().into_iter().for_each(|(_, pass)| pass.give_back());
                match self.limits.admit(&principal, request.tool, &config) {
                    Ok(pass) => passed = Some((principal.clone(), pass)),
                    // Rare, and its state is large: boxed, it is no part of every call's.
                    Err(refusal) => match unless_cancelled(cancel, Box::pin(self.reconsider(caller, refusal, looked_again))).await {
                        None => return Ok(cancelled().into()),
                        Some(current) => {
                            (login, looked_again) = (current?, true);
                            continue;
                        }
                    },
                }
                if let Some(token) = principal.token {
                    self.uses.note(principal.database, token);
                }
            }
            let terms = Terms::of(&principal, request.tool, &config);
            let key = Key {
                database: principal.database,
                database_name: caller.database.clone(),
                role: principal.role,
                role_name: principal.role_name.clone(),
                login: principal.login,
                form: principal.form,
                principal: principal.id.clone(),
            };
            let mut lease = match held.take().filter(|lease| *lease.key() == key) {
                Some(lease) => lease,
                None => match unless_cancelled(cancel, self.pool.lease(key, principal.connection_limit, &terms, &config)).await {
                    None => return Ok(cancelled().into()),
                    Some(Err(error)) => return Ok(error.into()),
                    Some(Ok(lease)) => lease,
                },
            };
            tally.cold |= lease.cold;
            lease.hold(passed.as_ref().map(|(_, pass)| pass.clone()).unwrap_or_default());
            if lease.ready_at() > login.verified_at {
                // The process began after the login was read: it cannot know of changes in between.
                (login, looked_again) = (self.login(caller, true).await?, true);
                held = Some(lease);
                continue;
            }
            let job = Job {
                id: self.next_id.fetch_add(1, Ordering::Relaxed),
                kind: request.kind,
                tool: request.tool.to_string(),
                only: only(&principal, caller),
                read_only: principal.read_only || caller.read_only || terms.read_only,
                client: request.client.to_string(),
                role: if principal.form == Form::Bridge { principal.role } else { 0 },
                request: request.id.to_string(),
                headers: caller.headers.as_deref().map(str::to_string),
                about: lease.tell(&principal.about),
                caps: terms.caps,
                ask: entry.is_asked(),
            };
            entry.sent();
            tally.running = Some(Instant::now());
            let mut said = unless_cancelled(cancel, lease.run(&job, request.arguments)).await;
            while let Some(Ok(Said::Asks(ask))) = said {
                // Its state is large, and most calls only read.
                said = Box::pin(self.intend(&mut lease, &ask, cancel, entry)).await;
            }
            let answer = match said {
                Some(Ok(Said::Answer(reply, payload))) => Ok((reply, payload)),
                Some(Err(lost)) => Err(lost),
                _ => Box::pin(lease.cancel()).await,
            };
            entry.hold(lease.intent.take());
            match answer {
                Ok((Reply { outcome: Outcome::Stale, .. }, _)) => {
                    (login, looked_again) = (self.login(caller, true).await?, true);
                    held = Some(lease);
                }
                Ok((Reply { outcome: Outcome::Retire, .. }, _)) => match lease.replace().await {
                    Ok(()) => held = Some(lease),
                    Err(error) => return Ok(error.into()),
                },
                Ok((reply, payload)) => {
                    tally.learn(reply.facts.as_deref(), entry.may_write());
                    entry.answered(reply.facts);
                    return Ok(Answer { payload, is_error: reply.outcome == Outcome::Error, untrusted: reply.untrusted, text: None });
                }
                Err(Lost::Unsent) if !cancel.is_cancelled() => match lease.replace().await {
                    Ok(()) => held = Some(lease),
                    Err(error) => return Ok(error.into()),
                },
                Err(_) => {
                    entry.lost();
                    return Ok(if cancel.is_cancelled() { cancelled() } else { terminated() }.into());
                }
            }
        }
        Ok(CallError::new(Kind::Busy, "roles or settings kept changing under the call").hint("Try again.").into())
    }
}

impl Gateway {
    /// Has the intent of a call recorded, and lets the call go on once that is on disk. `None`: it was cancelled.
    async fn intend(&self, lease: &mut Lease, ask: &Ask, cancel: &CancellationToken, entry: &mut Entry<'_>) -> Option<Result<Said, Lost>> {
        let begun = Instant::now();
        let refused = match entry.intend(ask) {
            None => None,
            Some(Err(error)) => Some(error),
            Some(Ok(intent)) => {
                // With the lease from here on: however this future ends, somebody says how the call did.
                let intent = lease.intent.insert(intent);
                unless_cancelled(cancel, intent.written()).await?.err()
            }
        };
        entry.waited(begun.elapsed());
        unless_cancelled(cancel, lease.go_on(&Word { id: ask.id, refused })).await
    }
}

/// The toolsets that a call is kept to: the credential's and the URL's, for it has to be in both.
fn only(principal: &Principal, caller: &Caller) -> String {
    let lists: Vec<&[String]> = principal.features.as_deref().into_iter().chain(caller.features.as_deref()).collect();
    // A list of texts is always JSON.
    if lists.is_empty() { String::new() } else { serde_json::to_string(&lists).unwrap_or_default() }
}

async fn unless_cancelled<T>(cancel: &CancellationToken, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        value = future => Some(value),
        () = cancel.cancelled() => None,
    }
}

fn cancelled() -> CallError {
    CallError::new(Kind::Cancelled, "the call was cancelled").sqlstate("57014")
}

fn terminated() -> CallError {
    CallError::new(Kind::Terminated, "the process that ran this call was ended before it answered")
        .sqlstate("57P01")
        .hint("Its transaction did not commit, unless the end came during the commit itself: check before you repeat a write.")
}
