//! A call's arguments as they may be recorded: JSON text in which some values are replaced and everything else is as it came, order and
//! repeated names included.
//!
//! Pure functions over text, used by the executor and by the SQL functions that read the trail. Which values are replaced, and by what, the caller says.

use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::json;

/// What becomes of the value of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It stays.
    Keep,
    /// One replacement for all of it, whatever it is; null stays.
    Whole,
    /// One for each string and each number in it.
    Leaves,
    /// As `Leaves`, but strings are SQL.
    Sql,
}

/// Makes the replacements. A string comes as what it stands for, a number and a `Whole` value that is no string as JSON.
pub trait Replace {
    /// For a value.
    fn value(&mut self, text: &str) -> String;
    /// For a text that is SQL.
    fn sql(&mut self, text: &str) -> String;
}

/// The arguments with their values replaced as `how` says of each name. Ends, in the midst of the JSON, soon after `most` bytes: as much as will
/// be kept. `None`: they are no JSON.
pub fn hide(arguments: &str, most: usize, how: &dyn Fn(&str) -> How, with: &mut dyn Replace) -> Option<String> {
    let mut out = Out { text: Vec::with_capacity(arguments.len().min(most) + 64), most, with };
    let trimmed = arguments.trim_start();
    if trimmed.starts_with('{') {
        let mut reader = serde_json::Deserializer::from_str(arguments);
        Object { how, out: &mut out }.deserialize(&mut reader).ok()?;
        reader.end().ok()?;
    } else {
        out.value(serde_json::from_str::<&RawValue>(arguments).ok()?.get(), How::Leaves);
    }
    String::from_utf8(out.text).ok()
}

struct Object<'a, 'o> {
    how: &'a dyn Fn(&str) -> How,
    out: &'a mut Out<'o>,
}

impl<'de> DeserializeSeed<'de> for Object<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<(), M::Error> {
        let mut separator = b'{';
        let mut empty = true;
        while let Some((name, value)) = members.next_entry::<String, &RawValue>()? {
            // To its end all the same: what is no JSON further on is none.
            if self.out.is_full() {
                continue;
            }
            self.out.text.push(separator);
            json::push_string(&mut self.out.text, &name);
            self.out.text.push(b':');
            self.out.value(value.get(), (self.how)(&name));
            separator = b',';
            empty = false;
        }
        if !self.out.is_full() {
            self.out.text.extend_from_slice(if empty { b"{}" } else { b"}" });
        }
        Ok(())
    }
}

struct Out<'o> {
    text: Vec<u8>,
    most: usize,
    with: &'o mut dyn Replace,
}

impl Out<'_> {
    fn is_full(&self) -> bool {
        self.text.len() > self.most
    }

    fn value(&mut self, json: &str, how: How) {
        match how {
            How::Keep => self.text.extend_from_slice(json.as_bytes()),
            How::Whole if json == "null" => self.text.extend_from_slice(b"null"),
            How::Whole => {
                let replacement = if json.starts_with('"') { self.with.value(&meaning(json)) } else { self.with.value(json) };
                json::push_string(&mut self.text, &replacement);
            }
            How::Leaves | How::Sql => self.leaves(json, how == How::Sql),
        }
    }

    /// Of JSON that has been read before, so that only strings and numbers need to be told from the rest.
    fn leaves(&mut self, json: &str, sql: bool) {
        let mut rest = json;
        while let Some(first) = rest.bytes().next() {
            if self.is_full() {
                return;
            }
            let length = match first {
                b'"' => string_length(rest),
                b'-' | b'0'..=b'9' => rest.bytes().take_while(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')).count(),
                _ => 1,
            };
            // Outside of strings JSON is ASCII.
            let (item, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
            rest = after;
            let is_name = first == b'"' && rest.trim_start().starts_with(':');
            let replacement = match first {
                b'"' if is_name => None,
                b'"' if sql => Some(self.with.sql(&meaning(item))),
                b'"' => Some(self.with.value(&meaning(item))),
                b'-' | b'0'..=b'9' => Some(self.with.value(item)),
                _ => None,
            };
            match replacement {
                Some(text) => json::push_string(&mut self.text, &text),
                None => self.text.extend_from_slice(item.as_bytes()),
            }
        }
    }
}

/// Bytes of the JSON string that a text begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (i, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return i + 1,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// What a JSON string stands for; one that stands for no text (half of a surrogate pair) as it is written.
fn meaning(json: &str) -> String {
    serde_json::from_str(json).unwrap_or_else(|_| json.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Marks;

    impl Replace for Marks {
        fn value(&mut self, text: &str) -> String {
            format!("<{text}>")
        }

        fn sql(&mut self, text: &str) -> String {
            format!("sql:{text}")
        }
    }

    fn how(name: &str) -> How {
        match name {
            "whole" => How::Whole,
            "leaves" => How::Leaves,
            "sql" => How::Sql,
            _ => How::Keep,
        }
    }

    fn hidden(arguments: &str) -> Option<String> {
        hide(arguments, usize::MAX, &how, &mut Marks)
    }

    #[test]
    fn values_are_replaced_and_nothing_else_is() {
        let cases = [
            ("{}", "{}"),
            (" { } ", "{}"),
            (r#"{"a": 1, "b" : ["x", {"whole":"y"}]}"#, r#"{"a":1,"b":["x", {"whole":"y"}]}"#),
            (r#"{"z": 1, "whole": "y", "a": 2, "whole": 7}"#, r#"{"z":1,"whole":"<y>","a":2,"whole":"<7>"}"#),
            (r#"{"\u0077hole": "y"}"#, r#"{"whole":"<y>"}"#),
            (r#"{"whole": null}"#, r#"{"whole":null}"#),
            (r#"{"whole": {"a": [1, "b"]}}"#, r#"{"whole":"<{\"a\": [1, \"b\"]}>"}"#),
            (r#"{"whole": true}"#, r#"{"whole":"<true>"}"#),
            (
                r#"{"leaves": {"a": [-1.50e+3, "b", null, true], "c\"": {"d": "e: f"}}}"#,
                r#"{"leaves":{"a": ["<-1.50e+3>", "<b>", null, true], "c\"": {"d": "<e: f>"}}}"#,
            ),
            (r#"{"leaves": {"a" : 1, "b"	: "q\"\\"}}"#, r#"{"leaves":{"a" : "<1>", "b"	: "<q\"\\>"}}"#),
            (r#"{"sql": "select 1", "leaves": "é\u00e9\n"}"#, "{\"sql\":\"sql:select 1\",\"leaves\":\"<éé\\n>\"}"),
            (r#"{"sql": ["a", 5]}"#, r#"{"sql":["sql:a", "<5>"]}"#),
            (r#"{"leaves": "\ud800"}"#, r#"{"leaves":"<\"\\ud800\">"}"#),
            (
                r#"{"leaves": 123456789012345678901234567890, "whole": 1e999}"#,
                r#"{"leaves":"<123456789012345678901234567890>","whole":"<1e999>"}"#,
            ),
            (r#"["a", 1, {"b": "c"}]"#, r#"["<a>", "<1>", {"b": "<c>"}]"#),
            (r#""a""#, r#""<a>""#),
            ("null", "null"),
        ];
        for (arguments, expected) in cases {
            assert_eq!(hidden(arguments).as_deref(), Some(expected), "{arguments}");
        }
    }

    #[test]
    fn what_is_no_json_is_not_passed_on() {
        for arguments in [
            "",
            "{",
            "{\"whole\": \"y\"",
            "{\"whole\": \"y\"} x",
            "{\"whole\" \"y\"}",
            "{\"a\": 'y'}",
            "nothing",
            "[1",
            "{\"a\": \"\\x\"}",
            "{1: 2}",
        ] {
            assert_eq!(hidden(arguments), None, "{arguments}");
        }
    }

    #[test]
    fn deep_and_long_arguments_end_where_they_are_cut() {
        let deep = format!("{{\"leaves\":{}\"x\"{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(hidden(&deep), Some(deep.replace('x', "<x>")));
        let long = format!("{{\"leaves\":[{}1],\"whole\":\"y\"}}", "1,".repeat(100_000));
        let cut = hide(&long, 1000, &how, &mut Marks).unwrap();
        assert!((1000..1010).contains(&cut.len()) && cut.starts_with(r#"{"leaves":["<1>","<1>""#), "{}", cut.len());
        assert_eq!(hide(&format!("{}x", &long[..long.len() - 1]), 1000, &how, &mut Marks), None);
    }
}
