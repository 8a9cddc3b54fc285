//! How long a table remembers, by its own properties: versions of its log, and files that were removed.
//!
//! They are intervals as Spark's SQL writes them: `interval 30 days`, `7 days`, `interval 12 hours`. One that is not understood is
//! nobody's leave to remove anything.

use super::action::Metadata;

const DAY_MS: i64 = 24 * 3600 * 1000;
const LOG: &str = "delta.logRetentionDuration";
const LOG_MS: i64 = 30 * DAY_MS;
const REMOVED: &str = "delta.deletedFileRetentionDuration";
const REMOVED_MS: i64 = 7 * DAY_MS;
const CLEANUP: &str = "delta.enableExpiredLogCleanup";

/// Versions from before this time may go; `None`: none may.
pub(super) fn log_before(metadata: &Metadata, now_ms: i64) -> Option<i64> {
    let is_off = metadata.configuration.get(CLEANUP);
    if is_off.is_some_and(|on| !on.eq_ignore_ascii_case("true")) {
        return None;
    }
    Some(now_ms - duration(metadata, LOG, LOG_MS)?)
}

/// Checkpoints tell of files that were removed after this time.
pub(super) fn removed_since(metadata: &Metadata, now_ms: i64) -> i64 {
    match duration(metadata, REMOVED, REMOVED_MS) {
        Some(kept) => now_ms - kept,
        // Rather too long than too short.
        None => i64::MIN,
    }
}

fn duration(metadata: &Metadata, key: &str, default: i64) -> Option<i64> {
    match metadata.configuration.get(key) {
        None => Some(default),
        Some(text) => millis(text),
    }
}

/// Milliseconds of one number with its unit.
fn millis(text: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_prefix("interval").unwrap_or(&text).trim();
    let (number, unit) = text.split_once(' ')?;
    let unit = match unit.trim().trim_end_matches('s') {
        "millisecond" => 1,
        "second" => 1000,
        "minute" => 60 * 1000,
        "hour" => 3600 * 1000,
        "day" => DAY_MS,
        "week" => 7 * DAY_MS,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_sparks_and_others_remove_nothing() {
        let cases = [
            ("interval 30 days", Some(30 * DAY_MS)),
            ("INTERVAL 1 WEEK", Some(7 * DAY_MS)),
            ("12 hours", Some(DAY_MS / 2)),
            ("interval 0 seconds", Some(0)),
            ("interval 1 month", None),
            ("interval 1 day 2 hours", None),
            ("P1D", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(millis(text), expected, "{text}");
        }
    }
}
