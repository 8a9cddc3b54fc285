//! Audits: those that somebody asks for, and those ahead of retention.
//!
//! An audit needs the log, and retention takes it. So each table holds what no audit has looked at yet; when retention would
//! take some of it, that is audited, its count and hash go to the table's ledger, and the hold moves on. A later audit asks
//! the ledger about what the log no longer has.

mod delta;
mod erased;
mod look;
mod lookups;
mod others;
mod recomputation;

use self::erased::erased;
use self::lookups::looked_up;
use self::others::others;
use self::recomputation::recomputation;
use super::{Tables, ledgers, refused};
use lw_gateway::Refusal;
use lw_graph::{ColumnName, JobGraph, LateRows, Schema, SinkSpec, SourceSpec};
use lw_lakehouse::commit::marker::{Marker, Stint};
use lw_lakehouse::error::Kind;
use lw_lakehouse::naming::{Bound, column_names};
use lw_lakehouse::view::{Accounted, FileView, Hidden, event_time};
use lw_lakehouse::writer::runs;
use lw_lakehouse::writer::sink::DEAD_LETTERS;
use lw_lakehouse::{CatalogError, TableCatalog, TableView, parse_table};
use lw_ops::audit::ahead::Ends;
use lw_ops::audit::ledger::Ledger;
use lw_ops::audit::{
    AuditedFile, ErasedLetters, Evidence, Executable, Extent, Letter, Letters, MarkedRange, Others,
    Query, Recomputation, RolledBack, Run, audit, audit_recomputed,
};
use lw_ops::metrics::Filled;
use lw_runtime::Pins;
use lw_runtime::connector::LATE;
use lw_runtime::manifest::{Manifest, SplitOffset};
use lw_runtime::operator::Flow;
use lw_runtime::pipelines::Writer;
use lw_storage::Uuid;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// An audit begins this long before retention would take what it is about.
const MARGIN: Duration = Duration::from_secs(120);

/// The status of what may be there again later.
const UNAVAILABLE: u16 = 503;

type Split = (String, i32);

/// One audit at a time: each reads a table and its log. One that somebody waits for goes before one ahead of retention.
#[derive(Default)]
pub(super) struct Turns {
    one: Mutex<()>,
    waiting: AtomicUsize,
    /// Why an audit ahead of retention was not made, by table, as it was told last.
    told: Mutex<BTreeMap<String, String>>,
}

impl Turns {
    fn asked_for(&self) -> MutexGuard<'_, ()> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let turn = self.one.lock();
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        turn
    }

    /// Says a reason once, and again when it is another.
    fn tell(&self, table: &str, reason: String) {
        if self.told.lock().insert(table.to_string(), reason.clone()) != Some(reason.clone()) {
            tracing::warn!(
                table,
                reason,
                "what retention is to take could not be audited"
            );
        }
    }

    fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }
}

impl Tables {
    /// The audit of a table against the log. It ends early once `cancelled`.
    pub fn audit(&self, table: &str, cancelled: &dyn Fn() -> bool) -> Result<Value, Refusal> {
        let _turn = self.turns.asked_for();
        let writer = self.pipelines.writer_of(table);
        let writer = writer.ok_or_else(|| nobody_writes(table))?;
        if let Some(SinkSpec::Delta(sink)) = writer.sink() {
            return self.audit_delta(sink, &writer, cancelled);
        }
        let view = self.view(table)?;
        // The order matters: what the manifest has no more to commit is in the dead letters that are looked at after it.
        let manifest = self.pipelines.manifest_of_writer(&writer);
        let letters = self.letters(table, DEAD_LETTERS, manifest.as_ref())?;
        let late = match writer.sink() {
            Some(SinkSpec::Iceberg(sink)) if sink.late == LateRows::SideTable => {
                Some(self.letters(table, LATE, manifest.as_ref())?)
            }
            _ => None,
        };
        let hidden = view.hidden().map_err(refused)?;
        let evidence = Evidence {
            ranges: view.accounted().into_iter().map(marked).collect(),
            rolled_back: rolled_back(&view),
            files: view.data_files.iter().filter_map(audited).collect(),
            letters: Some(letters),
            late,
            extent: Extent::Table,
            cancelled,
            others: others(&view, &hidden),
            ..self.evidence(table, (&view, &hidden), &writer, manifest.as_ref())
        };
        let report = match self.has_state(&view, &writer) {
            true => {
                let how = recomputation(&view, &writer, manifest.as_ref());
                let shelf = ledgers::shelf(self.wiring.storage(), writer.pipeline, table);
                let shelf = Some(shelf);
                audit_recomputed(evidence, &Recomputation { shelf, ..how })
            }
            false => audit(evidence),
        };
        Ok(json!(report.map_err(|error| cannot_be_made(&error))?))
    }

    /// Whether some query that made the table keeps state.
    pub(super) fn has_state(&self, view: &TableView, writer: &Writer) -> bool {
        let stints: Vec<Stint> = view.marker.iter().flat_map(Marker::made_by).collect();
        let mut plans = stints
            .iter()
            .filter_map(|stint| Some((stint.pipeline, stint.plan.as_ref()?)));
        let by_plan = |(pipeline, plan): (Uuid, &String)| {
            let graph = self.pipelines.graph_of_plan(pipeline, plan);
            graph.is_ok_and(|graph| graph.needs_all_before())
        };
        writer.graph.needs_all_before() || plans.any(by_plan)
    }

    /// States what each table still needs of the log; after it retention may begin.
    pub fn hold_unaudited(&self) {
        for writer in self.pipelines.writers() {
            self.hold(&writer);
        }
    }

    /// Audits what retention is about to take. Says whether there may be more of it already.
    pub fn audit_ahead(&self, cancelled: &dyn Fn() -> bool) -> bool {
        let mut again = false;
        let mut filled = Vec::new();
        for writer in self.pipelines.writers() {
            let table = &writer.table;
            filled.push((writer.pipeline, table.clone()));
            self.hold(&writer);
            let left = ledgers::time_to_loss(self.wiring.storage(), writer.pipeline, table);
            if cancelled() || left.is_none_or(|left| left > MARGIN) {
                continue;
            }
            let Some(_turn) = self.turns.one.try_lock() else {
                return false;
            };
            match self.look(&writer, &|| cancelled() || self.turns.is_wanted()) {
                Ok(more) => {
                    again |= more;
                    self.turns.told.lock().remove(table);
                }
                Err(reason) => self.turns.tell(table, reason),
            }
        }
        if let Err(error) = ledgers::keep_only(self.wiring.storage(), &filled) {
            tracing::warn!(%error, "ledgers of tables that nobody fills stay");
        }
        again
    }

    /// What each table that a pipeline fills has beside its job, as metrics have it. A catalog elsewhere is not asked: a scrape
    /// waits for nobody.
    pub fn filled(&self) -> Vec<Filled> {
        let storage = self.wiring.storage();
        let filled = |writer: Writer| Filled {
            event_time: match writer.sink() {
                Some(SinkSpec::Iceberg(sink)) if sink.uri.is_none() => {
                    let ident = parse_table(&writer.table).ok();
                    let table = ident.and_then(|ident| self.wiring.embedded().load(&ident).ok());
                    table.as_ref().and_then(event_time)
                }
                _ => None,
            },
            time_to_loss: self.pipelines.time_to_loss(&writer),
            time_to_unaudited: ledgers::time_to_loss(storage, writer.pipeline, &writer.table),
            pipeline: writer.name,
            table: writer.table,
        };
        self.pipelines.writers().into_iter().map(filled).collect()
    }

    fn hold(&self, writer: &Writer) {
        let Some(SinkSpec::Iceberg(_)) = writer.sink() else {
            return;
        };
        let (storage, table) = (self.wiring.storage(), &writer.table);
        if let Some(manifest) = &self.pipelines.manifest_of_writer(writer) {
            let ledger = ledgers::load(storage, writer.pipeline, table);
            ledgers::hold(storage, writer.pipeline, table, ledger.as_ref(), manifest);
        }
    }

    /// What the table's ledger says; nothing, where it is another table's of the same name.
    fn ledger(&self, view: &TableView, writer: &Writer) -> Ledger {
        let id = view.table().metadata.uuid().to_string();
        let stored = ledgers::load(self.wiring.storage(), writer.pipeline, &writer.table);
        let stored = stored.filter(|ledger| ledger.is_of(&id));
        stored.unwrap_or_else(|| Ledger::of(id))
    }

    /// How to read the table and the log again; what is asked about is still to be said.
    fn evidence<'a>(
        &'a self,
        table: &str,
        (view, hidden): (&'a TableView, &'a Hidden),
        writer: &'a Writer,
        manifest: Option<&Manifest>,
    ) -> Evidence<'a> {
        let marker = view.marker.as_ref();
        let ends = marker.map(Marker::ends).unwrap_or_default();
        let stints = marker.map(Marker::made_by);
        let (log_starts, mut notes) = self.log_starts(&ends, writer, manifest);
        for end in view.without_begin() {
            let (topic, partition, next) = (end.topic, end.partition, end.next);
            notes.push(format!(
                "{topic}[{partition}]: nothing says where the table begins, so nobody knows what is to be there below offset {next}"
            ));
        }
        let erased = match erased(view) {
            Ok(erased) => erased,
            Err(error) => {
                notes.push(format!(
                    "what was erased from the table is not known: {error}"
                ));
                None
            }
        };
        Evidence {
            table: table.to_string(),
            ranges: Vec::new(),
            rolled_back: None,
            files: Vec::new(),
            read_file: Box::new(|file| {
                let found = view.data_files.iter().find(|found| found.path == file.path);
                let found = found.ok_or("it is not in the table")?;
                // Of a file of ours every row is looked at: runs count them all, and what is gone is told.
                let places = hidden.get(&found.path).filter(|_| found.runs.is_none());
                let batches = match places {
                    Some(places) => view.visible(found, places).map_err(in_words)?,
                    None => Box::new(view.batches(found, &[]).map_err(in_words)?),
                };
                Ok(Box::new(batches.map(|batch| batch.map_err(in_words))))
            }),
            queries: self.queries(stints.unwrap_or_default(), Some(view), writer),
            ledger: self.ledger(view, writer),
            extent: Extent::Ranges,
            notes,
            letters: None,
            late: None,
            cancelled: &|| false,
            log_starts,
            others: Others::default(),
            erased,
        }
    }

    /// The queries that made the table, as its marker has them. What is older than they is judged by the first of them; where the
    /// marker names none, by the one that fills the table now.
    fn queries<'a>(
        &'a self,
        stints: Vec<Stint>,
        view: Option<&TableView>,
        writer: &'a Writer,
    ) -> Vec<Query<'a>> {
        let planned = |pipeline: Uuid, plan: Option<String>, bound: Bound, pins: Pins| {
            let metadata = view.map(|view| view.table().metadata.clone());
            move || {
                let graph = match &plan {
                    // A plan's id is what its query means, whichever pipeline executes it.
                    Some(plan) => match self.pipelines.graph_of_plan(pipeline, plan) {
                        Ok(graph) => graph,
                        Err(reason) => {
                            let mine = self.pipelines.graph_of_plan(writer.pipeline, plan);
                            mine.map_err(|_| reason)?
                        }
                    },
                    None => writer.graph.clone(),
                };
                let columns = |names: &[&str]| match &metadata {
                    Some(metadata) => column_names(names.iter().copied(), metadata, &bound),
                    None => names.iter().map(|name| ColumnName::plain(name)).collect(),
                };
                self.executable(&graph, &writer.name, &columns, &pins)
            }
        };
        let (pipeline, plan, bound) = match stints.first() {
            Some(first) => (first.pipeline, first.plan.clone(), first.columns.clone()),
            None => (writer.pipeline, None, Bound::new()),
        };
        let mut queries = vec![Query {
            name: String::new(),
            from: BTreeMap::new(),
            stated: false,
            make: Box::new(planned(pipeline, plan, bound, Pins::new())),
        }];
        let looked_up = view.map_or_else(Vec::new, |view| looked_up(&view.snapshots));
        let looked_up = looked_up.into_iter().map(|joined| {
            let mut by = stints.iter().rev();
            let by = by.find(|stint| stint.plan == joined.plan);
            let pipeline = by.map_or(writer.pipeline, |stint| stint.pipeline);
            let bound = by.map(|stint| stint.columns.clone()).unwrap_or_default();
            Query {
                name: joined.plan.clone().unwrap_or_default(),
                from: joined.from,
                stated: joined.plan.is_some(),
                make: Box::new(planned(pipeline, joined.plan, bound, joined.pins)),
            }
        });
        let looked_up: Vec<Query<'a>> = looked_up.collect();
        queries.extend(stints.into_iter().map(|stint| Query {
            name: stint.plan.clone().unwrap_or_default(),
            from: ends(stint.from()),
            stated: stint.plan.is_some(),
            make: Box::new(planned(
                stint.pipeline,
                stint.plan,
                stint.columns,
                Pins::new(),
            )),
        }));
        // They are of single commits, and say more than the stints do.
        queries.extend(looked_up);
        queries
    }

    /// `columns` says what the names of a query are in the table.
    fn executable(
        &self,
        graph: &JobGraph,
        pipeline: &str,
        columns: &dyn Fn(&[&str]) -> Vec<ColumnName>,
        pins: &Pins,
    ) -> Result<Executable, String> {
        let scans: Vec<&SourceSpec> = graph.sources().collect();
        let names: Vec<&str> = match graph.sink() {
            Some(SinkSpec::Iceberg(sink)) => names_of(&sink.schema),
            Some(SinkSpec::Delta(sink)) => names_of(&sink.schema),
            _ => return Err("its plan writes no table".to_string()),
        };
        let source = self.wiring.reader(&scans, &format!("lakeward-{pipeline}"));
        let flow = Flow::pinned(graph, &*self.wiring, pins)?;
        Ok(Executable {
            source: source.map_err(|error| error.to_string())?,
            flow,
            columns: columns(&names),
        })
    }

    /// Where the log begins of what the table accounts for, and why nothing is known of some of it.
    fn log_starts(
        &self,
        ends: &[SplitOffset],
        writer: &Writer,
        manifest: Option<&Manifest>,
    ) -> (Ends, Vec<String>) {
        let (mut starts, mut notes) = (Ends::new(), Vec::new());
        let topics: BTreeSet<String> = ends.iter().map(|end| end.topic.clone()).collect();
        for topic in topics {
            let mut sources = writer.graph.sources();
            let source = sources.find(|source| source.reads(&topic));
            let found = match self.wiring.look(source, &topic) {
                Ok(found) => found,
                Err(error) => {
                    notes.push(format!("topic '{topic}' could not be looked at: {error}"));
                    continue;
                }
            };
            let now = found.as_ref().map(|found| found.id);
            let read = manifest.and_then(|manifest| manifest.topics.get(&topic).copied());
            if now.is_some() && read.is_some() && now != read {
                notes.push(format!(
                    "topic '{topic}' was deleted and created again: of the one that the table was made from nothing is left"
                ));
                continue;
            }
            for bounds in found.into_iter().flat_map(|found| found.partitions) {
                starts.insert((topic.clone(), bounds.partition), bounds.start);
            }
        }
        (starts, notes)
    }

    /// The dead letters of a table, or its late rows; without a table of them there are none.
    fn letters(
        &self,
        table: &str,
        beside: &str,
        manifest: Option<&Manifest>,
    ) -> Result<Letters, Refusal> {
        let name = format!("{table}{beside}");
        let ident = parse_table(&name).map_err(refused)?;
        let catalog = self.catalog_of(&name).map_err(refused)?;
        let mut letters = Letters {
            erased: None,
            pending: pending_letters(manifest, &name),
            table: name,
            rows: BTreeMap::new(),
        };
        let view = match TableView::open_with(&*catalog, &ident, &self.footers) {
            Err(error) if error.kind == Kind::NoSuchTable => return Ok(letters),
            other => other.map_err(refused)?,
        };
        let erased = view.erased().map_err(refused)?;
        if !erased.is_empty() {
            let metadata = view.table().metadata.clone();
            letters.erased = Some(ErasedLetters(Arc::new(move |topic, partition, offset| {
                erased.has_letter(&metadata, topic, partition, offset)
            })));
        }
        let shown = view.letters(|letter| {
            let split = (letter.topic.to_owned(), letter.partition);
            let rows = letters.rows.entry(split).or_default();
            rows.push(Letter::new(letter.offset, letter.key, letter.value));
        });
        shown.map_err(refused)?;
        Ok(letters)
    }
}

/// What the pipeline has yet to commit to a table of dead letters or late rows.
fn pending_letters(manifest: Option<&Manifest>, table: &str) -> BTreeMap<Split, Vec<Range<i64>>> {
    let mut pending: BTreeMap<Split, Vec<Range<i64>>> = BTreeMap::new();
    let Some(manifest) = manifest else {
        return pending;
    };
    let chain = manifest.chain(table);
    let commits = chain.into_iter().flat_map(|chain| &chain.chain);
    for range in commits.flat_map(|commit| &commit.ranges) {
        let split = (range.topic.clone(), range.partition);
        let ranges = pending.entry(split).or_default();
        ranges.push(range.start..range.end);
    }
    pending
}

fn names_of(schema: &Schema) -> Vec<&str> {
    schema.fields.iter().map(|field| &*field.name).collect()
}

fn nobody_writes(table: &str) -> Refusal {
    let refusal = Refusal::new(404, format!("no pipeline writes table '{table}'"));
    match table.strip_suffix(DEAD_LETTERS) {
        Some(main) => refusal
            .detail("Dead letters are audited together with the table that they stand beside.")
            .hint(format!("lakeward audit {main}")),
        None => refusal
            .detail("The audit executes the pipeline's query again; without the pipeline there is nothing to compare with.")
            .hint("`lakeward pipeline list` shows the pipelines and their tables."),
    }
}

fn cannot_be_made(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(500, format!("the audit cannot be made: {error}"))
}

fn ends(offsets: Vec<SplitOffset>) -> Ends {
    let offsets = offsets.into_iter();
    offsets
        .map(|at| ((at.topic, at.partition), at.next))
        .collect()
}

fn marked(range: Accounted) -> MarkedRange {
    MarkedRange {
        topic: range.topic,
        partition: range.partition,
        start: range.start,
        end: range.end,
        follows: range.follows,
    }
}

fn in_words(error: CatalogError) -> String {
    match &error.source {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Offsets that the newest commit accounted for and the table's head does not.
fn rolled_back(view: &TableView) -> Option<RolledBack> {
    let rolled_back = view.rolled_back()?;
    let offsets = rolled_back.offsets.into_iter();
    Some(RolledBack {
        adopted: rolled_back.adopted,
        ranges: offsets
            .map(|(start, end)| MarkedRange {
                topic: end.topic,
                partition: end.partition,
                start,
                end: end.next,
                follows: true,
            })
            .collect(),
    })
}

/// A data file with its runs; `None` for one that another writer made.
fn audited(file: &FileView) -> Option<AuditedFile> {
    let runs = file.runs.as_deref()?;
    Some(with_runs(&file.path, runs))
}

fn with_runs(path: &str, runs: &[runs::Run]) -> AuditedFile {
    let runs = runs.iter().map(|run| Run {
        topic: run.topic.clone(),
        partition: run.partition,
        first: run.first,
        last: run.last,
        rows: run.rows,
        skipped: run.skipped.clone(),
        shared: run.shared,
    });
    AuditedFile {
        path: path.to_string(),
        runs: runs.collect(),
    }
}
