//! `'connector' = 'datagen'`: how each column is made up.

use super::Use;
use super::options::{Known, ONE_THREAD, Options, bad_value, no_effect, obeyed};
use crate::Result;
use crate::catalog::{Column, ColumnSource};
use crate::diagnostic::{Diagnostic, Told};
use crate::suggest::near_or_all;
use lw_graph::{DatagenSource, Field, Generator, Schema, TypeKind};

const OPTIONS: &[Known] = &[
    obeyed("connector"),
    obeyed("rows-per-second"),
    obeyed("number-of-rows"),
    no_effect("scan.parallelism", ONE_THREAD),
];

/// `fields.<column>.<one of these>`.
const OF_A_FIELD: &[&str] = &["kind", "min", "max", "length", "start", "end"];

/// Flink has them too.
const NOT_YET: &[&str] = &["max-past", "var-len", "null-rate"];

/// What Flink makes without a word about it.
const ROWS_PER_SECOND: i64 = 10_000;
const LENGTH: u32 = 100;

/// Digits that fit into 64 bits.
const DIGITS: u8 = 18;

pub(super) fn source(used: &Use<'_>, told: &mut Told) -> Option<DatagenSource> {
    let mut options = Options::new(used.options, used.table.span);
    options.check_known("datagen", &[OPTIONS], told);
    let columns: Vec<&Column> = used.table.stored().collect();
    check_fields(&options, &columns, told);
    told.settle(options.integer("scan.parallelism"));
    let pace = told.settle(at_least(&options, "rows-per-second", 1));
    let rows = told.settle(at_least(&options, "number-of-rows", 0));
    let fields = columns
        .iter()
        .map(|column| told.settle(generator(&options, column)));
    let fields: Option<Vec<Generator>> = fields.collect::<Vec<_>>().into_iter().collect();
    let value_schema = columns
        .iter()
        .map(|column| Field::new(column.name.clone(), column.ty.clone()));
    Some(DatagenSource {
        table: used.table.path.object.clone(),
        rows_per_second: pace?.unwrap_or(ROWS_PER_SECOND).cast_unsigned(),
        rows: rows?.map(i64::cast_unsigned),
        value_schema: Schema::new(value_schema.collect()),
        fields: fields?,
        columns: Vec::new(),
    })
}

fn at_least(options: &Options<'_>, key: &str, least: i64) -> Result<Option<i64>> {
    let number = options.integer(key)?;
    match (number, options.value(key)) {
        (Some(number), Some(value)) if number < least => Err(bad_value(
            key,
            value,
            &format!("a whole number, {least} at least"),
        )),
        _ => Ok(number),
    }
}

/// Every `fields.*` names a column of the table and something that is known of one.
fn check_fields(options: &Options<'_>, columns: &[&Column], told: &mut Told) {
    for option in options.iter() {
        let Some(rest) = option.key.value.strip_prefix("fields.") else {
            continue;
        };
        let span = option.key.span;
        let Some((name, what)) = rest.rsplit_once('.') else {
            let message = format!(
                "unknown option '{}' of connector 'datagen'",
                option.key.value
            );
            told.tell(
                Diagnostic::error("option", span, message)
                    .hint("'fields.<column>.kind' = 'sequence'"),
            );
            continue;
        };
        if NOT_YET.contains(&what) {
            let message = format!("option '{}' is", option.key.value);
            told.tell(
                Diagnostic::unsupported(span, message)
                    .hint("remove it, or run this script on an Apache Flink cluster"),
            );
        } else if !OF_A_FIELD.contains(&what) {
            let message = format!(
                "unknown option '{}' of connector 'datagen'",
                option.key.value
            );
            let near = near_or_all(what, OF_A_FIELD.iter().copied(), "of a field");
            told.tell(Diagnostic::error("option", span, message).hint_if(near));
        } else if !columns.iter().any(|column| column.name == name) {
            let message = format!(
                "'{}' is about a column that the table does not have",
                option.key.value
            );
            let names = columns.iter().map(|column| column.name.as_str());
            told.tell(
                Diagnostic::error("option", span, message)
                    .hint_if(near_or_all(name, names, "columns")),
            );
        }
    }
}

fn generator(options: &Options<'_>, column: &Column) -> Result<Generator> {
    if matches!(column.source, ColumnSource::Broken) {
        // What was refused of it was told; the table is not read.
        return Ok(Generator::Truth);
    }
    let key = |what: &str| format!("fields.{}.{what}", column.name);
    match options.choice(&key("kind"), &["random", "sequence"])? {
        Some(("sequence", span)) => {
            let needed = |what: &str| {
                let number = options.integer(&key(what))?;
                number.ok_or_else(|| {
                    let message = format!("a sequence needs the option '{}'", key(what));
                    Diagnostic::error("option", span, message)
                        .hint(format!("'{}' = '1'", key(what)))
                })
            };
            let (start, end) = (needed("start")?, needed("end")?);
            let (least, most) = match sequence_range(&column.ty.kind) {
                Some(range) => range,
                None => return Err(no_sequence(column)),
            };
            let within = |number: i64, what: &str| match (least..=most).contains(&number) {
                true => Ok(()),
                false => Err(out_of_range(options, &key(what), column)),
            };
            within(start, "start")?;
            within(end, "end")?;
            if start > end {
                let message = format!(
                    "the sequence of '{}' ends at {end}, before it starts at {start}",
                    column.name
                );
                return Err(Diagnostic::error("option", span, message));
            }
            Ok(Generator::Sequence { start, end })
        }
        _ => random(options, column, &key),
    }
}

/// The whole numbers that a type can hold.
fn sequence_range(kind: &TypeKind) -> Option<(i64, i64)> {
    Some(match kind {
        TypeKind::TinyInt => (i8::MIN.into(), i8::MAX.into()),
        TypeKind::SmallInt => (i16::MIN.into(), i16::MAX.into()),
        TypeKind::Int => (i32::MIN.into(), i32::MAX.into()),
        TypeKind::BigInt
        | TypeKind::Float
        | TypeKind::Double
        | TypeKind::Char(_)
        | TypeKind::Varchar(_) => (i64::MIN, i64::MAX),
        _ => return None,
    })
}

/// The largest number of so many digits, of those that fit.
fn largest(digits: u8) -> i64 {
    10_i64.pow(u32::from(digits.min(DIGITS))) - 1
}

fn random(
    options: &Options<'_>,
    column: &Column,
    key: &impl Fn(&str) -> String,
) -> Result<Generator> {
    match &column.ty.kind {
        TypeKind::Boolean => Ok(Generator::Truth),
        TypeKind::TinyInt | TypeKind::SmallInt | TypeKind::Int | TypeKind::BigInt => {
            let (least, most) = sequence_range(&column.ty.kind).expect("it is a whole number");
            let min = options.integer(&key("min"))?.unwrap_or(least);
            let max = options.integer(&key("max"))?.unwrap_or(most);
            for (number, what) in [(min, "min"), (max, "max")] {
                if !(least..=most).contains(&number) {
                    return Err(out_of_range(options, &key(what), column));
                }
            }
            ordered(options, key, min <= max)?;
            Ok(Generator::Whole { min, max })
        }
        TypeKind::Float | TypeKind::Double => {
            let most = match column.ty.kind {
                TypeKind::Float => f64::from(f32::MAX),
                _ => f64::MAX,
            };
            let min = real(options, &key("min"))?.unwrap_or(-most);
            let max = real(options, &key("max"))?.unwrap_or(most);
            ordered(options, key, min <= max)?;
            Ok(Generator::Real { min, max })
        }
        TypeKind::Decimal { precision, scale } => {
            let unit = 10_f64.powi(i32::from(*scale));
            let most = largest(*precision);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "compared with the largest below"
            )]
            let units = |number: f64| (number * unit).round() as i64;
            let min = real(options, &key("min"))?.map_or(0, units);
            let max = real(options, &key("max"))?.map_or(most, units);
            for (number, what) in [(min, "min"), (max, "max")] {
                if !(-most..=most).contains(&number) {
                    return Err(out_of_range(options, &key(what), column));
                }
            }
            ordered(options, key, min <= max)?;
            Ok(Generator::Whole { min, max })
        }
        TypeKind::Char(length) | TypeKind::Binary(length) => {
            Ok(Generator::Letters { length: *length })
        }
        TypeKind::Varchar(most) | TypeKind::Varbinary(most) => {
            let length = options.integer(&key("length"))?;
            let length = match (length, options.value(&key("length"))) {
                (Some(length), Some(value)) => u32::try_from(length)
                    .ok()
                    .filter(|length| (1..=*most).contains(length))
                    .ok_or_else(|| {
                        bad_value(
                            &key("length"),
                            value,
                            &format!("1 to {most} for {}", column.ty.kind),
                        )
                    })?,
                _ => LENGTH.min(*most),
            };
            Ok(Generator::Letters { length })
        }
        _ => Err(no_generator(column)),
    }
}

fn ordered(options: &Options<'_>, key: &impl Fn(&str) -> String, are: bool) -> Result<()> {
    let value = options
        .value(&key("min"))
        .or_else(|| options.value(&key("max")));
    match (are, value) {
        (false, Some(value)) => {
            let message = format!("'{}' is above '{}'", key("min"), key("max"));
            Err(Diagnostic::error("option", value.span, message))
        }
        _ => Ok(()),
    }
}

fn real(options: &Options<'_>, key: &str) -> Result<Option<f64>> {
    let Some(value) = options.value(key) else {
        return Ok(None);
    };
    let number = value.value.trim().parse::<f64>().ok();
    let number = number.filter(|number| number.is_finite());
    number
        .map(Some)
        .ok_or_else(|| bad_value(key, value, "a number"))
}

fn out_of_range(options: &Options<'_>, key: &str, column: &Column) -> Diagnostic {
    let value = options.value(key).expect("a default is in range");
    bad_value(
        key,
        value,
        &format!("a number that fits into {}", column.ty.kind),
    )
}

fn no_sequence(column: &Column) -> Diagnostic {
    let message = format!("there is no sequence of {}", column.ty.kind);
    Diagnostic::error("type", column.span, message)
        .detail("Sequences are of whole numbers, FLOAT and DOUBLE, and of text.")
}

fn no_generator(column: &Column) -> Diagnostic {
    let what = format!("a column of type {} from 'datagen' is", column.ty.kind);
    Diagnostic::unsupported(column.span, what)
        .detail("Rows are a function of their number, so that a run can be repeated: there is no time of the machine in them, and nothing nested yet.")
        .hint("compute it from a sequence: ts AS TO_TIMESTAMP_LTZ(n * 1000, 3)")
}
