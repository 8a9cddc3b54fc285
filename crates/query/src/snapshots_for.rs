//! `snapshots_for(topic, partition, offset)`: where a record went, over all tables.
//!
//! ```text
//! SELECT * FROM snapshots_for('orders', 0, 4711)
//! SELECT * FROM snapshots_for('orders', 0, 4711, 'lake.orders')
//! ```
//!
//! A row for each snapshot that accounts for the offset; none where no table has it. `snapshot_id` is NULL where the snapshot
//! has expired: the table has what it committed. `is_current_ancestor` is false for what only another branch has, or what a rollback took away.
//! Accounted for is not the same as there: the record may have been filtered, late, or a dead letter (`t$offsets` counts them).

use crate::Catalogs;
use crate::left_out::LeftOut;
use arrow_array::builder::{
    BooleanBuilder, Int32Builder, Int64Builder, StringBuilder, TimestampMillisecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use datafusion::catalog::{TableFunctionImpl, TableProvider};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use iceberg::TableIdent;
use lw_lakehouse::parse_table;
use lw_lakehouse::view::{Held, holders};
use std::fmt;
use std::sync::Arc;

pub(crate) const NAME: &str = "snapshots_for";

/// The function, over the tables of the catalog that is meant where none is named.
pub(crate) struct SnapshotsFor {
    catalogs: Arc<dyn Catalogs>,
    left_out: LeftOut,
}

impl SnapshotsFor {
    pub(crate) fn new(catalogs: Arc<dyn Catalogs>, left_out: LeftOut) -> SnapshotsFor {
        SnapshotsFor { catalogs, left_out }
    }

    fn tables(&self, wanted: Option<&str>) -> Result<Vec<TableIdent>> {
        match wanted {
            Some(table) => Ok(vec![parse_table(table).map_err(crate::tables::external)?]),
            None => self.catalogs.list(None).map_err(crate::tables::external),
        }
    }

    /// One that cannot be read is an error where it was named, and else left out with a notice.
    fn held(&self, table: &TableIdent, wanted: &Wanted, named: bool) -> Result<Vec<Held>> {
        let name = table.to_string();
        let loaded = self
            .catalogs
            .holding(None, &name)
            .and_then(|catalog| catalog.load(table));
        match loaded {
            Ok(loaded) => Ok(holders(
                &loaded,
                &wanted.topic,
                wanted.partition,
                wanted.offset,
            )),
            Err(error) if named => Err(crate::tables::external(error)),
            Err(error) => {
                self.left_out.tell(NAME, &format!("table '{name}'"), &error);
                Ok(Vec::new())
            }
        }
    }
}

impl fmt::Debug for SnapshotsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

impl TableFunctionImpl for SnapshotsFor {
    fn call(&self, arguments: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        let Some((wanted, table)) = Wanted::of(arguments) else {
            return plan_err!(
                "{NAME} takes a topic, a partition and an offset, and a table if it is to look in one only: {NAME}('orders', 0, 4711, 'lake.orders')"
            );
        };
        // Catalogs block, and one may be elsewhere.
        let rows = tokio::task::block_in_place(|| {
            let mut rows = Rows::default();
            for ident in self.tables(table.as_deref())? {
                for held in self.held(&ident, &wanted, table.is_some())? {
                    rows.append(&ident, &wanted, &held);
                }
            }
            rows.finish()
        })?;
        Ok(Arc::new(MemTable::try_new(
            rows.schema(),
            vec![vec![rows]],
        )?))
    }
}

/// A record of the log.
struct Wanted {
    topic: String,
    partition: i32,
    offset: i64,
}

impl Wanted {
    /// From the arguments, and the table that is named with it.
    fn of(arguments: &[Expr]) -> Option<(Wanted, Option<String>)> {
        let (topic, partition, offset, table) = match arguments {
            [topic, partition, offset] => (topic, partition, offset, None),
            [topic, partition, offset, table] => (topic, partition, offset, Some(text(table)?)),
            _ => return None,
        };
        let wanted = Wanted {
            topic: text(topic)?,
            partition: i32::try_from(number(partition)?).ok()?,
            offset: number(offset)?,
        };
        Some((wanted, table))
    }
}

fn text(argument: &Expr) -> Option<String> {
    let Expr::Literal(value, _) = argument else {
        return None;
    };
    Some(value.try_as_str().flatten()?.to_owned())
}

fn number(argument: &Expr) -> Option<i64> {
    match argument {
        Expr::Literal(ScalarValue::Int64(number), _) => *number,
        _ => None,
    }
}

struct Rows {
    table: StringBuilder,
    id: Int64Builder,
    committed: TimestampMillisecondBuilder,
    topic: StringBuilder,
    partition: Int32Builder,
    start: Int64Builder,
    end: Int64Builder,
    is_ancestor: BooleanBuilder,
}

impl Default for Rows {
    fn default() -> Rows {
        Rows {
            table: StringBuilder::new(),
            id: Int64Builder::new(),
            committed: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            topic: StringBuilder::new(),
            partition: Int32Builder::new(),
            start: Int64Builder::new(),
            end: Int64Builder::new(),
            is_ancestor: BooleanBuilder::new(),
        }
    }
}

impl Rows {
    fn append(&mut self, table: &TableIdent, wanted: &Wanted, held: &Held) {
        let by = held.snapshot.as_ref();
        self.table.append_value(table.to_string());
        self.id.append_option(by.map(|by| by.id));
        self.committed.append_option(by.map(|by| by.timestamp_ms));
        self.topic.append_value(&wanted.topic);
        self.partition.append_value(wanted.partition);
        self.start.append_option(by.map(|by| by.start));
        self.end.append_option(by.map(|by| by.end));
        self.is_ancestor.append_value(held.current);
    }

    fn finish(mut self) -> Result<RecordBatch> {
        let columns: [(&str, ArrayRef); 8] = [
            ("table", Arc::new(self.table.finish())),
            ("snapshot_id", Arc::new(self.id.finish())),
            ("committed_at", Arc::new(self.committed.finish())),
            ("topic", Arc::new(self.topic.finish())),
            ("partition", Arc::new(self.partition.finish())),
            ("start", Arc::new(self.start.finish())),
            ("end", Arc::new(self.end.finish())),
            ("is_current_ancestor", Arc::new(self.is_ancestor.finish())),
        ];
        let columns = columns
            .into_iter()
            .map(|(name, column)| (name, column, true));
        Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
    }
}
