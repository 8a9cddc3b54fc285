//! What can be configured about a topic: Kafka's names, types and defaults, and what we refuse.
//!
//! Every name that Kafka knows is here, with the default that Kafka reports, because tools read all of them back. Some
//! mean nothing on one node without tiers (`min.insync.replicas`, throttles): they are kept and described, and change
//! nothing. A value that would promise what we do not do is refused instead of kept.

use std::collections::BTreeMap;

use lw_stdx::suggest;

/// The kinds of values, by the numbers that DescribeConfigs uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// One configuration: its name for a topic, the broker's name for the default, and that default.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub name: &'static str,
    /// Empty where a broker has none.
    pub broker_name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    /// The least value of a number.
    min: i64,
}

const MAX: &str = "9223372036854775807";

const fn setting(
    name: &'static str,
    broker_name: &'static str,
    kind: Kind,
    default: &'static str,
    min: i64,
) -> Setting {
    Setting {
        name,
        broker_name,
        kind,
        default,
        min,
    }
}

/// Sorted by name.
pub const SETTINGS: &[Setting] = &[
    setting(
        "cleanup.policy",
        "log.cleanup.policy",
        Kind::List,
        "delete",
        0,
    ),
    setting(
        "compression.gzip.level",
        "compression.gzip.level",
        Kind::Int,
        "-1",
        -1,
    ),
    setting(
        "compression.lz4.level",
        "compression.lz4.level",
        Kind::Int,
        "9",
        1,
    ),
    setting(
        "compression.type",
        "compression.type",
        Kind::String,
        "producer",
        0,
    ),
    setting(
        "compression.zstd.level",
        "compression.zstd.level",
        Kind::Int,
        "3",
        -131_072,
    ),
    setting(
        "delete.retention.ms",
        "log.cleaner.delete.retention.ms",
        Kind::Long,
        "86400000",
        0,
    ),
    setting(
        "file.delete.delay.ms",
        "log.segment.delete.delay.ms",
        Kind::Long,
        "60000",
        0,
    ),
    setting(
        "flush.messages",
        "log.flush.interval.messages",
        Kind::Long,
        MAX,
        1,
    ),
    setting("flush.ms", "log.flush.interval.ms", Kind::Long, MAX, 0),
    setting(
        "follower.replication.throttled.replicas",
        "",
        Kind::List,
        "",
        0,
    ),
    setting(
        "index.interval.bytes",
        "log.index.interval.bytes",
        Kind::Int,
        "4096",
        0,
    ),
    setting(
        "leader.replication.throttled.replicas",
        "",
        Kind::List,
        "",
        0,
    ),
    setting(
        "local.retention.bytes",
        "log.local.retention.bytes",
        Kind::Long,
        "-2",
        -2,
    ),
    setting(
        "local.retention.ms",
        "log.local.retention.ms",
        Kind::Long,
        "-2",
        -2,
    ),
    setting(
        "max.compaction.lag.ms",
        "log.cleaner.max.compaction.lag.ms",
        Kind::Long,
        MAX,
        1,
    ),
    setting(
        "max.message.bytes",
        "message.max.bytes",
        Kind::Int,
        "1048588",
        0,
    ),
    setting(
        "message.timestamp.after.max.ms",
        "log.message.timestamp.after.max.ms",
        Kind::Long,
        "3600000",
        0,
    ),
    setting(
        "message.timestamp.before.max.ms",
        "log.message.timestamp.before.max.ms",
        Kind::Long,
        MAX,
        0,
    ),
    setting(
        "message.timestamp.type",
        "log.message.timestamp.type",
        Kind::String,
        "CreateTime",
        0,
    ),
    setting(
        "min.cleanable.dirty.ratio",
        "log.cleaner.min.cleanable.ratio",
        Kind::Double,
        "0.5",
        0,
    ),
    setting(
        "min.compaction.lag.ms",
        "log.cleaner.min.compaction.lag.ms",
        Kind::Long,
        "0",
        0,
    ),
    setting(
        "min.insync.replicas",
        "min.insync.replicas",
        Kind::Int,
        "1",
        1,
    ),
    setting("preallocate", "log.preallocate", Kind::Boolean, "false", 0),
    setting("remote.log.copy.disable", "", Kind::Boolean, "false", 0),
    setting(
        "remote.log.delete.on.disable",
        "",
        Kind::Boolean,
        "false",
        0,
    ),
    setting("remote.storage.enable", "", Kind::Boolean, "false", 0),
    setting(
        "retention.bytes",
        "log.retention.bytes",
        Kind::Long,
        "-1",
        i64::MIN,
    ),
    setting(
        "retention.ms",
        "log.retention.ms",
        Kind::Long,
        "604800000",
        -1,
    ),
    setting(
        "segment.bytes",
        "log.segment.bytes",
        Kind::Int,
        "1073741824",
        14,
    ),
    setting(
        "segment.index.bytes",
        "log.index.size.max.bytes",
        Kind::Int,
        "10485760",
        4,
    ),
    setting(
        "segment.jitter.ms",
        "log.roll.jitter.ms",
        Kind::Long,
        "0",
        0,
    ),
    setting("segment.ms", "log.roll.ms", Kind::Long, "604800000", 1),
    setting(
        "unclean.leader.election.enable",
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        0,
    ),
];

pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// A setting that a topic cannot have, in Kafka's words where Kafka has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    #[error("Unknown topic config name: {name}{}", near.map_or(String::new(), |near| format!(". Did you mean {near}?")))]
    Unknown {
        name: String,
        near: Option<&'static str>,
    },
    #[error("Invalid value {value} for configuration {name}: {why}")]
    Value {
        name: String,
        value: String,
        why: String,
    },
}

/// Checks one name and value.
///
/// # Errors
/// When there is no such setting, when it cannot have this value, or when we would not do what the value promises.
pub fn check(name: &str, value: &str) -> Result<(), InvalidSetting> {
    let setting = find(name).ok_or_else(|| InvalidSetting::Unknown {
        name: name.to_owned(),
        near: suggest::nearest(name, SETTINGS.iter().map(|setting| setting.name)),
    })?;
    check_kind(setting, value.trim())
        .and_then(|()| check_words(name, value))
        .map_err(|why| InvalidSetting::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            why,
        })
}

fn check_kind(setting: &Setting, value: &str) -> Result<(), String> {
    let (kind, max) = match setting.kind {
        Kind::Int => ("INT", i64::from(i32::MAX)),
        Kind::Long => ("LONG", i64::MAX),
        Kind::Boolean => {
            let known = ["true", "false"].map(|word| value.eq_ignore_ascii_case(word));
            return if known.contains(&true) {
                Ok(())
            } else {
                Err("Expected value to be either true or false".into())
            };
        }
        Kind::Double => {
            return match value.parse::<f64>() {
                Ok(ratio) if ratio < 0.0 => Err("Value must be at least 0".into()),
                Ok(ratio) if ratio > 1.0 => Err("Value must be no more than 1".into()),
                Ok(ratio) if ratio.is_finite() => Ok(()),
                _ => Err("Not a number of type DOUBLE".into()),
            };
        }
        Kind::String | Kind::List => return Ok(()),
    };
    match value.parse::<i64>() {
        Ok(number) if number > max => Err(format!("Not a number of type {kind}")),
        Ok(number) if number < setting.min => {
            Err(format!("Value must be at least {}", setting.min))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(format!("Not a number of type {kind}")),
    }
}

/// The settings whose words count.
fn check_words(name: &str, value: &str) -> Result<(), String> {
    let known = |words: &str| match words.split(", ").any(|word| word == value) {
        true => Ok(()),
        false => Err(format!("String must be one of: {words}")),
    };
    match name {
        "compression.type" => known("uncompressed, zstd, lz4, snappy, gzip, producer"),
        "message.timestamp.type" => known("CreateTime, LogAppendTime"),
        "cleanup.policy" if value.split(',').any(|word| word.trim() == "compact") => Err(
            "compact is not supported yet: records would never be compacted; use cleanup.policy=delete"
                .into(),
        ),
        "cleanup.policy" if value.is_empty() => Err(
            "records without a policy are not supported yet; use cleanup.policy=delete with retention.ms=-1"
                .into(),
        ),
        "cleanup.policy" => match value.split(',').find(|word| word.trim() != "delete") {
            None => Ok(()),
            Some(_) => Err("String must be one of: compact, delete".into()),
        },
        "compression.gzip.level" => match value.trim() {
            "-1" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" => Ok(()),
            _ => Err("Value must be between 1 and 9 or equal to -1".into()),
        },
        "compression.lz4.level" => at_most(value, 17),
        "compression.zstd.level" => at_most(value, 22),
        "remote.storage.enable" if !value.trim().eq_ignore_ascii_case("false") => {
            Err("tiered storage is not supported".into())
        }
        _ => Ok(()),
    }
}

fn at_most(value: &str, max: i64) -> Result<(), String> {
    match value.trim().parse::<i64>() {
        Ok(level) if level <= max => Ok(()),
        _ => Err(format!("Value must be no more than {max}")),
    }
}

/// The value in force.
pub fn value<'a>(config: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    match config.get(name) {
        Some(value) => value,
        None => find(name).map_or("", |setting| setting.default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check_all(pairs: &[(&str, &str)], expected: Expect) {
        let lines: Vec<String> = pairs
            .iter()
            .map(|(name, value)| match check(name, value) {
                Ok(()) => format!("{name}={value}: ok"),
                Err(refusal) => refusal.to_string(),
            })
            .collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn the_table_is_sorted_and_its_defaults_are_valid() {
        assert!(SETTINGS.is_sorted_by_key(|setting| setting.name));
        for setting in SETTINGS {
            assert_eq!(
                check(setting.name, setting.default),
                Ok(()),
                "{}",
                setting.name
            );
        }
    }

    #[test]
    fn values_are_checked_and_refusals_say_what_to_do() {
        check_all(
            &[
                ("retention.ms", "259200000"),
                ("retention.ms", "-2"),
                ("retention.ms", "a week"),
                ("retentoin.ms", "1"),
                ("cleanup.policy", "compact,delete"),
                ("cleanup.policy", "shred"),
                ("compression.type", "lz4"),
                ("compression.type", "brotli"),
                ("max.message.bytes", "4294967296"),
                ("remote.storage.enable", "true"),
                ("min.cleanable.dirty.ratio", "1.5"),
                ("min.cleanable.dirty.ratio", "NaN"),
                ("preallocate", "True"),
                ("preallocate", "yes"),
                ("message.timestamp.type", "createtime"),
            ],
            expect![[r#"
                retention.ms=259200000: ok
                Invalid value -2 for configuration retention.ms: Value must be at least -1
                Invalid value a week for configuration retention.ms: Not a number of type LONG
                Unknown topic config name: retentoin.ms. Did you mean retention.ms?
                Invalid value compact,delete for configuration cleanup.policy: compact is not supported yet: records would never be compacted; use cleanup.policy=delete
                Invalid value shred for configuration cleanup.policy: String must be one of: compact, delete
                compression.type=lz4: ok
                Invalid value brotli for configuration compression.type: String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer
                Invalid value 4294967296 for configuration max.message.bytes: Not a number of type INT
                Invalid value true for configuration remote.storage.enable: tiered storage is not supported
                Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1
                Invalid value NaN for configuration min.cleanable.dirty.ratio: Not a number of type DOUBLE
                preallocate=True: ok
                Invalid value yes for configuration preallocate: Expected value to be either true or false
                Invalid value createtime for configuration message.timestamp.type: String must be one of: CreateTime, LogAppendTime"#]],
        );
    }
}
