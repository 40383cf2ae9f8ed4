//! What a request says of itself besides its body: its database, the parameters of its URL, and the headers that policies may ask for. Pure.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// Most names in a list of features, and the longest name: a tool's.
const MOST_FEATURES: usize = 64;
const LONGEST_FEATURE: usize = 128;

/// What a URL asks for, as Supabase's server has it: `?features=database,docs&read_only=true`. OAuth clients may not use a query, so the same
/// works as segments of the path: `/mcp/features=database,docs/read_only=true`. Other parameters are nobody's business here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    read_only: Option<bool>,
    features: Option<Vec<String>>,
    /// The client was made for Supabase's hosted server, whose URLs name a project.
    pub project: bool,
}

impl Asked {
    pub fn read_only(&self) -> bool {
        self.read_only.unwrap_or(false)
    }

    /// The toolset asked for; `None`: the usual one.
    pub fn features(&self) -> Option<&[String]> {
        self.features.as_deref()
    }

    /// Takes in the parameters of a query.
    pub fn query(&mut self, query: Option<&str>) -> Result<(), String> {
        for pair in query.unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.parameter(&percent_decode_str(name).decode_utf8_lossy(), value)?;
        }
        Ok(())
    }

    /// Takes in one segment of a path. `false`: it is no parameter.
    pub fn segment(&mut self, segment: &str) -> Result<bool, String> {
        // An equals sign that belongs to a name is escaped.
        let Some((name, value)) = segment.split_once('=') else { return Ok(false) };
        self.parameter(name, value)
    }

    fn parameter(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let value = percent_decode_str(value).decode_utf8_lossy();
        let twice = || Err(format!("the parameter {name} is in the URL twice"));
        match name {
            "read_only" => {
                let value = match value.as_ref() {
                    "true" => true,
                    "false" => false,
                    _ => return Err("the parameter read_only of the URL is neither true nor false".into()),
                };
                if self.read_only.replace(value).is_some() {
                    return twice();
                }
            }
            "features" if self.features.is_some() => return twice(),
            "features" => self.features = features(&value).map_err(|what| format!("the parameter features of the URL {what}"))?,
            "project_ref" => self.project = true,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The database that a path names, if it does, and what else the path says. `Ok(None)`: the path is none of ours.
pub fn endpoint(path: &str) -> Result<Option<(Option<String>, Asked)>, String> {
    let mut asked = Asked::default();
    let Some(rest) = path.strip_prefix("/mcp") else { return Ok(None) };
    if matches!(rest, "" | "/") {
        return Ok(Some((None, asked)));
    }
    let Some(rest) = rest.strip_prefix('/') else { return Ok(None) };
    let mut database = None;
    for (place, segment) in rest.split('/').enumerate() {
        if asked.segment(segment)? {
            continue;
        }
        let name = percent_decode_str(segment).decode_utf8().ok().filter(|name| !name.is_empty() && !name.contains(['/', '\0']));
        match name {
            Some(name) if place == 0 => database = Some(name.into_owned()),
            _ => return Ok(None),
        }
    }
    Ok(Some((database, asked)))
}

/// The names in a list of features; `None` if there are none.
pub fn features(list: &str) -> Result<Option<Vec<String>>, &'static str> {
    let names: Vec<String> = list.split(',').map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect();
    let known = |name: &String| name.len() <= LONGEST_FEATURE && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if names.len() > MOST_FEATURES {
        return Err("has too many names");
    }
    if !names.iter().all(known) {
        return Err("is not a list of names, such as database,docs");
    }
    Ok(Some(names).filter(|names| !names.is_empty()))
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

    fn asked(query: Option<&str>) -> Result<Asked, String> {
        let mut asked = Asked::default();
        asked.query(query).map(|()| asked)
    }

    #[test]
    fn read_only_is_asked_for_in_one_way() {
        for query in [None, Some("project_ref=x&features=docs,database"), Some("read_only=false")] {
            assert!(!asked(query).unwrap().read_only());
        }
        for query in ["read_only=true", "a=b&read_only=true&c", "read%5Fonly=%74rue"] {
            assert!(asked(Some(query)).unwrap().read_only(), "{query}");
        }
        for query in ["read_only", "read_only=", "read_only=1", "read_only=TRUE", "read_only=true&read_only=true", "read_only=true "] {
            assert!(asked(Some(query)).is_err(), "{query}");
        }
    }

    #[test]
    fn features_are_names() {
        let features = |query: &str| asked(Some(query)).map(|a| a.features().map(<[String]>::to_vec));
        assert_eq!(features("features=docs,%20database&x"), Ok(Some(vec!["docs".into(), "database".into()])));
        assert_eq!(features("features=docs%2Cdatabase"), Ok(Some(vec!["docs".into(), "database".into()])));
        assert_eq!(features("features=&y"), Ok(None));
        let long = format!("features={}", "a".repeat(129));
        let many = format!("features={}", "a,".repeat(65));
        for query in ["features=a b", "features=a\"", "features=a&features=b", "features=%00", &long, &many] {
            assert!(features(query).is_err(), "{query}");
        }
        assert!(asked(Some("project_ref=x")).unwrap().project);
    }

    #[test]
    fn a_segment_is_a_parameter_or_a_name() {
        let mut asked = Asked::default();
        assert_eq!(asked.segment("features=docs"), Ok(true));
        assert_eq!(asked.segment("read_only=true"), Ok(true));
        assert_eq!(asked.segment("shop"), Ok(false));
        assert_eq!(asked.segment("features%3Ddocs"), Ok(false));
        assert_eq!(asked.segment("other=docs"), Ok(false));
        assert!(asked.segment("features=docs").is_err());
        assert!(asked.read_only());
    }

    #[test]
    fn a_path_names_a_database_and_parameters() {
        let database = |path: &str| endpoint(path).map(|e| e.map(|(database, _)| database));
        for path in ["/mcp", "/mcp/", "/mcp/features=docs", "/mcp/features=docs/read_only=true"] {
            assert_eq!(database(path), Ok(Some(None)), "{path}");
        }
        for (path, name) in [("/mcp/shop", "shop"), ("/mcp/a%20b/features=docs", "a b"), ("/mcp/a%3Db", "a=b"), ("/mcp/a=b", "a=b")] {
            assert_eq!(database(path), Ok(Some(Some(name.into()))), "{path}");
        }
        for path in
            ["", "/", "/mcpx", "/mcp/shop/", "/mcp//", "/mcp/shop/other", "/mcp/a%2Fb", "/mcp/%00", "/mcp/features=docs/shop", "/x/mcp"]
        {
            assert_eq!(database(path), Ok(None), "{path}");
        }
        assert!(database("/mcp/shop/read_only=maybe").is_err());
        assert!(endpoint("/mcp/read_only=true").unwrap().unwrap().1.read_only());
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
