//! What other writers did to a table, as the audit wants to know it.

use super::audited;
use lw_lakehouse::TableView;
use lw_lakehouse::view::Hidden;
use lw_ops::audit::{Others, OthersFile};
use std::collections::BTreeMap;

/// The operation of a snapshot that only added rows.
const APPEND: &str = "append";

/// What the table has of other writers.
pub(super) fn others(view: &TableView, hidden: &Hidden) -> Others {
    let theirs = view.snapshots.iter();
    let theirs = theirs.filter(|snapshot| snapshot.marker.is_none() && !snapshot.upkeep);
    let operations: BTreeMap<i64, &str> = view
        .snapshots
        .iter()
        .map(|snapshot| (snapshot.id, snapshot.operation.as_str()))
        .collect();
    let mut others = Others {
        snapshots: theirs.map(|snapshot| snapshot.id).collect(),
        equality_deletes: view.equality_deletes,
        ..Others::default()
    };
    for file in &view.data_files {
        let gone = hidden.get(&file.path);
        if audited(file).is_none() {
            others.files.push(OthersFile {
                path: file.path.clone(),
                rows: file.rows - gone.map_or(0, |places| places.len() as u64),
                // Of a snapshot that is not kept any more nobody knows what it did.
                added: operations.get(&file.snapshot_id) == Some(&APPEND),
            });
        } else if let Some(places) = gone {
            let places = places.iter().copied().collect();
            others.hidden.insert(file.path.clone(), places);
        }
    }
    others
}
