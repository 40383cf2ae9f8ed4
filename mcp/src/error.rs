//! What can go wrong with a call, in words a model can act on.
//!
//! One type from the executor to the client: the executor writes it as JSON into its reply, the gateway makes it for what happens on
//! its own side, and one place turns it into a tool result. Nothing here knows a transport.

use serde::{Deserialize, Serialize};

use crate::host::SpawnError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Postgres refused or failed the statement: `sqlstate` and `message` are its own.
    Sql,
    /// No tool of that name for this caller.
    UnknownTool,
    /// The caller may not do this.
    Denied,
    /// The arguments are not what the tool takes.
    BadInput,
    /// The call ran longer than its limit.
    Timeout,
    /// The client cancelled the call, or hung up.
    Cancelled,
    /// The process that ran the call was ended from outside.
    Terminated,
    /// A write where only reading is allowed.
    ReadOnly,
    /// An answer or a request beyond its cap.
    TooLarge,
    /// Nothing free to run the call in time; try again.
    Busy,
    /// The caller has used up what it may use for now: `limit` says of what, `retry_after_ms` until when.
    Limited,
    /// The database or the extension is not there, or does not take calls now.
    Unavailable,
    /// A fault of ours; the server log has the cause.
    Internal,
}

/// An error as the client sees it, inside `{"error": ...}` of the structured result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallError {
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where it happened: functions with their lines, innermost first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Position in characters, from 1, in the statement's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Which statement of the text failed, from 1, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<i32>,
    /// Which limit stands against the call: its name, its value and whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// When it makes sense to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl CallError {
    pub fn new(kind: Kind, message: impl Into<String>) -> CallError {
        CallError {
            kind,
            sqlstate: None,
            message: message.into(),
            detail: None,
            hint: None,
            context: None,
            position: None,
            constraint: None,
            schema: None,
            table: None,
            column: None,
            statement: None,
            limit: None,
            retry_after_ms: None,
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> CallError {
        self.hint = Some(hint.into());
        self
    }

    pub fn detail(mut self, detail: impl Into<String>) -> CallError {
        self.detail = Some(detail.into());
        self
    }

    pub fn sqlstate(mut self, sqlstate: impl Into<String>) -> CallError {
        self.sqlstate = Some(sqlstate.into());
        self
    }

    /// `{"error":{...}}`, one line.
    pub fn to_payload(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Wrapper<'a> {
            error: &'a CallError,
        }
        serde_json::to_vec(&Wrapper { error: self })
            .unwrap_or_else(|_| br#"{"error":{"kind":"internal","message":"error could not be written"}}"#.to_vec())
    }

    /// The text block: what psql would print, for clients that show the model only text.
    pub fn to_text(&self) -> String {
        let mut text = format!("ERROR: {}", self.message);
        if let Some(sqlstate) = &self.sqlstate {
            text.push_str(&format!(" (SQLSTATE {sqlstate})"));
        }
        if let Some(statement) = self.statement {
            text.push_str(&format!("\nSTATEMENT: number {statement} of the query"));
        }
        if let Some(position) = self.position {
            text.push_str(&format!("\nPOSITION: character {position}"));
        }
        for (label, value) in [("DETAIL", &self.detail), ("HINT", &self.hint), ("CONSTRAINT", &self.constraint), ("CONTEXT", &self.context)]
        {
            if let Some(value) = value {
                text.push_str(&format!("\n{label}: {value}"));
            }
        }
        text
    }
}

impl From<SpawnError> for CallError {
    fn from(error: SpawnError) -> CallError {
        match error {
            SpawnError::NoSlot => CallError::new(Kind::Busy, "no background worker slot is free")
                .sqlstate("53400")
                .hint("Try again shortly, or have an administrator raise max_worker_processes."),
            SpawnError::Died => CallError::new(Kind::Unavailable, "the process for this call could not start")
                .hint("The server log says why: the role may have lost LOGIN or CONNECT, or a library to preload is missing."),
            SpawnError::Unavailable => {
                CallError::new(Kind::Unavailable, "the server does not start processes now").hint("Try again shortly.")
            }
        }
    }
}

/// What is said where a process was ended after the commit and before its answer.
pub fn committed() -> CallError {
    CallError::new(Kind::Terminated, "the call was done and committed, but the process that ran it was ended before it could answer")
        .sqlstate("57P01")
        .hint("Do not repeat it.")
}

/// The error in a payload that an executor wrote.
pub fn from_payload(payload: &[u8]) -> Option<CallError> {
    #[derive(Deserialize)]
    struct Wrapper {
        error: CallError,
    }
    serde_json::from_slice::<Wrapper>(payload).ok().map(|w| w.error)
}
