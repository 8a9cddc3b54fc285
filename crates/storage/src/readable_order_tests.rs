//! The readable order under transactions, simulated before the log has any: `docs/adr/0007-the-readable-order.md`.
//!
//! Two descriptions of the same thing. [`places`] is the rule: it looks at a whole history and says of each batch when its
//! partition's last stable offset first passed it. [`Log`] is what storage would do: it keeps entries and open transactions, moves
//! forward event by event, seals, compacts, deletes, and comes back from a checkpoint and the frames since. They must agree, and
//! readers that poll as they like must all see one sequence. Each [`Defect`] is a shortcut that somebody might take; a history has to
//! be found that shows it.
//!
//! A record is one offset; batches of a frame are numbered one after the other.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const PARTITIONS: usize = 2;

/// Orders of the batches of one frame.
const FRAME: u64 = 16;

type Offset = i64;

/// (partition, offset)
type Row = (usize, Offset);

/// Order of the batch that made it readable, its own order.
type Place = (u64, u64);

#[derive(Clone, Debug, PartialEq)]
enum Event {
    /// A batch of these keys, of a transaction's producer or of none.
    Append {
        partition: usize,
        producer: Option<u8>,
        keys: Vec<u8>,
    },
    /// Markers in every partition that the transaction wrote to, in one frame.
    End {
        producer: u8,
        commit: bool,
    },
    /// The log of a partition begins there.
    Delete {
        partition: usize,
        before: Offset,
    },
    /// What is decided goes into sealed files, and the WAL is checkpointed.
    Seal,
    /// Rewrites what is sealed of a partition: newest record of each key, nothing of aborted transactions, no markers.
    Compact {
        partition: usize,
    },
    Crash,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Defect {
    None,
    /// A batch stands where it was written, whenever it can be read.
    OwnOrder,
    /// A batch stands at the end of its own transaction, whatever else is open before it.
    OwnMarker,
    /// Checkpoints do not carry open transactions.
    OpenForgotten,
    /// Nor which of the finished ones were aborted.
    AbortedForgotten,
    /// What is undecided is sealed as if nothing were open.
    SealedUndecided,
    /// Compaction puts what it rewrites behind all that is there.
    Renumbered,
    /// Compaction joins neighbouring batches into one, which stands where the first did.
    Merged,
    /// Partitions are looked at one after the other.
    TwoLooks,
    /// A transaction whose beginning is deleted is over.
    DeletionDecides,
}

#[derive(Clone, Debug)]
struct Batch {
    base: Offset,
    /// What compaction left; offsets count on.
    records: Vec<(Offset, u8)>,
    last: Offset,
    own: u64,
    producer: Option<u8>,
    is_marker: bool,
    place: Option<Place>,
    sealed: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Aborted {
    producer: u8,
    first: Offset,
    marker: Offset,
}

#[derive(Clone, Debug, Default)]
struct Partition {
    start: Offset,
    end: Offset,
    batches: Vec<Batch>,
    /// First offset of each open transaction.
    open: BTreeMap<u8, Offset>,
    aborted: Vec<Aborted>,
}

impl Partition {
    fn stable(&self) -> Offset {
        let open = self.open.values();
        let first = open.map(|first| *first.max(&self.start)).min();
        first.unwrap_or(self.end)
    }

    fn push(&mut self, own: u64, producer: Option<u8>, keys: &[u8], is_marker: bool) {
        let base = self.end;
        let records: Vec<(Offset, u8)> = (base..).zip(keys.iter().copied()).collect();
        let last = base + records.len().max(1) as Offset - 1;
        self.end = last + 1;
        self.batches.push(Batch {
            base,
            records,
            last,
            own,
            producer,
            is_marker,
            place: None,
            sealed: false,
        });
    }

    /// Gives a place to what the last stable offset has passed.
    fn lift(&mut self, by: u64, defect: Defect) {
        let stable = self.stable();
        for batch in &mut self.batches {
            if batch.place.is_none() && batch.last < stable {
                let by = match defect {
                    Defect::OwnOrder => batch.own,
                    _ => by,
                };
                batch.place = Some((by, batch.own));
            }
        }
    }

    fn is_aborted(&self, batch: &Batch) -> bool {
        let mut aborted = self.aborted.iter();
        aborted.any(|range| {
            batch.producer == Some(range.producer)
                && range.first <= batch.base
                && batch.base < range.marker
        })
    }
}

/// What storage would keep.
#[derive(Clone, Debug, Default)]
struct Log {
    partitions: [Partition; PARTITIONS],
    /// The frame after the last.
    frame: u64,
    checkpoint: Option<Box<Log>>,
    /// Since the checkpoint.
    tail: Vec<Event>,
}

impl Log {
    /// Takes a transaction's end or an append into the partitions; what a replay does too.
    fn apply(&mut self, event: &Event, defect: Defect) {
        let first = self.frame * FRAME;
        match event {
            Event::Append {
                partition,
                producer,
                keys,
            } => {
                let log = &mut self.partitions[*partition];
                if let Some(producer) = producer {
                    log.open.entry(*producer).or_insert(log.end);
                }
                log.push(first, *producer, keys, false);
                log.lift(first, defect);
            }
            Event::End { producer, commit } => {
                for (order, log) in (first..).zip(&mut self.partitions) {
                    let Some(begun) = log.open.remove(producer) else {
                        continue;
                    };
                    if !commit {
                        log.aborted.push(Aborted {
                            producer: *producer,
                            first: begun,
                            marker: log.end,
                        });
                    }
                    if defect == Defect::OwnMarker {
                        let of_it = |batch: &&mut Batch| batch.producer == Some(*producer);
                        let undecided = log.batches.iter_mut().filter(|b| b.place.is_none());
                        for batch in undecided.filter(of_it) {
                            batch.place = Some((order, batch.own));
                        }
                    }
                    log.push(order, Some(*producer), &[], true);
                    log.lift(order, defect);
                }
            }
            Event::Delete { partition, before } => {
                let log = &mut self.partitions[*partition];
                log.start = log.start.max(*before);
                let start = log.start;
                if defect == Defect::DeletionDecides {
                    log.open.retain(|_, first| *first >= start);
                }
                log.batches.retain(|batch| batch.last >= start);
            }
            Event::Seal | Event::Compact { .. } | Event::Crash => {}
        }
        self.frame += 1;
    }

    fn happen(&mut self, event: &Event, defect: Defect) {
        match event {
            Event::Seal => self.seal(defect),
            Event::Compact { partition } => {
                self.compact(*partition, defect);
                // The rewritten file takes the place of the old ones at once.
                if let Some(checkpoint) = &mut self.checkpoint {
                    checkpoint.compact(*partition, defect);
                }
            }
            Event::Crash => self.recover(defect),
            _ => {
                self.apply(event, defect);
                self.tail.push(event.clone());
            }
        }
    }

    fn seal(&mut self, defect: Defect) {
        for log in &mut self.partitions {
            for batch in &mut log.batches {
                if defect == Defect::SealedUndecided {
                    batch.place = batch.place.or(Some((batch.own, batch.own)));
                }
                batch.sealed = batch.place.is_some();
            }
        }
        self.tail.clear();
        let mut checkpoint = Log {
            checkpoint: None,
            ..self.clone()
        };
        for log in &mut checkpoint.partitions {
            match defect {
                Defect::OpenForgotten => log.open.clear(),
                Defect::AbortedForgotten => log.aborted.clear(),
                _ => {}
            }
        }
        self.checkpoint = Some(Box::new(checkpoint));
    }

    fn recover(&mut self, defect: Defect) {
        let mut log = self.checkpoint.as_deref().cloned().unwrap_or_default();
        for event in &self.tail {
            log.apply(event, defect);
        }
        log.checkpoint = self.checkpoint.take();
        log.tail = std::mem::take(&mut self.tail);
        *self = log;
    }

    fn compact(&mut self, partition: usize, defect: Defect) {
        let newest_order = self.frame * FRAME;
        let log = &mut self.partitions[partition];
        let (sealed, rest): (Vec<Batch>, Vec<Batch>) =
            log.batches.iter().cloned().partition(|batch| batch.sealed);
        let mut kept: Vec<Batch> = Vec::new();
        let mut seen = BTreeSet::new();
        for mut batch in sealed.into_iter().rev() {
            if batch.is_marker || log.is_aborted(&batch) {
                continue;
            }
            let records = batch.records.drain(..).rev();
            batch.records = records.filter(|(_, key)| seen.insert(*key)).collect();
            batch.records.reverse();
            if !batch.records.is_empty() {
                kept.push(batch);
            }
        }
        kept.reverse();
        match defect {
            Defect::Renumbered => {
                for (n, batch) in (newest_order..).zip(&mut kept) {
                    batch.place = Some((n, n));
                }
            }
            Defect::Merged if kept.len() > 1 => {
                let mut one = kept.remove(0);
                for batch in kept.drain(..) {
                    one.records.extend(batch.records);
                    one.last = batch.last;
                }
                // Nothing of an aborted transaction is left.
                one.producer = None;
                kept.push(one);
            }
            _ => {}
        }
        log.batches = kept.into_iter().chain(rest).collect();
    }

    /// Where reading stands that has come to a place: bounded ends and beginnings are decided so, at one place.
    fn latest(&self) -> [Offset; PARTITIONS] {
        let stable = self.partitions.iter().map(Partition::stable);
        stable.collect::<Vec<_>>().try_into().expect("all of them")
    }
}

/// Reads committed records in the readable order. What it is durably is `next` alone.
#[derive(Clone, Debug, Default)]
struct Reader {
    next: [Offset; PARTITIONS],
    place: Option<Place>,
    rows: Vec<Row>,
}

impl Reader {
    /// Up to `batches` of them. The partitions are looked at in one moment, unless they are given as of two.
    fn poll(&mut self, looks: [&Log; PARTITIONS], batches: usize) {
        let mut lanes: Vec<(Place, usize, &Batch)> = Vec::new();
        for (partition, log) in looks.iter().enumerate() {
            let readable = log.partitions[partition].batches.iter();
            let readable = readable.filter(|batch| batch.last >= self.next[partition]);
            // In a lane the next batch is the next one of the log: there is no looking past one that cannot be read.
            let readable = readable.map_while(|batch| Some((batch.place?, partition, batch)));
            lanes.extend(readable);
        }
        // A merge of the lanes, each in its own order.
        let mut at = [0; PARTITIONS];
        for _ in 0..batches {
            let heads = (0..PARTITIONS).filter_map(|partition| {
                let mut lane = lanes.iter().filter(|(_, p, _)| *p == partition);
                lane.nth(at[partition])
            });
            let Some((place, partition, batch)) = heads.min_by_key(|(place, ..)| *place) else {
                return;
            };
            at[*partition] += 1;
            let log = &looks[*partition].partitions[*partition];
            if !batch.is_marker && !log.is_aborted(batch) {
                let offsets = batch.records.iter().map(|(offset, _)| *offset);
                let new = offsets.filter(|offset| *offset >= self.next[*partition].max(log.start));
                self.rows.extend(new.map(|offset| (*partition, offset)));
            }
            self.next[*partition] = batch.last + 1;
            self.place = Some(*place);
        }
    }

    fn drain(&mut self, log: &Log) {
        self.poll([log; PARTITIONS], usize::MAX);
    }
}

/// A batch of a history, by the rule alone.
#[derive(Clone, Debug)]
struct Written {
    partition: usize,
    base: Offset,
    keys: Vec<u8>,
    own: u64,
    producer: Option<u8>,
    /// The end of its transaction; nothing for one that is open.
    commit: Option<bool>,
    place: Option<Place>,
}

/// A batch in the log, records or a marker.
struct Stood {
    partition: usize,
    base: Offset,
    last: Offset,
    own: u64,
    producer: Option<u8>,
    is_marker: bool,
}

/// The rule: the place of every batch that a history has written, whatever has become of it.
fn places(history: &[Event]) -> Vec<Written> {
    let mut stood: Vec<Stood> = Vec::new();
    let mut written: Vec<Written> = Vec::new();
    let mut ends = [0; PARTITIONS];
    let mut frame = 0;
    for event in history {
        match event {
            Event::Append {
                partition,
                producer,
                keys,
            } => {
                let base = ends[*partition];
                ends[*partition] += keys.len() as Offset;
                let own = frame * FRAME;
                stood.push(Stood {
                    partition: *partition,
                    base,
                    last: ends[*partition] - 1,
                    own,
                    producer: *producer,
                    is_marker: false,
                });
                written.push(Written {
                    partition: *partition,
                    base,
                    keys: keys.clone(),
                    own,
                    producer: *producer,
                    commit: producer.is_none().then_some(true),
                    place: None,
                });
            }
            Event::End { producer, commit } => {
                let mut touched = BTreeSet::new();
                for batch in &mut written {
                    if batch.producer == Some(*producer) && batch.commit.is_none() {
                        batch.commit = Some(*commit);
                        touched.insert(batch.partition);
                    }
                }
                for partition in touched {
                    stood.push(Stood {
                        partition,
                        base: ends[partition],
                        last: ends[partition],
                        own: frame * FRAME + partition as u64,
                        producer: Some(*producer),
                        is_marker: true,
                    });
                    ends[partition] += 1;
                }
            }
            Event::Delete { .. } => {}
            Event::Seal | Event::Compact { .. } | Event::Crash => continue,
        }
        frame += 1;
    }
    for batch in &mut written {
        let last = batch.base + batch.keys.len() as Offset - 1;
        let mut later = stood
            .iter()
            .filter(|other| other.partition == batch.partition && other.own >= batch.own);
        let lifts = later.find(|by| last < last_stable(&stood, batch.partition, by.own));
        batch.place = lifts.map(|by| (by.own, batch.own));
    }
    written
}

/// A partition's last stable offset once the batch of this order is there: where the first open transaction begins, or the end.
fn last_stable(stood: &[Stood], partition: usize, order: u64) -> Offset {
    let there = stood
        .iter()
        .filter(|batch| batch.partition == partition && batch.own <= order);
    let (mut open, mut end) = (BTreeMap::new(), 0);
    for batch in there {
        end = batch.last + 1;
        match batch.producer {
            Some(producer) if batch.is_marker => {
                open.remove(&producer);
            }
            Some(producer) => {
                open.entry(producer).or_insert(batch.base);
            }
            None => {}
        }
    }
    open.into_values().min().unwrap_or(end)
}

/// Plays a history with readers beside it.
///
/// # Errors
/// What does not hold.
fn play(history: &[Event], defect: Defect) -> Result<(), String> {
    let mut log = Log::default();
    let (mut eager, mut slow) = (Reader::default(), Reader::default());
    let mut by_the_rule = Ok(());
    for (n, event) in history.iter().enumerate() {
        let before = log.clone();
        log.happen(event, defect);
        let looks = match defect {
            Defect::TwoLooks => [&before, &log],
            _ => [&log, &log],
        };
        eager.poll(looks, usize::MAX);
        slow.poll([&log; PARTITIONS], 1);
        // A restart knows the next offsets alone.
        slow = Reader {
            next: slow.next,
            rows: slow.rows,
            place: None,
        };
        // Told last: what a reader sees says more.
        if defect != Defect::TwoLooks {
            by_the_rule = by_the_rule.and(at_one_place(&log, &eager));
        }
        by_the_rule = by_the_rule.and(compare(&log, &places(&history[..=n])));
    }
    let (mut whole, mut all_at_once) = (log.clone(), Reader::default());
    eager.drain(&log);
    slow.drain(&log);
    all_at_once.drain(&log);
    whole.recover(defect);
    let mut after_a_crash = Reader::default();
    after_a_crash.drain(&whole);
    let written = places(history);
    for reader in [&eager, &slow, &all_at_once, &after_a_crash] {
        in_order(&reader.rows, &written)?;
    }
    if all_at_once.rows != after_a_crash.rows {
        return Err("R5: a crash changes what is read".into());
    }
    let removes = |event: &Event| matches!(event, Event::Delete { .. } | Event::Compact { .. });
    if history.iter().any(removes) {
        nothing_newest_is_missing(&log, &all_at_once.rows, &written)?;
    } else {
        if eager.rows != all_at_once.rows || slow.rows != all_at_once.rows {
            let (eager, slow, all) = (&eager.rows, &slow.rows, &all_at_once.rows);
            return Err(format!("R3: readers differ: {eager:?} {slow:?} {all:?}"));
        }
        let committed = written
            .iter()
            .filter(|b| b.place.is_some() && b.commit == Some(true));
        let (rows, read) = (
            committed.map(|b| b.keys.len()).sum::<usize>(),
            eager.rows.len(),
        );
        if rows != read {
            return Err(format!("R4: {rows} committed records, {read} read"));
        }
    }
    by_the_rule
}

/// R1: the log gives each batch the place that the rule gives it; R2: places never go back in a partition.
fn compare(log: &Log, written: &[Written]) -> Result<(), String> {
    for (partition, log) in log.partitions.iter().enumerate() {
        let mut before = None;
        for batch in log.batches.iter().filter(|batch| !batch.is_marker) {
            let mut written = written.iter();
            let rule = written.find(|w| w.partition == partition && w.base == batch.base);
            let rule = rule.ok_or("R1: a batch that nobody wrote")?;
            if batch.place != rule.place {
                return Err(format!(
                    "R1: {partition}@{} stands at {:?}, by the rule at {:?}",
                    batch.base, batch.place, rule.place
                ));
            }
            if batch.place.is_some() && batch.place <= before {
                return Err(format!("R2: {partition}@{} goes back", batch.base));
            }
            before = batch.place.or(before);
        }
    }
    Ok(())
}

/// R6: a reader that has all that can be read has what lies up to its place, and the ends that are decided now are there.
fn at_one_place(log: &Log, reader: &Reader) -> Result<(), String> {
    for (partition, of) in log.partitions.iter().enumerate() {
        for batch in &of.batches {
            let read = batch.last < reader.next[partition];
            let passed = batch.place.is_some_and(|place| Some(place) <= reader.place);
            let ended = batch.last < log.latest()[partition];
            if read != passed || read != ended {
                return Err(format!(
                    "R6: {partition}@{}: read {read}, up to the place {passed}, below the end {ended}",
                    batch.base
                ));
            }
        }
    }
    Ok(())
}

/// R3 and R4: what a reader saw is committed, comes once, and in the order of the places.
fn in_order(rows: &[Row], written: &[Written]) -> Result<(), String> {
    let mut before = None;
    for (partition, offset) in rows {
        let holds = |w: &&Written| {
            let range = w.base..w.base + w.keys.len() as Offset;
            w.partition == *partition && range.contains(offset)
        };
        let batch = written.iter().find(holds).ok_or("R4: a row from nowhere")?;
        if batch.commit != Some(true) {
            return Err(format!("R4: {partition}@{offset} is not committed"));
        }
        let at = Some((batch.place.ok_or("R4: it cannot be read yet")?, *offset));
        if at <= before {
            return Err(format!("R3: {partition}@{offset} comes out of order"));
        }
        before = at;
    }
    Ok(())
}

/// R4 where records were taken away: of each key the newest that can be read is still there.
fn nothing_newest_is_missing(log: &Log, rows: &[Row], written: &[Written]) -> Result<(), String> {
    let mut newest: BTreeMap<(usize, u8), Offset> = BTreeMap::new();
    for batch in written
        .iter()
        .filter(|b| b.place.is_some() && b.commit == Some(true))
    {
        for (offset, key) in (batch.base..).zip(&batch.keys) {
            newest.insert((batch.partition, *key), offset);
        }
    }
    for ((partition, _), offset) in newest {
        if offset >= log.partitions[partition].start && !rows.contains(&(partition, offset)) {
            return Err(format!("R4: {partition}@{offset} is lost"));
        }
    }
    Ok(())
}

/// A history as it could be: ends are of transactions that are open, and a deletion is of something that is there.
fn history(seed: u64, length: usize) -> Vec<Event> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut history = Vec::new();
    let (mut open, mut ends) = (BTreeMap::<u8, BTreeSet<usize>>::new(), [0; PARTITIONS]);
    for _ in 0..length {
        let partition = rng.random_range(0..PARTITIONS);
        history.push(match rng.random_range(0..20) {
            0..10 => {
                let producer = rng.random_bool(0.6).then(|| rng.random_range(0..3));
                if let Some(producer) = producer {
                    open.entry(producer).or_default().insert(partition);
                }
                let keys = (0..rng.random_range(1..3)).map(|_| rng.random_range(0..4));
                let keys: Vec<u8> = keys.collect();
                ends[partition] += keys.len() as Offset;
                Event::Append {
                    partition,
                    producer,
                    keys,
                }
            }
            10..15 => {
                let Some(producer) = open.keys().nth(rng.random_range(0..3)).copied() else {
                    continue;
                };
                let touched = open.remove(&producer).expect("it is open");
                touched.iter().for_each(|partition| ends[*partition] += 1);
                let commit = rng.random_bool(0.6);
                Event::End { producer, commit }
            }
            15 => Event::Delete {
                partition,
                before: rng.random_range(0..=ends[partition]),
            },
            16 => Event::Compact { partition },
            17 | 18 => Event::Seal,
            _ => Event::Crash,
        });
    }
    history
}

#[test]
fn sim_the_readable_order_is_a_function_of_the_log_alone() {
    for seed in lw_sim::seeds(1000) {
        let history = history(seed, 24);
        if let Err(broken) = play(&history, Defect::None) {
            panic!("seed {seed}: {broken}\n{history:#?}");
        }
    }
}

/// Every history of five events over two partitions and two transactions.
#[test]
fn the_readable_order_holds_in_every_short_history() {
    let append = |partition, producer| Event::Append {
        partition,
        producer,
        keys: vec![0],
    };
    let end = |producer, commit| Event::End { producer, commit };
    let letters = [
        append(0, None),
        append(1, None),
        append(0, Some(1)),
        append(1, Some(1)),
        append(0, Some(2)),
        end(1, true),
        end(1, false),
        end(2, true),
        Event::Seal,
        Event::Crash,
    ];
    let mut played = 0;
    for mut word in 0..letters.len().pow(5) {
        let history: Vec<Event> = std::iter::repeat_with(|| {
            let letter = letters[word % letters.len()].clone();
            word /= letters.len();
            letter
        })
        .take(5)
        .collect();
        if let Err(broken) = play(&history, Defect::None) {
            panic!("{broken}\n{history:#?}");
        }
        played += 1;
    }
    assert_eq!(played, 100_000);
}

#[test]
fn every_shortcut_is_found_out() {
    for (defect, how) in [
        (Defect::OwnOrder, "R3"),
        (Defect::OwnMarker, "R6"),
        (Defect::OpenForgotten, "R4"),
        (Defect::AbortedForgotten, "R4"),
        (Defect::SealedUndecided, "R4"),
        (Defect::Renumbered, "R3"),
        (Defect::Merged, "R3"),
        (Defect::TwoLooks, "R3"),
        (Defect::DeletionDecides, "R4"),
    ] {
        let broken: BTreeSet<String> = (1..400)
            .filter_map(|seed| play(&history(seed, 24), defect).err())
            .map(|broken| broken[..2].to_string())
            .collect();
        assert!(broken.contains(how), "{defect:?} breaks {broken:?}");
    }
}
