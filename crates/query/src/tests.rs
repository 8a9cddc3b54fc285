//! Queries over a table that a sink wrote.

mod deletes;
mod lake;
mod versions;
mod views;

use crate::{Budget, Catalogs, Engine, Limits, QueryError, TableIdent, rows_as_json};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use iceberg::spec::ViewMetadata;
use lake::Lake;
use lw_lakehouse::error::Kind;
use lw_lakehouse::{Catalog, CatalogError, TableCatalog};
use std::sync::Arc;

/// `lake.events` with (1, a), (2, NULL), (3, c), from offsets 10 to 12 of the topic `in`.
fn catalog(folder: &std::path::Path) -> Catalog {
    let mut lake = Lake::open(folder, 10);
    lake.append(&[(1, Some("a")), (2, None), (3, Some("c"))]);
    lake.catalog
}

/// A server's engine with little memory.
fn engine(memory_bytes: usize) -> Engine {
    Engine::start(Budget {
        memory_bytes,
        threads: 2,
        ..Budget::default()
    })
    .unwrap()
}

/// The rows of an answer and whether it was cut off.
fn ask(
    engine: &Engine,
    catalogs: Arc<dyn Catalogs>,
    sql: &str,
    limits: Limits,
) -> Result<(Vec<RecordBatch>, bool), QueryError> {
    let session = engine.session(catalogs);
    engine.block_on(async {
        let mut rows = session.query(sql, limits).await?;
        let mut batches = Vec::new();
        while let Some(batch) = rows.next().await {
            batches.push(batch?);
        }
        Ok((batches, rows.is_truncated()))
    })
}

/// The answer as JSON, or why there is none.
fn answer(catalog: &Catalog, sql: &str) -> String {
    match query(Arc::new(catalog.clone()), sql) {
        Ok(batches) => serde_json::to_string(&rows_as_json(&batches).unwrap()).unwrap(),
        Err(error) => format!("error: {error}"),
    }
}

fn query(catalogs: Arc<dyn Catalogs>, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
    let (rows, truncated) = ask(&engine(64 << 20), catalogs, sql, Limits::default())?;
    assert!(!truncated, "no limit was given");
    Ok(rows)
}

#[test]
fn queries_and_their_answers() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog(folder.path());
    let cases = [
        (
            "SELECT * FROM lake.events ORDER BY Id",
            r#"[[1,"a"],[2,null],[3,"c"]]"#,
        ),
        ("SELECT COUNT(*) FROM lake.events", "[[3]]"),
        ("SELECT COUNT(*) FROM lake.events WHERE v IS NULL", "[[1]]"),
        (
            "SELECT Id FROM lake.events WHERE Id > 2 OR v = 'a'",
            "[[1],[3]]",
        ),
        ("SELECT Id FROM lake.events WHERE 1 = Id", "[[1]]"),
        (
            "SELECT Id FROM lake.events WHERE Id IN (2, 3) AND v IS NOT NULL",
            "[[3]]",
        ),
        (
            "SELECT COUNT(*) FROM (SELECT Id FROM lake.events LIMIT 2)",
            "[[2]]",
        ),
        ("SHOW TABLES", r#"[["lake.events"]]"#),
        ("show tables in lake;", r#"[["lake.events"]]"#),
        ("SHOW TABLES IN nowhere", "[]"),
        ("SHOW DATABASES", r#"[["lake"]]"#),
        (
            "DESCRIBE lake.events",
            r#"[["Id","int","NOT NULL",null],["v","string",null,null]]"#,
        ),
        (
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema <> 'information_schema'",
            r#"[["lake","events"]]"#,
        ),
        (
            "SELECT MAX(v), COUNT(v) FROM lake.events WHERE Id > 1",
            r#"[["c",1]]"#,
        ),
        (
            "SELECT v FROM lake.events ORDER BY Id DESC LIMIT 1",
            r#"[["c"]]"#,
        ),
        (
            "SELECT a.Id FROM lake.events a JOIN lake.events b ON a.Id = b.Id + 2",
            "[[3]]",
        ),
        (
            "SELECT operation, pipeline, sequence FROM lake.events$snapshots",
            r#"[["append","test",1]]"#,
        ),
        (
            "SELECT topic, \"partition\", \"start\", \"end\", \"rows\" FROM lake.events$offsets",
            r#"[["in",0,10,13,3]]"#,
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(answer(&catalog, sql), expected, "{sql}");
    }
}

/// A table holds the years 1 to 9999, DataFusion's own timestamps only 1677 to 2262.
#[test]
fn timestamps_reach_as_far_as_a_tables() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog(folder.path());
    let rows = "(SELECT CAST(column1 AS TIMESTAMP) AS ts FROM (VALUES ('0001-01-01 00:00:00'), ('2001-01-01 10:11:12.5'), ('9999-12-31 23:59:59')))";
    let cases = [
        (
            "SELECT TIMESTAMP '2300-01-01 00:00:00'".to_owned(),
            r#"[["2300-01-01 00:00:00.000"]]"#,
        ),
        (
            format!("SELECT COUNT(*) FROM {rows} WHERE ts < TIMESTAMP '0001-01-02 00:00:00'"),
            "[[1]]",
        ),
        (
            format!("SELECT COUNT(*) FROM {rows} WHERE ts < '0001-01-02 00:00:00'"),
            "[[1]]",
        ),
        (
            format!("SELECT COUNT(*) FROM {rows} WHERE ts >= DATE '9999-12-31'"),
            "[[1]]",
        ),
        (
            format!(
                "SELECT COUNT(*) FROM {rows} WHERE ts BETWEEN DATE '0001-01-01' AND DATE '2026-12-31'"
            ),
            "[[2]]",
        ),
        (
            format!(
                "SELECT COUNT(*) FROM {rows} WHERE CAST(ts AS DATE) IN (DATE '9999-12-31', DATE '0001-01-01')"
            ),
            "[[2]]",
        ),
        (
            format!("SELECT MAX(ts), MIN(ts::TIMESTAMP) FROM {rows}"),
            r#"[["9999-12-31 23:59:59.000","0001-01-01 00:00:00.000"]]"#,
        ),
        (
            format!(
                "SELECT COUNT(*) FROM {rows} WHERE ts > TIMESTAMP '9998-01-01 00:00:00' - INTERVAL '1' DAY"
            ),
            "[[1]]",
        ),
        (
            format!("SELECT COUNT(*) FROM {rows} WHERE ts < now()"),
            "[[2]]",
        ),
        (
            "SELECT CAST('NaN' AS DOUBLE), CAST(NULL AS DOUBLE)".to_owned(),
            r#"[["NaN",null]]"#,
        ),
        ("SELECT NULL, 1".to_owned(), r#"[[null,1]]"#),
    ];
    for (sql, expected) in cases {
        assert_eq!(answer(&catalog, &sql), expected, "{sql}");
    }
}

#[test]
fn what_is_no_query_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog(folder.path());
    let cases = [
        (
            "SELECT * FROM lake.nothing",
            "table 'lakeward.lake.nothing' not found",
        ),
        (
            "SELECT nope FROM lake.events",
            "No field named nope. Valid fields are lake.events.\"Id\", lake.events.v.",
        ),
        ("DROP TABLE lake.events", "DDL not supported: DropTable"),
        (
            "INSERT INTO lake.events VALUES (4, 'd')",
            "DML not supported: Insert Into",
        ),
        (
            "SELECT counts(v) FROM lake.events",
            "Invalid function 'counts'. Did you mean 'count'?",
        ),
        ("SELECT", "Expected: an expression, found: EOF"),
    ];
    for (sql, expected) in cases {
        let error = query(Arc::new(catalog.clone()), sql)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert_eq!(error, expected, "{sql}");
    }
}

macro_rules! no_views {
    () => {
        fn view(
            &self,
            _: Option<&str>,
            _: &TableIdent,
        ) -> Result<Option<ViewMetadata>, CatalogError> {
            Ok(None)
        }

        fn list_views(&self, _: Option<&str>) -> Result<Vec<TableIdent>, CatalogError> {
            Ok(Vec::new())
        }
    };
}

/// Two servers' worth of catalogs: one by the name of `east`, and no other reachable.
struct TwoCatalogs(Catalog);

impl Catalogs for TwoCatalogs {
    fn names(&self) -> Vec<String> {
        vec!["east".to_owned(), "west".to_owned()]
    }

    fn holding(&self, name: Option<&str>, _: &str) -> Result<Arc<dyn TableCatalog>, CatalogError> {
        match name {
            Some("east") => Ok(Arc::new(self.0.clone())),
            _ => Err(CatalogError::new(Kind::Unavailable, "nobody answers")),
        }
    }

    fn list(&self, name: Option<&str>) -> Result<Vec<TableIdent>, CatalogError> {
        match name {
            None | Some("east") => self.0.all_tables(),
            _ => Err(CatalogError::new(Kind::Unavailable, "nobody answers")),
        }
    }

    no_views!();
}

#[test]
fn the_tables_of_every_catalog_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let one = Arc::new(OneCatalog(catalog(folder.path())));
    let listed = "SELECT table_catalog, table_schema, table_name FROM information_schema.tables \
                  WHERE table_schema = 'lake' ORDER BY table_catalog";
    let cases = [
        (
            listed,
            r#"[["east","lake","events"],["lakeward","lake","events"]]"#,
        ),
        (
            "SELECT column_name FROM information_schema.columns WHERE table_catalog = 'east' \
             AND table_schema = 'lake' ORDER BY ordinal_position",
            r#"[["Id"],["v"]]"#,
        ),
        ("SHOW TABLES", r#"[["lake.events"]]"#),
        ("SHOW TABLES IN east", r#"[["east.lake.events"]]"#),
        ("SHOW TABLES IN east.lake", r#"[["east.lake.events"]]"#),
        ("SHOW TABLES IN east.other", "[]"),
        (
            "DESCRIBE east.lake.events",
            r#"[["Id","int","NOT NULL",null],["v","string",null,null]]"#,
        ),
    ];
    for (sql, expected) in cases {
        let rows = query(one.clone(), sql).unwrap();
        let got = serde_json::to_string(&rows_as_json(&rows).unwrap()).unwrap();
        assert_eq!(got, expected, "{sql}");
    }
}

/// The rows of a list, and the notices beside them.
fn list(catalogs: Arc<dyn Catalogs>, sql: &str) -> (String, Vec<String>) {
    let engine = engine(64 << 20);
    let session = engine.session(catalogs);
    engine.block_on(async {
        let mut rows = session.query(sql, Limits::default()).await.unwrap();
        let mut batches = Vec::new();
        while let Some(batch) = rows.next().await {
            batches.push(batch.unwrap());
        }
        let text = serde_json::to_string(&rows_as_json(&batches).unwrap()).unwrap();
        (text, rows.notices())
    })
}

const LISTS: [&str; 3] = [
    "SELECT DISTINCT table_catalog, table_schema, table_name FROM information_schema.tables \
     WHERE table_schema = 'lake' ORDER BY table_catalog",
    "SELECT DISTINCT table_catalog, table_schema, table_name FROM information_schema.columns \
     WHERE table_schema = 'lake' ORDER BY table_catalog",
    "SELECT DISTINCT catalog_name, schema_name, 'events' FROM information_schema.schemata \
     WHERE schema_name = 'lake' ORDER BY catalog_name",
];

#[test]
fn a_catalog_that_is_down_is_left_out_of_the_lists_of_all_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let two = Arc::new(TwoCatalogs(catalog(folder.path())));
    let both = r#"[["east","lake","events"],["lakeward","lake","events"]]"#;
    for sql in LISTS {
        let (rows, notices) = list(two.clone(), sql);
        // Columns are asked for table by table, and what stands without a catalog's name cannot be asked for here.
        let (rows_expected, of_columns) = match sql.contains("columns") {
            true => (r#"[["east","lake","events"]]"#, true),
            false => (both, false),
        };
        assert_eq!(rows, rows_expected, "{sql}");
        let mut expected =
            vec!["left out of information_schema: the tables of catalog 'west': nobody answers"];
        if of_columns {
            expected.push("left out of information_schema: table 'lake.events': nobody answers");
        }
        let mut told: Vec<&str> = notices.iter().map(String::as_str).collect();
        told.sort_unstable_by_key(|notice| notice.len());
        expected.sort_unstable_by_key(|notice| notice.len());
        assert_eq!(told, expected, "{sql}");
    }
    // Who asks for that catalog alone hears of it.
    let error = query(two.clone(), "SHOW TABLES IN west").unwrap_err();
    assert_eq!(error.to_string(), "nobody answers");
    assert_eq!(list(two, "SELECT 1"), ("[[1]]".to_owned(), Vec::new()));
}

/// A catalog of `n` tables that is gone when their columns are asked for.
struct GoneAway(usize);

impl Catalogs for GoneAway {
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn holding(&self, _: Option<&str>, _: &str) -> Result<Arc<dyn TableCatalog>, CatalogError> {
        Err(CatalogError::new(Kind::Unavailable, "nobody answers"))
    }

    fn list(&self, _: Option<&str>) -> Result<Vec<TableIdent>, CatalogError> {
        let tables = (0..self.0).map(|n| TableIdent::from_strs(["lake", &format!("t{n}")]));
        Ok(tables.map(Result::unwrap).collect())
    }

    no_views!();
}

#[test]
fn notices_of_what_is_left_out_are_bounded() {
    let (rows, notices) = list(Arc::new(GoneAway(1_000)), LISTS[1]);
    assert_eq!(rows, "[]");
    assert_eq!(notices.len(), 11);
    assert_eq!(notices[10], "left out: 990 more");
}

/// A catalog that has a name of its own, and is the one that is meant without.
struct OneCatalog(Catalog);

impl Catalogs for OneCatalog {
    fn names(&self) -> Vec<String> {
        vec!["east".to_owned()]
    }

    fn holding(&self, _: Option<&str>, _: &str) -> Result<Arc<dyn TableCatalog>, CatalogError> {
        Ok(Arc::new(self.0.clone()))
    }

    fn list(&self, _: Option<&str>) -> Result<Vec<TableIdent>, CatalogError> {
        self.0.all_tables()
    }

    no_views!();
}

/// It never ends by itself, and takes no memory.
fn endless() -> String {
    let n = numbers(10_000_000);
    format!("SELECT COUNT(*) FROM {n} a CROSS JOIN {n} b WHERE a.x + b.x = 7")
}

#[test]
fn a_reader_that_goes_away_ends_its_query() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(Budget {
        memory_bytes: 256 << 20,
        threads: 1,
        queries: 1,
        ..Budget::default()
    })
    .unwrap();
    let session = engine.session(Arc::new(catalog(folder.path())));
    let patient = Limits {
        timeout: std::time::Duration::from_secs(600),
        ..Limits::default()
    };
    let begun = engine
        .block_on(session.query(&endless(), patient))
        .expect("it has columns before it has rows");
    drop(begun);
    // The only turn, and the only thread, were the endless query's: the engine itself could not tell the time.
    let rows = beside(async {
        let mut rows = session.query("SELECT 1", Limits::default()).await?;
        rows.next().await.expect("a row")
    });
    assert_eq!(rows.expect("it has its turn").num_rows(), 1);
}

#[test]
fn a_query_waits_for_its_turn_within_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(Budget {
        threads: 2,
        queries: 1,
        ..Budget::default()
    })
    .unwrap();
    let session = engine.session(Arc::new(catalog(folder.path())));
    let first_row = async |sql: &str, seconds| {
        let limits = Limits {
            timeout: std::time::Duration::from_secs(seconds),
            ..Limits::default()
        };
        let mut rows = session.query(sql, limits).await?;
        rows.next().await.expect("it has a row")?;
        Ok::<_, QueryError>(rows)
    };
    // Its reader takes one batch and no more: it holds its turn and computes nothing.
    let numbers = format!("SELECT x FROM {}", numbers(1_000_000_000_000));
    let held = beside(first_row(&numbers, 600)).unwrap();
    let waited = beside(first_row("SELECT 1", 1));
    assert!(matches!(waited, Err(QueryError::Time(_))), "it has a turn");
    drop(held);
    assert!(beside(first_row("SELECT 1", 60)).is_ok());
}

#[test]
fn a_querys_time_is_told_though_the_engine_computes() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(Budget {
        memory_bytes: 256 << 20,
        threads: 1,
        ..Budget::default()
    })
    .unwrap();
    let session = engine.session(Arc::new(catalog(folder.path())));
    let limits = Limits {
        timeout: std::time::Duration::from_millis(200),
        ..Limits::default()
    };
    let error = beside(async {
        let mut rows = session.query(&endless(), limits).await?;
        rows.next().await.expect("it has no end")
    });
    assert_eq!(
        error.unwrap_err().to_string(),
        "the query was ended: it took longer than 0.2 s"
    );
}

/// Waits on a thread that is not the engine's, and not for ever.
fn beside<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().unwrap();
    let limit = std::time::Duration::from_secs(50);
    let waited = runtime.block_on(async { tokio::time::timeout(limit, future).await });
    waited.expect("it ends by itself")
}

#[test]
fn a_sort_writes_to_disk_what_it_cannot_hold() {
    let folder = tempfile::tempdir().unwrap();
    let catalogs = Arc::new(catalog(folder.path()));
    let sort = format!(
        "SELECT x, x % 1009 AS y FROM {} ORDER BY y, x DESC",
        numbers(1_000_000)
    );
    for memory in [2 << 20, 16 << 20] {
        let engine = engine(memory);
        let (rows, _) = ask(&engine, catalogs.clone(), &sort, Limits::default()).unwrap();
        let mut before = (0, i64::MAX);
        let mut sorted = 0;
        for batch in &rows {
            let column = |at: usize| batch.column(at).as_primitive::<Int64Type>().values();
            for (x, y) in column(0).iter().zip(column(1)) {
                assert!(before.0 < *y || (before.0 == *y && before.1 > *x));
                before = (*y, *x);
                sorted += 1;
            }
        }
        assert_eq!(sorted, 1_000_000);
        let explained = format!("EXPLAIN ANALYZE {sort}");
        let (rows, _) = ask(&engine, catalogs.clone(), &explained, Limits::default()).unwrap();
        let text = serde_json::to_string(&rows_as_json(&rows).unwrap()).unwrap();
        let files = text.split("spill_count=").nth(1).unwrap_or_default();
        let files = files.split(',').next().unwrap_or_default();
        assert!(files.parse::<u64>().is_ok_and(|files| files > 1), "{text}");
    }
}

#[test]
fn a_catalog_can_be_named_and_one_that_is_down_is_not_a_missing_table() {
    let folder = tempfile::tempdir().unwrap();
    let catalogs = Arc::new(TwoCatalogs(catalog(folder.path())));
    let rows = query(catalogs.clone(), "SELECT COUNT(*) FROM east.lake.events").unwrap();
    assert_eq!(rows_as_json(&rows).unwrap()[0].to_string(), "[3]");
    for sql in [
        "SELECT * FROM west.lake.events",
        "SELECT * FROM lake.events",
    ] {
        let error = query(catalogs.clone(), sql).unwrap_err();
        assert_eq!(error.to_string(), "nobody answers", "{sql}");
    }
    let error = query(catalogs, "SELECT * FROM north.lake.events").unwrap_err();
    assert_eq!(error.to_string(), "table 'north.lake.events' not found");
}

/// Numbers 1 to n, without a table.
fn numbers(n: u64) -> String {
    format!("(SELECT value AS x FROM generate_series(1, {n}))")
}

#[test]
fn one_query_cannot_take_the_memory_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let catalogs = Arc::new(catalog(folder.path()));
    let engine = engine(2 << 20);
    let join = format!(
        "SELECT COUNT(*) FROM {n} a JOIN {n} b ON a.x = b.x",
        n = numbers(2_000_000)
    );
    let error = ask(&engine, catalogs.clone(), &join, Limits::default()).unwrap_err();
    assert!(matches!(error, QueryError::Memory(_)), "{error}");
    assert!(error.hint().contains("--query-memory"), "{}", error.hint());
    let (rows, _) = ask(
        &engine,
        catalogs,
        "SELECT COUNT(*) FROM lake.events",
        Limits::default(),
    )
    .expect("the engine goes on after a query that failed");
    assert_eq!(rows_as_json(&rows).unwrap()[0].to_string(), "[3]");
}

#[test]
fn an_endless_query_ends_with_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let catalogs = Arc::new(catalog(folder.path()));
    let cross = endless();
    let limits = Limits {
        timeout: std::time::Duration::from_millis(200),
        ..Limits::default()
    };
    let error = ask(&engine(256 << 20), catalogs, &cross, limits).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the query was ended: it took longer than 0.2 s"
    );
}

#[test]
fn an_answer_that_is_cut_off_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let catalogs = Arc::new(catalog(folder.path()));
    let engine = engine(64 << 20);
    for (most, rows, cut) in [(0, 0, true), (2, 2, true), (3, 3, false), (4, 3, false)] {
        let limits = Limits {
            max_rows: Some(most),
            ..Limits::default()
        };
        let (batches, truncated) = ask(
            &engine,
            catalogs.clone(),
            "SELECT Id FROM lake.events",
            limits,
        )
        .unwrap();
        let given: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!((given, truncated), (rows, cut), "at most {most}");
    }
}

#[test]
fn files_and_counts_are_planned_from_the_manifests() {
    let folder = tempfile::tempdir().unwrap();
    let catalogs = Arc::new(catalog(folder.path()));
    let plan = |sql: &str| {
        let rows = query(catalogs.clone(), &format!("EXPLAIN {sql}")).unwrap();
        serde_json::to_string(&rows_as_json(&rows).unwrap()).unwrap()
    };
    let counted = plan("SELECT COUNT(*) FROM lake.events");
    assert!(!counted.contains("IcebergScan"), "{counted}");
    let excluded = plan("SELECT v FROM lake.events WHERE Id > 3");
    assert!(excluded.contains("files=0"), "{excluded}");
    let kept = plan("SELECT v FROM lake.events WHERE Id >= 3");
    assert!(kept.contains("files=1, filter=Id >= 3"), "{kept}");
}
