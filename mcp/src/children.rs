//! Starting executors and keepers, and meeting them on the private socket.
//!
//! Runs on the gateway's runtime thread. The Postgres main thread registers the process; the process connects back and proves itself with
//! a secret that only it was given, from a process of our own user. The same socket takes the commands of the SQL functions.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::host::{Demand, Host, SpawnError};
use crate::ipc::{self, Decoder, INTERNAL_SOCKET, KIND_ADMIN, KIND_HELLO, KIND_REPLY};
use crate::notices::{Event, Notices};
use crate::process::Process;
use crate::text::hex;
use crate::types::{AdminCommand, Form, Hello, Ticket};

/// From registration to hello. Generous: a loaded machine forks slowly, and a failed start is reported long before.
const START_LIMIT: Duration = Duration::from_secs(15);
/// How often a start is tried again while no worker slot is free, and how long while nobody else gets one either.
const SLOT_RETRY: Duration = Duration::from_millis(15);
const SLOT_LIMIT: Duration = Duration::from_millis(900);
/// Longest wait for a slot while others ahead in the line get theirs.
const LINE_LIMIT: Duration = Duration::from_secs(10);
/// From connection to a whole hello.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// Longest hello or command, in bytes.
const HELLO_BYTES: usize = 4096;

pub struct Children {
    host: Arc<dyn Host>,
    /// Secrets of processes that have not said hello yet.
    expected: Mutex<HashMap<String, oneshot::Sender<Process>>>,
    /// Orders hellos and authentications; see [`Children::tick`].
    epoch: AtomicU64,
    make_room: OnceLock<MakeRoom>,
    pub notices: Notices,
    /// Each held by the first of those who found no free slot; the others wait behind, in the order of their coming. Keepers go first:
    /// calls that hold an executor may be waiting for one.
    keepers: tokio::sync::Mutex<()>,
    executors: tokio::sync::Mutex<()>,
    /// When a process last got a slot.
    progress: Mutex<Instant>,
}

type MakeRoom = Box<dyn Fn(Form) + Send + Sync>;

/// Answers the SQL functions that speak to the gateway.
pub trait Admin: Send + Sync + 'static {
    fn command(self: Arc<Self>, command: AdminCommand) -> impl Future<Output = Vec<u8>> + Send;
}

impl Children {
    pub fn new(host: Arc<dyn Host>) -> Children {
        Children {
            notices: Notices::new(host.clone()),
            host,
            expected: Mutex::default(),
            epoch: AtomicU64::new(1),
            make_room: OnceLock::new(),
            keepers: tokio::sync::Mutex::default(),
            executors: tokio::sync::Mutex::default(),
            progress: Mutex::new(Instant::now()),
        }
    }

    /// The next moment of the gateway's own order of events: a fact read at moment *n* may be trusted on a process whose hello was
    /// before *n*, because that process reports every later change itself.
    pub fn tick(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::Relaxed)
    }

    /// What to do when no worker slot is free for a process of this form: end a process of ours that is idle.
    pub fn set_make_room(&self, make_room: MakeRoom) {
        let _ = self.make_room.set(make_room);
    }

    /// Starts a process and waits for its hello. Who finds no free slot stands in line, and nobody overtakes: a slot that was made free
    /// for one must not go to another. The first in line makes room and tries again, for a process that is told to leave needs a moment.
    /// When none has got a slot for a while, the slots belong to somebody else.
    pub async fn start(&self, database: u32, role: u32, form: Form) -> Result<Process, SpawnError> {
        let line = if form == Form::Keeper { &self.keepers } else { &self.executors };
        if is_empty(&self.keepers) && is_empty(line) {
            match self.start_once(database, role, form).await {
                Err(SpawnError::NoSlot) => {}
                outcome => return outcome,
            }
        }
        let begun = Instant::now();
        let last_moment = begun + LINE_LIMIT;
        let Ok(_turn) = timeout_at(last_moment, line.lock()).await else {
            self.notices.note(Event::NoWorkerSlot, None);
            return Err(SpawnError::NoSlot);
        };
        loop {
            if form == Form::Keeper || is_empty(&self.keepers) {
                match self.start_once(database, role, form).await {
                    Err(SpawnError::NoSlot) => {}
                    outcome => return outcome,
                }
                if let Some(make_room) = self.make_room.get() {
                    make_room(form);
                }
            }
            if Instant::now() >= last_moment.min(begun.max(self.last_progress()) + SLOT_LIMIT) {
                self.notices.note(Event::NoWorkerSlot, None);
                return Err(SpawnError::NoSlot);
            }
            tokio::time::sleep(SLOT_RETRY).await;
        }
    }

    fn last_progress(&self) -> Instant {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process and waits for its hello.
    pub async fn start_once(&self, database: u32, role: u32, form: Form) -> Result<Process, SpawnError> {
        let secret = random_hex().ok_or(SpawnError::Unavailable)?;
        let (sender, hello) = oneshot::channel();
        let (failed, failure) = oneshot::channel();
        self.lock().insert(secret.clone(), sender);
        let forget = Forget { children: self, secret: secret.clone() };
        self.host.demand(Demand::Spawn { ticket: Ticket { database, role, form, secret }, failed });
        let outcome = tokio::select! {
            process = hello => process.map_err(|_| SpawnError::Unavailable),
            Ok(error) = failure => Err(error),
            () = tokio::time::sleep(START_LIMIT) => Err(SpawnError::Unavailable),
        };
        drop(forget);
        outcome
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Process>>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn greet<A: Admin>(self: Arc<Self>, mut stream: UnixStream, admin: Arc<A>) {
        let Ok(peer) = stream.peer_cred() else { return };
        if peer.uid() != rustix::process::geteuid().as_raw() {
            return;
        }
        let Ok(Some(frame)) = timeout(HELLO_LIMIT, read_frame(&mut stream)).await else { return };
        match frame.kind {
            KIND_HELLO => {
                let Ok(hello) = serde_json::from_slice::<Hello>(&frame.body) else { return };
                let (Some(waiting), Some(pid)) = (self.lock().remove(&hello.secret), peer.pid()) else { return };
                *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                // If nobody waits any more the process is dropped here, and leaves.
                if let Ok(process) = Process::new(stream, pid, self.tick()) {
                    let _ = waiting.send(process);
                }
            }
            KIND_ADMIN => {
                let Ok(command) = serde_json::from_slice::<AdminCommand>(&frame.body) else { return };
                let answer = admin.command(command).await;
                let _ = stream.write_all(&ipc::encode(KIND_REPLY, &answer)).await;
            }
            _ => {}
        }
    }
}

/// Whether nobody stands in line.
fn is_empty(line: &tokio::sync::Mutex<()>) -> bool {
    line.try_lock().is_ok()
}

struct Forget<'a> {
    children: &'a Children,
    secret: String,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.children.lock().remove(&self.secret);
    }
}

async fn read_frame(stream: &mut UnixStream) -> Option<ipc::Frame> {
    let mut decoder = Decoder::new(HELLO_BYTES);
    loop {
        if let Some(frame) = decoder.next_frame().ok()? {
            return Some(frame);
        }
        if stream.read_buf(decoder.buffer()).await.ok()? == 0 {
            return None;
        }
    }
}

/// Binds the private socket in the data directory. Called once, by the process that holds the gateway's lock: a file that is there was
/// left by a gateway that is gone.
pub fn bind() -> std::io::Result<UnixListener> {
    let path = Path::new(INTERNAL_SOCKET);
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Serves the private socket until the runtime ends.
pub async fn serve<A: Admin>(children: Arc<Children>, listener: UnixListener, admin: Arc<A>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(children.clone().greet(stream, admin.clone()));
            }
            // Out of descriptors, say: try again when some have come free.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// 32 hexadecimal digits that nobody can guess.
pub fn random_hex() -> Option<String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(hex(&bytes))
}
