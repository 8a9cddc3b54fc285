//! Which offsets a replay is of: what was asked for and what there is in, a range for each partition out. Pure.
//!
//! ```text
//!   log          ├────────────────────────────►        what can still be read
//!   table     begins ├───────────┤ ends                what its commits account for
//!   asked               ├─ … ─┤
//! ```
//!
//! The range never leaves what the table accounts for: before it nothing was read, and what is behind it the live pipeline will write.
//! Where the log has lost the beginning of the range, it is refused as a whole, with the first offset that is there.

use super::carve::Offsets;
use crate::error::CatalogError;
use lw_runtime::manifest::SplitOffset;
use lw_stdx::calendar::parse_utc;
use std::collections::BTreeSet;
use std::fmt::Write;
use thiserror::Error;

/// What there is to choose from.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What the table accounts for, as its readers see it.
    pub begins: Vec<SplitOffset>,
    pub ends: Vec<SplitOffset>,
    /// The snapshot of `main` that it is of.
    pub head: i64,
    /// Where the log begins.
    pub log: Vec<SplitOffset>,
}

/// An end of a range, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// All of the table.
    Open,
    /// `topic[0]@5,topic[1]@7`; without its topic where the table has one alone.
    Offsets(Vec<(Option<String>, i32, i64)>),
    /// The first record of this time or later, milliseconds since 1970.
    Time(i64),
    /// Where the table ended at a snapshot, a branch or a tag.
    Version(String),
}

impl Bound {
    /// # Errors
    /// What can be written, in a sentence.
    pub fn parse(text: &str) -> Result<Bound, String> {
        let text = text.trim();
        if let Some(version) = text.strip_prefix("snapshot:") {
            return Ok(Bound::Version(version.to_owned()));
        }
        let bound = match text {
            "beginning" | "end" => Some(Bound::Open),
            _ if text.contains('@') => {
                let offsets = text.split(',').map(|one| offset(one.trim()));
                offsets.collect::<Option<Vec<_>>>().map(Bound::Offsets)
            }
            _ => {
                let millis = text.parse().ok().or_else(|| parse_utc(text));
                millis.map(Bound::Time)
            }
        };
        bound.ok_or_else(|| {
            format!("'{text}' is no place in a topic: write offsets ('orders[0]@4711,orders[1]@4690'), a time in UTC ('2026-01-31T12:00:00'), 'snapshot:ID', or 'beginning' and 'end'")
        })
    }
}

/// `topic[0]@5` or `0@5`.
fn offset(text: &str) -> Option<(Option<String>, i32, i64)> {
    let (split, offset) = text.rsplit_once('@')?;
    let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
    let (topic, partition) = match split.strip_suffix(']') {
        Some(split) => {
            let (topic, partition) = split.rsplit_once('[')?;
            (Some(topic.to_owned()), partition)
        }
        None => (None, split),
    };
    let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
    Some((topic, partition, offset))
}

/// Each partition of the table, with where it begins and ends; the same where nothing of it is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRange {
    pub from: Vec<SplitOffset>,
    pub until: Vec<SplitOffset>,
    /// Nothing of the table lies before it, or behind it.
    pub from_the_beginning: bool,
    pub to_the_end: bool,
}

impl ReplayRange {
    /// All that the table accounts for.
    pub fn is_all(&self) -> bool {
        self.from_the_beginning && self.to_the_end
    }

    /// Those of them where something is computed.
    pub fn parts(&self) -> impl Iterator<Item = (&SplitOffset, i64)> {
        let both = self.from.iter().zip(&self.until);
        let both = both.map(|(from, until)| (from, until.next));
        both.filter(|(from, until)| from.next < *until)
    }

    pub(crate) fn offsets(&self) -> Offsets {
        let parts = self.parts().map(|(from, until)| {
            let split = (from.topic.clone(), from.partition);
            (split, from.next..until)
        });
        parts.collect()
    }

    /// `in[0] 5…9, in[1] 0…4`, the last ones inclusive.
    pub fn text(&self) -> String {
        let parts = self.parts().map(|(from, until)| {
            let SplitOffset {
                topic,
                partition,
                next,
            } = from;
            format!("{topic}[{partition}] {next}…{}", until - 1)
        });
        parts.collect::<Vec<String>>().join(", ")
    }
}

/// Why a range is not replayed, or not now.
#[derive(Debug, Error)]
pub enum ReplayError {
    #[error("the table has nothing of {topic}[{partition}]")]
    UnknownSplit {
        topic: String,
        partition: i32,
        facts: Facts,
    },
    #[error("which topic partition {partition} is of has to be said")]
    NoTopic { partition: i32, topics: Vec<String> },
    #[error("the table accounts for no offset of that range")]
    Empty { facts: Facts },
    #[error("the log no longer has all of that range")]
    Lost { lost: Vec<SplitOffset> },
    #[error("the table has no snapshot: there is nothing to replay")]
    NoSnapshot,
    #[error("the branch '{branch}' is there already, at snapshot {snapshot_id}")]
    Exists { branch: String, snapshot_id: i64 },
    #[error("{0}")]
    Name(&'static str),
    #[error(
        "{path} has rows on both sides of {topic}[{partition}]@{offset}, and it is not known which"
    )]
    Uncut {
        path: String,
        topic: String,
        partition: i32,
        offset: i64,
        first: i64,
        last: i64,
    },
    #[error("{path} was written by somebody else, and may have rows of the range")]
    Foreign { path: String, snapshot: String },
    #[error("rows of {path}, which has some of the range, may have been deleted by somebody else")]
    Deleted { path: String },
    #[error("{path}, which has rows of the range, is listed twice")]
    Doubled { path: String },
    #[error("{path} has rows of aggregates, which are of no single offset")]
    Derived { path: String },
    #[error("others changed the table each time: {0}")]
    Busy(String),
    #[error("the branch '{branch}' cannot be promoted: {why}")]
    Branch { branch: String, why: String },
    #[error("main has files of the branch '{branch}' already")]
    Promoted { branch: String },
    #[error("others changed rows of the range in main since the branch '{branch}' began")]
    Changed {
        branch: String,
        /// What is not named yet, each with what it did.
        snapshots: Vec<(i64, String)>,
    },
    #[error("main has other rows of the range than when the branch '{branch}' began")]
    TakenOut { branch: String },
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl ReplayError {
    /// Sentences with more.
    pub fn detail(&self) -> String {
        match self {
            ReplayError::UnknownSplit { facts, .. } | ReplayError::Empty { facts } => {
                format!("It has {}.", facts.text())
            }
            ReplayError::NoTopic { topics, .. } => {
                format!("The table is of several topics: {}.", topics.join(", "))
            }
            ReplayError::Lost { lost } => {
                let first = lost
                    .iter()
                    .map(|at| format!("{}[{}]@{}", at.topic, at.partition, at.next));
                format!(
                    "Retention, or a deletion of records, took the beginning. The first offsets that are there: {}.",
                    first.collect::<Vec<String>>().join(", ")
                )
            }
            ReplayError::Uncut { first, last, .. } => format!(
                "The file has several rows of a record, or too many records without a row to list them: its rows of the offsets {first} to {last} can only be replayed together."
            ),
            ReplayError::Foreign { snapshot, .. } => format!(
                "The pipeline's files say which offset each row came from. This one, {snapshot}, does not: if it has rows of the range, these would be there twice."
            ),
            ReplayError::Derived { .. } => {
                "Such rows can only be replayed with all of the table.".to_owned()
            }
            ReplayError::Deleted { .. } => "The deleted rows would come back.".to_owned(),
            ReplayError::Changed { snapshots, .. } => {
                let told = snapshots.iter().map(|(id, did)| format!("{id} ({did})"));
                format!(
                    "What they did would be undone where it is of the range. Their snapshots: {}.",
                    told.collect::<Vec<String>>().join(", ")
                )
            }
            ReplayError::TakenOut { .. } => {
                "A rollback took some out, and its pipeline went on without them, or another branch was promoted since."
                    .to_owned()
            }
            _ => String::new(),
        }
    }

    /// Something to type.
    pub fn hint(&self) -> String {
        match self {
            ReplayError::Lost { .. } => "Begin there, with --from, or keep records longer (`lakeward topic alter TOPIC --config retention.ms=…`).".to_owned(),
            ReplayError::Exists { .. } => "Choose another name with --branch, or drop that branch: `lakeward table branch TABLE NAME --drop`.".to_owned(),
            ReplayError::NoTopic { partition, topics } => format!(
                "Write {}[{partition}]@… .",
                topics.first().map_or("topic", String::as_str)
            ),
            ReplayError::Uncut { topic, partition, first, last, .. } => format!(
                "Begin or end at {topic}[{partition}]@{first}, or at {topic}[{partition}]@{}.",
                last + 1
            ),
            ReplayError::Empty { .. } | ReplayError::UnknownSplit { .. } => "`lakeward table offsets TABLE` shows which snapshot has which.".to_owned(),
            ReplayError::Derived { .. } => "Say --from beginning, and leave --to out.".to_owned(),
            ReplayError::Changed { branch, snapshots } => {
                let named = snapshots.iter().map(|(id, _)| format!(" --discard {id}"));
                format!(
                    "Say so to have it that way: `lakeward replay promote TABLE --branch {branch}{}`. Or replay again: a branch that begins now has what they did.",
                    named.collect::<String>()
                )
            }
            ReplayError::TakenOut { .. } => "Replay what is there into another branch.".to_owned(),
            ReplayError::Busy(_) => "Try again when it is quieter.".to_owned(),
            _ => String::new(),
        }
    }
}

impl Facts {
    fn text(&self) -> String {
        let mut text = String::new();
        for end in &self.ends {
            let begin = self.begin(end);
            let comma = if text.is_empty() { "" } else { ", " };
            let SplitOffset {
                topic, partition, ..
            } = end;
            let _ = match begin < end.next {
                true => write!(
                    text,
                    "{comma}{topic}[{partition}] {begin} to {}",
                    end.next - 1
                ),
                false => write!(text, "{comma}{topic}[{partition}] nothing"),
            };
        }
        match text.is_empty() {
            true => "none".to_owned(),
            false => text,
        }
    }

    /// Offsets as they are written, each with its topic.
    ///
    /// # Errors
    /// When one has none and the table has several.
    pub fn named(
        &self,
        offsets: &[(Option<String>, i32, i64)],
    ) -> Result<Vec<SplitOffset>, ReplayError> {
        let topics: BTreeSet<&String> = self.ends.iter().map(|end| &end.topic).collect();
        let only = topics.first().filter(|_| topics.len() == 1);
        let named = offsets.iter().map(|(topic, partition, next)| {
            let topic = topic.as_ref().or(only.copied());
            let topic = topic.ok_or_else(|| ReplayError::NoTopic {
                partition: *partition,
                topics: topics.iter().map(|topic| (*topic).clone()).collect(),
            })?;
            Ok(SplitOffset {
                topic: topic.clone(),
                partition: *partition,
                next: *next,
            })
        });
        named.collect()
    }

    fn begin(&self, of: &SplitOffset) -> i64 {
        at(&self.begins, of).unwrap_or(0)
    }

    /// The range from `from` to `to`, where they are said. A partition that `from` leaves out is left out; one that only `to` does is
    /// computed to its end.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub fn choose(
        &self,
        from: Option<&[SplitOffset]>,
        to: Option<&[SplitOffset]>,
    ) -> Result<ReplayRange, ReplayError> {
        let named = from.into_iter().chain(to).flatten();
        if let Some(unknown) = named.into_iter().find(|one| at(&self.ends, one).is_none()) {
            return Err(ReplayError::UnknownSplit {
                topic: unknown.topic.clone(),
                partition: unknown.partition,
                facts: self.clone(),
            });
        }
        let (mut begin, mut end) = (Vec::new(), Vec::new());
        for last in &self.ends {
            let first = self.begin(last);
            let asked = match from {
                None => first,
                Some(from) => at(from, last).unwrap_or(last.next),
            };
            let next = asked.clamp(first, last.next.max(first));
            let until = to.and_then(|to| at(to, last)).unwrap_or(last.next);
            let until = until.clamp(next, last.next.max(next));
            begin.push(SplitOffset {
                next,
                ..last.clone()
            });
            end.push(SplitOffset {
                next: until,
                ..last.clone()
            });
        }
        let from_the_beginning = begin.iter().all(|at| at.next == self.begin(at));
        let to_the_end = end.iter().zip(&self.ends).all(|(at, end)| at == end);
        let range = ReplayRange {
            from: begin,
            until: end,
            from_the_beginning,
            to_the_end,
        };
        if range.parts().next().is_none() {
            return Err(ReplayError::Empty {
                facts: self.clone(),
            });
        }
        let lost = range.parts().filter_map(|(from, _)| {
            // A partition that the log does not have at all has no first offset either.
            let start = at(&self.log, from).unwrap_or(i64::MAX);
            (start > from.next).then(|| SplitOffset {
                next: start,
                ..from.clone()
            })
        });
        let lost: Vec<SplitOffset> = lost.collect();
        match lost.is_empty() {
            true => Ok(range),
            false => Err(ReplayError::Lost { lost }),
        }
    }
}

fn at(offsets: &[SplitOffset], of: &SplitOffset) -> Option<i64> {
    let mut offsets = offsets.iter();
    offsets.find(|one| one.same_split(of)).map(|one| one.next)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `partition@offset …`
    fn offsets(text: &str) -> Vec<SplitOffset> {
        let offset = |word: &str| {
            let (partition, next) = word.split_once('@').expect("partition@offset");
            SplitOffset {
                topic: "in".to_owned(),
                partition: partition.parse().expect("a number"),
                next: next.parse().expect("a number"),
            }
        };
        text.split_whitespace().map(offset).collect()
    }

    fn check(from: &str, to: &str, expected: &str) {
        let facts = Facts {
            begins: offsets("0@5 1@0"),
            ends: offsets("0@20 1@10 2@0"),
            log: offsets("0@8 1@0 2@0"),
            head: 1,
        };
        let (from, to) = (offsets(from), offsets(to));
        let said = |offsets: &[SplitOffset]| (!offsets.is_empty()).then(|| offsets.to_vec());
        let (from, to) = (said(&from), said(&to));
        let told = match facts.choose(from.as_deref(), to.as_deref()) {
            Ok(range) => range.text(),
            Err(error) => format!("{error} {}", error.detail()).trim().to_owned(),
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn ends_of_ranges_are_written_in_four_ways() {
        use Bound::{Offsets, Open, Time, Version};
        let topic = |name: &str| Some(name.to_owned());
        let cases = [
            ("beginning", Open),
            ("end", Open),
            ("snapshot:123", Version("123".to_owned())),
            ("0@5, 1@0", Offsets(vec![(None, 0, 5), (None, 1, 0)])),
            ("a[b][3]@7", Offsets(vec![(topic("a[b]"), 3, 7)])),
            ("1970-01-01T00:00:01", Time(1000)),
            ("1000", Time(1000)),
        ];
        for (text, bound) in cases {
            assert_eq!(Bound::parse(text), Ok(bound), "{text}");
        }
        for wrong in [
            "",
            "yesterday",
            "0@",
            "@5",
            "0@-1",
            "t[0@5",
            "0@5,",
            "t]0[@5",
        ] {
            let said = Bound::parse(wrong).expect_err(wrong);
            assert!(said.contains("is no place in a topic"), "{said}");
        }
    }

    #[test]
    fn a_range_is_what_the_table_has_of_what_was_asked_for() {
        check("0@8 1@0", "", "in[0] 8…19, in[1] 0…9");
        check("0@8", "", "in[0] 8…19");
        check("0@8 1@3", "0@12", "in[0] 8…11, in[1] 3…9");
        check("1@3", "1@99", "in[1] 3…9");
        check(
            "0@12",
            "0@12 1@4",
            "the table accounts for no offset of that range It has in[0] 5 to 19, in[1] 0 to 9, in[2] nothing.",
        );
        check(
            "7@0",
            "",
            "the table has nothing of in[7] It has in[0] 5 to 19, in[1] 0 to 9, in[2] nothing.",
        );
    }

    #[test]
    fn what_the_log_has_lost_is_told_with_what_is_there() {
        let lost = "the log no longer has all of that range Retention, or a deletion of records, took the beginning. The first offsets that are there: in[0]@8.";
        check("", "", lost);
        check("0@0", "", lost);
        check("0@7 1@3", "0@9", lost);
        check("0@0 1@3", "0@5", "in[1] 3…9");
    }
}
