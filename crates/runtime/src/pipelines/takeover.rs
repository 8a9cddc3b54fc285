//! Adopt or rewind: what a table says and what the checkpoint says in, where the pipeline goes on out. Pure.
//!
//! A pipeline pauses when its table is not where it left it. What is asked of the user is only what becomes of the rows:
//!
//! | the table | adopt | rewind |
//! |---|---|---|
//! | was rolled back | what was taken away stays away; pending commits follow | it is read again, from where the visible table ends |
//! | was moved forward, to what a rewind gave up | goes on at the visible end: the rows are there | the same |
//! | is ahead of the checkpoint, or another pipeline's | goes on at the marker's end | the same: nothing was taken away |
//! | was dropped and created again | goes on where the checkpoint stands | everything is read again |
//! | shows no commit of ours, and its history is cut | goes on at the marker's end | refused: rows that are there would double |
//!
//! A pipeline has side tables too (dead letters). Their rows come from the same reading, so they go along with the main
//! table: reading comes by again only if the main table is rewound, and what a side table still has is not written twice.
//!
//! A word is about one sink at a time: where others of its job are further, they stay, and reading comes by for this one alone.
//!
//! Either way the table's marker is restated first and the manifest written second. A crash in between leaves a marker that
//! the manifest knows, and then committing goes on from it, or one that it does not know, and then the pipeline pauses
//! again and the same word can be given again.

use crate::connector::{Restate, Standing, TableMarker};
use crate::manifest::{
    Confirmed, Manifest, Pending, SinkState, SplitOffset, SplitRange, TableChain,
};
use std::fmt;
use uuid::Uuid;

/// A table and what it says.
#[derive(Clone, Debug)]
pub struct Table {
    /// `namespace.table`.
    pub name: String,
    pub standing: Standing,
    /// The files of the manifest's pending commits are there and fit the table.
    pub can_commit: bool,
}

/// All tables of one sink.
#[derive(Clone, Debug)]
pub struct Tables {
    pub main: Table,
    pub sides: Vec<Table>,
}

/// What to do, in this order; nothing of it moves a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Tables whose markers change.
    pub restate: Vec<(String, Restate)>,
    /// The manifest to go on from; the same as before where nothing has to change.
    pub manifest: Manifest,
}

/// Why a pipeline cannot be rewound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Whether rows of ours are in the table cannot be told: old snapshots are gone.
    HistoryCut { table: String },
    /// Only the side table was rolled back; reading again would double the main table's rows.
    SideOnly { table: String, main: String },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::HistoryCut { table } => write!(
                f,
                "{table} shows no commit of this pipeline, and its older snapshots are gone: reading again could double its rows"
            ),
            Refusal::SideOnly { table, main } => write!(
                f,
                "only {table} was rolled back: reading again would double the rows of {main}"
            ),
        }
    }
}

/// Accepts the tables as they are: goes on at the newest commit ever made, whether its rows are still there or not.
pub fn adopt(before: &Manifest, tables: &Tables) -> Plan {
    let mut plan = Plan {
        restate: Vec::new(),
        manifest: before.clone(),
    };
    let main = &tables.main;
    let knows = adopt_table(main, main, &mut plan);
    match main.standing.newest() {
        Some(marker) if !knows => {
            let offsets = standing_at(&marker.ends, taken_back(before, &main.name));
            plan.manifest.stand_at(&main.name, &offsets);
        }
        None if !main.can_commit => {
            let offsets = taken_back(before, &main.name);
            plan.manifest.stand_at(&main.name, &offsets);
        }
        _ => {}
    }
    for side in &tables.sides {
        adopt_table(side, main, &mut plan);
    }
    plan
}

/// Whether the manifest's chain knows the table's newest marker, and so stays.
fn adopt_table(table: &Table, main: &Table, plan: &mut Plan) -> bool {
    let standing = &table.standing;
    let restate = if standing.is_outrun() {
        Some(Restate::Visible)
    } else if standing.marker.is_some() && standing.on_branch {
        None
    } else {
        standing.newest().map(|_| Restate::Newest)
    };
    plan.restate
        .extend(restate.map(|which| (table.name.clone(), which)));
    match standing.newest() {
        Some(marker) => {
            let knows = knows(plan.manifest.chain(&table.name), marker);
            if !knows {
                plan.go_on_after(table, main, Some(marker));
            }
            knows
        }
        None => {
            if plan.manifest.chain(&table.name).is_some() {
                let chain = plan.chain(table, main);
                chain.last = None;
                if !table.can_commit {
                    chain.chain.clear();
                }
            }
            true
        }
    }
}

/// Goes back to where the visible table ends, so that what is not in it is read again.
///
/// # Errors
/// [`Refusal`] when rows that are in a table would come a second time.
pub fn rewind(before: &Manifest, tables: &Tables) -> Result<Plan, Refusal> {
    let mut plan = Plan {
        restate: Vec::new(),
        manifest: before.clone(),
    };
    let main = &tables.main;
    let visible = main.standing.visible.as_ref();
    let nothing_to_do = main.standing.is_intact()
        && visible.is_some_and(|marker| knows(before.chain(&main.name), marker));
    if !nothing_to_do {
        if visible.is_none() && !main.standing.complete {
            return Err(Refusal::HistoryCut {
                table: main.name.clone(),
            });
        }
        plan.take_back(main, main);
        let ends = visible.map_or(&[][..], |marker| &marker.ends);
        let offsets = standing_at(ends, beginnings(before, main));
        plan.manifest.stand_at(&main.name, &offsets);
        // They were those of where reading stood.
        let splits = plan.manifest.splits.iter_mut();
        splits.for_each(|split| {
            split.watermark = None;
            split.came = None;
        });
    }
    for side in &tables.sides {
        if side.standing.is_intact() || side.standing.newest().is_none() && nothing_to_do {
            adopt_table(side, main, &mut plan);
        } else if nothing_to_do {
            return Err(Refusal::SideOnly {
                table: side.name.clone(),
                main: main.name.clone(),
            });
        } else if side.standing.visible.is_none() && !side.standing.complete {
            return Err(Refusal::HistoryCut {
                table: side.name.clone(),
            });
        } else {
            plan.take_back(side, main);
        }
    }
    Ok(plan)
}

/// Goes on behind what the log has lost, whatever became of the tables: in each sink that does not have it already a commit
/// without files accounts for the offsets, so that no chain has a hole.
///
/// # Panics
/// When a range does not begin where the job stands: offsets that can be read would be passed over.
pub fn skip(
    before: &Manifest,
    lost: &[SplitRange],
    mut new_uuid: impl FnMut() -> Uuid,
) -> Manifest {
    let mut manifest = before.clone();
    for range in lost {
        let mut position = before.position().into_iter();
        let at = position.find(|at| at.topic == range.topic && at.partition == range.partition);
        assert_eq!(
            at.map(|at| at.next),
            Some(range.start),
            "L2: what is lost begins where the job stands"
        );
    }
    for sink in manifest.sinks.values_mut() {
        let ranges = lost.iter().filter_map(|range| {
            let split = sink.split(&range.topic, range.partition)?;
            let start = split.written_until.max(range.start);
            (start < range.end).then(|| SplitRange {
                start,
                ..range.clone()
            })
        });
        let ranges: Vec<SplitRange> = ranges.collect();
        if ranges.is_empty() {
            continue;
        }
        ranges.iter().for_each(|range| sink.move_on(range));
        let begins = sink.begins();
        let chain = &mut sink.chain;
        chain.chain.push(Pending {
            sequence: chain.next_sequence(),
            uuid: new_uuid(),
            previous: chain.head(),
            ranges,
            plan: sink.plan.clone(),
            begins,
            lookups: before.lookups.clone(),
            ..Pending::default()
        });
    }
    manifest.checkpoint_id += 1;
    manifest
}

impl Plan {
    /// The chain of a table that is the sink's main one or stands beside it.
    fn chain(&mut self, table: &Table, main: &Table) -> &mut TableChain {
        let sink = self.manifest.sinks.entry(main.name.clone()).or_default();
        match table.name == main.name {
            true => &mut sink.chain,
            false => sink.sides.entry(table.name.clone()).or_default(),
        }
    }

    /// Lets the chain of a table begin after `marker`, with nothing pending.
    fn go_on_after(&mut self, table: &Table, main: &Table, marker: Option<&TableMarker>) {
        let last = marker.map(|marker| Confirmed {
            uuid: marker.uuid,
            sequence: marker.sequence,
            ends: marker.ends.clone(),
        });
        *self.chain(table, main) = TableChain {
            last,
            chain: Vec::new(),
        };
    }

    fn take_back(&mut self, table: &Table, main: &Table) {
        let standing = &table.standing;
        if standing.marker != standing.visible || standing.marker.is_some() && !standing.on_branch {
            self.restate.push((table.name.clone(), Restate::Visible));
        }
        self.go_on_after(table, main, standing.visible.as_ref());
    }
}

impl Standing {
    /// The newest commit that is known of. A table whose marker someone removed still has what its snapshots say, and so has
    /// one whose readers see more than the marker tells.
    pub fn newest(&self) -> Option<&TableMarker> {
        match self.is_outrun() {
            true => self.visible.as_ref(),
            false => self.marker.as_ref().or(self.visible.as_ref()),
        }
    }

    /// Readers see a commit that ends behind the marker: the branch was moved forward, to what a rewind had given up.
    fn is_outrun(&self) -> bool {
        let both = self.visible.as_ref().zip(self.marker.as_ref());
        both.is_some_and(|(visible, marker)| visible.outruns(marker))
    }

    /// The newest commit ever made is the newest that readers see: nothing was taken away.
    pub(super) fn is_intact(&self) -> bool {
        let uuid = |marker: &Option<TableMarker>| marker.as_ref().map(|marker| marker.uuid);
        self.on_branch && self.marker.is_some() && uuid(&self.marker) == uuid(&self.visible)
    }
}

/// Whether committing the chain can follow on the marker: it is one of the chain's, or the one before it and the offsets meet.
fn knows(chain: Option<&TableChain>, marker: &TableMarker) -> bool {
    let Some(chain) = chain else {
        return false;
    };
    if chain
        .chain
        .iter()
        .any(|pending| pending.uuid == marker.uuid)
    {
        return true;
    }
    let meets = chain.chain.first().is_none_or(|first| {
        first.ranges.iter().all(|range| {
            let mut ends = marker.ends.iter();
            ends.find(|end| end.topic == range.topic && end.partition == range.partition)
                .is_none_or(|end| end.next == range.start)
        })
    });
    meets
        && chain
            .last
            .as_ref()
            .is_some_and(|last| last.uuid == marker.uuid)
}

/// `ends`, and for the partitions that they do not name, `others`.
fn standing_at(ends: &[SplitOffset], others: Vec<SplitOffset>) -> Vec<SplitOffset> {
    let unnamed = |at: &SplitOffset| !ends.iter().any(|end| end.same_split(at));
    let mut offsets = ends.to_vec();
    offsets.extend(others.into_iter().filter(unnamed));
    offsets
}

/// Where the sink stood before its pending commits.
fn taken_back(manifest: &Manifest, sink: &str) -> Vec<SplitOffset> {
    let Some(sink) = manifest.sinks.get(sink) else {
        return Vec::new();
    };
    let pending = &sink.chain.chain;
    let splits = sink.splits.iter().map(|at| {
        let mut ranges = pending.iter().flat_map(|pending| &pending.ranges);
        let first = ranges.find(|range| range.topic == at.topic && range.partition == at.partition);
        SplitOffset {
            topic: at.topic.clone(),
            partition: at.partition,
            next: first.map_or(at.written_until, |range| range.start),
        }
    });
    splits.collect()
}

/// Where reading began: as the manifest remembers, or lower where a kept snapshot of an earlier owner accounts for more.
fn beginnings(manifest: &Manifest, main: &Table) -> Vec<SplitOffset> {
    let sink = manifest.sinks.get(&main.name);
    let mut beginnings = sink.map(SinkState::begins).unwrap_or_default();
    for start in &main.standing.starts {
        match beginnings.iter_mut().find(|begin| begin.same_split(start)) {
            Some(begin) => begin.next = begin.next.min(start.next),
            None => beginnings.push(start.clone()),
        }
    }
    beginnings
}

#[cfg(test)]
mod tests;
