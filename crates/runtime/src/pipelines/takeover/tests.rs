//! Adopt and rewind, told in text: a checkpoint and a table in, where the pipeline goes on out.
//!
//! A checkpoint is `last 1@10 pending 2@10-20 3@20-30`: commits by number, with where they end or which offsets they cover.
//! A table is `marker 3@30 visible 1@10`, with `off` when the marker's snapshot is not below the head, `cut` when older
//! snapshots are gone. All of it is partition 0 of one topic; reading began at 5 (`begins`).

use super::*;
use crate::connector::Owner;
use crate::manifest::{Pending, SplitRange};
use uuid::Uuid;

fn at(next: i64) -> SplitOffset {
    SplitOffset {
        topic: "t".into(),
        partition: 0,
        next,
    }
}

fn numbers(text: &str) -> (u64, i64) {
    let (number, end) = text.split_once('@').expect("number@end");
    (
        number.parse().expect("a number"),
        end.parse().expect("an offset"),
    )
}

fn chain(text: &str) -> TableChain {
    let mut chain = TableChain::default();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        if word == "last" {
            let (number, end) = numbers(words.next().expect("a commit"));
            chain.last = Some(Confirmed {
                uuid: Uuid::from_u128(number.into()),
                sequence: number,
                ends: vec![at(end)],
            });
        } else if word != "pending" {
            let (number, range) = word.split_once('@').expect("number@start-end");
            let (start, end) = range.split_once('-').expect("start-end");
            let number: u64 = number.parse().expect("a number");
            chain.chain.push(Pending {
                sequence: number,
                uuid: Uuid::from_u128(number.into()),
                previous: chain.head(),
                files: Vec::new(),
                ranges: vec![SplitRange {
                    topic: "t".into(),
                    partition: 0,
                    start: start.parse().expect("an offset"),
                    end: end.parse().expect("an offset"),
                    rows: 0,
                    filtered: 0,
                    dead_letters: 0,
                    control: 0,
                    late: 0,
                }],
                ..Pending::default()
            });
        }
    }
    chain
}

fn table(name: &str, text: &str) -> Table {
    let marker = |word: &str| {
        let mut words = text.split_whitespace();
        words.find(|found| *found == word)?;
        let (number, end) = numbers(words.next().expect("a commit"));
        Some(TableMarker {
            owner: Owner {
                pipeline: Uuid::nil(),
                name: "p".into(),
            },
            uuid: Uuid::from_u128(number.into()),
            sequence: number,
            ends: vec![at(end)],
        })
    };
    Table {
        name: name.into(),
        standing: Standing {
            marker: marker("marker"),
            visible: marker("visible"),
            on_branch: !text.contains("off"),
            complete: !text.contains("cut"),
            starts: Vec::new(),
            plans: Default::default(),
        },
        can_commit: !text.contains("foreign files"),
    }
}

fn manifest(main: &str, side: Option<&str>) -> Manifest {
    let mut manifest = Manifest::new(Uuid::nil());
    let chain_of_main = chain(main);
    let end = chain_of_main.ends().into_values().max().unwrap_or(5);
    manifest.stand_at("main", &[at(5)]);
    manifest.stand_at("main", &[at(end)]);
    let sink = manifest.sinks.get_mut("main").expect("it stands there");
    sink.chain = chain_of_main;
    if let Some(side) = side {
        sink.sides.insert("side".into(), chain(side));
    }
    manifest
}

fn chain_text(chain: &TableChain) -> String {
    let last = chain
        .last
        .iter()
        .map(|last| format!("last {}", last.sequence));
    let pending = chain
        .chain
        .iter()
        .map(|pending| format!("pending {}", pending.sequence));
    last.chain(pending).collect::<Vec<_>>().join(" ")
}

fn text(plan: Result<Plan, Refusal>) -> String {
    let plan = match plan {
        Ok(plan) => plan,
        Err(refusal) => return refusal.to_string(),
    };
    let mut said: Vec<String> = plan
        .restate
        .iter()
        .map(|(table, which)| format!("{table} {which:?};"))
        .collect();
    said.push(format!("read from {}", plan.manifest.position()[0].next));
    for (name, chain) in plan.manifest.chains() {
        said.push(
            format!("{name}: {}", chain_text(chain))
                .trim_end()
                .to_owned(),
        );
    }
    said.join(" ")
}

/// What both words make of a main table.
fn check(checkpoint: &str, says: &str, adopted: &str, rewound: &str) {
    let before = manifest(checkpoint, None);
    let tables = Tables {
        main: table("main", says),
        sides: Vec::new(),
    };
    assert_eq!(
        text(Ok(adopt(&before, &tables))),
        adopted,
        "adopt: {checkpoint} / {says}"
    );
    assert_eq!(
        text(rewind(&before, &tables)),
        rewound,
        "rewind: {checkpoint} / {says}"
    );
}

#[test]
fn a_healthy_table_leaves_all_as_it_is() {
    let same = "read from 30 main: last 2 pending 3";
    check(
        "last 2@20 pending 3@20-30",
        "marker 2@20 visible 2@20",
        same,
        same,
    );
    check(
        "last 2@20 pending 3@20-30",
        "marker 3@30 visible 3@30",
        same,
        same,
    );
}

#[test]
fn a_rolled_back_table_stays_so_or_is_read_again() {
    check(
        "last 2@20 pending 3@20-30",
        "marker 2@20 visible 1@10 off",
        "main Newest; read from 30 main: last 2 pending 3",
        "main Visible; read from 10 main: last 1",
    );
    check(
        "last 1@10",
        "marker 1@10 off",
        "main Newest; read from 10 main: last 1",
        "main Visible; read from 5 main:",
    );
}

#[test]
fn an_adopted_rollback_can_still_be_rewound() {
    check(
        "last 2@20",
        "marker 2@20 visible 1@10",
        "read from 20 main: last 2",
        "main Visible; read from 10 main: last 1",
    );
}

#[test]
fn a_cut_history_can_only_be_adopted() {
    check(
        "last 2@20 pending 3@20-30",
        "marker 2@20 off cut",
        "main Newest; read from 30 main: last 2 pending 3",
        "main shows no commit of this pipeline, and its older snapshots are gone: reading again could double its rows",
    );
}

#[test]
fn an_older_checkpoint_goes_on_where_the_table_ends() {
    check(
        "last 1@10 pending 2@10-15",
        "marker 7@70 visible 7@70",
        "read from 70 main: last 7",
        "read from 70 main: last 7",
    );
    check(
        "",
        "marker 7@70 visible 7@70",
        "read from 70 main: last 7",
        "read from 70 main: last 7",
    );
}

#[test]
fn offsets_that_do_not_meet_go_on_at_the_markers() {
    check(
        "last 1@10 pending 2@15-20",
        "marker 1@10 visible 1@10",
        "read from 10 main: last 1",
        "read from 10 main: last 1",
    );
}

#[test]
fn a_table_made_anew_gets_what_is_pending_or_everything() {
    check(
        "last 1@10 pending 2@10-20",
        "",
        "read from 20 main: pending 2",
        "read from 5 main:",
    );
    check(
        "last 1@10 pending 2@10-20",
        "foreign files",
        "read from 10 main:",
        "read from 5 main:",
    );
}

#[test]
fn a_marker_that_someone_removed_is_put_back() {
    check(
        "last 1@10 pending 2@10-20",
        "visible 2@20 off",
        "main Newest; read from 20 main: last 1 pending 2",
        "main Visible; read from 20 main: last 2",
    );
}

/// What both words make of a table with a side table.
fn check_side(main: (&str, &str), side: (&str, &str), adopted: &str, rewound: &str) {
    let before = manifest(main.0, Some(side.0));
    let tables = Tables {
        main: table("main", main.1),
        sides: vec![table("side", side.1)],
    };
    assert_eq!(
        text(Ok(adopt(&before, &tables))),
        adopted,
        "adopt: {main:?} {side:?}"
    );
    assert_eq!(
        text(rewind(&before, &tables)),
        rewound,
        "rewind: {main:?} {side:?}"
    );
}

#[test]
fn side_tables_go_along_and_keep_what_they_have() {
    let rolled_back = ("last 2@20", "marker 2@20 visible 1@10 off");
    let healthy = ("last 2@20", "marker 2@20 visible 2@20");
    check_side(
        rolled_back,
        ("last 4@20", "marker 4@20 visible 4@20"),
        "main Newest; read from 20 main: last 2 side: last 4",
        "main Visible; read from 10 main: last 1 side: last 4",
    );
    check_side(
        rolled_back,
        ("last 4@20", "marker 4@20 visible 3@8 off"),
        "main Newest; side Newest; read from 20 main: last 2 side: last 4",
        "main Visible; side Visible; read from 10 main: last 1 side: last 3",
    );
    check_side(
        rolled_back,
        ("last 4@20", ""),
        "main Newest; read from 20 main: last 2 side:",
        "main Visible; read from 10 main: last 1 side:",
    );
    check_side(
        healthy,
        ("last 4@20", "marker 4@20 visible 3@8 off"),
        "side Newest; read from 20 main: last 2 side: last 4",
        "only side was rolled back: reading again would double the rows of main",
    );
    check_side(
        healthy,
        ("last 3@8", "marker 4@20 visible 4@20"),
        "read from 20 main: last 2 side: last 4",
        "read from 20 main: last 2 side: last 4",
    );
}

#[test]
fn partitions_that_the_marker_does_not_name_keep_their_place() {
    let other = |next| SplitOffset {
        partition: 1,
        ..at(next)
    };
    let mut before = manifest("last 2@20", None);
    before.stand_at("main", &[other(100)]);
    let tables = Tables {
        main: table("main", "marker 7@70 visible 7@70"),
        sides: Vec::new(),
    };
    for plan in [Ok(adopt(&before, &tables)), rewind(&before, &tables)] {
        assert_eq!(
            plan.expect("nothing is cut").manifest.position(),
            [at(70), other(100)]
        );
    }
}

#[test]
fn a_rewind_to_the_beginning_begins_where_an_earlier_owner_did() {
    let before = manifest("last 2@20", None);
    let mut tables = Tables {
        main: table("main", "marker 2@20 off"),
        sides: Vec::new(),
    };
    tables.main.standing.starts = vec![at(3)];
    let plan = rewind(&before, &tables).expect("nothing is cut");
    assert_eq!(plan.manifest.position(), [at(3)]);
}

/// A job with another sink, which stands where its chain ends.
fn beside(main: &str, other: &str) -> Manifest {
    let mut manifest = manifest(main, None);
    let other = chain(other);
    let end = other.ends().into_values().max().expect("it has one");
    manifest.stand_at("other", &[at(end)]);
    let sink = manifest.sinks.get_mut("other").expect("it stands there");
    sink.chain = other;
    manifest
}

#[test]
fn a_word_about_one_sink_leaves_the_others_as_they_are() {
    let before = beside("last 2@20", "last 9@20");
    let tables = |says| Tables {
        main: table("main", says),
        sides: Vec::new(),
    };
    let rolled_back = tables("marker 2@20 visible 1@10 off");
    let rewound = rewind(&before, &rolled_back).expect("nothing is cut");
    assert_eq!(
        text(Ok(rewound.clone())),
        "main Visible; read from 10 main: last 1 other: last 9"
    );
    assert_eq!(rewound.manifest.sinks["other"], before.sinks["other"]);
    rewound.manifest.check();
    // The other one is not asked to read what the adopted table has.
    let ahead = adopt(&before, &tables("marker 7@70 visible 7@70"));
    assert_eq!(
        text(Ok(ahead.clone())),
        "read from 20 main: last 7 other: last 9"
    );
    assert_eq!(ahead.manifest.sinks["other"], before.sinks["other"]);
    ahead.manifest.check();
}

#[test]
fn what_is_lost_is_accounted_for_by_each_sink_that_does_not_have_it() {
    let skipped = |end| {
        let before = beside("last 1@10", "last 9@30");
        let lost = SplitRange {
            topic: "t".into(),
            partition: 0,
            start: 10,
            end,
            rows: 0,
            filtered: 0,
            dead_letters: 0,
            control: 0,
            late: 0,
        };
        let after = skip(&before, &[lost], || Uuid::from_u128(77));
        after.check();
        let ranges = after.sinks.iter().map(|(name, sink)| {
            let pending = sink.chain.chain.iter().flat_map(|pending| &pending.ranges);
            let ranges: Vec<String> = pending.map(|r| format!("{}-{}", r.start, r.end)).collect();
            format!("{name} {}", ranges.join(" "))
        });
        let ranges: Vec<String> = ranges.collect();
        format!("{}; from {}", ranges.join(", "), after.position()[0].next)
    };
    assert_eq!(skipped(25), "main 10-25, other ; from 25");
    assert_eq!(skipped(40), "main 10-40, other 30-40; from 40");
}
