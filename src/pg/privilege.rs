//! What the caller may do with the extension, and whether the extension is still what it was.
//!
//! OIDs are looked up by name once and again after a change in functions or schemas; the privilege itself is looked at again after any
//! invalidation, so a REVOKE counts at the next call.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys::{self, Oid};

use super::error::{PgError, attempt};
use super::{Tx, ffi, inval};

/// A built-in whose EXECUTE privilege is a permission; the executor runs what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    ExecuteSql,
    /// Also write.
    ExecuteSqlWrite,
    ExplainQuery,
}

const GATES: usize = 3;

#[derive(Clone, Copy)]
struct Known {
    schema: Oid,
    extension: Oid,
    gates: [Oid; GATES],
}

thread_local! {
    static KNOWN: Cell<Known> = const {
        Cell::new(Known { schema: pg_sys::InvalidOid, extension: pg_sys::InvalidOid, gates: [pg_sys::InvalidOid; GATES] })
    };
    static ANSWERS: Cell<Answers> = const { Cell::new(Answers { seen: 0, role: pg_sys::InvalidOid, gates: [None; GATES] }) };
    /// Version at the first look; an executor that outlives an upgrade must not serve the new version.
    static VERSION: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Looks everything up again if it may have changed. `false`: the extension is another version than when this process first looked.
pub fn refresh(_: &Tx) -> Result<bool, PgError> {
    if !inval::take_functions_changed() {
        return Ok(true);
    }
    let mut known = KNOWN.get();
    let mut version = 0u64;
    let mut watched = [pg_sys::InvalidOid; 3];
    let (k, v, w) = (&raw mut known, &raw mut version, &raw mut watched);
    // SAFETY: inside a transaction; the targets are plain data.
    let looked = unsafe {
        attempt(|| {
            (*k).schema = ffi::get_namespace_oid(c"mcp".as_ptr(), true);
            (*k).extension = ffi::get_extension_oid(c"supabase_mcp".as_ptr(), true);
            *v = extension_version((*k).extension);
            for (name, place) in [(c"_tokens", 0), (c"_peer_map", 1), (c"_limits", 2)] {
                (*w)[place] = ffi::get_relname_relid(name.as_ptr(), (*k).schema);
            }
            (*k).gates = [
                function((*k).schema, c"execute_sql", &[pg_sys::TEXTOID, pg_sys::JSONBOID]),
                function((*k).schema, c"execute_sql_write", &[pg_sys::TEXTOID, pg_sys::JSONBOID]),
                function(
                    (*k).schema,
                    c"explain_query",
                    &[pg_sys::TEXTOID, pg_sys::JSONBOID, pg_sys::BOOLOID, pg_sys::TEXTOID, pg_sys::JSONBOID],
                ),
            ];
        })
    };
    if let Err(error) = looked {
        inval::mark_functions_changed();
        return Err(error);
    }
    inval::watch(watched);
    KNOWN.set(known);
    let same = VERSION.get().is_none_or(|first| first == version);
    VERSION.set(VERSION.get().or(Some(version)));
    Ok(same)
}

/// Whether the extension is installed in this database.
pub fn installed(_: &Tx) -> bool {
    KNOWN.get().extension != pg_sys::InvalidOid
}

/// Answers that hold for one role as long as no catalog has changed.
#[derive(Clone, Copy)]
struct Answers {
    seen: u64,
    role: Oid,
    gates: [Option<bool>; GATES],
}

/// Whether the caller may pass the gate. Taken from memory as long as no invalidation has come since and the process is the same role.
pub fn allows(tx: &Tx, gate: Gate) -> Result<bool, PgError> {
    // Read before what it stands for is looked up, as everywhere.
    let seen = inval::seen(tx);
    // SAFETY: a plain variable of this process.
    let role = unsafe { pg_sys::GetUserId() };
    let mut answers = ANSWERS.get();
    if answers.seen != seen || answers.role != role {
        answers = Answers { seen, role, gates: [None; GATES] };
    }
    if let Some(answer) = answers.gates[gate as usize] {
        return Ok(answer);
    }
    let answer = look_up(tx, gate)?;
    answers.gates[gate as usize] = Some(answer);
    ANSWERS.set(answers);
    Ok(answer)
}

/// Whether the caller may pass the gate: USAGE on schema mcp and EXECUTE on the function.
fn look_up(_: &Tx, gate: Gate) -> Result<bool, PgError> {
    let known = KNOWN.get();
    let function = known.gates[gate as usize];
    if function == pg_sys::InvalidOid || known.extension == pg_sys::InvalidOid {
        return Ok(false);
    }
    // SAFETY: look-ups inside a transaction, about whoever the process is now.
    unsafe {
        attempt(|| {
            let role = pg_sys::GetUserId();
            let (usage, execute) = (pg_sys::ACL_USAGE as pg_sys::AclMode, pg_sys::ACL_EXECUTE as pg_sys::AclMode);
            #[cfg(feature = "pg15")]
            let answers = [ffi::pg_namespace_aclcheck(known.schema, role, usage), ffi::pg_proc_aclcheck(function, role, execute)];
            #[cfg(not(feature = "pg15"))]
            let answers = [
                ffi::object_aclcheck(pg_sys::NamespaceRelationId, known.schema, role, usage),
                ffi::object_aclcheck(pg_sys::ProcedureRelationId, function, role, execute),
            ];
            answers == [pg_sys::AclResult::ACLCHECK_OK; 2]
        })
    }
}

/// A function of schema mcp by its exact argument types, whatever the search path.
///
/// # Safety
/// Inside a transaction; may raise a Postgres error.
unsafe fn function(schema: Oid, name: &'static CStr, arguments: &[Oid]) -> Oid {
    // SAFETY: the syscache of functions has the key (name, argument types, schema); the vector is palloc'd.
    unsafe {
        let types = ffi::buildoidvector(arguments.as_ptr(), arguments.len() as i32);
        ffi::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::PROCNAMEARGSNSP as i32,
            pg_sys::Anum_pg_proc_oid as i16,
            pg_sys::Datum::from(name.as_ptr()),
            pg_sys::Datum::from(types),
            pg_sys::Datum::from(schema),
            pg_sys::Datum::from(0),
        )
    }
}

/// The extension's OID and version in one number: both change when it is dropped and made anew.
///
/// # Safety
/// As `function`.
unsafe fn extension_version(extension: Oid) -> u64 {
    // SAFETY: a scan of pg_extension by its OID index; extversion is text and never null.
    unsafe {
        let relation = ffi::table_open(pg_sys::ExtensionRelationId, pg_sys::AccessShareLock as i32);
        let mut key = pg_sys::ScanKeyData::default();
        ffi::ScanKeyInit(
            &mut key,
            pg_sys::Anum_pg_extension_oid as i16,
            pg_sys::BTEqualStrategyNumber as u16,
            Oid::from(pg_sys::F_OIDEQ),
            pg_sys::Datum::from(extension),
        );
        let index = Oid::from(pg_sys::ExtensionOidIndexId);
        let scan = ffi::systable_beginscan(relation, index, true, std::ptr::null_mut(), 1, &mut key);
        let mut version = u64::from(extension.to_u32());
        let tuple = ffi::systable_getnext(scan);
        if !tuple.is_null() {
            let mut is_null = false;
            let text = pg_sys::heap_getattr(tuple, pg_sys::Anum_pg_extension_extversion as i32, (*relation).rd_att, &mut is_null);
            for byte in CStr::from_ptr(ffi::text_to_cstring(text.cast_mut_ptr())).to_bytes() {
                version = version.wrapping_mul(257).wrapping_add(u64::from(*byte));
            }
        }
        ffi::systable_endscan(scan);
        ffi::table_close(relation, pg_sys::AccessShareLock as i32);
        version
    }
}
