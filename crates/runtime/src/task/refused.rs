//! Where a job does not go on from: offsets of something else, event time that has ended, state that another sink would need anew.
//!
//! What a start from a savepoint asks before anything changes, a job asks again when its source is positioned.

use crate::chunk::Mark;
use crate::connector::{ConnectorError, ErrorKind, Source};
use crate::manifest::{Manifest, SplitOffset};
use crate::operator::covers;
use std::collections::BTreeSet;

#[cfg(test)]
mod tests;

/// Refuses offsets that are of something else than what the source would read, where it has words for it.
pub(crate) fn refuse_other(manifest: &Manifest, source: &dyn Source) -> Result<(), ConnectorError> {
    let topics = source.topics().into_iter();
    let others = topics.filter(|(topic, id)| {
        let known = manifest.topics.get(topic);
        known.is_some_and(|known| known != id)
    });
    let mut refused = others.filter_map(|(topic, _)| source.another(&topic));
    refused.next().map_or(Ok(()), Err)
}

/// Refuses to let a job with state read on, with a source that stands where the manifest says, where event time has ended: what came
/// since would be late, all of it. `scans` has the topics of each of the job's scans.
///
/// One scan has ended when a state has, since all of them are behind it. Of several, one may have ended long before the others, and
/// the states that it alone leads to: then its mark tells, which stands under one of its topics.
pub(crate) fn refuse_ended(
    manifest: &Manifest,
    scans: &[Vec<String>],
    source: &dyn Source,
) -> Result<(), ConnectorError> {
    let more = with_more(source);
    let is_at_end = |topic: &String| manifest.marks.get(topic) == Some(&Mark::END);
    let has_more = |named: &String| more.iter().any(|topic| covers(named, topic));
    let refused = match scans {
        [_] => {
            let mut states = manifest.states();
            !more.is_empty() && states.any(|state| state.watermark == Some(Mark::END))
        }
        _ => {
            let mut scans = scans.iter();
            scans.any(|topics| topics.iter().any(is_at_end) && topics.iter().any(has_more))
        }
    };
    match refused {
        true => Err(time_has_ended()),
        false => Ok(()),
    }
}

/// The topics of which there is more to read.
fn with_more(source: &dyn Source) -> BTreeSet<String> {
    let (at, ends) = (source.positions(), source.ends().unwrap_or_default());
    let is_read = |one: &SplitOffset| {
        let here = at.iter().find(|at| at.same_split(one));
        let end = ends.iter().find(|end| end.same_split(one));
        here.zip(end).is_some_and(|(at, end)| at.next >= end.next)
    };
    let splits = at.iter().chain(&ends);
    let open = splits.filter(|split| !is_read(split));
    open.map(|split| split.topic.clone()).collect()
}

/// The end of a bounded read let every window fire: what is read on would be late, all of it, and in no result.
fn time_has_ended() -> ConnectorError {
    ConnectorError::new(
        ErrorKind::Fix,
        "event time has ended, and there is more to read",
    )
    .detail("All windows fired at the end of the bounded read, or when the pipeline was drained; a record that came since would be too late for every one of them.")
    .hint("Drop the pipeline and run its script anew, without 'scan.bounded.mode' if records go on coming, or from a savepoint that was taken without --drain.")
}

/// Below the position state has the rows already, and cannot take them in once more for the sake of another sink.
pub(super) fn joins_state() -> ConnectorError {
    ConnectorError::new(
        ErrorKind::Fix,
        "an INSERT cannot join others that have the state of aggregates",
    )
    .detail("It would begin where its startup mode says, and the others would have to read the same records again.")
    .hint("Submit it as a pipeline of its own, or drop the pipeline and run the whole script anew.")
}
