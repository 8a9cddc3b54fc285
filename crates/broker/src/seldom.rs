//! A log line that clients can cause as often as they like is written once a second, with a count of those left out.

use std::time::Duration;

use parking_lot::Mutex;

const EVERY: Duration = Duration::from_secs(1);

/// When the line was last written, and how often it was left out since.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<(Option<Duration>, u64)>);

impl Seldom {
    /// How many lines were left out since the last one; `None` leaves this one out too. `elapsed` never steps back.
    pub(crate) fn now(&self, elapsed: Duration) -> Option<u64> {
        let mut said = self.0.lock();
        if said.0.is_some_and(|last| elapsed < last + EVERY) {
            said.1 += 1;
            return None;
        }
        let unsaid = said.1;
        *said = (Some(elapsed), 0);
        Some(unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_counts_the_others() {
        let line = Seldom::default();
        let said = [0, 1, 999, 1000, 1001, 5000].map(|ms| line.now(Duration::from_millis(ms)));
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
