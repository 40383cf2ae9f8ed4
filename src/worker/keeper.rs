//! The keeper process: answers the gateway's questions about credentials from the tables of one database, and writes its audit trail.
//!
//! Connected as the bootstrap superuser, so no caller's SQL ever runs here. Single-threaded; leaves when the gateway closes the socket,
//! which it does when nobody has asked for a while, or shortly after a termination. Ends with exit code 0 or 1.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use mcp::types::Form;
use pgrx::pg_sys;

use super::executor::Channel;
use crate::exec::keeper::Keeper;
use crate::pg::identity::Identity;
use crate::pg::{Pg, PgError, bgw, report, session, signals};

/// The body of `supabase_mcp_keeper_main`.
pub fn main() -> ! {
    let Some(mut pg) = Pg::claim() else { session::exit(1) };
    match catch_unwind(AssertUnwindSafe(|| run(&mut pg))) {
        Ok(Ok(())) => session::exit(0),
        Ok(Err(error)) => pgrx::log!("supabase_mcp keeper: {error}"),
        Err(_) => pgrx::log!("supabase_mcp keeper: it panicked"),
    }
    session::exit(1)
}

fn run(pg: &mut Pg) -> Result<(), PgError> {
    // Not in the midst of a batch, and not before the gateway has handed over what it has: each piece of work is short.
    signals::install_for_loop(pg);
    let ticket = bgw::ticket(pg).ok_or_else(|| PgError::internal("started without a ticket"))?;
    if ticket.form != Form::Keeper {
        return Err(PgError::internal("an executor's ticket in a keeper"));
    }
    bgw::connect(pg, ticket.database, 0)?;
    session::prepare(pg)?;
    let mut keeper = Keeper::new(pg, Identity::direct(pg, pg_sys::BOOTSTRAP_SUPERUSERID)?)?;
    let mut channel = Channel::open(pg, &ticket)?;
    let mut statistics_due = None;
    report::idle(pg);
    while let Some((job, question)) = channel.next_job(pg, &mut statistics_due)? {
        let answer = keeper.answer(pg, job.kind, &question);
        channel.reply(pg, job.id, answer, None, &keeper.payload)?;
        // Of what it writes: autovacuum goes by these numbers.
        statistics_due = report::statistics(pg, false)?.map(|wait| Instant::now() + wait);
    }
    Ok(())
}
