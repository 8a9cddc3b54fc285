//! Our own small client, which the command line uses, against our own broker.

use std::collections::BTreeMap;

use lw_client::{Client, ClientError};
use lw_protocol::{BatchBuilder, Compression, ErrorCode};

use crate::server::Server;

#[test]
fn the_client_does_what_the_command_line_needs() {
    let server = Server::start();
    let mut client = Client::connect(&server.address.to_string()).unwrap();
    let config = [("retention.ms".to_owned(), "5000".to_owned())];
    client.create_topic("t", 2, 1, &config).unwrap();
    assert_eq!(client.topics(None).unwrap()[0].partitions.len(), 2);
    let settings = client.topic_config("t").unwrap();
    let own: Vec<_> = settings.iter().filter(|entry| !entry.is_default).collect();
    assert_eq!((own.len(), own[0].value.as_deref()), (1, Some("5000")));

    let mut batch = BatchBuilder::new(Compression::Zstd);
    for index in 0..10 {
        let value = format!("value {index}");
        batch.push(server.now(), None, Some(value.as_bytes()), &[]);
    }
    assert_eq!(client.produce("t", 1, &batch.build().unwrap()).unwrap(), 0);
    assert_eq!(client.list_offsets("t", -1).unwrap(), [(0, 0), (1, 10)]);

    let offsets = BTreeMap::from([(0, 0), (1, 7)]);
    server.broker.publish_offsets("g", "t", &offsets).unwrap();
    assert_eq!(client.groups().unwrap(), ["g"]);
    let committed = client.committed_offsets("g").unwrap();
    assert_eq!(committed, [("t".into(), 0, 0), ("t".into(), 1, 7)]);
    assert_eq!(client.describe_group("g").unwrap().state, "Empty");
    client.delete_topic("t").unwrap();
    assert_eq!(client.topics(None).unwrap(), []);
}

#[test]
fn refusals_say_what_and_why() {
    let server = Server::start();
    let mut client = Client::connect(&server.address.to_string()).unwrap();
    let error = client.topics(Some(&["nowhere"])).unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Refused {
                code: ErrorCode::UnknownTopicOrPartition,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error.to_string().starts_with("topic 'nowhere': "),
        "{error}"
    );
    let compact = [("cleanup.policy".to_owned(), "compact".to_owned())];
    let error = client
        .create_topic("t", 1, 1, &compact)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("cleanup.policy: compact is not supported yet"),
        "{error}"
    );
    let error = Client::connect("127.0.0.1:1")
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("cannot connect to 127.0.0.1:1: "),
        "{error}"
    );
}
