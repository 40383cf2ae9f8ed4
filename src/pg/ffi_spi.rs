//! More of `ffi`: what the keeper's own statements use.
#![allow(non_snake_case)]

use std::ffi::{c_char, c_int, c_long};

use pgrx::pg_sys::*;

unsafe extern "C-unwind" {
    // executor/spi.h
    pub fn SPI_connect() -> c_int;
    pub fn SPI_finish() -> c_int;
    pub fn SPI_prepare(text: *const c_char, count: c_int, types: *mut Oid) -> SPIPlanPtr;
    pub fn SPI_keepplan(plan: SPIPlanPtr) -> c_int;
    pub fn SPI_execute_plan(plan: SPIPlanPtr, values: *mut Datum, nulls: *const c_char, read_only: bool, count: c_long) -> c_int;
    pub fn SPI_getbinval(row: HeapTuple, desc: TupleDesc, column: c_int, null: *mut bool) -> Datum;
}
