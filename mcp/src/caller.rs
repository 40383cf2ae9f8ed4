//! Who is calling: the credential as it came in, and the principal that it turned out to be. Plain data, no decisions.

use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use crate::limits::Limit;
use crate::types::{About, Form};

/// Where a connection comes from, as far as rules depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The Unix socket.
    Unix,
    /// TCP from this machine.
    Loopback,
    /// TCP from elsewhere.
    Remote,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// The operating system vouches for the user at the other end of the Unix socket.
    Peer {
        uid: u32,
    },
    /// SHA-256 of a bearer token; the token itself is forgotten at once.
    Token {
        digest: [u8; 32],
    },
    /// A signed token, of which everything has to be found out. Never logged.
    Jwt {
        text: Arc<str>,
    },
    Password {
        role: String,
        password: String,
    },
    /// Nothing was shown.
    Nothing,
}

impl Credential {
    pub fn token(text: &str) -> Credential {
        Credential::Token { digest: Sha256::digest(text.as_bytes()).into() }
    }
}

/// One caller of one database; every call of a connection or of a request carries it.
#[derive(Clone)]
pub struct Caller {
    pub credential: Credential,
    pub database: Arc<str>,
    pub network: Network,
    /// Key of the back-off: the address or the user that failed attempts are counted for.
    pub origin: Arc<str>,
    /// The URL asks for read-only calls.
    pub read_only: bool,
    /// The toolset that the URL asks for.
    pub features: Option<Arc<[String]>>,
    /// The client was made for Supabase's hosted server and reads its texts.
    pub supabase_texts: bool,
    /// Headers of the HTTP request as a JSON object, without credentials; only for those whose policies may ask for them.
    pub headers: Option<Arc<str>>,
    /// What `logins` knows this caller by, worked out at its first call. Whoever changes one of the first three fields makes a new caller.
    pub key: OnceLock<[u8; 32]>,
}

/// What a credential stands for, as the keeper answered it.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// What executors are kept apart by: `about.principal`, to be shared.
    pub id: Arc<str>,
    /// What else is known of the caller.
    pub about: Arc<About>,
    pub database: u32,
    pub role: u32,
    /// The role that its processes connect as: itself, or the bridge role.
    pub login: u32,
    pub role_name: Arc<str>,
    pub form: Form,
    pub read_only: bool,
    /// The database does not take every character.
    pub ascii: bool,
    /// The toolset that the credential is kept to.
    pub features: Option<Vec<String>>,
    /// Seconds since 1970 after which the credential or the role is no longer good.
    pub until: Option<f64>,
    /// `CONNECTION LIMIT` of the role; `None`: no limit.
    pub connection_limit: Option<usize>,
    /// Number of the token, if it is one.
    pub token: Option<i64>,
    /// The rows of mcp._limits that fit.
    pub limits: Vec<Limit>,
}

/// A principal, and the moment of the gateway's order of events at which that was true.
#[derive(Debug, Clone)]
pub struct Login {
    pub principal: Arc<Principal>,
    pub verified_at: u64,
}
