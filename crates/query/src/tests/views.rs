//! Views that other engines keep in the catalog.

use super::answer;
use super::lake::Lake;
use lw_lakehouse::catalog::ViewCreation;
use serde_json::{Value, json};

/// A view `lake.<name>` of `columns` (name and type), with SQL by dialect.
fn create(lake: &Lake, name: &str, columns: &[(&str, &str)], said: &[(&str, &str)]) {
    let fields: Vec<Value> = columns
        .iter()
        .zip(1..)
        .map(|((name, kind), id)| json!({"id": id, "name": name, "type": kind, "required": false}))
        .collect();
    let said: Vec<Value> = said
        .iter()
        .map(|(dialect, sql)| json!({"type": "sql", "sql": sql, "dialect": dialect}))
        .collect();
    let version = json!({
        "version-id": 1,
        "timestamp-ms": 1_700_000_000_000_i64,
        "schema-id": 0,
        "summary": {},
        "representations": said,
        "default-catalog": "ice",
        "default-namespace": ["lake"],
    });
    let schema = json!({"type": "struct", "schema-id": 0, "fields": fields});
    lake.catalog
        .create_view(ViewCreation {
            ident: lw_lakehouse::parse_table(&format!("lake.{name}")).unwrap(),
            location: None,
            schema: serde_json::from_value(schema).unwrap(),
            version: serde_json::from_value(version).unwrap(),
            properties: Default::default(),
        })
        .unwrap();
}

#[test]
fn views_are_run_where_they_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = Lake::open(folder.path(), 0);
    let first = lake.append(&[(1, Some("a")), (2, None)]);
    lake.append(&[(3, Some("c"))]);
    // A table of the view's own namespace, one by the engine's name for the catalog, and names of its own for the columns.
    create(
        &lake,
        "named",
        &[("id", "long"), ("text", "string")],
        &[(
            "spark",
            "SELECT `Id`, v FROM ice.lake.events WHERE v IS NOT NULL",
        )],
    );
    create(
        &lake,
        "counted",
        &[("n", "long")],
        &[("trino", "SELECT count(*) FROM named")],
    );
    // The first that is understood, whatever stands beside it.
    create(
        &lake,
        "both",
        &[("n", "int")],
        &[
            ("spark", "SELECT 1 LATERAL VIEW nonsense"),
            ("trino", "SELECT 7"),
        ],
    );
    create(
        &lake,
        "foreign",
        &[("n", "int")],
        &[("spark", "SELECT posexplode(array(1)) FROM events")],
    );
    create(
        &lake,
        "itself",
        &[("n", "int")],
        &[("trino", "SELECT n FROM lake.other")],
    );
    create(
        &lake,
        "other",
        &[("n", "int")],
        &[("trino", "SELECT n FROM lake.itself")],
    );
    create(&lake, "wide", &[("n", "int")], &[("trino", "SELECT 1, 2")]);
    create(
        &lake,
        "writes",
        &[("n", "int")],
        &[("trino", "INSERT INTO events VALUES (4, 'd')")],
    );
    create(
        &lake,
        "was",
        &[("n", "long")],
        &[(
            "trino",
            &format!("SELECT count(*) FROM events FOR VERSION AS OF {first}"),
        )],
    );
    let cases = [
        (
            "SELECT * FROM lake.named ORDER BY id",
            r#"[[1,"a"],[3,"c"]]"#,
        ),
        (
            "SELECT n.text FROM lake.named n JOIN lake.events e ON n.id = e.Id WHERE e.Id > 1",
            r#"[["c"]]"#,
        ),
        ("SELECT n FROM lakeward.lake.counted", "[[2]]"),
        ("SELECT n FROM lake.both", "[[7]]"),
        ("SELECT n FROM lake.was", "[[2]]"),
        (
            "SHOW TABLES IN lake",
            r#"[["lake.both"],["lake.counted"],["lake.events"],["lake.foreign"],["lake.itself"],["lake.named"],["lake.other"],["lake.was"],["lake.wide"],["lake.writes"]]"#,
        ),
        (
            "DESCRIBE lake.named",
            r#"[["id","long",null,null],["text","string",null,null]]"#,
        ),
        (
            "SELECT table_type FROM information_schema.tables WHERE table_name IN ('events', 'named') ORDER BY table_name",
            r#"[["BASE TABLE"],["VIEW"]]"#,
        ),
        (
            "SELECT * FROM lake.itself",
            "error: view 'lake.itself' is in the SQL of trino, and cannot be run here: view 'lake.other' is in the SQL of trino, and cannot be run here: view 'lake.itself' is defined by itself: lake.itself -> lake.other -> lake.itself",
        ),
        (
            "SELECT * FROM lake.wide",
            "error: view 'lake.wide' is in the SQL of trino, and cannot be run here: it gives 2 columns, and was made with 1",
        ),
        (
            "SELECT * FROM lake.writes",
            "error: view 'lake.writes' is in the SQL of trino, and cannot be run here: DML not supported: Insert Into",
        ),
        (
            "SELECT * FROM lake.named VERSION AS OF 1",
            "error: 'lake.named' is a view, and has no versions of its own",
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(answer(&lake.catalog, sql), expected, "{sql}");
    }
    let error = answer(&lake.catalog, "SELECT * FROM lake.foreign");
    assert!(
        error.starts_with(
            "error: view 'lake.foreign' is in the SQL of spark, and cannot be run here: "
        ),
        "{error}"
    );
}
