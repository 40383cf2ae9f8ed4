//! The audit trail, seen from the gateway: what is known of a call, and how it comes to be recorded before it matters.
//!
//! Runs on the gateway's runtime thread. The keeper process of each database writes what this module hands it; nothing here decides whether a
//! call may run but for the one rule that a call that may write does not start before its intent is on disk.

mod outcome;

pub use outcome::{Finished, Outcome};
