//! Properties of every persisted format: what is written reads back the same, and no bytes whatsoever make a reader panic.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lw_protocol::{BatchBuilder, Compression};
use lw_sim::{SimClock, SimDisk};
use lw_stdx::disk::{Disk, read_all};
use proptest::prelude::*;
use uuid::Uuid;

use crate::checkpoint;
use crate::codec::Reader;
use crate::frame::{FILE_HEADER, FileHeader, Group, Place};
use crate::index::{Entry, Head};
use crate::numbers::{FileNumber, Lsn, Offset, Order};
use crate::ops::Table;
use crate::record::{LogId, Record, decode};
use crate::scan::{Frame, Trust, scan};
use crate::state::State;
use crate::wall::Anchor;

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn log_id() -> impl Strategy<Value = LogId> {
    (any::<u128>(), any::<i32>()).prop_map(|(topic, partition)| LogId {
        topic: Uuid::from_u128(topic),
        partition,
    })
}

fn config() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(".{0,6}", ".{0,6}", 0..4)
}

fn record() -> impl Strategy<Value = Record<Bytes>> {
    let id = any::<u128>().prop_map(Uuid::from_u128);
    let table = prop::sample::select(Table::ALL.to_vec());
    prop_oneof![
        (table, bytes(), prop::option::of(bytes())).prop_map(|(table, key, value)| Record::Put {
            table,
            key,
            value
        }),
        (id.clone(), ".{1,9}", 1..50, any::<bool>(), config()).prop_map(
            |(id, name, partitions, internal, config)| {
                Record::CreateTopic {
                    id,
                    name,
                    partitions,
                    internal,
                    config,
                }
            }
        ),
        id.clone().prop_map(|id| Record::DeleteTopic { id }),
        (id.clone(), any::<i32>()).prop_map(|(id, total)| Record::CreatePartitions { id, total }),
        (id, config()).prop_map(|(id, config)| Record::AlterConfig { id, config }),
        (log_id(), any::<i64>()).prop_map(|(log, offset)| {
            let offset = Offset(offset);
            Record::LogStart { log, offset }
        }),
        any::<(i64, i64, i64)>().prop_map(|(at, wall, not_before)| {
            Record::Anchor(Anchor {
                at,
                wall,
                not_before,
            })
        }),
        (log_id(), any::<i64>(), 1..5i64).prop_map(|(log, appended_at, count)| {
            let mut builder = BatchBuilder::new(Compression::None);
            (0..count).for_each(|n| builder.push(n, None, Some(b"v"), &[]));
            let batches = builder.build().expect("a batch").into_bytes();
            Record::Append {
                log,
                appended_at,
                batches,
            }
        }),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    any::<(i64, i64, i64, u64, u32, u32, i64)>().prop_map(
        |(base, last, max_timestamp, order, position, len, appended_at)| Entry {
            base: Offset(base),
            last: Offset(last),
            max_timestamp,
            order: Order(order),
            position,
            len: len % (1 << 20),
            appended_at,
        },
    )
}

fn borrowed(record: &Record<Bytes>) -> Record<Vec<u8>> {
    own(record.clone(), |bytes| bytes.to_vec())
}

fn own<A, B>(record: Record<A>, to: impl Fn(A) -> B) -> Record<B> {
    match record {
        Record::Append {
            log,
            appended_at,
            batches,
        } => Record::Append {
            log,
            appended_at,
            batches: to(batches),
        },
        Record::Put { table, key, value } => Record::Put {
            table,
            key: to(key),
            value: value.map(to),
        },
        Record::CreateTopic {
            id,
            name,
            partitions,
            internal,
            config,
        } => Record::CreateTopic {
            id,
            name,
            partitions,
            internal,
            config,
        },
        Record::DeleteTopic { id } => Record::DeleteTopic { id },
        Record::CreatePartitions { id, total } => Record::CreatePartitions { id, total },
        Record::AlterConfig { id, config } => Record::AlterConfig { id, config },
        Record::LogStart { log, offset } => Record::LogStart { log, offset },
        Record::Anchor(anchor) => Record::Anchor(anchor),
    }
}

proptest! {
    #[test]
    fn records_read_back(records in prop::collection::vec(record(), 1..8)) {
        let mut out = BytesMut::new();
        for record in &records {
            let before = out.len();
            record.encode(Offset::FIRST, &mut out);
            prop_assert!(out.len() - before <= record.size(), "size() is an upper bound");
        }
        let mut reader = Reader::new(&out);
        for record in &records {
            let read = own(decode(&mut reader).unwrap(), <[u8]>::to_vec);
            // Appending patches offset and epoch, which a fresh batch has as 0 and -1.
            if let (Record::Append { batches: a, .. }, Record::Append { batches: b, .. }) = (&read, &borrowed(record)) {
                prop_assert_eq!(&a[16..], &b[16..]);
            } else {
                prop_assert_eq!(read, borrowed(record));
            }
        }
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn frames_read_back_until_the_first_damaged_byte(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 1..12),
        flip in any::<prop::sample::Index>(),
    ) {
        let header = FileHeader { id: FileNumber(3), first_lsn: Lsn(41), link: 6, previous_end: 77 };
        let (head, start) = header.encode();
        prop_assert_eq!(FileHeader::decode(&head).unwrap(), (header, start));
        let mut group = Group::at(start, BytesMut::new());
        let places: Vec<Place> =
            payloads.iter().map(|payload| group.frame(|out| out.extend_from_slice(payload))).collect();
        let out = group.into_bytes();
        let place = places[places.len() - 1];
        let read = |bytes: &[u8]| {
            let disk = SimDisk::new(0, Arc::new(SimClock::new()));
            let file = disk.create("f".as_ref()).unwrap();
            file.write_at(&head, 0).unwrap();
            file.write_at(bytes, FILE_HEADER).unwrap();
            file.write_at(&[0; 64], FILE_HEADER + bytes.len() as u64).unwrap();
            let mut seen = Vec::new();
            let end = scan::<std::io::Error>(&*file, start, Trust::Tail, |frame: Frame<'_>| {
                seen.push(frame.payload.to_vec());
                Ok(())
            });
            (seen, end.unwrap())
        };
        prop_assert_eq!(read(&out), (payloads.clone(), place));
        let damaged = flip.index(out.len());
        let mut bytes = out.to_vec();
        bytes[damaged] ^= 0x40;
        let sound = places.iter().filter(|end| end.position <= FILE_HEADER + damaged as u64).count();
        prop_assert_eq!(read(&bytes).0, payloads[..sound].to_vec());
    }

    #[test]
    fn sidecars_read_back(
        logs in prop::collection::btree_map(log_id(), prop::collection::vec(entry(), 1..6), 0..5),
    ) {
        let shared: Vec<_> = logs.iter().map(|(id, e)| (*id, Arc::new(e.clone()))).collect();
        let head = Head::of(FileNumber(9), FileNumber(11), 1234, &shared);
        let disk = SimDisk::new(1, Arc::new(SimClock::new()));
        let file = disk.create(Path::new("x.idx")).unwrap();
        head.write(&shared, &*file).unwrap();
        let bytes = read_all(&disk, Path::new("x.idx")).unwrap();
        prop_assert_eq!(&Head::decode(&bytes).unwrap(), &head);
        for (id, segment) in &head.segments {
            let at = segment.entries_at as usize;
            let entries = &bytes[at..at + segment.entries_len()];
            prop_assert_eq!(&segment.decode_entries(entries).unwrap(), &logs[id]);
        }
    }

    #[test]
    fn a_checkpoint_reads_back_as_the_state(records in prop::collection::vec(record(), 0..30)) {
        let mut state = State::default();
        for record in &records {
            // Offsets and partition counts of the wild would make logs by the million.
            let tame = match record {
                Record::LogStart { .. } | Record::Append { .. } | Record::CreatePartitions { .. } => continue,
                // `ahead` accepts an id and a name once; a history with two topics of one id is never written.
                Record::CreateTopic { id, name, .. }
                    if state.topics.contains_key(id) || state.names.contains_key(name.as_str()) => continue,
                other => other,
            };
            let mut out = BytesMut::new();
            tame.encode(Offset::FIRST, &mut out);
            state.apply(state.lsn.next(), 0, &out).unwrap();
        }
        let place = Place { file: FileNumber(4), life: 8, position: 99, link: 5, lsn: state.lsn };
        let (read, at) = checkpoint::decode(&checkpoint::encode(&state, place, 0)).unwrap();
        prop_assert_eq!(at, place);
        prop_assert_eq!(read.topics, state.topics);
        prop_assert_eq!(read.names, state.names);
        prop_assert_eq!(read.logs, state.logs);
        prop_assert_eq!(read.tables, state.tables);
        prop_assert_eq!(read.anchors, state.anchors);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&mut Reader::new(&bytes));
        let _ = Head::decode(&bytes);
        let _ = checkpoint::decode(&bytes);
        let _ = checkpoint::decode(&crate::codec::seal(bytes.clone()));
        let _ = FileHeader::decode(&bytes);
        let _ = State::default().apply(Lsn(1), 0, &bytes);
    }
}
