//! How far event time has come where several inputs meet: as far as with the one that is farthest behind, and nowhere before each of
//! them has said something (the valve of Flink's operators).
//!
//! Among operators without state event time is known by scan, and a chunk moves one scan on ([`Valve`]). Behind state it is known by
//! input ([`Ports`]). An operator of several inputs behind state that is given rows of the log is told, at each of these inputs, how
//! far *all* its scans have come: rows of one scan may come to it on two ways, the one way's chunk behind the other's, and are late or
//! in time as if record came behind record.

use super::shape::ScanId;
use crate::chunk::{Mark, push_mark};
use std::collections::BTreeSet;

/// Where scans meet.
pub(super) struct Valve {
    scans: BTreeSet<ScanId>,
    marked: Option<i64>,
}

impl Valve {
    pub(super) fn new(scans: &BTreeSet<ScanId>) -> Valve {
        Valve {
            scans: scans.clone(),
            marked: None,
        }
    }

    pub(super) fn has(&self, scan: ScanId) -> bool {
        self.scans.contains(&scan)
    }

    /// Goes on where a checkpoint stood.
    pub(super) fn go_on_from(&mut self, by_scan: &[Option<i64>]) {
        self.marked = least(self.scans.iter().map(|scan| by_scan[*scan]));
    }

    pub(super) fn marked(&self) -> Option<i64> {
        self.marked
    }

    /// The marks of a chunk of one scan, as they are for all of its scans; `by_scan` is how far the others are.
    pub(super) fn pass(
        &mut self,
        scan: ScanId,
        marks: impl Iterator<Item = Mark>,
        by_scan: &[Option<i64>],
    ) -> Vec<Mark> {
        let others = self.scans.iter().filter(|other| **other != scan);
        let others: Vec<Option<i64>> = others.map(|other| by_scan[*other]).collect();
        let mut passed = Vec::new();
        for mark in marks {
            let all = others.iter().copied().chain([Some(mark.watermark)]);
            rise(&mut self.marked, least(all), mark.row, &mut passed);
        }
        passed
    }
}

/// Where inputs meet that are not all of the log.
#[derive(Debug)]
pub(crate) struct Ports {
    by_port: Vec<Option<i64>>,
    marked: Option<i64>,
}

impl Ports {
    pub(crate) fn new(ports: usize) -> Ports {
        Ports {
            by_port: vec![None; ports],
            marked: None,
        }
    }

    /// Goes on where a checkpoint stood.
    pub(crate) fn go_on_from(&mut self, by_port: Vec<Option<i64>>) {
        self.marked = least(by_port.iter().copied());
        self.by_port = by_port;
    }

    pub(crate) fn by_port(&self) -> &[Option<i64>] {
        &self.by_port
    }

    pub(crate) fn marked(&self) -> Option<i64> {
        self.marked
    }

    /// An input has come so far; how far all have, where that is farther than before.
    pub(crate) fn raise(&mut self, port: usize, watermark: i64) -> Option<i64> {
        self.by_port[port] = self.by_port[port].max(Some(watermark));
        let all = least(self.by_port.iter().copied());
        let rose = all.filter(|all| self.marked.is_none_or(|marked| marked < *all));
        self.marked = self.marked.max(rose);
        rose
    }

    /// The marks of a chunk of one input, as they are for all of them.
    pub(super) fn pass(&mut self, port: usize, marks: &[Mark]) -> Vec<Mark> {
        let mut passed = Vec::new();
        for mark in marks {
            if let Some(watermark) = self.raise(port, mark.watermark) {
                push_mark(&mut passed, mark.row, watermark);
            }
        }
        passed
    }
}

/// The least, and none where one is none.
fn least(of: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    of.min().flatten()
}

fn rise(marked: &mut Option<i64>, to: Option<i64>, row: usize, marks: &mut Vec<Mark>) {
    if let Some(to) = to.filter(|to| marked.is_none_or(|marked| marked < *to)) {
        *marked = Some(to);
        push_mark(marks, row, to);
    }
}
