//! Writing JSON bytes: strings, and JSON that Postgres wrote, made fit for one line and for every client.
//!
//! Pure functions over byte buffers, used by the executor.

/// Deeper JSON than this is given as a string: parsers of clients stop at 100 to 128 levels, and the result around it takes some.
const MAX_DEPTH: usize = 64;

/// Appends `text` as a JSON string.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text.as_bytes());
    out.push(b'"');
}

/// Appends bytes that should be UTF-8 as a JSON string; what is not becomes U+FFFD.
pub fn push_lossy(out: &mut Vec<u8>, bytes: &[u8]) {
    push_string(out, &String::from_utf8_lossy(bytes));
}

fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut start = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[start..i]);
        start = i + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[(byte >> 4) as usize]);
                out.push(HEX[(byte & 15) as usize]);
            }
        }
    }
    out.extend_from_slice(&bytes[start..]);
}

/// Appends an integer: as a number where every client keeps all its digits, else as a string.
pub fn push_integer(out: &mut Vec<u8>, value: i64) {
    /// The largest integer that a double can tell from its neighbours: JavaScript's MAX_SAFE_INTEGER.
    const SAFE: i64 = (1 << 53) - 1;
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value).as_bytes();
    if (-SAFE..=SAFE).contains(&value) {
        out.extend_from_slice(digits);
    } else {
        out.push(b'"');
        out.extend_from_slice(digits);
        out.push(b'"');
    }
}

/// Appends a float: the fewest digits that read back as the same value; strings for what JSON has no number for.
pub fn push_float<F: ryu::Float + Into<f64> + Copy>(out: &mut Vec<u8>, value: F) {
    let wide: f64 = value.into();
    if wide.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if wide.is_infinite() {
        out.extend_from_slice(if wide > 0.0 { b"\"Infinity\"".as_slice() } else { b"\"-Infinity\"" });
    } else {
        let mut buffer = ryu::Buffer::new();
        let digits = buffer.format_finite(value).as_bytes();
        // Postgres writes 1, not 1.0.
        out.extend_from_slice(digits.strip_suffix(b".0").unwrap_or(digits));
    }
}

/// Appends JSON text that Postgres accepted, without white space. What a client's parser would choke on, and lose the whole answer
/// with, is softened: too deep a document and one that is not UTF-8 become a string, a lone surrogate becomes U+FFFD, a number beyond
/// the range of a double becomes a string.
pub fn push_json(out: &mut Vec<u8>, text: &[u8]) {
    let start = out.len();
    if std::str::from_utf8(text).is_err() || push_compact(out, text).is_none() {
        out.truncate(start);
        push_lossy(out, text);
    }
}

/// `None` if the text is too deep, or not JSON after all.
fn push_compact(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    let mut depth = 0usize;
    let mut rest = text;
    while let Some(&byte) = rest.first() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => rest = &rest[1..],
            b'"' => rest = push_json_string(out, rest)?,
            b'-' | b'0'..=b'9' => rest = push_number(out, rest),
            _ => {
                match byte {
                    b'{' | b'[' => {
                        depth += 1;
                        if depth > MAX_DEPTH {
                            return None;
                        }
                    }
                    b'}' | b']' => depth = depth.checked_sub(1)?,
                    _ => {}
                }
                out.push(byte);
                rest = &rest[1..];
            }
        }
    }
    (depth == 0).then_some(())
}

/// Copies one string, quotes included; returns what follows it.
fn push_json_string<'a>(out: &mut Vec<u8>, text: &'a [u8]) -> Option<&'a [u8]> {
    out.push(b'"');
    let mut rest = text.get(1..)?;
    loop {
        let stop = rest.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20)?;
        out.extend_from_slice(&rest[..stop]);
        rest = &rest[stop..];
        match rest.first()? {
            b'"' => {
                out.push(b'"');
                return Some(&rest[1..]);
            }
            b'\\' if rest.get(1) == Some(&b'u') => {
                let unit = code_unit(rest)?;
                let pair = match unit {
                    0xD800..=0xDBFF => code_unit(rest.get(6..)?).filter(|u| (0xDC00..=0xDFFF).contains(u)),
                    _ => None,
                };
                let length = if pair.is_some() { 12 } else { 6 };
                if (0xD800..=0xDFFF).contains(&unit) && pair.is_none() {
                    out.extend_from_slice(b"\\ufffd");
                } else {
                    out.extend_from_slice(rest.get(..length)?);
                }
                rest = &rest[length..];
            }
            b'\\' => {
                out.extend_from_slice(rest.get(..2)?);
                rest = &rest[2..];
            }
            // Postgres refuses bare control characters in json; a newline here would break the line that the answer is.
            _ => return None,
        }
    }
}

/// The value of `\uXXXX` at the start of `text`.
fn code_unit(text: &[u8]) -> Option<u32> {
    let hex = text.strip_prefix(b"\\u")?.get(..4)?;
    u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

/// Copies one number; returns what follows it.
fn push_number<'a>(out: &mut Vec<u8>, text: &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|b| !matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    // A double holds 308 digits; nothing shorter can be out of its range without an exponent.
    let suspect = number.len() > 300 || number.iter().any(|b| matches!(b, b'e' | b'E'));
    let infinite = suspect && std::str::from_utf8(number).ok().and_then(|n| n.parse::<f64>().ok()).is_none_or(f64::is_infinite);
    if infinite {
        out.push(b'"');
    }
    out.extend_from_slice(number);
    if infinite {
        out.push(b'"');
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact(text: &str) -> String {
        let mut out = Vec::new();
        push_json(&mut out, text.as_bytes());
        String::from_utf8(out).unwrap_or_default()
    }

    #[test]
    fn white_space_goes_but_not_inside_strings() {
        assert_eq!(compact("{ \"a b\" :\n[1,\t2 ] }"), r#"{"a b":[1,2]}"#);
    }

    #[test]
    fn a_lone_surrogate_is_replaced_and_a_pair_kept() {
        assert_eq!(compact(r#""\ud83d\ude00 \ud800 \udc00""#), r#""\ud83d\ude00 \ufffd \ufffd""#);
        assert_eq!(compact(r#""\ud800""#), r#""\ufffd""#);
    }

    #[test]
    fn numbers_beyond_a_double_become_strings() {
        assert_eq!(compact("[1e999,-1E400,1e-400,12]"), r#"["1e999","-1E400",1e-400,12]"#);
    }

    #[test]
    fn too_deep_becomes_a_string() {
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        assert_eq!(compact(&deep), format!("\"{deep}\""));
        assert_eq!(compact(&deep[1..deep.len() - 1]), &deep[1..deep.len() - 1]);
    }

    #[test]
    fn integers_and_floats_keep_their_digits() {
        let mut out = Vec::new();
        for value in [0, -1, (1 << 53) - 1, 1 << 53, i64::MIN] {
            push_integer(&mut out, value);
            out.push(b' ');
        }
        for value in [1.0, 0.1, -0.0, 1e300, f64::NAN, f64::NEG_INFINITY] {
            push_float(&mut out, value);
            out.push(b' ');
        }
        push_float(&mut out, 0.1f32);
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#"0 -1 9007199254740991 "9007199254740992" "-9223372036854775808" 1 0.1 -0 1e300 "NaN" "-Infinity" 0.1"#
        );
    }
}
