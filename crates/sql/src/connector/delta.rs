//! `'connector' = 'delta'` as a sink: where the table is and how it is made.
//!
//! The options are those of Flink's Delta connector, which takes every other one for a property of the table. Properties that begin
//! with `delta.` mean something to every writer of the table, so those that this version does not do are refused.

use super::Use;
use super::iceberg::{check_warehouse, late_rows, partitioned_by, schema};
use super::options::{ONE_THREAD, Options, bad_value, without_effect};
use crate::Result;
use crate::diagnostic::{Diagnostic, Told};
use crate::parse::Ident;
use lw_graph::DeltaSink;
use lw_stdx::suggest::nearest;
use std::collections::BTreeMap;

const OWN: &[&str] = &["connector", "table-path", "mergeSchema", "lakeward.late"];

/// Options of Flink's source, which it refuses in a sink too.
const OF_SOURCES: &[&str] = &[
    "mode",
    "startingVersion",
    "startingTimestamp",
    "updateCheckIntervalMillis",
    "updateCheckDelayMillis",
    "ignoreDeletes",
    "ignoreChanges",
    "versionAsOf",
    "timestampAsOf",
];

/// Properties of Delta's that appends obey, or that are not about appends.
const PROPERTIES: &[&str] = &[
    "delta.appendOnly",
    "delta.checkpointInterval",
    "delta.deletedFileRetentionDuration",
    "delta.enableExpiredLogCleanup",
    "delta.logRetentionDuration",
];

pub(super) fn sink(used: &Use<'_>, told: &mut Told) -> Option<DeltaSink> {
    let options = Options::new(used.options, used.table.span);
    let path = options.required(
        "table-path",
        "'table-path' = 'file:///…/events': the folder of the table",
    );
    let path = told.settle(path);
    if let Some(path) = path {
        told.settle(check_path(used, path));
    }
    if let Some(key) = used.table.primary_key.first() {
        told.tell(
            Diagnostic::unsupported(key.span, "a PRIMARY KEY on a Delta table is")
                .detail("Rows are appended; none replaces another.")
                .hint("remove the PRIMARY KEY, and deduplicate when reading"),
        );
    }
    if let Some(option) = options.get("sink.parallelism") {
        told.settle(options.integer("sink.parallelism"));
        told.tell(without_effect(&option.key, ONE_THREAD));
    }
    let merge_schema = told.settle(options.boolean("mergeSchema", false));
    let late = late_rows(&options, told);
    let properties = properties(&options, told);
    Some(DeltaSink {
        table_path: normal(&path?.value),
        schema: schema(used),
        partitioned_by: partitioned_by(used, told),
        merge_schema: merge_schema?,
        late,
        properties,
    })
}

/// One text for a place, however it is written: it is what the table is known by.
fn normal(path: &str) -> String {
    let path = path.trim_end_matches('/');
    match path.strip_prefix("file:") {
        Some(local) if local.starts_with("///") => local[2..].to_string(),
        Some(local) if local.starts_with('/') && !local.starts_with("//") => local.to_string(),
        _ => path.to_string(),
    }
}

fn check_path(used: &Use<'_>, path: &Ident) -> Result<()> {
    let place = normal(&path.value);
    if place.is_empty() {
        return Err(bad_value("table-path", path, "a folder of its own"));
    }
    if place.starts_with('/') {
        return Ok(());
    }
    if !place.contains("://") {
        return Err(bad_value(
            "table-path",
            path,
            "a whole path: '/…', 'file:///…', or one that begins as an entry under [warehouses] in lakeward.toml",
        ));
    }
    check_warehouse(used, path)
}

fn properties(options: &Options<'_>, told: &mut Told) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    for option in options.iter() {
        let (key, value) = (&option.key, &option.value);
        let name = key.value.as_str();
        if OWN.contains(&name) || name == "sink.parallelism" {
            continue;
        }
        if OF_SOURCES.contains(&name) {
            let message = format!("option '{name}' is not one of a sink");
            told.tell(
                Diagnostic::error("option", key.span, message)
                    .detail("It is about reading a Delta table.")
                    .hint("remove it"),
            );
            continue;
        }
        if name.starts_with("delta.") && !PROPERTIES.contains(&name) {
            let hint = nearest(name, PROPERTIES.iter().copied());
            let hint = hint.map(|near| format!("did you mean '{near}'?"));
            told.tell(
                Diagnostic::unsupported(key.span, format!("property '{name}' of a Delta table is"))
                    .hint(hint.unwrap_or_else(|| {
                        format!(
                            "remove it; properties that are obeyed: {}",
                            PROPERTIES.join(", ")
                        )
                    })),
            );
            continue;
        }
        if let Some(near) = nearest(name, OWN.iter().copied()) {
            let message = format!("option '{name}' becomes a property of the table");
            told.tell(
                Diagnostic::notice("option", key.span, message)
                    .hint(format!("did you mean '{near}'?")),
            );
        }
        properties.insert(name.to_string(), value.value.clone());
    }
    told.settle(check_interval(options));
    properties
}

fn check_interval(options: &Options<'_>) -> Result<()> {
    let key = "delta.checkpointInterval";
    match (options.integer(key)?, options.value(key)) {
        (Some(..=0), Some(value)) => Err(bad_value(key, value, "a number above 0")),
        _ => Ok(()),
    }
}
