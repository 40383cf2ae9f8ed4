//! Who makes a call, for the record: worked out once for each caller and client, and named by its content.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::row::append_text;
use crate::caller::{Caller, Credential, Principal};

/// Callers that are remembered at once.
const MOST: usize = 10_000;
/// Longest text of a caller's own choice that is kept, in characters.
const LONGEST: usize = 256;

/// A row of mcp._audit_callers.
#[derive(Debug)]
pub struct Who {
    /// The row's name, a UUID: the first half of the SHA-256 of its content.
    pub id: String,
    /// The whole row, as a JSON object.
    pub json: Box<RawValue>,
    /// The database does not take every character; see `row`.
    pub ascii: bool,
    principal: Option<Arc<Principal>>,
    authentication: &'static str,
    client: Option<String>,
    origin: Arc<str>,
    /// The last of the audiences that were told of this caller.
    told: AtomicU64,
}

/// Those who have to be told who a row is about: a keeper, as long as it is known to remember. None is like another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audience(u64);

impl Audience {
    /// One that nobody has told anything.
    pub fn new() -> Audience {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Audience(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

#[derive(Default)]
struct Known {
    by_content: HashMap<u64, Arc<Who>>,
    /// Whoever called calls again, as a rule: found without a hash.
    last: Option<Arc<Who>>,
}

#[derive(Default)]
pub struct Whos {
    known: Mutex<Known>,
    hasher: RandomState,
}

impl Whos {
    /// `principal` is `None` where the credential stands for nobody.
    pub fn of(&self, caller: &Caller, principal: Option<&Arc<Principal>>, client: Option<&str>) -> Arc<Who> {
        let is = |who: &&Arc<Who>| who.is(caller, principal, client);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(who) = known.last.as_ref().filter(is) {
            return who.clone();
        }
        let key = self.hasher.hash_one((principal.map(Arc::as_ptr), authentication(caller), client, &caller.origin));
        let found = known.by_content.get(&key).filter(is).cloned();
        let who = found.unwrap_or_else(|| {
            let who = Arc::new(Who::new(caller, principal, client));
            if known.by_content.len() >= MOST {
                known.by_content.clear();
            }
            known.by_content.insert(key, who.clone());
            who
        });
        known.last = Some(who.clone());
        who
    }
}

impl Who {
    /// Notes that it is told who this is. `false`: it has been told.
    pub fn tell(&self, audience: Audience) -> bool {
        self.told.swap(audience.0, Ordering::Relaxed) != audience.0
    }

    fn is(&self, caller: &Caller, principal: Option<&Arc<Principal>>, client: Option<&str>) -> bool {
        // The principal that is kept cannot be another one at the same address.
        self.principal.as_ref().map(Arc::as_ptr) == principal.map(Arc::as_ptr)
            && self.authentication == authentication(caller)
            && self.client.as_deref() == client
            && self.origin == caller.origin
    }

    fn new(caller: &Caller, principal: Option<&Arc<Principal>>, client: Option<&str>) -> Who {
        let about = principal.map(|p| &p.about);
        let ascii = principal.is_none_or(|p| p.ascii);
        let claims = about.and_then(|a| {
            let issuer = a.principal.strip_prefix("jwt:")?.strip_suffix(a.subject.as_deref()?)?.strip_suffix(':')?;
            Some(issuer.to_string())
        });
        let authentication = authentication(caller);
        let fields: [(&str, Option<String>); 8] = [
            ("role", principal.map(|p| p.role_name.to_string())),
            ("principal", about.map(|a| a.principal.clone())),
            ("label", about.and_then(|a| a.label.clone())),
            ("authentication", Some(authentication.into())),
            ("issuer", claims),
            ("subject", about.and_then(|a| a.subject.clone())),
            ("client", client.map(str::to_string)),
            ("peer", Some(caller.origin.to_string())),
        ];
        // What is in the row is what COPY would make of it, so that the row's name can be checked there.
        let fields = fields.map(|(name, text)| (name, text.map(|text| storable(&text, ascii))));
        let mut line = Vec::new();
        for (i, (_, text)) in fields.iter().enumerate() {
            if i > 0 {
                line.push(b'\t');
            }
            match text {
                Some(text) => append_text(&mut line, text, false),
                None => line.extend_from_slice(b"\\N"),
            }
        }
        let id = uuid(&Sha256::digest(&line));
        let mut row: serde_json::Map<String, serde_json::Value> =
            fields.into_iter().map(|(name, text)| (name.to_string(), text.into())).collect();
        row.insert("id".into(), id.clone().into());
        // An object of texts is always JSON.
        let json = serde_json::value::to_raw_value(&row).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Who {
            id,
            json,
            ascii,
            principal: principal.cloned(),
            authentication,
            client: client.map(str::to_string),
            origin: caller.origin.clone(),
            told: AtomicU64::new(0),
        }
    }
}

/// What the caller showed.
fn authentication(caller: &Caller) -> &'static str {
    match caller.credential {
        Credential::Peer { .. } => "peer",
        Credential::Token { .. } => "token",
        Credential::Jwt { .. } => "jwt",
        Credential::Password { .. } => "password",
        Credential::Nothing => "anonymous",
    }
}

/// A text that any database takes: no NUL, not too long, and ASCII alone where it has to be.
fn storable(text: &str, ascii: bool) -> String {
    let mut out = String::new();
    for c in text.chars().take(LONGEST) {
        match c {
            '\0' => out.push_str("\\u0000"),
            c if ascii && !c.is_ascii() => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
            c => out.push(c),
        }
    }
    out
}

fn uuid(digest: &[u8]) -> String {
    let hex = crate::text::hex(digest.get(..16).unwrap_or_default());
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}
