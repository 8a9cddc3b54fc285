//! Frames: what real ones give, and what hostile ones must not.

use super::*;
use crate::messages::{FetchRequest, MetadataRequest, ProduceRequest};
use proptest::prelude::*;

fn frame_of<R: Request>(version: i16, request: &R) -> Bytes {
    encode_request(7, version, "me", request)
        .unwrap()
        .slice(4..)
}

#[test]
fn a_request_round_trips_in_fixed_and_flexible_versions() {
    for version in [4, 12, 18] {
        let request = FetchRequest::default()
            .with_max_wait_ms(500)
            .with_max_bytes(i32::MAX);
        let mut frame = frame_of(version, &request);
        let head = RequestHead::take(&mut frame).unwrap();
        assert_eq!(
            head,
            RequestHead {
                api_key: 1,
                api_version: version,
                correlation_id: 7
            }
        );
        let client = take_client_id(&mut frame, ApiKey::Fetch, version).unwrap();
        assert_eq!(client.as_deref(), Some("me"));
        let decoded: FetchRequest = decode(frame, version).unwrap();
        assert_eq!((decoded.max_wait_ms, decoded.max_bytes), (500, i32::MAX));
    }
}

#[test]
fn a_count_beyond_the_bytes_is_refused_before_it_is_reserved() {
    // Metadata 1: an array of 2^31-1 topic names in four bytes; decoding it plainly asks for 200 GB.
    let fixed = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    assert!(decode::<MetadataRequest>(fixed, 1).is_err());
    // Metadata 12: the same as a compact array.
    let flexible = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x07, 0, 0, 0, 0]);
    assert!(decode::<MetadataRequest>(flexible, 12).is_err());
    // Nested: one topic with 2^31-1 partitions.
    let nested = [
        0xff, 0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0x7f, 0xff, 0xff, 0xff,
    ];
    assert!(decode::<ProduceRequest>(Bytes::copy_from_slice(&nested), 3).is_err());
}

/// What the decoder reads, the walk before it reads too; what only declares partitions ends it.
#[test]
fn a_produce_request_is_walked_before_it_is_decoded() {
    use crate::messages::produce_request::{PartitionProduceData, TopicProduceData};
    let records = Bytes::from_static(&[0xff; 30]);
    let partition = PartitionProduceData::default().with_records(Some(records));
    let topic = |partitions| {
        TopicProduceData::default().with_partition_data(vec![partition.clone(); partitions])
    };
    let request = |topics| ProduceRequest::default().with_topic_data(topics);
    for version in 3..=13 {
        let head = if version >= 9 { 13 } else { 12 };
        let good = frame_of(version, &request(vec![topic(2), topic(0), topic(130)])).slice(head..);
        assert_eq!(check_produce_counts(&good, version), Ok(()), "v{version}");
        for cut in 0..good.len() {
            check_produce_counts(&good[..cut], version).unwrap_err();
        }
    }
    // No transactional id, acks, timeout; then topics of three bytes each: no name, no partitions, no tags.
    let mut many = BytesMut::from(&[0, 0, 1, 0, 0, 0, 0][..]);
    put_unsigned(&mut many, (1 << 20) + 2);
    (0..=1 << 20).for_each(|_| many.put_slice(&[1, 1, 0]));
    many.put_u8(0);
    assert_eq!(
        check_produce_counts(&many, 9).unwrap_err().to_string(),
        "the body does not parse: it names more than 1048576 topics and partitions"
    );
}

#[test]
fn bytes_behind_the_body_are_refused() {
    let mut frame = BytesMut::from(
        frame_of(1, &MetadataRequest::default())
            .slice(12..)
            .as_ref(),
    );
    frame.put_u8(1);
    assert_eq!(
        decode::<MetadataRequest>(frame.freeze(), 1).unwrap_err(),
        FrameError::Trailing(1)
    );
}

#[test]
fn a_short_header_is_refused() {
    assert_eq!(
        RequestHead::take(&mut Bytes::from_static(&[0; 7])),
        Err(FrameError::ShortHeader)
    );
    let mut frame = Bytes::from_static(&[0, 9, b'x']);
    assert_eq!(
        take_client_id(&mut frame, ApiKey::Fetch, 4),
        Err(FrameError::ShortHeader)
    );
    let mut tags = Bytes::from_static(&[0xff, 0xff, 1, 5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(
        take_client_id(&mut tags, ApiKey::Fetch, 12),
        Err(FrameError::ShortHeader)
    );
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), version in 3i16..=13) {
        let bytes = Bytes::from(bytes);
        let _ = decode::<ProduceRequest>(bytes.clone(), version);
        let _ = decode::<MetadataRequest>(bytes.clone(), version);
        let _ = decode::<FetchRequest>(bytes, version.max(4));
    }
}

#[test]
fn a_response_header_is_read_as_it_was_put() {
    for header_version in [0, 1] {
        let mut frame = BytesMut::new();
        put_response_header(&mut frame, 7, header_version);
        frame.put_u8(9);
        let mut frame = frame.freeze();
        let mut cut = frame.slice(..frame.len() - 2);
        assert_eq!(
            take_response_header(&mut cut, header_version),
            Err(FrameError::ShortHeader)
        );
        assert_eq!(take_response_header(&mut frame, header_version), Ok(7));
        assert_eq!(frame.as_ref(), [9], "version {header_version}");
    }
}
