//! The record of what is erased: a property of the table, there before anything goes, and obeyed by whoever of ours writes to it.
//!
//! ```text
//! lakeward.erased   [{"id", "at", "columns": [field id, …], "salt", "hashes": ["…", …], "below": {"topic":{"0":offset}},
//!                     "sequence", "stage": "recorded" | "rewritten" | "done", "going": [path, …]}, …]
//! ```
//!
//! A row is erased when its values in `columns` have one of the hashes, and the record that it came from stands before `below` in its
//! partition: what is produced later is new data. Rows of other writers came from no record; of these the ones are erased
//! whose file is no newer than `sequence`.
//!
//! The property must not itself keep what is erased, so it has SHA-256 of the salt and the values. Whoever can read the table's
//! metadata may try values until one fits: that hides a key which is hard to guess, and no other.

use super::predicate::Keys;
use super::values::Values;
use crate::commit::marker::Ends;
use crate::error::{CatalogError, Kind};
use arrow_array::{ArrayRef, Int32Array, Int64Array, StringArray};
use iceberg::spec::TableMetadata;
use lw_runtime::Runs;
use lw_runtime::kernel::sha256_of;
use lw_runtime::manifest::SplitOffset;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use uuid::Uuid;

/// The property of the table.
pub(crate) const PROPERTY: &str = "lakeward.erased";

/// How far an erasure is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Nothing of ours writes such a row any more; some may be there.
    #[default]
    Recorded,
    /// No branch shows one, and the snapshots that had some have ended.
    Rewritten,
    /// No file has one, as far as this table's are known.
    Done,
}

/// A key that is erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub id: Uuid,
    /// Milliseconds since 1970.
    pub at: i64,
    /// Field ids, which rise.
    pub(crate) columns: Vec<i32>,
    salt: Uuid,
    hashes: BTreeSet<Hash>,
    below: Ends,
    sequence: i64,
    #[serde(default)]
    pub(super) stage: Stage,
    /// Files that no snapshot lists any more, and that are to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) going: Vec<String>,
}

/// What an entry is made of beside its key.
pub(super) struct New {
    pub(super) id: Uuid,
    pub(super) salt: Uuid,
    pub(super) at: i64,
    pub(super) below: Ends,
    pub(super) sequence: i64,
}

impl Entry {
    pub(super) fn new(keys: &Keys, new: New) -> Entry {
        let tuples = keys.tuples.iter();
        Entry {
            id: new.id,
            at: new.at,
            columns: keys.columns.clone(),
            salt: new.salt,
            hashes: tuples.map(|tuple| Hash::of(new.salt, tuple)).collect(),
            below: new.below,
            sequence: new.sequence,
            stage: Stage::Recorded,
            going: Vec::new(),
        }
    }

    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// It is of this very key.
    pub(super) fn is_of(&self, keys: &Keys) -> bool {
        let tuples = keys.tuples.iter();
        let hashes: BTreeSet<Hash> = tuples.map(|tuple| Hash::of(self.salt, tuple)).collect();
        self.columns == keys.columns && self.hashes == hashes
    }

    /// The first offset of a partition whose rows are not erased.
    pub(crate) fn below(&self, topic: &str, partition: i32) -> i64 {
        let partitions = self.below.get(topic);
        let below = partitions.and_then(|partitions| partitions.get(&partition));
        below.copied().unwrap_or(i64::MIN)
    }

    pub(super) fn offsets_below(&self) -> Vec<SplitOffset> {
        crate::commit::marker::to_offsets_of_splits(&self.below)
    }

    /// Rows without an offset, of a file of this data sequence number.
    pub(super) fn takes_file(&self, sequence: i64) -> bool {
        sequence <= self.sequence
    }

    /// Where it is as far as another one that has the same key is.
    pub(super) fn reaches_as_far_as(mut self, other: &Entry) -> Entry {
        for (topic, partitions) in &other.below {
            let mine = self.below.entry(topic.clone()).or_default();
            for (partition, below) in partitions {
                let at = mine.entry(*partition).or_insert(*below);
                *at = (*at).max(*below);
            }
        }
        self
    }
}

/// SHA-256, in JSON as hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Hash([u8; 32]);

impl Hash {
    fn of(salt: Uuid, tuple: &[u8]) -> Hash {
        let message = [salt.as_bytes().as_slice(), tuple].concat();
        let hash = sha256_of(&message);
        Hash(hash.try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> String {
        let mut text = String::with_capacity(64);
        for byte in hash.0 {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

impl TryFrom<String> for Hash {
    type Error = String;

    fn try_from(text: String) -> Result<Hash, String> {
        let digits = |at: usize| text.get(2 * at..2 * at + 2);
        let byte = |at: usize| u8::from_str_radix(digits(at)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
        let bytes = bytes.filter(|_| text.len() == 64);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Hash).ok_or_else(|| "it is no hash".to_owned())
    }
}

/// All that was erased from a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    entries: Vec<Entry>,
}

impl Erased {
    /// # Errors
    /// When there is a record and it cannot be understood: to write without it might bring back what was erased.
    pub fn of(metadata: &TableMetadata) -> Result<Erased, CatalogError> {
        let Some(text) = metadata.properties().get(PROPERTY) else {
            return Ok(Erased::default());
        };
        let entries = serde_json::from_str(text).map_err(|error| {
            let message =
                format!("the table property {PROPERTY} cannot be read: put back what it was");
            CatalogError::caused(Kind::BadRequest, message, error)
        })?;
        Ok(Erased { entries })
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Those that are not done.
    pub fn open(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.stage < Stage::Done)
    }

    /// Those of which branches may show rows yet.
    pub(crate) fn shown(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.stage == Stage::Recorded)
    }

    pub(super) fn to_property(&self) -> String {
        serde_json::to_string(&self.entries).expect("entries are plain data")
    }

    pub(super) fn entry(&self, id: Uuid) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// With this entry, in place of one of the same id.
    pub(super) fn with(mut self, entry: Entry) -> Erased {
        self.entries.retain(|other| other.id != entry.id);
        self.entries.push(entry);
        self
    }

    pub(super) fn without(mut self, id: Uuid) -> Erased {
        self.entries.retain(|other| other.id != id);
        self
    }

    /// Whether the letter of this record was erased from its table of dead letters, which has these columns.
    pub fn has_letter(
        &self,
        metadata: &TableMetadata,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> bool {
        let schema = metadata.current_schema();
        let id = |name: &str| schema.field_by_name(name).map(|field| field.id);
        let [of_topic, of_partition, of_offset] = ["topic", "partition", "offset"].map(id);
        let column = |id: i32| -> Option<ArrayRef> {
            match Some(id) {
                id if id == of_topic => Some(Arc::new(StringArray::from(vec![topic]))),
                id if id == of_partition => Some(Arc::new(Int32Array::from(vec![partition]))),
                id if id == of_offset => Some(Arc::new(Int64Array::from(vec![offset]))),
                _ => None,
            }
        };
        self.entries.iter().any(|entry| {
            let found = Found::of(entry, &column).ok().flatten();
            let is_before = offset < entry.below(topic, partition);
            is_before && found.is_some_and(|mut found| found.has(0))
        })
    }

    /// For each row whether it is erased; `None` where none is. `column` gives the column of a field id, `split` the topic and the
    /// partition of a split.
    ///
    /// # Errors
    /// When a column is of a type that it cannot be, in words.
    pub fn among<'s>(
        &self,
        runs: &Runs,
        column: &dyn Fn(i32) -> Option<ArrayRef>,
        split: &dyn Fn(u32) -> (&'s str, i32),
    ) -> Result<Option<Vec<bool>>, String> {
        let reaches = |entry: &&Entry| {
            let mut runs = runs.runs().iter();
            runs.any(|run| {
                let (topic, partition) = split(run.split);
                run.first < entry.below(topic, partition)
            })
        };
        let mut erased = None;
        for entry in self.entries.iter().filter(reaches) {
            let Some(mut found) = Found::of(entry, column)? else {
                continue;
            };
            let mut row = 0;
            for run in runs.runs() {
                let (topic, partition) = split(run.split);
                let below = entry.below(topic, partition);
                if run.first >= below {
                    row += run.rows();
                    continue;
                }
                for origin in run.origins() {
                    if origin.offset < below && found.has(row) {
                        let all = erased.get_or_insert_with(|| vec![false; runs.rows()]);
                        all[row] = true;
                    }
                    row += 1;
                }
            }
        }
        Ok(erased)
    }
}

/// The columns of an entry in a batch.
pub(super) struct Found<'a> {
    entry: &'a Entry,
    columns: Vec<Values>,
    tuple: Vec<u8>,
}

impl<'a> Found<'a> {
    /// `None` where one of them is not there: it is NULL in all rows.
    ///
    /// # Errors
    /// When a column is of a type that it cannot be, in words.
    pub(super) fn of(
        entry: &'a Entry,
        column: &dyn Fn(i32) -> Option<ArrayRef>,
    ) -> Result<Option<Found<'a>>, String> {
        let columns: Option<Vec<ArrayRef>> = entry.columns.iter().map(|id| column(*id)).collect();
        let Some(columns) = columns else {
            return Ok(None);
        };
        let columns = columns.iter().map(Values::of);
        Ok(Some(Found {
            entry,
            columns: columns.collect::<Result<_, _>>()?,
            tuple: Vec::new(),
        }))
    }

    /// Whether a row has the key.
    pub(super) fn has(&mut self, row: usize) -> bool {
        self.tuple.clear();
        let tuple = &mut self.tuple;
        let is_whole = self.columns.iter().all(|column| column.put(row, tuple));
        is_whole
            && self
                .entry
                .hashes
                .contains(&Hash::of(self.entry.salt, tuple))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erasure::Predicate;
    use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
    use lw_runtime::Origin;

    fn entry(text: &str, below: i64) -> Entry {
        let field = |id, name, ty| Arc::new(NestedField::optional(id, name, Type::Primitive(ty)));
        let fields = vec![
            field(1, "id", PrimitiveType::Long),
            field(2, "name", PrimitiveType::String),
        ];
        let schema = Schema::builder().with_fields(fields).build().expect("one");
        let predicate = Predicate::parse(text).expect("a key");
        let keys = predicate.keys(&schema).expect("of the table");
        let new = New {
            id: Uuid::from_u128(1),
            salt: Uuid::from_u128(2),
            at: 0,
            below: [("in".to_owned(), [(0, below)].into())].into(),
            sequence: 5,
        };
        Entry::new(&keys, new)
    }

    fn erased(entry: Entry, ids: ArrayRef, first: i64) -> Option<Vec<bool>> {
        let rows = ids.len();
        let names: ArrayRef = Arc::new(StringArray::from(vec!["a"; rows]));
        let origin = |row| Origin {
            split: 0,
            offset: first + row as i64,
        };
        let runs: Runs = (0..rows).map(origin).collect();
        let column = |id| match id {
            1 => Some(ids.clone()),
            2 => Some(names.clone()),
            _ => None,
        };
        let all = Erased::default().with(entry);
        all.among(&runs, &column, &|_| ("in", 0)).expect("keys")
    }

    #[test]
    fn rows_of_the_key_below_the_offset_are_erased_in_whatever_width() {
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None, Some(8), Some(7)]));
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None, Some(8), Some(7)]));
        for ids in [wide, narrow] {
            let of = |text, below| erased(entry(text, below), ids.clone(), 10);
            assert_eq!(of("id = 7", 13), Some(vec![true, false, false, false]));
            assert_eq!(of("id = 7", 14), Some(vec![true, false, false, true]));
            assert_eq!(
                of("id IN (7, 8) AND name = 'a'", 13),
                Some(vec![true, false, true, false])
            );
            assert_eq!(of("id = 7 AND name = 'b'", 99), None);
            assert_eq!(of("id = 7", 10), None);
        }
    }

    #[test]
    fn it_is_read_as_it_was_written_and_has_no_value_in_it() {
        let all = Erased::default().with(entry("name = 'Ada Lovelace'", 9));
        let text = all.to_property();
        assert!(
            !text.contains("Ada") && text.contains("\"stage\":\"recorded\""),
            "{text}"
        );
        let entries: Vec<Entry> = serde_json::from_str(&text).expect("it can be read");
        assert_eq!(entries, all.entries);
        // Salt and values as any SHA-256 has them: what stands in tables must stay readable.
        let mut message = vec![0; 15];
        message.push(2);
        message.extend_from_slice(b"s\x0c\0\0\0Ada Lovelace");
        let hash = String::from(Hash(sha256_of(&message).try_into().expect("32 bytes")));
        assert!(text.contains(&hash), "{text}");
    }
}
