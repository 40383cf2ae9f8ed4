//! What an administrator said about JSON Web Tokens, as plain data.

use std::path::PathBuf;
use std::time::Duration;

use crate::query;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Where keys come from. All of them count, so that a key can be changed without a moment in which neither the old nor the new is good.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeySources {
    pub secret: Option<Secret>,
    pub secret_file: Option<PathBuf>,
    /// May hold private keys by mistake, so it is as secret.
    pub jwks: Option<Secret>,
    pub jwks_file: Option<PathBuf>,
}

impl KeySources {
    pub fn is_empty(&self) -> bool {
        *self == KeySources::default()
    }

    pub fn has_files(&self) -> bool {
        self.secret_file.is_some() || self.jwks_file.is_some()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Jwt {
    pub sources: KeySources,
    /// Accepted values of `iss`; empty: any.
    pub issuers: Vec<String>,
    /// Accepted values of `aud`; `-` stands for a token without one.
    pub audiences: Vec<String>,
    /// Accepted values of `client_id`; empty: any; `-` stands for a token without one.
    pub client_ids: Vec<String>,
    /// The roles that a token may stand for; empty: no token is taken.
    pub roles: Vec<String>,
    /// How far the clocks of issuer and server may be apart.
    pub leeway: Duration,
    pub oauth: Oauth,
}

impl Jwt {
    /// Whether a bearer credential of that shape is looked at as a JSON Web Token.
    pub fn is_on(&self) -> bool {
        !self.roles.is_empty() && !self.sources.is_empty()
    }
}

/// The authorization server whose tokens clients are to bring.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Oauth {
    pub issuer: Option<String>,
    /// Public URL of `/mcp` of this server, without a slash at its end.
    pub resource: Option<String>,
    /// What the issuer's tokens must carry one of. `None`: nothing; an empty list: what no token can have.
    pub scopes: Option<Vec<Scope>>,
}

/// `scope=role` or `scope=*`, either with `/read_only` and `/features:database+docs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub name: String,
    /// `None`: the role that the token itself names.
    pub role: Option<String>,
    pub read_only: bool,
    /// The toolset that it stands for; `None`: any.
    pub features: Option<Vec<String>>,
}

impl Scope {
    pub fn parse(text: &str) -> Option<Scope> {
        // The last one: a scope may have such a sign in it, being a URL as often as not.
        let (name, role) = text.rsplit_once('=')?;
        let (mut role, mut read_only, mut features) = (role, false, None);
        while let Some((rest, option)) = role.rsplit_once('/') {
            if option == "read_only" {
                read_only = true;
            } else if let Some(list) = option.strip_prefix("features:") {
                features = query::features(&list.replace('+', ",")).ok()?;
            } else {
                break;
            }
            role = rest;
        }
        let (name, role) = (name.trim(), role.trim());
        // The characters that a scope may have (RFC 6749); they go into a quoted string of a header.
        let in_header = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        if name.is_empty() || role.is_empty() || !name.chars().all(in_header) {
            return None;
        }
        Some(Scope { name: name.into(), role: (role != "*").then(|| role.into()), read_only, features })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read() {
        let scope = |name: &str, role: Option<&str>, read_only| {
            Some(Scope { name: name.into(), role: role.map(str::to_string), read_only, features: None })
        };
        assert_eq!(Scope::parse("db:read=*/read_only"), scope("db:read", None, true));
        assert_eq!(Scope::parse("db:write=writer"), scope("db:write", Some("writer"), false));
        assert_eq!(Scope::parse("https://x.example/s?a=b=writer"), scope("https://x.example/s?a=b", Some("writer"), false));
        let docs = Scope::parse("db:docs=*/read_only/features:docs+database").unwrap();
        assert!(docs.read_only && docs.features == Some(vec!["docs".into(), "database".into()]));
        assert_eq!(Scope::parse("db=*/features:docs").unwrap().role, None);
        for wrong in ["db=*/features:a b", "", "read", "=role", "read=", "read=/read_only", "a b=role", "a\"=role"] {
            assert_eq!(Scope::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let sources = KeySources { secret: Some(Secret("hush".into())), ..KeySources::default() };
        assert!(!format!("{sources:?}").contains("hush"));
    }
}
