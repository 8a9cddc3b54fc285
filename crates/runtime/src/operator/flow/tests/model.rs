//! What Flink's join of windows gives, record by record.

use super::asleep::Combined;
use super::*;

/// A join of windows and the rows that wait in it.
pub(super) struct Model {
    kind: JoinKind,
    condition: bool,
    /// By window's end and key: places of both sides.
    open: BTreeMap<(i64, Option<i64>), [Vec<i64>; 2]>,
    pub(super) scans: Combined,
    pub(super) rows: Vec<(Option<i64>, Option<i64>)>,
    pub(super) late: Vec<i64>,
}

impl Model {
    pub(super) fn new(kind: JoinKind, condition: bool, scans: usize) -> Model {
        Model {
            kind,
            condition,
            open: BTreeMap::new(),
            scans: Combined::new(scans),
            rows: Vec::new(),
            late: Vec::new(),
        }
    }

    /// `sides` are those that the record's scan leads to.
    pub(super) fn take(&mut self, (scan, time, key): Record, place: i64, sides: &[usize]) {
        let end = time.div_euclid(SIZE) * SIZE + SIZE;
        for side in sides {
            match end - 1 <= self.scans.combined {
                true => self.late.push(place),
                false => self.open.entry((end, key)).or_default()[*side].push(place),
            }
        }
        self.scans.watermark(scan, time);
        self.fire();
    }

    pub(super) fn end(&mut self) {
        self.scans.combined = i64::MAX;
        self.fire();
    }

    pub(super) fn fire(&mut self) {
        while let Some(first) = self.open.first_entry()
            && first.key().0 - 1 <= self.scans.combined
        {
            let ((_, key), sides) = first.remove_entry();
            self.join(key, &sides);
        }
    }

    fn join(&mut self, key: Option<i64>, [left, right]: &[Vec<i64>; 2]) {
        let is = |l: i64, r: i64| key.is_some() && (!self.condition || l != r);
        let rows = &mut self.rows;
        if self.kind == JoinKind::Right {
            for r in right {
                let partners: Vec<i64> = left.iter().copied().filter(|l| is(*l, *r)).collect();
                rows.extend(partners.iter().map(|l| (Some(*l), Some(*r))));
                rows.extend(partners.is_empty().then_some((None, Some(*r))));
            }
            return;
        }
        for l in left {
            let partners: Vec<i64> = right.iter().copied().filter(|r| is(*l, *r)).collect();
            match self.kind {
                JoinKind::Semi => rows.extend((!partners.is_empty()).then_some((Some(*l), None))),
                JoinKind::Anti => rows.extend(partners.is_empty().then_some((Some(*l), None))),
                kind => {
                    rows.extend(partners.iter().map(|r| (Some(*l), Some(*r))));
                    let pads = kind != JoinKind::Inner && partners.is_empty();
                    rows.extend(pads.then_some((Some(*l), None)));
                }
            }
        }
        if self.kind == JoinKind::Full {
            let alone = right.iter().filter(|r| !left.iter().any(|l| is(*l, **r)));
            rows.extend(alone.map(|r| (None, Some(*r))));
        }
    }
}
