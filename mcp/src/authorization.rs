//! Reads the `Authorization` header. Pure; the secrets in it are never logged or echoed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use crate::caller::Credential;

/// Longest credential that is looked at, in bytes.
const LONGEST: usize = 8 * 1024;

/// The credential in the header, if there is a header.
pub fn read(header: Option<&HeaderValue>) -> Result<Option<Credential>, &'static str> {
    const FORM: &str = "the Authorization header is neither `Bearer <token>` nor `Basic <base64 of role:password>`";
    let Some(header) = header else { return Ok(None) };
    let text = header.to_str().ok().filter(|t| t.len() <= LONGEST).ok_or(FORM)?;
    let (scheme, value) = text.trim().split_once(' ').ok_or(FORM)?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(Credential::token(value)));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = STANDARD.decode(value).ok().and_then(|b| String::from_utf8(b).ok()).ok_or(FORM)?;
        let (role, password) = decoded.split_once(':').ok_or(FORM)?;
        if decoded.contains('\0') {
            return Err(FORM);
        }
        return Ok(Some(Credential::Password { role: role.into(), password: password.into() }));
    }
    Err(FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Credential>, &'static str> {
        read(Some(&HeaderValue::from_str(text).unwrap()))
    }

    #[test]
    fn both_schemes_are_read_in_any_case() {
        assert!(parse("Bearer mcp_x") == Ok(Some(Credential::token("mcp_x"))));
        assert!(parse("bEARER  mcp_x ") == Ok(Some(Credential::token("mcp_x"))));
        assert!(parse("Basic cm9sZTpwYTpzcw==") == Ok(Some(Credential::Password { role: "role".into(), password: "pa:ss".into() })));
        assert!(read(None) == Ok(None));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "Bearer", "Basic !", "Basic cm9sZQ==", "Basic AAA6AA==", "Digest x", &"Bearer x".repeat(2000)] {
            assert!(parse(text).is_err(), "{text:.40}");
        }
    }
}
