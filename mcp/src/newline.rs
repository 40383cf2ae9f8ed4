//! Newline-delimited JSON-RPC over one byte stream: the framing of MCP's stdio transport.
//!
//! Runs on the gateway's runtime thread. Frames and limits are ours, because the protocol library drops what it cannot parse without a
//! word; messages are its own. A client that hangs up cancels what it asked for; one that has only said all it has to say (`printf ... |
//! socat - UNIX-CONNECT:...`) gets its answers first.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rmcp::ServiceExt;
use rmcp::model::{ClientJsonRpcMessage, ClientNotification, ClientRequest, GetExtensions, GetMeta};
use rmcp::service::{RoleServer, RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::handler::{Handler, Session, clip_name};
use crate::ipc;
use crate::shortcut::Shortcut;

/// Requests of one connection that may be in work at the same time, and messages that may wait to be written. Reading pauses beyond
/// either, so a client that sends without reading fills its own socket and nobody's memory.
pub const IN_FLIGHT: usize = 64;
/// A client that takes none of an answer for this long is gone.
const WRITE_LIMIT: Duration = Duration::from_secs(60);
const CHUNK: usize = 16 * 1024;
/// How often a client that says nothing more is looked for while its calls run.
const LOOK: Duration = Duration::from_millis(50);

/// Whether the other end is gone altogether, for a stream on which that can be told from an end of sending.
pub type HungUp = Box<dyn Fn() -> bool + Send + Sync>;

/// Serves one connection until the client leaves. `first` are bytes that were read already.
pub async fn serve<S>(gateway: Arc<Gateway>, session: Arc<Session>, stream: S, first: Vec<u8>, hung_up: HungUp)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let config = gateway.config();
    let (reader, writer) = tokio::io::split(stream);
    let gone = session.gone.clone();
    let handler = Handler::new(gateway.clone(), Some(session.clone()));
    let writer = Arc::new(Mutex::new(writer));
    let unwritten = Arc::new(Semaphore::new(IN_FLIGHT));
    let (messages, received) = mpsc::channel(1);
    let answered = Arc::new(Notify::new());
    let lines = Lines {
        gateway,
        client: None,
        calls: Arc::default(),
        hung_up,
        begun: false,
        reader,
        writer: writer.clone(),
        session: session.clone(),
        buffer: first,
        scanned: 0,
        skipping: false,
        longest: config.max_body_bytes,
        patience: config.body_timeout,
        in_work: Arc::new(Semaphore::new(IN_FLIGHT)),
        next_place: None,
        unwritten: unwritten.clone(),
        answered: answered.clone(),
        gone: gone.clone(),
    };
    let reading = tokio::spawn(lines.read(messages));
    let link = Link { received, writer, session, unwritten, answered, gone: gone.clone() };
    if let Ok(service) = handler.serve_with_ct(link, gone.clone()).await {
        let _ = service.waiting().await;
    }
    gone.cancel();
    reading.abort();
}

/// What the protocol library has of the connection: the messages that are left for it, and the way back.
struct Link<S> {
    received: mpsc::Receiver<RxJsonRpcMessage<RoleServer>>,
    writer: Arc<Mutex<WriteHalf<S>>>,
    session: Arc<Session>,
    unwritten: Arc<Semaphore>,
    answered: Arc<Notify>,
    gone: CancellationToken,
}

/// The reading side, in a task of its own: plain calls are answered without waking the protocol library.
struct Lines<S> {
    hung_up: HungUp,
    /// The protocol library has a request that starts its lifecycle. Before, anything but a request would end it.
    begun: bool,
    gateway: Arc<Gateway>,
    /// What the client called itself when it initialized.
    client: Option<Arc<str>>,
    /// Calls on the short way, by id as the client wrote it.
    calls: Arc<std::sync::Mutex<HashMap<String, CancellationToken>>>,
    reader: ReadHalf<S>,
    writer: Arc<Mutex<WriteHalf<S>>>,
    session: Arc<Session>,
    buffer: Vec<u8>,
    /// How much of the buffer holds no newline for certain.
    scanned: usize,
    /// Inside a line that was refused for its length.
    skipping: bool,
    longest: usize,
    patience: Duration,
    in_work: Arc<Semaphore>,
    /// The place of the next request, taken before it is read.
    next_place: Option<Arc<OwnedSemaphorePermit>>,
    unwritten: Arc<Semaphore>,
    /// The protocol library has answered something.
    answered: Arc<Notify>,
    /// Cancelled when the client is gone: everything in work stops at once.
    gone: CancellationToken,
}

enum Line {
    Text(Vec<u8>),
    TooLong,
    /// The client closed, broke off, or stopped in the middle of a line.
    End,
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Lines<S> {
    async fn next_line(&mut self) -> Line {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
                let mut line = ipc::take_front(&mut self.buffer, self.scanned + at + 1);
                self.scanned = 0;
                line.pop();
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                return if line.len() > self.longest { Line::TooLong } else { Line::Text(line) };
            }
            self.scanned = self.buffer.len();
            if self.skipping {
                self.buffer.clear();
                self.scanned = 0;
            } else if self.buffer.len() > self.longest {
                self.skipping = true;
                return Line::TooLong;
            }
            self.buffer.reserve(CHUNK);
            let read = self.reader.read_buf(&mut self.buffer);
            // Between messages a client may be silent for as long as it likes; inside one it may not.
            let read = if self.scanned == 0 && !self.skipping { Ok(read.await) } else { timeout(self.patience, read).await };
            if !matches!(read, Ok(Ok(n)) if n > 0) {
                return Line::End;
            }
        }
    }

    /// After the client's last line: waits until everything is answered, or the client is gone.
    async fn finish(&mut self) {
        self.next_place = None;
        let all = async {
            drop(self.in_work.acquire_many(IN_FLIGHT as u32).await);
            drop(self.unwritten.acquire_many(IN_FLIGHT as u32).await);
        };
        tokio::pin!(all);
        while !self.gone.is_cancelled() {
            if (self.hung_up)() {
                self.gone.cancel();
                return;
            }
            if timeout(LOOK, &mut all).await.is_ok() {
                return;
            }
        }
    }

    /// Answers a line that is no message. In a task of its own: a client that takes nothing must not keep this one from seeing that it is gone.
    fn complain(&mut self, code: i32, message: &str, id: serde_json::Value) {
        let error = serde_json::json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}});
        let mut bytes = serde_json::to_vec(&error).unwrap_or_default();
        bytes.push(b'\n');
        let (writer, gone, place) = (self.writer.clone(), self.gone.clone(), self.next_place.take());
        tokio::spawn(async move {
            if write(&writer, &bytes).await.is_err() {
                gone.cancel();
            }
            drop(place);
        });
    }

    /// Answers a plain call without the protocol library. `false`: it is none.
    fn take_shortcut(&mut self, line: &[u8]) -> bool {
        let Some(call) = Shortcut::recognise(line, self.client.is_some()) else { return false };
        let Some(place) = self.next_place.take() else { return false };
        let cancel = self.gone.child_token();
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(call.id.clone(), cancel.clone());
        let unwritten = self.unwritten.clone().try_acquire_owned();
        let client = self.client.clone();
        let (gateway, session, writer, gone, calls) =
            (self.gateway.clone(), self.session.clone(), self.writer.clone(), self.gone.clone(), self.calls.clone());
        tokio::spawn(async move {
            let answer = call.answer(&gateway, &session, client.as_deref().unwrap_or("mcp"), &cancel).await;
            calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&call.id);
            if let Some(mut bytes) = answer {
                bytes.push(b'\n');
                if write(&writer, &bytes).await.is_err() {
                    gone.cancel();
                }
            }
            drop((place, unwritten));
        });
        true
    }

    /// Cancels a call on the short way. `false`: it is none of those.
    fn cancel(&self, id: &rmcp::model::RequestId) -> bool {
        let Ok(id) = serde_json::to_string(id) else { return false };
        let call = self.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        call.map(|cancel| cancel.cancel()).is_some()
    }

    /// Takes line after line, until the client sends nothing more and has all its answers.
    async fn read(mut self, messages: mpsc::Sender<RxJsonRpcMessage<RoleServer>>) {
        let answered = self.answered.clone();
        while let Some(message) = self.next_message().await {
            let begins = matches!(&message, ClientJsonRpcMessage::Request(r) if matches!(r.request, ClientRequest::InitializeRequest(_)));
            // Asked for before there can be an answer, or it might be missed.
            let answer = begins.then(|| answered.notified());
            if messages.send(message).await.is_err() {
                return;
            }
            // Clients that do not wait for this answer before they go on want it first all the same.
            if let Some(answer) = answer {
                tokio::select! {
                    () = answer => {}
                    () = self.gone.cancelled() => {}
                }
            }
        }
        self.finish().await;
    }

    /// The next message that is not a plain call.
    async fn next_message(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            if self.next_place.is_none() {
                self.next_place = Some(Arc::new(self.in_work.clone().acquire_owned().await.ok()?));
            }
            drop(self.unwritten.acquire().await);
            let line = match self.next_line().await {
                Line::End => return None,
                Line::TooLong => {
                    let message = format!("message is longer than {} bytes (supabase_mcp.max_body_bytes)", self.longest);
                    self.complain(-32600, &message, serde_json::Value::Null);
                    continue;
                }
                Line::Text(line) => line,
            };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if self.take_shortcut(&line) {
                continue;
            }
            match Self::parse(&line) {
                Ok(ClientJsonRpcMessage::Notification(notification))
                    if matches!(&notification.notification, ClientNotification::CancelledNotification(c)
                        if c.params.request_id.as_ref().is_some_and(|id| self.cancel(id))) => {}
                // Gone in the stateless revision; the library answers it before it knows the revision.
                Ok(ClientJsonRpcMessage::Request(request))
                    if matches!(request.request, ClientRequest::PingRequest(_))
                        && request.request.get_meta().protocol_version().is_some() =>
                {
                    self.complain(-32601, "ping", serde_json::to_value(&request.id).unwrap_or_default());
                }
                Ok(message) if !self.begun && !matches!(message, ClientJsonRpcMessage::Request(_)) => {}
                Ok(mut message) => {
                    if let ClientJsonRpcMessage::Request(request) = &message {
                        self.begun |= matches!(request.request, ClientRequest::InitializeRequest(_))
                            || (request.request.get_meta().protocol_version().is_some()
                                && !matches!(request.request, ClientRequest::DiscoverRequest(_)));
                    }
                    if let ClientJsonRpcMessage::Request(request) = &message
                        && let ClientRequest::InitializeRequest(initialize) = &request.request
                    {
                        let client = &initialize.params.client_info;
                        self.client = Some(clip_name(format!("{} {}", client.name, client.version)).into());
                    }
                    if let ClientJsonRpcMessage::Request(request) = &mut message
                        && let Some(place) = self.next_place.take()
                    {
                        // Given back when the last trace of the request is gone, answered or not.
                        request.request.extensions_mut().insert(place);
                    }
                    return Some(message);
                }
                Err((code, message, id)) => self.complain(code, &message, id),
            }
        }
    }

    /// The message in a line, or the complaint about it.
    fn parse(line: &[u8]) -> Result<ClientJsonRpcMessage, (i32, String, serde_json::Value)> {
        let error = match serde_json::from_slice::<ClientJsonRpcMessage>(line) {
            Ok(message) => return Ok(message),
            Err(error) => error,
        };
        match serde_json::from_slice::<serde_json::Value>(line) {
            Err(syntax) => Err((-32700, format!("not valid JSON: {syntax}"), serde_json::Value::Null)),
            Ok(serde_json::Value::Array(_)) => {
                Err((-32600, "batches are not part of the protocol: send one message a line".into(), serde_json::Value::Null))
            }
            Ok(value) => {
                let id = value.get("id").filter(|id| id.is_string() || id.is_number()).cloned().unwrap_or_default();
                Err((-32600, format!("not a valid request: {error}"), id))
            }
        }
    }
}

async fn write<S: AsyncWrite>(writer: &Mutex<WriteHalf<S>>, bytes: &[u8]) -> std::io::Result<()> {
    let mut writer = writer.lock().await;
    timeout(WRITE_LIMIT, async {
        writer.write_all(bytes).await?;
        writer.flush().await
    })
    .await
    .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Transport<RoleServer> for Link<S> {
    type Error = std::io::Error;

    fn send(&mut self, item: TxJsonRpcMessage<RoleServer>) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let (writer, session, gone, answered) = (self.writer.clone(), self.session.clone(), self.gone.clone(), self.answered.clone());
        // More may wait than there are places, never fewer; it is `receive` that waits for a place.
        let place = self.unwritten.clone().try_acquire_owned();
        async move {
            let mut bytes = session.splices.fill(serde_json::to_vec(&item)?);
            bytes.push(b'\n');
            let written = write(&writer, &bytes).await;
            if written.is_err() {
                gone.cancel();
            }
            drop(place);
            answered.notify_waiters();
            written
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        self.received.recv().await
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.writer.lock().await.shutdown().await
    }
}
