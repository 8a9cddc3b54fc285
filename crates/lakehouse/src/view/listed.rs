//! Tables as a list shows them: from their metadata alone, so that a thousand tables are a thousand small files.

use crate::catalog::{Catalog, LoadedTable, TableCatalog};
use crate::commit::manifests;
use crate::commit::marker::Marker;
use crate::error::CatalogError;
use crate::storage::Files;
use iceberg::TableIdent;
use iceberg::spec::ManifestContentType;
use serde::Serialize;

/// A table in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    pub table: String,
    /// `None` when whoever wrote the head does not say.
    pub rows: Option<u64>,
    pub files: Option<u64>,
    pub snapshot_id: Option<i64>,
    /// Who committed last.
    pub pipeline: Option<String>,
    pub location: Option<String>,
    /// Why the table cannot be read; the others are listed all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// All tables, in namespaces of any depth, by name.
///
/// # Errors
/// When the catalog itself cannot be read.
pub fn list(catalog: &Catalog) -> Result<Vec<Listed>, CatalogError> {
    let tables = catalog.all_tables()?;
    Ok(tables.iter().map(|ident| listed(catalog, ident)).collect())
}

fn listed(catalog: &Catalog, ident: &TableIdent) -> Listed {
    let table = ident.to_string();
    let found = catalog.load(ident).and_then(|table| {
        let size = size(catalog.files(), &table)?;
        Ok((table, size))
    });
    match found {
        Ok((loaded, size)) => {
            let metadata = &loaded.metadata;
            let marker = Marker::of_table(metadata).ok().flatten();
            Listed {
                table,
                rows: size.rows,
                files: size.files,
                snapshot_id: metadata.current_snapshot_id(),
                pipeline: marker.map(|marker| marker.name),
                location: Some(metadata.location().to_owned()),
                error: None,
            }
        }
        Err(error) => {
            let cause = error.source.as_ref().map(|cause| format!(": {cause}"));
            Listed {
                table,
                rows: None,
                files: None,
                snapshot_id: None,
                pipeline: None,
                location: None,
                error: Some(format!("{error}{}", cause.unwrap_or_default())),
            }
        }
    }
}

/// What a table holds by its head's own totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) rows: Option<u64>,
    pub(super) files: Option<u64>,
}

/// How large a table is, without a look at its data files: from the head's summary, else from its manifest list.
pub(super) fn size(files: &Files, table: &LoadedTable) -> Result<Size, CatalogError> {
    let Some(head) = table.metadata.current_snapshot() else {
        return Ok(Size {
            rows: Some(0),
            files: Some(0),
        });
    };
    let total = |key: &str| -> Option<u64> {
        let text = head.summary().additional_properties.get(key)?;
        text.parse().ok()
    };
    if let (Some(rows), Some(files)) = (total("total-records"), total("total-data-files")) {
        return Ok(Size {
            rows: Some(rows),
            files: Some(files),
        });
    }
    let (mut rows, mut count) = (Some(0), Some(0));
    for manifest in manifests::load_list(files, &table.metadata, head)? {
        if manifest.content != ManifestContentType::Data {
            continue;
        }
        let both = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        let here = both(manifest.added_rows_count, manifest.existing_rows_count);
        rows = both(rows, here);
        let added = manifest.added_files_count.map(u64::from);
        let here = both(added, manifest.existing_files_count.map(u64::from));
        count = both(count, here);
    }
    Ok(Size { rows, files: count })
}
