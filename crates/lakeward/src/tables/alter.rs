//! `ALTER TABLE`, as the API asks for it.

use super::{Tables, refused};
use lw_gateway::Refusal;
use lw_lakehouse::commit::alter::{AlterError, Alterer, Missed};
use lw_lakehouse::error::Kind;
use lw_lakehouse::{Ids, parse_table};
use lw_query::{Catalogs, table_in_catalog};
use lw_sql::AlterTable;

impl Tables {
    /// Changes a table's columns, and says what its pipeline will make of that.
    pub fn alter(&self, alter: &AlterTable) -> Result<Vec<String>, Refusal> {
        let names = self.names();
        let (within, table) = table_in_catalog(&names, &alter.table);
        let ident = parse_table(table).map_err(refused)?;
        let catalog = self.holding(within, table).map_err(refused)?;
        let mut alterer = Alterer::new(catalog, self.wiring.clock(), Ids::random());
        let altered = match alterer.alter(&ident, &alter.changes) {
            Ok(altered) => altered,
            Err(AlterError::Catalog(error))
                if alter.if_exists
                    && matches!(error.kind, Kind::NoSuchTable | Kind::NoSuchNamespace) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(not_altered(error)),
        };
        for change in alter.changes.iter().filter(|_| altered.changed) {
            tracing::info!(table = %alter.table, %change, "columns were changed by ALTER TABLE");
        }
        let missed = altered.missed.as_ref();
        Ok(missed
            .and_then(|missed| self.warning(missed))
            .into_iter()
            .collect())
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

fn not_altered(error: AlterError) -> Refusal {
    match error {
        AlterError::Catalog(error) => refused(error),
        error => {
            let (detail, hint) = (error.detail(), error.hint());
            Refusal::new(400, error).detail(detail).hint(hint)
        }
    }
}
