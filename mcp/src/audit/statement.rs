//! The SQL text in the recorded arguments of a call, for whoever reads the trail.
//!
//! Pure functions over bytes. Must bear every text: records are cut at a length, in the midst of the JSON, and then what there is of it is read.

/// The tools that run, plan or look at a caller's text; it is their argument `query`.
const TOOLS: [&[u8]; 5] = [b"execute_sql", b"explain_query", b"preview_sql", b"apply_migration", b"advise_indexes"];
const ARGUMENT: &[u8] = b"query";

/// The text of a call of `tool`, as far as it was recorded. `None`: the tool has none, or there is none to be found. Works in every encoding in which
/// ASCII stands for itself; `unicode` says that it is UTF-8, so that escapes of other characters can be resolved.
pub fn statement(tool: &[u8], arguments: &[u8], unicode: bool) -> Option<Vec<u8>> {
    if !TOOLS.contains(&tool) {
        return None;
    }
    let mut found = None;
    let mut rest = arguments.trim_ascii_start().strip_prefix(b"{")?;
    // Of a name that comes twice the later counts, as for the call itself.
    while let Some((name, after)) = string(rest.trim_ascii_start(), unicode)
        && let Some(value) = after.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start)
    {
        if name == ARGUMENT {
            found = string(value, unicode).map(|(text, _)| text);
        }
        let Some(after) = skip(value).and_then(|after| after.trim_ascii_start().strip_prefix(b",")) else { break };
        rest = after;
    }
    found
}

/// What the JSON string stands for that a text begins with, and what follows it. Without an end it ends with the text.
fn string(text: &[u8], unicode: bool) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut meaning = Vec::new();
    loop {
        let stop = rest.iter().position(|b| matches!(b, b'"' | b'\\')).unwrap_or(rest.len());
        let (plain, after) = rest.split_at(stop);
        meaning.extend_from_slice(plain);
        match after {
            [b'\\', b'u', digits @ ..] => rest = unescape(digits, unicode, &mut meaning)?,
            [b'\\', escaped, after @ ..] => {
                meaning.push(match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'b' => 8,
                    b'f' => 12,
                    other => *other,
                });
                rest = after;
            }
            [b'"', after @ ..] => return Some((meaning, after)),
            _ => return Some((meaning, &[])),
        }
    }
}

/// Appends what `\u` and these digits stand for; as it is written, where no text can hold it. Returns what follows.
fn unescape<'a>(digits: &'a [u8], unicode: bool, meaning: &mut Vec<u8>) -> Option<&'a [u8]> {
    let unit = |at: usize| -> Option<u16> {
        let digits = std::str::from_utf8(digits.get(at..at + 4)?).ok()?;
        u16::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
    };
    let Some(first) = unit(0) else { return Some(&[]) };
    let second = digits.get(4..6).filter(|mark| *mark == b"\\u").and_then(|_| unit(6));
    let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok()).filter(|c| *c >= '\u{10000}');
    let (found, length) = match pair {
        Some(c) => (Some(c), 10),
        None => (char::from_u32(u32::from(first)), 4),
    };
    match found.filter(|c| *c != '\0' && (unicode || c.is_ascii())) {
        Some(c) => meaning.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        None => {
            meaning.extend_from_slice(b"\\u");
            meaning.extend_from_slice(digits.get(..length)?);
        }
    }
    digits.get(length..)
}

/// What follows the JSON value that a text begins with. `None`: nothing.
fn skip(text: &[u8]) -> Option<&[u8]> {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (i, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b',' | b'}' | b']' if depth == 0 => return text.get(i..),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &str) -> Option<String> {
        statement(b"execute_sql", arguments.as_bytes(), true).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn text_is_found_as_far_as_it_goes() {
        let cases = [
            (r#"{"query": "select 1"}"#, Some("select 1")),
            (
                r#" { "params" : [1, {"query": "no"}, "}"] , "query" : "select\n\"a\" \u00e9\ud83d\ude00\/\\" } "#,
                Some("select\n\"a\" é😀/\\"),
            ),
            (r#"{"query": "a", "query": "b"}"#, Some("b")),
            (r#"{"query": "a", "query": 5}"#, None),
            (r#"{"qu\u0065ry": "a"}"#, Some("a")),
            (r#"{"query": "a\u0000b\ud800c\ud800\u0041"}"#, Some(r"a\u0000b\ud800c\ud800A")),
            (r#"{"query": "select 'cut"#, Some("select 'cut")),
            (r#"{"query": "select \"#, Some("select ")),
            (r#"{"query": "select \u00"#, Some("select ")),
            (r#"{"query": "select \ud83d\ude"#, Some(r"select \ud83d")),
            (r#"{"query": "#, None),
            (r#"{"query"#, None),
            (r#"{"params": ["a"#, None),
            (r#"{"query": "a", "par"#, Some("a")),
            (r#"{"query": "a" "b"}"#, Some("a")),
            (r#"{"query": null}"#, None),
            ("", None),
            ("{", None),
            ("{}", None),
            ("[]", None),
            ("\"query\"", None),
            ("#0123456789abcdef", None),
            ("{]]]]", None),
            (r#"{"a":]]]],"query":"b"}"#, None),
        ];
        for (arguments, expected) in cases {
            assert_eq!(of(arguments).as_deref(), expected, "{arguments}");
        }
    }

    #[test]
    fn other_tools_and_encodings() {
        assert_eq!(statement(b"list_tables", b"{\"query\": \"a\"}", true), None);
        assert_eq!(statement(b"preview_sql", b"{\"query\": \"a\"}", true), Some(b"a".to_vec()));
        assert_eq!(statement(b"execute_sql", b"{\"query\": \"\xe9\\u00e9\\u0041\"}", false), Some(b"\xe9\\u00e9A".to_vec()));
    }
}
