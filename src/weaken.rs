//! Switches that take one defence out, so that a test can show what the defence is for.
//!
//! Exists only in builds with the cargo feature `weaken`, which are never released. Without the feature `off` is a constant
//! `false` and the compiler removes the branch; with it, the setting `supabase_mcp.weaken` lists the defences to leave out. Runs in every
//! process that loads the library.

/// Whether the named defence is to be left out.
#[cfg(not(feature = "weaken"))]
#[inline(always)]
pub const fn off(_defence: &str) -> bool {
    false
}

#[cfg(feature = "weaken")]
mod switch {
    use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
    use std::ffi::CString;

    static WEAKEN: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

    /// Whether the named defence is to be left out.
    pub fn off(defence: &str) -> bool {
        WEAKEN.get().is_some_and(|list| list.to_string_lossy().split(',').any(|word| word.trim() == defence))
    }

    /// Called once from `_PG_init`.
    pub fn define() {
        GucRegistry::define_string_guc(
            c"supabase_mcp.weaken",
            c"Defences that this test build leaves out, separated by commas.",
            c"",
            &WEAKEN,
            GucContext::Sighup,
            GucFlags::default(),
        );
    }
}

#[cfg(feature = "weaken")]
pub use switch::{define, off};
