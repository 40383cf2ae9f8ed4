//! A Unix stream that wakes the gateway only for what is to be read.
//!
//! Runs on the gateway's runtime thread. tokio's own stream asks the system for both directions, and a Unix socket becomes writable
//! anew whenever the other end reads: every answer that a client takes and every job that an executor takes would wake the
//! gateway for nothing. Here a write is simply tried, and only one that finds the socket full waits for room, on a descriptor of its own.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::buffer::spare_capacity;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

pub struct Stream {
    readable: AsyncFd<UnixStream>,
    /// There while a write waits for room.
    room: Option<AsyncFd<UnixStream>>,
}

/// Deprecated because a type of one's own could change its descriptor while it is registered, and replaced by a function that is unsafe,
/// which this crate forbids. A `UnixStream` keeps its descriptor for life.
#[allow(deprecated)]
fn register(stream: UnixStream, interest: Interest) -> std::io::Result<AsyncFd<UnixStream>> {
    AsyncFd::with_interest(stream, interest)
}

impl Stream {
    pub fn new(stream: tokio::net::UnixStream) -> std::io::Result<Stream> {
        Ok(Stream { readable: register(stream.into_std()?, Interest::READABLE)?, room: None })
    }

    /// Reads into the buffer's spare capacity, of which there must be some; 0 is the end.
    pub async fn read_into(&self, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
        loop {
            let mut guard = self.readable.readable().await?;
            let room = buffer.capacity() - buffer.len();
            match guard.try_io(|fd| Ok(rustix::io::read(fd, spare_capacity(buffer))?)) {
                Ok(Ok(count)) => {
                    if count < room {
                        // Nothing is left; asking once more to be told so would be a system call.
                        guard.clear_ready();
                    }
                    return Ok(count);
                }
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }

    /// Whether there is nothing to read and no end of the stream, as far as the runtime has been told.
    pub fn is_silent(&self) -> bool {
        let mut probe = [0u8; 1];
        let read = self.readable.try_io(Interest::READABLE, |mut stream| stream.read(&mut probe));
        matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    fn poll_io(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&UnixStream) -> std::io::Result<usize>,
    ) -> Poll<std::io::Result<usize>> {
        loop {
            match write(self.readable.get_ref()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                done => {
                    self.room = None;
                    return Poll::Ready(done);
                }
            }
            let room = match self.room.take() {
                Some(room) => room,
                None => register(self.readable.get_ref().try_clone()?, Interest::WRITABLE)?,
            };
            let room = self.room.insert(room);
            // There was none a moment ago: what was reported before then counts no more.
            match room.poll_write_ready(cx) {
                Poll::Ready(guard) => guard?.clear_ready(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        loop {
            let mut guard = ready!(self.readable.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            let length = room.len();
            match guard.try_io(|fd| fd.get_ref().read(room)) {
                Ok(Ok(count)) => {
                    if count < length {
                        guard.clear_ready();
                    }
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.get_mut().poll_io(cx, |mut stream| stream.write(bytes))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        self.get_mut().poll_io(cx, |mut stream| stream.write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(self.readable.get_ref().shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pair() -> (Stream, Stream) {
        let (one, other) = tokio::net::UnixStream::pair().unwrap();
        (Stream::new(one).unwrap(), Stream::new(other).unwrap())
    }

    #[tokio::test]
    async fn more_than_the_socket_holds_arrives_whole() {
        let (mut one, mut other) = pair();
        let sent: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
        let copy = sent.clone();
        let writing = tokio::spawn(async move {
            one.write_all(&copy).await.unwrap();
            assert!(one.room.is_none(), "nothing is waited for any more");
            one.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        other.read_to_end(&mut got).await.unwrap();
        writing.await.unwrap();
        assert!(got == sent);
    }

    #[tokio::test]
    async fn reading_waits_for_bytes_and_sees_the_end() {
        let (mut one, other) = pair();
        let reading = tokio::spawn(async move {
            let mut sizes = Vec::new();
            loop {
                let mut buffer = Vec::with_capacity(100);
                sizes.push(other.read_into(&mut buffer).await.unwrap());
                if sizes.last() == Some(&0) {
                    return sizes;
                }
            }
        });
        for _ in 0..3 {
            one.write_all(&[7; 10]).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(one);
        let sizes = reading.await.unwrap();
        assert_eq!(sizes.iter().sum::<usize>(), 30);
    }

    #[tokio::test]
    async fn silence_ends_with_the_other_end() {
        let (one, other) = pair();
        assert!(other.is_silent());
        drop(one);
        other.readable.readable().await.unwrap().retain_ready();
        assert!(!other.is_silent());
    }
}
