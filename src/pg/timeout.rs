//! The time limit of a call, in two stages.
//!
//! A background worker does not arm `statement_timeout` by itself. The first stage cancels like it would; code that traps `query_canceled`
//! in a loop survives that for ever, so a second stage ends the process, which nothing can trap. Both timers are Postgres' own and
//! are taken off again when the guard is dropped.

use std::cell::Cell;
use std::time::Duration;

use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::{Pg, ffi};
use crate::weaken;

/// From the cancel to the end of the process. Long enough for a handler that cleans up, short enough for those who wait for a lock.
const GRACE_MS: i32 = 1000;

thread_local! {
    /// The timer that Postgres gave us; none before `init`.
    static LAST_STAGE: Cell<Option<ffi::TimeoutId>> = const { Cell::new(None) };
    static TERMINATED: Cell<bool> = const { Cell::new(false) };
}

/// Reserves the second stage's timer. Once per process, after connecting.
pub fn init(_: &Pg) -> Result<(), PgError> {
    // SAFETY: registers a handler that does only what a signal handler may.
    let id = unsafe { attempt(|| ffi::RegisterTimeout(ffi::USER_TIMEOUT, end_process)) }?;
    LAST_STAGE.set(Some(id));
    Ok(())
}

/// Asks Postgres to end this process at its next interrupt check. Runs inside the signal handler of the alarm.
unsafe extern "C-unwind" fn end_process() {
    TERMINATED.set(true);
    // SAFETY: what `die` itself does: flags of type sig_atomic_t, and a latch, which may be set from a handler.
    unsafe {
        (&raw mut pg_sys::ProcDiePending).write_volatile(1);
        (&raw mut pg_sys::InterruptPending).write_volatile(1);
        ffi::SetLatch(pg_sys::MyLatch);
    }
}

/// Whether the second stage is what ends this process.
pub fn ended_process() -> bool {
    TERMINATED.get()
}

/// The limit of one call, running.
pub struct Deadline {
    armed: bool,
}

impl Deadline {
    /// Starts the clock; `None` is no limit.
    pub fn start(_: &Pg, limit: Option<Duration>) -> Result<Deadline, PgError> {
        let Some(limit) = limit else { return Ok(Deadline { armed: false }) };
        // A limit beyond what the timers can count is as good as none; the margin is room for the second stage.
        let delay_ms = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).clamp(1, i32::MAX - GRACE_MS);
        let stages = [
            ffi::EnableTimeoutParams::after(ffi::STATEMENT_TIMEOUT, delay_ms),
            ffi::EnableTimeoutParams::after(LAST_STAGE.get().unwrap_or(ffi::STATEMENT_TIMEOUT), delay_ms + GRACE_MS),
        ];
        let count = if LAST_STAGE.get().is_none() || weaken::off("second_stage") { 1 } else { 2 };
        // SAFETY: both identifiers are registered; one call for both costs one timer system call at the most.
        unsafe { attempt(|| ffi::enable_timeouts(stages.as_ptr(), count)) }?;
        Ok(Deadline { armed: true })
    }

    /// Whether the first stage went off: tells a time limit from a cancel, which is the same error to Postgres.
    pub fn passed(&self) -> bool {
        // SAFETY: reads a flag of this process.
        self.armed && unsafe { !ffi::get_timeout_active(ffi::STATEMENT_TIMEOUT) }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let stages = [
            ffi::DisableTimeoutParams { id: ffi::STATEMENT_TIMEOUT, keep_indicator: false },
            ffi::DisableTimeoutParams { id: LAST_STAGE.get().unwrap_or(ffi::STATEMENT_TIMEOUT), keep_indicator: false },
        ];
        // SAFETY: disabling a timer that has fired or was never armed is allowed.
        let _ = unsafe { attempt(|| ffi::disable_timeouts(stages.as_ptr(), 2)) };
    }
}
