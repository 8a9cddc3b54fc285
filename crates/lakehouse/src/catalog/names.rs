//! Names of namespaces, tables and views: they become keys of the log and folders of the warehouse.

use super::places::is_hidden_step;
use crate::error::{CatalogError, Kind};
use iceberg::TableIdent;

/// Names become folders, with a suffix of 13 characters where the folder is taken; Linux takes 255 bytes.
const LONGEST_NAME: usize = 200;
/// All levels of a table's name together: the warehouse before them and our file names behind them must find room in a path.
const LONGEST_IDENT: usize = 1024;

/// Checks the names of a table or view and of its namespace, before anything is done for it.
pub(crate) fn check_name(name: &TableIdent) -> Result<(), CatalogError> {
    check_names(name.namespace.iter().chain(std::iter::once(&name.name)))
}

/// The folder that a name gets. A slash would part it, and engines disagree about escapes in places: one that is taken
/// already gets a suffix anyway.
pub(crate) fn folder_name(name: &str) -> String {
    name.replace('/', "_")
}

/// Names become keys and folders.
pub(crate) fn check_names<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), CatalogError> {
    let refused = |name: &str, why: &str| {
        let shown: String = name.chars().take(80).collect();
        let message = format!("\"{}\" cannot be a name: {why}", shown.escape_debug());
        Err(CatalogError::new(Kind::BadRequest, message))
    };
    let mut length = 0;
    for name in names {
        if name.is_empty() {
            return refused(name, "it is empty");
        }
        let is_step = |part: &str| matches!(part, "" | ".") || is_hidden_step(part);
        if name.split('/').any(is_step) {
            return refused(name, "as a folder it would be another one");
        }
        if name.chars().any(char::is_control) {
            return refused(name, "it has a control character");
        }
        if name.len() > LONGEST_NAME {
            return refused(name, &format!("it has more than {LONGEST_NAME} bytes"));
        }
        length += name.len() + 1;
        if length > LONGEST_IDENT {
            return refused(
                name,
                &format!("with the namespaces around it, it has more than {LONGEST_IDENT} bytes"),
            );
        }
    }
    Ok(())
}
