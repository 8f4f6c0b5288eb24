//! Deletes branches whose time is over, and looks now and then whether tables were changed past us.

use std::sync::Arc;
use std::time::Duration;

use super::server::Shared;

/// How often it looks. A branch may live that much longer than it was to.
const PERIOD: Duration = Duration::from_secs(5);

/// Every how many times it looks at the tables.
const TABLES: u32 = 6;

/// Runs until the proxy stops. Branches that sessions of this process are on wait until these have left.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut stop = shared.stop.clone();
    let in_use = |name: &str| shared.registry.in_use(name);
    let mut looks = 0_u32;
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(TABLES) {
            shared.repository.watch_tables().await;
        }
        match shared.repository.reap(&in_use).await {
            Ok(reaped) => {
                for branch in reaped {
                    tracing::info!(branch, "deleted: its time is over");
                }
            }
            Err(error) => tracing::warn!(%error, "branches whose time is over could not be deleted yet"),
        }
    }
}
