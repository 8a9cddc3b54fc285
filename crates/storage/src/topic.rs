//! A topic as stored: name, id, partition count, and its configuration, read once.

use std::collections::BTreeMap;

use lw_protocol::Compression;
use uuid::Uuid;

use crate::settings::{self, InvalidSetting};

/// One topic. Immutable: a change replaces the whole value, so a reader's `Arc` stays consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub id: Uuid,
    pub name: String,
    pub partitions: i32,
    pub config: TopicConfig,
    /// Ours (`_schemas`): retention never touches it.
    pub internal: bool,
}

/// A topic's configuration: the texts that were given, and what they ask for where we do it. The texts are read when they are
/// set, and when they come back from the log; whoever obeys one takes the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// Only what was set explicitly; the rest is [`settings::SETTINGS`]'s defaults.
    given: BTreeMap<String, String>,
    retention: Retention,
    produce: ProduceRules,
}

/// How long records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// `retention.ms`; `None` is for ever.
    pub ms: Option<i64>,
    /// `retention.bytes`, of each partition; `None` is without bound.
    pub bytes: Option<u64>,
}

/// What a topic asks of the batches that are produced to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceRules {
    /// `compression.type`; `None` is `producer`: the bytes are left alone.
    pub compression: Option<Compression>,
    /// `max.message.bytes`.
    pub max_bytes: i64,
    /// `message.timestamp.type` is LogAppendTime: records get the time of their append instead of the producer's.
    pub is_log_append_time: bool,
    /// `message.timestamp.before.max.ms`; `None` where every timestamp lies within it, which is the default.
    pub before_max_ms: Option<i64>,
    /// `message.timestamp.after.max.ms`.
    pub after_max_ms: i64,
}

impl TopicConfig {
    /// The configuration of these names and values.
    ///
    /// # Errors
    /// The first that a topic cannot have.
    pub fn parse(given: BTreeMap<String, String>) -> Result<TopicConfig, InvalidSetting> {
        for (name, value) in &given {
            settings::check(name, value)?;
        }
        Ok(TopicConfig::recorded(given))
    }

    /// As it stands in the log, or as the server gives it to a topic of its own. It was checked when it was set, by the rules
    /// of then: a value that cannot be read counts as not set.
    pub(crate) fn recorded(given: BTreeMap<String, String>) -> TopicConfig {
        let retention = Retention {
            ms: Some(number(&given, "retention.ms")).filter(|ms| *ms >= 0),
            bytes: u64::try_from(number(&given, "retention.bytes")).ok(),
        };
        let before = number(&given, "message.timestamp.before.max.ms");
        let produce = ProduceRules {
            compression: Compression::from_topic_config(settings::value(
                &given,
                "compression.type",
            )),
            max_bytes: number(&given, "max.message.bytes"),
            is_log_append_time: settings::value(&given, "message.timestamp.type")
                == "LogAppendTime",
            before_max_ms: Some(before).filter(|ms| *ms != i64::MAX),
            after_max_ms: number(&given, "message.timestamp.after.max.ms"),
        };
        TopicConfig {
            given,
            retention,
            produce,
        }
    }

    /// What was set explicitly, as it was given.
    pub fn given(&self) -> &BTreeMap<String, String> {
        &self.given
    }

    pub fn retention(&self) -> Retention {
        self.retention
    }

    pub fn produce(&self) -> ProduceRules {
        self.produce
    }
}

/// All defaults.
impl Default for TopicConfig {
    fn default() -> TopicConfig {
        TopicConfig::recorded(BTreeMap::new())
    }
}

/// A number in force.
fn number(given: &BTreeMap<String, String>, name: &str) -> i64 {
    let read = |text: &str| text.trim().parse().ok();
    let default = || {
        let setting = settings::find(name)?;
        read(setting.default)
    };
    let given = given.get(name).and_then(|text| read(text));
    given
        .or_else(default)
        .expect("the settings asked for here are numbers, and so are their defaults")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs.map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn values_are_what_the_texts_say_and_the_defaults_otherwise() {
        let defaults = TopicConfig::default();
        let week = Retention {
            ms: Some(604_800_000),
            bytes: None,
        };
        let as_it_comes = ProduceRules {
            compression: None,
            max_bytes: 1_048_588,
            is_log_append_time: false,
            before_max_ms: None,
            after_max_ms: 3_600_000,
        };
        assert_eq!(
            (defaults.retention(), defaults.produce()),
            (week, as_it_comes)
        );
        let told = texts(&[
            ("retention.ms", "-1"),
            ("retention.bytes", " 6"),
            ("compression.type", "lz4"),
            ("max.message.bytes", " 7 "),
            ("message.timestamp.type", "LogAppendTime"),
            ("message.timestamp.before.max.ms", "8"),
            ("message.timestamp.after.max.ms", "9"),
        ]);
        let config = TopicConfig::parse(told.clone()).unwrap();
        let retention = Retention {
            ms: None,
            bytes: Some(6),
        };
        let produce = ProduceRules {
            compression: Some(Compression::Lz4),
            max_bytes: 7,
            is_log_append_time: true,
            before_max_ms: Some(8),
            after_max_ms: 9,
        };
        assert_eq!(
            (config.retention(), config.produce(), config.given()),
            (retention, produce, &told)
        );
    }

    #[test]
    fn what_a_topic_cannot_have_is_refused_and_in_an_old_log_counts_as_not_set() {
        let told = texts(&[("retention.ms", "a week"), ("retention.bytes", "6")]);
        let refusal = TopicConfig::parse(told.clone()).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "Invalid value a week for configuration retention.ms: Not a number of type LONG"
        );
        let old = TopicConfig::recorded(told.clone());
        let expected = Retention {
            ms: Some(604_800_000),
            bytes: Some(6),
        };
        assert_eq!((old.retention(), old.given()), (expected, &told));
    }
}
