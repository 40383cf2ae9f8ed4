//! What the database said about tools, prompts and resources, for as long as nothing in its catalogs has changed.
//!
//! Of one executor: one role, one process, so it is never asked for another role. Forgotten as a whole at the first invalidation.

use mcp::types::JobKind;
use serde::Deserialize;

/// Descriptions of calls that are remembered, and the longest arguments to remember one for.
const MAX_CALLS: usize = 16;
const MAX_REMEMBERED: usize = 1024;
/// Lists that are remembered: clients of one role may ask for a few toolsets.
const MAX_LISTS: usize = 8;

/// What `mcp._tool_call` and its like say of a function.
#[derive(Clone, Deserialize)]
pub(super) struct FunctionCall {
    pub builtin: Option<String>,
    /// It is a function of schema mcp, in which nobody but the extension's owner can create any, and runs no text of the caller's.
    pub ours: bool,
    pub write: bool,
    /// It runs or reads SQL text of the caller's.
    #[serde(default)]
    pub sql: bool,
    /// Its arguments whose values are nowhere recorded.
    #[serde(default)]
    pub secret: Vec<String>,
    pub statement: Option<String>,
    /// The statement's parameter, where it is not what the caller gave: what a URI stands for.
    #[serde(default)]
    pub arguments: Option<Box<serde_json::value::RawValue>>,
}

/// What is asked for, apart from its arguments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    pub kind: JobKind,
    /// Of what: a tool, a prompt, a resource. Empty for lists.
    pub name: &'a str,
    /// The toolsets that the caller is kept to, or nothing.
    pub only: &'a str,
    /// The caller can only read.
    pub read_only: bool,
}

/// The same, kept.
struct Question {
    kind: JobKind,
    name: String,
    only: String,
    read_only: bool,
}

impl Question {
    fn new(asked: Asked) -> Question {
        Question { kind: asked.kind, name: asked.name.into(), only: asked.only.into(), read_only: asked.read_only }
    }

    fn is(&self, asked: Asked) -> bool {
        let own = Asked { kind: self.kind, name: &self.name, only: &self.only, read_only: self.read_only };
        own == asked
    }
}

#[derive(Default)]
pub struct Memory {
    lists: Vec<(Question, Vec<u8>)>,
    calls: Vec<(Question, String, FunctionCall)>,
    /// Whether a toolset has a tool that the executor runs itself.
    allowed: Vec<(Question, bool)>,
    /// The one setting that a function's statement depends on.
    max_rows: u64,
}

fn keep<T>(place: &mut Vec<T>, most: usize, item: T) {
    if place.len() >= most {
        place.remove(0);
    }
    place.push(item);
}

impl Memory {
    /// Something may have changed.
    pub fn forget(&mut self) {
        *self = Memory::default();
    }

    pub(super) fn list(&self, asked: Asked) -> Option<&[u8]> {
        self.lists.iter().find(|(question, _)| question.is(asked)).map(|(_, list)| list.as_slice())
    }

    pub(super) fn remember_list(&mut self, asked: Asked, list: &[u8]) {
        keep(&mut self.lists, MAX_LISTS, (Question::new(asked), list.to_vec()));
    }

    pub(super) fn call(&mut self, asked: Asked, arguments: &str, max_rows: u64) -> Option<FunctionCall> {
        if self.max_rows != max_rows {
            self.calls.clear();
            self.max_rows = max_rows;
        }
        let found = self.calls.iter().find(|(question, given, _)| given == arguments && question.is(asked))?;
        Some(found.2.clone())
    }

    pub(super) fn remember_call(&mut self, asked: Asked, arguments: &str, call: &FunctionCall) {
        if asked.name.len() + arguments.len() <= MAX_REMEMBERED {
            keep(&mut self.calls, MAX_CALLS, (Question::new(asked), arguments.into(), call.clone()));
        }
    }

    pub(super) fn allowed(&self, asked: Asked) -> Option<bool> {
        self.allowed.iter().find(|(question, _)| question.is(asked)).map(|(_, allowed)| *allowed)
    }

    pub(super) fn remember_allowed(&mut self, asked: Asked, allowed: bool) {
        keep(&mut self.allowed, MAX_CALLS, (Question::new(asked), allowed));
    }
}
