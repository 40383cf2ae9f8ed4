//! Reads the `Authorization` header. Pure; the secrets in it are never logged or echoed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use crate::caller::Credential;
use crate::jwt;

/// Longest credential that is looked at, in bytes.
const LONGEST: usize = 8 * 1024;
/// What the tokens of this server begin with.
const OWN_TOKEN: &str = "mcp_";

/// The credential in the header, if there is a header. `jwt`: JSON Web Tokens are taken.
pub fn read(header: Option<&HeaderValue>, jwt: bool) -> Result<Option<Credential>, &'static str> {
    const FORM: &str = "the Authorization header is neither `Bearer <token>` nor `Basic <base64 of role:password>`";
    let Some(header) = header else { return Ok(None) };
    if header.len() > LONGEST {
        return Err("the Authorization header is longer than 8192 bytes");
    }
    let text = header.to_str().map_err(|_| FORM)?;
    let (scheme, value) = text.trim().split_once(' ').ok_or(FORM)?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        let signed = jwt && !value.starts_with(OWN_TOKEN) && jwt::has_shape(value);
        return Ok(Some(if signed { Credential::Jwt { text: value.into() } } else { Credential::token(value) }));
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
        read(Some(&HeaderValue::from_str(text).unwrap()), true)
    }

    #[test]
    fn both_schemes_are_read_in_any_case() {
        assert!(parse("Bearer mcp_x") == Ok(Some(Credential::token("mcp_x"))));
        assert!(parse("bEARER  mcp_x ") == Ok(Some(Credential::token("mcp_x"))));
        assert!(parse("Basic cm9sZTpwYTpzcw==") == Ok(Some(Credential::Password { role: "role".into(), password: "pa:ss".into() })));
        assert!(read(None, true) == Ok(None));
    }

    #[test]
    fn a_signed_token_is_told_by_its_shape_and_only_where_it_is_taken() {
        assert!(parse("Bearer e30.e30.x") == Ok(Some(Credential::Jwt { text: "e30.e30.x".into() })));
        assert!(parse("Bearer mcp_e30.e30.x") == Ok(Some(Credential::token("mcp_e30.e30.x"))));
        assert!(parse("Bearer e30.e30") == Ok(Some(Credential::token("e30.e30"))));
        let header = HeaderValue::from_static("Bearer e30.e30.x");
        assert!(read(Some(&header), false) == Ok(Some(Credential::token("e30.e30.x"))));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "Bearer", "Basic !", "Basic cm9sZQ==", "Basic AAA6AA==", "Digest x", &"Bearer x".repeat(2000)] {
            assert!(parse(text).is_err(), "{text:.40}");
        }
    }
}
