//! Requests that were written to hurt: each is answered with Confluent's kind of error body, in bounded work.

use lw_registry::Request;
use lw_registry::core::{Core, Options};
use lw_schemas::Json;

/// Asks and, as the shell does, applies what is to be written.
fn ask(core: &mut Core, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    let outcome = core.handle(&Request {
        method,
        path,
        query: "",
        body,
    });
    for record in &outcome.records {
        core.apply(record);
    }
    (outcome.status, outcome.body)
}

fn register(
    core: &mut Core,
    subject: &str,
    schema: &str,
    references: &[(&str, &str)],
) -> (u16, String) {
    let reference = |(name, subject): &(&str, &str)| {
        Json::object([
            ("name", Json::string(*name)),
            ("subject", Json::string(*subject)),
            ("version", Json::int(1)),
        ])
    };
    let references = references.iter().map(reference).collect();
    let body = Json::object([
        ("schema", Json::string(schema)),
        ("references", Json::Array(references)),
    ]);
    let path = format!("/subjects/{subject}/versions");
    ask(core, "POST", &path, body.to_string().as_bytes())
}

/// The status, the code and the start of the message.
fn refusal((status, body): (u16, String)) -> String {
    assert!(
        body.len() < 64 << 10,
        "an error of {} bytes helps nobody",
        body.len()
    );
    let body = Json::parse(&body).expect("an error body is JSON");
    let code = body.get("error_code").and_then(Json::as_i64).unwrap();
    let message = body.get("message").and_then(Json::as_str).unwrap();
    let start: String = message.chars().take(60).collect();
    format!("{status} {code} {start}")
}

#[test]
fn bodies_that_are_no_requests() {
    let mut core = Core::new(Options::default());
    for body in [
        &b"\xff\xfe{}"[..],
        b"{\"schema\":\"\xc3\x28\"}",
        b"{\"schema\":\"\\ud800\"}",
        b"{\"schema\":\"\\u00",
        b"\0\0\0\0\x01",
        "[".repeat(8 << 20).as_bytes(),
        "{\"a\":".repeat(1 << 20).as_bytes(),
    ] {
        for (method, path) in [
            ("POST", "/subjects/s/versions"),
            ("POST", "/compatibility/subjects/s/versions"),
            ("PUT", "/config"),
            ("PUT", "/mode/s"),
        ] {
            let answer = refusal(ask(&mut core, method, path, body));
            assert!(
                answer.starts_with("400 400 the request body is not"),
                "{path}: {answer}"
            );
        }
    }
}

#[test]
fn schemas_and_names_of_megabytes() {
    let mut core = Core::new(Options::default());
    let long = "x".repeat(10 << 20);
    let name = format!(r#"{{"type":"fixed","size":1,"name":"{long}"}}"#);
    let answer = refusal(register(&mut core, "s", &name, &[]));
    assert_eq!(
        answer,
        "422 42209 Register operation failed because schema is too large: it ha"
    );
    let unknown = "x".repeat(1 << 19);
    let answer = refusal(register(
        &mut core,
        "s",
        &format!("[\"{unknown}\"]"),
        &[(&long, &long)],
    ));
    assert!(
        answer.starts_with("422 42201 Invalid schema {subject=s,version=0,"),
        "{answer}"
    );
    let metadata = Json::object([
        ("schema", Json::string("\"int\"")),
        ("metadata", Json::object([("a", Json::string(&long))])),
    ]);
    let answer = refusal(ask(
        &mut core,
        "POST",
        "/subjects/s/versions",
        metadata.to_string().as_bytes(),
    ));
    assert!(answer.starts_with("422 42209 "), "{answer}");
    let deep = format!(
        "{}\"int\"{}",
        r#"{"type":"array","items":"#.repeat(400),
        "}".repeat(400)
    );
    let answer = refusal(register(&mut core, "s", &deep, &[]));
    assert!(answer.starts_with("422 42201 Invalid schema "), "{answer}");
    let answer = refusal(ask(
        &mut core,
        "GET",
        &format!("/subjects/{}", "%2".repeat(100_000)),
        b"",
    ));
    assert!(answer.starts_with("405 405 "), "{answer}");
    assert_eq!(ask(&mut core, "GET", "/subjects", b"").1, "[]");
}

/// Each step refers twice to the one before: written out naively the last would be 2^60 types.
#[test]
fn references_that_double_at_each_step() {
    let mut core = Core::new(Options::default());
    for i in 0..60 {
        let name = format!("R{i}");
        let (below, subject) = (format!("R{}", i.max(1) - 1), format!("s{}", i.max(1) - 1));
        let fields = match i {
            0 => String::new(),
            _ => format!(r#"{{"name":"a","type":"{below}"}},{{"name":"b","type":"{below}"}}"#),
        };
        let schema = format!(r#"{{"type":"record","name":"{name}","fields":[{fields}]}}"#);
        let references = [(&*below, &*subject), ("again", &*subject)];
        let references = if i == 0 { &[][..] } else { &references[..] };
        let answer = register(&mut core, &format!("s{i}"), &schema, references);
        assert_eq!(answer, (200, format!(r#"{{"id":{}}}"#, i + 1)));
    }
    let (status, text) = ask(&mut core, "GET", "/schemas/ids/60", b"");
    assert_eq!((status, text.contains("\"R58\"")), (200, true));
    let resolved = core
        .resolved(core.state().schema_by_id(60).unwrap())
        .unwrap();
    assert!(resolved.len() < 10_000, "each type is written out once");
}

#[test]
fn references_to_more_than_a_schema_may_hold() {
    let mut core = Core::new(Options::default());
    let doc = "x".repeat(900_000);
    let subjects: Vec<String> = (0..6).map(|i| format!("s{i}")).collect();
    for (i, subject) in subjects.iter().enumerate() {
        let schema = format!(r#"{{"type":"enum","name":"E{i}","symbols":[],"doc":"{doc}"}}"#);
        assert_eq!(register(&mut core, subject, &schema, &[]).0, 200);
    }
    let all: Vec<(&str, &str)> = subjects.iter().map(|s| ("x", s.as_str())).collect();
    assert_eq!(register(&mut core, "few", "\"E0\"", &all[..3]).0, 200);
    let answer = register(&mut core, "many", "\"E0\"", &all);
    assert!(
        answer
            .1
            .contains("the references lead to more than 1000 schemas"),
        "{}",
        answer.1
    );
    let mut chain = Core::new(Options::default());
    let mut refused = None;
    for i in 0..120 {
        let (above, schema) = (
            format!("c{}", i - 1),
            format!(r#"{{"type":"enum","name":"C{i}","symbols":[]}}"#),
        );
        let references = [("x", &*above)];
        let references = if i == 0 { &[][..] } else { &references[..] };
        let answer = register(&mut chain, &format!("c{i}"), &schema, references);
        if answer.0 != 200 {
            refused = Some((i, refusal(answer)));
            break;
        }
    }
    assert_eq!(
        refused.map(|(i, _)| i),
        Some(101),
        "a hundred levels are enough for anybody"
    );
}
