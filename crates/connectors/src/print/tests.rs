//! What `print` writes, and what its committer confirms.

use super::*;
use arrow_array::{Int32Array, RecordBatch, StringArray};
use lw_runtime::manifest::Pending;
use lw_runtime::{Origin, Split};
use parking_lot::Mutex;
use uuid::Uuid;

fn rows() -> Chunk {
    let columns = RecordBatch::try_from_iter([
        ("a", Arc::new(StringArray::from(vec![Some("x"), None])) as _),
        ("b", Arc::new(Int32Array::from(vec![1, -2])) as _),
    ])
    .unwrap();
    let split = Split {
        topic: Arc::from("t"),
        partition: 0,
    };
    let origins = (0..2).map(|offset| Origin { split: 0, offset }).collect();
    Chunk::new(columns, origins, Arc::new([split]))
}

#[test]
fn rows_are_lines_as_flink_prints_them() {
    for (identifier, expected) in [
        ("", ["+I[x, 1]", "+I[null, -2]"]),
        ("here", ["here> +I[x, 1]", "here> +I[null, -2]"]),
    ] {
        let printed = Arc::new(Mutex::new(Vec::new()));
        let lines = printed.clone();
        let lines = Arc::new(move |line: &str| lines.lock().push(line.to_string()));
        let mut print = Print::new("print", identifier, lines);
        print.write(rows()).unwrap();
        assert_eq!(*printed.lock(), expected);
        assert!(print.seal().unwrap().is_empty());
    }
}

#[test]
fn nothing_to_commit_is_confirmed_whole() {
    let pending = Pending {
        sequence: 1,
        uuid: Uuid::from_u128(1),
        previous: None,
        files: Vec::new(),
        ranges: Vec::new(),
        ..Pending::default()
    };
    let chain = TableChain {
        last: None,
        chain: vec![pending.clone(), pending],
    };
    let outcome = NothingToCommit.commit("print", &chain).unwrap();
    assert!(matches!(
        outcome,
        CommitOutcome::Confirmed {
            confirmed: 2,
            snapshot_id: None
        }
    ));
}
