//! `'format' = …` of a Kafka table and the options that belong to it.

use super::Use;
use super::options::{Known, Options, bad_value, no_effect, not_yet, obeyed};
use crate::Result;
use crate::catalog::{Column, ColumnSource};
use crate::diagnostic::{Diagnostic, Span, Told};
use crate::parse::{Ident, OptionText};
use crate::suggest::near_or_all;
use lw_graph::{CsvSpec, FormatSpec, LogicalType, TypeKind};

const FORMATS: &[&str] = &["avro", "avro-confluent", "csv", "json", "raw"];

const NOT_YET: &[&str] = &[
    "protobuf",
    "protobuf-confluent",
    "debezium-json",
    "debezium-avro-confluent",
    "canal-json",
    "maxwell-json",
    "ogg-json",
    "parquet",
    "orc",
];

const WRITING: &str = "It is about writing records, and the table is read.";

const AVRO: &[Known] = &[
    obeyed("avro.encoding"),
    obeyed("avro.timestamp_mapping.legacy"),
    no_effect("avro.codec", WRITING),
];

const AVRO_CONFLUENT: &[Known] = &[
    no_effect(
        "avro-confluent.url",
        "The schemas of this server's topics are in its own registry.",
    ),
    no_effect("avro-confluent.subject", WRITING),
    not_yet("avro-confluent.schema"),
    not_yet("avro-confluent.properties"),
    not_yet("avro-confluent.basic-auth.credentials-source"),
    not_yet("avro-confluent.basic-auth.user-info"),
    not_yet("avro-confluent.bearer-auth.credentials-source"),
    not_yet("avro-confluent.bearer-auth.token"),
    not_yet("avro-confluent.ssl.keystore.location"),
    not_yet("avro-confluent.ssl.keystore.password"),
    not_yet("avro-confluent.ssl.truststore.location"),
    not_yet("avro-confluent.ssl.truststore.password"),
];

const JSON: &[Known] = &[
    obeyed("json.fail-on-missing-field"),
    obeyed("json.ignore-parse-errors"),
    obeyed("json.timestamp-format.standard"),
    no_effect("json.map-null-key.mode", WRITING),
    no_effect("json.map-null-key.literal", WRITING),
    no_effect("json.encode.decimal-as-plain-number", WRITING),
    no_effect("json.encode.ignore-null-fields", WRITING),
    no_effect(
        "json.decode.json-parser.enabled",
        "There is one way of reading JSON here; it is the one without a tree.",
    ),
];

const CSV: &[Known] = &[
    obeyed("csv.field-delimiter"),
    obeyed("csv.quote-character"),
    obeyed("csv.disable-quote-character"),
    obeyed("csv.escape-character"),
    obeyed("csv.array-element-delimiter"),
    obeyed("csv.null-literal"),
    obeyed("csv.allow-comments"),
    obeyed("csv.ignore-parse-errors"),
    not_yet("csv.trim-spaces"),
    not_yet("csv.ignore-trailing-unmappable"),
    not_yet("csv.allow-trailing-comma"),
    not_yet("csv.fail-on-missing-columns"),
    not_yet("csv.empty-string-as-null"),
    no_effect("csv.write-bigdecimal-in-scientific-notation", WRITING),
];

const RAW: &[Known] = &[
    obeyed("raw.charset"),
    no_effect(
        "raw.endianness",
        "It is about numbers; text and bytes have no order of bytes.",
    ),
];

/// A format's name and the keys that belong to it.
pub(super) struct Format {
    pub name: &'static str,
    pub known: &'static [Known],
    pub span: Span,
    /// It was named by 'value.format', so its options begin with `value.` too.
    pub prefixed: bool,
    /// It is of the records' keys.
    of_key: bool,
}

impl Format {
    /// The option that says it.
    pub(super) fn option(&self) -> &'static str {
        match self.of_key {
            true => "key.format",
            false => "format",
        }
    }
}

/// What is known of the options where the format itself is not.
pub(super) const ALL_KNOWN: &[&[Known]] = &[AVRO, AVRO_CONFLUENT, CSV, JSON, RAW];

pub(super) fn format_of(options: &Options<'_>) -> Result<Format> {
    let prefixed = options.value("value.format").is_some();
    let value = match (options.value("value.format"), options.value("format")) {
        (Some(_), Some(format)) => {
            return Err(Diagnostic::error(
                "option",
                format.span,
                "'format' and 'value.format' are the same option",
            )
            .hint("remove one of them"));
        }
        (Some(value), None) => value,
        (None, _) => options.required(
            "format",
            &format!("'format' = one of: {}", FORMATS.join(", ")),
        )?,
    };
    let named = named(value)?;
    Ok(Format { prefixed, ..named })
}

/// The format of a table's keys.
pub(super) fn of_key(value: &Ident) -> Result<Format> {
    let named = named(value)?;
    Ok(Format {
        of_key: true,
        ..named
    })
}

fn named(value: &Ident) -> Result<Format> {
    let known = match value.value.as_str() {
        "avro" => AVRO,
        "avro-confluent" => AVRO_CONFLUENT,
        "csv" => CSV,
        "json" => JSON,
        "raw" => RAW,
        other if NOT_YET.contains(&other) => {
            return Err(
                Diagnostic::unsupported(value.span, format!("format '{other}' is"))
                    .hint(format!("formats of this version: {}", FORMATS.join(", "))),
            );
        }
        other => {
            let message = format!("unknown format '{other}'");
            return Err(
                Diagnostic::error("option", value.span, message).hint_if(near_or_all(
                    other,
                    FORMATS.iter().copied(),
                    "formats",
                )),
            );
        }
    };
    let name = FORMATS.iter().find(|name| **name == value.value);
    Ok(Format {
        name: name.expect("matched above"),
        known,
        span: value.span,
        prefixed: false,
        of_key: false,
    })
}

/// The options with the format's own under their short names: beside 'value.format' they are `value.json.…`.
pub(super) fn unprefixed(all: &[OptionText], format: &Format, told: &mut Told) -> Vec<OptionText> {
    if !format.prefixed {
        return all.to_vec();
    }
    let own = format!("{}.", format.name);
    let mut options = Vec::new();
    for option in all {
        let mut option = option.clone();
        let key = option.key.value.clone();
        if key.starts_with(&own) {
            let message =
                format!("option '{key}' belongs to 'format', the table has 'value.format'");
            told.tell(
                Diagnostic::error("option", option.key.span, message)
                    .hint(format!("'value.{key}'")),
            );
        }
        if let Some(short) = key.strip_prefix("value.")
            && short.starts_with(&own)
        {
            option.key.value = short.to_string();
        }
        options.push(option);
    }
    options
}

/// How these columns of the table are read.
pub(super) fn spec(
    used: &Use<'_>,
    columns: &[&Column],
    options: &Options<'_>,
    format: &Format,
) -> Result<FormatSpec> {
    match format.name {
        "avro" => avro(columns, options),
        "avro-confluent" => {
            check_avro_types(columns, true)?;
            Ok(FormatSpec::AvroConfluent {
                url: options.value("avro-confluent.url").map(|v| v.value.clone()),
                subject: options
                    .value("avro-confluent.subject")
                    .map(|v| v.value.clone()),
            })
        }
        "csv" => csv(options).map(FormatSpec::Csv),
        "json" => json(options),
        _ => raw(used, columns, options, format),
    }
}

fn avro(columns: &[&Column], options: &Options<'_>) -> Result<FormatSpec> {
    let encoding = options.choice("avro.encoding", &["binary", "json"])?;
    if let Some(("json", span)) = encoding {
        return Err(Diagnostic::unsupported(span, "Avro's JSON encoding is"));
    }
    let legacy_timestamps = options.boolean("avro.timestamp_mapping.legacy", true)?;
    check_avro_types(columns, legacy_timestamps)?;
    Ok(FormatSpec::Avro { legacy_timestamps })
}

fn check_avro_types(columns: &[&Column], legacy: bool) -> Result<()> {
    let readable = |column: &&Column| matches!(column.source, ColumnSource::Physical);
    let mut columns = columns.iter().copied().filter(readable);
    columns.try_for_each(|column| check_avro_type(&column.ty, column, legacy))
}

/// What Flink's derivation of an Avro schema refuses.
fn check_avro_type(ty: &LogicalType, column: &Column, legacy: bool) -> Result<()> {
    let refuse = |what: String| {
        let message = format!("column '{}': Avro has no {}", column.name, ty.kind);
        Diagnostic::error("type", column.span, message).detail(what)
    };
    match &ty.kind {
        TypeKind::Timestamp(p) if legacy && *p > 3 => Err(refuse(
            "Flink maps TIMESTAMP to Avro's timestamp-millis: 3 digits at most.".to_string(),
        )
        .hint("declare it as TIMESTAMP(3)")),
        TypeKind::TimestampLtz(_) if legacy => Err(refuse(
            "Flink's mapping of timestamps to Avro has none for TIMESTAMP_LTZ.".to_string(),
        )
        .hint("declare it as TIMESTAMP(3); or, with 'format' = 'avro', add 'avro.timestamp_mapping.legacy' = 'false'")),
        TypeKind::Map(key, _) if !key.kind.is_character() => {
            Err(refuse("The keys of Avro's maps are strings.".to_string()))
        }
        TypeKind::Map(_, of) | TypeKind::Array(of) => check_avro_type(of, column, legacy),
        TypeKind::Row(fields) => fields
            .iter()
            .try_for_each(|field| check_avro_type(&field.ty, column, legacy)),
        _ => Ok(()),
    }
}

fn json(options: &Options<'_>) -> Result<FormatSpec> {
    let fail_on_missing_field = options.boolean("json.fail-on-missing-field", false)?;
    let ignore_parse_errors = options.boolean("json.ignore-parse-errors", false)?;
    if fail_on_missing_field && ignore_parse_errors {
        let option = options.get("json.ignore-parse-errors");
        let span = option.map_or(Span::default(), |option| {
            option.key.span.to(option.value.span)
        });
        return Err(Diagnostic::error(
            "option",
            span,
            "'json.fail-on-missing-field' and 'json.ignore-parse-errors' exclude each other",
        )
        .hint("remove one of them"));
    }
    for key in [
        "json.encode.decimal-as-plain-number",
        "json.encode.ignore-null-fields",
        "json.decode.json-parser.enabled",
    ] {
        options.boolean(key, false)?;
    }
    options.choice("json.map-null-key.mode", &["FAIL", "DROP", "LITERAL"])?;
    let standard = options.choice("json.timestamp-format.standard", &["SQL", "ISO-8601"])?;
    Ok(FormatSpec::Json {
        fail_on_missing_field,
        ignore_parse_errors,
        iso_timestamps: matches!(standard, Some(("ISO-8601", _))),
    })
}

fn csv(options: &Options<'_>) -> Result<CsvSpec> {
    let default = CsvSpec::default();
    let no_quotes = options.boolean("csv.disable-quote-character", false)?;
    let quote = one_character(options, "csv.quote-character", str::to_string)?;
    if let (true, Some((_, span))) = (no_quotes, quote) {
        let message = "'csv.quote-character' and 'csv.disable-quote-character' exclude each other";
        return Err(Diagnostic::error("option", span, message).hint("remove one of them"));
    }
    options.boolean("csv.write-bigdecimal-in-scientific-notation", true)?;
    let delimiter = one_character(options, "csv.field-delimiter", unescaped)?;
    let quote = quote.map(|(quote, _)| quote).or(default.quote);
    let delimiter = match delimiter {
        Some((delimiter, span)) if Some(delimiter) == quote && !no_quotes => {
            let message = format!("'{delimiter}' cannot both quote a field and stand between two");
            return Err(Diagnostic::error("option", span, message)
                .hint("set 'csv.quote-character' to another one, or 'csv.disable-quote-character' to 'true'"));
        }
        Some((delimiter, _)) => delimiter,
        None => default.delimiter,
    };
    let escape = one_character(options, "csv.escape-character", str::to_string)?;
    let between = one_character(options, "csv.array-element-delimiter", str::to_string)?;
    let null_literal = options.value("csv.null-literal");
    Ok(CsvSpec {
        delimiter,
        quote: quote.filter(|_| !no_quotes),
        escape: escape.map(|(escape, _)| escape),
        element_delimiter: between.map_or(default.element_delimiter, |(between, _)| between),
        null_literal: null_literal.map(|literal| literal.value.clone()),
        comments: options.boolean("csv.allow-comments", default.comments)?,
        ignore_parse_errors: options.boolean("csv.ignore-parse-errors", false)?,
    })
}

/// The only character of an option's value, as Java counts them, and where it stands.
fn one_character(
    options: &Options<'_>,
    key: &str,
    read: impl Fn(&str) -> String,
) -> Result<Option<(char, Span)>> {
    let Some(value) = options.value(key) else {
        return Ok(None);
    };
    let text = read(&value.value);
    let mut characters = text.chars().filter(|c| c.len_utf16() == 1);
    match (characters.next(), characters.next()) {
        (Some(only), None) if text.len() == only.len_utf8() => Ok(Some((only, value.span))),
        _ => Err(bad_value(key, value, "a single character")),
    }
}

/// `\t` and `\u0001` as the characters that they mean in Java.
fn unescaped(text: &str) -> String {
    let named = |rest: &str| {
        let character = match rest.chars().next()? {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let digits = rest.trim_start_matches('u');
                let code = u32::from_str_radix(digits.get(..4)?, 16).ok()?;
                return Some((char::from_u32(code)?, digits.get(4..)?.to_string()));
            }
            other => other,
        };
        Some((character, rest[1..].to_string()))
    };
    match text.strip_prefix('\\').and_then(named) {
        Some((character, rest)) => format!("{character}{rest}"),
        None => text.to_string(),
    }
}

fn raw(
    used: &Use<'_>,
    columns: &[&Column],
    options: &Options<'_>,
    format: &Format,
) -> Result<FormatSpec> {
    if let Some(charset) = options.value("raw.charset")
        && !charset.value.eq_ignore_ascii_case("UTF-8")
    {
        let what = format!("charset '{}' is", charset.value);
        return Err(Diagnostic::unsupported(charset.span, what));
    }
    options.choice("raw.endianness", &["big-endian", "little-endian"])?;
    if used.table.is_broken() {
        return Ok(FormatSpec::Raw);
    }
    let option = format.option();
    let has = match format.of_key {
        true => format!("'key.fields' has {}", columns.len()),
        false => format!("table '{}' has {}", used.table.path.object, columns.len()),
    };
    match columns {
        [column] if column.ty.kind.is_character() || column.ty.kind.is_binary() => {
            Ok(FormatSpec::Raw)
        }
        [column] => Err(Diagnostic::unsupported(
            column.span,
            format!(
                "'{option}' = 'raw' with a column of type {} is",
                column.ty.kind
            ),
        )
        .hint("declare it as BYTES or STRING")),
        _ => Err(Diagnostic::error(
            "option",
            used.table.span,
            format!("'{option}' = 'raw' has one column, {has}"),
        )),
    }
}
