//! What happens to the gateway rather than to one call, as counters.
//!
//! They are counted where they happen, from the start of this life; [`Stats`](super::Stats) adds earlier lives and takes off what was before a
//! reset. Arithmetic wraps around, so that a difference may be kept as a counter.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Credentials that were missing, wrong, or not served.
    pub refused_logins: u64,
    /// Calls refused by a limit on calls per minute or at the same time.
    pub limited_calls: u64,
    pub connections: u64,
    /// Beyond `supabase_mcp.max_connections`.
    pub refused_connections: u64,
    /// Calls that had to wait for a process.
    pub queue_waits: u64,
    /// Calls refused because too many waited.
    pub queue_full: u64,
    /// Calls that waited in vain.
    pub queue_timeouts: u64,
    /// Processes that could not be started for want of a worker slot.
    pub no_worker_slot: u64,
    /// Idle processes that made room for another caller's.
    pub evictions: u64,
}

impl Events {
    pub fn plus(self, other: Events) -> Events {
        self.zip(other, u64::wrapping_add)
    }

    pub fn minus(self, other: Events) -> Events {
        self.zip(other, u64::wrapping_sub)
    }

    fn zip(self, other: Events, f: fn(u64, u64) -> u64) -> Events {
        Events {
            refused_logins: f(self.refused_logins, other.refused_logins),
            limited_calls: f(self.limited_calls, other.limited_calls),
            connections: f(self.connections, other.connections),
            refused_connections: f(self.refused_connections, other.refused_connections),
            queue_waits: f(self.queue_waits, other.queue_waits),
            queue_full: f(self.queue_full, other.queue_full),
            queue_timeouts: f(self.queue_timeouts, other.queue_timeouts),
            no_worker_slot: f(self.no_worker_slot, other.no_worker_slot),
            evictions: f(self.evictions, other.evictions),
        }
    }
}
