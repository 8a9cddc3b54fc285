//! `lakeward schema list|show|check|register`: the registry's own REST API.

use super::{say, show, text};
use crate::args::{Output, Schema, SchemaVerb};
use crate::client::{Client, segment};
use anyhow::Context;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

pub fn schema(args: Schema) -> anyhow::Result<ExitCode> {
    let status = Client::new(&args.server.server)?.get("/api/v1/status")?;
    let registry = Client::new(&text(&status["registry"]))?;
    match &args.verb {
        SchemaVerb::List => list(&registry, args.server.output),
        SchemaVerb::Show { subject, version } => {
            let answer = match version {
                Some(version) => registered(&registry, subject, version)?,
                None => versions(&registry, subject)?,
            };
            let columns = ["subject", "version", "id", "schema"];
            let found = match &answer {
                Value::Array(versions) => versions.clone(),
                one => vec![one.clone()],
            };
            let rows = found
                .iter()
                .map(|found| columns.map(|column| text(&found[column])).to_vec());
            show(args.server.output, &answer, &columns, rows.collect());
            Ok(ExitCode::SUCCESS)
        }
        SchemaVerb::Check { subject, file } => {
            let path = format!(
                "/compatibility/subjects/{}/versions/latest?verbose=true",
                segment(subject)
            );
            let answer = registry.post(&path, &body(file)?)?;
            let compatible = answer["is_compatible"] == true;
            match args.server.output {
                Output::Json => say(&answer),
                Output::Table | Output::Csv if compatible => say("compatible"),
                Output::Table | Output::Csv => {
                    say("incompatible");
                    answer["messages"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .for_each(|message| say(format!("  {}", text(message))));
                }
            }
            Ok(if compatible {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(1)
            })
        }
        SchemaVerb::Register { subject, file } => {
            let answer = registry.post(
                &format!("/subjects/{}/versions", segment(subject)),
                &body(file)?,
            )?;
            match args.server.output {
                Output::Json => say(&answer),
                Output::Table | Output::Csv => say(format!("{subject}: id {}", answer["id"])),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// One version of a subject; `latest` is a version too.
fn registered(registry: &Client, subject: &str, version: &str) -> anyhow::Result<Value> {
    let (subject, version) = (segment(subject), segment(version));
    registry.get(&format!("/subjects/{subject}/versions/{version}"))
}

/// All versions of a subject, oldest first.
fn versions(registry: &Client, subject: &str) -> anyhow::Result<Value> {
    let numbers = registry.get(&format!("/subjects/{}/versions", segment(subject)))?;
    let numbers = numbers.as_array().into_iter().flatten();
    let versions = numbers.map(|number| registered(registry, subject, &number.to_string()));
    Ok(Value::Array(versions.collect::<anyhow::Result<_>>()?))
}

fn list(registry: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let subjects = registry.get("/subjects")?;
    let mut rows = Vec::new();
    let mut all = Vec::new();
    for subject in subjects.as_array().into_iter().flatten().map(text) {
        let latest = registry.get(&format!("/subjects/{}/versions/latest", segment(&subject)))?;
        rows.push(vec![subject, text(&latest["version"]), text(&latest["id"])]);
        all.push(latest);
    }
    show(
        output,
        &Value::Array(all),
        &["subject", "version", "id"],
        rows,
    );
    Ok(ExitCode::SUCCESS)
}

fn body(file: &Path) -> anyhow::Result<Value> {
    let schema =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(json!({ "schema": schema }))
}
