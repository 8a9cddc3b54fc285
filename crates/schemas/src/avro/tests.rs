//! Parsing, the three texts of a schema, and the errors people see.

use super::*;
use expect_test::{Expect, expect};

fn canonical(text: &str, expected: Expect) {
    let schema = AvroSchema::parse(text).unwrap();
    let canonical = schema.canonical_text();
    expected.assert_eq(&canonical);
    let again = AvroSchema::parse(&canonical).unwrap();
    assert_eq!(
        again.canonical_text(),
        canonical,
        "the canonical text is its own canonical text"
    );
}

fn refused(text: &str, expected: Expect) {
    expected.assert_eq(&AvroSchema::parse(text).unwrap_err().to_string());
}

#[test]
fn primitives_lose_the_object_but_not_their_properties() {
    canonical(r#" {"type" : "int"} "#, expect![[r#""int""#]]);
    canonical(
        r#"{"scale":2,"type":"bytes","precision":9,"logicalType":"decimal"}"#,
        expect![[r#"{"type":"bytes","scale":2,"precision":9,"logicalType":"decimal"}"#]],
    );
    canonical(
        r#"{"type":"string","doc":"reserved words mean nothing here"}"#,
        expect![[r#""string""#]],
    );
}

#[test]
fn names_are_split_and_namespaces_written_where_they_change() {
    canonical(
        r#"{"name":"a.b.Outer","type":"record","fields":[
            {"name":"same","type":{"type":"fixed","name":"Same","namespace":"a.b","size":2}},
            {"name":"other","type":{"type":"enum","name":"Other","namespace":"c","symbols":["X"]}},
            {"name":"none","type":{"type":"record","name":"None","namespace":"","fields":[{"name":"x","type":"int"}]}},
            {"name":"again","type":["null","Same","c.Other","None"]}]}"#,
        expect![[
            r#"{"type":"record","name":"Outer","namespace":"a.b","fields":[{"name":"same","type":{"type":"fixed","name":"Same","size":2}},{"name":"other","type":{"type":"enum","name":"Other","namespace":"c","symbols":["X"]}},{"name":"none","type":{"type":"record","name":"None","namespace":"","fields":[{"name":"x","type":"int"}]}},{"name":"again","type":["null","Same","c.Other","None"]}]}"#
        ]],
    );
}

#[test]
fn everything_a_field_says_is_kept_in_javas_order() {
    canonical(
        r#"{"aliases":["Old","x.Older"],"owner":"me","doc":"d","type":"record","name":"n.R","fields":[
            {"default":{"a":1.50},"pii":true,"order":"descending","aliases":["g"],"doc":"fd","type":{"type":"map","values":"double"},"name":"f"},
            {"name":"e","order":"ascending","type":{"type":"enum","name":"E","default":"B","symbols":["A","B"]},"default":"A"}]}"#,
        expect![[
            r#"{"type":"record","name":"R","namespace":"n","doc":"d","fields":[{"name":"f","type":{"type":"map","values":"double"},"doc":"fd","default":{"a":1.5},"order":"descending","aliases":["g"],"pii":true},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"],"default":"B"},"default":"A"}],"owner":"me","aliases":["Old","x.Older"]}"#
        ]],
    );
}

#[test]
fn recursion_is_a_cycle_of_ids() {
    let schema = AvroSchema::parse(
        r#"{"type":"record","name":"Node","fields":[{"name":"v","type":"long"},{"name":"next","type":["null","Node"]}]}"#,
    )
    .unwrap();
    let Kind::Record(node) = &schema.root().kind else {
        panic!("a record")
    };
    let (position, target) = schema.nullable(node.fields[1].ty).unwrap();
    assert_eq!((position, target), (1, schema.root_id()));
    assert_eq!(schema.named("Node"), Some(schema.root_id()));
}

#[test]
fn references_are_written_by_name_or_written_out() {
    let cents = r#"{"type":"record","name":"m.Money","fields":[{"name":"cents","type":"long"}]}"#;
    let order = r#"{"type":"record","name":"m.Order","fields":[{"name":"price","type":"Money"},{"name":"tax","type":"Money"}]}"#;
    let schema = AvroSchema::parse_with(order, &[cents], ParseOptions::default()).unwrap();
    expect![[
        r#"{"type":"record","name":"Order","namespace":"m","fields":[{"name":"price","type":"Money"},{"name":"tax","type":"Money"}]}"#
    ]]
    .assert_eq(&schema.canonical_text());
    let resolved = schema.resolved_text();
    expect![[
        r#"{"type":"record","name":"Order","namespace":"m","fields":[{"name":"price","type":{"type":"record","name":"Money","fields":[{"name":"cents","type":"long"}]}},{"name":"tax","type":"Money"}]}"#
    ]]
    .assert_eq(&resolved);
    AvroSchema::parse(&resolved).expect("the resolved text needs no references");
    let error = AvroSchema::parse_with(order, &["{\"type\":\"recrd\"}"], ParseOptions::default())
        .unwrap_err();
    expect![[r#"type "recrd" is not known, at line 1, column 9 (/type) of reference 1; define it before its first use, or list its subject in the references"#]]
        .assert_eq(&error.to_string());
}

#[test]
fn logical_types_hold_or_are_ignored() {
    let logical = |text: &str| AvroSchema::parse(text).unwrap().root().logical;
    let fixed = |precision: u32| {
        logical(&format!(
            r#"{{"type":"fixed","name":"F","size":4,"logicalType":"decimal","precision":{precision},"scale":2}}"#
        ))
    };
    assert_eq!(
        fixed(9),
        Some(Logical::Decimal {
            precision: 9,
            scale: 2
        })
    );
    assert_eq!(fixed(10), None, "ten digits do not fit four bytes");
    assert_eq!(
        logical(r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":5}"#),
        None
    );
    assert_eq!(
        logical(r#"{"type":"long","logicalType":"timestamp-micros"}"#),
        Some(Logical::TimestampMicros)
    );
    assert_eq!(
        logical(r#"{"type":"int","logicalType":"timestamp-micros"}"#),
        None
    );
    assert_eq!(
        logical(r#"{"type":"string","logicalType":"uuid"}"#),
        Some(Logical::Uuid)
    );
    assert_eq!(
        logical(r#"{"type":"string","logicalType":"anything"}"#),
        None
    );
}

/// Values from the Avro project's `share/test/data/schema-tests.txt`.
#[test]
fn fingerprints_are_those_of_the_specification() {
    for (text, form, fingerprint) in [
        ("\"null\"", "\"null\"", 7195948357588979594i64),
        (r#"{"type":"boolean"}"#, "\"boolean\"", -6970731678124411036),
        ("[  ]", "[]", -1241056759729112623),
        (
            r#"[ "int" , {"type":"boolean"} ]"#,
            r#"["int","boolean"]"#,
            5392556393470105090,
        ),
        (
            r#"{"fields":[], "type":"record", "name":"foo", "namespace":"x.y"}"#,
            r#"{"name":"x.y.foo","type":"record","fields":[]}"#,
            5916914534497305771,
        ),
        (
            r#"{"namespace":"x.y.z", "type":"enum", "name":"foo", "doc":"foo bar", "symbols":["A1", "A2"]}"#,
            r#"{"name":"x.y.z.foo","type":"enum","symbols":["A1","A2"]}"#,
            -4448647247586288245,
        ),
        (
            r#"{"name":"foo","type":"fixed","size":15}"#,
            r#"{"name":"foo","type":"fixed","size":15}"#,
            1756455273707447556,
        ),
        (
            r#"{ "items":{"type":"null"}, "type":"array"}"#,
            r#"{"type":"array","items":"null"}"#,
            -589620603366471059,
        ),
        (
            r#"{ "values":"string", "type":"map"}"#,
            r#"{"type":"map","values":"string"}"#,
            -8732877298790414990,
        ),
        (
            r#"{"name":"PigValue","type":"record","fields":[{"name":"value", "type":["null", "int", "long", "PigValue"]}]}"#,
            r#"{"name":"PigValue","type":"record","fields":[{"name":"value","type":["null","int","long","PigValue"]}]}"#,
            -1759257747318642341,
        ),
    ] {
        let schema = AvroSchema::parse(text).unwrap();
        assert_eq!(schema.parsing_canonical_form(), form);
        assert_eq!(schema.fingerprint() as i64, fingerprint, "{text}");
    }
}

#[test]
fn mistakes_are_explained_where_they_are() {
    refused(
        "{\"type\":\"record\",\n \"name\":\"R\",",
        expect!["expected a key in quotes, but the text ends, at line 2, column 13"],
    );
    refused(
        "{\"type\":\"record\",\"name\":\"R\",\"fields\":[\n  {\"name\":\"a\",\"type\":\"strin\"}]}",
        expect![[
            r#"type "strin" is not known, at line 2, column 22 (/fields/0/type); did you mean "string"?"#
        ]],
    );
    refused(
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":{"type":"int"}}}]}"#,
        expect![[
            r#""type" must be a name here, at line 1, column 66 (/fields/0/type/type); write the inner schema in place of the object around it"#
        ]],
    );
    refused(
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#,
        expect![[r#"the field "a" is declared twice, at line 1, column 73 (/fields/1/name)"#]],
    );
    refused(
        r#"{"type":"record","name":"R","fields":[{"name":"first-name","type":"int"}]}"#,
        expect![[
            r#""first-name" is not a valid name, at line 1, column 47 (/fields/0/name); letters, digits and '_' only, not starting with a digit"#
        ]],
    );
    refused(
        r#"["null",["int"]]"#,
        expect!["a union may not contain a union directly, at line 1, column 9 (/1)"],
    );
    refused(
        r#"["int","int"]"#,
        expect![[r#"the union contains "int" twice, at line 1, column 8 (/1)"#]],
    );
    refused(
        r#"{"type":"enum","name":"E","symbols":["A","A"]}"#,
        expect![[r#"the symbol "A" appears twice, at line 1, column 42 (/symbols/1)"#]],
    );
    refused(
        r#"{"type":"enum","name":"E","symbols":["A"],"default":"B"}"#,
        expect![[r#"the default "B" is not one of the symbols, at line 1, column 53 (/default)"#]],
    );
    refused(
        r#"[{"type":"fixed","name":"a.F","size":2},{"type":"enum","name":"F","namespace":"a","symbols":[]}]"#,
        expect![[r#""a.F" is defined twice, at line 1, column 63 (/1/name)"#]],
    );
    refused(
        r#"{"type":"fixed","name":"F","size":-1}"#,
        expect![[
            r#""size" must be a whole number of bytes from 0 to 2147483647, at line 1, column 35 (/size)"#
        ]],
    );
    refused(
        r#"{"type":"record","name":"R"}"#,
        expect![[r#"a record needs "fields", at line 1, column 1"#]],
    );
    refused(
        "17",
        expect![
            "a schema is a name, an object or an array of branches, not a number, at line 1, column 1"
        ],
    );
}

#[test]
fn defaults_must_fit() {
    let field = |ty: &str, default: &str| {
        let text = format!(
            r#"{{"type":"record","name":"R","fields":[{{"name":"f","type":{ty},"default":{default}}}]}}"#
        );
        AvroSchema::parse(&text)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    for (ty, default) in [
        ("\"int\"", "2147483647"),
        ("\"long\"", "-9223372036854775808"),
        ("\"double\"", "1"),
        ("\"float\"", "\"1.5\""),
        ("\"double\"", "\"NaN\""),
        ("\"bytes\"", "\"\\u00ff\""),
        (r#"["null","string"]"#, "null"),
        (r#"["null","string"]"#, "\"any branch will do\""),
        (r#"{"type":"array","items":"int"}"#, "[1,2]"),
        (r#"["null","R"]"#, "null"),
        (
            r#"{"type":"record","name":"P","fields":[{"name":"x","type":"int"},{"name":"y","type":"int","default":0}]}"#,
            r#"{"x":1}"#,
        ),
    ] {
        assert_eq!(field(ty, default), Ok(()), "{ty} {default}");
    }
    let mut refusals = String::new();
    for (ty, default) in [
        ("\"int\"", "2147483648"),
        ("\"int\"", "1.0"),
        ("\"string\"", "null"),
        ("\"boolean\"", "\"true\""),
        (r#"["null","string"]"#, "7"),
        (r#"{"type":"array","items":"int"}"#, "[1,\"2\"]"),
        ("\"null\"", "\"null\""),
        (r#"["null","R"]"#, r#"{"f":null}"#),
        (
            r#"{"type":"record","name":"P","fields":[{"name":"x","type":"int"}]}"#,
            "{}",
        ),
    ] {
        refusals += &field(ty, default).unwrap_err();
        refusals.push('\n');
    }
    expect![[r#"
        the default 2147483648 of field "f" does not fit its type, int, at line 1, column 74 (/fields/0/default)
        the default 1.0 of field "f" does not fit its type, int, at line 1, column 74 (/fields/0/default)
        the default null of field "f" does not fit its type, string, at line 1, column 77 (/fields/0/default); make the type ["null","string"] to allow null
        the default "true" of field "f" does not fit its type, boolean, at line 1, column 78 (/fields/0/default)
        the default 7 of field "f" does not fit its type, a union of null, string, at line 1, column 86 (/fields/0/default)
        the default [1,"2"] of field "f" does not fit its type, array, at line 1, column 99 (/fields/0/default)
        the default "null" of field "f" does not fit its type, null, at line 1, column 75 (/fields/0/default); write null without quotes
        the default {"f":null} of field "f" does not fit its type, a union of null, record R, at line 1, column 81 (/fields/0/default)
        the default {} of field "f" does not fit its type, record P, at line 1, column 134 (/fields/0/default)
    "#]]
    .assert_eq(&refusals);
    let lenient = ParseOptions {
        validate_defaults: false,
        ..ParseOptions::default()
    };
    let text = r#"{"type":"record","name":"R","fields":[{"name":"f","type":"int","default":"x"}]}"#;
    AvroSchema::parse_with(text, &[], lenient)
        .expect("schemas registered elsewhere are taken as they are");
}

mod random {
    use super::*;
    use proptest::prelude::*;

    /// Schema-like JSON: the words of Avro in any arrangement, so that most cases get past the first check.
    fn schema() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec![
            "int", "string", "null", "R0", "R1", "a.R1", "record", "bytes", "",
        ]);
        let leaf = word.prop_map(|w| format!("\"{w}\""));
        leaf.prop_recursive(5, 40, 4, |inner| {
            let many = prop::collection::vec(inner.clone(), 0..4);
            let kind = prop::sample::select(vec!["array", "map"]);
            prop_oneof![
                many.clone().prop_map(|branches| format!("[{}]", branches.join(","))),
                (kind, inner.clone())
                    .prop_map(|(kind, of)| format!(r#"{{"type":"{kind}","items":{of},"values":{of},"z":1.50,"a":[2]}}"#)),
                (0..3u8, many, any::<bool>()).prop_map(|(n, fields, space)| {
                    let space = if space { "a." } else { "" };
                    let fields: Vec<String> = fields
                        .iter()
                        .enumerate()
                        .map(|(i, ty)| format!(r#"{{"name":"f{i}","type":{ty},"order":"ignore","default":null}}"#))
                        .collect();
                    format!(r#"{{"type":"record","name":"{space}R{n}","aliases":["x.Y"],"fields":[{}]}}"#, fields.join(","))
                }),
            ]
        })
    }

    fn lenient(text: &str) -> Option<AvroSchema> {
        AvroSchema::parse_with(
            text,
            &[],
            ParseOptions {
                validate_defaults: false,
                ..ParseOptions::default()
            },
        )
        .ok()
    }

    proptest! {
        #[test]
        fn texts_mean_what_they_are_written_from(text in schema()) {
            if let Some(schema) = lenient(&text) {
                let canonical = schema.canonical_text();
                prop_assert_eq!(lenient(&canonical).expect("what is written can be read").canonical_text(), canonical);
                for written in [schema.canonical_text(), schema.normalized_text(), schema.resolved_text()] {
                    let again = lenient(&written).expect("what is written can be read");
                    prop_assert_eq!(again.fingerprint(), schema.fingerprint());
                }
                prop_assert_eq!(crate::compat::check(&schema, &schema), vec![], "a schema reads what it wrote");
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[\\[\\]{}\",:a-z0-9\\\\ut.é\n-]{0,80}") {
            if let Err(error) = AvroSchema::parse(&text) {
                prop_assert!(error.line >= 1 && error.column >= 1);
                prop_assert!(!error.message.is_empty());
            }
        }
    }
}
