//! The scalar functions and operators: one row each, and the type that each gives under Flink 2.3's rules.
//!
//! A row ([`Definition`]) says how a script writes the function, what it takes and what it gives; it stands in the file of its family
//! (`function/text.rs`, …), and nowhere else in this crate. The planner finds it by name, brings the arguments to what its
//! parameters take, and types the call; the runtime has a kernel under the same name. So the kernels may rely on the types, and
//! conversions are the planner's alone.

mod collection;
mod conditional;
mod hash;
mod json;
mod merge;
mod missing;
mod numbers;
mod operators;
mod signature;
mod text;
mod time;

pub use missing::{MISSING, Missing};
pub use numbers::rounded_decimal;
pub use signature::{Definition, Family, Syntax};

use crate::LogicalType;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;
use thiserror::Error;

/// A scalar function or operator: the name of a row.
///
/// Plans on disk hold the name. Earlier versions wrote the names below (`IsNotNull` for `IS NOT NULL`); both are read.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Function(&'static str);

/// Those that the planner makes from syntax, and so knows by name.
#[expect(
    non_upper_case_globals,
    reason = "the cases of a match, as the variants of an enum are"
)]
impl Function {
    pub const Plus: Function = Function("PLUS");
    pub const Minus: Function = Function("MINUS");
    pub const Times: Function = Function("TIMES");
    pub const Divide: Function = Function("DIVIDE");
    pub const Mod: Function = Function("MOD");
    pub const Negate: Function = Function("NEGATE");
    pub const Equal: Function = Function("EQUAL");
    pub const NotEqual: Function = Function("NOT EQUAL");
    pub const Less: Function = Function("LESS");
    pub const LessOrEqual: Function = Function("LESS OR EQUAL");
    pub const Greater: Function = Function("GREATER");
    pub const GreaterOrEqual: Function = Function("GREATER OR EQUAL");
    pub const IsDistinctFrom: Function = Function("IS DISTINCT FROM");
    pub const IsNotDistinctFrom: Function = Function("IS NOT DISTINCT FROM");
    pub const IsNull: Function = Function("IS NULL");
    pub const IsNotNull: Function = Function("IS NOT NULL");
    pub const IsTrue: Function = Function("IS TRUE");
    pub const IsNotTrue: Function = Function("IS NOT TRUE");
    pub const IsFalse: Function = Function("IS FALSE");
    pub const IsNotFalse: Function = Function("IS NOT FALSE");
    pub const And: Function = Function("AND");
    pub const Or: Function = Function("OR");
    pub const Not: Function = Function("NOT");
    pub const Coalesce: Function = Function("COALESCE");
    pub const NullIf: Function = Function("NULLIF");
    pub const Abs: Function = Function("ABS");
    pub const Upper: Function = Function("UPPER");
    pub const Lower: Function = Function("LOWER");
    pub const Trim: Function = Function("TRIM");
    pub const TrimLeading: Function = Function("TRIM LEADING");
    pub const TrimTrailing: Function = Function("TRIM TRAILING");
    pub const Substring: Function = Function("SUBSTRING");
    pub const Concat: Function = Function("CONCAT");
    pub const Append: Function = Function("APPEND");
    pub const Like: Function = Function("LIKE");
    pub const SimilarTo: Function = Function("SIMILAR TO");
    pub const Position: Function = Function("POSITION");
    pub const Overlay: Function = Function("OVERLAY");
    pub const Ceil: Function = Function("CEIL");
    pub const Floor: Function = Function("FLOOR");
    pub const Extract: Function = Function("EXTRACT");
    pub const CeilTo: Function = Function("CEIL TO");
    pub const FloorTo: Function = Function("FLOOR TO");
    pub const ElementAt: Function = Function("ELEMENT AT");
    pub const IsJsonValue: Function = Function("IS JSON VALUE");
    pub const IsJsonScalar: Function = Function("IS JSON SCALAR");
    pub const IsJsonArray: Function = Function("IS JSON ARRAY");
    pub const IsJsonObject: Function = Function("IS JSON OBJECT");
    pub const JsonExists: Function = Function("JSON_EXISTS");
    pub const JsonValue: Function = Function("JSON_VALUE");
    pub const JsonQuery: Function = Function("JSON_QUERY");
    pub const JsonString: Function = Function("JSON_STRING");
    pub const JsonObject: Function = Function("JSON_OBJECT");
    pub const JsonArray: Function = Function("JSON_ARRAY");
    pub const LocalTime: Function = Function("LOCAL TIME");
    pub const Instant: Function = Function("INSTANT");
    pub const FromUnixTime: Function = Function("FROM_UNIXTIME");
    pub const UnixTimestamp: Function = Function("UNIX_TIMESTAMP");
    pub const UnixSeconds: Function = Function("UNIX SECONDS");
    pub const LocalTimestamp: Function = Function("LOCALTIMESTAMP");
    pub const LocalTimeOfDay: Function = Function("LOCALTIME");
    pub const CurrentTime: Function = Function("CURRENT_TIME");
    pub const CurrentDate: Function = Function("CURRENT_DATE");
    pub const ProcTime: Function = Function("PROCTIME");
    pub const FromUnixTimeIn: Function = Function("FROM_UNIXTIME IN");
    pub const UnixTimestampIn: Function = Function("UNIX_TIMESTAMP IN");
    pub const Array: Function = Function("ARRAY");
    pub const Map: Function = Function("MAP");
    pub const Row: Function = Function("ROW");
    pub const CharLength: Function = Function("CHAR_LENGTH");
}

/// A function was given arguments that it does not take.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("cannot apply '{function}' to arguments of type '{given}'")]
pub struct SignatureError {
    pub function: Function,
    /// The types given, as `(INT, STRING)`.
    pub given: String,
    /// What it takes, in words: "two numbers".
    pub expected: &'static str,
}

impl Function {
    /// The function that a script calls by this name, however it is written.
    pub fn named(name: &str) -> Option<Function> {
        let upper = name.to_ascii_uppercase();
        let called = |row: &&Definition| {
            matches!(row.syntax, Syntax::Call | Syntax::Word)
                && (row.name == upper || row.aliases.contains(&upper.as_str()))
                && !upper.contains(' ')
        };
        rows().find(called).map(|row| Function(row.name))
    }

    /// All of them, family by family.
    pub fn all() -> impl Iterator<Item = &'static Definition> {
        rows()
    }

    pub fn definition(self) -> &'static Definition {
        static BY_NAME: OnceLock<HashMap<&'static str, &'static Definition>> = OnceLock::new();
        let by_name = BY_NAME.get_or_init(|| rows().map(|row| (row.name, row)).collect());
        by_name
            .get(self.0)
            .expect("a Function is made from a row, or is one of the constants above, which a test looks up")
    }

    /// Its row's name, which is unique.
    pub fn key(self) -> &'static str {
        self.0
    }

    /// How a script writes it: the operator's sign or the function's name.
    pub fn name(self) -> &'static str {
        let row = self.definition();
        match row.syntax {
            Syntax::Call | Syntax::Word | Syntax::Special | Syntax::Inner => row.name,
            Syntax::Prefix(sign) | Syntax::Infix(sign) | Syntax::Postfix(sign) => sign,
        }
    }

    /// The type of the result for arguments of these types.
    ///
    /// # Errors
    /// [`SignatureError`] when the function does not take them. There are no implicit conversions between text and
    /// numbers: Flink refuses `'1' = 1` and so do we.
    pub fn result_type(self, args: &[&LogicalType]) -> Result<LogicalType, SignatureError> {
        let row = self.definition();
        row.result_type(args).ok_or_else(|| {
            let given: Vec<String> = args.iter().map(|arg| arg.kind.to_string()).collect();
            SignatureError {
                function: self,
                given: format!("({})", given.join(", ")),
                expected: row.takes,
            }
        })
    }
}

fn rows() -> impl Iterator<Item = &'static Definition> {
    [
        operators::ROWS,
        conditional::ROWS,
        numbers::ROWS,
        text::ROWS,
        time::ROWS,
        collection::ROWS,
        json::ROWS,
        hash::ROWS,
    ]
    .into_iter()
    .flatten()
}

impl Serialize for Function {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Function {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Function, D::Error> {
        Function::try_from(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A stored plan names a function that this version does not have.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("there is no function {0}")]
pub struct UnknownFunction(String);

impl TryFrom<String> for Function {
    type Error = UnknownFunction;

    fn try_from(name: String) -> Result<Function, UnknownFunction> {
        let letters = |name: &str| -> String {
            name.chars()
                .filter(char::is_ascii_alphanumeric)
                .map(|c| c.to_ascii_uppercase())
                .collect()
        };
        let plain = letters(&name);
        rows()
            .find(|row| row.name == name)
            .or_else(|| rows().find(|row| letters(row.name) == plain))
            .map(|row| Function(row.name))
            .ok_or(UnknownFunction(name))
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
