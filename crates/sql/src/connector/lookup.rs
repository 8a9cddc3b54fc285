//! A table that rows are looked up in (`FOR SYSTEM_TIME AS OF`): where it is, and how its rows are held.
//!
//! The options are Flink's of a FULL cache: all rows are in memory and are loaded again each so often. What Flink's other caches and its
//! asking row by row are tuned by is refused, or does nothing here and says so.

use super::Use;
use super::iceberg;
use super::options::{
    Answer, Known, Options, bad_value, no_effect, not_yet, obeyed, without_effect,
};
use crate::Result;
use crate::diagnostic::{Diagnostic, Told};
use crate::parse::Ident;
use crate::suggest::did_you_mean;
use lw_graph::{LookupPlace, LookupTable};
use lw_stdx::duration;

const MOST_MEMORY: &str = "lakeward.lookup.max-memory";
const INTERVAL: &str = "lookup.full-cache.periodic-reload.interval";
/// Milliseconds.
const EACH_MINUTE: i64 = 60_000;
const MEBIBYTE: u64 = 1 << 20;

const NOTHING_WAITS: &str = "All rows of the table are in memory: nothing is asked for by row.";

const OPTIONS: &[Known] = &[
    obeyed("lookup.cache"),
    obeyed("lookup.full-cache.reload-strategy"),
    obeyed(INTERVAL),
    obeyed("lookup.full-cache.periodic-reload.schedule-mode"),
    not_yet("lookup.full-cache.timed-reload.iso-time"),
    not_yet("lookup.full-cache.timed-reload.interval-in-days"),
    not_yet("lookup.partial-cache.expire-after-access"),
    not_yet("lookup.partial-cache.expire-after-write"),
    not_yet("lookup.partial-cache.cache-missing-key"),
    not_yet("lookup.partial-cache.max-rows"),
    no_effect("lookup.async", NOTHING_WAITS),
    no_effect("lookup.max-retries", NOTHING_WAITS),
    obeyed(MOST_MEMORY),
];

/// Whether an option is about looking rows up in the table, and not about the table.
pub(super) fn is_of_lookups(key: &str) -> bool {
    key.starts_with("lookup.") || key == MOST_MEMORY
}

/// # Errors
/// Where no row can be looked up in the table. All that is wrong with the options is told.
pub(super) fn table(used: &Use<'_>, connector: &str, told: &mut Told) -> Option<LookupTable> {
    let place = match connector {
        "iceberg" => iceberg::place_of(used, told).map(LookupPlace::Iceberg),
        _ => None,
    };
    let options = Options::new(used.options, used.table.span);
    check_known(&options, told);
    let how = told.settle(check_cache(&options));
    let refresh = told.settle(refresh(&options));
    let max_bytes = told.settle(max_bytes(&options));
    how?;
    Some(LookupTable {
        name: used.table.path.object.clone(),
        place: place?,
        refresh: refresh?,
        max_bytes: max_bytes?,
    })
}

fn check_known(options: &Options<'_>, told: &mut Told) {
    for option in options.iter().filter(|o| is_of_lookups(&o.key.value)) {
        let key = option.key.value.as_str();
        match OPTIONS
            .iter()
            .find(|known| known.key == key)
            .map(|known| known.answer)
        {
            Some(Answer::Obeyed) => {}
            Some(Answer::NoEffect(why)) => told.tell(without_effect(&option.key, why)),
            Some(Answer::NotYet) => told.tell(
                Diagnostic::unsupported(option.key.span, format!("option '{key}' is"))
                    .detail("A table that rows are looked up in is held in memory as a whole.")
                    .hint(format!("'lookup.cache' = 'FULL', '{INTERVAL}' = '1 min'")),
            ),
            None => {
                let message =
                    format!("unknown option '{key}' of a table that rows are looked up in");
                let error = Diagnostic::error("option", option.key.span, message);
                told.tell(error.hint_if(did_you_mean(key, OPTIONS.iter().map(|known| known.key))));
            }
        }
    }
}

/// Everything but a FULL cache that is loaded each so often is refused.
fn check_cache(options: &Options<'_>) -> Result<()> {
    let cache = options.choice("lookup.cache", &["NONE", "PARTIAL", "FULL"])?;
    if let Some((kind @ ("NONE" | "PARTIAL"), span)) = cache {
        return Err(
            Diagnostic::unsupported(span, format!("'lookup.cache' = '{kind}' is"))
                .detail("A table that rows are looked up in is held in memory as a whole.")
                .hint("'lookup.cache' = 'FULL'"),
        );
    }
    let strategy = options.choice("lookup.full-cache.reload-strategy", &["PERIODIC", "TIMED"])?;
    if let Some(("TIMED", span)) = strategy {
        let what = "'lookup.full-cache.reload-strategy' = 'TIMED' is";
        return Err(Diagnostic::unsupported(span, what).hint(format!(
            "'lookup.full-cache.reload-strategy' = 'PERIODIC', '{INTERVAL}' = '1 h'"
        )));
    }
    options.choice(
        "lookup.full-cache.periodic-reload.schedule-mode",
        &["FIXED_DELAY", "FIXED_RATE"],
    )?;
    Ok(())
}

/// Milliseconds between two looks whether the table has changed.
fn refresh(options: &Options<'_>) -> Result<i64> {
    let Some(value) = options.value(INTERVAL) else {
        return Ok(EACH_MINUTE);
    };
    let millis = duration::parse(&value.value).map(|interval| interval.as_millis());
    let millis = millis.and_then(|millis| i64::try_from(millis).ok());
    millis
        .filter(|millis| *millis > 0)
        .ok_or_else(|| bad_value(INTERVAL, value, "a duration such as '1 min' or '10 s'"))
}

fn max_bytes(options: &Options<'_>) -> Result<u64> {
    match options.value(MOST_MEMORY) {
        None => Ok(256 * MEBIBYTE),
        Some(value) => bytes(value)
            .ok_or_else(|| bad_value(MOST_MEMORY, value, "a size such as '256 mb' or '2 gb'")),
    }
}

/// As Flink writes sizes of memory.
fn bytes(value: &Ident) -> Option<u64> {
    let text = value.value.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" => 1,
        "k" | "kb" | "kibibytes" => 1 << 10,
        "m" | "mb" | "mebibytes" => MEBIBYTE,
        "g" | "gb" | "gibibytes" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit).filter(|bytes| *bytes > 0)
}
