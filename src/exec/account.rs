//! What a call tells of itself for the record: that it is about to write, and afterwards what it touched and changed.
//!
//! Runs in an executor process, on its only thread. Decides nothing: it is the gateway that says whether a call may begin.

use std::time::{Duration, Instant};

use mcp::error::CallError;
use mcp::types::{Facts, Recorded};

use super::{Call, Failure, progress};
use crate::pg::effects::{self, Touched};
use crate::pg::identity::Identity;
use crate::pg::{Mode, Pg, PgError, Tx, durability};

/// What a call has come to so far.
#[derive(Default)]
pub(super) struct Account {
    /// Rows in the answer.
    pub rows: u64,
    /// It has an intent.
    intended: bool,
    /// Time that the call waited for permission.
    waited: Duration,
    touched: Touched,
    /// It wrote, or could have, and was committed.
    committed: bool,
    /// What may be recorded of the arguments, once that is known.
    pub recorded: Option<Recorded>,
}

impl Account {
    /// `error`: what the call failed with.
    pub fn facts(mut self, pg: &mut Pg, identity: &Identity, begun: Instant, error: Option<&CallError>) -> Facts {
        if effects::is_more_than(&self.touched) {
            // What a failed call had touched, or deferred triggers did with the commit, can be named in another transaction only.
            self.touched = named(pg, identity).unwrap_or(self.touched);
        }
        // The call is done, and does not fail for want of a count.
        let changed = if self.committed { effects::changed(pg, &self.touched).unwrap_or_default() } else { String::new() };
        let run = begun.elapsed().saturating_sub(self.waited);
        Facts {
            run_us: u64::try_from(run.as_micros()).unwrap_or(u64::MAX),
            rows: if error.is_some() { 0 } else { self.rows },
            queryid: effects::query_id(pg),
            objects: self.touched.objects,
            changed,
            wal_bytes: effects::wal_bytes(),
            committed: self.committed,
            recorded: self.recorded.unwrap_or(Recorded::Nothing),
        }
    }
}

fn named(pg: &mut Pg, identity: &Identity) -> Result<Touched, PgError> {
    let tx = pg.begin(identity)?;
    effects::touched(&tx)
}

impl Call<'_> {
    /// Waits until the call's intent is on disk. To be asked before the caller's first statement in a transaction that may write.
    pub(super) fn ask(&mut self, tx: &Tx) -> Result<(), Failure> {
        let Some(permission) = &mut self.permission else { return Ok(()) };
        let xid = tx.number()?;
        let begun = Instant::now();
        let recorded = self.account.recorded.as_ref().unwrap_or(&Recorded::Nothing);
        let word = permission.ask(tx.pg(), self.job, xid, recorded)?;
        self.account.waited += begun.elapsed();
        word.map_err(Failure::new)?;
        self.account.intended = true;
        Ok(())
    }

    /// Ends the transaction after a success.
    pub(super) fn finish(&mut self, tx: Tx) -> Result<(), Failure> {
        self.account.touched = effects::touched(&tx)?;
        let writes = tx.mode() == Mode::ReadWrite;
        if self.account.intended {
            // The gateway holds the answer back until the outcome is on disk, which stands behind this commit in the log.
            durability::leave_to_later_commit(&tx)?;
        }
        tx.finish()?;
        if writes {
            progress::committed();
        }
        self.account.committed = writes;
        Ok(())
    }
}
