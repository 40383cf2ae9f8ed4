//! The settings that say what clients are offered. SQL functions read them, in an executor that has become its role, so `ALTER DATABASE` and
//! `ALTER ROLE ... SET` count; nothing in Rust does.

use std::ffi::CString;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

static FEATURES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"database,debugging,development,docs,custom"));
static PROJECT_URL: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static PUBLISHABLE_KEYS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

pub fn define() {
    let text =
        |name, short, long, setting| GucRegistry::define_string_guc(name, short, long, setting, GucContext::Suset, GucFlags::default());
    text(
        c"supabase_mcp.features",
        c"Sets the features whose tools are listed to clients that ask for none.",
        c"A comma-separated list; all stands for every one. A token or a URL may say otherwise.",
        &FEATURES,
    );
    text(
        c"supabase_mcp.project_url",
        c"Sets the URL of the API that serves this database, for the tool get_project_url.",
        c"Such as https://api.example.org, where Supabase's client library is to connect to.",
        &PROJECT_URL,
    );
    text(
        c"supabase_mcp.publishable_keys",
        c"Sets the API keys that may be shown to anybody, for the tool get_publishable_keys.",
        c"One key, or a JSON array of objects with api_key, name and type. Never a secret key.",
        &PUBLISHABLE_KEYS,
    );
}
