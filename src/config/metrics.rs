//! The setting that puts the statistics at `/metrics`.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

static METRICS: GucSetting<bool> = GucSetting::<bool>::new(false);

pub fn define() {
    GucRegistry::define_bool_guc(
        c"supabase_mcp.metrics",
        c"Serves the statistics at /metrics, in the OpenMetrics format.",
        c"To every process of this machine; callers from elsewhere need a credential.",
        &METRICS,
        GucContext::Sighup,
        GucFlags::default(),
    );
}

pub fn are_served() -> bool {
    METRICS.get()
}
