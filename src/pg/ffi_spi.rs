//! More of `ffi`: what the keeper's own statements use.
#![allow(non_snake_case)]

use std::ffi::{c_char, c_int, c_long, c_void};

use pgrx::pg_sys::*;

unsafe extern "C-unwind" {
    // commands/copy.h, parser/parse_node.h, parser/parse_relation.h
    pub fn make_parsestate(parent: *mut ParseState) -> *mut ParseState;
    pub fn addRangeTableEntryForRelation(
        s: *mut ParseState,
        r: Relation,
        lock: LOCKMODE,
        alias: *mut Alias,
        inherited: bool,
        in_from: bool,
    ) -> *mut c_void;
    pub fn BeginCopyFrom(
        state: *mut ParseState,
        relation: Relation,
        condition: *mut Node,
        file: *const c_char,
        is_program: bool,
        source: unsafe extern "C-unwind" fn(*mut c_void, c_int, c_int) -> c_int,
        columns: *mut List,
        options: *mut List,
    ) -> CopyFromState;
    pub fn CopyFrom(state: CopyFromState) -> u64;
    pub fn EndCopyFrom(state: CopyFromState);
    pub fn free_parsestate(state: *mut ParseState);

    // executor/spi.h
    pub fn SPI_connect() -> c_int;
    pub fn SPI_finish() -> c_int;
    pub fn SPI_prepare(text: *const c_char, count: c_int, types: *mut Oid) -> SPIPlanPtr;
    pub fn SPI_keepplan(plan: SPIPlanPtr) -> c_int;
    pub fn SPI_execute_plan(plan: SPIPlanPtr, values: *mut Datum, nulls: *const c_char, read_only: bool, count: c_long) -> c_int;
    pub fn SPI_getbinval(row: HeapTuple, desc: TupleDesc, column: c_int, null: *mut bool) -> Datum;
}
