//! The keepers: one process per active database that answers who a credential stands for.
//!
//! Runs on the gateway's runtime thread. A keeper is started at the first question about its database and leaves after a while without
//! one, so that it does not stand in the way of DROP DATABASE for ever. One asker at a time (`turn`); the SQL of questions is `mcp._keeper`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::oneshot;

use crate::children::Children;
use crate::error::{self, CallError, Kind};
use crate::host::{Database, Demand, Host, SpawnError};
use crate::keyed::Key;
use crate::limits::Limit;
use crate::types::{Form, JobKind};
use crate::uses::Batch;

mod turn;

pub use turn::{Keeper, Turn};

/// SQLSTATE of ours for a database without the extension (class 58, an error outside of Postgres itself).
const NOT_INSTALLED: &str = "58000";

/// Answer to a question about a credential.
#[derive(Debug, Default, Deserialize)]
pub struct Facts {
    pub found: bool,
    #[serde(default)]
    pub principal: String,
    #[serde(default)]
    pub role_oid: u32,
    #[serde(default)]
    pub role: String,
    #[serde(default)]
    pub can_login: bool,
    /// The role that processes connect as on behalf of roles that cannot log in.
    pub bridge_oid: Option<u32>,
    /// Why the role could get past every other guard.
    pub privileged: Option<String>,
    pub valid_until: Option<f64>,
    pub token_expires: Option<f64>,
    pub connection_limit: Option<i64>,
    #[serde(default)]
    pub can_connect: bool,
    /// The database's encoding does not have every character.
    #[serde(default)]
    pub ascii: bool,
    #[serde(default)]
    pub read_only: bool,
    /// The toolset that the token is kept to.
    pub features: Option<Vec<String>>,
    pub verifier: Option<String>,
    pub label: Option<String>,
    /// `sub` of a JSON Web Token; not of the keeper's knowledge.
    #[serde(skip)]
    pub subject: Option<String>,
    /// Many callers are this one role, whether it can log in or not; not of the keeper's knowledge.
    #[serde(skip)]
    pub shared: bool,
    /// Settings that the token carries.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Names of the settings that any token of the database carries.
    #[serde(default)]
    pub locked: Vec<String>,
    /// The rows of mcp._limits that fit.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// What secrets are hashed with before they are recorded.
    pub audit_key: Option<Key>,
}

/// Why a keeper did not do its work.
#[derive(Debug)]
pub enum Unanswered {
    /// There is no such database any more.
    Dropped,
    /// The database has no such extension any more.
    NotInstalled(CallError),
    /// It was not done.
    Failed(CallError),
    /// It may have been done: the process ended before it answered.
    Lost,
}

pub struct Keepers {
    host: Arc<dyn Host>,
    children: Arc<Children>,
    /// By database OID: a name may come to mean another database.
    keepers: Mutex<HashMap<u32, Arc<Keeper>>>,
}

impl Keepers {
    pub fn new(host: Arc<dyn Host>, children: Arc<Children>) -> Keepers {
        Keepers { host, children, keepers: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Keeper>>> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This moment in the gateway's order of events.
    pub fn now(&self) -> u64 {
        self.children.tick()
    }

    /// Looks a database up by name.
    pub async fn resolve(&self, name: &str) -> Result<Database, CallError> {
        let (answer, database) = oneshot::channel();
        self.host.demand(Demand::Resolve { database: name.to_string(), answer });
        match database.await {
            Ok(Some(database)) if database.allows_connections => Ok(database),
            Ok(_) => Err(CallError::new(Kind::Unavailable, format!("database \"{name}\" does not exist, or takes no connections"))
                .sqlstate("3D000")
                .hint("The path is /mcp/<database>; /mcp alone is the database of supabase_mcp.database.")),
            Err(_) => Err(CallError::new(Kind::Unavailable, "the server is shutting down")),
        }
    }

    /// Asks the keeper of `database`; starts it if need be. The answer comes with the moment at which it was true.
    pub async fn ask(&self, database: u32, name: &str, question: &serde_json::Value) -> Result<(Facts, u64), CallError> {
        let keeper = self.keeper(database, name);
        let mut turn = self.begin(&keeper).await?;
        let asked_at = self.children.tick();
        turn.send(asked_at, JobKind::Keeper, &serde_json::to_vec(question).unwrap_or_default()).await;
        match turn.receive().await {
            Ok(payload) => Ok((serde_json::from_slice(&payload).map_err(|_| unasked())?, asked_at)),
            Err(Unanswered::NotInstalled(error)) => {
                turn.dismiss();
                Err(error)
            }
            Err(Unanswered::Failed(error)) => {
                turn.dismiss();
                Err(CallError::new(Kind::Internal, "the database could not be asked who this is").detail(error.message))
            }
            Err(Unanswered::Lost | Unanswered::Dropped) => Err(unasked()),
        }
    }

    async fn exists(&self, database: u32) -> bool {
        let (answer, databases) = oneshot::channel();
        self.host.demand(Demand::Databases { answer });
        // Who cannot be asked, because the server stops, is there.
        databases.await.map_or(true, |databases| databases.iter().any(|(_, d)| d.oid == database))
    }

    /// The keeper of `database`.
    pub fn keeper(&self, database: u32, name: &str) -> Arc<Keeper> {
        self.lock().entry(database).or_insert_with(|| Arc::new(Keeper::new(database, name))).clone()
    }

    /// Waits until nobody else asks this keeper; starts it if need be.
    async fn begin<'a>(&self, keeper: &'a Keeper) -> Result<Turn<'a>, SpawnError> {
        let mut turn = Turn::wait(keeper).await;
        if !turn.has_process() {
            turn.take(self.children.start(keeper.database, 0, Form::Keeper).await?);
        }
        Ok(turn)
    }

    /// The same, with what a failure means to work that is to be done some time.
    pub async fn turn<'a>(&self, keeper: &'a Keeper) -> Result<Turn<'a>, Unanswered> {
        match self.begin(keeper).await {
            Ok(turn) => Ok(turn),
            Err(error) if self.exists(keeper.database).await => Err(Unanswered::Failed(error.into())),
            Err(_) => Err(Unanswered::Dropped),
        }
    }

    /// Has the keeper of `database` do a piece of work; starts it if need be. Returns what it answered.
    pub async fn work(&self, database: u32, name: &str, kind: JobKind, arguments: &[u8]) -> Result<Vec<u8>, Unanswered> {
        let keeper = self.keeper(database, name);
        let mut turn = self.turn(&keeper).await?;
        turn.send(self.children.tick(), kind, arguments).await;
        turn.receive().await
    }

    /// Has the keeper of `database` write down when tokens were last used. `false`: there is no keeper, and none is started for this.
    pub async fn note_uses(&self, database: u32, uses: &Batch) -> bool {
        let Some(keeper) = self.lock().get(&database).cloned() else { return false };
        let mut turn = Turn::wait(&keeper).await;
        if !turn.has_process() {
            return false;
        }
        let idle_since = turn.idle_since();
        turn.send(self.children.tick(), JobKind::Uses, &serde_json::to_vec(uses).unwrap_or_default()).await;
        match turn.receive().await {
            Err(Unanswered::NotInstalled(_)) => turn.dismiss(),
            // A keeper that could not write still answers; what it did not write is not worth another attempt. Nobody asked it
            // anything: this alone must not keep it, and with it a gateway that nobody needs any more.
            _ => turn.stay_idle(idle_since),
        }
        true
    }

    /// Databases whose keeper nobody asked for a while.
    pub fn overdue(&self, idle: Duration) -> Vec<u32> {
        let keepers = self.lock();
        let overdue = |k: &Keeper| k.process.try_lock().is_ok_and(|p| p.as_ref().is_some_and(|p| p.idle_since.elapsed() >= idle));
        keepers.iter().filter(|(_, keeper)| overdue(keeper)).map(|(oid, _)| *oid).collect()
    }

    /// Ends keepers that nobody asked for a while.
    pub fn sweep(&self, idle: Duration) {
        self.lock().retain(|_, keeper| match keeper.process.try_lock() {
            Ok(process) => process.as_ref().is_some_and(|p| p.is_alive() && p.idle_since.elapsed() < idle),
            Err(_) => true,
        });
    }

    /// Ends the keeper that nobody has asked for longest, if more than `spare` are idle.
    pub fn make_room(&self, spare: usize) {
        let mut keepers = self.lock();
        let idle_since = |keeper: &Keeper| Some(keeper.process.try_lock().ok()?.as_ref()?.idle_since);
        let idle: Vec<_> = keepers.iter().filter_map(|(oid, keeper)| Some((idle_since(keeper)?, *oid))).collect();
        if idle.len() > spare
            && let Some((_, oid)) = idle.into_iter().min()
        {
            keepers.remove(&oid);
        }
    }

    /// Whether any database has the extension. What cannot be asked counts as having it.
    pub async fn installed_anywhere(&self) -> bool {
        let (answer, databases) = oneshot::channel();
        self.host.demand(Demand::Databases { answer });
        let Ok(databases) = databases.await else { return true };
        for (name, database) in databases.into_iter().filter(|(_, d)| d.allows_connections) {
            let asked = self.ask(database.oid, &name, &serde_json::json!({"status": true})).await;
            self.dismiss(Some(database.oid));
            if asked.map_or_else(|error| error.sqlstate.as_deref() != Some(NOT_INSTALLED), |_| true) {
                return true;
            }
        }
        false
    }

    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Ends the keeper of a database, or all.
    pub fn dismiss(&self, database: Option<u32>) {
        self.lock().retain(|oid, _| database.is_some_and(|d| d != *oid));
    }

    /// Name of the database and process id of every keeper that is not being asked.
    pub fn pids(&self) -> Vec<(String, i32)> {
        let keepers = self.lock();
        keepers.values().filter_map(|k| Some((k.database_name.clone(), k.process.try_lock().ok()?.as_ref()?.pid()))).collect()
    }
}

fn unasked() -> CallError {
    CallError::new(Kind::Unavailable, "the database could not be asked who this is")
        .hint("Try again shortly; the server log has the cause.")
}

/// The answer to a job that was not done: mostly that the extension is not there.
fn failed(name: &str, payload: &[u8]) -> Unanswered {
    let error = error::from_payload(payload);
    // Undefined schema, function or table: no extension, or one that is just being dropped.
    if error.as_ref().and_then(|e| e.sqlstate.as_deref()).is_some_and(|s| matches!(s, "3F000" | "42883" | "42P01")) {
        let error = CallError::new(Kind::Unavailable, format!("extension supabase_mcp is not installed in database \"{name}\""))
            .sqlstate(NOT_INSTALLED)
            .hint("A superuser runs: create extension supabase_mcp");
        return Unanswered::NotInstalled(error);
    }
    Unanswered::Failed(error.unwrap_or_else(|| CallError::new(Kind::Internal, "the keeper did not say why")))
}
