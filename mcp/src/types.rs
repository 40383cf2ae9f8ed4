//! The plain data that crosses the border between the gateway's threads, its Postgres main thread and the other processes.
//!
//! The ground floor of this crate: no I/O, no runtime, no policy. Both ends of every socket are built from the same source, so the
//! shapes need no version of their own; a process of an older build is replaced, never spoken to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::keyed::Key;

/// What an executor or a keeper is asked to do. The tool's arguments follow the header as raw JSON bytes and are not part of it, so
/// that the gateway never parses what only the executor needs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Job {
    /// Number of the call, unique within the gateway's life.
    pub id: u64,
    pub kind: JobKind,
    /// What is called: name of a tool or of a prompt, or the URI of a resource; empty for lists.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tool: String,
    /// The toolsets that the caller is kept to, as a JSON array of arrays of names; empty: to none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub only: String,
    /// The token or the URL forbids writing, whatever the role may.
    #[serde(default)]
    pub read_only: bool,
    /// Shown as `application_name`: the MCP client's name and version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// OID of the role to run as; 0 for a direct executor, which already is that role.
    #[serde(default)]
    pub role: u32,
    /// The caller's own id of the request, as it wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request: String,
    /// Headers of the HTTP request as a JSON object, for callers whose policies may ask for them; without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<String>,
    /// Who calls. Left out when it is the same as in the job before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<Box<About>>,
    #[serde(default, skip_serializing_if = "Caps::is_none")]
    pub caps: Caps,
    /// Ask before anything that may write begins: its intent has to be recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ask: bool,
}

/// A call that may write is about to begin: what its executor tells the gateway, and then waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ask {
    pub id: u64,
    /// Number of the transaction that it runs in.
    pub xid: u64,
    #[serde(default)]
    pub recorded: Recorded,
}

/// The gateway's word: begin, or fail with this error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Word {
    pub id: u64,
    pub refused: Option<crate::error::CallError>,
}

/// What may be recorded of a call's arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// All of them.
    #[default]
    AsIs,
    /// This instead: JSON with hashes in the place of what is secret.
    Instead(String),
    /// Nothing: nobody could say what is secret.
    Nothing,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What an executor tells of a call besides its answer, for the record.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Microseconds from the job to the end of its transaction, without the wait for the intent.
    #[serde(rename = "t")]
    pub run_us: u64,
    /// Rows in the answer.
    #[serde(default, rename = "r", skip_serializing_if = "is_zero")]
    pub rows: u64,
    #[serde(default, rename = "q", skip_serializing_if = "is_zero")]
    pub queryid: i64,
    /// Tables that were touched, as JSON.
    #[serde(default, rename = "o", skip_serializing_if = "String::is_empty")]
    pub objects: String,
    /// Rows changed by table, as JSON.
    #[serde(default, rename = "c", skip_serializing_if = "String::is_empty")]
    pub changed: String,
    #[serde(default, rename = "w", skip_serializing_if = "is_zero")]
    pub wal_bytes: u64,
    /// The call could write, and was committed.
    #[serde(default, rename = "k", skip_serializing_if = "is_zero")]
    pub committed: bool,
    #[serde(default, rename = "a", skip_serializing_if = "is_zero")]
    pub recorded: Recorded,
}

/// What is known of a caller besides the role: what `mcp.current_caller()` shows, and the settings that its SQL can read and not change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// `token:<id>`, `peer:<uid>`, `password:<role>`, `jwt:<issuer>:<subject>` or `anonymous`.
    pub principal: String,
    /// Label of the token, or name of the operating system user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// `sub` of a JSON Web Token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Locked settings by name. Those that other callers of the database carry and this one does not are here with an empty value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// What secrets are hashed with before they are recorded. For the executor's memory alone: no SQL gets at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_key: Option<Key>,
}

/// What one call may cost, below what the server and the role allow anyway. `None`: no limit of the caller's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl Caps {
    pub fn is_none(&self) -> bool {
        *self == Caps::default()
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// `tools/call`.
    #[default]
    Call,
    /// `tools/list`.
    List,
    /// `prompts/list`.
    Prompts,
    /// `prompts/get`.
    Prompt,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    Templates,
    /// `resources/read`.
    Resource,
    /// `completion/complete`; the arguments are its parameters.
    Complete,
    /// What the database's administrator tells clients about it: `mcp._instructions()`.
    Instructions,
    /// A question to the keeper: `mcp._keeper(jsonb)`.
    Keeper,
    /// When tokens were last used, for the keeper to write down: `mcp._tokens_used(jsonb)`.
    Uses,
    /// Rows of the audit trail, for the keeper to write down: lines as COPY writes them, without their ids, and a [`BatchHead`] behind the last.
    /// The answer is [`Written`].
    Audit,
    /// `{"running": [ids], "left": {id: outcome}}`: intents whose calls still run, and how those ended that were lost. The keeper gives an outcome to all
    /// others that lack one.
    Settle,
    /// Have the keeper seal what it has written.
    Seal,
}

impl JobKind {
    /// The protocol's name for what a caller asked.
    pub fn method(self) -> &'static str {
        match self {
            JobKind::Call => "tools/call",
            JobKind::List => "tools/list",
            JobKind::Prompts => "prompts/list",
            JobKind::Prompt => "prompts/get",
            JobKind::Resources => "resources/list",
            JobKind::Templates => "resources/templates/list",
            JobKind::Resource => "resources/read",
            JobKind::Complete => "completion/complete",
            JobKind::Instructions => "initialize",
            JobKind::Keeper | JobKind::Uses | JobKind::Audit | JobKind::Settle | JobKind::Seal => "keeper",
        }
    }

    /// Whether it leaves a record: not lists, nor what the gateway itself asks.
    pub fn is_recorded(self) -> bool {
        matches!(self, JobKind::Call | JobKind::Prompt | JobKind::Resource | JobKind::Complete)
    }
}

/// What the keeper must know of rows before it writes them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BatchHead {
    /// Names the batch: one that was written already is not written again.
    pub batch: String,
    pub rows: u64,
    /// Time of the earliest and the latest row, as text.
    pub first: String,
    pub last: String,
    /// Rows of mcp._audit_callers that the keeper may not have seen yet.
    pub callers: Vec<Box<serde_json::value::RawValue>>,
}

impl BatchHead {
    /// The day that all rows are of; empty if they are of several.
    pub fn day(&self) -> &str {
        let (first, last) = (self.first.get(..10).unwrap_or_default(), self.last.get(..10).unwrap_or_default());
        if first == last { first } else { "" }
    }
}

/// What became of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Written {
    /// On disk; the first has this id, the others follow.
    From(i64),
    /// The server is a standby: nothing can be written.
    Standby,
}

/// The header of an answer; the payload follows it as raw bytes: one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reply {
    pub id: u64,
    pub outcome: Outcome,
    /// The payload carries values out of tables, to be marked as data for the model.
    #[serde(default)]
    pub untrusted: bool,
    /// The process ends by itself after this reply.
    #[serde(default)]
    pub leaving: bool,
    /// Of a call that was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Box<Facts>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The payload is the result.
    Ok,
    /// The payload is `{"error":{...}}`: a [`CallError`](crate::error::CallError).
    Error,
    /// Nothing ran: roles, tokens or the peer map changed. Authenticate again, then send the job again.
    Stale,
    /// Nothing ran: the process must be replaced (its role's settings changed). Send the job to a new one.
    Retire,
}

/// How a process stands for its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Connected as the role itself: a LOGIN role that stands for one principal.
    Direct,
    /// Connected as the bridge role; becomes the target inside each transaction. For roles that cannot log in.
    Bridge,
    /// Connected as the bootstrap superuser; runs `mcp._keeper` and nothing else.
    Keeper,
}

impl Form {
    /// The letter that stands for the form in `bgw_extra`.
    pub fn letter(self) -> char {
        match self {
            Form::Direct => 'd',
            Form::Bridge => 'b',
            Form::Keeper => 'k',
        }
    }

    pub fn from_letter(letter: &str) -> Option<Form> {
        match letter {
            "d" => Some(Form::Direct),
            "b" => Some(Form::Bridge),
            "k" => Some(Form::Keeper),
            _ => None,
        }
    }
}

/// What a new process is told at its start, as text in `bgw_extra` (at most 127 bytes):
/// `<database oid> <role oid> <form> <secret>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    pub database: u32,
    /// The role to connect as; 0 for a keeper.
    pub role: u32,
    pub form: Form,
    /// 32 hexadecimal digits, good for one hello.
    pub secret: String,
}

impl Ticket {
    pub fn to_extra(&self) -> String {
        format!("{} {} {} {}", self.database, self.role, self.form.letter(), self.secret)
    }

    pub fn from_extra(text: &str) -> Option<Ticket> {
        let mut words = text.split(' ');
        let ticket = Ticket {
            database: words.next()?.parse().ok()?,
            role: words.next()?.parse().ok()?,
            form: Form::from_letter(words.next()?)?,
            secret: words.next().filter(|s| s.len() == 32)?.to_string(),
        };
        words.next().is_none().then_some(ticket)
    }
}

/// First frame of a child process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    pub secret: String,
}

/// First and only frame of an SQL function that speaks to the gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AdminCommand {
    /// `status`, `drain`, `off` or `on`.
    pub command: String,
    #[serde(default)]
    pub database: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticket_survives_bgw_extra() {
        let ticket = Ticket { database: u32::MAX, role: u32::MAX, form: Form::Bridge, secret: "a".repeat(32) };
        let extra = ticket.to_extra();
        assert!(extra.len() < 128, "bgw_extra would lose its terminator");
        assert_eq!(Ticket::from_extra(&extra), Some(ticket));
    }

    #[test]
    fn torn_ticket_is_refused() {
        for text in [
            "",
            "5",
            "5 10",
            "5 10 d",
            "5 10 d short",
            "x 10 d aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "5 10 z aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(Ticket::from_extra(text), None, "{text:?}");
        }
    }
}
