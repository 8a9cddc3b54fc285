//! `lakeward test PATH…`: runs cases, with no server, and says what came otherwise than they say.

#![expect(
    clippy::disallowed_methods,
    reason = "a shell: it tells how long each case took"
)]

use super::say;
use crate::args::Test;
use crate::cases::{self, CaseFile, Finding, Order, Schemas};
use anyhow::Context;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub fn test(args: Test) -> anyhow::Result<ExitCode> {
    let mut results = Vec::new();
    let mut listed = Vec::new();
    for path in &args.paths {
        for file in cases::read_all(path)? {
            if args.list {
                listed.push(as_json(&file?)?);
                continue;
            }
            let begun = Instant::now();
            let (folder, name, outcome) = match file {
                Ok(file) => (
                    file.path.parent().map(Path::to_path_buf),
                    file.name.clone(),
                    run(&file, args.update),
                ),
                Err(error) => (None, path.display().to_string(), Err(error)),
            };
            let result = CaseResult {
                folder: folder.unwrap_or_default(),
                name,
                outcome,
                took: begun.elapsed(),
            };
            say(result.told());
            results.push(result);
        }
    }
    if args.list {
        say(Value::from(listed));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(file) = &args.junit {
        std::fs::write(file, junit(&results))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let failed = results.iter().filter(|result| result.failed()).count();
    say(format!("{} cases, {failed} failed", results.len()));
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn run(file: &CaseFile, update: bool) -> anyhow::Result<Vec<Finding>> {
    if !update {
        return file.judge();
    }
    let text = cases::updated(file)?;
    if text != file.text {
        std::fs::write(&file.path, text)
            .with_context(|| format!("cannot write {}", file.path.display()))?;
    }
    CaseFile::read(&file.path, file.name.clone())?.judge()
}

struct CaseResult {
    /// As it was asked for; nothing where a case could not be read.
    folder: PathBuf,
    name: String,
    outcome: anyhow::Result<Vec<Finding>>,
    took: Duration,
}

impl CaseResult {
    fn failed(&self) -> bool {
        !matches!(&self.outcome, Ok(findings) if findings.is_empty())
    }

    /// A line for what is right, more for what is not.
    fn told(&self) -> String {
        let word = if self.failed() { "FAIL" } else { "ok  " };
        let mut text = format!("{word} {}  {} ms", self.name, self.took.as_millis());
        for line in self.reasons() {
            let _ = write!(text, "\n     {line}");
        }
        text
    }

    fn reasons(&self) -> Vec<String> {
        match &self.outcome {
            Err(error) => {
                let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
                let chain = chain.join(": ");
                chain.lines().map(ToString::to_string).collect()
            }
            Ok(findings) => {
                let mut lines = Vec::new();
                for finding in findings {
                    lines.push(format!("{}, {}:", finding.what, finding.way));
                    lines.extend(finding.difference.iter().map(|line| format!("  {line}")));
                }
                lines
            }
        }
    }
}

/// The report that build servers read: one test case for each case.
fn junit(results: &[CaseResult]) -> String {
    let failed = results.iter().filter(|result| result.failed()).count();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuite name=\"lakeward\" tests=\"{}\" failures=\"{failed}\">",
        results.len()
    );
    for result in results {
        let name = escaped(&result.name);
        let folder = escaped(&result.folder.display().to_string());
        let seconds = result.took.as_secs_f64();
        let _ = write!(
            xml,
            "  <testcase classname=\"{folder}\" name=\"{name}\" time=\"{seconds:.3}\""
        );
        if result.failed() {
            let reasons = escaped(&result.reasons().join("\n"));
            let _ = writeln!(xml, ">\n    <failure>{reasons}</failure>\n  </testcase>");
        } else {
            xml += "/>\n";
        }
    }
    xml + "</testsuite>\n"
}

/// Text as XML has it. Control characters that XML cannot hold are shown as such.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// A case for tools that run it elsewhere: bytes are in hexadecimal digits, Avro is encoded.
fn as_json(file: &CaseFile) -> anyhow::Result<Value> {
    let schemas = Schemas::of(&file.case)?;
    let mut records = Vec::new();
    for record in &file.case.records {
        let headers = record
            .headers
            .iter()
            .map(|(name, value)| json!([name, hex(value)]));
        records.push(json!({
            "topic": record.topic,
            "partition": record.partition,
            "timestamp": record.timestamp,
            "after_ms": record.after.as_millis() as u64,
            "key": record.key.as_deref().map(hex),
            "value": schemas.bytes_of(record)?.as_deref().map(hex),
            "headers": headers.collect::<Vec<_>>(),
        }));
    }
    let expected = file.case.expected.iter().map(|section| {
        json!({
            "what": section.what.to_string(),
            "table": section.table,
            "order": match &section.order {
                Order::Exact => Value::Null,
                Order::Groups(columns) => json!(columns),
            },
            "line": section.line,
            "lines": section.lines,
            "ours": section.ours,
        })
    });
    let refused = file.case.refusal.as_ref().filter(|refusal| !refusal.ours);
    let expressions = file.case.expressions.iter().map(|section| {
        let lines = section.lines.iter().map(|expression| {
            json!({
                "text": expression.text,
                "result": expression.result,
                "ours": expression.ours,
                "line": expression.line,
            })
        });
        json!({ "table": section.table, "lines": lines.collect::<Vec<_>>() })
    });
    Ok(json!({
        "name": file.name,
        "file": file.path.display().to_string(),
        "script": file.sql,
        "schemas": file.case.schemas,
        "topics": file.case.topics,
        "records": records,
        "expected": expected.collect::<Vec<_>>(),
        // What only we refuse is nothing to tell.
        "refused": refused.map(|refusal| &refusal.messages),
        "expressions": expressions.collect::<Vec<_>>(),
    }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
