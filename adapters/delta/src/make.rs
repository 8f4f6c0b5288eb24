//! Making a Delta table of rows, for who has none to try with.

use std::path::Path;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use deltalake_core::DeltaTable;
use deltalake_core::logstore::{StorageConfig, default_logstore};
use epoch_adapter::{Error, Result};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use url::Url;

use crate::error;

/// Makes a Delta table in a folder of this machine, which is made if need be, of the columns and rows of a batch. The
/// folder must not hold a Delta table.
///
/// # Errors
/// 58030 if it can't be written to, 42710 if there is a table already.
pub async fn make_table(folder: &Path, rows: RecordBatch) -> Result<()> {
    let failed = |what: &dyn std::fmt::Display| {
        let message = format!("cannot make a Delta table in {}: {what}", folder.display());
        Error::new(epoch_adapter::sqlstate::IO_ERROR, message)
    };
    std::fs::create_dir_all(folder).map_err(|e| failed(&e))?;
    let store: Arc<dyn ObjectStore> =
        Arc::new(LocalFileSystem::new_with_prefix(folder).map_err(|e| failed(&e))?);
    let url = Url::parse("epoch://new/").map_err(|e| failed(&e))?;
    let log = default_logstore(Arc::clone(&store), store, &url, &StorageConfig::default());
    let table = DeltaTable::new(log);
    if table.verify_deltatable_existence().await.map_err(error::delta)? {
        let message = format!("{} is a Delta table already", folder.display());
        return Err(Error::new(epoch_adapter::sqlstate::DUPLICATE_OBJECT, message));
    }
    table.write([rows]).await.map_err(error::delta)?;
    Ok(())
}
