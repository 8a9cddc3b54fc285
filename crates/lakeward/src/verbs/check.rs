//! `lakeward check FILE.sql`: what is wrong with a script and what there is to know about it, without running it.
//!
//! With a server at `--server` the script meets that server's topics, schemas and configuration. Without one, only
//! `lakeward.toml` is known: topics are taken for granted, and a last line says so.

use super::run::{read_script, tell_programs};
use super::say;
use crate::args::{Check, Output};
use crate::client::Client;
use crate::config::Config;
use crate::failure::Failure;
use crate::server;
use lw_gateway::Script;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

pub fn check(args: Check) -> anyhow::Result<ExitCode> {
    let sql = read_script(&args.file)?;
    let file = args.file.display().to_string();
    let client = Client::new(&args.server.server)?;
    let alone = !client.is_up();
    let checked = if alone {
        let config = Config::load(args.config.as_deref(), Path::new("."))?;
        let script = Script {
            name: file.clone(),
            file: file.clone(),
            sql,
        };
        server::check(&script, &config).map_err(|refusal| anyhow::Error::new(Failure(refusal)))
    } else {
        client.post("/api/v1/check", &json!({ "file": file, "sql": sql }))
    };
    let checked = checked.inspect_err(|error| tell_programs(error, args.server.output))?;
    match args.server.output {
        Output::Json => say(format!("{checked:#}")),
        Output::Table | Output::Csv => show(&file, &checked),
    }
    if alone {
        eprintln!(
            "no server at {}: topics and schemas were not looked up",
            args.server.server
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn show(file: &str, checked: &Value) {
    let messages = checked["messages"].as_array().into_iter().flatten();
    messages.for_each(|message| say(super::text(&message["rendered"])));
    let count = |what: &str| checked[what].as_array().map_or(0, Vec::len);
    let number = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let tables = number(count("tables"), "table");
    let notices = number(count("messages"), "notice");
    say(format!("{file}: writes {tables}, {notices}"));
}
