//! The audit of a Delta table.
//!
//! What it accounts for, and which query made what, stands in its log for good. Its rows are compared with the topic as those of an
//! Iceberg table are, with three differences: retention does not wait for it, so there is no ledger and what the topic has lost is
//! unverified; queries with state are refused; and which of other writers' versions only added rows is not kept, so their files are
//! all looked through for rows of the pipeline that they wrote anew.

use super::{Split, Tables, cannot_be_made, ends, in_words, pending_letters, refused, with_runs};
use arrow_array::RecordBatch;
use lw_gateway::Refusal;
use lw_graph::DeltaSink;
use lw_lakehouse::DeltaView;
use lw_lakehouse::writer::sink::DEAD_LETTERS;
use lw_ops::audit::ledger::Ledger;
use lw_ops::audit::{
    EMPTY_IS_NULL, Evidence, Extent, Letter, Letters, MarkedRange, Others, OthersFile, audit,
};
use lw_runtime::manifest::Manifest;
use lw_runtime::pipelines::Writer;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Tables {
    pub(super) fn audit_delta(
        &self,
        sink: &DeltaSink,
        writer: &Writer,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Value, Refusal> {
        let table = &writer.table;
        if writer.graph.needs_all_before() {
            let message = format!(
                "the audit of {table}, a Delta table that a query with state fills, is not supported yet"
            );
            return Err(Refusal::new(400, message)
                .hint("Fill an Iceberg table in the same statement set; it is audited."));
        }
        let Some(view) = self.delta_view(sink, "")? else {
            return Err(Refusal::new(
                404,
                format!("there is no Delta table {table}"),
            ));
        };
        // The order matters: what the manifest has no more to commit is in the dead letters that are looked at after it.
        let manifest = self.pipelines.manifest_of_writer(writer);
        let letters = self.delta_letters(sink, manifest.as_ref())?;
        let (log_starts, notes) = self.log_starts(&view.ends(), writer, manifest.as_ref());
        let texts = view.partition_texts().map_err(refused)?;
        let ours = view.data_files.iter();
        let ours = ours.filter_map(|file| Some(with_runs(&file.path, file.runs.as_deref()?)));
        let theirs = view.data_files.iter().filter(|file| file.runs.is_none());
        let evidence = Evidence {
            table: table.clone(),
            ranges: accounted(&view),
            rolled_back: None,
            files: ours.collect(),
            read_file: Box::new(|file| {
                let found = view.data_files.iter().find(|found| found.path == file.path);
                let found = found.ok_or("it is not in the table")?;
                let (batches, texts) = (view.batches(found).map_err(in_words)?, texts.clone());
                let marked = move |batch: Result<_, _>| {
                    batch
                        .map(|batch| empty_is_null(batch, &texts))
                        .map_err(in_words)
                };
                Ok(Box::new(batches.map(marked)))
            }),
            queries: self.queries(view.stints(), None, writer),
            ledger: Ledger::of(view.id()),
            extent: Extent::Table,
            notes,
            letters: Some(letters),
            late: None,
            cancelled,
            log_starts,
            others: Others {
                files: theirs
                    .map(|file| OthersFile {
                        path: file.path.clone(),
                        rows: file.rows,
                        added: false,
                    })
                    .collect(),
                ..Others::default()
            },
            erased: None,
        };
        let report = audit(evidence);
        Ok(json!(report.map_err(|error| cannot_be_made(&error))?))
    }

    fn delta_view(&self, sink: &DeltaSink, beside: &str) -> Result<Option<DeltaView>, Refusal> {
        let location = format!("{}{beside}", self.wiring.delta_location(sink));
        let view = DeltaView::open(self.wiring.files(), &location, &self.footers);
        view.map_err(refused)
    }

    /// The dead letters of the table; without a table of them there are none.
    fn delta_letters(
        &self,
        sink: &DeltaSink,
        manifest: Option<&Manifest>,
    ) -> Result<Letters, Refusal> {
        let name = format!("{}{DEAD_LETTERS}", sink.table_path);
        let mut rows: BTreeMap<Split, Vec<Letter>> = BTreeMap::new();
        if let Some(view) = self.delta_view(sink, DEAD_LETTERS)? {
            let shown = view.letters(|letter| {
                let split = (letter.topic.to_owned(), letter.partition);
                let letter = Letter::new(letter.offset, letter.key, letter.value);
                rows.entry(split).or_default().push(letter);
            });
            shown.map_err(refused)?;
        }
        Ok(Letters {
            pending: pending_letters(manifest, &name),
            table: name,
            rows,
            erased: None,
        })
    }
}

/// Says of these columns what the audit has to know.
fn empty_is_null(batch: RecordBatch, columns: &[String]) -> RecordBatch {
    let mut schema = (*batch.schema()).clone();
    let fields = schema.fields.iter().map(|field| {
        let mut field = field.as_ref().clone();
        if columns.contains(field.name()) {
            let said = (EMPTY_IS_NULL.to_string(), String::new());
            field.set_metadata([said].into());
        }
        field
    });
    schema.fields = fields.collect();
    let marked = RecordBatch::try_new(Arc::new(schema), batch.columns().to_vec());
    marked.expect("columns stay what they are")
}

/// From where the table begins to where it ends.
fn accounted(view: &DeltaView) -> Vec<MarkedRange> {
    let begins = ends(view.begins());
    let of = |(split, end): (Split, i64)| {
        let start = *begins.get(&split)?;
        let (topic, partition) = split;
        Some(MarkedRange {
            topic,
            partition,
            start,
            end,
            follows: true,
        })
    };
    ends(view.ends()).into_iter().filter_map(of).collect()
}
