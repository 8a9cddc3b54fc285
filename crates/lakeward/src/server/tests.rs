//! What makes `/healthz` red, and which sockets are refused.

use super::*;
use crate::args::Args;
use clap::Parser;
use lw_stdx::clock::SystemClock;

fn health(folder: &Path, fault: Option<lw_registry::Fault>) -> Health {
    let storage = open_storage(folder, Arc::new(SystemClock::new())).unwrap();
    health_over(storage, fault)
}

fn health_over(storage: Storage, fault: Option<lw_registry::Fault>) -> Health {
    let clock = Arc::new(SystemClock::new());
    let options = lw_registry::Options {
        fault,
        ..lw_registry::Options::default()
    };
    let registry = Registry::open_with(storage.clone(), clock, options).unwrap();
    let broker = Broker::new(storage.clone(), BrokerConfig::default());
    Health {
        storage,
        broker,
        registry: Arc::new(registry),
        fallen: Fallen::default(),
        audits: AuditTrouble::default(),
    }
}

fn register(registry: &Registry, subject: &str) -> u16 {
    let outcome = registry.handle(&lw_registry::Request {
        method: "POST",
        path: &format!("/subjects/{subject}/versions"),
        query: "",
        body: br#"{"schema":"\"int\""}"#,
    });
    outcome.status
}

#[test]
fn a_server_that_is_well_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let health = health(folder.path(), None);
    assert_eq!(register(&health.registry, "s"), 200);
    assert_eq!(health.trouble(), None);
}

#[test]
fn a_panic_of_the_registry_is_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let fault = lw_registry::Fault::PanicInApply("bad".to_owned());
    let health = health(folder.path(), Some(fault));
    assert_eq!(register(&health.registry, "bad"), 500);
    let trouble = health.trouble().unwrap();
    assert!(
        trouble.starts_with("the schema registry serves nothing any more: it panicked"),
        "{trouble}"
    );
}

#[test]
fn a_panic_on_the_logs_thread_is_trouble() {
    let folder = tempfile::tempdir().unwrap();
    // What the parts write when they first meet a folder is written; the next write panics.
    let before = health(folder.path(), None);
    before.storage.clone().close();
    drop(before);
    let config = lw_storage::Config {
        fault: Some(lw_storage::Fault::PanicInWal),
        ..lw_storage::Config::new(folder.path())
    };
    let clock = Arc::new(SystemClock::new());
    let storage = Storage::open(Arc::new(RealDisk), clock, config).unwrap();
    let health = health_over(storage, None);
    let put = || lw_storage::Op::Put {
        table: lw_storage::Table::Cluster,
        key: "k".into(),
        value: Some("v".into()),
        expect: lw_storage::Expect::Any,
    };
    assert!(health.storage.commit_blocking(vec![put()]).is_err());
    let trouble = health.trouble().unwrap();
    assert!(
        trouble.starts_with("nothing is written any more:") && trouble.contains("panicked"),
        "{trouble}"
    );
}

#[test]
fn a_socket_whose_server_panics_is_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let health = health(folder.path(), None);
    let runtime = io_runtime().unwrap();
    let well: Service = Box::pin(async {});
    runtime.block_on(watched("catalog", well, health.fallen.clone()));
    assert_eq!(health.trouble(), None);
    let ill: Service = Box::pin(async { panic!("planted") });
    runtime.block_on(watched("kafka", ill, health.fallen.clone()));
    assert_eq!(
        health.trouble().as_deref(),
        Some("the kafka socket is not served any more")
    );
}

#[test]
fn a_panic_of_the_audit_ahead_is_trouble_until_a_look_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let health = health(folder.path(), None);
    // Each look waits until it is told how to end.
    let (tell, told) = std::sync::mpsc::channel::<bool>();
    let (begin, begun) = std::sync::mpsc::channel();
    let look = move |_: &dyn Fn() -> bool| {
        let _ = begin.send(());
        match told.recv() {
            Ok(true) => panic!("planted in a {}", "look"),
            _ => false,
        }
    };
    let audits = AuditsAhead::start(look, Duration::ZERO, health.audits.clone()).unwrap();
    // Gone before the thread is waited for, whatever fails here.
    let tell = tell;
    let next = || begun.recv().unwrap();
    next();
    assert_eq!(health.trouble(), None);
    for (panics, trouble) in [
        (
            true,
            Some("retention waits for an audit that panicked: planted in a look"),
        ),
        (
            true,
            Some("retention waits for an audit that panicked: planted in a look"),
        ),
        (false, None),
    ] {
        tell.send(panics).unwrap();
        next();
        assert_eq!(health.trouble().as_deref(), trouble);
    }
    drop(tell);
    drop(audits);
}

#[test]
fn who_serves_beyond_this_machine_asks_for_a_token_or_is_told_to() {
    let exposed = |words: &[&str], token: bool| {
        let words = ["lakeward", "up"].iter().chain(words);
        let crate::args::Command::Up(up) = Args::parse_from(words).command else {
            panic!("it is `up`");
        };
        check_exposure(&up, token).map_err(|error| format!("{error:#}"))
    };
    assert_eq!(exposed(&[], false), Ok(()));
    assert_eq!(exposed(&["--http", "[::1]:80"], false), Ok(()));
    for socket in ["registry", "catalog", "http", "kafka"] {
        let flag = format!("--{socket}");
        for address in ["0.0.0.0:80", "192.0.2.7:80", "[::]:80"] {
            let said = exposed(&[&flag, address], false).unwrap_err();
            let expected = format!("--{socket} {address} would serve everybody");
            assert!(said.contains(&expected), "{said}");
            let with_token = exposed(&[&flag, address], true);
            assert_eq!(with_token.is_err(), socket == "kafka", "{with_token:?}");
            let told = exposed(&[&flag, address, "--insecure-no-token"], false);
            assert_eq!(told, Ok(()));
        }
    }
}
