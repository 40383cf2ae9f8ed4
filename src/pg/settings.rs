//! Settings that belong to roles and databases: `ALTER ROLE ... SET`, `ALTER DATABASE ... SET`.
//!
//! Postgres applies them when a process connects and tells nobody when they change. So they are read at the start of every call: a direct
//! executor compares them with what they were when it connected, a bridge applies its target's once, when it is bound, and compares
//! from then on.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys::{self, Oid};

use super::error::{PgError, attempt};
use super::{Pg, Tx, ffi};

/// Names that are never applied for a bridge's target: they decide who the process is, and its transactions' defaults are ours.
const NEVER_APPLIED: [&CStr; 4] = [c"role", c"session_authorization", c"log_min_messages", c"transaction_read_only"];

/// pg_db_role_setting, its index and its columns (`catalog/pg_db_role_setting.h`): OIDs that are the same in every database.
const DB_ROLE_SETTING: Oid = Oid::from_u32(2964);
const DB_ROLE_SETTING_INDEX: Oid = Oid::from_u32(2965);
const SETDATABASE: i16 = 1;
const SETROLE: i16 = 2;
const SETCONFIG: i32 = 3;

/// What a call's settings were made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u64);

/// The settings of these roles, and of the database, as they are stored now.
pub fn fingerprint(_: &Tx, roles: [u32; 2]) -> Result<Fingerprint, PgError> {
    let roles = roles.map(Oid::from);
    // A direct executor's two roles are one.
    let roles = if roles[0] == roles[1] { &roles[..1] } else { &roles[..] };
    let mut sum = 0u64;
    let result = &raw mut sum;
    // SAFETY: inside a transaction by the token; `sum` is plain data.
    unsafe {
        attempt(|| {
            for_each_row(roles, |_, tuple, _| {
                // A sum, so that the order of the rows does not matter. The tuple's content, not its place: VACUUM FULL may move it.
                *result = (*result).wrapping_add(hash(tuple_bytes(tuple)));
            });
        })?;
    }
    Ok(Fingerprint(sum))
}

/// Gives a bridge its target's own settings, as connecting as that role would have. Inside a transaction that is then committed.
pub fn apply(_: &Tx, role: u32) -> Result<(), PgError> {
    let role = Oid::from(role);
    // SAFETY: as above. set_config_option copies; a setting that does not fit is skipped, as Postgres itself does at a login.
    unsafe {
        attempt(|| {
            for_each_row(&[role], |owner, tuple, relation| {
                if owner.role != role {
                    return;
                }
                let source = if owner.database == pg_sys::InvalidOid {
                    pg_sys::GucSource::PGC_S_USER
                } else {
                    pg_sys::GucSource::PGC_S_DATABASE_USER
                };
                let mut is_null = false;
                let entries = pg_sys::heap_getattr(tuple, SETCONFIG, (*relation).rd_att, &mut is_null);
                if !is_null {
                    apply_entries(entries, source);
                }
            });
        })
    }
}

/// # Safety
/// `entries` is a text array of `name=value`; may raise a Postgres error.
unsafe fn apply_entries(entries: pg_sys::Datum, source: pg_sys::GucSource::Type) {
    // SAFETY: the arrays have `count` entries; strings are palloc'd and NUL-terminated by text_to_cstring.
    unsafe {
        let array = ffi::pg_detoast_datum(entries.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        ffi::deconstruct_array(array, pg_sys::TEXTOID, -1, false, b'i' as c_char, &mut values, &mut nulls, &mut count);
        for i in 0..count as usize {
            if *nulls.add(i) {
                continue;
            }
            let (mut name, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
            ffi::ParseLongOption(ffi::text_to_cstring((*values.add(i)).cast_mut_ptr()), &mut name, &mut value);
            if value.is_null() || NEVER_APPLIED.contains(&CStr::from_ptr(name)) {
                continue;
            }
            // The right to store it was checked when it was stored; PGC_SUSET is the context in which a login applies it.
            ffi::set_config_option(
                name,
                value,
                pg_sys::GucContext::PGC_SUSET,
                source,
                pg_sys::GucAction::GUC_ACTION_SET,
                true,
                pgrx::PgLogLevel::WARNING as i32,
                false,
            );
        }
    }
}

struct Owner {
    database: Oid,
    role: Oid,
}

/// Calls `visit` with each row for this database or all, and for one of `roles` or all.
///
/// # Safety
/// Inside a transaction; may raise a Postgres error, also out of `visit`.
unsafe fn for_each_row(roles: &[Oid], mut visit: impl FnMut(Owner, pg_sys::HeapTuple, pg_sys::Relation)) {
    // SAFETY: a catalog scan as Postgres' own: the keys are the index's two columns, in its order.
    unsafe {
        let this = pg_sys::MyDatabaseId;
        let relation = ffi::table_open(DB_ROLE_SETTING, pg_sys::AccessShareLock as i32);
        for database in [this, pg_sys::InvalidOid] {
            for role in roles.iter().copied().chain([pg_sys::InvalidOid]) {
                let mut keys = [pg_sys::ScanKeyData::default(); 2];
                for (key, (column, value)) in keys.iter_mut().zip([(SETDATABASE, database), (SETROLE, role)]) {
                    ffi::ScanKeyInit(
                        key,
                        column,
                        pg_sys::BTEqualStrategyNumber as u16,
                        Oid::from(pg_sys::F_OIDEQ),
                        pg_sys::Datum::from(value),
                    );
                }
                let scan = ffi::systable_beginscan(relation, DB_ROLE_SETTING_INDEX, true, std::ptr::null_mut(), 2, keys.as_mut_ptr());
                loop {
                    let tuple = ffi::systable_getnext(scan);
                    if tuple.is_null() {
                        break;
                    }
                    visit(Owner { database, role }, tuple, relation);
                }
                ffi::systable_endscan(scan);
            }
        }
        ffi::table_close(relation, pg_sys::AccessShareLock as i32);
    }
}

/// # Safety
/// A live heap tuple; the slice lives as long.
unsafe fn tuple_bytes<'a>(tuple: pg_sys::HeapTuple) -> &'a [u8] {
    // SAFETY: the header says where the data begins, the tuple how long it is.
    unsafe {
        let header = (*tuple).t_data;
        let offset = (*header).t_hoff as usize;
        std::slice::from_raw_parts(header.cast::<u8>().add(offset), ((*tuple).t_len as usize).saturating_sub(offset))
    }
}

/// FNV-1a: only ever compared with itself, within one process.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// How long a statement may run by Postgres' own setting, which a background worker does not arm; 0 is no limit.
pub fn statement_timeout_ms(_: &Pg) -> i32 {
    // SAFETY: a plain variable of this process.
    unsafe { pg_sys::StatementTimeout }
}
