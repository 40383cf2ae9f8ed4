//! Who gets which executor, and when: a pure state machine.
//!
//! Knows keys, counts and order; starts nothing, sends nothing, has no clock. `P` is an idle process, `W` the ticket of somebody who
//! waits. Fair between roles, and between the principals of one role: when a process comes free, it is the turn of the role that has least
//! at work, so that one role's flood delays another role by at most one running call. A process never serves two keys; one that is in the
//! way of another key is given up, a spare before one that has served, but for a role that has half of all places already: the idle
//! processes of others stay warm for them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::spares::{Site, Spares};
use crate::types::Form;

/// What an executor is bound to for life: one database, one role, one principal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub database: u32,
    pub database_name: Arc<str>,
    pub role: u32,
    pub role_name: Arc<str>,
    /// The role that the process connects as.
    pub login: u32,
    pub form: Form,
    pub principal: Arc<str>,
}

impl Key {
    fn lane(&self) -> Lane {
        Lane { database: self.database, role: self.role }
    }

    /// Where a spare would fit: only a bridge can be bound after its start.
    pub fn site(&self) -> Option<Site> {
        let site = || Site { database: self.database, database_name: self.database_name.clone(), login: self.login };
        (self.form == Form::Bridge).then(site)
    }
}

/// Waiting happens per role in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Lane {
    database: u32,
    role: u32,
}

/// Permission to run one call.
#[derive(Debug, PartialEq, Eq)]
pub enum Grant<P> {
    /// On this process: a warm one of the key, or a spare that is the key's from now on.
    Use(P),
    /// On a process that the holder starts: its place is counted already.
    Start,
}

/// The answer to [`Scheduler::acquire`].
#[derive(Debug, PartialEq, Eq)]
pub enum Acquired<P> {
    Granted(Grant<P>),
    /// The ticket stands in the queue.
    Waiting,
    /// The principal's queue is full.
    Full,
}

struct Idle<P> {
    key: Key,
    process: P,
}

struct Waiter<W> {
    key: Key,
    /// Within a lane the principals take turns: this is the turn of theirs that it waits for.
    round: u64,
    limit: usize,
    ticket: W,
}

/// A grant for somebody who waited.
pub struct Delivery<P, W> {
    pub key: Key,
    pub ticket: W,
    pub grant: Grant<P>,
}

pub struct Scheduler<P, W> {
    /// Oldest first, so that the least recently used is at the front.
    idle: VecDeque<Idle<P>>,
    /// Running or starting, per lane.
    busy: HashMap<Lane, usize>,
    spares: Spares<P>,
    /// Idle, running, starting and spare.
    total: usize,
    /// Lanes with waiters; among equals the front is next.
    turns: VecDeque<Lane>,
    queues: HashMap<Lane, VecDeque<Waiter<W>>>,
    /// How often an idle process had to make room for another key.
    pub evictions: u64,
    /// How often somebody had to wait.
    pub waits: u64,
}

impl<P, W> Default for Scheduler<P, W> {
    fn default() -> Self {
        Scheduler {
            idle: VecDeque::new(),
            busy: HashMap::new(),
            spares: Spares::default(),
            total: 0,
            turns: VecDeque::new(),
            queues: HashMap::new(),
            evictions: 0,
            waits: 0,
        }
    }
}

impl<P, W> Scheduler<P, W> {
    /// Asks for a process. `limit` is the role's own limit on processes, `max` the pool's, `queue` the longest queue of a principal.
    /// The ticket is made only when the caller has to wait.
    pub fn acquire(&mut self, key: &Key, limit: usize, max: usize, queue: usize, ticket: impl FnOnce() -> W) -> Acquired<P> {
        let lane = key.lane();
        let nobody_waits = self.queues.get(&lane).is_none_or(VecDeque::is_empty);
        if nobody_waits && let Some(grant) = self.grant(key, limit, max) {
            return Acquired::Granted(grant);
        }
        let waiting = self.queues.entry(lane).or_default();
        let own = waiting.iter().filter(|w| w.key.principal == key.principal).count();
        if own >= queue {
            return Acquired::Full;
        }
        if waiting.is_empty() {
            self.turns.push_back(lane);
        }
        // Behind one call of each other principal for each call of one's own, and not behind a flood.
        let round = waiting.front().map_or(0, |w| w.round) + own as u64;
        let at = waiting.partition_point(|w| w.round <= round);
        waiting.insert(at, Waiter { key: key.clone(), round, limit, ticket: ticket() });
        self.waits += 1;
        Acquired::Waiting
    }

    fn grant(&mut self, key: &Key, limit: usize, max: usize) -> Option<Grant<P>> {
        let lane = key.lane();
        if self.busy.get(&lane).copied().unwrap_or(0) >= limit {
            return None;
        }
        // The most recently used one: its caches are warm, and the others can go idle.
        let grant = if let Some(at) = self.idle.iter().rposition(|i| i.key == *key) {
            self.idle.remove(at).map(|i| Grant::Use(i.process))?
        } else if let Some(spare) = key.site().and_then(|site| self.spares.take(&site)) {
            Grant::Use(spare)
        } else if self.total < max {
            self.total += 1;
            Grant::Start
        } else if self.spares.give_up() {
            Grant::Start
        } else {
            // Dropping it closes its socket, and the process leaves.
            let at = self.dispensable(lane, max)?;
            self.idle.remove(at)?;
            self.evictions += 1;
            Grant::Start
        };
        *self.busy.entry(lane).or_default() += 1;
        Some(grant)
    }

    /// The least recently used idle process that makes room for a lane: one of its own, or anybody's while it holds less than half of
    /// the places. Without this a flood would end the others' processes between any two calls of theirs.
    fn dispensable(&self, lane: Lane, max: usize) -> Option<usize> {
        let own = |idle: &Idle<P>| idle.key.lane() == lane;
        let held = self.busy.get(&lane).copied().unwrap_or(0) + self.idle.iter().filter(|i| own(i)).count();
        self.idle.iter().position(|i| held < max.div_ceil(2) || own(i))
    }

    /// A call is over. `process` is `None` when its process is gone.
    pub fn release(&mut self, key: &Key, process: Option<P>) {
        let lane = key.lane();
        if let Some(count) = self.busy.get_mut(&lane) {
            *count -= 1;
            if *count == 0 {
                self.busy.remove(&lane);
            }
        }
        match process {
            Some(process) => self.idle.push_back(Idle { key: key.clone(), process }),
            None => self.total = self.total.saturating_sub(1),
        }
    }

    /// The next grant for somebody who waits, if there is one. Call it until it returns `None`.
    pub fn next_delivery(&mut self, max: usize) -> Option<Delivery<P, W>> {
        // Who has least at work comes first; among those, who waits longest for a turn.
        let at_work = |lane: &Lane| self.busy.get(lane).copied().unwrap_or(0);
        let mut order: Vec<(usize, usize)> = self.turns.iter().enumerate().map(|(at, lane)| (at_work(lane), at)).collect();
        order.sort_unstable();
        for (_, at) in order {
            let lane = *self.turns.get(at)?;
            let (key, limit) = self.queues.get(&lane).and_then(VecDeque::front).map(|w| (w.key.clone(), w.limit))?;
            let Some(grant) = self.grant(&key, limit, max) else { continue };
            self.turns.remove(at);
            let queue = self.queues.get_mut(&lane)?;
            let waiter = queue.pop_front()?;
            if queue.is_empty() {
                self.queues.remove(&lane);
            } else {
                self.turns.push_back(lane);
            }
            return Some(Delivery { key, ticket: waiter.ticket, grant });
        }
        None
    }

    /// Forgets the waiters that `gone` says nobody waits behind any more.
    pub fn forget(&mut self, gone: impl Fn(&W) -> bool) {
        self.queues.retain(|_, queue| {
            queue.retain(|w| !gone(&w.ticket));
            !queue.is_empty()
        });
        let queues = &self.queues;
        self.turns.retain(|lane| queues.contains_key(lane));
    }

    /// Takes out the idle processes that `leave` names; dropping them ends them.
    pub fn take_idle(&mut self, mut leave: impl FnMut(&Key, &P) -> bool) -> Vec<P> {
        let mut taken = Vec::new();
        for _ in 0..self.idle.len() {
            let Some(entry) = self.idle.pop_front() else { break };
            if leave(&entry.key, &entry.process) {
                self.total = self.total.saturating_sub(1);
                taken.push(entry.process);
            } else {
                self.idle.push_back(entry);
            }
        }
        taken
    }

    /// A place for one more spare, if fewer than `wanted` are there and a place is left for a call even so. To be followed by
    /// [`Scheduler::spare_arrived`].
    pub fn expect_spare(&mut self, site: &Site, wanted: usize, max: usize) -> Option<u64> {
        if self.spares.count(site) >= wanted || self.total + 1 >= max {
            return None;
        }
        self.total += 1;
        Some(self.spares.expect(site))
    }

    /// The start of a spare is over; `None`: it failed.
    pub fn spare_arrived(&mut self, ticket: u64, process: Option<P>) {
        let failed = process.is_none();
        if self.spares.arrived(ticket, process) && failed {
            self.total = self.total.saturating_sub(1);
        }
    }

    /// A spare for somebody who has a place already.
    pub fn take_spare(&mut self, site: &Site) -> Option<P> {
        let spare = self.spares.take(site)?;
        self.total = self.total.saturating_sub(1);
        Some(spare)
    }

    /// Takes out the spares that `leave` names; dropping them ends them.
    pub fn take_spares(&mut self, leave: impl FnMut(&Site, &P) -> bool) -> Vec<P> {
        let taken = self.spares.take_out(leave);
        self.total = self.total.saturating_sub(taken.len());
        taken
    }

    /// Has the spares that are on their way to a database, or all, sent away when they arrive.
    pub fn unexpect_spares(&mut self, database: Option<u32>) {
        self.total = self.total.saturating_sub(self.spares.unexpect(database));
    }

    pub fn spares(&self) -> impl Iterator<Item = (&Site, &P)> {
        self.spares.waiting()
    }

    /// Spares on their way to a database, or to any.
    pub fn spares_starting_in(&self, database: Option<u32>) -> usize {
        self.spares.starting_in(database)
    }

    pub fn idle(&self) -> impl Iterator<Item = (&Key, &P)> {
        self.idle.iter().map(|i| (&i.key, &i.process))
    }

    pub fn busy_in(&self, database: Option<u32>) -> usize {
        self.busy.iter().filter(|(lane, _)| database.is_none_or(|d| lane.database == d)).map(|(_, n)| n).sum()
    }

    pub fn waiting(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum()
    }

    pub fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests;
