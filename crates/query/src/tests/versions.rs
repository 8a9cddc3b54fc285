//! A table as it was, and what its metadata says of itself.

use super::lake::Lake;
use super::{answer, query};
use crate::rows_as_json;
use iceberg::TableUpdate;
use iceberg::spec::{
    NestedField, PrimitiveType, Schema, SnapshotReference, SnapshotRetention, Type,
};
use lw_stdx::calendar::utc;
use std::sync::Arc;

/// Three commits of a row each, the first with a tag, the second a branch.
struct Versions {
    lake: Lake,
    ids: Vec<i64>,
    /// When they were made, as a query says it.
    times: Vec<String>,
}

impl Versions {
    fn new(folder: &std::path::Path) -> Versions {
        let mut lake = Lake::open(folder, 0);
        let ids: Vec<i64> = [(1, Some("a")), (2, None), (3, Some("c"))]
            .into_iter()
            .map(|row| lake.append(&[row]))
            .collect();
        let tag = SnapshotRetention::Tag {
            max_ref_age_ms: None,
        };
        let branch = SnapshotRetention::branch(None, None, None);
        lake.change(vec![
            reference("first", ids[0], tag),
            reference("audit", ids[1], branch),
        ]);
        let table = lake.table();
        let time = |id: &i64| {
            let snapshot = table.metadata.snapshot_by_id(*id).unwrap();
            utc(snapshot.timestamp_ms())
        };
        Versions {
            times: ids.iter().map(time).collect(),
            lake,
            ids,
        }
    }

    /// The text with `{s1}` and `{t1}` filled in, and the like.
    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for n in 0..3 {
            text = text.replace(&format!("{{s{}}}", n + 1), &self.ids[n].to_string());
            text = text.replace(&format!("{{t{}}}", n + 1), &self.times[n]);
        }
        text
    }

    fn check(&self, cases: &[(&str, &str)]) {
        for (sql, expected) in cases {
            let sql = self.fill(sql);
            assert_eq!(
                answer(&self.lake.catalog, &sql),
                self.fill(expected),
                "{sql}"
            );
        }
    }
}

fn reference(name: &str, snapshot_id: i64, retention: SnapshotRetention) -> TableUpdate {
    TableUpdate::SetSnapshotRef {
        ref_name: name.to_owned(),
        reference: SnapshotReference::new(snapshot_id, retention),
    }
}

#[test]
fn a_table_is_read_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let versions = Versions::new(folder.path());
    let by_version = [
        ("FOR SYSTEM_VERSION AS OF {s1}", "[[1]]"),
        ("FOR VERSION AS OF {s2}", "[[1],[2]]"),
        ("for version as of {s2} AS e", "[[1],[2]]"),
        ("VERSION AS OF {s2} e", "[[1],[2]]"),
        ("VERSION AS OF 'first'", "[[1]]"),
        ("FOR SYSTEM_VERSION AS OF 'audit'", "[[1],[2]]"),
        ("FOR VERSION AS OF 'main'", "[[1],[2],[3]]"),
        ("VERSION AS OF '{s1}'", "[[1]]"),
        ("FOR SYSTEM_TIME AS OF TIMESTAMP '{t2}'", "[[1],[2]]"),
        ("FOR SYSTEM_TIME AS OF '{t1}'", "[[1]]"),
        (
            "FOR TIMESTAMP AS OF TIMESTAMP '{t2}' - INTERVAL '1' SECOND",
            "[[1]]",
        ),
        (
            "TIMESTAMP AS OF CAST('{t1}' AS TIMESTAMP) + INTERVAL '1' MILLISECOND",
            "[[1]]",
        ),
        (
            "TIMESTAMP AS OF CURRENT_TIMESTAMP + INTERVAL '1' DAY AS e",
            "[[1],[2],[3]]",
        ),
        ("TIMESTAMP AS OF 4102444800", "[[1],[2],[3]]"),
        ("TIMESTAMP AS OF DATE '2100-01-01'", "[[1],[2],[3]]"),
    ];
    for (clause, expected) in by_version {
        versions.check(&[(
            &format!("SELECT Id FROM lake.events {clause} ORDER BY Id"),
            expected,
        )]);
    }
    versions.check(&[
        (
            "SELECT events.Id FROM lake.events FOR VERSION AS OF {s1} WHERE events.v = 'a'",
            "[[1]]",
        ),
        (
            "SELECT now.Id FROM lake.events AS now LEFT JOIN lake.events FOR VERSION AS OF 'audit' AS was ON now.Id = was.Id WHERE was.Id IS NULL",
            "[[3]]",
        ),
        (
            "SELECT COUNT(*) FROM lake.events VERSION AS OF {s1}, lakeward.lake.events VERSION AS OF {s2} e",
            "[[2]]",
        ),
        (
            "WITH was AS (SELECT * FROM lake.events FOR VERSION AS OF 'first') SELECT COUNT(*) FROM was",
            "[[1]]",
        ),
        (
            "SELECT COUNT(*) FROM (SELECT Id FROM lake.events EXCEPT SELECT Id FROM \"lake\".\"events\" FOR VERSION AS OF {s2})",
            "[[1]]",
        ),
        // Columns that are called so, and a text.
        ("SELECT version AS of FROM (SELECT 7 AS version)", "[[7]]"),
        ("SELECT timestamp AS of FROM (SELECT 8 AS timestamp)", "[[8]]"),
        ("SELECT 'FROM t FOR VERSION AS OF 1'", r#"[["FROM t FOR VERSION AS OF 1"]]"#),
    ]);
}

#[test]
fn a_version_that_is_none_is_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let versions = Versions::new(folder.path());
    versions.check(&[
        (
            "SELECT * FROM lake.events VERSION AS OF 7",
            "error: table 'lake.events' has no snapshot 7, or no longer: `SELECT snapshot_id, committed_at FROM lake.events$snapshots` shows those that it has",
        ),
        (
            "SELECT * FROM lake.events VERSION AS OF 'adit'",
            "error: table 'lake.events' has no branch or tag 'adit'; it has: audit, first, main",
        ),
        (
            "SELECT * FROM lake.events FOR SYSTEM_TIME AS OF TIMESTAMP '2020-01-01 00:00:00'",
            "error: table 'lake.events' has no snapshot as old as 2020-01-01T00:00:00.000Z: its oldest is of {t1}",
        ),
        (
            "SELECT * FROM lake.events FOR SYSTEM_TIME AS OF 'yesterday'",
            "error: 'yesterday' is no time; write TIMESTAMP '2026-01-31 12:00:00' (in UTC)",
        ),
        (
            "SELECT * FROM lake.events FOR VERSION AS OF 1.5",
            "error: 1.5 is no version: it is the number of a snapshot, or the name of a branch or tag in single quotes",
        ),
        (
            "SELECT * FROM lake.events$refs VERSION AS OF 'audit'",
            "error: 'lake.events$refs' is about all versions of the table: leave out 'FOR VERSION AS OF 'audit''",
        ),
        (
            "SELECT * FROM lake.nothing VERSION AS OF 7",
            "error: table 'lakeward.lake.nothing FOR VERSION AS OF 7' not found",
        ),
    ]);
}

/// A column's old name may be another column's by now: files are chosen by ids.
#[test]
fn filters_follow_columns_that_were_renamed() {
    let folder = tempfile::tempdir().unwrap();
    let versions = Versions::new(folder.path());
    let string = |id, name| NestedField::optional(id, name, Type::Primitive(PrimitiveType::String));
    let fields = vec![
        NestedField::required(1, "Id", Type::Primitive(PrimitiveType::Long)),
        string(2, "w"),
        string(3, "v"),
    ];
    let schema = Schema::builder()
        .with_schema_id(1)
        .with_fields(fields.into_iter().map(Arc::new))
        .build()
        .unwrap();
    versions.lake.change(vec![
        TableUpdate::AddSchema { schema },
        TableUpdate::SetCurrentSchema { schema_id: -1 },
    ]);
    versions.check(&[
        ("SELECT Id FROM lake.events WHERE w = 'a'", "[[1]]"),
        ("SELECT COUNT(*) FROM lake.events WHERE v IS NULL", "[[3]]"),
        ("SELECT COUNT(*) FROM lake.events WHERE v = 'a'", "[[0]]"),
        ("SELECT w FROM lake.events WHERE Id = 3", r#"[["c"]]"#),
        (
            "SELECT COUNT(*) FROM lake.events WHERE Id < 3000000000",
            "[[3]]",
        ),
        // A snapshot has the columns of its time, a branch those of the table.
        (
            "SELECT v FROM lake.events VERSION AS OF {s1} WHERE v IS NOT NULL",
            r#"[["a"]]"#,
        ),
        (
            "SELECT w, v FROM lake.events VERSION AS OF 'audit' WHERE Id = 1",
            r#"[["a",null]]"#,
        ),
    ]);
    let plan = answer(
        &versions.lake.catalog,
        "EXPLAIN SELECT w FROM lake.events WHERE w = 'a' AND Id = 1",
    );
    assert!(plan.contains("files=1"), "files are still left out: {plan}");
}

#[test]
fn metadata_is_read_by_the_names_that_other_engines_give_it() {
    let folder = tempfile::tempdir().unwrap();
    let versions = Versions::new(folder.path());
    versions.check(&[
        (
            "SELECT snapshot_id, parent_id, operation, pipeline, sequence FROM lake.events$snapshots ORDER BY sequence",
            r#"[[{s1},null,"append","test",1],[{s2},{s1},"append","test",2],[{s3},{s2},"append","test",3]]"#,
        ),
        (
            "SELECT summary['total-records'], manifest_list LIKE '%/snap-{s3}-%' FROM lake.events$snapshots WHERE snapshot_id = {s3}",
            r#"[["3",true]]"#,
        ),
        (
            "SELECT snapshot_id, parent_id, is_current_ancestor FROM lake.events$history",
            "[[{s1},null,true],[{s2},{s1},true],[{s3},{s2},true]]",
        ),
        (
            "SELECT name, type, snapshot_id FROM lake.events$refs ORDER BY name",
            r#"[["audit","BRANCH",{s2}],["first","TAG",{s1}],["main","BRANCH",{s3}]]"#,
        ),
        (
            "SELECT snapshot_id, topic, \"partition\", \"start\", \"end\", \"rows\" FROM lake.events$offsets FOR VERSION AS OF 'audit' ORDER BY \"start\"",
            r#"[[{s1},"in",0,0,1,1],[{s2},"in",0,1,2,1]]"#,
        ),
        (
            "SELECT content, file_format, record_count, lower_bounds, null_value_counts, added_snapshot_id FROM lake.events$files ORDER BY added_snapshot_id = {s2}, added_snapshot_id = {s3}",
            r#"[[0,"PARQUET",1,{"1":"1","2":"a"},{"1":0,"2":0},{s1}],[0,"PARQUET",1,{"1":"3","2":"c"},{"1":0,"2":0},{s3}],[0,"PARQUET",1,{"1":"2"},{"1":0,"2":1},{s2}]]"#,
        ),
        ("SELECT COUNT(*), SUM(record_count) FROM lake.events$files VERSION AS OF 'first'", "[[1,1]]"),
        (
            "SELECT content, partition_spec_id, added_data_files_count, added_delete_files_count, added_rows_count FROM lake.events$manifests FOR VERSION AS OF 'audit'",
            "[[0,0,1,0,1],[0,0,1,0,1]]",
        ),
        (
            "SELECT record_count, file_count, position_delete_file_count, last_updated_snapshot_id FROM lake.events$partitions",
            "[[3,3,0,{s3}]]",
        ),
    ]);
}

#[test]
fn where_a_record_went_is_one_question() {
    let folder = tempfile::tempdir().unwrap();
    let versions = Versions::new(folder.path());
    let found = |offset: i64| {
        format!(
            "SELECT \"table\", snapshot_id, \"start\", \"end\", is_current_ancestor FROM snapshots_for('in', 0, {offset})"
        )
    };
    versions.check(&[
        (&found(1), r#"[["lake.events",{s2},1,2,true]]"#),
        (&found(3), "[]"),
        ("SELECT COUNT(*) FROM snapshots_for('in', 0, 1, 'lake.events')", "[[1]]"),
        ("SELECT COUNT(*) FROM snapshots_for('in', 1, 1)", "[[0]]"),
        ("SELECT COUNT(*) FROM snapshots_for('out', 0, 1)", "[[0]]"),
        (
            "SELECT * FROM snapshots_for('in', 0, 1, 'lake.nothing')",
            "error: Table does not exist: lake.nothing",
        ),
        (
            "SELECT * FROM snapshots_for('in')",
            "error: snapshots_for takes a topic, a partition and an offset, and a table if it is to look in one only: snapshots_for('orders', 0, 4711, 'lake.orders')",
        ),
    ]);
    // The first snapshot expires: the table still has what it committed, and says so.
    let remove = |name: &str| TableUpdate::RemoveSnapshotRef {
        ref_name: name.to_owned(),
    };
    versions.lake.change(vec![
        remove("first"),
        TableUpdate::RemoveSnapshots {
            snapshot_ids: vec![versions.ids[0]],
        },
    ]);
    versions.check(&[
        (&found(0), r#"[["lake.events",null,null,null,true]]"#),
        (&found(1), r#"[["lake.events",{s2},1,2,true]]"#),
    ]);
    // A rollback takes the third away; the branch that it was on is still there.
    let main = SnapshotRetention::branch(None, None, None);
    let kept = SnapshotRetention::branch(None, None, None);
    versions.lake.change(vec![
        reference("kept", versions.ids[2], kept),
        reference("main", versions.ids[1], main),
    ]);
    versions.check(&[
        (&found(2), r#"[["lake.events",{s3},2,3,false]]"#),
        (
            "SELECT snapshot_id, is_current_ancestor FROM lake.events$history WHERE snapshot_id = {s3}",
            "[[{s3},false]]",
        ),
    ]);
    let listed = query(
        Arc::new(versions.lake.catalog.clone()),
        "SELECT COUNT(*) FROM lake.events$offsets",
    )
    .unwrap();
    assert_eq!(
        rows_as_json(&listed).unwrap()[0].to_string(),
        "[1]",
        "what main has"
    );
}
