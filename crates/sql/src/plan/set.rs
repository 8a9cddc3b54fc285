//! A statement set into jobs.
//!
//! INSERTs of a set that read the same scan, a table with the same options, are planned as one job: the topic is read and decoded once,
//! and what each makes of it goes to its own sink. INSERTs over other scans are another job, with a position of its own. One that joins or
//! unites several scans makes one job of them. An INSERT outside a set is a set of one.

use super::Planner;
use super::algebra::{Scan, ScanKey};
use super::insert::Planned;
use super::lower::{Branch, Sources, lower};
use super::{Explanation, Job, JobInsert};
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use crate::environment::{Cluster, Environment};
use crate::explain::{explain, state};
use crate::parse::Insert;
use crate::settings;
use lw_graph::{FileSource, JobGraph, SinkSpec, SourceSpec};
use std::collections::BTreeMap;
use std::path::Path;

impl Planner<'_> {
    pub(super) fn inserts(&mut self, inserts: Vec<Result<Insert>>) -> Result<()> {
        let (planned, refused) = self.each(inserts, Self::insert);
        for set in by_scan(planned) {
            let job = job(set, self.env)?;
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
            let reads = tables(&set);
            let bound: Vec<String> = set.iter().map(|p| p.branch.to_string()).collect();
            let graph = job(set, self.env)?.graph;
            let shards = settings::shards(&self.plan.settings);
            let (plan, state) = (explain(&graph), state(&graph, shards));
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
        if let SinkSpec::Iceberg(_) | SinkSpec::Delta(_) = planned.branch.sink
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

/// INSERTs that read scans of each other, in the order of the first of each.
fn by_scan(planned: Vec<Planned>) -> Vec<Vec<Planned>> {
    let mut sets: Vec<Vec<Planned>> = Vec::new();
    for insert in planned {
        let reads_of = |set: &Vec<Planned>| {
            let mut known = set.iter().flat_map(|planned| planned.sources.keys());
            known.any(|scan| insert.sources.contains_key(scan))
        };
        let Some(first) = sets.iter().position(reads_of) else {
            sets.push(vec![insert]);
            continue;
        };
        // It may bring together what was apart.
        let (joined, others): (Vec<_>, Vec<_>) = sets.drain(first + 1..).partition(reads_of);
        sets[first].extend(joined.into_iter().flatten());
        sets[first].push(insert);
        sets.extend(others);
    }
    sets
}

/// The tables that a job reads.
fn tables(set: &[Planned]) -> String {
    let mut tables: Vec<String> = Vec::new();
    for scan in set
        .iter()
        .flat_map(|planned| planned.branch.relation.scans())
    {
        let table = scan.table.path.to_string();
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    tables.join(", ")
}

/// A job reads a topic once. Two tables over it, or one with two sets of options, would be two readings that come on differently.
fn check_topics(set: &[Planned]) -> Result<()> {
    let mut known: BTreeMap<String, ScanKey> = BTreeMap::new();
    for planned in set {
        for scan in planned.branch.relation.scans() {
            let key = scan.key();
            for topic in planned.sources[&key].topics() {
                let first = known.entry(topic.clone()).or_insert_with(|| key.clone());
                if *first != key {
                    let what = format!("topic '{topic}' read twice in one job, in two ways, is");
                    return Err(Diagnostic::unsupported(scan.span, what)
                        .detail(format!(
                            "It is read by table '{}' already, or with other options.",
                            first.0
                        ))
                        .hint("read it by one table, and give what differs to views over that"));
                }
            }
        }
    }
    Ok(())
}

/// The tables of a job are read together: in the order of one log, and to the end of all of them or of none.
fn check_together(set: &[Planned], env: &dyn Environment) -> Result<()> {
    let scans = set.iter().flat_map(|planned| {
        let scans = planned.branch.relation.scans().into_iter();
        scans.map(|scan| (scan, &planned.sources[&scan.key()]))
    });
    // Files are read before the others, to their own end.
    let is_of_files = |(_, source): &(&Scan, &SourceSpec)| matches!(source, SourceSpec::Files(_));
    let (files, others): (Vec<_>, Vec<_>) = scans.partition(is_of_files);
    let mut first: Option<(&Scan, &SourceSpec)> = None;
    for (scan, source) in others {
        if matches!(source, SourceSpec::Datagen(_)) && !files.is_empty() {
            let what = format!("reading '{}' beside files is", scan.table.path);
            return Err(Diagnostic::unsupported(scan.span, what)
                .detail("Behind files topics are read, in the order of their log; rows that are made up are in none.")
                .hint("bring them into a topic first, with an INSERT of their own"));
        }
        let Some((known, of_known)) = first else {
            first = Some((scan, source));
            continue;
        };
        if known.key() == scan.key() {
            continue;
        }
        let (one, other) = (&known.table.path, &scan.table.path);
        match (log(of_known, env), log(source, env)) {
            (Some(of_one), Some(of_other)) if of_one == of_other => {}
            _ => {
                let what = format!("reading '{one}' and '{other}' in one job is");
                return Err(Diagnostic::unsupported(scan.span, what)
                    .detail("Tables that a query reads together are read in the order of one log, which these are not of.")
                    .hint("bring both into topics of one cluster first, each with an INSERT of its own"));
            }
        }
        let is_bounded = |of: &SourceSpec| matches!(of, SourceSpec::Kafka(of) if of.bounded);
        if is_bounded(of_known) != is_bounded(source) {
            let (bounded, endless) = match is_bounded(source) {
                true => (other, one),
                false => (one, other),
            };
            let message =
                format!("the read of '{bounded}' has an end, and that of '{endless}' has none");
            return Err(Diagnostic::error("bounded", scan.span, message)
                .detail("Tables that a query reads together are read to the end of all of them or of none.")
                .hint("give all of them 'scan.bounded.mode' = 'latest-offset', or none"));
        }
    }
    Ok(())
}

/// A file is read once in a job, as a file of one table. Files that are watched are a job of their own and without state: in which
/// order new ones are found is nothing that another reading would find again.
fn check_files(set: &[Planned], graph: &JobGraph) -> Result<()> {
    let scans = set.iter().flat_map(|planned| {
        let scans = planned.branch.relation.scans().into_iter();
        scans.filter_map(|scan| match &planned.sources[&scan.key()] {
            SourceSpec::Files(files) => Some((scan, files)),
            SourceSpec::Kafka(_) | SourceSpec::Datagen(_) => None,
        })
    });
    let scans: Vec<(&Scan, &FileSource)> = scans.collect();
    for (at, (scan, files)) in scans.iter().enumerate() {
        let folder = Path::new(&files.path);
        let meets = |(_, other): &&(&Scan, &FileSource)| {
            let other = Path::new(&other.path);
            folder != other && (folder.starts_with(other) || other.starts_with(folder))
        };
        if let Some((_, other)) = scans[..at].iter().find(meets) {
            let what = format!(
                "reading '{}' beside '{}', which has files in common with it, is",
                files.path, other.path
            );
            return Err(Diagnostic::unsupported(scan.span, what)
                .hint("give each table a folder of its own"));
        }
        let what = match files.watch {
            None => continue,
            Some(_) if graph.sources().count() > 1 => {
                "files that are watched, beside another table, are"
            }
            Some(_) if graph.has_state() => "state over files that are watched is",
            Some(_) => continue,
        };
        return Err(Diagnostic::unsupported(scan.span, what)
            .detail("Which new file is found first hangs on when it is looked for them; what is made of them must not.")
            .hint("write them to a topic or a table first, or remove 'source.monitor-interval'"));
    }
    Ok(())
}

/// A log that has an order.
#[derive(PartialEq)]
enum Log<'s> {
    Own,
    At(&'s str),
}

/// The log that a table is in; what is made up is in none.
fn log<'s>(source: &'s SourceSpec, env: &dyn Environment) -> Option<Log<'s>> {
    match source {
        SourceSpec::Kafka(source) => Some(match env.bootstrap(&source.bootstrap) {
            Ok(Cluster::External) => Log::At(&source.bootstrap),
            _ => Log::Own,
        }),
        SourceSpec::Datagen(_) | SourceSpec::Files(_) => None,
    }
}

/// INSERTs that read the same scans, as one job.
fn job(set: Vec<Planned>, env: &dyn Environment) -> Result<Job> {
    check_topics(&set)?;
    check_together(&set, env)?;
    let branches: Vec<&Branch> = set.iter().map(|planned| &planned.branch).collect();
    let sources = set.iter().flat_map(|planned| planned.sources.clone());
    let sources: Sources = sources.collect();
    let (graph, sinks) = lower(&sources, &branches)?;
    check_files(&set, &graph)?;
    let inserts = set.iter().zip(sinks).map(|(planned, sink)| {
        let Planned {
            sources,
            branch,
            definition,
        } = planned;
        let alone = match set.len() {
            1 => graph.clone(),
            _ => lower(sources, &[branch])?.0,
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
