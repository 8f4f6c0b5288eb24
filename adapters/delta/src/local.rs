//! A folder of this machine as a store that keeps what it confirmed when the power fails: what is written reaches the disk
//! before it gets its name, and the name does before the writer is told.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// A folder whose writes are durable.
#[derive(Debug, Clone)]
pub(crate) struct Durable {
    files: Arc<LocalFileSystem>,
    folder: Arc<FilePath>,
}

impl Durable {
    /// The folder must be there.
    pub(crate) fn new(folder: &FilePath) -> Result<Self> {
        // Folders of ours that are empty go with their last file.
        let files = LocalFileSystem::new_with_prefix(folder)?.with_automatic_cleanup(true);
        let folder = folder.canonicalize().map_err(failed)?;
        Ok(Self { files: Arc::new(files), folder: folder.into() })
    }

    /// Makes a name durable, and those of the folders that it is in.
    async fn keep(&self, location: &Path) -> Result<()> {
        let (path, folder) = (self.files.path_to_filesystem(location)?, Arc::clone(&self.folder));
        blocking(move || keep(&path, &folder).map_err(failed)).await
    }
}

fn failed(source: io::Error) -> Error {
    Error::Generic { store: "local", source: Box::new(source) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(source) => Err(Error::Generic { store: "local", source: Box::new(source) }),
    }
}

/// To the disk with the folders of a file, up to the backend's own.
fn keep(path: &FilePath, folder: &FilePath) -> io::Result<()> {
    for above in path.ancestors().skip(1).take_while(|above| above.starts_with(folder)) {
        File::open(above)?.sync_all()?;
    }
    Ok(())
}

/// A name beside a file's that listings of folders as stores leave out.
fn beside(path: &FilePath) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!("#{}{number:06}", std::process::id()));
    path.with_file_name(name)
}

/// Makes a file beside the one that is meant; other processes may be removing the folder as an empty one.
fn draft(path: &FilePath) -> io::Result<(File, PathBuf)> {
    let mut left = 10;
    loop {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let name = beside(path);
        match File::options().write(true).create_new(true).open(&name) {
            Ok(file) => return Ok((file, name)),
            Err(e)
                if left > 0 && matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) =>
            {
                left -= 1;
            }
            Err(e) => return Err(e),
        }
    }
}

fn put(path: &FilePath, folder: &FilePath, payload: &PutPayload, create: bool) -> io::Result<()> {
    let (mut file, draft) = draft(path)?;
    let written = payload.iter().try_for_each(|part| file.write_all(part)).and_then(|()| file.sync_all());
    let named = written.and_then(|()| match create {
        true => fs::hard_link(&draft, path),
        false => fs::rename(&draft, path),
    });
    if create || named.is_err() {
        let _ = fs::remove_file(&draft);
    }
    named.and_then(|()| keep(path, folder))
}

impl fmt::Display for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.files)
    }
}

/// An upload that is on the disk when it is complete.
#[derive(Debug)]
struct Upload {
    upload: Box<dyn MultipartUpload>,
    path: PathBuf,
    folder: Arc<FilePath>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let done = self.upload.complete().await?;
        let (path, folder) = (self.path.clone(), Arc::clone(&self.folder));
        blocking(move || {
            let kept = File::open(&path).and_then(|file| file.sync_all());
            kept.and_then(|()| keep(&path, &folder)).map_err(failed)
        })
        .await?;
        Ok(done)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

#[async_trait]
impl ObjectStore for Durable {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return self.files.put_opts(location, payload, options).await,
        };
        let (path, folder) = (self.files.path_to_filesystem(location)?, Arc::clone(&self.folder));
        let name = location.to_string();
        blocking(move || {
            put(&path, &folder, &payload, create).map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: name, source: Box::new(source) },
                _ => failed(source),
            })
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let path = self.files.path_to_filesystem(location)?;
        let upload = self.files.put_multipart_opts(location, options).await?;
        Ok(Box::new(Upload { upload, path, folder: Arc::clone(&self.folder) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await?;
        self.keep(to).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;

    use super::*;

    #[tokio::test]
    async fn the_second_at_a_name_is_refused_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Durable::new(folder.path()).unwrap();
        let path = Path::from("a/b/c.json");
        let create = |text: &'static str| {
            let options = PutOptions::from(PutMode::Create);
            store.put_opts(&path, PutPayload::from_static(text.as_bytes()), options)
        };
        create("1").await.unwrap();
        assert!(matches!(create("2").await, Err(Error::AlreadyExists { .. })));
        let read = async || store.get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(read().await, "1");
        store.put(&path, PutPayload::from_static(b"3")).await.unwrap();
        assert_eq!(read().await, "3");
        assert_eq!(fs::read_dir(folder.path().join("a/b")).unwrap().count(), 1);
        store.delete(&path).await.unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_is_not_listed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Durable::new(folder.path()).unwrap();
        let path = folder.path().canonicalize().unwrap().join("x.json");
        let (_, name) = draft(&path).unwrap();
        assert!(name.exists());
        let found: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert!(found.is_empty(), "{found:?}");
    }
}
