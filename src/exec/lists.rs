//! What the caller can choose from: tools, prompts, resources, values that complete an argument, and the words on the database. All are
//! asked of the database, as the caller.

use std::ffi::CStr;

use mcp::error::{CallError, Kind};
use mcp::types::JobKind;

use super::failure::Failure;
use super::memory::{Asked, Memory};
use super::record::Known;
use super::{Call, Done};
use crate::pg::session::Ran;
use crate::pg::{Tx, hook};

const OWN: Done = Done { untrusted: false, ran: Ran::OwnCode };

/// What answers, and what a caller to whom nothing of the extension is granted gets; that is no error.
fn source(kind: JobKind) -> Option<(&'static CStr, &'static [u8])> {
    Some(match kind {
        JobKind::List => (c"select mcp._tools($1::pg_catalog.jsonb, $2::pg_catalog.bool)", b"[]"),
        JobKind::Prompts => (c"select mcp._prompts($1::pg_catalog.jsonb)", b"[]"),
        JobKind::Resources => (c"select mcp._resources($1::pg_catalog.jsonb)", b"[]"),
        JobKind::Templates => (c"select mcp._resource_templates($1::pg_catalog.jsonb)", b"[]"),
        JobKind::Instructions => (c"select mcp._instructions()", b"null"),
        _ => return None,
    })
}

impl Call<'_> {
    /// One list, whole: the gateway makes pages of it.
    pub(super) fn list(&mut self, mut tx: Tx, asked: Asked, memory: &mut Memory) -> Result<Done, Failure> {
        if let Some(list) = memory.list(asked) {
            self.out.extend_from_slice(list);
            return Ok(OWN);
        }
        let Some((question, nothing)) = source(asked.kind) else {
            return Err(Failure::new(CallError::new(Kind::Internal, "there is no such list")));
        };
        let only = if asked.only.is_empty() { "[]" } else { asked.only };
        let read_only = if self.why_read_only(&tx).is_some() { "true" } else { "false" };
        let params: &[&str] = match asked.kind {
            JobKind::Instructions => &[],
            JobKind::List => &[only, read_only],
            _ => &[only],
        };
        tx.make_read_only()?;
        let _rules = hook::watch(tx.mode());
        let found = match self.own(&mut tx, question, params) {
            Err(failure) if failure.is_permission() => false,
            found => found?,
        };
        if !found {
            self.out.clear();
            self.out.extend_from_slice(nothing);
            return Ok(OWN);
        }
        tx.finish()?;
        memory.remember_list(asked, self.out);
        Ok(OWN)
    }

    /// Values for an argument of a prompt or of a resource's URI. They depend on what is in the catalogs now, so nothing is remembered.
    pub(super) fn complete(&mut self, mut tx: Tx, asked: Asked, request: &[u8]) -> Result<Done, Failure> {
        let only = if asked.only.is_empty() { "[]" } else { asked.only };
        self.record(Known::Completion, request);
        let request = std::str::from_utf8(request)
            .map_err(|_| Failure::new(CallError::new(Kind::BadInput, "the request for completions is not valid UTF-8")))?;
        tx.make_read_only()?;
        let _rules = hook::watch(tx.mode());
        let found = match self.own(&mut tx, c"select mcp._complete($1::pg_catalog.jsonb, $2::pg_catalog.jsonb)", &[request, only]) {
            Err(failure) if failure.is_permission() => false,
            found => found.map_err(Failure::about_arguments)?,
        };
        if !found {
            self.out.clear();
            self.out.extend_from_slice(b"{\"values\":[]}");
        }
        self.finish(tx)?;
        Ok(OWN)
    }
}
