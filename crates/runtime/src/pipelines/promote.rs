//! Promotions: the pipeline that fills `main` is asked to put the rows of a replay in place of its own.
//!
//! 1. The pipeline is halted at a barrier: what it has read is sealed, and nothing is under way.
//! 2. Its manifest gets a pending commit, and the replay's record that commit's uuid, in one frame. Before that nothing has happened,
//!    behind it the promotion is the pipeline's to commit, as everything else that is pending: a crash changes nothing about it.
//! 3. It goes on: first it commits what is pending, then it reads on from where it stood.

use super::plan::PlanText;
use super::record::{Desired, Record};
use super::{PipelineError, Pipelines, ReplayOf};
use crate::job::Stop;
use crate::manifest::{Manifest, Pending};
use uuid::Uuid;

impl Pipelines {
    /// The id of the plan that a replay computed its rows by.
    ///
    /// # Errors
    /// When there is no such replay.
    pub fn plan_of_replay(&self, name: &str) -> Result<String, PipelineError> {
        let record = self.known(name)?;
        let insert = &record.jobs[0].inserts[0];
        Ok(insert.plan_id(&record.sql, &record.settings))
    }

    /// Asks the pipeline that fills the replay's table to commit these files as a promotion; tells that commit's uuid.
    ///
    /// # Errors
    /// [`PipelineError::NotPromoted`]; nothing has changed then.
    pub fn promote(
        &self,
        name: &str,
        files: Vec<serde_json::Value>,
    ) -> Result<Uuid, PipelineError> {
        let _change = self.changes.lock();
        let mut replay = self.known(name)?;
        let refused = |why: &str| PipelineError::NotPromoted {
            name: name.to_string(),
            why: why.to_string(),
        };
        let Some(of) = replay.replay.clone() else {
            return Err(refused("it is no replay"));
        };
        if let Some(uuid) = of.promotion {
            return Ok(uuid);
        }
        if replay.desired != Desired::Finished {
            return Err(refused("the replay is not done"));
        }
        let fills = |record: &Record| {
            record.replay.is_none() && record.inserts().any(|insert| insert.table == of.table)
        };
        let live = self.records().into_iter().find(fills);
        let mut live = live.ok_or_else(|| refused("no pipeline fills its table"))?;
        if live.desired != Desired::Running || !self.halt(&live.name, Stop::Keeps) {
            let name = &live.name;
            return Err(refused(&format!(
                "pipeline '{name}', which fills its table, does not run"
            )));
        }
        let promoted = self.enlist_promotion(&mut live, &mut replay, files);
        self.start(&live);
        promoted
    }

    /// The second step.
    fn enlist_promotion(
        &self,
        live: &mut Record,
        replay: &mut Record,
        files: Vec<serde_json::Value>,
    ) -> Result<Uuid, PipelineError> {
        let uuid = (self.around.new_id)();
        let (name, of) = (replay.name.clone(), replay.replay.as_mut());
        let of = of.expect("it is a replay");
        let is_its = |insert: &super::PlannedInsert| insert.table == of.table;
        let mut jobs = live.jobs.iter();
        let job = jobs.find(|job| job.inserts.iter().any(is_its));
        let job = job.expect("it fills the table").clone();
        let insert = job.inserts.iter().find(|insert| is_its(insert));
        let sink = insert.expect("it fills the table").sink_name();
        let (mut store, mut manifest) = self.manifest_of(live, &job)?;
        if !stands_behind(&manifest, &sink, of) {
            return Err(PipelineError::NotPromoted {
                name,
                why: "the pipeline that fills its table has not read all of the range".to_string(),
            });
        }
        let state = manifest.sinks.get_mut(&sink).expect("it stands somewhere");
        let (plan, begins, chain) = (state.plan.clone(), state.begins(), &mut state.chain);
        chain.chain.push(Pending {
            sequence: chain.next_sequence(),
            uuid,
            previous: chain.head(),
            files,
            plan,
            begins,
            ..Pending::default()
        });
        manifest.checkpoint_id += 1;
        manifest.created_ms = self.around.clock.now_ms();
        of.promotion = Some(uuid);
        // The plan is the pipeline's now, whatever becomes of the replay.
        let insert = &replay.jobs[0].inserts[0];
        let computed_by = insert.plan_id(&replay.sql, &replay.settings);
        PlanText::keep(&mut live.plans, &computed_by, &replay.sql);
        store.save_with(&manifest, vec![live.put(), replay.put()])?;
        tracing::info!(
            pipeline = live.name,
            replay = replay.name,
            %uuid,
            "the pipeline is to promote the replay"
        );
        Ok(uuid)
    }

    /// Whether a promotion is still to be committed.
    pub fn is_promoting(&self, table: &str, promotion: Uuid) -> bool {
        let writer = self.writer_of(table);
        let manifest = writer.and_then(|writer| self.manifest_of_writer(&writer));
        let chain = manifest.as_ref().and_then(|manifest| manifest.chain(table));
        chain.is_some_and(|chain| chain.chain.iter().any(|pending| pending.uuid == promotion))
    }

    /// Lets the replay be promoted again: of the promotion of before nothing is in the table.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn forget_promotion(&self, name: &str, promotion: Uuid) -> Result<(), PipelineError> {
        let _change = self.changes.lock();
        let mut record = self.known(name)?;
        match &mut record.replay {
            Some(of) if of.promotion == Some(promotion) => of.promotion = None,
            _ => return Ok(()),
        }
        self.save(&record)
    }
}

/// The sink has written all of the range: nothing that it will commit is of it.
fn stands_behind(manifest: &Manifest, sink: &str, of: &ReplayOf) -> bool {
    let Some(state) = manifest.sinks.get(sink) else {
        return false;
    };
    let ranges = of.from.iter().zip(&of.until);
    let mut ranges = ranges.filter(|(from, until)| from.next < until.next);
    ranges.all(|(_, until)| {
        let split = state.split(&until.topic, until.partition);
        split.is_some_and(|split| split.written_until >= until.next)
    })
}
