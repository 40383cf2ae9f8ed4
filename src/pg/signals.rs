//! Signals of our processes: which handlers they have, and who may receive them.
//!
//! Postgres' handlers touch the process's latch and must run on its main thread. A thread inherits the mask of its parent, so every
//! thread is started with all signals blocked; a SIGTERM that landed on one would abort the process, and with it the whole server.

use std::mem::MaybeUninit;

use pgrx::pg_sys;

use super::{Pg, ffi};

/// The kernel's number of this thread; equal to the process id on the main thread only.
pub(super) fn thread_id() -> i32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::gettid() }
}

/// Handlers of an executor or an errand; then lets signals in, which the postmaster blocked before the fork.
///
/// SIGTERM gets Postgres' own `die`, which ends a running statement; a flag would be looked at only after it. SIGINT keeps the handler
/// that Postgres installs for workers, which cancels the statement.
pub fn install_for_sql(_: &Pg) {
    // SAFETY: at the worker's start, on its only thread; the handlers are Postgres' own.
    unsafe {
        ffi::pqsignal(libc::SIGHUP, ffi::SignalHandlerForConfigReload);
        ffi::pqsignal(libc::SIGTERM, ffi::die);
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Handlers of a gateway or a keeper, which run no SQL of callers: a termination request is a flag, looked at in its main loop.
pub fn install_for_loop(_: &Pg) {
    // SAFETY: as above.
    unsafe {
        ffi::pqsignal(libc::SIGHUP, ffi::SignalHandlerForConfigReload);
        ffi::pqsignal(libc::SIGTERM, ffi::SignalHandlerForShutdownRequest);
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Whether a termination was asked for, in a process with the handlers of `install_for_loop`.
pub fn shutdown_requested(_: &Pg) -> bool {
    // SAFETY: a flag of type sig_atomic_t.
    unsafe { (&raw const pg_sys::ShutdownRequestPending).read_volatile() != 0 }
}

/// Runs `start` with every signal blocked: the only way in which a thread may be started here.
pub fn with_all_blocked<T>(start: impl FnOnce() -> T) -> T {
    /// Restores the mask even if `start` unwinds.
    struct Mask(libc::sigset_t);
    impl Drop for Mask {
        fn drop(&mut self) {
            // SAFETY: a mask that the kernel gave us.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
        }
    }
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are written before they are read; sigfillset and pthread_sigmask fail only on invalid arguments.
    let _mask = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        Mask(before.assume_init())
    };
    start()
}
