//! Which tables we may append to, by what their protocol and their properties ask of a writer.
//!
//! Tables that we make ask for nothing beyond reader version 1 and writer version 2, so that every reader takes them; one with
//! a column without a time zone needs the feature `timestampNtz`, and with it versions 3 and 7.
//!
//! Of an existing table each feature is one of three: nothing to do for a blind append; nothing to do unless a column or a
//! property makes use of it; or refused, by name. A writer that does not know a feature must not write.

use super::action::{Metadata, Protocol};
use super::schema::{self, Column, NTZ};

const NTZ_FEATURE: &str = "timestampNtz";
/// What an append does right without looking, once `used` and `used_by` have found nothing.
const WRITABLE: &[&str] = &[
    "appendOnly",
    "invariants",
    "checkConstraints",
    "changeDataFeed",
    "generatedColumns",
    "columnMapping",
    "identityColumns",
    "deletionVectors",
    "domainMetadata",
    "vacuumProtocolCheck",
    NTZ_FEATURE,
];
/// Of these a checkpoint has more than ours would have; with all others, all there is to say stands in actions that ours has.
const MORE_IN_CHECKPOINTS: &[&str] = &["deletionVectors", "domainMetadata"];

/// The least that a table of these columns needs.
pub(super) fn needed(columns: &[Column]) -> Protocol {
    if !schema::has(columns, NTZ) {
        return Protocol {
            min_reader_version: 1,
            min_writer_version: 2,
            ..Protocol::default()
        };
    }
    Protocol {
        min_reader_version: 3,
        min_writer_version: 7,
        reader_features: Some(vec![NTZ_FEATURE.to_owned()]),
        writer_features: Some(vec![NTZ_FEATURE.to_owned(), "appendOnly".to_owned()]),
    }
}

/// Why the table cannot be appended to.
pub(super) fn refusal(
    protocol: &Protocol,
    metadata: &Metadata,
    columns: &[Column],
) -> Option<String> {
    if protocol.min_writer_version > 7 || protocol.min_reader_version > 3 {
        return Some(format!(
            "it asks for reader version {} and writer version {}, and this version knows 3 and 7",
            protocol.min_reader_version, protocol.min_writer_version
        ));
    }
    let reader = protocol.reader_features.iter().flatten();
    let mut features = reader.chain(protocol.writer_features.iter().flatten());
    if let Some(feature) = features.find(|feature| !WRITABLE.contains(&feature.as_str())) {
        return Some(format!(
            "it has the feature {feature}, which this version does not write"
        ));
    }
    if metadata.format.provider != "parquet" {
        return Some(format!("its files are {}", metadata.format.provider));
    }
    used(metadata).or_else(|| columns.iter().find_map(used_by))
}

/// A property that makes a feature mean something for an append.
fn used(metadata: &Metadata) -> Option<String> {
    let value = |key: &str| metadata.configuration.get(key).map(String::as_str);
    if let Some(mode) = value("delta.columnMapping.mode").filter(|mode| *mode != "none") {
        return Some(format!("its columns are mapped by {mode}"));
    }
    for (key, what) in [
        ("delta.enableRowTracking", "it tracks rows"),
        (
            "delta.enableInCommitTimestamps",
            "it keeps times of commits in commits",
        ),
    ] {
        if value(key) == Some("true") {
            return Some(format!("{what} ('{key}' = 'true')"));
        }
    }
    let constraint = metadata
        .configuration
        .keys()
        .find(|key| key.starts_with("delta.constraints."))?;
    let name = constraint.trim_start_matches("delta.constraints.");
    Some(format!(
        "it has the CHECK constraint {name}, which this version does not check"
    ))
}

/// What is said of a column, or of something in it.
fn used_by(column: &Column) -> Option<String> {
    let name = &column.name;
    let mut keys = column.metadata.keys();
    let what = keys.find_map(|key| match key.as_str() {
        "delta.generationExpression" => Some("is generated"),
        "delta.invariants" => Some("has an invariant"),
        "CURRENT_DEFAULT" => Some("has a default"),
        "__CHAR_VARCHAR_TYPE_STRING" => Some("has a length"),
        key if key.starts_with("delta.identity.") => Some("is an identity column"),
        _ => None,
    });
    match what {
        Some(what) => Some(format!(
            "its column {name} {what}, which this version does not compute or check"
        )),
        None => column.ty.fields().into_iter().find_map(used_by),
    }
}

/// Whether a checkpoint that we write would have everything that the table's log says.
pub(super) fn is_whole_in_checkpoints(protocol: &Protocol, metadata: &Metadata) -> bool {
    let value = |key: &str| metadata.configuration.get(key).map(String::as_str);
    if value("delta.checkpoint.writeStatsAsJson") == Some("false") {
        return false;
    }
    let reader = protocol.reader_features.iter().flatten();
    let mut features = reader.chain(protocol.writer_features.iter().flatten());
    features.all(|feature| !MORE_IN_CHECKPOINTS.contains(&feature.as_str()))
}

/// Whether columns with this type may be added without the protocol being raised.
pub(super) fn takes(protocol: &Protocol, new: &[Column]) -> bool {
    let has = |features: &Option<Vec<String>>| {
        features
            .iter()
            .flatten()
            .any(|feature| feature == NTZ_FEATURE)
    };
    !schema::has(new, NTZ) || has(&protocol.reader_features) && has(&protocol.writer_features)
}
