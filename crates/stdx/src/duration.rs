//! Durations as Flink and people write them: `10 s`, `500ms`, `1 min`, `2 h`.

use std::time::Duration;

/// Parses a number and a unit; a bare number is milliseconds, as in Flink's options. `None` when it is not a duration.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_flinks() {
        for (text, millis) in [
            ("10 s", Some(10_000)),
            ("500ms", Some(500)),
            ("7", Some(7)),
            ("1 min", Some(60_000)),
            ("2H", Some(7_200_000)),
            ("", None),
            ("s", None),
            ("1 fortnight", None),
        ] {
            assert_eq!(parse(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }
}
