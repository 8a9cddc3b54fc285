//! A log of several partitions, of one topic or of several, in one order: `a0:12+6` is a record of partition 0 of topic `a`, its event
//! time is 12, and it came 6 milliseconds after the one before it; `a0:x` cannot be decoded. A poll gives one record.

use crate::audit::Key;
use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use lw_runtime::connector::{Appended, ConnectorError, Polled, Progress, Source};
use lw_runtime::manifest::SplitOffset;
use lw_runtime::{Chunk, DeadLetter, Origin, Split};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone)]
pub(super) struct OneOrder {
    records: Arc<[Record]>,
    keys: Arc<[Key]>,
    next: Vec<i64>,
    ends: Vec<i64>,
    /// A read to these ends, not on and on.
    bounded: bool,
}

struct Record {
    split: usize,
    offset: i64,
    /// `None`: it cannot be decoded.
    millis: Option<i64>,
    appended: i64,
}

impl OneOrder {
    pub(super) fn of(text: &str) -> OneOrder {
        let (mut now, mut records) = (100, Vec::new());
        let parts = text.split_whitespace().map(|word| {
            let (place, time) = word.split_once(':').expect("place:time");
            let (topic, partition) = place.split_at(1);
            let (millis, pause) = time.split_once('+').unwrap_or((time, "0"));
            let number = |text: &str| text.parse::<i64>().expect("a number");
            let partition = partition.parse().expect("a number");
            (
                (topic.to_string(), partition),
                (millis != "x").then(|| number(millis)),
                number(pause),
            )
        });
        let parts: Vec<(Key, Option<i64>, i64)> = parts.collect();
        let keys: BTreeSet<Key> = parts.iter().map(|(key, ..)| key.clone()).collect();
        let keys: Arc<[Key]> = keys.into_iter().collect();
        let mut ends = vec![0; keys.len()];
        for (key, millis, pause) in parts {
            let split = keys.iter().position(|known| *known == key);
            let split = split.expect("it is one of them");
            now += pause;
            records.push(Record {
                split,
                offset: ends[split],
                millis,
                appended: now,
            });
            ends[split] += 1;
        }
        OneOrder {
            records: records.into(),
            next: vec![0; keys.len()],
            keys,
            ends,
            bounded: false,
        }
    }

    /// How many records it has.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Where the partitions end that the first `count` records are of.
    pub(super) fn ends_of(&self, count: usize) -> BTreeMap<Key, i64> {
        let mut ends = BTreeMap::new();
        for record in &self.records[..count] {
            ends.insert(self.keys[record.split].clone(), record.offset + 1);
        }
        ends
    }

    fn split(&self, at: &SplitOffset) -> Option<usize> {
        let is_it = |(topic, partition): &Key| *topic == at.topic && *partition == at.partition;
        self.keys.iter().position(is_it)
    }

    fn letter(&self, origin: &Origin) -> DeadLetter {
        let (topic, partition) = &self.keys[origin.split as usize];
        DeadLetter {
            topic: topic.as_str().into(),
            partition: *partition,
            offset: origin.offset,
            timestamp: 0,
            key: None,
            value: Some(value_at(origin.offset)),
            stage: "here",
            code: String::new(),
            error: String::new(),
        }
    }
}

impl Source for OneOrder {
    fn cut_at(&mut self, _: &[SplitOffset]) {}

    fn open(
        &mut self,
        offsets: &[SplitOffset],
        until: Option<&[SplitOffset]>,
    ) -> Result<(), ConnectorError> {
        self.next.fill(0);
        for at in offsets {
            let split = self.split(at).expect("it is one of them");
            self.next[split] = at.next;
        }
        if let Some(until) = until {
            self.ends.clone_from(&self.next);
            self.bounded = true;
            for at in until {
                let split = self.split(at).expect("it is one of them");
                self.ends[split] = at.next;
            }
        }
        Ok(())
    }

    fn splits(&self) -> Arc<[Split]> {
        let split = |(topic, partition): &Key| Split {
            topic: topic.as_str().into(),
            partition: *partition,
        };
        self.keys.iter().map(split).collect()
    }

    fn poll(&mut self, _: usize, _: Duration) -> Result<Polled, ConnectorError> {
        let mut polled = Polled::default();
        let is_next = |record: &&Record| {
            let (split, offset) = (record.split, record.offset);
            self.next[split] == offset && offset < self.ends[split]
        };
        if let Some(record) = self.records.iter().find(is_next) {
            let (split, offset) = (record.split as u32, record.offset);
            match record.millis {
                Some(millis) => {
                    let micros = TimestampMicrosecondArray::from(vec![millis * 1000]);
                    let columns =
                        RecordBatch::try_from_iter([("ts", Arc::new(micros) as ArrayRef)]);
                    polled.batches.push(Chunk::new(
                        columns.expect("one column"),
                        [Origin { split, offset }].into_iter().collect(),
                        self.splits(),
                    ));
                }
                None => polled
                    .dead_letters
                    .push(self.letter(&Origin { split, offset })),
            }
            polled.appended.push(Appended {
                split,
                to: offset + 1,
                at: record.appended,
            });
            polled.progress.push(Progress {
                split,
                from: offset,
                to: offset + 1,
                control: 0,
                skipped: 0,
            });
            self.next[record.split] += 1;
        }
        polled.finished = self.bounded && self.next == self.ends;
        Ok(polled)
    }

    fn records(&mut self, origins: &[Origin]) -> Result<Vec<DeadLetter>, ConnectorError> {
        Ok(origins.iter().map(|origin| self.letter(origin)).collect())
    }

    fn positions(&self) -> Vec<SplitOffset> {
        let keys = self.keys.iter().zip(&self.next);
        let position = |((topic, partition), next): (&Key, &i64)| SplitOffset {
            topic: topic.clone(),
            partition: *partition,
            next: *next,
        };
        keys.map(position).collect()
    }

    fn lag(&self) -> u64 {
        0
    }
}

/// The value of the record at an offset.
pub(super) fn value_at(offset: i64) -> Vec<u8> {
    format!("record {offset}").into_bytes()
}
