//! Batches: round trips through every codec, patching, and everything that must be refused.

use super::*;
use proptest::prelude::*;

fn sample(compression: Compression) -> Batch {
    let mut builder = BatchBuilder::new(compression)
        .base_offset(40)
        .producer(7, 1, 5);
    builder.push(
        1000,
        Some(b"k"),
        Some(b"v"),
        &[("a", Some(b"1")), ("a", None), ("b", Some(b""))],
    );
    builder.push(900, None, None, &[]);
    builder.push(1200, Some(b""), Some(&[9; 5000]), &[]);
    builder.build().unwrap()
}

/// The records as one line each: what a reader sees.
fn shown(batch: &Batch) -> Vec<String> {
    let records = batch.records().unwrap();
    let show = |bytes: Option<&[u8]>| bytes.map_or("null".into(), |b| format!("{} bytes", b.len()));
    records
        .iter()
        .map(|record| {
            let record = record.unwrap();
            let headers: Vec<_> = record
                .headers()
                .map(|(k, v)| (String::from_utf8_lossy(k).into_owned(), v))
                .collect();
            format!(
                "{}@{} {} -> {} {headers:?}",
                record.offset,
                record.timestamp,
                show(record.key),
                show(record.value)
            )
        })
        .collect()
}

#[test]
fn all_fields_and_repeated_headers_survive() {
    let batch = sample(Compression::None);
    let expected = [
        "40@1000 1 bytes -> 1 bytes [(\"a\", Some([49])), (\"a\", None), (\"b\", Some([]))]",
        "41@900 null -> null []",
        "42@1200 0 bytes -> 5000 bytes []",
    ];
    assert_eq!(shown(&batch), expected);
    let header = batch.header();
    assert_eq!(
        (
            header.last_offset(),
            header.last_sequence(),
            header.max_timestamp
        ),
        (42, 7, 1200)
    );
    batch.verify().unwrap();
}

#[test]
fn a_walk_from_a_record_on_gives_the_rest() {
    for codec in [Compression::None, Compression::Zstd] {
        let records = sample(codec).records().unwrap();
        for first in 0..5 {
            let rest: Vec<_> = records.iter_from(first).map(Result::unwrap).collect();
            let expected: Vec<_> = records.iter().skip(first).map(Result::unwrap).collect();
            assert_eq!(rest, expected, "from record {first} on");
        }
    }
    // The length of the second record goes beyond the batch:
    let whole = sample(Compression::None);
    let mut bytes = whole.bytes().to_vec();
    let second = HEADER_LEN + 1 + usize::from(bytes[HEADER_LEN] >> 1);
    // 2 + 64 × 99 of them.
    bytes[second..second + 2].copy_from_slice(&[0x84, 0x63]);
    let broken = Batch::split_from(&mut Bytes::from(bytes)).unwrap();
    let records = broken.records().unwrap();
    let rest: Vec<_> = records.iter_from(2).collect();
    assert!(matches!(rest[..], [Err(_)]), "{rest:?}");
}

#[test]
fn recompression_keeps_everything_but_the_codec() {
    for from in Compression::ALL {
        for to in Compression::ALL {
            let before = sample(from);
            let after = before.recompress(to, MAX_INFLATED).unwrap();
            after.verify().unwrap();
            assert_eq!(after.header().compression(), Ok(to));
            assert_eq!(shown(&after), shown(&before));
            assert_eq!(
                (after.header().producer_id, after.header().base_sequence),
                (7, 5)
            );
        }
    }
}

#[test]
fn patching_the_place_keeps_the_crc() {
    let batch = sample(Compression::Zstd);
    let mut bytes = batch.bytes().to_vec();
    patch(&mut bytes, 1_000_000, 3);
    let moved = Batch::split_from(&mut Bytes::from(bytes)).unwrap();
    moved.verify().unwrap();
    assert_eq!(
        (moved.header().base_offset, moved.header().leader_epoch),
        (1_000_000, 3)
    );
}

#[test]
fn log_append_time_rules_every_record() {
    let batch = sample(Compression::Gzip).with_log_append_time(77);
    batch.verify().unwrap();
    assert!(
        batch
            .records()
            .unwrap()
            .iter()
            .all(|record| record.unwrap().timestamp == 77)
    );
}

/// What older sarama sends: a header without a maximum timestamp.
#[test]
fn a_missing_max_timestamp_is_found_in_the_records() {
    for codec in Compression::ALL {
        let batch = sample(codec);
        let kept = batch.clone().with_true_timestamps(MAX_INFLATED).unwrap();
        assert_eq!(kept, batch, "a true maximum costs nothing");
        let mut bytes = BytesMut::from(batch.bytes().as_ref());
        bytes[35..43].copy_from_slice(&(-1_i64).to_be_bytes());
        let mended = seal(bytes).with_true_timestamps(MAX_INFLATED).unwrap();
        assert_eq!(mended, batch, "{codec:?}");
        let marked = batch.with_log_append_time(77);
        assert_eq!(
            marked.with_true_timestamps(MAX_INFLATED).unwrap(),
            batch,
            "{codec:?}"
        );
    }
}

#[test]
fn sequences_wrap_to_zero() {
    let mut builder = BatchBuilder::default().producer(1, 0, i32::MAX);
    builder.push(0, None, None, &[]);
    builder.push(0, None, None, &[]);
    assert_eq!(builder.build().unwrap().header().last_sequence(), 0);
}

#[test]
fn old_formats_are_named() {
    let mut bytes = vec![0; 40];
    bytes[16] = 1;
    assert_eq!(
        BatchHeader::parse(&bytes),
        Err(BatchError::OldFormat { magic: 1 })
    );
}

#[test]
fn a_flipped_bit_is_found() {
    let good = sample(Compression::Lz4).into_bytes();
    for at in CRC_START..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        let batch = Batch::split_from(&mut Bytes::from(bad)).unwrap();
        assert!(
            matches!(batch.verify_crc(), Err(BatchError::Crc { .. })),
            "byte {at}"
        );
    }
}

#[test]
fn a_count_that_lies_ends_in_an_error() {
    let mut bytes = BytesMut::from(sample(Compression::None).bytes().as_ref());
    bytes[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    let batch = seal(bytes);
    assert_eq!(
        batch.verify(),
        Err(BatchError::Inconsistent(
            "last offset delta does not match the record count"
        ))
    );
    let records = batch.records().unwrap();
    assert_eq!(records.iter().filter(Result::is_ok).count(), 3);
    assert!(records.iter().last().unwrap().is_err());
}

#[test]
fn batches_are_walked_until_the_first_broken_one() {
    let mut set = sample(Compression::None).bytes().to_vec();
    set.extend_from_slice(sample(Compression::Gzip).bytes());
    set.extend_from_slice(&sample(Compression::None).bytes()[..70]);
    let walked: Vec<_> = batches(Bytes::from(set))
        .map(|batch| batch.is_ok())
        .collect();
    assert_eq!(walked, [true, true, false]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        if bytes.len() > 16 {
            bytes[16] = 2;
        }
        for batch in batches(Bytes::from(bytes)).flatten() {
            let _ = batch.verify();
            if let Ok(records) = batch.records() {
                records.iter().for_each(drop);
            }
        }
    }
}

#[test]
fn records_that_lie_open_are_counted() {
    let claim = |count: i32| {
        let mut bytes = BytesMut::from(sample(Compression::None).bytes().as_ref());
        bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        seal(bytes).verify().map_err(|error| error.to_string())
    };
    assert_eq!(claim(3), Ok(()));
    let more = "the batch holds more than the records that its header counts";
    assert_eq!(claim(2), Err(more.to_owned()));
    for absent in [4, i32::MAX] {
        let short = "a record ends before its fields do";
        assert_eq!(claim(absent), Err(short.to_owned()));
    }
}
