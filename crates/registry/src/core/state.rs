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
#[derive(Debug, Default, PartialEq, Clone)]
pub struct State {
    subjects: BTreeMap<String, BTreeMap<i32, Version>>,
    ids: BTreeMap<u32, Id>,
    /// From a schema's identity to the ids that it has; more than one only after imports.
    by_identity: HashMap<Arc<str>, BTreeSet<u32>>,
    configs: BTreeMap<Option<String>, Json>,
    modes: BTreeMap<Option<String>, Mode>,
    highest_id: u32,
}

/// A version under a subject.
pub type Version = SchemaValue;

#[derive(Debug, PartialEq, Clone)]
struct Id {
    schema: Arc<Schema>,
    uses: BTreeSet<(String, i32)>,
}

/// What one schema may pull in by its references, directly and through others.
const MAX_REFERENCES: usize = 1_000;
const MAX_REFERENCE_DEPTH: usize = 100;
const MAX_REFERENCED_BYTES: usize = 4 << 20;

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
            Record::HighestId(id) => self.highest_id = self.highest_id.max(*id),
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
                    .entry(value.schema.identity().into())
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
        if let Some(ids) = self.by_identity.get_mut(identity.as_str()) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_identity.remove(identity.as_str());
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
    pub fn versions(
        &self,
        subject: &str,
    ) -> impl DoubleEndedIterator<Item = (i32, &Version)> + Clone {
        self.subjects
            .get(subject)
            .into_iter()
            .flatten()
            .map(|(number, version)| (*number, version))
    }

    pub fn live_versions(
        &self,
        subject: &str,
    ) -> impl DoubleEndedIterator<Item = (i32, &Version)> + Clone {
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

    /// Returns the ids that a schema already has.
    pub fn ids_of(&self, schema: &Schema) -> Option<&BTreeSet<u32>> {
        self.by_identity.get(schema.identity().as_str())
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
        let hits = self.references_to(subject);
        hits.filter(|(id, number)| *number == version && self.is_live(*id))
            .map(|(id, _)| id)
            .collect()
    }

    /// Lists the versions of a subject that a live schema refers to.
    pub fn referenced_versions(&self, subject: &str) -> BTreeSet<i32> {
        let hits = self.references_to(subject);
        hits.filter(|(id, _)| self.is_live(*id))
            .map(|(_, number)| number)
            .collect()
    }

    /// Tells whether any schema, soft-deleted ones included, refers to a version.
    pub fn is_referenced(&self, subject: &str, version: i32) -> bool {
        self.references_to(subject)
            .any(|(_, number)| number == version)
    }

    /// Lists each reference to a subject: who refers, and to which version.
    fn references_to(&self, subject: &str) -> impl Iterator<Item = (u32, i32)> {
        let latest = self.latest(subject).map(|(number, _)| number);
        self.ids.iter().flat_map(move |(id, known)| {
            let hits = known.schema.references.iter();
            let hits = hits.filter(move |reference| reference.subject == subject);
            hits.filter_map(move |reference| match reference.version {
                -1 => Some((*id, latest?)),
                number => Some((*id, number)),
            })
        })
    }

    fn is_live(&self, id: u32) -> bool {
        self.uses(id).any(|(_, _, deleted)| !deleted)
    }

    /// Collects the texts that references stand for, each behind those that it needs itself.
    ///
    /// # Errors
    /// When a referenced version does not exist, in Confluent's words, or when the references lead too far.
    pub fn resolve(&self, references: &[Reference]) -> Result<Vec<Arc<str>>, String> {
        let mut walk = Walk {
            state: self,
            seen: HashSet::new(),
            texts: Vec::new(),
            bytes: 0,
        };
        walk.follow(references, 0)?;
        Ok(walk.texts)
    }
}

struct Walk<'a> {
    state: &'a State,
    seen: HashSet<(&'a str, i32)>,
    texts: Vec<Arc<str>>,
    bytes: usize,
}

impl<'a> Walk<'a> {
    fn follow(&mut self, references: &'a [Reference], depth: usize) -> Result<(), String> {
        for reference in references {
            let (subject, version) = (&*reference.subject, reference.version);
            let (number, found) = self.find(reference).ok_or_else(|| {
                format!("No schema reference found for subject \"{subject}\" and version {version}")
            })?;
            // Marked before its own references are walked: a foreign record may refer in a circle.
            if !self.seen.insert((subject, number)) {
                continue;
            }
            self.bytes += found.schema.text.len();
            if depth == MAX_REFERENCE_DEPTH
                || self.seen.len() > MAX_REFERENCES
                || self.bytes > MAX_REFERENCED_BYTES
            {
                return Err(format!(
                    "the references lead to more than {MAX_REFERENCES} schemas, to more than {MAX_REFERENCED_BYTES} \
                     bytes, or more than {MAX_REFERENCE_DEPTH} levels deep"
                ));
            }
            self.follow(&found.schema.references, depth + 1)?;
            self.texts.push(found.schema.text.clone());
        }
        Ok(())
    }

    fn find(&self, reference: &Reference) -> Option<(i32, &'a Version)> {
        match reference.version {
            -1 => self.state.latest(&reference.subject),
            number => {
                let versions = self.state.subjects.get(&reference.subject)?;
                Some((number, versions.get(&number)?))
            }
        }
    }
}
