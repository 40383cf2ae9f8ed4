//! One row of the audit trail, as COPY writes it: the keeper takes a row's digest from these very bytes.
//!
//! Pure. The order of the fields is that of `line::COLUMNS`. `line` reads what is written here.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::DateTime;

#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    pub at: SystemTime,
    /// `c`, `i`, `o`, `r` or `e`.
    pub kind: char,
    pub caller: Option<&'a str>,
    pub intent: Option<i64>,
    pub method: Option<&'a str>,
    pub tool: Option<&'a str>,
    pub request: Option<&'a str>,
    pub trace: Option<&'a str>,
    pub arguments: Option<&'a str>,
    pub arguments_bytes: Option<u64>,
    pub arguments_digest: Option<[u8; 32]>,
    pub queryid: Option<i64>,
    pub writes: Option<bool>,
    pub outcome: Option<&'a str>,
    pub sqlstate: Option<&'a str>,
    pub rule: Option<&'a str>,
    pub times: Option<u64>,
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    pub changed: Option<&'a str>,
    pub wal_bytes: Option<u64>,
    pub queue_us: Option<u64>,
    pub run_us: Option<u64>,
    pub answer_us: Option<u64>,
    pub xid: Option<u64>,
    pub committed: Option<bool>,
    pub objects: Option<&'a str>,
    pub ended: Option<SystemTime>,
}

impl Row<'_> {
    pub fn new<'a>(kind: char, at: SystemTime) -> Row<'a> {
        Row {
            at,
            kind,
            caller: None,
            intent: None,
            method: None,
            tool: None,
            request: None,
            trace: None,
            arguments: None,
            arguments_bytes: None,
            arguments_digest: None,
            queryid: None,
            writes: None,
            outcome: None,
            sqlstate: None,
            rule: None,
            times: None,
            rows: None,
            bytes: None,
            changed: None,
            wal_bytes: None,
            queue_us: None,
            run_us: None,
            answer_us: None,
            xid: None,
            committed: None,
            objects: None,
            ended: None,
        }
    }

    /// Appends the row and a newline. `ascii`: the database has no place for some characters; they become JSON's `\u` escapes.
    pub fn append(&self, out: &mut Vec<u8>, clock: &mut Clock, ascii: bool) {
        let mut line = Line { out, ascii };
        clock.append(line.out, self.at);
        line.text(Some(self.kind.encode_utf8(&mut [0; 4])));
        line.text(self.caller);
        line.number(self.intent);
        line.text(self.method);
        line.text(self.tool);
        line.text(self.request);
        line.text(self.trace);
        line.text(self.arguments);
        line.count(self.arguments_bytes);
        line.bytes(self.arguments_digest);
        line.number(self.queryid.filter(|id| *id != 0));
        line.flag(self.writes);
        line.text(self.outcome);
        line.text(self.sqlstate);
        line.text(self.rule);
        line.count(self.times);
        line.count(self.rows);
        line.count(self.bytes);
        line.text(self.changed.filter(|text| !text.is_empty()));
        line.count(self.wal_bytes);
        line.count(self.queue_us);
        line.count(self.run_us);
        line.count(self.answer_us);
        line.count(self.xid);
        line.flag(self.committed);
        line.text(self.objects.filter(|text| !text.is_empty()));
        match self.ended {
            Some(ended) => {
                line.out.push(b'\t');
                clock.append(line.out, ended);
            }
            None => line.null(),
        }
        line.out.push(b'\n');
    }
}

/// Fields behind the first, each with its tab.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    ascii: bool,
}

impl Line<'_> {
    fn null(&mut self) {
        self.out.extend_from_slice(b"\t\\N");
    }

    fn text(&mut self, text: Option<&str>) {
        let Some(text) = text else { return self.null() };
        self.out.push(b'\t');
        append_text(self.out, text, self.ascii);
    }

    fn number(&mut self, value: Option<i64>) {
        let Some(value) = value else { return self.null() };
        self.out.push(b'\t');
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn count(&mut self, value: Option<u64>) {
        self.number(value.map(|v| i64::try_from(v).unwrap_or(i64::MAX)));
    }

    fn flag(&mut self, value: Option<bool>) {
        match value {
            None => self.null(),
            Some(true) => self.out.extend_from_slice(b"\tt"),
            Some(false) => self.out.extend_from_slice(b"\tf"),
        }
    }

    fn bytes(&mut self, value: Option<[u8; 32]>) {
        let Some(value) = value else { return self.null() };
        self.out.extend_from_slice(b"\t\\\\x");
        self.out.extend_from_slice(crate::text::hex(&value).as_bytes());
    }
}

/// As COPY writes a text. No text of a database holds NUL.
pub fn append_text(out: &mut Vec<u8>, text: &str, ascii: bool) {
    if ascii && !text.is_ascii() {
        text.chars().for_each(|c| append_ascii(out, c));
        return;
    }
    // All bytes are looked at, so that many are at once.
    if !text.bytes().fold(false, |found, byte| found | (byte < b' ') | (byte == b'\\')) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for byte in text.bytes() {
        append_byte(out, byte);
    }
}

fn append_byte(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'\\' => out.extend_from_slice(b"\\\\"),
        8 => out.extend_from_slice(b"\\b"),
        b'\t' => out.extend_from_slice(b"\\t"),
        b'\n' => out.extend_from_slice(b"\\n"),
        0xb => out.extend_from_slice(b"\\v"),
        0xc => out.extend_from_slice(b"\\f"),
        b'\r' => out.extend_from_slice(b"\\r"),
        0 => out.extend_from_slice(b"\\\\u0000"),
        byte => out.push(byte),
    }
}

/// A character of a text that is to be ASCII.
fn append_ascii(out: &mut Vec<u8>, c: char) {
    match u8::try_from(c) {
        Ok(byte) if byte.is_ascii() => append_byte(out, byte),
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing into memory cannot fail.
                let _ = write!(out, "\\\\u{unit:04x}");
            }
        }
    }
}

/// Writes times as Postgres does, in UTC. Most rows are of the same second as the one before.
#[derive(Debug, Default)]
pub struct Clock {
    second: u64,
    text: String,
}

impl Clock {
    pub fn append(&mut self, out: &mut Vec<u8>, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != since.as_secs() || self.text.is_empty() {
            self.second = since.as_secs();
            let time = i64::try_from(self.second).ok().and_then(|s| DateTime::from_timestamp(s, 0)).unwrap_or_default();
            self.text = time.format("%Y-%m-%d %H:%M:%S").to_string();
        }
        out.extend_from_slice(self.text.as_bytes());
        let micros = since.subsec_micros();
        if micros > 0 {
            // Six digits behind a one, which goes: those of a number have no zeros in front.
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(1_000_000 + micros).get(1..).unwrap_or_default();
            out.push(b'.');
            out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
        }
        out.extend_from_slice(b"+00");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::line::COLUMNS;
    use std::time::Duration;

    fn line(row: &Row, ascii: bool) -> String {
        let mut out = Vec::new();
        row.append(&mut out, &mut Clock::default(), ascii);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_row_is_one_line_with_a_field_for_each_column() {
        let hostile = "a\tb\nc\\d\r\u{b}\u{c}\u{8}\0\u{1}";
        let row =
            Row { tool: Some(hostile), times: Some(7), writes: Some(true), ..Row::new('r', UNIX_EPOCH + Duration::from_micros(1_500_000)) };
        let text = line(&row, false);
        assert_eq!(text.matches('\n').count(), 1);
        let fields: Vec<&str> = text.trim_end_matches('\n').split('\t').collect();
        assert_eq!(fields.len(), COLUMNS.len());
        assert_eq!(fields[0], "1970-01-01 00:00:01.5+00");
        assert_eq!(fields[5], "a\\tb\\nc\\\\d\\r\\v\\f\\b\\\\u0000\u{1}");
    }

    #[test]
    fn databases_without_all_characters_get_ascii() {
        let text = line(&Row { tool: Some("Zoë 😀"), ..Row::new('c', UNIX_EPOCH) }, true);
        assert!(text.is_ascii() && text.contains("Zo\\\\u00eb \\\\ud83d\\\\ude00"), "{text}");
    }

    #[test]
    fn times_are_as_postgres_writes_them() {
        let mut clock = Clock::default();
        for (micros, expected) in [
            (1_795_478_400_000_000_u64, "2026-11-24 00:00:00+00"),
            (1_795_478_400_000_120, "2026-11-24 00:00:00.00012+00"),
            (1_795_478_401_100_000, "2026-11-24 00:00:01.1+00"),
        ] {
            let mut out = Vec::new();
            clock.append(&mut out, UNIX_EPOCH + Duration::from_micros(micros));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
