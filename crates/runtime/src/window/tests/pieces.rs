//! Rows that come in pieces, with a checkpoint behind each and restarts between them.

use crate::chunk::Chunk;
use crate::operator::sharded::{ShardKey, Sharded};
use crate::operator::{Operator, Out, Parallelism};
use crate::pool::Pool;
use crate::state::tests::Checkpoints;
use lw_formats::arrow_schema;
use lw_graph::Schema;
use proptest::prelude::*;
use std::ops::Range;

/// Where pieces end; behind those that are `true` another instance goes on.
pub(super) type Cuts = [(usize, bool)];

pub(super) fn some_cuts() -> impl Strategy<Value = Vec<(usize, bool)>> {
    proptest::collection::vec((0..60_usize, any::<bool>()), 0..6)
}

pub(super) fn some_shards() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(proptest::sample::select(vec![1, 2, 7]), 1..4)
}

/// So many instances of an operator whose key is the second column.
fn shared(
    shards: usize,
    (input, output): &(Schema, Schema),
    new: &dyn Fn() -> Box<dyn Operator>,
) -> Box<dyn Operator> {
    if shards == 1 {
        return new();
    }
    let key = ShardKey::new(&[1], &arrow_schema(input)).expect("a key");
    let parallelism = Parallelism::of(shards, &Pool::none());
    let instances = (0..shards).map(|_| new()).collect();
    let output = arrow_schema(output);
    Box::new(Sharded::new(instances, vec![key], output, &parallelism))
}

/// Runs an operator, of which `new` makes an instance, over `rows` rows in pieces that end at the cuts. Whoever goes on behind a cut
/// does so from the checkpoint there, each time in the next number of shards. What came of a piece goes to `take`, with the place of
/// its first row. Gives the last instance, at its end.
pub(super) fn in_pieces(
    (rows, cuts): (usize, &Cuts),
    shards: &[usize],
    columns: (Schema, Schema),
    new: impl Fn() -> Box<dyn Operator>,
    piece: impl Fn(Range<usize>) -> Chunk,
    mut take: impl FnMut(Out, usize),
) -> Box<dyn Operator> {
    let mut shards = shards.iter().cycle();
    let mut next = || {
        let shards = *shards.next().expect("there is a number");
        shared(shards, &columns, &new)
    };
    let (mut running, mut from) = (next(), 0);
    let mut checkpoints = Checkpoints::new();
    let cuts = cuts.iter().map(|(cut, again)| (*cut.min(&rows), *again));
    let mut cuts: Vec<(usize, bool)> = cuts.chain([(rows, true)]).collect();
    cuts.sort_unstable();
    for (cut, again) in cuts {
        let mut out = Out::default();
        let taken = running.data(0, piece(from..cut), &mut out);
        taken.expect("rows have times");
        take(out, from);
        from = cut;
        checkpoints.take(&mut *running);
        if again {
            running = next();
            running.restore(&checkpoints.last()).expect("its own state");
        }
    }
    let mut out = Out::default();
    running.end(0, &mut out).expect("the end");
    take(out, from);
    running
}
