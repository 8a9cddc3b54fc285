//! What the tests share: a folder with a table in it, and a pipeline's process over it.

use super::super::log::DeltaLog;
use crate::ids::Ids;
use crate::storage::Files;
use crate::tests::world::HandClock;
use crate::{DeltaCommitter, DeltaTableSink};
use arrow_array::{Int64Array, RecordBatch, StringArray};
use lw_graph::{DeltaSink, Field, LateRows, Schema, TypeKind};
use lw_runtime::Origin;
use lw_runtime::chunk::{Chunk, Split};
use lw_runtime::connector::{CommitOutcome, Committer, ConnectorError, Owner, Sink};
use lw_runtime::manifest::{Manifest, Pending, SplitRange, TableChain};
use lw_stdx::disk::{Disk, RealDisk};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// As the script has the place, and `lakeward.toml` maps it.
pub(super) const NAME: &str = "/lake/events";

#[derive(Clone)]
pub(super) struct World {
    pub(super) files: Files,
    pub(super) ids: Ids,
    pub(super) pipeline: u128,
    pub(super) clock: Arc<HandClock>,
    pub(super) folder: Arc<tempfile::TempDir>,
}

impl World {
    pub(super) fn new() -> World {
        World::over(Arc::new(RealDisk))
    }

    pub(super) fn over(disk: Arc<dyn Disk>) -> World {
        World {
            files: Files::new(disk),
            ids: Ids::seeded(1),
            pipeline: 7,
            clock: HandClock::at(1_700_000_000_000),
            folder: Arc::new(tempfile::tempdir().expect("a folder")),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("events").join(name)
    }

    pub(super) fn location(&self) -> String {
        let path = self.folder.path().join("events");
        format!("file://{}", path.to_string_lossy())
    }

    pub(super) fn log(&self) -> DeltaLog {
        DeltaLog::new(self.files.clone(), &self.location(), self.ids.clone())
    }

    /// How many rows the table has, by what its log says.
    pub(super) fn rows(&self) -> u64 {
        let log = self.log();
        let at = log.load().expect("it can be read").expect("it is there");
        let contents = log.contents(at.version).expect("it can be read");
        let rows = contents.adds.values().map(|add| {
            let stats = add.stats.as_ref().expect("ours have statistics");
            let stats: serde_json::Value = serde_json::from_str(stats).expect("JSON");
            stats["numRecords"].as_u64().expect("a number")
        });
        rows.sum()
    }

    /// Data files below the table's folder, whoever made them.
    pub(super) fn data_files(&self) -> Vec<String> {
        fn collect(folder: &std::path::Path, into: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    collect(&path, into);
                } else if path.extension().is_some_and(|ending| ending == "parquet") {
                    into.push(path.to_string_lossy().into_owned());
                }
            }
        }
        let mut files = Vec::new();
        collect(&self.path(""), &mut files);
        files.retain(|file| !file.contains("_delta_log"));
        files.sort();
        files
    }

    fn owner(&self) -> Owner {
        Owner {
            pipeline: Uuid::from_u128(self.pipeline),
            name: "events".to_owned(),
        }
    }
}

pub(super) fn columns() -> Schema {
    Schema::new(vec![
        Field::new("n", TypeKind::BigInt.not_null()),
        Field::new("who", TypeKind::string().nullable()),
    ])
}

pub(super) fn spec(schema: &Schema) -> DeltaSink {
    DeltaSink {
        table_path: NAME.to_owned(),
        schema: schema.clone(),
        partitioned_by: Vec::new(),
        merge_schema: false,
        late: LateRows::Drop,
        properties: BTreeMap::new(),
    }
}

/// One process of a pipeline over two partitions.
pub(super) struct Process {
    pub(super) sink: DeltaTableSink,
    pub(super) committer: DeltaCommitter,
    pub(super) chain: TableChain,
    /// Where its reading stands.
    pub(super) read: [i64; 2],
    /// By which query.
    pub(super) plan: String,
    pipeline: Uuid,
    ids: Ids,
}

impl Process {
    pub(super) fn open(world: &World, spec: &DeltaSink) -> Result<Process, ConnectorError> {
        let (owner, location) = (world.owner(), world.location());
        let (files, ids) = (world.files.clone(), world.ids.clone());
        let clock = world.clock.clone();
        let sink = DeltaTableSink::open(
            spec,
            &location,
            files.clone(),
            &owner,
            clock.clone(),
            ids.clone(),
        )?;
        let committer =
            DeltaCommitter::new(files, NAME, &location, owner.clone(), clock, ids.clone());
        Ok(Process {
            sink,
            committer,
            chain: TableChain::default(),
            read: [0, 0],
            plan: "a".to_owned(),
            pipeline: owner.pipeline,
            ids,
        })
    }

    pub(super) fn manifest(&self, generation: u64) -> Manifest {
        Manifest {
            generation,
            ..Manifest::new(self.pipeline)
        }
    }

    /// The next rows of each partition.
    pub(super) fn rows(&self, rows: [i64; 2]) -> Chunk {
        let (mut numbers, mut names, mut origins) = (Vec::new(), Vec::new(), Vec::new());
        for split in 0..2_u32 {
            let first = self.read[split as usize];
            for offset in first..first + rows[split as usize] {
                numbers.push(offset * 2 + i64::from(split));
                names.push((offset % 3 > 0).then(|| format!("name {}", offset % 3)));
                origins.push(Origin { split, offset });
            }
        }
        let columns = RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from(numbers)) as _),
            ("who", Arc::new(StringArray::from(names)) as _),
        ]);
        let splits: Vec<Split> = (0..2)
            .map(|partition| Split {
                topic: Arc::from("t"),
                partition,
            })
            .collect();
        let columns = columns.expect("two columns");
        Chunk::new(columns, origins.into_iter().collect(), splits.into())
    }

    /// Reads, makes it durable, and remembers it as a manifest would.
    pub(super) fn read_and_seal(&mut self, rows: [i64; 2]) {
        self.try_read_and_seal(rows).expect("the disk is well");
    }

    pub(super) fn try_read_and_seal(&mut self, rows: [i64; 2]) -> Result<(), ConnectorError> {
        if rows != [0, 0] {
            self.sink.write(self.rows(rows))?;
        }
        let staged = self.sink.seal()?;
        let range = |partition: usize| SplitRange {
            topic: "t".to_owned(),
            partition: i32::try_from(partition).expect("0 or 1"),
            start: self.read[partition],
            end: self.read[partition] + rows[partition],
            rows: rows[partition].unsigned_abs(),
            filtered: 0,
            dead_letters: 0,
            control: 0,
            late: 0,
        };
        let ranges = (0..2).filter(|partition| rows[*partition] > 0).map(range);
        self.chain.chain.push(Pending {
            sequence: self.chain.next_sequence(),
            uuid: self.ids.next(),
            previous: self.chain.head(),
            files: staged.into_iter().flat_map(|staged| staged.files).collect(),
            ranges: ranges.collect(),
            plan: Some(self.plan.clone()),
            ..Pending::default()
        });
        for (at, more) in self.read.iter_mut().zip(rows) {
            *at += more;
        }
        Ok(())
    }

    pub(super) fn try_commit(&mut self) -> Result<CommitOutcome, ConnectorError> {
        self.committer.commit(NAME, &self.chain)
    }

    pub(super) fn commit(&mut self) -> Result<(), ConnectorError> {
        match self.try_commit()? {
            CommitOutcome::Confirmed { confirmed, .. } => self.chain.confirm(confirmed),
            CommitOutcome::Paused(pause) => panic!("paused: {}", pause.reason),
        }
        Ok(())
    }

    pub(super) fn epoch(&mut self, rows: [i64; 2]) {
        self.read_and_seal(rows);
        self.commit().expect("it is committed");
    }
}
