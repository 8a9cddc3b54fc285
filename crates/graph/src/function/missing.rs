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

pub const MISSING: &[Missing] = &[missing("PRINTF", Family::Text)];

const fn missing(name: &'static str, family: Family) -> Missing {
    Missing {
        name,
        family,
        why: "",
    }
}
