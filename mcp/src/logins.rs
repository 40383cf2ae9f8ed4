//! From a credential to a principal: the one place that decides which role a caller is.
//!
//! Runs on the gateway's runtime thread. The facts come from the keeper; the rules are here. A success is kept for a minute at the
//! most, and only as long as no executor reports that roles, tokens or peers changed; a failure is never kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::caller::{Caller, Credential, Login, Network, Principal};
use crate::config::Config;
use crate::error::{CallError, Kind};
use crate::host::Host;
use crate::jwt::{self, Refusal};
use crate::keepers::{Facts, Keepers};
use crate::text::hex;
use crate::types::{About, Form};
use crate::{oauth, os_user, scram};

const KEEP: Duration = Duration::from_secs(60);
/// Logins kept at once; a flood of valid credentials empties the memory rather than growing it.
const KEPT: usize = 10_000;
/// Passwords that are checked at the same time: each costs milliseconds of a core.
const PASSWORD_CHECKS: usize = 2;
/// Callers that are in back-off at the same time; beyond it the memory is emptied.
const FAILURES: usize = 10_000;
const MAX_BACK_OFF: Duration = Duration::from_secs(2);
/// A login is looked at again, because a limit stands against its call, this often at the most.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub enum LoginError {
    /// 401: the credential is missing or stands for nobody.
    Unknown(String),
    /// 403: the credential is good, and lacks a scope that it could have been given.
    Scope(Box<CallError>),
    /// The credential is good, what it stands for is not served.
    Refused(Box<CallError>),
}

impl From<CallError> for LoginError {
    fn from(error: CallError) -> Self {
        LoginError::Refused(Box::new(error))
    }
}

struct Kept {
    login: Login,
    since: Instant,
    /// Somebody is at `look_again` until then.
    looked_at_until: Instant,
}

pub struct Logins {
    keepers: Arc<Keepers>,
    jwt_keys: jwt::Store,
    kept: Mutex<HashMap<[u8; 32], Kept>>,
    /// When a caller who had been somebody was last found to be nobody any more.
    refused_at: AtomicU64,
    failures: Mutex<HashMap<Arc<str>, (u32, Instant)>>,
    checks: Arc<Semaphore>,
    /// Key of the cache's own hashes, so that a dump of memory holds no plain hash of a password; as the hash's state after it, which saves
    /// half of the work per call.
    secret: Hmac<Sha256>,
}

impl Logins {
    pub fn new(keepers: Arc<Keepers>, host: Arc<dyn Host>) -> Option<Logins> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).ok()?;
        let secret = Hmac::new_from_slice(&secret).ok()?;
        Some(Logins {
            keepers,
            jwt_keys: jwt::Store::new(host),
            kept: Mutex::default(),
            refused_at: AtomicU64::new(0),
            failures: Mutex::default(),
            checks: Arc::new(Semaphore::new(PASSWORD_CHECKS)),
            secret,
        })
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<[u8; 32], Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets every success: the rules may have changed.
    pub fn forget(&self) {
        self.kept().clear();
    }

    /// Reads the keys of JSON Web Tokens, so that what is wrong with them is said now and not at the first token.
    pub async fn read_keys(&self, config: &Config) {
        self.jwt_keys.current(&config.jwt.sources).await;
    }

    /// The principal behind a caller, from memory if it was seen lately.
    pub async fn login(&self, caller: &Caller, config: &Config) -> Result<Login, LoginError> {
        let key = self.key(caller, config).await;
        let known = self.kept().get(&key).filter(|k| k.since.elapsed() < KEEP).map(|k| k.login.clone());
        match known {
            Some(login) if still_good(&login.principal) => Ok(login),
            // Rare, and its state is large: boxed, it is no part of every call's.
            _ => Box::pin(self.look_up(caller, config)).await,
        }
    }

    /// The principal behind a caller, asked anew because what was known may no longer hold.
    pub async fn verify(&self, caller: &Caller, config: &Config) -> Result<Login, LoginError> {
        let login = self.look_up(caller, config).await;
        if login.is_err() {
            self.refused_at.store(self.keepers.now(), Ordering::Relaxed);
        }
        login
    }

    async fn look_up(&self, caller: &Caller, config: &Config) -> Result<Login, LoginError> {
        let key = self.key(caller, config).await;
        self.kept().remove(&key);
        let login = self.ask(caller, config).await;
        match &login {
            Ok(login) => self.keep(key, login),
            Err(LoginError::Unknown(_)) if caller.credential != Credential::Nothing => self.back_off(&caller.origin).await,
            Err(_) => {}
        }
        login
    }

    /// What was asked before a change, and took its time, does not stand in the place of what was asked after it.
    fn keep(&self, key: [u8; 32], login: &Login) {
        let mut kept = self.kept();
        let newer = kept.get(&key).is_some_and(|k| k.login.verified_at > login.verified_at);
        if newer || login.verified_at < self.refused_at.load(Ordering::Relaxed) {
            return;
        }
        if kept.len() >= KEPT {
            kept.clear();
        }
        let now = Instant::now();
        kept.insert(key, Kept { login: login.clone(), since: now, looked_at_until: now });
    }

    /// The principal behind a caller who is about to be refused, for its limits may have been changed meanwhile and no executor, which
    /// would notice, is asked about a refused call. Waits rather than asking the keeper often; `None`: another call is at it already.
    pub async fn look_again(&self, caller: &Caller, config: &Config) -> Option<Result<Login, LoginError>> {
        let key = self.key(caller, config).await;
        let (seen, wait) = {
            let now = Instant::now();
            let mut kept = self.kept();
            let entry = kept.get_mut(&key).filter(|k| k.looked_at_until <= now)?;
            let wait = (entry.since + LOOK_AGAIN).saturating_duration_since(now);
            entry.looked_at_until = now + wait + LOOK_AGAIN;
            (entry.login.verified_at, wait)
        };
        tokio::time::sleep(wait).await;
        // Others go on with what is kept: nobody has said that it is stale.
        let login = self.ask(caller, config).await;
        let mut kept = self.kept();
        // What came in meanwhile is newer, and what went was found stale.
        if kept.get(&key).is_some_and(|k| k.login.verified_at == seen) {
            match &login {
                Ok(login) => {
                    let now = Instant::now();
                    kept.insert(key, Kept { login: login.clone(), since: now, looked_at_until: now });
                }
                Err(_) => drop(kept.remove(&key)),
            }
        }
        Some(login)
    }

    async fn key(&self, caller: &Caller, config: &Config) -> [u8; 32] {
        // With other keys nothing that was verified before is found any more.
        match &caller.credential {
            Credential::Jwt { .. } => {
                let generation = Box::pin(self.jwt_keys.current(&config.jwt.sources)).await.generation;
                self.keyed(caller, generation)
            }
            _ => *caller.key.get_or_init(|| self.keyed(caller, 0)),
        }
    }

    fn keyed(&self, caller: &Caller, generation: u64) -> [u8; 32] {
        let mut mac = self.secret.clone();
        let mut field = |bytes: &[u8]| {
            mac.update(&(bytes.len() as u64).to_le_bytes());
            mac.update(bytes);
        };
        field(caller.database.as_bytes());
        field(&[caller.network as u8]);
        match &caller.credential {
            Credential::Peer { uid } => field(&uid.to_le_bytes()),
            Credential::Token { digest } => {
                field(b"token");
                field(digest);
            }
            Credential::Jwt { text } => {
                field(b"jwt");
                field(&generation.to_le_bytes());
                field(text.as_bytes());
            }
            Credential::Password { role, password } => {
                field(b"password");
                field(role.as_bytes());
                field(password.as_bytes());
            }
            Credential::Nothing => field(b"nothing"),
        }
        mac.finalize().into_bytes().into()
    }

    async fn ask(&self, caller: &Caller, config: &Config) -> Result<Login, LoginError> {
        let database = self.keepers.resolve(&caller.database).await?.oid;
        let ask = async |question: serde_json::Value| self.keepers.ask(database, &caller.database, &question).await;
        let (facts, at) = match &caller.credential {
            Credential::Token { digest } => ask(json!({"token": hex(digest)})).await?,
            Credential::Peer { uid } => {
                let question = json!({"peer": {"uid": uid, "name": os_user::name(*uid).await, "equal_names": config.peer_equal_names}});
                let (facts, at) = ask(question).await?;
                match (&config.anonymous_role, facts.found) {
                    (Some(role), false) => ask(json!({"anonymous": {"role": role}})).await?,
                    _ => (facts, at),
                }
            }
            Credential::Jwt { text } => {
                let verified = self.check_jwt(text.clone(), caller, config).await?;
                let (mut facts, at) = ask(json!({"jwt": {"role": verified.role}})).await?;
                facts.principal = verified.principal;
                facts.subject = verified.subject;
                facts.token_expires = Some(verified.until);
                facts.read_only |= verified.read_only;
                facts.features = verified.features;
                facts.settings.extend(verified.settings);
                facts.shared = true;
                (facts, at)
            }
            Credential::Password { role, password } => {
                if caller.network == Network::Remote {
                    return Err(LoginError::Unknown("passwords are taken on the Unix socket and on loopback only; use a token".into()));
                }
                let (mut facts, at) = ask(json!({"password": {"role": role}})).await?;
                let verifier = facts.verifier.take().filter(|_| facts.found && facts.can_login);
                facts.found = self.check_password(verifier, password.clone()).await;
                (facts, at)
            }
            Credential::Nothing => match &config.anonymous_role {
                // A published port makes everybody's packets look alike: there a credential is always needed.
                Some(role) if caller.network != Network::Remote => ask(json!({"anonymous": {"role": role}})).await?,
                _ => return Err(LoginError::Unknown("a credential is needed".into())),
            },
        };
        let principal = decide(facts, database, caller, config)?;
        Ok(Login { principal: Arc::new(principal), verified_at: at })
    }

    /// Verifies a token. Public-key signatures take a fraction of a millisecond, and the thread of all clients should not be kept so long.
    async fn check_jwt(&self, text: Arc<str>, caller: &Caller, config: &Config) -> Result<jwt::Verified, LoginError> {
        let keys = self.jwt_keys.current(&config.jwt.sources).await.keys;
        let (rules, resources) = (config.jwt.clone(), oauth::resources(config, &caller.database));
        let path = oauth::path(config, &caller.database);
        let broken = || LoginError::Unknown("the token could not be looked at; try again".into());
        let Ok(_permit) = self.checks.acquire().await else { return Err(broken()) };
        let verify = move || jwt::verify(&text, &keys, &rules, &resources, now());
        let mut verified = match tokio::task::spawn_blocking(verify).await {
            Ok(Ok(verified)) => verified,
            Ok(Err(Refusal::Invalid(message))) => return Err(LoginError::Unknown(message)),
            Ok(Err(Refusal::Denied(error))) => return Err(LoginError::Refused(error)),
            Ok(Err(Refusal::Scope(error))) => return Err(LoginError::Scope(error)),
            Err(_) => return Err(broken()),
        };
        // What policies find of a request besides its claims. The method is what every call is, whatever opened its connection.
        verified.settings.insert("request.method".into(), "POST".into());
        verified.settings.insert("request.path".into(), path);
        Ok(verified)
    }

    async fn check_password(&self, verifier: Option<String>, password: String) -> bool {
        let Ok(_permit) = self.checks.acquire().await else { return false };
        tokio::task::spawn_blocking(move || scram::verify(verifier.as_deref(), &password)).await.unwrap_or(false)
    }

    /// Makes the next answer to an origin that keeps failing slower. Callers with a good credential are never delayed.
    async fn back_off(&self, origin: &Arc<str>) {
        let delay = {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            if failures.len() >= FAILURES {
                failures.clear();
            }
            let (count, last) = failures.entry(origin.clone()).or_insert((0, Instant::now()));
            if last.elapsed() > KEEP {
                *count = 0;
            }
            *count += 1;
            *last = Instant::now();
            // The first mistakes cost nothing: people mistype.
            Duration::from_millis(25 << (*count).saturating_sub(4).min(7)).min(MAX_BACK_OFF) * u32::from(*count > 3)
        };
        tokio::time::sleep(delay).await;
    }
}

/// The rules, applied to the keeper's facts.
fn decide(facts: Facts, database: u32, caller: &Caller, config: &Config) -> Result<Principal, LoginError> {
    if !facts.found {
        return Err(LoginError::Unknown(match &caller.credential {
            Credential::Peer { uid } => format!(
                "operating system user {uid} is not mapped to a role; an administrator can run: select mcp.map_peer('<user name>', '<role>')"
            ),
            Credential::Token { .. } => format!("unknown, revoked or expired token for database \"{}\"", caller.database),
            Credential::Jwt { .. } => "the role that the token stands for does not exist".into(),
            Credential::Password { .. } => "wrong role or password".into(),
            Credential::Nothing => "the role for callers without a credential does not exist".into(),
        }));
    }
    let denied = |message: String, hint: &str| Err(CallError::new(Kind::Denied, message).sqlstate("28000").hint(hint).into());
    if let Some(reason) = &facts.privileged
        && !config.privileged_roles.contains(&facts.role)
    {
        return denied(
            format!("role \"{}\" is not served: {reason}", facts.role),
            "Give the agent a role of its own with just the grants that it needs. A superuser can name exceptions in supabase_mcp.privileged_roles.",
        );
    }
    if !facts.can_connect {
        return denied(
            format!("role \"{}\" has no CONNECT privilege on database \"{}\"", facts.role, caller.database),
            "GRANT CONNECT ON DATABASE gives it.",
        );
    }
    if facts.connection_limit == Some(0) {
        return Err(CallError::new(Kind::Denied, format!("role \"{}\" allows no connections", facts.role))
            .sqlstate("53300")
            .hint("Raise its CONNECTION LIMIT.")
            .into());
    }
    let direct = facts.can_login && !facts.shared;
    let login = match (direct, facts.bridge_oid) {
        (true, _) => facts.role_oid,
        (false, Some(bridge)) => bridge,
        (false, None) => {
            return denied(
                format!("role \"{}\" is shared or cannot log in, and role \"mcp_bridge\" is gone", facts.role),
                "Create the extension anew.",
            );
        }
    };
    let until = [facts.valid_until, facts.token_expires].into_iter().flatten().reduce(f64::min);
    let mut settings = facts.settings;
    // As PostgREST has it for every request: `auth.role()` knows the role of any caller.
    settings.entry("request.jwt.claims".into()).or_insert_with(|| json!({"role": facts.role}).to_string());
    // What one caller carries is out of reach for all, or those without it could pretend to carry it.
    for name in facts.locked.into_iter().chain(config.locked_settings.iter().map(|name| name.to_ascii_lowercase())) {
        settings.entry(name).or_default();
    }
    let token = facts.principal.strip_prefix("token:").and_then(|id| id.parse().ok());
    let about = About { principal: facts.principal, label: facts.label, subject: facts.subject, settings, audit_key: facts.audit_key };
    let principal = Principal {
        id: about.principal.as_str().into(),
        about: Arc::new(about),
        database,
        role: facts.role_oid,
        login,
        role_name: facts.role.into(),
        // A role that cannot log in is shared by many: the bridge keeps them from each other's sessions.
        form: if direct { Form::Direct } else { Form::Bridge },
        read_only: facts.read_only,
        ascii: facts.ascii,
        features: facts.features,
        until,
        connection_limit: facts.connection_limit.and_then(|n| usize::try_from(n).ok()),
        token,
        limits: facts.limits,
    };
    if !still_good(&principal) {
        return Err(LoginError::Unknown(format!(
            "the credential or role \"{}\" is past its time (VALID UNTIL, or the token's expiry)",
            principal.role_name
        )));
    }
    Ok(principal)
}

fn still_good(principal: &Principal) -> bool {
    principal.until.is_none_or(|until| now() < until)
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
