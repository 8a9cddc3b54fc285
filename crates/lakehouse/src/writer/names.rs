//! Names of data files: who wrote them, and for which checkpoint.
//!
//! ```text
//! <pipeline, 32 hex digits>-<table, 32 hex digits>-<generation>-<checkpoint>-<uuid>.parquet        in the table's data folder
//! ```
//!
//! The table's uuid keeps a pipeline's tables apart, whose jobs count generations and checkpoints each for themselves, where
//! two of them share a data folder. Names of before had none: such a file may be another table's, so it is nobody's to remove.
//!
//! The generation is the manifest's when the process took the pipeline over, the checkpoint the one that the file is meant
//! for. By these two numbers a later process knows a file that no manifest ever named (see `orphans`).

use lw_runtime::manifest::Manifest;
use uuid::Uuid;

const SUFFIX: &str = ".parquet";

/// Where a process is that writes files: what their names say but for the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Began {
    pipeline: Uuid,
    generation: u64,
    pub(crate) checkpoint: u64,
}

impl Began {
    /// Of the files that a process writes first, once it has taken `manifest` over.
    pub(crate) fn of(manifest: &Manifest) -> Began {
        Began {
            pipeline: manifest.pipeline,
            generation: manifest.generation,
            checkpoint: manifest.checkpoint_id + 1,
        }
    }

    pub(crate) fn stamp(self, table: Uuid) -> Stamp {
        Stamp {
            pipeline: self.pipeline,
            table,
            generation: self.generation,
            checkpoint: self.checkpoint,
        }
    }
}

/// What a file's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) pipeline: Uuid,
    pub(crate) table: Uuid,
    pub(crate) generation: u64,
    pub(crate) checkpoint: u64,
}

impl Stamp {
    pub(crate) fn file_name(&self, id: Uuid) -> String {
        format!(
            "{}-{}-{}-{}-{id}{SUFFIX}",
            self.pipeline.simple(),
            self.table.simple(),
            self.generation,
            self.checkpoint
        )
    }

    /// Reads a name; `None` for every name that is not exactly one of ours.
    pub(crate) fn parse(name: &str) -> Option<Stamp> {
        let mut parts = name.strip_suffix(SUFFIX)?.splitn(5, '-');
        let (pipeline, table) = (parts.next()?, parts.next()?);
        let (generation, checkpoint) = (parts.next()?, parts.next()?);
        let stamp = Stamp {
            pipeline: Uuid::try_parse(pipeline).ok()?,
            table: Uuid::try_parse(table).ok()?,
            generation: generation.parse().ok()?,
            checkpoint: checkpoint.parse().ok()?,
        };
        let id = Uuid::try_parse(parts.next()?).ok()?;
        (stamp.file_name(id) == name).then_some(stamp)
    }

    /// A file of this stamp was in no manifest, and can come into none: the process that could have put it there is fenced
    /// by `now`'s generation, and had not made that checkpoint.
    pub(crate) fn is_abandoned(&self, now: &Stamp) -> bool {
        self.pipeline == now.pipeline
            && self.table == now.table
            && self.generation < now.generation
            && self.checkpoint >= now.checkpoint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_read() {
        let stamp = Stamp {
            pipeline: Uuid::from_u128(7),
            table: Uuid::from_u128(5),
            generation: 3,
            checkpoint: 12,
        };
        let name = stamp.file_name(Uuid::from_u128(9));
        assert_eq!(
            name,
            "00000000000000000000000000000007-00000000000000000000000000000005-3-12-00000000-0000-0000-0000-000000000009.parquet"
        );
        assert_eq!(Stamp::parse(&name), Some(stamp));
        let uuid = Uuid::from_u128(9);
        let both = &name[..65];
        for foreign in [
            format!("{uuid}.parquet"),
            format!("00000-3-{uuid}-00001.parquet"),
            format!("{both}-3-{uuid}.parquet"),
            format!("{both}-+3-12-{uuid}.parquet"),
            format!("{both}-3-012-{uuid}.parquet"),
            // The form of before.
            format!("{}-3-12-{uuid}.parquet", Uuid::from_u128(7).simple()),
            name.to_uppercase(),
            name.replace(".parquet", ".avro"),
        ] {
            assert_eq!(Stamp::parse(&foreign), None, "{foreign}");
        }
    }

    #[test]
    fn abandoned_is_what_a_fenced_process_left_beyond_the_last_checkpoint() {
        let stamp = |pipeline, generation, checkpoint| Stamp {
            pipeline: Uuid::from_u128(pipeline),
            table: Uuid::from_u128(5),
            generation,
            checkpoint,
        };
        let now = stamp(7, 3, 12);
        let cases = [
            (stamp(7, 2, 12), true),
            (stamp(7, 1, 30), true),
            (stamp(7, 2, 11), false), // that checkpoint was made: the file may be in it
            (stamp(7, 3, 12), false), // its own
            (stamp(7, 4, 12), false), // a process that took over after it
            (stamp(8, 2, 12), false), // another pipeline's
            (
                Stamp {
                    table: Uuid::from_u128(6),
                    ..stamp(7, 2, 12)
                },
                false, // another table's, whose job has checkpoints of its own
            ),
        ];
        for (file, expected) in cases {
            assert_eq!(file.is_abandoned(&now), expected, "{file:?}");
        }
    }
}
