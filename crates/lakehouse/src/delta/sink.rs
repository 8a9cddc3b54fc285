//! The Delta sink: rows to their table, records that failed to the table beside it, and late ones where they are kept.
//!
//! `<table>__dead_letters` and `<table>__late` are Delta tables of their own beside the main one, made with their first row. Their files are
//! sealed and committed like those of the main table, by the same pipeline, so that a dead letter too is there exactly once.

use super::log::DeltaLog;
use super::schema;
use super::table::{Wanted, check_place};
use super::writer::TableWriter;
use crate::error::CatalogError;
use crate::ids::Ids;
use crate::storage::Files;
use crate::writer::names::Began;
use crate::writer::sink::{DEAD_LETTERS, late_batch, late_columns, letters_batch, letters_columns};
use lw_graph::{DeltaSink, LateRows};
use lw_runtime::connector::{ConnectorError, LATE, LateRow, Owner, Sink, Staged};
use lw_runtime::manifest::Manifest;
use lw_runtime::{Chunk, DeadLetter, Origin, Split};
use lw_stdx::clock::Clock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Writes one Delta table and those beside it.
pub struct DeltaTableSink {
    name: String,
    letters_name: String,
    late_name: String,
    main: TableWriter,
    letters: TableWriter,
    late_rows: TableWriter,
    late: LateRows,
    /// Partitions of dead letters and late rows, in order of appearance.
    letter_splits: Vec<Split>,
    owner: Owner,
    clock: Arc<dyn Clock>,
}

impl DeltaTableSink {
    /// Creates the table if it is missing, and checks that it fits. `location` is where `lakeward.toml` says that it is.
    ///
    /// # Errors
    /// When the place cannot be written, or an existing table does not fit the sink.
    pub fn open(
        spec: &DeltaSink,
        location: &str,
        files: Files,
        owner: &Owner,
        clock: Arc<dyn Clock>,
        ids: Ids,
    ) -> Result<DeltaTableSink, ConnectorError> {
        check_place(location)?;
        let location = location.trim_end_matches('/');
        let began = Began::of(&Manifest::new(owner.pipeline));
        let writer = |ending: &str, wanted: Wanted| {
            let log = DeltaLog::new(files.clone(), &format!("{location}{ending}"), ids.clone());
            TableWriter::new(log, wanted, ids.clone(), clock.clone(), began)
        };
        let columns = schema::of(&spec.schema)?;
        let partitioned_by = spec.partitioned_by.iter();
        let partitioned_by = partitioned_by.map(|place| columns[*place].name.clone());
        let name = spec.table_path.clone();
        let main = Wanted {
            name: name.clone(),
            partitioned_by: partitioned_by.collect(),
            columns,
            configuration: spec.properties.clone(),
            merge: spec.merge_schema,
        };
        let beside = |ending: &str, columns: &lw_graph::Schema| -> Result<_, CatalogError> {
            Ok(writer(
                ending,
                Wanted {
                    name: format!("{name}{ending}"),
                    columns: schema::of(columns)?,
                    partitioned_by: Vec::new(),
                    configuration: BTreeMap::new(),
                    merge: false,
                },
            ))
        };
        let letters = beside(DEAD_LETTERS, &letters_columns())?;
        let late_rows = beside(LATE, &late_columns())?;
        let mut main = writer("", main);
        main.prepare()?;
        Ok(DeltaTableSink {
            letters_name: format!("{name}{DEAD_LETTERS}"),
            late_name: format!("{name}{LATE}"),
            name,
            main,
            letters,
            late_rows,
            late: spec.late,
            letter_splits: Vec::new(),
            owner: owner.clone(),
            clock,
        })
    }

    fn split_of(&mut self, letter: &DeadLetter) -> u32 {
        let mut known = self.letter_splits.iter();
        let known = known
            .position(|split| split.topic == letter.topic && split.partition == letter.partition);
        let index = known.unwrap_or_else(|| {
            self.letter_splits.push(Split {
                topic: letter.topic.clone(),
                partition: letter.partition,
            });
            self.letter_splits.len() - 1
        });
        u32::try_from(index).expect("partitions are fewer than 2^32")
    }

    fn origin_of(&mut self, letter: &DeadLetter) -> Origin {
        Origin {
            split: self.split_of(letter),
            offset: letter.offset,
        }
    }
}

impl Sink for DeltaTableSink {
    fn table(&self) -> &str {
        &self.name
    }

    fn side_tables(&self) -> Vec<String> {
        let late = (self.late == LateRows::SideTable).then(|| self.late_name.clone());
        std::iter::once(self.letters_name.clone())
            .chain(late)
            .collect()
    }

    fn begin(&mut self, manifest: &Manifest) -> Result<(), ConnectorError> {
        self.main.begin(manifest)?;
        self.letters.begin(manifest)?;
        match self.late {
            LateRows::SideTable => self.late_rows.begin(manifest),
            LateRows::Drop | LateRows::Fail => Ok(()),
        }
    }

    fn write(&mut self, batch: Chunk) -> Result<(), ConnectorError> {
        self.main.write(batch)
    }

    fn dead_letters(&mut self, letters: Vec<DeadLetter>) -> Result<(), ConnectorError> {
        if letters.is_empty() {
            return Ok(());
        }
        let origins = letters.iter().map(|letter| self.origin_of(letter));
        let origins = origins.collect();
        let columns = letters_batch(&letters, &self.owner, self.clock.now_ms());
        let splits = self.letter_splits.clone().into();
        self.letters.write(Chunk::new(columns, origins, splits))
    }

    fn late_rows(&self) -> LateRows {
        self.late
    }

    fn keep_late(
        &mut self,
        rows: &[LateRow],
        records: Vec<DeadLetter>,
    ) -> Result<(), ConnectorError> {
        let mut late: Vec<(&LateRow, DeadLetter)> = rows.iter().zip(records).collect();
        // Runs of a file are in the order of the log, whatever order the operators found them in.
        late.sort_by_key(|(_, record)| (record.partition, record.offset));
        let origins = late.iter().map(|(_, record)| self.origin_of(record));
        let origins = origins.collect();
        let columns = late_batch(&late);
        let splits = self.letter_splits.clone().into();
        self.late_rows.write(Chunk::new(columns, origins, splits))
    }

    fn buffered_bytes(&self) -> usize {
        self.main.buffered_bytes() + self.letters.buffered_bytes() + self.late_rows.buffered_bytes()
    }

    fn seal(&mut self) -> Result<Vec<Staged>, ConnectorError> {
        let mut staged = Vec::new();
        for (name, writer) in [
            (&self.name, &mut self.main),
            (&self.letters_name, &mut self.letters),
            (&self.late_name, &mut self.late_rows),
        ] {
            let files = writer.seal()?;
            if files.is_empty() {
                continue;
            }
            let bytes = files.iter().map(|file| file.add.size.unsigned_abs());
            staged.push(Staged {
                table: name.clone(),
                rows: files.iter().map(|file| file.rows).sum(),
                bytes: bytes.sum(),
                files: files.iter().map(|file| file.to_json()).collect(),
                // Delta's columns have no ids; each file says by which it was written.
                schema_id: 0,
            });
        }
        Ok(staged)
    }
}
