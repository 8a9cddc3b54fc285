//! What reading has come to since the last seal: the source task adds to it, and a seal takes what there is.

use crate::chunk::Split;
use crate::ledger::Ledger;
use crate::lookup::Pins;
use crate::manifest::{Place, SplitOffset, SplitRange};
use crate::operator::{Meetings, SplitTimes};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// What reading has come to since the last seal.
#[derive(Default)]
pub(super) struct Account {
    /// By sink.
    pub(super) ledgers: Vec<Ledger>,
    /// Topics that have come, and where reading them ends.
    pub(super) appeared: Vec<(SplitOffset, Uuid)>,
    pub(super) standing: Standing,
    /// With what the rows since the last seal are joined.
    pub(super) pins: Pins,
}

/// Where reading stands.
#[derive(Clone, Default)]
pub(super) struct Standing {
    pub(super) splits: Arc<[Split]>,
    pub(super) times: SplitTimes,
    /// The source's, never going back.
    pub(super) watermark: Option<i64>,
    /// The last mark that went to the operators.
    pub(super) marked: Option<i64>,
    /// By scan, where there are several.
    pub(super) marks: BTreeMap<String, i64>,
    /// Where scans meet.
    pub(super) meetings: Meetings,
    /// Of the last batch, in the log's readable order.
    pub(super) place: Option<Place>,
    pub(super) max_event_time: Option<i64>,
}

impl Account {
    /// What was read up to here; it goes on from nothing.
    pub(super) fn epoch(&mut self, fired: bool) -> Epoch {
        let ledgers = self.ledgers.iter_mut();
        let splits = &self.standing.splits;
        Epoch {
            ranges: ledgers.map(|ledger| ledger.take(splits)).collect(),
            appeared: std::mem::take(&mut self.appeared),
            standing: self.standing.clone(),
            pins: self.pins.clone(),
            fired,
        }
    }

    pub(super) fn append(&mut self, later: Account) {
        self.ledgers
            .resize_with(later.ledgers.len(), Ledger::default);
        for (ledger, later) in self.ledgers.iter_mut().zip(later.ledgers) {
            ledger.append(later);
        }
        self.appeared.extend(later.appeared);
        self.standing = later.standing;
    }
}

/// What a seal is of.
pub(super) struct Epoch {
    /// By sink.
    pub(super) ranges: Vec<Vec<SplitRange>>,
    pub(super) appeared: Vec<(SplitOffset, Uuid)>,
    pub(super) standing: Standing,
    pub(super) pins: Pins,
    /// It has rows that no offset brought.
    pub(super) fired: bool,
}

impl Standing {
    /// The greatest event time, or watermark of a partition.
    pub(super) fn reached(&self) -> Option<i64> {
        let watermarks = self.times.by_split().values().max();
        self.max_event_time.max(watermarks.copied())
    }
}
