//! Two thousand expressions and the type that Apache Flink 2.3.0 gives them, beside ours.
//!
//! `tests/types/*.txt` holds `expression => TYPE`, or `refused`, or `fails` where Flink accepts the expression and cannot make
//! code of it; `column INTO TYPE => taken` is what an INSERT casts by itself. `expression BY WINDOW` is of windows, `BY TUMBLE` of the
//! older form of them. `capture.py` asks Flink again.
//! A line `    ours: …` says what we say instead, which `UPDATE_EXPECT=1` rewrites: no such line may appear without a reason in
//! `docs/reference/differences-from-flink.md`.

use crate::{World, scripts_with};
use lw_sql::plan_script;

#[test]
fn types_are_flinks() {
    let table = include_str!("../types/table.sql");
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    for file in scripts_with("tests/types", "txt") {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut got = String::new();
        for line in text.lines().filter(|line| !line.starts_with(' ')) {
            got += &format!("{line}\n");
            let Some((expression, flink)) = line.split_once(" => ") else {
                continue;
            };
            let ours = verdict(table, expression);
            if ours != flink && !(ours == "refused" && flink == "fails") {
                got += &format!("    ours: {ours}\n");
            }
        }
        if update {
            std::fs::write(&file, got).unwrap();
        } else {
            let changed = got
                .lines()
                .zip(text.lines())
                .find(|(got, text)| got != text);
            assert!(got == text, "{}: {changed:?}", file.display());
        }
    }
}

fn verdict(table: &str, expression: &str) -> String {
    if let Some((column, target)) = expression.split_once(" INTO ") {
        let script = format!(
            "{table}\nCREATE TABLE e (x {target}) WITH ('connector' = 'blackhole'); INSERT INTO e SELECT {column} FROM t"
        );
        let taken = plan_script(&script, "types.sql", &World).is_ok();
        return if taken { "taken" } else { "refused" }.to_string();
    }
    let (expression, from) = match expression.split_once(" BY ") {
        Some((expression, "WINDOW")) => (expression, OF_WINDOWS),
        Some((expression, "TUMBLE")) => (expression, OF_TUMBLE),
        _ => (expression, "t"),
    };
    let script = format!(
        "{table}\n{WINDOWED};\nCREATE VIEW e AS SELECT {expression} AS x FROM {from};\nDESCRIBE e;"
    );
    let Ok(plan) = plan_script(&script, "types.sql", &World) else {
        return "refused".to_string();
    };
    let row = plan.explanations[0].text.lines().nth(1).unwrap();
    let cells: Vec<&str> = row
        .split("  ")
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .collect();
    match cells[..] {
        ["x", ty, "TRUE"] => ty.to_string(),
        ["x", ty, "FALSE"] => format!("{ty} NOT NULL"),
        _ => panic!("{row}"),
    }
}

/// As in `capture.py`.
const WINDOWED: &str =
    "CREATE TABLE w (rt TIMESTAMP(3), lt TIMESTAMP_LTZ(3), WATERMARK FOR rt AS rt) LIKE t";
const OF_WINDOWS: &str = "TABLE(TUMBLE(TABLE w, DESCRIPTOR(rt), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end, window_time";
const OF_TUMBLE: &str = "w GROUP BY TUMBLE(rt, INTERVAL '1' MINUTE)";
