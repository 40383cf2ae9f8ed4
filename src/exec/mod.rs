//! One job in, one answer out, under the role that the job is for.
//!
//! Runs in an executor process, on its only thread. Decides how a call runs: in which mode, under which limits, and what is kept. Knows
//! nothing of sockets; never decides who the caller is.

mod account;
mod args;
mod blame;
pub mod caller;
mod explain;
mod failure;
pub mod keeper;
mod lists;
mod memory;
pub mod progress;
mod record;
mod seals;
mod sql;
mod tools;
mod trail;

use std::time::{Duration, Instant};

use mcp::error::{CallError, Kind};
use mcp::keyed::Key;
use mcp::types::{Facts, Job, JobKind, Outcome, Recorded};

use crate::config::{self, Limits};
use crate::pg::identity::Identity;
use crate::pg::locked::{self, Locked};
use crate::pg::privilege;
use crate::pg::query::Workspace;
use crate::pg::session::Ran;
use crate::pg::settings::{self, Fingerprint};
use crate::pg::{Pg, PgError, Tx, effects, guc, inval, report, session, wait};

/// An answer buffer that grew beyond this is given back after the call.
const KEEP_BYTES: usize = 256 * 1024;

/// An answer's header; its payload is in `Executor::payload`.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub outcome: Outcome,
    pub untrusted: bool,
    /// The process must end.
    pub leaving: bool,
}

impl Answer {
    const STALE: Answer = Answer { outcome: Outcome::Stale, untrusted: false, leaving: false };
    const RETIRE: Answer = Answer { outcome: Outcome::Retire, untrusted: false, leaving: true };
}

/// Where an executor asks whether a call that may write may begin. The gateway answers when the call's intent is on disk.
pub trait Permission {
    /// `Err` in the inner result: what to answer instead. Waits, with the transaction `xid` open.
    fn ask(&mut self, pg: &Pg, job: u64, xid: u64, recorded: &Recorded) -> Result<Result<(), CallError>, PgError>;
}

/// Why a job has no result.
enum NoResult {
    Stale,
    Retire,
    Refused(CallError),
    /// Something of ours failed: the process is not to be trusted with another call.
    Broken(PgError),
}

impl From<PgError> for NoResult {
    fn from(error: PgError) -> NoResult {
        // Cancelled before its tool was reached.
        if error.0.sqlstate == "57014" {
            return NoResult::Refused(Failure::from(error).into_call_error(None));
        }
        NoResult::Broken(error)
    }
}

/// What an executor keeps between calls.
pub struct Executor {
    identity: Identity,
    /// Of the settings that this process has taken on.
    fingerprint: Fingerprint,
    /// It has taken on its role's settings: a direct executor when it connected, a bridge at its first job, which may come late.
    settled: bool,
    /// Invalidations taken in when everything below was last found to be current.
    seen: u64,
    memory: memory::Memory,
    /// By the last call.
    ran: Ran,
    workspace: Workspace,
    locked: Locked,
    /// What the headers are set to.
    headers: String,
    client: String,
    /// What secrets are hashed with before they are recorded.
    audit_key: Option<Key>,
    pub payload: Vec<u8>,
    /// Of the last job, if it was begun.
    pub facts: Option<Box<Facts>>,
}

impl Executor {
    /// In a process that is connected and prepared.
    pub fn new(pg: &mut Pg, identity: Identity) -> Result<Executor, PgError> {
        let workspace = Workspace::new(pg)?;
        let locked = Locked::new(pg)?;
        let tx = pg.begin(&identity)?;
        privilege::refresh(&tx)?;
        let seen = inval::seen(&tx);
        let fingerprint = settings::fingerprint(&tx, [identity.own_role(), identity.role()])?;
        tx.finish()?;
        let settled = identity.is_bound();
        Ok(Executor {
            identity,
            fingerprint,
            settled,
            seen,
            memory: memory::Memory::default(),
            ran: Ran::Anything,
            workspace,
            locked,
            headers: String::new(),
            client: String::new(),
            audit_key: None,
            payload: Vec::new(),
            facts: None,
        })
    }

    /// Runs one job. The payload is complete when this returns; what the call left in the session is still there (`clean`).
    pub fn run(&mut self, pg: &mut Pg, job: &Job, arguments: &[u8], permission: &mut dyn Permission) -> Answer {
        wait::forget_cancel(pg);
        self.payload.clear();
        self.facts = None;
        self.ran = Ran::Anything;
        if !self.identity.bind(job.role) {
            return Answer::RETIRE;
        }
        if let Err(error) = self.introduce(pg, job) {
            return self.broken(&error);
        }
        let answer = match self.settle(pg).and_then(|()| self.call(pg, job, arguments, permission)) {
            Ok(done) => {
                self.ran = done.ran;
                Answer { outcome: Outcome::Ok, untrusted: done.untrusted, leaving: false }
            }
            Err(NoResult::Refused(error)) => self.error(&error),
            Err(NoResult::Stale) => Answer::STALE,
            Err(NoResult::Retire) => Answer::RETIRE,
            Err(NoResult::Broken(error)) => self.broken(&error),
        };
        self.workspace.clear();
        answer
    }

    fn call(&mut self, pg: &mut Pg, job: &Job, arguments: &[u8], permission: &mut dyn Permission) -> Result<Done, NoResult> {
        let begun = Instant::now();
        if self.client != job.client && guc::set_application_name(pg, &job.client).is_ok() {
            self.client.clone_from(&job.client);
        }
        let tx = begin(pg, &self.identity)?;
        if inval::take_callers_changed() {
            return Err(NoResult::Stale);
        }
        // Read before what it stands for, so that a change in between is looked at again by the next call.
        let seen = inval::seen(&tx);
        if seen != self.seen {
            self.memory.forget();
            let settings = settings::fingerprint(&tx, [self.identity.own_role(), self.identity.role()])?;
            if settings != self.fingerprint || !privilege::refresh(&tx)? {
                return Err(NoResult::Retire);
            }
            self.seen = seen;
        }
        if !privilege::installed(&tx) {
            let error = CallError::new(Kind::Unavailable, "the extension supabase_mcp is not installed in this database");
            return Err(NoResult::Refused(error));
        }
        let limits = config::capped(&tx, &job.caps)?;
        let deadline = progress::begin(tx.pg(), &limits)?;
        effects::forget(tx.pg());
        let mut call = Call {
            job: job.id,
            permission: job.ask.then_some(permission),
            account: Account::default(),
            policy: Policy { literals: config::audit::literals(), key: self.audit_key.as_ref() },
            ..Call::new(&self.workspace, limits, job.read_only, &mut self.payload)
        };
        let asked = memory::Asked { kind: job.kind, name: &job.tool, only: &job.only, read_only: job.read_only };
        let result = match job.kind {
            JobKind::Call => call.tool(tx, asked, arguments, &mut self.memory),
            JobKind::Prompt | JobKind::Resource => call.function(tx, asked, arguments, &mut self.memory),
            JobKind::Complete => call.complete(tx, asked, arguments),
            JobKind::List | JobKind::Prompts | JobKind::Resources | JobKind::Templates | JobKind::Instructions => {
                call.record(Known::Harmless, arguments);
                call.list(tx, asked, &mut self.memory)
            }
            JobKind::Keeper | JobKind::Uses | JobKind::Audit | JobKind::Settle | JobKind::Seal => {
                drop(tx);
                Err(Failure::new(CallError::new(Kind::Internal, "not a keeper")))
            }
        };
        if result.is_err() && call.is_misfit(asked) {
            // What this finds out is not worth failing for: without it nothing of the arguments is recorded.
            let _ = pg.begin(&self.identity).map_err(Failure::from).and_then(|tx| call.record_misfit(tx, asked, arguments));
        }
        let result = result.map_err(|failure| {
            if job.kind != JobKind::Call || !tools::is_function(&job.tool) || !failure.may_be_an_argument() {
                return failure;
            }
            match pg.begin(&self.identity) {
                Ok(tx) => call.blame(tx, &job.tool, arguments, failure),
                Err(_) => failure,
            }
        });
        if call.hypothetical {
            let forgotten = pg.begin(&self.identity).map_err(Failure::from).and_then(|tx| call.forget_hypothetical(tx));
            if forgotten.is_err() {
                return Err(NoResult::Broken(PgError::new("XX000", "hypothetical indexes could not be taken away again")));
            }
        }
        let result = result.map_err(|failure| failure.into_call_error(progress::time_that_is_up(&deadline)));
        let account = std::mem::take(&mut call.account);
        self.facts = Some(Box::new(account.facts(pg, &self.identity, begun, result.as_ref().err())));
        result.map_err(NoResult::Refused)
    }

    /// Lets the call's SQL read who calls.
    fn introduce(&mut self, pg: &Pg, job: &Job) -> Result<(), PgError> {
        caller::note(job);
        if let Some(about) = &job.about {
            self.locked.replace(pg, &about.settings)?;
            self.audit_key.clone_from(&about.audit_key);
        }
        let headers = job.headers.as_deref().unwrap_or_default();
        if self.headers != headers {
            self.locked.set(pg, locked::HEADERS, headers)?;
            self.headers = headers.into();
        }
        Ok(())
    }

    /// Takes on the settings of the role that a bridge stands for from now on.
    ///
    /// A spare may have waited for a while. What changed meanwhile of the settings that it connected with it cannot take on. Everything
    /// else that it knows, it knows as a process that ran a call then and none since: invalidations have come in with this transaction.
    fn settle(&mut self, pg: &mut Pg) -> Result<(), NoResult> {
        if self.settled {
            return Ok(());
        }
        let (own, role) = (self.identity.own_role(), self.identity.role());
        let tx = begin(pg, &self.identity)?;
        if settings::fingerprint(&tx, [own, own])? != self.fingerprint {
            return Err(NoResult::Retire);
        }
        // Before the settings themselves: if they change in between, a later look finds another fingerprint.
        let fingerprint = settings::fingerprint(&tx, [own, role])?;
        settings::apply(&tx, role)?;
        tx.finish()?;
        self.fingerprint = fingerprint;
        self.settled = true;
        Ok(())
    }

    /// Clears the session and the books after a call, once its answer is out. An error means that the process must end.
    pub fn clean(&mut self, pg: &mut Pg) -> Result<Option<Duration>, PgError> {
        session::discard_all(pg, self.ran)?;
        report::idle(pg);
        if self.payload.capacity() > KEEP_BYTES {
            self.payload = Vec::new();
        }
        report::statistics(pg, false)
    }

    fn error(&mut self, error: &CallError) -> Answer {
        self.payload = error.to_payload();
        Answer { outcome: Outcome::Error, untrusted: false, leaving: false }
    }

    fn broken(&mut self, error: &PgError) -> Answer {
        let error = CallError::new(Kind::Internal, format!("the call could not be run: {}", error.0.message));
        Answer { leaving: true, ..self.error(&error) }
    }
}

/// Starts the transaction of a job. What became of a role that cannot be entered is for the gateway to find out, and to say.
fn begin<'a>(pg: &'a mut Pg, identity: &'a Identity) -> Result<Tx<'a>, NoResult> {
    match pg.begin(identity) {
        Err(_) if inval::take_callers_changed() => Err(NoResult::Stale),
        begun => Ok(begun?),
    }
}

use account::Account;
use failure::Failure;
use record::{Known, Policy};

/// One call, with what it may use.
struct Call<'e> {
    workspace: &'e Workspace,
    limits: Limits,
    read_only: bool,
    /// Hypothetical indexes may be left in the process.
    hypothetical: bool,
    out: &'e mut Vec<u8>,
    job: u64,
    /// Whom to ask before anything is written; `None`: nobody.
    permission: Option<&'e mut dyn Permission>,
    account: Account,
    policy: Policy<'e>,
}

impl<'e> Call<'e> {
    fn new(workspace: &'e Workspace, limits: Limits, read_only: bool, out: &'e mut Vec<u8>) -> Call<'e> {
        Call {
            workspace,
            limits,
            read_only,
            hypothetical: false,
            out,
            job: 0,
            permission: None,
            account: Account::default(),
            policy: Policy::default(),
        }
    }
}

/// A call that succeeded.
struct Done {
    /// The payload carries values out of the database.
    untrusted: bool,
    ran: Ran,
}

impl Call<'_> {
    /// Why the call may only read, whatever its tool and its role may; `None` if it may write.
    fn why_read_only(&self, tx: &Tx) -> Option<&'static str> {
        if tx.on_standby() {
            Some("This server is a standby, which can only be read.")
        } else if tx.starts_read_only() {
            Some("Transactions of this role start read-only (default_transaction_read_only).")
        } else if self.read_only {
            Some("The caller's token or URL, or a limit of the role, the token or the tool, only allows reading.")
        } else {
            None
        }
    }
}
