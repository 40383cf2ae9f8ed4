//! The time limit of a call, in two stages.
//!
//! A background worker does not arm `statement_timeout` by itself. The first stage cancels like it would; code that traps `query_canceled`
//! in a loop survives that for ever, so a second stage ends the process, which nothing can trap. A third timer looks every half second
//! whether the gateway is still there: nobody would get the answer otherwise. The timers are Postgres' own and are taken off again when
//! the guard is dropped.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::{Pg, ffi};
use crate::weaken;

/// From the cancel to the end of the process. Long enough for a handler that cleans up, short enough for those who wait for a lock.
const GRACE_MS: i32 = 1000;

/// How often to look whether the gateway is there.
const LOOK_MS: i32 = 500;

/// The timers that Postgres gave us.
#[derive(Clone, Copy)]
struct Timers {
    last_stage: ffi::TimeoutId,
    look: ffi::TimeoutId,
}

thread_local! {
    /// None before `init`.
    static TIMERS: Cell<Option<Timers>> = const { Cell::new(None) };
    static TERMINATED: Cell<bool> = const { Cell::new(false) };
}

/// The socket to the gateway.
static PEER: AtomicI32 = AtomicI32::new(-1);

/// Reserves the timers. Once per process, after connecting.
pub fn init(_: &Pg) -> Result<(), PgError> {
    // SAFETY: registers handlers that do only what a signal handler may.
    let timers = unsafe {
        attempt(|| Timers {
            last_stage: ffi::RegisterTimeout(ffi::USER_TIMEOUT, end_overdue),
            look: ffi::RegisterTimeout(ffi::USER_TIMEOUT, look_for_peer),
        })
    }?;
    TIMERS.set(Some(timers));
    Ok(())
}

/// Which socket's other end a running call needs. It stays open for the process's life.
pub fn set_peer(_: &Pg, socket: RawFd) {
    PEER.store(socket, Ordering::Relaxed);
}

/// The second stage. Runs inside the signal handler of the alarm.
unsafe extern "C-unwind" fn end_overdue() {
    TERMINATED.set(true);
    // SAFETY: passed on.
    unsafe { end_process() }
}

/// Ends the process if the gateway has closed its end. Runs inside the signal handler of the alarm.
unsafe extern "C-unwind" fn look_for_peer() {
    let mut byte = 0u8;
    // SAFETY: a system call that may be made in a handler, on a descriptor of ours; it takes nothing off the socket. Postgres' handler
    // around this one keeps errno.
    unsafe {
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        if libc::recv(PEER.load(Ordering::Relaxed), (&raw mut byte).cast(), 1, flags) == 0 {
            end_process();
        }
    }
}

/// Asks Postgres to end this process at its next interrupt check.
///
/// # Safety
/// On the main thread, in a signal handler or not.
unsafe fn end_process() {
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
    timers: Option<Timers>,
    limited: bool,
}

impl Deadline {
    /// Starts the clock; `None` is no limit.
    pub fn start(_: &Pg, limit: Option<Duration>) -> Result<Deadline, PgError> {
        let Some(timers) = TIMERS.get() else { return Ok(Deadline { timers: None, limited: false }) };
        let look = ffi::EnableTimeoutParams::every(timers.look, LOOK_MS);
        // One call for all timers costs one timer system call at the most, and none while an earlier one is still due.
        let Some(limit) = limit else {
            // SAFETY: the identifier is registered.
            unsafe { attempt(|| ffi::enable_timeouts(&look, 1)) }?;
            return Ok(Deadline { timers: Some(timers), limited: false });
        };
        // A limit beyond what the timers can count is as good as none; the margin is room for the second stage.
        let delay_ms = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).clamp(1, i32::MAX - GRACE_MS);
        let stages = [
            look,
            ffi::EnableTimeoutParams::after(ffi::STATEMENT_TIMEOUT, delay_ms),
            ffi::EnableTimeoutParams::after(timers.last_stage, delay_ms + GRACE_MS),
        ];
        let count = if weaken::off("second_stage") { 2 } else { 3 };
        // SAFETY: all identifiers are registered, the first stage's by Postgres when it connected.
        unsafe { attempt(|| ffi::enable_timeouts(stages.as_ptr(), count)) }?;
        Ok(Deadline { timers: Some(timers), limited: true })
    }

    /// Whether the first stage went off: tells a time limit from a cancel, which is the same error to Postgres.
    pub fn passed(&self) -> bool {
        // SAFETY: reads a flag of this process.
        self.limited && unsafe { !ffi::get_timeout_active(ffi::STATEMENT_TIMEOUT) }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let Some(timers) = self.timers else { return };
        let off = |id| ffi::DisableTimeoutParams { id, keep_indicator: false };
        let stages = [off(timers.look), off(ffi::STATEMENT_TIMEOUT), off(timers.last_stage)];
        // SAFETY: disabling a timer that has fired or was never armed is allowed.
        let _ = unsafe { attempt(|| ffi::disable_timeouts(stages.as_ptr(), 3)) };
    }
}
