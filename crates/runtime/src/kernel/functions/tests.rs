//! `testdata/functions/*.txt`: expressions with the type and the values that Apache Flink 2.3.0 gives them for the rows of
//! `rows.jsonl`, as `capture.py` asked it.
//!
//! Each is planned as a user's script is, and computed over all rows and over each row alone. A line `    ours: …` says what we say
//! instead of Flink, which `UPDATE_EXPECT=1` rewrites: no such line may appear without a reason in
//! `docs/reference/differences-from-flink.md`.

use super::super::{Evaluator, show};
use super::registered;
use arrow_array::{Array, RecordBatch};
use lw_formats::arrow_schema;
use lw_graph::{
    Definition, Family, FormatSpec, Function, JobGraph, MISSING, Operator, SourceSpec, Syntax,
    TypeKind,
};
use lw_sql::environment::{CatalogPlace, Cluster, Environment, Missing};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

struct World;

impl Environment for World {
    fn bootstrap(&self, _: &str) -> Result<Cluster, Missing> {
        Ok(Cluster::Embedded)
    }

    fn catalog(&self, _: &str) -> Result<CatalogPlace, Missing> {
        Ok(CatalogPlace::Embedded)
    }

    fn warehouse(&self, place: &str) -> Result<String, Missing> {
        Ok(place.to_string())
    }

    fn topic_exists(&self, _: &str) -> bool {
        true
    }

    fn topics(&self) -> Vec<String> {
        Vec::new()
    }

    fn subject_of(&self, _: &str) -> Option<String> {
        None
    }
}

const TABLE: &str = include_str!("../testdata/functions/table.sql");
const ROWS: &str = include_str!("../testdata/functions/rows.jsonl");

#[test]
fn values_are_flinks() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    assert_eq!(
        verdict("", "id"),
        r#"INT => ["1", "2", "3", "4", "5", "6"]"#
    );
    let mut wrong = Vec::new();
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut got = String::new();
        let first = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("-- SET "));
        let setting = first.map_or(String::new(), |setting| format!("SET {setting};"));
        let mut lines = text.lines().filter(|line| !line.starts_with("    ours: "));
        while let Some(line) = lines.next() {
            got += &format!("{line}\n");
            if line.is_empty() || line.starts_with("--") {
                continue;
            }
            let flink = lines.next().expect("what Flink says").trim_start();
            got += &format!("    {flink}\n");
            let ours = verdict(&setting, line);
            if !same(&ours, flink) {
                got += &format!("    ours: {ours}\n");
            }
        }
        if update {
            std::fs::write(&file, got).unwrap();
        } else if got != text {
            let mut changed = got
                .lines()
                .filter(|line| !text.lines().any(|old| old == *line));
            wrong.push(format!("{}: {:?}", file.display(), changed.next()));
        }
    }
    assert!(wrong.is_empty(), "differs: {wrong:#?}");
}

/// What the whole job fails with in Flink is a row without a value here.
fn same(ours: &str, flink: &str) -> bool {
    match flink.split_once(" => fails: ") {
        Some((ty, _)) => ours == "refused" || ours.starts_with(&format!("{ty} => fails: ")),
        None => ours == flink,
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernel/testdata/functions");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no cases");
    files
}

/// `setting` is the session's: a `SET …;` or nothing.
fn verdict(setting: &str, expression: &str) -> String {
    let script = format!(
        "{setting} {TABLE} WITH ('connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'b', 'format' = 'json');
        CREATE VIEW e AS SELECT {expression} AS x FROM t;
        CREATE TABLE results (x STRING) WITH ('connector' = 'blackhole');
        DESCRIBE e;
        INSERT INTO results SELECT CAST(x AS STRING) FROM e;"
    );
    let plan = match lw_sql::plan_script(&script, "functions.sql", &World) {
        Ok(plan) => plan,
        Err(errors) => {
            let errors = errors.render("functions.sql", &script);
            assert!(expression != "id", "{errors}");
            return "refused".to_string();
        }
    };
    let row = plan.explanations[0].text.lines().nth(1).unwrap();
    let cells: Vec<&str> = row
        .split("  ")
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .collect();
    let ty = match cells[..] {
        ["x", ty, "TRUE"] => ty.to_string(),
        ["x", ty, "FALSE"] => format!("{ty} NOT NULL"),
        _ => panic!("{row}"),
    };
    let graph = &plan.jobs[0].graph;
    let batch = scan(graph);
    let together = run(graph, batch.clone());
    let alone = (0..batch.num_rows()).map(|row| run(graph, batch.slice(row, 1)));
    let alone: Result<Vec<String>, String> = alone.map(|row| Ok(row?.remove(0))).collect();
    match (together, alone) {
        (Ok(together), Ok(alone)) => {
            assert_eq!(together, alone, "{expression}");
            format!("{ty} => [{}]", together.join(", "))
        }
        (Err(_), Err(first)) => format!("{ty} => fails: {first}"),
        (together, alone) => panic!("{expression}: together {together:?}, alone {alone:?}"),
    }
}

/// The rows as the source of this graph reads them.
fn scan(graph: &JobGraph) -> RecordBatch {
    let Operator::Source(SourceSpec::Kafka(source)) = &graph.nodes[0].operator else {
        panic!("a graph begins with its source");
    };
    let columns: Vec<usize> = (source.columns.iter())
        .map(|column| match column {
            lw_graph::SourceColumn::Value(index) => *index,
            other => panic!("{other:?}"),
        })
        .collect();
    let format = FormatSpec::Json {
        fail_on_missing_field: false,
        ignore_parse_errors: false,
        iso_timestamps: false,
    };
    let mut decoder = lw_formats::decoder(&format, &source.value_schema, &columns, None).unwrap();
    for record in ROWS.lines() {
        decoder.push(Some(record.as_bytes())).expect("well-formed");
    }
    decoder.finish()
}

/// The values of the graph's one column, as JSON.
fn run(graph: &JobGraph, mut batch: RecordBatch) -> Result<Vec<String>, String> {
    for node in &graph.nodes {
        if let Operator::Project(expressions) = &node.operator {
            let mut columns = Vec::new();
            for expression in expressions {
                let evaluator = Evaluator::new(expression).map_err(|e| e.message)?;
                columns.push(evaluator.evaluate(&batch).map_err(|error| error.message)?);
            }
            batch = RecordBatch::try_new(arrow_schema(&node.schema), columns)
                .map_err(|error| error.to_string())?;
        }
    }
    let column = batch.column(0);
    let kind = TypeKind::string();
    let write = show::writer(&kind, column);
    let value = |row| {
        if column.is_null(row) {
            return "null".to_string();
        }
        let mut out = String::new();
        write(row, &mut out);
        serde_json::to_string(&out).unwrap()
    };
    Ok((0..batch.num_rows()).map(value).collect())
}

/// The reference page is what the registry and the cases say.
#[test]
fn the_reference_page_is_true() {
    let mut page = String::from(include_str!("../testdata/functions/page.head"));
    let cases = cases();
    for (family, title) in FAMILIES {
        let mut lines: BTreeMap<&str, String> = BTreeMap::new();
        let written = |row: &&Definition| row.syntax != Syntax::Inner;
        for row in Function::all()
            .filter(written)
            .filter(|row| row.family == *family)
        {
            let written = match row.syntax {
                Syntax::Call | Syntax::Word | Syntax::Special | Syntax::Inner => row.name,
                Syntax::Prefix(sign) | Syntax::Infix(sign) | Syntax::Postfix(sign) => sign,
            };
            let names: Vec<String> = [&written]
                .into_iter()
                .chain(row.aliases)
                .map(|name| format!("`{}`", name.replace('|', "\\|")))
                .collect();
            let other: Vec<String> = cases
                .iter()
                .filter(|case| calls(row, &case.expression))
                .filter_map(|case| Some((case.expression.replace('|', "\\|"), case.ours.as_ref()?)))
                .map(|(expression, ours)| match ours.as_str() {
                    "refused" => format!("`{expression}` is refused"),
                    _ => format!("`{expression}` differs"),
                })
                .collect();
            let other = match other.is_empty() {
                _ if !row.deterministic => "by [the log's clock](#the-clock)".to_string(),
                true => "yes".to_string(),
                false => format!("yes, but {}", other.join("; ")),
            };
            let line = format!("| {} | {} | {other} |\n", names.join(", "), row.takes);
            lines.insert(row.name, line);
        }
        for missing in MISSING.iter().filter(|missing| missing.family == *family) {
            let why = match missing.why {
                "" => "missing".to_string(),
                why => format!("missing: {why}"),
            };
            lines.insert(missing.name, format!("| `{}` | | {why} |\n", missing.name));
        }
        page += &format!("\n## {title}\n\n| | takes | as in Flink |\n|---|---|---|\n");
        page.extend(lines.into_values());
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/sql-functions.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, page).unwrap();
    } else {
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(written == page, "UPDATE_EXPECT=1 writes {}", file.display());
    }
}

const FAMILIES: &[(Family, &str)] = &[
    (Family::Comparison, "Comparison"),
    (Family::Logical, "Logic"),
    (Family::Arithmetic, "Numbers"),
    (Family::Text, "Text"),
    (Family::Time, "Time"),
    (Family::Conditional, "Conditional"),
    (Family::Conversion, "Conversion"),
    (Family::Collection, "Collections"),
    (Family::Json, "JSON"),
    (Family::Hash, "Hash"),
];

/// An expression, what Flink says of it, and what is said here where that is something else.
struct Case {
    expression: String,
    flink: String,
    ours: Option<String>,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for file in files() {
        let text = std::fs::read_to_string(file).unwrap();
        let mut lines = text
            .lines()
            .filter(|line| !line.starts_with("--"))
            .peekable();
        while let Some(expression) = lines.next() {
            let flink = lines.next().expect("what Flink says").trim_start();
            let ours = lines.next_if(|line| line.starts_with("    ours: "));
            cases.push(Case {
                expression: expression.to_string(),
                flink: flink.to_string(),
                ours: ours.map(|line| line["    ours: ".len()..].to_string()),
            });
        }
    }
    cases
}

/// Whether the function is the outermost of the expression, or its sign stands in it.
fn calls(row: &Definition, expression: &str) -> bool {
    let expression = expression.to_ascii_uppercase();
    match row.syntax {
        Syntax::Inner | Syntax::Word => false,
        Syntax::Prefix(sign) => expression.starts_with(&format!("{sign} ")),
        // `ARRAY[1]` makes an array.
        Syntax::Infix("[]") => {
            let makes = ["ARRAY[", "MAP["]
                .iter()
                .any(|name| expression.starts_with(name));
            expression.ends_with(']') && !makes
        }
        Syntax::Infix(sign) => expression.contains(&format!(" {sign} ")),
        Syntax::Postfix(sign) => expression.ends_with(&format!(" {sign}")),
        Syntax::Special if matches!(row.name, "ARRAY" | "MAP") => {
            expression.starts_with(&format!("{}[", row.name))
        }
        Syntax::Call | Syntax::Special => {
            // `FLOOR(t TO DAY)` is another function than `FLOOR(x)`.
            let (called, to) = match row.name.split_once(' ') {
                Some((called, "TO")) => (called, true),
                _ => (row.name, false),
            };
            let begins = |name: &str| expression.starts_with(&format!("{name}("));
            to == expression.contains(" TO ")
                && (begins(called) || row.aliases.iter().any(|name| begins(name)))
        }
    }
}

/// A function is there when it has a row, a kernel, and a case in which Flink gave it a value. Those of the clock are columns of a
/// source; their types are cases of the planner.
#[test]
fn every_function_has_a_kernel_and_a_case() {
    let mut kernels: BTreeMap<&str, usize> = BTreeMap::new();
    for kernel in registered() {
        let rows = Function::all()
            .filter(|row| row.name == kernel.name)
            .count();
        assert_eq!(rows, 1, "{} has a kernel and no row", kernel.name);
        *kernels.entry(kernel.name).or_default() += 1;
    }
    let cases = cases();
    let written = |row: &&Definition| row.syntax != Syntax::Inner && row.deterministic;
    for row in Function::all().filter(written) {
        let valued = |case: &&Case| case.flink.contains(" => [") && calls(row, &case.expression);
        let written = cases.iter().any(|case| valued(&case));
        assert!(written, "{} has no case", row.name);
    }
}
