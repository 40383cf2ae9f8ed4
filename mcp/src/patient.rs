//! A connection that may be silent between requests for long, but not in the middle of a request's head.
//!
//! hyper has one timer for both: long enough for a kept connection, it would let a slow client hold a place with a byte a minute. Wraps the
//! byte stream of one HTTP connection; told by the service when a request is being served.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

const HEAD: u8 = 0;
const SERVING: u8 = 1;
const IDLE: u8 = 2;

/// What the connection is busy with. A new one has a head to send.
#[derive(Clone, Default)]
pub struct Phase(Arc<AtomicU8>);

impl Phase {
    /// A whole head has come; what follows is a body, which has a limit of its own.
    pub fn serving(&self) {
        self.0.store(SERVING, Ordering::Relaxed);
    }

    /// The request is answered.
    pub fn idle(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }
}

pub struct Patient<S> {
    stream: S,
    phase: Phase,
    limit: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// `limit`: from a head's first byte to its last; of the first head, from the connection's beginning.
    pub fn new(stream: S, limit: Duration) -> (Patient<S>, Phase) {
        let phase = Phase::default();
        (Patient { stream, phase: phase.clone(), limit, deadline: None }, phase)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() && buf.filled().len() > before && self.phase.0.load(Ordering::Relaxed) == IDLE {
            self.phase.0.store(HEAD, Ordering::Relaxed);
        }
        if self.phase.0.load(Ordering::Relaxed) != HEAD {
            self.deadline = None;
        } else if read.is_pending() {
            let limit = self.limit;
            let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[std::io::IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
