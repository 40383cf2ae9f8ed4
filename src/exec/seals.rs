//! Writing rows of the audit trail, and sealing them.
//!
//! In a keeper process. The digest of a row is taken from the line that its values are taken from, and kept here until it is sealed: a row that is
//! changed between the two no longer fits its seal. Rows that came otherwise (a purge, outcomes of orphans, those of an earlier keeper) are sealed from the table.

use std::ffi::CStr;

use mcp::audit::line::{lines, parts};
use mcp::text::push_hex;
use mcp::types::{BatchHead, Written};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::trail::Trail;
use super::{Call, Failure};
use crate::pg::prepared::Prepared;
use crate::pg::{PgError, Tx, durability};

/// What mcp._audit_begin does for a batch of which nothing else is to be known; no row for one that was written already.
const HEAD: &CStr = c"update mcp._audit_head as h set last_id = h.last_id operator(pg_catalog.+) $1, batch = $2, batch_first = h.last_id operator(pg_catalog.+) 1, \
                    batch_before = h.batch, batch_before_first = h.batch_first \
                    where coalesce(h.batch operator(pg_catalog.<>) $2, true) and coalesce(h.batch_before operator(pg_catalog.<>) $2, true) \
                    and h.last_id operator(pg_catalog.=) $3 returning h.batch_first";
/// Bytes of each row's digest that a seal keeps, to name the row that does not fit.
const MARK: usize = 8;
/// Digests that are kept at the most; beyond, the table is read. Never reached while sealing works.
const MOST: usize = 500_000;

/// What was written and not sealed yet.
#[derive(Default)]
pub(super) struct Seals {
    /// Id of the first row of `digests`, which follow each other without a gap; 0: there is none.
    first: i64,
    digests: Vec<[u8; 32]>,
    /// Other rows may have to be sealed before these.
    gap: bool,
    /// Takes the next ids.
    head: Option<Prepared>,
    /// Of the batch before: its partition is there, if the trail ends with its last row. It does not if the extension was made anew.
    day: String,
    last: i64,
    /// Of the last seal, for the server's log.
    pub line: Option<String>,
    /// Whether a keeper before this one left rows to seal is not known yet.
    looked: bool,
}

#[derive(Deserialize)]
struct Sealed {
    number: i64,
    first_id: i64,
    last_id: i64,
    hash: String,
    #[serde(default)]
    more: bool,
}

impl Seals {
    /// Writes a batch: `text` is lines without their ids, and a head behind the last.
    pub fn write(&mut self, call: &mut Call, mut tx: Tx, text: &str) -> Result<(), Failure> {
        let (rows, head) = parts(text);
        let Ok(batch) = serde_json::from_str::<BatchHead>(head) else {
            return Err(PgError::internal("the batch has no head").into());
        };
        let (first, new) = match self.next_ids(&mut tx, &batch)? {
            Some(first) => (first, true),
            None => {
                call.own(&mut tx, c"select mcp._audit_begin($1::pg_catalog.jsonb)", &[head])?;
                let begun: Option<(i64, bool)> = serde_json::from_slice(call.out).ok();
                call.out.clear();
                begun.ok_or_else(|| PgError::internal("the batch has no first id"))?
            }
        };
        let mut digests = Vec::new();
        if new {
            digests.reserve_exact(batch.rows as usize);
            let mut trail = Trail::open(&tx)?;
            for (id, line) in (first..).zip(lines(rows)) {
                digests.push(digest(id, line));
                trail.add(&mut tx, id, line)?;
            }
            trail.close(&mut tx)?;
            if digests.len() as u64 != batch.rows {
                return Err(PgError::internal("the batch has another number of rows than it says").into());
            }
        }
        tx.finish()?;
        if new {
            (self.day, self.last) = (batch.day().to_string(), first + i64::try_from(batch.rows).unwrap_or(0) - 1);
            self.remember(first, digests);
        }
        serde_json::to_writer(&mut *call.out, &Written::From(first)).map_err(|e| PgError::internal(e.to_string()))?;
        Ok(())
    }

    /// The id of a batch's first row, where nothing else is to be done for it: its day is the day of the batch before, and everybody in it is known. That
    /// is most of them, and calls wait for each. `None`: mcp._audit_begin is to look at it.
    fn next_ids(&mut self, tx: &mut Tx, batch: &BatchHead) -> Result<Option<i64>, PgError> {
        let usual = batch.callers.is_empty() && !self.day.is_empty() && batch.day() == self.day && durability::waits_for_disk(tx);
        if !usual {
            return Ok(None);
        }
        if self.head.is_none() {
            self.head = Some(Prepared::new(tx, HEAD)?);
        }
        let Some(head) = &self.head else { return Ok(None) };
        // Known again when this one is written: if it is not, its partition may be gone.
        self.day.clear();
        head.run(tx, i64::try_from(batch.rows).unwrap_or(i64::MAX), &batch.batch, self.last)
    }

    fn remember(&mut self, first: i64, digests: Vec<[u8; 32]>) {
        if self.digests.is_empty() {
            self.first = first;
        } else if self.first + self.digests.len() as i64 != first || self.digests.len() > MOST {
            self.digests.clear();
            self.gap = true;
        }
        if !self.gap {
            self.digests.extend(digests);
        }
    }

    /// Makes one seal over what was written since the last one. The answer is `true` if more is left.
    pub fn seal(&mut self, call: &mut Call, mut tx: Tx) -> Result<(), Failure> {
        // What an earlier keeper left comes first. What this one wrote is never taken from the table, where it may have been changed.
        let own = !self.gap && !self.digests.is_empty();
        if own && self.looked {
            self.seal_own(call, &mut tx)?;
        } else {
            let until = if own { (self.first - 1).to_string() } else { i64::MAX.to_string() };
            call.own(&mut tx, c"select mcp._audit_seal_rest($1::pg_catalog.text::pg_catalog.int8)", &[&until])?;
        }
        let sealed: Option<Sealed> = serde_json::from_slice(call.out).ok();
        call.out.clear();
        tx.finish()?;
        let rest = !own || !self.looked;
        let sealed_more = sealed.as_ref().is_some_and(|s| s.more);
        let more = sealed_more || (rest && own);
        let line =
            sealed.map(|Sealed { number, first_id, last_id, hash, .. }| format!("seal {number} over rows {first_id} to {last_id}: {hash}"));
        if !rest || !more {
            (self.first, self.gap, self.looked) = (0, false, true);
            self.digests = Vec::new();
        } else if !sealed_more {
            self.looked = true;
        }
        self.line = line;
        call.out.extend_from_slice(if more { b"true" } else { b"false" });
        Ok(())
    }

    /// Has the rows sealed that this process wrote, from what it knows of them.
    fn seal_own(&mut self, call: &mut Call, tx: &mut Tx) -> Result<(), Failure> {
        let mut body = Sha256::new();
        let mut marks = String::with_capacity(self.digests.len() * MARK * 2);
        for digest in &self.digests {
            body.update(digest);
            push_hex(&mut marks, &digest[..MARK]);
        }
        let mut sum = String::new();
        push_hex(&mut sum, &body.finalize());
        let last = self.first + self.digests.len() as i64 - 1;
        let sql = c"select mcp._audit_seal($1::pg_catalog.text::pg_catalog.int8, $2::pg_catalog.text::pg_catalog.int8, \
                    pg_catalog.decode($3::pg_catalog.text, 'hex'), pg_catalog.decode($4::pg_catalog.text, 'hex'))";
        let sealed = call.own(tx, sql, &[&self.first.to_string(), &last.to_string(), &marks, &sum]);
        if sealed.is_err() {
            // Rows of others may lie before these: they are sealed first, next time.
            self.looked = false;
        }
        sealed.map(drop)
    }
}

/// Of a row as COPY writes it.
fn digest(id: i64, line: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(id.to_string());
    digest.update(b"\t");
    digest.update(line);
    digest.finalize().into()
}
