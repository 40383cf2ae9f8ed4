//! The listening sockets: binding, the socket file, how many may come in, and which protocol a connection speaks.
//!
//! Runs on the gateway's runtime thread. A socket that cannot be bound is a warning; the others go on. The socket file is ours only if
//! we made it: it is moved into place whole, and taken away only while it is still the one we made.

use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::caller::Network;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::handler::Session;
use crate::host::{Demand, Level};
use crate::http::Connection;
use crate::notices::Event;
use crate::stream::Stream;
use crate::{http, newline};

/// Connections that are told that there are too many; beyond these they are just closed.
const TOLD_OFF: usize = 32;
const TELL_OFF_LIMIT: Duration = Duration::from_millis(500);
/// EAFNOSUPPORT.
const NO_FAMILY: i32 = 97;
const FIRST_READ: usize = 4096;

/// The sockets that are open now.
#[derive(Default)]
pub struct Listeners {
    unix: Option<(PathBuf, u32, SocketFile, JoinHandle<()>)>,
    tcp: Option<(Vec<String>, u16, Vec<JoinHandle<()>>)>,
}

impl Listeners {
    /// Opens, keeps or closes sockets as the settings say. Connections that are open stay open.
    pub async fn apply(&mut self, gateway: &Arc<Gateway>) {
        let config = gateway.config();
        if self.unix.as_ref().map(|(path, mode, ..)| (path, *mode)) != config.socket.as_ref().map(|path| (path, config.socket_mode)) {
            self.close_unix().await;
            if let Some(path) = &config.socket {
                match bind_unix(path, config.socket_mode) {
                    Ok((listener, file)) => {
                        let (device, inode) = file.identity;
                        gateway.demand(Demand::Made { socket: path.clone(), device, inode });
                        let task = tokio::spawn(accept_unix(gateway.clone(), listener, gateway.places.clone()));
                        self.unix = Some((path.clone(), config.socket_mode, file, task));
                        gateway.log(Level::Log, format!("supabase_mcp: listening on Unix socket \"{}\"", path.display()));
                    }
                    Err(error) => gateway
                        .log(Level::Warning, format!("supabase_mcp: could not listen on Unix socket \"{}\": {error}", path.display())),
                }
            }
        }
        if self.tcp.as_ref().map(|(addresses, port, _)| (addresses, *port)) != Some((&config.listen_addresses, config.port)) {
            self.close_tcp().await;
            let tasks = listen_tcp(gateway, &config).await;
            self.tcp = Some((config.listen_addresses.clone(), config.port, tasks));
        }
    }

    async fn close_unix(&mut self) {
        if let Some((.., task)) = self.unix.take() {
            end(task).await;
        }
    }

    async fn close_tcp(&mut self) {
        for task in self.tcp.take().into_iter().flat_map(|(.., tasks)| tasks) {
            end(task).await;
        }
    }

    pub async fn close(&mut self) {
        self.close_unix().await;
        self.close_tcp().await;
    }
}

/// Ends an accepting task and waits for it: its address is free only then.
async fn end(task: JoinHandle<()>) {
    task.abort();
    let _ = task.await;
}

/// How many clients are connected. A count and not a semaphore, because the limit may change under it.
#[derive(Default)]
pub struct Places(AtomicUsize);

/// One client's place; dropping it gives it back.
struct Place(Arc<Places>);

impl Places {
    pub fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn take(self: &Arc<Places>, limit: usize) -> Option<Place> {
        let place = Place(self.clone());
        // The count goes up in any case, and down again with the dropped place if that was too far.
        (self.0.fetch_add(1, Ordering::Relaxed) < limit).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket file that we made; dropping it takes it away.
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Binds under a passing name with nobody's permissions, then moves the finished socket into place.
fn bind_unix(path: &Path, mode: u32) -> std::io::Result<(UnixListener, SocketFile)> {
    let refuse = |message: &str| Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, message));
    if let Ok(there) = std::fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return refuse("a file that is not a socket is in its place");
        }
        if there.uid() != rustix::process::geteuid().as_raw() {
            return refuse("a socket of another user is in its place");
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return refuse("another server is listening there");
        }
    }
    let passing = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&passing);
    let listener = UnixListener::bind(&passing)?;
    let placed = std::fs::set_permissions(&passing, std::fs::Permissions::from_mode(mode)).and_then(|()| std::fs::rename(&passing, path));
    if let Err(error) = placed {
        let _ = std::fs::remove_file(&passing);
        return Err(error);
    }
    let made = std::fs::symlink_metadata(path)?;
    Ok((listener, SocketFile { path: path.to_path_buf(), identity: (made.dev(), made.ino()) }))
}

async fn listen_tcp(gateway: &Arc<Gateway>, config: &Config) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    for address in &config.listen_addresses {
        let listeners = match bind_tcp(gateway, address, config.port).await {
            Ok(listeners) => listeners,
            Err(error) => {
                gateway.log(Level::Warning, format!("supabase_mcp: could not listen on \"{address}\" port {}: {error}", config.port));
                continue;
            }
        };
        for listener in listeners {
            if let Ok(local) = listener.local_addr() {
                gateway.log(Level::Log, format!("supabase_mcp: listening on {local}"));
            }
            tasks.push(tokio::spawn(accept_tcp(gateway.clone(), listener, gateway.places.clone())));
        }
    }
    tasks
}

/// All addresses of a name; one that works is enough.
async fn bind_tcp(gateway: &Gateway, address: &str, port: u16) -> std::io::Result<Vec<TcpListener>> {
    if address == "*" {
        // One socket for both families where the system has IPv6.
        return match TcpListener::bind(("::", port)).await {
            Ok(listener) => Ok(vec![listener]),
            Err(_) => Ok(vec![TcpListener::bind(("0.0.0.0", port)).await?]),
        };
    }
    let mut bound = Vec::new();
    let mut failure = std::io::Error::new(std::io::ErrorKind::NotFound, "the name stands for no address");
    let addresses: Vec<SocketAddr> = match address {
        // Clients try both families, whatever this machine's files say of the name.
        "localhost" => vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()],
        _ => tokio::net::lookup_host((address, port)).await?.collect(),
    };
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => bound.push(listener),
            Err(error) => {
                // A machine without IPv6 is no reason to worry anybody; a port that is taken in one family is.
                if error.kind() != std::io::ErrorKind::AddrNotAvailable && error.raw_os_error() != Some(NO_FAMILY) {
                    gateway.log(Level::Warning, format!("supabase_mcp: could not listen on {address}: {error}"));
                }
                failure = error;
            }
        }
    }
    if bound.is_empty() { Err(failure) } else { Ok(bound) }
}

async fn accept_unix(gateway: Arc<Gateway>, listener: UnixListener, places: Arc<Places>) {
    let told_off = Arc::new(Semaphore::new(TOLD_OFF));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            pause().await;
            continue;
        };
        gateway.counters.connections.fetch_add(1, Ordering::Relaxed);
        match places.take(gateway.config().max_connections) {
            Some(place) => drop(tokio::spawn(unix_client(gateway.clone(), stream, place))),
            None => tell_off(&gateway, stream, &told_off),
        }
    }
}

async fn accept_tcp(gateway: Arc<Gateway>, listener: TcpListener, places: Arc<Places>) {
    let told_off = Arc::new(Semaphore::new(TOLD_OFF));
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            pause().await;
            continue;
        };
        gateway.counters.connections.fetch_add(1, Ordering::Relaxed);
        match places.take(gateway.config().max_connections) {
            Some(place) => drop(tokio::spawn(tcp_client(gateway.clone(), stream, peer.ip().to_canonical(), place))),
            None => tell_off(&gateway, stream, &told_off),
        }
    }
}

/// Out of descriptors, say: the connection waits in the backlog until some have come free.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// The first byte tells the protocol: HTTP begins with a method, JSON with a brace or white space.
async fn unix_client(gateway: Arc<Gateway>, stream: UnixStream, _place: Place) {
    let Ok(peer) = stream.peer_cred() else { return };
    let Ok(stream) = Stream::new(stream) else { return };
    let uid = peer.uid();
    let config = gateway.config();
    let mut first = Vec::with_capacity(FIRST_READ);
    // A client may connect long before it speaks, as `socat` does for a program; a whole head in time is asked of HTTP alone.
    if !matches!(stream.read_into(&mut first).await, Ok(n) if n > 0) {
        return;
    }
    let connection = Connection { network: Network::Unix, uid: Some(uid), origin: format!("uid {uid}").into() };
    if first[0].is_ascii_alphabetic() {
        let (reader, writer) = tokio::io::split(stream);
        http::serve(gateway, connection, tokio::io::join(Cursor::new(first).chain(reader), writer)).await;
    } else {
        let session = Session::new(connection.caller(&config), None, None);
        let Ok(watched) = stream.as_fd().try_clone_to_owned() else { return };
        newline::serve(gateway, session, stream, first, Box::new(move || hung_up(&watched))).await;
    }
}

/// Whether both directions of a Unix socket are closed at the other end.
fn hung_up(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    rustix::event::poll(&mut fds, Some(&Timespec::default())).is_ok() && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

async fn tcp_client(gateway: Arc<Gateway>, stream: TcpStream, ip: IpAddr, _place: Place) {
    let _ = stream.set_nodelay(true);
    let network = if ip.is_loopback() { Network::Loopback } else { Network::Remote };
    http::serve(gateway, Connection { network, uid: None, origin: format!("{ip}").into() }, stream).await;
}

/// Says that there are too many connections, in the client's own protocol, without waiting for it for long.
fn tell_off<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(gateway: &Gateway, mut stream: S, told_off: &Arc<Semaphore>) {
    gateway.counters.refused_connections.fetch_add(1, Ordering::Relaxed);
    gateway.children.notices.note(Event::RefusedConnection, None);
    let Ok(place) = told_off.clone().try_acquire_owned() else { return };
    tokio::spawn(async move {
        let _ = timeout(TELL_OFF_LIMIT, async {
            let mut first = [0u8; FIRST_READ];
            let n = stream.read(&mut first).await?;
            let body = br#"{"jsonrpc":"2.0","id":null,"error":{"code":503,"message":"too many connections (supabase_mcp.max_connections); try again later"}}"#;
            if n > 0 && first[0].is_ascii_alphabetic() {
                let head = format!(
                    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\nRetry-After: 5\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                stream.write_all(head.as_bytes()).await?;
            }
            stream.write_all(body).await?;
            stream.write_all(b"\n").await?;
            stream.shutdown().await
        })
        .await;
        drop(place);
    });
}
