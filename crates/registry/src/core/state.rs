//! What the registry remembers, and how each record changes it.
//!
//! Rules that live here because a replay must keep them too:
//! - An id means one schema. It answers as long as any version carries it, soft-deleted or not.
//! - Version numbers go on behind the highest one present, soft-deleted included.
//! - New ids go on behind the highest one ever seen, whoever gave it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use lw_schemas::Json;

use crate::record::{Mode, Record, Reference, Schema, SchemaValue};

/// Subjects, ids, settings.
#[derive(Debug, Default, PartialEq)]
pub struct State {
    subjects: BTreeMap<String, BTreeMap<i32, Version>>,
    ids: BTreeMap<u32, Id>,
    /// From a schema's identity to the ids that it has; more than one only after imports.
    by_identity: HashMap<String, BTreeSet<u32>>,
    configs: BTreeMap<Option<String>, Json>,
    modes: BTreeMap<Option<String>, Mode>,
    highest_id: u32,
}

/// A version under a subject.
pub type Version = SchemaValue;

#[derive(Debug, PartialEq)]
struct Id {
    schema: Arc<Schema>,
    uses: BTreeSet<(String, i32)>,
}

/// References may lead to references this deep.
const MAX_REFERENCES: usize = 1_000;

impl State {
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Schema {
                subject,
                version,
                value: Some(value),
            } => self.put(subject, *version, value),
            Record::Schema {
                subject,
                version,
                value: None,
            } => self.remove(subject, *version),
            Record::Config {
                subject,
                value: Some(value),
            } => {
                self.configs.insert(subject.clone(), value.clone());
            }
            Record::Config {
                subject,
                value: None,
            } => {
                self.configs.remove(subject);
            }
            Record::Mode {
                subject,
                mode: Some(mode),
            } => {
                self.modes.insert(subject.clone(), *mode);
            }
            Record::Mode {
                subject,
                mode: None,
            } => {
                self.modes.remove(subject);
            }
            Record::DeleteSubject {
                subject,
                up_to_version,
            } => {
                let versions = self.subjects.get_mut(subject).into_iter().flatten();
                versions
                    .filter(|(v, _)| *v <= up_to_version)
                    .for_each(|(_, version)| version.deleted = true);
            }
            Record::ClearSubject { subject } => self.clear(subject.as_deref()),
            Record::Ignored => {}
        }
    }

    fn put(&mut self, subject: &str, version: i32, value: &SchemaValue) {
        self.remove(subject, version);
        let schema = match self.ids.get_mut(&value.id) {
            Some(id) if id.schema == value.schema => {
                id.uses.insert((subject.to_owned(), version));
                id.schema.clone()
            }
            known => {
                // An imported record may give an id that is in use another meaning; as in Confluent's registry the last one holds.
                let mut uses = known
                    .map(|id| std::mem::take(&mut id.uses))
                    .unwrap_or_default();
                uses.insert((subject.to_owned(), version));
                self.forget_identity(value.id);
                self.by_identity
                    .entry(value.schema.identity())
                    .or_default()
                    .insert(value.id);
                self.ids.insert(
                    value.id,
                    Id {
                        schema: value.schema.clone(),
                        uses,
                    },
                );
                value.schema.clone()
            }
        };
        self.highest_id = self.highest_id.max(value.id);
        let stored = Version {
            id: value.id,
            deleted: value.deleted,
            schema,
        };
        self.subjects
            .entry(subject.to_owned())
            .or_default()
            .insert(version, stored);
    }

    fn remove(&mut self, subject: &str, version: i32) {
        let Some(versions) = self.subjects.get_mut(subject) else {
            return;
        };
        let Some(gone) = versions.remove(&version) else {
            return;
        };
        if versions.is_empty() {
            self.subjects.remove(subject);
        }
        let Some(id) = self.ids.get_mut(&gone.id) else {
            return;
        };
        id.uses.remove(&(subject.to_owned(), version));
        if id.uses.is_empty() {
            self.forget_identity(gone.id);
            self.ids.remove(&gone.id);
        }
    }

    fn forget_identity(&mut self, id: u32) {
        let Some(identity) = self.ids.get(&id).map(|known| known.schema.identity()) else {
            return;
        };
        if let Some(ids) = self.by_identity.get_mut(&identity) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_identity.remove(&identity);
            }
        }
    }

    /// Drops soft-deleted versions of one subject, or of all.
    fn clear(&mut self, subject: Option<&str>) {
        let gone: Vec<(String, i32)> = self
            .subjects
            .iter()
            .filter(|(name, _)| subject.is_none_or(|s| s == *name))
            .flat_map(|(name, versions)| {
                versions
                    .iter()
                    .filter(|(_, v)| v.deleted)
                    .map(|(n, _)| (name.clone(), *n))
            })
            .collect();
        for (name, version) in gone {
            self.remove(&name, version);
        }
    }

    /// Lists subjects with the versions they have, soft-deleted ones included.
    pub fn subjects(&self) -> impl Iterator<Item = (&str, &BTreeMap<i32, Version>)> {
        self.subjects
            .iter()
            .map(|(name, versions)| (name.as_str(), versions))
    }

    /// Returns a subject's versions in rising order, soft-deleted ones included.
    pub fn versions(&self, subject: &str) -> impl DoubleEndedIterator<Item = (i32, &Version)> {
        self.subjects
            .get(subject)
            .into_iter()
            .flatten()
            .map(|(number, version)| (*number, version))
    }

    pub fn live_versions(&self, subject: &str) -> impl DoubleEndedIterator<Item = (i32, &Version)> {
        self.versions(subject)
            .filter(|(_, version)| !version.deleted)
    }

    pub fn latest(&self, subject: &str) -> Option<(i32, &Version)> {
        self.live_versions(subject).next_back()
    }

    pub fn schema_by_id(&self, id: u32) -> Option<&Arc<Schema>> {
        self.ids.get(&id).map(|known| &known.schema)
    }

    /// Lists where an id is used, as (subject, version, soft-deleted).
    pub fn uses(&self, id: u32) -> impl Iterator<Item = (&str, i32, bool)> {
        let uses = self.ids.get(&id).into_iter().flat_map(|known| &known.uses);
        uses.filter_map(|(subject, number)| {
            let version = self.subjects.get(subject)?.get(number)?;
            Some((subject.as_str(), *number, version.deleted))
        })
    }

    /// Returns the id that a schema already has.
    pub fn id_of(&self, schema: &Schema) -> Option<u32> {
        self.by_identity
            .get(&schema.identity())
            .and_then(BTreeSet::first)
            .copied()
    }

    pub fn highest_id(&self) -> u32 {
        self.highest_id
    }

    pub fn config(&self, subject: Option<&str>) -> Option<&Json> {
        self.configs.get(&subject.map(str::to_owned))
    }

    pub fn mode(&self, subject: Option<&str>) -> Option<Mode> {
        self.modes.get(&subject.map(str::to_owned)).copied()
    }

    /// The mode that governs a subject: its own, else the global one; a global override wins over all.
    pub fn mode_in_scope(&self, subject: &str) -> Mode {
        let global = self.mode(None).unwrap_or(Mode::ReadWrite);
        if global == Mode::ReadOnlyOverride {
            return global;
        }
        self.mode(Some(subject)).unwrap_or(global)
    }

    /// Lists the ids of schemas that refer to a version, live ones only.
    pub fn referenced_by(&self, subject: &str, version: i32) -> BTreeSet<u32> {
        let is_latest = self
            .latest(subject)
            .is_some_and(|(latest, _)| latest == version);
        let hit = |r: &Reference| {
            r.subject == subject && (r.version == version || (r.version == -1 && is_latest))
        };
        let refer = self
            .ids
            .iter()
            .filter(|(_, known)| known.schema.references.iter().any(hit));
        refer
            .map(|(id, _)| *id)
            .filter(|id| self.uses(*id).any(|(_, _, deleted)| !deleted))
            .collect()
    }

    /// Collects the texts that references stand for, each behind those that it needs itself.
    ///
    /// # Errors
    /// When a referenced version does not exist, in Confluent's words.
    pub fn resolve(&self, references: &[Reference]) -> Result<Vec<Arc<str>>, String> {
        let (mut seen, mut texts) = (HashSet::new(), Vec::new());
        self.collect(references, &mut seen, &mut texts, 0)?;
        Ok(texts)
    }

    fn collect<'a>(
        &'a self,
        references: &'a [Reference],
        seen: &mut HashSet<(&'a str, i32)>,
        texts: &mut Vec<Arc<str>>,
        depth: usize,
    ) -> Result<(), String> {
        if depth > 100 || seen.len() > MAX_REFERENCES {
            return Err(format!(
                "more than {MAX_REFERENCES} references, or references more than 100 levels deep"
            ));
        }
        for reference in references {
            let found = match reference.version {
                -1 => self.latest(&reference.subject),
                version => self
                    .subjects
                    .get(&reference.subject)
                    .and_then(|v| v.get(&version))
                    .map(|v| (version, v)),
            };
            let Some((number, version)) = found else {
                let (subject, version) = (&reference.subject, reference.version);
                return Err(format!(
                    "No schema reference found for subject \"{subject}\" and version {version}"
                ));
            };
            // Marked before its own references are walked: a foreign record may refer in a circle.
            if seen.insert((&reference.subject, number)) {
                self.collect(&version.schema.references, seen, texts, depth + 1)?;
                texts.push(version.schema.text.clone());
            }
        }
        Ok(())
    }
}
