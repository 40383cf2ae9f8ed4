//! Rows of the audit trail on their way from the gateway's lines into the partitions of their days.
//!
//! In a keeper process. The partitions are there: mcp._audit_begin has seen to that. Must not change a value: a row that is not what its line says does not
//! fit its seal.

use mcp::audit::line::{COLUMNS, Calendar, Field, Type, Values, unescape};
use mcp::text::unhex;
use pgrx::pg_sys::{self, Oid};

use crate::pg::rows::{self, Rows, Target};
use crate::pg::{PgError, Tx};

/// Of the columns of mcp._audit: the id, and those of a line.
const TYPES: [Oid; COLUMNS.len() + 1] = {
    let mut types = [pg_sys::INT8OID; COLUMNS.len() + 1];
    let mut i = 0;
    while i < COLUMNS.len() {
        types[i + 1] = match COLUMNS[i].1 {
            Type::Time => pg_sys::TIMESTAMPTZOID,
            Type::Char => pg_sys::CHAROID,
            Type::Uuid => pg_sys::UUIDOID,
            Type::Number => pg_sys::INT8OID,
            Type::Xid => pg_sys::XID8OID,
            Type::Text | Type::Json => pg_sys::TEXTOID,
            Type::Bytes => pg_sys::BYTEAOID,
            Type::Flag => pg_sys::BOOLOID,
        };
        i += 1;
    }
    types
};

/// Writes rows, in one transaction.
pub(super) struct Trail {
    table: Oid,
    /// The day of the rows that come, and its partition.
    day: String,
    target: Option<Target>,
    rows: Rows,
    calendar: Calendar,
}

impl Trail {
    pub fn open(tx: &Tx) -> Result<Trail, PgError> {
        let table = rows::table(tx, "_audit")?;
        Ok(Trail { table, day: String::new(), target: None, rows: Rows::new(&TYPES), calendar: Calendar::default() })
    }

    /// Adds a row, which is in the table after `close`.
    pub fn add(&mut self, tx: &mut Tx, id: i64, line: &str) -> Result<(), PgError> {
        let unreadable = || PgError::internal("a row of the batch cannot be read");
        let day = line.get(..10).ok_or_else(unreadable)?;
        if day != self.day {
            self.end_of_day(tx)?;
            // Not as if there were no trail: mcp._audit_begin makes it, when the batch is tried again.
            let missing = |_| PgError::new("55000", "the partition of the day is missing");
            let partition = rows::table(tx, &format!("_audit_{}", day.replace('-', ""))).map_err(missing)?;
            self.target = Some(Target::open(tx, self.table, partition, &self.rows)?);
            self.day = day.to_string();
        }
        let mut values = Values::new(line, &mut self.calendar);
        self.rows.int8(id);
        for value in values.by_ref() {
            match value.ok_or_else(unreadable)? {
                Field::Null => self.rows.null(),
                Field::Number(number) => self.rows.int8(number),
                Field::Time(micros) => self.rows.timestamptz(micros),
                Field::Char(byte) => self.rows.char(byte),
                Field::Flag(flag) => self.rows.bool(flag),
                Field::Uuid(uuid) => self.rows.uuid(uuid),
                Field::Bytes(digits) => self.rows.bytes(|out| out.extend(unhex(digits).flatten())),
                Field::Text(text) => self.rows.text(|out| unescape(out, text))?,
            }
        }
        if !values.is_at_end() {
            return Err(unreadable());
        }
        match &mut self.target {
            Some(target) if self.rows.is_full() => target.add(tx, &mut self.rows),
            _ => Ok(()),
        }
    }

    fn end_of_day(&mut self, tx: &mut Tx) -> Result<(), PgError> {
        let Some(mut target) = self.target.take() else { return Ok(()) };
        target.add(tx, &mut self.rows)?;
        target.close(tx)
    }

    pub fn close(mut self, tx: &mut Tx) -> Result<(), PgError> {
        self.end_of_day(tx)
    }
}
