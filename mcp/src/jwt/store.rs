//! The keys in force: made from the settings and their files, and made again when either changes.
//!
//! Runs on the gateway's runtime thread; files are read on a blocking one. A file is looked at when a token comes in, and at most once a
//! second, so a key that was added or taken away counts after a second without a reload. A file that cannot be understood, being half
//! written perhaps, leaves the keys that it held before; a file that is gone takes its keys with it. Either is a warning in the log.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::keys::KeySet;
use super::settings::KeySources;
use crate::host::{Demand, Host, Level};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A JWKS has a few kilobytes.
const LONGEST_FILE: u64 = 1 << 20;

/// Keys, and the number by which they differ from those before.
#[derive(Clone, Default)]
pub struct Current {
    pub keys: Arc<KeySet>,
    pub generation: u64,
}

pub struct Store {
    host: Arc<dyn Host>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sources: KeySources,
    secret_file: Watched,
    jwks_file: Watched,
    /// What the file of the JWKS held when it was last understood.
    understood: Option<String>,
    looked: Option<Instant>,
    current: Current,
}

/// What a file was when it was read: device, inode, size, and its times of change in seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

#[derive(Clone, Default)]
struct Watched {
    /// `None`: never looked at. An error is that of a file that is not there.
    stamp: Option<Result<Stamp, String>>,
    text: Option<String>,
    complaint: Option<String>,
}

impl Store {
    pub fn new(host: Arc<dyn Host>) -> Store {
        Store { host, state: Mutex::default() }
    }

    /// The keys as they are now.
    pub async fn current(&self, sources: &KeySources) -> Current {
        let mut state = self.state.lock().await;
        let same = state.sources == *sources;
        let fresh = !sources.has_files() || state.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY);
        if same && fresh {
            return state.current.clone();
        }
        if !same {
            // Texts of other files are no substitute for those that are wanted now.
            *state = State { sources: sources.clone(), current: state.current.clone(), ..State::default() };
        }
        let (mut secret, mut jwks) = (state.secret_file.clone(), state.jwks_file.clone());
        let (secret_path, jwks_path) = (sources.secret_file.clone(), sources.jwks_file.clone());
        let read = move || (secret.look(secret_path), jwks.look(jwks_path), secret, jwks);
        let Ok((secret_changed, jwks_changed, secret, jwks)) = tokio::task::spawn_blocking(read).await else {
            return state.current.clone();
        };
        state.looked = Some(Instant::now());
        if !same || secret_changed || jwks_changed {
            (state.secret_file, state.jwks_file) = (secret, jwks);
            for complaint in state.make() {
                self.host.demand(Demand::Log { level: Level::Warning, message: format!("supabase_mcp: {complaint}") });
            }
        }
        state.current.clone()
    }
}

impl State {
    /// Makes the keys anew, and says what cannot be used.
    fn make(&mut self) -> Vec<String> {
        let mut keys = KeySet::default();
        let mut complaints = Vec::new();
        for (name, secret) in
            [("jwt_secret", self.sources.secret.as_ref().map(|s| &s.0)), ("jwt_secret_file", self.secret_file.text.as_ref())]
        {
            if let Some(Err(why)) = secret.map(|secret| keys.add_secret(secret.trim_end_matches(['\r', '\n']))) {
                complaints.push(format!("supabase_mcp.{name} {why}"));
            }
        }
        let mut list = |name: &str, some: Vec<String>| complaints.extend(some.into_iter().map(|why| format!("supabase_mcp.{name}: {why}")));
        match self.sources.jwks.as_ref().map(|jwks| keys.add_jwks(&jwks.0)) {
            Some(Ok(some)) => list("jwt_jwks", some),
            Some(Err(why)) => list("jwt_jwks", vec![why]),
            None => {}
        }
        match self.jwks_file.text.as_ref().map(|jwks| keys.add_jwks(jwks)) {
            Some(Ok(some)) => {
                list("jwt_jwks_file", some);
                self.understood = self.jwks_file.text.clone();
            }
            Some(Err(why)) => {
                let before = self.understood.as_ref().is_some_and(|jwks| keys.add_jwks(jwks).is_ok());
                list("jwt_jwks_file", vec![format!("the file {why}{}", if before { "; the keys that it held before stay" } else { "" })]);
            }
            None => self.understood = None,
        }
        for (name, file) in [("jwt_secret_file", &mut self.secret_file), ("jwt_jwks_file", &mut self.jwks_file)] {
            complaints.extend(file.complaint.take().map(|why| format!("supabase_mcp.{name}: {why}")));
        }
        if keys.len() == 0 && !self.sources.is_empty() {
            complaints.push("no key for JSON Web Tokens could be read; callers with such a token are refused".into());
        }
        self.current = Current { keys: Arc::new(keys), generation: self.current.generation + 1 };
        complaints
    }
}

impl Watched {
    /// Reads the file if it changed. Whether it did. Blocks.
    fn look(&mut self, path: Option<PathBuf>) -> bool {
        let Some(path) = path else { return false };
        let stamp = stamp(&path);
        if self.stamp.as_ref() == Some(&stamp) {
            return false;
        }
        self.complaint = None;
        match &stamp {
            // A change between the look and the reading shows at the next look.
            Ok(_) => match read(&path) {
                Ok(text) => self.text = Some(text),
                Err(why) => self.complaint = Some(format!("\"{}\" cannot be read: {why}", path.display())),
            },
            Err(why) => {
                self.text = None;
                self.complaint = Some(format!("\"{}\" cannot be read: {why}", path.display()));
            }
        }
        self.stamp = Some(stamp);
        true
    }
}

fn stamp(path: &Path) -> Result<Stamp, String> {
    let file = std::fs::metadata(path).map_err(|error| error.to_string())?;
    // Reading a pipe could wait for ever.
    if !file.is_file() {
        return Err("it is no regular file".into());
    }
    Ok((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()))
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_string(&mut text)).map_err(|error| error.to_string())?;
    if read as u64 > LONGEST_FILE { Err(format!("it is longer than {LONGEST_FILE} bytes")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::Secret;
    use jsonwebtoken::Algorithm;

    struct Log(std::sync::Mutex<Vec<String>>);

    impl Host for Log {
        fn demand(&self, demand: Demand) {
            if let Demand::Log { message, .. } = demand {
                self.0.lock().unwrap().push(message);
            }
        }
    }

    fn jwks(id: &str) -> String {
        format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{id}","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}]}}"#)
    }

    async fn has(store: &Store, sources: &KeySources, id: &str) -> bool {
        store.state.lock().await.looked = None;
        store.current(sources).await.keys.candidates(Algorithm::EdDSA, Some(id)).count() == 1
    }

    #[tokio::test]
    async fn a_file_is_followed() {
        let log = Arc::new(Log(std::sync::Mutex::default()));
        let store = Store::new(log.clone());
        let path = std::env::temp_dir().join(format!("mcp-jwks-{}", std::process::id()));
        let sources = KeySources { jwks_file: Some(path.clone()), ..KeySources::default() };
        std::fs::write(&path, jwks("a")).unwrap();
        assert!(has(&store, &sources, "a").await && !has(&store, &sources, "b").await);
        let before = store.current(&sources).await.generation;
        std::fs::write(&path, jwks("b")).unwrap();
        assert!(has(&store, &sources, "b").await && !has(&store, &sources, "a").await, "a rotated key");
        assert_ne!(store.current(&sources).await.generation, before);
        assert!(log.0.lock().unwrap().is_empty());
        std::fs::write(&path, "{").unwrap();
        assert!(has(&store, &sources, "b").await, "a file half written");
        assert!(log.0.lock().unwrap().iter().any(|m| m.contains("not a JWKS")), "{:?}", log.0.lock().unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(!has(&store, &sources, "b").await, "a file that is gone");
        assert!(has(&store, &KeySources { jwks: Some(Secret(jwks("c"))), ..KeySources::default() }, "c").await);
    }

    #[tokio::test]
    async fn a_short_secret_and_a_pipe_are_complained_of_and_not_used() {
        let log = Arc::new(Log(std::sync::Mutex::default()));
        let store = Store::new(log.clone());
        let sources = KeySources { secret: Some(Secret("hush".into())), secret_file: Some("/dev/null".into()), ..KeySources::default() };
        assert_eq!(store.current(&sources).await.keys.len(), 0);
        let said = log.0.lock().unwrap().join("\n");
        assert!(said.contains("shorter than 32 bytes") && said.contains("no regular file") && !said.contains("hush"), "{said}");
    }
}
