//! `lakeward catalog recover PLACE`: the catalog of a new data folder over the warehouse of a lost one. It asks no server: it is one,
//! for as long as it takes.

use super::{say, show};
use crate::args::{Catalog as Args, CatalogVerb, Output, Recover};
use crate::config::Config;
use crate::failure::failure;
use crate::server;
use lw_lakehouse::catalog::recover::{Outcome, Recovered};
use lw_lakehouse::storage::s3::is_object;
use lw_lakehouse::{Catalog, Ids};
use lw_stdx::clock::SystemClock;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;

pub fn catalog(args: Args) -> anyhow::Result<ExitCode> {
    match args.verb {
        CatalogVerb::Recover(args) => recover(&args),
    }
}

fn recover(args: &Recover) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.config.as_deref(), &args.data_dir)?;
    let place = server::place(&args.place)?;
    let storage = server::open_storage(&args.data_dir, Arc::new(SystemClock::new()))?;
    let files = server::files(&config, &place)?;
    let (allowed, ids) = (config.allowed_locations(), Ids::random());
    let catalog = Catalog::open_allowing(
        storage.clone(),
        files.clone(),
        &place,
        &allowed,
        ids.clone(),
    )?;
    if is_object(&place) {
        Catalog::take_over(&files, &place, &storage.cluster_id(), &ids)?;
    }
    let found = catalog.recover(&place)?;
    storage.close();
    if found.is_empty() {
        return Err(failure(
            format!("there are no tables below {place}"),
            "Name the warehouse: the place that has a folder for each namespace.",
        ));
    }
    tell(args, &found);
    let failed = found
        .iter()
        .any(|one| matches!(one.outcome, Outcome::Failed(_)));
    Ok(ExitCode::from(u8::from(failed)))
}

fn tell(args: &Recover, found: &[Recovered]) {
    let columns = ["name", "kind", "outcome", "metadata"];
    let rows: Vec<[String; 4]> = found
        .iter()
        .map(|one| {
            let kind = if one.is_view { "view" } else { "table" };
            let name = one.name.to_string();
            [
                name,
                kind.to_owned(),
                words(&one.outcome),
                one.metadata_location.clone(),
            ]
        })
        .collect();
    let objects = rows.iter().map(|row| {
        let fields = columns.iter().zip(row);
        Value::Object(
            fields
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect(),
        )
    });
    let value = json!({ "recovered": objects.collect::<Vec<_>>() });
    show(
        args.written.output,
        &value,
        &columns,
        rows.iter().map(|row| row.to_vec()).collect(),
    );
    if args.written.output == Output::Table {
        say(format!(
            "Start the server with --warehouse {}. Pipelines and topics were in the data folder: submit scripts with --adopt, and each goes on behind what its table has.",
            args.place
        ));
    }
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::TakenIn => "taken in".to_owned(),
        Outcome::ChosenOf(count) => {
            format!("taken in: the last written of {count} of the same number")
        }
        Outcome::WasThere => "was there".to_owned(),
        Outcome::Failed(why) => format!("not taken in: {why}"),
    }
}
