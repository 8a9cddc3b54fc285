//! Which tables are appended to.

use super::super::action::{Format, Metadata, Protocol};
use super::super::protocol::{is_whole_in_checkpoints, refusal};
use super::super::schema;
use serde_json::{Value, json};

/// What is said of a table with these features, properties and columns, and whether its checkpoints are ours to write.
fn said(features: &[&str], properties: &[(&str, &str)], column: Value) -> String {
    let features: Vec<String> = features.iter().map(|one| (*one).to_owned()).collect();
    let protocol = match features.is_empty() {
        true => Protocol {
            min_reader_version: 2,
            min_writer_version: 6,
            ..Protocol::default()
        },
        false => Protocol {
            min_reader_version: 3,
            min_writer_version: 7,
            reader_features: Some(Vec::new()),
            writer_features: Some(features),
        },
    };
    let properties = properties.iter();
    let metadata = Metadata {
        id: "a table".to_owned(),
        name: None,
        description: None,
        format: Format {
            provider: "parquet".to_owned(),
            options: Default::default(),
        },
        schema_string: json!({"type": "struct", "fields": [column]}).to_string(),
        partition_columns: Vec::new(),
        configuration: properties
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        created_time: None,
    };
    let columns = schema::read(&metadata.schema_string).expect("a column");
    match refusal(&protocol, &metadata, &columns) {
        Some(why) => why,
        None if is_whole_in_checkpoints(&protocol, &metadata) => "written".to_owned(),
        None => "written, without checkpoints".to_owned(),
    }
}

fn column(metadata: Value) -> Value {
    json!({"name": "n", "type": "long", "nullable": true, "metadata": metadata})
}

#[test]
fn a_feature_is_harmless_or_unused_or_refused_by_its_name() {
    let plain = || column(json!({}));
    let inside = json!({"name": "s", "nullable": true, "metadata": {}, "type": {"type": "array", "containsNull": true,
        "elementType": {"type": "struct", "fields": [column(json!({"delta.invariants": "n > 0"}))]}}});
    let all = [
        "appendOnly",
        "invariants",
        "checkConstraints",
        "changeDataFeed",
        "generatedColumns",
        "columnMapping",
        "identityColumns",
        "vacuumProtocolCheck",
        "timestampNtz",
    ];
    let cases = [
        said(&[], &[], plain()),
        said(&all, &[("delta.columnMapping.mode", "none")], plain()),
        said(&["deletionVectors"], &[], plain()),
        said(&["domainMetadata"], &[], plain()),
        said(
            &[],
            &[("delta.checkpoint.writeStatsAsJson", "false")],
            plain(),
        ),
        said(&["appendOnly", "rowTracking"], &[], plain()),
        said(&["clustering"], &[], plain()),
        said(&["catalogManaged"], &[], plain()),
        said(&[], &[("delta.columnMapping.mode", "name")], plain()),
        said(&[], &[("delta.constraints.positive", "n > 0")], plain()),
        said(&[], &[], column(json!({"delta.generationExpression": "1"}))),
        said(&[], &[], column(json!({"delta.identity.start": 1}))),
        said(&[], &[], column(json!({"CURRENT_DEFAULT": "1"}))),
        said(
            &[],
            &[],
            column(json!({"__CHAR_VARCHAR_TYPE_STRING": "varchar(3)"})),
        ),
        said(&[], &[], column(json!({"comment": "anything"}))),
        said(&[], &[], inside),
    ];
    expect_test::expect![[r#"
        written
        written
        written, without checkpoints
        written, without checkpoints
        written, without checkpoints
        it has the feature rowTracking, which this version does not write
        it has the feature clustering, which this version does not write
        it has the feature catalogManaged, which this version does not write
        its columns are mapped by name
        it has the CHECK constraint positive, which this version does not check
        its column n is generated, which this version does not compute or check
        its column n is an identity column, which this version does not compute or check
        its column n has a default, which this version does not compute or check
        its column n has a length, which this version does not compute or check
        written
        its column n has an invariant, which this version does not compute or check
    "#]]
    .assert_eq(&(cases.join("\n") + "\n"));
}
