//! Deletes branches whose time is over.

use std::sync::Arc;
use std::time::Duration;

use super::server::Shared;

/// How often it looks. A branch may live that much longer than it was to.
const PERIOD: Duration = Duration::from_secs(5);

/// Runs until the proxy stops. Branches that sessions of this process are on wait until these have left.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut stop = shared.stop.clone();
    let in_use = |name: &str| shared.registry.in_use(name);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(PERIOD) => {}
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
