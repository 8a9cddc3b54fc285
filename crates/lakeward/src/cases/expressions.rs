//! Expressions over the records of one table: what each is for each record, and of which type.
//!
//! Those that are expected to have a value for every record are the columns of one query; one that fails for some record
//! would take the whole row with it, so it is a query of its own. So is each when the query of all does not come out as expected.

use super::drive::{Runner, Way};
use super::format::{Expression, Expressions};
use super::world::Names;
use super::{CaseFile, Finding, Planned, difference, short};
use crate::failure::failure;

/// The sink that the expressions go to.
const SINK: &str = "values_of_expressions";

/// Computes the expressions of all sections and says which differ.
pub fn judge(file: &CaseFile, runner: &mut Runner<'_>, way: Way) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for section in &file.case.expressions {
        let (mut expected, mut got) = (Vec::new(), Vec::new());
        for (expression, result) in results(file, section, runner, way)? {
            if expression.of_ours() != result {
                expected.push(format!("{} => {}", expression.text, expression.of_ours()));
                got.push(format!("{} => {result}", expression.text));
            }
        }
        if !got.is_empty() {
            findings.push(Finding {
                what: format!("expressions {}", section.table),
                way,
                difference: difference(&expected, &got),
            });
        }
    }
    Ok(findings)
}

/// What our engine makes of each expression of a section, in its order.
pub fn results<'a>(
    file: &CaseFile,
    section: &'a Expressions,
    runner: &mut Runner<'_>,
    way: Way,
) -> anyhow::Result<Vec<(&'a Expression, String)>> {
    let mut results: Vec<(&Expression, Option<String>)> = Vec::new();
    let mut together: Vec<Typed> = Vec::new();
    for expression in &section.lines {
        let Some(ty) = type_of(file, &section.table, &expression.text) else {
            results.push((expression, Some("refused".to_string())));
            continue;
        };
        let typed = Typed {
            at: results.len(),
            text: &expression.text,
            ty,
        };
        let alone = expression.of_ours().is_empty() || expression.of_ours().contains('!');
        let result = match alone {
            true => Some(values(file, section, runner, way, &[&typed])?.remove(0)),
            false => None,
        };
        if result.is_none() {
            together.push(typed);
        }
        results.push((expression, result));
    }
    let all: Vec<&Typed> = together.iter().collect();
    let of_all = match all.is_empty() {
        true => Vec::new(),
        false => values(file, section, runner, way, &all)?,
    };
    for (typed, of_all) in together.iter().zip(of_all) {
        let expression = results[typed.at].0;
        let result = match expression.of_ours() == of_all {
            true => of_all,
            // Perhaps it is another one of them that failed.
            false => values(file, section, runner, way, &[typed])?.remove(0),
        };
        results[typed.at].1 = Some(result);
    }
    let results = results.into_iter();
    Ok(results
        .map(|(expression, result)| (expression, result.unwrap_or_default()))
        .collect())
}

/// An expression that is planned.
struct Typed<'a> {
    /// Index among the section's.
    at: usize,
    text: &'a str,
    ty: String,
}

/// The type of an expression, as DESCRIBE has it; `None` when the planner refuses it.
fn type_of(file: &CaseFile, table: &str, expression: &str) -> Option<String> {
    let view = format!("CREATE TEMPORARY VIEW typed AS SELECT {expression} AS x FROM {table}");
    let script = followed_by(&file.sql, &format!("{view};\nDESCRIBE typed;"));
    let plan = lw_sql::plan_script(&script, &file.name, &Names(&file.case)).ok()?;
    let described = plan.explanations.last()?.text.lines().nth(1)?;
    let cells = described.split("  ").map(str::trim);
    let cells: Vec<&str> = cells.filter(|cell| !cell.is_empty()).collect();
    match cells[..] {
        ["x", ty, "TRUE"] => Some(ty.to_string()),
        ["x", ty, "FALSE"] => Some(format!("{ty} NOT NULL")),
        _ => None,
    }
}

/// `TYPE: value | value` of expressions in one query.
fn values(
    file: &CaseFile,
    section: &Expressions,
    runner: &mut Runner<'_>,
    way: Way,
    typed: &[&Typed<'_>],
) -> anyhow::Result<Vec<String>> {
    let columns = typed.iter().enumerate();
    let columns: Vec<String> = columns
        .map(|(n, typed)| format!("x{n} {}", typed.ty))
        .collect();
    let selected: Vec<&str> = typed.iter().map(|typed| typed.text).collect();
    let (columns, selected) = (columns.join(", "), selected.join(", "));
    let table = &section.table;
    let script = followed_by(
        &file.sql,
        &format!(
            "CREATE TABLE {SINK} ({columns}) WITH ('connector' = 'print');\nINSERT INTO {SINK} SELECT {selected} FROM {table};"
        ),
    );
    let plan = lw_sql::plan_script(&script, &file.name, &Names(&file.case)).map_err(|wrong| {
        anyhow::Error::msg(wrong.render(&file.name, &script).trim_end().to_string())
    })?;
    let mut planned = Planned::of(plan);
    // The script may have INSERTs of its own.
    planned
        .jobs
        .retain(|job| short(&job.inserts[0].table) == SINK);
    let outcome = runner.run(&planned, way);
    let outcome = outcome.map_err(|error| file.explained(error))?;
    let filled = outcome.tables.values().next().expect("one table");
    let mut by_record = Vec::new();
    for row in &filled.rows {
        by_record.push(((&row.topic, row.partition, row.offset), row.cells.clone()));
    }
    for letter in &filled.letters {
        let cells = typed.iter().map(|_| "!".to_string()).collect();
        by_record.push(((&letter.topic, letter.partition, letter.offset), cells));
    }
    by_record.sort();
    let twice = by_record.windows(2).any(|pair| pair[0].0 == pair[1].0);
    if twice {
        return Err(failure(
            format!("a record of '{table}' is several rows"),
            "Expressions are computed over tables whose records are one row each.",
        ));
    }
    let results = typed.iter().enumerate().map(|(n, typed)| {
        let values = by_record.iter().map(|(_, cells)| cells[n].as_str());
        let values: Vec<&str> = values.collect();
        format!("{}: {}", typed.ty, values.join(" | "))
    });
    Ok(results.collect())
}

/// The case's script with statements behind it.
fn followed_by(script: &str, more: &str) -> String {
    let script = script.trim_end();
    let end = if script.is_empty() || script.ends_with(';') {
        ""
    } else {
        "\n;"
    };
    format!("{script}{end}\n{more}")
}
