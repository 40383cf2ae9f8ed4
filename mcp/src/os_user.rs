//! The operating system's name for a user. Asked by the gateway's runtime thread, answered on another: name services may block.

pub async fn name(uid: u32) -> Option<String> {
    tokio::task::spawn_blocking(move || uzers::get_user_by_uid(uid).map(|u| u.name().to_string_lossy().into_owned())).await.ok().flatten()
}
