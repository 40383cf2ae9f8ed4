//! The settings about JSON Web Tokens and OAuth.
//!
//! Defined in every process, read by the gateway alone. Keys are shown to nobody, not even to a superuser by mistake: `SHOW` says that
//! there is a setting, `pg_settings` leaves it out.

use std::ffi::CString;
use std::path::PathBuf;

use mcp::jwt::{Jwt, KeySources, Oauth, Scope, Secret};
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use super::{list, time, word};
use crate::pg::guc;

static SECRET: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static SECRET_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static JWKS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static JWKS_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static ISSUERS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static AUDIENCES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static CLIENT_IDS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static ROLES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static LEEWAY: GucSetting<i32> = GucSetting::<i32>::new(30_000);
static OAUTH_ISSUER: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static OAUTH_RESOURCE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static OAUTH_SCOPES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

const MAX_LEEWAY_MS: i32 = 60_000;

pub fn define() {
    let text =
        |name, short, long, setting| GucRegistry::define_string_guc(name, short, long, setting, GucContext::Sighup, GucFlags::default());
    guc::define_hidden(
        c"supabase_mcp.jwt_secret",
        c"Sets the secret of JSON Web Tokens that are signed with HS256.",
        c"At least 32 bytes. The setting jwt_secret_file keeps it out of the configuration.",
        &SECRET,
    );
    text(
        c"supabase_mcp.jwt_secret_file",
        c"Sets the file that holds the secret of JSON Web Tokens that are signed with HS256.",
        c"A relative name is one in the data directory.",
        &SECRET_FILE,
    );
    guc::define_hidden(
        c"supabase_mcp.jwt_jwks",
        c"Sets the public keys of JSON Web Tokens that are signed with ES256, RS256 or EdDSA.",
        c"A JWKS, the JSON that an issuer publishes.",
        &JWKS,
    );
    text(
        c"supabase_mcp.jwt_jwks_file",
        c"Sets the file that holds the public keys of JSON Web Tokens.",
        c"It is read again when it changes. A relative name is one in the data directory.",
        &JWKS_FILE,
    );
    text(
        c"supabase_mcp.jwt_issuers",
        c"Sets the issuers (iss) whose JSON Web Tokens are taken.",
        c"A comma-separated list besides supabase_mcp.oauth_issuer; if both are empty, any.",
        &ISSUERS,
    );
    text(
        c"supabase_mcp.jwt_audiences",
        c"Sets the audiences (aud) for which JSON Web Tokens are taken.",
        c"A comma-separated list besides supabase_mcp.oauth_resource; - is a token without one.",
        &AUDIENCES,
    );
    text(
        c"supabase_mcp.jwt_client_ids",
        c"Sets the OAuth clients (client_id) whose JSON Web Tokens are taken.",
        c"A comma-separated list; - is a token without one, and empty is any.",
        &CLIENT_IDS,
    );
    text(
        c"supabase_mcp.jwt_roles",
        c"Sets the roles that a JSON Web Token may stand for.",
        c"A comma-separated list; empty: no such token is taken.",
        &ROLES,
    );
    GucRegistry::define_int_guc(
        c"supabase_mcp.jwt_leeway",
        c"Sets how far the clocks of an issuer and of this server may be apart.",
        c"",
        &LEEWAY,
        0,
        MAX_LEEWAY_MS,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    text(
        c"supabase_mcp.oauth_issuer",
        c"Sets the OAuth authorization server that clients are sent to for tokens.",
        c"Empty: clients are told nothing of OAuth.",
        &OAUTH_ISSUER,
    );
    text(
        c"supabase_mcp.oauth_resource",
        c"Sets the public URL of /mcp, as OAuth clients know it.",
        c"Tokens may name it as their audience.",
        &OAUTH_RESOURCE,
    );
    text(
        c"supabase_mcp.oauth_scopes",
        c"Sets the scopes that tokens of supabase_mcp.oauth_issuer need one of, and the role that each gives.",
        c"A comma-separated list of scope=role or scope=* (the role that the token names), each with /read_only or without.",
        &OAUTH_SCOPES,
    );
}

pub fn rules() -> Jwt {
    Jwt {
        sources: KeySources {
            secret: word(&SECRET).map(Secret),
            secret_file: word(&SECRET_FILE).map(PathBuf::from),
            jwks: word(&JWKS).map(Secret),
            jwks_file: word(&JWKS_FILE).map(PathBuf::from),
        },
        issuers: list(&ISSUERS),
        audiences: list(&AUDIENCES),
        client_ids: list(&CLIENT_IDS),
        roles: list(&ROLES),
        leeway: time(&LEEWAY),
        oauth: Oauth {
            issuer: word(&OAUTH_ISSUER),
            resource: word(&OAUTH_RESOURCE).map(|url| url.trim_end_matches('/').to_string()),
            scopes: word(&OAUTH_SCOPES).map(|_| scopes()),
        },
    }
}

/// What cannot be read gives nobody anything.
fn scopes() -> Vec<Scope> {
    let read = |entry: String| {
        let scope = Scope::parse(&entry);
        if scope.is_none() {
            pgrx::warning!("supabase_mcp: supabase_mcp.oauth_scopes: \"{entry}\" is not scope=role, and is left out");
        }
        scope
    };
    list(&OAUTH_SCOPES).into_iter().filter_map(read).collect()
}
