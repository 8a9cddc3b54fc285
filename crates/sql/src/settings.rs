//! `SET 'key' = 'value'`.
//!
//! Flink accepts any key and most have no meaning here. To ignore one in silence would be a lie, and to refuse all of them
//! would refuse scripts that run fine: so a key is honoured, or known to have no effect (said in a notice), or refused.

use crate::Result;
use crate::diagnostic::{Diagnostic, Told};
use crate::environment::Environment;
use crate::parse::Ident;
use crate::suggest::did_you_mean;
use lw_stdx::duration;
use lw_stdx::suggest::nearest;
use std::collections::BTreeMap;

/// How long nothing may come in a partition that event time waits for, in tables that do not say it.
pub(crate) const IDLE_TIMEOUT: &str = "table.exec.source.idle-timeout";

/// How long nothing of a key may come before it is forgotten, where no window ends what is kept of it.
pub(crate) const STATE_TTL: &str = "table.exec.state.ttl";

/// Keys that the planner or the runtime obeys.
const HONOURED: &[&str] = &[
    "pipeline.name",
    "execution.runtime-mode",
    "execution.checkpointing.interval",
    "execution.checkpointing.mode",
    "table.local-time-zone",
    IDLE_TIMEOUT,
    STATE_TTL,
    "lakeward.commit.interval",
    "lakeward.replay.window",
    "parallelism.default",
    "table.exec.resource.default-parallelism",
];

/// Keys are in so many groups, which shards of the work on them share.
const MOST_SHARDS: u32 = 128;

/// Keys (or beginnings of keys) of Flink that steer machinery which does not exist here. What they promise holds anyway, or
/// does not matter.
const WITHOUT_EFFECT: &[&str] = &[
    "execution.checkpointing.",
    "execution.target",
    "execution.attached",
    "execution.savepoint.",
    "execution.state-recovery.",
    "execution.buffer-timeout",
    "sql-client.",
    "table.dml-sync",
    "table.exec.mini-batch.",
    "table.exec.iceberg.",
    "table.exec.sink.upsert-materialize",
    "table.optimizer.",
    "pipeline.object-reuse",
    "pipeline.max-parallelism",
    "pipeline.auto-watermark-interval",
    "pipeline.operator-chaining.",
    "state.",
    "restart-strategy.",
    "rest.",
    "jobmanager.",
    "taskmanager.",
];

/// Checks one setting and gives the value as the runtime reads it; what its reader should know is told.
pub(crate) fn check(
    key: &Ident,
    value: &Ident,
    env: &dyn Environment,
    told: &mut Told,
) -> Result<String> {
    let refuse = |message: String| Diagnostic::error("setting", value.span, message);
    let as_written = || Ok(value.value.clone());
    match key.value.as_str() {
        "pipeline.name" if value.value.trim().is_empty() => {
            Err(refuse("a pipeline's name is not empty".to_string()))
        }
        "execution.runtime-mode" if value.value.eq_ignore_ascii_case("batch") => {
            Err(Diagnostic::unsupported(value.span, "batch mode is")
                .hint("a read ends with 'scan.bounded.mode' = 'latest-offset' on the source table"))
        }
        "execution.runtime-mode" if !value.value.eq_ignore_ascii_case("streaming") => {
            Err(refuse(format!("unknown runtime mode '{}'", value.value))
                .hint("did you mean 'streaming'?"))
        }
        "execution.checkpointing.interval" | "lakeward.commit.interval" => interval(value),
        IDLE_TIMEOUT | STATE_TTL => match duration::parse(&value.value) {
            Some(time) => Ok(format!("{} ms", time.as_millis())),
            None => Err(no_duration(value)),
        },
        "execution.checkpointing.mode" => checkpointing_mode(key, value, told),
        "parallelism.default" | "table.exec.resource.default-parallelism" => {
            parallelism(value, told)
        }
        "lakeward.replay.window" => replay_window(value),
        "table.local-time-zone" if !may_be_zone(&value.value) || !env.has_zone(&value.value) => {
            Err(refuse(format!("'{}' is no time zone", value.value))
                .hint("'Europe/Berlin', 'UTC', 'GMT+08:00'"))
        }
        known if HONOURED.contains(&known) => as_written(),
        known
            if WITHOUT_EFFECT.iter().any(|k| covers(k, known))
                && nearest(known, HONOURED.iter().copied()).is_none() =>
        {
            let message = format!("setting '{known}' has no effect here");
            told.tell(Diagnostic::notice("setting", key.span, message));
            as_written()
        }
        unknown => {
            let known = HONOURED.iter().chain(WITHOUT_EFFECT).copied();
            let message = format!("unknown setting '{unknown}'");
            Err(Diagnostic::error("setting", key.span, message)
                .hint_if(did_you_mean(unknown, known).or_else(|| {
                    Some(format!("settings that are obeyed: {}", HONOURED.join(", ")))
                })))
        }
    }
}

/// For how long what was written is to be computed again from the log, in milliseconds.
fn replay_window(value: &Ident) -> Result<String> {
    match duration::parse(&value.value) {
        Some(window) if !window.is_zero() => Ok(format!("{} ms", window.as_millis())),
        _ => {
            let message = format!("'{}' is no length of time", value.value);
            Err(Diagnostic::error("setting", value.span, message)
                .hint("write a number and a unit: '30 d', '12 h'"))
        }
    }
}

/// Whether a text is written as the name of a zone is. Which zones there are, the environment knows.
fn may_be_zone(text: &str) -> bool {
    let sign = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+' | ':');
    !text.is_empty() && text.chars().all(sign)
}

/// A time between commits, in milliseconds whatever unit it was written in.
fn interval(value: &Ident) -> Result<String> {
    match duration::parse(&value.value) {
        Some(zero) if zero.is_zero() => {
            let what = "a pipeline that never commits is";
            Err(Diagnostic::unsupported(value.span, what)
                .detail("In Flink an interval of 0 switches checkpoints off. Here rows become visible, and offsets are kept, by commits only.")
                .hint("write a number and a unit: '10 s', '500 ms', '1 min'"))
        }
        Some(interval) => Ok(format!("{} ms", interval.as_millis())),
        None => Err(no_duration(value)),
    }
}

/// In how many shards the work on keys is done; -1 leaves it to the server.
fn parallelism(value: &Ident, told: &mut Told) -> Result<String> {
    match value.value.trim().parse::<i64>() {
        Ok(-1) => {}
        Ok(many) if many > i64::from(MOST_SHARDS) => told.tell(
            Diagnostic::notice(
                "setting",
                value.span,
                format!("there are {MOST_SHARDS} shards at most"),
            )
            .detail(format!(
                "Keys are in {MOST_SHARDS} groups, and a shard has one or more of them."
            )),
        ),
        Ok(1..) => {}
        _ => {
            let message = format!("'{}' is not a parallelism", value.value);
            return Err(Diagnostic::error("setting", value.span, message)
                .hint("write a number from 1 on: '4'"));
        }
    }
    Ok(value.value.trim().to_string())
}

/// In how many shards the script wants the work on keys done, if it says so.
pub(crate) fn shards(settings: &BTreeMap<String, String>) -> Option<u32> {
    let shards = |key| settings.get(key)?.parse::<u32>().ok();
    shards("table.exec.resource.default-parallelism")
        .or_else(|| shards("parallelism.default"))
        .map(|shards| shards.min(MOST_SHARDS))
}

/// Milliseconds in which nothing of a key comes and behind which it is forgotten; `None` for never, which 0 is, and 1 in Flink too.
pub(crate) fn state_ttl(settings: &BTreeMap<String, String>) -> Option<i64> {
    let ttl = duration::parse(settings.get(STATE_TTL)?)?.as_millis();
    (ttl > 1).then(|| i64::try_from(ttl).unwrap_or(i64::MAX))
}

fn no_duration(value: &Ident) -> Diagnostic {
    let message = format!("'{}' is not a duration", value.value);
    Diagnostic::error("setting", value.span, message)
        .hint("write a number and a unit: '10 s', '500 ms', '1 min'")
}

fn checkpointing_mode(key: &Ident, value: &Ident, told: &mut Told) -> Result<String> {
    let mode = value.value.to_ascii_uppercase();
    match mode.as_str() {
        "EXACTLY_ONCE" => {}
        "AT_LEAST_ONCE" => {
            let message = format!("setting '{}' has no effect here", key.value);
            told.tell(
                Diagnostic::notice("setting", key.span, message)
                    .detail("Commits are exactly-once, which is what it asks for and more."),
            );
        }
        _ => {
            let message = format!("'{}' is not a checkpointing mode", value.value);
            return Err(Diagnostic::error("setting", value.span, message).hint_if(
                crate::suggest::near_or_all(&mode, ["EXACTLY_ONCE", "AT_LEAST_ONCE"], "modes"),
            ));
        }
    }
    Ok(mode)
}

fn covers(known: &str, key: &str) -> bool {
    key == known || (known.ends_with('.') && key.starts_with(known))
}
