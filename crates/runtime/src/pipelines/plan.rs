//! Plan ids: which query made a commit.
//!
//! A commit's marker names the plan that computed its rows, and the pipeline's record keeps a script for each plan, so that
//! an audit judges every range by the query that made it, also after `--replace`. The id is a hash of what the query *means*:
//! the `INSERT` with the DDL of all that it reads and writes, the table that it fills, the settings. So a script that changes
//! elsewhere leaves the plan what it was. (Where a record is older than that, the whole script stands for it.)

use super::PlannedJob;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Scripts of one pipeline that are kept whether a table names their plans or not, in bytes; the newest one always is.
const KEPT_BYTES: usize = 8 << 20;

/// A script, and the ids of the plans that were made from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanText {
    pub(crate) ids: Vec<String>,
    pub(crate) sql: String,
}

impl PlanText {
    /// Adds a plan. One that is known already keeps its script: in both the query means the same.
    pub(super) fn keep(plans: &mut Vec<PlanText>, id: &str, sql: &str) {
        if plans.iter().any(|plan| plan.ids.iter().any(|i| i == id)) {
            return;
        }
        match plans.iter_mut().find(|plan| plan.sql == sql) {
            Some(plan) => plan.ids.push(id.to_string()),
            None => plans.push(PlanText {
                ids: vec![id.to_string()],
                sql: sql.to_string(),
            }),
        }
    }

    /// Whether all together are too long to keep without a reason.
    pub(super) fn too_long(plans: &[PlanText]) -> bool {
        plans.iter().map(|plan| plan.sql.len()).sum::<usize>() > KEPT_BYTES
    }

    /// Forgets the oldest scripts until the others fit: first those of which no plan is `named` by a table, then, since a record
    /// has to end somewhere, named ones too. The newest stays always.
    pub(super) fn forget(plans: &mut Vec<PlanText>, named: &BTreeSet<String>) {
        while plans.len() > 1 && PlanText::too_long(plans) {
            let older = &plans[..plans.len() - 1];
            let unnamed = |plan: &PlanText| !plan.ids.iter().any(|id| named.contains(id));
            let oldest = older.iter().position(unnamed);
            if oldest.is_none() {
                let ids = plans[0].ids.join(", ");
                tracing::warn!(
                    ids,
                    "the scripts of these plans are forgotten: audits of their ranges will be unverified"
                );
            }
            plans.remove(oldest.unwrap_or(0));
        }
    }
}

/// Makes jobs of a script, as when it was submitted; given by the composition root.
pub trait Planner: Send + Sync {
    /// # Errors
    /// Why the script cannot be planned any more.
    fn plan(&self, sql: &str) -> Result<PlannedScript, String>;
}

/// A script, planned.
#[derive(Clone, Debug)]
pub struct PlannedScript {
    pub jobs: Vec<PlannedJob>,
    pub settings: BTreeMap<String, String>,
}

/// The id of the plan that fills `table`: 32 hexadecimal digits.
pub(super) fn plan_id(
    query: &str,
    table: &str,
    occurrence: usize,
    settings: &BTreeMap<String, String>,
) -> String {
    let occurrence = occurrence.to_string();
    let settings = settings.iter().flat_map(|(key, value)| [key, value]);
    let mut hash = FNV_OFFSET;
    for part in [query, table, &occurrence]
        .into_iter()
        .chain(settings.map(String::as_str))
    {
        hash = fnv(hash, &(part.len() as u64).to_le_bytes());
        hash = fnv(hash, part.as_bytes());
    }
    format!("{hash:032x}")
}

pub(super) const FNV_OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// FNV-1a of 128 bits: the same in every version and on every machine.
pub(super) fn fnv(hash: u128, bytes: &[u8]) -> u128 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(FNV_PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_its_script_its_table_and_its_settings() {
        let none = BTreeMap::new();
        let some = BTreeMap::from([("k".to_string(), "v".to_string())]);
        let ids = [
            plan_id("a", "t", 0, &none),
            plan_id("b", "t", 0, &none),
            plan_id("a", "u", 0, &none),
            plan_id("a", "t", 1, &none),
            plan_id("a", "t", 0, &some),
        ];
        for (n, id) in ids.iter().enumerate() {
            assert!(!ids[..n].contains(id));
        }
        // Ids stand in tables for ever.
        assert_eq!(ids[0], plan_id("a", "t", 0, &none));
        assert_eq!(ids[0].len(), 32);
    }

    #[test]
    fn the_oldest_scripts_that_no_table_names_go_first() {
        let kept = |named: &[&str]| {
            let mut plans = Vec::new();
            let long = |letter: &str| letter.repeat(KEPT_BYTES / 2);
            for letter in ["a", "b", "c", "d"] {
                PlanText::keep(&mut plans, letter, &long(letter));
            }
            let named = named.iter().map(ToString::to_string).collect();
            PlanText::forget(&mut plans, &named);
            let ids: Vec<String> = plans.iter().map(|plan| plan.ids.join("")).collect();
            ids.join(" ")
        };
        assert_eq!(kept(&[]), "c d");
        assert_eq!(kept(&["a"]), "a d");
        assert_eq!(kept(&["a", "b", "c"]), "c d", "somewhere a record ends");
        let mut one = Vec::new();
        PlanText::keep(&mut one, "a", &"a".repeat(2 * KEPT_BYTES));
        PlanText::forget(&mut one, &BTreeSet::new());
        assert_eq!(one.len(), 1, "the newest stays");
    }
}
