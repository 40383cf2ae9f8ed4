//! From what Postgres said to what a model can act on.

use mcp::error::{CallError, Kind};

use super::progress::TimeLimit;
use crate::pg::PgError;
use crate::pg::query::RunError;

/// A call that failed, before it is known whether its time was up.
pub struct Failure {
    cause: Cause,
    /// Which statement of several, from 1.
    statement: Option<usize>,
    command: &'static str,
    /// Why the call could only read.
    why_read_only: Option<&'static str>,
    /// Postgres' errors of this kind are about the call's arguments.
    about_arguments: bool,
}

enum Cause {
    Sql(PgError),
    Ours(CallError),
}

impl Failure {
    pub fn new(error: CallError) -> Failure {
        Failure { cause: Cause::Ours(error), statement: None, command: "", why_read_only: None, about_arguments: false }
    }

    pub fn about_arguments(mut self) -> Failure {
        self.about_arguments = true;
        self
    }

    /// Whether it may be the fault of an argument that its type could not take: a data exception, or what a domain forbids.
    pub fn may_be_an_argument(&self) -> bool {
        matches!(&self.cause, Cause::Sql(error) if !self.about_arguments && is_of_a_value(&error.0.sqlstate))
    }

    /// Whether Postgres said the same both times.
    pub fn says_the_same(&self, other: &Failure) -> bool {
        match (&self.cause, &other.cause) {
            (Cause::Sql(one), Cause::Sql(two)) => one.0.sqlstate == two.0.sqlstate && one.0.message == two.0.message,
            _ => false,
        }
    }

    /// It was this argument.
    pub fn of_argument(mut self, tool: &str, argument: &str) -> Failure {
        if let Cause::Sql(error) = &mut self.cause {
            error.0.message = format!("argument \"{argument}\" of tool \"{tool}\": {}", error.0.message);
            // The statement is not the caller's.
            (error.0.position, error.0.context) = (None, None);
        }
        self.about_arguments()
    }

    pub fn in_statement(mut self, command: &'static str, number: usize, of: usize) -> Failure {
        self.command = command;
        self.statement = (of > 1).then_some(number);
        self
    }

    /// Whether Postgres refused it for want of a privilege.
    pub fn is_permission(&self) -> bool {
        matches!(&self.cause, Cause::Sql(error) if error.0.sqlstate == "42501")
    }

    /// What to tell a caller who tried to write although the call could only read.
    pub fn because(mut self, why_read_only: Option<&'static str>) -> Failure {
        self.why_read_only = why_read_only;
        self
    }

    /// `time_is_up`: the limit that ended it, if one did.
    pub fn into_call_error(self, time_is_up: Option<TimeLimit>) -> CallError {
        let mut error = match self.cause {
            Cause::Ours(error) => error,
            Cause::Sql(error) => from_postgres(error, self.command, self.why_read_only, time_is_up, self.about_arguments),
        };
        error.statement = self.statement.and_then(|n| i32::try_from(n).ok());
        error
    }
}

impl From<PgError> for Failure {
    fn from(error: PgError) -> Failure {
        Failure { cause: Cause::Sql(error), statement: None, command: "", why_read_only: None, about_arguments: false }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        Failure::new(error)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        match error {
            RunError::Sql(error) => error.into(),
            RunError::Params(message) => Failure::new(CallError::new(Kind::BadInput, message)),
        }
    }
}

/// Class 22, data exception, and the constraints of a domain.
fn is_of_a_value(sqlstate: &str) -> bool {
    sqlstate.starts_with("22") || matches!(sqlstate, "23502" | "23514")
}

fn from_postgres(
    error: PgError,
    command: &str,
    why_read_only: Option<&'static str>,
    time_is_up: Option<TimeLimit>,
    about_arguments: bool,
) -> CallError {
    let report = *error.0;
    let overdue = time_is_up.filter(|_| report.sqlstate == "57014").map(TimeLimit::hint);
    let (kind, hint) = match report.sqlstate.as_str() {
        "57014" if overdue.is_some() => (Kind::Timeout, None),
        "57014" => (Kind::Cancelled, None),
        "25006" => (Kind::ReadOnly, why_read_only.or(Some("This call can only read."))),
        // SET TRANSACTION too late, which Postgres explains itself; else VACUUM, CREATE INDEX CONCURRENTLY, CREATE DATABASE and their like.
        "25001" if command != "SET" => (
            Kind::Sql,
            Some(
                "Every call runs inside a transaction, where this command cannot run. Use psql, or another client that runs it on its own.",
            ),
        ),
        // What the check itself raises, JSON that jsonb cannot hold, and values that are none of their type.
        code if about_arguments && is_of_a_value(code) => (Kind::BadInput, None),
        _ => (Kind::Sql, None),
    };
    CallError {
        kind,
        sqlstate: (kind != Kind::BadInput).then_some(report.sqlstate),
        message: report.message,
        detail: report.detail,
        hint: report.hint.or(overdue).or(hint.map(str::to_string)),
        context: report.context,
        position: report.position,
        constraint: report.constraint,
        schema: report.schema,
        table: report.table,
        column: report.column,
        statement: None,
        limit: None,
        retry_after_ms: None,
    }
}
