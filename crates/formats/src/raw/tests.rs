//! What `raw` reads, refuses and leaves alone.

use super::*;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use lw_graph::{Field, LogicalType, TypeKind};

fn open(columns: &[LogicalType], projection: &[usize]) -> Result<Box<dyn Decoder>, FormatError> {
    let columns = columns.iter().enumerate();
    let fields = columns.map(|(n, ty)| Field::new(format!("c{n}"), ty.clone()));
    decoder(&Schema::new(fields.collect()), projection)
}

#[test]
fn bytes_are_kept_as_they_are_and_a_tombstone_is_null() {
    let mut decoder = open(&[TypeKind::bytes().nullable()], &[0]).unwrap();
    for value in [Some(&b"\xff\x00"[..]), None, Some(b"")] {
        assert_eq!(decoder.push(value), Ok(Decoded::rows(1)));
    }
    let batch = decoder.finish();
    let values: Vec<_> = batch.column(0).as_binary::<i32>().iter().collect();
    assert_eq!(values, [Some(&b"\xff\x00"[..]), None, Some(b"")]);
    assert!(decoder.is_empty());
}

#[test]
fn text_must_be_utf8_also_where_nobody_reads_it() {
    for projection in [&[0][..], &[]] {
        let mut decoder = open(&[TypeKind::string().nullable()], projection).unwrap();
        assert_eq!(decoder.push(Some("é".as_bytes())), Ok(Decoded::rows(1)));
        let error = decoder.push(Some(b"\xc3")).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            ("raw.utf8", "the value is not UTF-8")
        );
        assert_eq!(
            decoder.finish().num_rows(),
            1,
            "no trace of the failed record"
        );
    }
}

#[test]
fn a_tombstone_is_refused_where_the_table_says_not_null() {
    let mut decoder = open(&[TypeKind::string().not_null()], &[0]).unwrap();
    assert_eq!(decoder.push(None).unwrap_err().code, "raw.null");
    assert_eq!(decoder.push(Some(b"x")), Ok(Decoded::rows(1)));
    assert_eq!(decoder.finish().column(0).null_count(), 0);
}

#[test]
fn other_columns_are_refused_with_what_to_write() {
    let text = || TypeKind::string().nullable();
    for (columns, message) in [
        (
            vec![text(), text()],
            "format 'raw' reads exactly one column, the table has 2",
        ),
        (
            vec![],
            "format 'raw' reads exactly one column, the table has 0",
        ),
        (
            vec![TypeKind::Int.nullable()],
            "column 'c0' of type INT cannot be read from raw",
        ),
    ] {
        let error = open(&columns, &[]).err().unwrap();
        assert_eq!(error.message, message);
        assert!(!error.hint.is_empty());
    }
}
