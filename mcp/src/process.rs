//! One executor or keeper, seen from the gateway: a socket, a process id, one job at a time for an executor.
//!
//! Whoever owns the value owns the process: dropping it closes the socket, and the process leaves by itself. No job is sent twice by
//! this file; whether a lost one may be tried again is the caller's decision.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use crate::ipc::{self, Decoder, KIND_ASK, KIND_REPLY, KIND_WORD, MAX_FRAME};
use crate::stream::Stream;
use crate::types::{About, Ask, Job, Reply, Word};

/// How long a cancelled call may take to end by itself before it is terminated, and then before its process is given up.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// How often a cancel is repeated until it has ended the call.
const CANCEL_AGAIN: Duration = Duration::from_millis(100);

/// Arguments from this length on, in bytes, are sent by themselves: another call into the kernel costs less than a copy.
const LONG: usize = 64 * 1024;

/// The process went away, or said something that is not an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Before the job was read: it has certainly not run.
    Unsent,
    /// After that: it may have run.
    Unanswered,
}

/// What a process says to its job.
#[derive(Debug)]
pub enum Said {
    Answer(Reply, Vec<u8>),
    /// It is about to write, and waits for a word ([`Process::tell`]).
    Asks(Ask),
}

pub struct Process {
    stream: Stream,
    decoder: Decoder,
    pid: i32,
    /// The gateway's epoch at the hello: facts that were read before it may miss a change that this process never saw.
    pub ready_at: u64,
    /// Jobs sent.
    pub calls: u64,
    pub idle_since: Instant,
    /// What the process was last told of its caller.
    pub told: Option<Arc<About>>,
}

impl Process {
    pub fn new(stream: UnixStream, pid: i32, ready_at: u64) -> std::io::Result<Process> {
        let stream = Stream::new(stream)?;
        Ok(Process { stream, decoder: Decoder::new(MAX_FRAME), pid, ready_at, calls: 0, idle_since: Instant::now(), told: None })
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether the process is still there: an idle one says nothing, so anything to read is its end.
    pub fn is_alive(&self) -> bool {
        self.stream.is_silent()
    }

    pub async fn send(&mut self, job: &Job, arguments: &[u8]) -> Result<(), Lost> {
        self.calls += 1;
        if arguments.len() < LONG {
            return self.stream.write_all(&ipc::encode_job(job, arguments)).await.map_err(|_| Lost::Unsent);
        }
        self.stream.write_all(&ipc::encode_job_head(job, arguments.len())).await.map_err(|_| Lost::Unsent)?;
        self.stream.write_all(arguments).await.map_err(|_| Lost::Unsent)
    }

    /// Lets the process go on with what it asked for, or not.
    pub async fn tell(&mut self, word: &Word) -> Result<(), Lost> {
        self.stream.write_all(&ipc::encode_with_header(KIND_WORD, word, &[])).await.map_err(|_| Lost::Unanswered)
    }

    /// Waits for the answer to job `id`, which is one that does not ask, or has been cancelled: what it asks now gets no word.
    pub async fn receive(&mut self, id: u64) -> Result<(Reply, Vec<u8>), Lost> {
        loop {
            if let Said::Answer(reply, payload) = self.listen(id).await? {
                return Ok((reply, payload));
            }
        }
    }

    /// Waits for what the process says to job `id`.
    pub async fn listen(&mut self, id: u64) -> Result<Said, Lost> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(|_| Lost::Unanswered)? {
                if frame.kind == KIND_ASK {
                    let (ask, _) = ipc::split::<Ask>(frame.body).map_err(|_| Lost::Unanswered)?;
                    return if ask.id == id { Ok(Said::Asks(ask)) } else { Err(Lost::Unanswered) };
                }
                if frame.kind != KIND_REPLY {
                    return Err(Lost::Unanswered);
                }
                let (reply, payload) = ipc::split::<Reply>(frame.body).map_err(|_| Lost::Unanswered)?;
                return if reply.id == id { Ok(Said::Answer(reply, payload)) } else { Err(Lost::Unanswered) };
            }
            let buffer = self.decoder.buffer();
            buffer.reserve(16 * 1024);
            match self.stream.read_into(buffer).await {
                // The other end closed with the job still unread in its socket: a Unix socket tells.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset && buffer.is_empty() => return Err(Lost::Unsent),
                Ok(0) | Err(_) => return Err(Lost::Unanswered),
                Ok(_) => {}
            }
        }
    }

    /// Ends the running job `id`: asks, then insists. `Ok` when the process can be used again.
    ///
    /// SIGINT reaches only this job: it is sent before the next one is, and the executor forgets an unspent one at its next job.
    pub async fn cancel(&mut self, id: u64) -> Result<(Reply, Vec<u8>), Lost> {
        let insist_at = Instant::now() + CANCEL_GRACE;
        while Instant::now() < insist_at {
            // Again and again: one that arrives before the job was read is forgotten.
            self.interrupt();
            if let Ok(answer) = timeout(CANCEL_AGAIN, self.receive(id)).await {
                return answer;
            }
        }
        self.signal(Signal::TERM);
        timeout(CANCEL_GRACE, self.receive(id)).await.unwrap_or(Err(Lost::Unanswered))
    }

    /// Asks the running statement to end.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            // The process may have ended meanwhile; the socket's end says so.
            let _ = kill_process(pid, signal);
        }
    }
}
