//! Frames that real clients sent, with what we read in them: `tests/wire/*.txt`.
//!
//! A file is: `#` comment lines (who sent it), the frame in hex without its length, and below a blank line the request
//! as decoded. `UPDATE_EXPECT=1` writes the decoded part anew. Every request must also encode back to the same bytes.

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use expect_test::expect_file;
use lw_protocol::frame::{self, RequestHead};
use lw_protocol::messages::*;
use lw_protocol::{Request, apis};

/// The frames, without the length in front.
pub(crate) fn captured() -> Vec<Bytes> {
    files().iter().map(|(_, text)| frame(sent(text))).collect()
}

fn files() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let paths = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// What stands above the decoded part.
fn sent(text: &str) -> &str {
    text.split_once("\n\n")
        .map_or(text.trim_end(), |(sent, _)| sent)
}

fn frame(sent: &str) -> Bytes {
    let hex: String = sent.lines().filter(|line| !line.starts_with('#')).collect();
    unhex(&hex)
}

#[test]
fn frames_of_real_clients_are_read_as_they_were_meant() {
    let files = files();
    for (path, text) in &files {
        let sent = sent(text);
        expect_file![path].assert_eq(&format!("{sent}\n\n{}\n", decoded(frame(sent))));
    }
    assert!(files.len() >= 8, "only {} files", files.len());
}

fn decoded(mut frame: Bytes) -> String {
    let head = RequestHead::take(&mut frame).unwrap();
    let api = apis::find(head.api_key).unwrap();
    assert!(api.serves(head.api_version), "{head:?}");
    let client = frame::take_client_id(&mut frame, api.key, head.api_version).unwrap();
    let body = match api.key {
        ApiKey::ApiVersions => show::<ApiVersionsRequest>(head, frame),
        ApiKey::Metadata => show::<MetadataRequest>(head, frame),
        ApiKey::Produce => show::<ProduceRequest>(head, frame),
        ApiKey::Fetch => show::<FetchRequest>(head, frame),
        ApiKey::ListOffsets => show::<ListOffsetsRequest>(head, frame),
        ApiKey::InitProducerId => show::<InitProducerIdRequest>(head, frame),
        ApiKey::CreateTopics => show::<CreateTopicsRequest>(head, frame),
        ApiKey::FindCoordinator => show::<FindCoordinatorRequest>(head, frame),
        ApiKey::JoinGroup => show::<JoinGroupRequest>(head, frame),
        ApiKey::SyncGroup => show::<SyncGroupRequest>(head, frame),
        ApiKey::Heartbeat => show::<HeartbeatRequest>(head, frame),
        ApiKey::LeaveGroup => show::<LeaveGroupRequest>(head, frame),
        ApiKey::OffsetCommit => show::<OffsetCommitRequest>(head, frame),
        ApiKey::OffsetFetch => show::<OffsetFetchRequest>(head, frame),
        other => panic!("add {other:?} to the list"),
    };
    format!(
        "{:?} v{}, client {client:?}\n{body}",
        api.key, head.api_version
    )
}

fn show<R: Request + std::fmt::Debug>(head: RequestHead, body: Bytes) -> String {
    let request: R = frame::decode(body.clone(), head.api_version).unwrap();
    let mut again = BytesMut::new();
    request.encode(&mut again, head.api_version).unwrap();
    assert_eq!(again.freeze(), body, "{request:?}");
    format!("{request:#?}")
}

fn unhex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect::<Vec<_>>()
        .into()
}
