//! Texts that were written to hurt: each is answered with a verdict or a refusal, in bounded work and on a small stack.
//!
//! Threads of a server have 2 MiB of stack; the cases run on one of that size, so that an unbounded recursion ends the tests.

use std::time::{Duration, Instant};

use lw_schemas::{AvroSchema, ParseOptions, SchemaError, compat};

/// Runs a case on a server's stack. The bounds allow a second or two; a busy machine gets more.
#[expect(
    clippy::disallowed_methods,
    reason = "what is bounded here is real time"
)]
fn bounded<T: Send + 'static>(case: impl FnOnce() -> T + Send + 'static) -> T {
    let started = Instant::now();
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(case);
    let answer = thread.unwrap().join().expect("the case must not panic");
    assert!(
        started.elapsed() < Duration::from_secs(600),
        "unbounded work"
    );
    answer
}

fn refusal(parsed: Result<AvroSchema, SchemaError>) -> String {
    parsed
        .map(|_| "accepted".to_owned())
        .unwrap_or_else(|e| e.message)
}

fn record(name: &str, fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, ty)| format!(r#"{{"name":"{name}","type":{ty}}}"#))
        .collect();
    format!(
        r#"{{"type":"record","name":"{name}","fields":[{}]}}"#,
        fields.join(",")
    )
}

/// A union of `count` types, each written by `branch`.
fn union(count: usize, branch: impl Fn(usize) -> String) -> AvroSchema {
    let branches: Vec<String> = (0..count).map(branch).collect();
    AvroSchema::parse(&format!("[{}]", branches.join(","))).unwrap()
}

fn verdict(reader: AvroSchema, writer: AvroSchema) -> String {
    bounded(move || match &compat::check(&reader, &writer)[..] {
        [] => "compatible".into(),
        [only] => only.message.clone(),
        many => format!("{} findings", many.len()),
    })
}

const TOO_COMPLEX: &str = "the schemas are too complex to compare";
const TOO_DEEP: &str = "types are nested deeper than 128 levels";

#[test]
fn nesting_is_refused_before_the_stack_ends() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}\"int\"{}", open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [
        (r#"{"type":"array","items":"#, "}"),
        (r#"{"type":"map","values":"#, "}"),
    ] {
        for (depth, answer) in [(128, "accepted"), (129, TOO_DEEP), (400, TOO_DEEP)] {
            let text = nested(open, close, depth);
            assert_eq!(refusal(bounded(move || AvroSchema::parse(&text))), answer);
        }
        let text = nested(open, close, 30_000);
        let answer = refusal(bounded(move || AvroSchema::parse(&text)));
        assert_eq!(answer, "nested deeper than 512 levels");
    }
    for text in ["[".repeat(1 << 20), r#"{"type":"#.repeat(100_000)] {
        let answer = refusal(bounded(move || AvroSchema::parse(&text)));
        assert_eq!(answer, "nested deeper than 512 levels");
    }
    let mut records = "\"int\"".to_owned();
    for i in 0..128 {
        records = record(&format!("R{i}"), &[("f", &records)]);
    }
    let text = bounded(move || AvroSchema::parse(&records).map(|schema| schema.resolved_text()));
    assert!(text.is_ok(), "as deep as the limit");
}

/// A recursive type entered in the middle unrolls: each rung leads back to the rung above, whose other chain is not written yet.
#[test]
fn a_recursive_type_entered_in_the_middle_is_as_deep_as_it_unrolls() {
    const RUNGS: usize = 60;
    let mut ladder = "\"int\"".to_owned();
    for rung in (0..RUNGS).rev() {
        let back = if rung == 0 {
            "\"int\"".to_owned()
        } else {
            format!("\"X{}\"", rung - 1)
        };
        let mut chain = back;
        for link in 0..RUNGS {
            chain = record(&format!("C{rung}_{link}"), &[("f", &chain)]);
        }
        ladder = record(&format!("X{rung}"), &[("next", &ladder), ("chain", &chain)]);
    }
    let whole = ladder.clone();
    assert_eq!(
        refusal(bounded(move || AvroSchema::parse(&whole))),
        "accepted"
    );
    let entered = bounded(move || {
        let root = format!("\"X{}\"", RUNGS - 1);
        AvroSchema::parse_with(&root, &[&ladder], ParseOptions::default())
    });
    assert_eq!(refusal(entered), TOO_DEEP);
}

#[test]
fn a_chain_of_references_is_as_deep_as_the_nesting_it_stands_for() {
    let chain: Vec<String> = (0..200)
        .map(|i| {
            let below = if i == 0 {
                "\"int\"".to_owned()
            } else {
                format!("\"R{}\"", i - 1)
            };
            record(&format!("R{i}"), &[("f", &below)])
        })
        .collect();
    let parsed = bounded(move || {
        let references: Vec<&str> = chain.iter().map(String::as_str).collect();
        AvroSchema::parse_with("\"R199\"", &references, ParseOptions::default())
    });
    assert_eq!(refusal(parsed), TOO_DEEP);
}

/// A and B hold each other in unions: a value that fits neither at its end would be tried 2^150 times.
#[test]
fn a_default_that_fits_nothing_is_not_tried_for_ever() {
    let b = record("B", &[("f", r#"["null","A","B"]"#)]);
    let a = record("A", &[("f", &format!(r#"["null","A",{b}]"#))]);
    let value = format!("{}7{}", r#"{"f":"#.repeat(150), "}".repeat(150));
    let text = format!(
        r#"{{"type":"record","name":"Top","fields":[{{"name":"a","type":{a}}},{{"name":"x","type":["A","B"],"default":{value}}}]}}"#
    );
    let answer = refusal(bounded(move || AvroSchema::parse(&text)));
    assert_eq!(answer, "the default of field \"x\" is too complex to check");
}

#[test]
fn many_defaults_deep_inside_cost_no_more_than_their_text() {
    let fields: Vec<String> = (0..20_000)
        .map(|i| format!(r#"{{"name":"f{i}","type":"int","default":1}}"#))
        .collect();
    let mut text = format!(
        r#"{{"type":"record","name":"R","fields":[{}]}}"#,
        fields.join(",")
    );
    for i in 0..127 {
        text = record(&format!("R{i}"), &[("f", &text)]);
    }
    assert_eq!(
        refusal(bounded(move || AvroSchema::parse(&text))),
        "accepted"
    );
}

#[test]
fn names_and_texts_of_megabytes_are_refused() {
    for (text, answer) in [
        (
            format!("\"{}\"", "x".repeat(10 << 20)),
            "schema text of 10485762 bytes is over the limit of 1048576".to_owned(),
        ),
        (
            format!("\"{}\"", "x".repeat(1000)),
            format!("type \"{}\" is not known", "x".repeat(1000)),
        ),
        (record(&"x".repeat(1 << 19), &[]), "accepted".to_owned()),
    ] {
        assert_eq!(refusal(bounded(move || AvroSchema::parse(&text))), answer);
    }
}

/// Java merges the findings of a shared type again at each use, which doubles them at every level; ours are bounded.
#[test]
fn findings_of_shared_types_do_not_double_at_each_level() {
    let tower = |leaf: &str| {
        let floor = |i: usize| match i {
            0 => record("R0", &[("f", leaf)]),
            _ => {
                let below = format!("\"R{}\"", i - 1);
                record(&format!("R{i}"), &[("a", &below), ("b", &below)])
            }
        };
        let floors: Vec<String> = (0..60).map(floor).collect();
        let names: Vec<String> = (0..60).map(|i| format!("f{i}")).collect();
        let fields: Vec<(&str, &str)> = names
            .iter()
            .map(String::as_str)
            .zip(floors.iter().map(String::as_str))
            .collect();
        AvroSchema::parse(&record("Top", &fields)).unwrap()
    };
    let answer = verdict(tower("\"int\""), tower("\"string\""));
    assert_eq!(answer, format!("{} findings", compat::MAX_FINDINGS));
}

#[test]
fn unions_compare_each_branch_with_each_within_a_bound() {
    let wide = |prefix: &'static str| {
        union(1_000, move |i| {
            format!(r#"{{"type":"fixed","name":"{prefix}{i}","size":1}}"#)
        })
    };
    assert_eq!(verdict(wide("A"), wide("B")), TOO_COMPLEX);
    let honest = |prefix: &'static str| {
        union(200, move |i| {
            record(&format!("{prefix}{i}"), &[("f", "\"int\"")])
        })
    };
    assert_eq!(verdict(honest("A"), honest("A")), "compatible");
}

/// Each of these would keep one long message for each pair of branches: gigabytes from two texts of a megabyte.
#[test]
fn findings_take_bounded_memory() {
    let empty = || {
        union(15_000, |i| {
            format!(r#"{{"type":"enum","name":"E{i}","symbols":[]}}"#)
        })
    };
    let symbols = (0..10_000)
        .map(|i| format!("\"S{i}\""))
        .collect::<Vec<_>>()
        .join(",");
    let full = union(8, move |i| {
        format!(r#"{{"type":"enum","name":"W{i}","symbols":[{symbols}]}}"#)
    });
    assert_eq!(verdict(empty(), full), TOO_COMPLEX);
    let long = "x".repeat(900_000);
    let named = union(1, move |_| {
        format!(r#"{{"type":"enum","name":"{long}","symbols":[]}}"#)
    });
    assert_eq!(verdict(empty(), named), TOO_COMPLEX);
}

#[test]
fn a_message_that_tells_a_recursive_type_stays_small_on_the_stack() {
    let mut ladder = "\"int\"".to_owned();
    for rung in (0..60).rev() {
        let mut chain = if rung == 0 {
            "\"int\"".to_owned()
        } else {
            format!("\"X{}\"", rung - 1)
        };
        for link in 0..60 {
            chain = record(&format!("C{rung}_{link}"), &[("f", &chain)]);
        }
        let next = ("next", ladder.as_str());
        ladder = record(
            &format!("X{rung}"),
            &[next, ("chain", &chain), ("old", "\"int\"")],
        );
    }
    let writer = AvroSchema::parse(&ladder).unwrap();
    let twice =
        r#"{"name":"next","type":"int"},{"name":"x","aliases":["old","chain"],"type":"int"}"#;
    let mut reader = format!(r#"{{"type":"record","name":"X59","fields":[{twice}]}}"#);
    for rung in (0..59).rev() {
        reader = record(&format!("X{rung}"), &[("next", &reader)]);
    }
    let answer = verdict(AvroSchema::parse(&reader).unwrap(), writer);
    assert!(
        answer.starts_with("Reader record field x type:INT pos:1 matches multiple fields"),
        "{answer:.200}"
    );
}
