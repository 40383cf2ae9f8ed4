//! The top floor: what each kind of process does from its start to its end.
//!
//! The functions that the postmaster calls by name are here, and what they have in common. Main thread of each process.

pub mod errand;
pub mod executor;
pub mod gateway;
pub mod keeper;
pub mod sender;

use mcp::types::{Form, Ticket};
use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime, DynamicBackgroundWorker};
use pgrx::pg_sys;

const EXECUTOR_MAIN: &str = "supabase_mcp_executor_main";
const KEEPER_MAIN: &str = "supabase_mcp_keeper_main";

/// Registers an executor or a keeper. `None`: no slot is free. It is never started again by the postmaster: its ticket is good once.
fn launch(ticket: &Ticket) -> Option<DynamicBackgroundWorker> {
    let (name, main) = match ticket.form {
        Form::Keeper => ("supabase_mcp keeper", KEEPER_MAIN),
        Form::Direct | Form::Bridge => ("supabase_mcp executor", EXECUTOR_MAIN),
    };
    BackgroundWorkerBuilder::new(name)
        .set_type(name)
        .set_library("supabase_mcp")
        .set_function(main)
        .set_extra(&ticket.to_extra())
        .set_notify_pid(i32::try_from(std::process::id()).ok()?)
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(None)
        .load_dynamic()
        .ok()
}

#[expect(unsafe_code, reason = "the postmaster finds the function by its name")]
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn supabase_mcp_gateway_main(_argument: pg_sys::Datum) {
    gateway::main()
}

#[expect(unsafe_code, reason = "the postmaster finds the function by its name")]
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn supabase_mcp_executor_main(_argument: pg_sys::Datum) {
    executor::main()
}

#[expect(unsafe_code, reason = "the postmaster finds the function by its name")]
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn supabase_mcp_keeper_main(_argument: pg_sys::Datum) {
    keeper::main()
}

#[expect(unsafe_code, reason = "the postmaster finds the function by its name")]
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn supabase_mcp_errand_main(_argument: pg_sys::Datum) {
    errand::main()
}
