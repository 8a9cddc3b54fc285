//! A table's metadata as JSON: in its file, and in answers.
//!
//! Lists are in the order in which they grew: Iceberg's type forgets it, and clients compare them. A commit makes the text once,
//! for both.

use crate::upkeep::refs::Refs;
use iceberg::spec::TableMetadata;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

/// The lists, each with what its objects are ordered by.
const LISTS: [(&str, By); 4] = [
    ("snapshots", |of| {
        [of.sequence_number, of.timestamp_ms, of.snapshot_id]
    }),
    ("schemas", |of| [of.schema_id, None, None]),
    ("partition-specs", |of| [of.spec_id, None, None]),
    ("sort-orders", |of| [of.order_id, None, None]),
];
/// Texts that are kept, together.
const CACHED_BYTES: usize = 8 << 20;

/// Fields of an object, each with its text.
type Fields<'a> = BTreeMap<String, &'a RawValue>;
type Key = [Option<i64>; 3];
type By = fn(&Numbers) -> Key;

/// The numbers of an object in one of the lists.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Numbers {
    sequence_number: Option<i64>,
    timestamp_ms: Option<i64>,
    snapshot_id: Option<i64>,
    schema_id: Option<i64>,
    spec_id: Option<i64>,
    order_id: Option<i64>,
}

/// The document of table metadata.
pub(super) fn text(metadata: &TableMetadata) -> Arc<RawValue> {
    let text = serde_json::value::to_raw_value(metadata).expect("metadata is plain data");
    let mut fields: Fields<'_> = parsed(&text);
    let mut lists = Vec::new();
    for (name, key) in LISTS {
        if let Some(list) = fields.get(name) {
            lists.push((name, ordered(list, key)));
        }
    }
    for (name, list) in &lists {
        fields.insert((*name).to_owned(), list);
    }
    raw(&fields).into()
}

/// The document with only the snapshots that a branch or a tag names.
pub(super) fn of_refs(document: &RawValue) -> Box<RawValue> {
    let mut fields: Fields<'_> = parsed(document);
    let Some(list) = fields.get("snapshots") else {
        return document.to_owned();
    };
    let refs = Refs::in_document(document.get());
    let named: HashSet<i64> = refs.all().map(|(_, it)| it.snapshot_id).collect();
    let mut snapshots: Vec<&RawValue> = parsed(list);
    snapshots.retain(|snapshot| {
        let id = parsed::<Numbers>(snapshot).snapshot_id;
        id.is_some_and(|id| named.contains(&id))
    });
    let snapshots = raw(&snapshots);
    fields.insert("snapshots".to_owned(), &snapshots);
    raw(&fields)
}

fn ordered(list: &RawValue, key: By) -> Box<RawValue> {
    let mut items: Vec<&RawValue> = parsed(list);
    items.sort_by_cached_key(|item| key(&parsed(item)));
    raw(&items)
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a RawValue) -> T {
    serde_json::from_str(text.get()).expect("it was written as JSON of this shape")
}

fn raw(value: &impl serde::Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("texts of JSON are JSON")
}

/// Texts by the place of their metadata, which never changes; the newest use last.
#[derive(Default)]
pub(super) struct Texts(Mutex<VecDeque<(String, Arc<RawValue>)>>);

impl Texts {
    pub(super) fn of(&self, location: &str, metadata: &TableMetadata) -> Arc<RawValue> {
        let kept = |texts: &VecDeque<(String, Arc<RawValue>)>| {
            let found = texts.iter().find(|(kept, _)| kept == location);
            found.map(|(_, text)| text.clone())
        };
        if let Some(text) = kept(&self.0.lock()) {
            return text;
        }
        let text = text(metadata);
        self.remember(location, &text);
        text
    }

    pub(super) fn remember(&self, location: &str, text: &Arc<RawValue>) {
        let mut texts = self.0.lock();
        texts.retain(|(kept, _)| kept != location);
        texts.push_back((location.to_owned(), text.clone()));
        let mut size: usize = texts.iter().map(|(_, text)| text.get().len()).sum();
        while size > CACHED_BYTES && texts.len() > 1 {
            let (_, oldest) = texts.pop_front().expect("there is more than one");
            size -= oldest.get().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::views::sort_lists;
    use iceberg::spec::{
        FormatVersion, NestedField, Operation, PrimitiveType, Schema, Snapshot, SnapshotReference,
        SnapshotRetention, SortOrder, Summary, TableMetadataBuilder, Type, UnboundPartitionSpec,
    };
    use serde_json::Value;
    use std::collections::HashMap;

    /// A table with twenty snapshots, of which a tag names one and main the newest.
    fn table() -> TableMetadata {
        let field = NestedField::optional(1, "a \"name\"", Type::Primitive(PrimitiveType::Long));
        let schema = Schema::builder().with_fields([field.into()]).build();
        let mut builder = TableMetadataBuilder::new(
            schema.expect("a schema"),
            UnboundPartitionSpec::builder().build(),
            SortOrder::unsorted_order(),
            "file:///w/t".to_owned(),
            FormatVersion::V2,
            HashMap::from([("ä\\\"".to_owned(), "\u{1}".to_owned())]),
        )
        .expect("a table");
        for number in 1..=20 {
            let snapshot = Snapshot::builder()
                .with_snapshot_id(1_000 - number)
                .with_parent_snapshot_id((number > 1).then_some(1_001 - number))
                .with_sequence_number(number)
                .with_timestamp_ms(i64::MAX / 1_000_000 + number)
                .with_manifest_list(format!("file:///w/t/{number}.avro"))
                .with_summary(Summary {
                    operation: Operation::Append,
                    additional_properties: HashMap::new(),
                })
                .with_schema_id(0)
                .build();
            let reference = |retention| SnapshotReference::new(1_000 - number, retention);
            builder = builder.add_snapshot(snapshot).expect("it follows");
            builder = builder
                .set_ref(
                    "main",
                    reference(SnapshotRetention::branch(None, None, None)),
                )
                .expect("a branch");
            if number == 7 {
                let tag = reference(SnapshotRetention::Tag {
                    max_ref_age_ms: None,
                });
                builder = builder.set_ref("seven", tag).expect("a tag");
            }
        }
        builder.build().expect("a table").metadata
    }

    fn ids(document: &RawValue) -> Vec<i64> {
        let document: Value = parsed(document);
        let snapshots = document["snapshots"].as_array().expect("a list");
        let ids = snapshots.iter().map(|it| it["snapshot-id"].as_i64());
        ids.map(|id| id.expect("a number")).collect()
    }

    #[test]
    fn a_document_says_what_the_metadata_says_with_its_lists_in_order() {
        let table = table();
        let text = text(&table);
        let mut expected = serde_json::to_value(&table).expect("plain data");
        sort_lists(
            &mut expected,
            &[
                (
                    "snapshots",
                    &["sequence-number", "timestamp-ms", "snapshot-id"],
                ),
                ("schemas", &["schema-id"]),
                ("partition-specs", &["spec-id"]),
                ("sort-orders", &["order-id"]),
            ],
        );
        assert_eq!(parsed::<Value>(&text), expected);
        assert_eq!(ids(&text), (980..1_000).rev().collect::<Vec<_>>());
        assert_eq!(parsed::<TableMetadata>(&text), table);
    }

    #[test]
    fn a_document_of_the_references_has_the_snapshots_that_they_name() {
        let table = table();
        let of_refs = of_refs(&text(&table));
        assert_eq!(ids(&of_refs), [993, 980]);
        let mut rest: Value = parsed(&of_refs);
        let mut whole: Value = parsed(&text(&table));
        rest["snapshots"] = Value::Null;
        whole["snapshots"] = Value::Null;
        assert_eq!(rest, whole);
    }

    #[test]
    fn texts_are_kept_up_to_a_size() {
        let texts = Texts::default();
        let large = |letter: &str| raw(&letter.repeat(CACHED_BYTES / 2 - 100)).into();
        for name in ["a", "b", "a", "c"] {
            texts.remember(name, &large(name));
        }
        let kept = texts.0.lock();
        let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "c"]);
    }
}
