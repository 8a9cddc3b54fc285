//! `lakeward sql`: batch queries over tables, from `-e`, a file, standard input, or typed at a prompt.
//!
//! A query ends at `;` or with the text. At a prompt an error is told and the next query asked for; elsewhere the first
//! error ends the command. Rows are written as they come, except as a table, whose columns must be measured first.

use super::rows::{Line, cut_off};
use super::{csv_line, say, table_text, text};
use crate::args::{Output, Sql};
use crate::client::Client;
use crate::failure::failure;
use anyhow::Context;
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// Rows of a table that somebody reads.
const TABLE_ROWS: u64 = 10_000;

pub fn sql(args: Sql) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server.server)?;
    let script = match (&args.execute, &args.file) {
        (Some(query), _) => query.clone(),
        (None, Some(file)) if file != Path::new("-") => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?,
        (None, None) if std::io::stdin().is_terminal() => return prompt(&client, &args),
        (None, _) => {
            let mut script = String::new();
            std::io::stdin().read_to_string(&mut script)?;
            script
        }
    };
    let (mut queries, rest) = split(&script);
    queries.push(rest);
    queries.retain(|query| !is_blank(query));
    if queries.is_empty() {
        return Err(failure(
            "there is no query",
            "Give one with -e, a file with -f, or start `lakeward sql` on a terminal.",
        ));
    }
    for query in queries {
        run(&client, &args, &query)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks until the input ends. Editing of a line is the terminal's own.
fn prompt(client: &Client, args: &Sql) -> anyhow::Result<ExitCode> {
    eprintln!("Queries end with ; — SHOW TABLES; DESCRIBE namespace.table; \\q leaves.");
    let mut open = String::new();
    loop {
        eprint!("{}", if open.is_empty() { "sql> " } else { "  -> " });
        std::io::stderr().flush()?;
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line)? == 0 {
            eprintln!();
            return Ok(ExitCode::SUCCESS);
        }
        let word = line.trim().trim_end_matches(';').to_ascii_lowercase();
        if open.trim().is_empty() && ["\\q", "quit", "exit"].contains(&word.as_str()) {
            return Ok(ExitCode::SUCCESS);
        }
        open.push_str(&line);
        let (queries, rest) = split(&open);
        for query in queries.iter().filter(|query| !is_blank(query)) {
            if let Err(error) = run(client, args, query) {
                crate::failure::print(&error);
            }
        }
        open = if is_blank(&rest) { String::new() } else { rest };
    }
}

/// The queries that end with `;`, and what follows the last of them. Quotes and comments hold no ends.
fn split(script: &str) -> (Vec<String>, String) {
    let (mut queries, mut begin, mut at) = (Vec::new(), 0, 0);
    while let Some(next) = script[at..].chars().next() {
        let rest = &script[at..];
        at += match next {
            ';' => {
                queries.push(script[begin..at].to_owned());
                begin = at + 1;
                1
            }
            '\'' | '"' | '`' => rest[1..].find(next).map_or(rest.len(), |end| end + 2),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
            other => other.len_utf8(),
        };
    }
    (queries, script[begin..].to_owned())
}

/// Whether a piece of a script says nothing: white space and comments.
fn is_blank(query: &str) -> bool {
    let mut rest = query.trim_start();
    loop {
        let comment = match (rest.starts_with("--"), rest.starts_with("/*")) {
            (true, _) => rest.find('\n').unwrap_or(rest.len()),
            (_, true) => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ => return rest.is_empty(),
        };
        rest = rest[comment..].trim_start();
    }
}

fn run(client: &Client, args: &Sql, query: &str) -> anyhow::Result<()> {
    let output = args.server.output;
    let unless_told = match output {
        Output::Table => TABLE_ROWS,
        Output::Json | Output::Csv => 0,
    };
    let body = json!({
        "sql": query,
        "max_rows": args.max_rows.unwrap_or(unless_told),
        "timeout_ms": args.timeout.as_millis() as u64,
    });
    let mut answer = Answer::new(output);
    client.post_for_lines("/api/v1/sql", &body, |line| {
        answer.take(Line::read(line)?);
        Ok(())
    })?;
    answer.end()
}

/// An answer as its lines come in.
struct Answer {
    output: Output,
    out: std::io::BufWriter<std::io::Stdout>,
    columns: Vec<String>,
    /// Kept for a table only.
    rows: Vec<Vec<String>>,
    given: u64,
    /// What the last line said: whether rows were left out, and the notices.
    end: Option<(bool, Vec<String>)>,
}

impl Answer {
    fn new(output: Output) -> Answer {
        Answer {
            output,
            out: std::io::BufWriter::new(std::io::stdout()),
            columns: Vec::new(),
            rows: Vec::new(),
            given: 0,
            end: None,
        }
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Row(row) => {
                self.row(&row);
                self.given += 1;
            }
            Line::Columns(names) => {
                self.columns = names;
                match self.output {
                    Output::Csv => {
                        let names = self.columns.iter().map(|name| Some(name.as_str()));
                        let head = csv_line(names);
                        self.write(&format!("{head}\n"));
                    }
                    Output::Json => {
                        let head = json!(self.columns);
                        self.write(&format!("{{\"columns\": {head},\n \"rows\": ["));
                    }
                    Output::Table => {}
                }
            }
            Line::End { truncated, notices } => self.end = Some((truncated, notices)),
        }
    }

    fn row(&mut self, row: &[Value]) {
        let cell = |value: &Value| (!value.is_null()).then(|| text(value));
        match self.output {
            Output::Table => self.rows.push(row.iter().map(text).collect()),
            Output::Csv => {
                let cells: Vec<Option<String>> = row.iter().map(cell).collect();
                let line = csv_line(cells.iter().map(Option::as_deref));
                self.write(&format!("{line}\n"));
            }
            Output::Json => {
                let comma = if self.given == 0 { "" } else { "," };
                self.write(&format!("{comma}\n  {}", json!(row)));
            }
        }
    }

    /// # Errors
    /// When the answer stopped without an end.
    fn end(mut self) -> anyhow::Result<()> {
        let Some((truncated, notices)) = self.end.take() else {
            return Err(cut_off());
        };
        match self.output {
            Output::Table => {
                let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
                say(table_text(&columns, &self.rows));
            }
            Output::Json => self.write(&format!(
                "],\n \"truncated\": {truncated},\n \"notices\": {}}}\n",
                json!(notices)
            )),
            Output::Csv => {}
        }
        let _ = self.out.flush();
        if truncated {
            eprintln!(
                "only the first {} rows are shown; --max-rows 0 shows all",
                self.given
            );
        }
        for notice in &notices {
            eprintln!("notice: {notice}");
        }
        Ok(())
    }

    /// A reader that went away ends the command quietly.
    fn write(&mut self, text: &str) {
        if self.out.write_all(text.as_bytes()).is_err() {
            std::process::exit(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_end_at_semicolons_that_stand_outside_of_quotes_and_comments() {
        let cases: [(&str, &[&str], &str); 6] = [
            ("SELECT 1; SELECT 2", &["SELECT 1"], " SELECT 2"),
            ("SELECT ';' ; ", &["SELECT ';' "], " "),
            ("SELECT \"a;b\";", &["SELECT \"a;b\""], ""),
            ("SELECT 1 -- a; b\n;", &["SELECT 1 -- a; b\n"], ""),
            ("/* ; */ SELECT 'é';", &["/* ; */ SELECT 'é'"], ""),
            ("SELECT 'it''s; ", &[], "SELECT 'it''s; "),
        ];
        for (script, queries, rest) in cases {
            let got = split(script);
            assert_eq!(got.0, queries, "{script}");
            assert_eq!(got.1, rest, "{script}");
        }
        assert!(is_blank(" -- only a comment\n /* and another */ "));
        assert!(!is_blank("-- a comment\nSELECT 1"));
    }

    #[test]
    fn commas_quotes_and_line_ends_are_quoted_in_csv() {
        let cells = [Some("a"), None, Some(""), Some("x,y"), Some("say \"hi\"\n")];
        assert_eq!(
            csv_line(cells.into_iter()),
            "a,,\"\",\"x,y\",\"say \"\"hi\"\"\n\""
        );
    }
}
