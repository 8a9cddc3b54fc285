//! What the tree keeps, how it is written, and where errors point.

use super::*;
use expect_test::{Expect, expect};

fn check(text: &str, expected: Expect) {
    let shown = match Json::parse(text) {
        Ok(json) => json.to_string(),
        Err(e) => {
            let (line, column) = line_and_column(text, e.offset);
            format!("{line}:{column}: {e}")
        }
    };
    expected.assert_eq(&shown);
}

#[test]
fn order_of_keys_and_integers_stay() {
    check(
        r#" { "b" : 1, "a" : [ true , null, -12345678901234567890 ] } "#,
        expect![[r#"{"b":1,"a":[true,null,-12345678901234567890]}"#]],
    );
}

#[test]
fn doubles_are_spelled_as_java_spells_them() {
    check(
        "[1.0, 1e3, 2.50, 1e7, 12345678.9, 0.001, 0.0001, -0.0, 1e-10, 1.5E300, 1e999, -1e999]",
        expect![[
            r#"[1.0,1000.0,2.5,1.0E7,1.23456789E7,0.001,1.0E-4,-0.0,1.0E-10,1.5E300,"Infinity","-Infinity"]"#
        ]],
    );
}

#[test]
fn strings_are_escaped_only_where_they_must() {
    check(
        r#""a\/b \u00e9 \ud83d\ude00 \u001f \n \" \\""#,
        expect![[r#""a/b é 😀 \u001F \n \" \\""#]],
    );
}

#[test]
fn errors_point_at_the_place() {
    check(
        "{\n  \"a\": tru\n}",
        expect!["2:8: expected a JSON value, found 't'"],
    );
    check(
        "{\"a\":1,\"a\":2}",
        expect![[r#"1:8: the key "a" appears twice"#]],
    );
    check(
        "[1,2",
        expect!["1:5: expected ',' or ']', but the text ends"],
    );
    check("\"abc", expect!["1:5: a string is not closed"]);
    check("\"\\ud800x\"", expect!["1:8: half of a surrogate pair"]);
    check("[01]", expect!["1:3: expected ',' or ']', found '1'"]);
    check(
        "1 2",
        expect!["1:3: expected the end of the text, found '2'"],
    );
    check("", expect!["1:1: expected a JSON value, but the text ends"]);
}

#[test]
fn nesting_is_bounded() {
    let deep = "[".repeat(100_000);
    let error = Json::parse(&deep).unwrap_err();
    assert_eq!(error.message, "nested deeper than 512 levels");
}

#[test]
fn a_path_leads_back_to_the_text() {
    let text = r#"{"a": [1, {"b": "x"}], "c": 2}"#;
    let at = |path: &[Step]| &text[locate(text, path)..];
    assert!(
        at(&[Step::Key("a".into()), Step::Index(1), Step::Key("b".into())]).starts_with("\"x\"")
    );
    assert!(at(&[Step::Key("c".into())]).starts_with("2}"));
    assert!(
        at(&[Step::Key("a".into()), Step::Index(7)]).starts_with("[1"),
        "a missing place answers with its container"
    );
}

#[test]
fn comments_stand_where_space_may_and_only_in_schemas() {
    let cases = [
        ("/* licence */ {\"a\":1}", Some("{\"a\":1}")),
        (
            "// one\n{\"a\" // two\r: /**/ 1 /* three */ , \"b\":[ /* * / */ ]} // end",
            Some("{\"a\":1,\"b\":[]}"),
        ),
        ("\"/* no comment */\"", Some("\"/* no comment */\"")),
        ("/* never ends", None),
        ("/*/ 1", None),
        ("# yaml\n1", None),
        ("/ 1", None),
    ];
    for (text, expected) in cases {
        let parsed = Json::parse_with_comments(text)
            .ok()
            .map(|json| json.to_string());
        assert_eq!(parsed.as_deref(), expected, "{text}");
    }
    assert!(Json::parse("/* body */ {}").is_err(), "requests have none");
    assert!(Json::parse("// body\n{}").is_err());
}
