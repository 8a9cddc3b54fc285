//! The embedded catalog's records and how operations change them: pure, no disk, no lock.
//!
//! Layout in `Table::Catalog` (frozen; a namespace's levels are joined by `0x1f`, as in REST paths):
//!
//! ```text
//! n/<namespace>           {"properties": {…}, "tables_changed": 7}
//! t/<namespace>/<table>   {"metadata_location": "file:///…", "uuid": "…", "location": "file:///…"}
//!                         (0x1e between namespace and table; records before 0.2 have no location: it is in the metadata)
//! ```
//!
//! Every change is a list of compare-and-swaps for one frame of the log: all of it happens or nothing does. Adding or
//! removing a table, or a namespace inside, also swaps the namespace's record (`tables_changed`), so that dropping a
//! namespace and creating something in it cannot both succeed.

use crate::error::{CatalogError, Kind};
use bytes::Bytes;
use iceberg::{NamespaceIdent, TableIdent};
use lw_storage::{Expect, Op, Table};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The records as an operation sees them.
pub(crate) trait Records {
    fn get(&self, key: &[u8]) -> Option<Bytes>;
    fn scan(&self, prefix: &[u8]) -> Vec<(Bytes, Bytes)>;
}

impl Records for lw_storage::Storage {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        lw_storage::Storage::get(self, Table::Catalog, key)
    }

    fn scan(&self, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
        lw_storage::Storage::scan(self, Table::Catalog, prefix)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamespaceRecord {
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) tables_changed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pointer {
    pub(crate) metadata_location: String,
    pub(crate) uuid: uuid::Uuid,
    /// The table's folder, so that no other table gets it: told here, or each look would read every table's metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) location: Option<String>,
}

impl Pointer {
    pub(crate) fn to(metadata_location: &str, metadata: &iceberg::spec::TableMetadata) -> Pointer {
        Pointer {
            metadata_location: metadata_location.to_owned(),
            uuid: metadata.uuid(),
            location: Some(metadata.location().to_owned()),
        }
    }
}

/// What changes in a namespace's properties, as REST answers it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct PropertiesChanged {
    pub updated: Vec<String>,
    pub removed: Vec<String>,
    pub missing: Vec<String>,
}

const LEVEL: &str = "\u{1f}";
const TABLE: &str = "\u{1e}";

pub(crate) fn namespace_key(namespace: &NamespaceIdent) -> Vec<u8> {
    format!("n/{}", namespace.join(LEVEL)).into_bytes()
}

fn tables_prefix(namespace: &NamespaceIdent) -> Vec<u8> {
    format!("t/{}{TABLE}", namespace.join(LEVEL)).into_bytes()
}

pub(crate) fn table_key(table: &TableIdent) -> Vec<u8> {
    let mut key = tables_prefix(&table.namespace);
    key.extend_from_slice(table.name.as_bytes());
    key
}

/// Namespaces directly below `parent`, or at the top.
pub(crate) fn list_namespaces(
    records: &dyn Records,
    parent: Option<&NamespaceIdent>,
) -> Result<Vec<NamespaceIdent>, CatalogError> {
    if let Some(parent) = parent {
        namespace(records, parent)?;
    }
    let depth = parent.map_or(0, |parent| parent.len());
    let mut found: Vec<NamespaceIdent> = Vec::new();
    for (key, _) in records.scan(b"n/") {
        let levels: Vec<String> = text(&key[2..])?.split(LEVEL).map(str::to_owned).collect();
        let below =
            parent.is_none_or(|parent| levels.len() > depth && levels[..depth] == parent[..]);
        if below && levels.len() == depth + 1 {
            found.push(NamespaceIdent::from_vec(levels)?);
        }
    }
    Ok(found)
}

pub(crate) fn namespace(
    records: &dyn Records,
    name: &NamespaceIdent,
) -> Result<NamespaceRecord, CatalogError> {
    Ok(namespace_bytes(records, name)?.1)
}

fn namespace_bytes(
    records: &dyn Records,
    name: &NamespaceIdent,
) -> Result<(Bytes, NamespaceRecord), CatalogError> {
    let bytes = records
        .get(&namespace_key(name))
        .ok_or_else(|| no_namespace(name))?;
    let record = decode(&bytes)?;
    Ok((bytes, record))
}

pub(crate) fn create_namespace(
    records: &dyn Records,
    name: &NamespaceIdent,
    properties: BTreeMap<String, String>,
) -> Result<Vec<Op>, CatalogError> {
    check_names(name.iter())?;
    if records.get(&namespace_key(name)).is_some() {
        return Err(CatalogError::new(
            Kind::AlreadyExists,
            format!("namespace already exists: {name}"),
        ));
    }
    let mut ops = Vec::new();
    // The parents of a nested namespace come with it. The first one that is there is touched: it must not be dropped
    // meanwhile, and cannot be dropped later without a look at what is in it.
    let mut parent = name.parent();
    while let Some(above) = parent {
        if records.get(&namespace_key(&above)).is_some() {
            ops.push(touch(records, &above)?);
            break;
        }
        ops.push(put(
            namespace_key(&above),
            &NamespaceRecord::default(),
            Expect::Absent,
        ));
        parent = above.parent();
    }
    let record = NamespaceRecord {
        properties,
        tables_changed: 0,
    };
    ops.push(put(namespace_key(name), &record, Expect::Absent));
    Ok(ops)
}

pub(crate) fn update_namespace(
    records: &dyn Records,
    name: &NamespaceIdent,
    removals: &[String],
    updates: &BTreeMap<String, String>,
) -> Result<(Vec<Op>, PropertiesChanged), CatalogError> {
    if let Some(both) = removals.iter().find(|key| updates.contains_key(*key)) {
        return Err(CatalogError::new(
            Kind::Unprocessable,
            format!("property is both set and removed: {both}"),
        ));
    }
    let (old, mut record) = namespace_bytes(records, name)?;
    let mut changed = PropertiesChanged::default();
    for key in removals {
        match record.properties.remove(key) {
            Some(_) => changed.removed.push(key.clone()),
            None => changed.missing.push(key.clone()),
        }
    }
    for (key, value) in updates {
        record.properties.insert(key.clone(), value.clone());
        changed.updated.push(key.clone());
    }
    Ok((
        vec![put(namespace_key(name), &record, Expect::Value(old))],
        changed,
    ))
}

pub(crate) fn drop_namespace(
    records: &dyn Records,
    name: &NamespaceIdent,
) -> Result<Vec<Op>, CatalogError> {
    let (old, _) = namespace_bytes(records, name)?;
    if !records.scan(&tables_prefix(name)).is_empty()
        || !list_namespaces(records, Some(name))?.is_empty()
    {
        return Err(CatalogError::new(
            Kind::NamespaceNotEmpty,
            format!("namespace is not empty: {name}"),
        ));
    }
    Ok(vec![Op::Put {
        table: Table::Catalog,
        key: namespace_key(name).into(),
        value: None,
        expect: Expect::Value(old),
    }])
}

pub(crate) fn list_tables(
    records: &dyn Records,
    name: &NamespaceIdent,
) -> Result<Vec<TableIdent>, CatalogError> {
    namespace(records, name)?;
    let prefix = tables_prefix(name);
    records
        .scan(&prefix)
        .iter()
        .map(|(key, _)| {
            Ok(TableIdent::new(
                name.clone(),
                text(&key[prefix.len()..])?.to_owned(),
            ))
        })
        .collect()
}

/// A table's pointer and its bytes, which a later swap expects.
pub(crate) fn pointer(
    records: &dyn Records,
    table: &TableIdent,
) -> Result<Option<(Bytes, Pointer)>, CatalogError> {
    match records.get(&table_key(table)) {
        None => Ok(None),
        Some(bytes) => {
            let pointer = decode(&bytes)?;
            Ok(Some((bytes, pointer)))
        }
    }
}

pub(crate) fn existing(
    records: &dyn Records,
    table: &TableIdent,
) -> Result<(Bytes, Pointer), CatalogError> {
    namespace(records, &table.namespace).map_err(|error| match error.kind {
        // Readers ask for tables; what they want to hear is that there is no such table.
        Kind::NoSuchNamespace => no_table(table),
        _ => error,
    })?;
    pointer(records, table)?.ok_or_else(|| no_table(table))
}

/// The swap for a table's pointer: a new table when `old` is `None`.
pub(crate) fn set_pointer(
    records: &dyn Records,
    table: &TableIdent,
    old: Option<Bytes>,
    new: &Pointer,
) -> Result<Vec<Op>, CatalogError> {
    match old {
        Some(old) => Ok(vec![put(table_key(table), new, Expect::Value(old))]),
        None => {
            check_table(table)?;
            Ok(vec![
                touch(records, &table.namespace)?,
                put(table_key(table), new, Expect::Absent),
            ])
        }
    }
}

pub(crate) fn drop_table(
    records: &dyn Records,
    table: &TableIdent,
) -> Result<(Vec<Op>, Pointer), CatalogError> {
    let (old, pointer) = existing(records, table)?;
    let ops = vec![
        touch(records, &table.namespace)?,
        delete(table_key(table), old),
    ];
    Ok((ops, pointer))
}

pub(crate) fn rename_table(
    records: &dyn Records,
    from: &TableIdent,
    to: &TableIdent,
) -> Result<Vec<Op>, CatalogError> {
    let (old, pointer) = existing(records, from)?;
    check_table(to)?;
    namespace(records, &to.namespace)?;
    if self::pointer(records, to)?.is_some() {
        return Err(already_exists(to));
    }
    let mut ops = vec![
        delete(table_key(from), old),
        put(table_key(to), &pointer, Expect::Absent),
        touch(records, &from.namespace)?,
    ];
    if from.namespace != to.namespace {
        ops.push(touch(records, &to.namespace)?);
    }
    Ok(ops)
}

/// Swaps a namespace's record because its set of tables changes.
fn touch(records: &dyn Records, name: &NamespaceIdent) -> Result<Op, CatalogError> {
    let (old, mut record) = namespace_bytes(records, name)?;
    record.tables_changed += 1;
    Ok(put(namespace_key(name), &record, Expect::Value(old)))
}

fn put(key: Vec<u8>, value: &impl Serialize, expect: Expect) -> Op {
    let value = serde_json::to_vec(value).expect("records are plain maps and strings");
    Op::Put {
        table: Table::Catalog,
        key: key.into(),
        value: Some(value.into()),
        expect,
    }
}

fn delete(key: Vec<u8>, old: Bytes) -> Op {
    Op::Put {
        table: Table::Catalog,
        key: key.into(),
        value: None,
        expect: Expect::Value(old),
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CatalogError> {
    serde_json::from_slice(bytes).map_err(|error| {
        CatalogError::caused(
            Kind::Internal,
            "a record of the catalog cannot be read",
            error,
        )
    })
}

fn text(bytes: &[u8]) -> Result<&str, CatalogError> {
    std::str::from_utf8(bytes).map_err(|error| {
        CatalogError::caused(Kind::Internal, "a key of the catalog cannot be read", error)
    })
}

/// Names become folders, with a suffix of 13 characters where the folder is taken; Linux takes 255 bytes.
const LONGEST_NAME: usize = 200;
/// All levels of a table's name together: the warehouse before them and our file names behind them must find room in a path.
const LONGEST_IDENT: usize = 1024;

/// Checks the names of a table and of its namespace, before anything is done for it.
pub(crate) fn check_table(table: &TableIdent) -> Result<(), CatalogError> {
    check_names(table.namespace.iter().chain(std::iter::once(&table.name)))
}

/// Names become keys and folders.
fn check_names<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), CatalogError> {
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
        if name == "." || super::places::is_hidden_step(name) {
            return refused(name, "as a folder it would be another one");
        }
        if name.chars().any(|c| c.is_control() || c == '/') {
            return refused(name, "it has a slash or a control character");
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

/// Every table (but `except`), with where its metadata is and its folder where the record tells.
pub(crate) fn all_tables(
    records: &dyn Records,
    except: Option<&TableIdent>,
) -> Result<Vec<(TableIdent, Pointer)>, CatalogError> {
    let mut tables = Vec::new();
    for (key, value) in records.scan(b"t/") {
        let Some((levels, name)) = text(&key[2..])?.rsplit_once(TABLE) else {
            continue;
        };
        let namespace = NamespaceIdent::from_strs(levels.split(LEVEL))?;
        let ident = TableIdent::new(namespace, name.to_owned());
        if Some(&ident) != except {
            tables.push((ident, decode(&value)?));
        }
    }
    Ok(tables)
}

pub(crate) fn no_namespace(name: &NamespaceIdent) -> CatalogError {
    CatalogError::new(
        Kind::NoSuchNamespace,
        format!("namespace does not exist: {name}"),
    )
}

pub(crate) fn no_table(table: &TableIdent) -> CatalogError {
    CatalogError::new(Kind::NoSuchTable, format!("table does not exist: {table}"))
}

pub(crate) fn already_exists(table: &TableIdent) -> CatalogError {
    CatalogError::new(
        Kind::AlreadyExists,
        format!("table already exists: {table}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Kept(BTreeMap<Vec<u8>, Bytes>);

    impl Kept {
        /// As the log takes a frame: all of it or nothing.
        fn take(&mut self, ops: &[Op]) -> bool {
            let puts = ops.iter().filter_map(|op| match op {
                Op::Put {
                    key, value, expect, ..
                } => Some((key, value, expect)),
                _ => None,
            });
            let puts: Vec<_> = puts.collect();
            let holds = puts.iter().all(|(key, _, expect)| match expect {
                Expect::Absent => !self.0.contains_key(&key[..]),
                Expect::Value(value) => self.0.get(&key[..]) == Some(value),
                _ => true,
            });
            for (key, value, _) in puts.into_iter().filter(|_| holds) {
                match value {
                    Some(value) => drop(self.0.insert(key.to_vec(), value.clone())),
                    None => drop(self.0.remove(&key[..])),
                }
            }
            holds
        }
    }

    impl Records for Kept {
        fn get(&self, key: &[u8]) -> Option<Bytes> {
            self.0.get(key).cloned()
        }

        fn scan(&self, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
            let below = self.0.iter().filter(|(key, _)| key.starts_with(prefix));
            below
                .map(|(key, value)| (Bytes::from(key.clone()), value.clone()))
                .collect()
        }
    }

    /// Whichever comes second was planned on what is no longer so.
    #[test]
    fn a_namespace_is_not_dropped_while_something_comes_into_it() {
        let outer = NamespaceIdent::new("n".to_owned());
        let inner = NamespaceIdent::from_strs(["n", "b"]).unwrap();
        for drop_first in [false, true] {
            let mut kept = Kept(BTreeMap::new());
            let made = create_namespace(&kept, &outer, BTreeMap::new()).unwrap();
            assert!(kept.take(&made));
            let comes = create_namespace(&kept, &inner, BTreeMap::new()).unwrap();
            let goes = drop_namespace(&kept, &outer).unwrap();
            let order = if drop_first {
                [goes, comes]
            } else {
                [comes, goes]
            };
            assert_eq!(order.map(|ops| kept.take(&ops)), [true, false]);
        }
    }
}
