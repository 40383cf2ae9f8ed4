//! What a call touches and changes, as Postgres itself sees it: for the record that is kept of the call.
//!
//! Of an executor, on its only thread. The permission check that Postgres makes before it runs any statement, wherever that comes from, names the tables; the
//! transaction's own statistics count their rows. Postgres' catalogs are left out: every statement touches some. Nothing here allows or refuses anything.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::CStr;

use pgrx::pg_sys::{self, Oid};

use super::error::{PgError, attempt};
use super::memory::Context;
use super::{Pg, Tx, encoding, ffi, inval};

/// Tables of one call that are remembered; a statement over thousands of partitions needs no longer record.
const MOST: usize = 200;
/// `FirstNormalObjectId` of access/transam.h: what is below came with the server.
const FIRST_OF_USERS: u32 = 16384;
/// The functions pg_stat_get_xact_tuples_inserted, _updated and _deleted in every version.
const COUNTERS: [u32; 3] = [3040, 3041, 3042];

const RIGHTS: [(u32, &str); 4] =
    [(pg_sys::ACL_SELECT, "select"), (pg_sys::ACL_INSERT, "insert"), (pg_sys::ACL_UPDATE, "update"), (pg_sys::ACL_DELETE, "delete")];
const CHANGING: u32 = pg_sys::ACL_INSERT | pg_sys::ACL_UPDATE | pg_sys::ACL_DELETE;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    relation: Oid,
    rights: u32,
}

/// A table whose rows are counted: one that a statement named, or a partition of it.
struct Counted {
    relation: Oid,
    named: Oid,
    /// What the counters said when it was first touched: they go on through the process's life.
    before: [i64; 3],
}

/// What was last described, for the next call that touches the same.
#[derive(Default)]
struct Described {
    seen: u64,
    touched: Vec<Entry>,
    text: String,
}

thread_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static TOUCHED: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
    static COUNTED: RefCell<Vec<Counted>> = const { RefCell::new(Vec::new()) };
    static DESCRIBED: RefCell<Described> = RefCell::default();
    static WAL_BEFORE: Cell<u64> = const { Cell::new(0) };
    static PREVIOUS: Cell<pg_sys::ExecutorCheckPerms_hook_type> = const { Cell::new(None) };
}

/// Installs the hook in front of those that other libraries installed. Once per process.
pub(super) fn install(_: &Pg) {
    // SAFETY: a variable of Postgres' own that exists to be chained this way.
    unsafe {
        PREVIOUS.set(pg_sys::ExecutorCheckPerms_hook);
        pg_sys::ExecutorCheckPerms_hook = Some(check_permissions);
    }
}

/// A new call: nothing is known of it.
pub fn forget(_: &Pg) {
    TOUCHED.with_borrow_mut(Vec::clear);
    COUNTED.with_borrow_mut(Vec::clear);
    // SAFETY: a plain counter of this process.
    WAL_BEFORE.set(unsafe { pg_sys::pgWalUsage.wal_bytes });
}

/// From here on until `stop` the caller's statements run.
pub(super) fn start() {
    WATCHING.set(true);
}

pub(super) fn stop() {
    WATCHING.set(false);
}

/// What a call has touched, by name.
#[derive(Default)]
pub struct Touched {
    /// `{"shop.orders":["select","update"]}`; empty if there is nothing.
    pub objects: String,
    /// Tables whose rows may have changed.
    changing: Vec<(Oid, String)>,
    /// How many tables and rights were known then.
    known: usize,
}

/// Whether something was touched since.
pub fn is_more_than(touched: &Touched) -> bool {
    weight() > touched.known
}

fn weight() -> usize {
    TOUCHED.with_borrow(|touched| touched.iter().map(|t| 1 + t.rights.count_ones() as usize).sum())
}

/// Names what was touched so far, while it can be looked up.
pub fn touched(tx: &Tx) -> Result<Touched, PgError> {
    Ok(Touched { objects: describe(tx)?, changing: changing()?, known: weight() })
}

/// Bytes that this process has added to the write-ahead log since the call began.
pub fn wal_bytes() -> u64 {
    // SAFETY: a plain counter of this process.
    unsafe { pg_sys::pgWalUsage.wal_bytes }.saturating_sub(WAL_BEFORE.get())
}

/// The identifier that Postgres gave to the last statement; 0: none is computed.
pub fn query_id(_: &Pg) -> i64 {
    // SAFETY: reads this process's own status entry.
    unsafe { attempt(|| ffi::pgstat_get_my_query_id()) }.unwrap_or(0)
}

fn describe(tx: &Tx) -> Result<String, PgError> {
    if TOUCHED.with_borrow(Vec::is_empty) {
        return Ok(String::new());
    }
    let seen = inval::seen(tx);
    let known = TOUCHED.with_borrow(|touched| {
        DESCRIBED.with_borrow(|described| (described.seen == seen && described.touched == *touched).then(|| described.text.clone()))
    });
    if let Some(text) = known {
        return Ok(text);
    }
    let touched = TOUCHED.with_borrow(Vec::clone);
    let mut objects: BTreeMap<String, u32> = BTreeMap::new();
    for entry in &touched {
        *objects.entry(name_of(entry.relation)?).or_default() |= entry.rights;
    }
    let objects: BTreeMap<String, Vec<&str>> = objects
        .into_iter()
        .map(|(name, rights)| (name, RIGHTS.iter().filter(|(right, _)| rights & right != 0).map(|(_, word)| *word).collect()))
        .collect();
    let text = serde_json::to_string(&objects).unwrap_or_default();
    DESCRIBED.set(Described { seen, touched, text: text.clone() });
    Ok(text)
}

fn changing() -> Result<Vec<(Oid, String)>, PgError> {
    let mut named: Vec<Oid> = COUNTED.with_borrow(|counted| counted.iter().map(|c| c.named).collect());
    named.sort_unstable_by_key(|oid| oid.to_u32());
    named.dedup();
    named.into_iter().map(|relation| Ok((relation, name_of(relation)?))).collect()
}

/// Rows changed by table, once the transaction has been committed: `{"shop.orders":{"inserted":1}}`; empty if there are none.
pub fn changed(pg: &Pg, touched: &Touched) -> Result<String, PgError> {
    // From PostgreSQL 16 on each question leaves a copy of the numbers behind.
    let _entered = Context::of_message(pg).enter();
    let mut tables: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
    let counted: Vec<(Oid, Oid, [i64; 3])> =
        COUNTED.with_borrow(|counted| counted.iter().map(|c| (c.relation, c.named, c.before)).collect());
    for (relation, named, before) in counted {
        let after = counters(relation)?;
        let Some((_, name)) = touched.changing.iter().find(|(oid, _)| *oid == named) else { continue };
        for (i, word) in ["inserted", "updated", "deleted"].into_iter().enumerate() {
            if after[i] > before[i] {
                *tables.entry(name).or_default().entry(word).or_default() += after[i] - before[i];
            }
        }
    }
    Ok(if tables.is_empty() { String::new() } else { serde_json::to_string(&tables).unwrap_or_default() })
}

/// `schema.table`, ready for SQL, or the OID of one that is gone already.
fn name_of(relation: Oid) -> Result<String, PgError> {
    // SAFETY: look-ups in a transaction; names are C strings, or null.
    let name = unsafe {
        attempt(|| {
            let schema = ffi::get_namespace_name(ffi::get_rel_namespace(relation));
            let table = ffi::get_rel_name(relation);
            if schema.is_null() || table.is_null() { std::ptr::null() } else { ffi::quote_qualified_identifier(schema, table) }
        })
    }?;
    if name.is_null() {
        return Ok(format!("oid {}", relation.to_u32()));
    }
    // SAFETY: a C string; copied at once.
    Ok(unsafe {
        let name = CStr::from_ptr(name).to_bytes();
        String::from_utf8_lossy(encoding::to_utf8(name).unwrap_or(name)).into_owned()
    })
}

fn counters(relation: Oid) -> Result<[i64; 3], PgError> {
    let mut values = [0; 3];
    for (value, function) in values.iter_mut().zip(COUNTERS) {
        // SAFETY: a function of the server that looks into this process's own statistics.
        let datum =
            unsafe { attempt(|| ffi::OidFunctionCall1Coll(Oid::from(function), pg_sys::InvalidOid, pg_sys::Datum::from(relation))) }?;
        *value = datum.value() as i64;
    }
    Ok(values)
}

/// # Safety
/// Called by Postgres at the start of each statement. May raise a Postgres error; nothing with a destructor lives across a call that does.
#[cfg(feature = "pg15")]
unsafe extern "C-unwind" fn check_permissions(tables: *mut pg_sys::List, raise: bool) -> bool {
    // SAFETY: a list of RangeTblEntry, or null; passed on as it came.
    unsafe {
        if WATCHING.get() && !tables.is_null() {
            for i in 0..(*tables).length as usize {
                let entry = (*(*tables).elements.add(i)).ptr_value.cast::<pg_sys::RangeTblEntry>();
                if (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION {
                    note((*entry).relid, (*entry).requiredPerms);
                }
            }
        }
        PREVIOUS.get().is_none_or(|next| next(tables, raise))
    }
}

/// # Safety
/// As above.
#[cfg(not(feature = "pg15"))]
unsafe extern "C-unwind" fn check_permissions(tables: *mut pg_sys::List, permissions: *mut pg_sys::List, raise: bool) -> bool {
    // SAFETY: a list of RTEPermissionInfo, or null; passed on as it came.
    unsafe {
        if WATCHING.get() && !permissions.is_null() {
            for i in 0..(*permissions).length as usize {
                let entry = (*(*permissions).elements.add(i)).ptr_value.cast::<pg_sys::RTEPermissionInfo>();
                note((*entry).relid, (*entry).requiredPerms as u32);
            }
        }
        PREVIOUS.get().is_none_or(|next| next(tables, permissions, raise))
    }
}

/// # Safety
/// In a transaction; may raise a Postgres error.
unsafe fn note(relation: Oid, rights: u32) {
    if relation.to_u32() < FIRST_OF_USERS || rights == 0 {
        return;
    }
    let new = TOUCHED.with_borrow_mut(|touched| match touched.iter().position(|t| t.relation == relation) {
        Some(at) => {
            let known = &mut touched[at];
            let new = rights & CHANGING != 0 && known.rights & CHANGING == 0;
            known.rights |= rights;
            new
        }
        None if touched.len() < MOST => {
            touched.push(Entry { relation, rights });
            rights & CHANGING != 0
        }
        None => false,
    });
    if !new {
        return;
    }
    // SAFETY: look-ups; the list is Postgres' own memory, and nothing of ours is borrowed while they run.
    unsafe {
        if ffi::get_rel_relkind(relation) as u8 != pg_sys::RELKIND_PARTITIONED_TABLE {
            count_rows(relation, relation);
            return;
        }
        let partitions = ffi::find_all_inheritors(relation, pg_sys::NoLock as i32, std::ptr::null_mut());
        for i in 0..((*partitions).length as usize).min(MOST) {
            count_rows((*(*partitions).elements.add(i)).oid_value, relation);
        }
    }
}

/// # Safety
/// As `note`.
unsafe fn count_rows(relation: Oid, named: Oid) {
    let mut before = [0; 3];
    for (value, function) in before.iter_mut().zip(COUNTERS) {
        // SAFETY: as in `counters`.
        *value =
            unsafe { ffi::OidFunctionCall1Coll(Oid::from(function), pg_sys::InvalidOid, pg_sys::Datum::from(relation)) }.value() as i64;
    }
    COUNTED.with_borrow_mut(|counted| counted.push(Counted { relation, named, before }));
}
