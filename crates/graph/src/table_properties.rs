//! Properties of Iceberg tables that say how rows are written, and what our writer makes of each.
//!
//! The planner asks about the options of a script, the writer about the properties of a table that is there: both here, so that
//! they cannot disagree. The list is that of Iceberg's configuration page (1.10), and what its engines take beside it. A
//! property is **obeyed**; or it is **of others** (about other formats, or about changes that we do not make); or it is **kept** and
//! not obeyed, which is said; or **refused**, because files written against it would be wrong to whoever set it.

/// What the writer makes of a property with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heed {
    Obeyed,
    /// It is not about what we do.
    OfOthers,
    /// It is not obeyed, harmlessly; why.
    Kept(&'static str),
    /// Such a table is not written; why.
    Refused(&'static str),
    /// The value is none; what it may be.
    Bad(&'static str),
}

enum Rule {
    /// A whole number above zero.
    Number,
    /// A whole number.
    Level,
    /// A number between 0 and 1.
    Share,
    Switch,
    Codec,
    Metrics,
    Place,
    /// Only these values are obeyed, any other is refused.
    Only(&'static [&'static str], &'static str),
    /// Only these values are obeyed, any other is kept.
    Unless(&'static [&'static str], &'static str),
    OfOthers,
}

/// By key; one that ends in a dot is of everything below.
const RULES: &[(&str, Rule)] = {
    use Rule::{Codec, Level, Metrics, Number, OfOthers, Only, Place, Share, Switch, Unless};
    &[
        (
            "write.format.default",
            Only(&["parquet"], "Rows are written into Parquet files."),
        ),
        ("write.target-file-size-bytes", Number),
        ("write.parquet.row-group-size-bytes", Number),
        ("write.parquet.page-size-bytes", Number),
        ("write.parquet.page-row-limit", Number),
        ("write.parquet.dict-size-bytes", Number),
        ("write.parquet.compression-codec", Codec),
        ("write.parquet.compression-level", Level),
        ("write.parquet.bloom-filter-enabled.column.", Switch),
        ("write.parquet.bloom-filter-fpp.column.", Share),
        ("write.parquet.bloom-filter-max-bytes", Number),
        ("write.parquet.stats-enabled.column.", Switch),
        (
            "write.parquet.page-version",
            Unless(
                &["v1"],
                "Pages are of version 1, which every reader understands.",
            ),
        ),
        ("write.parquet.row-group-check-min-record-count", OfOthers),
        ("write.parquet.row-group-check-max-record-count", OfOthers),
        ("write.metadata.metrics.default", Metrics),
        ("write.metadata.metrics.column.", Metrics),
        ("write.metadata.metrics.max-inferred-column-defaults", Level),
        ("write.metadata.delete-after-commit.enabled", Switch),
        ("write.metadata.previous-versions-max", Number),
        (
            "write.metadata.compression-codec",
            Unless(
                &["none"],
                "The catalog writes a table's metadata; the embedded one writes it as plain JSON.",
            ),
        ),
        ("write.metadata.path", Place),
        ("write.data.path", Place),
        ("write.folder-storage.path", Place),
        (
            "write.object-storage.enabled",
            Only(
                &["false"],
                "Files are in folders by partition, without a hash in their paths.",
            ),
        ),
        ("write.object-storage.", OfOthers),
        (
            "write.location-provider.impl",
            Only(&[], "A class of Java's says where files go."),
        ),
        (
            "write.distribution-mode",
            Unless(
                &["none", "hash"],
                "Rows are written in the order of the log; each partition has its own files.",
            ),
        ),
        (
            "write.summary.partition-limit",
            Unless(
                &["0"],
                "A snapshot's summary counts all partitions together.",
            ),
        ),
        (
            "write.parallelism",
            Unless(&["1"], "One writer makes all files of a table."),
        ),
        (
            "write.upsert.enabled",
            Only(&["false"], "Rows are appended; none replaces another."),
        ),
        (
            "write.wap.enabled",
            Only(
                &["false"],
                "Rows are visible with the commit that appends them.",
            ),
        ),
        ("write.avro.", OfOthers),
        ("write.orc.", OfOthers),
        ("write.spark.", OfOthers),
        ("write.delete.", OfOthers),
        ("write.update.", OfOthers),
        ("write.merge.", OfOthers),
        ("encryption.", Only(&[], "Files are not encrypted.")),
    ]
};

/// What the writer makes of a table's property; `None` where it is not about writing.
pub fn heed(key: &str, value: &str) -> Option<Heed> {
    let matches = |(name, _): &&(&str, Rule)| match name.ends_with('.') {
        true => key.starts_with(name),
        false => key == *name,
    };
    let Some((_, rule)) = RULES.iter().find(matches) else {
        return key
            .starts_with("write.")
            .then_some(Heed::Kept("This version does not know it."));
    };
    let is = |wanted: &&str| value.eq_ignore_ascii_case(wanted);
    Some(match rule {
        Rule::Number => obeyed(
            value.parse::<i64>().is_ok_and(|number| number > 0),
            "a whole number above zero",
        ),
        Rule::Level => obeyed(value.parse::<i32>().is_ok(), "a whole number"),
        Rule::Share => obeyed(
            value
                .parse::<f64>()
                .is_ok_and(|share| share > 0.0 && share < 1.0),
            "a number between 0 and 1",
        ),
        Rule::Switch => obeyed(["true", "false"].iter().any(is), "true or false"),
        Rule::Codec => obeyed(
            CODECS.iter().any(is),
            "zstd, snappy, gzip, brotli, lz4 or uncompressed",
        ),
        Rule::Metrics => obeyed(
            MetricsMode::parse(value).is_some(),
            "none, counts, full or truncate(N) with N above zero",
        ),
        Rule::Place => Heed::Obeyed,
        Rule::Only(values, _) if values.iter().any(is) => Heed::Obeyed,
        Rule::Only(_, why) => Heed::Refused(why),
        Rule::Unless(values, _) if values.iter().any(is) => Heed::Obeyed,
        Rule::Unless(_, why) => Heed::Kept(why),
        Rule::OfOthers => Heed::OfOthers,
    })
}

fn obeyed(good: bool, takes: &'static str) -> Heed {
    match good {
        true => Heed::Obeyed,
        false => Heed::Bad(takes),
    }
}

const CODECS: [&str; 7] = [
    "zstd",
    "snappy",
    "gzip",
    "brotli",
    "lz4",
    "uncompressed",
    // Flink's users write it; the sink always took it.
    "none",
];

/// What a manifest says of a column, as `write.metadata.metrics.*` asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsMode {
    /// Only its size.
    Sizes,
    /// Values and NULLs are counted.
    Counts,
    /// Bounds too; of texts and bytes so much of the beginning, or all.
    Bounds(Option<usize>),
}

impl MetricsMode {
    /// Iceberg's default.
    pub const DEFAULT: MetricsMode = MetricsMode::Bounds(Some(16));

    /// As the properties have it.
    pub fn parse(text: &str) -> Option<MetricsMode> {
        let text = text.to_ascii_lowercase();
        let length = text
            .strip_prefix("truncate(")
            .and_then(|rest| rest.strip_suffix(')'));
        match (text.as_str(), length) {
            ("none", _) => Some(MetricsMode::Sizes),
            ("counts", _) => Some(MetricsMode::Counts),
            ("full", _) => Some(MetricsMode::Bounds(None)),
            (_, Some(length)) => {
                let length = length.parse().ok().filter(|length| *length > 0)?;
                Some(MetricsMode::Bounds(Some(length)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_says_what_it_makes_of_a_value() {
        let cases = [
            (
                "write.target-file-size-bytes",
                "1048576",
                Some(Heed::Obeyed),
            ),
            (
                "write.target-file-size-bytes",
                "0",
                Some(Heed::Bad("a whole number above zero")),
            ),
            (
                "write.target-file-size-bytes",
                "1 MB",
                Some(Heed::Bad("a whole number above zero")),
            ),
            (
                "write.parquet.compression-codec",
                "ZSTD",
                Some(Heed::Obeyed),
            ),
            (
                "write.parquet.compression-codec",
                "lzo",
                Some(Heed::Bad("zstd, snappy, gzip, brotli, lz4 or uncompressed")),
            ),
            (
                "write.parquet.bloom-filter-fpp.column.a.b",
                "0.05",
                Some(Heed::Obeyed),
            ),
            (
                "write.parquet.bloom-filter-fpp.column.a.b",
                "1",
                Some(Heed::Bad("a number between 0 and 1")),
            ),
            (
                "write.parquet.bloom-filter-enabled.column.id",
                "yes",
                Some(Heed::Bad("true or false")),
            ),
            (
                "write.metadata.metrics.column.id",
                "Truncate(5)",
                Some(Heed::Obeyed),
            ),
            (
                "write.metadata.metrics.default",
                "truncate(0)",
                Some(Heed::Bad(
                    "none, counts, full or truncate(N) with N above zero",
                )),
            ),
            ("write.format.default", "PARQUET", Some(Heed::Obeyed)),
            (
                "write.format.default",
                "orc",
                Some(Heed::Refused("Rows are written into Parquet files.")),
            ),
            ("write.delete.format.default", "orc", Some(Heed::OfOthers)),
            ("write.object-storage.enabled", "false", Some(Heed::Obeyed)),
            ("write.object-storage.path", "s3://b", Some(Heed::OfOthers)),
            (
                "write.distribution-mode",
                "range",
                Some(Heed::Kept(
                    "Rows are written in the order of the log; each partition has its own files.",
                )),
            ),
            (
                "write.location-provider.impl",
                "a.B",
                Some(Heed::Refused("A class of Java's says where files go.")),
            ),
            (
                "encryption.key-id",
                "k",
                Some(Heed::Refused("Files are not encrypted.")),
            ),
            (
                "write.new-one",
                "1",
                Some(Heed::Kept("This version does not know it.")),
            ),
            ("commit.retry.num-retries", "x", None),
            ("owner", "me", None),
        ];
        for (key, value, expected) in cases {
            assert_eq!(heed(key, value), expected, "{key} = {value}");
        }
    }

    /// The page that users look them up in has a row for each.
    #[test]
    fn the_reference_has_every_property() {
        let page = include_str!("../../../docs/reference/iceberg-tables.md");
        for (key, _) in RULES {
            let shown = match key.strip_suffix(".column.") {
                Some(of_column) => format!("{of_column}.column.NAME"),
                None if key.ends_with('.') => format!("{key}*"),
                None => (*key).to_owned(),
            };
            assert!(
                page.contains(&format!("`{shown}`")),
                "{shown} is not in the reference"
            );
        }
    }
}
