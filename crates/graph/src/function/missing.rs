//! What Flink 2.3 has and this version does not: refused by name, and listed on the reference page.

use super::Family;

/// A function of Flink's reference page without a row here.
#[derive(Debug)]
pub struct Missing {
    pub name: &'static str,
    pub family: Family,
    /// Why, where there is more to say than that nobody wrote it yet.
    pub why: &'static str,
}

pub const MISSING: &[Missing] = &[
    missing("REGEXP", Family::Text),
    missing("REGEXP_REPLACE", Family::Text),
    missing("REGEXP_EXTRACT", Family::Text),
    missing("SPLIT", Family::Text),
    missing("STR_TO_MAP", Family::Text),
    missing("PARSE_URL", Family::Text),
    missing("CONVERT_TZ", Family::Time),
    missing("JSON_VALUE", Family::Json),
    missing("JSON_QUERY", Family::Json),
    missing("JSON_EXISTS", Family::Json),
    missing("JSON_OBJECT", Family::Json),
    missing("JSON_ARRAY", Family::Json),
    missing("JSON_STRING", Family::Json),
    missing("ELEMENT", Family::Collection),
    missing("ARRAY_CONTAINS", Family::Collection),
    missing("ARRAY_DISTINCT", Family::Collection),
    missing("ARRAY_JOIN", Family::Collection),
    missing("TYPEOF", Family::Conversion),
    missing("REGEXP_COUNT", Family::Text),
    missing("REGEXP_EXTRACT_ALL", Family::Text),
    missing("REGEXP_INSTR", Family::Text),
    missing("REGEXP_SUBSTR", Family::Text),
    missing("PRINTF", Family::Text),
    missing("JSON_QUOTE", Family::Json),
    missing("JSON_UNQUOTE", Family::Json),
    missing("ARRAY_APPEND", Family::Collection),
    missing("ARRAY_CONCAT", Family::Collection),
    missing("ARRAY_EXCEPT", Family::Collection),
    missing("ARRAY_INTERSECT", Family::Collection),
    missing("ARRAY_MAX", Family::Collection),
    missing("ARRAY_MIN", Family::Collection),
    missing("ARRAY_POSITION", Family::Collection),
    missing("ARRAY_PREPEND", Family::Collection),
    missing("ARRAY_REMOVE", Family::Collection),
    missing("ARRAY_REVERSE", Family::Collection),
    missing("ARRAY_SLICE", Family::Collection),
    missing("ARRAY_SORT", Family::Collection),
    missing("ARRAY_UNION", Family::Collection),
    missing("MAP_ENTRIES", Family::Collection),
    missing("MAP_FROM_ARRAYS", Family::Collection),
    missing("MAP_KEYS", Family::Collection),
    missing("MAP_UNION", Family::Collection),
    missing("MAP_VALUES", Family::Collection),
];

const fn missing(name: &'static str, family: Family) -> Missing {
    Missing {
        name,
        family,
        why: "",
    }
}
