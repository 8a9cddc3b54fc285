//! Conversations with the registry, as text: `tests/api/*.txt`.
//!
//! ```text
//! == a fact, as the name of the conversation
//! POST /subjects/s/versions avro "int"          a request: method, path, body; `avro …` stands for {"schema":"…"}
//!   200 {"id":1}                                the exact answer
//!   + {"keytype":"SCHEMA",…} {…}                each record that it wrote: key and value
//! record KEY VALUE                              a record that somebody else wrote; its fault stands below if it has one
//! option incompatible_code 40901                a choice of the operator's, before the first request
//! ```
//!
//! Each conversation starts with an empty registry. At its end its records are replayed into another one, which must then be
//! in the same state. `UPDATE_EXPECT=1` writes the answers anew; their diff is the review.

use std::fmt::Write;
use std::path::Path;

use super::*;

struct Session {
    core: Core,
    log: Vec<(String, Option<String>)>,
}

impl Session {
    fn new() -> Session {
        let options = Options {
            cluster_id: "Q2x1c3Rlci1pZC0wMDAwMA".into(),
            ..Options::default()
        };
        let core = Core::new(options);
        Session {
            core,
            log: Vec::new(),
        }
    }

    /// Runs one line; returns what is to stand below it.
    fn line(&mut self, line: &str) -> String {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "option" => {
                let code = rest.strip_prefix("incompatible_code ").unwrap();
                self.core.options.incompatible_code = code.parse().unwrap();
                String::new()
            }
            "record" => self.record(rest),
            method => self.request(method, rest),
        }
    }

    fn request(&mut self, method: &str, rest: &str) -> String {
        let (target, body) = rest.split_once(' ').unwrap_or((rest, ""));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let body = match body.strip_prefix("avro ") {
            Some(schema) => Json::object([("schema", Json::string(schema))]).to_string(),
            None => body.to_owned(),
        };
        let outcome = self.core.handle(&Request {
            method,
            path,
            query,
            body: body.as_bytes(),
        });
        let mut shown = format!("  {} {}\n", outcome.status, outcome.body);
        for record in &outcome.records {
            let (key, value) = record.encode();
            writeln!(shown, "  + {key} {}", value.as_deref().unwrap_or("null")).unwrap();
            self.core.apply(record);
            self.log.push((key, value));
        }
        shown
    }

    fn record(&mut self, rest: &str) -> String {
        let (key, value) = rest.split_once(' ').unwrap();
        let value = (value != "null").then(|| value.to_owned());
        match decoded(key, value.as_deref()) {
            Ok(record) => {
                self.core.apply(&record);
                self.log.push((key.to_owned(), value));
                String::new()
            }
            Err(fault) => format!("  skipped: {fault}\n"),
        }
    }

    fn assert_replay_agrees(&self) {
        let mut replayed = Core::default();
        for (key, value) in &self.log {
            replayed.apply(&decoded(key, value.as_deref()).unwrap());
        }
        let (replayed, live) = (replayed.state(), self.core.state());
        assert_eq!(replayed, live, "R1: the state is a function of the topic");
    }
}

fn decoded(key: &str, value: Option<&str>) -> Result<Record, String> {
    Record::decode(Some(key.as_bytes()), value.map(str::as_bytes))
}

/// Runs the conversations of a file and writes the file as it would have to be.
fn told_again(text: &str) -> String {
    let (mut told, mut session) = (String::new(), Session::new());
    for line in text.lines().filter(|line| !line.starts_with("  ")) {
        if line.starts_with("== ") {
            session.assert_replay_agrees();
            session = Session::new();
        }
        writeln!(told, "{line}").unwrap();
        if !line.is_empty() && !line.starts_with("== ") && !line.starts_with('#') {
            told += &session.line(line);
        }
    }
    session.assert_replay_agrees();
    told
}

#[test]
fn conversations_go_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api");
    let mut conversations = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        conversations += text.matches("\n== ").count();
        expect_test::expect_file![&path].assert_eq(&told_again(&text));
    }
    assert!(conversations >= 30, "only {conversations} were found");
}

/// Random conversations, judged by what must hold whatever was asked. A failure names its seed.
mod random {
    use super::*;
    use lw_schemas::{AvroSchema, compat};
    use std::collections::HashMap;

    /// Numbers from a seed (SplitMix64).
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % sides
        }

        fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
            words[self.roll(words.len() as u64) as usize]
        }
    }

    fn request(dice: &mut Dice) -> String {
        let subject = dice.pick(&["s0", "s1", "s2"]);
        let version = dice.pick(&["1", "2", "3", "latest"]);
        let permanent = dice.pick(&["", "?permanent=true"]);
        match dice.roll(14) {
            10 | 11 => {
                let version = dice.pick(&["-1", "1", "2"]);
                let body = format!(
                    r#"{{"schema":"\"R\"","references":[{{"name":"R","subject":"s0","version":{version}}}]}}"#
                );
                format!("POST /subjects/user/versions {body}")
            }
            12 => {
                let owner = dice.pick(&["a", "b"]);
                let metadata = format!(r#"{{"properties":{{"owner":"{owner}"}}}}"#);
                format!(r#"POST /subjects/{subject}/versions {{"metadata":{metadata}}}"#)
            }
            13 => format!("POST /subjects/{subject} avro \"int\""),
            0..=5 => {
                let fields: Vec<String> = (0..3)
                    .filter_map(|i| {
                        let default = dice.pick(&["", ",\"default\":0"]);
                        let ty = dice.pick(&["int", "long", "double"]);
                        (dice.roll(2) == 0)
                            .then(|| format!(r#"{{"name":"f{i}","type":"{ty}"{default}}}"#))
                    })
                    .collect();
                let schema = format!(
                    r#"{{"type":"record","name":"R","fields":[{}]}}"#,
                    fields.join(",")
                );
                format!("POST /subjects/{subject}/versions avro {schema}")
            }
            6 => {
                let subject = dice.pick(&["s0", "s1", "s2", "user"]);
                format!("DELETE /subjects/{subject}{permanent}")
            }
            7 | 8 => format!("DELETE /subjects/{subject}/versions/{version}{permanent}"),
            _ => {
                let mode = dice.pick(&["READONLY", "READWRITE"]);
                format!("PUT /mode/{subject} {{\"mode\":\"{mode}\"}}")
            }
        }
    }

    /// What an id was first seen to mean: its schema's identity, and its text with the references written out.
    type Meanings = HashMap<u32, (String, String)>;

    fn assert_invariants(session: &Session, meanings: &mut Meanings, seed: u64) {
        let (core, state) = (&session.core, session.core.state());
        let resolved = |version: &Version| core.resolved(&version.schema);
        for (subject, versions) in state.subjects() {
            for version in versions.values() {
                let (id, identity) = (version.id, version.schema.identity());
                assert_eq!(state.schema_by_id(id), Some(&version.schema), "seed {seed}");
                // A hard delete may take away what a deleted schema refers to; but it never means something else.
                let Ok(text) = resolved(version) else {
                    continue;
                };
                let now = (identity, text);
                let first = meanings.entry(id).or_insert_with(|| now.clone());
                assert_eq!(*first, now, "R2: id {id} changed its meaning (seed {seed})");
            }
            let live = state.live_versions(subject).map(|(_, v)| resolved(v));
            let live: Vec<AvroSchema> = live
                .map(|text| {
                    AvroSchema::parse(&text.expect("live references lead somewhere")).unwrap()
                })
                .collect();
            for (position, newer) in live.iter().enumerate() {
                for older in &live[..position] {
                    let found = compat::check(newer, older);
                    assert!(
                        found.is_empty(),
                        "an incompatible pair was accepted (seed {seed})"
                    );
                }
            }
        }
    }

    #[test]
    fn whatever_is_asked_ids_keep_their_meaning_and_versions_stay_compatible() {
        let mut registered = 0;
        for seed in 0..40 {
            let (mut dice, mut session, mut meanings) =
                (Dice(seed), Session::new(), HashMap::new());
            session.line("PUT /config {\"compatibility\":\"BACKWARD_TRANSITIVE\"}");
            for _ in 0..60 {
                session.line(&request(&mut dice));
                assert_invariants(&session, &mut meanings, seed);
            }
            session.assert_replay_agrees();
            registered += meanings.len();
        }
        assert!(
            registered > 200,
            "the conversations must get somewhere: {registered} ids"
        );
    }
}

#[test]
fn properties_in_another_order_are_the_same_schema() {
    let mut session = Session::new();
    let schema =
        |tags: &str| format!(r#"avro {{"type":"record","name":"r","fields":[],"tags":{tags}}}"#);
    let one = schema(r#"{"a":1,"b":1}"#);
    let other = schema(r#"{"b":1,"a":1}"#);
    let first = session.request("POST", &format!("/subjects/s/versions {one}"));
    assert!(first.starts_with("  200 {\"id\":1}\n  + "), "{first}");
    let again = session.request("POST", &format!("/subjects/s/versions {other}"));
    assert_eq!(again, "  200 {\"id\":1}\n", "nothing is written");
    let elsewhere = session.request("POST", &format!("/subjects/t/versions {other}"));
    assert!(elsewhere.starts_with("  200 {\"id\":1}\n"), "{elsewhere}");
    let text = session.request("GET", "/schemas/ids/1/schema");
    assert!(
        text.contains(r#""tags":{"a":1,"b":1}"#),
        "R2: one text: {text}"
    );
    let licensed = session.request(
        "POST",
        "/subjects/u/versions avro /* licence */ {\"type\":\"string\"}",
    );
    assert!(licensed.starts_with("  200 {\"id\":2}\n"), "{licensed}");
}

/// Compaction keeps the last value of each key, and tombstones only for a while.
#[test]
fn a_hard_deleted_id_is_not_given_again_after_compaction() {
    let mut session = Session::new();
    session.request("POST", "/subjects/s/versions avro \"int\"");
    session.request("POST", "/subjects/t/versions avro \"long\"");
    session.request("DELETE", "/subjects/t");
    session.request("DELETE", "/subjects/t?permanent=true");
    let mut last = std::collections::BTreeMap::new();
    for (key, value) in &session.log {
        last.insert(key.clone(), value.clone());
    }
    let mut compacted = Session::new();
    for (key, value) in last.into_iter().filter(|(_, value)| value.is_some()) {
        let value = value.as_ref().map(String::as_bytes);
        let record = Record::decode(Some(key.as_bytes()), value).unwrap();
        compacted.core.apply(&record);
    }
    let next = compacted.request("POST", "/subjects/u/versions avro \"string\"");
    assert!(next.starts_with("  200 {\"id\":3}\n"), "{next}");
}

/// A subject of many versions is compared with all of them at each registration.
#[test]
fn an_earlier_version_is_parsed_once() {
    let mut session = Session::new();
    session.request("PUT", r#"/config/s {"compatibility":"FULL_TRANSITIVE"}"#);
    for n in 0..50 {
        let default = format!(r#"{{"type":"record","name":"r","doc":"{n}","fields":[]}}"#);
        let answer = session.request("POST", &format!("/subjects/s/versions avro {default}"));
        assert!(answer.contains("200"), "{answer}");
    }
    assert_eq!(session.core.parsed.parses(), 49);
}
