//! Who the process is, and whom it stands for inside a transaction.
//!
//! A direct executor is connected as its role and never changes. A bridge executor is connected as a login role that is a member of
//! nothing; inside each transaction it becomes its one target, in a way that SET ROLE, RESET ROLE, SET SESSION AUTHORIZATION and
//! set_config cannot undo. The C functions used here check nothing: the gateway has authenticated the caller, and this file refuses a
//! superuser on its own.

use std::cell::Cell;

use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::{Pg, ffi};
use crate::weaken;

pub enum Identity {
    Direct { role: pg_sys::Oid },
    Bridge { own: pg_sys::Oid, target: Cell<Option<pg_sys::Oid>> },
}

impl Identity {
    /// The role the process is connected as, for good.
    pub fn direct(pg: &Pg, role: u32) -> Result<Identity, PgError> {
        let identity = Identity::Direct { role: pg_sys::Oid::from(role) };
        identity.check_at_rest(pg).map(|()| identity)
    }

    pub fn bridge(pg: &Pg, own: u32) -> Result<Identity, PgError> {
        let identity = Identity::Bridge { own: pg_sys::Oid::from(own), target: Cell::new(None) };
        identity.check_at_rest(pg).map(|()| identity)
    }

    /// Fixes the role that a bridge stands for. `false`: it is bound to another, and plans and caches of two roles never share a process.
    pub fn bind(&self, role: u32) -> bool {
        match self {
            Identity::Direct { .. } => role == 0,
            Identity::Bridge { target, .. } => {
                let role = pg_sys::Oid::from(role);
                if role == pg_sys::InvalidOid || target.get().is_some_and(|bound| bound != role) {
                    return false;
                }
                target.set(Some(role));
                true
            }
        }
    }

    /// Whether a bridge has its target already; a direct executor always has.
    pub fn is_bound(&self) -> bool {
        match self {
            Identity::Direct { .. } => true,
            Identity::Bridge { target, .. } => target.get().is_some(),
        }
    }

    /// The role whose rights count.
    pub fn role(&self) -> u32 {
        match self {
            Identity::Direct { role } => role.to_u32(),
            Identity::Bridge { own, target } => target.get().unwrap_or(*own).to_u32(),
        }
    }

    /// The role that the process is connected as.
    pub fn own_role(&self) -> u32 {
        match self {
            Identity::Direct { role } => role.to_u32(),
            Identity::Bridge { own, .. } => own.to_u32(),
        }
    }

    /// Outside a transaction the process is the role it connected as. `ALTER ROLE x SET role = y` would make it another at once.
    fn check_at_rest(&self, _: &Pg) -> Result<(), PgError> {
        let expected = pg_sys::Oid::from(self.own_role());
        // SAFETY: plain reads of this process's identity, which is set since it connected.
        let (current, session) = unsafe { (pg_sys::GetUserId(), pg_sys::GetSessionUserId()) };
        if current == expected && session == expected {
            return Ok(());
        }
        Err(PgError::internal("the process is not the role that it should be"))
    }

    /// Becomes the role, inside a transaction that has just started.
    pub(super) fn enter(&self) -> Result<(), PgError> {
        match self {
            Identity::Direct { role } => {
                // SAFETY: as in `check_at_rest`.
                let current = unsafe { pg_sys::GetUserId() };
                if current == *role { Ok(()) } else { Err(PgError::internal("the process is no longer its role")) }
            }
            Identity::Bridge { target, .. } => match target.get() {
                // Before it is bound, and while it reads the target's settings, it is itself.
                None => Ok(()),
                Some(target) => become_role(target),
            },
        }
    }

    /// Becomes the connected role again, after commit or abort. Does nothing for a direct executor.
    pub(super) fn leave(&self) -> Result<(), PgError> {
        let Identity::Bridge { own, target } = self else { return Ok(()) };
        if target.get().is_none() {
            return Ok(());
        }
        // SAFETY: the context has to be 0 before the session user may change.
        unsafe {
            attempt(|| {
                ffi::SetUserIdAndSecContext(*own, 0);
                ffi::SetSessionAuthorization(*own, false);
            })
        }
    }
}

fn become_role(target: pg_sys::Oid) -> Result<(), PgError> {
    // SAFETY: inside a transaction; look-ups and two assignments of this process's state.
    let refused = unsafe {
        attempt(|| {
            if ffi::GetUserNameFromId(target, true).is_null() || ffi::superuser_arg(target) {
                return true;
            }
            ffi::SetSessionAuthorization(target, false);
            // The flag is what makes SET ROLE and its relatives fail; it restricts nothing else.
            let flag = if weaken::off("local_userid_change") { 0 } else { pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32 };
            ffi::SetUserIdAndSecContext(target, flag);
            false
        })
    }?;
    if refused { Err(PgError::new("42501", "the role is gone, or is a superuser")) } else { Ok(()) }
}
