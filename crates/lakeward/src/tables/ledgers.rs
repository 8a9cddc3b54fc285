//! Where the ledgers of audits are kept: one key of the storage for each table that a pipeline fills, and the holds that keep
//! retention from what no ledger has a word on yet.

use lw_ops::audit::ledger::Ledger;
use lw_runtime::Shelf;
use lw_runtime::manifest::{Manifest, SinkState};
use lw_storage::{CommitError, Expect, Hold, Op, Storage, Table, Uuid};
use std::time::Duration;

/// A ledger's key, and the name under which its table holds.
fn place(pipeline: Uuid, table: &str) -> String {
    format!("audit/{pipeline}/{table}")
}

/// Where the states stand that the ledger's word on a table goes on from.
pub(super) fn shelf(storage: &Storage, pipeline: Uuid, table: &str) -> Shelf {
    Shelf::of(storage, &place(pipeline, table))
}

/// The ledger of a table, by what the pipeline calls it; one that cannot be read is told and begun anew.
pub(super) fn load(storage: &Storage, pipeline: Uuid, table: &str) -> Option<Ledger> {
    let bytes = storage.get(Table::Cluster, place(pipeline, table).as_bytes())?;
    match Ledger::read(&bytes) {
        Ok(ledger) => Some(ledger),
        Err(reason) => {
            tracing::error!(
                table,
                reason,
                "the ledger of the table's audits is of no use"
            );
            None
        }
    }
}

/// Durable when it returns.
pub(super) fn store(
    storage: &Storage,
    pipeline: Uuid,
    table: &str,
    ledger: &Ledger,
) -> Result<(), CommitError> {
    put(storage, place(pipeline, table), Some(ledger.to_bytes()))
}

/// States what of a table's log no audit has looked at yet: retention waits for it.
pub(super) fn hold(
    storage: &Storage,
    pipeline: Uuid,
    table: &str,
    ledger: Option<&Ledger>,
    manifest: &Manifest,
) {
    let looked_at = ledger.map(Ledger::looked_at).unwrap_or_default();
    let sink = manifest.sinks.get(table);
    let begins = sink.map(SinkState::begins).unwrap_or_default().into_iter();
    let holds = begins.filter_map(|begin| {
        let key = (begin.topic.clone(), begin.partition);
        let topic = manifest.topics.get(&begin.topic).copied();
        let topic = topic.or_else(|| storage.topic(&begin.topic).map(|topic| topic.id))?;
        Some(Hold {
            topic,
            partition: begin.partition,
            offset: looked_at.get(&key).copied().unwrap_or(begin.next),
        })
    });
    storage.hold(&place(pipeline, table), holds.collect());
}

/// Nothing is needed of the table's log for now.
pub(super) fn release(storage: &Storage, pipeline: Uuid, table: &str) {
    storage.release(&place(pipeline, table));
}

/// How long until retention would take what no audit has looked at yet, if it did not wait for it.
pub(super) fn time_to_loss(storage: &Storage, pipeline: Uuid, table: &str) -> Option<Duration> {
    storage.time_to_loss(&place(pipeline, table))
}

/// Forgets the ledgers and lets go the holds of tables that nobody fills any more: nothing could be asked about them.
pub(super) fn keep_only(storage: &Storage, filled: &[(Uuid, String)]) -> Result<(), CommitError> {
    let filled: Vec<String> = filled.iter().map(|(id, table)| place(*id, table)).collect();
    for (key, _) in storage.scan(Table::Cluster, b"audit/") {
        let key = String::from_utf8_lossy(&key).into_owned();
        if !filled.contains(&key) {
            storage.release(&key);
            Shelf::of(storage, &key).keep_only(std::iter::empty());
            put(storage, key, None)?;
        }
    }
    Ok(())
}

fn put(storage: &Storage, key: String, value: Option<Vec<u8>>) -> Result<(), CommitError> {
    let op = Op::Put {
        table: Table::Cluster,
        key: key.into(),
        value: value.map(Into::into),
        expect: Expect::Any,
    };
    storage.commit_blocking(vec![op]).map(|_| ())
}
