//! Tables of files beside others in one job: first the files, table by table, then the topics.
//!
//! ```text
//! files of one table ─► files of the next ─► … ─► the topics of all tables, in the log's order
//! ```
//!
//! That is an order which every reading gives again, as the log's own is; and it is the one that is asked for where a table is
//! filled from files first and kept up from a topic. A table of files is at its end when its last file is: from then on event time
//! waits for it no more. Where topics have no end, the files have one nevertheless, which is written down when reading begins.

use lw_graph::SourceSpec;
use lw_runtime::connector::{ConnectorError, ErrorKind, Polled, Source};
use lw_runtime::manifest::{Place, SplitOffset};
use lw_runtime::{Chunk, DeadLetter, Origin, Run, Runs, Split, SplitId};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Reads one source after the other.
pub struct InTurn {
    parts: Vec<Part>,
    splits: Arc<[Split]>,
}

struct Part {
    source: Box<dyn Source>,
    /// Its tables.
    specs: Vec<SourceSpec>,
    /// Its splits, as they are numbered among all.
    splits: Arc<[Split]>,
    /// The number that its first split has among all.
    first: SplitId,
    is_read: bool,
}

impl Part {
    fn reads(&self, topic: &str) -> bool {
        self.specs.iter().any(|spec| spec.reads(topic))
    }

    /// A chunk of its own as one of all.
    fn among(&self, chunk: Chunk, splits: &Arc<[Split]>) -> Chunk {
        let own = chunk
            .origins
            .runs()
            .expect("a source gives rows of the log");
        let mut origins = Runs::default();
        for run in own.runs() {
            origins.append(Run {
                split: self.first + run.split,
                ..*run
            });
        }
        Chunk::new(chunk.columns, origins, splits.clone())
    }
}

impl InTurn {
    /// The sources in the order in which they are read, each with its tables. New splits come in the last one only.
    ///
    /// # Errors
    /// When a file is of two of them.
    pub fn new(parts: Vec<(Box<dyn Source>, Vec<SourceSpec>)>) -> Result<InTurn, ConnectorError> {
        let specs = parts.iter().flat_map(|(_, specs)| specs);
        let folders = specs.filter_map(|spec| match spec {
            SourceSpec::Files(files) => Some((&*files.table, Path::new(&files.path))),
            SourceSpec::Kafka(_) | SourceSpec::Datagen(_) => None,
        });
        let folders: Vec<(&str, &Path)> = folders.collect();
        for (at, (table, folder)) in folders.iter().enumerate() {
            let mut others = folders[..at].iter();
            let meets = |other: &Path| folder.starts_with(other) || other.starts_with(folder);
            if let Some((other, _)) = others.find(|(_, other)| meets(other)) {
                return Err(read_twice(other, table, folder));
            }
        }
        let parts = parts.into_iter().map(|(source, specs)| Part {
            source,
            specs,
            splits: Arc::new([]),
            first: 0,
            is_read: false,
        });
        Ok(InTurn {
            parts: parts.collect(),
            splits: Arc::new([]),
        })
    }

    /// Numbers the splits anew. Those that were there keep their numbers.
    fn number(&mut self) {
        let mut parts = self.parts.iter();
        if parts.all(|part| Arc::ptr_eq(&part.splits, &part.source.splits())) {
            return;
        }
        let mut splits = Vec::new();
        for part in &mut self.parts {
            part.splits = part.source.splits();
            part.first = SplitId::try_from(splits.len()).expect("splits are few");
            splits.extend(part.splits.iter().cloned());
        }
        self.splits = splits.into();
    }

    fn part_of(&self, split: SplitId) -> usize {
        let behind = self.parts.partition_point(|part| part.first <= split);
        // Of parts that have no split several begin at one number; the last of them has it.
        behind.saturating_sub(1)
    }
}

impl Source for InTurn {
    fn open(
        &mut self,
        offsets: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> Result<(), ConnectorError> {
        for part in &mut self.parts {
            let own = |all: &[SplitOffset]| -> Vec<SplitOffset> {
                let own = all.iter().filter(|at| part.reads(&at.topic));
                own.cloned().collect()
            };
            let (offsets, until) = (own(offsets), until.map(own));
            // Whoever goes on in topics and has ends of files alone has found no end in the topics.
            let endless = part.specs.iter().any(SourceSpec::is_endless) && !offsets.is_empty();
            let until = until.filter(|until| !until.is_empty() || !endless);
            part.source.open(&offsets, until.as_deref())?;
            part.is_read = false;
        }
        self.number();
        Ok(())
    }

    fn cut_at(&mut self, cuts: &[SplitOffset]) {
        for part in &mut self.parts {
            let own = cuts.iter().filter(|cut| part.reads(&cut.topic));
            let own: Vec<SplitOffset> = own.cloned().collect();
            part.source.cut_at(&own);
        }
    }

    fn topics(&self) -> BTreeMap<String, Uuid> {
        let topics = self.parts.iter().map(|part| part.source.topics());
        topics.flatten().collect()
    }

    fn another(&self, topic: &str) -> Option<ConnectorError> {
        let mut parts = self.parts.iter();
        let part = parts.find(|part| part.reads(topic))?;
        part.source.another(topic)
    }

    fn ends(&self) -> Option<Vec<SplitOffset>> {
        let ends = self.parts.iter().filter_map(|part| part.source.ends());
        let ends: Vec<Vec<SplitOffset>> = ends.collect();
        (!ends.is_empty()).then(|| ends.concat())
    }

    fn splits(&self) -> Arc<[Split]> {
        self.splits.clone()
    }

    fn poll(&mut self, max_bytes: usize, timeout: Duration) -> Result<Polled, ConnectorError> {
        let Some(at) = self.parts.iter().position(|part| !part.is_read) else {
            return Ok(Polled {
                finished: true,
                ..Polled::default()
            });
        };
        let mut polled = self.parts[at].source.poll(max_bytes, timeout)?;
        self.parts[at].is_read = polled.finished;
        polled.finished = self.parts.iter().all(|part| part.is_read);
        self.number();
        let part = &self.parts[at];
        let batches = polled.batches.into_iter();
        polled.batches = batches
            .map(|chunk| part.among(chunk, &self.splits))
            .collect();
        for progress in &mut polled.progress {
            progress.split += part.first;
        }
        for appended in &mut polled.appended {
            appended.split += part.first;
        }
        Ok(polled)
    }

    fn records(&mut self, origins: &[Origin]) -> Result<Vec<DeadLetter>, ConnectorError> {
        let mut letters = Vec::with_capacity(origins.len());
        for origin in origins {
            let part = self.part_of(origin.split);
            let part = &mut self.parts[part];
            let own = Origin {
                split: origin.split - part.first,
                ..*origin
            };
            letters.extend(part.source.records(&[own])?);
        }
        Ok(letters)
    }

    fn positions(&self) -> Vec<SplitOffset> {
        let parts = self.parts.iter();
        parts.flat_map(|part| part.source.positions()).collect()
    }

    fn place(&self) -> Option<Place> {
        self.parts.last()?.source.place()
    }

    fn keeps_time(&self) -> bool {
        self.parts.iter().all(|part| part.source.keeps_time())
    }

    fn lag(&self) -> u64 {
        self.parts.iter().map(|part| part.source.lag()).sum()
    }
}

fn read_twice(one: &str, other: &str, folder: &Path) -> ConnectorError {
    let message = format!(
        "tables {one} and {other} have files in common, below '{}'",
        folder.display()
    );
    ConnectorError::new(ErrorKind::Fix, message)
        .detail("A file is read once in a job, as a file of one table.")
        .hint("Give each table a folder of its own.")
}

#[cfg(test)]
mod tests;
