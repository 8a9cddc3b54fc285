//! The client against a store of this process that speaks as much of S3 as is asked of it, and fails as it is told: after doing a
//! request, before it, or by not obeying a condition. What real stores say is asked in `tests/e2e/test_s3.py`.

use super::upload::PART as PUT_PART;
use super::{S3Options, Secret, Stores};
use crate::catalog::tests::{Server, serve};
use crate::ids::Ids;
use crate::storage::Files;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use lw_stdx::disk::RealDisk;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use uuid::Uuid;

/// As much as makes an upload of parts.
pub(crate) const LARGE: usize = PUT_PART;

/// What goes wrong with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not done.
    Refused,
    /// It is done, and the answer says that it failed.
    ReplyLost,
}

#[derive(Default)]
struct Shelf {
    objects: BTreeMap<String, Bytes>,
    /// By id: the key, and the parts by number.
    uploads: BTreeMap<String, (String, BTreeMap<u32, Bytes>)>,
    begun: usize,
    /// For the next requests of a method to a key that holds a text.
    faults: Vec<(Method, String, Fault)>,
    ignores_conditions: bool,
    denies: bool,
    is_away: bool,
}

/// A store with one bucket, `b`.
pub(crate) struct Store {
    shelf: Arc<Mutex<Shelf>>,
    server: Server,
}

impl Store {
    pub(crate) fn start() -> Store {
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let router = Router::new().fallback(answer).with_state(shelf.clone());
        Store {
            shelf,
            server: serve(router),
        }
    }

    pub(crate) fn options(&self) -> S3Options {
        S3Options {
            endpoint: Some(self.server.uri.clone()),
            access_key_id: Some(Secret::new("AKIATEST")),
            secret_access_key: Some(Secret::new("s3cr3t")),
            ..S3Options::default()
        }
    }

    pub(crate) fn files(&self) -> Files {
        self.files_with(self.options())
    }

    pub(crate) fn files_with(&self, options: S3Options) -> Files {
        let stores = Stores::new(options, Ids::seeded(1)).unwrap();
        Files::with_stores(Arc::new(RealDisk), Arc::new(stores))
    }

    pub(crate) fn fail(&self, method: Method, key: &str, fault: Fault) {
        self.shelf
            .lock()
            .faults
            .push((method, key.to_owned(), fault));
    }

    pub(crate) fn set_away(&self, is_away: bool) {
        self.shelf.lock().is_away = is_away;
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.shelf.lock().objects.keys().cloned().collect()
    }

    pub(crate) fn uploads(&self) -> usize {
        self.shelf.lock().uploads.len()
    }

    /// Faults that were not met.
    pub(crate) fn left(&self) -> usize {
        self.shelf.lock().faults.len()
    }
}

async fn answer(State(shelf): State<Arc<Mutex<Shelf>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let key = parts
        .uri
        .path()
        .trim_start_matches("/b")
        .trim_start_matches('/')
        .to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let mut shelf = shelf.lock();
    if shelf.is_away {
        return said(StatusCode::SERVICE_UNAVAILABLE, "SlowDown");
    }
    if shelf.denies {
        return said(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
    }
    let fault = shelf
        .faults
        .iter()
        .position(|(method, text, _)| *method == parts.method && key.contains(text.as_str()));
    match fault.map(|at| shelf.faults.remove(at).2) {
        Some(Fault::Refused) => said(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
        Some(Fault::ReplyLost) => {
            shelf.done(&parts.method, key, &query, &parts.headers, body);
            said(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
        }
        None => shelf.done(&parts.method, key, &query, &parts.headers, body),
    }
}

/// As a store says no: with the keys in it.
fn said(status: StatusCode, code: &str) -> Response {
    let body = format!(
        "<Error><Code>{code}</Code><Message>no</Message><AWSAccessKeyId>AKIATEST</AWSAccessKeyId></Error>"
    );
    (status, body).into_response()
}

impl Shelf {
    fn done(
        &mut self,
        method: &Method,
        key: String,
        query: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Response {
        let argument = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.into_iter().find(|(key, _)| *key == name)?.1;
            Some(found.replace("%2F", "/"))
        };
        let is_asked = |name: &str| {
            query
                .split('&')
                .any(|pair| pair.split('=').next() == Some(name))
        };
        let upload = argument("uploadId");
        match (method.as_str(), upload) {
            ("GET", _) if is_asked("uploads") => self.list_uploads(),
            ("GET", _) if is_asked("list-type") => self.list(
                &argument("prefix").unwrap_or_default(),
                is_asked("delimiter"),
            ),
            ("GET" | "HEAD", _) => self.get(method, &key, headers),
            ("POST", None) if is_asked("uploads") => {
                self.begun += 1;
                let id = format!("u{}", self.begun);
                self.uploads.insert(id.clone(), (key, BTreeMap::new()));
                format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>").into_response()
            }
            ("POST", None) if is_asked("delete") => {
                let text = String::from_utf8_lossy(&body).into_owned();
                let keys = text.split("<Key>").skip(1);
                let keys = keys.map(|object| object.split("</Key>").next().unwrap());
                let gone = keys.map(|key| {
                    self.objects.remove(key);
                    format!("<Deleted><Key>{key}</Key></Deleted>")
                });
                let gone: String = gone.collect();
                format!("<DeleteResult>{gone}</DeleteResult>").into_response()
            }
            ("POST", Some(id)) => match self.uploads.remove(&id) {
                Some((key, parts)) => {
                    let whole: Vec<u8> = parts.into_values().flatten().collect();
                    self.objects.insert(key, whole.into());
                    "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
                        .into_response()
                }
                None => said(StatusCode::NOT_FOUND, "NoSuchUpload"),
            },
            ("PUT", Some(id)) => match (self.uploads.get_mut(&id), argument("partNumber")) {
                (Some((_, parts)), Some(number)) => {
                    parts.insert(number.parse().unwrap(), body);
                    ([("etag", "e")], "").into_response()
                }
                _ => said(StatusCode::NOT_FOUND, "NoSuchUpload"),
            },
            ("PUT", None) => {
                let is_new = headers
                    .get("if-none-match")
                    .is_some_and(|value| value == "*");
                if is_new && !self.ignores_conditions && self.objects.contains_key(&key) {
                    return said(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
                }
                self.objects.insert(key, body);
                ([("etag", "e")], "").into_response()
            }
            ("DELETE", Some(id)) => {
                self.uploads.remove(&id);
                StatusCode::NO_CONTENT.into_response()
            }
            other => panic!("nobody asks for {other:?} {key}?{query}"),
        }
    }

    fn get(&self, method: &Method, key: &str, headers: &HeaderMap) -> Response {
        let Some(object) = self.objects.get(key) else {
            return said(StatusCode::NOT_FOUND, "NoSuchKey");
        };
        let fixed = [
            ("etag", "e".to_owned()),
            ("last-modified", "Sat, 28 Nov 2026 12:00:00 GMT".to_owned()),
        ];
        if method == Method::HEAD {
            return (fixed, [("content-length", object.len().to_string())]).into_response();
        }
        let range = headers.get("range").and_then(|range| range.to_str().ok());
        let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let Some((from, to)) = range else {
            return (fixed, object.clone()).into_response();
        };
        let (from, last): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        let end = object.len().min(last + 1);
        let said = format!("bytes {from}-{}/{}", end - 1, object.len());
        (
            StatusCode::PARTIAL_CONTENT,
            fixed,
            [("content-range", said)],
            Body::from(object.slice(from..end)),
        )
            .into_response()
    }

    fn list(&self, prefix: &str, by_folder: bool) -> Response {
        let (mut objects, mut folders) = (String::new(), std::collections::BTreeSet::new());
        for (key, bytes) in &self.objects {
            let Some(rest) = key.strip_prefix(prefix) else {
                continue;
            };
            match rest.split_once('/') {
                Some((folder, _)) if by_folder => {
                    folders.insert(folder);
                }
                _ => objects.push_str(&format!(
                    "<Contents><Key>{key}</Key><Size>{}</Size><LastModified>2026-11-28T12:00:00.000Z</LastModified><ETag>e</ETag></Contents>",
                    bytes.len()
                )),
            }
        }
        let folders = folders.iter().map(|folder| {
            format!("<CommonPrefixes><Prefix>{prefix}{folder}/</Prefix></CommonPrefixes>")
        });
        let folders: String = folders.collect();
        format!("<ListBucketResult>{objects}{folders}</ListBucketResult>").into_response()
    }

    fn list_uploads(&self) -> Response {
        let uploads = self.uploads.iter();
        let uploads = uploads.map(|(id, (key, _))| {
            format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>")
        });
        let uploads: String = uploads.collect();
        format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>")
            .into_response()
    }
}

fn attempt(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

#[test]
fn a_file_in_a_store_is_what_was_written() {
    let store = Store::start();
    let files = store.files();
    let large: Vec<u8> = (0..PUT_PART * 2 + 1000)
        .map(|at| (at % 251) as u8)
        .collect();
    for (name, bytes) in [("small", &b"abc"[..]), ("empty", b""), ("large", &large)] {
        let place = format!("s3://b/w/{name}");
        let mut file = files.create(&place).unwrap();
        for piece in bytes.chunks(1 << 20) {
            file.append(piece).unwrap();
        }
        assert!(
            !store.keys().contains(&format!("w/{name}")),
            "nothing is there before it is finished"
        );
        assert_eq!(file.finish().unwrap(), bytes.len() as u64);
        assert_eq!(files.read(&place).unwrap(), bytes);
        let open = files.open(&place).unwrap();
        assert_eq!(open.len().unwrap(), bytes.len() as u64);
        let mut read = vec![0; bytes.len()];
        open.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(read, bytes);
    }
    assert_eq!(store.uploads(), 0);
    let open = files.open("s3://b/w/large").unwrap();
    let mut end = [0; 8];
    open.read_exact_at(&mut end, large.len() as u64 - 8)
        .unwrap();
    assert_eq!(end, large[large.len() - 8..]);
    assert!(
        open.read_exact_at(&mut end, large.len() as u64 - 4)
            .is_err()
    );
    assert!(files.exists("s3://b/w").unwrap() && !files.exists("s3://b/v").unwrap());
    let mut names: Vec<_> = files
        .list("s3://b/w")
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    names.retain(|name| !name.starts_with(".lakeward"));
    assert_eq!(names, ["empty", "large", "small"]);
    files.remove("s3://b/w/small").unwrap();
    files.remove("s3://b/w/small").unwrap();
    let gone = files.read("s3://b/w/small").unwrap_err();
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_name_is_given_once_and_to_whom_the_reply_was_lost() {
    let store = Store::start();
    let files = store.files();
    let place = "s3://b/w/name";
    store.fail(Method::PUT, "w/name", Fault::ReplyLost);
    assert!(
        files.write_new(place, b"mine", attempt(1)).unwrap(),
        "it was done, though the reply said no"
    );
    assert!(!files.write_new(place, b"theirs", attempt(2)).unwrap());
    assert_eq!(files.read(place).unwrap(), "mine");
    let taken = files.write(place, b"other").unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(files.read(place).unwrap(), "mine");
}

#[test]
fn a_store_that_is_not_well_for_a_moment_is_asked_again() {
    let store = Store::start();
    let files = store.files();
    for _ in 0..3 {
        store.fail(Method::PUT, "w/t", Fault::Refused);
        store.fail(Method::GET, "w/t", Fault::Refused);
    }
    files.write("s3://b/w/t", b"x").unwrap();
    assert_eq!(files.read("s3://b/w/t").unwrap(), "x");
}

#[test]
fn the_lost_reply_to_the_last_part_is_no_loss() {
    let store = Store::start();
    let files = store.files();
    let bytes = vec![7; PUT_PART + 5];
    let mut file = files.create("s3://b/w/t").unwrap();
    file.append(&bytes).unwrap();
    store.fail(Method::PUT, "w/t", Fault::ReplyLost);
    store.fail(Method::POST, "w/t", Fault::ReplyLost);
    assert_eq!(file.finish().unwrap(), bytes.len() as u64);
    assert_eq!(files.read("s3://b/w/t").unwrap(), bytes);
}

#[test]
fn an_upload_that_nobody_completes_is_an_unfinished_file_and_goes_by_that_name() {
    let store = Store::start();
    let files = store.files();
    let mut file = files.create("s3://b/w/p/t").unwrap();
    file.append(&vec![7; PUT_PART]).unwrap();
    // As of a process that dies here.
    std::mem::forget(file);
    let listed = |place: &str| {
        let entries = files.list(place).unwrap().into_iter();
        entries
            .map(|entry| (entry.name, entry.is_dir))
            .collect::<Vec<_>>()
    };
    assert_eq!(listed("s3://b/w"), [("p".to_owned(), true)]);
    assert_eq!(listed("s3://b/w/p"), [(".t.part".to_owned(), false)]);
    files.remove("s3://b/w/p/.t.part").unwrap();
    assert_eq!((store.uploads(), listed("s3://b/w/p")), (0, Vec::new()));
}

#[test]
fn a_store_without_working_conditional_writes_is_refused() {
    let store = Store::start();
    store.shelf.lock().ignores_conditions = true;
    let files = store.files();
    let stores = files.stores().unwrap();
    let refused = stores.probe("s3://b/w").unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    assert_eq!(
        refused.to_string(),
        "the store of s3://b has no working conditional writes (If-None-Match): a name was given twice; tables in it could lose rows"
    );
    assert!(
        files.write("s3://b/w/t", b"x").is_err(),
        "nor is it written to without a probe at the start"
    );
    assert_eq!(store.keys(), Vec::<String>::new());
}

#[test]
fn what_a_store_says_is_told_without_keys() {
    let store = Store::start();
    let files = store.files();
    store.shelf.lock().denies = true;
    let denied = files.read("s3://b/w/t").unwrap_err();
    assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(
        denied.to_string(),
        "cannot read s3://b/w/t: the store says SignatureDoesNotMatch: no"
    );
    store.shelf.lock().denies = false;
    store.set_away(true);
    let away = files.read("s3://b/w/t").unwrap_err();
    assert_eq!(away.kind(), io::ErrorKind::HostUnreachable);
    assert_eq!(
        away.to_string(),
        "cannot read s3://b/w/t: the store says SlowDown: no"
    );
}

#[test]
fn a_client_gets_the_address_and_keys_only_where_they_are_lent() {
    let store = Store::start();
    let files = store.files();
    let stores = files.stores().unwrap();
    let told = stores.client_properties("s3://b/w/t").unwrap();
    assert_eq!(told["s3.endpoint"], store.server.uri);
    assert!(
        !told
            .keys()
            .any(|name| name.contains("key") || name.contains("token"))
    );
    assert_eq!(stores.lent_properties("s3://b/w/t").unwrap(), None);
    let options = S3Options {
        lend_credentials: Some(true),
        ..store.options()
    };
    let files = store.files_with(options);
    let lent = files
        .stores()
        .unwrap()
        .lent_properties("s3://b/w/t")
        .unwrap()
        .unwrap();
    assert_eq!(
        (
            lent["s3.access-key-id"].as_str(),
            lent["s3.secret-access-key"].as_str()
        ),
        ("AKIATEST", "s3cr3t")
    );
}
