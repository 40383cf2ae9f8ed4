//! Orders and counts of the scheduler, with numbers for processes and tickets.

use super::*;
use crate::types::Form;

fn key(role: u32) -> Key {
    Key {
        database: 1,
        database_name: "d".into(),
        role,
        role_name: "r".into(),
        login: role,
        form: Form::Direct,
        principal: format!("r{role}").into(),
    }
}

/// Two processes at the most, queues of three.
fn ask(s: &mut Scheduler<u32, u32>, role: u32, ticket: u32) -> Acquired<u32> {
    s.acquire(&key(role), usize::MAX, 2, 3, || ticket)
}

fn drain(s: &mut Scheduler<u32, u32>) -> Vec<u32> {
    std::iter::from_fn(|| s.next_delivery(2)).map(|d| d.ticket).collect()
}

#[test]
fn principals_of_one_role_take_turns() {
    let mut s = Scheduler::<u32, u32>::default();
    let of = |principal: &str| Key { principal: principal.into(), ..key(1) };
    let mut ask = |principal: &str, ticket| s.acquire(&of(principal), usize::MAX, 1, 3, || ticket);
    assert_eq!(ask("a", 0), Acquired::Granted(Grant::Start));
    for (principal, ticket) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)] {
        assert_eq!(ask(principal, ticket), Acquired::Waiting);
    }
    assert_eq!(ask("a", 7), Acquired::Full, "the flood fills its own queue");
    assert_eq!(ask("b", 8), Acquired::Waiting, "and nobody else's");
    let mut order = Vec::new();
    s.release(&of("a"), None);
    while let Some(delivery) = s.next_delivery(1) {
        order.push(delivery.ticket);
        s.release(&delivery.key, None);
    }
    assert_eq!(order, [1, 4, 5, 2, 6, 3, 8]);
}

#[test]
fn warm_process_is_used_again_by_its_own_key_only() {
    let mut s = Scheduler::default();
    assert_eq!(ask(&mut s, 1, 0), Acquired::Granted(Grant::Start));
    s.release(&key(1), Some(11));
    assert_eq!(ask(&mut s, 2, 0), Acquired::Granted(Grant::Start));
    assert_eq!(ask(&mut s, 1, 0), Acquired::Granted(Grant::Use(11)));
}

#[test]
fn idle_process_of_another_role_makes_room() {
    let mut s = Scheduler::default();
    for (role, process) in [(1, 11), (2, 22)] {
        assert_eq!(ask(&mut s, role, 0), Acquired::Granted(Grant::Start));
        s.release(&key(role), Some(process));
    }
    assert_eq!(ask(&mut s, 3, 0), Acquired::Granted(Grant::Start));
    assert_eq!((s.evictions, s.total()), (1, 2));
    assert_eq!(s.idle().map(|(_, p)| *p).collect::<Vec<_>>(), [22], "the least recently used one left");
}

#[test]
fn roles_take_turns_when_everybody_waits() {
    let mut s = Scheduler::default();
    assert_eq!(ask(&mut s, 1, 0), Acquired::Granted(Grant::Start));
    assert_eq!(ask(&mut s, 1, 0), Acquired::Granted(Grant::Start));
    for ticket in [101, 102, 103] {
        assert_eq!(ask(&mut s, 1, ticket), Acquired::Waiting);
    }
    assert_eq!(ask(&mut s, 2, 201), Acquired::Waiting);
    assert_eq!(ask(&mut s, 1, 104), Acquired::Full);
    s.release(&key(1), Some(11));
    assert_eq!(drain(&mut s), [201], "the other role is next, although three of the first wait longer");
    s.release(&key(1), Some(12));
    assert_eq!(drain(&mut s), [101], "who has as much at work as others takes turns");
    assert_eq!(ask(&mut s, 2, 202), Acquired::Waiting);
    s.release(&key(2), Some(22));
    assert_eq!(drain(&mut s), [202], "within a role first come, first served");
}

/// Rounds in which a role with 32 waiting calls and one with a single call take what comes free.
#[test]
fn a_flood_delays_others_by_one_running_call_and_leaves_them_their_process() {
    let mut s: Scheduler<u32, u32> = Scheduler::default();
    let ask = |s: &mut Scheduler<u32, u32>, role, ticket| s.acquire(&key(role), usize::MAX, 4, 64, || ticket);
    let next = |s: &mut Scheduler<u32, u32>| std::iter::from_fn(|| s.next_delivery(4)).map(|d| d.ticket).collect::<Vec<_>>();
    for flood in 0..4 {
        assert_eq!(ask(&mut s, 1, flood), Acquired::Granted(Grant::Start));
    }
    for flood in 0..32 {
        assert_eq!(ask(&mut s, 1, flood), Acquired::Waiting);
    }
    assert_eq!(ask(&mut s, 2, 200), Acquired::Waiting);
    s.release(&key(1), Some(11));
    assert_eq!(next(&mut s), [200], "the next process that comes free");
    s.release(&key(2), Some(22));
    for flood in 0..16 {
        s.release(&key(1), Some(11));
        assert_eq!(next(&mut s), [flood], "the flood goes on with the places that it has");
        assert_eq!(ask(&mut s, 2, 200), Acquired::Granted(Grant::Use(22)), "and the other role finds its process");
        s.release(&key(2), Some(22));
    }
    assert_eq!(s.evictions, 1);
}

#[test]
fn idle_processes_of_others_do_not_keep_a_role_from_half_of_the_places() {
    let mut s: Scheduler<u32, u32> = Scheduler::default();
    for role in 1..5 {
        assert_eq!(s.acquire(&key(role), usize::MAX, 4, 64, || 0), Acquired::Granted(Grant::Start));
        s.release(&key(role), Some(role));
    }
    let mut ask = || s.acquire(&key(9), usize::MAX, 4, 64, || 0);
    assert_eq!([ask(), ask(), ask()], [Acquired::Granted(Grant::Start), Acquired::Granted(Grant::Start), Acquired::Waiting]);
    assert_eq!(s.idle().map(|(_, p)| *p).collect::<Vec<_>>(), [3, 4], "the most recently used stay");
    assert!(s.next_delivery(4).is_none());
    s.take_idle(|key, _| key.role == 3);
    assert!(s.next_delivery(4).is_some(), "a place that nobody has");
}

#[test]
fn connection_limit_of_a_role_holds_and_blocks_nobody_else() {
    let mut s: Scheduler<u32, u32> = Scheduler::default();
    assert_eq!(s.acquire(&key(1), 1, 4, 3, || 0), Acquired::Granted(Grant::Start));
    assert_eq!(s.acquire(&key(1), 1, 4, 3, || 1), Acquired::Waiting);
    assert!(s.next_delivery(4).is_none());
    assert_eq!(s.acquire(&key(2), 9, 4, 3, || 2), Acquired::Granted(Grant::Start));
    s.release(&key(1), None);
    assert_eq!(s.next_delivery(4).map(|d| (d.ticket, d.grant)), Some((1, Grant::Start)));
}

#[test]
fn counts_return_to_zero() {
    let mut s = Scheduler::default();
    for round in 0..50u32 {
        for role in 1..4 {
            let _ = ask(&mut s, role, round);
        }
        s.forget(|ticket| ticket % 3 == 0);
        for role in 1..4 {
            while s.busy.contains_key(&key(role).lane()) {
                s.release(&key(role), (round % 2 == 0).then_some(round));
            }
        }
        while let Some(delivery) = s.next_delivery(2) {
            s.release(&delivery.key, None);
        }
    }
    assert_eq!((s.waiting(), s.busy_in(None)), (0, 0));
    s.take_idle(|_, _| true);
    assert_eq!(s.total(), 0);
}
