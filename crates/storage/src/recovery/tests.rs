//! The plan as a table: files and checkpoint on the left, steps or refusal on the right.

use super::*;
use crate::frame::FILE_HEADER;
use crate::numbers::Lsn;

/// `3h` sound header, `3` none; `+80` the sidecar's end; the header says that the file before ended at 100.
fn fact(text: &str) -> FileFact {
    let (name, sidecar) = match text.split_once('+') {
        Some((name, end)) => (name, Some(end.parse().unwrap())),
        None => (text, None),
    };
    let id = FileNumber(name.trim_end_matches('h').parse().unwrap());
    let header = FileHeader {
        id,
        first_lsn: Lsn(1),
        link: 0,
        previous_end: if id == FileNumber(1) { 0 } else { 100 },
    };
    let begin = Place {
        file: id,
        life: 7,
        position: FILE_HEADER,
        link: 7,
        lsn: Lsn(0),
    };
    FileFact {
        id,
        header: name.ends_with('h').then_some((header, begin)),
        sidecar_end: sidecar,
    }
}

fn planned(checkpoint: Option<(u64, u64)>, files: &str) -> String {
    let checkpoint = checkpoint.map(|(file, position)| Place {
        file: FileNumber(file),
        life: 7,
        position,
        link: 9,
        lsn: Lsn(40),
    });
    let facts: Vec<FileFact> = files.split_whitespace().map(fact).collect();
    let steps = match plan(checkpoint, &facts) {
        Ok(steps) => steps,
        Err((id, reason)) => return format!("refused: {id}: {reason}"),
    };
    let line = |step: &Step| match *step {
        Step::Attach { id } => format!("attach {id}"),
        Step::Rebuild { from, end } => format!("rebuild {} to {end:?}", from.file),
        Step::Skip { id } => format!("skip {id}"),
        Step::LoadActive { id } => format!("load {id}"),
        Step::ScanActive { from, end } => format!("scan {} to {end}", from.file),
        Step::Replay { from } => format!("replay {} from {}", from.file, from.position),
        Step::Seal { id, end, .. } => format!("seal {id} at {end}"),
    };
    steps.iter().map(line).collect::<Vec<_>>().join(", ")
}

#[test]
fn plans_follow_from_the_files_alone() {
    for (checkpoint, files, expected) in [
        (None, "", ""),
        (None, "1h", "replay 1 from 64"),
        (
            None,
            "1h 2h",
            "replay 1 from 64, seal 1 at 100, replay 2 from 64",
        ),
        (None, "2h", "refused: 1: the file is missing"),
        (None, "1", "refused: 1: the header is damaged"),
        (Some((1, 100)), "1h+100", "load 1, replay 1 from 100"),
        (Some((1, 80)), "1h+64", "scan 1 to 80, replay 1 from 80"),
        (
            Some((1, 100)),
            "1h+100 2h",
            "load 1, replay 1 from 100, seal 1 at 100, replay 2 from 64",
        ),
        (
            Some((3, 100)),
            "1h+9 2h+9 3h+100 4h",
            "attach 1, attach 2, load 3, replay 3 from 100, seal 3 at 100, replay 4 from 64",
        ),
        (
            Some((3, 80)),
            "1h 2h 3h",
            "rebuild 1 to Some(100), rebuild 2 to Some(100), scan 3 to 80, replay 3 from 80",
        ),
        (
            Some((3, 80)),
            "1 3h",
            "skip 1, scan 3 to 80, replay 3 from 80",
        ),
        (
            Some((3, 80)),
            "1h 2h",
            "rebuild 1 to Some(100), rebuild 2 to None, refused",
        ),
        (Some((3, 80)), "", "refused: 3: the file is missing"),
        (Some((3, 80)), "3h 5h", "refused: 4: the file is missing"),
    ] {
        let got = planned(checkpoint, files);
        if expected.ends_with("refused") {
            assert_eq!(
                got, "refused: 3: the file is missing",
                "{checkpoint:?} {files}"
            );
        } else {
            assert_eq!(got, expected, "{checkpoint:?} {files}");
        }
    }
}
