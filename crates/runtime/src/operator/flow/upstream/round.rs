//! What rows of a scan became, at each place where they leave the operators without state.

use crate::chunk::{Chunk, kept};
use crate::operator::Failure;
use crate::origins::{Origin, Runs};
use arrow_schema::ArrowError;
use std::collections::{BTreeMap, BTreeSet};

/// What a chunk became at one outlet.
#[derive(Clone)]
pub struct Processed {
    pub chunk: Chunk,
    /// Records that failed, by where they came from.
    pub failures: Vec<Failure>,
}

impl Processed {
    pub(super) fn which_is(mut self, idle: Option<bool>) -> Processed {
        self.chunk.idle = idle;
        self
    }
}

/// What rows of one scan became, by outlet; `None` where that scan does not lead.
pub struct Round(pub(super) Vec<Option<Processed>>);

/// Which records came to some outlets, and which failed on the way.
#[derive(Default)]
pub struct Landed {
    pub rows: Runs,
    pub failures: Vec<Failure>,
}

impl Landed {
    /// What came of later rows.
    pub fn add(&mut self, done: &Processed) {
        self.rows.extend(rows_of_log(&done.chunk));
        self.failures.extend_from_slice(&done.failures);
    }
}

impl Round {
    /// What came to each outlet.
    pub fn outlets(&self) -> impl Iterator<Item = (usize, &Processed)> {
        let outlets = self.0.iter().enumerate();
        outlets.filter_map(|(outlet, done)| Some((outlet, done.as_ref()?)))
    }

    pub fn into_outlets(self) -> impl Iterator<Item = (usize, Processed)> {
        let outlets = self.0.into_iter().enumerate();
        outlets.filter_map(|(outlet, done)| Some((outlet, done?)))
    }

    pub fn get(&self, outlet: usize) -> Option<&Processed> {
        self.0[outlet].as_ref()
    }

    pub fn take(&mut self, outlet: usize) -> Option<Processed> {
        self.0[outlet].take()
    }

    /// The records that came to any of these outlets; `None` when the scan leads to none of them.
    pub fn landed(&self, outlets: &[usize]) -> Option<Landed> {
        let mut given = outlets.iter().filter_map(|outlet| self.get(*outlet));
        let first = given.next()?;
        let mut landed = Landed::default();
        landed.add(first);
        let mut others = given.peekable();
        if others.peek().is_some() {
            let mut records: BTreeSet<Origin> = landed.rows.iter().collect();
            let mut failed: BTreeMap<Origin, Failure> = BTreeMap::new();
            let by_origin = |failure: Failure| (failure.origin, failure);
            failed.extend(landed.failures.drain(..).map(by_origin));
            for other in others {
                records.extend(rows_of_log(&other.chunk).iter());
                let new = other.failures.iter().cloned().map(by_origin);
                new.for_each(|(origin, failure)| {
                    failed.entry(origin).or_insert(failure);
                });
            }
            landed.rows = records.into_iter().collect();
            landed.failures = failed.into_values().collect();
        }
        Some(landed)
    }
}

pub(super) fn rows_of_log(chunk: &Chunk) -> &Runs {
    let runs = chunk.origins.runs();
    runs.expect("they are rows of the log up to here")
}

/// A record fails as a whole, and once: rows of it can fail in different steps, and the first failure is the record's.
pub(super) fn settled(mut done: Processed) -> Result<Processed, ArrowError> {
    if !done.failures.is_empty() {
        let mut failed = BTreeSet::new();
        done.failures
            .retain(|failure| failed.insert(failure.origin));
        done.chunk = kept(done.chunk, |at| !failed.contains(at))?;
        done.failures.sort_by_key(|failure| failure.origin);
    }
    Ok(done)
}

/// A record that failed on the way to one of the outlets has failed for all of them: it is a dead letter of the sinks behind, and
/// state took nothing of it in.
pub(super) fn fail_together(round: &mut Round, outlets: &[usize]) -> Result<(), ArrowError> {
    let given = outlets.iter().filter_map(|outlet| round.get(*outlet));
    if given.map(|done| done.failures.len()).sum::<usize>() == 0 {
        return Ok(());
    }
    let Landed { failures, .. } = round.landed(outlets).expect("some have failed there");
    let failed: BTreeSet<Origin> = failures.iter().map(|failure| failure.origin).collect();
    for outlet in outlets {
        if let Some(done) = round.0[*outlet].take() {
            round.0[*outlet] = Some(Processed {
                chunk: kept(done.chunk, |at| !failed.contains(at))?,
                failures: failures.clone(),
            });
        }
    }
    Ok(())
}
