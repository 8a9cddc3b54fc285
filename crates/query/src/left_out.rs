//! What lists about all tables (`information_schema`, `snapshots_for`) leave out because a catalog does not answer, for the query that asked.
//!
//! Such a list is about all catalogs at once: one that is down must not hide the others, and what is missing must not pass
//! for what is not there. So the rows come without it, and the answer's notices name it. Who names the catalog itself, in
//! `FROM` or in `SHOW TABLES IN`, gets the error. (Trino fails the whole list, and has tools that ask for lists fail with it.)

use lw_lakehouse::CatalogError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Notices of one answer; the rest is a number.
const MOST_NOTICES: usize = 10;

/// Of one query.
#[derive(Clone, Default)]
pub(crate) struct LeftOut(Arc<Inner>);

#[derive(Default)]
struct Inner {
    running: AtomicBool,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    notices: Vec<String>,
    more: usize,
}

impl LeftOut {
    /// From now on the query has its plan: a table that is still asked for is wanted for a list.
    pub(crate) fn run(&self) {
        self.0.running.store(true, Ordering::Release);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0.running.load(Ordering::Acquire)
    }

    /// Tells that `of` has no `what`.
    pub(crate) fn tell(&self, of: &str, what: &str, error: &CatalogError) {
        let mut told = self.0.told.lock().expect("nothing panics here");
        if told.notices.len() < MOST_NOTICES {
            let notice = format!("left out of {of}: {what}: {error}");
            told.notices.push(notice);
        } else {
            told.more += 1;
        }
    }

    /// In the order in which they were found; whole once the rows have ended.
    pub(crate) fn notices(&self) -> Vec<String> {
        let told = self.0.told.lock().expect("nothing panics here");
        let mut notices = told.notices.clone();
        if told.more > 0 {
            let more = format!("left out: {} more", told.more);
            notices.push(more);
        }
        notices
    }
}
