//! What becomes of records: rows, dead letters with their bytes, and what is passed over and counted.

use super::*;
use arrow_array::cast::AsArray;
use lw_graph::MetadataKey;

#[test]
fn control_records_and_tombstones_are_passed_over_and_counted() {
    let world = World::new(&[("t", 1)]);
    let values = [Some(r#"{"a":1}"#), None, Some(r#"{"a":2}"#)];
    let data = batch(Compression::Lz4, &values).build().unwrap();
    world.append_bytes("t", 0, data.into_bytes());
    let mut marker = BatchBuilder::new(Compression::None)
        .transactional()
        .control();
    marker.push(1, Some(&[0, 0, 0, 1]), Some(&[0; 6]), &[]);
    world.append_bytes("t", 0, marker.build().unwrap().into_bytes());
    world.append("t", 0, &[r#"{"a":3}"#]);
    let mut source = world.source(&json(false), &[]);
    source.open(&[], None).unwrap();
    let polls = drain(&mut source, 1 << 20);
    assert_eq!(rows_of(&polls), "t/0@0=1 t/0@2=2 t/0@4=3");
    assert_eq!(progress_of(&polls), ["0: 0..5 c1 s1"]);
    // To the format raw a record without a value is a row.
    assert!(world.read(&raw(&["t"]), &[], None).contains("t/0@1=null"));
}

#[test]
fn a_bad_record_is_a_dead_letter_with_its_bytes_among_good_rows() {
    let world = World::new(&[("t", 2)]);
    world.append("t", 0, &[r#"{"a":1}"#, "garbage", r#"{"a":3}"#]);
    world.append("t", 1, &["more"]);
    let mut source = world.source(&json(false), &[]);
    source.open(&[], None).unwrap();
    let polls = drain(&mut source, 1 << 20);
    assert_eq!(rows_of(&polls), "t/0@0=1 t/0@2=3");
    let [first, second] = letters_of(&polls)[..] else {
        panic!("two letters");
    };
    assert_eq!(
        (first.partition, first.offset, first.timestamp),
        (0, 1, 1001)
    );
    assert_eq!((first.stage, first.code.as_str()), ("decode", "json.row"));
    assert_eq!(first.key.as_deref(), Some(&b"key"[..]));
    assert_eq!(first.value.as_deref(), Some(&b"garbage"[..]));
    assert_eq!((second.partition, second.offset), (1, 0));
    assert_eq!(progress_of(&polls), ["0: 0..3 c0 s0", "1: 0..1 c0 s0"]);
}

#[test]
fn the_bytes_of_a_record_that_an_operator_failed_on_are_found_again() {
    let world = World::new(&[("t", 3), ("u", 1)]);
    world.append("t", 0, &["first in the log"]);
    world.append("u", 0, &["of another topic"]);
    world.append("t", 2, &["a", "b", "c"]);
    let mut source = world.source(&raw(&["t", "u"]), &[]);
    source.open(&[], None).unwrap();
    let splits = source.splits();
    for (topic, partition, offset, value) in [
        ("t", 2, 1, "b"),
        ("t", 0, 0, "first in the log"),
        ("u", 0, 0, "of another topic"),
    ] {
        let split = splits
            .iter()
            .position(|split| &*split.topic == topic && split.partition == partition);
        let split = u32::try_from(split.unwrap()).unwrap();
        let letter = source
            .records(&[Origin { split, offset }])
            .unwrap()
            .remove(0);
        assert_eq!(
            (&*letter.topic, letter.partition, letter.offset),
            (topic, partition, offset)
        );
        assert_eq!(letter.value.as_deref(), Some(value.as_bytes()));
        assert_eq!(letter.timestamp, 1000 + offset);
    }
}

/// A batch of one record under a header that claims `count`, compressed by nothing that inflates.
fn damaged_batch(count: i32) -> Bytes {
    let whole = batch(Compression::Zstd, &[Some("x")]).build().unwrap();
    let mut bytes = whole.into_bytes().to_vec();
    let payload = bytes.len() - 10;
    bytes[payload..].fill(0xee);
    bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

#[test]
fn a_damaged_batch_becomes_dead_letters_a_bounded_number_at_a_time() {
    let world = World::new(&[("t", 2)]);
    world.append("t", 0, &["before"]);
    world.append_bytes("t", 0, damaged_batch(25_000));
    world.append("t", 1, &["beside"]);
    world.append("t", 0, &["after"]);
    let mut source = world.source(&raw(&["t"]), &[]);
    source.open(&[], None).unwrap();
    let polls = drain(&mut source, 1 << 20);
    assert_eq!(rows_of(&polls), "t/0@0=before t/1@0=beside t/0@25001=after");
    assert!(
        polls
            .iter()
            .all(|polled| polled.dead_letters.len() <= 10_000)
    );
    let letters = letters_of(&polls);
    let offsets: Vec<i64> = letters.iter().map(|letter| letter.offset).collect();
    assert_eq!(offsets, (1..=25_000).collect::<Vec<_>>());
    assert!(letters.iter().all(|letter| letter.code == "batch.damaged"));
}

#[test]
fn what_the_script_ignores_is_counted() {
    let world = World::new(&[("t", 1)]);
    world.append("t", 0, &[r#"{"a":"x"}"#, "garbage", r#"{"a":1}"#]);
    let (polls, altered) = world.read_counting(&json(true), None);
    assert_eq!(rows_of(&polls), "t/0@0=null t/0@2=1");
    assert_eq!(progress_of(&polls), ["0: 0..3 c0 s1"]);
    assert_eq!(altered, (2, 0));
}

/// A registry of one schema, whose id is 7.
struct OneSchema(&'static str);

impl SchemaLookup for OneSchema {
    fn schema_by_id(&self, id: u32) -> Option<Arc<str>> {
        (id == 7).then(|| self.0.into())
    }

    fn subject_latest(&self, _: &str) -> Option<(u32, i32, Arc<str>)> {
        None
    }

    fn has_subject(&self, _: &str) -> bool {
        false
    }
}

#[test]
fn decimals_that_lose_a_digit_are_counted() {
    let writer = r#"{"type":"record","name":"E","fields":[{"name":"a","type":
        {"type":"bytes","logicalType":"decimal","precision":9,"scale":3}}]}"#;
    let two_digits = TypeKind::Decimal {
        precision: 9,
        scale: 2,
    };
    let spec = KafkaSource {
        format: FormatSpec::AvroConfluent {
            url: None,
            subject: None,
        },
        value_schema: Schema::new(vec![Field::new("a", two_digits.not_null())]),
        ..raw(&["t"])
    };
    let world = World::new(&[("t", 1)]);
    let mut builder = BatchBuilder::new(Compression::None);
    for unscaled in [1230_i16, 1234, -5] {
        let [high, low] = unscaled.to_be_bytes();
        // The frame's zero, the schema's id, two bytes: Avro writes their number as twice itself.
        let value = [0, 0, 0, 0, 7, 4, high, low];
        builder.push(0, None, Some(&value), &[]);
    }
    world.append_bytes("t", 0, builder.build().unwrap().into_bytes());
    let (polls, altered) = world.read_counting(&spec, Some(Arc::new(OneSchema(writer))));
    assert_eq!(rows_of(&polls), "t/0@0=1.23 t/0@1=1.23 t/0@2=-0.01");
    assert_eq!(altered, (0, 2));
}

#[test]
fn metadata_columns_say_where_a_record_came_from() {
    let world = World::new(&[("t", 2)]);
    let mut builder = BatchBuilder::new(Compression::None);
    let headers: [(&str, Option<&[u8]>); 3] = [("k", Some(b"1")), ("n", None), ("k", Some(b"2"))];
    builder.push(1_767_225_600_123, None, Some(b"v"), &headers);
    world.append_bytes("t", 1, builder.build().unwrap().into_bytes());
    let keys = [
        MetadataKey::Topic,
        MetadataKey::Partition,
        MetadataKey::Offset,
        MetadataKey::Timestamp,
        MetadataKey::TimestampType,
        MetadataKey::Headers,
    ];
    let spec = KafkaSource {
        columns: keys.map(SourceColumn::Metadata).to_vec(),
        ..raw(&["t"])
    };
    let mut source = world.source(&spec, &[]);
    source.open(&[], None).unwrap();
    let polled = source.poll(1 << 20, NOW).unwrap();
    let columns = &polled.batches[0].columns;
    let shown: Vec<String> = columns.columns()[..5]
        .iter()
        .map(|column| {
            match column.as_primitive_opt::<arrow_array::types::TimestampMicrosecondType>() {
                Some(micros) => micros.value(0).to_string(),
                None => {
                    let formatter = ArrayFormatter::try_new(column, &FormatOptions::default());
                    formatter.unwrap().value(0).to_string()
                }
            }
        })
        .collect();
    assert_eq!(shown, ["t", "1", "0", "1767225600123000", "CreateTime"]);
    let headers = columns.column(5).as_map().value(0);
    let (keys, values) = (
        headers.column(0).as_string::<i32>(),
        headers.column(1).as_binary::<i32>(),
    );
    let headers: Vec<_> = keys
        .iter()
        .zip(values)
        .map(|(k, v)| (k.unwrap(), v))
        .collect();
    // Of a key that stands twice the last value counts; a header without a value is NULL.
    assert_eq!(headers, [("k", Some(&b"2"[..])), ("n", None)]);
}

#[test]
fn a_format_that_cannot_carry_the_columns_is_refused_with_its_reason() {
    let world = World::new(&[("t", 1)]);
    let mut spec = raw(&["t"]);
    spec.value_schema = Schema::new(vec![Field::new("v", TypeKind::Int.nullable())]);
    let log = Log {
        storage: world.storage.clone(),
        committed: BTreeMap::new(),
    };
    let error = EmbeddedKafka::new(&spec, "group", Arc::new(log), None, Arc::default())
        .err()
        .unwrap();
    assert_eq!(error.kind, ErrorKind::Fix);
    assert_eq!(
        error.message,
        "column 'v' of type INT cannot be read from raw"
    );
    assert_eq!(error.detail, "Only BYTES and STRING are supported.");
    assert_eq!(error.hint, "declare `v` BYTES or STRING");
}

#[test]
fn a_letter_whose_record_is_gone_has_no_bytes() {
    let world = World::new(&[("t", 1)]);
    world.append("t", 0, &["a"]);
    world.append("t", 0, &["b"]);
    let mut source = world.source(&raw(&["t"]), &[]);
    source.open(&[], None).unwrap();
    world.commit(Op::DeleteRecords {
        topic: world.id("t"),
        partition: 0,
        before: 1,
    });
    let origins = [0, 1].map(|offset| Origin { split: 0, offset });
    let letters = source.records(&origins).unwrap();
    assert_eq!(letters[0].value, None);
    assert_eq!(letters[1].value.as_deref(), Some(&b"b"[..]));
}
