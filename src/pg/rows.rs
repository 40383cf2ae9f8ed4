//! Adding many rows at once to a table of our own, from values in memory: what COPY does once it has read its input.
//!
//! In the keeper, as the bootstrap superuser. Must not be given a table with triggers, defaults or constraints that matter, nor rows beyond the bounds of
//! their partition: nothing of the kind is run or checked here. Indexes are kept up.

use pgrx::pg_sys::{self, Datum, Oid};

use super::error::{PgError, attempt};
use super::{Tx, encoding, ffi, ffi_rows};

/// Rows that are handed to the table at a time. Few enough for their values to stay in the processor's cache.
const AT_A_TIME: usize = 64;
/// Microseconds from 1970 to 2000, where Postgres' time begins.
const EPOCH: i64 = 946_684_800_000_000;
/// What a pointer must be aligned to for Postgres to read a length behind it.
const ALIGN: usize = size_of::<u32>();

#[derive(Debug, Clone, Copy)]
enum Value {
    Null,
    /// The value itself.
    Plain(Datum),
    /// Where it lies in the memory of its rows.
    At(usize),
}

/// Rows in the making: values are added column by column, row by row.
pub struct Rows {
    types: &'static [Oid],
    values: Vec<Value>,
    memory: Vec<u8>,
}

impl Rows {
    /// `types`: of all columns of the table, in their order.
    pub fn new(types: &'static [Oid]) -> Rows {
        Rows { types, values: Vec::with_capacity(AT_A_TIME * types.len()), memory: Vec::new() }
    }

    /// No more rows should be added before these are in their table.
    pub fn is_full(&self) -> bool {
        self.values.len() >= AT_A_TIME * self.types.len()
    }

    pub fn null(&mut self) {
        self.values.push(Value::Null);
    }

    pub fn int8(&mut self, value: i64) {
        self.values.push(Value::Plain(Datum::from(value)));
    }

    pub fn bool(&mut self, value: bool) {
        self.values.push(Value::Plain(Datum::from(value)));
    }

    pub fn char(&mut self, value: u8) {
        self.values.push(Value::Plain(Datum::from(value as i8)));
    }

    /// `micros`: since 1970.
    pub fn timestamptz(&mut self, micros: i64) {
        self.int8(micros.saturating_sub(EPOCH));
    }

    pub fn uuid(&mut self, value: [u8; 16]) {
        self.values.push(Value::At(self.memory.len()));
        self.memory.extend_from_slice(&value);
    }

    /// A text or a bytea: what `write` appends.
    pub fn bytes(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.memory.resize(self.memory.len().next_multiple_of(ALIGN), 0);
        let start = self.memory.len();
        self.memory.resize(start + pg_sys::VARHDRSZ, 0);
        write(&mut self.memory);
        // SET_VARSIZE of varatt.h. A batch is far from a gigabyte.
        let length = (self.memory.len() - start) as u32;
        let head = if cfg!(target_endian = "little") { length << 2 } else { length };
        if let Some(room) = self.memory.get_mut(start..start + pg_sys::VARHDRSZ) {
            room.copy_from_slice(&head.to_ne_bytes());
        }
        self.values.push(Value::At(start));
    }

    /// The same for a text in UTF-8. An error: the database's encoding is another one, and the text is not ASCII.
    pub fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), PgError> {
        self.bytes(write);
        let Some(Value::At(start)) = self.values.last() else { return Ok(()) };
        let text = self.memory.get(start + pg_sys::VARHDRSZ..).unwrap_or_default();
        if text.contains(&0) || (!encoding::stores_utf8() && !text.is_ascii()) {
            return Err(PgError::new("22021", "the database's encoding has no place for a character"));
        }
        Ok(())
    }
}

/// The table of this name in schema mcp.
pub fn table(_: &Tx, name: &str) -> Result<Oid, PgError> {
    let missing = || PgError::new("42P01", format!("table mcp.{name} does not exist"));
    let name = std::ffi::CString::new(name).map_err(|_| missing())?;
    // SAFETY: look-ups in a transaction.
    let oid = unsafe { attempt(|| ffi::get_relname_relid(name.as_ptr(), ffi::get_namespace_oid(c"mcp".as_ptr(), false))) }?;
    if oid == pg_sys::InvalidOid { Err(missing()) } else { Ok(oid) }
}

/// A partition that rows are added to, until `close` or the end of the transaction. After an error there is nothing to do but to end that.
pub struct Target {
    whole: pg_sys::Relation,
    relation: pg_sys::Relation,
    info: *mut pg_sys::ResultRelInfo,
    state: *mut pg_sys::EState,
    /// Made as they are needed.
    slots: [*mut pg_sys::TupleTableSlot; AT_A_TIME],
    multi_insert: MultiInsert,
}

/// Of a table access method.
type MultiInsert = unsafe extern "C-unwind" fn(
    pg_sys::Relation,
    *mut *mut pg_sys::TupleTableSlot,
    i32,
    pg_sys::CommandId,
    i32,
    *mut pg_sys::BulkInsertStateData,
);

impl Target {
    /// Takes the lock on the whole table that any INSERT takes, and one on the partition. It must have the columns of `rows`.
    pub fn open(_: &mut Tx, table: Oid, partition: Oid, rows: &Rows) -> Result<Target, PgError> {
        // SAFETY: in a transaction, whose end closes what is left open.
        let target = unsafe {
            attempt(|| {
                ffi::PushActiveSnapshot(ffi::GetTransactionSnapshot());
                let whole = ffi::table_open(table, pg_sys::RowExclusiveLock as i32);
                let relation = ffi::table_open(partition, pg_sys::RowExclusiveLock as i32);
                if !is_partition(relation, table) || !has_columns(relation, rows.types) {
                    return None;
                }
                let multi_insert = (*(*relation).rd_tableam).multi_insert?;
                let state = ffi_rows::CreateExecutorState();
                let info = ffi_rows::target(relation);
                ffi_rows::ExecOpenIndices(info, false);
                Some(Target { whole, relation, info, state, slots: [std::ptr::null_mut(); AT_A_TIME], multi_insert })
            })
        }?;
        target.ok_or_else(|| PgError::new("55000", "a partition of the audit trail is not as it was made"))
    }

    /// Adds rows, which are gone from `rows` then.
    pub fn add(&mut self, _: &mut Tx, rows: &mut Rows) -> Result<(), PgError> {
        let width = rows.types.len();
        // SAFETY: in the transaction of `open`, with its snapshot. The slots are of the relation, and are filled with as many values as it has columns,
        // which lie in `memory` while they are read: the table has a copy.
        unsafe {
            attempt(|| {
                let memory = aligned(&rows.memory);
                let command = ffi_rows::GetCurrentCommandId(true);
                for part in rows.values.chunks(AT_A_TIME * width) {
                    let count = part.len() / width;
                    for (slot, row) in self.slots.iter_mut().zip(part.chunks_exact(width)) {
                        if slot.is_null() {
                            *slot = ffi_rows::table_slot_create(self.relation, std::ptr::null_mut());
                        }
                        fill(*slot, row, memory);
                    }
                    (self.multi_insert)(self.relation, self.slots.as_mut_ptr(), count as i32, command, 0, std::ptr::null_mut());
                    for slot in self.slots.iter().take(count) {
                        ffi_rows::insert_index_entries(self.info, *slot, self.state);
                    }
                }
            })
        }?;
        rows.values.clear();
        rows.memory.clear();
        Ok(())
    }

    pub fn close(self, _: &mut Tx) -> Result<(), PgError> {
        // SAFETY: in the transaction of `open`; nothing is used afterwards.
        unsafe {
            attempt(|| {
                for slot in self.slots.iter().filter(|slot| !slot.is_null()) {
                    ffi_rows::ExecDropSingleTupleTableSlot(*slot);
                }
                ffi_rows::ExecCloseIndices(self.info);
                ffi_rows::FreeExecutorState(self.state);
                ffi::table_close(self.relation, pg_sys::NoLock as i32);
                ffi::table_close(self.whole, pg_sys::NoLock as i32);
                ffi::PopActiveSnapshot();
                ffi::CommandCounterIncrement();
            })
        }
    }
}

/// A plain table, and a partition of `table`: somebody may have put another one in its place.
///
/// # Safety
/// In a transaction; an open relation. May raise a Postgres error.
unsafe fn is_partition(relation: pg_sys::Relation, table: Oid) -> bool {
    // SAFETY: the descriptor lives with the relation; a plain table has an access method.
    unsafe {
        let about = (*relation).rd_rel;
        (*about).relkind as u8 == pg_sys::RELKIND_RELATION
            && (*about).relispartition
            && ffi_rows::get_partition_parent((*relation).rd_id, false) == table
    }
}

/// # Safety
/// An open relation.
unsafe fn has_columns(relation: pg_sys::Relation, types: &[Oid]) -> bool {
    // SAFETY: the descriptor lives with the relation, and has as many attributes as it says.
    unsafe {
        let shape = (*relation).rd_att;
        let mut columns = types.iter().enumerate();
        (*shape).natts as usize == types.len() && columns.all(|(i, oid)| (*ffi::tuple_desc_attr(shape, i)).atttypid == *oid)
    }
}

/// The memory itself, or a copy where Postgres may read numbers from it. Allocators give memory that is aligned, but do not say so for bytes.
///
/// # Safety
/// In a transaction; may raise a Postgres error. Valid as long as the bytes and the current context are.
unsafe fn aligned(memory: &[u8]) -> *const u8 {
    if memory.as_ptr().cast::<u32>().is_aligned() {
        return memory.as_ptr();
    }
    // SAFETY: as much room as there are bytes.
    unsafe {
        let copy = ffi::MemoryContextAllocHuge(pg_sys::CurrentMemoryContext, memory.len()).cast::<u8>();
        std::ptr::copy_nonoverlapping(memory.as_ptr(), copy, memory.len());
        copy
    }
}

/// # Safety
/// A slot with as many columns as there are values; those that are not plain lie in `memory`.
unsafe fn fill(slot: *mut pg_sys::TupleTableSlot, row: &[Value], memory: *const u8) {
    // SAFETY: the arrays of a slot have an entry for each column.
    unsafe {
        ffi_rows::clear(slot);
        for (i, value) in row.iter().enumerate() {
            let (datum, null) = match *value {
                Value::Null => (Datum::from(0), true),
                Value::Plain(datum) => (datum, false),
                Value::At(place) => (Datum::from(memory.add(place)), false),
            };
            *(*slot).tts_values.add(i) = datum;
            *(*slot).tts_isnull.add(i) = null;
        }
        ffi_rows::ExecStoreVirtualTuple(slot);
    }
}
