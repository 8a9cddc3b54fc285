//! Names of data files: who wrote them, and for which checkpoint.
//!
//! ```text
//! <pipeline, 32 hex digits>-<generation>-<checkpoint>-<uuid>.parquet        in the table's data folder
//! ```
//!
//! The generation is the manifest's when the process took the pipeline over, the checkpoint the one that the file is meant
//! for. By these two numbers a later process knows a file that no manifest ever named (see `orphans`).

use lw_runtime::manifest::Manifest;
use uuid::Uuid;

const SUFFIX: &str = ".parquet";

/// What a file's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) pipeline: Uuid,
    pub(super) generation: u64,
    pub(super) checkpoint: u64,
}

impl Stamp {
    /// Of the files that a process writes first, once it has taken `manifest` over.
    pub(super) fn after(manifest: &Manifest) -> Stamp {
        Stamp {
            pipeline: manifest.pipeline,
            generation: manifest.generation,
            checkpoint: manifest.checkpoint_id + 1,
        }
    }

    pub(super) fn file_name(&self, id: Uuid) -> String {
        format!(
            "{}-{}-{}-{id}{SUFFIX}",
            self.pipeline.simple(),
            self.generation,
            self.checkpoint
        )
    }

    /// Reads a name; `None` for every name that is not exactly one of ours.
    pub(super) fn parse(name: &str) -> Option<Stamp> {
        let mut parts = name.strip_suffix(SUFFIX)?.splitn(4, '-');
        let (pipeline, generation, checkpoint) = (parts.next()?, parts.next()?, parts.next()?);
        let stamp = Stamp {
            pipeline: Uuid::try_parse(pipeline).ok()?,
            generation: generation.parse().ok()?,
            checkpoint: checkpoint.parse().ok()?,
        };
        let id = Uuid::try_parse(parts.next()?).ok()?;
        (stamp.file_name(id) == name).then_some(stamp)
    }

    /// A file of this stamp was in no manifest, and can come into none: the process that could have put it there is fenced
    /// by `now`'s generation, and had not made that checkpoint.
    pub(super) fn is_abandoned(&self, now: &Stamp) -> bool {
        self.pipeline == now.pipeline
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
            generation: 3,
            checkpoint: 12,
        };
        let name = stamp.file_name(Uuid::from_u128(9));
        assert_eq!(
            name,
            "00000000000000000000000000000007-3-12-00000000-0000-0000-0000-000000000009.parquet"
        );
        assert_eq!(Stamp::parse(&name), Some(stamp));
        let uuid = Uuid::from_u128(9);
        for foreign in [
            format!("{uuid}.parquet"),
            format!("00000-3-{uuid}-00001.parquet"),
            format!("{}-3-{uuid}.parquet", Uuid::from_u128(7).simple()),
            format!("{}-+3-12-{uuid}.parquet", Uuid::from_u128(7).simple()),
            format!("{}-3-012-{uuid}.parquet", Uuid::from_u128(7).simple()),
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
        ];
        for (file, expected) in cases {
            assert_eq!(file.is_abandoned(&now), expected, "{file:?}");
        }
    }
}
