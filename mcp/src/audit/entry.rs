//! One call on its way through the gateway, and the record that it leaves however it ends.
//!
//! Runs on the gateway's runtime thread. A value lives as long as the call's future: one that is dropped before it was closed is a client that hung up.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::batch::Refusal;
use super::intent::{End, Intent};
use super::journal::Journal;
use super::row::Row;
use super::who::Who;
use super::{Audit, Outcome, Settings};
use crate::caller::{Caller, Principal};
use crate::error::{self, CallError, Kind};
use crate::gateway::{Answer, Request};
use crate::keyed::Key;
use crate::logins::LoginError;
use crate::text;
use crate::types::{Ask, Facts, Recorded};

/// How long an answer waits for its record to be on disk. What it was about is done by then.
const WAIT: Duration = Duration::from_secs(10);
/// Longest text of the client's choice besides the arguments that is kept, in bytes.
const LONGEST: usize = 512;

/// What the call is recorded as.
struct Trail {
    journal: Arc<Journal>,
    who: Arc<Who>,
    /// What secrets are hashed with.
    key: Option<Key>,
}

pub struct Entry<'a> {
    audit: &'a Audit,
    request: &'a Request<'a>,
    settings: Settings,
    at: SystemTime,
    begun: Instant,
    /// Known once the caller is; `None` before, and for calls that are not recorded.
    trail: Option<Trail>,
    /// The job was sent.
    sent: Option<Instant>,
    /// Time that passed for the intent.
    intending: Duration,
    facts: Option<Box<Facts>>,
    answered: Option<Instant>,
    intent: Option<Intent>,
    /// The process was lost while it ran the call.
    lost: bool,
    /// Hears whether the transaction of such a call was committed.
    fate: Option<oneshot::Receiver<bool>>,
    /// There is an intent, here or with the process that runs the call.
    intended: bool,
    /// The call was about to write.
    asked: bool,
    closed: bool,
}

impl<'a> Entry<'a> {
    pub fn open(audit: &'a Audit, request: &'a Request<'a>, settings: &Settings) -> Entry<'a> {
        Entry {
            audit,
            request,
            settings: settings.clone(),
            at: SystemTime::now(),
            begun: Instant::now(),
            trail: None,
            sent: None,
            intending: Duration::ZERO,
            facts: None,
            answered: None,
            intent: None,
            lost: false,
            fate: None,
            intended: false,
            asked: false,
            closed: false,
        }
    }

    /// Who calls. An error: the call has to wait for its record, and that cannot be written.
    pub fn known(&mut self, caller: &Caller, principal: &Arc<Principal>) -> Result<(), CallError> {
        if !self.settings.on || !self.request.kind.is_recorded() {
            return Ok(());
        }
        let journal = self.audit.journal(principal.database, &caller.database);
        journal.set_ascii(principal.ascii);
        let who = self.audit.who(caller, principal, self.request.client);
        let failing = if self.settings.reads_wait { journal.failing() } else { None };
        self.trail = Some(Trail { journal, who, key: principal.about.audit_key.clone() });
        failing.map_or(Ok(()), |error| Err(CallError { message: "the audit trail cannot be written, so no call begins".into(), ..error }))
    }

    /// Whether the executor has to ask before it writes.
    pub fn is_asked(&self) -> bool {
        self.trail.is_some()
    }

    pub fn sent(&mut self) {
        self.sent = Some(Instant::now());
    }

    /// The call may write. The intent is on its way to disk when this returns; `None`: the call was not to ask.
    pub fn intend(&mut self, ask: &Ask) -> Option<Result<Intent, CallError>> {
        self.asked = true;
        let Trail { journal, who, key } = self.trail.as_ref()?;
        if let Some(error) = journal.failing() {
            return Some(Err(error));
        }
        let kept = Kept::of(self.request.arguments, &ask.recorded, key.as_ref(), self.settings.text_bytes, journal.is_ascii());
        let row = Row { writes: Some(true), xid: Some(ask.xid), ..self.row('i', who, &kept) };
        let intent = journal.intend(&row, who);
        self.intended = true;
        Some(Ok(intent))
    }

    /// The call asked whether it may write.
    pub fn may_write(&self) -> bool {
        self.intended
    }

    /// Time that the call waited for its intent.
    pub fn waited(&mut self, time: Duration) {
        self.intending += time;
    }

    /// The intent is back with the call.
    pub fn hold(&mut self, intent: Option<Intent>) {
        self.intent = intent;
    }

    pub fn answered(&mut self, facts: Option<Box<Facts>>) {
        self.answered = Some(Instant::now());
        self.facts = facts;
    }

    /// The process was lost while it ran the call.
    pub fn lost(&mut self) {
        self.lost = true;
        self.fate = self.intent.take().map(|intent| intent.leave(Outcome::Terminated));
    }

    /// The caller turned out to be nobody, which is recorded as a login, or was refused by a limit.
    pub fn refused(mut self, error: &LoginError) {
        self.closed = self.intent.is_none();
        if let LoginError::Refused(error) = error
            && error.kind == Kind::Limited
        {
            self.note(Outcome::Refused, Some(error), 0);
        }
    }

    fn row<'r>(&'r self, kind: char, who: &'r Who, kept: &'r Kept) -> Row<'r> {
        Row {
            caller: Some(&who.id),
            method: Some(self.request.kind.method()),
            tool: Some(short(self.request.tool)).filter(|tool| !tool.is_empty()),
            request: Some(short(self.request.id)),
            trace: self.request.trace.map(short),
            arguments: kept.text.as_deref(),
            arguments_bytes: Some(self.request.arguments.len() as u64),
            arguments_digest: kept.digest,
            ..Row::new(kind, self.at)
        }
    }

    /// Microseconds before the work began, and after it until the answer was here.
    fn times(&self) -> (Option<u64>, Option<u64>) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let Some(sent) = self.sent else { return (Some(micros(self.begun.elapsed())), None) };
        let queue = (sent - self.begun) + self.intending;
        let answer = self.answered.zip(self.facts.as_ref()).map(|(answered, facts)| {
            let run = Duration::from_micros(facts.run_us);
            micros((answered - sent).saturating_sub(self.intending).saturating_sub(run))
        });
        (Some(micros(queue)), answer)
    }

    /// Records how the call ended, and waits for that where it has to. Returns what the client gets in the answer's place, if anything.
    pub async fn close(mut self, answer: &Answer, gone: bool) -> Option<CallError> {
        self.closed = true;
        let error = answer.is_error.then(|| error::from_payload(&answer.payload)).flatten();
        let outcome = match &error {
            None if answer.is_error => Outcome::Error,
            None => Outcome::Ok,
            Some(error) => Outcome::of(error),
        };
        let outcome = if gone && outcome == Outcome::Cancelled { Outcome::Disconnected } else { outcome };
        if self.facts.is_none()
            && let Some(intent) = self.intent.take()
        {
            self.fate = Some(intent.leave(outcome));
        }
        if let Some(fate) = self.fate.take() {
            return match timeout(WAIT, fate).await {
                Ok(Ok(true)) => Some(error::committed()),
                // A process that had last words has said so itself.
                Ok(Ok(false)) => error.filter(|_| self.lost).map(not_committed),
                // Its trail is gone, or it took too long. What an ended process said of its commit may not be on disk.
                Ok(Err(_)) | Err(_) => Some(uncertain(true)),
            };
        }
        let bytes = answer.payload.len() as u64;
        let written =
            if self.intent.is_some() { self.end(outcome, error.as_ref(), bytes) } else { self.note(outcome, error.as_ref(), bytes) };
        if let Some(written) = written
            && !matches!(timeout(WAIT, written).await, Ok(Ok(())))
        {
            return Some(uncertain(self.intended));
        }
        // It would have asked before it wrote.
        let harmless = self.lost && self.is_asked() && !self.intended;
        error.filter(|_| harmless).map(not_committed)
    }

    fn end(&mut self, outcome: Outcome, error: Option<&CallError>, bytes: u64) -> Option<oneshot::Receiver<()>> {
        let (queue_us, answer_us) = self.times();
        let (intent, facts) = self.intent.take().zip(self.facts.take())?;
        intent.end(End {
            sqlstate: error.and_then(|e| e.sqlstate.clone()),
            rule: error.and_then(rule),
            bytes: Some(bytes),
            queue_us,
            answer_us,
            ..End::new(outcome, facts)
        })
    }

    fn note(&mut self, outcome: Outcome, error: Option<&CallError>, bytes: u64) -> Option<oneshot::Receiver<()>> {
        if self.intended {
            return None;
        }
        let Trail { journal, who, key } = self.trail.as_ref()?;
        let rule = error.and_then(rule);
        if self.sent.is_none() && outcome == Outcome::Refused {
            // Nothing ran. A caller who is refused again and again is one row.
            let refusal = Refusal {
                caller: who.id.clone(),
                method: self.request.kind.method(),
                tool: short(self.request.tool).into(),
                rule: rule.unwrap_or_default(),
            };
            journal.refuse(who, refusal, self.at, 1);
            return None;
        }
        let nothing = Recorded::Nothing;
        let facts = self.facts.as_deref();
        // What nobody looked at may hold secrets.
        let recorded = facts.map_or(&nothing, |f| &f.recorded);
        let kept = Kept::of(self.request.arguments, recorded, key.as_ref(), self.settings.text_bytes, journal.is_ascii());
        let (queue_us, answer_us) = self.times();
        let row = Row {
            writes: Some(self.asked),
            outcome: Some(outcome.name()),
            sqlstate: error.and_then(|e| e.sqlstate.as_deref()),
            rule: rule.as_deref(),
            queryid: facts.map(|f| f.queryid),
            rows: facts.map(|f| f.rows),
            bytes: Some(bytes),
            queue_us,
            run_us: facts.map(|f| f.run_us),
            answer_us,
            objects: facts.map(|f| f.objects.as_str()),
            ..self.row('c', who, &kept)
        };
        journal.note(&row, who, self.settings.reads_wait)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        match self.intent.take() {
            Some(intent) => drop(intent.leave(Outcome::Disconnected)),
            None => drop(self.note(Outcome::Disconnected, None, 0)),
        }
    }
}

/// What is kept of the arguments.
struct Kept<'a> {
    text: Option<Cow<'a, str>>,
    /// Of the arguments as they came, unless they are kept so.
    digest: Option<[u8; 32]>,
}

impl<'a> Kept<'a> {
    fn of(arguments: &'a [u8], recorded: &'a Recorded, key: Option<&Key>, most: usize, ascii: bool) -> Kept<'a> {
        let (text, whole) = match recorded {
            // They are UTF-8, as a rule, which is found out faster than where they are not.
            Recorded::AsIs => (Some(str::from_utf8(arguments).map_or_else(|_| String::from_utf8_lossy(arguments), Cow::Borrowed)), true),
            Recorded::Instead(text) => (Some(Cow::Borrowed(text.as_str())), false),
            Recorded::Nothing => (None, false),
        };
        let changed = ascii && !arguments.is_ascii() || text.as_ref().is_some_and(|text| text.len() > most);
        let text = text.map(|text| match text {
            text if text.len() <= most => text,
            Cow::Borrowed(text) => Cow::Borrowed(text::clip(text, most)),
            Cow::Owned(text) => Cow::Owned(text::clip(&text, most).to_string()),
        });
        let digest = match whole {
            true => changed.then(|| Sha256::digest(arguments).into()),
            // A short secret would be found by trying arguments until their digest is the same.
            false => key.map(|key| key.digest(arguments)),
        };
        Kept { text, digest }
    }
}

fn short(text: &str) -> &str {
    text::clip(text, LONGEST)
}

/// What stood against the call.
fn rule(error: &CallError) -> Option<String> {
    match error.kind {
        Kind::Sql | Kind::Timeout | Kind::Cancelled | Kind::Terminated => None,
        Kind::Limited | Kind::Busy => Some(error.limit.clone().unwrap_or_else(|| error.message.clone())),
        Kind::UnknownTool => Some("unknown tool".into()),
        Kind::Denied => Some("not granted".into()),
        Kind::BadInput => Some("bad input".into()),
        Kind::ReadOnly => Some("read only".into()),
        Kind::TooLarge => Some("too large".into()),
        Kind::Unavailable | Kind::Internal => Some(error.message.clone()),
    }
}

fn not_committed(error: CallError) -> CallError {
    error.hint("Nothing of it was committed.")
}

fn uncertain(writes: bool) -> CallError {
    let error = CallError::new(Kind::Unavailable, "the call is over, but how it ended could not be recorded yet").sqlstate("58030");
    if !writes {
        return error.hint("It only read. Try again shortly; an administrator sees the cause in mcp.status() and in the server log.");
    }
    error.hint("Do not repeat it before you have looked whether its changes are there: they are, if it succeeded.")
}
