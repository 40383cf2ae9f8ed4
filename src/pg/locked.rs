//! Locked settings: what policies and triggers read about the caller, and the caller's SQL cannot change.
//!
//! Each is a setting that only a superuser may change, defined in this process alone, with a value that no reset takes away. SET, RESET,
//! set_config, SET clauses of functions and stored settings of roles and databases all go through the one check that refuses them. Parallel
//! workers are given the values as those of any other setting. Runs in executors, outside a transaction.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString, c_char};

use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::{Pg, encoding, ffi};
use crate::weaken;

/// What a request is, by the names that PostgREST gave these. Locked in every executor, whether its caller has claims or not: a policy
/// that reads them must not be deceived by a caller without any.
pub const HEADERS: &str = "request.headers";
const REQUEST: [&str; 4] = ["request.jwt.claims", "request.method", "request.path", HEADERS];

/// Settings are never undefined again, so a process that has taken on this many is replaced.
const MOST: usize = 1000;

/// One locked setting: its name, and the variable in which Postgres keeps the value.
struct Variable {
    name: &'static CStr,
    value: *mut *mut c_char,
}

pub struct Locked {
    variables: HashMap<String, Variable>,
}

impl Locked {
    /// Locks the names of `request`, and the prefix, so that `request.jwt.claim.sub` cannot be made up either. Once per process.
    pub fn new(pg: &Pg) -> Result<Locked, PgError> {
        let mut locked = Locked { variables: HashMap::new() };
        for name in REQUEST {
            locked.define(pg, name)?;
        }
        if !weaken::off("locked_settings") {
            // SAFETY: a C string; takes away what somebody may have stored under the prefix for the role or the database.
            unsafe { attempt(|| pg_sys::MarkGUCPrefixReserved(c"request".as_ptr())) }?;
        }
        Ok(locked)
    }

    /// Gives these settings their values, and every other locked one the empty value. Headers are left alone: they change from call to call.
    pub fn replace(&mut self, pg: &Pg, values: &BTreeMap<String, String>) -> Result<(), PgError> {
        for name in values.keys() {
            self.define(pg, name)?;
        }
        for (name, variable) in &self.variables {
            if name != HEADERS {
                variable.set(pg, values.get(name).map_or("", String::as_str))?;
            }
        }
        Ok(())
    }

    /// Gives one setting its value.
    pub fn set(&mut self, pg: &Pg, name: &str, value: &str) -> Result<(), PgError> {
        self.define(pg, name)?;
        self.variables.get(name).map_or(Ok(()), |variable| variable.set(pg, value))
    }

    fn define(&mut self, _: &Pg, name: &str) -> Result<(), PgError> {
        if self.variables.contains_key(name) {
            return Ok(());
        }
        if !is_name(name) {
            return Err(PgError::new("42602", format!("\"{name}\" cannot be the name of a setting")));
        }
        if self.variables.len() >= MOST {
            return Err(PgError::new("54000", "this process has locked as many settings as it may"));
        }
        // Postgres keeps both pointers for the process's life.
        let c_name: &'static CStr = Box::leak(CString::new(name).unwrap_or_default().into_boxed_c_str());
        let value: *mut *mut c_char = Box::leak(Box::new(std::ptr::null_mut()));
        let context = match weaken::off("locked_settings") {
            true => pg_sys::GucContext::PGC_USERSET,
            false => pg_sys::GucContext::PGC_SUSET,
        };
        // SAFETY: the strings and the variable are never freed. A setting of that name that a library has defined is an error; a
        // placeholder is taken over.
        unsafe {
            attempt(|| {
                ffi::DefineCustomStringVariable(
                    c_name.as_ptr(),
                    c"Says who calls; set by the MCP server for each caller.".as_ptr(),
                    std::ptr::null(),
                    value,
                    c"".as_ptr(),
                    context,
                    pg_sys::GUC_NO_RESET_ALL as i32 | pg_sys::GUC_NOT_IN_SAMPLE as i32 | pg_sys::GUC_DISALLOW_IN_FILE as i32,
                    None,
                    None,
                    None,
                );
            })
        }?;
        self.variables.insert(name.into(), Variable { name: c_name, value });
        Ok(())
    }
}

impl Variable {
    /// `value` is UTF-8; a character that the database's encoding lacks is an error.
    fn set(&self, pg: &Pg, value: &str) -> Result<(), PgError> {
        if value.contains('\0') {
            return Err(PgError::new("22021", format!("setting {} contains the character NUL", self.name.to_string_lossy())));
        }
        let text = encoding::from_utf8(pg, value)?;
        // SAFETY: both strings are copied, and the converted one is ours to free. The variable is Postgres' copy, never null after it was
        // defined.
        let taken = unsafe {
            attempt(|| {
                let override_ = pg_sys::GucSource::PGC_S_OVERRIDE;
                ffi::SetConfigOption(self.name.as_ptr(), text, pg_sys::GucContext::PGC_POSTMASTER, override_);
                let taken = libc::strcmp(*self.value, text) == 0;
                pg_sys::pfree(text.cast_mut().cast());
                taken
            })
        }?;
        // Somebody with the right to (a SECURITY DEFINER function of a superuser) has set it for the session, and that stands above ours.
        if taken { Ok(()) } else { Err(PgError::internal(format!("setting {} keeps another value", self.name.to_string_lossy()))) }
    }
}

/// As Postgres wants the names of settings with a prefix, in lower case: two spellings of one name would be two keys here.
fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        let mut bytes = part.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'$')
    };
    name.contains('.') && name.split('.').all(part)
}
