//! Host and Origin: keeps a web page in the user's browser from speaking to a server on the user's own machine (DNS rebinding).
//!
//! Pure. Applies to TCP alone: no browser reaches a Unix socket. On TCP a request needs a Host that is known here, and an Origin, where
//! there is one, that is.

use http::header::{HOST, HeaderMap, ORIGIN};

use crate::config::Config;

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// `Err` says what an administrator can set.
pub fn check(headers: &HeaderMap, config: &Config) -> Result<(), String> {
    let host = single(headers, HOST.as_str()).ok_or("exactly one Host header is needed")?;
    if !host_is_known(host, config) {
        return Err(format!("host \"{host}\" is not served; an administrator can add it to supabase_mcp.allowed_hosts"));
    }
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let origin = single(headers, ORIGIN.as_str()).ok_or("more than one Origin header")?;
    if origin_is_known(origin, config) {
        return Ok(());
    }
    Err(format!("origin \"{origin}\" is not served; an administrator can add it to supabase_mcp.allowed_origins"))
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// An entry without a port matches every port: a container's published port is not the server's own.
fn host_is_known(host: &str, config: &Config) -> bool {
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host();
    LOOPBACK.iter().any(|l| l.eq_ignore_ascii_case(name))
        || config.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name) || allowed.eq_ignore_ascii_case(authority.as_str()))
}

fn origin_is_known(origin: &str, config: &Config) -> bool {
    let own = LOOPBACK.iter().any(|l| origin.eq_ignore_ascii_case(&format!("http://{l}:{}", config.port)));
    own || config.allowed_origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn verdict(host: &str, origin: Option<&str>) -> bool {
        let config =
            Config { allowed_hosts: vec!["db.internal".into()], allowed_origins: vec!["https://app.example".into()], ..Config::default() };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        check(&headers, &config).is_ok()
    }

    #[test]
    fn only_known_hosts_and_origins_pass() {
        assert!(verdict("localhost:5627", None));
        assert!(verdict("[::1]", None));
        assert!(verdict("DB.internal:8080", None));
        assert!(verdict("127.0.0.1:5627", Some("http://127.0.0.1:5627")));
        assert!(verdict("localhost", Some("https://app.example")));
        assert!(!verdict("evil.example:5627", None));
        assert!(!verdict("localhost@evil.example", None));
        assert!(!verdict("localhost", Some("http://localhost:3000")));
        assert!(!verdict("localhost", Some("null")));
    }

    #[test]
    fn a_second_host_header_is_refused() {
        let mut headers = HeaderMap::new();
        headers.append(HOST, HeaderValue::from_static("localhost"));
        headers.append(HOST, HeaderValue::from_static("evil.example"));
        assert!(check(&headers, &Config::default()).is_err());
    }
}
