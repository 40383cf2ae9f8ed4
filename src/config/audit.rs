//! The settings of the audit trail.
//!
//! Part of `config`: the gateway reads most of them on its main thread. What of a call's values is recorded is read in an executor that has become its
//! role, so `ALTER DATABASE` and `ALTER ROLE ... SET` count.

use mcp::audit::Settings;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};

/// What becomes of the values in recorded arguments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PostgresGucEnum)]
pub enum Literals {
    /// They stay, but for those of secret arguments.
    #[default]
    #[name = c"keep"]
    Keep,
    /// Each is replaced by its hash: constants of SQL texts, all values of other arguments.
    #[name = c"hash"]
    Hash,
}

/// Whether a call that only reads waits for its record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PostgresGucEnum)]
enum Reads {
    #[default]
    #[name = c"batch"]
    Batch,
    #[name = c"sync"]
    Sync,
}

static ON: GucSetting<bool> = GucSetting::<bool>::new(true);
static READS: GucSetting<Reads> = GucSetting::<Reads>::new(Reads::Batch);
static TEXT_BYTES: GucSetting<i32> = GucSetting::<i32>::new(8192);
static SEAL_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(1000);
static LITERALS: GucSetting<Literals> = GucSetting::<Literals>::new(Literals::Keep);

pub fn define() {
    use GucContext::Sighup;
    GucRegistry::define_bool_guc(
        c"supabase_mcp.audit",
        c"Records every call in the audit trail of its database.",
        c"Off: calls leave no record, and those that write do not wait for one.",
        &ON,
        Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"supabase_mcp.audit_reads",
        c"Sets whether a call that only reads waits for its record.",
        c"batch: records are written within 200 ms, as a rule. sync: the answer waits, and no call begins while the trail cannot be written.",
        &READS,
        Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"supabase_mcp.audit_text_bytes",
        c"Sets the longest arguments of a call, SQL text included, that the audit trail keeps.",
        c"Of longer ones the beginning, the length and a digest are kept.",
        &TEXT_BYTES,
        0,
        1024 * 1024,
        Sighup,
        GucFlags::UNIT_BYTE,
    );
    GucRegistry::define_enum_guc(
        c"supabase_mcp.audit_literals",
        c"Sets whether values in recorded arguments are kept or replaced by their hash.",
        c"Values of arguments that are marked secret are replaced either way. Only superusers can change it.",
        &LITERALS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"supabase_mcp.audit_seal_interval",
        c"Sets how often new rows of the audit trail are sealed.",
        c"",
        &SEAL_INTERVAL,
        100,
        3_600_000,
        Sighup,
        GucFlags::UNIT_MS,
    );
}

pub fn settings() -> Settings {
    Settings {
        on: ON.get(),
        reads_wait: READS.get() == Reads::Sync,
        text_bytes: super::size(&TEXT_BYTES),
        seal_every: super::time(&SEAL_INTERVAL),
    }
}

/// Of the role that this process runs as.
pub fn literals() -> Literals {
    LITERALS.get()
}
