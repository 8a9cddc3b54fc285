//! Replays as the API asks for them: which range is meant, whether it can be had, and the same one again after whatever happened.
//!
//! 1. A replay of this branch is there: whoever asks for the same range and script meets it again, running or not.
//! 2. Else the script is planned, and the `INSERT` into the table taken out of it; the range is chosen; the log and the table are asked
//!    whether they have it. All that can be refused is refused here, before anything is written.
//! 3. The branch is made, and then the replay's record. A crash between leaves a branch without a replay, which the next one drops.

use super::{Tables, refused};
use lw_gateway::{Plan, Refusal, Replay, Script};
use lw_graph::{IcebergSink, KafkaSource, SinkSpec, SourceSpec};
use lw_lakehouse::commit::moves::At;
use lw_lakehouse::replay::{Bound, Facts, Forked, ReplayError, ReplayRange, Replays, Wanted};
use lw_lakehouse::writer::sink::DEAD_LETTERS;
use lw_lakehouse::{Ids, parse_table};
use lw_query::TableIdent;
use lw_runtime::connector::{Connectors, LATE, NamedSink, Owner};
use lw_runtime::manifest::SplitOffset;
use lw_runtime::pipelines::{
    NewReplay, PipelineError, PlannedJob, ReplayOf, Writer, narrowed, needs_all, replay_name,
};
use lw_storage::Uuid;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A replay that can be had.
struct Ready {
    ident: TableIdent,
    sql: String,
    job: PlannedJob,
    settings: BTreeMap<String, String>,
    range: ReplayRange,
    head: i64,
    topics: BTreeMap<String, Uuid>,
    owner: Owner,
    replays: Replays,
}

impl Tables {
    /// Computes a range of a table into a branch, or goes on with that.
    pub fn replay(&self, table: &str, asked: &Replay, plan: &Plan) -> Result<Value, Refusal> {
        let _turn = self.replays.lock();
        let name = replay_name(table, &asked.branch);
        if let Some((of, sql)) = self.pipelines.replay(&name)?
            && let Some(met) = self.met_again(&name, &of, &sql, asked)?
        {
            return Ok(met);
        }
        let mut ready = self.ready(table, asked, plan)?;
        let forked = self.fork(&mut ready, &asked.branch)?;
        let Ready {
            sql,
            job,
            settings,
            range,
            topics,
            owner,
            ..
        } = ready;
        let of = ReplayOf {
            table: table.to_string(),
            branch: asked.branch.clone(),
            asked: asked.range(),
            from: range.from.clone(),
            until: range.until.clone(),
            fork: forked.fork,
            base: forked.base,
            promotion: None,
        };
        let new = NewReplay {
            owner,
            of,
            sql,
            job,
            settings,
            base: forked.commit,
            topics,
            from_the_beginning: range.from_the_beginning,
        };
        self.pipelines.begin_replay(&new)?;
        let mut answer = told(&new.owner.name, "created", &new.of);
        answer["replaces"] =
            json!({ "rows": forked.rows, "files": forked.files, "cut": forked.cut });
        answer["notices"] = json!(notices(&forked));
        Ok(answer)
    }

    /// The replay of this name is there already; `None` where its branch is not any more, and it was done.
    fn met_again(
        &self,
        name: &str,
        of: &ReplayOf,
        sql: &str,
        asked: &Replay,
    ) -> Result<Option<Value>, Refusal> {
        let view = self.pipelines.show(name)?;
        if view.state == "finished" && !self.has_branch(of)? {
            self.pipelines.drop_pipeline(name)?;
            return Ok(None);
        }
        let differs = |what: &str| {
            let table = &of.table;
            let refusal = Refusal::new(
                409,
                format!(
                    "the branch '{}' is of a replay of another {what}",
                    of.branch
                ),
            );
            refusal
                .detail(format!("It is of {}.", of.asked))
                .hint(format!("Choose another name with --branch, or end that one: `lakeward pipeline drop '{name}'`, and `lakeward table branch {table} {} --drop`.", of.branch))
        };
        if (&asked.from, &asked.to) != (&None, &None) && asked.range() != of.asked {
            return Err(differs("range"));
        }
        if asked.sql.as_deref().is_some_and(|asked| asked != sql) {
            return Err(differs("script"));
        }
        if matches!(view.state.as_str(), "stopped" | "failed") {
            self.pipelines.resume(name, None)?;
        }
        Ok(Some(told(name, "attached", of)))
    }

    fn has_branch(&self, of: &ReplayOf) -> Result<bool, Refusal> {
        let ident = parse_table(&of.table).map_err(refused)?;
        let catalog = self.catalog_of(&of.table).map_err(refused)?;
        let loaded = catalog.load(&ident).map_err(refused)?;
        let ids = lw_lakehouse::replay::branch_ids(&loaded, &of.branch);
        Ok(ids.contains(&of.base))
    }

    /// Everything that can be refused.
    fn ready(&self, table: &str, asked: &Replay, plan: &Plan) -> Result<Ready, Refusal> {
        let writer = self.pipelines.writer_of(table);
        let writer = writer.ok_or_else(|| nobody_writes(table))?;
        let live = live_sink(&writer)?;
        let sql = match &asked.sql {
            Some(sql) => sql.clone(),
            None => self.pipelines.script(&writer.name)?,
        };
        let script = Script {
            file: asked.file.clone().unwrap_or_else(|| writer.name.clone()),
            name: writer.name.clone(),
            sql,
        };
        let planned = plan(&script)?;
        let job = narrowed(&planned.jobs, table, &asked.branch).map_err(|why| {
            Refusal::new(400, format!("{table} cannot be replayed by this script")).detail(why)
        })?;
        same_place(live, &job)?;
        let ident = parse_table(table).map_err(refused)?;
        let catalog = self.wiring.catalog_of(live).map_err(refused)?;
        let replays = Replays::new(catalog, self.wiring.clock(), Ids::random());
        let mut facts = replays.facts(&ident).map_err(not_replayed)?;
        let topics = self.look_at_log(&mut facts, &job)?;
        self.refuse_other_topics(&writer, &topics)?;
        let place = |text: Option<&String>| match text {
            Some(text) => self.place(&replays, &ident, &facts, &job, text),
            None => Ok(None),
        };
        if asked.from.is_none() {
            return Err(Refusal::new(400, "a replay begins somewhere")
                .hint("Say from where: --from beginning, --from 2026-01-31T12:00:00, --from 'orders[0]@4711,orders[1]@4690', or --from snapshot:ID."));
        }
        let (from, to) = (place(asked.from.as_ref())?, place(asked.to.as_ref())?);
        let range = facts.choose(from.as_deref(), to.as_deref());
        let range = range.map_err(not_replayed)?;
        if let Some(operator) = needs_all(&job).filter(|_| !range.is_all()) {
            let refusal = Refusal::new(400, format!("{table} cannot be replayed in part"));
            return Err(refusal
                .detail(format!("Its query has {operator}: what that gives for a row depends on the rows before it."))
                .hint("Say --from beginning, and leave --to out: then all of it is computed once more."));
        }
        let owner = Owner {
            pipeline: Ids::random().next(),
            name: replay_name(table, &asked.branch),
        };
        self.check_sink(&job, &owner)?;
        Ok(Ready {
            ident,
            sql: script.sql,
            job,
            settings: planned.settings,
            range,
            head: facts.head,
            topics,
            owner,
            replays,
        })
    }

    /// Where the log begins, and the ids of the topics.
    fn look_at_log(
        &self,
        facts: &mut Facts,
        job: &PlannedJob,
    ) -> Result<BTreeMap<String, Uuid>, Refusal> {
        let mut topics = BTreeMap::new();
        for source in job.graph.sources() {
            for topic in source.topics() {
                let found = self.wiring.look(Some(source), &topic);
                let found = found.map_err(|error| Refusal::new(503, error))?;
                let Some(found) = found else {
                    return Err(Refusal::new(
                        404,
                        format!("there is no topic '{topic}' any more"),
                    ));
                };
                facts
                    .log
                    .extend(found.partitions.iter().map(|bounds| SplitOffset {
                        topic: topic.clone(),
                        partition: bounds.partition,
                        next: bounds.start,
                    }));
                topics.insert(topic, found.id);
            }
        }
        let is_read = |at: &SplitOffset| topics.contains_key(&at.topic);
        if let Some(other) = facts.ends.iter().find(|at| !is_read(at)) {
            let refusal = Refusal::new(
                400,
                format!(
                    "the script does not read topic '{}', of which the table has rows",
                    other.topic
                ),
            );
            return Err(refusal.detail("A replay computes the same offsets once more."));
        }
        Ok(topics)
    }

    /// Offsets of the table mean nothing in a topic that was made again.
    fn refuse_other_topics(
        &self,
        writer: &Writer,
        topics: &BTreeMap<String, Uuid>,
    ) -> Result<(), Refusal> {
        let manifest = self.pipelines.manifest_of_writer(writer);
        let read = manifest.map_or_else(BTreeMap::new, |manifest| manifest.topics);
        let other = |(topic, id): &(&String, &Uuid)| read.get(*topic).is_some_and(|was| was != *id);
        match topics.iter().find(other) {
            None => Ok(()),
            Some((topic, _)) => {
                let message = format!("topic '{topic}' was deleted and created again");
                Err(Refusal::new(409, message).detail(
                    "What the table has of it came from records that are not there any more.",
                ))
            }
        }
    }

    /// One end of the range; `None`: that of the table.
    fn place(
        &self,
        replays: &Replays,
        ident: &TableIdent,
        facts: &Facts,
        job: &PlannedJob,
        text: &str,
    ) -> Result<Option<Vec<SplitOffset>>, Refusal> {
        let bound = Bound::parse(text).map_err(|why| Refusal::new(400, why))?;
        let offsets = match bound {
            Bound::Open => return Ok(None),
            Bound::Offsets(offsets) => facts.named(&offsets).map_err(not_replayed)?,
            Bound::Version(version) => replays
                .ends_at(ident, &At::Version(version))
                .map_err(super::refs::not_moved)?,
            Bound::Time(millis) => {
                let mut offsets = facts.ends.clone();
                for at in &mut offsets {
                    at.next = self.offset_at(job, at, millis)?;
                }
                offsets
            }
        };
        Ok(Some(offsets))
    }

    /// The first offset of a time; behind all others where there is none.
    fn offset_at(&self, job: &PlannedJob, of: &SplitOffset, millis: i64) -> Result<i64, Refusal> {
        let kafka = job.graph.sources().find_map(|source| match source {
            SourceSpec::Kafka(kafka) if kafka.topics.contains(&of.topic) => Some(kafka),
            _ => None,
        });
        let kafka: &KafkaSource = kafka.expect("the topics of the table are read");
        let found = self
            .wiring
            .offset_at(kafka, &of.topic, of.partition, millis);
        let found = found.map_err(|error| Refusal::new(503, error))?;
        Ok(found.unwrap_or(i64::MAX))
    }

    /// The new script's rows fit the table, as it is now.
    fn check_sink(&self, job: &PlannedJob, owner: &Owner) -> Result<(), Refusal> {
        let (node, spec) = job.graph.sinks().next().expect("a job has a sink");
        let sink = NamedSink {
            table: &job.inserts[0].table,
            occurrence: 0,
            plan: None,
            spec,
            schema: &job.graph.nodes[node].schema,
        };
        let opened = self.wiring.sink(sink, owner);
        opened.map_err(PipelineError::Connector)?;
        Ok(())
    }

    fn fork(&self, ready: &mut Ready, branch: &str) -> Result<Forked, Refusal> {
        let is_known = |pipeline| self.pipelines.has(pipeline);
        let wanted = Wanted {
            branch,
            owner: &ready.owner,
            range: &ready.range,
            head: ready.head,
            is_known: &is_known,
        };
        // Dead letters of a replay are in the branch of that name of their own table, which begins empty.
        for side in [DEAD_LETTERS, LATE] {
            let name = format!("{}{side}", ready.ident.name());
            let side = TableIdent::new(ready.ident.namespace().clone(), name);
            let cleared = ready.replays.clear(&side, &wanted);
            cleared.map_err(not_replayed)?;
        }
        let forked = ready.replays.fork(&ready.ident, &wanted);
        forked.map_err(not_replayed)
    }
}

/// The sink of the pipeline that fills `main`.
pub(super) fn live_sink(writer: &Writer) -> Result<&IcebergSink, Refusal> {
    match writer.sink() {
        Some(SinkSpec::Iceberg(sink)) => Ok(sink),
        _ => Err(Refusal::new(
            400,
            format!(
                "{} is not an Iceberg table, and only these have branches",
                writer.table
            ),
        )
        .hint("Let the pipeline fill another table anew, from the topic's beginning.")),
    }
}

/// A script may say another catalog, under which the same name is another table.
fn same_place(live: &IcebergSink, job: &PlannedJob) -> Result<(), Refusal> {
    let (_, sink) = job.graph.sinks().next().expect("a job has a sink");
    let place = |sink: &IcebergSink| (sink.uri.clone(), sink.namespace.clone(), sink.table.clone());
    match sink {
        SinkSpec::Iceberg(sink) if place(sink) == place(live) => Ok(()),
        _ => Err(Refusal::new(
            400,
            "the script's table is in another catalog than the pipeline's",
        )),
    }
}

pub(super) fn nobody_writes(table: &str) -> Refusal {
    Refusal::new(404, format!("no pipeline of this server fills {table}"))
        .detail("A replay computes what a pipeline has read, from the topics that it reads.")
        .hint("`lakeward pipeline list` shows the pipelines and their tables.")
}

fn told(name: &str, outcome: &str, of: &ReplayOf) -> Value {
    let ranges = of.from.iter().zip(&of.until);
    let ranges = ranges.filter(|(from, until)| from.next < until.next);
    let ranges = ranges.map(|(from, until)| {
        json!({ "topic": from.topic, "partition": from.partition, "from": from.next, "until": until.next })
    });
    json!({
        "pipeline": name,
        "outcome": outcome,
        "table": of.table,
        "branch": of.branch,
        "ranges": ranges.collect::<Vec<Value>>(),
        "main_snapshot": of.fork.to_string(),
        "first_snapshot": of.base.to_string(),
    })
}

fn notices(forked: &Forked) -> Vec<String> {
    let others = forked.others.iter().map(|(id, operation)| {
        format!("others changed rows of the table in snapshot {id} ({operation}): where these are of the range, they are in the branch as the query makes them")
    });
    others.collect()
}

pub(super) fn not_replayed(error: ReplayError) -> Refusal {
    let (detail, hint) = (error.detail(), error.hint());
    let status = match error {
        ReplayError::Catalog(error) => return refused(error),
        ReplayError::Name(_) | ReplayError::NoTopic { .. } | ReplayError::UnknownSplit { .. } => {
            400
        }
        ReplayError::NoSnapshot => 404,
        ReplayError::Busy(_) => 503,
        _ => 409,
    };
    Refusal::new(status, error).detail(detail).hint(hint)
}
