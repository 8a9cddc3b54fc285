//! `SET 'key' = 'value'`.
//!
//! Flink accepts any key and most have no meaning here. To ignore one in silence would be a lie, and to refuse all of them
//! would refuse scripts that run fine: so a key is honoured, or known to have no effect (said in a notice), or refused.

use crate::Result;
use crate::diagnostic::Diagnostic;
use crate::parse::Ident;
use crate::suggest::did_you_mean;
use lw_stdx::duration;
use lw_stdx::suggest::nearest;

/// Keys that the planner or the runtime obeys.
const HONOURED: &[&str] = &[
    "pipeline.name",
    "execution.runtime-mode",
    "execution.checkpointing.interval",
    "table.local-time-zone",
    "lakeward.commit.interval",
];

/// Keys (or beginnings of keys) of Flink that steer machinery which does not exist here. What they promise holds anyway, or
/// does not matter to a query that keeps no state.
const WITHOUT_EFFECT: &[&str] = &[
    "parallelism.default",
    "execution.checkpointing.",
    "execution.target",
    "execution.attached",
    "execution.savepoint.",
    "execution.state-recovery.",
    "execution.buffer-timeout",
    "sql-client.",
    "table.dml-sync",
    "table.exec.resource.default-parallelism",
    "table.exec.mini-batch.",
    "table.exec.source.idle-timeout",
    "table.exec.state.ttl",
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

/// Checks one setting; `Some` is something that its reader should know.
pub(crate) fn check(key: &Ident, value: &Ident) -> Result<Option<Diagnostic>> {
    let refuse = |message: String| Diagnostic::error("setting", value.span, message);
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
        "execution.checkpointing.interval" | "lakeward.commit.interval"
            if duration::parse(&value.value).is_none() =>
        {
            Err(refuse(format!("'{}' is not a duration", value.value))
                .hint("write a number and a unit: '10 s', '500 ms', '1 min'"))
        }
        "table.local-time-zone" if value.value != "UTC" => Err(Diagnostic::unsupported(
            value.span,
            "a session time zone other than UTC is",
        )
        .hint("SET 'table.local-time-zone' = 'UTC'")),
        known if HONOURED.contains(&known) => Ok(None),
        known
            if WITHOUT_EFFECT.iter().any(|k| covers(k, known))
                && nearest(known, HONOURED.iter().copied()).is_none() =>
        {
            let message = format!("setting '{known}' has no effect here");
            Ok(Some(Diagnostic::notice("setting", key.span, message)))
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

fn covers(known: &str, key: &str) -> bool {
    key == known || (known.ends_with('.') && key.starts_with(known))
}
