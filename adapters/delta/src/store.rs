//! Stores: where a backend's tables are, and a table's own part of it with what we keep aside for it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use epoch_adapter::{Error, Result, sqlstate};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use crate::error;
use crate::local::Durable;

/// The folder of ours in a backend. Engines leave folders alone whose names begin with `_`.
pub(crate) const OURS: &str = "_epoch";

/// F0000: what the settings of a backend say can't be used.
pub(crate) fn bad_setting(name: &str, what: impl fmt::Display) -> Error {
    Error::new(sqlstate::CONFIG_FILE_ERROR, format!("backend \"{name}\": {what}"))
}

/// A folder of this machine.
pub(crate) fn local(name: &str, folder: &std::path::Path) -> Result<Arc<dyn ObjectStore>> {
    let store = Durable::new(folder)
        .map_err(|_| bad_setting(name, format!("there is no folder {}", folder.display())))?;
    Ok(Arc::new(store))
}

/// A bucket or container, or a folder of it.
pub(crate) fn rooted(
    name: &str,
    store: impl ObjectStore,
    prefix: Option<&str>,
) -> Result<Arc<dyn ObjectStore>> {
    match prefix.map(|p| p.trim_matches('/')).filter(|p| !p.is_empty()) {
        None => Ok(Arc::new(store)),
        Some(prefix) => {
            let prefix = Path::parse(prefix).map_err(|e| bad_setting(name, e))?;
            Ok(Arc::new(PrefixStore::new(store, prefix)))
        }
    }
}

/// 55000 unless the store refuses to make an object that is there: else two writers could lose each other's work.
pub(crate) async fn check_conditional_put(root: &Arc<dyn ObjectStore>) -> Result<()> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let probe = Path::from(format!("{OURS}/probe-{id}"));
    let create = async |text: String| {
        let options = PutOptions::from(PutMode::Create);
        root.put_opts(&probe, PutPayload::from(text.into_bytes()), options).await
    };
    if let Err(error) = create(id.clone()).await {
        // Its answer may have been lost, and what was asked again have been refused.
        let there = async { root.get(&probe).await?.bytes().await };
        if !there.await.is_ok_and(|text| text == id.as_bytes()) {
            return Err(error::store(error));
        }
    }
    let second = create("second".to_owned()).await;
    // What stays of it if this fails is a few bytes that nobody looks at.
    let _ = root.delete(&probe).await;
    match second {
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(()),
        Ok(_) => {
            let message = "the store overwrites objects that it was asked to create";
            Err(Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .with_detail("Without conditional writes, commits of concurrent writers are lost."))
        }
        Err(e) => Err(error::store(e)),
    }
}

/// A table's folder as delta-rs sees it: files that other engines removed and that a commit still needs are read from
/// where we kept them, and listings of the log are in order, on which its reading relies.
pub(crate) struct TableStore {
    live: Arc<dyn ObjectStore>,
    kept: Arc<dyn ObjectStore>,
    /// For versions that were: what was kept of the log comes first, because there may be another table at this place.
    old: bool,
}

impl TableStore {
    /// `path`: the table's folder below the backend's. `old`: to read versions that were, not the newest.
    pub(crate) fn new(root: &Arc<dyn ObjectStore>, path: &Path, old: bool) -> Self {
        let under =
            |prefix: Path| -> Arc<dyn ObjectStore> { Arc::new(PrefixStore::new(Arc::clone(root), prefix)) };
        Self { live: under(path.clone()), kept: under(kept_folder(path)), old }
    }

    /// Where a file is looked for, one after the other.
    fn places(&self, path: &Path) -> Vec<&Arc<dyn ObjectStore>> {
        match (is_log(Some(path)), self.old) {
            (false, _) => vec![&self.live, &self.kept],
            (true, false) => vec![&self.live],
            // It may name a checkpoint of another table: all files of the log are listed then.
            (true, true) if path.filename() == Some("_last_checkpoint") => Vec::new(),
            (true, true) => vec![&self.kept, &self.live],
        }
    }

    fn missing(path: &Path) -> object_store::Error {
        object_store::Error::NotFound { path: path.to_string(), source: "it is not kept".into() }
    }

    /// Keeps files of the table aside. On local disk a copy is a hard link, elsewhere the server copies.
    pub(crate) async fn keep(root: &Arc<dyn ObjectStore>, table: &Path, files: Vec<Path>) -> Result<()> {
        let copies = files.into_iter().map(|file| async move {
            let from = joined(table, &file);
            let to = joined(&kept_folder(table), &file);
            if root.head(&to).await.is_ok() {
                return Ok(());
            }
            match root.copy(&from, &to).await {
                // Vacuumed before anybody could keep it: whoever reads it will say so. On Google Cloud Storage a copy
                // overwrites nothing, and somebody else kept the file meanwhile.
                Ok(())
                | Err(
                    object_store::Error::NotFound { .. }
                    | object_store::Error::AlreadyExists { .. }
                    | object_store::Error::Precondition { .. },
                ) => Ok(()),
                Err(e) => Err(error::store(e)),
            }
        });
        stream::iter(copies).buffer_unordered(8).try_collect::<Vec<()>>().await.map(drop)
    }

    fn merged(
        &self,
        prefix: Option<&Path>,
        after: Option<Path>,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let mut listings = vec![self.live.list(prefix)];
        if self.old {
            listings.push(self.kept.list(prefix));
        }
        let all = async move {
            let mut found = BTreeMap::new();
            for mut listing in listings {
                while let Some(meta) = listing.next().await {
                    let meta = meta?;
                    found.insert(meta.location.clone(), meta);
                }
            }
            let late = found.into_values().filter(move |m| after.as_ref().is_none_or(|a| m.location > *a));
            Ok::<_, object_store::Error>(stream::iter(late.map(Ok)))
        };
        stream::once(all).try_flatten().boxed()
    }
}

/// Where what is kept of a table is.
pub(crate) fn kept_folder(table: &Path) -> Path {
    joined(&Path::from(format!("{OURS}/kept")), table)
}

/// One path below another.
pub(crate) fn joined(folder: &Path, below: &Path) -> Path {
    folder.parts().chain(below.parts()).collect()
}

fn is_log(prefix: Option<&Path>) -> bool {
    prefix.is_some_and(|p| p.as_ref().starts_with("_delta_log"))
}

impl fmt::Debug for TableStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableStore({})", self.live)
    }
}

impl fmt::Display for TableStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableStore({})", self.live)
    }
}

#[async_trait]
impl ObjectStore for TableStore {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.live.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.live.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let mut missing = None;
        for place in self.places(path) {
            match place.get_opts(path, options.clone()).await {
                Err(error @ object_store::Error::NotFound { .. }) => {
                    missing.get_or_insert(error);
                }
                other => return other,
            }
        }
        Err(missing.unwrap_or_else(|| Self::missing(path)))
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        let mut missing = None;
        for place in self.places(path) {
            match place.get_ranges(path, ranges).await {
                Err(error @ object_store::Error::NotFound { .. }) => {
                    missing.get_or_insert(error);
                }
                other => return other,
            }
        }
        Err(missing.unwrap_or_else(|| Self::missing(path)))
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.live.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        if is_log(prefix) { self.merged(prefix, None) } else { self.live.list(prefix) }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        if is_log(prefix) {
            self.merged(prefix, Some(offset.clone()))
        } else {
            self.live.list_with_offset(prefix, offset)
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.live.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.live.copy_opts(from, to, options).await
    }
}
