//! Branches and tags of tables, and rollbacks, as the API asks for them.

use super::{Tables, refused};
use lw_gateway::{RefChange, Refusal, Rollback};
use lw_lakehouse::commit::moves::{
    At, Fate, RefError, RefKind, RefMover, Retention, RolledBack, What, Wish, Writing,
};
use lw_lakehouse::{CatalogError, Ids, parse_table};
use lw_query::{Catalogs, TableIdent, table_in_catalog};
use serde_json::{Value, json};

impl Tables {
    /// Makes, moves or drops a branch or a tag.
    pub fn change_ref(&self, table: &str, change: &RefChange) -> Result<Value, Refusal> {
        let at = place(change.at.as_ref(), change.as_of_ms)?;
        let retention = Retention {
            min_snapshots_to_keep: change.min_snapshots_to_keep,
            max_snapshot_age_ms: change.max_snapshot_age_ms,
            max_ref_age_ms: change.max_ref_age_ms,
        };
        let what = match change.drop {
            false => What::Put {
                at,
                replace: change.replace,
                retention,
            },
            true if at.is_none() && retention == Retention::default() => What::Drop,
            true => {
                return Err(Refusal::new(
                    400,
                    "what is dropped is nowhere: leave out the rest",
                ));
            }
        };
        let wish = Wish {
            kind: match change.kind {
                lw_gateway::RefKind::Branch => RefKind::Branch,
                lw_gateway::RefKind::Tag => RefKind::Tag,
            },
            name: change.name.clone(),
            what,
        };
        let (mut mover, ident) = self.mover(table).map_err(refused)?;
        let moved = mover.set(&ident, &wish).map_err(not_moved)?;
        let mut answer = json!(moved);
        answer["table"] = json!(table);
        Ok(answer)
    }

    /// Takes `main` back, or says what that would mean.
    pub fn roll_back(&self, table: &str, back: &Rollback) -> Result<Value, Refusal> {
        let Some(to) = place(back.to.as_ref(), back.as_of_ms)? else {
            let refusal = Refusal::new(400, "a rollback goes somewhere");
            return Err(refusal.hint("Say `to`, a snapshot, or `as_of_ms`, a time."));
        };
        let (mut mover, ident) = self.mover(table).map_err(refused)?;
        let done = mover
            .roll_back(&ident, &to, back.execute)
            .map_err(not_moved)?;
        Ok(json!({
            "table": table,
            "executed": back.execute,
            "from": done.from,
            "to": done.to,
            "committed_at": done.committed_at,
            "snapshots": done.snapshots,
            "rows_before": done.rows.map(|(before, _)| before),
            "rows_after": done.rows.map(|(_, after)| after),
            "pipeline": self.told(&done),
        }))
    }

    fn mover(&self, table: &str) -> Result<(RefMover, TableIdent), CatalogError> {
        let names = self.names();
        let (within, table) = table_in_catalog(&names, table);
        let ident = parse_table(table)?;
        let catalog = self.holding(within, table)?;
        let mover = RefMover::new(catalog, self.wiring.clock(), Ids::random());
        Ok((mover, ident))
    }

    /// The pipeline that writes the table; its state where it is one of this server.
    fn told(&self, done: &RolledBack) -> Option<Value> {
        let Writing {
            owner,
            fate,
            table_ends,
            marker_ends,
        } = done.writing.as_ref()?;
        let pipelines = self.pipelines.list();
        let here = pipelines.iter().find(|view| view.id == owner.pipeline);
        Some(json!({
            "name": owner.name,
            "id": owner.pipeline,
            "state": here.map(|view| view.state.clone()),
            "fate": match fate {
                Fate::GoesOn => "goes-on",
                Fate::Pauses => "pauses",
            },
            "table_offsets": table_ends,
            "marker_offsets": marker_ends,
        }))
    }
}

fn place(version: Option<&String>, time: Option<i64>) -> Result<Option<At>, Refusal> {
    match (version, time) {
        (Some(_), Some(_)) => Err(Refusal::new(400, "a snapshot or a time, not both")),
        (Some(version), None) => Ok(Some(At::Version(version.clone()))),
        (None, time) => Ok(time.map(At::Time)),
    }
}

pub(super) fn not_moved(error: RefError) -> Refusal {
    let hint = error.hint();
    let status = match error {
        RefError::Catalog(error) => return refused(error),
        RefError::Missing { .. }
        | RefError::NoSnapshot(_)
        | RefError::TooOld { .. }
        | RefError::Empty => 404,
        RefError::Exists { .. } | RefError::OtherKind { .. } | RefError::NotBehind { .. } => 409,
        RefError::Rule(_) => 400,
    };
    Refusal::new(status, error).hint(hint)
}
