//! The columns of a record's key: `'key.format'`, `'key.fields'`, and whether they are in its value too.
//!
//! | `'value.fields-include'` | the value holds | a column of the key is read from |
//! |---|---|---|
//! | `'ALL'`, or nothing | all columns of the table | the value |
//! | `'EXCEPT_KEY'` | those that are not in the key | the key |

use super::super::Use;
use super::super::format::{self, Format};
use super::super::options::{Options, without_effect};
use crate::catalog::{Column, ColumnSource};
use crate::diagnostic::{Diagnostic, Told};
use crate::parse::{Ident, OptionText};
use crate::suggest::near_or_all;
use lw_graph::{Field, KeySpec, Schema};
use std::collections::{BTreeMap, HashSet};

const INCLUDE: &str = "value.fields-include";
const PREFIX: &str = "key.fields-prefix";

/// How the key is written.
pub(super) struct KeyFormat {
    pub format: Format,
    /// The options that are the format's own, without the `key.` before them.
    pub options: Vec<OptionText>,
}

/// The key's format with its own options, and those of the table without them.
pub(super) fn taken(used: &Use<'_>, told: &mut Told) -> (Option<KeyFormat>, Vec<OptionText>) {
    let all = Options::new(used.options, used.table.span);
    let Some(name) = all.value("key.format") else {
        return (None, used.options.to_vec());
    };
    let format = told.settle(format::of_key(name));
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for option in used.options {
        let short = option.key.value.strip_prefix("key.");
        let is_own = |short: &&str| match &format {
            Some(format) => short.starts_with(&format!("{}.", format.name)),
            // Whose options they are is not known.
            None => short.contains('.'),
        };
        match short.filter(is_own) {
            Some(short) => own.push(OptionText {
                key: Ident {
                    value: short.to_string(),
                    ..option.key.clone()
                },
                ..option.clone()
            }),
            None => others.push(option.clone()),
        }
    }
    let key = format.map(|format| KeyFormat {
        format,
        options: own,
    });
    (key, others)
}

/// Which columns are of the key, and which of the value.
pub(super) struct Sides<'a> {
    pub key: Vec<&'a Column>,
    pub value: Vec<&'a Column>,
    prefix: String,
}

impl<'a> Sides<'a> {
    pub(super) fn of(
        used: &Use<'a>,
        key: Option<&KeyFormat>,
        options: &Options<'_>,
        told: &mut Told,
    ) -> Sides<'a> {
        let include = told.settle(options.choice(INCLUDE, &["ALL", "EXCEPT_KEY"]));
        let apart = matches!(include, Some(Some(("EXCEPT_KEY", _))));
        let prefix = options.value(PREFIX);
        if let Some(prefix) = prefix.filter(|prefix| !apart && !prefix.value.is_empty()) {
            let message = format!("'{PREFIX}' needs '{INCLUDE}' = 'EXCEPT_KEY'");
            told.tell(
                Diagnostic::error("option", prefix.span, message)
                    .detail("A column that is in key and value has one name in both."),
            );
        }
        let prefix = prefix.map_or("", |prefix| prefix.value.as_str());
        let has_names = |fields: &&Ident| names(fields).next().is_some();
        let fields = options.value("key.fields").filter(has_names);
        let needs = |given: &str, missing: &str, example: &str| {
            let at = options.get(given).map_or(used.table.span, |option| {
                option.key.span.to(option.value.span)
            });
            let message = format!("'{given}' needs the option '{missing}'");
            Diagnostic::error("option", at, message).hint(format!("'{missing}' = '{example}'"))
        };
        let named = fields.map(|fields| named(used, fields, prefix, told));
        match (options.value("key.format"), &named) {
            (Some(_), None) => told.tell(needs("key.format", "key.fields", "column;column")),
            (None, Some(_)) => told.tell(needs("key.fields", "key.format", "json")),
            _ => {}
        }
        if let (true, None, Some(option)) = (apart, key, options.get(INCLUDE)) {
            let why = "The table has no 'key.format': all of its columns are in the value.";
            told.tell(without_effect(&option.key, why));
        }
        let key = named.unwrap_or_default();
        let of_key: HashSet<&str> = key.iter().map(|column| &*column.name).collect();
        let in_value = |column: &&Column| !apart || !of_key.contains(&*column.name);
        let value: Vec<&Column> = used.table.stored().filter(in_value).collect();
        Sides {
            key,
            value,
            prefix: prefix.to_string(),
        }
    }

    /// How the key is read; none where no column is of it.
    pub(super) fn spec(&self, used: &Use<'_>, key: &KeyFormat, told: &mut Told) -> Option<KeySpec> {
        let mut options = Options::new(&key.options, used.table.span);
        options.check_known("kafka", &[key.format.known], told);
        if self.key.is_empty() {
            return None;
        }
        let spec = format::spec(used, &self.key, &options, &key.format);
        let fields = self.key.iter().map(|column| {
            let short = column.name.strip_prefix(&*self.prefix);
            Field::new(short.unwrap_or(&column.name), column.ty.clone())
        });
        Some(KeySpec {
            schema: Schema::new(fields.collect()),
            names: self.key.iter().map(|column| column.name.clone()).collect(),
            format: told.settle(spec)?,
        })
    }
}

fn names(fields: &Ident) -> impl Iterator<Item = &str> {
    let names = fields.value.split(';').map(str::trim);
    names.filter(|name| !name.is_empty())
}

/// The columns that `'key.fields' = 'a;b'` names.
fn named<'a>(used: &Use<'a>, fields: &Ident, prefix: &str, told: &mut Told) -> Vec<&'a Column> {
    let physical = used.table.columns.iter();
    let physical = physical.filter(|column| matches!(column.source, ColumnSource::Physical));
    let physical: BTreeMap<&str, &Column> =
        physical.map(|column| (&*column.name, column)).collect();
    let mut columns = Vec::new();
    for name in names(fields) {
        let Some(column) = physical.get(name) else {
            if !used.table.is_broken() {
                let message = format!("key column '{name}' does not exist");
                told.tell(
                    Diagnostic::error("unknown-column", fields.span, message)
                        .detail("A key holds columns that are neither computed nor metadata.")
                        .hint_if(near_or_all(name, physical.keys().copied(), "columns")),
                );
            }
            continue;
        };
        if !name.starts_with(prefix) {
            let message = format!("key column '{name}' does not begin with '{prefix}'");
            told.tell(
                Diagnostic::error("option", fields.span, message)
                    .detail(format!(
                        "'{PREFIX}' is what the names of all columns of the key begin with."
                    ))
                    .hint(format!("name it '{prefix}{name}', or remove '{PREFIX}'")),
            );
        }
        columns.push(*column);
    }
    columns
}
