//! Avro records written by the little encoder below, which knows only the wire, not our plans.
//!
//! The texts of derived schemas and the reasons for refusals were captured from Apache Flink 2.3.0.

use super::*;
use crate::DecodeError;
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use lw_graph::{FormatSpec, LogicalType, TypeKind};
use proptest::prelude::*;

/// A value on the wire.
#[derive(Clone, Debug)]
enum Wire {
    Long(i64),
    Bytes(Vec<u8>),
    Raw(Vec<u8>),
    /// A union's index and value.
    Branch(i64, Box<Wire>),
    Null,
    /// An array or map in one block.
    Block(Vec<Wire>),
    Many(Vec<Wire>),
}

fn write(wire: &Wire, out: &mut Vec<u8>) {
    match wire {
        Wire::Long(value) => {
            let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
            while rest >= 0x80 {
                out.push((rest & 0x7f) as u8 | 0x80);
                rest >>= 7;
            }
            out.push(rest as u8);
        }
        Wire::Bytes(bytes) => {
            write(&Wire::Long(bytes.len() as i64), out);
            out.extend(bytes);
        }
        Wire::Raw(bytes) => out.extend(bytes),
        Wire::Branch(index, value) => {
            write(&Wire::Long(*index), out);
            write(value, out);
        }
        Wire::Null => {}
        Wire::Block(items) => {
            if !items.is_empty() {
                write(&Wire::Long(items.len() as i64), out);
                items.iter().for_each(|item| write(item, out));
            }
            out.push(0);
        }
        Wire::Many(parts) => parts.iter().for_each(|part| write(part, out)),
    }
}

fn encoded(parts: &[Wire]) -> Vec<u8> {
    let mut out = Vec::new();
    parts.iter().for_each(|part| write(part, &mut out));
    out
}

fn text(text: &str) -> Wire {
    Wire::Bytes(text.as_bytes().to_vec())
}

/// A value of a nullable column.
fn some(wire: Wire) -> Wire {
    Wire::Branch(1, Box::new(wire))
}

fn none() -> Wire {
    Wire::Branch(0, Box::new(Wire::Null))
}

fn schema(columns: &[(&str, LogicalType)]) -> Schema {
    let field = |(name, ty): &(&str, LogicalType)| Field::new(*name, ty.clone());
    Schema::new(columns.iter().map(field).collect())
}

fn events() -> Schema {
    schema(&[
        ("sku", TypeKind::string().not_null()),
        ("qty", TypeKind::Int.nullable()),
        ("at", TypeKind::Timestamp(3).nullable()),
        (
            "price",
            TypeKind::Decimal {
                precision: 10,
                scale: 2,
            }
            .nullable(),
        ),
        ("big", TypeKind::BigInt.nullable()),
        ("ratio", TypeKind::Double.nullable()),
        ("ok", TypeKind::Boolean.nullable()),
        (
            "tags",
            TypeKind::Array(Box::new(TypeKind::string().nullable())).nullable(),
        ),
        (
            "attrs",
            TypeKind::Map(
                Box::new(TypeKind::string().not_null()),
                Box::new(TypeKind::BigInt.nullable()),
            )
            .nullable(),
        ),
        (
            "place",
            TypeKind::Row(vec![
                Field::new("x", TypeKind::Int.nullable()),
                Field::new("y", TypeKind::string().not_null()),
            ])
            .nullable(),
        ),
    ])
}

fn event() -> Vec<Wire> {
    vec![
        text("A-1"),
        some(Wire::Long(-3)),
        some(Wire::Long(1_767_225_600_123)),
        some(Wire::Bytes(vec![0xff, 0x85])),
        some(Wire::Long(i64::MIN)),
        some(Wire::Raw(1.5_f64.to_le_bytes().to_vec())),
        some(Wire::Raw(vec![1])),
        some(Wire::Block(vec![some(text("new")), none()])),
        some(Wire::Block(vec![Wire::Many(vec![
            text("k"),
            some(Wire::Long(7)),
        ])])),
        some(Wire::Many(vec![some(Wire::Long(4)), text("é")])),
    ]
}

fn bare_decoder(schema: &Schema, projection: &[usize]) -> Box<dyn Decoder> {
    let format = FormatSpec::Avro {
        legacy_timestamps: true,
    };
    crate::decoder(&format, schema, projection, None).expect("supported")
}

fn show(batch: &RecordBatch) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let cell = |column: &arrow_array::ArrayRef, row: usize| {
        ArrayFormatter::try_new(column, &options)
            .expect("known type")
            .value(row)
            .to_string()
    };
    let row = |row| {
        batch
            .columns()
            .iter()
            .map(|c| cell(c, row))
            .collect::<Vec<_>>()
            .join(", ")
    };
    (0..batch.num_rows())
        .map(row)
        .collect::<Vec<_>>()
        .join(" | ")
}

fn decode(schema: &Schema, projection: &[usize], record: &[u8]) -> Result<String, DecodeError> {
    let mut decoder = bare_decoder(schema, projection);
    decoder.push(Some(record))?;
    Ok(show(&decoder.finish()))
}

fn code(schema: &Schema, record: &[u8]) -> &'static str {
    let all: Vec<usize> = (0..schema.fields.len()).collect();
    decode(schema, &all, record).expect_err("a bad record").code
}

#[test]
fn every_type_is_read() {
    let all: Vec<usize> = (0..10).collect();
    assert_eq!(
        decode(&events(), &all, &encoded(&event())).unwrap(),
        "A-1, -3, 2026-01-01T00:00:00.123, -1.23, -9223372036854775808, 1.5, true, [new, NULL], {k: 7}, {x: 4, y: é}"
    );
}

#[test]
fn only_projected_columns_are_read_in_any_order() {
    assert_eq!(
        decode(&events(), &[9, 0], &encoded(&event())).unwrap(),
        "{x: 4, y: é}, A-1"
    );
    assert_eq!(
        decode(&events(), &[1, 1], &encoded(&event())).unwrap(),
        "-3, -3"
    );
    let mut decoder = bare_decoder(&events(), &[]);
    decoder.push(Some(&encoded(&event()))).unwrap();
    assert_eq!(decoder.finish().num_rows(), 1);
}

#[test]
fn nulls_and_empty_collections() {
    let mut record = vec![text("")];
    record.extend((0..6).map(|_| none()));
    record.extend([some(Wire::Block(vec![])), some(Wire::Block(vec![])), none()]);
    let all: Vec<usize> = (0..10).collect();
    assert_eq!(
        decode(&events(), &all, &encoded(&record)).unwrap(),
        ", NULL, NULL, NULL, NULL, NULL, NULL, [], {}, NULL"
    );
}

#[test]
fn decimals_that_do_not_fit_are_null() {
    let schema = schema(&[(
        "d",
        TypeKind::Decimal {
            precision: 3,
            scale: 1,
        }
        .nullable(),
    )]);
    let check = |bytes: &[u8], expected: &str| {
        let record = encoded(&[some(Wire::Bytes(bytes.to_vec()))]);
        assert_eq!(
            decode(&schema, &[0], &record).unwrap(),
            expected,
            "{bytes:02x?}"
        );
    };
    check(&[0x03, 0xe7], "99.9");
    check(&[0x03, 0xe8], "NULL");
    check(&[0xff; 20], "-0.1");
    check(&[0x7f; 17], "NULL");
    assert_eq!(
        code(&schema, &encoded(&[some(Wire::Bytes(vec![]))])),
        "avro.decimal"
    );
}

#[test]
fn damaged_records_are_named() {
    let s = schema(&[
        ("s", TypeKind::string().nullable()),
        ("i", TypeKind::Int.not_null()),
    ]);
    let check =
        |record: &[u8], expected: &str| assert_eq!(code(&s, record), expected, "{record:02x?}");
    check(&[], "avro.truncated");
    check(&[0x02, 0x04, b'a'], "avro.truncated");
    check(&[0x00, 0x02, 0x02], "avro.trailing");
    check(&[0x04, 0x02], "avro.union");
    check(&[0x01, 0x02], "avro.union");
    check(&[0x02, 0x02, 0xff, 0x02], "avro.utf8");
    check(&[0x02, 0x01], "avro.length");
    check(
        &[
            0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
        ],
        "avro.number",
    );
    check(&encoded(&[none(), Wire::Long(1 << 40)]), "avro.number");
    // What a confluent-framed record and a JSON record look like to bare Avro (Flink reads the first as a wrong row).
    check(
        &[0, 0, 0, 0, 1, 2, 0x06, b'a', b'b', b'c', 2],
        "avro.trailing",
    );
    check(br#"{"s":"a"}"#, "avro.union");
    let error = decode(&s, &[0, 1], &[0x02, 0x04, b'a']).unwrap_err();
    assert_eq!(
        error.message,
        "field 's', at byte 2 of 3: the record ends within it"
    );
}

#[test]
fn hostile_item_counts_end_quickly() {
    let list = schema(&[(
        "a",
        TypeKind::Array(Box::new(TypeKind::Int.not_null())).not_null(),
    )]);
    assert_eq!(code(&list, &encoded(&[Wire::Long(i64::MAX)])), "avro.items");
    assert_eq!(
        code(&list, &encoded(&[Wire::Long(i64::MIN), Wire::Long(1)])),
        "avro.items"
    );
    assert_eq!(code(&list, &encoded(&[Wire::Long(1000)])), "avro.truncated");
}

#[test]
fn the_derived_schema_is_flinks() {
    let schema = schema(&[
        ("s", TypeKind::string().nullable()),
        ("sn", TypeKind::string().not_null()),
        ("t", TypeKind::TinyInt.nullable()),
        (
            "d",
            TypeKind::Decimal {
                precision: 10,
                scale: 2,
            }
            .nullable(),
        ),
        ("ts", TypeKind::Timestamp(3).nullable()),
        (
            "a",
            TypeKind::Array(Box::new(TypeKind::Int.nullable())).nullable(),
        ),
        (
            "r",
            TypeKind::Row(vec![Field::new("x", TypeKind::Int.nullable())]).nullable(),
        ),
    ]);
    assert_eq!(
        derived_schema(&schema, true).unwrap(),
        concat!(
            r#"{"type":"record","name":"record","namespace":"org.apache.flink.avro.generated","fields":["#,
            r#"{"name":"s","type":["null","string"],"default":null},"#,
            r#"{"name":"sn","type":"string"},"#,
            r#"{"name":"t","type":["null","int"],"default":null},"#,
            r#"{"name":"d","type":["null",{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}],"default":null},"#,
            r#"{"name":"ts","type":["null",{"type":"long","logicalType":"timestamp-millis"}],"default":null},"#,
            r#"{"name":"a","type":["null",{"type":"array","items":["null","int"]}],"default":null},"#,
            r#"{"name":"r","type":["null",{"type":"record","name":"record_r","fields":[{"name":"x","type":["null","int"],"default":null}]}],"default":null}]}"#
        )
    );
}

#[test]
fn a_time_has_no_more_digits_than_its_column() {
    let columns: Vec<(&str, LogicalType)> = [("s", 0), ("d", 1), ("c", 2), ("m", 3)]
        .map(|(name, digits)| (name, TypeKind::Timestamp(digits).nullable()))
        .into();
    for (millis, cut) in [
        (1_999, [1_000_000, 1_900_000, 1_990_000, 1_999_000]),
        (-1, [-1_000_000, -100_000, -10_000, -1_000]),
    ] {
        let mut decoder = bare_decoder(&schema(&columns), &[0, 1, 2, 3]);
        let record = encoded(&vec![some(Wire::Long(millis)); 4]);
        decoder.push(Some(&record)).expect("four times");
        let rows = decoder.finish();
        let micros = |column: &arrow_array::ArrayRef| {
            column.as_primitive::<TimestampMicrosecondType>().value(0)
        };
        assert_eq!(rows.columns().iter().map(micros).collect::<Vec<_>>(), cut);
    }
}

#[test]
fn what_flink_refuses_is_refused_with_its_reason() {
    let check = |kind: TypeKind, legacy: bool, reason: &str| {
        let error =
            derived_schema(&schema(&[("c", kind.nullable())]), legacy).expect_err("refused");
        assert_eq!(error.detail, reason);
    };
    check(
        TypeKind::Timestamp(6),
        true,
        "Avro does not support TIMESTAMP type with precision: 6, it only supports precision less than 3.",
    );
    check(
        TypeKind::TimestampLtz(3),
        true,
        "Unsupported to derive Schema for type: TIMESTAMP_LTZ(3)",
    );
    check(
        TypeKind::Map(
            Box::new(TypeKind::Int.nullable()),
            Box::new(TypeKind::Int.nullable()),
        ),
        true,
        "Avro format doesn't support non-string as key type of map. The key type is: INT",
    );
    assert!(
        derived_schema(
            &schema(&[("c", TypeKind::TimestampLtz(3).nullable())]),
            false
        )
        .is_ok()
    );
    let error = bare(
        &schema(&[("event-time", TypeKind::Int.nullable())]),
        &[0],
        true,
    )
    .err()
    .expect("refused");
    assert_eq!(error.message, "the columns do not make an Avro schema");
}

/// A registry of one schema, number 7.
struct One(&'static str);

impl SchemaLookup for One {
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

fn framed(
    writer: &'static str,
    columns: &[(&str, LogicalType)],
    record: &[Wire],
) -> Result<String, DecodeError> {
    let schema = schema(columns);
    let format = FormatSpec::AvroConfluent {
        url: None,
        subject: None,
    };
    let all: Vec<usize> = (0..schema.fields.len()).collect();
    let mut decoder =
        crate::decoder(&format, &schema, &all, Some(Arc::new(One(writer)))).expect("supported");
    let mut value = vec![0, 0, 0, 0, 7];
    value.extend(encoded(record));
    decoder.push(Some(&value))?;
    Ok(show(&decoder.finish()))
}

#[test]
fn a_decimal_that_loses_a_digit_says_so() {
    let writer = r#"{"type":"record","name":"E","fields":[{"name":"many","type":{"type":"array","items":
        {"type":"bytes","logicalType":"decimal","precision":9,"scale":3}}}]}"#;
    let of_scale = |scale| {
        let item = TypeKind::Decimal {
            precision: 9,
            scale,
        };
        TypeKind::Array(Box::new(item.not_null())).nullable()
    };
    let many = |unscaled: &[i16]| {
        let items = unscaled
            .iter()
            .map(|n| Wire::Bytes(n.to_be_bytes().to_vec()));
        encoded(&[Wire::Block(items.collect())])
    };
    let rounded = |scale: u8, unscaled: &[i16]| {
        let schema = schema(&[("many", of_scale(scale))]);
        let format = FormatSpec::AvroConfluent {
            url: None,
            subject: None,
        };
        let lookup = Some(Arc::new(One(writer)) as Arc<dyn SchemaLookup>);
        let mut decoder = crate::decoder(&format, &schema, &[0], lookup).expect("supported");
        let mut value = vec![0, 0, 0, 0, 7];
        value.extend(many(unscaled));
        decoder.push(Some(&value)).expect("it is read").rounded
    };
    // 1.230, 1.234, -0.005
    assert_eq!(rounded(3, &[1230, 1234, -5]), 0);
    assert_eq!(rounded(4, &[1230, 1234, -5]), 0);
    assert_eq!(rounded(2, &[1230, 1234, -5]), 2);
    assert_eq!(rounded(0, &[1230, 1234, -5, 2000]), 3);
}

#[test]
fn the_writers_schema_is_resolved_to_the_tables_columns() {
    let writer = r#"{"type":"record","name":"E","namespace":"shop","fields":[
        {"name":"gone","type":{"type":"map","values":["null","string",{"type":"fixed","name":"F","size":2}]}},
        {"name":"i","type":"int"},
        {"name":"f","type":"float"},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":3}},
        {"name":"s","type":["string","null"]}]}"#;
    let gone = Wire::Block(vec![Wire::Many(vec![
        text("k"),
        Wire::Branch(2, Box::new(Wire::Raw(vec![1, 2]))),
    ])]);
    let record = [
        gone,
        Wire::Long(5),
        Wire::Raw(1.5_f32.to_le_bytes().to_vec()),
        Wire::Long(1_767_225_600_123_456),
        Wire::Bytes(vec![0x04, 0xcd]),
        Wire::Branch(1, Box::new(Wire::Null)),
    ];
    let columns = [
        ("s", TypeKind::string().nullable()),
        ("new", TypeKind::Int.nullable()),
        ("i", TypeKind::BigInt.not_null()),
        ("f", TypeKind::Double.nullable()),
        ("at", TypeKind::Timestamp(3).nullable()),
        (
            "price",
            TypeKind::Decimal {
                precision: 9,
                scale: 2,
            }
            .nullable(),
        ),
    ];
    assert_eq!(
        framed(writer, &columns, &record).unwrap(),
        "NULL, NULL, 5, 1.5, 2026-01-01T00:00:00.123, 1.23"
    );
    let mut narrow = columns.to_vec();
    narrow[5].1 = TypeKind::Int.nullable();
    let error = framed(writer, &narrow, &record).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (
            "avro.resolution",
            "schema 7: field 'price': the writer's bytes cannot be read as INT"
        )
    );
    narrow[5] = ("must", TypeKind::Int.not_null());
    let error = framed(writer, &narrow, &record).unwrap_err();
    assert_eq!(
        error.message,
        "schema 7: the writer's schema has no field 'must', which the table declares NOT NULL"
    );
    narrow.truncate(1);
    narrow[0].1 = TypeKind::string().not_null();
    let error = framed(writer, &narrow, &record).unwrap_err();
    assert!(
        error
            .message
            .ends_with("the writer's null cannot be read as NOT NULL"),
        "{error}"
    );
}

#[test]
fn a_writers_recursion_is_bounded() {
    let writer = r#"{"type":"record","name":"N","fields":[{"name":"next","type":["null","N"]},{"name":"i","type":"int"}]}"#;
    let columns = [("i", TypeKind::Int.nullable())];
    let deep = |levels: usize| {
        let mut bytes = vec![2; levels];
        bytes.push(0);
        bytes.extend(vec![2; levels + 1]);
        [Wire::Raw(bytes)]
    };
    assert_eq!(framed(writer, &columns, &deep(10)).unwrap(), "1");
    assert_eq!(
        framed(writer, &columns, &deep(100_000)).unwrap_err().code,
        "avro.depth"
    );
}

#[test]
fn frames_that_are_none_are_named() {
    let lookup: Arc<dyn SchemaLookup> =
        Arc::new(One(r#"{"type":"record","name":"E","fields":[]}"#));
    let schema = schema(&[("i", TypeKind::Int.nullable())]);
    let mut decoder = confluent(&schema, &[0], Some(lookup)).expect("supported");
    let mut message = |bytes: &[u8]| decoder.push(Some(bytes)).unwrap_err().message;
    assert_eq!(message(&[0, 0, 0]), "3 bytes are too few for a schema id");
    assert_eq!(
        message(&[2, 0, 0, 0, 7]),
        "the first byte is 2, not 0: the record does not carry a schema id"
    );
    assert_eq!(
        message(&[0, 0, 0, 0, 9]),
        "the registry has no schema with id 9"
    );
    assert_eq!(decoder.push(Some(&[0, 0, 0, 0, 7])), Ok(Decoded::rows(1)));
    assert_eq!(decoder.push(None), Ok(Decoded::rows(0)));
    let error = confluent(&schema, &[0], None).err().expect("no registry");
    assert_eq!(
        error.hint,
        "set 'avro-confluent.url' to the registry's address"
    );
}

proptest! {
    #[test]
    fn whatever_comes_a_failed_record_leaves_no_trace(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..120),
            (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| { let mut b = encoded(&event()); let at = at.index(b.len()); b[at] = byte; b }),
            any::<prop::sample::Index>().prop_map(|at| { let mut b = encoded(&event()); b.truncate(at.index(b.len())); b }),
        ],
        projection in prop::sample::subsequence((0..10).collect::<Vec<usize>>(), 0..10),
    ) {
        let good = encoded(&event());
        let mut decoder = bare_decoder(&events(), &projection);
        decoder.push(Some(&good)).expect("good");
        let middle = decoder.push(Some(&bytes)).map_or(0, |decoded| decoded.rows);
        decoder.push(Some(&good)).expect("good");
        prop_assert_eq!(decoder.len(), middle + 2);
        let batch = decoder.finish();
        let expected = { decoder.push(Some(&good)).expect("good"); decoder.finish() };
        prop_assert_eq!(batch.slice(0, 1), expected.clone());
        prop_assert_eq!(batch.slice(middle + 1, 1), expected);
    }

    #[test]
    fn what_is_written_is_read(sku in any::<String>(), qty in any::<Option<i32>>(), big in any::<i64>(), ratio in any::<u64>(), millis in -62_135_596_800_000..253_402_300_799_999_i64) {
        let mut record = event();
        record[0] = text(&sku);
        record[1] = qty.map_or_else(none, |qty| some(Wire::Long(i64::from(qty))));
        record[2] = some(Wire::Long(millis));
        record[4] = some(Wire::Long(big));
        record[5] = some(Wire::Raw(ratio.to_le_bytes().to_vec()));
        let mut decoder = bare_decoder(&events(), &[0, 1, 2, 4, 5]);
        decoder.push(Some(&encoded(&record))).expect("it is well-formed");
        let batch = decoder.finish();
        prop_assert_eq!(batch.column(0).as_string::<i32>().value(0), sku.as_str());
        let got = batch.column(1).as_primitive::<Int32Type>();
        prop_assert_eq!(got.is_valid(0).then(|| got.value(0)), qty);
        prop_assert_eq!(batch.column(2).as_primitive::<TimestampMicrosecondType>().value(0), millis * 1000);
        prop_assert_eq!(batch.column(3).as_primitive::<Int64Type>().value(0), big);
        prop_assert_eq!(batch.column(4).as_primitive::<Float64Type>().value(0).to_bits(), ratio);
    }
}
