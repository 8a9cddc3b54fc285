//! What the log says: the query executed again over the same offsets, each row credited to the run that holds its offset.

use super::hash::RowHashes;
use super::table::AuditedRun;
use super::{AuditError, Evidence, Key, PartitionReport};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use lw_runtime::Origin;
use lw_runtime::manifest::SplitOffset;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The log is durable before a table can hold it: a bounded read that finds nothing this often will never end.
const MAX_IDLE_POLLS: u32 = 20;

/// Executes the query again over the spans, from the log.
pub(super) fn replay(
    evidence: &mut Evidence<'_>,
    schema: Option<SchemaRef>,
    partitions: &mut BTreeMap<Key, PartitionReport>,
    runs: &mut BTreeMap<Key, Vec<AuditedRun>>,
    findings: &mut Vec<String>,
) -> Result<(), AuditError> {
    let mut starts = Vec::new();
    for (key, span) in partitions.iter_mut() {
        let log_start = evidence.log_starts.get(key).copied().unwrap_or(i64::MAX);
        let from = span.start.max(log_start.min(span.end));
        span.unverified = (from - span.start) as u64;
        starts.push(SplitOffset {
            topic: key.0.clone(),
            partition: key.1,
            next: from,
        });
    }
    let ends: Vec<SplitOffset> = partitions
        .iter()
        .map(|(key, span)| SplitOffset {
            topic: key.0.clone(),
            partition: key.1,
            next: span.end,
        })
        .collect();
    evidence
        .source
        .open(&starts, Some(&ends))
        .map_err(AuditError::Log)?;
    let splits = evidence.source.splits();
    let keys: Vec<Key> = splits
        .iter()
        .map(|split| (split.topic.to_string(), split.partition))
        .collect();
    let mut idle = 0;
    loop {
        let polled = evidence
            .source
            .poll(8 << 20, Duration::from_millis(100))
            .map_err(AuditError::Log)?;
        let finished = polled.finished;
        idle = if polled.progress.is_empty() {
            idle + 1
        } else {
            0
        };
        if idle > MAX_IDLE_POLLS {
            findings.push("the table accounts for offsets that the log does not have yet".into());
            break;
        }
        for progress in &polled.progress {
            if let Some(span) = partitions.get_mut(&keys[progress.split as usize]) {
                span.control += progress.control;
                span.filtered += progress.skipped;
            }
        }
        for letter in &polled.dead_letters {
            count_dead(
                partitions,
                &(letter.topic.to_string(), letter.partition),
                letter.offset,
            );
        }
        for batch in polled.batches {
            let decoded = batch.origins.clone();
            let done = evidence.chain.process(batch)?;
            for failure in &done.failures {
                count_dead(
                    partitions,
                    &keys[failure.origin.split as usize],
                    failure.origin.offset,
                );
            }
            let failed: BTreeSet<(u32, i64)> = done
                .failures
                .iter()
                .map(|failure| (failure.origin.split, failure.origin.offset))
                .collect();
            let landed: BTreeSet<(u32, i64)> = done
                .batch
                .origins
                .iter()
                .map(|origin| (origin.split, origin.offset))
                .collect();
            count_filtered(partitions, &keys, &decoded, &landed, &failed);
            let hashes = expected_hashes(&done.batch.columns, schema.as_ref())?;
            credit(&keys, &done.batch.origins, &hashes, partitions, runs);
        }
        if finished {
            break;
        }
    }
    Ok(())
}

fn in_span<'a>(
    partitions: &'a mut BTreeMap<Key, PartitionReport>,
    key: &Key,
    offset: i64,
) -> Option<&'a mut PartitionReport> {
    partitions
        .get_mut(key)
        .filter(|span| (span.start..span.end).contains(&offset))
}

fn count_dead(partitions: &mut BTreeMap<Key, PartitionReport>, key: &Key, offset: i64) {
    if let Some(span) = in_span(partitions, key, offset) {
        span.dead_letters += 1;
    }
}

fn count_filtered(
    partitions: &mut BTreeMap<Key, PartitionReport>,
    keys: &[Key],
    decoded: &[Origin],
    landed: &BTreeSet<(u32, i64)>,
    failed: &BTreeSet<(u32, i64)>,
) {
    let mut last = None;
    for origin in decoded {
        let at = (origin.split, origin.offset);
        if last == Some(at) {
            continue;
        }
        last = Some(at);
        if !landed.contains(&at)
            && !failed.contains(&at)
            && let Some(span) = in_span(partitions, &keys[origin.split as usize], origin.offset)
        {
            span.filtered += 1;
        }
    }
}

/// Credits each row to the run that holds its offset. An offset with rows in no run is a gap.
fn credit(
    keys: &[Key],
    origins: &[Origin],
    hashes: &[u64],
    partitions: &mut BTreeMap<Key, PartitionReport>,
    runs: &mut BTreeMap<Key, Vec<AuditedRun>>,
) {
    let mut last = None;
    for (origin, hash) in origins.iter().zip(hashes) {
        let key = &keys[origin.split as usize];
        let Some(span) = in_span(partitions, key, origin.offset) else {
            continue;
        };
        let run = runs.get_mut(key).and_then(|runs| {
            let after = runs.partition_point(|run| run.first <= origin.offset);
            runs.get_mut(after.checked_sub(1)?)
                .filter(|run| origin.offset <= run.last)
        });
        let first_row = last != Some(*origin);
        last = Some(*origin);
        match run {
            Some(run) => {
                run.log.add(*hash);
                span.rows += u64::from(first_row);
            }
            None => span.gaps += u64::from(first_row),
        }
    }
}

fn expected_hashes(
    columns: &RecordBatch,
    schema: Option<&SchemaRef>,
) -> Result<Vec<u64>, AuditError> {
    let Some(schema) = schema else {
        return Ok(vec![0; columns.num_rows()]);
    };
    let cast: Vec<_> = columns
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| arrow_cast::cast(column, field.data_type()))
        .collect::<Result<_, _>>()?;
    let hashes = RowHashes::new(schema)?;
    hashes.hash_columns(&cast)
}
