//! A statement of our own whose plan is kept: for what one process runs thousands of times a second.
//!
//! In the keeper. Texts are constants of this crate with every name and operator qualified; values are parameters.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, Oid};

use super::error::{PgError, attempt};
use super::{Tx, encoding, ffi, ffi_spi};

/// For the process's life: Postgres plans anew what a change of the catalogs outdates.
pub struct Prepared(pg_sys::SPIPlanPtr);

impl Prepared {
    /// `sql`: a statement with an int8, a text and another int8 as its parameters, which returns an int8.
    pub fn new(_: &mut Tx, sql: &'static CStr) -> Result<Prepared, PgError> {
        let mut types: [Oid; 3] = [pg_sys::INT8OID, pg_sys::TEXTOID, pg_sys::INT8OID];
        // SAFETY: in a transaction; the plan outlives it once it is kept.
        let plan = unsafe {
            attempt(|| {
                ffi_spi::SPI_connect();
                let plan = ffi_spi::SPI_prepare(sql.as_ptr(), 3, types.as_mut_ptr());
                if !plan.is_null() {
                    ffi_spi::SPI_keepplan(plan);
                }
                ffi_spi::SPI_finish();
                plan
            })
        }?;
        if plan.is_null() { Err(PgError::internal("a statement of our own could not be prepared")) } else { Ok(Prepared(plan)) }
    }

    /// Runs it; `None`: it returned no row.
    pub fn run(&self, tx: &mut Tx, number: i64, text: &str, other: i64) -> Result<Option<i64>, PgError> {
        let text = encoding::from_utf8(tx.pg(), text)?;
        // SAFETY: in a transaction; the values are of the plan's types, and the answer is read before its memory goes.
        unsafe {
            attempt(|| {
                ffi::PushActiveSnapshot(ffi::GetTransactionSnapshot());
                ffi_spi::SPI_connect();
                let mut values = [Datum::from(number), Datum::from(ffi::cstring_to_text(text)), Datum::from(other)];
                ffi_spi::SPI_execute_plan(self.0, values.as_mut_ptr(), std::ptr::null(), false, 1);
                let found = (pg_sys::SPI_processed > 0 && !pg_sys::SPI_tuptable.is_null()).then(|| {
                    let table = &*pg_sys::SPI_tuptable;
                    let mut null = false;
                    ffi_spi::SPI_getbinval(*table.vals, table.tupdesc, 1, &mut null).value() as i64
                });
                ffi_spi::SPI_finish();
                ffi::PopActiveSnapshot();
                found
            })
        }
    }
}
