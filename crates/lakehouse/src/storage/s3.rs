//! Objects of S3 and of the stores that speak its protocol, behind the same calls as local files.
//!
//! What is different from a disk, and what is made of it:
//!
//! | a store | here |
//! |---|---|
//! | an object appears whole, with the last request that makes it | no temporary name, no fsync: the reply is the durability |
//! | a reply may be lost, and the request done | a name is given with `If-None-Match: *`; who is told that it is taken reads what has it ([`Bucket::create`]) |
//! | a conditional write may be accepted and ignored | each place is probed before it is written to ([`Bucket::probe`]), and refused |
//! | a large object is made of parts, which stay when their writer dies | they are listed as the unfinished files that they are, `.name.part`, and removed by that name ([`multiparts`]) |
//! | there are no folders | a folder is there when an object is below it |
//!
//! Callers block, as on a disk: one small runtime does the requests. What reads asynchronously waits for it without a thread.

mod multiparts;
mod object;
mod options;
mod signed;
#[cfg(test)]
pub(crate) mod tests;
mod upload;
mod words;

pub use options::{S3Options, Secret};
pub(super) use upload::Upload;

pub(super) use object::Object;

use crate::ids::Ids;
use bytes::Bytes;
use futures::TryStreamExt;
use lw_stdx::disk::Entry;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode};
use options::Reached;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};

const SCHEME: &str = "s3://";
/// Threads that wait for replies and sign requests.
const THREADS: usize = 2;
/// How often a name is asked for when nobody knows what became of the request; each is several requests where the store is not well.
const ATTEMPTS: u32 = 3;
/// Before the second attempt, and twice as long before the third.
const PAUSE: Duration = Duration::from_millis(200);

/// Whether a location is an object's.
pub fn is_object(location: &str) -> bool {
    location.starts_with(SCHEME)
}

/// A bucket and the key in it.
///
/// # Errors
/// When the location is not one that every client reads alike.
pub fn split(location: &str) -> io::Result<(&str, Path)> {
    let refused = |why: &str| {
        let message = format!("{location} cannot be a place in a store: {why}");
        io::Error::new(io::ErrorKind::Unsupported, message)
    };
    let rest = location.strip_prefix(SCHEME);
    let rest = rest.ok_or_else(|| refused("it does not begin with s3://"))?;
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if bucket.is_empty() || !bucket.chars().all(plain) {
        return Err(refused("s3://BUCKET/… is expected"));
    }
    match Path::parse(key) {
        Ok(key) => Ok((bucket, key)),
        Err(_) => Err(refused(
            "its key has an empty name, a step or a control character",
        )),
    }
}

/// The buckets of this process. Cheap to share; the runtime under it ends with the last user.
pub struct Stores {
    options: S3Options,
    ids: Ids,
    buckets: Mutex<BTreeMap<String, Arc<Bucket>>>,
    runtime: Option<Runtime>,
}

impl Stores {
    /// # Errors
    /// When no thread can be started.
    pub fn new(options: S3Options, ids: Ids) -> io::Result<Stores> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("s3")
            .enable_all()
            .build()?;
        Ok(Stores {
            options,
            ids,
            buckets: Mutex::default(),
            runtime: Some(runtime),
        })
    }

    /// Whether `location` can be written to: it is there, it lets us, and of several who write one name one succeeds. A store that does
    /// not answer is no reason against it: it is asked again before the first write.
    ///
    /// # Errors
    /// [`io::ErrorKind::HostUnreachable`] where it does not answer; anything else stays so until somebody changes something.
    pub fn probe(&self, location: &str) -> io::Result<()> {
        let (bucket, key) = self.find(location)?;
        bucket.block(move |bucket| async move { bucket.probe(&key).await })
    }

    /// What a client needs to read a table at `location` itself, by the names that Iceberg's clients know.
    ///
    /// # Errors
    /// When the location is no object's.
    pub fn client_properties(&self, location: &str) -> io::Result<BTreeMap<String, String>> {
        Ok(self.find(location)?.0.reached.client_properties())
    }

    /// The same with the keys, where the operator lends them; `None` where not.
    ///
    /// # Errors
    /// When the keys cannot be had.
    pub fn lent_properties(&self, location: &str) -> io::Result<Option<BTreeMap<String, String>>> {
        let (bucket, _) = self.find(location)?;
        if !bucket.reached.lends {
            return Ok(None);
        }
        bucket.block(|bucket| async move { bucket.lent().await.map(Some) })
    }

    pub(super) fn find(&self, location: &str) -> io::Result<(Arc<Bucket>, Path)> {
        let (name, key) = split(location)?;
        let mut buckets = self.buckets.lock();
        if let Some(bucket) = buckets.get(name) {
            return Ok((bucket.clone(), key));
        }
        let runtime = self.runtime.as_ref().expect("it is taken when dropped");
        let (store, reached) = self.options.connect(name)?;
        let bucket = Arc::new(Bucket {
            name: name.to_owned(),
            client: reached.client()?,
            store,
            reached,
            ids: self.ids.clone(),
            probed: Mutex::default(),
            runtime: runtime.handle().clone(),
        });
        buckets.insert(name.to_owned(), bucket.clone());
        Ok((bucket, key))
    }
}

impl Drop for Stores {
    fn drop(&mut self) {
        // Whoever drops the last one may be a thread that must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stores")
    }
}

/// A bucket, and how it is reached.
pub(super) struct Bucket {
    name: String,
    reached: Reached,
    store: AmazonS3,
    /// For the requests that the store's own client does not have.
    client: object_store::client::HttpClient,
    ids: Ids,
    /// The first folders below which names are known to be given once.
    probed: Mutex<BTreeSet<String>>,
    runtime: Handle,
}

impl Bucket {
    /// Does `work` on the store's runtime; the caller's thread waits.
    pub(super) fn block<T, F>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Bucket>) -> F,
    ) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        let work = work(self.clone());
        self.runtime.spawn(async move {
            // Whoever asked waits.
            let _ = reply.send(work.await);
        });
        answer.recv().unwrap_or_else(|_| Err(ended()))
    }

    /// As [`Bucket::block`], without a thread.
    pub(super) async fn run<T, F>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Bucket>) -> F,
    ) -> io::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        let done = self.runtime.spawn(work(self.clone())).await;
        done.unwrap_or_else(|_| Err(ended()))
    }

    pub(super) fn location(&self, key: &Path) -> String {
        format!("{SCHEME}{}/{key}", self.name)
    }

    // Reading.

    pub(super) async fn size(&self, key: &Path) -> io::Result<u64> {
        let found = self.store.head(key).await;
        Ok(found
            .map_err(|error| self.failed("look at", key, error))?
            .size)
    }

    pub(super) async fn read(&self, key: &Path) -> io::Result<Bytes> {
        self.get(key, None).await
    }

    pub(super) async fn read_range(
        &self,
        key: &Path,
        range: std::ops::Range<u64>,
    ) -> io::Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let wanted = range.end - range.start;
        let bytes = self.get(key, Some(GetRange::Bounded(range))).await?;
        match bytes.len() as u64 == wanted {
            true => Ok(bytes),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    async fn get(&self, key: &Path, range: Option<GetRange>) -> io::Result<Bytes> {
        let options = GetOptions {
            range,
            ..GetOptions::default()
        };
        let got = async { self.store.get_opts(key, options).await?.bytes().await };
        got.await.map_err(|error| self.failed("read", key, error))
    }

    /// Whether there is an object of this name, or one below it.
    pub(super) async fn exists(&self, key: &Path) -> io::Result<bool> {
        if !key.as_ref().is_empty() {
            match self.store.head(key).await {
                Ok(_) => return Ok(true),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed("look for", key, error)),
            }
        }
        let first = self.store.list(Some(key)).try_next().await;
        Ok(first
            .map_err(|error| self.failed("list", key, error))?
            .is_some())
    }

    /// What is in a folder: objects, objects that are being made, and folders that have either below them.
    pub(super) async fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let listed = self.store.list_with_delimiter(Some(folder)).await;
        let listed = listed.map_err(|error| self.failed("list", folder, error))?;
        let mut entries = BTreeMap::new();
        for object in listed.objects {
            let name = object.location.filename().unwrap_or_default().to_owned();
            entries.insert(name, (object.size, false));
        }
        for below in listed.common_prefixes {
            let name = below.filename().unwrap_or_default().to_owned();
            entries.entry(name).or_insert((0, true));
        }
        for (name, is_dir) in self.unfinished_in(folder).await? {
            entries.entry(name).or_insert((0, is_dir));
        }
        let entries = entries.into_iter().filter(|(name, _)| !name.is_empty());
        Ok(entries
            .map(|(name, (len, is_dir))| Entry { name, len, is_dir })
            .collect())
    }

    /// Every object below a folder, finished or not, with the path from there to the folder that it is in.
    pub(super) async fn list_below(&self, folder: &Path) -> io::Result<Vec<(String, Entry)>> {
        let prefix = multiparts::prefix_of(folder);
        let all: Result<Vec<_>, _> = self.store.list(Some(folder)).try_collect().await;
        let all = all.map_err(|error| self.failed("list", folder, error))?;
        let whole = all.iter().filter_map(|object| {
            let (below, name) = below(&prefix, object.location.as_ref())?;
            Some((below, file(name.to_owned(), object.size)))
        });
        let mut found: Vec<_> = whole.collect();
        let uploads = self.uploads(&prefix).await?;
        found.extend(uploads.iter().filter_map(|(key, _)| {
            let (below, name) = below(&prefix, key)?;
            Some((below, file(format!(".{name}.part"), 0)))
        }));
        Ok(found)
    }

    // Writing.

    /// Gives an object its name; `false` where another has it.
    pub(super) async fn write_new(&self, key: &Path, bytes: Bytes) -> io::Result<bool> {
        self.check_probed(key).await?;
        self.create(key, bytes).await
    }

    /// Asks the store for the name until it is known whose it is. A request may have been done although its reply never came; the next
    /// one is then told that the name is taken. So what has the name is read: if it is what we wrote, it is ours.
    async fn create(&self, key: &Path, bytes: Bytes) -> io::Result<bool> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let put = self
                .store
                .put_opts(key, bytes.clone().into(), PutMode::Create.into());
            let error = match put.await {
                Ok(_) => return Ok(true),
                Err(error @ (Error::AlreadyExists { .. } | Error::Precondition { .. })) => {
                    match self.read(key).await {
                        Ok(there) => return Ok(there == bytes),
                        // Two at once can both be sent away, or the other one is gone.
                        Err(gone) if gone.kind() == io::ErrorKind::NotFound => error,
                        Err(other) => return Err(other),
                    }
                }
                Err(error) => error,
            };
            if attempt == ATTEMPTS || !words::may_pass(&error) {
                return Err(self.failed("write", key, error));
            }
            wait(pause).await;
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    /// Removes an object, or the uploads that would become one; what is not there is fine.
    pub(super) async fn remove(&self, key: &Path) -> io::Result<()> {
        if let Some(whole) = multiparts::whole(key) {
            return self.abort_all(&whole).await;
        }
        match self.store.delete(key).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", key, error)),
        }
    }

    /// Removes all that is below a folder.
    pub(super) async fn remove_below(&self, folder: &Path) -> io::Result<()> {
        let all: Result<Vec<_>, _> = self.store.list(Some(folder)).try_collect().await;
        let all = all.map_err(|error| self.failed("list", folder, error))?;
        for object in all {
            self.remove(&object.location).await?;
        }
        Ok(())
    }

    // Probing.

    async fn check_probed(&self, key: &Path) -> io::Result<()> {
        // One probe for all that is in a bucket: conditional writes are the store's, rights may be the folder's, and show themselves.
        if !self.probed.lock().is_empty() {
            return Ok(());
        }
        let folder = key.parent().unwrap_or_default();
        self.probe(&folder).await
    }

    /// Writes one name twice. The second must be refused, and the first must be what is read.
    async fn probe(&self, folder: &Path) -> io::Result<()> {
        let key = folder
            .clone()
            .join(format!(".lakeward-probe-{}", self.ids.next().simple()));
        let first = Bytes::from_static(b"first");
        let begun = self.create(&key, first.clone()).await;
        let outcome = match begun {
            Ok(true) => self.probe_again(&key, &first).await,
            Ok(false) => Err(self.unconditional("a name that nothing had was refused")),
            Err(error) => Err(error),
        };
        // Best effort: it is a few bytes.
        let _ = self.remove(&key).await;
        outcome?;
        self.probed.lock().insert(folder.to_string());
        Ok(())
    }

    async fn probe_again(&self, key: &Path, first: &Bytes) -> io::Result<()> {
        let again = self.create(key, Bytes::from_static(b"second")).await;
        match again {
            Ok(false) => {}
            Ok(true) => return Err(self.unconditional("a name was given twice")),
            Err(error) => return Err(error),
        }
        match self.read(key).await? == *first {
            true => Ok(()),
            false => Err(self.unconditional("an object was replaced that must not be")),
        }
    }

    fn unconditional(&self, what: &str) -> io::Error {
        let message = format!(
            "the store of s3://{} has no working conditional writes (If-None-Match): {what}; tables in it could lose rows",
            self.name
        );
        io::Error::new(io::ErrorKind::Unsupported, message)
    }

    fn failed(&self, action: &str, key: &Path, error: Error) -> io::Error {
        words::failed(action, &self.location(key), &error, &self.reached.secrets)
    }
}

/// The folder that a key is in, from the prefix on, and its last name.
fn below<'a>(prefix: &str, key: &'a str) -> Option<(String, &'a str)> {
    let rest = key.strip_prefix(prefix)?;
    let (below, name) = rest.rsplit_once('/').unwrap_or(("", rest));
    Some((below.to_owned(), name))
}

fn file(name: String, len: u64) -> Entry {
    Entry {
        name,
        len,
        is_dir: false,
    }
}

fn ended() -> io::Error {
    let message = "the client of the object store has ended";
    io::Error::new(io::ErrorKind::HostUnreachable, message)
}

async fn wait(pause: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the shell that talks to a store, and waits before it asks again"
    )]
    tokio::time::sleep(pause).await;
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.name)
    }
}
