//! Checks a password against the SCRAM verifier that Postgres stores in `pg_authid.rolpassword`.
//!
//! Pure computation, about as slow as the verifier's iteration count makes it (1 to 2 ms by default): callers run it on a bounded pool of
//! blocking threads. RFC 5802 and RFC 7677; the verifier's form is Postgres' own,
//! `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// More iterations than anybody sets; a bound on what one attempt may cost.
const MAX_ITERATIONS: u32 = 1_000_000;

struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
}

fn parse(text: &str) -> Option<Verifier> {
    let rest = text.strip_prefix("SCRAM-SHA-256$")?;
    let (cost, keys) = rest.split_once('$')?;
    let (iterations, salt) = cost.split_once(':')?;
    let (stored_key, _server_key) = keys.split_once(':')?;
    let iterations = iterations.parse().ok().filter(|n| (1..=MAX_ITERATIONS).contains(n))?;
    Some(Verifier { iterations, salt: STANDARD.decode(salt).ok()?, stored_key: STANDARD.decode(stored_key).ok()? })
}

/// Whether `password` is the one behind `verifier`. Without a verifier it takes the same time and says no, so that the time tells
/// nobody which roles exist.
pub fn verify(verifier: Option<&str>, password: &str) -> bool {
    // HMAC pads its key with NUL bytes, so one more at the end would go unnoticed; Postgres takes none in a password.
    let real = verifier.filter(|_| !password.contains('\0')).and_then(parse);
    let exists = real.is_some();
    let verifier = real.unwrap_or_else(|| Verifier { iterations: 4096, salt: vec![0; 16], stored_key: vec![0; 32] });
    // As Postgres' own clients do: where SASLprep refuses the text, its bytes stand for themselves.
    let prepared = stringprep::saslprep(password).unwrap_or(std::borrow::Cow::Borrowed(password));
    let mut salted = [0u8; 32];
    if pbkdf2::pbkdf2::<Hmac<Sha256>>(prepared.as_bytes(), &verifier.salt, verifier.iterations, &mut salted).is_err() {
        return false;
    }
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&salted) else { return false };
    mac.update(b"Client Key");
    let stored_key = Sha256::digest(mac.finalize().into_bytes());
    bool::from(stored_key.as_slice().ct_eq(&verifier.stored_key)) && exists
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of RFC 7677, chapter 3, as a verifier.
    const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn right_password_passes_and_others_do_not() {
        assert!(verify(Some(PENCIL), "pencil"));
        for wrong in ["", "Pencil", "pencil ", "pencil\0"] {
            assert!(!verify(Some(PENCIL), wrong), "{wrong:?}");
        }
    }

    #[test]
    fn nothing_passes_without_a_scram_verifier() {
        for verifier in
            [None, Some(""), Some("md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), Some("SCRAM-SHA-256$0:AA==$:"), Some("SCRAM-SHA-256$x")]
        {
            assert!(!verify(verifier, ""), "{verifier:?}");
        }
    }
}
