//! A table `lake.events` in a catalog of its own, written by a sink, a commit at a time.

use arrow_array::{Int32Array, RecordBatch, StringArray};
use iceberg::{TableIdent, TableUpdate};
use lw_graph::{Field, IcebergSink, Schema, TypeKind};
use lw_lakehouse::catalog::LoadedTable;
use lw_lakehouse::{
    Catalog, Files, IcebergCommitter, IcebergTableSink, Ids, TableCatalog, parse_table,
};
use lw_runtime::connector::{Committer, Owner, Sink};
use lw_runtime::manifest::{Pending, SplitRange, TableChain};
use lw_runtime::{Chunk, Origin, Split};
use lw_stdx::clock::{Clock, SystemClock};
use lw_stdx::disk::RealDisk;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Ten seconds pass between commits. (Iceberg takes times that are a minute ahead of the machine's.)
const STEP: i64 = 10_000;

struct Steps {
    now: AtomicI64,
}

impl Clock for Steps {
    fn now_ms(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

pub(super) struct Lake {
    pub(super) catalog: Catalog,
    clock: Arc<Steps>,
    owner: Owner,
    sink: IcebergTableSink,
    chain: TableChain,
    offset: i64,
}

impl Lake {
    /// The topic `in` begins at `offset`.
    pub(super) fn open(folder: &Path, offset: i64) -> Lake {
        let disk = Arc::new(RealDisk);
        let config = lw_storage::Config {
            dir: folder.join("data"),
            ..lw_storage::Config::default()
        };
        let system = Arc::new(SystemClock::new());
        let now = AtomicI64::new(system.now_ms());
        let storage = lw_storage::Storage::open(disk.clone(), system, config).unwrap();
        let warehouse = folder.join("warehouse");
        let catalog = Catalog::open(
            storage,
            Files::new(disk),
            &warehouse.to_string_lossy(),
            Ids::random(),
        )
        .unwrap();
        let owner = Owner {
            pipeline: uuid::Uuid::from_u128(1),
            name: "test".to_owned(),
        };
        let clock = Arc::new(Steps { now });
        let sink = IcebergTableSink::open(
            &spec(),
            Arc::new(catalog.clone()),
            &owner,
            None,
            clock.clone(),
            Ids::random(),
        )
        .unwrap();
        Lake {
            catalog,
            clock,
            owner,
            sink,
            chain: TableChain::default(),
            offset,
        }
    }

    /// Commits rows, one record each; returns the snapshot's id.
    pub(super) fn append(&mut self, rows: &[(i32, Option<&str>)]) -> i64 {
        self.clock.now.fetch_add(STEP, Ordering::Relaxed);
        let ids: Int32Array = rows.iter().map(|(id, _)| *id).collect();
        let values: StringArray = rows.iter().map(|(_, value)| *value).collect();
        let columns = RecordBatch::try_from_iter_with_nullable([
            ("Id", Arc::new(ids) as _, false),
            ("v", Arc::new(values) as _, true),
        ])
        .unwrap();
        let (start, end) = (self.offset, self.offset + rows.len() as i64);
        self.offset = end;
        let origins = (start..end)
            .map(|offset| Origin { split: 0, offset })
            .collect();
        let split = Split {
            topic: Arc::from("in"),
            partition: 0,
        };
        self.sink
            .write(Chunk::new(columns, origins, Arc::new([split])))
            .unwrap();
        let before = self.chain.last.as_ref();
        let sequence = before.map_or(0, |before| before.sequence) + 1;
        let pending = Pending {
            sequence,
            uuid: uuid::Uuid::from_u128(u128::from(sequence) + 1),
            previous: before.map(|before| before.uuid),
            files: self.sink.seal().unwrap().remove(0).files,
            ranges: vec![SplitRange {
                topic: "in".to_owned(),
                partition: 0,
                start,
                end,
                rows: rows.len() as u64,
                filtered: 0,
                dead_letters: 0,
                control: 0,
                late: 0,
            }],
            ..Pending::default()
        };
        self.chain.chain.push(pending);
        IcebergCommitter::new(
            Arc::new(self.catalog.clone()),
            self.owner.clone(),
            self.clock.clone(),
            Ids::random(),
        )
        .commit("lake.events", &self.chain)
        .unwrap();
        self.chain.confirm(1);
        let head = self.table().metadata.current_snapshot_id();
        head.expect("something was committed")
    }

    pub(super) fn table(&self) -> LoadedTable {
        self.catalog.load(&ident()).unwrap()
    }

    /// As another engine changes the table.
    pub(super) fn change(&self, updates: Vec<TableUpdate>) {
        self.catalog.commit(&ident(), Vec::new(), updates).unwrap();
    }
}

fn ident() -> TableIdent {
    parse_table("lake.events").unwrap()
}

fn spec() -> IcebergSink {
    IcebergSink {
        catalog: "embedded".to_owned(),
        uri: None,
        late: lw_graph::LateRows::Drop,
        schema_change: lw_graph::SchemaChange::Pause,
        namespace: "lake".to_owned(),
        table: "events".to_owned(),
        warehouse: None,
        format_version: 2,
        schema: Schema::new(vec![
            Field::new("Id", TypeKind::Int.not_null()),
            Field::new("v", TypeKind::string().nullable()),
        ]),
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        branch: None,
        properties: Default::default(),
    }
}
