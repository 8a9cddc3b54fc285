//! `CREATE CATALOG`, and what a table has from its catalog.
//!
//! Two types of Flink's are here. `generic_in_memory` holds what the script declares, as `default_catalog` does. `iceberg` is a
//! catalog of tables: a table in it is written with `'connector' = 'iceberg'` and the catalog's own options, without saying so.

use super::Planner;
use crate::Result;
use crate::catalog::{Path, Statement};
use crate::connector::ICEBERG_CATALOG;
use crate::diagnostic::{Diagnostic, Told};
use crate::parse::{CreateCatalog, CreateTable, Ident, Lifetime, OptionText};
use crate::suggest::near_or_all;

const TYPES: [&str; 2] = ["generic_in_memory", "iceberg"];
/// What Flink has besides.
const NOT_YET: [&str; 4] = ["hive", "jdbc", "paimon", "hudi"];

impl Planner<'_> {
    pub(super) fn create_catalog(&mut self, create: CreateCatalog) -> Result<()> {
        self.told.append(create.mistakes);
        let name = &create.name;
        if self.catalog.has_catalog(&name.value) {
            if create.if_not_exists {
                return Ok(());
            }
            let message = format!("catalog '{}' already exists", name.value);
            return Err(Diagnostic::error("exists", name.span, message)
                .hint("write CREATE CATALOG IF NOT EXISTS"));
        }
        let option = |key: &str| create.options.iter().find(|o| o.key.value == key);
        let Some(kind) = option("type") else {
            let message = format!("catalog '{}' has no type", name.value);
            return Err(Diagnostic::error("option", name.span, message)
                .hint("WITH ('type' = 'iceberg', 'catalog-type' = 'rest', 'uri' = 'http://…')"));
        };
        let iceberg = match kind.value.value.as_str() {
            "generic_in_memory" => {
                check_options(
                    &create.options,
                    &["type", "default-database"],
                    &mut self.told,
                );
                None
            }
            "iceberg" => {
                check_options(&create.options, ICEBERG_CATALOG, &mut self.told);
                Some(of_every_table(&create.options, name))
            }
            other => return Err(unknown_type(other, &kind.value)),
        };
        let default_database = option("default-database").map(|o| o.value.value.clone());
        let default_database = default_database.unwrap_or_else(|| "default".to_string());
        self.catalog
            .create_catalog(name, default_database, iceberg, self.statement);
        Ok(())
    }

    /// A table's declaration with all that it has from elsewhere, and the statements that this is from.
    pub(super) fn declaration(
        &mut self,
        path: &Path,
        create: CreateTable,
    ) -> Result<(CreateTable, Vec<Statement>)> {
        // A temporary table is the session's, wherever its name puts it.
        let of_catalog = match create.lifetime {
            Lifetime::Permanent => self.catalog.of_iceberg(path),
            Lifetime::Temporary => None,
        };
        let connector = create.options.iter().find(|o| o.key.value == "connector");
        if let (Some(connector), Some(_)) = (connector, &of_catalog) {
            let message = format!("catalog '{}' holds Iceberg tables", path.place.catalog);
            return Err(Diagnostic::error("option", connector.key.span, message)
                .detail("A table in it has no 'connector'.")
                .hint(format!(
                    "remove the option; a table over a topic is CREATE TEMPORARY TABLE, or default_catalog.default_database.{}",
                    path.object
                )));
        }
        let (mut create, mut statements) = self.like(create)?;
        if let Some((options, statement)) = of_catalog {
            let given =
                |option: &OptionText| options.iter().any(|o| o.key.value == option.key.value);
            create.options.retain(|option| !given(option));
            create.options.extend(options);
            statements.push(statement);
        }
        Ok((create, statements))
    }
}

/// What each table of an Iceberg catalog would say of it, were it declared elsewhere.
fn of_every_table(options: &[OptionText], name: &Ident) -> Vec<OptionText> {
    let made = |key: &str, value: &str| OptionText {
        key: Ident {
            value: key.to_string(),
            span: name.span,
        },
        value: Ident {
            value: value.to_string(),
            span: name.span,
        },
    };
    let of_table = |option: &&OptionText| {
        ["catalog-type", "uri", "warehouse"].contains(&option.key.value.as_str())
    };
    let mut all = vec![
        made("connector", "iceberg"),
        made("catalog-name", &name.value),
    ];
    all.extend(options.iter().filter(of_table).cloned());
    all
}

fn check_options(options: &[OptionText], known: &[&str], told: &mut Told) {
    for option in options {
        let key = option.key.value.as_str();
        if !known.contains(&key) {
            let message = format!("option '{key}' of a catalog is");
            let error = Diagnostic::unsupported(option.key.span, message);
            told.tell(error.hint_if(near_or_all(key, known.iter().copied(), "options")));
        }
    }
}

fn unknown_type(name: &str, value: &Ident) -> Diagnostic {
    if NOT_YET.contains(&name) {
        let what = format!("a catalog of type '{name}' is");
        return Diagnostic::unsupported(value.span, what)
            .hint("'type' = 'iceberg' or 'generic_in_memory'");
    }
    let message = format!("unknown type of catalog '{name}'");
    Diagnostic::error("option", value.span, message).hint_if(near_or_all(name, TYPES, "types"))
}
