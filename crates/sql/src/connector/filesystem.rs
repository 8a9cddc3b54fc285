//! `'connector' = 'filesystem'` as a source: which files, in which format, and what their paths say.

use super::Use;
use super::format;
use super::options::{Known, ONE_THREAD, Options, bad_value, no_effect, obeyed};
use crate::Result;
use crate::catalog::{Column, ColumnSource};
use crate::diagnostic::{Diagnostic, Span, Told};
use crate::parse::Ident;
use lw_graph::{Field, FileFormat, FileSource, LogicalType, MetadataKey, Schema, TypeKind};
use lw_stdx::duration;
use std::collections::{BTreeMap, BTreeSet};

/// How often it is looked for new files.
const WATCH: &str = "source.monitor-interval";
/// What the paths of the files match.
const PATTERN: &str = "source.path.regex-pattern";
const WRITING: &str = "It is about writing files, and the table is read.";
const NO_STATISTICS: &str = "No plan hangs on them.";
const AS_WRITTEN: &str = "Times are read as they are written, whatever the zone of the machine is.";
/// The most digits of a second that are carried through.
const MAX_FRACTION: u8 = 6;

/// All options of Flink's connector.
const OPTIONS: &[Known] = &[
    obeyed("connector"),
    obeyed("path"),
    obeyed("format"),
    obeyed("partition.default-name"),
    obeyed(WATCH),
    obeyed(PATTERN),
    no_effect("scan.parallelism", ONE_THREAD),
    no_effect("source.report-statistics", NO_STATISTICS),
    no_effect("sink.parallelism", WRITING),
    no_effect("sink.rolling-policy.file-size", WRITING),
    no_effect("sink.rolling-policy.rollover-interval", WRITING),
    no_effect("sink.rolling-policy.check-interval", WRITING),
    no_effect("sink.rolling-policy.inactivity-interval", WRITING),
    no_effect("sink.shuffle-by-partition.enable", WRITING),
    no_effect("sink.partition-commit.trigger", WRITING),
    no_effect("sink.partition-commit.delay", WRITING),
    no_effect("sink.partition-commit.watermark-time-zone", WRITING),
    no_effect("sink.partition-commit.policy.kind", WRITING),
    no_effect("sink.partition-commit.policy.class", WRITING),
    no_effect("sink.partition-commit.success-file.name", WRITING),
    no_effect("partition.time-extractor.kind", WRITING),
    no_effect("partition.time-extractor.class", WRITING),
    no_effect("partition.time-extractor.timestamp-pattern", WRITING),
    no_effect("partition.time-extractor.timestamp-formatter", WRITING),
    no_effect("auto-compaction", WRITING),
    no_effect("compaction.file-size", WRITING),
    no_effect("compaction.parallelism", WRITING),
];

/// What is known of a file besides its records.
pub(super) const METADATA: &[(&str, MetadataKey)] = &[
    ("file.path", MetadataKey::FilePath),
    ("file.name", MetadataKey::FileName),
    ("file.size", MetadataKey::FileSize),
];

pub(super) const MODIFIED: &str = "file.modification-time";

/// Refuses the one that is of the file and not of what it holds.
pub(super) fn no_times(span: Span) -> Diagnostic {
    Diagnostic::unsupported(span, format!("metadata key '{MODIFIED}' is"))
        .detail("A file that is copied has another time and the same records, and whoever reads it again must find the same.")
        .hint("partition the table by a time: PARTITIONED BY reads it from the names of folders")
}

/// Formats whose records are lines.
const LINES: &[&str] = &["csv", "json", "raw"];

/// All options of Flink's Parquet.
const PARQUET: &[Known] = &[
    no_effect("parquet.utc-timezone", AS_WRITTEN),
    no_effect(
        "parquet.batch-size",
        "A poll takes as many rows as there is room for.",
    ),
    no_effect("parquet.timestamp.time.unit", WRITING),
    no_effect("parquet.write.int64.timestamp", WRITING),
    no_effect("parquet.compression", WRITING),
];

/// What a folder is called whose partition has no value.
const NULL_PARTITION: &str = "__DEFAULT_PARTITION__";

/// How the rows of a file are written: in lines, or in columns.
enum Format {
    Lines(format::Format),
    Parquet,
}

impl Format {
    fn known(&self) -> &'static [Known] {
        match self {
            Format::Lines(lines) => lines.known,
            Format::Parquet => PARQUET,
        }
    }
}

fn format_of(options: &Options<'_>) -> Result<Format> {
    match options.value("format") {
        Some(name) if name.value == "parquet" => Ok(Format::Parquet),
        _ => {
            let format = format::format_of(options)?;
            if LINES.contains(&format.name) {
                return Ok(Format::Lines(format));
            }
            let what = format!("format '{}' in files is", format.name);
            let formats = format!("formats of files: {}, parquet", LINES.join(", "));
            Err(Diagnostic::unsupported(format.span, what).hint(formats))
        }
    }
}

pub(super) fn source(used: &Use<'_>, told: &mut Told) -> Option<FileSource> {
    let format = told.settle(format_of(&Options::new(used.options, used.table.span)));
    let mut options = Options::new(used.options, used.table.span);
    let mut known = vec![OPTIONS];
    match &format {
        Some(format) => known.push(format.known()),
        None => {
            known.extend(format::ALL_KNOWN);
            known.push(PARQUET);
        }
    }
    options.check_known("filesystem", &known, told);
    for key in ["scan.parallelism", "parquet.batch-size"] {
        told.settle(options.integer(key));
    }
    told.settle(options.boolean("parquet.utc-timezone", false));
    let path = options.required("path", "'path' = '/where/the/files/are'");
    let path = told.settle(path.and_then(local));
    let watch = told.settle(watch(&options)).flatten();
    let pattern = told.settle(pattern(used, &options)).flatten();
    let partitions = partitions(used, told);
    let in_paths: BTreeSet<&str> = partitions.names().collect();
    let in_files = |column: &&Column| !in_paths.contains(&*column.name);
    let columns: Vec<&Column> = used.table.stored().filter(in_files).collect();
    if columns.is_empty() {
        let message = format!(
            "table '{}' has no column that is in its files",
            used.table.path.object
        );
        told.tell(
            Diagnostic::error("option", used.table.span, message)
                .detail("What PARTITIONED BY names is in their paths."),
        );
    }
    let format = match format? {
        Format::Lines(lines) => {
            let spec = format::spec(used, &columns, &options, &lines);
            FileFormat::Lines(told.settle(spec)?)
        }
        Format::Parquet => {
            let readable = |column: &&&Column| matches!(column.source, ColumnSource::Physical);
            for column in columns.iter().filter(readable) {
                told.settle(in_parquet(&column.ty, column));
            }
            FileFormat::Parquet
        }
    };
    let fields = columns.iter();
    let fields = fields.map(|column| Field::new(column.name.clone(), column.ty.clone()));
    let null_partition = options.value("partition.default-name");
    Some(FileSource {
        table: used.table.path.object.clone(),
        path: path?,
        format,
        value_schema: Schema::new(fields.collect()),
        partitions,
        null_partition: null_partition
            .map_or(NULL_PARTITION, |name| name.value.as_str())
            .to_string(),
        pattern,
        watch,
        columns: Vec::new(),
    })
}

fn watch(options: &Options<'_>) -> Result<Option<u64>> {
    options.duration(WATCH)?;
    let Some(value) = options.value(WATCH) else {
        return Ok(None);
    };
    let interval = duration::parse(&value.value).unwrap_or_default();
    match u64::try_from(interval.as_millis()) {
        Ok(millis) if millis > 0 => Ok(Some(millis)),
        _ => Err(bad_value(
            WATCH,
            value,
            "a duration of a millisecond or more, such as '10 s'",
        )),
    }
}

fn pattern(used: &Use<'_>, options: &Options<'_>) -> Result<Option<String>> {
    let Some(pattern) = options.value(PATTERN) else {
        return Ok(None);
    };
    match used.env.problem_of_pattern(&pattern.value) {
        None => Ok(Some(pattern.value.clone())),
        Some(problem) => {
            let expected = "a regular expression for the whole path, such as '.*/2026-.*[.]csv'";
            Err(bad_value(PATTERN, pattern, expected).detail(problem))
        }
    }
}

/// The columns that the paths of the files say.
fn partitions(used: &Use<'_>, told: &mut Told) -> Schema {
    let stored = used.table.stored();
    let stored: BTreeMap<&str, &Column> = stored.map(|column| (&*column.name, column)).collect();
    let by = used.table.partitioned.iter().flat_map(|by| &by.columns);
    // What is no column was told at the table.
    let by = by.filter_map(|name| stored.get(&*name.value));
    let mut fields = Vec::new();
    for column in by {
        let readable = match &column.ty.kind {
            TypeKind::Timestamp(digits) => *digits <= MAX_FRACTION,
            kind => {
                kind.is_character()
                    || kind.is_integer()
                    || kind.is_approximate()
                    || matches!(kind, TypeKind::Boolean | TypeKind::Date)
            }
        };
        if !readable && matches!(column.source, ColumnSource::Physical) {
            let kind = &column.ty.kind;
            let message = format!(
                "column '{}' of type {kind} is not read from a path",
                column.name
            );
            told.tell(
                Diagnostic::error("type", column.span, message)
                    .detail("The name of a folder is text, a BOOLEAN, a whole or an approximate number, a DATE or a TIMESTAMP.")
                    .hint(format!("declare `{}` STRING, and CAST it in the query", column.name)),
            );
        }
        fields.push(Field::new(column.name.clone(), column.ty.clone()));
    }
    Schema::new(fields)
}

/// What no file of Parquet is read as.
fn in_parquet(ty: &LogicalType, column: &Column) -> Result<()> {
    let why = match &ty.kind {
        TypeKind::Timestamp(digits) | TypeKind::TimestampLtz(digits) if *digits > MAX_FRACTION => {
            "At most 6 digits of a second are kept.".to_string()
        }
        TypeKind::Time(digits) if *digits > 3 => {
            "Flink reads milliseconds of a day, TIME(3).".to_string()
        }
        TypeKind::Null | TypeKind::IntervalMonths | TypeKind::IntervalMillis => {
            format!("There is no {} in Parquet.", ty.kind)
        }
        TypeKind::Array(of) => return in_parquet(of, column),
        TypeKind::Map(key, value) => {
            in_parquet(key, column)?;
            return in_parquet(value, column);
        }
        TypeKind::Row(fields) => {
            let mut fields = fields.iter();
            return fields.try_for_each(|field| in_parquet(&field.ty, column));
        }
        _ => return Ok(()),
    };
    let message = format!(
        "column '{}' of type {} is not read from parquet",
        column.name, ty.kind
    );
    Err(Diagnostic::error("type", column.span, message).detail(why))
}

/// The path on the machine: `/…`, `file:/…` or `file:///…`.
fn local(path: &Ident) -> Result<String> {
    let text = path.value.trim();
    let local = match text.strip_prefix("file:") {
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
        None => text,
    };
    if local.starts_with('/') {
        return Ok(local.to_string());
    }
    match text.split_once("://") {
        Some((scheme, _)) => Err(Diagnostic::unsupported(
            path.span,
            format!("reading files of '{scheme}' is"),
        )
        .hint("copy them to the machine that the server runs on, and give their folder: 'path' = '/…'")),
        None => Err(bad_value(
            "path",
            path,
            "a path from the root on, '/…' or 'file:///…': the server has a folder of its own",
        )),
    }
}
