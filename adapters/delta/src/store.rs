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
use object_store::aws::AmazonS3Builder;
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

/// An S3-compatible store. What isn't given is taken from the environment (`AWS_…`) or from the machine's role.
#[derive(Clone, Default)]
pub struct S3 {
    /// The bucket.
    pub bucket: String,
    /// The folder in it that holds the tables.
    pub prefix: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The server, if it isn't Amazon's.
    pub endpoint: Option<String>,
    /// The access key.
    pub access_key: Option<String>,
    /// Its secret.
    pub secret_key: Option<String>,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

fn bad_setting(name: &str, what: impl fmt::Display) -> Error {
    Error::new(sqlstate::CONFIG_FILE_ERROR, format!("backend \"{name}\": {what}"))
}

/// A folder of this machine.
pub(crate) fn local(name: &str, folder: &std::path::Path) -> Result<Arc<dyn ObjectStore>> {
    let store = Durable::new(folder)
        .map_err(|_| bad_setting(name, format!("there is no folder {}", folder.display())))?;
    Ok(Arc::new(store))
}

/// A bucket, or a folder of it.
pub(crate) fn s3(name: &str, settings: &S3) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(&settings.bucket);
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    if let (Some(key), Some(secret)) = (&settings.access_key, &settings.secret_key) {
        builder = builder.with_access_key_id(key).with_secret_access_key(secret);
    }
    let store = builder.build().map_err(|e| bad_setting(name, e))?;
    match settings.prefix.as_deref().map(|p| p.trim_matches('/')).filter(|p| !p.is_empty()) {
        None => Ok(Arc::new(store)),
        Some(prefix) => {
            let prefix = Path::parse(prefix).map_err(|e| bad_setting(name, e))?;
            Ok(Arc::new(PrefixStore::new(store, prefix)))
        }
    }
}

/// 55000 unless the store refuses to make an object that is there: else two writers could lose each other's work.
pub(crate) async fn check_conditional_put(root: &Arc<dyn ObjectStore>) -> Result<()> {
    let probe = Path::from(format!("{OURS}/probe-{}", uuid::Uuid::new_v4().simple()));
    let create = || PutOptions::from(PutMode::Create);
    root.put_opts(&probe, PutPayload::from_static(b"1"), create()).await.map_err(error::store)?;
    let second = root.put_opts(&probe, PutPayload::from_static(b"2"), create()).await;
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

    /// Keeps files of the table aside. On local disk a copy is a hard link, on S3 the server copies.
    pub(crate) async fn keep(root: &Arc<dyn ObjectStore>, table: &Path, files: Vec<Path>) -> Result<()> {
        let copies = files.into_iter().map(|file| async move {
            let from = joined(table, &file);
            let to = joined(&kept_folder(table), &file);
            if root.head(&to).await.is_ok() {
                return Ok(());
            }
            match root.copy(&from, &to).await {
                // Vacuumed before anybody could keep it: whoever reads it will say so.
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
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
