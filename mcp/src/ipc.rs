//! The frames between gateway, executors, keepers and the SQL functions that ask the gateway for something.
//!
//! A frame is a little-endian `u32` length of what follows, one byte of kind, and a body. Bodies of jobs and replies are a `u32` header
//! length, a JSON header and raw bytes that are never looked at here. Pure functions over byte buffers: the executor uses them on
//! its only thread, the gateway on its runtime. Both ends refuse a frame beyond the bound they were given before they make room for it.

use crate::types::{Job, Reply};

/// Name of the gateway's private socket, relative to the data directory: every server process has its working directory there, so the
/// limit on the length of a socket's path never bites, and only the server's own user can reach it.
pub const INTERNAL_SOCKET: &str = "supabase_mcp.internal";

pub const KIND_HELLO: u8 = b'H';
pub const KIND_ADMIN: u8 = b'A';
pub const KIND_JOB: u8 = b'J';
pub const KIND_REPLY: u8 = b'R';
pub const KIND_ASK: u8 = b'Q';
pub const KIND_WORD: u8 = b'W';

/// The largest frame that any of our processes may send. Far above every configurable cap on bodies and results; it only keeps a
/// corrupt length from asking for gigabytes.
pub const MAX_FRAME: usize = 256 * 1024 * 1024;

/// Pieces below this are copied rather than handed over with the buffer's memory.
const SHORT: usize = 8 * 1024;

/// Room that is made at once for the rest of a frame.
const ROOM: usize = 1 << 20;

/// Bytes in front of a frame's body.
const PREFIX: usize = 5;

#[derive(Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The frame announces more bytes than the receiver allows.
    TooLong(usize),
    /// The body is not what its kind promises.
    Malformed(&'static str),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameError::TooLong(length) => write!(f, "frame of {length} bytes is longer than allowed"),
            FrameError::Malformed(what) => write!(f, "malformed frame: {what}"),
        }
    }
}

impl std::error::Error for FrameError {}

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub body: Vec<u8>,
}

/// A whole frame, ready to be written.
pub fn encode(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX + body.len());
    out.extend_from_slice(&(body.len() as u32 + 1).to_le_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

/// A job or a reply: header and raw bytes in one frame.
pub fn encode_with_header(kind: u8, header: &impl serde::Serialize, raw: &[u8]) -> Vec<u8> {
    let mut out = encode_head(kind, header, raw.len(), raw.len());
    out.extend_from_slice(raw);
    out
}

/// A frame up to its raw bytes, of which there will be `length`. `room`: for how many the memory is to last.
fn encode_head(kind: u8, header: &impl serde::Serialize, length: usize, room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX + 4 + 128 + room);
    out.extend_from_slice(&[0; PREFIX + 4]);
    // A header of plain fields cannot fail to serialise into memory; were it ever to, the receiver refuses the empty header.
    let _ = serde_json::to_writer(&mut out, header);
    let header_length = (out.len() - PREFIX - 4) as u32;
    let length = (out.len() - 4 + length) as u32;
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[4] = kind;
    out[PREFIX..PREFIX + 4].copy_from_slice(&header_length.to_le_bytes());
    out
}

/// A job up to its arguments, which follow as they are.
pub fn encode_job_head(job: &Job, length: usize) -> Vec<u8> {
    encode_head(KIND_JOB, job, length, 0)
}

pub fn encode_job(job: &Job, arguments: &[u8]) -> Vec<u8> {
    encode_with_header(KIND_JOB, job, arguments)
}

pub fn encode_reply(reply: &Reply, payload: &[u8]) -> Vec<u8> {
    encode_with_header(KIND_REPLY, reply, payload)
}

/// Header and raw bytes of a job's or a reply's body. The raw bytes keep the body's memory.
pub fn split<H: serde::de::DeserializeOwned>(mut body: Vec<u8>) -> Result<(H, Vec<u8>), FrameError> {
    let length = body.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes).ok_or(FrameError::Malformed("no header length"))?;
    let end = 4usize.checked_add(length as usize).filter(|&end| end <= body.len()).ok_or(FrameError::Malformed("header is cut off"))?;
    let header = serde_json::from_slice(&body[4..end]).map_err(|_| FrameError::Malformed("header is not what it should be"))?;
    body.drain(..end);
    Ok((header, body))
}

/// Takes the first `length` bytes out of a buffer that bytes are read into. A short piece is copied, so that the buffer keeps its memory for the
/// next read; a long one keeps that memory itself.
pub fn take_front(buffer: &mut Vec<u8>, length: usize) -> Vec<u8> {
    if length >= SHORT {
        let rest = buffer.split_off(length);
        return std::mem::replace(buffer, rest);
    }
    let front = buffer[..length].to_vec();
    buffer.drain(..length);
    front
}

/// Collects bytes as they arrive and hands out whole frames.
pub struct Decoder {
    buffer: Vec<u8>,
    limit: usize,
}

impl Decoder {
    /// `limit`: the longest frame to accept, kind and body, in bytes.
    pub fn new(limit: usize) -> Decoder {
        Decoder { buffer: Vec::new(), limit: limit.min(MAX_FRAME) }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The memory that further bytes may be read into directly.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// The next whole frame, or `None` until more bytes have come.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(prefix) = self.buffer.get(..4).and_then(|b| b.try_into().ok()) else { return Ok(None) };
        let length = u32::from_le_bytes(prefix) as usize;
        if length == 0 {
            return Err(FrameError::Malformed("no kind"));
        }
        if length > self.limit {
            return Err(FrameError::TooLong(length));
        }
        if self.buffer.len() < 4 + length {
            // For all of it, unless that is very much: not by a little with each piece.
            self.buffer.reserve((4 + length - self.buffer.len()).min(ROOM));
            return Ok(None);
        }
        let kind = self.buffer[4];
        let mut body = take_front(&mut self.buffer, 4 + length);
        body.drain(..PREFIX);
        Ok(Some(Frame { kind, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{JobKind, Outcome};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_frames(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..5), cut in 1usize..64) {
            let stream: Vec<u8> = bodies.iter().flat_map(|b| encode(KIND_REPLY, b)).collect();
            let mut decoder = Decoder::new(MAX_FRAME);
            let mut seen = Vec::new();
            for chunk in stream.chunks(cut) {
                decoder.feed(chunk);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame.body);
                }
            }
            prop_assert_eq!(seen, bodies);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new(1000);
            decoder.feed(&bytes);
            while let Ok(Some(frame)) = decoder.next_frame() {
                let _ = split::<Job>(frame.body);
            }
        }
    }

    #[test]
    fn job_keeps_its_raw_arguments() {
        let job = Job { id: 7, kind: JobKind::Call, tool: "execute_sql".into(), read_only: true, client: "é".into(), ..Job::default() };
        let arguments = br#"{"query":"select 1"}"#;
        let mut decoder = Decoder::new(1000);
        decoder.feed(&encode_job(&job, arguments));
        let frame = decoder.next_frame().unwrap().unwrap();
        let (header, raw): (Job, _) = split(frame.body).unwrap();
        assert_eq!((header.id, header.tool.as_str(), header.client.as_str()), (7, "execute_sql", "é"));
        assert_eq!(raw, arguments);
        assert_eq!([encode_job_head(&job, arguments.len()).as_slice(), arguments].concat(), encode_job(&job, arguments));
    }

    #[test]
    fn too_long_a_frame_is_refused_from_its_length_alone() {
        let reply = Reply { id: 1, outcome: Outcome::Ok, untrusted: false, leaving: false, facts: None };
        let bytes = encode_reply(&reply, &[b' '; 2000]);
        let mut decoder = Decoder::new(1000);
        decoder.feed(&bytes[..4]);
        assert!(matches!(decoder.next_frame(), Err(FrameError::TooLong(_))));
    }
}
