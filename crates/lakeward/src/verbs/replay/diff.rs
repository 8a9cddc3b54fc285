//! `lakeward replay diff`: the branch of a replay beside `main` as it was when the branch began.
//!
//! Rows are compared as a multiset, all of their columns, by queries over both versions:
//!
//! ```text
//! d        each row with how often main and the branch have it, where that differs
//! keys     rows of d by the columns that were named: there alone, here alone, or in both and changed
//! columns  of those that changed, in how many rows each column is another
//! ```
//!
//! `main` moves on while the replay runs; what it has got since is in no branch, and so it is compared as it was.

use super::super::rows::{Rows, named, quoted};
use super::super::{say, table_text, text};
use crate::args::{Diff, Output};
use crate::client::Client;
use crate::failure::failure;
use serde_json::{Map, Value, json};
use std::process::ExitCode;

/// What d calls its counts: no table of people has columns of these names.
const MAIN: &str = "lakeward in main";
const BRANCH: &str = "lakeward in branch";

pub(super) fn diff(client: &Client, asked: &Diff, output: Output) -> anyhow::Result<ExitCode> {
    let both = Both::of(client, asked)?;
    let counts = both.counts(client)?;
    let mut answer = json!({
        "table": asked.of.table,
        "branch": asked.of.branch,
        "main_snapshot": both.main_snapshot,
        "rows": counts,
        "columns": both.columns,
    });
    if !asked.key.is_empty() {
        answer["keys"] = both.keys(client)?;
        answer["changed_columns"] = both.changed(client)?;
    }
    if let Some(by) = &asked.by {
        answer["by"] = both.by(client, by)?;
    }
    answer["sample"] = both.sample(client, asked.rows)?;
    match output {
        Output::Json => say(format!("{answer:#}")),
        Output::Table | Output::Csv => tell(&answer),
    }
    Ok(ExitCode::SUCCESS)
}

struct Both {
    main_snapshot: i64,
    /// As FROM has them.
    main: String,
    branch: String,
    columns: Vec<String>,
    key: Vec<String>,
}

impl Both {
    fn of(client: &Client, asked: &Diff) -> anyhow::Result<Both> {
        let (table, name) = (&asked.of.table, &asked.of.branch);
        let history = named(table, "$snapshots")?;
        let of_branch = quoted(name, '\'');
        let sql = format!(
            "SELECT parent_id FROM {history} WHERE summary['lakeward.branch'] = {of_branch} AND summary['lakeward.replay'] IS NOT NULL \
             ORDER BY committed_at DESC LIMIT 1"
        );
        let found = Rows::ask(client, &sql)?;
        let Some(main_snapshot) = found.rows.first().and_then(|row| row[0].as_i64()) else {
            return Err(failure(
                format!("{table} has no branch '{name}' of a replay"),
                format!(
                    "`lakeward replay {table} --from … --branch {name}` makes one; `lakeward table refs {table}` shows those that are there."
                ),
            ));
        };
        let table = named(table, "")?;
        let main = format!("{table} FOR VERSION AS OF {main_snapshot}");
        let branch = format!("{table} FOR VERSION AS OF {of_branch}");
        let columns = Rows::ask(client, &format!("SELECT * FROM {branch} LIMIT 0"))?.columns;
        for key in asked.key.iter().chain(&asked.by) {
            if !columns.contains(key) {
                return Err(failure(
                    format!("{} has no column '{key}'", asked.of.table),
                    format!("Its columns: {}.", columns.join(", ")),
                ));
            }
        }
        Ok(Both {
            main_snapshot,
            main,
            branch,
            columns,
            key: asked.key.clone(),
        })
    }

    /// `WITH d AS (…)`
    fn d(&self) -> String {
        let columns = list(&self.columns, "");
        let side = |from: &str, main: u8, branch: u8| {
            format!("SELECT {columns}, {main} AS m, {branch} AS b FROM {from}")
        };
        let groups: Vec<String> = (1..=self.columns.len())
            .map(|place| place.to_string())
            .collect();
        format!(
            "WITH d AS (SELECT {columns}, SUM(m) AS {m}, SUM(b) AS {b} FROM ({} UNION ALL {}) AS both_sides GROUP BY {} HAVING SUM(m) <> SUM(b))",
            side(&self.main, 1, 0),
            side(&self.branch, 0, 1),
            groups.join(", "),
            m = quoted(MAIN, '"'),
            b = quoted(BRANCH, '"'),
        )
    }

    fn counts(&self, client: &Client) -> anyhow::Result<Value> {
        let count = |from: &str| -> anyhow::Result<Value> {
            let counted = Rows::ask(client, &format!("SELECT COUNT(*) FROM {from}"))?;
            Ok(counted.rows[0][0].clone())
        };
        let sql = format!(
            "{} SELECT COALESCE(SUM(CASE WHEN {m} > {b} THEN {m} - {b} END), 0), COALESCE(SUM(CASE WHEN {b} > {m} THEN {b} - {m} END), 0) FROM d",
            self.d(),
            m = quoted(MAIN, '"'),
            b = quoted(BRANCH, '"'),
        );
        let only = Rows::ask(client, &sql)?;
        Ok(json!({
            "main": count(&self.main)?,
            "branch": count(&self.branch)?,
            "only_in_main": only.rows[0][0],
            "only_in_branch": only.rows[0][1],
        }))
    }

    fn keys(&self, client: &Client) -> anyhow::Result<Value> {
        let keys = list(&self.key, "");
        let sql = format!(
            "{} SELECT COALESCE(SUM(CASE WHEN n = 0 THEN 1 END), 0), COALESCE(SUM(CASE WHEN o = 0 THEN 1 END), 0), \
             COALESCE(SUM(CASE WHEN n > 0 AND o > 0 THEN 1 END), 0) FROM \
             (SELECT {keys}, SUM(CASE WHEN {b} > {m} THEN 1 ELSE 0 END) AS n, SUM(CASE WHEN {m} > {b} THEN 1 ELSE 0 END) AS o FROM d GROUP BY {keys}) AS by_key",
            self.d(),
            m = quoted(MAIN, '"'),
            b = quoted(BRANCH, '"'),
        );
        let counted = Rows::ask(client, &sql)?;
        let row = &counted.rows[0];
        Ok(json!({ "only_in_main": row[0], "only_in_branch": row[1], "changed": row[2] }))
    }

    /// Of rows that are known by their key, in how many each column is another.
    fn changed(&self, client: &Client) -> anyhow::Result<Value> {
        let others: Vec<&String> = self
            .columns
            .iter()
            .filter(|one| !self.key.contains(one))
            .collect();
        if others.is_empty() {
            return Ok(json!({}));
        }
        let differs = |column: &&String| {
            let column = quoted(column, '"');
            format!("COALESCE(SUM(CASE WHEN o.{column} IS DISTINCT FROM n.{column} THEN 1 END), 0)")
        };
        let same = |column: &String| {
            let column = quoted(column, '"');
            // AND would bind closer.
            format!("(o.{column} IS NOT DISTINCT FROM n.{column})")
        };
        let sql = format!(
            "{} SELECT {} FROM (SELECT * FROM d WHERE {m} > {b}) AS o JOIN (SELECT * FROM d WHERE {b} > {m}) AS n ON {}",
            self.d(),
            others
                .iter()
                .map(differs)
                .collect::<Vec<String>>()
                .join(", "),
            self.key
                .iter()
                .map(same)
                .collect::<Vec<String>>()
                .join(" AND "),
            m = quoted(MAIN, '"'),
            b = quoted(BRANCH, '"'),
        );
        let counted = Rows::ask(client, &sql)?;
        let by_column = others
            .iter()
            .map(|name| (*name).clone())
            .zip(counted.rows[0].iter().cloned());
        let changed = by_column.filter(|(_, count)| count.as_i64() != Some(0));
        Ok(Value::Object(changed.collect::<Map<_, _>>()))
    }

    fn by(&self, client: &Client, column: &str) -> anyhow::Result<Value> {
        let kind = Rows::ask(
            client,
            &format!(
                "SELECT arrow_typeof({}) FROM {} LIMIT 1",
                quoted(column, '"'),
                self.branch
            ),
        )?;
        let is_time = kind
            .rows
            .first()
            .is_some_and(|row| text(&row[0]).starts_with("Timestamp"));
        let column = quoted(column, '"');
        let group = match is_time {
            true => format!("CAST({column} AS DATE)"),
            false => column,
        };
        let count = |what: &str, from: &str| format!("SELECT {group} AS g, {what} FROM {from}");
        let (m, b) = (quoted(MAIN, '"'), quoted(BRANCH, '"'));
        let sql = format!(
            "{} SELECT g, SUM(m), SUM(b), SUM(om), SUM(ob) FROM ({} UNION ALL {} UNION ALL {}) AS counted GROUP BY g ORDER BY g",
            self.d(),
            count("1 AS m, 0 AS b, 0 AS om, 0 AS ob", &self.main),
            count("0 AS m, 1 AS b, 0 AS om, 0 AS ob", &self.branch),
            count(
                &format!(
                    "0 AS m, 0 AS b, CASE WHEN {m} > {b} THEN {m} - {b} ELSE 0 END AS om, CASE WHEN {b} > {m} THEN {b} - {m} ELSE 0 END AS ob"
                ),
                "d"
            ),
        );
        let counted = Rows::ask(client, &sql)?;
        let groups = counted.rows.iter().map(|row| {
            json!({ "value": row[0], "main": row[1], "branch": row[2], "only_in_main": row[3], "only_in_branch": row[4] })
        });
        Ok(groups.collect())
    }

    fn sample(&self, client: &Client, rows: u64) -> anyhow::Result<Value> {
        let (m, b) = (quoted(MAIN, '"'), quoted(BRANCH, '"'));
        let mut order = self.key.clone();
        order.extend(
            self.columns
                .iter()
                .filter(|one| !self.key.contains(one))
                .cloned(),
        );
        let sql = format!(
            "{} SELECT {m}, {b}, {} FROM d ORDER BY {}, {b} LIMIT {rows}",
            self.d(),
            list(&self.columns, ""),
            list(&order, ""),
        );
        let found = Rows::ask(client, &sql)?;
        let sample = found.rows.iter().map(|row| {
            let members = self.columns.iter().cloned().zip(row[2..].iter().cloned());
            json!({ "main": row[0], "branch": row[1], "row": Value::Object(members.collect::<Map<_, _>>()) })
        });
        Ok(sample.collect())
    }
}

fn list(columns: &[String], of: &str) -> String {
    let columns = columns
        .iter()
        .map(|column| format!("{of}{}", quoted(column, '"')));
    columns.collect::<Vec<String>>().join(", ")
}

fn tell(answer: &Value) {
    let rows = &answer["rows"];
    let line = |what: &str, counts: &Value| {
        let mut cells = vec![what.to_owned()];
        cells.extend(
            [
                "main",
                "branch",
                "only_in_main",
                "only_in_branch",
                "changed",
            ]
            .map(|key| match &counts[key] {
                Value::Null => String::new(),
                count => text(count),
            }),
        );
        cells
    };
    let mut lines = vec![line("rows", rows)];
    if !answer["keys"].is_null() {
        lines.push(line("keys", &answer["keys"]));
    }
    let columns = [
        "",
        "main",
        "branch",
        "only in main",
        "only in branch",
        "changed",
    ];
    say(table_text(&columns, &lines));
    if let Some(changed) = answer["changed_columns"].as_object() {
        let changed = changed
            .iter()
            .map(|(column, count)| format!("{column} {count}"));
        let changed: Vec<String> = changed.collect();
        if !changed.is_empty() {
            say(format!("\nchanged columns: {}", changed.join(", ")));
        }
    }
    if let Some(groups) = answer["by"].as_array() {
        let lines = groups
            .iter()
            .map(|group| line(&text(&group["value"]), group));
        let lines: Vec<Vec<String>> = lines.collect();
        say(format!("\n{}", table_text(&columns, &lines)));
    }
    sample(answer);
}

/// Rows with a sign before them: `-` is in `main` alone, or more often there.
fn sample(answer: &Value) {
    let columns = answer["columns"].as_array().into_iter().flatten();
    let columns: Vec<&str> = columns.filter_map(Value::as_str).collect();
    let rows = answer["sample"].as_array().into_iter().flatten();
    let lines = rows.map(|one| {
        let is_of_main = one["main"].as_i64() > one["branch"].as_i64();
        let sign = if is_of_main { "-" } else { "+" };
        let cells = columns.iter().map(|column| text(&one["row"][*column]));
        std::iter::once(sign.to_owned()).chain(cells).collect()
    });
    let lines: Vec<Vec<String>> = lines.collect();
    if !lines.is_empty() {
        let columns: Vec<&str> = std::iter::once("").chain(columns).collect();
        say(format!("\n{}", table_text(&columns, &lines)));
    }
}
