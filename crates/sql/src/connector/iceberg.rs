//! `'connector' = 'iceberg'`: where the table is and how it is written.
//!
//! As in Flink, an option that is not the connector's own becomes a property of the table. One that looks like a misspelt own
//! option does too, but with a notice.

use super::Use;
use super::lookup::is_of_lookups;
use super::options::{Options, bad_value, without_effect};
use crate::Result;
use crate::diagnostic::{Diagnostic, Told};
use crate::environment::CatalogPlace;
use crate::parse::Ident;
use lw_graph::{Field, Heed, IcebergSink, LateRows, Schema, SchemaChange, TypeKind, heed};
use lw_stdx::suggest::nearest;
use std::collections::BTreeMap;

const OWN: &[&str] = &[
    "connector",
    "catalog-name",
    "catalog-type",
    "catalog-database",
    "catalog-table",
    "uri",
    "warehouse",
    "format-version",
    "lakeward.late",
    "lakeward.schema-change",
];

/// Options of `CREATE CATALOG … WITH ('type' = 'iceberg')`.
pub(crate) const CATALOG_OPTIONS: &[&str] = &[
    "type",
    "catalog-type",
    "uri",
    "warehouse",
    "default-database",
];

/// Options of Flink's sink that change what is written.
const NOT_YET: &[&str] = &[
    "catalog-impl",
    "io-impl",
    "write-format",
    "upsert-enabled",
    "overwrite-enabled",
    "branch",
    "distribution-mode",
    "equality-field-columns",
];

pub(super) fn sink(used: &Use<'_>, told: &mut Told) -> Option<IcebergSink> {
    let options = Options::new(used.options, used.table.span);
    let catalog = options.required(
        "catalog-name",
        "'catalog-name' = '…': the name under [catalogs] in lakeward.toml",
    );
    let catalog = told.settle(catalog);
    let uri = catalog.and_then(|catalog| {
        let place = place(used, &options, catalog, told);
        told.settle(place)
    });
    let warehouse = options.value("warehouse");
    if let (Some(warehouse), Some(None)) = (warehouse, &uri) {
        told.settle(check_warehouse(used, warehouse));
    }
    if let Some(key) = used.table.primary_key.first() {
        told.tell(
            Diagnostic::unsupported(key.span, "a PRIMARY KEY on an Iceberg table is")
                .detail("Rows are appended; none replaces another.")
                .hint("remove the PRIMARY KEY, and deduplicate when reading"),
        );
    }
    let path = &used.table.path;
    let (database, object) = (&path.place.database, &path.object);
    let name = |key: &str, default: &String| {
        let value = options.value(key).map(|value| value.value.clone());
        value.unwrap_or_else(|| default.clone())
    };
    let format_version = told.settle(format_version(&options));
    let late = late_rows(&options, told);
    let schema_change = schema_change(&options, told);
    let properties = properties(&options, told);
    Some(IcebergSink {
        late,
        schema_change,
        catalog: catalog?.value.clone(),
        uri: uri?,
        namespace: name("catalog-database", database),
        table: name("catalog-table", object),
        warehouse: warehouse.map(|value| value.value.clone()),
        format_version: format_version?,
        schema: schema(used),
        primary_key: Vec::new(),
        partitioned_by: partitioned_by(used, told),
        branch: None,
        properties,
    })
}

/// Where a table is that is read: nothing of how it is written.
pub(super) fn place_of(used: &Use<'_>, told: &mut Told) -> Option<IcebergSink> {
    let options = Options::new(used.options, used.table.span);
    let catalog = options.required(
        "catalog-name",
        "'catalog-name' = '…': the name under [catalogs] in lakeward.toml",
    );
    let catalog = told.settle(catalog)?;
    let uri = place(used, &options, catalog, told);
    let uri = told.settle(uri)?;
    let (database, object) = (&used.table.path.place.database, &used.table.path.object);
    let name = |key: &str, default: &String| {
        let value = options.value(key).map(|value| value.value.clone());
        value.unwrap_or_else(|| default.clone())
    };
    Some(IcebergSink {
        catalog: catalog.value.clone(),
        uri,
        namespace: name("catalog-database", database),
        table: name("catalog-table", object),
        warehouse: options.value("warehouse").map(|value| value.value.clone()),
        format_version: 2,
        schema: Schema::new(Vec::new()),
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        late: LateRows::Drop,
        schema_change: SchemaChange::Pause,
        branch: None,
        properties: BTreeMap::new(),
    })
}

/// What `'lakeward.late'` says.
pub(super) fn late_rows(options: &Options<'_>, told: &mut Told) -> LateRows {
    let late = options.choice("lakeward.late", &["drop", "side-table", "fail"]);
    match told.settle(late).flatten() {
        Some(("side-table", _)) => LateRows::SideTable,
        Some(("fail", _)) => LateRows::Fail,
        _ => LateRows::Drop,
    }
}

/// What `'lakeward.schema-change'` says.
fn schema_change(options: &Options<'_>, told: &mut Told) -> SchemaChange {
    const KEY: &str = "lakeward.schema-change";
    if let Some(value) = options
        .value(KEY)
        .filter(|value| value.value.eq_ignore_ascii_case("dead-letter"))
    {
        let what = format!("'{KEY}' = 'dead-letter' is");
        told.tell(
            Diagnostic::unsupported(value.span, what)
                .detail("A pipeline whose rows do not fit the table pauses and loses none, or changes the table.")
                .hint(format!("'{KEY}' = 'pause', or 'evolve'")),
        );
        return SchemaChange::Pause;
    }
    let choice = options.choice(KEY, &["pause", "evolve"]);
    match told.settle(choice).flatten() {
        Some(("evolve", _)) => SchemaChange::Evolve,
        _ => SchemaChange::Pause,
    }
}

/// The REST catalog's address, where it is not the embedded one.
fn place(
    used: &Use<'_>,
    options: &Options<'_>,
    catalog: &Ident,
    told: &mut Told,
) -> Result<Option<String>> {
    let kind = options.choice("catalog-type", &["hive", "hadoop", "rest"])?;
    let uri = options.value("uri");
    if let Some((kind @ ("hive" | "hadoop"), span)) = kind {
        return Err(
            Diagnostic::unsupported(span, format!("a {kind} catalog is")).hint(
                "remove 'catalog-type', so that lakeward.toml says where the catalog is; or write 'catalog-type' = 'rest', 'uri' = 'http://…'",
            ),
        );
    }
    if let Some(uri) = uri {
        if !uri.value.starts_with("http://") && !uri.value.starts_with("https://") {
            return Err(bad_value(
                "uri",
                uri,
                "the address of an Iceberg REST catalog: 'http://…'",
            ));
        }
        return Ok(Some(uri.value.clone()));
    }
    if let Some(option) = options.get("catalog-type") {
        let why = "Without 'uri', lakeward.toml says where the catalog of this name is, and of which kind.";
        told.tell(without_effect(&option.key, why));
    }
    match used.env.catalog(&catalog.value) {
        Ok(CatalogPlace::Embedded) => Ok(None),
        Ok(CatalogPlace::Rest { uri }) => Ok(Some(uri)),
        Err(missing) => {
            let message = format!(
                "lakeward.toml does not say where catalog '{}' is",
                catalog.value
            );
            let error = Diagnostic::error("environment", catalog.span, message);
            let line = format!("{} = \"embedded\"", toml_key(&catalog.value));
            Err(error
                .detail(known_names(&missing.known))
                .hint(format!("add under [catalogs] in lakeward.toml:  {line}")))
        }
    }
}

pub(super) fn check_warehouse(used: &Use<'_>, warehouse: &Ident) -> Result<()> {
    let Err(missing) = used.env.warehouse(&warehouse.value) else {
        return Ok(());
    };
    let message = format!("lakeward.toml does not say where '{}' is", warehouse.value);
    Err(Diagnostic::error("environment", warehouse.span, message)
        .detail(known_names(&missing.known))
        .hint(format!(
            "add under [warehouses] in lakeward.toml:  \"{}\" = \"file:///…\"",
            warehouse.value
        )))
}

/// What lakeward.toml does have, as the detail of "no entry".
pub(super) fn known_names(known: &[String]) -> String {
    if known.is_empty() {
        return "It has no such entry at all.".to_string();
    }
    let names: Vec<String> = known.iter().map(|name| format!("'{name}'")).collect();
    format!("It knows {}.", names.join(", "))
}

/// A bare TOML key where the name allows it.
pub(super) fn toml_key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(bare) {
        name.to_string()
    } else {
        format!("\"{name}\"")
    }
}

fn format_version(options: &Options<'_>) -> Result<u8> {
    match options.value("format-version") {
        None => Ok(2),
        Some(value) => match value.value.as_str() {
            "2" => Ok(2),
            "1" | "3" => Err(Diagnostic::unsupported(
                value.span,
                format!("Iceberg format version {} is", value.value),
            )
            .hint("'format-version' = '2'")),
            _ => Err(bad_value("format-version", value, "'2'")),
        },
    }
}

/// Where the columns of PARTITIONED BY are among those of the table.
pub(super) fn partitioned_by(used: &Use<'_>, told: &mut Told) -> Vec<usize> {
    let mut places = Vec::new();
    // What is no physical column was told at the table.
    for name in used.table.partitioned.iter().flat_map(|by| &by.columns) {
        let mut stored = used.table.stored().enumerate();
        let Some((place, column)) = stored.find(|(_, column)| column.name == name.value) else {
            continue;
        };
        if matches!(
            column.ty.kind,
            TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_)
        ) {
            let kind = &column.ty.kind;
            let message = format!("a table cannot be partitioned by {kind}");
            told.tell(Diagnostic::error("type", name.span, message));
        }
        places.push(place);
    }
    places
}

pub(super) fn schema(used: &Use<'_>) -> Schema {
    Schema::new(
        used.table
            .stored()
            .map(|column| Field::new(column.name.clone(), column.ty.clone()))
            .collect(),
    )
}

fn properties(options: &Options<'_>, told: &mut Told) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    for option in options.iter() {
        let (key, value) = (&option.key, &option.value);
        if OWN.contains(&key.value.as_str()) || is_of_lookups(&key.value) {
            continue;
        }
        if NOT_YET.contains(&key.value.as_str()) {
            told.tell(
                Diagnostic::unsupported(key.span, format!("option '{}' is", key.value))
                    .hint("remove it, or run this script on an Apache Flink cluster"),
            );
            continue;
        }
        told.settle(check_property(key, value));
        if let Some(Heed::Kept(why)) = heed(&key.value, &value.value) {
            let message = format!("option '{}' is kept as a property of the table", key.value);
            told.tell(
                Diagnostic::notice("option", key.span, message).detail(format!(
                    "{why} Other engines may obey it; this version does not when it writes."
                )),
            );
        }
        if let Some(near) = nearest(&key.value, OWN.iter().copied()) {
            let message = format!("option '{}' becomes a property of the table", key.value);
            told.tell(
                Diagnostic::notice("option", key.span, message)
                    .hint(format!("did you mean '{near}'?")),
            );
        }
        properties.insert(key.value.clone(), value.value.clone());
    }
    properties
}

/// Properties that ask for something that this version's writer does not do.
fn check_property(key: &Ident, value: &Ident) -> Result<()> {
    match (key.value.as_str(), value.value.as_str()) {
        ("write.upsert.enabled", on) if on.eq_ignore_ascii_case("true") => {
            Err(Diagnostic::unsupported(value.span, "upsert is")
                .detail("Rows are appended; none replaces another."))
        }
        ("write.format.default", format) if !format.eq_ignore_ascii_case("parquet") => Err(
            Diagnostic::unsupported(value.span, format!("writing {format} files is"))
                .hint("'write.format.default' = 'parquet'"),
        ),
        ("write.wap.enabled", on) if !on.eq_ignore_ascii_case("false") => Err(
            Diagnostic::unsupported(value.span, "publishing by write-audit-publish is")
                .detail("Rows are visible with the commit that appends them."),
        ),
        (key, _) if key.starts_with("encryption.") => {
            Err(Diagnostic::unsupported(value.span, "encrypting tables is"))
        }
        (key, text) => match heed(key, text) {
            Some(Heed::Refused(why)) => {
                let what = format!("'{key}' = '{text}' is");
                Err(Diagnostic::unsupported(value.span, what).detail(why))
            }
            Some(Heed::Bad(takes)) => Err(bad_value(key, value, takes)),
            _ => Ok(()),
        },
    }
}
