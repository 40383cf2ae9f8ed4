//! The keeper's work: it says who a credential stands for, writes the audit trail and seals it, and notes when tokens were last used.
//!
//! Runs in a keeper process, as the bootstrap superuser, so it runs statements of our own and nothing else: names are qualified, the
//! functions' search_path is pinned, and no value of a question becomes part of a text.

use std::ffi::CStr;
use std::time::Duration;

use mcp::error::{CallError, Kind};
use mcp::types::{JobKind, Outcome};

use super::seals::Seals;
use super::{Answer, Call};
use crate::config;
use crate::pg::identity::Identity;
use crate::pg::query::Workspace;
use crate::pg::timeout::Deadline;
use crate::pg::{Pg, PgError, Tx, report};

/// A question takes well under a millisecond; one that waits this long is behind a lock, and its caller with it.
const LIMIT: Duration = Duration::from_secs(5);
/// Callers wait meanwhile, for who they are or for their intents: what is not written by then is refused or tried again.
const LIMIT_OF_WRITING: Duration = Duration::from_secs(2);
/// After a restart there may be many rows to seal.
const LIMIT_OF_SEALING: Duration = Duration::from_secs(4);

pub struct Keeper {
    identity: Identity,
    workspace: Workspace,
    seals: Seals,
    pub payload: Vec<u8>,
}

impl Keeper {
    pub fn new(pg: &Pg, identity: Identity) -> Result<Keeper, PgError> {
        Ok(Keeper { identity, workspace: Workspace::new(pg)?, seals: Seals::default(), payload: Vec::new() })
    }

    /// Answers one question, or writes down one batch.
    pub fn answer(&mut self, pg: &mut Pg, kind: JobKind, question: &[u8]) -> Answer {
        self.payload.clear();
        let outcome = match self.work(pg, kind, question) {
            Ok(()) => Outcome::Ok,
            Err(error) => {
                self.payload = error.to_payload();
                Outcome::Error
            }
        };
        self.workspace.clear();
        report::idle(pg);
        if let Some(line) = self.seals.line.take() {
            pgrx::log!("supabase_mcp audit: {line}");
        }
        Answer { outcome, untrusted: false, leaving: false }
    }

    fn work(&mut self, pg: &mut Pg, kind: JobKind, question: &[u8]) -> Result<(), CallError> {
        let sql = |error: PgError| CallError::new(Kind::Internal, error.0.message).sqlstate(error.0.sqlstate);
        let question = std::str::from_utf8(question).map_err(|_| CallError::new(Kind::BadInput, "the question is not valid UTF-8"))?;
        let mut tx = pg.begin(&self.identity).map_err(sql)?;
        let limit = match kind {
            JobKind::Uses | JobKind::Audit | JobKind::Settle => LIMIT_OF_WRITING,
            JobKind::Seal => LIMIT_OF_SEALING,
            _ => LIMIT,
        };
        let _deadline = Deadline::start(tx.pg(), Some(limit)).map_err(sql)?;
        let mut call = Call::new(&self.workspace, config::limits(), true, &mut self.payload);
        if kind != JobKind::Keeper && tx.on_standby() {
            call.out.extend_from_slice(b"\"standby\"");
            return Ok(());
        }
        let worked = match kind {
            JobKind::Uses => call.own_alone(tx, c"select mcp._tokens_used($1::pg_catalog.jsonb)", question),
            JobKind::Audit => {
                // Whatever default_transaction_read_only says: it is about what callers do.
                tx.make_writable();
                self.seals.write(&mut call, tx, question)
            }
            JobKind::Settle => {
                tx.make_writable();
                let settle = c"select mcp._audit_settle($1::pg_catalog.jsonb)";
                call.own_alone(tx, settle, question)
            }
            JobKind::Seal => {
                tx.make_writable();
                self.seals.seal(&mut call, tx)
            }
            _ => call.who(tx, question),
        };
        worked.map_err(|failure| failure.into_call_error(None))
    }
}

impl Call<'_> {
    fn who(&mut self, mut tx: Tx, question: &str) -> Result<(), super::Failure> {
        tx.make_read_only()?;
        self.own_alone(tx, c"select mcp._keeper($1::pg_catalog.jsonb)", question)
    }

    /// Runs a statement of the extension's own with one parameter, and ends the transaction.
    fn own_alone(&mut self, mut tx: Tx, sql: &'static CStr, parameter: &str) -> Result<(), super::Failure> {
        self.own(&mut tx, sql, &[parameter])?;
        Ok(tx.finish()?)
    }
}
