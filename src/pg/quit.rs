//! An immediate stop of the server: the gateway's last act is to take its socket file away.
//!
//! SIGQUIT ends a worker on the spot, without any clean-up of its own. The handler here does what is safe in one, and only for the very
//! file that this process made. Set and read on the main thread; the handler may interrupt anything.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::{Pg, ffi};

struct Owned {
    path: CString,
    device: u64,
    inode: u64,
}

static OWNED: AtomicPtr<Owned> = AtomicPtr::new(std::ptr::null_mut());

/// Installs the handler. Before it Postgres' own is in place, which only exits.
pub fn install(_: &Pg) {
    // SAFETY: at the gateway's start, on the main thread.
    unsafe { ffi::pqsignal(libc::SIGQUIT, on_quit) };
}

/// The socket file that is ours now, by path, device and inode. Kept until the next one: a handler may be reading the old.
pub fn own(_: &Pg, path: &Path, device: u64, inode: u64) {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return };
    let owned = Box::new(Owned { path, device, inode });
    // A few bytes for each time the socket moves; freeing them would race with the handler.
    OWNED.store(Box::into_raw(owned), Ordering::Release);
}

extern "C-unwind" fn on_quit(_signal: libc::c_int) {
    let owned = OWNED.load(Ordering::Acquire);
    // SAFETY: the pointer is null or was leaked by `own`; lstat, unlink and _exit may be called in a signal handler.
    unsafe {
        if let Some(owned) = owned.as_ref() {
            let mut there = MaybeUninit::<libc::stat>::uninit();
            if libc::lstat(owned.path.as_ptr(), there.as_mut_ptr()) == 0 {
                let there = there.assume_init();
                if there.st_dev == owned.device && there.st_ino == owned.inode {
                    libc::unlink(owned.path.as_ptr());
                }
            }
        }
        // What Postgres' own handler does: exit code 2 tells the postmaster that this was no orderly end.
        libc::_exit(2)
    }
}
