//! Tools that are SQL functions, and the list of tools: both are asked of the database, as the caller.

use std::ffi::CStr;

use mcp::error::{CallError, Kind};
use serde::Deserialize;

use super::failure::Failure;
use super::{Call, Untrusted, explain, sql};
use crate::pg::query::{ParamShape, Params, Statement};
use crate::pg::receiver::{Target, Value};
use crate::pg::{Tx, hook};

/// Longest list of tools, and longest description of one call.
const MAX_OWN: usize = 16 * 1024 * 1024;

/// What `mcp._tool_call` says of a tool.
#[derive(Deserialize)]
struct ToolCall {
    builtin: Option<String>,
    write: bool,
    statement: Option<String>,
}

/// Texts for `$1`, `$2` and so on.
struct Texts<'a>(&'a [&'a str]);

impl Params for Texts<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn text(&self, index: usize, _: ParamShape) -> Result<Option<String>, String> {
        Ok(self.0.get(index).map(|t| (*t).to_string()))
    }
}

impl Call<'_> {
    /// Runs the tool of this name.
    pub(super) fn tool(&mut self, tx: Tx, name: &str, arguments: &[u8]) -> Result<Untrusted, Failure> {
        match name {
            sql::TOOL => self.execute_sql(tx, arguments),
            explain::TOOL => self.explain_query(tx, arguments),
            _ => self.function(tx, name, arguments),
        }
    }

    /// The caller's tools, as MCP lists them.
    pub(super) fn list(&mut self, mut tx: Tx) -> Result<Untrusted, Failure> {
        tx.make_read_only()?;
        let _rules = hook::watch(tx.mode());
        self.own(&mut tx, c"select mcp._tools()", &[])?;
        tx.finish()?;
        Ok(false)
    }

    fn function(&mut self, mut tx: Tx, name: &str, arguments: &[u8]) -> Result<Untrusted, Failure> {
        let unknown = || Failure::new(CallError::new(Kind::UnknownTool, format!("there is no tool \"{}\"", clip(name))));
        if name.contains('\0') {
            return Err(unknown());
        }
        let arguments = std::str::from_utf8(arguments)
            .map_err(|_| Failure::new(CallError::new(Kind::BadInput, "the arguments are not valid UTF-8")))?;
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
        let found = self.own(&mut tx, c"select mcp._tool_call($1::pg_catalog.text, $2::pg_catalog.jsonb)", &[name, arguments]);
        if !found.map_err(|mut failure| {
            failure.about_arguments = true;
            failure
        })? {
            return Err(unknown());
        }
        let call: ToolCall = serde_json::from_slice(self.out)
            .map_err(|_| Failure::new(CallError::new(Kind::Internal, "the tool's description could not be read")))?;
        self.out.clear();
        let Some(statement) = call.statement else {
            let builtin = call.builtin.unwrap_or_default();
            return Err(Failure::new(CallError::new(
                Kind::Internal,
                format!("this version does not know the built-in tool \"{builtin}\""),
            )));
        };
        if !(call.write && self.may_write(&tx)) {
            tx.make_read_only()?;
        }
        let _rules = hook::watch(tx.mode());
        let statements = self.workspace.parse(&tx, &statement)?;
        let [statement] = statements.as_slice() else {
            return Err(Failure::new(CallError::new(Kind::Internal, "the tool's statement is not one statement")));
        };
        if !self.value(&mut tx, statement, &[arguments], self.limits.max_bytes)? {
            self.out.extend_from_slice(b"{\"result\":null}");
        }
        tx.finish()?;
        Ok(true)
    }

    /// Runs a statement of the extension itself.
    pub(super) fn own(&mut self, tx: &mut Tx, sql: &'static CStr, params: &[&str]) -> Result<bool, Failure> {
        let statements = self.workspace.parse_own(tx, sql)?;
        let [statement] = statements.as_slice() else {
            return Err(Failure::new(CallError::new(Kind::Internal, "not one statement")));
        };
        self.value(tx, statement, params, MAX_OWN)
    }

    /// Appends the one JSON value that a statement returns; `false` if it is null.
    fn value(&mut self, tx: &mut Tx, statement: &Statement, params: &[&str], max_length: usize) -> Result<bool, Failure> {
        let mut value = Value::new(self.out, self.workspace.row(), max_length);
        self.workspace.run(tx, statement, &Texts(params), Target::Value(&mut value))?;
        if value.too_long {
            let message = format!("the tool's result is longer than supabase_mcp.max_bytes = {max_length}");
            return Err(CallError::new(Kind::TooLarge, message).hint("Narrow the question with the tool's arguments.").into());
        }
        Ok(value.found)
    }
}

fn clip(text: &str) -> String {
    text.chars().take(100).collect()
}
