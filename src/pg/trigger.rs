//! The statement trigger on the tables of tokens, peers and limits: tells every process, through the relation cache, that they changed.
//!
//! Runs in the backend of whoever changes such a table, within its statement. Written against the plain calling convention, because
//! pgrx's trigger macro brings composite values with it, which this code base keeps away from.

use pgrx::pg_sys;

static FINFO: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };

/// Says which calling convention the function below has.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_supabase_mcp_invalidate() -> *const pg_sys::Pg_finfo_record {
    &FINFO
}

/// `mcp._invalidate()`: at commit, every process drops its relation cache entry of the trigger's table, and notices.
///
/// # Safety
/// Called by Postgres with the call information of a version 1 function.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn supabase_mcp_invalidate(call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: `call` is what Postgres passes; its context, if it is of that type, is the trigger's data for the time of the call.
    unsafe {
        let context = (*call).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            pgrx::error!("mcp._invalidate() is a trigger");
        }
        let relation = (*context.cast::<pg_sys::TriggerData>()).tg_relation;
        pg_sys::CacheInvalidateRelcacheByRelid((*relation).rd_id);
    }
    pg_sys::Datum::from(0)
}
