//! The hash that stands in the audit trail for what must not be read there, and its key.
//!
//! Of no thread in particular: the gateway has the key from a database's keeper and hands it on with a caller, executors hash. Keyed, because the plain
//! hash of a short text is found by trying texts. Must not be shown: `Debug` leaves the key out.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::text::push_hex;

const KEY_BYTES: usize = 32;
/// Of a hash in the trail: enough that two values of one installation never share it by chance.
const SHOWN_BYTES: usize = 8;

/// A key of HMAC-SHA-256 that one installation of the extension makes once, in `mcp._audit_key`. It travels as 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key([u8; KEY_BYTES]);

impl Key {
    /// `None`: not the length of a key.
    pub fn new(bytes: &[u8]) -> Option<Key> {
        bytes.try_into().ok().map(Key)
    }

    /// What stands for a value: `#` and 16 hexadecimal digits.
    pub fn shown(&self, value: &[u8]) -> String {
        let mut text = String::with_capacity(1 + 2 * SHOWN_BYTES);
        text.push('#');
        push_hex(&mut text, &self.digest(value)[..SHOWN_BYTES]);
        text
    }

    /// The whole hash.
    pub fn digest(&self, value: &[u8]) -> [u8; 32] {
        // HMAC itself fills a key up with zeros to the length of a block.
        let mut block = [0; 64];
        block[..KEY_BYTES].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(value);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl TryFrom<String> for Key {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Key, &'static str> {
        let digits = text.as_bytes();
        if digits.len() != 2 * KEY_BYTES {
            return Err("a key has 64 hexadecimal digits");
        }
        let mut key = [0; KEY_BYTES];
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |c: u8| (c as char).to_digit(16).ok_or("not a hexadecimal digit");
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Ok(Key(key))
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        let mut text = String::with_capacity(2 * KEY_BYTES);
        push_hex(&mut text, &key.0);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_hmac_sha_256() {
        // RFC 4231 has keys of other lengths; this one is from OpenSSL: openssl dgst -sha256 -mac hmac -macopt hexkey:0b0b...
        let key = Key([0x0b; KEY_BYTES]);
        assert_eq!(key.shown(b"Hi There"), "#198a607eb44bfbc6");
        assert_ne!(key.shown(b"hi there"), key.shown(b"Hi There"));
        assert_ne!(Key([0x0c; KEY_BYTES]).shown(b"Hi There"), key.shown(b"Hi There"));
    }

    #[test]
    fn key_travels_as_text_and_is_shown_to_nobody() {
        let key = Key(std::array::from_fn(|i| i as u8 * 7));
        let text = serde_json::to_string(&key).unwrap_or_default();
        assert_eq!(text.len(), 66);
        assert_eq!(serde_json::from_str::<Key>(&text).ok(), Some(key.clone()));
        assert_eq!(format!("{key:?}"), "Key");
        for bad in ["\"\"", "\"00\"", &format!("\"{}\"", "g".repeat(64)), &format!("\"{}\"", "é".repeat(32)), "5"] {
            assert!(serde_json::from_str::<Key>(bad).is_err(), "{bad}");
        }
    }
}
