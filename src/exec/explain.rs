//! The tool `explain_query`: how Postgres would run one statement. Always read-only, with ANALYZE too.

use mcp::error::{CallError, Kind};

use super::args::Arguments;
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
const ARGUMENTS: [&str; 4] = ["query", "params", "analyze", "format"];

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
        if !privilege::allows(&tx, Gate::ExplainQuery)? {
            return Err(denied(TOOL));
        }
        tx.make_read_only()?;
        let _rules = hook::watch(tx.mode());
        let frame = match (analyze, format) {
            (false, "json") => c"explain (format json) select",
            (false, _) => c"explain select",
            (true, "json") => c"explain (analyze, buffers, format json) select",
            (true, _) => c"explain (analyze, buffers) select",
        };
        let frame = self.workspace.parse_own(&tx, frame)?;
        let mut statements = self.workspace.parse(&tx, &query)?;
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

        // Rows of one column: lines of text, or one JSON document.
        let mut rows = Vec::new();
        let mut receiver = Rows::new(&mut rows, self.workspace.row(), u64::MAX, self.limits.max_bytes);
        let ran = self.workspace.run(&mut tx, &statement, &params, Target::Rows(&mut receiver));
        ran.map_err(|error| Failure::from(error).because(Some("explain_query never writes, not even to measure.")))?;
        if receiver.cut.is_some() {
            let error =
                CallError::new(Kind::TooLarge, format!("the plan is longer than {} = {}", self.limits.bytes_name, self.limits.max_bytes));
            return Err(error.into());
        }
        self.write_plan(&rows, format)?;
        tx.finish()?;
        Ok(Done { untrusted: true, ran: Ran::Anything })
    }

    fn write_plan(&mut self, rows: &[u8], format: &str) -> Result<(), Failure> {
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
        self.out.extend_from_slice(b"{\"format\":\"");
        self.out.extend_from_slice(format.as_bytes());
        self.out.extend_from_slice(b"\",\"plan\":");
        if format == "json" {
            let [document] = lines.rows.first().ok_or_else(unreadable)?;
            self.out.extend_from_slice(document.get().as_bytes());
        } else {
            let mut text = String::new();
            for [line] in &lines.rows {
                let line: String = serde_json::from_str(line.get()).map_err(|_| unreadable())?;
                text.push_str(&line);
                text.push('\n');
            }
            mcp::json::push_string(self.out, text.trim_end());
        }
        self.out.push(b'}');
        Ok(())
    }
}
