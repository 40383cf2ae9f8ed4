//! COPY into a table from memory: the server's own fast road for many rows, as logical replication uses it.
//!
//! In the keeper, as the bootstrap superuser, into tables of our own.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};

use pgrx::pg_sys::{self, Oid};

use super::error::{PgError, attempt};
use super::{Tx, ffi, ffi_spi};

thread_local! {
    /// What is being copied, and how much of it Postgres has taken.
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// The table of this name in schema mcp.
pub fn table(_: &Tx, name: &std::ffi::CStr) -> Result<Oid, PgError> {
    // SAFETY: look-ups in a transaction.
    let oid = unsafe { attempt(|| ffi::get_relname_relid(name.as_ptr(), ffi::get_namespace_oid(c"mcp".as_ptr(), false))) }?;
    if oid == pg_sys::InvalidOid {
        Err(PgError::new("42P01", format!("table mcp.{} does not exist", name.to_string_lossy())))
    } else {
        Ok(oid)
    }
}

/// Adds rows: `text` is what COPY reads, in the database's encoding, a line a row. Returns how many there were, and the text's memory.
pub fn rows(_: &mut Tx, table: Oid, text: Vec<u8>) -> Result<(u64, Vec<u8>), PgError> {
    TEXT.set(text);
    TAKEN.set(0);
    // SAFETY: in a transaction; a relation that stays open until the rows are in. Everything allocated is the transaction's.
    let copied = unsafe {
        attempt(|| {
            ffi::PushActiveSnapshot(ffi::GetTransactionSnapshot());
            let relation = ffi::table_open(table, pg_sys::RowExclusiveLock as i32);
            let state = ffi_spi::make_parsestate(std::ptr::null_mut());
            ffi_spi::addRangeTableEntryForRelation(state, relation, pg_sys::RowExclusiveLock as i32, std::ptr::null_mut(), false, false);
            let none = std::ptr::null_mut();
            let copy = ffi_spi::BeginCopyFrom(
                state,
                relation,
                none,
                std::ptr::null(),
                false,
                hand_over,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            );
            let count = ffi_spi::CopyFrom(copy);
            ffi_spi::EndCopyFrom(copy);
            ffi::table_close(relation, pg_sys::NoLock as i32);
            ffi_spi::free_parsestate(state);
            ffi::PopActiveSnapshot();
            ffi::CommandCounterIncrement();
            count
        })
    };
    let text = TEXT.take();
    copied.map(|count| (count, text))
}

/// Gives Postgres the next bytes; 0 is the end.
///
/// # Safety
/// Called by Postgres with room for `most` bytes.
unsafe extern "C-unwind" fn hand_over(room: *mut c_void, _least: c_int, most: c_int) -> c_int {
    TEXT.with_borrow(|text| {
        let rest = text.get(TAKEN.get()..).unwrap_or_default();
        let count = rest.len().min(usize::try_from(most).unwrap_or(0));
        // SAFETY: the room has at least `most` bytes, and does not overlap with the text.
        unsafe { std::ptr::copy_nonoverlapping(rest.as_ptr(), room.cast::<u8>(), count) };
        TAKEN.set(TAKEN.get() + count);
        count as c_int
    })
}
