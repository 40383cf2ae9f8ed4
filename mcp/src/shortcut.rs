//! The short way for the one request that is on the hot path: a plain `tools/call`.
//!
//! The protocol library reads every message through several layers and spends about as long on it as Postgres on a small query. A
//! request that is exactly a `tools/call` of a revision that is served, with nothing unusual in it, is recognised here and answered
//! without the library; whatever deviates in the least goes the long way, and gets the library's answer. Tests hold both ways to the same
//! answers. Pure, but for `Gateway::call`.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use http::header::{ACCEPT, HeaderMap};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::error::{self, CallError, Kind};
use crate::gateway::{Answer, Gateway, Request};
use crate::handler::{self, Session, UNAUTHENTICATED};
use crate::logins::LoginError;
use crate::splice;
use crate::types::JobKind;

/// Longest id that is repeated without a second look, in bytes.
const LONGEST_ID: usize = 128;
const MODERN: &str = "2026-07-28";
const LEGACY: [&str; 2] = ["2025-11-25", "2025-06-18"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: &'a RawValue,
    method: &'a str,
    #[serde(borrow)]
    params: Params<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

/// What a request of the stateless revision says of itself. Anything else in it, a progress token say, takes the long way.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta<'a> {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    version: &'a str,
    #[serde(borrow, rename = "io.modelcontextprotocol/clientCapabilities")]
    capabilities: &'a RawValue,
    #[serde(borrow, rename = "io.modelcontextprotocol/clientInfo")]
    client: Option<Client<'a>>,
    /// W3C trace context, as the protocol names its fields.
    #[serde(borrow)]
    traceparent: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "tracestate")]
    _tracestate: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Client<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
}

/// A recognised `tools/call`.
pub struct Shortcut {
    /// As the client wrote it: a number or a string.
    pub id: String,
    name: String,
    arguments: Vec<u8>,
    client: Option<String>,
    trace: Option<String>,
    modern: bool,
}

impl Shortcut {
    /// The call in a message, if it is nothing but a call. `legacy`: the client has initialized, so requests need not say their revision.
    pub fn recognise(bytes: &[u8], legacy: bool) -> Option<Shortcut> {
        let message: Message = serde_json::from_slice(bytes).ok()?;
        let arguments = message.params.arguments.map_or("{}", RawValue::get);
        let modern = match &message.params.meta {
            None => legacy.then_some(false)?,
            Some(meta) => (meta.version == MODERN && meta.capabilities.get().starts_with('{')).then_some(true)?,
        };
        let usual =
            message.jsonrpc == "2.0" && message.method == "tools/call" && is_usual_id(message.id.get()) && arguments.starts_with('{');
        usual.then(|| Shortcut {
            id: message.id.get().into(),
            name: message.params.name.into_owned(),
            arguments: arguments.into(),
            trace: message.params.meta.as_ref().and_then(|m| m.traceparent.as_ref()).map(|t| t.to_string()),
            client: message.params.meta.and_then(|m| m.client).map(|c| handler::clip_name(format!("{} {}", c.name, c.version))),
            modern,
        })
    }

    /// The same for an HTTP request, whose headers have to agree with its body.
    pub fn recognise_http(headers: &HeaderMap, body: &[u8]) -> Option<Shortcut> {
        let single = |name: &str| {
            let mut values = headers.get_all(name).iter();
            let value = values.next()?.to_str().ok()?;
            values.next().is_none().then_some(value)
        };
        let accept = single(ACCEPT.as_str())?;
        let plain = single("content-type")? == "application/json" && !accept.contains(';');
        if !plain || !accept.contains("application/json") || !accept.contains("text/event-stream") {
            return None;
        }
        let version = single("mcp-protocol-version")?;
        let legacy = LEGACY.contains(&version);
        let call = Shortcut::recognise(body, legacy)?;
        let agrees = if call.modern {
            version == MODERN && single("mcp-method")? == "tools/call" && single("mcp-name")? == call.name
        } else {
            legacy && !headers.contains_key("mcp-method") && !headers.contains_key("mcp-name")
        };
        agrees.then_some(call)
    }

    /// Runs the call. `None`: the client cancelled it, and gets no answer.
    pub async fn answer(&self, gateway: &Gateway, session: &Session, client: &str, cancel: &CancellationToken) -> Option<Vec<u8>> {
        let client = self.client.as_deref().unwrap_or(client);
        let request = Request {
            kind: JobKind::Call,
            tool: &self.name,
            arguments: &self.arguments,
            client,
            id: &self.id,
            trace: self.trace.as_deref().or(session.trace.as_deref()),
            gone: Some(&session.gone),
        };
        let call = gateway.call(&session.caller, &request, cancel);
        let outcome = AssertUnwindSafe(call).catch_unwind().await;
        if cancel.is_cancelled() {
            return None;
        }
        Some(match outcome {
            Ok(Ok(answer)) => self.result(answer),
            Ok(Err(LoginError::Refused(error) | LoginError::Scope(error))) => self.result((*error).into()),
            Ok(Err(LoginError::Unknown(message))) => {
                let _ = session.unauthenticated.set(message.clone());
                self.error(UNAUTHENTICATED, &message)
            }
            Err(_) => {
                handler::report_panic(gateway);
                self.error(-32603, handler::PANICKED)
            }
        })
    }

    fn result(&self, answer: Answer) -> Vec<u8> {
        if answer.is_error
            && let Some(CallError { kind: Kind::UnknownTool, .. }) = error::from_payload(&answer.payload)
        {
            return self.error(-32602, &splice::text(&answer));
        }
        let mut out = Vec::with_capacity(answer.payload.len() * 2 + 1024);
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(if self.modern { b",\"result\":{\"resultType\":\"complete\"," } else { b",\"result\":{" });
        out.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":");
        splice::append_text(&mut out, &answer);
        out.extend_from_slice(b"}],\"structuredContent\":");
        splice::append_line(&mut out, &answer.payload);
        out.extend_from_slice(if answer.is_error { b",\"isError\":true}}" } else { b",\"isError\":false}}" });
        out
    }

    fn error(&self, code: i32, message: &str) -> Vec<u8> {
        let error = serde_json::json!({"code": code, "message": message});
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{error}}}", self.id).into_bytes()
    }
}

/// A whole number that every reader takes, or a string.
fn is_usual_id(id: &str) -> bool {
    let digits = !id.is_empty() && id.len() <= 15 && id.bytes().all(|b| b.is_ascii_digit()) && (id == "0" || !id.starts_with('0'));
    digits || (id.starts_with('"') && id.len() <= LONGEST_ID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn recognised(text: &str, legacy: bool) -> bool {
        Shortcut::recognise(text.as_bytes(), legacy).is_some()
    }

    const PLAIN: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t","arguments":{"a":[1]}}}"#;
    const INLINE: &str = r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"}}}}"#;

    #[test]
    fn plain_calls_of_both_eras_are_recognised() {
        let call = Shortcut::recognise(PLAIN.as_bytes(), true).unwrap();
        assert_eq!((call.id.as_str(), call.name.as_str(), call.modern), ("7", "t", false));
        assert_eq!(call.arguments, br#"{"a":[1]}"#);
        let call = Shortcut::recognise(INLINE.as_bytes(), false).unwrap();
        assert_eq!((call.id.as_str(), call.client.as_deref(), call.modern), ("\"x\"", Some("c 1"), true));
        assert_eq!(call.arguments, b"{}");
    }

    #[test]
    fn anything_unusual_takes_the_long_way() {
        assert!(!recognised(PLAIN, false), "no initialize, no revision");
        for (from, to) in [
            ("tools/call", "tools/list"),
            ("\"2.0\"", "\"1.0\""),
            ("\"id\":7", "\"id\":7.5"),
            ("\"id\":7", "\"id\":null"),
            ("{\"a\":[1]}", "[1]"),
            ("\"params\":{", "\"params\":{\"task\":{},"),
            ("\"params\":{", "\"params\":{\"_meta\":{\"progressToken\":1},"),
            ("{\"jsonrpc\"", "{\"x\":1,\"jsonrpc\""),
        ] {
            assert!(!recognised(&PLAIN.replace(from, to), true), "{to}");
        }
        assert!(!recognised(&INLINE.replace("2026-07-28", "2025-11-25"), true));
        assert!(!recognised(&INLINE.replace("Capabilities\":{}", "Capabilities\":1"), true));
        assert!(!recognised(&PLAIN[..PLAIN.len() - 1], true));
    }

    #[test]
    fn headers_have_to_agree_with_the_body() {
        let headers = |version: &str, extra: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in
                [("content-type", "application/json"), ("accept", "application/json, text/event-stream"), ("mcp-protocol-version", version)]
            {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
            for (name, value) in extra {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            headers
        };
        let recognised = |h: &HeaderMap, body: &str| Shortcut::recognise_http(h, body.as_bytes()).is_some();
        assert!(recognised(&headers("2025-06-18", &[]), PLAIN));
        assert!(recognised(&headers(MODERN, &[("mcp-method", "tools/call"), ("mcp-name", "t")]), INLINE));
        assert!(!recognised(&headers("2024-11-05", &[]), PLAIN));
        assert!(!recognised(&headers(MODERN, &[]), PLAIN));
        assert!(!recognised(&headers(MODERN, &[("mcp-method", "tools/call"), ("mcp-name", "u")]), INLINE));
        assert!(!recognised(&headers("2025-11-25", &[("mcp-method", "tools/call"), ("mcp-name", "t")]), INLINE));
        assert!(!recognised(&headers("2025-11-25", &[("accept", "application/json")]), PLAIN));
    }
}
