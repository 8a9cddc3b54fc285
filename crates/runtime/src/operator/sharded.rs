//! Several instances of an operator, each with some of the keys: what they give together is what one would give that has all.
//!
//! ```text
//!          rows of its groups, all marks
//! chunk ─┬─► shard 0: groups [0, 64)   ──► rows with their places ─┐   by place: mark, then as one instance orders them
//!        └─► shard 1: groups [64, 128) ──► rows with their places ─┴─► chunk
//! ```
//!
//! A key is always in the same group ([`crate::state::key_group`]), and a shard has a range of groups. Shards know nothing of each
//! other: every one is told all marks, so each lets its rows go at the marks at which one instance would. Many rows are worked on by
//! several threads, few by the one that brings them.

use super::places::Places;
use super::{FlowError, Late, Operator, OperatorError, Out};
use crate::aggregate::key::{KeyCodec, NoKey};
use crate::chunk::{Chunk, Mark, Split, push_mark};
use crate::pool::Pool;
use crate::state::{GROUPS, StateError, StateReader, StateWriter, groups_of, shard_of};
use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use arrow_select::take::take_record_batch;
use lw_formats::arrow_schema;
use lw_graph::Node;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// How an operator with keys is worked on.
#[derive(Clone)]
pub struct Parallelism {
    /// So many instances share its keys.
    pub(crate) shards: usize,
    /// Who works on them.
    pub(crate) pool: Pool,
    /// Their rows are given in the order in which one instance would give them.
    pub(crate) in_order: bool,
}

impl Parallelism {
    /// One instance has all keys.
    pub fn none() -> Parallelism {
        Parallelism::of(1, &Pool::none())
    }

    /// So many shards; at least one, at most as many as there are groups.
    pub fn of(shards: usize, pool: &Pool) -> Parallelism {
        Parallelism {
            shards: shards.clamp(1, usize::from(GROUPS)),
            pool: pool.clone(),
            in_order: true,
        }
    }

    /// As many shards as are good for a job that goes on from so many bytes of state. Reading and decoding keep a core busy, and take
    /// longer than what is done with keys, so there is one shard fewer than pieces of work are done at a time; but all take a large
    /// state up again.
    pub fn of_state(bytes: u64, pool: &Pool) -> Parallelism {
        match bytes {
            ..LARGE => Parallelism::of(pool.threads() - 1, pool),
            LARGE.. => Parallelism::of(pool.threads(), pool),
        }
    }
}

/// Bytes of state in memory that a core takes a good part of a second to read back.
const LARGE: u64 = 64 << 20;

/// The operator of a node, as many times as its work is shared. One without keys has one instance: all its rows belong together.
pub(super) fn instances(
    inputs: &[SchemaRef],
    node: &Node,
    parallelism: &Parallelism,
    make: impl Fn(&[SchemaRef], &Node) -> Result<Box<dyn Operator>, FlowError>,
) -> Result<Box<dyn Operator>, FlowError> {
    let keys = node.operator.shard_keys();
    let Some(keys) = keys.filter(|_| parallelism.shards > 1) else {
        return make(inputs, node);
    };
    let keys = keys.iter().zip(inputs).map(|(columns, input)| {
        let key = ShardKey::new(columns, input);
        key.map_err(|error| FlowError::Expression(error.to_string()))
    });
    let keys = keys.collect::<Result<_, _>>()?;
    let instances = (0..parallelism.shards).map(|_| make(inputs, node));
    Ok(Box::new(Sharded::new(
        instances.collect::<Result<_, _>>()?,
        keys,
        arrow_schema(&node.schema),
        parallelism,
    )))
}

pub(crate) struct Sharded {
    /// `None` while a thread has it.
    shards: Vec<Option<Box<dyn Operator>>>,
    /// By input.
    keys: Vec<ShardKey>,
    output: SchemaRef,
    pool: Pool,
    in_order: bool,
}

/// The key columns of an input.
pub(crate) struct ShardKey {
    columns: Vec<usize>,
    codec: KeyCodec,
}

impl ShardKey {
    /// # Errors
    /// When a column can be no key.
    pub(crate) fn new(columns: &[usize], input: &arrow_schema::Schema) -> Result<ShardKey, NoKey> {
        let types = columns
            .iter()
            .map(|column| input.field(*column).data_type());
        Ok(ShardKey {
            codec: KeyCodec::new(types)?,
            columns: columns.to_vec(),
        })
    }
}

/// What of an input is a shard's.
struct Part {
    port: usize,
    columns: RecordBatch,
    /// Which of the rows; `None` for all.
    rows: Option<UInt32Array>,
    marks: Vec<Mark>,
    splits: Arc<[Split]>,
    came: i64,
}

/// Fewer rows are worked on before another thread has begun.
const MANY: usize = 2048;

impl Sharded {
    /// The instances are alike; each is given the keys of its share.
    pub(crate) fn new(
        instances: Vec<Box<dyn Operator>>,
        keys: Vec<ShardKey>,
        output: SchemaRef,
        parallelism: &Parallelism,
    ) -> Sharded {
        Sharded {
            shards: instances.into_iter().map(Some).collect(),
            keys,
            output,
            pool: parallelism.pool.clone(),
            in_order: parallelism.in_order,
        }
    }

    /// Every shard does the work with what is given for it.
    fn each<I: Send + 'static, T: Send + 'static>(
        &mut self,
        pool: &Pool,
        given: impl IntoIterator<Item = I>,
        work: fn(&mut dyn Operator, I) -> T,
    ) -> Vec<T> {
        let shards = self.shards.iter_mut().zip(given).map(|(shard, given)| {
            let mut shard = shard.take().expect("S4: a shard is there between calls");
            move || {
                let done = work(&mut *shard, given);
                (shard, done)
            }
        });
        let done = pool.run(shards.collect());
        let back = self.shards.iter_mut().zip(done);
        back.map(|(place, (shard, done))| {
            *place = Some(shard);
            done
        })
        .collect()
    }

    /// The rows of each shard, in their order.
    fn rows_of_shards(&self, port: usize, columns: &RecordBatch) -> Vec<Vec<u32>> {
        let ShardKey { columns: of, codec } = &self.keys[port];
        let of: Vec<ArrayRef> = of.iter().map(|at| columns.column(*at).clone()).collect();
        let groups = codec.key_groups(&of, columns.num_rows());
        let mut rows = vec![Vec::new(); self.shards.len()];
        for (row, group) in (0..).zip(groups) {
            rows[shard_of(group, self.shards.len())].push(row);
        }
        rows
    }

    /// Every shard is told the same, and no row comes with it.
    fn tell<I: Copy + Send + 'static>(
        &mut self,
        what: I,
        out: &mut Out,
        tell: fn(&mut dyn Operator, I, &mut Out) -> Result<(), OperatorError>,
    ) -> Result<(), OperatorError> {
        let whats = vec![(what, tell); self.shards.len()];
        let pool = self.pool.clone();
        let given = self.each(&pool, whats, |shard, (what, tell)| {
            let mut out = Out::with_places();
            let done = tell(shard, what, &mut out);
            (out, done)
        });
        let chunks = given.iter().flat_map(|(out, _)| &out.chunks);
        let splits = chunks.map(|chunk| chunk.splits.clone()).next();
        let none = vec![Vec::new(); self.shards.len()];
        self.gather(given, &none, &splits.unwrap_or_default(), out)
    }

    /// What the shards gave, as one gives it. `rows` are those that each was given.
    fn gather(
        &self,
        given: Vec<(Out, Result<(), OperatorError>)>,
        rows: &[Vec<u32>],
        splits: &Arc<[Split]>,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let (mut outs, mut failed) = (Vec::with_capacity(given.len()), Vec::new());
        for (of_shard, done) in given {
            outs.push(of_shard);
            failed.extend(done.err());
        }
        let first = failed.into_iter().min_by(|a, b| a.place().cmp(b.place()));
        first.map_or(Ok(()), Err)?;
        let mut late: Vec<Late> = Vec::new();
        for (of_shard, rows) in outs.iter().zip(rows) {
            late.extend(of_shard.late.iter().map(|late| Late {
                row: rows[late.row] as usize,
                ..*late
            }));
        }
        late.sort_by_key(|late| late.row);
        late.into_iter().for_each(|late| out.late(late));
        let gathered = Gathered::of(&outs);
        if !gathered.is_empty() {
            let columns = gathered.columns(&self.output, self.in_order)?;
            out.emit(Chunk::derived(columns, gathered.marks(), splits.clone()));
        }
        Ok(())
    }
}

/// What shards gave, not in any order yet.
struct Gathered<'a> {
    pieces: Vec<&'a RecordBatch>,
    rows: Vec<Row<'a>>,
    marks: BTreeSet<i64>,
}

struct Row<'a> {
    place: &'a [u8],
    mark: i64,
    /// Piece, and row of it.
    at: (usize, usize),
}

impl<'a> Gathered<'a> {
    fn of(outs: &'a [Out]) -> Gathered<'a> {
        let (mut pieces, mut rows, mut marks) = (Vec::new(), Vec::new(), BTreeSet::new());
        for out in outs {
            let places: &Places = out.places.as_ref().expect("S3: a shard tells places");
            let mut told = 0;
            for chunk in &out.chunks {
                rows.extend((0..chunk.rows()).map(|row| Row {
                    place: places.of(told + row),
                    mark: places.mark(told + row),
                    at: (pieces.len(), row),
                }));
                told += chunk.rows();
                pieces.push(&chunk.columns);
                marks.extend(chunk.marks.iter().map(|mark| mark.watermark));
            }
            assert_eq!(
                told,
                places.len(),
                "S3: every row that is given has a place"
            );
        }
        Gathered {
            pieces,
            rows,
            marks,
        }
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.marks.is_empty()
    }

    fn columns(&self, output: &SchemaRef, in_order: bool) -> Result<RecordBatch, ArrowError> {
        if self.rows.is_empty() {
            return Ok(RecordBatch::new_empty(output.clone()));
        }
        // What a shard gave is in order, and so are the stretches that are merged here.
        let mut order: Vec<&Row<'_>> = self.rows.iter().collect();
        if in_order {
            order.sort_by_key(|row| row.place);
        }
        let order: Vec<(usize, usize)> = order.into_iter().map(|row| row.at).collect();
        interleave_record_batch(&self.pieces, &order)
    }

    /// The marks, each behind the rows that it let go. Of several behind the same row the last says it all.
    fn marks(&self) -> Vec<Mark> {
        let mut of_rows: Vec<i64> = self.rows.iter().map(|row| row.mark).collect();
        of_rows.sort_unstable();
        assert!(
            of_rows.last() <= self.marks.last(),
            "S5: the mark that let a row go stands behind it"
        );
        let mut marks = Vec::new();
        for mark in &self.marks {
            push_mark(&mut marks, of_rows.partition_point(|of| of <= mark), *mark);
        }
        marks
    }
}

impl Operator for Sharded {
    fn data(&mut self, port: usize, chunk: Chunk, out: &mut Out) -> Result<(), OperatorError> {
        let pool = match chunk.rows() < MANY {
            true => Pool::none(),
            false => self.pool.clone(),
        };
        let rows = self.rows_of_shards(port, &chunk.columns);
        let parts: Vec<Part> = rows.iter().map(|rows| part(port, &chunk, rows)).collect();
        let given = self.each(&pool, parts, |shard, part| {
            let mut out = Out::with_places();
            let done = part.chunk().map_err(OperatorError::from);
            let done = done.and_then(|chunk| shard.data(part.port, chunk, &mut out));
            (out, done)
        });
        self.gather(given, &rows, &chunk.splits, out)
    }

    fn end(&mut self, port: usize, out: &mut Out) -> Result<(), OperatorError> {
        self.tell(port, out, |shard, port, out| shard.end(port, out))
    }

    fn idles(&mut self, port: usize, idle: bool, out: &mut Out) -> Result<(), OperatorError> {
        self.tell((port, idle), out, |shard, (port, idle), out| {
            shard.idles(port, idle, out)
        })
    }

    fn groups(&self) -> Vec<Range<u16>> {
        let count = self.shards.len();
        (0..count).map(|shard| groups_of(shard, count)).collect()
    }

    fn snapshot(&mut self, to: &mut StateWriter) -> Result<(), StateError> {
        let count = self.shards.len();
        let writers = (0..count).map(|shard| to.part(groups_of(shard, count)));
        let writers: Vec<StateWriter> = writers.collect();
        let pool = self.pool.clone();
        let written = self.each(&pool, writers, |shard, mut to| {
            shard.snapshot(&mut to).map(|()| to)
        });
        for part in written {
            to.add(part?);
        }
        Ok(())
    }

    fn restore(&mut self, from: &StateReader) -> Result<(), StateError> {
        let count = self.shards.len();
        let readers = (0..count).map(|shard| from.within(groups_of(shard, count)));
        let pool = self.pool.clone();
        let restored = self.each(&pool, readers, |shard, from| shard.restore(&from));
        restored.into_iter().collect()
    }

    fn state_bytes(&self) -> usize {
        let shards = self.shards.iter().flatten();
        shards.map(|shard| shard.state_bytes()).sum()
    }
}

/// What of a chunk is the shard's with these rows.
fn part(port: usize, chunk: &Chunk, rows: &[u32]) -> Part {
    let before = |row: usize| rows.partition_point(|of| (*of as usize) < row);
    let marks = chunk.marks.iter().map(|mark| Mark {
        row: before(mark.row),
        ..*mark
    });
    Part {
        port,
        columns: chunk.columns.clone(),
        rows: (rows.len() < chunk.rows()).then(|| rows.to_vec().into()),
        marks: marks.collect(),
        splits: chunk.splits.clone(),
        came: chunk.came,
    }
}

impl Part {
    fn chunk(&self) -> Result<Chunk, ArrowError> {
        let columns = match &self.rows {
            None => self.columns.clone(),
            Some(rows) => take_record_batch(&self.columns, rows)?,
        };
        let (marks, splits) = (self.marks.clone(), self.splits.clone());
        Ok(Chunk::derived(columns, marks, splits).come(self.came))
    }
}

#[cfg(test)]
mod tests;
