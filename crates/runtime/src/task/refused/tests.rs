//! When event time has ended, of one scan and of several.

use super::*;
use crate::chunk::{DeadLetter, Split};
use crate::connector::Polled;
use crate::manifest::State;
use crate::origins::Origin;
use crate::state::OperatorState;
use lw_graph::OperatorUid;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A source that stands before the end in some topics, and at the end of the others.
struct Standing {
    topics: Vec<String>,
    open: Vec<String>,
}

impl Standing {
    fn at(&self, next: impl Fn(bool) -> i64) -> Vec<SplitOffset> {
        let topics = self.topics.iter();
        let at = |topic: &String| SplitOffset {
            topic: topic.clone(),
            partition: 0,
            next: next(self.open.contains(topic)),
        };
        topics.map(at).collect()
    }
}

impl Source for Standing {
    fn cut_at(&mut self, _: &[SplitOffset]) {}
    fn open(&mut self, _: &[SplitOffset], _: Option<&[SplitOffset]>) -> Result<(), ConnectorError> {
        Ok(())
    }
    fn ends(&self) -> Option<Vec<SplitOffset>> {
        Some(self.at(|_| 9))
    }
    fn splits(&self) -> Arc<[Split]> {
        Arc::new([])
    }
    fn poll(&mut self, _: usize, _: Duration) -> Result<Polled, ConnectorError> {
        unreachable!("it is only asked where it stands")
    }
    fn records(&mut self, _: &[Origin]) -> Result<Vec<DeadLetter>, ConnectorError> {
        unreachable!("it is only asked where it stands")
    }
    fn positions(&self) -> Vec<SplitOffset> {
        self.at(|open| if open { 5 } else { 9 })
    }
    fn lag(&self) -> u64 {
        0
    }
}

/// Whether a job is refused whose scans, states and marks are these, and of whose topics `open` have more to read. `!` is the end of
/// event time.
fn is_refused(scans: &[&[&str]], states: &[&str], marks: &[(&str, &str)], open: &[&str]) -> bool {
    let time = |text: &str| match text {
        "!" => Mark::END,
        number => number.parse().expect("milliseconds"),
    };
    let mut manifest = Manifest::new(Uuid::nil());
    let states = states.iter().map(|watermark| {
        let state = OperatorState {
            watermark: Some(time(watermark)),
            ..OperatorState::default()
        };
        (OperatorUid::of(watermark), state)
    });
    let states: BTreeMap<OperatorUid, OperatorState> = states.collect();
    manifest.state = (!states.is_empty()).then(|| State::new(Vec::new(), [].into(), states));
    let marks = marks.iter();
    manifest.marks = marks.map(|(of, at)| (of.to_string(), time(at))).collect();
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let scans: Vec<Vec<String>> = scans.iter().map(|topics| names(topics)).collect();
    let source = Standing {
        topics: [scans.concat(), names(open)].concat(),
        open: names(open),
    };
    refuse_ended(&manifest, &scans, &source).is_err()
}

#[test]
fn one_scan_has_ended_when_a_state_has() {
    let scan: &[&[&str]] = &[&["a", "a2"]];
    assert!(!is_refused(scan, &["!"], &[], &[]), "nothing has come");
    assert!(!is_refused(scan, &["7"], &[], &["a"]));
    assert!(is_refused(scan, &["!"], &[], &["a"]));
    assert!(is_refused(scan, &["!"], &[], &["a2"]));
    // The script had another scan, whose mark and that of this one stayed where they were.
    assert!(is_refused(scan, &["!"], &[("a", "7"), ("b", "9")], &["a"]));
    assert!(!is_refused(scan, &["7"], &[("b", "!")], &["a"]));
}

#[test]
fn of_several_scans_each_ends_by_its_own_mark() {
    let scans: &[&[&str]] = &[&["a", "a2"], &["b"]];
    // The state of what is over `a` alone has ended; `b` is read on.
    let marks = [("a", "!"), ("b", "7")];
    assert!(!is_refused(scans, &["!", "7"], &marks, &["b"]));
    assert!(is_refused(scans, &["!", "7"], &marks, &["a"]));
    // A scan is called by its first topic, and what is more may be of another.
    assert!(is_refused(scans, &["!", "7"], &marks, &["a2", "b"]));
    // The topics stood in another order when the mark was written down.
    assert!(is_refused(scans, &["!"], &[("a2", "!")], &["a"]));
    assert!(!is_refused(scans, &["7"], &[], &["a", "b"]));
}

#[test]
fn a_scan_of_a_folder_ends_with_the_files_in_it() {
    let scans: &[&[&str]] = &[&["/archive"], &["live"]];
    let marks = [("/archive", "!"), ("live", "7")];
    assert!(!is_refused(scans, &["7"], &marks, &["live"]));
    assert!(is_refused(scans, &["7"], &marks, &["/archive/day=1/a"]));
    assert!(!is_refused(scans, &["7"], &marks, &["/archives/a"]));
}
