//! Spare bridges: executors that are connected and bound to nobody yet, so that a new end user need not wait for a process to start.
//!
//! The book-keeping alone, and pure: starts nothing, has no clock. Part of [`Scheduler`](crate::scheduler::Scheduler), which counts
//! a spare as it counts every executor. A spare is a guest in the pool: it is taken by the first call that it fits, and given up before
//! anything else when a place or a slot is needed.

use std::collections::VecDeque;
use std::sync::Arc;

/// What fits a spare: where it is connected, and as which role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    pub database: u32,
    pub database_name: Arc<str>,
    /// The bridge role, which may have been made anew since.
    pub login: u32,
}

struct Starting {
    ticket: u64,
    site: Site,
    /// Its place has not been given to somebody else meanwhile.
    wanted: bool,
}

pub struct Spares<P> {
    /// Oldest first.
    waiting: VecDeque<(Site, P)>,
    starting: Vec<Starting>,
    last_ticket: u64,
}

impl<P> Default for Spares<P> {
    fn default() -> Self {
        Spares { waiting: VecDeque::new(), starting: Vec::new(), last_ticket: 0 }
    }
}

impl<P> Spares<P> {
    /// Spares that are there or on their way.
    pub fn count(&self, site: &Site) -> usize {
        let starting = self.starting.iter().filter(|s| s.wanted && s.site == *site).count();
        self.waiting.iter().filter(|(s, _)| s == site).count() + starting
    }

    /// The one that waits longest: what it has taken in of the catalogs is the oldest, but so is the fear that it leaves unused.
    pub fn take(&mut self, site: &Site) -> Option<P> {
        let at = self.waiting.iter().position(|(s, _)| s == site)?;
        self.waiting.remove(at).map(|(_, process)| process)
    }

    /// Notes one that is about to be started.
    pub fn expect(&mut self, site: &Site) -> u64 {
        self.last_ticket += 1;
        self.starting.push(Starting { ticket: self.last_ticket, site: site.clone(), wanted: true });
        self.last_ticket
    }

    /// The start that `ticket` stands for is over. `true`: its place was still kept for it.
    pub fn arrived(&mut self, ticket: u64, process: Option<P>) -> bool {
        let Some(at) = self.starting.iter().position(|s| s.ticket == ticket) else { return false };
        let Starting { site, wanted, .. } = self.starting.swap_remove(at);
        if let (true, Some(process)) = (wanted, process) {
            self.waiting.push_back((site, process));
        }
        wanted
    }

    /// Frees one place, if there is one to free: first of those that wait, for their slot comes free at once.
    pub fn give_up(&mut self) -> bool {
        // Dropping the process closes its socket, and it leaves.
        self.waiting.pop_front().is_some() || self.starting.iter_mut().find(|s| s.wanted).map(|s| s.wanted = false).is_some()
    }

    /// Takes out those that wait and that `leave` names.
    pub fn take_out(&mut self, mut leave: impl FnMut(&Site, &P) -> bool) -> Vec<P> {
        let (left, kept) = std::mem::take(&mut self.waiting).into_iter().partition(|(site, process)| leave(site, process));
        self.waiting = kept;
        VecDeque::into_iter(left).map(|(_, process)| process).collect()
    }

    /// Gives up the places of those on their way to a database, or of all; how many.
    pub fn unexpect(&mut self, database: Option<u32>) -> usize {
        let given_up = self.starting.iter_mut().filter(|s| s.wanted && database.is_none_or(|d| s.site.database == d));
        given_up.map(|s| s.wanted = false).count()
    }

    /// Processes on their way to a database, or to any, also those that will be sent away.
    pub fn starting_in(&self, database: Option<u32>) -> usize {
        self.starting.iter().filter(|s| database.is_none_or(|d| s.site.database == d)).count()
    }

    pub fn waiting(&self) -> impl Iterator<Item = (&Site, &P)> {
        self.waiting.iter().map(|(site, process)| (site, process))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{Acquired, Grant, Key, Scheduler};
    use crate::types::Form;

    type Pool = Scheduler<u32, ()>;

    fn bridge(principal: u32) -> Key {
        Key { form: Form::Bridge, login: 9, ..direct(principal) }
    }

    fn direct(principal: u32) -> Key {
        Key {
            database: 1,
            database_name: "d".into(),
            role: principal,
            role_name: "r".into(),
            login: principal,
            form: Form::Direct,
            principal: format!("p{principal}").into(),
        }
    }

    fn site() -> Site {
        bridge(0).site().unwrap()
    }

    fn ask(pool: &mut Pool, key: &Key, max: usize) -> Grant<u32> {
        match pool.acquire(key, usize::MAX, max, 3, || ()) {
            Acquired::Granted(grant) => grant,
            other => panic!("{other:?}"),
        }
    }

    fn with_spare(max: usize, process: u32) -> Pool {
        let mut pool = Pool::default();
        let ticket = pool.expect_spare(&site(), 1, max).unwrap();
        pool.spare_arrived(ticket, Some(process));
        pool
    }

    #[test]
    fn spare_is_for_a_bridge_of_its_database_and_login() {
        let mut pool = with_spare(9, 77);
        assert_eq!(ask(&mut pool, &direct(1), 9), Grant::Start);
        assert_eq!(ask(&mut pool, &Key { database: 2, ..bridge(2) }, 9), Grant::Start);
        assert_eq!(ask(&mut pool, &Key { login: 8, ..bridge(2) }, 9), Grant::Start);
        assert_eq!(ask(&mut pool, &bridge(2), 9), Grant::Use(77));
        pool.release(&bridge(2), Some(77));
        assert_eq!(ask(&mut pool, &bridge(3), 9), Grant::Start, "it is bound to one principal from then on");
        assert_eq!(ask(&mut pool, &bridge(2), 9), Grant::Use(77));
        assert_eq!(pool.total(), 5);
    }

    #[test]
    fn last_place_stays_free() {
        let mut pool = Pool::default();
        assert_eq!(pool.expect_spare(&site(), 1, 1), None);
        assert_eq!(ask(&mut pool, &bridge(1), 2), Grant::Start);
        assert_eq!(pool.expect_spare(&site(), 1, 2), None);
        assert!(pool.expect_spare(&site(), 1, 3).is_some());
        assert_eq!(pool.expect_spare(&site(), 1, 9), None, "one is wanted, and on its way");
        assert!(pool.expect_spare(&site(), 2, 9).is_some());
    }

    #[test]
    fn spare_makes_room_before_an_idle_process() {
        let mut pool = with_spare(3, 77);
        for (key, process) in [(direct(1), 11), (direct(2), 22)] {
            assert_eq!(ask(&mut pool, &key, 3), Grant::Start);
            pool.release(&key, Some(process));
        }
        assert_eq!(ask(&mut pool, &direct(3), 3), Grant::Start);
        assert_eq!((pool.spares().count(), pool.idle().count(), pool.total(), pool.evictions), (0, 2, 3, 0));
    }

    #[test]
    fn spare_on_its_way_gives_its_place_up() {
        let mut pool = Pool::default();
        let ticket = pool.expect_spare(&site(), 1, 2).unwrap();
        assert_eq!(ask(&mut pool, &direct(1), 2), Grant::Start);
        assert_eq!(ask(&mut pool, &direct(2), 2), Grant::Start, "nobody waits for a spare's start");
        assert_eq!((pool.total(), pool.spares_starting_in(Some(1))), (2, 1));
        pool.spare_arrived(ticket, Some(77));
        assert_eq!((pool.total(), pool.spares().count(), pool.spares_starting_in(None)), (2, 0, 0));
    }

    #[test]
    fn failed_and_dismissed_spares_free_their_places() {
        let mut pool = Pool::default();
        let failed = pool.expect_spare(&site(), 3, 9).unwrap();
        pool.spare_arrived(failed, None);
        assert_eq!(pool.total(), 0);
        let (first, second) = (pool.expect_spare(&site(), 3, 9).unwrap(), pool.expect_spare(&site(), 3, 9).unwrap());
        pool.spare_arrived(first, Some(77));
        pool.unexpect_spares(Some(2));
        assert_eq!(pool.total(), 2);
        pool.unexpect_spares(Some(1));
        assert_eq!(pool.take_spares(|_, _| true), [77]);
        pool.spare_arrived(second, Some(78));
        pool.spare_arrived(second, None);
        assert_eq!((pool.total(), pool.spares().count()), (0, 0));
    }
}
