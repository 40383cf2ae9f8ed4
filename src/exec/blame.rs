//! Which argument it was that Postgres could not read: its own errors name the value and the type, but not the argument.
//!
//! Of an executor, after a call of a function has failed, in a transaction of its own that only reads. Arguments are read one by one as the
//! call's statement read them together; the first that fails with the very same words is the one.

use serde::Deserialize;

use super::Call;
use super::failure::Failure;
use crate::pg::{Tx, hook};

/// What `mcp._tool_call(text)` says of a tool, as far as it is needed here.
#[derive(Deserialize)]
struct Tool {
    builtin: Option<String>,
    args: Vec<Argument>,
}

#[derive(Deserialize)]
struct Argument {
    name: String,
    /// As `format_type` writes it, schema and quotes included.
    r#type: String,
}

impl Call<'_> {
    /// The failure of a call of `tool`, with the argument's name if it was an argument.
    pub(super) fn blame(&mut self, tx: Tx, tool: &str, arguments: &[u8], failure: Failure) -> Failure {
        self.out.clear();
        let blamed = self.unreadable(tx, tool, arguments, &failure);
        self.out.clear();
        match blamed {
            Some(argument) => failure.of_argument(tool, &argument),
            None => failure,
        }
    }

    fn unreadable(&mut self, mut tx: Tx, tool: &str, arguments: &[u8], failure: &Failure) -> Option<String> {
        let given: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(arguments).ok()?;
        let arguments = std::str::from_utf8(arguments).ok()?;
        tx.make_read_only().ok()?;
        let _rules = hook::watch(tx.mode());
        self.own(&mut tx, c"select mcp._tool_call($1::pg_catalog.text)", &[tool]).ok()?;
        let tool: Tool = serde_json::from_slice(self.out).ok()?;
        if tool.builtin.is_some() {
            return None;
        }
        for Argument { name, r#type } in tool.args {
            if given.get(&name).is_none_or(serde_json::Value::is_null) {
                continue;
            }
            // A name and a type out of the catalogs; the value travels in the parameter.
            let column = format!("\"{}\"", name.replace('"', "\"\""));
            let reading =
                format!("select pg_catalog.to_jsonb(a.{column} is null) from pg_catalog.jsonb_to_record($1) as a({column} {})", r#type);
            self.out.clear();
            let statements = self.workspace.parse(&tx, &reading).ok()?;
            if let Err(error) = self.value(&mut tx, statements.first()?, &[arguments], usize::MAX) {
                return error.says_the_same(failure).then_some(name);
            }
        }
        None
    }
}
