//! Rows that came too late: counted, located, shown, and given with their records to sinks that keep them.

use crate::chunk::{DeadLetter, Split};
use crate::connector::{ConnectorError, ErrorKind, Sink, Source};
use crate::job::{JobStatus, LateView};
use crate::operator::LateRow;
use crate::origins::Origin;
use lw_graph::LateRows;
use lw_stdx::calendar::utc;

/// So many are shown.
const SHOWN: usize = 5;

/// What becomes of late rows in one attempt.
pub(super) struct LateRecords {
    /// Reads their records again: the source that polls is in another thread, and further on.
    source: Option<Box<dyn Source>>,
}

impl LateRecords {
    pub(super) fn new(source: Option<Box<dyn Source>>) -> LateRecords {
        LateRecords { source }
    }

    /// Tells a sink of rows that are in nothing that it gets.
    pub(super) fn tell(
        &mut self,
        rows: Vec<LateRow>,
        index: usize,
        sink: &mut dyn Sink,
        status: &JobStatus,
    ) -> Result<(), ConnectorError> {
        status.update_sink(index, |status| {
            status.late_rows += rows.len() as u64;
            let newest = rows.iter().rev().filter_map(view).take(SHOWN);
            let mut newest: Vec<LateView> = newest.collect();
            newest.reverse();
            status.last_late.extend(newest);
            let old = status.last_late.len().saturating_sub(SHOWN);
            status.last_late.drain(..old);
        });
        match sink.late_rows() {
            LateRows::Fail => return Err(refused(&rows[0])),
            LateRows::SideTable => {
                let of_log = rows.iter().filter(|row| row.record.is_some());
                let of_log: Vec<LateRow> = of_log.cloned().collect();
                let records = self.read_again(&of_log)?;
                sink.keep_late(&of_log, records)?;
            }
            LateRows::Drop => {}
        }
        sink.late(rows)
    }

    /// The records of rows of the log.
    fn read_again(&mut self, rows: &[LateRow]) -> Result<Vec<DeadLetter>, ConnectorError> {
        let source = self.source.as_mut();
        let source = source.expect("an attempt has one when a sink keeps late rows");
        let mut origins = Vec::with_capacity(rows.len());
        for (split, offset) in rows.iter().filter_map(|row| row.record.as_ref()) {
            let find = |splits: &[Split]| splits.iter().position(|known| known == split);
            let known = match find(&source.splits()) {
                Some(known) => known,
                // It has not been opened yet, or the partition has come since.
                None => {
                    source.open(&[], None)?;
                    find(&source.splits()).ok_or_else(|| gone(split))?
                }
            };
            origins.push(Origin {
                split: known as u32,
                offset: *offset,
            });
        }
        source.records(&origins)
    }
}

fn view(row: &LateRow) -> Option<LateView> {
    let (Split { topic, partition }, offset) = row.record.as_ref()?;
    Some(LateView {
        topic: topic.to_string(),
        partition: *partition,
        offset: *offset,
        event_time: row.event_time,
        watermark: row.watermark,
    })
}

fn refused(row: &LateRow) -> ConnectorError {
    let which = match &row.record {
        Some((Split { topic, partition }, offset)) => format!("{topic}[{partition}]@{offset}"),
        None => "a row of an aggregate".to_string(),
    };
    let (time, watermark) = (utc(row.event_time), utc(row.watermark));
    ConnectorError::new(ErrorKind::Fix, format!("{which} came too late"))
        .detail(format!("Its time is {time}, and event time had come to {watermark}: all that it belongs to had fired."))
        .hint("'lakeward.late' = 'fail' stops the pipeline for it: 'drop' counts such rows, 'side-table' keeps them too. A longer delay in the WATERMARK waits for them.")
}

fn gone(split: &Split) -> ConnectorError {
    let Split { topic, partition } = split;
    let message = format!("{topic}[{partition}] is gone, and a late row of it is to be kept");
    ConnectorError::new(ErrorKind::Retry, message)
}
