//! Writes one table's data files.
//!
//! 1. Batches collect in memory.
//! 2. When they are [`FLUSH`] bytes, their rows are brought into runs (stably, by partition of the log) and go into the open
//!    Parquet file. Rows that stand together already are not copied for it.
//! 3. Where the table is partitioned, each partition has an open file of its own, and the rows are dealt out to them in that
//!    same order. No more than [`MOST_OPEN`] are open at a time, nor more than [`MOST_HELD`] bytes in them: the largest is
//!    finished then, and a row that comes later begins another.
//! 4. A file that reaches the target size is finished, durable, and described.
//! 5. A seal does the same with what is left.
//!
//! The table is looked at anew for each epoch, so one that was changed meanwhile is written as it now is, gets what rows need
//! (`'lakeward.schema-change' = 'evolve'`), or is refused with the differences (`target`).

use super::erased;
use super::names::Began;
use super::orphans::{self, Swept};
use super::partition::Parted;
use super::pieces::{LARGE, in_runs};
use super::runs::{FOOTER_KEY, Runs};
use super::target::{self, Target};
use super::{settings, stats};
use crate::catalog::{LoadedTable, NewTable, TableCatalog};
use crate::commit::branch::Ref;
use crate::commit::change::Change;
use crate::commit::publish::{Published, Publisher, Step};
use crate::commit::rules::Rules;
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::naming::Bound;
use crate::staged::StagedFile;
use crate::storage::DurableFile;
use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use iceberg::TableIdent;
use iceberg::spec::{FormatVersion, Schema, Struct, UnboundPartitionSpec};
use lw_graph::SchemaChange;
use lw_runtime::chunk::{Chunk, Split};
use lw_runtime::connector::{ConnectorError, ErrorKind, Owner};
use lw_runtime::manifest::Manifest;
use lw_runtime::origins;
use lw_stdx::clock::Clock;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use uuid::Uuid;

/// Bytes in memory that are worth a stretch of runs in the file.
const FLUSH: usize = 32 << 20;
/// Files of partitions that are open at a time.
const MOST_OPEN: usize = 64;
/// Bytes that wait in them for a page or a row group to be whole.
const MOST_HELD: usize = 128 << 20;
/// Options of every table that we create, unless the script sets them.
const DEFAULTS: [(&str, &str); 3] = [
    ("write.parquet.compression-codec", "zstd"),
    ("write.metadata.previous-versions-max", "20"),
    ("write.metadata.delete-after-commit.enabled", "true"),
];

/// The table that a writer is for, as it is made where it is missing.
pub(super) struct Wanted {
    pub(super) ident: TableIdent,
    pub(super) owner: Owner,
    /// Id of the plan that computes the rows, where it is known.
    pub(super) plan: Option<String>,
    /// It fills a branch.
    pub(super) replays: bool,
    pub(super) schema: Schema,
    pub(super) schema_change: SchemaChange,
    pub(super) properties: HashMap<String, String>,
    pub(super) version: FormatVersion,
    pub(super) partition_spec: Option<UnboundPartitionSpec>,
    /// `None` leaves it to the catalog.
    pub(super) location: Option<String>,
}

pub(super) struct TableWriter {
    catalog: Arc<dyn TableCatalog>,
    clock: Arc<dyn Clock>,
    wanted: Wanted,
    ids: Ids,
    /// Stands in file names.
    began: Began,

    target: Option<Arc<Target>>,
    /// What the sink's names meant last, in which table.
    bound: Option<(Uuid, Bound)>,
    /// Properties that are not obeyed, as they were last told.
    kept: Vec<String>,
    buffered: Vec<Chunk>,
    buffered_bytes: usize,
    /// By the partition that they are of, as [`Parted`] names it; the one file of an unpartitioned table has an empty key.
    open: BTreeMap<Vec<u8>, OpenFile>,
    sealed: Vec<StagedFile>,
}

struct OpenFile {
    writer: ArrowWriter<DurableFile>,
    location: String,
    runs: Runs,
    partition: Struct,
}

impl OpenFile {
    /// Bytes that it holds in memory.
    fn held(&self) -> usize {
        self.writer.in_progress_size()
    }

    fn length(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }
}

impl TableWriter {
    pub(super) fn new(
        catalog: Arc<dyn TableCatalog>,
        clock: Arc<dyn Clock>,
        mut wanted: Wanted,
        ids: Ids,
        began: Began,
    ) -> TableWriter {
        for (key, value) in DEFAULTS {
            let property = wanted.properties.entry(key.to_owned());
            property.or_insert_with(|| value.to_owned());
        }
        TableWriter {
            catalog,
            clock,
            wanted,
            ids,
            began,
            target: None,
            bound: None,
            kept: Vec::new(),
            buffered: Vec::new(),
            buffered_bytes: 0,
            open: BTreeMap::new(),
            sealed: Vec::new(),
        }
    }

    /// Takes the table over from earlier processes: files are named anew, and what those left behind goes.
    pub(super) fn begin(&mut self, manifest: &Manifest) -> Result<(), ConnectorError> {
        self.began = Began::of(manifest);
        let chain = manifest.chain(&self.wanted.ident.to_string());
        if chain.is_some_and(|chain| !chain.chain.is_empty()) {
            // Someone may have dropped it, and a commit needs a table to decide about.
            self.prepare()?;
        }
        let table = match self.catalog.load(&self.wanted.ident) {
            Err(error) if matches!(error.kind, Kind::NoSuchTable | Kind::NoSuchNamespace) => {
                return Ok(());
            }
            other => other?,
        };
        let (pipeline, table_name) = (manifest.pipeline, &self.wanted.ident);
        let now = self.began.stamp(table.metadata.uuid());
        match orphans::sweep(self.catalog.files(), &table, manifest, &now) {
            Ok(Swept { files: 0, .. }) => {}
            Ok(Swept { files, bytes }) => {
                tracing::info!(%pipeline, table = %table_name, files, bytes, "files of aborted checkpoints were removed");
            }
            Err(error) => {
                tracing::warn!(%pipeline, table = %table_name, %error, "files of aborted checkpoints stay");
            }
        }
        Ok(())
    }

    /// Creates the table if it is missing, and checks that it fits, or would once it had evolved: whoever only asks changes no
    /// columns.
    pub(super) fn check(&mut self) -> Result<(), ConnectorError> {
        let table = self.load_or_create()?;
        match self.mending(&table)? {
            Some(_) => Ok(()),
            None => self.prepare(),
        }
    }

    /// Creates the table if it is missing, brings about what it lacks where it evolves, and checks that it fits.
    pub(super) fn prepare(&mut self) -> Result<(), ConnectorError> {
        if self.target.is_none() {
            let table = self.load_or_create()?;
            let table = match self.mending(&table)? {
                Some(_) => self.evolved()?,
                None => table,
            };
            let files = self.catalog.files();
            let target = Target::of(files, &self.wanted, &table, self.bound_in(&table))?;
            self.bound = Some((table.metadata.uuid(), target.bound.clone()));
            if target.settings.kept != self.kept {
                for kept in &target.settings.kept {
                    tracing::info!(table = %self.wanted.ident, "a property of the table is not obeyed: {kept}");
                }
                self.kept.clone_from(&target.settings.kept);
            }
            self.target = Some(Arc::new(target));
        }
        Ok(())
    }

    pub(super) fn write(&mut self, batch: Chunk) -> Result<(), ConnectorError> {
        self.buffered_bytes += batch.bytes();
        self.buffered.push(batch);
        if self.buffered_bytes >= FLUSH {
            self.flush()?;
        }
        Ok(())
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.buffered_bytes + self.open.values().map(OpenFile::held).sum::<usize>()
    }

    /// Makes everything durable. The next epoch looks at the table again.
    pub(super) fn seal(&mut self) -> Result<Vec<StagedFile>, ConnectorError> {
        self.flush()?;
        while let Some((_, open)) = self.open.pop_first() {
            self.finish(open)?;
        }
        self.target = None;
        self.began.checkpoint += 1;
        Ok(std::mem::take(&mut self.sealed))
    }

    fn bound_in(&self, table: &LoadedTable) -> Option<&Bound> {
        let (of, bound) = self.bound.as_ref()?;
        (*of == table.metadata.uuid()).then_some(bound)
    }

    /// What would make rows fit that do not, where the table is to evolve.
    fn mending(&self, table: &LoadedTable) -> Result<Option<(Schema, Vec<String>)>, CatalogError> {
        match self.wanted.schema_change {
            SchemaChange::Pause => Ok(None),
            SchemaChange::Evolve => target::mending(&self.wanted, table, self.bound_in(table)),
        }
    }

    /// The table with the columns that rows need.
    fn evolved(&self) -> Result<LoadedTable, ConnectorError> {
        let ident = &self.wanted.ident;
        let (catalog, clock) = (self.catalog.clone(), self.clock.clone());
        let mut publisher = Publisher::new(catalog, clock, self.ids.clone(), Rules::OURS);
        let mut lacks = Vec::new();
        let decide = |table: &LoadedTable, _: i64| {
            Ok(match self.mending(table)? {
                None => Step::Over(()),
                Some((schema, differences)) => {
                    lacks = differences;
                    Step::Send(Change::Columns(Box::new(schema)))
                }
            })
        };
        match publisher.publish(ident, &Ref::main(), decide)? {
            Published::Over(()) | Published::Landed(_) => {}
            Published::Busy(error) => return Err(error.into()),
        }
        if !lacks.is_empty() {
            tracing::info!(table = %ident, "the table has evolved: {}", lacks.join("; "));
        }
        Ok(self.catalog.load(ident)?)
    }

    fn load_or_create(&self) -> Result<LoadedTable, CatalogError> {
        let wanted = &self.wanted;
        match self.catalog.load(&self.wanted.ident) {
            Err(error) if matches!(error.kind, Kind::NoSuchTable | Kind::NoSuchNamespace) => {}
            other => return other,
        }
        self.catalog
            .ensure_namespace(&self.wanted.ident.namespace)?;
        let new = NewTable {
            schema: wanted.schema.clone(),
            properties: wanted.properties.clone(),
            format_version: wanted.version,
            partition_spec: wanted.partition_spec.clone(),
            location: wanted.location.clone(),
        };
        settings::check(&wanted.properties).map_err(|why| {
            let message = format!("the table {} cannot be made: {why}", wanted.ident);
            CatalogError::new(Kind::BadRequest, message)
        })?;
        match self.catalog.create(&wanted.ident, new) {
            // Someone else was faster, or our own reply was lost.
            Err(error)
                if matches!(
                    error.kind,
                    Kind::AlreadyExists | Kind::Unknown | Kind::CommitFailed
                ) =>
            {
                match self.catalog.load(&wanted.ident) {
                    // It was the request that was lost: what can be tried again is no fault of the script.
                    Err(none) if none.kind == Kind::NoSuchTable => Err(error),
                    other => other,
                }
            }
            other => other,
        }
    }

    /// Brings what is in memory into runs, and writes it.
    fn flush(&mut self) -> Result<(), ConnectorError> {
        if self.buffered.is_empty() {
            return Ok(());
        }
        self.prepare()?;
        let target = self.prepared();
        let batches = std::mem::take(&mut self.buffered);
        self.buffered_bytes = 0;
        let batches = erased::without(batches, &target.erased, &target)?;
        if batches.is_empty() {
            return Ok(());
        }
        let (pieces, origins) = in_runs(&batches);
        let splits = batches.last().expect("there is one").splits.clone();
        let Some(partitioning) = &target.partitioning else {
            let mut open = match self.open.pop_first() {
                Some((_, open)) => open,
                None => self.create(Struct::empty(), None)?,
            };
            open.runs.add(&origins, &splits);
            for together in pieces.chunk_by(|one, next| one.rows.max(next.rows) < LARGE) {
                let columns = target.write_form(&batches, together)?;
                target
                    .settings
                    .write(&mut open.writer, &columns)
                    .map_err(write_failed)?;
            }
            return self.keep(Vec::new(), open);
        };
        let columns = target.write_form(&batches, &pieces)?;
        let parts = partitioning.split(&columns)?;
        self.deal_out(&columns, parts, &origins, &splits)
    }

    /// Each partition's rows to its file, in the order in which they stand.
    fn deal_out(
        &mut self,
        columns: &RecordBatch,
        parted: Parted,
        origins: &origins::Runs,
        splits: &[Split],
    ) -> Result<(), ConnectorError> {
        // Rows of aggregates stand first, and came from no record.
        let derived = columns.num_rows() - origins.rows();
        let mut of_part = vec![origins::Runs::default(); parted.parts.len()];
        for (part, origin) in parted.of_row[derived..].iter().zip(origins.iter()) {
            of_part[*part as usize].push(origin, 1);
        }
        let target = self.prepared();
        for (part, origins) in parted.parts.into_iter().zip(of_part) {
            let mut open = match self.open.remove(&part.key) {
                Some(open) => open,
                None => self.create(part.values, Some(&part.folder))?,
            };
            open.runs.add(&origins, splits);
            let written = if part.rows.len() == columns.num_rows() {
                target.settings.write(&mut open.writer, columns)
            } else {
                let rows = UInt32Array::from(part.rows);
                let rows = take_record_batch(columns, &rows).map_err(bad_batch)?;
                target.settings.write(&mut open.writer, &rows)
            };
            written.map_err(write_failed)?;
            self.keep(part.key, open)?;
            self.make_room()?;
        }
        Ok(())
    }

    /// Finishes files until one more may be opened.
    fn make_room(&mut self) -> Result<(), ConnectorError> {
        while self.open.len() >= MOST_OPEN
            || self.open.values().map(OpenFile::held).sum::<usize>() > MOST_HELD
        {
            let largest = self.open.iter().max_by_key(|(_, open)| open.length());
            let largest = largest.map(|(key, _)| key.clone());
            let Some(open) = largest.and_then(|key| self.open.remove(&key)) else {
                break;
            };
            self.finish(open)?;
        }
        Ok(())
    }

    /// A file that is large enough is finished, any other stays open.
    fn keep(&mut self, key: Vec<u8>, open: OpenFile) -> Result<(), ConnectorError> {
        if open.length() >= self.prepared().settings.target_bytes {
            return self.finish(open);
        }
        self.open.insert(key, open);
        Ok(())
    }

    fn create(&self, partition: Struct, inside: Option<&str>) -> Result<OpenFile, ConnectorError> {
        let target = self.prepared();
        let mut folder = orphans::data_folder(&target.metadata);
        if let Some(inside) = inside {
            folder = format!("{folder}/{inside}");
        }
        let stamp = self.began.stamp(target.metadata.uuid());
        let location = format!("{folder}/{}", stamp.file_name(self.ids.next()));
        let file = self
            .catalog
            .files()
            .create(&location)
            .map_err(CatalogError::from)?;
        let properties = target.settings.parquet.clone();
        let writer = ArrowWriter::try_new(file, target.arrow.clone(), Some(properties))
            .map_err(write_failed)?;
        let runs = match inside {
            Some(_) => Runs::shared(),
            None => Runs::default(),
        };
        Ok(OpenFile {
            writer,
            location,
            runs,
            partition,
        })
    }

    fn prepared(&self) -> Arc<Target> {
        self.target.clone().expect("it was prepared")
    }

    fn finish(&mut self, mut open: OpenFile) -> Result<(), ConnectorError> {
        let target = self.prepared();
        open.writer
            .append_key_value_metadata(KeyValue::new(FOOTER_KEY.to_owned(), open.runs.to_json()));
        let parquet = open.writer.finish().map_err(write_failed)?;
        let length = open
            .writer
            .inner_mut()
            .finish()
            .map_err(CatalogError::from)?;
        let metadata = &target.metadata;
        let spec = metadata.default_partition_spec_id();
        let file = stats::data_file(
            (metadata.current_schema(), &target.settings.metrics),
            (spec, open.partition),
            &parquet,
            &open.location,
            length,
        )?;
        let mut staged = StagedFile::new(metadata, metadata.current_schema_id(), spec, file)?;
        staged.columns = target.bound.clone();
        self.sealed.push(staged);
        Ok(())
    }
}

/// The disk may be full; what was in memory is read from the log again after a restart of the pipeline.
fn write_failed(error: parquet::errors::ParquetError) -> ConnectorError {
    ConnectorError::new(ErrorKind::Retry, "a data file cannot be written").detail(error.to_string())
}

pub(super) fn bad_batch(error: arrow_schema::ArrowError) -> ConnectorError {
    ConnectorError::new(ErrorKind::Bug, "a batch does not have the sink's columns")
        .detail(error.to_string())
}
