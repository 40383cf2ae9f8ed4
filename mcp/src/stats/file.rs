//! The file that carries the accounts from one life of the gateway to the next.
//!
//! A line that says what it is, with the SHA-256 of the rest, then one line of JSON for the server and for each row. Written whole under a
//! passing name and moved into place. It is not flushed to disk: a power cut may cost all of it, which the digest finds out. What cannot be read is left behind, and the accounts begin anew.

use std::io::Read;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::row::{BOUNDS, OUTCOMES, Row};
use super::{Accounts, CALLERS, Events, Of, Stats, TOGETHER, TOOLS};
use crate::text::hex;

/// In the data directory.
pub const FILE: &str = "supabase_mcp.stat";
/// The number changes with the meaning of the lines.
const MAGIC: &str = "supabase_mcp statistics 1 ";
/// Many times what the bounds on rows allow.
const LONGEST: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
enum Line {
    Server { since_us: u64, events: Events, numbers: Numbers },
    Tool { name: [Box<str>; 4], numbers: Numbers },
    Caller { name: [Box<str>; 4], numbers: Numbers },
}

#[derive(Serialize, Deserialize)]
struct Numbers {
    outcomes: [u64; OUTCOMES.len()],
    rows: u64,
    bytes: u64,
    cold_starts: u64,
    queue_us: u64,
    run_us: u64,
    total_us: u64,
    max_us: u64,
    buckets: [u64; BOUNDS.len() + 1],
    /// Microseconds and how often.
    times: Vec<(u64, u64)>,
}

impl From<&Row> for Numbers {
    fn from(row: &Row) -> Numbers {
        let recorded = row.times.iter().flat_map(|times| times.iter_recorded());
        Numbers {
            outcomes: row.outcomes,
            rows: row.rows,
            bytes: row.bytes,
            cold_starts: row.cold_starts,
            queue_us: row.queue_us,
            run_us: row.run_us,
            total_us: row.total_us,
            max_us: row.max_us,
            buckets: row.buckets,
            times: recorded.map(|step| (step.value_iterated_to(), step.count_at_value())).collect(),
        }
    }
}

impl From<Numbers> for Row {
    fn from(numbers: Numbers) -> Row {
        let mut row = Row {
            outcomes: numbers.outcomes,
            rows: numbers.rows,
            bytes: numbers.bytes,
            cold_starts: numbers.cold_starts,
            queue_us: numbers.queue_us,
            run_us: numbers.run_us,
            total_us: numbers.total_us,
            max_us: numbers.max_us,
            buckets: numbers.buckets,
            ..Row::default()
        };
        numbers.times.iter().for_each(|(us, times)| row.record(*us, *times));
        row
    }
}

impl Stats {
    /// Whether the file lacks anything.
    pub fn unsaved(&self, live: Events) -> bool {
        let accounts = self.lock();
        accounts.changed || accounts.saved != live.plus(accounts.base)
    }

    /// Writes the file. Not for the runtime thread while calls come in: many rows take milliseconds.
    pub fn save(&self, path: &Path, live: Events) -> Result<(), String> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (era, server) = {
            let mut accounts = self.lock();
            accounts.changed = false;
            accounts.saved = live.plus(accounts.base);
            let since = accounts.since.duration_since(UNIX_EPOCH).unwrap_or_default();
            let since_us = u64::try_from(since.as_micros()).unwrap_or(0);
            (accounts.era, Line::Server { since_us, events: accounts.saved, numbers: Numbers::from(&accounts.server) })
        };
        let written = self.write(path, server, era);
        if written.is_err() {
            self.lock().changed = true;
        }
        written
    }

    fn write(&self, path: &Path, server: Line, era: u64) -> Result<(), String> {
        let tools = self.copies(Of::Tools).map(|(name, row)| Line::Tool { name, numbers: Numbers::from(&row) });
        let callers = self.copies(Of::Callers).map(|(name, row)| Line::Caller { name, numbers: Numbers::from(&row) });
        let mut body = Vec::new();
        for line in std::iter::once(server).chain(tools).chain(callers) {
            serde_json::to_writer(&mut body, &line).map_err(|error| error.to_string())?;
            body.push(b'\n');
        }
        if self.lock().era != era {
            // They were reset meanwhile, and will be written again.
            return Ok(());
        }
        let mut text = format!("{MAGIC}{}\n", hex(&Sha256::digest(&body))).into_bytes();
        text.append(&mut body);
        let passing = path.with_extension("stat.new");
        std::fs::write(&passing, text).and_then(|()| std::fs::rename(&passing, path)).map_err(|error| error.to_string())
    }

    /// Takes on what an earlier life wrote, before the first call. An error says why it begins anew.
    pub fn load(&self, path: &Path) -> Result<(), String> {
        let mut text = String::new();
        match std::fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.to_string()),
            Ok(file) => file.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| error.to_string())?,
        };
        let accounts = read(&text)?;
        *self.lock() = accounts;
        Ok(())
    }
}

fn read(text: &str) -> Result<Accounts, String> {
    if text.len() as u64 > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let (first, body) = text.split_once('\n').ok_or("it is not one of this version")?;
    let digest = first.strip_prefix(MAGIC).ok_or("it is not one of this version")?;
    if digest != hex(&Sha256::digest(body.as_bytes())) {
        return Err("it is not as it was written".into());
    }
    let mut accounts = Accounts::new(0, Events::default());
    for (number, line) in body.lines().enumerate() {
        let line: Line = serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 2))?;
        match line {
            Line::Server { since_us, events, numbers } => {
                accounts.since = UNIX_EPOCH.checked_add(Duration::from_micros(since_us)).unwrap_or(UNIX_EPOCH);
                accounts.base = events;
                accounts.saved = events;
                accounts.server = numbers.into();
            }
            Line::Tool { name, numbers } => {
                if let Some(row) = accounts.tools.get_or_insert(name.each_ref().map(AsRef::as_ref), TOOLS + TOGETHER) {
                    *row = numbers.into();
                }
            }
            Line::Caller { name, numbers } => accounts.restore_caller(name.each_ref().map(AsRef::as_ref), numbers.into()),
        }
    }
    Ok(accounts)
}

impl Accounts {
    fn restore_caller(&mut self, name: [&str; 4], row: Row) {
        let caller = self.callers.hash([name[0], name[1], name[2], ""]);
        let own = self.callers.len() < CALLERS;
        if let Some(restored) = self.callers.get_or_insert(name, CALLERS + TOGETHER) {
            *restored = row;
            if own {
                let clients = self.clients.entry(caller).or_default();
                *clients = clients.saturating_add(1);
            }
        }
    }
}
