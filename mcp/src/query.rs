//! What a request says of itself besides its body: the parameters of its URL, and the headers that policies may ask for. Pure.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// Whether the URL asks for read-only calls: `?read_only=true`. Other parameters are nobody's business here.
pub fn read_only(query: Option<&str>) -> Result<bool, &'static str> {
    let mut asked = None;
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if percent_decode_str(name).ne(*b"read_only") {
            continue;
        }
        let value: Vec<u8> = percent_decode_str(value).collect();
        let value = match value.as_slice() {
            b"true" => true,
            b"false" => false,
            _ => return Err("the parameter read_only of the URL is neither true nor false"),
        };
        if asked.replace(value).is_some() {
            return Err("the parameter read_only is in the URL twice");
        }
    }
    Ok(asked.unwrap_or(false))
}

/// The headers as a JSON object, names in lower case, without those that carry credentials.
pub fn headers(headers: &HeaderMap) -> String {
    let mut object: Map<String, Value> = Map::new();
    for (name, value) in headers {
        if [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name) || name == "apikey" {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        match object.get_mut(name.as_str()) {
            Some(Value::String(before)) => {
                before.push_str(", ");
                before.push_str(&value);
            }
            _ => drop(object.insert(name.as_str().into(), Value::String(value.into_owned()))),
        }
    }
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn read_only_is_asked_for_in_one_way() {
        assert_eq!(read_only(None), Ok(false));
        assert_eq!(read_only(Some("project_ref=x&features=docs,database")), Ok(false));
        assert_eq!(read_only(Some("read_only=false")), Ok(false));
        for query in ["read_only=true", "a=b&read_only=true&c", "read%5Fonly=%74rue"] {
            assert_eq!(read_only(Some(query)), Ok(true), "{query}");
        }
        for query in ["read_only", "read_only=", "read_only=1", "read_only=TRUE", "read_only=true&read_only=true", "read_only=true "] {
            assert!(read_only(Some(query)).is_err(), "{query}");
        }
    }

    #[test]
    fn headers_come_without_credentials() {
        let mut map = HeaderMap::new();
        for (name, value) in [("X-Tenant", "a"), ("X-TENANT", "b"), ("Authorization", "x"), ("Cookie", "x"), ("apikey", "x")] {
            map.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value));
        }
        map.insert(PROXY_AUTHORIZATION, HeaderValue::from_static("x"));
        map.insert("x-odd", HeaderValue::from_bytes(b"\xff\"").unwrap());
        assert_eq!(headers(&map), r#"{"x-odd":"�\"","x-tenant":"a, b"}"#);
    }
}
