//! Tools that are SQL functions, and the list of tools: both are asked of the database, as the caller.

use std::ffi::CStr;

use mcp::error::{CallError, Kind};
use serde::Deserialize;

use super::failure::Failure;
use super::{Call, Done, explain, sql};
use crate::pg::query::{ParamShape, Params, Statement};
use crate::pg::receiver::{Target, Value};
use crate::pg::session::Ran;
use crate::pg::{Tx, hook};

/// Descriptions of calls that are remembered, and the longest arguments to remember one for.
const MAX_CALLS: usize = 16;
const MAX_REMEMBERED: usize = 1024;

/// Longest list of tools, and longest description of one call.
const MAX_OWN: usize = 16 * 1024 * 1024;

/// What `mcp._tool_call` says of a tool.
#[derive(Clone, Deserialize)]
struct ToolCall {
    builtin: Option<String>,
    /// It is a function of schema mcp, in which nobody but the extension's owner can create any.
    ours: bool,
    write: bool,
    statement: Option<String>,
}

struct Remembered {
    tool: String,
    arguments: String,
    call: ToolCall,
}

/// What the database said about tools, for as long as nothing in its catalogs has changed. One role, one process: it is never asked for
/// another role.
#[derive(Default)]
pub struct Memory {
    list: Option<Vec<u8>>,
    calls: Vec<Remembered>,
    /// The one setting that a tool's statement depends on.
    max_rows: u64,
}

impl Memory {
    /// Something may have changed.
    pub fn forget(&mut self) {
        *self = Memory::default();
    }

    fn call(&mut self, tool: &str, arguments: &str, max_rows: u64) -> Option<ToolCall> {
        if self.max_rows != max_rows {
            self.calls.clear();
            self.max_rows = max_rows;
        }
        let found = self.calls.iter().find(|r| r.tool == tool && r.arguments == arguments)?;
        Some(found.call.clone())
    }

    fn remember(&mut self, tool: &str, arguments: &str, call: &ToolCall) {
        if tool.len() + arguments.len() > MAX_REMEMBERED {
            return;
        }
        if self.calls.len() == MAX_CALLS {
            self.calls.remove(0);
        }
        self.calls.push(Remembered { tool: tool.into(), arguments: arguments.into(), call: call.clone() });
    }
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

/// Whether a tool of this name is one that the database runs.
pub(super) fn is_function(name: &str) -> bool {
    name != sql::TOOL && name != explain::TOOL
}

impl Call<'_> {
    /// Runs the tool of this name.
    pub(super) fn tool(&mut self, tx: Tx, name: &str, arguments: &[u8], memory: &mut Memory) -> Result<Done, Failure> {
        match name {
            sql::TOOL => self.execute_sql(tx, arguments),
            explain::TOOL => self.explain_query(tx, arguments),
            _ => self.function(tx, name, arguments, memory),
        }
    }

    /// The caller's tools, as MCP lists them.
    pub(super) fn list(&mut self, mut tx: Tx, memory: &mut Memory) -> Result<Done, Failure> {
        if let Some(list) = &memory.list {
            self.out.extend_from_slice(list);
            return Ok(Done { untrusted: false, ran: Ran::OwnCode });
        }
        tx.make_read_only()?;
        let _rules = hook::watch(tx.mode());
        match self.own(&mut tx, c"select mcp._tools()", &[]) {
            // A role to which nothing of the extension is granted has no tools; that is no error.
            Err(failure) if failure.is_permission() => {
                self.out.clear();
                self.out.extend_from_slice(b"[]");
                return Ok(Done { untrusted: false, ran: Ran::OwnCode });
            }
            outcome => outcome?,
        };
        tx.finish()?;
        memory.list = Some(self.out.clone());
        Ok(Done { untrusted: false, ran: Ran::OwnCode })
    }

    fn function(&mut self, mut tx: Tx, name: &str, arguments: &[u8], memory: &mut Memory) -> Result<Done, Failure> {
        let unknown = || Failure::new(CallError::new(Kind::UnknownTool, format!("there is no tool \"{}\"", clip(name))));
        if name.contains('\0') {
            return Err(unknown());
        }
        let arguments = std::str::from_utf8(arguments)
            .map_err(|_| Failure::new(CallError::new(Kind::BadInput, "the arguments are not valid UTF-8")))?;
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
        let call = match memory.call(name, arguments, self.limits.max_rows) {
            Some(call) => call,
            None => {
                let call = self.describe(&mut tx, name, arguments)?.ok_or_else(unknown)?;
                memory.remember(name, arguments, &call);
                call
            }
        };
        let Some(statement) = call.statement else {
            let builtin = call.builtin.unwrap_or_default();
            return Err(Failure::new(CallError::new(
                Kind::Internal,
                format!("this version does not know the built-in tool \"{builtin}\""),
            )));
        };
        let why_read_only = match call.write {
            true => self.why_read_only(&tx),
            false => Some("This tool only reads: its function is STABLE or IMMUTABLE."),
        };
        if why_read_only.is_some() {
            tx.make_read_only()?;
        }
        let _rules = hook::watch(tx.mode());
        let statements = self.workspace.parse(&tx, &statement)?;
        let [statement] = statements.as_slice() else {
            return Err(Failure::new(CallError::new(Kind::Internal, "the tool's statement is not one statement")));
        };
        let found = self.value(&mut tx, statement, &[arguments], self.limits.max_bytes);
        if !found.map_err(|failure| failure.because(why_read_only))? {
            self.out.extend_from_slice(b"{\"result\":null}");
        }
        tx.finish()?;
        let ran = if call.ours { Ran::OwnCode } else { Ran::Anything };
        Ok(Done { untrusted: true, ran })
    }

    /// Asks the database what the tool is and which statement calls it with these arguments. `None`: the caller has no such tool.
    fn describe(&mut self, tx: &mut Tx, name: &str, arguments: &str) -> Result<Option<ToolCall>, Failure> {
        let found = self.own(tx, c"select mcp._tool_call($1::pg_catalog.text, $2::pg_catalog.jsonb)", &[name, arguments]);
        match found {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(failure) if failure.is_permission() => return Ok(None),
            Err(failure) => return Err(failure.about_arguments()),
        }
        let call = serde_json::from_slice(self.out);
        self.out.clear();
        call.map(Some).map_err(|_| Failure::new(CallError::new(Kind::Internal, "the tool's description could not be read")))
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

fn clip(text: &str) -> String {
    text.chars().take(100).collect()
}
