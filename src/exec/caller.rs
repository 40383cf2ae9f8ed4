//! Who calls, for `mcp.current_caller()`: kept in this process's memory, where no SQL can reach it.
//!
//! Runs in an executor, on its only thread.

use std::cell::RefCell;

use mcp::types::{About, Job};

#[derive(Default)]
struct Current {
    about: About,
    client: String,
    tool: String,
    request: String,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// Takes down whose call begins.
pub(super) fn note(job: &Job) {
    CURRENT.with_borrow_mut(|current| {
        let current = current.get_or_insert_default();
        if let Some(about) = &job.about {
            current.about.clone_from(about);
        }
        current.client.clone_from(&job.client);
        current.tool.clone_from(&job.tool);
        current.request.clone_from(&job.request);
    });
}

/// The caller as a JSON object; `None` in a process that is no executor.
pub fn current() -> Option<serde_json::Value> {
    CURRENT.with_borrow(|current| {
        current.as_ref().map(|c| {
            serde_json::json!({
                "principal": c.about.principal,
                "token_label": c.about.label.as_ref().filter(|_| c.about.principal.starts_with("token:")),
                "subject": c.about.subject,
                "client": c.client,
                "tool": c.tool,
                "request_id": serde_json::from_str::<serde_json::Value>(&c.request).unwrap_or_default(),
            })
        })
    })
}
