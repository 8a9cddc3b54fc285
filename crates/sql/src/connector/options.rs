//! Reading a WITH clause: known keys, required keys, values of the right shape.

use crate::Result;
use crate::diagnostic::{Diagnostic, Span, Told};
use crate::parse::{Ident, OptionText};
use crate::suggest::{did_you_mean, near_or_all};
use lw_stdx::duration;
use lw_stdx::suggest::nearest;

/// An option that Flink's connector has, and what becomes of it here.
pub(crate) struct Known {
    pub key: &'static str,
    pub answer: Answer,
}

#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Obeyed,
    /// It tunes something that does not exist here, so any valid value is right; a notice says why.
    NoEffect(&'static str),
    NotYet,
}

pub(crate) const fn obeyed(key: &'static str) -> Known {
    Known {
        key,
        answer: Answer::Obeyed,
    }
}

pub(crate) const fn no_effect(key: &'static str, why: &'static str) -> Known {
    Known {
        key,
        answer: Answer::NoEffect(why),
    }
}

pub(crate) const fn not_yet(key: &'static str) -> Known {
    Known {
        key,
        answer: Answer::NotYet,
    }
}

pub(crate) const ONE_THREAD: &str = "Every INSERT is read and computed by one thread.";
pub(crate) const NO_VERSIONS: &str = "There is one version of the options, as in Flink.";

/// The options of one table under the eyes of one connector.
pub(crate) struct Options<'a> {
    all: &'a [OptionText],
    /// What messages about a missing option point at.
    table: Span,
    /// Keys that were told to be in no table; what they are misspelt for is not told to be missing.
    unknown: Vec<&'a str>,
}

impl<'a> Options<'a> {
    pub(crate) fn new(all: &'a [OptionText], table: Span) -> Options<'a> {
        Options {
            all,
            table,
            unknown: Vec::new(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a OptionText> {
        self.all.iter()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a OptionText> {
        self.all.iter().find(|option| option.key.value == key)
    }

    pub(crate) fn value(&self, key: &str) -> Option<&'a Ident> {
        self.get(key).map(|option| &option.value)
    }

    pub(crate) fn required(&self, key: &str, hint: &str) -> Result<&'a Ident> {
        match self.value(key) {
            Some(value) if value.value.trim().is_empty() => {
                let message = format!("option '{key}' is empty");
                Err(Diagnostic::error("option", value.span, message).hint(hint))
            }
            Some(value) => Ok(value),
            None if nearest(key, self.unknown.iter().copied()).is_some() => {
                Err(Diagnostic::told_before(self.table))
            }
            None => {
                let message = format!("required option '{key}' is missing");
                let error = Diagnostic::error("option", self.table, message);
                let similar = nearest(key, self.all.iter().map(|o| o.key.value.as_str()));
                Err(match similar {
                    Some(typo) => error.hint(format!("is '{typo}' meant to be '{key}'?")),
                    None => error.hint(hint),
                })
            }
        }
    }

    /// Tells every key that is in no table, and those that are not supported yet or have no effect.
    pub(crate) fn check_known(&mut self, connector: &str, known: &[&[Known]], told: &mut Told) {
        let all = || known.iter().flat_map(|keys| keys.iter());
        for option in self.all {
            let key = option.key.value.as_str();
            match all().find(|k| k.key == key).map(|k| k.answer) {
                Some(Answer::Obeyed) => {}
                Some(Answer::NoEffect(why)) => told.tell(without_effect(&option.key, why)),
                Some(Answer::NotYet) => {
                    let what = format!("option '{key}' is");
                    told.tell(
                        Diagnostic::unsupported(option.key.span, what)
                            .hint("remove it, or run this script on an Apache Flink cluster"),
                    );
                }
                // Looked at by the connector itself.
                None if key.starts_with("properties.") && connector == "kafka" => {}
                None if key.starts_with("fields.") && connector == "datagen" => {}
                None => {
                    self.unknown.push(key);
                    let message = format!("unknown option '{key}' of connector '{connector}'");
                    let error = Diagnostic::error("option", option.key.span, message);
                    let near = did_you_mean(key, all().map(|k| k.key));
                    told.tell(error.hint_if(near.or_else(|| elsewhere(key)).or_else(|| {
                        let obeyed = all().filter(|k| matches!(k.answer, Answer::Obeyed));
                        let obeyed: Vec<&str> = obeyed.map(|k| k.key).collect();
                        Some(format!("options: {}", obeyed.join(", ")))
                    })));
                }
            }
        }
    }

    pub(crate) fn boolean(&self, key: &str, default: bool) -> Result<bool> {
        match self.value(key) {
            None => Ok(default),
            Some(value) if value.value.eq_ignore_ascii_case("true") => Ok(true),
            Some(value) if value.value.eq_ignore_ascii_case("false") => Ok(false),
            Some(value) => Err(bad_value(key, value, "'true' or 'false'")),
        }
    }

    pub(crate) fn integer(&self, key: &str) -> Result<Option<i64>> {
        self.value(key)
            .map(|value| {
                let number = value.value.trim().parse();
                number.map_err(|_| bad_value(key, value, "a whole number"))
            })
            .transpose()
    }

    pub(crate) fn duration(&self, key: &str) -> Result<()> {
        match self.value(key) {
            Some(value) if duration::parse(&value.value).is_none() => Err(bad_value(
                key,
                value,
                "a duration such as '10 s' or '500 ms'",
            )),
            _ => Ok(()),
        }
    }

    /// One of `choices`, as Flink compares them: without regard to case.
    pub(crate) fn choice(
        &self,
        key: &str,
        choices: &[&'static str],
    ) -> Result<Option<(&'static str, Span)>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let found = choices
            .iter()
            .find(|choice| choice.eq_ignore_ascii_case(&value.value));
        if let Some(found) = found {
            return Ok(Some((found, value.span)));
        }
        let message = format!("'{}' is not a value of '{key}'", value.value);
        Err(
            Diagnostic::error("option", value.span, message).hint_if(near_or_all(
                &value.value,
                choices.iter().copied(),
                "values",
            )),
        )
    }
}

/// What is accepted and does nothing is said to do nothing.
pub(crate) fn without_effect(key: &Ident, why: &str) -> Diagnostic {
    let message = format!("option '{}' has no effect here", key.value);
    Diagnostic::notice("option", key.span, message).detail(why)
}

/// The format that an option belongs to, where it is not the table's.
fn elsewhere(key: &str) -> Option<String> {
    let short = key.strip_prefix("value.");
    let key = short.or_else(|| key.strip_prefix("key.")).unwrap_or(key);
    let (format, _) = key.split_once('.')?;
    ["avro", "avro-confluent", "json", "raw", "csv"]
        .contains(&format)
        .then(|| format!("it belongs to 'format' = '{format}', which the table does not have"))
}

pub(crate) fn bad_value(key: &str, value: &Ident, expected: &str) -> Diagnostic {
    let message = format!("'{}' is not a value of '{key}'", value.value);
    Diagnostic::error("option", value.span, message).hint(format!("it takes {expected}"))
}
