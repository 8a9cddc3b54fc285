//! Promotions as the API asks for them: all that can be refused is, and then the pipeline that fills the table is asked to commit it.
//!
//! Whoever asks again is told how far it is. One that was given up because it did not fit any more is told once, with the reason, and can
//! be asked for anew.

use super::replay::{live_sink, nobody_writes, not_replayed};
use super::{Tables, refused};
use lw_gateway::{Promote, Refusal};
use lw_graph::JobGraph;
use lw_lakehouse::error::Kind;
use lw_lakehouse::replay::{Became, Replays, ToPromote};
use lw_lakehouse::view::TableView;
use lw_lakehouse::writer::sink::DEAD_LETTERS;
use lw_lakehouse::{Ids, parse_table};
use lw_query::TableIdent;
use lw_runtime::pipelines::{ReplayOf, replay_name};
use lw_storage::Uuid;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A record that failed.
type Failed = (String, i32, i64);

impl Tables {
    /// Lets `main` have the rows of a branch, or says how far that is.
    pub fn promote(&self, table: &str, asked: &Promote) -> Result<Value, Refusal> {
        let _turn = self.replays.lock();
        let name = replay_name(table, &asked.branch);
        let replay = self.pipelines.replay(&name)?;
        let (of, _) = replay.ok_or_else(|| {
            let message = format!("no replay of {table} fills the branch '{}'", asked.branch);
            Refusal::new(404, message)
                .hint("`lakeward pipeline list` shows replays by TABLE@BRANCH.")
        })?;
        let ident = parse_table(table).map_err(refused)?;
        let writer = self.pipelines.writer_of(table);
        let writer = writer.ok_or_else(|| nobody_writes(table))?;
        let live = live_sink(&writer)?;
        let catalog = self.wiring.catalog_of(live).map_err(refused)?;
        let replays = Replays::new(catalog, self.wiring.clock(), Ids::random());
        if let Some(uuid) = of.promotion {
            return self.how_far((&name, &of), uuid, &replays, &ident);
        }
        let shown = self.pipelines.show(&name)?;
        let Some(view) = shown.replay.filter(|_| shown.state == "finished") else {
            let message = format!("the replay into branch '{}' is not done", of.branch);
            return Err(Refusal::new(409, message).hint(format!(
                "`lakeward pipeline show '{name}'` says how far it is."
            )));
        };
        let plan = self.pipelines.plan_of_replay(&name)?;
        let computed_by = self.pipelines.graph_of_plan(shown.id, &plan).ok();
        let mut graphs = std::iter::once(&writer.graph).chain(&computed_by);
        graphs.try_for_each(|graph| refuse_query(table, graph))?;
        self.refuse_other_letters(table, &view.of)?;
        let discard = asked.discard.iter().map(|id| id.parse::<i64>());
        let discard = discard.collect::<Result<Vec<i64>, _>>();
        let discard = discard.map_err(|_| {
            Refusal::new(400, "--discard takes the ids of snapshots")
                .hint(format!("`lakeward table snapshots {table}` lists them."))
        })?;
        let files = replays.promotion(
            &ident,
            &ToPromote {
                branch: &of.branch,
                replay: shown.id,
                from: &of.from,
                until: &of.until,
                fork: of.fork,
                base: of.base,
                plan,
                discard: &discard,
            },
        );
        let files = files.map_err(not_replayed)?;
        let uuid = self.pipelines.promote(&name, files)?;
        Ok(told(&of, "promoting", uuid))
    }

    fn how_far(
        &self,
        (name, of): (&str, &ReplayOf),
        uuid: Uuid,
        replays: &Replays,
        ident: &TableIdent,
    ) -> Result<Value, Refusal> {
        if self.pipelines.is_promoting(&of.table, uuid) {
            return Ok(told(of, "promoting", uuid));
        }
        match replays.became(ident, uuid).map_err(not_replayed)? {
            Became::Promoted => Ok(told(of, "promoted", uuid)),
            Became::Refused(why) => {
                self.pipelines.forget_promotion(name, uuid)?;
                let message = format!("the branch '{}' was not promoted: {why}", of.branch);
                Err(Refusal::new(409, message)
                    .detail("Main is as it was, and its pipeline goes on."))
            }
            Became::Gone => {
                self.pipelines.forget_promotion(name, uuid)?;
                let message = format!(
                    "the branch '{}' was to be promoted, and is not in main any more",
                    of.branch
                );
                Err(Refusal::new(409, message)
                    .detail("Main was rolled back since, or its pipeline rewound.")
                    .hint("The same command again promotes it anew."))
            }
        }
    }

    /// A record of the range that fails by one of the queries and not by the other has a letter too many or too few in `main` then.
    fn refuse_other_letters(&self, table: &str, of: &ReplayOf) -> Result<(), Refusal> {
        let ours = self.failed(table, "main", of)?;
        let theirs = self.failed(table, &of.branch, of)?;
        if ours == theirs {
            return Ok(());
        }
        let (more, fewer) = (
            theirs.difference(&ours).count(),
            ours.difference(&theirs).count(),
        );
        let message = format!(
            "the branch '{}' cannot be promoted: other records fail",
            of.branch
        );
        Err(Refusal::new(409, message)
            .detail(format!("{more} records of the range have a dead letter in the branch alone, {fewer} in main alone, and letters are not exchanged."))
            .hint(format!("`lakeward dlq list {table}` shows those of main. Replay up to the first of them, or mend the script so that the same records fail.")))
    }

    /// The records of the range with a dead letter in a branch of their table.
    fn failed(
        &self,
        table: &str,
        branch: &str,
        of: &ReplayOf,
    ) -> Result<BTreeSet<Failed>, Refusal> {
        let name = format!("{table}{DEAD_LETTERS}");
        let ident = parse_table(&name).map_err(refused)?;
        let catalog = self.catalog_of(&name).map_err(refused)?;
        let mut failed = BTreeSet::new();
        let view = match TableView::open_branch(&*catalog, &ident, branch, &self.footers) {
            Err(error) if error.kind == Kind::NoSuchTable => return Ok(failed),
            other => other.map_err(refused)?,
        };
        let is_inside = |topic: &str, partition: i32, offset: i64| {
            let mut ranges = of.from.iter().zip(&of.until);
            ranges.any(|(from, until)| {
                let its = from.topic == topic && from.partition == partition;
                its && (from.next..until.next).contains(&offset)
            })
        };
        let shown = view.letters(|letter| {
            if is_inside(letter.topic, letter.partition, letter.offset) {
                failed.insert((letter.topic.to_owned(), letter.partition, letter.offset));
            }
        });
        shown.map_err(refused)?;
        Ok(failed)
    }
}

/// What is committed later must not come from rows of the range, and the range must give the same rows whenever it is computed.
fn refuse_query(table: &str, graph: &JobGraph) -> Result<(), Refusal> {
    let refusal =
        |what: &str| Refusal::new(409, format!("{table} cannot be promoted: its query {what}"));
    if graph.needs_all_before() {
        return Err(refusal("has state")
            .detail("What the pipeline goes on to commit comes from what its query knew of the rows before, which are of no range.")
            .hint("Let the new script fill another table from the beginning, and let readers go over to that."));
    }
    if graph.lookups().next().is_some() {
        return Err(refusal("looks up rows of other tables")
            .detail("The commits of main say which snapshots its rows were joined with; those of the branch were joined with others.")
            .hint("Let the script fill another table from the beginning, and let readers go over to that."));
    }
    Ok(())
}

fn told(of: &ReplayOf, state: &str, uuid: Uuid) -> Value {
    json!({ "table": of.table, "branch": of.branch, "state": state, "commit": uuid.to_string() })
}
