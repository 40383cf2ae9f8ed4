//! What of a call's arguments may be recorded: as they came, with some values replaced by their hash, or nothing.
//!
//! Of an executor, before the call's own statement runs, for the record of a call that may write is on disk before that. Must not let through what may be
//! a secret: where it is not known what an argument means, or a hash cannot be made, less is recorded.

use mcp::audit::hide::{self, How, Replace};
use mcp::keyed::Key;
use mcp::types::{JobKind, Recorded};

use super::Call;
use super::failure::Failure;
use super::memory::Asked;
use crate::config::audit::Literals;
use crate::pg::{Tx, hook, lexer};

/// The arguments that hold SQL, of the tools that take some.
const SQL_ARGUMENTS: [&str; 2] = ["query", "hypothetical_indexes"];
/// What completes an argument of a prompt: these are chosen from a list, everything else is a user's own words.
const OF_A_COMPLETION: [&str; 1] = ["ref"];
/// More than this is not kept of one call. Hashes are longer than most values.
const MOST_BYTES: usize = 1024 * 1024;

/// What is known of what is called.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known<'a> {
    /// It has no arguments, or none of a user's: a list, a resource.
    Harmless,
    /// A user completes an argument as he types; nobody has looked whether it is a secret one.
    Completion,
    /// A tool that is given SQL.
    Sql,
    /// Everything else, with the names of its secret arguments.
    Function(&'a [String]),
    /// The same, but the arguments did not fit: values may be where they do not belong.
    Misfit(&'a [String]),
}

/// What decides on the values.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Policy<'a> {
    pub literals: Literals,
    /// What hashes are made with.
    pub key: Option<&'a Key>,
}

impl Known<'_> {
    pub(super) fn of(kind: JobKind, secret: &[String]) -> Known<'_> {
        // A resource's are parts of its URI, which is its name.
        if kind == JobKind::Resource { Known::Harmless } else { Known::Function(secret) }
    }
}

impl Call<'_> {
    /// Notes what the record is to say. Before the call's own statements: they may change what is known.
    pub(super) fn record(&mut self, known: Known, arguments: &[u8]) {
        self.account.recorded = Some(recorded(known, arguments, self.policy));
    }

    /// Whether it is not known yet what is secret in a call that failed: its description did not come about.
    pub(super) fn is_misfit(&self, asked: Asked) -> bool {
        self.account.recorded.is_none() && matches!(asked.kind, JobKind::Call | JobKind::Prompt)
    }

    /// Finds out, for such a call, whether anything in it can be secret.
    pub(super) fn record_misfit(&mut self, mut tx: Tx, asked: Asked, arguments: &[u8]) -> Result<(), Failure> {
        let kind = if asked.kind == JobKind::Prompt { "prompt" } else { "tool" };
        self.out.clear();
        tx.make_read_only()?;
        let _rules = hook::watch(tx.mode());
        let question = c"select mcp._secret_arguments($1::pg_catalog.text, $2::pg_catalog.text)";
        let found = self.own(&mut tx, question, &[kind, asked.name])?;
        let secret = serde_json::from_slice::<Vec<String>>(self.out).ok();
        self.out.clear();
        if let Some(secret) = secret.filter(|_| found) {
            self.record(Known::Misfit(&secret), arguments);
        }
        tx.finish()?;
        Ok(())
    }
}

fn recorded(known: Known, arguments: &[u8], policy: Policy) -> Recorded {
    let keep = policy.literals == Literals::Keep;
    let how: &dyn Fn(&str) -> How = match known {
        Known::Harmless => return Recorded::AsIs,
        Known::Sql if keep => return Recorded::AsIs,
        Known::Function([]) | Known::Misfit([]) if keep => return Recorded::AsIs,
        Known::Sql => &|name| if SQL_ARGUMENTS.contains(&name) { How::Sql } else { How::Leaves },
        Known::Completion => &|name| if OF_A_COMPLETION.contains(&name) { How::Keep } else { How::Leaves },
        Known::Misfit(_) => &|_| How::Leaves,
        Known::Function(secret) => &move |name| match secret.iter().any(|s| s == name) {
            true => How::Whole,
            false if keep => How::Keep,
            false => How::Leaves,
        },
    };
    let Ok(arguments) = std::str::from_utf8(arguments) else { return Recorded::Nothing };
    if arguments.trim_ascii().is_empty() {
        return Recorded::AsIs;
    }
    let Some(key) = policy.key else { return Recorded::Nothing };
    hide::hide(arguments, MOST_BYTES, how, &mut Hashes { key }).map_or(Recorded::Nothing, Recorded::Instead)
}

struct Hashes<'a> {
    key: &'a Key,
}

impl Replace for Hashes<'_> {
    fn value(&mut self, text: &str) -> String {
        self.key.shown(text.as_bytes())
    }

    fn sql(&mut self, text: &str) -> String {
        lexer::hashed(text, MOST_BYTES, &mut |value| self.key.shown(value)).unwrap_or_else(|| self.key.shown(text.as_bytes()))
    }
}
