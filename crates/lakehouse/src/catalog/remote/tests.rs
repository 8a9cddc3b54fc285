//! A remote catalog over real sockets: our own REST catalog at the other end, and one that answers what it is told to.

use super::*;
use crate::catalog::tests::{Server, serve};
use crate::catalog::{embedded, rest};
use crate::ids::Ids;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use iceberg::spec::{FormatVersion, NestedField, PrimitiveType, Schema, Type};
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::RealDisk;
use std::sync::Mutex;

/// Method, path and query, and the headers that the cases set.
fn first_line(request: &Request) -> String {
    let mut line = format!("{} {}", request.method(), request.uri());
    for name in ["authorization", "x-team"] {
        if let Some(value) = request.headers().get(name) {
            line += &format!(" {}", value.to_str().unwrap());
        }
    }
    line
}

/// A catalog that writes down what it is asked, the body of a form behind it, and answers by `reply`.
fn scripted(
    reply: impl Fn(&str) -> (u16, String) + Clone + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let answer = move |request: Request| {
        let (reply, seen) = (reply.clone(), seen.clone());
        async move {
            let mut line = first_line(&request);
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await;
            let body = String::from_utf8(body.unwrap().to_vec()).unwrap();
            if body.starts_with("grant_type") {
                line = format!("{line} {body}");
            }
            seen.lock().unwrap().push(line.clone());
            let (status, body) = reply(&line);
            let status = StatusCode::from_u16(status).unwrap();
            let moved = [("location", "/v1/elsewhere")];
            match status.is_redirection() {
                true => (status, moved).into_response(),
                false => (status, body).into_response() as Response,
            }
        }
    };
    (serve(Router::new().fallback(answer)), asked)
}

fn options(uri: &str, more: &[(&str, &str)]) -> RemoteOptions {
    let mut properties = BTreeMap::from([("uri".to_owned(), uri.to_owned())]);
    properties.extend(more.iter().map(|(k, v)| (k.to_string(), v.to_string())));
    RemoteOptions::parse(&properties).unwrap()
}

fn files() -> Files {
    Files::new(Arc::new(RealDisk))
}

fn new_table() -> NewTable {
    let field = NestedField::optional(1, "id", Type::Primitive(PrimitiveType::Long));
    NewTable {
        schema: Schema::builder()
            .with_fields([field.into()])
            .build()
            .unwrap(),
        properties: HashMap::new(),
        partition_spec: None,
        format_version: FormatVersion::V2,
        location: None,
    }
}

fn set(key: &str, value: &str) -> Vec<TableUpdate> {
    vec![TableUpdate::SetProperties {
        updates: HashMap::from([(key.to_owned(), value.to_owned())]),
    }]
}

#[test]
fn tables_are_made_loaded_and_changed_through_http() {
    let folder = tempfile::tempdir().unwrap();
    let config = lw_storage::Config::new(folder.path().join("data"));
    let clock = Arc::new(SystemClock::new());
    let storage = lw_storage::Storage::open(Arc::new(RealDisk), clock, config).unwrap();
    let warehouse = folder.path().join("warehouse");
    let theirs = embedded::Catalog::open(
        storage,
        files(),
        &warehouse.to_string_lossy(),
        Ids::random(),
    )
    .unwrap();
    let server = serve(rest::router(theirs));
    let catalog = RemoteCatalog::connect(&options(&server.uri, &[]), files()).unwrap();
    let ident = TableIdent::from_strs(["lake", "inner", "t"]).unwrap();

    let missing = catalog.load(&ident).unwrap_err().kind;
    assert_eq!(missing, Kind::NoSuchTable);
    let homeless = catalog.create(&ident, new_table()).unwrap_err().kind;
    assert_eq!(homeless, Kind::NoSuchNamespace);
    for _ in 0..2 {
        catalog.ensure_namespace(&ident.namespace).unwrap();
    }
    let made = catalog.create(&ident, new_table()).unwrap();
    assert_eq!(
        catalog.create(&ident, new_table()).unwrap_err().kind,
        Kind::AlreadyExists
    );

    let mine = vec![TableRequirement::UuidMatch {
        uuid: made.metadata.uuid(),
    }];
    let changed = catalog.commit(&ident, mine, set("k", "v")).unwrap();
    assert_eq!(changed.metadata.properties()["k"], "v");
    let other = vec![TableRequirement::UuidMatch {
        uuid: uuid::Uuid::from_u128(1),
    }];
    let refused = catalog.commit(&ident, other, set("k", "w")).unwrap_err();
    assert_eq!(refused.kind, Kind::CommitFailed);
    let loaded = catalog.load(&ident).unwrap();
    assert_eq!(loaded.metadata.properties()["k"], "v");
    assert_eq!(loaded.metadata_location, changed.metadata_location);
    assert_eq!(catalog.all_tables().unwrap(), [ident]);
}

/// Three ways in which catalogs answer what is below a namespace; the tables are the same.
#[test]
fn tables_are_listed_page_by_page_whatever_a_catalog_says_of_inner_namespaces() {
    let bad = r#"{"error":{"message":"flat","type":"BadRequestException","code":400}}"#;
    let gone = r#"{"error":{"message":"gone","type":"NoSuchNamespaceException","code":404}}"#;
    let all = r#"{"namespaces":[["a"],["b c"]]}"#;
    for (status, below) in [(400, bad), (404, gone), (200, all)] {
        let (server, asked) = scripted(move |line: &str| match line {
            "GET /v1/config" => (200, r#"{"defaults":{},"overrides":{}}"#.to_owned()),
            "GET /v1/namespaces" => (
                200,
                r#"{"namespaces":[["a"]],"next-page-token":"p/2"}"#.to_owned(),
            ),
            "GET /v1/namespaces?pageToken=p%2F2" => (
                200,
                r#"{"namespaces":[["b c"]],"next-page-token":null}"#.to_owned(),
            ),
            "GET /v1/namespaces/a/tables" => (
                200,
                r#"{"identifiers":[{"namespace":["a"],"name":"t"}]}"#.to_owned(),
            ),
            "GET /v1/namespaces/b%20c/tables" => (404, gone.to_owned()),
            line if line.starts_with("GET /v1/namespaces?parent=") => (status, below.to_owned()),
            other => (500, other.to_owned()),
        });
        let catalog = RemoteCatalog::connect(&options(&server.uri, &[]), files()).unwrap();
        let expected = [TableIdent::from_strs(["a", "t"]).unwrap()];
        assert_eq!(catalog.all_tables().unwrap(), expected, "{status}");
        assert_eq!(
            asked.lock().unwrap().len(),
            7,
            "{status}: each was asked once"
        );
    }
}

#[test]
fn a_list_without_an_end_ends() {
    let (server, _) = scripted(|line: &str| match line {
        "GET /v1/config" => (200, r#"{"defaults":{},"overrides":{}}"#.to_owned()),
        _ => (
            200,
            r#"{"namespaces":[["a"]],"next-page-token":"again"}"#.to_owned(),
        ),
    });
    let catalog = RemoteCatalog::connect(&options(&server.uri, &[]), files()).unwrap();
    let error = catalog.all_tables().unwrap_err();
    assert!(error.message.ends_with("have no end"), "{}", error.message);
}

#[test]
fn a_status_says_whether_anything_happened() {
    let error = |kind: &str| format!(r#"{{"error":{{"message":"m","type":"{kind}","code":1}}}}"#);
    let (get, post) = (Method::Get, Method::Post);
    let cases = [
        (
            post,
            409,
            error("CommitFailedException"),
            Kind::CommitFailed,
        ),
        (
            post,
            409,
            error("AlreadyExistsException"),
            Kind::AlreadyExists,
        ),
        (
            post,
            500,
            error("CommitStateUnknownException"),
            Kind::Unknown,
        ),
        (post, 502, "<html>".to_owned(), Kind::Unknown),
        // It may come from a proxy that has passed the request on before.
        (post, 503, String::new(), Kind::Unknown),
        (post, 504, String::new(), Kind::Unknown),
        (get, 503, String::new(), Kind::Unavailable),
        (post, 429, String::new(), Kind::Unavailable),
        (get, 404, error("NoSuchTableException"), Kind::NoSuchTable),
        (
            get,
            404,
            error("NoSuchNamespaceException"),
            Kind::NoSuchNamespace,
        ),
        // The catalog has the table, and not its metadata: must not read as "the table was dropped".
        (get, 404, error("NotFoundException"), Kind::NoSuchFile),
        // No catalog's word: must not read as "the table was dropped".
        (get, 404, "404 page not found".to_owned(), Kind::Unavailable),
        (post, 302, String::new(), Kind::BadRequest),
        (post, 401, error("NotAuthorizedException"), Kind::BadRequest),
        (
            post,
            422,
            error("UnprocessableEntityException"),
            Kind::Unprocessable,
        ),
    ];
    for (method, status, body, expected) in cases {
        let error = refusal(method, status, body.as_bytes(), "http://c/v1/t");
        assert_eq!(error.kind, expected, "{status} {body}");
    }
}

#[test]
fn nobody_there_means_that_nothing_happened() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = RemoteCatalog::connect(&options(&uri, &[]), files())
        .err()
        .unwrap();
    assert_eq!(error.kind, Kind::Unavailable);
    assert_eq!(error.message, format!("no answer from {uri}/v1/config"));
}

#[test]
fn a_reply_that_is_cut_off_says_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::Builder::new().spawn(move || {
        use std::io::{Read, Write};
        let mut answers = [
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",
        ]
        .iter();
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]).unwrap();
            let Some(answer) = answers.next() else {
                return;
            };
            connection.write_all(answer.as_bytes()).unwrap();
            if answers.len() == 0 {
                return;
            }
        }
    });
    let catalog = RemoteCatalog::connect(&options(&uri, &[]), files()).unwrap();
    let ident = TableIdent::from_strs(["a", "t"]).unwrap();
    let error = catalog
        .commit(&ident, Vec::new(), set("k", "v"))
        .unwrap_err();
    assert_eq!(error.kind, Kind::Unknown, "{error}");
    server.unwrap().join().unwrap();
}

#[test]
fn a_redirected_commit_is_no_success() {
    let (server, asked) = scripted(|line| match line {
        "GET /v1/config" => (200, "{}".to_owned()),
        _ => (302, String::new()),
    });
    let catalog = RemoteCatalog::connect(&options(&server.uri, &[]), files()).unwrap();
    let ident = TableIdent::from_strs(["a", "t"]).unwrap();
    let error = catalog
        .commit(&ident, Vec::new(), set("k", "v"))
        .unwrap_err();
    assert_eq!(error.kind, Kind::BadRequest, "{error}");
    let expected = ["GET /v1/config", "POST /v1/namespaces/a/tables/t"];
    assert_eq!(*asked.lock().unwrap(), expected);
}

#[test]
fn the_catalogs_configuration_shapes_the_paths() {
    let (server, asked) = scripted(|line| {
        match line {
        line if line.starts_with("GET /v1/config") => (
            200,
            r#"{"defaults":{"prefix":"default"},"overrides":{"prefix":"main/x","namespace-separator":"%2E"}}"#.to_owned(),
        ),
        _ => (404, r#"{"error":{"type":"NoSuchTableException","message":"none","code":404}}"#.to_owned()),
    }
    });
    let more = [
        ("warehouse", "s3://lake house/"),
        ("prefix", "mine"),
        ("token", "t0"),
        ("header.X-Team", "blue"),
    ];
    let catalog = RemoteCatalog::connect(&options(&server.uri, &more), files()).unwrap();
    let ident = TableIdent::from_strs(["a b", "c", "t/u"]).unwrap();
    assert_eq!(catalog.load(&ident).unwrap_err().kind, Kind::NoSuchTable);
    assert_eq!(
        *asked.lock().unwrap(),
        [
            "GET /v1/config?warehouse=s3%3A%2F%2Flake%20house%2F Bearer t0 blue",
            "GET /v1/main/x/namespaces/a%20b%2Ec/tables/t%2Fu Bearer t0 blue",
        ]
    );
}

#[test]
fn a_credential_becomes_tokens_and_an_expired_one_is_renewed() {
    let issued = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (server, asked) = scripted(move |line| {
        if line.starts_with("POST /v1/oauth/tokens") {
            let next = issued.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            return (
                200,
                format!(r#"{{"access_token":"t{next}","token_type":"bearer"}}"#),
            );
        }
        match line {
            "GET /v1/config Bearer t1" => (200, "{}".to_owned()),
            line if line.ends_with("Bearer t1") => (401, String::new()),
            _ => (
                404,
                r#"{"error":{"type":"NoSuchTableException"}}"#.to_owned(),
            ),
        }
    });
    let catalog =
        RemoteCatalog::connect(&options(&server.uri, &[("credential", "me:s&t")]), files())
            .unwrap();
    let ident = TableIdent::from_strs(["a", "t"]).unwrap();
    assert_eq!(catalog.load(&ident).unwrap_err().kind, Kind::NoSuchTable);
    let token = "grant_type=client_credentials&client_secret=s%26t&scope=catalog&client_id=me";
    assert_eq!(
        *asked.lock().unwrap(),
        [
            &format!("POST /v1/oauth/tokens {token}"),
            "GET /v1/config Bearer t1",
            "GET /v1/namespaces/a/tables/t Bearer t1",
            &format!("POST /v1/oauth/tokens {token}"),
            "GET /v1/namespaces/a/tables/t Bearer t2",
        ]
    );
}

#[test]
fn a_commit_counts_only_when_the_answer_shows_its_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = {
        let creation = iceberg::TableCreation::builder()
            .name("t".to_owned())
            .location(format!("file://{}", folder.path().display()))
            .schema(new_table().schema)
            .build();
        iceberg::spec::TableMetadataBuilder::from_table_creation(creation)
            .unwrap()
            .build()
            .unwrap()
            .metadata
    };
    let stale = json!({"metadata-location": "file:///m.json", "metadata": metadata}).to_string();
    let (server, _) = scripted(move |line| match line {
        "GET /v1/config" => (200, "{}".to_owned()),
        _ => (200, stale.clone()),
    });
    let catalog = RemoteCatalog::connect(&options(&server.uri, &[]), files()).unwrap();
    let snapshot = iceberg::spec::Snapshot::builder()
        .with_snapshot_id(7)
        .with_sequence_number(1)
        .with_timestamp_ms(1)
        .with_manifest_list("file:///l.avro".to_owned())
        .with_summary(iceberg::spec::Summary {
            operation: iceberg::spec::Operation::Append,
            additional_properties: HashMap::new(),
        })
        .build();
    let ident = TableIdent::from_strs(["a", "t"]).unwrap();
    let error = catalog
        .commit(
            &ident,
            Vec::new(),
            vec![TableUpdate::AddSnapshot { snapshot }],
        )
        .unwrap_err();
    assert_eq!(error.kind, Kind::Unknown);
    // What adds no snapshot is believed.
    catalog.commit(&ident, Vec::new(), set("k", "v")).unwrap();
}

#[test]
fn options_are_checked_by_name() {
    let parse = |properties: &[(&str, &str)]| {
        let properties = properties.iter();
        let map = properties
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        match RemoteOptions::parse(&map) {
            Ok(options) => format!("{:?}", options.auth),
            Err(error) => error.message,
        }
    };
    let uri = ("uri", "http://c");
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[uri], "None"),
        (&[uri, ("credential", "secret")], "Credential(…)"),
        (&[], "a REST catalog needs its address: uri = \"http://…\""),
        (
            &[("uri", "c:8181")],
            "uri is \"c:8181\", not an address that begins with http:// or https://",
        ),
        (
            &[uri, ("tokn", "x")],
            "a REST catalog has no property 'tokn'; did you mean 'token'?",
        ),
        (
            &[uri, ("rest.sigv4-enabled", "true")],
            "the property 'rest.sigv4-enabled' of a REST catalog is not supported; known are uri, warehouse, prefix, token, credential, scope, oauth2-server-uri and header.NAME",
        ),
        (
            &[uri, ("token", "a"), ("credential", "b")],
            "a REST catalog takes a token or a credential, not both",
        ),
        (
            &[uri, ("scope", "a")],
            "'scope' has no effect without a credential",
        ),
    ];
    for (properties, expected) in cases {
        assert_eq!(parse(properties), expected, "{properties:?}");
    }
}
