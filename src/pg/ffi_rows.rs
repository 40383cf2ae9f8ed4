//! More of `ffi`: what adds rows to a table.
#![allow(non_snake_case)]

use std::ffi::c_int;

use pgrx::pg_sys::*;

use super::ffi;

unsafe extern "C-unwind" {
    // access/xact.h, access/tableam.h
    pub fn GetCurrentCommandId(used: bool) -> CommandId;
    pub fn table_slot_create(relation: Relation, list: *mut *mut List) -> *mut TupleTableSlot;

    // catalog/partition.h
    pub fn get_partition_parent(partition: Oid, even_if_detached: bool) -> Oid;

    // executor/executor.h, executor/tuptable.h
    pub fn CreateExecutorState() -> *mut EState;
    pub fn FreeExecutorState(state: *mut EState);
    pub fn ExecOpenIndices(target: *mut ResultRelInfo, speculative: bool);
    pub fn ExecCloseIndices(target: *mut ResultRelInfo);
    pub fn ExecStoreVirtualTuple(slot: *mut TupleTableSlot) -> *mut TupleTableSlot;
    pub fn ExecDropSingleTupleTableSlot(slot: *mut TupleTableSlot);
    fn InitResultRelInfo(target: *mut ResultRelInfo, relation: Relation, index: Index, root: *mut ResultRelInfo, instrument: c_int);
    fn ExecInsertIndexTuples(
        target: *mut ResultRelInfo,
        slot: *mut TupleTableSlot,
        state: *mut EState,
        update: bool,
        no_duplicates: bool,
        conflict: *mut bool,
        arbiters: *mut List,
        #[cfg(not(feature = "pg15"))] only_summarizing: bool,
    ) -> *mut List;
}

/// A relation as the target of statements, of no query.
///
/// # Safety
/// An open relation. May raise a Postgres error.
pub unsafe fn target(relation: Relation) -> *mut ResultRelInfo {
    // SAFETY: zeroed memory of the node's size, which lives as long as the current context.
    unsafe {
        let target = ffi::MemoryContextAllocZero(CurrentMemoryContext, size_of::<ResultRelInfo>()).cast::<ResultRelInfo>();
        (*target).type_ = NodeTag::T_ResultRelInfo;
        InitResultRelInfo(target, relation, 0, std::ptr::null_mut(), 0);
        target
    }
}

/// Enters a row into the indexes of its table.
///
/// # Safety
/// The slot holds a row that was just added. May raise a Postgres error.
pub unsafe fn insert_index_entries(target: *mut ResultRelInfo, slot: *mut TupleTableSlot, state: *mut EState) {
    // SAFETY: passed on. What evaluating the indexes' conditions leaves behind is given back, as the macro ResetPerTupleExprContext does.
    unsafe {
        ExecInsertIndexTuples(
            target,
            slot,
            state,
            false,
            false,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            #[cfg(not(feature = "pg15"))]
            false,
        );
        let expressions = (*state).es_per_tuple_exprcontext;
        if !expressions.is_null() {
            ffi::MemoryContextReset((*expressions).ecxt_per_tuple_memory);
        }
    }
}

/// ExecClearTuple, which is inline in C.
///
/// # Safety
/// A slot.
pub unsafe fn clear(slot: *mut TupleTableSlot) {
    // SAFETY: every kind of slot has this function.
    unsafe {
        if let Some(clear) = (*(*slot).tts_ops).clear {
            clear(slot);
        }
    }
}
