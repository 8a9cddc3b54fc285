//! Functions over arrays and maps, and their constructors.

use super::signature::{Definition, Family, Form, Parameter::*, Syntax, int, string};
use crate::{Field, LogicalType, TypeKind};

pub(super) const ROWS: &[Definition] = &[
    Definition::forms(
        Family::Collection,
        "CARDINALITY",
        "an ARRAY or a MAP",
        &[Form::new(&[Array], int), Form::new(&[Map], int)],
    )
    .never_fails(),
    // `array[1]` counts from 1; NULL where there is no such element or key. The planner brings a key to the map's.
    rule(
        "ELEMENT AT",
        "an ARRAY and an integer, or a MAP and one of its keys",
        |args| match args {
            [of, at] => match &of.kind {
                TypeKind::Array(element) if at.kind.is_integer() => Some(element.kind.clone()),
                TypeKind::Map(key, value) => {
                    let texts = key.kind.is_character() && at.kind.is_character();
                    (texts || key.kind == at.kind).then(|| value.kind.clone())
                }
                _ => None,
            }
            .map(TypeKind::nullable),
            _ => None,
        },
    )
    .written(Syntax::Infix("[]")),
    // The planner has brought the values of a constructor to one type.
    rule("ARRAY", "values of one type", |args| {
        let element = one_type(args.iter().copied())?;
        Some(TypeKind::Array(Box::new(element)).not_null())
    })
    .written(Syntax::Special)
    .may_fail(),
    rule(
        "MAP",
        "keys of one type, each with a value of one type",
        |args| {
            if args.len() % 2 != 0 {
                return None;
            }
            let key = one_type(args.iter().copied().step_by(2))?;
            let value = one_type(args.iter().copied().skip(1).step_by(2))?;
            Some(TypeKind::Map(Box::new(key), Box::new(value)).not_null())
        },
    )
    .written(Syntax::Special)
    .may_fail(),
    rule("ROW", "values", |args| {
        let fields = args
            .iter()
            .enumerate()
            .map(|(at, arg)| Field::new(format!("EXPR${at}"), (*arg).clone()));
        (!args.is_empty()).then(|| TypeKind::Row(fields.collect()).not_null())
    }),
    // The only element; NULL where there is none.
    rule("ELEMENT", "an ARRAY", |args| match args {
        [of] => {
            let element = element(of)?;
            Some(
                element
                    .clone()
                    .with_nullable(element.nullable || of.nullable),
            )
        }
        _ => None,
    })
    .may_fail(),
    // NULL is found as any other value is.
    rule("ARRAY_CONTAINS", AND_ELEMENT, |args| match args {
        [of, _] => holds(args).then(|| TypeKind::Boolean.nullable().with_nullable(of.nullable)),
        _ => None,
    }),
    rule("ARRAY_POSITION", AND_ELEMENT, |args| match args {
        [of, at] => holds(args).then(|| {
            TypeKind::Int
                .nullable()
                .with_nullable(of.nullable || at.nullable)
        }),
        _ => None,
    }),
    rule("ARRAY_REMOVE", AND_ELEMENT, |args| match args {
        [of, _] => holds(args).then(|| (*of).clone()),
        _ => None,
    }),
    rule("ARRAY_APPEND", AND_ELEMENT, grown),
    rule("ARRAY_PREPEND", AND_ELEMENT, grown),
    rule("ARRAY_DISTINCT", ONE, |args| match args {
        [of] => element(of).map(|_| (*of).clone()),
        _ => None,
    }),
    rule("ARRAY_REVERSE", ONE, |args| match args {
        [of] => element(of).map(|_| (*of).clone()),
        _ => None,
    }),
    // From which place, and to which; both count from the end where they are negative.
    rule("ARRAY_SLICE", "an ARRAY and one or two INTs", |args| {
        let (of, places) = args.split_first()?;
        let whole = places.iter().all(|place| place.kind == TypeKind::Int);
        (element(of).is_some() && whole && matches!(places.len(), 1 | 2))
            .then(|| nullable_as_any(of.kind.clone(), args))
    }),
    // Whether it rises, and whether NULL comes first.
    rule(
        "ARRAY_SORT",
        "an ARRAY of values in order, and perhaps two BOOLEANs",
        |args| {
            let (of, how) = args.split_first()?;
            let flags = how.iter().all(|flag| flag.kind == TypeKind::Boolean);
            (in_order(element(of)?) && flags && how.len() <= 2)
                .then(|| nullable_as_any(of.kind.clone(), args))
        },
    ),
    rule("ARRAY_UNION", "two ARRAYs of one type", two_alike),
    rule("ARRAY_CONCAT", "ARRAYs of one type", |args| {
        let alike = args.windows(2).all(|pair| pair[0].kind == pair[1].kind);
        (element(args.first()?).is_some() && alike)
            .then(|| nullable_as_any(args[0].kind.clone(), args))
    }),
    rule("ARRAY_EXCEPT", "two ARRAYs of one type", two_alike),
    rule("ARRAY_INTERSECT", "two ARRAYs of one type", two_alike),
    rule("ARRAY_MAX", "an ARRAY of values in order", greatest),
    rule("ARRAY_MIN", "an ARRAY of values in order", greatest),
    // What stands between, and what for NULL, which is left out otherwise.
    rule(
        "ARRAY_JOIN",
        "an ARRAY of strings and one or two strings",
        |args| {
            let (of, texts) = args.split_first()?;
            let texts_only = texts.iter().all(|text| text.kind.is_character());
            (element(of)?.kind.is_character() && texts_only && matches!(texts.len(), 1 | 2))
                .then(|| nullable_as_any(string(args), args))
        },
    ),
    rule("MAP_KEYS", ONE_MAP, |args| match args {
        [of] => {
            let (key, _) = entry(of)?;
            Some(nullable_as_any(
                TypeKind::Array(Box::new(key.clone())),
                args,
            ))
        }
        _ => None,
    }),
    rule("MAP_VALUES", ONE_MAP, |args| match args {
        [of] => {
            let (_, value) = entry(of)?;
            Some(nullable_as_any(
                TypeKind::Array(Box::new(value.clone())),
                args,
            ))
        }
        _ => None,
    }),
    rule("MAP_ENTRIES", ONE_MAP, |args| match args {
        [of] => {
            let (key, value) = entry(of)?;
            let fields = vec![
                Field::new("key", key.clone()),
                Field::new("value", value.clone()),
            ];
            let row = TypeKind::Row(fields).nullable();
            Some(nullable_as_any(TypeKind::Array(Box::new(row)), args))
        }
        _ => None,
    }),
    // Of a key in several the last value stays.
    rule("MAP_UNION", "MAPs of one type", |args| {
        let alike = args.windows(2).all(|pair| pair[0].kind == pair[1].kind);
        (entry(args.first()?).is_some() && alike)
            .then(|| nullable_as_any(args[0].kind.clone(), args))
    }),
    rule(
        "MAP_FROM_ARRAYS",
        "an ARRAY of keys and an ARRAY of as many values",
        |args| match args {
            [keys, values] => {
                let (key, value) = (element(keys)?.clone(), element(values)?.clone());
                let map = TypeKind::Map(Box::new(key), Box::new(value));
                Some(nullable_as_any(map, args))
            }
            _ => None,
        },
    )
    .may_fail(),
];

const ONE: &str = "an ARRAY";
const ONE_MAP: &str = "a MAP";
const AND_ELEMENT: &str = "an ARRAY and a value of its elements' type";

const fn rule(
    name: &'static str,
    takes: &'static str,
    rule: fn(&[&LogicalType]) -> Option<LogicalType>,
) -> Definition {
    Definition::rule(Family::Collection, name, takes, rule).never_fails()
}

fn element(of: &LogicalType) -> Option<&LogicalType> {
    match &of.kind {
        TypeKind::Array(element) => Some(element),
        _ => None,
    }
}

fn entry(of: &LogicalType) -> Option<(&LogicalType, &LogicalType)> {
    match &of.kind {
        TypeKind::Map(key, value) => Some((key, value)),
        _ => None,
    }
}

/// The type of values that are all of one kind.
fn one_type<'t>(mut types: impl Iterator<Item = &'t LogicalType>) -> Option<LogicalType> {
    let first = types.next()?.clone();
    types.try_fold(first, |so_far, ty| {
        (so_far.kind == ty.kind).then(|| {
            let nullable = so_far.nullable || ty.nullable;
            so_far.with_nullable(nullable)
        })
    })
}

fn nullable_as_any(kind: TypeKind, args: &[&LogicalType]) -> LogicalType {
    kind.nullable()
        .with_nullable(args.iter().any(|arg| arg.nullable))
}

/// Whether the second is of the kind of the first's elements.
fn holds(args: &[&LogicalType]) -> bool {
    matches!(args, [of, value] if element(of).is_some_and(|element| element.kind == value.kind))
}

/// The array with one more element, which may be NULL where the others are not.
fn grown(args: &[&LogicalType]) -> Option<LogicalType> {
    let [of, value] = args else { return None };
    let element = element(of).filter(|_| holds(args))?.clone();
    let nullable = element.nullable || value.nullable;
    let array = TypeKind::Array(Box::new(element.with_nullable(nullable)));
    Some(nullable_as_any(array, args))
}

fn two_alike(args: &[&LogicalType]) -> Option<LogicalType> {
    match args {
        [a, b] if a.kind == b.kind => element(a).map(|_| nullable_as_any(a.kind.clone(), args)),
        _ => None,
    }
}

/// NULL where there is no element.
fn greatest(args: &[&LogicalType]) -> Option<LogicalType> {
    match args {
        [of] => element(of)
            .filter(|element| in_order(element))
            .map(|element| element.kind.clone().nullable()),
        _ => None,
    }
}

fn in_order(ty: &LogicalType) -> bool {
    let kind = &ty.kind;
    kind.is_numeric()
        || kind.is_character()
        || kind.is_timestamp()
        || matches!(kind, TypeKind::Boolean | TypeKind::Date | TypeKind::Time(_))
}
