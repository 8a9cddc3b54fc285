//! The words that a user says to a pipeline that paused, carried out: its tables are asked, [`takeover`] decides, and only when
//! that is done for all of them does anything change.

use super::record::Record;
use super::takeover::{self, Table, Tables};
use super::{PipelineError, Pipelines, PlannedJob, arrange, offsets_text};
use crate::connector::{Committer, ConnectorError, NamedSink, Restate};
use crate::manifest::Manifest;
use crate::store::ManifestStore;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What the user says to a pipeline that paused because its table is not where it left it (see [`takeover`]), or because the log
/// begins behind what it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Accept the table as it is: what a rollback took away stays away.
    Adopt,
    /// Read again what the table does not show.
    Rewind,
    /// Go on where the log begins: what was removed before it was read is in no table, and stays out.
    SkipLost,
}

/// What a job needs to go on, worked out and not yet done.
pub(super) struct Prepared {
    store: ManifestStore,
    before: Manifest,
    after: Manifest,
    /// By sink.
    restate: Vec<Restating>,
}

/// The tables of a sink whose markers change, and who changes them.
pub(super) type Restating = (Vec<(String, Restate)>, Box<dyn Committer>);

/// What the tables of a sink say, and who asked them.
pub(super) type Asked = (Tables, Box<dyn Committer>);

impl Pipelines {
    /// Puts each job that was overtaken by retention or a deletion of records to where its log begins. The next commits of its
    /// tables account for the offsets between, with no row of them: whoever audits a table finds how many they were.
    pub(super) fn skip_lost(&self, record: &Record) -> Result<(), PipelineError> {
        for job in &record.jobs {
            let (mut store, before) = self.manifest_of(record, job)?;
            let lost = store.lost(&before);
            if lost.is_empty() {
                continue;
            }
            let mut after = takeover::skip(&before, &lost, &*self.around.new_id);
            refuse_displaced(record, &after)?;
            after.created_ms = self.around.clock.now_ms();
            store.save(&after)?;
            let sinks: Vec<&String> = before.sinks.keys().collect();
            tracing::warn!(
                pipeline = record.name,
                ?sinks,
                from = offsets_text(&before.position()),
                to = offsets_text(&after.position()),
                "records that were removed before they were read are passed over"
            );
        }
        Ok(())
    }

    /// A finished pipeline that is told to go on reads up to where its topics end now.
    pub(super) fn read_on(&self, record: &Record) -> Result<(), PipelineError> {
        for job in &record.jobs {
            let (mut store, mut manifest) = self.manifest_of(record, job)?;
            if manifest.forget_ends() {
                store.save(&manifest)?;
            }
        }
        Ok(())
    }

    /// Refuses tables that carry the marker of another pipeline. One that this pipeline's checkpoint knows was adopted
    /// before, whoever made it.
    pub(super) fn refuse_foreign_markers(&self, record: &Record) -> Result<(), PipelineError> {
        let manifests = arrange::arranged(&self.around.storage, record)?;
        for job in &record.jobs {
            let manifest = manifest_in(&manifests, record, job);
            for sink in job.sinks() {
                let Some((tables, _)) = self.ask(record, sink, &manifest)? else {
                    continue;
                };
                for table in std::iter::once(&tables.main).chain(&tables.sides) {
                    refuse_foreign(record, table, &manifest)?;
                }
            }
        }
        Ok(())
    }

    /// The plans that the tables of a pipeline, or what is still to be committed to them, name.
    pub(super) fn plans_named(&self, record: &Record) -> Result<BTreeSet<String>, PipelineError> {
        let mut named = BTreeSet::new();
        let manifests = arrange::arranged(&self.around.storage, record)?;
        for job in &record.jobs {
            let manifest = manifest_in(&manifests, record, job);
            let pending = manifest.chains().flat_map(|(_, chain)| &chain.chain);
            named.extend(pending.filter_map(|pending| pending.plan.clone()));
            for sink in job.sinks() {
                if let Some((tables, _)) = self.ask(record, sink, &manifest)? {
                    named.extend(tables.main.standing.plans);
                }
            }
        }
        Ok(named)
    }

    /// What adopting or rewinding takes, for each job; nothing has changed yet.
    pub(super) fn prepare(
        &self,
        record: &Record,
        word: Word,
    ) -> Result<Vec<Prepared>, PipelineError> {
        let mut all = Vec::new();
        for job in &record.jobs {
            let (store, before) = self.manifest_of(record, job)?;
            let (mut after, mut restate) = (before.clone(), Vec::new());
            for sink in job.sinks() {
                let Some((tables, committer)) = self.ask(record, sink, &after)? else {
                    continue;
                };
                let plan = match word {
                    Word::Adopt => takeover::adopt(&after, &tables),
                    Word::SkipLost => continue,
                    Word::Rewind => takeover::rewind(&after, &tables).map_err(|refusal| {
                        PipelineError::CannotRewind {
                            name: record.name.clone(),
                            refusal,
                        }
                    })?,
                };
                after = plan.manifest;
                restate.push((plan.restate, committer));
            }
            refuse_displaced(record, &after)?;
            all.push(Prepared {
                store,
                before,
                after,
                restate,
            });
        }
        Ok(all)
    }

    pub(super) fn carry_out(
        &self,
        record: &Record,
        prepared: Vec<Prepared>,
    ) -> Result<(), PipelineError> {
        for mut job in prepared {
            for (tables, mut committer) in job.restate {
                for (table, which) in tables {
                    let restated = committer.restate(&table, which);
                    restated.map_err(PipelineError::Connector)?;
                    tracing::info!(
                        pipeline = record.name,
                        table,
                        ?which,
                        "the table's marker was restated"
                    );
                }
            }
            if job.after != job.before {
                job.after.created_ms = self.around.clock.now_ms();
                job.store.save(&job.after)?;
                let offsets = offsets_text(&job.after.position());
                tracing::info!(
                    pipeline = record.name,
                    offsets,
                    "the pipeline goes on from other offsets"
                );
            }
        }
        Ok(())
    }

    pub(super) fn manifest_of(
        &self,
        record: &Record,
        job: &PlannedJob,
    ) -> Result<(ManifestStore, Manifest), PipelineError> {
        let key = job.manifest_key(record.id);
        let store = ManifestStore::open(self.around.storage.clone(), &key);
        let manifest = store.manifest()?;
        Ok((store, manifest.unwrap_or_else(|| Manifest::new(record.id))))
    }

    /// Asks a sink's tables where they stand; `None` where it has none to ask.
    pub(super) fn ask(
        &self,
        record: &Record,
        sink: NamedSink<'_>,
        manifest: &Manifest,
    ) -> Result<Option<Asked>, PipelineError> {
        let connectors = &self.around.connectors;
        let opened = connectors.sink(sink, &record.owner());
        let (sink, mut committer) = opened.map_err(PipelineError::Connector)?;
        let mut ask = |name: &str| -> Result<Option<Table>, ConnectorError> {
            let Some(standing) = committer.standing(name)? else {
                return Ok(None);
            };
            let chain = manifest.chain(name);
            let pending = chain.map_or(&[][..], |chain| &chain.chain);
            // Only a table that knows nothing of us can be another one than the files were written for.
            let can_commit = standing.newest().is_some() || committer.can_commit(name, pending)?;
            Ok(Some(Table {
                name: name.to_owned(),
                standing,
                can_commit,
            }))
        };
        let asked = ask(sink.table()).map_err(PipelineError::Connector)?;
        let Some(main) = asked else {
            return Ok(None);
        };
        let mut sides = Vec::new();
        for name in sink.side_tables() {
            sides.extend(ask(&name).map_err(PipelineError::Connector)?);
        }
        Ok(Some((Tables { main, sides }, committer)))
    }
}

pub(super) fn refuse_foreign(
    record: &Record,
    table: &Table,
    manifest: &Manifest,
) -> Result<(), PipelineError> {
    let Some(marker) = table.standing.newest() else {
        return Ok(());
    };
    let chain = manifest.chain(&table.name);
    let mine = marker.owner.pipeline == record.id
        || chain.is_some_and(|chain| chain.contains(marker.uuid));
    match mine {
        true => Ok(()),
        false => Err(PipelineError::ForeignMarker {
            table: table.name.clone(),
            owner: marker.owner.name.clone(),
            ends: marker.ends.clone(),
        }),
    }
}

/// The manifest of a job, among those of its pipeline.
pub(super) fn manifest_in(
    manifests: &BTreeMap<String, Manifest>,
    record: &Record,
    job: &PlannedJob,
) -> Manifest {
    let manifest = manifests.get(&job.manifest_key(record.id)).cloned();
    manifest.unwrap_or_else(|| Manifest::new(record.id))
}

/// State cannot go to other offsets than those that it is of: it would miss rows, or have them twice.
fn refuse_displaced(record: &Record, after: &Manifest) -> Result<(), PipelineError> {
    match after.is_displaced() {
        false => Ok(()),
        true => Err(PipelineError::HasState {
            name: record.name.clone(),
        }),
    }
}
