//! `ALTER TABLE`, as the API asks for it.

use super::{Tables, refused};
use lw_gateway::Refusal;
use lw_graph::{Heed, heed};
use lw_lakehouse::commit::alter::{AlterError, Alterer, Missed};
use lw_lakehouse::error::Kind;
use lw_lakehouse::{Ids, parse_table};
use lw_query::{Catalogs, table_in_catalog};
use lw_sql::{AlterTable, Asked};

impl Tables {
    /// Changes a table's columns or properties, and says what its pipeline will make of that.
    pub fn alter(&self, alter: &AlterTable) -> Result<Vec<String>, Refusal> {
        let names = self.names();
        let (within, table) = table_in_catalog(&names, &alter.table);
        let ident = parse_table(table).map_err(refused)?;
        let catalog = self.holding(within, table).map_err(refused)?;
        let mut alterer = Alterer::new(catalog, self.wiring.clock(), Ids::random());
        let told = match &alter.asked {
            Asked::Columns(changes) => alterer.alter(&ident, changes).map(|altered| {
                for change in changes.iter().filter(|_| altered.changed) {
                    tracing::info!(table = %alter.table, %change, "columns were changed by ALTER TABLE");
                }
                let missed = altered.missed.as_ref();
                let warning = missed.and_then(|missed| self.warning(missed));
                Vec::from_iter(warning)
            }),
            Asked::Properties(properties) => {
                let told = unheeded(properties)?;
                alterer.set(&ident, properties).map(|changed| {
                    if changed {
                        tracing::info!(table = %alter.table, ?properties, "properties were changed by ALTER TABLE");
                    }
                    told
                })
            }
        };
        match told {
            Err(AlterError::Catalog(error))
                if alter.if_exists
                    && matches!(error.kind, Kind::NoSuchTable | Kind::NoSuchNamespace) =>
            {
                Ok(Vec::new())
            }
            told => told.map_err(not_altered),
        }
    }

    /// Where the pipeline is one of this server.
    fn warning(&self, missed: &Missed) -> Option<String> {
        let pipelines = self.pipelines.list();
        let name = &pipelines
            .iter()
            .find(|view| view.id == missed.pipeline)?
            .name;
        let noun = match missed.columns.len() {
            1 => "column",
            _ => "columns",
        };
        let columns = missed.columns.join(", ");
        Some(format!(
            "pipeline '{name}' writes {noun} {columns}, which the table has no more: it pauses before its next commit and loses no row. ADD the {noun} anew, or change the script (`lakeward run FILE --replace`), and say `lakeward pipeline resume {name}`"
        ))
    }
}

/// What pipelines do not obey, or do not write a table with. What is no value of a property that they obey is refused.
fn unheeded(properties: &[(String, Option<String>)]) -> Result<Vec<String>, Refusal> {
    let mut told = Vec::new();
    for (key, value) in properties {
        let Some(value) = value else {
            continue;
        };
        match heed(key, value) {
            Some(Heed::Bad(takes)) => {
                let message = format!("'{value}' is not a value of '{key}'");
                return Err(Refusal::new(400, message).hint(format!("It takes {takes}.")));
            }
            Some(Heed::Refused(why)) => told.push(format!(
                "pipelines do not write a table with '{key}' = '{value}', and stop: {why}"
            )),
            Some(Heed::Kept(why)) => {
                told.push(format!(
                    "'{key}' is kept, and pipelines do not obey it: {why}"
                ));
            }
            Some(Heed::Obeyed | Heed::OfOthers) | None => {}
        }
    }
    Ok(told)
}

fn not_altered(error: AlterError) -> Refusal {
    match error {
        AlterError::Catalog(error) => refused(error),
        error => {
            let (detail, hint) = (error.detail(), error.hint());
            Refusal::new(400, error).detail(detail).hint(hint)
        }
    }
}
