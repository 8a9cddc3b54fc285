//! What a case's text means, and what is said to one that means nothing.

use super::*;

fn parsed(text: &str) -> Case {
    Case::parse(text).unwrap()
}

fn refused(text: &str) -> String {
    let error = Case::parse(text).unwrap_err();
    format!("{error} ({})", error.hint)
}

#[test]
fn all_sections_of_a_case() {
    let case = parsed(
        "-- a comment\nINSERT INTO t SELECT 1;\n\n---- schema s-value\n\"int\"\n---- records s, 2 partitions\n# one\n{\"a\": 1}\n\n---- rows t\n+I[1]\n---- ours: rows t\n# Flink prints it otherwise\n+I[01]\n---- dead letters t\ns/0@1 decode json: x\n    Flink: y\n---- expressions s\na + 1 => INT: 2\nb\n",
    );
    let sql = "-- a comment\nINSERT INTO t SELECT 1;\n\n";
    assert_eq!(case.script, Script::Inline(sql.to_string()));
    assert_eq!(
        case.schemas,
        [("s-value".to_string(), "\"int\"\n".to_string())]
    );
    assert_eq!(case.topics, BTreeMap::from([("s".to_string(), 2)]));
    assert_eq!(case.records[0].value, Value::Bytes(b"{\"a\": 1}".to_vec()));
    let rows = &case.expected[0];
    assert_eq!((rows.what, rows.line), (What::Rows, 10));
    assert_eq!(
        (&rows.lines[..], rows.of_ours()),
        (&["+I[1]".to_string()][..], &["+I[01]".to_string()][..])
    );
    assert_eq!(case.expected[1].lines, ["s/0@1 decode json: x"]);
    let expressions = &case.expressions[0].lines;
    assert_eq!(
        (&*expressions[0].text, &*expressions[0].result),
        ("a + 1", "INT: 2")
    );
    assert_eq!((&*expressions[1].text, &*expressions[1].result), ("b", ""));
}

#[test]
fn words_stand_before_a_records_value() {
    let case = parsed(
        "---- records t\n@partition=1 @key='a b' @timestamp=2026-01-01T00:00:00.5Z @header.from=web {\"a\": 1}\nplain\n@tombstone\n@hex 00 0f ff\n@value @x \n@avro=s {\"a\": 1}\n@key=k\n",
    );
    let first = &case.records[0];
    assert_eq!(
        (first.partition, first.key.as_deref()),
        (1, Some(&b"a b"[..]))
    );
    assert_eq!(first.timestamp, 1_767_225_600_500);
    assert_eq!(first.headers, [("from".to_string(), b"web".to_vec())]);
    let values: Vec<&Value> = case.records.iter().map(|record| &record.value).collect();
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let avro = Value::Avro {
        subject: "s".to_string(),
        framed: true,
        json: "{\"a\": 1}".to_string(),
    };
    assert_eq!(
        values,
        [
            &bytes(b"{\"a\": 1}"),
            &bytes(b"plain"),
            &Value::Tombstone,
            &bytes(&[0, 15, 255]),
            &bytes(b"@x "),
            &avro,
            &bytes(b""),
        ]
    );
    assert_eq!(
        case.records[1].timestamp, 1_767_225_601_500,
        "a second later"
    );
    assert_eq!(case.topics["t"], 2, "as many partitions as are written to");
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_to_type() {
    let cases = [
        (
            "---- row t\n",
            "line 1: there is no section 'row t' (Sections are: script FILE,",
        ),
        (
            "---- rows t\n---- rows t\n",
            "line 2: 'rows t' is there twice",
        ),
        (
            "---- ours: rows t\n",
            "line 1: 'rows t' has to stand before what is ours instead (---- rows t)",
        ),
        (
            "---- rows t\n---- ours: rows t\n+I[1]\n---- records s\n",
            "line 2: a section of ours does not say why",
        ),
        (
            "---- ours: refused\n---- rows t\n",
            "line 1: a section of ours does not say why",
        ),
        (
            "---- refused\n---- ours: refused\n",
            "line 2: what is refused is said twice",
        ),
        (
            "---- rows t, backwards\n",
            "line 1: 'backwards' is no order of rows (---- rows t, by window_end",
        ),
        (
            "---- late rows t, by ts\n",
            "line 1: 'by ts' is no order of late rows",
        ),
        (
            "---- records t, two\n",
            "line 1: 'two' does not say how many partitions",
        ),
        (
            "---- records t\n\n@ky=1 x\n",
            "line 3: a record has no '@ky'",
        ),
        (
            "---- records t\n@partition=x 1\n",
            "line 2: 'x' is no partition (@partition=1)",
        ),
        (
            "---- records t\n@timestamp=soon 1\n",
            "line 2: 'soon' is no time",
        ),
        ("---- records t\n@hex 0\n", "line 2: these are no bytes"),
        (
            "---- records t\n@key='a b\n",
            "line 2: a text in quotes does not end",
        ),
        (
            "SELECT 1\n---- script a.sql\n",
            "line 2: the case has a script of its own and names a file",
        ),
        (
            "---- script a.sql\nSELECT 1\n",
            "line 2: the script is a file, and here is more",
        ),
        (
            "---- expressions t\na => INT: 1\n    ours: INT: 2\n",
            "line 3: an indented line says what is ours instead, and why",
        ),
    ];
    for (text, expected) in cases {
        let told = refused(text);
        assert!(told.starts_with(expected), "{text:?}: {told}");
    }
}

#[test]
fn a_refusal_is_flinks_or_only_ours() {
    let case = parsed("---- refused\na window has a size\n    Flink: TableException: x\n");
    let refusal = case.refusal.unwrap();
    assert_eq!(refusal.messages, ["a window has a size"]);
    assert!(!refusal.ours);
    let case = parsed("---- rows t\n+I[1]\n---- ours: refused\n# not there yet\n");
    let refusal = case.refusal.unwrap();
    assert_eq!((refusal.ours, refusal.line), (true, 3));
}

#[test]
fn rows_that_come_together_have_no_order() {
    let case = parsed("---- rows t, by window_end, k\n---- rows u, in any order\n---- rows v\n");
    let orders: Vec<_> = case.expected.iter().map(|section| &section.order).collect();
    let by = Order::Groups(vec!["window_end".to_string(), "k".to_string()]);
    assert_eq!(orders, [&by, &Order::Groups(Vec::new()), &Order::Exact]);
    let tables: Vec<&str> = case.expected.iter().map(|s| s.table.as_str()).collect();
    assert_eq!(tables, ["t", "u", "v"]);
}
