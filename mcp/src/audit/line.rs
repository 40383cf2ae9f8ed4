//! The line of a row of the audit trail, read again: by the keeper, which hands Postgres the values, and for the log of a server that has no tables to write to.
//!
//! Pure. `row` alone writes what is read here. What is no line of a row must be told from one; numbers may be written in more ways than `row`'s.

use chrono::NaiveDateTime;
use serde_json::{Map, Value};

use crate::text::unhex;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Time,
    Char,
    Uuid,
    Number,
    /// The number of a transaction.
    Xid,
    Text,
    /// A text that is JSON.
    Json,
    Bytes,
    Flag,
}

/// The columns of mcp._audit (sql/70_audit_tables.sql) behind the id, which the keeper gives.
pub const COLUMNS: [(&str, Type); 28] = [
    ("at", Type::Time),
    ("kind", Type::Char),
    ("caller", Type::Uuid),
    ("intent", Type::Number),
    ("method", Type::Text),
    ("tool", Type::Text),
    ("request", Type::Text),
    ("trace", Type::Text),
    ("arguments", Type::Text),
    ("arguments_bytes", Type::Number),
    ("arguments_digest", Type::Bytes),
    ("queryid", Type::Number),
    ("writes", Type::Flag),
    ("outcome", Type::Text),
    ("sqlstate", Type::Text),
    ("rule", Type::Text),
    ("times", Type::Number),
    ("rows", Type::Number),
    ("bytes", Type::Number),
    ("changed", Type::Json),
    ("wal_bytes", Type::Number),
    ("queue_us", Type::Number),
    ("run_us", Type::Number),
    ("answer_us", Type::Number),
    ("xid", Type::Xid),
    ("committed", Type::Flag),
    ("objects", Type::Json),
    ("ended", Type::Time),
];

/// One value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    Null,
    /// Microseconds since 1970.
    Time(i64),
    Char(u8),
    Uuid([u8; 16]),
    Number(i64),
    /// Still with COPY's escapes: see [`unescape`].
    Text(&'a str),
    /// Hexadecimal digits.
    Bytes(&'a str),
    Flag(bool),
}

/// Everything up to the last line's end, and what is behind it: the rows of a batch, and its head.
pub fn parts(message: &str) -> (&str, &str) {
    message.rsplit_once('\n').map_or(("", message), |(rows, head)| (message.get(..=rows.len()).unwrap_or_default(), head))
}

/// The lines of a text, each of which has an end.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', text.as_bytes()).map(move |end| {
        let line = text.get(start..end).unwrap_or_default();
        start = end + 1;
        line
    })
}

/// The values of a line in the order of [`COLUMNS`]; `None` in the place of one: `row` writes no such thing.
pub struct Values<'a, 'c> {
    rest: Option<&'a str>,
    columns: std::slice::Iter<'static, (&'static str, Type)>,
    calendar: &'c mut Calendar,
}

impl<'a> Values<'a, '_> {
    pub fn new<'c>(line: &'a str, calendar: &'c mut Calendar) -> Values<'a, 'c> {
        Values { rest: Some(line), columns: COLUMNS.iter(), calendar }
    }

    /// The line has no more than what was taken.
    pub fn is_at_end(&self) -> bool {
        self.rest.is_none()
    }
}

impl<'a> Iterator for Values<'a, '_> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (_, kind) = self.columns.next()?;
        let Some(rest) = self.rest else { return Some(None) };
        // Most columns of most rows are null.
        if let Some(rest) = rest.strip_prefix("\\N\t")
            && *kind != Type::Char
        {
            self.rest = Some(rest);
            return Some(Some(Field::Null));
        }
        let end = match kind {
            Type::Text | Type::Json => memchr::memchr(b'\t', rest.as_bytes()),
            // A few bytes.
            _ => rest.bytes().position(|byte| byte == b'\t'),
        };
        let (text, rest) = end.map_or((rest, None), |end| (rest.get(..end).unwrap_or_default(), rest.get(end + 1..)));
        self.rest = rest;
        Some(field(text, *kind, self.calendar))
    }
}

fn field<'a>(field: &'a str, kind: Type, calendar: &mut Calendar) -> Option<Field<'a>> {
    Some(match kind {
        Type::Char if field.len() != 1 => return None,
        _ if field == "\\N" => Field::Null,
        Type::Text | Type::Json => Field::Text(field),
        Type::Number | Type::Xid => Field::Number(field.parse().ok()?),
        Type::Time => Field::Time(calendar.micros(field)?),
        Type::Flag => match field {
            "t" => Field::Flag(true),
            "f" => Field::Flag(false),
            _ => return None,
        },
        Type::Char => Field::Char(*field.as_bytes().first()?),
        Type::Uuid => {
            let mut uuid = [0; 16];
            // Digits begin behind so many others and dashes.
            for (part, start) in [(0..4, 0), (4..6, 9), (6..8, 14), (8..10, 19), (10..16, 24)] {
                let room = uuid.get_mut(part)?;
                let end = start + 2 * room.len();
                fill(room, field.get(start..end)?)?;
            }
            if field.len() != 36 {
                return None;
            }
            Field::Uuid(uuid)
        }
        Type::Bytes => Field::Bytes(field.strip_prefix("\\\\x").filter(|digits| unhex(digits).all(|byte| byte.is_some()))?),
    })
}

fn fill(room: &mut [u8], digits: &str) -> Option<()> {
    if digits.len() != 2 * room.len() {
        return None;
    }
    for (byte, value) in room.iter_mut().zip(unhex(digits)) {
        *byte = value?;
    }
    Some(())
}

/// Appends a text without COPY's escapes.
pub fn unescape(out: &mut Vec<u8>, field: &str) {
    let mut rest = field.as_bytes();
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (plain, escaped) = rest.split_at(at);
        out.extend_from_slice(plain);
        out.push(match escaped.get(1) {
            Some(b'b') => 8,
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'v') => 0xb,
            Some(b'f') => 0xc,
            Some(b'r') => b'\r',
            Some(other) => *other,
            None => b'\\',
        });
        rest = escaped.get(2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Reads times. Most are of the same second as the one before.
#[derive(Debug, Default)]
pub struct Calendar {
    text: String,
    second: i64,
}

impl Calendar {
    fn micros(&mut self, text: &str) -> Option<i64> {
        let (time, fraction) = text.strip_suffix("+00")?.split_at_checked(19)?;
        if self.text != time {
            self.second = NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S").ok()?.and_utc().timestamp();
            self.text = time.to_string();
        }
        let micros = match fraction.strip_prefix('.') {
            Some(digits) if (1..=6).contains(&digits.len()) => digits.parse::<u32>().ok()? * 10_u32.pow(6 - digits.len() as u32),
            None if fraction.is_empty() => 0,
            _ => return None,
        };
        self.second.checked_mul(1_000_000)?.checked_add(i64::from(micros))
    }
}

/// A row as a JSON object, without what is null.
pub fn to_json(line: &str) -> Map<String, Value> {
    let fields = line.split('\t').zip(COLUMNS).filter(|(field, _)| *field != "\\N");
    fields.map(|(field, (column, kind))| (column.to_string(), value(field, kind))).collect()
}

fn value(field: &str, kind: Type) -> Value {
    let mut text = Vec::with_capacity(field.len());
    unescape(&mut text, field);
    let text = String::from_utf8(text).unwrap_or_default();
    let found = match kind {
        Type::Flag => Some(Value::from(text == "t")),
        Type::Json => serde_json::from_str(&text).ok(),
        Type::Number | Type::Xid => text.parse::<i64>().ok().map(Value::from),
        _ => None,
    };
    found.unwrap_or_else(|| Value::from(text))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::audit::row::{Clock, Row};

    const HOSTILE: &str = "a\tb\nc\\d\r\u{b}\u{c}\u{8}\0\u{1} \\N Zoë 😀 \\";

    fn line(row: &Row) -> String {
        let mut out = Vec::new();
        row.append(&mut out, &mut Clock::default(), false);
        String::from_utf8(out).unwrap().trim_end_matches('\n').to_string()
    }

    fn text(field: &str) -> String {
        let mut out = Vec::new();
        unescape(&mut out, field);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let at = UNIX_EPOCH + Duration::from_micros(1_795_478_400_000_120);
        let row = Row {
            caller: Some("00112233-4455-6677-8899-aabbccddeeff"),
            intent: Some(i64::MIN),
            tool: Some(HOSTILE),
            rule: Some("\\N"),
            trace: Some(""),
            arguments_digest: Some([0xab; 32]),
            writes: Some(false),
            times: Some(u64::MAX),
            ended: Some(UNIX_EPOCH + Duration::from_secs(3)),
            ..Row::new('i', at)
        };
        let (written, mut calendar) = (line(&row), Calendar::default());
        let mut values = Values::new(&written, &mut calendar);
        let fields: Vec<Field> = values.by_ref().map(Option::unwrap).collect();
        assert!(values.is_at_end() && fields.len() == COLUMNS.len());
        let uuid = [0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        assert_eq!(fields[..4], [Field::Time(1_795_478_400_000_120), Field::Char(b'i'), Field::Uuid(uuid), Field::Number(i64::MIN)]);
        assert_eq!(fields[7], Field::Text(""));
        assert_eq!(fields[10], Field::Bytes("ab".repeat(32).as_str()));
        assert_eq!((fields[12], fields[16], fields[27]), (Field::Flag(false), Field::Number(i64::MAX), Field::Time(3_000_000)));
        let (Field::Text(tool), Field::Text(rule)) = (fields[5], fields[15]) else { panic!("{fields:?}") };
        assert_eq!((text(tool), text(rule)), (HOSTILE.replace('\0', "\\u0000"), "\\N".to_string()));
        assert!(fields.iter().skip(17).take(10).all(|f| *f == Field::Null));
    }

    #[test]
    fn nothing_else_is_read() {
        for (text, kind) in [
            ("1.0", Type::Number),
            ("", Type::Number),
            ("9223372036854775808", Type::Number),
            ("true", Type::Flag),
            ("ab", Type::Char),
            ("\\N", Type::Char),
            ("", Type::Char),
            ("00112233-4455-6677-8899-aabbccddeef", Type::Uuid),
            ("00112233-4455-6677-8899-aabbccddeegg", Type::Uuid),
            ("\\\\xabc", Type::Bytes),
            ("2026-11-24 00:00:00", Type::Time),
            ("2026-11-24 00:00:00.+00", Type::Time),
            ("2026-11-24 00:00:00.1234567+00", Type::Time),
            ("2026-11-24 00:00:0é.1+00", Type::Time),
            ("infinity", Type::Time),
        ] {
            assert_eq!(field(text, kind, &mut Calendar::default()), None, "{text}");
        }
    }

    #[test]
    fn too_short_and_too_long_lines_are_told() {
        let (whole, mut calendar) = (line(&Row::new('c', UNIX_EPOCH)), Calendar::default());
        let short = whole.rsplit_once('\t').unwrap().0;
        assert_eq!(Values::new(short, &mut calendar).last(), Some(None));
        let long = format!("{whole}\t\\N");
        let mut values = Values::new(&long, &mut calendar);
        assert_eq!((values.by_ref().count(), values.is_at_end()), (COLUMNS.len(), false));
        assert_eq!((parts("a\nb\nc"), parts("c"), parts("c\n")), (("a\nb\n", "c"), ("", "c"), ("c\n", "")));
        assert_eq!(lines("a\n\nb\nc").collect::<Vec<_>>(), ["a", "", "b"]);
    }

    #[test]
    fn a_line_of_a_log_has_what_is_there() {
        let json = to_json(&line(&Row { tool: Some(HOSTILE), times: Some(7), writes: Some(true), ..Row::new('r', UNIX_EPOCH) }));
        assert_eq!(json["tool"], HOSTILE.replace('\0', "\\u0000"));
        assert_eq!((&json["times"], &json["writes"], &json["kind"]), (&Value::from(7), &Value::from(true), &Value::from("r")));
        assert!(!json.contains_key("rule"));
    }
}
