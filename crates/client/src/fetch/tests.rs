//! What of a reply's bytes a reader is shown.

use bytes::{Bytes, BytesMut};
use lw_protocol::{BatchBuilder, Compression};

use super::*;

/// Two records from `base` on; negative producers write outside of transactions.
fn batch(base: i64, producer: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(base);
    if producer >= 0 {
        builder = builder.producer(producer, 0, 0).transactional();
    }
    for _ in 0..2 {
        builder.push(1000, None, Some(b"v"), &[]);
    }
    builder.build().unwrap().into_bytes()
}

/// The end of a producer's transaction.
fn marker(base: i64, producer: i64) -> Bytes {
    let builder = BatchBuilder::new(Compression::None).base_offset(base);
    let mut builder = builder.producer(producer, 0, -1).transactional().control();
    builder.push(1000, Some(&[0, 0, 0, 0]), None, &[]);
    builder.build().unwrap().into_bytes()
}

fn reply(batches: &[Bytes]) -> fetch_response::PartitionData {
    let mut records = BytesMut::new();
    for batch in batches {
        records.extend_from_slice(batch);
    }
    fetch_response::PartitionData::default()
        .with_high_watermark(100)
        .with_last_stable_offset(-1)
        .with_records(Some(records.freeze()))
}

fn aborted(producer: i64, first_offset: i64) -> fetch_response::AbortedTransaction {
    fetch_response::AbortedTransaction::default()
        .with_producer_id(ProducerId(producer))
        .with_first_offset(first_offset)
}

/// First offsets of what is shown, and where to read on.
fn shown(data: fetch_response::PartitionData, from: i64) -> (Vec<i64>, i64) {
    let fetched = readable(data, from).unwrap();
    let bases = fetched.batches.iter();
    let bases = bases.map(|batch| batch.header().base_offset);
    (bases.collect(), fetched.next)
}

#[test]
fn an_aborted_transaction_is_left_out_until_its_marker_and_no_longer() {
    let batches = [
        batch(0, -1),
        batch(2, 7),
        batch(4, 8),
        batch(6, 7),
        marker(8, 7),
        batch(9, 7),
        marker(11, 8),
    ];
    let data = reply(&batches).with_aborted_transactions(Some(vec![aborted(7, 2)]));
    assert_eq!(shown(data, 0), (vec![0, 4, 9], 12));
}

#[test]
fn two_aborted_transactions_of_one_producer_are_left_out() {
    let batches = [
        batch(0, 7),
        marker(2, 7),
        batch(3, -1),
        batch(5, 7),
        marker(7, 7),
    ];
    // The broker promises no order.
    let transactions = [aborted(7, 0), aborted(7, 5)];
    for order in [[0, 1], [1, 0]] {
        let transactions = order.map(|n| transactions[n].clone()).to_vec();
        let data = reply(&batches).with_aborted_transactions(Some(transactions));
        assert_eq!(shown(data, 0), (vec![3], 8), "{order:?}");
    }
}

#[test]
fn a_batch_that_is_cut_off_is_asked_for_again() {
    let cut = batch(2, -1).slice(..70);
    assert_eq!(shown(reply(&[batch(0, -1), cut]), 0), (vec![0], 2));
}

#[test]
fn batches_before_the_offset_are_not_shown() {
    let data = reply(&[batch(0, -1), batch(2, -1)]);
    assert_eq!(shown(data, 3), (vec![2], 4));
}

#[test]
fn the_end_is_the_last_stable_offset_where_the_broker_knows_one() {
    let data = reply(&[]).with_last_stable_offset(40);
    assert_eq!(readable(data, 0).unwrap().end, 40);
    assert_eq!(readable(reply(&[]), 0).unwrap().end, 100);
}
