//! The tool `explain_query`: how Postgres would run one statement. Always read-only, with ANALYZE too.

use std::ffi::CStr;

use mcp::error::{CallError, Kind};

use super::args::{Arguments, ParamValues};
use super::failure::Failure;
use super::sql::denied;
use super::{Call, Done};
use crate::pg::privilege::{self, Gate};
use crate::pg::receiver::{Rows, Target};
use crate::pg::session::Ran;
use crate::pg::{Tx, hook};

pub const TOOL: &str = "explain_query";
const EXPLAINABLE: &str = "Plans are of SELECT, VALUES, TABLE, INSERT, UPDATE, DELETE, MERGE, CREATE TABLE AS, CREATE MATERIALIZED VIEW AS \
                           and DECLARE CURSOR.";
const ARGUMENTS: [&str; 5] = ["query", "params", "analyze", "format", "hypothetical_indexes"];

/// A measured statement that took longer is not run again for the sake of warnings.
const SHORT_MS: f64 = 1000.0;

/// Of other commands Postgres says "Utility statements have no plan structure", as if that were a plan.
fn has_plan(command: &str) -> bool {
    const PLANNED: [&str; 8] =
        ["INSERT", "UPDATE", "DELETE", "MERGE", "EXECUTE", "CREATE TABLE AS", "CREATE MATERIALIZED VIEW", "DECLARE CURSOR"];
    // SELECT INTO and SELECT FOR UPDATE are commands of their own.
    command == "SELECT" || command.starts_with("SELECT ") || PLANNED.contains(&command)
}

impl Call<'_> {
    pub(super) fn explain_query(&mut self, mut tx: Tx, arguments: &[u8]) -> Result<Done, Failure> {
        let mut arguments = Arguments::read(TOOL, &ARGUMENTS, arguments)?;
        let query = arguments.text("query")?;
        let params = arguments.params("params")?;
        let analyze = arguments.flag("analyze")?;
        let format = arguments.choice("format", &["text", "json"])?;
        let indexes = arguments.list("hypothetical_indexes")?;
        if !privilege::allows(&tx, Gate::ExplainQuery)? {
            return Err(denied(TOOL));
        }
        if analyze && indexes.is_some() {
            let error = CallError::new(Kind::BadInput, "a statement cannot be measured with hypothetical indexes");
            return Err(error.hint("Leave out either analyze or hypothetical_indexes.").into());
        }
        tx.make_read_only()?;
        let _rules = hook::watch(tx.mode());
        let made = match indexes {
            None => None,
            Some(indexes) => {
                self.hypothetical = true;
                let made = self.own(&mut tx, c"select mcp._hypothetical($1::pg_catalog.jsonb)", &[&indexes]);
                made.map_err(Failure::about_arguments)?;
                Some(std::mem::take(self.out))
            }
        };
        let Some(rows) = self.plan(&mut tx, &query, &params, frame(analyze, format))? else {
            let error =
                CallError::new(Kind::TooLarge, format!("the plan is longer than {} = {}", self.limits.bytes_name, self.limits.max_bytes));
            return Err(error.into());
        };
        let (plan, document) = self.written(&rows, format)?;
        self.out.extend_from_slice(b"{\"format\":\"");
        self.out.extend_from_slice(format.as_bytes());
        self.out.extend_from_slice(b"\",\"plan\":");
        self.out.extend_from_slice(plan.as_bytes());
        if let Some(made) = made {
            self.out.extend_from_slice(b",\"hypothetical_indexes\":");
            self.out.extend_from_slice(&made);
        }
        let document = match document {
            Some(document) => Some(document),
            None => {
                let measured = analyze && execution_ms(&plan).is_some_and(|ms| ms < SHORT_MS);
                // The same plan is longer in this form: one that is too long goes without warnings.
                let rows = self.plan(&mut tx, &query, &params, frame(measured, "json"))?;
                rows.map(|rows| self.written(&rows, "json")).transpose()?.map(|(document, _)| document)
            }
        };
        // Whoever was granted this tool and nothing else of schema mcp does without the warnings, too.
        let open = match document {
            Some(document) => self.warn(&mut tx, &document)?,
            None => true,
        };
        if open {
            self.finish(tx)?;
        }
        self.out.push(b'}');
        Ok(Done { untrusted: true, ran: Ran::Anything })
    }

    /// What the plan shows to be wrong, in words. `false`: the caller may not ask, and the transaction is over.
    fn warn(&mut self, tx: &mut Tx, document: &str) -> Result<bool, Failure> {
        let written = std::mem::take(self.out);
        let asked = self.own(tx, c"select mcp._plan_warnings($1::pg_catalog.jsonb)", &[document]);
        let warnings = std::mem::replace(self.out, written);
        match asked {
            Ok(found) => {
                if found && warnings != b"[]" {
                    self.out.extend_from_slice(b",\"warnings\":");
                    self.out.extend_from_slice(&warnings);
                }
                Ok(true)
            }
            Err(failure) if failure.is_permission() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Takes hypothetical indexes away again: they belong to the process, whatever became of the call.
    pub(super) fn forget_hypothetical(&mut self, mut tx: Tx) -> Result<(), Failure> {
        let answer = std::mem::take(self.out);
        tx.make_read_only()?;
        let outcome = self.own(&mut tx, c"select mcp._hypothetical('[]')", &[]);
        *self.out = answer;
        outcome?;
        Ok(tx.finish()?)
    }

    /// The rows of EXPLAIN for the one statement of a text: lines, or one JSON document. `None`: they are longer than an answer may be.
    fn plan(&mut self, tx: &mut Tx, query: &str, params: &ParamValues, frame: &'static CStr) -> Result<Option<Vec<u8>>, Failure> {
        let frame = self.workspace.parse_own(tx, frame)?;
        let mut statements = self.workspace.parse(tx, query)?;
        let (Some(statement), true, Some(frame)) = (statements.pop(), statements.is_empty(), frame.first()) else {
            return Err(CallError::new(Kind::BadInput, "explain_query takes exactly one statement").into());
        };
        if statement.command() == "EXPLAIN" {
            return Err(CallError::new(Kind::BadInput, "give the statement without EXPLAIN").into());
        }
        if !has_plan(statement.command()) {
            let error = CallError::new(Kind::BadInput, format!("{} has no plan to explain", statement.command()));
            return Err(error.hint(EXPLAINABLE).into());
        }
        let statement = statement.explained_by(frame)?;

        let mut rows = Vec::new();
        let mut receiver = Rows::new(&mut rows, self.workspace.row(), u64::MAX, self.limits.max_bytes);
        let ran = self.workspace.run(tx, &statement, params, Target::Rows(&mut receiver));
        ran.map_err(|error| Failure::from(error).because(Some("explain_query never writes, not even to measure.")))?;
        let cut = receiver.cut.is_some();
        Ok((!cut).then_some(rows))
    }

    /// The plan as a JSON value, and the document if it is one.
    fn written(&self, rows: &[u8], format: &str) -> Result<(String, Option<String>), Failure> {
        #[derive(serde::Deserialize)]
        struct Lines<'a> {
            #[serde(borrow)]
            rows: Vec<[&'a serde_json::value::RawValue; 1]>,
        }
        let unreadable = || Failure::new(CallError::new(Kind::Internal, "the plan could not be read"));
        // The receiver writes an object's inner part without its last bracket.
        let mut object = Vec::with_capacity(rows.len() + 3);
        object.push(b'{');
        object.extend_from_slice(rows.strip_prefix(b",").unwrap_or(rows));
        object.extend_from_slice(b"]}");
        let lines: Lines = serde_json::from_slice(&object).map_err(|_| unreadable())?;
        if format == "json" {
            let [document] = lines.rows.first().ok_or_else(unreadable)?;
            return Ok((document.get().into(), Some(document.get().into())));
        }
        let mut text = String::new();
        for [line] in &lines.rows {
            let line: String = serde_json::from_str(line.get()).map_err(|_| unreadable())?;
            text.push_str(&line);
            text.push('\n');
        }
        Ok((serde_json::Value::from(text.trim_end()).to_string(), None))
    }
}

fn frame(analyze: bool, format: &str) -> &'static CStr {
    match (analyze, format) {
        (false, "json") => c"explain (format json) select",
        (false, _) => c"explain select",
        (true, "json") => c"explain (analyze, buffers, format json) select",
        (true, _) => c"explain (analyze, buffers) select",
    }
}

/// From the last line of a measured plan.
fn execution_ms(plan: &str) -> Option<f64> {
    plan.rsplit_once("Execution Time: ")?.1.split(' ').next()?.parse().ok()
}
