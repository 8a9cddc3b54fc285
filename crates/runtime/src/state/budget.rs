//! The memory that the states of all jobs of a server may take together.
//!
//! Each job has a share, which says what its state takes. When all of them are beyond the limit, a job whose state grows takes no
//! more rows; one whose state does not goes on, since what it reads may let windows fire. So they are over the limit by no more
//! than what one poll of each job adds. As soon as they are within it again, all go on.

use super::StateError;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A server's limit, and what its jobs take of it.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    limit: u64,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    by_share: BTreeMap<u64, u64>,
    next: u64,
}

impl Taken {
    fn total(&self) -> u64 {
        self.by_share.values().sum()
    }
}

impl Budget {
    pub fn of(limit: u64) -> Budget {
        Budget(Arc::new(Shared {
            limit,
            taken: Mutex::default(),
        }))
    }

    /// There is none.
    pub fn none() -> Budget {
        Budget::of(u64::MAX)
    }

    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// What all states take now.
    pub fn taken(&self) -> u64 {
        self.0.taken.lock().total()
    }

    /// That of a job, which has nothing yet.
    pub(crate) fn share(&self) -> Share {
        let mut taken = self.0.taken.lock();
        let id = taken.next;
        taken.next += 1;
        taken.by_share.insert(id, 0);
        Share {
            budget: self.clone(),
            id,
            bytes: 0,
            most: None,
        }
    }
}

/// What of a budget is a job's. It is given back when the job ends.
pub(crate) struct Share {
    budget: Budget,
    id: u64,
    bytes: u64,
    /// What it took when all went beyond the limit.
    most: Option<u64>,
}

impl Share {
    /// The job's state takes so much now.
    pub(crate) fn take(&mut self, bytes: u64) {
        self.bytes = bytes;
        let mut taken = self.budget.0.taken.lock();
        taken.by_share.insert(self.id, bytes);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the job may take more rows.
    pub(crate) fn has_room(&mut self) -> bool {
        if self.bytes == 0 || self.budget.taken() <= self.budget.limit() {
            self.most = None;
            return true;
        }
        self.bytes <= *self.most.get_or_insert(self.bytes)
    }

    /// Takes what a checkpoint says that its state takes, before it is read.
    ///
    /// # Errors
    /// When there is not so much left.
    pub(crate) fn restore(&mut self, bytes: u64) -> Result<(), StateError> {
        let (taken, limit) = (self.budget.taken(), self.budget.limit());
        if taken.saturating_add(bytes) > limit {
            return Err(StateError::Budget {
                bytes,
                taken,
                limit,
            });
        }
        self.take(bytes);
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.taken.lock().by_share.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_grows_beyond_the_limit_waits_until_all_are_within_it() {
        let budget = Budget::of(100);
        let (mut one, mut other) = (budget.share(), budget.share());
        one.take(60);
        other.take(40);
        assert!(one.has_room() && other.has_room());
        one.take(70);
        // Whoever finds the limit passed may try once, and what grows is over.
        assert!(one.has_room() && other.has_room());
        one.take(75);
        assert!(!one.has_room());
        other.take(41);
        assert!(!other.has_room());
        // Its windows fire, though that is not enough yet.
        other.take(30);
        assert!(other.has_room() && !one.has_room());
        other.take(25);
        assert!(one.has_room() && other.has_room());
    }

    #[test]
    fn what_a_job_had_is_given_back() {
        let budget = Budget::of(100);
        let (mut one, mut other) = (budget.share(), budget.share());
        one.take(200);
        other.take(1);
        assert!(other.has_room());
        other.take(2);
        assert!(!other.has_room());
        drop(one);
        assert!(other.has_room());
        assert_eq!(budget.taken(), 2);
    }

    #[test]
    fn a_state_is_not_restored_beyond_the_limit() {
        let budget = Budget::of(100);
        let (mut one, mut other) = (budget.share(), budget.share());
        one.restore(60).expect("there is room");
        let error = other.restore(50).expect_err("there is not");
        let (bytes, taken, limit) = (50, 60, 100);
        assert_eq!(
            error,
            StateError::Budget {
                bytes,
                taken,
                limit
            }
        );
        assert_eq!(budget.taken(), 60);
    }
}
