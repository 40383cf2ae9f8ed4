//! HTTP/1.1 on either socket: who may speak, what is asked for, and how much of it.
//!
//! Runs on the gateway's runtime thread. The protocol library serves the body of `/mcp`; this file does what it leaves to its host:
//! paths, credentials, limits of size and time, Host and Origin, and answers that say what to do.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, UPGRADE, USER_AGENT, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::caller::{Caller, Credential, Network};
use crate::config::Config;
use crate::error::{CallError, Kind};
use crate::gateway::Gateway;
use crate::handler::{Handler, Session};
use crate::logins::LoginError;
use crate::patient::Patient;
use crate::query::Asked;
use crate::shortcut::Shortcut;
use crate::{authorization, newline, oauth, origin, query};

mod metrics;

type Answer = Response<BoxBody<Bytes, Infallible>>;
type Mcp = StreamableHttpService<Handler, NeverSessionManager>;

/// Headers of one request, in bytes; tokens and names fit many times.
const HEAD_BYTES: usize = 32 * 1024;
/// How long, and how much of, a body that nobody wants is read.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024 * 1024;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What is known of a connection before its first request.
#[derive(Clone)]
pub struct Connection {
    pub network: Network,
    /// The user at the other end of a Unix socket.
    pub uid: Option<u32>,
    pub origin: Arc<str>,
}

impl Connection {
    /// The caller that the connection itself vouches for, in the default database.
    pub fn caller(&self, config: &Config) -> Caller {
        let credential = self.uid.map_or(Credential::Nothing, |uid| Credential::Peer { uid });
        Caller {
            credential,
            database: config.database.as_str().into(),
            network: self.network,
            origin: self.origin.clone(),
            read_only: false,
            features: None,
            supabase_texts: false,
            headers: None,
            key: OnceLock::new(),
        }
    }
}

/// Serves one connection until either side is done.
pub async fn serve<S>(gateway: Arc<Gateway>, connection: Connection, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = gateway.config();
    let server = Server { mcp: mcp_service(&gateway, &config), gateway, connection };
    let (stream, phase) = Patient::new(stream, config.header_timeout);
    let service = hyper::service::service_fn(move |request| {
        let (server, phase) = (server.clone(), phase.clone());
        async move {
            phase.serving();
            let answer = server.answer(request).await;
            // A connection that becomes a newline one has no further heads.
            if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                phase.idle();
            }
            Ok::<_, Infallible>(answer)
        }
    });
    // An error is a client that broke off or spoke no HTTP: hyper has answered what can be answered.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // How long a kept connection may be silent; a head that has begun has less time (`Patient`).
        .header_read_timeout(config.idle_timeout)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

fn mcp_service(gateway: &Arc<Gateway>, config: &Config) -> Mcp {
    let handler = Handler::new(gateway.clone(), None);
    let settings = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_sse_retry(None)
        .with_max_request_body_bytes(config.max_body_bytes)
        // Host and Origin are checked in `origin`, which covers every path.
        .disable_allowed_hosts()
        .disable_allowed_origins();
    StreamableHttpService::new(move || Ok(handler.clone()), Arc::new(NeverSessionManager::default()), settings)
}

#[derive(Clone)]
struct Server {
    mcp: Mcp,
    gateway: Arc<Gateway>,
    connection: Connection,
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let config = self.gateway.config();
        if self.connection.network != Network::Unix
            && let Err(message) = origin::check(request.headers(), &config)
        {
            return refuse(request.into_body(), failure(StatusCode::FORBIDDEN, -32600, &message)).await;
        }
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready(&config).await,
            "/metrics" if config.metrics => self.metrics(request, &config).await,
            path if path.starts_with(oauth::WELL_KNOWN) => self.metadata(request, &config).await,
            path => match query::endpoint(path) {
                Ok(Some((database, asked))) => self.mcp(request, database, asked, &config).await,
                Ok(None) => refuse(request.into_body(), nothing_here()).await,
                Err(message) => refuse(request.into_body(), failure(StatusCode::BAD_REQUEST, -32600, &message)).await,
            },
        }
    }

    async fn ready(&self, config: &Config) -> Answer {
        if self.gateway.off.load(Ordering::Relaxed) {
            return text(StatusCode::SERVICE_UNAVAILABLE, "switched off\n");
        }
        match self.gateway.keepers.resolve(&config.database).await {
            Ok(_) => text(StatusCode::OK, "ready\n"),
            Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{}\n", error.message)),
        }
    }

    /// Where the tokens of this server come from, for anybody who asks.
    async fn metadata(&self, request: Request<Incoming>, config: &Config) -> Answer {
        let database = |path: &str| Some(query::endpoint(path).ok()??.0.unwrap_or_else(|| config.database.clone()));
        let answer = match oauth::metadata(request.uri().path(), config, database) {
            Some(_) if request.method() != Method::GET && request.method() != Method::HEAD => {
                failure(StatusCode::METHOD_NOT_ALLOWED, -32600, "the metadata is read by GET")
            }
            Some(document) => {
                let mut answer = text(StatusCode::OK, &document);
                answer.headers_mut().insert(CONTENT_TYPE, JSON);
                answer
            }
            None => nothing_here(),
        };
        refuse(request.into_body(), answer).await
    }

    async fn mcp(&self, mut request: Request<Incoming>, database: Option<String>, mut asked: Asked, config: &Config) -> Answer {
        let mut caller = self.connection.caller(config);
        if let Some(database) = database {
            caller.database = database.into();
        }
        match authorization::read(request.headers().get(AUTHORIZATION), config.jwt.is_on()) {
            Ok(Some(credential)) => caller.credential = credential,
            Ok(None) => {}
            Err(message) => return refuse(request.into_body(), self.unauthenticated(message, &caller)).await,
        }
        if let Err(message) = asked.query(request.uri().query()) {
            return refuse(request.into_body(), failure(StatusCode::BAD_REQUEST, -32600, &message)).await;
        }
        caller.read_only = asked.read_only();
        caller.features = asked.features().map(Into::into);
        caller.supabase_texts = asked.project;
        if matches!(caller.credential, Credential::Jwt { .. }) {
            caller.headers = Some(query::headers(request.headers()).into());
        }
        match self.gateway.admit(&caller).await {
            Ok(()) => {}
            Err(LoginError::Unknown(message)) => return refuse(request.into_body(), self.unauthenticated(&message, &caller)).await,
            Err(LoginError::Refused(error)) => return refuse(request.into_body(), refusal(&error)).await,
            Err(LoginError::Scope(error)) => {
                let mut answer = refusal(&error);
                let challenge = oauth::challenge(config, &caller.database, Some("insufficient_scope"));
                answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                return refuse(request.into_body(), answer).await;
            }
        }
        let agent = request.headers().get(USER_AGENT).and_then(|v| v.to_str().ok()).map(str::to_string);
        let trace = request.headers().get("traceparent").and_then(|v| v.to_str().ok()).map(str::to_string);
        let session = Session::new(caller, agent, trace);
        if request.method() == Method::GET && request.headers().get(UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"mcp")) {
            return self.upgrade(&mut request, session);
        }
        let (mut head, body) = request.into_parts();
        let body = match read_body(&head.headers, body, config).await {
            Ok(body) => body,
            Err(answer) => return *answer,
        };
        if head.method == Method::POST
            && let Some(call) = Shortcut::recognise_http(&head.headers, &body)
        {
            return self.short(&call, &session).await;
        }
        head.extensions.insert(session.clone());
        let json = head.headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
        let answer = self.mcp.handle(Request::from_parts(head, Full::new(body))).await;
        if let Some(message) = session.unauthenticated.get() {
            return self.unauthenticated(message, &session.caller);
        }
        if json && answer.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            return failure(
                StatusCode::BAD_REQUEST,
                -32700,
                "the body is not one valid JSON-RPC message (batches are not part of the protocol)",
            );
        }
        fill(answer, session).await
    }

    /// Answers a plain call without the protocol library. A client that hangs up drops this future, and with it the call.
    async fn short(&self, call: &Shortcut, session: &Session) -> Answer {
        let agent = session.agent.as_deref().unwrap_or("mcp");
        let answer = call.answer(&self.gateway, session, agent, &CancellationToken::new()).await;
        if let Some(message) = session.unauthenticated.get() {
            return self.unauthenticated(message, &session.caller);
        }
        let mut answer = Response::new(Full::new(Bytes::from(answer.unwrap_or_default())).boxed());
        answer.headers_mut().insert(CONTENT_TYPE, JSON);
        answer
    }

    /// Turns the connection into a newline one, for clients that bring a token or another database.
    fn upgrade(&self, request: &mut Request<Incoming>, session: Arc<Session>) -> Answer {
        let upgraded = hyper::upgrade::on(request);
        let gateway = self.gateway.clone();
        tokio::spawn(async move {
            if let Ok(stream) = upgraded.await {
                // Over TCP an end of sending cannot be told from a hang-up, which must cancel.
                newline::serve(gateway, session, TokioIo::new(stream), Vec::new(), Box::new(|| true)).await;
            }
        });
        let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, "");
        answer.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
        answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("mcp"));
        answer
    }

    fn unauthenticated(&self, message: &str, caller: &Caller) -> Answer {
        let mut answer = failure(StatusCode::UNAUTHORIZED, 401, message);
        let headers = answer.headers_mut();
        let shown = matches!(caller.credential, Credential::Jwt { .. } | Credential::Token { .. });
        let challenge = oauth::challenge(&self.gateway.config(), &caller.database, shown.then_some("invalid_token"));
        headers.append(WWW_AUTHENTICATE, challenge);
        if self.connection.network != Network::Remote {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"supabase_mcp\", charset=\"UTF-8\""));
        }
        answer
    }
}

fn nothing_here() -> Answer {
    failure(StatusCode::NOT_FOUND, -32600, "nothing is here: the endpoint is /mcp or /mcp/<database>")
}

/// Gives an answer to a request whose body nobody reads. Closing while the client still sends would cost it the answer, so the body is
/// thrown away for a while first; a client that has more to say than that is cut off.
async fn refuse(body: Incoming, answer: Answer) -> Answer {
    match timeout(LINGER, Limited::new(body, LINGER_BYTES).collect()).await {
        Ok(Ok(_)) => answer,
        _ => closing(answer),
    }
}

async fn read_body(headers: &HeaderMap, body: Incoming, config: &Config) -> Result<Bytes, Box<Answer>> {
    let too_large = || {
        let message = format!("the body is longer than {} bytes (supabase_mcp.max_body_bytes)", config.max_body_bytes);
        Box::new(closing(failure(StatusCode::PAYLOAD_TOO_LARGE, -32600, &message)))
    };
    let announced = headers.get(http::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if announced.is_some_and(|n| n > config.max_body_bytes as u64) {
        return Err(Box::new(refuse(body, *too_large()).await));
    }
    let mut body = body;
    match timeout(config.body_timeout, Limited::new(&mut body, config.max_body_bytes).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Box::new(refuse(body, *too_large()).await)),
        Ok(Err(_)) => Err(Box::new(closing(failure(StatusCode::BAD_REQUEST, -32600, "the body broke off")))),
        Err(_) => {
            let message = format!("the body did not arrive within {} ms (supabase_mcp.body_timeout)", config.body_timeout.as_millis());
            Err(Box::new(closing(failure(StatusCode::REQUEST_TIMEOUT, -32600, &message))))
        }
    }
}

/// Puts the executor's bytes into the answer. An answer with progress is a stream of events; its frames are filled one by one.
async fn fill(answer: Answer, session: Arc<Session>) -> Answer {
    let (mut head, body) = answer.into_parts();
    let exact = body.size_hint().exact().is_some();
    if !exact {
        let body = body.map_frame(move |frame| frame.map_data(|data| Bytes::from(session.splices.fill(data.into()))));
        return Response::from_parts(head, body.boxed());
    }
    let Ok(body) = body.collect().await;
    head.headers.remove(http::header::CONTENT_LENGTH);
    Response::from_parts(head, Full::new(Bytes::from(session.splices.fill(body.to_bytes().into()))).boxed())
}

fn text(status: StatusCode, message: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(message.as_bytes())).boxed());
    *answer.status_mut() = status;
    answer
}

/// An answer to a request that never reached the protocol.
pub fn failure(status: StatusCode, code: i32, message: &str) -> Answer {
    let body = serde_json::json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": message}});
    let mut answer = text(status, &body.to_string());
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// A known caller who is not served, with everything that is known about why.
fn refusal(error: &CallError) -> Answer {
    let status = match error.kind {
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::Unavailable if error.sqlstate.as_deref() == Some("3D000") => StatusCode::NOT_FOUND,
        Kind::Unavailable | Kind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut answer = failure(status, -32603, &error.to_text());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}
