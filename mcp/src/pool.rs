//! The pool of executors: leases on processes, starting and ending them, waiting in a bounded queue, and keeping spares.
//!
//! Runs on the gateway's runtime thread. The order is decided by [`Scheduler`]; this file adds the clock, the sockets and the promise
//! that whatever happens to a caller, its process comes back or is given up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::audit::{End, Intent, Outcome};
use crate::children::Children;
use crate::config::Config;
use crate::error::{CallError, Kind};
use crate::limits::{Pass, Terms};
use crate::notices::Event;
use crate::process::{Lost, Process, Said};
use crate::scheduler::{Acquired, Grant, Key, Scheduler};
use crate::spares::Site;
use crate::types::{About, Form, Job, Reply, Word};

/// A new spare waits this long for its start: the call that made it necessary has the processor first.
const SPARE_DELAY: Duration = Duration::from_millis(10);
/// After a spare that did not start, which the server's log has a line about.
const SPARE_RETRY: Duration = Duration::from_secs(10);

/// A database in which bridges are in use.
struct Active {
    site: Site,
    last_call: Instant,
    /// Spares are not started before.
    not_before: Instant,
}

/// When a call that found no executor should come again: the queue moves within this time, as a rule.
const RETRY_BUSY_MS: u64 = 1000;

pub struct Pool {
    children: Arc<Children>,
    scheduler: Mutex<Scheduler<Process, oneshot::Sender<Lease>>>,
    active: Mutex<HashMap<u32, Active>>,
}

/// The right to run one call, and the process to run it on. Dropping it gives the process back; dropping it while a job runs cancels
/// the job first.
pub struct Lease {
    pool: Arc<Pool>,
    key: Key,
    max: usize,
    process: Option<Process>,
    /// A process was started for it.
    pub cold: bool,
    /// The job that was sent and not answered.
    outstanding: Option<u64>,
    /// The call counts as running until its process has really come free.
    pass: Pass,
    /// Of the running job, if it may write.
    pub intent: Option<Intent>,
}

impl Pool {
    pub fn new(children: Arc<Children>) -> Arc<Pool> {
        Arc::new(Pool { children, scheduler: Mutex::default(), active: Mutex::default() })
    }

    pub fn lock(&self) -> MutexGuard<'_, Scheduler<Process, oneshot::Sender<Lease>>> {
        self.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease with a living process on it.
    pub async fn lease(
        self: &Arc<Pool>,
        key: Key,
        connection_limit: Option<usize>,
        terms: &Terms,
        config: &Config,
    ) -> Result<Lease, CallError> {
        let limit = connection_limit.unwrap_or(usize::MAX);
        let mut lease = self.turn(key, limit, terms, config).await?;
        let usable = |p: &Process| p.is_alive() && p.calls < config.executor_max_calls;
        while lease.process.take_if(|p| !usable(p)).is_some() {
            // One that ended while it was idle: a spare will do as well.
            lease.process = lease.key.site().and_then(|site| self.lock().take_spare(&site));
        }
        self.note(&lease, config);
        if lease.process.is_none() {
            lease.start().await?;
        }
        Ok(lease)
    }

    /// Waits for the caller's turn; the lease may have no process yet.
    async fn turn(self: &Arc<Pool>, key: Key, limit: usize, terms: &Terms, config: &Config) -> Result<Lease, CallError> {
        let deadline = Instant::now() + terms.queue_wait;
        let max = config.max_executors;
        let mut turn = None;
        let acquired = self.lock().acquire(&key, limit, max, config.queue_length, || {
            let (sender, receiver) = oneshot::channel();
            turn = Some(receiver);
            sender
        });
        match (acquired, turn) {
            (Acquired::Granted(grant), _) => Ok(self.granted(key, max, grant)),
            (Acquired::Waiting, Some(turn)) => match timeout_at(deadline, turn).await {
                Ok(Ok(lease)) => Ok(lease),
                _ => {
                    self.lock().forget(oneshot::Sender::is_closed);
                    self.children.notices.note(Event::QueueTimeout, Some(&key));
                    let ms = terms.queue_wait.as_millis();
                    let name = terms.queue_name.clone().unwrap_or_else(|| format!("supabase_mcp.queue_timeout = {ms} ms"));
                    Err(busy(format!("no executor came free within {ms} ms"), name))
                }
            },
            _ => {
                self.children.notices.note(Event::QueueFull, Some(&key));
                let name = format!("supabase_mcp.queue_length = {}", config.queue_length);
                Err(busy(format!("{} calls of this role wait already", config.queue_length), name))
            }
        }
    }

    fn granted(self: &Arc<Pool>, key: Key, max: usize, grant: Grant<Process>) -> Lease {
        let process = match grant {
            Grant::Use(process) => Some(process),
            Grant::Start => None,
        };
        Lease { pool: self.clone(), key, max, process, cold: false, outstanding: None, pass: Pass::default(), intent: None }
    }

    /// Hands the freed places to those who wait. A lease whose receiver is gone comes back through its own drop.
    fn deliver(self: &Arc<Pool>, max: usize) {
        loop {
            let Some(delivery) = self.lock().next_delivery(max) else { return };
            let lease = self.granted(delivery.key, max, delivery.grant);
            drop(delivery.ticket.send(lease));
        }
    }

    fn active(&self) -> MutexGuard<'_, HashMap<u32, Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that a bridge is in use, and has a spare made where there was a new end user: more of them may come.
    fn note(self: &Arc<Pool>, lease: &Lease, config: &Config) {
        let Some(site) = lease.key.site() else { return };
        let now = Instant::now();
        {
            let mut active = self.active();
            let entry = active.entry(site.database).or_insert_with(|| Active { site: site.clone(), last_call: now, not_before: now });
            entry.last_call = now;
            entry.site.clone_from(&site);
        }
        if lease.process.as_ref().is_none_or(|p| p.calls == 0) {
            self.replenish(site, config);
        }
    }

    /// Starts spares in the background, as many as are wanted and have a place.
    fn replenish(self: &Arc<Pool>, site: Site, config: &Config) {
        let (wanted, max) = (config.spare_bridges, config.max_executors);
        if wanted == 0 || config.executor_idle_timeout.is_zero() {
            return;
        }
        let pool = self.clone();
        tokio::spawn(async move {
            sleep(SPARE_DELAY).await;
            while pool.start_spare(&site, wanted, max).await {}
        });
    }

    /// `false`: no more are to be started now.
    async fn start_spare(self: &Arc<Pool>, site: &Site, wanted: usize, max: usize) -> bool {
        // Drained, switched off or reloaded meanwhile, or it failed lately.
        if !self.active().get(&site.database).is_some_and(|a| a.site == *site && a.not_before <= Instant::now()) {
            return false;
        }
        let Some(ticket) = self.lock().expect_spare(site, wanted, max) else { return false };
        // Once, and without making room: slots are for calls.
        let started = self.children.start_once(site.database, site.login, Form::Bridge).await;
        let failed = started.is_err();
        if failed && let Some(active) = self.active().get_mut(&site.database) {
            active.not_before = Instant::now() + SPARE_RETRY;
        }
        self.lock().spare_arrived(ticket, started.ok());
        // Somebody may have begun to wait while the place was taken.
        self.deliver(max);
        !failed
    }

    /// Ends idle processes that nobody used for a while, gives their places to those who wait, and has as many spares as there should be.
    pub fn sweep(self: &Arc<Pool>, config: &Config) {
        let idle = config.executor_idle_timeout;
        let left = self.lock().take_idle(|_, p| p.idle_since.elapsed() >= idle || !p.is_alive());
        drop(left);
        let sites: Vec<Site> = {
            let mut active = self.active();
            active.retain(|_, a| a.last_call.elapsed() < idle);
            active.values().map(|a| a.site.clone()).collect()
        };
        let mut kept: HashMap<u32, usize> = HashMap::new();
        let left = self.lock().take_spares(|site, process| {
            let count = kept.entry(site.database).or_default();
            *count += 1;
            *count > config.spare_bridges || !sites.contains(site) || !process.is_alive()
        });
        drop(left);
        self.deliver(config.max_executors);
        for site in sites {
            self.replenish(site, config);
        }
    }

    /// Ends a spare, or else the process that has been idle longest. `false`: there is neither.
    pub fn make_room(self: &Arc<Pool>) -> bool {
        let mut first = true;
        let mut scheduler = self.lock();
        let mut left = scheduler.take_spares(|_, _| std::mem::take(&mut first));
        if left.is_empty() {
            left = scheduler.take_idle(|_, _| std::mem::take(&mut first));
        }
        !left.is_empty()
    }

    /// Ends the spares of a database, or all, until the next call of a bridge there.
    pub fn dismiss_spares(self: &Arc<Pool>, database: Option<u32>) {
        self.active().retain(|oid, _| database.is_some_and(|d| d != *oid));
        let mut scheduler = self.lock();
        scheduler.unexpect_spares(database);
        let left = scheduler.take_spares(|site, _| database.is_none_or(|d| site.database == d));
        drop(left);
    }

    /// Ends the idle processes of a database, or all.
    pub fn dismiss(self: &Arc<Pool>, database: Option<u32>) {
        self.dismiss_spares(database);
        let left = self.lock().take_idle(|key, _| database.is_none_or(|d| key.database == d));
        drop(left);
    }

    /// Whether a process of ours is at work in a database, or in any, or on its way there.
    pub fn is_busy(&self, database: Option<u32>) -> bool {
        let scheduler = self.lock();
        scheduler.busy_in(database) + scheduler.spares_starting_in(database) > 0
    }
}

fn busy(message: String, limit: String) -> CallError {
    CallError { limit: Some(limit), retry_after_ms: Some(RETRY_BUSY_MS), ..CallError::new(Kind::Busy, message) }
        .sqlstate("53000")
        .hint("Try again shortly. To run more at once, an administrator can raise supabase_mcp.max_executors and max_worker_processes.")
}

impl Lease {
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Ties the count of running calls to this lease.
    pub fn hold(&mut self, pass: Pass) {
        self.pass = pass;
    }

    /// The epoch of the process's hello.
    pub fn ready_at(&self) -> u64 {
        self.process.as_ref().map_or(u64::MAX, |p| p.ready_at)
    }

    /// What the next job has to say of its caller: nothing, if the process knows it already.
    pub fn tell(&mut self, about: &Arc<About>) -> Option<Box<About>> {
        let process = self.process.as_mut()?;
        if process.told.as_ref().is_some_and(|told| Arc::ptr_eq(told, about)) {
            return None;
        }
        process.told = Some(about.clone());
        Some(Box::new(About::clone(about)))
    }

    async fn start(&mut self) -> Result<(), CallError> {
        self.cold = true;
        // Rare, and its state is large: boxed, it is no part of every call's.
        self.process = Some(Box::pin(self.pool.children.start(self.key.database, self.key.login, self.key.form)).await?);
        Ok(())
    }

    /// Runs one job, up to its answer or to the moment at which it asks whether it may write. Dropping the future cancels the job.
    pub async fn run(&mut self, job: &Job, arguments: &[u8]) -> Result<Said, Lost> {
        let process = self.process.as_mut().ok_or(Lost::Unsent)?;
        self.outstanding = Some(job.id);
        let said = match process.send(job, arguments).await {
            Ok(()) => process.listen(job.id).await,
            Err(lost) => Err(lost),
        };
        self.heard(said)
    }

    /// Gives the job the word that it asked for. Dropping the future cancels the job.
    pub async fn go_on(&mut self, word: &Word) -> Result<Said, Lost> {
        let process = self.process.as_mut().ok_or(Lost::Unanswered)?;
        let said = match process.tell(word).await {
            Ok(()) => process.listen(word.id).await,
            Err(lost) => Err(lost),
        };
        // It had begun when it asked.
        self.heard(said.map_err(|_| Lost::Unanswered))
    }

    fn heard(&mut self, said: Result<Said, Lost>) -> Result<Said, Lost> {
        let answer = match said {
            Ok(Said::Asks(ask)) => return Ok(Said::Asks(ask)),
            Ok(Said::Answer(reply, payload)) => Ok((reply, payload)),
            Err(lost) => Err(lost),
        };
        self.settle(answer).map(|(reply, payload)| Said::Answer(reply, payload))
    }

    /// Ends the job that [`Lease::run`] was dropped over, and gives its answer.
    pub async fn cancel(&mut self) -> Result<(Reply, Vec<u8>), Lost> {
        let (Some(process), Some(id)) = (self.process.as_mut(), self.outstanding) else { return Err(Lost::Unsent) };
        let answer = process.cancel(id).await;
        self.settle(answer)
    }

    fn settle(&mut self, answer: Result<(Reply, Vec<u8>), Lost>) -> Result<(Reply, Vec<u8>), Lost> {
        self.outstanding = None;
        if answer.as_ref().map_or(true, |(reply, _)| reply.leaving) {
            self.process = None;
        }
        answer
    }

    /// Gives up the process and starts another one in its place.
    pub async fn replace(&mut self) -> Result<(), CallError> {
        self.process = None;
        self.start().await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(mut process), Some(id)) = (self.process.take_if(|_| self.outstanding.is_some()), self.outstanding.take()) {
            let (pool, key, max, pass) = (self.pool.clone(), self.key.clone(), self.max, std::mem::take(&mut self.pass));
            let intent = self.intent.take();
            // At once, and not in the task: it may never run.
            process.interrupt();
            // The place stays taken until the job has really ended. Nothing in this task starts another one when it is dropped: a
            // runtime that is ending drops what is spawned on the spot.
            let ending = async move {
                let answer = process.cancel(id).await;
                let usable = answer.as_ref().is_ok_and(|(reply, _)| !reply.leaving);
                match (intent, answer.ok().and_then(|(reply, _)| reply.facts)) {
                    (Some(intent), Some(facts)) => drop(intent.end(End::new(Outcome::Disconnected, facts))),
                    (Some(intent), None) => drop(intent.leave(Outcome::Disconnected)),
                    (None, _) => {}
                }
                process.idle_since = Instant::now();
                drop(pass);
                pool.lock().release(&key, usable.then_some(process));
                pool.deliver(max);
            };
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(ending);
            }
            return;
        }
        let process = self.process.take().map(|mut process| {
            process.idle_since = Instant::now();
            process
        });
        self.pool.lock().release(&self.key, process);
        self.pool.deliver(self.max);
    }
}
