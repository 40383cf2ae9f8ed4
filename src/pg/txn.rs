//! One transaction: begun, made read-only or not, committed or rolled back, with the caller's identity inside.
//!
//! The order is the security of the product. Identity is set after the transaction has started (Postgres asserts that no security
//! context is set outside one) and kept until commit or abort has returned, because deferred triggers and held cursors run in there.
//! A `Tx` that is dropped without `finish`, as after any error, is rolled back: Postgres can run nothing else before that.

use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::identity::Identity;
use super::{Pg, ffi};
use crate::weaken;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    ReadOnly,
    ReadWrite,
}

/// An open transaction. Dropping it rolls it back.
pub struct Tx<'pg> {
    pg: &'pg mut Pg,
    identity: &'pg Identity,
    mode: Mode,
    open: bool,
}

impl Pg {
    /// Starts a transaction as `identity`. Pending invalidations have been taken in when this returns.
    pub fn begin<'pg>(&'pg mut self, identity: &'pg Identity) -> Result<Tx<'pg>, PgError> {
        let mut tx = Tx { pg: self, identity, mode: Mode::ReadWrite, open: true };
        // SAFETY: no transaction is open: the only way to one is a `Tx`, which borrows the token exclusively.
        unsafe {
            attempt(|| {
                ffi::SetCurrentStatementStartTimestamp();
                ffi::StartTransactionCommand();
            })
        }?;
        if let Err(error) = identity.enter() {
            tx.abort();
            return Err(error);
        }
        Ok(tx)
    }
}

impl Tx<'_> {
    pub fn pg(&self) -> &Pg {
        self.pg
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the role, the database or the server (a standby) starts its transactions read-only.
    pub fn starts_read_only(&self) -> bool {
        // SAFETY: a plain variable of this process, set when the transaction started.
        unsafe { pg_sys::XactReadOnly }
    }

    /// Whether the server is a standby, which cannot be written to by anybody.
    pub fn on_standby(&self) -> bool {
        // SAFETY: reads shared memory; raises nothing.
        unsafe { ffi::RecoveryInProgress() }
    }

    /// The transaction's number, which is taken now if it has none yet: `pg_xact_status` says for ever what became of it.
    pub fn number(&self) -> Result<u64, PgError> {
        // SAFETY: in a transaction; raises an error in a parallel worker or on a standby.
        unsafe { attempt(|| ffi::GetTopFullTransactionId()) }.map(|xid| xid.value)
    }

    /// Forbids writing for the rest of the transaction. Must come before any text of the caller is looked at.
    ///
    /// Two of the three locks on the door are set here. The flag is what Postgres checks; the snapshot is what makes
    /// `SET TRANSACTION READ WRITE` fail, which is allowed before the first one. The third is the reset value (`session`): without it
    /// PostgreSQL 15 lets `RESET transaction_read_only` lift the flag. And nothing such a call did is ever committed (`finish`).
    pub fn make_read_only(&mut self) -> Result<(), PgError> {
        self.mode = Mode::ReadOnly;
        // SAFETY: inside a transaction by `self`; the snapshot stays pushed until the rollback takes it away.
        unsafe {
            pg_sys::XactReadOnly = true;
            if weaken::off("first_snapshot") {
                return Ok(());
            }
            attempt(|| ffi::PushActiveSnapshot(ffi::GetTransactionSnapshot()))
        }
    }

    /// Ends the transaction after a success: commits what may be kept.
    pub fn finish(mut self) -> Result<(), PgError> {
        if self.mode == Mode::ReadOnly && !weaken::off("rollback") {
            self.abort();
            return Ok(());
        }
        self.commit()
    }

    /// Allows writing where the server starts all transactions read-only: for what the server itself writes down.
    pub fn make_writable(&mut self) {
        // SAFETY: a plain variable of this process; on a standby Postgres refuses writing whatever it says.
        unsafe { pg_sys::XactReadOnly = false };
    }

    fn commit(&mut self) -> Result<(), PgError> {
        if weaken::off("role_through_commit") {
            self.identity.leave()?;
        }
        // SAFETY: a transaction is open. Snapshots of ours are popped, as commit expects.
        let committed = unsafe {
            attempt(|| {
                while ffi::ActiveSnapshotSet() {
                    ffi::PopActiveSnapshot();
                }
                ffi::CommitTransactionCommand();
            })
        };
        match committed {
            Ok(()) => {
                self.open = false;
                self.identity.leave()
            }
            Err(error) => {
                self.abort();
                Err(error)
            }
        }
    }

    /// Ends the transaction and keeps nothing.
    fn abort(&mut self) {
        if !self.open {
            return;
        }
        self.open = false;
        // SAFETY: the sequence of Postgres' own main loop after an error; each of these is made to be called with a transaction in any
        // state.
        let aborted = unsafe {
            attempt(|| {
                pg_sys::QueryCancelPending = 0;
                ffi::AbortCurrentTransaction();
                ffi::PortalErrorCleanup();
                if !pg_sys::MyReplicationSlot.is_null() {
                    ffi::ReplicationSlotRelease();
                }
                ffi::jit_reset_after_error();
            })
        };
        // A process that cannot roll back, or cannot become itself again, must not run another call.
        if aborted.is_err() || self.identity.leave().is_err() {
            super::session::leave_now(self.pg, 1);
        }
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        self.abort();
    }
}
