//! How a call ended, in the words of the audit trail and of the statistics. Plain data, no decisions but the one table below.

use std::time::Duration;

use crate::error::{CallError, Kind};
use crate::types::JobKind;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Ok,
    Error,
    Cancelled,
    Timeout,
    /// The client hung up.
    Disconnected,
    /// By a rule: no such tool, read only, a limit, no room.
    Refused,
    /// Its process was ended.
    Terminated,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Error => "error",
            Outcome::Cancelled => "cancelled",
            Outcome::Timeout => "timeout",
            Outcome::Disconnected => "disconnected",
            Outcome::Refused => "refused",
            Outcome::Terminated => "terminated",
        }
    }

    pub fn of(error: &CallError) -> Outcome {
        match error.kind {
            Kind::Sql | Kind::BadInput | Kind::TooLarge | Kind::Internal => Outcome::Error,
            Kind::UnknownTool | Kind::Denied | Kind::ReadOnly | Kind::Busy | Kind::Limited | Kind::Unavailable => Outcome::Refused,
            Kind::Timeout => Outcome::Timeout,
            Kind::Cancelled => Outcome::Cancelled,
            Kind::Terminated => Outcome::Terminated,
        }
    }
}

/// One call that is over, as the statistics count it.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    pub database: &'a str,
    /// Empty where the credential stood for nobody.
    pub role: &'a str,
    pub principal: &'a str,
    pub client: &'a str,
    pub kind: JobKind,
    /// Name of the tool or the prompt, URI of the resource; a caller chooses it, so there may be any number of them.
    pub tool: &'a str,
    pub outcome: Outcome,
    pub writes: bool,
    pub rows: u64,
    pub bytes: u64,
    /// Login, waiting for a process, recording the intent.
    pub queue: Duration,
    /// Work in the database.
    pub run: Duration,
    /// From the request to the answer.
    pub total: Duration,
    /// A process was started for it.
    pub cold: bool,
}
