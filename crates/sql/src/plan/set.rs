//! A statement set into jobs.
//!
//! INSERTs of a set that read the same scan, a table with the same options, are planned as one job: the topic is read and decoded once,
//! and what each makes of it goes to its own sink. INSERTs over another scan are another job, with a position of its own, until operators of
//! several inputs need one job to read several scans. An INSERT outside a set is a set of one.

use super::Planner;
use super::insert::Planned;
use super::lower::{Branch, lower};
use super::{Explanation, Job, JobInsert};
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use crate::explain::{explain, state};
use crate::parse::Insert;
use lw_graph::SinkSpec;
use std::collections::BTreeMap;

impl Planner<'_> {
    pub(super) fn inserts(&mut self, inserts: Vec<Result<Insert>>) -> Result<()> {
        let (planned, refused) = self.each(inserts, Self::insert);
        for set in by_scan(planned) {
            let job = job(set)?;
            self.plan.jobs.push(job);
        }
        refused.map_or(Ok(()), Err)
    }

    pub(super) fn explain(&mut self, inserts: Vec<Result<Insert>>) -> Result<()> {
        let (planned, refused) = self.each(inserts, |planner, insert| planner.plan_insert(&insert));
        let sets = by_scan(planned);
        let jobs = sets.len();
        for (at, set) in sets.into_iter().enumerate() {
            let text_span = set.iter().map(|planned| planned.branch.span);
            let text_span = text_span.reduce(Span::to).unwrap_or_default();
            let reads = set[0].branch.relation.source().table.path.to_string();
            let bound: Vec<String> = set.iter().map(|p| p.branch.to_string()).collect();
            let graph = job(set)?.graph;
            let (plan, state) = (explain(&graph), state(&graph));
            let mut text = format!(
                "== Abstract Syntax Tree ==\n{}\n== Optimized Execution Plan ==\n{plan}\n== State ==\n{state}",
                bound.join("\n")
            );
            if jobs > 1 || bound.len() > 1 {
                text = format!("Job {} of {jobs}, over {reads}\n\n{text}", at + 1);
            }
            self.plan.explanations.push(Explanation { text, text_span });
        }
        refused.map_or(Ok(()), Err)
    }

    /// Plans every member of a statement set, also behind one that is refused.
    fn each(
        &mut self,
        inserts: Vec<Result<Insert>>,
        plan: impl Fn(&mut Self, Insert) -> Result<Planned>,
    ) -> (Vec<Planned>, Option<Diagnostic>) {
        let mut planned = Vec::new();
        let mut refused = None;
        for insert in inserts {
            let span = insert
                .as_ref()
                .map_or_else(|error| error.span, |insert| insert.span);
            let done = insert.and_then(|insert| plan(self, insert));
            match self.told.settle(done) {
                Some(done) => planned.push(done),
                None => refused = Some(Diagnostic::told_before(span)),
            }
        }
        (planned, refused)
    }

    fn insert(&mut self, insert: Insert) -> Result<Planned> {
        let planned = self.plan_insert(&insert)?;
        if let SinkSpec::Iceberg(_) = planned.branch.sink
            && !self.targets.insert(planned.branch.table.clone())
        {
            let message = format!("table '{}' is written by two INSERTs", planned.branch.table);
            return Err(Diagnostic::unsupported(
                insert.target.span,
                format!("{message}, which is"),
            )
            .detail("Exactly-once needs one writer per table.")
            .hint("give each INSERT its own table"));
        }
        self.advise(&insert, &planned);
        Ok(planned)
    }
}

/// The INSERTs of each scan, in the order of the first of each.
fn by_scan(planned: Vec<Planned>) -> Vec<Vec<Planned>> {
    let mut known = BTreeMap::new();
    let mut sets: Vec<Vec<Planned>> = Vec::new();
    for insert in planned {
        let scan = insert.branch.relation.source();
        let options = scan.options.iter();
        let options = options.map(|option| (option.key.value.clone(), option.value.value.clone()));
        let options: BTreeMap<String, String> = options.collect();
        let set = *known
            .entry((scan.table.path.clone(), options))
            .or_insert(sets.len());
        match sets.get_mut(set) {
            Some(set) => set.push(insert),
            None => sets.push(vec![insert]),
        }
    }
    sets
}

/// INSERTs that read the same scan, as one job.
fn job(set: Vec<Planned>) -> Result<Job> {
    let branches: Vec<&Branch> = set.iter().map(|planned| &planned.branch).collect();
    let (graph, sinks) = lower(&set[0].source, &branches)?;
    let inserts = set.iter().zip(sinks).map(|(planned, sink)| {
        let Planned {
            source,
            branch,
            definition,
        } = planned;
        let alone = match set.len() {
            1 => graph.clone(),
            _ => lower(source, &[branch])?.0,
        };
        Ok(JobInsert {
            sink,
            graph: alone,
            table: branch.table.clone(),
            text_span: branch.span,
            definition: definition.clone(),
        })
    });
    let inserts = inserts.collect::<Result<_>>()?;
    Ok(Job { graph, inserts })
}
