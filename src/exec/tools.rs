//! Tools, prompts and resources that are SQL functions: what they are is asked of the database, as the caller.

use std::ffi::CStr;

use mcp::error::{CallError, Kind};
use mcp::types::JobKind;

use super::failure::Failure;
use super::memory::{Asked, FunctionCall, Memory};
use super::record::Known;
use super::{Call, Done, explain, sql};
use crate::pg::query::{ParamShape, Params, Statement};
use crate::pg::receiver::{Target, Value};
use crate::pg::session::Ran;
use crate::pg::{Tx, hook};

/// Longest list of tools, and longest description of one call.
const MAX_OWN: usize = 16 * 1024 * 1024;

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

/// Whether a tool of this name is one that the database runs.
pub(super) fn is_function(name: &str) -> bool {
    name != sql::TOOL && name != explain::TOOL
}

impl Call<'_> {
    /// Runs the tool of this name.
    pub(super) fn tool(&mut self, mut tx: Tx, asked: Asked, arguments: &[u8], memory: &mut Memory) -> Result<Done, Failure> {
        if is_function(asked.name) {
            return self.function(tx, asked, arguments, memory);
        }
        self.record(Known::Sql, arguments);
        if !asked.only.is_empty() && !self.allowed(&mut tx, asked, memory)? {
            return Err(unknown(asked));
        }
        match asked.name {
            sql::TOOL => self.execute_sql(tx, arguments),
            _ => self.explain_query(tx, arguments),
        }
    }

    /// Whether the caller's toolset has a tool that the executor runs itself.
    fn allowed(&mut self, tx: &mut Tx, asked: Asked, memory: &mut Memory) -> Result<bool, Failure> {
        if let Some(allowed) = memory.allowed(asked) {
            return Ok(allowed);
        }
        let question = c"select pg_catalog.to_jsonb(mcp._tool_allowed($1::pg_catalog.text, $2::pg_catalog.jsonb))";
        let allowed = match self.own(tx, question, &[asked.name, asked.only]) {
            Err(failure) if failure.is_permission() => false,
            found => found? && self.out.as_slice() == b"true",
        };
        self.out.clear();
        memory.remember_allowed(asked, allowed);
        Ok(allowed)
    }

    /// Runs the function behind a tool, a prompt or a resource.
    pub(super) fn function(&mut self, mut tx: Tx, asked: Asked, arguments: &[u8], memory: &mut Memory) -> Result<Done, Failure> {
        if asked.name.contains('\0') {
            return Err(unknown(asked));
        }
        let arguments = std::str::from_utf8(arguments)
            .map_err(|_| Failure::new(CallError::new(Kind::BadInput, "the arguments are not valid UTF-8")))?;
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
        let call = match memory.call(asked, arguments, self.limits.max_rows) {
            Some(call) => call,
            None => {
                let call = self.describe(&mut tx, asked, arguments)?.ok_or_else(|| unknown(asked))?;
                memory.remember_call(asked, arguments, &call);
                call
            }
        };
        self.record(if call.sql { Known::Sql } else { Known::of(asked.kind, &call.secret) }, arguments.as_bytes());
        let arguments = call.arguments.as_deref().map_or(arguments, serde_json::value::RawValue::get);
        let Some(statement) = call.statement else {
            let builtin = call.builtin.unwrap_or_default();
            return Err(Failure::new(CallError::new(
                Kind::Internal,
                format!("this version does not know the built-in tool \"{builtin}\""),
            )));
        };
        let why_read_only = match (asked.kind, call.write) {
            (_, true) => self.why_read_only(&tx),
            (JobKind::Call, false) => Some("This tool only reads: its function is STABLE or IMMUTABLE."),
            (_, false) => Some("Prompts and resources only read."),
        };
        match why_read_only {
            Some(_) => tx.make_read_only()?,
            None => self.ask(&tx)?,
        }
        let _rules = hook::watch(tx.mode());
        let statements = self.workspace.parse(&tx, &statement)?;
        let [statement] = statements.as_slice() else {
            return Err(Failure::new(CallError::new(Kind::Internal, "the tool's statement is not one statement")));
        };
        let found = self.value(&mut tx, statement, &[arguments], self.limits.max_bytes);
        let found = found.map_err(|failure| failure.because(why_read_only))?;
        if !found && asked.kind == JobKind::Resource {
            return Err(unknown(asked));
        }
        if !found {
            self.out.extend_from_slice(b"{\"result\":null}");
        }
        self.finish(tx)?;
        let ran = if call.ours { Ran::OwnCode } else { Ran::Anything };
        Ok(Done { untrusted: true, ran })
    }

    /// Asks the database what is called and which statement calls it with these arguments. `None`: the caller has no such thing.
    fn describe(&mut self, tx: &mut Tx, asked: Asked, arguments: &str) -> Result<Option<FunctionCall>, Failure> {
        let only = if asked.only.is_empty() { "[]" } else { asked.only };
        let (question, params): (_, &[&str]) = match asked.kind {
            JobKind::Resource => (c"select mcp._resource_call($1::pg_catalog.text, $2::pg_catalog.jsonb)", &[asked.name, only]),
            JobKind::Prompt => (
                c"select mcp._prompt_call($1::pg_catalog.text, $2::pg_catalog.jsonb, $3::pg_catalog.jsonb)",
                &[asked.name, arguments, only],
            ),
            _ => {
                (c"select mcp._tool_call($1::pg_catalog.text, $2::pg_catalog.jsonb, $3::pg_catalog.jsonb)", &[asked.name, arguments, only])
            }
        };
        match self.own(tx, question, params) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(failure) if failure.is_permission() => return Ok(None),
            Err(failure) => return Err(failure.about_arguments()),
        }
        let call = serde_json::from_slice(self.out);
        self.out.clear();
        call.map(Some).map_err(|_| Failure::new(CallError::new(Kind::Internal, "the function's description could not be read")))
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
    pub(super) fn value(&mut self, tx: &mut Tx, statement: &Statement, params: &[&str], max_length: usize) -> Result<bool, Failure> {
        let mut value = Value::new(self.out, self.workspace.row(), max_length);
        self.workspace.run(tx, statement, &Texts(params), Target::Value(&mut value))?;
        if value.too_long {
            let message = format!("the tool's result is longer than {} = {max_length}", self.limits.bytes_name);
            return Err(CallError::new(Kind::TooLarge, message).hint("Narrow the question with the tool's arguments.").into());
        }
        Ok(value.found)
    }
}

fn unknown(asked: Asked) -> Failure {
    let what = match asked.kind {
        JobKind::Prompt => "prompt",
        JobKind::Resource => "resource",
        _ => "tool",
    };
    Failure::new(CallError::new(Kind::UnknownTool, format!("there is no {what} \"{}\"", clip(asked.name))))
}

fn clip(text: &str) -> String {
    text.chars().take(100).collect()
}
