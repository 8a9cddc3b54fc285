//! The rows of a table that rows are looked up in, by their keys, in memory.
//!
//! ```text
//! key ─► group ─► starts[group] .. starts[group + 1] ─► rows: places in the columns
//! ```
//!
//! Rows of one key stand in the order of their values, whatever order they were read in: what is computed of them is the same each time.

use crate::aggregate::groups::Groups;
use crate::aggregate::key::{KeyCodec, Keys};
use crate::connector::{ConnectorError, ErrorKind};
use crate::kernel::{Evaluator, RowError, filter_mask};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ord::ord::{DynComparator, make_comparator};
use arrow_schema::{ArrowError, DataType, SchemaRef, SortOptions};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use lw_formats::arrow_schema;
use lw_graph::{Expr, Lookup};
use std::cmp::Ordering;

/// The rows of one version of a table, as one join reads them.
pub(crate) struct Held {
    pub(crate) columns: RecordBatch,
    codec: KeyCodec,
    groups: Groups,
    /// By group: where its rows begin; and where the last one's end.
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl Held {
    /// The keys of other rows, of the same types as those of the table.
    pub(crate) fn encode(&self, keys: &[ArrayRef], rows: usize) -> Keys {
        self.codec.encode(keys, rows)
    }

    /// The places of the rows that have a row's key. A key with NULL in it is none: the caller does not ask for it.
    pub(crate) fn rows_of(&self, keys: &Keys, row: usize) -> &[u32] {
        let Some(group) = self.groups.group_of(keys, row) else {
            return &[];
        };
        let group = group as usize;
        &self.rows[self.starts[group] as usize..self.starts[group + 1] as usize]
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let columns = self.columns.get_array_memory_size();
        let places = (self.starts.len() + self.rows.len()) * size_of::<u32>();
        (columns + places + self.groups.size()) as u64
    }
}

/// Takes the rows of a version in as they are read.
pub(crate) struct Holding<'l> {
    lookup: &'l Lookup,
    schema: SchemaRef,
    keys: Vec<Evaluator>,
    filter: Option<Evaluator>,
    batches: Vec<RecordBatch>,
    bytes: u64,
}

impl<'l> Holding<'l> {
    pub(crate) fn new(lookup: &'l Lookup) -> Result<Holding<'l>, ConnectorError> {
        let compile = |expr: &Expr| {
            Evaluator::new(expr).map_err(|error| ConnectorError::new(ErrorKind::Bug, error))
        };
        let keys = lookup.keys.iter().map(|(_, key)| compile(key));
        Ok(Holding {
            lookup,
            schema: arrow_schema(&lookup.columns),
            keys: keys.collect::<Result<_, _>>()?,
            filter: lookup.filter.as_ref().map(compile).transpose()?,
            batches: Vec::new(),
            bytes: 0,
        })
    }

    /// Takes rows in, with the columns of the lookup.
    ///
    /// # Errors
    /// When they are too many for the memory that they may take, or a condition on them cannot be computed.
    pub(crate) fn take(&mut self, batch: RecordBatch) -> Result<(), ConnectorError> {
        let kept = match &self.filter {
            None => batch,
            Some(filter) => {
                let kept =
                    filter_mask(filter, &batch).map_err(|error| self.incomputable(&error))?;
                filter_record_batch(&batch, &kept).map_err(broken)?
            }
        };
        if kept.num_rows() == 0 {
            return Ok(());
        }
        self.bytes += kept.get_array_memory_size() as u64;
        self.batches.push(kept);
        self.check_size(self.bytes)
    }

    fn check_size(&self, bytes: u64) -> Result<(), ConnectorError> {
        let table = &self.lookup.table;
        if bytes <= table.max_bytes {
            return Ok(());
        }
        let rows: usize = self.batches.iter().map(RecordBatch::num_rows).sum();
        let message = format!(
            "table '{}' is too large to look rows up in: its first {rows} rows take {} MiB, and it may take {} MiB",
            table.name,
            bytes.div_ceil(1 << 20),
            table.max_bytes.div_ceil(1 << 20)
        );
        Err(ConnectorError::new(ErrorKind::Fix, message)
            .detail("All rows of the table that the join's conditions leave, of the columns that the query reads, are held in memory.")
            .hint("Allow more with 'lakeward.lookup.max-memory' = '1 gb' in the table's WITH, or read less of it: fewer columns, a condition on them in ON."))
    }

    fn incomputable(&self, error: &RowError) -> ConnectorError {
        let message = format!(
            "a condition on rows of table '{}' cannot be computed: {}",
            self.lookup.table.name, error.message
        );
        ConnectorError::new(ErrorKind::Fix, message)
            .hint("let the expression give NULL where it has no value (TRY_CAST, NULLIF)")
    }

    /// All of them, by their keys.
    ///
    /// # Errors
    /// As [`Holding::take`].
    pub(crate) fn finish(self) -> Result<Held, ConnectorError> {
        let columns = concat_batches(&self.schema, &self.batches).map_err(broken)?;
        let keys = self.keys.iter().map(|key| key.evaluate(&columns));
        let keys: Vec<ArrayRef> = keys
            .collect::<Result<_, _>>()
            .map_err(|error| self.incomputable(&error))?;
        let types = keys.iter().map(|key| key.data_type());
        let codec = KeyCodec::new(types.collect::<Vec<&DataType>>())
            .map_err(|error| ConnectorError::new(ErrorKind::Bug, error))?;
        let count = u32::try_from(columns.num_rows());
        let count = count.map_err(|_| {
            let message = format!(
                "table '{}' has too many rows to look them up",
                self.lookup.table.name
            );
            ConnectorError::new(ErrorKind::Fix, message)
        })?;
        let has_key = |row: &u32| keys.iter().all(|key| key.is_valid(*row as usize));
        let with_key: Vec<u32> = (0..count).filter(has_key).collect();
        let mut groups = codec.groups();
        let mut of_rows = Vec::new();
        let encoded = codec.encode(&keys, columns.num_rows());
        groups.intern(&encoded, &with_key, &mut of_rows);
        let (starts, mut rows) = by_group(groups.len(), &with_key, &of_rows);
        in_order(&columns, &starts, &mut rows);
        let held = Held {
            columns,
            codec,
            groups,
            starts,
            rows,
        };
        self.check_size(held.bytes())?;
        Ok(held)
    }
}

/// Where the rows of each group begin, and the rows, one group's behind the other's.
fn by_group(groups: usize, rows: &[u32], of_rows: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0; groups + 1];
    for group in of_rows {
        starts[*group as usize + 1] += 1;
    }
    for group in 0..groups {
        starts[group + 1] += starts[group];
    }
    let mut next = starts.clone();
    let mut sorted = vec![0; rows.len()];
    for (row, group) in rows.iter().zip(of_rows) {
        let at = &mut next[*group as usize];
        sorted[*at as usize] = *row;
        *at += 1;
    }
    (starts, sorted)
}

/// Puts the rows of each group into the order of their values.
fn in_order(columns: &RecordBatch, starts: &[u32], rows: &mut [u32]) {
    if starts.windows(2).all(|group| group[1] - group[0] < 2) {
        return;
    }
    // Values that have no order stand as they were read.
    let comparators = columns.columns().iter();
    let comparators = comparators
        .filter_map(|column| make_comparator(column, column, SortOptions::default()).ok());
    let comparators: Vec<DynComparator> = comparators.collect();
    let compare = |a: &u32, b: &u32| {
        let orders = comparators.iter();
        let mut order = orders.map(|compare| compare(*a as usize, *b as usize));
        order.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    for group in starts.windows(2) {
        rows[group[0] as usize..group[1] as usize].sort_by(|a, b| compare(a, b));
    }
}

fn broken(error: ArrowError) -> ConnectorError {
    ConnectorError::new(ErrorKind::Bug, error)
}
