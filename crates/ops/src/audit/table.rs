//! What the table holds: every file read back, its rows summed run by run, and what is wrong with the runs by themselves.

use super::hash::{RowHashes, Sum};
use super::{AuditError, Evidence, Key, PartitionReport};
use arrow_schema::SchemaRef;
use std::collections::BTreeMap;

/// A run with what the table and the log make of it.
pub(super) struct AuditedRun {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) path: String,
    pub(super) table: Sum,
    pub(super) log: Sum,
}

/// Reads every file back: count and hash per run.
pub(super) fn table_sums(
    evidence: &mut Evidence<'_>,
    findings: &mut Vec<String>,
) -> Result<(BTreeMap<Key, Vec<AuditedRun>>, Option<SchemaRef>), AuditError> {
    let mut runs: BTreeMap<Key, Vec<AuditedRun>> = BTreeMap::new();
    let mut schema: Option<SchemaRef> = None;
    for file in &evidence.files {
        let batches = (evidence.read_file)(file).map_err(|reason| AuditError::File {
            path: file.path.clone(),
            reason,
        })?;
        let mut hashes = Vec::new();
        for batch in &batches {
            let rows = RowHashes::new(&batch.schema())?;
            hashes.extend(rows.hashes(batch)?);
            schema.get_or_insert_with(|| batch.schema());
        }
        let listed: u64 = file.runs.iter().map(|run| run.rows).sum();
        if listed != hashes.len() as u64 {
            findings.push(format!(
                "{}: its runs list {listed} rows, it holds {}",
                file.path,
                hashes.len()
            ));
        }
        let mut rest = hashes.into_iter();
        for run in &file.runs {
            let mut sum = Sum::default();
            rest.by_ref()
                .take(run.rows as usize)
                .for_each(|hash| sum.add(hash));
            runs.entry((run.topic.clone(), run.partition))
                .or_default()
                .push(AuditedRun {
                    first: run.first,
                    last: run.last,
                    path: file.path.clone(),
                    table: sum,
                    log: Sum::default(),
                });
        }
    }
    for runs in runs.values_mut() {
        runs.sort_by_key(|run| (run.first, run.last));
    }
    Ok((runs, schema))
}

/// Offsets that stand in two runs, per partition.
pub(super) fn overlaps(
    runs: &BTreeMap<Key, Vec<AuditedRun>>,
    findings: &mut Vec<String>,
) -> BTreeMap<Key, u64> {
    let mut doubled = BTreeMap::new();
    for (key, runs) in runs {
        let mut end = i64::MIN;
        for run in runs {
            if run.first <= end {
                let count = end.min(run.last) - run.first + 1;
                *doubled.entry(key.clone()).or_default() += count as u64;
                findings.push(format!(
                    "{}[{}]: offsets {} to {} stand in the table twice",
                    key.0,
                    key.1,
                    run.first,
                    end.min(run.last)
                ));
            }
            end = end.max(run.last);
        }
    }
    doubled
}

/// Rows from offsets that no commit accounts for.
pub(super) fn outside(
    runs: &BTreeMap<Key, Vec<AuditedRun>>,
    spans: &BTreeMap<Key, PartitionReport>,
    findings: &mut Vec<String>,
) {
    for (key, runs) in runs {
        let span = spans.get(key);
        for run in runs {
            if span.is_none_or(|span| run.first < span.start || run.last >= span.end) {
                findings.push(format!(
                    "{}[{}]: {} holds offsets {} to {}, which no commit accounts for",
                    key.0, key.1, run.path, run.first, run.last
                ));
            }
        }
    }
}

/// What the table and the log make of one run.
pub(super) fn compare(
    key: &Key,
    run: &AuditedRun,
    log_starts: &BTreeMap<Key, i64>,
    findings: &mut Vec<String>,
) {
    let verifiable = log_starts.get(key).is_some_and(|start| run.first >= *start);
    if !verifiable || run.table == run.log {
        return;
    }
    let (topic, partition) = key;
    let what = if run.table.rows == run.log.rows {
        format!("{} rows differ from what the log gives", run.table.rows)
    } else {
        format!(
            "{} rows in the table, {} from the log",
            run.table.rows, run.log.rows
        )
    };
    findings.push(format!(
        "{topic}[{partition}] offsets {} to {} in {}: {what}",
        run.first, run.last, run.path
    ));
}
