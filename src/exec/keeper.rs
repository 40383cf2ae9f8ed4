//! The keeper's one question: who a credential stands for. And what it writes down: when tokens were last used.
//!
//! Runs in a keeper process, as the bootstrap superuser, so it runs two statements of our own and nothing else: names are qualified, the
//! functions' search_path is pinned, and no value of the question becomes part of a text.

use std::time::Duration;

use mcp::error::{CallError, Kind};
use mcp::types::{JobKind, Outcome};

use super::{Answer, Call};
use crate::config;
use crate::pg::identity::Identity;
use crate::pg::query::Workspace;
use crate::pg::timeout::Deadline;
use crate::pg::{Pg, PgError, Tx, report};

/// A question takes well under a millisecond; one that waits this long is behind a lock, and its caller with it.
const LIMIT: Duration = Duration::from_secs(5);
/// Callers wait meanwhile, and nothing is lost that anybody counts on.
const LIMIT_OF_WRITING: Duration = Duration::from_secs(1);

pub struct Keeper {
    identity: Identity,
    workspace: Workspace,
    pub payload: Vec<u8>,
}

impl Keeper {
    pub fn new(pg: &Pg, identity: Identity) -> Result<Keeper, PgError> {
        Ok(Keeper { identity, workspace: Workspace::new(pg)?, payload: Vec::new() })
    }

    /// Answers one question. Nothing is kept of it but what Postgres caches.
    pub fn answer(&mut self, pg: &mut Pg, kind: JobKind, question: &[u8]) -> Answer {
        self.payload.clear();
        let outcome = match self.ask(pg, kind, question) {
            Ok(()) => Outcome::Ok,
            Err(error) => {
                self.payload = error.to_payload();
                Outcome::Error
            }
        };
        self.workspace.clear();
        report::idle(pg);
        Answer { outcome, untrusted: false, leaving: false }
    }

    fn ask(&mut self, pg: &mut Pg, kind: JobKind, question: &[u8]) -> Result<(), CallError> {
        let internal = |error: PgError| CallError::new(Kind::Internal, error.0.message);
        let question = std::str::from_utf8(question).map_err(|_| CallError::new(Kind::BadInput, "the question is not valid UTF-8"))?;
        let tx = pg.begin(&self.identity).map_err(internal)?;
        let limit = if kind == JobKind::Uses { LIMIT_OF_WRITING } else { LIMIT };
        let _deadline = Deadline::start(tx.pg(), Some(limit)).map_err(internal)?;
        let mut call =
            Call { workspace: &self.workspace, limits: config::limits(), read_only: true, hypothetical: false, out: &mut self.payload };
        let answered = if kind == JobKind::Uses { call.note_uses(tx, question) } else { call.who(tx, question) };
        answered.map_err(|failure| failure.into_call_error(None))
    }
}

impl Call<'_> {
    fn who(&mut self, mut tx: Tx, question: &str) -> Result<(), super::Failure> {
        tx.make_read_only()?;
        self.own(&mut tx, c"select mcp._keeper($1::pg_catalog.jsonb)", &[question])?;
        Ok(tx.finish()?)
    }

    fn note_uses(&mut self, mut tx: Tx, uses: &str) -> Result<(), super::Failure> {
        self.own(&mut tx, c"select mcp._tokens_used($1::pg_catalog.jsonb)", &[uses])?;
        Ok(tx.finish()?)
    }
}
