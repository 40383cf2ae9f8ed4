//! Rows of one database on their way to the keeper, and who waits for them. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::oneshot;

use super::intent::Slot;
use super::row::{Clock, Row};
use super::who::Who;
use crate::types::BatchHead;

/// Like refusals that are told apart within one batch; further ones are counted together.
const REFUSALS: usize = 100;

/// Who is told when a row is on disk.
pub enum Waiter {
    Intent(Arc<Slot>),
    Written(oneshot::Sender<()>),
    /// An outcome: its intent is settled.
    Outcome(i64, Option<oneshot::Sender<()>>),
}

#[derive(Default)]
pub struct Batch {
    /// Lines of COPY, without ids.
    pub lines: Vec<u8>,
    pub rows: u64,
    /// By the place of their row, which for a mere wait is the batch's end.
    pub waiters: Vec<(u64, Waiter)>,
    pub callers: Vec<Arc<Who>>,
    span: Option<(SystemTime, SystemTime)>,
    refusals: HashMap<Refusal, (SystemTime, u64)>,
    /// Somebody waits.
    pub urgent: bool,
    /// Somebody waits for all batches before it as well: they come first.
    pub in_order: bool,
}

/// Refusals that are alike are one row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Refusal {
    pub caller: String,
    pub method: &'static str,
    pub tool: String,
    pub rule: String,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.rows == 0 && self.waiters.is_empty() && self.refusals.is_empty()
    }

    pub fn push(&mut self, row: &Row, clock: &mut Clock, ascii: bool) {
        row.append(&mut self.lines, clock, ascii);
        self.rows += 1;
        let (first, last) = self.span.unwrap_or((row.at, row.at));
        self.span = Some((first.min(row.at), last.max(row.at)));
    }

    pub fn refuse(&mut self, refusal: Refusal, at: SystemTime, times: u64) {
        let known = self.refusals.len();
        if known >= REFUSALS && !self.refusals.contains_key(&refusal) {
            let others = Refusal { tool: String::new(), rule: "refusals of many kinds".into(), ..refusal };
            self.refusals.entry(others).or_insert((at, 0)).1 += times;
        } else {
            self.refusals.entry(refusal).or_insert((at, 0)).1 += times;
        }
    }

    /// Turns what was counted into rows. To be called once, before the batch goes out.
    pub fn close(&mut self, clock: &mut Clock, ascii: bool) {
        for (refusal, (at, times)) in std::mem::take(&mut self.refusals) {
            let row = Row {
                caller: Some(&refusal.caller),
                method: Some(refusal.method),
                tool: Some(refusal.tool.as_str()).filter(|tool| !tool.is_empty()),
                outcome: Some("refused"),
                rule: Some(&refusal.rule),
                times: (times > 1).then_some(times),
                ..Row::new('r', at)
            };
            self.push(&row, clock, ascii);
        }
    }

    /// What the keeper is sent: the rows, which leave the batch, and the head behind them, for there are many of the first and they are in place.
    pub fn message(&mut self, name: String) -> Vec<u8> {
        let mut clock = Clock::default();
        let mut time = |at| {
            let mut text = Vec::new();
            clock.append(&mut text, at);
            String::from_utf8(text).unwrap_or_default()
        };
        let (first, last) = self.span.unwrap_or((SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH));
        let callers = self.callers.iter().map(|who| who.json.clone()).collect();
        let head = BatchHead { batch: name, rows: self.rows, first: time(first), last: time(last), callers };
        let mut message = std::mem::take(&mut self.lines);
        // A head of plain fields is always JSON, and has no line's end in it.
        let _ = serde_json::to_writer(&mut message, &head);
        message
    }
}
