//! The gateway's runtime thread: what the Postgres main thread starts, tells and ends.
//!
//! One thread, one event loop. The main thread makes it with all signals blocked, because a signal handler of Postgres must never run on
//! it; that is why this file gives the main thread a closure to run, and makes no thread itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::Config;
use crate::gateway::Gateway;
use crate::host::{Host, Level};
use crate::listen::Listeners;
use crate::{admin, children, oauth};

/// How long the audit trail may take for what it has not written yet; the main thread waits a little longer.
const LAST_WORDS: Duration = Duration::from_millis(350);

/// The main thread's end.
pub struct Control(mpsc::UnboundedSender<Command>);

enum Command {
    Reload(Box<Config>),
    Stop,
}

impl Control {
    /// New settings; they count from the next call.
    pub fn reload(&self, config: Config) {
        let _ = self.0.send(Command::Reload(Box::new(config)));
    }

    /// Closes the sockets and ends the runtime thread. Calls that run are broken off; their executors see it and leave.
    pub fn stop(&self) {
        let _ = self.0.send(Command::Stop);
    }
}

/// The control, and what the runtime thread has to run. The closure returns when told to stop, or with what kept it from starting.
pub fn prepare(config: Config, host: Arc<dyn Host>) -> (Control, impl FnOnce() -> Result<(), String> + Send + 'static) {
    let (sender, commands) = mpsc::unbounded_channel();
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("no runtime: {e}"))?;
        let outcome = runtime.block_on(run(config, host, commands));
        // Password checks may still be running; nobody waits for them.
        runtime.shutdown_background();
        outcome
    };
    (Control(sender), body)
}

async fn run(config: Config, host: Arc<dyn Host>, mut commands: mpsc::UnboundedReceiver<Command>) -> Result<(), String> {
    let gateway = Gateway::new(config, host).ok_or("the operating system gives no random bytes")?;
    gateway.off.store(admin::was_off(), Ordering::Relaxed);
    gateway.load_statistics();
    let private = children::bind().map_err(|e| format!("could not bind the private socket: {e}"))?;
    tokio::spawn(children::serve(gateway.children.clone(), private, gateway.clone()));
    tokio::spawn(gateway.clone().sweep());
    tokio::spawn(gateway.clone().keep_statistics());
    let mut listeners = Listeners::default();
    listeners.apply(&gateway).await;
    warn(&gateway).await;
    while let Some(command) = commands.recv().await {
        match command {
            Command::Reload(config) => {
                gateway.reload(*config);
                listeners.apply(&gateway).await;
                warn(&gateway).await;
            }
            Command::Stop => break,
        }
    }
    listeners.close().await;
    // The keepers are being stopped as well, and wait a moment for this.
    let _ = tokio::time::timeout(LAST_WORDS, gateway.audit.flush(None)).await;
    gateway.save_statistics();
    let _ = std::fs::remove_file(crate::ipc::INTERNAL_SOCKET);
    Ok(())
}

/// What an administrator should know about the settings.
async fn warn(gateway: &Gateway) {
    let config = gateway.config();
    if config.listens_beyond_loopback() && config.anonymous_role.is_some() {
        gateway.log(
            Level::Warning,
            "supabase_mcp: supabase_mcp.anonymous_role counts on this machine alone; callers from other machines need a credential",
        );
    }
    gateway.read_keys().await;
    if config.jwt.roles.is_empty() != config.jwt.sources.is_empty() {
        gateway.log(
            Level::Warning,
            "supabase_mcp: JSON Web Tokens are taken only where supabase_mcp.jwt_roles and a key (jwt_secret, jwt_jwks, or a file) are both set",
        );
    }
    if let Some(complaint) = oauth::complaint(&config) {
        gateway.log(Level::Warning, format!("supabase_mcp: clients are not told of supabase_mcp.oauth_issuer: {complaint}"));
    }
}
