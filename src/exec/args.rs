//! Arguments of the built-in tools: read strictly, refused with a word on what was meant.
//!
//! Only the tools that the executor runs itself come here; those that are SQL functions have their arguments checked by `mcp._tool_call`.

use mcp::error::{CallError, Kind};
use serde_json::{Map, Value};

use crate::pg::query::{ParamShape, Params};

/// The arguments of one call, taken out one by one.
pub struct Arguments {
    tool: &'static str,
    known: &'static [&'static str],
    given: Map<String, Value>,
}

fn bad(message: String) -> CallError {
    CallError::new(Kind::BadInput, message)
}

impl Arguments {
    /// Reads the arguments object. `known` are the names that the tool takes.
    pub fn read(tool: &'static str, known: &'static [&'static str], raw: &[u8]) -> Result<Arguments, CallError> {
        let mut given = match serde_json::from_slice::<Value>(raw) {
            Ok(Value::Object(given)) => given,
            Ok(Value::Null) => Map::new(),
            Ok(_) => return Err(bad(format!("the arguments of tool \"{tool}\" must be an object"))),
            Err(error) => return Err(bad(format!("the arguments of tool \"{tool}\" are not valid JSON: {error}"))),
        };
        // Clients made for Supabase's hosted server name a project with every call; here the project is the database.
        given.remove("project_id");
        if let Some(stray) = given.keys().find(|name| !known.contains(&name.as_str())) {
            let error = bad(format!("tool \"{tool}\" has no argument \"{}\"", clip(stray)));
            return Err(error.hint(match nearest(stray, known) {
                Some(near) => format!("Perhaps you meant \"{near}\"."),
                None => format!("Its arguments are: {}.", known.join(", ")),
            }));
        }
        Ok(Arguments { tool, known, given })
    }

    fn wrong(&self, name: &str, expected: &str, value: &Value) -> CallError {
        bad(format!("argument \"{name}\" of tool \"{}\" must be of type {expected}, not {}", self.tool, type_name(value)))
    }

    /// A text that must be there, and that Postgres can take: without NUL.
    pub fn text(&mut self, name: &str) -> Result<String, CallError> {
        match self.given.remove(name) {
            Some(Value::String(text)) if text.contains('\0') => {
                Err(bad(format!("argument \"{name}\" of tool \"{}\" contains the character NUL, which Postgres cannot store", self.tool)))
            }
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.wrong(name, "string", &other)),
            None => Err(bad(format!("tool \"{}\" needs the argument \"{name}\"", self.tool))
                .hint(format!("Its arguments are: {}.", self.known.join(", ")))),
        }
    }

    pub fn flag(&mut self, name: &str) -> Result<bool, CallError> {
        match self.given.remove(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.wrong(name, "boolean", &other)),
        }
    }

    /// One of a few words; the first is the default.
    pub fn choice(&mut self, name: &str, choices: &'static [&'static str]) -> Result<&'static str, CallError> {
        match self.given.remove(name) {
            None | Some(Value::Null) => Ok(choices[0]),
            Some(Value::String(word)) => choices
                .iter()
                .copied()
                .find(|c| *c == word)
                .ok_or_else(|| bad(format!("argument \"{name}\" of tool \"{}\" must be one of: {}", self.tool, choices.join(", ")))),
            Some(other) => Err(self.wrong(name, "string", &other)),
        }
    }

    /// A JSON array, as text; `None` if it was not given, or is empty.
    pub fn list(&mut self, name: &str) -> Result<Option<String>, CallError> {
        match self.given.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(items)) if items.is_empty() => Ok(None),
            Some(Value::Array(items)) => Ok(Some(Value::Array(items).to_string())),
            Some(other) => Err(self.wrong(name, "array", &other)),
        }
    }

    pub fn params(&mut self, name: &str) -> Result<ParamValues, CallError> {
        match self.given.remove(name) {
            None | Some(Value::Null) => Ok(ParamValues(Vec::new())),
            Some(Value::Array(values)) => Ok(ParamValues(values)),
            Some(other) => Err(self.wrong(name, "array", &other)),
        }
    }
}

/// Values for `$1`, `$2` and so on, as they came.
pub struct ParamValues(Vec<Value>);

impl Params for ParamValues {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn text(&self, index: usize, shape: ParamShape) -> Result<Option<String>, String> {
        match (self.0.get(index), shape) {
            (None | Some(Value::Null), _) => Ok(None),
            // A string is what the type's input function reads, for every type: a date, a number of any size, an array literal, JSON.
            (Some(Value::String(text)), _) => Ok(Some(text.clone())),
            (Some(Value::Array(items)), ParamShape::Array) => {
                let mut literal = String::new();
                push_array(&mut literal, items)?;
                Ok(Some(literal))
            }
            (Some(value @ (Value::Array(_) | Value::Object(_))), ParamShape::Scalar | ParamShape::Array) => {
                Err(format!("an {} can only be given to an array, json or jsonb", type_name(value)))
            }
            (Some(value), _) => Ok(Some(value.to_string())),
        }
    }
}

/// A JSON array as a Postgres array literal. The input function of the element type reads the elements.
fn push_array(literal: &mut String, items: &[Value]) -> Result<(), String> {
    literal.push('{');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            literal.push(',');
        }
        match item {
            Value::Null => literal.push_str("NULL"),
            Value::Array(inner) => push_array(literal, inner)?,
            Value::String(text) => push_quoted(literal, text),
            other => push_quoted(literal, &other.to_string()),
        }
    }
    literal.push('}');
    Ok(())
}

fn push_quoted(literal: &mut String, text: &str) {
    literal.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            literal.push('\\');
        }
        literal.push(c);
    }
    literal.push('"');
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn clip(text: &str) -> String {
    text.chars().take(100).collect()
}

/// The name that was probably meant: at most two letters off, or a part of what was said.
fn nearest(said: &str, known: &[&'static str]) -> Option<&'static str> {
    let said = clip(said).to_lowercase();
    known
        .iter()
        .copied()
        .map(|name| (distance(&said, name), name))
        .min()
        .and_then(|(distance, name)| (distance <= 2 || said.contains(name) || (said.len() >= 3 && name.contains(&said))).then_some(name))
}

/// Edits between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
