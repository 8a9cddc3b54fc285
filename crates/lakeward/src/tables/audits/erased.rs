//! What was erased from a table, as an audit asks about it.

use lw_graph::{ColumnName, places};
use lw_lakehouse::erasure::Stage;
use lw_lakehouse::{CatalogError, TableView};
use lw_ops::audit::{Erased, WhichErased};

/// `None` where nothing was.
pub(super) fn erased(view: &TableView) -> Result<Option<Erased<'static>>, CatalogError> {
    let erased = view.erased()?;
    if erased.is_empty() {
        return Ok(None);
    }
    let mut still_there = view.came_back(&erased)?;
    let begun = erased
        .open()
        .filter(|entry| entry.stage() == Stage::Recorded);
    still_there.extend(begun.map(|_| {
        "an erasure was begun and is not done: `lakeward table erase TABLE --continue`".to_string()
    }));
    let metadata = view.table().metadata.clone();
    let which: Box<WhichErased<'static>> =
        Box::new(move |columns: &[ColumnName], rows, keys, runs| {
            let fields = metadata.current_schema().as_struct().fields();
            let named = fields.iter().map(|field| (&*field.name, Some(field.id)));
            let places = places(columns, named);
            let column = |id: i32| {
                let field = fields.iter().position(|field| field.id == id)?;
                let at = places.iter().position(|place| *place == Some(field))?;
                Some(rows.column(at).clone())
            };
            let split = |split: u32| {
                let (topic, partition) = &keys[split as usize];
                (topic.as_str(), *partition)
            };
            erased.among(runs, &column, &split)
        });
    Ok(Some(Erased { which, still_there }))
}
