//! A Delta table: its versions, and what its metadata says.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::catalog::TableProvider;
use deltalake_core::DeltaTable;
use deltalake_core::kernel::transaction::PROTOCOL;
use deltalake_core::kernel::{EagerSnapshot, LogicalFileView, StorageType};
use deltalake_core::logstore::{StorageConfig, default_logstore};
use epoch_adapter::{Error, Result, sqlstate};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use sha2::{Digest, Sha256};
use url::Url;

use crate::error;
use crate::store::{OURS, TableStore};

/// Versions that are kept in memory.
const VERSIONS: usize = 8;

/// One Delta table of a backend.
#[derive(Debug)]
pub(crate) struct Source {
    pub path: Path,
    /// As it is, and as it was.
    now: Place,
    then: Place,
    newest: tokio::sync::Mutex<Option<Version>>,
    old: Mutex<VecDeque<Version>>,
}

/// The table's folder, under a URL of its own: the engine keeps stores by URL.
#[derive(Debug)]
struct Place {
    store: Arc<TableStore>,
    url: Url,
}

impl Place {
    fn table(&self) -> DeltaTable {
        let store: Arc<dyn ObjectStore> = Arc::clone(&self.store) as _;
        DeltaTable::new(default_logstore(Arc::clone(&store), store, &self.url, &StorageConfig::default()))
    }
}

/// A version of a Delta table.
#[derive(Clone)]
pub(crate) struct Version {
    pub table: DeltaTable,
    snapshot: Arc<EagerSnapshot>,
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Version({})", self.number())
    }
}

impl Source {
    /// `instance` is different for each adapter: the engine keeps stores by URL.
    pub(crate) fn new(root: &Arc<dyn ObjectStore>, instance: &str, path: &str) -> Result<Self> {
        let bad = |e: &dyn std::fmt::Display| {
            Error::new(sqlstate::INVALID_PARAMETER_VALUE, format!("\"{path}\" is not the path of a table"))
                .with_detail(e.to_string())
        };
        let parsed = Path::parse(path).map_err(|e| bad(&e))?;
        if parsed.parts().next().is_some_and(|first| first.as_ref() == OURS) {
            return Err(bad(&"It is in the folder of Horizon Epoch itself."));
        }
        let place = |old: bool| {
            let digest = Sha256::digest(format!("{instance}/{old}/{path}"));
            let host: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
            let url = Url::parse(&format!("epoch://{host}/")).map_err(|e| bad(&e))?;
            Ok(Place { store: Arc::new(TableStore::new(root, &parsed, old)), url })
        };
        let (now, then) = (place(false)?, place(true)?);
        Ok(Self { path: parsed, now, then, newest: tokio::sync::Mutex::default(), old: Mutex::default() })
    }

    /// The table as it is now. 42P01 if there is none.
    pub(crate) async fn newest(&self) -> Result<Version> {
        let mut newest = self.newest.lock().await;
        let mut table = newest.as_ref().map_or_else(|| self.now.table(), |v| v.table.clone());
        let before = table.version();
        if let Err(error) = table.update_state().await {
            // A table that was made anew has a shorter log.
            *newest = None;
            table = self.now.table();
            table.load().await.map_err(|_| error::delta(error))?;
        }
        if let (Some(known), true) = (newest.as_ref(), before.is_some() && before == table.version()) {
            return Ok(known.clone());
        }
        let version = Version::of(table)?;
        *newest = Some(version.clone());
        Ok(version)
    }

    /// Forgets what is known: the table may be another one.
    pub(crate) async fn forget(&self) {
        *self.newest.lock().await = None;
        self.old.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The table as it was.
    pub(crate) async fn at(&self, number: u64) -> Result<Version> {
        if let Some(known) = self.newest.lock().await.as_ref().filter(|v| v.number() == number) {
            return Ok(known.clone());
        }
        let known = self.old().iter().find(|v| v.number() == number).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let mut table = self.then.table();
        table.load_version(number).await.map_err(error::delta)?;
        if table.version() != Some(number) {
            return Err(error::gone(number));
        }
        let version = Version::of(table)?;
        let mut old = self.old();
        old.push_front(version.clone());
        old.truncate(VERSIONS);
        Ok(version)
    }

    fn old(&self) -> std::sync::MutexGuard<'_, VecDeque<Version>> {
        self.old.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files of the table's log that a version is read from: its last checkpoint and the commits from there on.
    pub(crate) async fn log_files(&self, number: u64) -> Result<Vec<Path>> {
        let folder = Path::from("_delta_log");
        let found: Vec<_> = self.then.store.list(Some(&folder)).try_collect().await.map_err(error::store)?;
        let sidecars: Vec<Path> = found.iter().map(|m| m.location.clone()).filter(is_sidecar).collect();
        let named = found.into_iter().filter_map(|m| Some((log_version(&m.location)?, m.location)));
        let named: Vec<(u64, Path)> = named.filter(|(v, _)| *v <= number).collect();
        let is_checkpoint = |path: &Path| path.filename().is_some_and(|n| n.contains(".checkpoint"));
        let from = named.iter().filter(|(_, p)| is_checkpoint(p)).map(|(v, _)| *v).max().unwrap_or(0);
        let wanted = |(version, path): &(u64, Path)| {
            *version >= from && (path.as_ref().ends_with(".json") || is_checkpoint(path))
        };
        Ok(named.into_iter().filter(wanted).map(|(_, path)| path).chain(sidecars).collect())
    }

    /// The table's own store.
    pub(crate) fn store(&self) -> &Arc<TableStore> {
        &self.now.store
    }
}

/// Checkpoints may have parts of their own, which say nothing of versions.
fn is_sidecar(path: &Path) -> bool {
    path.parts().any(|part| part.as_ref() == "_sidecars")
}

/// The version that a file of the log is of.
fn log_version(path: &Path) -> Option<u64> {
    path.filename()?.get(..20)?.parse().ok()
}

/// What a file is: another deletion vector makes it another one.
type FileId = (String, Option<String>);

fn file_id(file: &LogicalFileView) -> FileId {
    let vector = file.deletion_vector_descriptor();
    let vector = vector.map(|d| format!("{:?}{}@{:?}", d.storage_type, d.path_or_inline_dv, d.offset));
    (file.path().into_owned(), vector)
}

impl Version {
    fn of(table: DeltaTable) -> Result<Self> {
        let snapshot = Arc::new(table.snapshot().map_err(error::delta)?.snapshot().clone());
        Ok(Self { table, snapshot })
    }

    pub(crate) fn number(&self) -> u64 {
        self.snapshot.version()
    }

    pub(crate) fn snapshot(&self) -> &EagerSnapshot {
        &self.snapshot
    }

    /// The id in its metadata.
    pub(crate) fn identity(&self) -> &str {
        self.snapshot.metadata().id()
    }

    /// The table's properties.
    pub(crate) fn properties(&self) -> &HashMap<String, String> {
        self.snapshot.metadata().configuration()
    }

    /// 0A000 if delta-rs can't read the table.
    pub(crate) fn check_readable(&self) -> Result<()> {
        PROTOCOL.can_read_from(self.snapshot()).map_err(|e| error::delta(e.into()))
    }

    /// 0A000 if delta-rs can't write to the table.
    pub(crate) fn check_writable(&self) -> Result<()> {
        let checked = PROTOCOL.can_write_to(self.snapshot()).map_err(|e| error::delta(e.into()));
        checked.map_err(|e| match e.code() {
            sqlstate::FEATURE_NOT_SUPPORTED => {
                let detail = e.message().to_owned();
                Error::new(sqlstate::FEATURE_NOT_SUPPORTED, "this Delta table can only be read on main")
                    .with_detail(format!("Writing to {detail}."))
                    .with_hint("Branches of it can be written to, but not be merged into main.")
            }
            _ => e,
        })
    }

    /// Rows that its files hold, as far as they say.
    pub(crate) fn row_estimate(&self) -> i64 {
        let rows = self.snapshot.log_data().iter().filter_map(|f| f.num_records()).sum::<usize>();
        i64::try_from(rows).unwrap_or(i64::MAX)
    }

    /// All its rows.
    pub(crate) async fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        let builder = self.table.table_provider().with_eager_snapshot(Arc::clone(&self.snapshot));
        Ok(Arc::new(builder.build().await.map_err(error::engine)?))
    }

    /// The rows of some of its files.
    pub(crate) async fn provider_of(&self, files: &[LogicalFileView]) -> Result<Arc<dyn TableProvider>> {
        let builder = self.table.table_provider().with_eager_snapshot(Arc::clone(&self.snapshot));
        let paths = files.iter().map(|f| Path::from(f.path().as_ref()).to_string());
        let builder = builder.with_file_paths(paths);
        Ok(Arc::new(builder.build().await.map_err(error::engine)?))
    }

    /// Its files.
    pub(crate) fn files(&self) -> Vec<LogicalFileView> {
        self.snapshot.log_data().iter().collect()
    }

    /// The files that only this version has, of two.
    pub(crate) fn without(&self, other: &Self) -> Vec<LogicalFileView> {
        let theirs: HashSet<FileId> = other.snapshot.log_data().iter().map(|f| file_id(&f)).collect();
        self.snapshot.log_data().iter().filter(|f| !theirs.contains(&file_id(f))).collect()
    }
}

/// The paths of files, with those of their deletion vectors.
pub(crate) fn paths(files: &[LogicalFileView]) -> Vec<Path> {
    let vector = |file: &LogicalFileView| {
        let vector = file.deletion_vector_descriptor()?;
        (vector.storage_type == StorageType::UuidRelativePath)
            .then(|| vector_path(&vector.path_or_inline_dv))?
    };
    let mut out: Vec<Path> = files.iter().filter_map(vector).collect();
    out.extend(files.iter().map(LogicalFileView::object_store_path));
    out.sort();
    out.dedup();
    out
}

/// Where a deletion vector is whose descriptor has a prefix and a number in base 85.
fn vector_path(text: &str) -> Option<Path> {
    const DIGITS: &[u8] =
        b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let (prefix, number) = text.split_at_checked(text.len().checked_sub(20)?)?;
    let mut bytes = Vec::with_capacity(16);
    for group in number.as_bytes().chunks(5) {
        let mut value = 0_u64;
        for digit in group {
            value = value * 85 + DIGITS.iter().position(|d| d == digit)? as u64;
        }
        bytes.extend(u32::try_from(value).ok()?.to_be_bytes());
    }
    let name = format!("deletion_vector_{}.bin", uuid::Uuid::from_slice(&bytes).ok()?);
    Path::parse(if prefix.is_empty() { name } else { format!("{prefix}/{name}") }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_vectors_file_is_found() {
        // The example of the protocol's text.
        let path = vector_path("ab^-aqEH.-t@S}K{vb[*k^").map(|p| p.to_string());
        assert_eq!(path.as_deref(), Some("ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"));
        assert_eq!(vector_path("short"), None);
    }
}
