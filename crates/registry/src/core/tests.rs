//! Conversations with the registry: each request, its exact answer, and the records it wrote.
//!
//! A script has one request a line: method, path, body. `avro …` in place of a body stands for `{"schema": "…"}`.
//! After each conversation the records are replayed into an empty registry, which must then be in the same state.

use super::*;
use expect_test::{Expect, expect};

struct Session {
    core: Core,
    log: Vec<(String, Option<String>)>,
}

impl Session {
    fn new() -> Session {
        Session {
            core: Core::new(Options {
                cluster_id: "Q2x1c3Rlci1pZC0wMDAwMA".into(),
                ..Options::default()
            }),
            log: Vec::new(),
        }
    }

    fn run(&mut self, script: &str) -> String {
        let mut shown = String::new();
        for line in script
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let mut parts = line.splitn(3, ' ');
            let (method, target) = (parts.next().unwrap(), parts.next().unwrap());
            let body = match parts.next().unwrap_or("") {
                avro if avro.starts_with("avro ") => {
                    Json::object([("schema", Json::string(&avro[5..]))]).to_string()
                }
                raw => raw.to_owned(),
            };
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let outcome = self.core.handle(&Request {
                method,
                path,
                query,
                body: body.as_bytes(),
            });
            shown += &format!("{method} {target}\n  {} {}\n", outcome.status, outcome.body);
            for record in &outcome.records {
                let (key, value) = record.encode();
                shown += &format!("  + {key} {}\n", value.as_deref().unwrap_or("null"));
                self.core.apply(record);
                self.log.push((key, value));
            }
        }
        shown
    }

    fn assert_replay_agrees(&self) {
        let mut replayed = Core::default();
        for (key, value) in &self.log {
            let record =
                Record::decode(Some(key.as_bytes()), value.as_ref().map(|v| v.as_bytes())).unwrap();
            replayed.apply(&record);
        }
        assert_eq!(
            replayed.state(),
            self.core.state(),
            "R1: the state is a function of the topic"
        );
    }
}

fn check(script: &str, expected: Expect) {
    let mut session = Session::new();
    expected.assert_eq(&session.run(script));
    session.assert_replay_agrees();
}

#[test]
fn register_and_fetch() {
    check(
        r#"
        POST /subjects/t-value/versions avro {"type": "record", "name": "a.A", "fields": [{"name": "x", "type": "int"}]}
        POST /subjects/t-value/versions avro {"name":"A","namespace":"a","type":"record","fields":[{"type":{"type":"int"},"name":"x"}]}
        POST /subjects/other/versions avro {"type":"record","name":"a.A","fields":[{"name":"x","type":"int"}]}
        POST /subjects/t-value/versions avro {"type":"record","name":"a.A","fields":[{"name":"x","type":"long"}]}
        GET /subjects
        GET /subjects?subjectPrefix=t
        GET /subjects?offset=1&limit=5
        GET /subjects/t-value/versions
        GET /subjects/t-value/versions/1
        GET /subjects/t-value/versions/latest
        GET /subjects/t-value/versions/-1
        GET /subjects/t-value/versions/1/schema
        GET /schemas/ids/1
        GET /schemas/ids/1?subject=t-value&fetchMaxId=true&format=serialized
        GET /schemas/ids/1/schema
        GET /schemas/ids/1/subjects
        GET /schemas/ids/1/versions
        GET /schemas?latestOnly=true
        GET /schemas/types
        POST /subjects/t-value avro {"type":"record","name":"A","namespace":"a","fields":[{"name":"x","type":"int"}]}
        POST /subjects/t-value avro {"type":"record","name":"A","fields":[]}
        POST /subjects/nope avro "int"
        "#,
        expect![[r#"
            POST /subjects/t-value/versions
              200 {"id":1}
              + {"keytype":"SCHEMA","subject":"t-value","version":1,"magic":1} {"subject":"t-value","version":1,"id":1,"schema":"{\"type\":\"record\",\"name\":\"A\",\"namespace\":\"a\",\"fields\":[{\"name\":\"x\",\"type\":\"int\"}]}","deleted":false}
            POST /subjects/t-value/versions
              200 {"id":1}
            POST /subjects/other/versions
              200 {"id":1}
              + {"keytype":"SCHEMA","subject":"other","version":1,"magic":1} {"subject":"other","version":1,"id":1,"schema":"{\"type\":\"record\",\"name\":\"A\",\"namespace\":\"a\",\"fields\":[{\"name\":\"x\",\"type\":\"int\"}]}","deleted":false}
            POST /subjects/t-value/versions
              200 {"id":2}
              + {"keytype":"SCHEMA","subject":"t-value","version":2,"magic":1} {"subject":"t-value","version":2,"id":2,"schema":"{\"type\":\"record\",\"name\":\"A\",\"namespace\":\"a\",\"fields\":[{\"name\":\"x\",\"type\":\"long\"}]}","deleted":false}
            GET /subjects
              200 ["other","t-value"]
            GET /subjects?subjectPrefix=t
              200 ["t-value"]
            GET /subjects?offset=1&limit=5
              200 ["t-value"]
            GET /subjects/t-value/versions
              200 [1,2]
            GET /subjects/t-value/versions/1
              200 {"subject":"t-value","version":1,"id":1,"schema":"{\"type\":\"record\",\"name\":\"A\",\"namespace\":\"a\",\"fields\":[{\"name\":\"x\",\"type\":\"int\"}]}"}
            GET /subjects/t-value/versions/latest
              200 {"subject":"t-value","version":2,"id":2,"schema":"{\"type\":\"record\",\"name\":\"A\",\"namespace\":\"a\",\"fields\":[{\"name\":\"x\",\"type\":\"long\"}]}"}
            GET /subjects/t-value/versions/-1
              200 {"subject":"t-value","version":2,"id":2,"schema":"{\"type\":\"record\",\"name\":\"A\",\"namespace\":\"a\",\"fields\":[{\"name\":\"x\",\"type\":\"long\"}]}"}
            GET /subjects/t-value/versions/1/schema
              200 {"type":"record","name":"A","namespace":"a","fields":[{"name":"x","type":"int"}]}
            GET /schemas/ids/1
              200 {"schema":"{\"type\":\"record\",\"name\":\"A\",\"namespace\":\"a\",\"fields\":[{\"name\":\"x\",\"type\":\"int\"}]}"}
            GET /schemas/ids/1?subject=t-value&fetchMaxId=true&format=serialized
              200 {"schema":"{\"type\":\"record\",\"name\":\"A\",\"namespace\":\"a\",\"fields\":[{\"name\":\"x\",\"type\":\"int\"}]}","maxId":2}
            GET /schemas/ids/1/schema
              200 {"type":"record","name":"A","namespace":"a","fields":[{"name":"x","type":"int"}]}
            GET /schemas/ids/1/subjects
              200 ["other","t-value"]
            GET /schemas/ids/1/versions
              200 [{"subject":"other","version":1},{"subject":"t-value","version":1}]
            GET /schemas?latestOnly=true
              200 [{"subject":"other","version":1,"id":1,"schema":"{\"type\":\"record\",\"name\":\"A\",\"namespace\":\"a\",\"fields\":[{\"name\":\"x\",\"type\":\"int\"}]}"},{"subject":"t-value","version":2,"id":2,"schema":"{\"type\":\"record\",\"name\":\"A\",\"namespace\":\"a\",\"fields\":[{\"name\":\"x\",\"type\":\"long\"}]}"}]
            GET /schemas/types
              200 ["AVRO"]
            POST /subjects/t-value
              200 {"subject":"t-value","version":1,"id":1,"schema":"{\"type\":\"record\",\"name\":\"A\",\"namespace\":\"a\",\"fields\":[{\"name\":\"x\",\"type\":\"int\"}]}"}
            POST /subjects/t-value
              404 {"error_code":40403,"message":"Schema not found"}
            POST /subjects/nope
              404 {"error_code":40401,"message":"Subject 'nope' not found."}
        "#]],
    );
}

#[test]
fn an_incompatible_schema_is_refused_in_confluents_words() {
    check(
        r#"
        POST /subjects/s/versions avro {"type":"record","name":"U","fields":[{"name":"id","type":"int"}]}
        POST /subjects/s/versions avro {"type":"record","name":"U","fields":[{"name":"id","type":"int"},{"name":"x","type":"int"}]}
        POST /subjects/s/versions avro {"type":"record","name":"U","fields":[{"name":"id","type":"string"},{"name":"x","type":"int"}]}
        POST /compatibility/subjects/s/versions/latest?verbose=true avro {"type":"record","name":"U","fields":[{"name":"id","type":"int"},{"name":"x","type":"int"}]}
        POST /compatibility/subjects/s/versions/1 avro {"type":"record","name":"U","fields":[{"name":"id","type":"long"}]}
        POST /compatibility/subjects/s/versions/1?verbose=true avro {"type":"record","name":"U","fields":[{"name":"id","type":"long"}]}
        POST /compatibility/subjects/s/versions?verbose=true avro "int"
        POST /compatibility/subjects/s/versions/9 avro "int"
        POST /compatibility/subjects/nope/versions/latest avro "int"
        POST /compatibility/subjects/nope/versions/1 avro "int"
        POST /compatibility/subjects/s/versions/latest avro "itn"
        "#,
        expect![[r#"
            POST /subjects/s/versions
              200 {"id":1}
              + {"keytype":"SCHEMA","subject":"s","version":1,"magic":1} {"subject":"s","version":1,"id":1,"schema":"{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"id\",\"type\":\"int\"}]}","deleted":false}
            POST /subjects/s/versions
              409 {"error_code":409,"message":"Schema being registered is incompatible with an earlier schema for subject \"s\", details: [{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'x' at path '/fields/1' in the new schema has no default value and is missing in the old schema', additionalInfo:'x'}, {oldSchemaVersion: 1}, {oldSchema: '{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"id\",\"type\":\"int\"}]}'}, {validateFields: 'false', compatibility: 'BACKWARD'}]"}
            POST /subjects/s/versions
              409 {"error_code":409,"message":"Schema being registered is incompatible with an earlier schema for subject \"s\", details: [{errorType:'TYPE_MISMATCH', description:'The type (path '/fields/0/type') of a field in the new schema does not match with the old schema', additionalInfo:'reader type: STRING not compatible with writer type: INT'}, {errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'x' at path '/fields/1' in the new schema has no default value and is missing in the old schema', additionalInfo:'x'}, {oldSchemaVersion: 1}, {oldSchema: '{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"id\",\"type\":\"int\"}]}'}, {validateFields: 'false', compatibility: 'BACKWARD'}]"}
            POST /compatibility/subjects/s/versions/latest?verbose=true
              200 {"is_compatible":false,"messages":["{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'x' at path '/fields/1' in the new schema has no default value and is missing in the old schema', additionalInfo:'x'}","{oldSchemaVersion: 1}","{oldSchema: '{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"id\",\"type\":\"int\"}]}'}","{validateFields: 'false', compatibility: 'BACKWARD'}"]}
            POST /compatibility/subjects/s/versions/1
              200 {"is_compatible":true}
            POST /compatibility/subjects/s/versions/1?verbose=true
              200 {"is_compatible":true,"messages":[]}
            POST /compatibility/subjects/s/versions?verbose=true
              200 {"is_compatible":false,"messages":["{errorType:'TYPE_MISMATCH', description:'The type (path '/') of a field in the new schema does not match with the old schema', additionalInfo:'reader type: INT not compatible with writer type: RECORD'}","{oldSchemaVersion: 1}","{oldSchema: '{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"id\",\"type\":\"int\"}]}'}","{validateFields: 'false', compatibility: 'BACKWARD'}"]}
            POST /compatibility/subjects/s/versions/9
              404 {"error_code":40402,"message":"Version 9 not found."}
            POST /compatibility/subjects/nope/versions/latest
              200 {"is_compatible":true}
            POST /compatibility/subjects/nope/versions/1
              404 {"error_code":40402,"message":"Version 1 not found."}
            POST /compatibility/subjects/s/versions/latest
              422 {"error_code":42201,"message":"Invalid schema {subject=s,version=0,id=-1,schemaType=AVRO,references=[],metadata=null,ruleSet=null,schema=\"itn\"} with refs [] of type AVRO, details: type \"itn\" is not known, at line 1, column 1; did you mean \"int\"?"}
        "#]],
    );
}

#[test]
fn the_body_code_of_a_refusal_can_be_the_later_one() {
    let mut session = Session::new();
    session.core.options.incompatible_code = 40901;
    let shown = session.run(
        r#"
        POST /subjects/s/versions avro "int"
        POST /subjects/s/versions avro "string"
        "#,
    );
    expect![[r#"
        POST /subjects/s/versions
          200 {"id":1}
          + {"keytype":"SCHEMA","subject":"s","version":1,"magic":1} {"subject":"s","version":1,"id":1,"schema":"\"int\"","deleted":false}
        POST /subjects/s/versions
          409 {"error_code":40901,"message":"Schema being registered is incompatible with an earlier schema for subject \"s\", details: [{errorType:'TYPE_MISMATCH', description:'The type (path '/') of a field in the new schema does not match with the old schema', additionalInfo:'reader type: STRING not compatible with writer type: INT'}, {oldSchemaVersion: 1}, {oldSchema: '\"int\"'}, {validateFields: 'false', compatibility: 'BACKWARD'}]"}
    "#]].assert_eq(&shown);
}

#[test]
fn levels_look_forward_and_back() {
    check(
        r#"
        GET /config
        PUT /config/s {"compatibility":"FORWARD"}
        GET /config/s
        POST /subjects/s/versions avro {"type":"record","name":"U","fields":[{"name":"a","type":"int"}]}
        POST /subjects/s/versions avro {"type":"record","name":"U","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"}]}
        POST /subjects/s/versions avro {"type":"record","name":"U","fields":[{"name":"b","type":"int"}]}
        PUT /config/s {"compatibility":"FULL"}
        POST /subjects/s/versions avro {"type":"record","name":"U","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"},{"name":"c","type":"int"}]}
        POST /subjects/s/versions avro {"type":"record","name":"U","fields":[{"name":"a","type":"int"},{"name":"b","type":"long"}]}
        POST /subjects/s/versions avro {"type":"record","name":"U","fields":[{"name":"a","type":"int"},{"name":"b","type":"string"}]}
        PUT /config/s {"compatibility":"backward_transitive"}
        POST /subjects/s/versions avro {"type":"record","name":"U","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"},{"name":"c","type":"int","default":0}]}
        PUT /config/s {"compatibility":"NONE"}
        POST /subjects/s/versions avro "string"
        "#,
        expect![[r#"
            GET /config
              200 {"compatibilityLevel":"BACKWARD"}
            PUT /config/s
              200 {"compatibility":"FORWARD"}
              + {"keytype":"CONFIG","subject":"s","magic":0} {"subject":"s","compatibilityLevel":"FORWARD"}
            GET /config/s
              200 {"compatibilityLevel":"FORWARD"}
            POST /subjects/s/versions
              200 {"id":1}
              + {"keytype":"SCHEMA","subject":"s","version":1,"magic":1} {"subject":"s","version":1,"id":1,"schema":"{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"}]}","deleted":false}
            POST /subjects/s/versions
              200 {"id":2}
              + {"keytype":"SCHEMA","subject":"s","version":2,"magic":1} {"subject":"s","version":2,"id":2,"schema":"{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"b\",\"type\":\"int\"}]}","deleted":false}
            POST /subjects/s/versions
              409 {"error_code":409,"message":"Schema being registered is incompatible with an earlier schema for subject \"s\", details: [{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'a' at path '/fields/0' in the old schema has no default value and is missing in the new schema', additionalInfo:'a'}, {oldSchemaVersion: 2}, {oldSchema: '{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"b\",\"type\":\"int\"}]}'}, {validateFields: 'false', compatibility: 'FORWARD'}]"}
            PUT /config/s
              200 {"compatibility":"FULL"}
              + {"keytype":"CONFIG","subject":"s","magic":0} {"subject":"s","compatibilityLevel":"FULL"}
            POST /subjects/s/versions
              409 {"error_code":409,"message":"Schema being registered is incompatible with an earlier schema for subject \"s\", details: [{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'c' at path '/fields/2' in the new schema has no default value and is missing in the old schema', additionalInfo:'c'}, {oldSchemaVersion: 2}, {oldSchema: '{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"b\",\"type\":\"int\"}]}'}, {validateFields: 'false', compatibility: 'FULL'}]"}
            POST /subjects/s/versions
              409 {"error_code":409,"message":"Schema being registered is incompatible with an earlier schema for subject \"s\", details: [{errorType:'TYPE_MISMATCH', description:'The type (path '/fields/1/type') of a field in the old schema does not match with the new schema', additionalInfo:'reader type: INT not compatible with writer type: LONG'}, {validateFields: 'false', compatibility: 'FULL'}]"}
            POST /subjects/s/versions
              409 {"error_code":409,"message":"Schema being registered is incompatible with an earlier schema for subject \"s\", details: [{errorType:'TYPE_MISMATCH', description:'The type (path '/fields/1/type') of a field in the old schema does not match with the new schema', additionalInfo:'reader type: INT not compatible with writer type: STRING'}, {errorType:'TYPE_MISMATCH', description:'The type (path '/fields/1/type') of a field in the new schema does not match with the old schema', additionalInfo:'reader type: STRING not compatible with writer type: INT'}, {oldSchemaVersion: 2}, {oldSchema: '{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"b\",\"type\":\"int\"}]}'}, {validateFields: 'false', compatibility: 'FULL'}]"}
            PUT /config/s
              200 {"compatibility":"BACKWARD_TRANSITIVE"}
              + {"keytype":"CONFIG","subject":"s","magic":0} {"subject":"s","compatibilityLevel":"BACKWARD_TRANSITIVE"}
            POST /subjects/s/versions
              409 {"error_code":409,"message":"Schema being registered is incompatible with an earlier schema for subject \"s\", details: [{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'b' at path '/fields/1' in the new schema has no default value and is missing in the old schema', additionalInfo:'b'}, {oldSchemaVersion: 1}, {oldSchema: '{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"}]}'}, {validateFields: 'false', compatibility: 'BACKWARD_TRANSITIVE'}]"}
            PUT /config/s
              200 {"compatibility":"NONE"}
              + {"keytype":"CONFIG","subject":"s","magic":0} {"subject":"s","compatibilityLevel":"NONE"}
            POST /subjects/s/versions
              200 {"id":3}
              + {"keytype":"SCHEMA","subject":"s","version":3,"magic":1} {"subject":"s","version":3,"id":3,"schema":"\"string\"","deleted":false}
        "#]],
    );
}

#[test]
fn settings_are_got_put_and_deleted() {
    check(
        r#"
        GET /config/s
        GET /config/s?defaultToGlobal=true
        PUT /config {"compatibility":"NONE"}
        GET /config/s?defaultToGlobal=true
        PUT /config/s {"compatibility":"SOMEHOW"}
        PUT /config/s {}
        PUT /config/s nonsense
        PUT /config/s {"compatibility":"FULL","normalize":null}
        PUT /config/s {"compatibility":"FULL","compatibilityGroup":"major"}
        DELETE /config/s
        DELETE /config/s
        DELETE /config
        GET /config
        GET /mode
        GET /mode/s
        GET /mode/s?defaultToGlobal=true
        PUT /mode/s {"mode":"READONLY"}
        GET /mode/s
        POST /subjects/s/versions avro "int"
        PUT /config/s {"compatibility":"FULL"}
        DELETE /mode/s
        DELETE /mode/s
        PUT /mode {"mode":"SOMEHOW"}
        PUT /mode {"mode":"READONLY"}
        POST /subjects/s/versions avro "int"
        DELETE /mode
        POST /subjects/s/versions avro "int"
        "#,
        expect![[r#"
            GET /config/s
              404 {"error_code":40408,"message":"Subject 's' does not have subject-level compatibility configured"}
            GET /config/s?defaultToGlobal=true
              200 {"compatibilityLevel":"BACKWARD"}
            PUT /config
              200 {"compatibility":"NONE"}
              + {"keytype":"CONFIG","subject":null,"magic":0} {"compatibilityLevel":"NONE"}
            GET /config/s?defaultToGlobal=true
              200 {"compatibilityLevel":"NONE"}
            PUT /config/s
              422 {"error_code":42203,"message":"Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive"}
            PUT /config/s
              422 {"error_code":42203,"message":"Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive"}
            PUT /config/s
              400 {"error_code":400,"message":"the request body is not the JSON object that this route takes: expected a JSON value, found 'n', at byte 0"}
            PUT /config/s
              200 {"compatibility":"FULL"}
              + {"keytype":"CONFIG","subject":"s","magic":0} {"subject":"s","compatibilityLevel":"FULL"}
            PUT /config/s
              422 {"error_code":42205,"message":"the setting 'compatibilityGroup' is not supported yet; leave it out"}
            DELETE /config/s
              200 {"compatibilityLevel":"FULL"}
              + {"keytype":"CONFIG","subject":"s","magic":0} null
            DELETE /config/s
              404 {"error_code":40401,"message":"Subject 's' not found."}
            DELETE /config
              200 {"compatibilityLevel":"NONE"}
              + {"keytype":"CONFIG","subject":null,"magic":0} null
            GET /config
              200 {"compatibilityLevel":"BACKWARD"}
            GET /mode
              200 {"mode":"READWRITE"}
            GET /mode/s
              404 {"error_code":40409,"message":"Subject 's' does not have subject-level mode configured"}
            GET /mode/s?defaultToGlobal=true
              200 {"mode":"READWRITE"}
            PUT /mode/s
              200 {"mode":"READONLY"}
              + {"keytype":"MODE","subject":"s","magic":0} {"subject":"s","mode":"READONLY"}
            GET /mode/s
              200 {"mode":"READONLY"}
            POST /subjects/s/versions
              422 {"error_code":42205,"message":"Subject s is in read-only mode"}
            PUT /config/s
              422 {"error_code":42205,"message":"Subject s is in read-only mode"}
            DELETE /mode/s
              200 {"mode":"READONLY"}
              + {"keytype":"MODE","subject":"s","magic":0} null
            DELETE /mode/s
              404 {"error_code":40401,"message":"Subject 's' not found."}
            PUT /mode
              422 {"error_code":42204,"message":"Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, and IMPORT."}
            PUT /mode
              200 {"mode":"READONLY"}
              + {"keytype":"MODE","subject":null,"magic":0} {"mode":"READONLY"}
            POST /subjects/s/versions
              422 {"error_code":42205,"message":"Subject s is in read-only mode"}
            DELETE /mode
              200 {"mode":"READONLY"}
              + {"keytype":"MODE","subject":null,"magic":0} null
            POST /subjects/s/versions
              200 {"id":1}
              + {"keytype":"SCHEMA","subject":"s","version":1,"magic":1} {"subject":"s","version":1,"id":1,"schema":"\"int\"","deleted":false}
        "#]],
    );
}

/// The conversation that Confluent Schema Registry 7.4.0 had with the authors of an open test suite; status and body of every
/// answer are the same here (they publish theirs with sorted keys).
#[test]
fn deleting_and_importing_go_as_captured_from_confluent() {
    check(
        r#"
        PUT /config/t {"compatibility":"NONE"}
        POST /subjects/t/versions avro {"type":"record","name":"A","fields":[]}
        POST /subjects/t/versions avro {"type":"record","name":"B","fields":[]}
        DELETE /subjects/t/versions/1
        GET /subjects/t/versions
        GET /subjects/t/versions?deleted=true
        GET /subjects/t/versions/1
        GET /subjects/t/versions/1?deleted=true
        DELETE /subjects/t/versions/2?permanent=true
        DELETE /subjects/t/versions/1?permanent=true
        POST /subjects/d/versions avro {"type":"record","name":"A","fields":[]}
        DELETE /subjects/d?permanent=true
        DELETE /subjects/d
        DELETE /subjects/d
        DELETE /subjects/d?permanent=true
        PUT /mode/r {"mode":"READONLY"}
        POST /subjects/r/versions avro {"type":"record","name":"A","fields":[]}
        GET /mode
        GET /mode/r
        GET /mode/nope
        DELETE /mode/r
        PUT /mode/i {"mode":"IMPORT"}
        POST /subjects/i/versions {"schema":"{\"type\":\"record\",\"name\":\"C\",\"fields\":[]}","id":42,"version":5}
        POST /subjects/i/versions {"schema":"{\"type\":\"record\",\"name\":\"D\",\"fields\":[]}","id":42,"version":6}
        POST /subjects/i/versions {"schema":"{\"type\":\"record\",\"name\":\"C\",\"fields\":[]}","id":43,"version":5}
        GET /schemas
        GET /schemas/ids/1/versions
        GET /subjects/i/versions/5/referencedby
        "#,
        expect![[r#"
            PUT /config/t
              200 {"compatibility":"NONE"}
              + {"keytype":"CONFIG","subject":"t","magic":0} {"subject":"t","compatibilityLevel":"NONE"}
            POST /subjects/t/versions
              200 {"id":1}
              + {"keytype":"SCHEMA","subject":"t","version":1,"magic":1} {"subject":"t","version":1,"id":1,"schema":"{\"type\":\"record\",\"name\":\"A\",\"fields\":[]}","deleted":false}
            POST /subjects/t/versions
              200 {"id":2}
              + {"keytype":"SCHEMA","subject":"t","version":2,"magic":1} {"subject":"t","version":2,"id":2,"schema":"{\"type\":\"record\",\"name\":\"B\",\"fields\":[]}","deleted":false}
            DELETE /subjects/t/versions/1
              200 1
              + {"keytype":"SCHEMA","subject":"t","version":1,"magic":1} {"subject":"t","version":1,"id":1,"schema":"{\"type\":\"record\",\"name\":\"A\",\"fields\":[]}","deleted":true}
            GET /subjects/t/versions
              200 [2]
            GET /subjects/t/versions?deleted=true
              200 [1,2]
            GET /subjects/t/versions/1
              404 {"error_code":40402,"message":"Version 1 not found."}
            GET /subjects/t/versions/1?deleted=true
              200 {"subject":"t","version":1,"id":1,"schema":"{\"type\":\"record\",\"name\":\"A\",\"fields\":[]}"}
            DELETE /subjects/t/versions/2?permanent=true
              404 {"error_code":40407,"message":"Subject 't' Version 2 was not deleted first before being permanently deleted"}
            DELETE /subjects/t/versions/1?permanent=true
              200 1
              + {"keytype":"SCHEMA","subject":"t","version":1,"magic":1} null
            POST /subjects/d/versions
              200 {"id":3}
              + {"keytype":"SCHEMA","subject":"d","version":1,"magic":1} {"subject":"d","version":1,"id":3,"schema":"{\"type\":\"record\",\"name\":\"A\",\"fields\":[]}","deleted":false}
            DELETE /subjects/d?permanent=true
              404 {"error_code":40405,"message":"Subject 'd' was not deleted first before being permanently deleted"}
            DELETE /subjects/d
              200 [1]
              + {"keytype":"DELETE_SUBJECT","subject":"d","magic":0} {"subject":"d","version":1}
            DELETE /subjects/d
              404 {"error_code":40404,"message":"Subject 'd' was soft deleted.Set permanent=true to delete permanently"}
            DELETE /subjects/d?permanent=true
              200 [1]
              + {"keytype":"SCHEMA","subject":"d","version":1,"magic":1} null
            PUT /mode/r
              200 {"mode":"READONLY"}
              + {"keytype":"MODE","subject":"r","magic":0} {"subject":"r","mode":"READONLY"}
            POST /subjects/r/versions
              422 {"error_code":42205,"message":"Subject r is in read-only mode"}
            GET /mode
              200 {"mode":"READWRITE"}
            GET /mode/r
              200 {"mode":"READONLY"}
            GET /mode/nope
              404 {"error_code":40409,"message":"Subject 'nope' does not have subject-level mode configured"}
            DELETE /mode/r
              200 {"mode":"READONLY"}
              + {"keytype":"MODE","subject":"r","magic":0} null
            PUT /mode/i
              200 {"mode":"IMPORT"}
              + {"keytype":"CLEAR_SUBJECT","subject":"i","magic":0} {"subject":"i"}
              + {"keytype":"MODE","subject":"i","magic":0} {"subject":"i","mode":"IMPORT"}
            POST /subjects/i/versions
              200 {"id":42}
              + {"keytype":"SCHEMA","subject":"i","version":5,"magic":1} {"subject":"i","version":5,"id":42,"schema":"{\"type\":\"record\",\"name\":\"C\",\"fields\":[]}","deleted":false}
            POST /subjects/i/versions
              422 {"error_code":42205,"message":"Overwrite new schema with id 42 is not permitted."}
            POST /subjects/i/versions
              200 {"id":43}
              + {"keytype":"SCHEMA","subject":"i","version":5,"magic":1} {"subject":"i","version":5,"id":43,"schema":"{\"type\":\"record\",\"name\":\"C\",\"fields\":[]}","deleted":false}
            GET /schemas
              200 [{"subject":"i","version":5,"id":43,"schema":"{\"type\":\"record\",\"name\":\"C\",\"fields\":[]}"},{"subject":"t","version":2,"id":2,"schema":"{\"type\":\"record\",\"name\":\"B\",\"fields\":[]}"}]
            GET /schemas/ids/1/versions
              404 {"error_code":40403,"message":"Schema not found"}
            GET /subjects/i/versions/5/referencedby
              200 []
        "#]],
    );
}

#[test]
fn deleted_versions_keep_their_numbers_and_ids() {
    check(
        r#"
        POST /subjects/s/versions avro "int"
        DELETE /subjects/s/versions/1
        GET /subjects
        GET /subjects?deleted=TRUE
        GET /subjects?deletedOnly=true
        GET /schemas/ids/1
        GET /schemas/ids/1/subjects
        GET /schemas/ids/1/subjects?deleted=true
        POST /subjects/s avro "int"
        POST /subjects/s?deleted=true avro "int"
        DELETE /subjects/s/versions/1
        POST /subjects/s/versions avro "string"
        POST /subjects/s/versions avro "int"
        GET /subjects/s/versions
        GET /subjects/s/versions?deletedAsNegative=true
        GET /subjects/s/versions?deletedOnly=true
        PUT /config/s {"compatibility":"FULL"}
        DELETE /subjects/s
        DELETE /subjects/s/versions/latest
        DELETE /subjects/nope
        DELETE /subjects/nope/versions/1
        PUT /mode/s {"mode":"IMPORT"}
        GET /subjects?deleted=true
        POST /subjects/s/versions avro "int"
        POST /subjects/s/versions {"schema":"\"int\"","id":7}
        PUT /mode/s {"mode":"READWRITE"}
        POST /subjects/s/versions {"schema":"\"long\"","id":8}
        POST /subjects/s/versions {"schema":"\"long\"","version":5}
        POST /subjects/s/versions avro "long"
        PUT /mode/s {"mode":"IMPORT"}
        PUT /mode/s?force=true {"mode":"IMPORT"}
        "#,
        expect![[r#"
            POST /subjects/s/versions
              200 {"id":1}
              + {"keytype":"SCHEMA","subject":"s","version":1,"magic":1} {"subject":"s","version":1,"id":1,"schema":"\"int\"","deleted":false}
            DELETE /subjects/s/versions/1
              200 1
              + {"keytype":"SCHEMA","subject":"s","version":1,"magic":1} {"subject":"s","version":1,"id":1,"schema":"\"int\"","deleted":true}
            GET /subjects
              200 []
            GET /subjects?deleted=TRUE
              200 ["s"]
            GET /subjects?deletedOnly=true
              200 ["s"]
            GET /schemas/ids/1
              200 {"schema":"\"int\""}
            GET /schemas/ids/1/subjects
              200 []
            GET /schemas/ids/1/subjects?deleted=true
              200 ["s"]
            POST /subjects/s
              404 {"error_code":40401,"message":"Subject 's' not found."}
            POST /subjects/s?deleted=true
              200 {"subject":"s","version":1,"id":1,"schema":"\"int\""}
            DELETE /subjects/s/versions/1
              404 {"error_code":40406,"message":"Subject 's' Version 1 was soft deleted.Set permanent=true to delete permanently"}
            POST /subjects/s/versions
              200 {"id":2}
              + {"keytype":"SCHEMA","subject":"s","version":2,"magic":1} {"subject":"s","version":2,"id":2,"schema":"\"string\"","deleted":false}
            POST /subjects/s/versions
              409 {"error_code":409,"message":"Schema being registered is incompatible with an earlier schema for subject \"s\", details: [{errorType:'TYPE_MISMATCH', description:'The type (path '/') of a field in the new schema does not match with the old schema', additionalInfo:'reader type: INT not compatible with writer type: STRING'}, {oldSchemaVersion: 2}, {oldSchema: '\"string\"'}, {validateFields: 'false', compatibility: 'BACKWARD'}]"}
            GET /subjects/s/versions
              200 [2]
            GET /subjects/s/versions?deletedAsNegative=true
              200 [-1,2]
            GET /subjects/s/versions?deletedOnly=true
              200 [1]
            PUT /config/s
              200 {"compatibility":"FULL"}
              + {"keytype":"CONFIG","subject":"s","magic":0} {"subject":"s","compatibilityLevel":"FULL"}
            DELETE /subjects/s
              200 [2]
              + {"keytype":"DELETE_SUBJECT","subject":"s","magic":0} {"subject":"s","version":2}
              + {"keytype":"CONFIG","subject":"s","magic":0} null
            DELETE /subjects/s/versions/latest
              404 {"error_code":40401,"message":"Subject 's' not found."}
            DELETE /subjects/nope
              404 {"error_code":40401,"message":"Subject 'nope' not found."}
            DELETE /subjects/nope/versions/1
              404 {"error_code":40401,"message":"Subject 'nope' not found."}
            PUT /mode/s
              200 {"mode":"IMPORT"}
              + {"keytype":"CLEAR_SUBJECT","subject":"s","magic":0} {"subject":"s"}
              + {"keytype":"MODE","subject":"s","magic":0} {"subject":"s","mode":"IMPORT"}
            GET /subjects?deleted=true
              200 []
            POST /subjects/s/versions
              422 {"error_code":42205,"message":"Subject s is not in read-write mode"}
            POST /subjects/s/versions
              200 {"id":7}
              + {"keytype":"SCHEMA","subject":"s","version":1,"magic":1} {"subject":"s","version":1,"id":7,"schema":"\"int\"","deleted":false}
            PUT /mode/s
              200 {"mode":"READWRITE"}
              + {"keytype":"MODE","subject":"s","magic":0} {"subject":"s","mode":"READWRITE"}
            POST /subjects/s/versions
              422 {"error_code":42205,"message":"Subject s is not in import mode"}
            POST /subjects/s/versions
              422 {"error_code":42201,"message":"Version is not one more than previous version"}
            POST /subjects/s/versions
              200 {"id":8}
              + {"keytype":"SCHEMA","subject":"s","version":2,"magic":1} {"subject":"s","version":2,"id":8,"schema":"\"long\"","deleted":false}
            PUT /mode/s
              422 {"error_code":42205,"message":"Cannot import since found existing subjects"}
            PUT /mode/s?force=true
              200 {"mode":"IMPORT"}
              + {"keytype":"MODE","subject":"s","magic":0} {"subject":"s","mode":"IMPORT"}
        "#]],
    );
}

#[test]
fn references_are_resolved_and_protected() {
    check(
        r#"
        POST /subjects/money/versions avro {"type":"record","name":"Money","fields":[{"name":"cents","type":"long"}]}
        POST /subjects/order/versions {"schema":"{\"type\":\"record\",\"name\":\"Order\",\"fields\":[{\"name\":\"price\",\"type\":\"Money\"}]}","references":[{"name":"Money","subject":"money","version":1}]}
        GET /schemas/ids/2
        GET /schemas/ids/2?format=resolved
        GET /subjects/order/versions/1
        GET /subjects/money/versions/1/referencedby
        DELETE /subjects/money/versions/1
        DELETE /subjects/money
        POST /subjects/bad/versions {"schema":"{\"type\":\"record\",\"name\":\"Bad\",\"fields\":[{\"name\":\"x\",\"type\":\"Missing\"}]}","references":[{"name":"Missing","subject":"nope","version":1}]}
        POST /subjects/bad/versions {"schema":"\"int\"","references":[{"name":"Missing"}]}
        POST /subjects/order/versions {"schema":"{\"type\":\"record\",\"name\":\"Order\",\"fields\":[{\"name\":\"price\",\"type\":\"Money\"},{\"name\":\"tax\",\"type\":\"Money\"}]}","references":[{"name":"Money","subject":"money","version":1}]}
        DELETE /subjects/order
        DELETE /subjects/money
        "#,
        expect![[r#"
            POST /subjects/money/versions
              200 {"id":1}
              + {"keytype":"SCHEMA","subject":"money","version":1,"magic":1} {"subject":"money","version":1,"id":1,"schema":"{\"type\":\"record\",\"name\":\"Money\",\"fields\":[{\"name\":\"cents\",\"type\":\"long\"}]}","deleted":false}
            POST /subjects/order/versions
              200 {"id":2}
              + {"keytype":"SCHEMA","subject":"order","version":1,"magic":1} {"subject":"order","version":1,"id":2,"references":[{"name":"Money","subject":"money","version":1}],"schema":"{\"type\":\"record\",\"name\":\"Order\",\"fields\":[{\"name\":\"price\",\"type\":\"Money\"}]}","deleted":false}
            GET /schemas/ids/2
              200 {"schema":"{\"type\":\"record\",\"name\":\"Order\",\"fields\":[{\"name\":\"price\",\"type\":\"Money\"}]}","references":[{"name":"Money","subject":"money","version":1}]}
            GET /schemas/ids/2?format=resolved
              200 {"schema":"{\"type\":\"record\",\"name\":\"Order\",\"fields\":[{\"name\":\"price\",\"type\":{\"type\":\"record\",\"name\":\"Money\",\"fields\":[{\"name\":\"cents\",\"type\":\"long\"}]}}]}","references":[{"name":"Money","subject":"money","version":1}]}
            GET /subjects/order/versions/1
              200 {"subject":"order","version":1,"id":2,"references":[{"name":"Money","subject":"money","version":1}],"schema":"{\"type\":\"record\",\"name\":\"Order\",\"fields\":[{\"name\":\"price\",\"type\":\"Money\"}]}"}
            GET /subjects/money/versions/1/referencedby
              200 [2]
            DELETE /subjects/money/versions/1
              422 {"error_code":42206,"message":"One or more references exist to the schema {magic=1,keytype=SCHEMA,subject=money,version=1}."}
            DELETE /subjects/money
              422 {"error_code":42206,"message":"One or more references exist to the schema {magic=1,keytype=SCHEMA,subject=money,version=1}."}
            POST /subjects/bad/versions
              422 {"error_code":42201,"message":"Invalid schema {subject=bad,version=0,id=-1,schemaType=AVRO,references=[{name='Missing', subject='nope', version=1}],metadata=null,ruleSet=null,schema={\"type\":\"record\",\"name\":\"Bad\",\"fields\":[{\"name\":\"x\",\"type\":\"Missing\"}]}} with refs [{name='Missing', subject='nope', version=1}] of type AVRO, details: No schema reference found for subject \"nope\" and version 1"}
            POST /subjects/bad/versions
              400 {"error_code":400,"message":"the request body is not the JSON object that this route takes: \"references\" is a list of {\"name\", \"subject\", \"version\"}"}
            POST /subjects/order/versions
              409 {"error_code":409,"message":"Schema being registered is incompatible with an earlier schema for subject \"order\", details: [{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'tax' at path '/fields/1' in the new schema has no default value and is missing in the old schema', additionalInfo:'tax'}, {oldSchemaVersion: 1}, {oldSchema: '{\"type\":\"record\",\"name\":\"Order\",\"fields\":[{\"name\":\"price\",\"type\":\"Money\"}]}'}, {validateFields: 'false', compatibility: 'BACKWARD'}]"}
            DELETE /subjects/order
              200 [1]
              + {"keytype":"DELETE_SUBJECT","subject":"order","magic":0} {"subject":"order","version":1}
            DELETE /subjects/money
              200 [1]
              + {"keytype":"DELETE_SUBJECT","subject":"money","magic":0} {"subject":"money","version":1}
        "#]],
    );
}

#[test]
fn what_cannot_be_done_is_said() {
    check(
        r#"
        POST /subjects/s/versions {"schema":"message M {}","schemaType":"PROTOBUF"}
        POST /subjects/s/versions {"schema":"{}","schemaType":"JSON"}
        POST /subjects/s/versions {"schema":"{}","schemaType":"XML"}
        POST /subjects/s/versions {"schema":""}
        POST /subjects/s/versions {}
        POST /subjects/s/versions [1]
        POST /subjects/s/versions avro {"type":"record","name":"R","fields":[{"name":"f","type":"strin"}]}
        POST /subjects/s/versions avro {"type":"record","name":"R","fields":[{"name":"f","type":"int","default":"x"}]}
        GET /subjects/s/versions
        GET /subjects/s/versions/1
        GET /subjects/s/versions/0
        GET /subjects/s/versions/abc
        GET /schemas/ids/99
        GET /schemas/ids/abc
        GET /schemas/ids/99/subjects
        GET /nope
        PUT /subjects/s
        POST /subjects/:.ctx:s/versions avro "int"
        POST /subjects/:.:s/versions avro "int"
        POST /subjects/a%0Ab/versions avro "int"
        POST /subjects/a%2Fb%20c/versions avro "int"
        GET /subjects
        "#,
        expect![[r#"
            POST /subjects/s/versions
              422 {"error_code":42201,"message":"Invalid schema type PROTOBUF, details: PROTOBUF schemas are not supported yet; register the schema as AVRO"}
            POST /subjects/s/versions
              422 {"error_code":42201,"message":"Invalid schema type JSON, details: JSON schemas are not supported yet; register the schema as AVRO"}
            POST /subjects/s/versions
              422 {"error_code":42201,"message":"Invalid schema type XML"}
            POST /subjects/s/versions
              422 {"error_code":42201,"message":"Empty schema"}
            POST /subjects/s/versions
              422 {"error_code":42201,"message":"Empty schema"}
            POST /subjects/s/versions
              400 {"error_code":400,"message":"the request body is not the JSON object that this route takes: it is an array"}
            POST /subjects/s/versions
              422 {"error_code":42201,"message":"Invalid schema {subject=s,version=0,id=-1,schemaType=AVRO,references=[],metadata=null,ruleSet=null,schema={\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"f\",\"type\":\"strin\"}]}} with refs [] of type AVRO, details: type \"strin\" is not known, at line 1, column 58 (/fields/0/type); did you mean \"string\"?"}
            POST /subjects/s/versions
              422 {"error_code":42201,"message":"Invalid schema {subject=s,version=0,id=-1,schemaType=AVRO,references=[],metadata=null,ruleSet=null,schema={\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"f\",\"type\":\"int\",\"default\":\"x\"}]}} with refs [] of type AVRO, details: the default \"x\" of field \"f\" does not fit its type, int, at line 1, column 74 (/fields/0/default)"}
            GET /subjects/s/versions
              404 {"error_code":40401,"message":"Subject 's' not found."}
            GET /subjects/s/versions/1
              404 {"error_code":40401,"message":"Subject 's' not found."}
            GET /subjects/s/versions/0
              422 {"error_code":42202,"message":"The specified version '0' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""}
            GET /subjects/s/versions/abc
              422 {"error_code":42202,"message":"The specified version 'abc' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""}
            GET /schemas/ids/99
              404 {"error_code":40403,"message":"Schema 99 not found"}
            GET /schemas/ids/abc
              404 {"error_code":404,"message":"HTTP 404 Not Found"}
            GET /schemas/ids/99/subjects
              404 {"error_code":40403,"message":"Schema not found"}
            GET /nope
              404 {"error_code":404,"message":"HTTP 404 Not Found"}
            PUT /subjects/s
              405 {"error_code":405,"message":"HTTP 405 Method Not Allowed"}
            POST /subjects/:.ctx:s/versions
              422 {"error_code":42208,"message":"The specified subject ':.ctx:s' is not a valid subject: contexts other than the default one are not supported yet; use the name without its context"}
            POST /subjects/:.:s/versions
              200 {"id":1}
              + {"keytype":"SCHEMA","subject":"s","version":1,"magic":1} {"subject":"s","version":1,"id":1,"schema":"\"int\"","deleted":false}
            POST /subjects/a%0Ab/versions
              422 {"error_code":42208,"message":"The specified subject 'a\nb' is not a valid subject."}
            POST /subjects/a%2Fb%20c/versions
              200 {"id":1}
              + {"keytype":"SCHEMA","subject":"a/b c","version":1,"magic":1} {"subject":"a/b c","version":1,"id":1,"schema":"\"int\"","deleted":false}
            GET /subjects
              200 ["a/b c","s"]
        "#]],
    );
}

#[test]
fn probes_of_clients_and_consoles_are_answered() {
    check(
        r#"
        GET /
        POST / {}
        GET /contexts
        GET /contexts/./subjects
        GET /v1/metadata/id
        GET /v1/metadata/version
        "#,
        expect![[r#"
            GET /
              200 {}
            POST /
              200 {}
            GET /contexts
              200 ["."]
            GET /contexts/./subjects
              200 []
            GET /v1/metadata/id
              200 {"scope":{"path":[],"clusters":{"kafka-cluster":"Q2x1c3Rlci1pZC0wMDAwMA","schema-registry-cluster":"schema-registry"}},"id":""}
            GET /v1/metadata/version
              200 {"version":"0.1.0","commitId":""}
        "#]],
    );
}

/// What other registries write may hold more than we know, and records of other kinds: all of it must survive us.
#[test]
fn records_of_other_registries_are_applied_and_kept() {
    let mut session = Session::new();
    for (key, value) in [
        (r#"{"keytype":"NOOP","magic":0}"#, None),
        (
            r#"{"keytype":"SCHEMA","subject":"p","version":3,"magic":1}"#,
            Some(
                r#"{"deleted":false,"schemaType":"PROTOBUF","md5":"x","schema":"message M {}","id":9,"subject":"p","version":3}"#,
            ),
        ),
        (
            r#"{"keytype":"SCHEMA","subject":"c","version":1,"magic":1}"#,
            Some(
                r#"{"subject":"c","version":1,"id":4,"schema":"\"int\"","metadata":{"tags":{"b":["PII"],"a":[]}},"ruleSet":{"domainRules":[]},"deleted":false}"#,
            ),
        ),
        (r#"{"keytype":"ASSOC","magic":0}"#, Some("{}")),
        (
            r#"{"keytype":"CONFIG","subject":null,"magic":0}"#,
            Some(r#"{"compatibilityLevel":"FULL"}"#),
        ),
    ] {
        let record = Record::decode(Some(key.as_bytes()), value.map(str::as_bytes)).unwrap();
        session.core.apply(&record);
    }
    let shown = session.run(
        r#"
        GET /subjects/p/versions/3
        GET /schemas/ids/9
        GET /subjects/c/versions/1
        GET /config
        POST /compatibility/subjects/p/versions/3?verbose=true avro "int"
        DELETE /subjects/p/versions/3
        POST /subjects/n/versions avro "boolean"
        "#,
    );
    expect![[r#"
        GET /subjects/p/versions/3
          200 {"subject":"p","version":3,"id":9,"schemaType":"PROTOBUF","schema":"message M {}"}
        GET /schemas/ids/9
          200 {"schemaType":"PROTOBUF","schema":"message M {}"}
        GET /subjects/c/versions/1
          200 {"subject":"c","version":1,"id":4,"metadata":{"tags":{"b":["PII"],"a":[]}},"ruleSet":{"domainRules":[]},"schema":"\"int\""}
        GET /config
          200 {"compatibilityLevel":"FULL"}
        POST /compatibility/subjects/p/versions/3?verbose=true
          200 {"is_compatible":false,"messages":["Incompatible because of different schema type","{oldSchemaVersion: 3}","{oldSchema: 'message M {}'}","{validateFields: 'false', compatibility: 'FULL'}"]}
        DELETE /subjects/p/versions/3
          200 3
          + {"keytype":"SCHEMA","subject":"p","version":3,"magic":1} {"subject":"p","version":3,"id":9,"md5":"x","schemaType":"PROTOBUF","schema":"message M {}","deleted":true}
        POST /subjects/n/versions
          200 {"id":10}
          + {"keytype":"SCHEMA","subject":"n","version":1,"magic":1} {"subject":"n","version":1,"id":10,"schema":"\"boolean\"","deleted":false}
    "#]].assert_eq(&shown);
    let refused = |key: Option<&str>, value: &str| {
        Record::decode(key.map(str::as_bytes), Some(value.as_bytes())).unwrap_err()
    };
    assert_eq!(refused(None, "{}"), "the record has no key");
    assert_eq!(
        refused(Some("hello"), "{}"),
        "the key is not JSON: expected a JSON value, found 'h'"
    );
    let key = r#"{"keytype":"SCHEMA","subject":"p","version":3,"magic":1}"#;
    assert_eq!(
        refused(Some(key), r#"{"schema":"\"int\""}"#),
        "the value has no id"
    );
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
        match dice.roll(10) {
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
            6 => format!("DELETE /subjects/{subject}{permanent}"),
            7 | 8 => format!("DELETE /subjects/{subject}/versions/{version}{permanent}"),
            _ => {
                let mode = dice.pick(&["READONLY", "READWRITE"]);
                format!("PUT /mode/{subject} {{\"mode\":\"{mode}\"}}")
            }
        }
    }

    fn assert_invariants(session: &Session, meanings: &mut HashMap<u32, String>, seed: u64) {
        let state = session.core.state();
        for (subject, versions) in state.subjects() {
            for version in versions.values() {
                let identity = version.schema.identity();
                let first = meanings
                    .entry(version.id)
                    .or_insert_with(|| identity.clone());
                assert_eq!(
                    *first, identity,
                    "R2: id {} changed its meaning (seed {seed})",
                    version.id
                );
                assert_eq!(
                    state.schema_by_id(version.id),
                    Some(&version.schema),
                    "seed {seed}"
                );
            }
            let live: Vec<AvroSchema> = state
                .live_versions(subject)
                .map(|(_, v)| AvroSchema::parse(&v.schema.text).unwrap())
                .collect();
            for (newer, older) in live
                .iter()
                .enumerate()
                .flat_map(|(i, n)| live[..i].iter().map(move |o| (n, o)))
            {
                assert!(
                    compat::check(newer, older).is_empty(),
                    "an incompatible pair was accepted (seed {seed})"
                );
            }
        }
    }

    #[test]
    fn whatever_is_asked_ids_keep_their_meaning_and_versions_stay_compatible() {
        let mut registered = 0;
        for seed in 0..60 {
            let (mut dice, mut session, mut meanings) =
                (Dice(seed), Session::new(), HashMap::new());
            session.run("PUT /config {\"compatibility\":\"BACKWARD_TRANSITIVE\"}");
            for _ in 0..60 {
                session.run(&request(&mut dice));
                assert_invariants(&session, &mut meanings, seed);
            }
            session.assert_replay_agrees();
            registered += meanings.len();
        }
        assert!(
            registered > 300,
            "the conversations must get somewhere: {registered} ids"
        );
    }
}
