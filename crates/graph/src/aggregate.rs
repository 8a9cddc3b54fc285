//! Flink's aggregate functions: what they are called and what they give.
//!
//! `crates/sql/tests/types/aggregates.txt` holds what Apache Flink 2.3.0 says of each.

use crate::{LogicalType, TypeKind};
use serde::{Deserialize, Serialize};

/// One aggregate over the rows of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AggregateCall {
    pub function: AggregateFunction,
    /// Columns of the input. None: `COUNT(*)`.
    pub arguments: Vec<usize>,
    /// Each combination of arguments counts once.
    pub distinct: bool,
    /// A BOOLEAN column: only rows for which it is TRUE count.
    pub filter: Option<usize>,
    pub ty: LogicalType,
}

/// Flink's aggregate functions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AggregateFunction {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    StddevPop,
    StddevSamp,
    VarPop,
    VarSamp,
    FirstValue,
    LastValue,
    ListAgg {
        separator: String,
    },
    /// Each value with how often it was there: a MAP, as which Flink's sinks write a MULTISET.
    Collect,
    ArrayAgg,
    /// The value `offset` rows before the last row that OVER has; where there are not so many, the second argument as that row has it, or
    /// NULL without one. Only of OVER, and of all rows before.
    Lag {
        offset: u32,
    },
}

impl AggregateFunction {
    /// What a script calls the functions that take one argument, and nothing else.
    const NAMED: [(&'static str, AggregateFunction); 13] = [
        ("SUM", AggregateFunction::Sum),
        ("AVG", AggregateFunction::Avg),
        ("MIN", AggregateFunction::Min),
        ("MAX", AggregateFunction::Max),
        ("STDDEV_POP", AggregateFunction::StddevPop),
        ("STDDEV_SAMP", AggregateFunction::StddevSamp),
        ("STDDEV", AggregateFunction::StddevSamp),
        ("VAR_POP", AggregateFunction::VarPop),
        ("VAR_SAMP", AggregateFunction::VarSamp),
        ("VARIANCE", AggregateFunction::VarSamp),
        ("FIRST_VALUE", AggregateFunction::FirstValue),
        ("LAST_VALUE", AggregateFunction::LastValue),
        ("COLLECT", AggregateFunction::Collect),
    ];

    /// The function of this name, in capitals. A LISTAGG has Flink's own separator until it is given another. LAG is none: it is not of
    /// groups.
    pub fn named(name: &str) -> Option<AggregateFunction> {
        match name {
            "COUNT" => Some(AggregateFunction::Count),
            "LISTAGG" => Some(AggregateFunction::ListAgg {
                separator: ",".to_string(),
            }),
            "ARRAY_AGG" => Some(AggregateFunction::ArrayAgg),
            _ => {
                let mut known = Self::NAMED.iter();
                let (_, function) = known.find(|(known, _)| *known == name)?;
                Some(function.clone())
            }
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            AggregateFunction::Count => "COUNT",
            AggregateFunction::ListAgg { .. } => "LISTAGG",
            AggregateFunction::ArrayAgg => "ARRAY_AGG",
            AggregateFunction::Lag { .. } => "LAG",
            one => {
                let mut known = Self::NAMED.iter();
                let known = known.find(|(_, function)| function == one);
                known.expect("every function has a name").0
            }
        }
    }

    /// What it takes, in words.
    pub fn takes(&self) -> &'static str {
        type F = AggregateFunction;
        match self {
            F::Count => "one argument, or *",
            F::Sum | F::Avg | F::StddevPop | F::StddevSamp | F::VarPop | F::VarSamp => "a number",
            F::Min | F::Max => "a number, text, a BOOLEAN or a time",
            F::FirstValue | F::LastValue | F::Collect | F::ArrayAgg => "one argument",
            F::ListAgg { .. } => "text, and a constant text between two of them",
            F::Lag { .. } => "a value, how many rows before, and what there is where none was",
        }
    }

    /// The type of the result; `None` where it does not take such an argument. There is none for `COUNT(*)`. A group of which a
    /// filter kept no row has no value.
    pub fn result_type(
        &self,
        argument: Option<&LogicalType>,
        filtered: bool,
    ) -> Option<LogicalType> {
        type F = AggregateFunction;
        let Some(of) = argument else {
            return (*self == F::Count).then(|| TypeKind::BigInt.not_null());
        };
        if of.kind == TypeKind::Null {
            return None;
        }
        let nullable = of.nullable || filtered;
        let gives = |kind: TypeKind| Some(kind.nullable().with_nullable(nullable));
        match (self, &of.kind) {
            (F::Count, _) => Some(TypeKind::BigInt.not_null()),
            (F::Sum, TypeKind::Decimal { scale, .. }) => gives(decimal(*scale)),
            (
                F::Avg | F::StddevPop | F::StddevSamp | F::VarPop | F::VarSamp,
                TypeKind::Decimal { scale, .. },
            ) => gives(decimal((*scale).max(6))),
            (F::Sum | F::Avg | F::StddevPop | F::StddevSamp | F::VarPop | F::VarSamp, kind) => {
                kind.is_numeric().then(|| gives(kind.clone()))?
            }
            (F::Min | F::Max, kind) => is_ordered(kind).then(|| gives(kind.clone()))?,
            (F::FirstValue | F::LastValue, kind) => gives(kind.clone()),
            (F::ListAgg { .. }, kind) => kind.is_character().then(|| of.clone()),
            (F::Collect, _) => {
                let times = TypeKind::Int.not_null();
                Some(TypeKind::Map(Box::new(of.clone()), Box::new(times)).not_null())
            }
            (F::ArrayAgg, _) => gives(TypeKind::Array(Box::new(of.clone()))),
            (F::Lag { .. }, kind) => Some(kind.clone().nullable()),
        }
    }
}

fn decimal(scale: u8) -> TypeKind {
    TypeKind::Decimal {
        precision: 38,
        scale,
    }
}

fn is_ordered(kind: &TypeKind) -> bool {
    kind.is_numeric()
        || kind.is_character()
        || kind.is_timestamp()
        || matches!(kind, TypeKind::Boolean | TypeKind::Date | TypeKind::Time(_))
}
