//! What OAuth clients are told about this server: where its tokens come from (RFC 9728), and what a refused one lacked (RFC 6750).
//!
//! Pure. This server is a protected resource and nothing else: it issues no tokens and asks no authorization server anything. As long as
//! no issuer is set it says none of this, because some clients stop using a token of their own as soon as they see OAuth.

use http::{HeaderValue, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::Config;

pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// What needs no escape in a path.
const PATH: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The path of a database's endpoint here.
pub fn path(config: &Config, database: &str) -> String {
    if database == config.database { "/mcp".into() } else { format!("/mcp/{}", utf8_percent_encode(database, &PATH)) }
}

/// The public URLs of a database's endpoint, the usual one first: what a token for it may name as its audience.
pub fn resources(config: &Config, database: &str) -> Vec<String> {
    let Some(resource) = &config.jwt.oauth.resource else { return Vec::new() };
    let own = format!("{resource}/{}", utf8_percent_encode(database, &PATH));
    if database == config.database { vec![resource.clone(), own] } else { vec![own] }
}

/// Why clients are not told of the issuer that is set; `None`: they are, or there is none.
pub fn complaint(config: &Config) -> Option<&'static str> {
    let oauth = &config.jwt.oauth;
    oauth.issuer.as_ref()?;
    if !config.jwt.is_on() {
        return Some("no JSON Web Token is accepted (supabase_mcp.jwt_roles, and a key)");
    }
    match &oauth.resource {
        None => Some("supabase_mcp.oauth_resource, the public URL of /mcp, is empty"),
        Some(resource) if split(resource).is_none() => {
            Some("supabase_mcp.oauth_resource is not an http or https URL with a host, and without a query")
        }
        Some(_) => None,
    }
}

/// Origin and path of the public URL.
fn split(resource: &str) -> Option<(&str, &str)> {
    let uri: Uri = resource.parse().ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some() && uri.query().is_none();
    let plain = resource.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'#'));
    let path = if uri.path() == "/" { "" } else { uri.path() };
    let origin = resource.strip_suffix(path)?;
    (known && plain).then(|| resource.split_at(origin.len()))
}

/// The public URL, if clients are to be told of the issuer.
fn announced(config: &Config) -> Option<(&str, &str)> {
    let oauth = &config.jwt.oauth;
    if oauth.issuer.is_none() || complaint(config).is_some() {
        return None;
    }
    split(oauth.resource.as_deref()?)
}

fn scopes(config: &Config) -> Vec<&str> {
    config.jwt.oauth.scopes.iter().flatten().map(|scope| scope.name.as_str()).collect()
}

/// The metadata document behind a path. `database` reads a local path.
pub fn metadata(path: &str, config: &Config, database: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (_, public) = announced(config)?;
    let rest = path.strip_prefix(WELL_KNOWN)?;
    // A proxy may pass the public path on, or the one that it stands for.
    let beyond = rest.strip_prefix(public).filter(|beyond| beyond.is_empty() || beyond.starts_with('/'));
    let name = match (rest, beyond) {
        ("" | "/", _) => config.database.clone(),
        (_, Some(beyond)) if !public.is_empty() => database(&format!("/mcp{beyond}"))?,
        _ => database(rest)?,
    };
    let document = serde_json::json!({
        "resource": resources(config, &name).into_iter().next()?,
        "authorization_servers": [config.jwt.oauth.issuer],
        "bearer_methods_supported": ["header"],
        "scopes_supported": scopes(config),
        "resource_name": format!("PostgreSQL database {name}"),
    });
    Some(document.to_string())
}

/// The challenge of a 401 or 403. `error`: what RFC 6750 calls the fault of the token that was shown.
pub fn challenge(config: &Config, database: &str, error: Option<&'static str>) -> HeaderValue {
    let mut text = "Bearer realm=\"supabase_mcp\"".to_string();
    if let Some((origin, public)) = announced(config) {
        if let Some(error) = error {
            text.push_str(&format!(", error=\"{error}\""));
        }
        let rest = if database == config.database { String::new() } else { format!("/{}", utf8_percent_encode(database, &PATH)) };
        text.push_str(&format!(", resource_metadata=\"{origin}{WELL_KNOWN}{public}{rest}\""));
        let scopes = scopes(config);
        if !scopes.is_empty() {
            text.push_str(&format!(", scope=\"{}\"", scopes.join(" ")));
        }
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer realm=\"supabase_mcp\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::jwt::{Scope, Secret};

    fn with_oauth() -> Config {
        let mut config = Config::default();
        config.jwt.roles = vec!["authenticated".into()];
        config.jwt.sources.secret = Some(Secret("s".repeat(32)));
        config.jwt.oauth.issuer = Some("https://auth.example/auth/v1".into());
        config.jwt.oauth.resource = Some("https://db.example/pg/mcp".into());
        config.jwt.oauth.scopes = Some(vec![Scope::parse("email=*").unwrap(), Scope::parse("openid=*/read_only").unwrap()]);
        config
    }

    fn resource_at(path: &str, config: &Config) -> Option<String> {
        let database = |path: &str| match path {
            "/mcp" => Some("postgres".into()),
            _ => path.strip_prefix("/mcp/").map(str::to_string),
        };
        let document: serde_json::Value = serde_json::from_str(&metadata(&format!("{WELL_KNOWN}{path}"), config, database)?).unwrap();
        assert_eq!(document["authorization_servers"], serde_json::json!(["https://auth.example/auth/v1"]));
        Some(document["resource"].as_str().unwrap().into())
    }

    #[test]
    fn nothing_is_said_without_an_issuer_a_resource_and_a_way_to_verify() {
        for spoil in [
            |c: &mut Config| c.jwt.oauth.issuer = None,
            |c: &mut Config| c.jwt.oauth.resource = None,
            |c: &mut Config| c.jwt.oauth.resource = Some("/mcp".into()),
            |c: &mut Config| c.jwt.oauth.resource = Some("https://db.example/mcp?x=1".into()),
            |c: &mut Config| c.jwt.roles.clear(),
            |c: &mut Config| c.jwt.sources.secret = None,
        ] {
            let mut config = with_oauth();
            spoil(&mut config);
            assert_eq!(resource_at("", &config), None);
            assert_eq!(challenge(&config, "postgres", Some("invalid_token")), "Bearer realm=\"supabase_mcp\"");
            assert_eq!(complaint(&config).is_some(), config.jwt.oauth.issuer.is_some());
        }
    }

    #[test]
    fn each_database_is_a_resource_of_its_own() {
        let config = with_oauth();
        let url = |path: &str| resource_at(path, &config);
        for path in ["", "/", "/mcp", "/pg/mcp"] {
            assert_eq!(url(path).as_deref(), Some("https://db.example/pg/mcp"), "{path}");
        }
        for path in ["/mcp/shop", "/pg/mcp/shop"] {
            assert_eq!(url(path).as_deref(), Some("https://db.example/pg/mcp/shop"), "{path}");
        }
        for path in ["x", "/other", "/pg/mcpx"] {
            assert_eq!(url(path), None, "{path}");
        }
        assert_eq!(resources(&config, "postgres"), ["https://db.example/pg/mcp", "https://db.example/pg/mcp/postgres"]);
        assert_eq!(resources(&config, "a b"), ["https://db.example/pg/mcp/a%20b"]);
    }

    #[test]
    fn the_challenge_leads_to_the_metadata() {
        let config = with_oauth();
        assert_eq!(
            challenge(&config, "shop", Some("insufficient_scope")),
            "Bearer realm=\"supabase_mcp\", error=\"insufficient_scope\", \
             resource_metadata=\"https://db.example/.well-known/oauth-protected-resource/pg/mcp/shop\", scope=\"email openid\""
        );
        assert!(!challenge(&config, "postgres", None).to_str().unwrap().contains("error"));
    }
}
