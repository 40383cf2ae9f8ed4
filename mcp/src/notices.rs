//! What an operator must know and nobody else tells: no room for calls, processes or connections. One line of JSON in the server's log for each
//! kind of event, once a minute at the most, with a count.
//!
//! Runs on the gateway's runtime thread. Also counts, for the statistics. Callers can make these happen as often as they like: nothing of theirs
//! but the names of their role and database gets into the log, and that as JSON.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::host::{Demand, Host, Level};
use crate::scheduler::Key;

const EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A call was refused because too many waited.
    QueueFull,
    /// A call waited for a process in vain.
    QueueTimeout,
    /// A process could not be started: `max_worker_processes` are there.
    NoWorkerSlot,
    /// A connection beyond the limit.
    RefusedConnection,
}

impl Event {
    const ALL: [Event; 4] = [Event::QueueFull, Event::QueueTimeout, Event::NoWorkerSlot, Event::RefusedConnection];

    /// What to look at.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Event::QueueFull => &["supabase_mcp.queue_length", "supabase_mcp.max_executors"],
            Event::QueueTimeout => &["supabase_mcp.queue_timeout", "supabase_mcp.max_executors"],
            Event::NoWorkerSlot => &["max_worker_processes", "supabase_mcp.max_executors"],
            Event::RefusedConnection => &["supabase_mcp.max_connections"],
        }
    }
}

pub struct Notices {
    host: Arc<dyn Host>,
    kinds: [Mutex<Seen>; Event::ALL.len()],
}

#[derive(Default)]
struct Seen {
    total: u64,
    /// Since the last line.
    unsaid: u64,
    said: Option<Instant>,
    /// Database and role of the last one.
    whose: Option<(Arc<str>, Arc<str>)>,
}

#[derive(Serialize)]
struct Line<'a> {
    event: Event,
    /// Events since the line before, or since the start.
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    settings: &'static [&'static str],
}

impl Notices {
    pub fn new(host: Arc<dyn Host>) -> Notices {
        Notices { host, kinds: Default::default() }
    }

    fn seen(&self, event: Event) -> MutexGuard<'_, Seen> {
        self.kinds[event as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, event: Event, whose: Option<&Key>) {
        let mut seen = self.seen(event);
        seen.total += 1;
        seen.unsaid += 1;
        seen.whose = whose.map(|key| (key.database_name.clone(), key.role_name.clone()));
        self.say(event, &mut seen);
    }

    /// How often since the start.
    pub fn total(&self, event: Event) -> u64 {
        self.seen(event).total
    }

    /// Says what had to wait. To be called every now and then.
    pub fn flush(&self) {
        for event in Event::ALL {
            self.say(event, &mut self.seen(event));
        }
    }

    fn say(&self, event: Event, seen: &mut Seen) {
        if seen.unsaid == 0 || seen.said.is_some_and(|said| said.elapsed() < EVERY) {
            return;
        }
        seen.said = Some(Instant::now());
        let (database, role) = seen.whose.as_ref().map(|(database, role)| (&**database, &**role)).unzip();
        let line = Line { event, count: std::mem::take(&mut seen.unsaid), database, role, settings: event.settings() };
        // Texts and numbers are always JSON.
        let line = serde_json::to_string(&line).unwrap_or_default();
        self.host.demand(Demand::Log { level: Level::Warning, message: format!("supabase_mcp: {line}") });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);

    impl Host for Log {
        fn demand(&self, demand: Demand) {
            if let Demand::Log { message, .. } = demand {
                self.0.lock().unwrap().push(message);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_kind_has_a_line_a_minute() {
        let log = Arc::new(Log::default());
        let notices = Notices::new(log.clone());
        for _ in 0..1000 {
            notices.note(Event::RefusedConnection, None);
            notices.note(Event::NoWorkerSlot, None);
            notices.flush();
        }
        let first = r#"supabase_mcp: {"event":"refused_connection","count":1,"settings":["supabase_mcp.max_connections"]}"#;
        assert_eq!(log.0.lock().unwrap().len(), 2);
        assert_eq!(log.0.lock().unwrap()[0], first);
        tokio::time::advance(EVERY).await;
        notices.flush();
        notices.flush();
        assert_eq!(log.0.lock().unwrap().len(), 4);
        assert!(log.0.lock().unwrap()[3].contains(r#""count":999"#));
        assert_eq!((notices.total(Event::RefusedConnection), notices.total(Event::QueueFull)), (1000, 0));
    }

    #[tokio::test]
    async fn name_of_a_role_stays_within_its_line() {
        let log = Arc::new(Log::default());
        let key = Key {
            database: 1,
            database_name: "d".into(),
            role: 2,
            role_name: "a\"b\nc".into(),
            login: 2,
            form: crate::types::Form::Direct,
            principal: "p".into(),
        };
        Notices::new(log.clone()).note(Event::QueueFull, Some(&key));
        let lines = log.0.lock().unwrap();
        assert!(!lines[0].contains('\n'));
        let line: serde_json::Value = serde_json::from_str(lines[0].strip_prefix("supabase_mcp: ").unwrap()).unwrap();
        assert_eq!(line["role"], "a\"b\nc");
    }
}
