//! One token: signature, times, issuer, audience, client, scope, role. Pure; the time of day comes from the caller.
//!
//! Nothing of a token is believed, or repeated in a message, before its signature is found good. Algorithms are those of keys: the
//! token's own word only picks among them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, crypto};
use serde_json::{Map, Value};

use super::keys::KeySet;
use super::settings::Jwt;
use super::strict;
use crate::error::{CallError, Kind};

/// Longest token that is looked at, in bytes.
const LONGEST: usize = 8 * 1024;
/// Stands for "none at all" in the lists of the settings.
const NONE: &str = "-";
/// Postgres' own limit of names.
const NAME_BYTES: usize = 63;

#[derive(Debug)]
pub struct Verified {
    pub role: String,
    pub principal: String,
    pub subject: Option<String>,
    pub read_only: bool,
    /// The toolset that its scope stands for.
    pub features: Option<Vec<String>>,
    /// Seconds since 1970, the leeway included.
    pub until: f64,
    /// Settings that policies read, after PostgREST.
    pub settings: BTreeMap<String, String>,
}

#[derive(Debug)]
pub enum Refusal {
    /// Not to be believed; says why.
    Invalid(String),
    /// To be believed, and not served.
    Denied(Box<CallError>),
    /// To be believed, and without a scope that is needed.
    Scope(Box<CallError>),
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Invalid(message.into()))
}

/// What the token stands for. `resources` are the URLs that this endpoint goes by, which are audiences besides those of the settings.
pub fn verify(text: &str, keys: &KeySet, rules: &Jwt, resources: &[String], now: f64) -> Result<Verified, Refusal> {
    let payload = signed_payload(text, keys)?;
    let claims = strict::object(&payload).map_err(|why| Refusal::Invalid(format!("the claims of the token are {why}")))?;
    let until = check_times(&claims, rules, now)?;
    check_issuer(&claims, rules)?;
    check_audience(&claims, rules, resources)?;
    check_client(&claims, rules)?;
    let Granted { role, read_only, features } = role(&claims, rules)?;
    // A string is valid UTF-8, so is the JSON that the strict reader took.
    let Ok(raw) = String::from_utf8(payload) else { return invalid("the claims of the token are not UTF-8") };
    let subject = text_of(&claims, "sub")?.map(str::to_string);
    let issuer = text_of(&claims, "iss")?.unwrap_or_default();
    let principal = format!("jwt:{issuer}:{}", subject.as_deref().unwrap_or_default());
    Ok(Verified { role, principal, subject, read_only, features, until, settings: settings(&claims, raw) })
}

/// Whether a bearer credential has the shape of a signed token.
pub fn has_shape(text: &str) -> bool {
    text.bytes().filter(|b| *b == b'.').count() == 2
}

/// The bytes that were signed.
fn signed_payload(text: &str, keys: &KeySet) -> Result<Vec<u8>, Refusal> {
    if text.len() > LONGEST {
        return invalid(format!("the token is longer than {LONGEST} bytes"));
    }
    let broken = || Refusal::Invalid("the token is not a JSON Web Token in its compact form".into());
    let (message, signature) = text.rsplit_once('.').ok_or_else(broken)?;
    let (header, payload) = message.split_once('.').ok_or_else(broken)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| broken());
    let header = strict::object(&decode(header)?).map_err(|why| Refusal::Invalid(format!("the header of the token is {why}")))?;
    let payload = decode(payload)?;
    let algorithm = match header.get("alg").and_then(Value::as_str) {
        Some("HS256") => Algorithm::HS256,
        Some("ES256") => Algorithm::ES256,
        Some("RS256") => Algorithm::RS256,
        Some("EdDSA") => Algorithm::EdDSA,
        _ => return invalid("the token's algorithm is none of HS256, ES256, RS256, EdDSA"),
    };
    if header.contains_key("crit") {
        return invalid("the token demands extensions (crit) that are not known here");
    }
    let kind = |value: &Value| value.as_str().map(|t| t.to_ascii_lowercase()).unwrap_or_default();
    if header.get("typ").is_some_and(|typ| !matches!(kind(typ).trim_start_matches("application/"), "jwt" | "at+jwt")) {
        return invalid("the token is of another type (typ) than an access token");
    }
    let id = match header.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.as_str()),
        Some(_) => return invalid("the token's key id (kid) is no text"),
    };
    let mut tried = 0;
    for key in keys.candidates(algorithm, id) {
        tried += 1;
        if crypto::verify(signature, message.as_bytes(), &key.key, algorithm).unwrap_or(false) {
            return Ok(payload);
        }
    }
    if tried == 0 { invalid("the token is signed with a key that is not known here") } else { invalid("the token's signature is wrong") }
}

/// Returns when the token ends.
fn check_times(claims: &Map<String, Value>, rules: &Jwt, now: f64) -> Result<f64, Refusal> {
    let leeway = rules.leeway.as_secs_f64();
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64().filter(|t| t.is_finite()) {
            Some(time) => Ok(Some(time)),
            None => invalid(format!("the token's {name} is no number")),
        },
    };
    let Some(expires) = time("exp")? else { return invalid("the token has no time of expiry (exp)") };
    let until = expires + leeway;
    if now >= until {
        return invalid("the token has expired");
    }
    if time("nbf")?.is_some_and(|from| now < from - leeway) {
        return invalid("the token is not valid yet (nbf)");
    }
    if time("iat")?.is_some_and(|at| now < at - leeway) {
        return invalid("the token was issued in the future (iat); the clocks may differ by supabase_mcp.jwt_leeway");
    }
    Ok(until)
}

fn text_of<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => invalid(format!("the token's {name} is no text")),
    }
}

fn check_issuer(claims: &Map<String, Value>, rules: &Jwt) -> Result<(), Refusal> {
    let issuer = text_of(claims, "iss")?;
    let mut known = rules.issuers.iter().chain(&rules.oauth.issuer).peekable();
    if known.peek().is_none() || known.any(|k| Some(k.as_str()) == issuer) {
        return Ok(());
    }
    invalid("the token is of an issuer (iss) that is not accepted here")
}

fn check_audience(claims: &Map<String, Value>, rules: &Jwt, resources: &[String]) -> Result<(), Refusal> {
    let wrong = || invalid("the token is meant for somebody else: its audience (aud) is not accepted here");
    let audiences: Vec<&str> = match claims.get("aud") {
        None | Some(Value::Null) => {
            let free = rules.audiences.is_empty() && resources.is_empty();
            return if free || rules.audiences.iter().any(|a| a == NONE) { Ok(()) } else { invalid("the token has no audience (aud)") };
        }
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => match many.iter().map(Value::as_str).collect() {
            Some(many) => many,
            None => return wrong(),
        },
        Some(_) => return wrong(),
    };
    let known = |a: &&str| rules.audiences.iter().any(|k| k == a && k != NONE) || resources.iter().any(|r| r == a);
    if audiences.iter().any(known) { Ok(()) } else { wrong() }
}

fn check_client(claims: &Map<String, Value>, rules: &Jwt) -> Result<(), Refusal> {
    let client = text_of(claims, "client_id")?.filter(|c| *c != NONE);
    if rules.client_ids.is_empty() || rules.client_ids.iter().any(|known| known == client.unwrap_or(NONE)) {
        return Ok(());
    }
    let error = CallError::new(Kind::Denied, "the client that the token was made for (client_id) is not served")
        .sqlstate("28000")
        .hint("An administrator can add it to supabase_mcp.jwt_client_ids.");
    Err(Refusal::Denied(Box::new(error)))
}

/// What a token may do, by its role and its scopes.
struct Granted {
    role: String,
    read_only: bool,
    features: Option<Vec<String>>,
}

fn role(claims: &Map<String, Value>, rules: &Jwt) -> Result<Granted, Refusal> {
    let named = text_of(claims, "role")?;
    let (role, read_only, features) = match &rules.oauth.scopes {
        Some(wanted) if rules.oauth.issuer.is_some() && text_of(claims, "iss")? == rules.oauth.issuer.as_deref() => {
            let has = scopes(claims);
            match wanted.iter().find(|scope| has.contains(&scope.name.as_str())) {
                Some(scope) => (scope.role.as_deref().or(named), scope.read_only, scope.features.clone()),
                None => {
                    let names: Vec<&str> = wanted.iter().map(|scope| scope.name.as_str()).collect();
                    let error = CallError::new(Kind::Denied, "the token has none of the scopes that are needed here")
                        .sqlstate("28000")
                        .hint(format!("Ask the authorization server for one of: {}", names.join(" ")));
                    return Err(Refusal::Scope(Box::new(error)));
                }
            }
        }
        _ => (named, false, None),
    };
    let Some(role) = role else { return invalid("the token names no role (role)") };
    if rules.roles.iter().any(|known| known == role) {
        return Ok(Granted { role: role.into(), read_only, features });
    }
    let shown: String = role.chars().take(NAME_BYTES).collect();
    let error = CallError::new(Kind::Denied, format!("role \"{shown}\" is not served to callers with a JSON Web Token"))
        .sqlstate("28000")
        .hint("An administrator can add it to supabase_mcp.jwt_roles.");
    Err(Refusal::Denied(Box::new(error)))
}

/// `scope` (RFC 9068) or `scp`, as words in one text or as a list.
fn scopes(claims: &Map<String, Value>) -> Vec<&str> {
    match claims.get("scope").or_else(|| claims.get("scp")) {
        Some(Value::String(text)) => text.split(' ').collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What PostgREST sets: all claims as they came, and each by its name.
fn settings(claims: &Map<String, Value>, raw: String) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::from([("request.jwt.claims".to_string(), raw)]);
    for (name, value) in claims.iter().filter(|(name, _)| is_identifier(name)) {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        settings.insert(format!("request.jwt.claim.{name}"), text);
    }
    settings
}

/// What can be the name of a setting.
fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && name.len() <= NAME_BYTES
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
