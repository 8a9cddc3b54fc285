//! The table that a sink is for: made where it is missing, else compared with what the sink has.
//!
//! Making it and adding columns to it are versions of their own, before any row of the sink. Of several who make it at the same time one
//! does, and the others compare.

use super::action::{Action, Format, Metadata};
use super::log::{DeltaLog, Snapshot};
use super::protocol;
use super::schema::{self, Column, Fit};
use crate::error::{CatalogError, Kind};
use crate::ids::Ids;
use crate::storage::local_path;
use lw_runtime::connector::{ConnectorError, ErrorKind};
use lw_stdx::clock::Clock;
use std::collections::BTreeMap;

/// What a sink wants of its table.
pub(super) struct Wanted {
    /// As messages and manifests call it.
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    pub(super) partitioned_by: Vec<String>,
    pub(super) configuration: BTreeMap<String, String>,
    /// Columns that the table does not have are added to it.
    pub(super) merge: bool,
}

impl Wanted {
    /// The table as it is (`known` is how it was once), made where it is missing, with the columns that it is to get.
    ///
    /// # Errors
    /// When it does not fit the sink, or must not be written.
    pub(super) fn load_or_create(
        &self,
        log: &DeltaLog,
        known: Option<Snapshot>,
        ids: &Ids,
        clock: &dyn Clock,
    ) -> Result<Snapshot, ConnectorError> {
        let mut table = log.refresh(known)?;
        loop {
            let (actions, operation) = match &table {
                None => (Vec::from(self.made(ids, clock)), "CREATE TABLE"),
                Some(table) => match self.merged(table)? {
                    None => return Ok(table.clone()),
                    Some(metadata) => (vec![Action::MetaData(metadata)], "ADD COLUMNS"),
                },
            };
            let info = serde_json::json!({
                "timestamp": clock.now_ms(),
                "operation": operation,
                "operationParameters": {},
                "engineInfo": concat!("lakeward/", env!("CARGO_PKG_VERSION")),
            });
            let actions = std::iter::once(Action::CommitInfo(info)).chain(actions);
            // Somebody else may be faster; then it is looked at again.
            table = match log.put(table.as_ref(), actions.collect())? {
                Some(table) => Some(table),
                None => log.load()?,
            };
        }
    }

    /// The first version of a table.
    fn made(&self, ids: &Ids, clock: &dyn Clock) -> [Action; 2] {
        let metadata = Metadata {
            id: ids.next().to_string(),
            name: None,
            description: None,
            format: Format {
                provider: "parquet".to_owned(),
                options: BTreeMap::new(),
            },
            schema_string: schema::write(&self.columns),
            partition_columns: self.partitioned_by.clone(),
            configuration: self.configuration.clone(),
            created_time: Some(clock.now_ms()),
        };
        let protocol = protocol::needed(&self.columns);
        [Action::Protocol(protocol), Action::MetaData(metadata)]
    }

    /// The table's metadata with the sink's new columns; `None` where it fits as it is.
    fn merged(&self, table: &Snapshot) -> Result<Option<Metadata>, ConnectorError> {
        let (name, metadata) = (&self.name, &table.metadata);
        let mut columns = schema::read(&metadata.schema_string)?;
        if let Some(why) = protocol::refusal(&table.protocol, metadata, &columns) {
            let message = format!("the Delta table {name} cannot be written");
            return Err(ConnectorError::new(ErrorKind::Fix, message)
                .detail(format!("{}.", capital(&why)))
                .hint("Write to a new table, with another 'table-path'."));
        }
        let Fit { differences, new } = self.fit(table, &columns);
        if !differences.is_empty() {
            let hint = match new.is_empty() || self.merge {
                true => "Change the sink's columns or the table, or write to a new table.",
                false => "'mergeSchema' = 'true' adds columns that the table does not have.",
            };
            let message = format!("the Delta table {name} does not fit the sink");
            return Err(ConnectorError::new(ErrorKind::Fix, message)
                .detail(format!("{}.", differences.join("; ")))
                .hint(hint));
        }
        if new.is_empty() {
            return Ok(None);
        }
        // Rows that are there have no value of them.
        columns.extend(new.into_iter().map(|column| Column {
            nullable: true,
            ..column
        }));
        Ok(Some(Metadata {
            schema_string: schema::write(&columns),
            ..metadata.clone()
        }))
    }

    /// How the table takes the sink's columns and partitions.
    fn fit(&self, table: &Snapshot, columns: &[Column]) -> Fit {
        let mut fit = schema::fit(&self.columns, columns);
        let differences = &mut fit.differences;
        if !self.merge {
            let new = fit.new.iter();
            differences.extend(
                new.map(|column| {
                    format!("the table has no column {} ({})", column.name, column.ty)
                }),
            );
        }
        let (by, wanted_by) = (&table.metadata.partition_columns, &self.partitioned_by);
        if !wanted_by.is_empty() && wanted_by != by {
            differences.push(format!(
                "the table is partitioned by ({}), the sink by ({})",
                by.join(", "),
                wanted_by.join(", ")
            ));
        }
        let given = |column: &&String| self.columns.iter().any(|wanted| wanted.name == **column);
        differences.extend(by.iter().filter(|column| !given(column)).map(|column| {
            format!("the sink has no column {column}, which the table is partitioned by")
        }));
        if !protocol::takes(&table.protocol, &fit.new) {
            differences.push(
                "the table's protocol has no timestamps without a time zone, which a new column has".to_owned(),
            );
        }
        fit
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(chars).collect()
}

/// Places that cannot be written yet are refused when the sink is opened.
pub(super) fn check_place(location: &str) -> Result<(), ConnectorError> {
    let checked = local_path(location);
    let refused = |error: std::io::Error| {
        ConnectorError::from(CatalogError::caused(
            Kind::Unsupported,
            "Delta tables are only written to local places yet",
            error,
        ))
        .hint("'table-path' = 'file:///…', or an entry under [warehouses] in lakeward.toml that maps it to one.")
    };
    checked.map(drop).map_err(refused)
}
