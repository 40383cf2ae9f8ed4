//! What is done to texts in several places: cutting them to a length, and bytes as hexadecimal digits. Pure.

/// As much of a text as fits into so many bytes.
pub fn clip(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

pub fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
}

pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

/// The bytes that hexadecimal digits stand for; `None`: that is not what these are.
pub fn unhex(digits: &str) -> impl Iterator<Item = Option<u8>> {
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    digits.as_bytes().chunks(2).map(move |pair| match pair {
        [high, low] => Some(value(high)? << 4 | value(low)?),
        _ => None,
    })
}
