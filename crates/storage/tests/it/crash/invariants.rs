//! What must be true at every moment, whatever happened before: each invariant is a function.

use std::collections::{BTreeMap, BTreeSet};

use lw_protocol::batch::batches;
use lw_storage::source::{LogSource, Order};
use lw_storage::{Storage, Table};

use super::clients::checkpointed;
use super::{
    LOGS, Model, PARTITIONS, Times, Violation, World, again, bounds, counter, log, number, short,
};
use crate::kit::lines;

/// A log as read: offset and value.
type Records = Vec<(i64, String)>;

impl World {
    pub(super) fn check_all(&mut self, storage: &Storage) -> Result<(), Violation> {
        self.generations_follow(storage)?;
        let now = storage.topic("again");
        let again = now.map(|topic| again::log_of(again::generation(topic.id)));
        let mut logs = BTreeMap::new();
        for n in (0..LOGS).chain(again) {
            let log = read_log(storage, n)?;
            let bounds = bounds(storage, n)?;
            offsets_are_dense(&log, bounds.log_start, bounds.high_watermark)?;
            sequences_stand_once(&log)?;
            sequences_follow(&log)?;
            records_are_of(n, &log)?;
            acked_is_in_the_log(&self.model, n, &log, bounds.log_start)?;
            self.high_watermark_never_regresses(n, bounds.high_watermark)?;
            self.start_is_what_was_asked(storage, n, bounds.log_start)?;
            for (offset, value) in &log {
                self.learn(n, *offset, std::slice::from_ref(value))?;
            }
            logs.insert(n, log);
        }
        self.pairs_are_whole(storage, &logs)?;
        self.order_is_repeatable(storage)?;
        self.counter_is_between_acked_and_sent(storage)
    }

    /// I3: an offset, once known, keeps its value.
    pub(super) fn learn(
        &mut self,
        partition: i32,
        base: i64,
        values: &[String],
    ) -> Result<(), Violation> {
        for (n, value) in values.iter().enumerate() {
            let place = (partition, base + n as i64);
            let known = self
                .model
                .known
                .entry(place)
                .or_insert_with(|| value.clone());
            if known != value {
                return Err(format!(
                    "I3: {place:?} was {} and is {}",
                    short(known),
                    short(value)
                ));
            }
        }
        Ok(())
    }

    /// I5, and promise of the ids: the name leads to the generation that the key of the same frame counts, and what is
    /// deleted never comes back.
    fn generations_follow(&mut self, storage: &Storage) -> Result<(), Violation> {
        let value = number(storage, Table::Cluster, b"generation");
        let now = storage.topic("again").map(|t| again::generation(t.id));
        let model = &mut self.model.again;
        if value < model.acked.max(model.seen) || value > model.sent {
            return Err(format!(
                "I1: generation {value} of {} to {}",
                model.acked, model.sent
            ));
        }
        model.seen = value;
        match now {
            Some(now) if now != value => {
                return Err(format!("I5: generation {now} under the key {value}"));
            }
            None if value > 0 => {
                if !model.deleting.contains(&value) {
                    return Err(format!(
                        "I1: generation {value} is gone and nobody deleted it"
                    ));
                }
                model.deleted.insert(value);
            }
            _ => {}
        }
        model.deleted.extend(1..value);
        for gone in &model.deleted {
            let id = again::id(*gone);
            if storage.topic_by_id(id).is_some() || storage.bounds(id, 0).is_some() {
                return Err(format!("I4: generation {gone} was deleted and is there"));
            }
        }
        Ok(())
    }

    /// A log's start goes forward only, as far as was asked for, and no further where nobody else may: the first topic has
    /// retention, which leaves the pipeline what it has not read.
    fn start_is_what_was_asked(
        &mut self,
        storage: &Storage,
        n: i32,
        now: i64,
    ) -> Result<(), Violation> {
        let start = self.model.starts.entry(n).or_default();
        if now < start.acked.max(start.seen) {
            return Err(format!("I4: log start {n} is {now}, after {start:?}"));
        }
        start.seen = now;
        let read = checkpointed(storage).get(&n).copied().unwrap_or(0);
        match now <= read.max(start.asked) || (n < PARTITIONS && self.model.floor_was_met) {
            true => Ok(()),
            false => Err(format!(
                "log start {n} is {now}: {start:?} were asked for, {read} is read"
            )),
        }
    }

    /// I5: of a commit over two logs and a key all is there or nothing.
    fn pairs_are_whole(
        &self,
        storage: &Storage,
        logs: &BTreeMap<i32, Records>,
    ) -> Result<(), Violation> {
        let newest = number(storage, Table::Cluster, b"pair");
        if newest < self.model.pairs_acked || newest > self.model.pairs_sent {
            return Err(format!(
                "I1: pair {newest} after {}",
                self.model.pairs_acked
            ));
        }
        let numbers = |n: i32| -> Vec<u64> {
            let names = logs[&n].iter().map(|(_, value)| short(value));
            let number = |name: &str| name.strip_prefix("pair-")?.parse().ok();
            names.filter_map(number).collect()
        };
        let kept = numbers(PARTITIONS);
        let others: BTreeSet<u64> = (0..PARTITIONS).flat_map(numbers).collect();
        // Only the oldest may have been deleted.
        let first = kept.first().copied().unwrap_or(newest + 1);
        if !kept.iter().copied().eq(first..=newest) {
            return Err(format!("I5: pairs {kept:?} under the key {newest}"));
        }
        let start = |n: i32| self.model.starts.get(&n).map_or(0, |start| start.seen);
        if start(PARTITIONS) == 0 && first != 1 {
            return Err(format!("I5: the first pairs before {first} are gone"));
        }
        let whole = (0..PARTITIONS).all(|n| start(n) == 0);
        match others.last().is_some_and(|last| *last > newest)
            || (whole && !others.iter().copied().eq(1..=newest))
        {
            true => Err(format!("I5: pairs {others:?} under the key {newest}")),
            false => Ok(()),
        }
    }

    /// Promise 3: the order that a batch was first read in is the one of every reading.
    fn order_is_repeatable(&mut self, storage: &Storage) -> Result<(), Violation> {
        for (topic, first) in [("t", 0), ("kept", PARTITIONS)] {
            for (order, partition, base, times) in order_of(storage, topic)? {
                let place = (first + partition, base);
                let now = (order, times);
                let known = *self.model.orders.entry(place).or_insert(now);
                if known.0 != order {
                    return Err(format!(
                        "{place:?} moved from {} to {order} in the WAL's order",
                        known.0
                    ));
                }
                if known != now {
                    return Err(format!(
                        "{place:?} was appended at another time: {:?} is {times:?}",
                        known.1
                    ));
                }
            }
        }
        Ok(())
    }

    fn high_watermark_never_regresses(
        &mut self,
        partition: i32,
        now: i64,
    ) -> Result<(), Violation> {
        let before = self
            .model
            .high_watermarks
            .insert(partition, now)
            .unwrap_or(0);
        match now < before {
            true => Err(format!(
                "I4: the high watermark of {partition} went from {before} to {now}"
            )),
            false => Ok(()),
        }
    }

    pub(super) fn acked_is_readable(
        &self,
        storage: &Storage,
        partition: i32,
        offset: i64,
    ) -> Result<(), Violation> {
        let bounds = bounds(storage, partition)?;
        match offset < bounds.high_watermark {
            true => Ok(()),
            false => Err(format!(
                "offset {offset} was acknowledged past {}",
                bounds.high_watermark
            )),
        }
    }

    fn counter_is_between_acked_and_sent(&mut self, storage: &Storage) -> Result<(), Violation> {
        let value = counter(storage);
        let Model {
            counter_acked,
            counter_sent,
            ..
        } = self.model;
        if value < counter_acked || value > counter_sent {
            return Err(format!(
                "I1: the counter is {value}; {counter_acked} was acknowledged, {counter_sent} sent"
            ));
        }
        // Read is as good as acknowledged: it must not go back (I4).
        self.model.counter_acked = value;
        Ok(())
    }
}

/// Everything readable of a partition, by fetching.
pub(crate) fn read_log(storage: &Storage, partition: i32) -> Result<Vec<(i64, String)>, Violation> {
    let (topic, number) = log(partition);
    let start = bounds(storage, partition)?.log_start;
    let mut offset = start;
    let mut log = Vec::new();
    loop {
        let fetched = storage
            .fetch(topic, number, offset, 3000)
            .map_err(|error| format!("fetch at {offset}: {error}"))?;
        if fetched.batches.is_empty() {
            return Ok(log);
        }
        for batch in batches(fetched.into_bytes()) {
            let batch = batch.map_err(|error| error.to_string())?;
            batch.verify().map_err(|error| error.to_string())?;
            offset = batch.header().last_offset() + 1;
            for line in lines(&batch) {
                let (at, value) = line.split_once('=').expect("lines are offset=value");
                let at: i64 = at.parse().expect("an offset");
                if at >= start {
                    log.push((at, value.to_owned()));
                }
            }
        }
    }
}

/// I3.
fn offsets_are_dense(log: &[(i64, String)], start: i64, end: i64) -> Result<(), Violation> {
    let offsets = log.iter().map(|(offset, _)| *offset);
    match offsets.eq(start..end) {
        true => Ok(()),
        false => Err(format!("I3: offsets {start}..{end} are not dense")),
    }
}

/// I2.
fn sequences_stand_once(log: &[(i64, String)]) -> Result<(), Violation> {
    let mut seen = BTreeMap::new();
    for (offset, value) in log {
        let name = short(value);
        if let Some(first) = seen.insert(name, offset) {
            return Err(format!("I2: {name} stands at {first} and {offset}"));
        }
    }
    Ok(())
}

/// A producer's records stand in the order of its epochs and sequences, and none is left out.
fn sequences_follow(log: &[(i64, String)]) -> Result<(), Violation> {
    let mut newest: BTreeMap<&str, (i16, i32)> = BTreeMap::new();
    for (offset, value) in log {
        let name = short(value);
        let Some((producer, epoch, sequence)) = parts(name) else {
            continue;
        };
        let follows = match newest.insert(producer, (epoch, sequence)) {
            // The log's start may have cut off what was before.
            None => true,
            Some((last, before)) if last == epoch => sequence == before + 1,
            Some((last, _)) => last < epoch && sequence == 0,
        };
        if !follows {
            return Err(format!("I2: {name} at {offset} does not follow"));
        }
    }
    Ok(())
}

/// Producer, epoch and sequence of a name like `p100e2-17`.
fn parts(name: &str) -> Option<(&str, i16, i32)> {
    let (producer, rest) = name.split_once('e')?;
    let (epoch, sequence) = rest.split_once('-')?;
    Some((producer, epoch.parse().ok()?, sequence.parse().ok()?))
}

/// What one generation of a topic holds was written to that one; other logs hold nothing of the kind.
fn records_are_of(n: i32, log: &[(i64, String)]) -> Result<(), Violation> {
    let mark = again::generation_of(n).map(|generation| format!("g{generation}-"));
    let is_right = |value: &str| match &mark {
        Some(mark) => value.starts_with(mark.as_str()),
        None => !value.starts_with('g'),
    };
    match log.iter().find(|(_, value)| !is_right(value)) {
        Some((offset, value)) => Err(format!("{n}/{offset} holds {}", short(value))),
        None => Ok(()),
    }
}

/// I1, and I4 as far as readers have seen it.
fn acked_is_in_the_log(
    model: &Model,
    partition: i32,
    log: &[(i64, String)],
    start: i64,
) -> Result<(), Violation> {
    let log: BTreeMap<i64, &String> = log.iter().map(|(offset, value)| (*offset, value)).collect();
    for (&(_, offset), value) in model
        .known
        .range((partition, start)..=(partition, i64::MAX))
    {
        if log.get(&offset) != Some(&value) {
            let now = log.get(&offset).map_or("nothing", |value| short(value));
            return Err(format!(
                "I1: {partition}/{offset} was known as {}, now {now}",
                short(value)
            ));
        }
    }
    Ok(())
}

/// The processor's view of a topic holds the same batches, in growing order, whatever the size of its reads: each batch's
/// partition, base offset and place in the WAL's order.
/// Place, partition, first offset, times.
type Seen = (Order, i32, i64, Times);

fn order_of(storage: &Storage, topic: &str) -> Result<Vec<Seen>, Violation> {
    let all = |max: usize| -> Result<Vec<Seen>, Violation> {
        let mut from = BTreeMap::new();
        let mut order = Vec::new();
        loop {
            let read = storage
                .read(topic, &from, max)
                .map_err(|error| error.to_string())?;
            if read.is_empty() {
                return Ok(order);
            }
            for each in read {
                let header =
                    lw_protocol::BatchHeader::parse(&each.bytes).map_err(|e| e.to_string())?;
                from.insert(each.partition, header.last_offset() + 1);
                let times = (each.appended_at, each.wall);
                if times.1.is_none() {
                    return Err(format!("{} was appended at no time", each.order));
                }
                order.push((each.order, each.partition, header.base_offset, times));
            }
        }
    };
    let (small, large) = (all(1)?, all(1 << 20)?);
    match small == large && small.is_sorted() {
        true => Ok(large),
        false => Err("the WAL order depends on the size of the reads".to_owned()),
    }
}
