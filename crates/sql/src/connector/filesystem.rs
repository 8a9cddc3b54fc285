//! `'connector' = 'filesystem'` as a source: which files, in which format.

use super::Use;
use super::format;
use super::options::{Known, ONE_THREAD, Options, bad_value, no_effect, not_yet, obeyed};
use crate::Result;
use crate::diagnostic::{Diagnostic, Told};
use crate::parse::Ident;
use lw_graph::{Field, FileSource, Schema};

const WRITING: &str = "It is about writing files, and the table is read.";
const NO_STATISTICS: &str = "No plan hangs on them.";

/// All options of Flink's connector.
const OPTIONS: &[Known] = &[
    obeyed("connector"),
    obeyed("path"),
    obeyed("format"),
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
    no_effect("auto-compaction", WRITING),
    no_effect("compaction.file-size", WRITING),
    no_effect("compaction.parallelism", WRITING),
    not_yet("source.monitor-interval"),
    not_yet("source.path.regex-pattern"),
    not_yet("partition.default-name"),
    not_yet("partition.time-extractor.kind"),
    not_yet("partition.time-extractor.class"),
    not_yet("partition.time-extractor.timestamp-pattern"),
    not_yet("partition.time-extractor.timestamp-formatter"),
];

/// Formats whose records are lines.
const LINES: &[&str] = &["csv", "json", "raw"];

pub(super) fn source(used: &Use<'_>, told: &mut Told) -> Option<FileSource> {
    let format = told.settle(format::format_of(&Options::new(
        used.options,
        used.table.span,
    )));
    let mut options = Options::new(used.options, used.table.span);
    let mut known = vec![OPTIONS];
    match &format {
        Some(format) => known.push(format.known),
        None => known.extend(format::ALL_KNOWN),
    }
    options.check_known("filesystem", &known, told);
    told.settle(options.integer("scan.parallelism"));
    let path = options.required("path", "'path' = '/where/the/files/are'");
    let path = told.settle(path.and_then(local));
    let format = format?;
    if !LINES.contains(&format.name) {
        told.tell(
            Diagnostic::unsupported(format.span, format!("format '{}' in files is", format.name))
                .hint(format!("formats of files: {}", LINES.join(", "))),
        );
        return None;
    }
    let spec = told.settle(format::spec(used, &options, &format));
    let fields = used.table.stored();
    let fields = fields.map(|column| Field::new(column.name.clone(), column.ty.clone()));
    Some(FileSource {
        table: used.table.path.object.clone(),
        path: path?,
        format: spec?,
        value_schema: Schema::new(fields.collect()),
        columns: Vec::new(),
    })
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
