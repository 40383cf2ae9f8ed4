//! One conversation of rmcp's own client with the server under test.
//!
//! Takes one JSON argument, the plan, and prints one JSON object with what the library saw. A process of its own, started by
//! `tests/e2e/test_sdk_rmcp.py`, which judges: this file must not know what is right.

#![forbid(unsafe_code)]

mod reach;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use rmcp::model::{CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, Peer, ServiceError};
use rmcp::{ErrorData, RoleClient};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// How often a test's signal to cancel is looked for.
const LOOK: Duration = Duration::from_millis(20);

type Anything = Box<dyn Error + Send + Sync>;

#[derive(Deserialize)]
struct Plan {
    way: reach::Way,
    token: Option<String>,
    mode: Mode,
    #[serde(default)]
    calls: Vec<Call>,
}

/// How the conversation begins.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Initialize,
    Discover,
    Auto,
}

#[derive(Deserialize)]
struct Call {
    name: String,
    arguments: Map<String, Value>,
    /// The file that appears when the test has seen the call run: then, and not before, it is given up.
    cancel: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Anything> {
    let plan: Plan = serde_json::from_str(&std::env::args().nth(1).ok_or("usage: rmcp-client PLAN")?)?;
    let mut seen = json!({ "tools": [], "results": [] });
    if let Err(problem) = converse(plan, &mut seen).await {
        seen["failed"] = json!(in_full(&*problem));
    }
    println!("{seen}");
    Ok(())
}

async fn converse(plan: Plan, seen: &mut Value) -> Result<(), Anything> {
    let client = ClientConfig::new(ClientCapabilities::default(), Implementation::new("e2e-rmcp", "1.0"));
    let client = client.with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
    let running = reach::connect(client, plan.way, plan.token, plan.mode.lifecycle()).await?;
    seen["server"] = json!(running.peer_info());
    seen["tools"] = json!(running.list_all_tools().await?);
    let mut results = Vec::new();
    for call in plan.calls {
        results.push(call.made(running.peer()).await);
    }
    seen["results"] = json!(results);
    running.cancel().await?;
    Ok(())
}

impl Mode {
    fn lifecycle(&self) -> ClientLifecycleMode {
        let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
        match self {
            Mode::Initialize => ClientLifecycleMode::Initialize,
            Mode::Discover => ClientLifecycleMode::Discover { preferred_versions },
            Mode::Auto => ClientLifecycleMode::Auto { preferred_versions, legacy_version: None },
        }
    }
}

impl Call {
    async fn made(self, peer: &Peer<RoleClient>) -> Value {
        let call = peer.call_tool(CallToolRequestParams::new(self.name).with_arguments(self.arguments));
        let answer = match self.cancel {
            // Dropping the future is how this library's users give up a call.
            Some(signal) => tokio::select! {
                answer = call => answer,
                () = appears(signal) => return json!({ "cancelled": true }),
            },
            None => call.await,
        };
        match answer {
            Ok(result) => json!(result),
            Err(ServiceError::McpError(ErrorData { code, message, data, .. })) => {
                json!({ "code": code.0, "message": message, "data": data })
            }
            Err(other) => json!({ "problem": in_full(&other) }),
        }
    }
}

async fn appears(file: PathBuf) {
    while !file.exists() {
        tokio::time::sleep(LOOK).await;
    }
}

/// An error with its causes.
fn in_full(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
