//! Where tables are: the warehouse, and the files of local folders and stores.
//!
//! Every place in a store is probed before anything listens. What stays so until somebody changes something (no such bucket, no right
//! to write, no conditional writes) ends the start with what to do; a store that does not answer does not: records are taken all the same,
//! and pipelines wait for it.

use crate::args::Up;
use crate::config::Config;
use crate::failure::failure;
use anyhow::Context;
use lw_lakehouse::catalog::recover::Claim;
use lw_lakehouse::error::Kind;
use lw_lakehouse::storage::s3::{Stores, is_object, split};
use lw_lakehouse::{Catalog, Files, Ids};
use lw_stdx::disk::RealDisk;
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The default warehouse, as a `file://` place or one in a store.
pub(super) fn warehouse(options: &Up) -> anyhow::Result<String> {
    match options.warehouse.as_deref() {
        None => made(&options.data_dir.join("warehouse")),
        Some(named) => place(named),
    }
}

/// A folder, which is made, or a place in a store.
pub fn place(named: &str) -> anyhow::Result<String> {
    let refused = |why: &dyn Display| {
        failure(
            format!("{named} cannot have tables: {why}"),
            "Name a folder, or s3://BUCKET/PREFIX.",
        )
    };
    if is_object(named) {
        split(named).map_err(|error| refused(&error))?;
        return Ok(named.trim_end_matches('/').to_owned());
    }
    match named.strip_prefix("file://") {
        Some(path) => made(Path::new(path)),
        None if named.contains("://") => Err(refused(&"no such places are supported")),
        None => made(Path::new(named)),
    }
}

fn made(folder: &Path) -> anyhow::Result<String> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the warehouse {}", folder.display()))?;
    Ok(format!("file://{}", folder.canonicalize()?.display()))
}

/// The files of all places, those in stores probed.
pub fn files(config: &Config, warehouse: &str) -> anyhow::Result<Files> {
    let disk = Arc::new(RealDisk);
    let Some(options) = config.stores(warehouse) else {
        return Ok(Files::new(disk));
    };
    let stores = Stores::new(options, Ids::random()).context("no store can be talked to")?;
    let mut places = config.allowed_locations();
    places.push(warehouse.to_owned());
    for place in places.iter().filter(|place| is_object(place)) {
        probe(&stores, place)?;
    }
    Ok(Files::with_stores(disk, Arc::new(stores)))
}

fn probe(stores: &Stores, place: &str) -> anyhow::Result<()> {
    let Err(error) = stores.probe(place) else {
        return Ok(());
    };
    let hint = match error.kind() {
        io::ErrorKind::HostUnreachable => {
            tracing::error!(place, %error, "the store does not answer; records are taken, and tables wait for it");
            return Ok(());
        }
        io::ErrorKind::NotFound => "Make the bucket, or name another one: Lakeward makes none.",
        io::ErrorKind::PermissionDenied => {
            "Say under [s3] in lakeward.toml, or by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, who is asking; it must be allowed to read, write, list and delete there."
        }
        _ => {
            "Use a store whose PutObject obeys If-None-Match (Amazon's, MinIO, Cloudflare R2, Ceph), or correct [s3] in lakeward.toml."
        }
    };
    Err(failure(
        format!("the place {place} cannot be used: {error}"),
        hint,
    ))
}

/// That the places in stores are this data folder's: two servers over one would each take the other's files for leftovers of its own.
pub(super) fn claim(
    files: &Files,
    config: &Config,
    warehouse: &str,
    own: &str,
) -> anyhow::Result<()> {
    let mapped = config.warehouses.values().map(String::as_str);
    for place in mapped.chain([warehouse]).filter(|place| is_object(place)) {
        match Catalog::claim(files, place, own, &Ids::random()) {
            Ok(Claim::Ours) => {}
            Ok(Claim::Anothers(other)) => {
                return Err(failure(
                    format!(
                        "{place} is the warehouse of another data folder (its cluster is {other})"
                    ),
                    format!(
                        "Give this server a place of its own. If that data folder is lost, `lakeward catalog recover {place}` takes its tables in."
                    ),
                ));
            }
            Err(error) if error.kind == Kind::Unavailable => {
                tracing::warn!(place, %error, "whose place it is could not be asked");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
