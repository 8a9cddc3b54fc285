//! Functions by name. A name is one that is planned here, one that Flink has and this version does not, or none.

use super::coerce::{arithmetic, call, call_with, case, must_be_boolean, unify};
use super::collection;
use super::expr::{Binder, run_on_flink};
use super::group::{auxiliary, endless};
use super::json;
use super::literal::{self, cast};
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use crate::suggest::did_you_mean;
use lw_graph::rounded_decimal;
use lw_graph::{AggregateFunction, Expr, Function, MISSING, Syntax, TypeKind, Value};
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments};

/// Planned as something else: IF as CASE, IFNULL as COALESCE; CAST is a form of syntax.
const REWRITTEN: &[&str] = &["IF", "IFNULL", "CAST", "TRY_CAST", "TYPEOF"];

const AGGREGATES: &[&str] = &[
    "COUNT",
    "SUM",
    "AVG",
    "MIN",
    "MAX",
    "COLLECT",
    "LISTAGG",
    "ARRAY_AGG",
    "STDDEV_POP",
    "STDDEV_SAMP",
    "VAR_POP",
    "VAR_SAMP",
    "VARIANCE",
    "FIRST_VALUE",
    "LAST_VALUE",
    "JSON_OBJECTAGG",
    "JSON_ARRAYAGG",
    "APPROX_COUNT_DISTINCT",
];

const RANKS: &[&str] = &[
    "ROW_NUMBER",
    "RANK",
    "DENSE_RANK",
    "NTILE",
    "LAG",
    "LEAD",
    "CUME_DIST",
    "PERCENT_RANK",
];

const WINDOWS: &[&str] = &[
    "TUMBLE",
    "HOP",
    "CUMULATE",
    "SESSION",
    "TUMBLE_START",
    "TUMBLE_END",
    "TUMBLE_ROWTIME",
    "HOP_START",
    "HOP_END",
    "HOP_ROWTIME",
    "SESSION_START",
    "SESSION_END",
    "SESSION_ROWTIME",
    "DESCRIPTOR",
];

/// Chance: the same script over the same log would give other rows.
const CHANCE: &[&str] = &["RAND", "RAND_INTEGER", "UUID"];

pub(super) fn bind(binder: &Binder<'_>, f: &ast::Function, span: Span) -> Result<Expr> {
    let parts: Vec<&ast::Ident> = f.name.0.iter().filter_map(|part| part.as_ident()).collect();
    let name = parts.last().map_or("", |ident| ident.value.as_str());
    let upper = name.to_ascii_uppercase();
    if f.over.is_some() && parts.len() == 1 {
        return match binder.overs {
            Some(overs) => overs.call(binder, f, span),
            None => Err(refuse(&f.name.to_string(), &upper, true, span)),
        };
    }
    if let (Some(grouped), 1) = (binder.grouped, parts.len()) {
        if let Some(aggregate) = AggregateFunction::named(&upper) {
            return grouped.aggregate(aggregate, f, span);
        }
        if matches!(upper.as_str(), "GROUPING" | "GROUPING_ID") {
            return grouped.grouping(f, span);
        }
        if let Some((window, property)) = auxiliary(&upper) {
            return grouped.property(f, window, property, span);
        }
    }
    if AggregateFunction::named(&upper).is_some()
        && let Some([why, hint]) = binder.no_aggregate
    {
        return Err(Diagnostic::error("group", span, why).hint(hint));
    }
    if upper == "CURRENT_WATERMARK" && parts.len() == 1 {
        return match binder.watermark {
            Some(watermark) => watermark.bind(binder, f, span),
            None => Err(
                Diagnostic::error("watermark", span, "CURRENT_WATERMARK is of rows")
                    .hint("it stands in SELECT and WHERE"),
            ),
        };
    }
    if let Some(expr) = json::bind(binder, f, span)? {
        return Ok(expr);
    }
    let planned = REWRITTEN.contains(&upper.as_str()) || Function::named(&upper).is_some();
    if parts.len() != 1 || !planned {
        return Err(refuse(&f.name.to_string(), &upper, false, span));
    }
    if f.filter.is_some() || f.null_treatment.is_some() || !f.within_group.is_empty() {
        return Err(Diagnostic::unsupported(
            span,
            format!("this clause of {upper} is"),
        ));
    }
    let args = match upper.as_str() {
        "TIMESTAMPADD" | "TIMESTAMPDIFF" => unit_and_arguments(binder, f, span)?,
        _ => arguments(binder, f, span)?,
    };
    apply(&upper, args, span)
}

fn arguments(binder: &Binder<'_>, f: &ast::Function, span: Span) -> Result<Vec<Expr>> {
    let list = match &f.args {
        FunctionArguments::List(list) => list,
        // Only words that are functions are written so: CURRENT_DATE.
        FunctionArguments::None => return Ok(Vec::new()),
        FunctionArguments::Subquery(_) => {
            let message = format!("{} takes no query", f.name);
            return Err(Diagnostic::error("type", span, message));
        }
    };
    if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return Err(Diagnostic::unsupported(
            span,
            format!("this clause of {} is", f.name),
        ));
    }
    bound(binder, f, &list.args, span)
}

fn bound(
    binder: &Binder<'_>,
    f: &ast::Function,
    args: &[FunctionArg],
    span: Span,
) -> Result<Vec<Expr>> {
    args.iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => binder.bind(expr),
            other => Err(Diagnostic::error(
                "type",
                span,
                format!("{} does not take '{other}'", f.name),
            )),
        })
        .collect()
}

/// `TIMESTAMPADD(DAY, 1, ts)`: the first argument is a word.
fn unit_and_arguments(binder: &Binder<'_>, f: &ast::Function, span: Span) -> Result<Vec<Expr>> {
    if let FunctionArguments::List(list) = &f.args
        && let Some((FunctionArg::Unnamed(FunctionArgExpr::Expr(word)), rest)) =
            list.args.split_first()
        && let ast::Expr::Identifier(word) = word
    {
        let word = word.value.to_ascii_uppercase();
        let unit = word.strip_prefix("SQL_TSI_").unwrap_or(&word);
        if UNITS.contains(&unit) {
            let mut args = vec![literal::text(unit)];
            args.extend(bound(binder, f, rest, span)?);
            return Ok(args);
        }
    }
    let message = format!("the first argument of {} is a unit of time", f.name);
    Err(Diagnostic::error("type", span, message).hint(UNITS.join(", ")))
}

const UNITS: &[&str] = &[
    "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR",
];

/// A unit of time, as the functions take it.
fn unit(field: &ast::DateTimeField, of: &Expr, known: &[&[&str]], span: Span) -> Result<Expr> {
    let unit = field.to_string().to_ascii_uppercase();
    // The last list is what a time of day has.
    let of_a_day = matches!(of.ty().kind, TypeKind::Time(_));
    let known = if of_a_day {
        &known[known.len() - 1..]
    } else {
        known
    };
    if known.iter().any(|units| units.contains(&unit.as_str())) {
        return Ok(literal::text(&unit));
    }
    let message = format!("{unit} is no unit of a {} here", of.ty().kind);
    Err(Diagnostic::error("type", span, message).hint(known.concat().join(", ")))
}

const OF_A_DATE: &[&str] = &["YEAR", "QUARTER", "MONTH", "WEEK", "DAY"];
const OF_A_DAY: &[&str] = &["HOUR", "MINUTE", "SECOND", "MILLISECOND"];

/// `EXTRACT(unit FROM time)`.
pub(super) fn extract(field: &ast::DateTimeField, of: Expr, span: Span) -> Result<Expr> {
    const MORE: &[&str] = &[
        "MILLENNIUM",
        "CENTURY",
        "DECADE",
        "ISOYEAR",
        "DOY",
        "DOW",
        "ISODOW",
        "EPOCH",
        "MICROSECOND",
        "NANOSECOND",
    ];
    let known: &[&[&str]] = match of.ty().kind {
        TypeKind::IntervalMonths => &[&["YEAR", "QUARTER", "MONTH"]],
        TypeKind::IntervalMillis => &[&["WEEK", "DAY"], OF_A_DAY],
        _ => &[MORE, OF_A_DATE, OF_A_DAY],
    };
    let unit = unit(field, &of, known, span)?;
    call(Function::Extract, vec![unit, of], span)
}

/// `FLOOR(time TO unit)`, `CEIL(time TO unit)`.
pub(super) fn cut(
    function: Function,
    of: Expr,
    field: &ast::DateTimeField,
    span: Span,
) -> Result<Expr> {
    const FLOOR: &[&str] = &["MILLENNIUM", "CENTURY", "DECADE"];
    let unit = if function == Function::FloorTo {
        unit(field, &of, &[FLOOR, OF_A_DATE, OF_A_DAY], span)?
    } else {
        unit(field, &of, &[OF_A_DATE, OF_A_DAY], span)?
    };
    call(function, vec![of, unit], span)
}

/// A day moved by less than a day is a time of it; a day and a timestamp are compared as timestamps.
fn of_time(name: &str, mut args: Vec<Expr>, span: Span) -> Result<Expr> {
    let below_a_day = matches!(&args[0], Expr::Literal { value: Value::String(unit), .. }
        if matches!(unit.as_str(), "HOUR" | "MINUTE" | "SECOND"));
    let kinds = [args[1].ty().kind.clone(), args[2].ty().kind.clone()];
    let brought = match (name, &kinds) {
        ("TIMESTAMPADD", [_, TypeKind::Date]) if below_a_day => Some((2, TypeKind::Timestamp(6))),
        ("TIMESTAMPDIFF", [TypeKind::Date, TypeKind::Timestamp(_)]) => {
            Some((1, TypeKind::Timestamp(3)))
        }
        ("TIMESTAMPDIFF", [TypeKind::Timestamp(_), TypeKind::Date]) => {
            Some((2, TypeKind::Timestamp(3)))
        }
        _ => None,
    };
    if let Some((arg, kind)) = brought {
        args[arg] = cast(args[arg].clone(), &kind);
    }
    scalar(name, args, span)
}

fn apply(name: &str, mut args: Vec<Expr>, span: Span) -> Result<Expr> {
    let count = args.len();
    let takes = |what: &str| {
        let message = format!("{name} takes {what}, {count} given");
        Diagnostic::error("type", span, message)
    };
    match (name, count) {
        ("COALESCE", 1..) => call(Function::Coalesce, unify(args, name, span)?, span),
        ("IFNULL", 2) => call(Function::Coalesce, unify(args, name, span)?, span),
        ("NULLIF", 2) => {
            let kind = args[0].ty().kind.clone();
            // NULLIF compares in the common type and answers in the first argument's.
            if kind.is_character() || kind == args[1].ty().kind {
                return call(Function::NullIf, args, span);
            }
            let original = args[0].clone();
            let aligned = unify(args, name, span)?;
            let equal = call(Function::Equal, aligned, span)?;
            let null = literal::literal(Value::Null, TypeKind::Null);
            case(vec![(equal, null)], original, span)
        }
        ("IF", 3) => {
            if args.iter().any(|arg| arg.ty().kind == TypeKind::Null) {
                return Err(Diagnostic::error("type", span, "IF takes no bare NULL")
                    .hint("CAST(NULL AS type), or CASE WHEN condition THEN value END"));
            }
            let otherwise = args.remove(2);
            let value = args.remove(1);
            let condition = must_be_boolean(args.remove(0), "IF", span)?;
            let unknown = condition.ty().nullable;
            let mut chosen = case(vec![(condition, value)], otherwise, span)?;
            if let (Expr::Case { ty, .. }, true) = (&mut chosen, unknown) {
                // An unknown condition chooses the second value, but Flink's type does not know.
                ty.nullable = true;
            }
            Ok(chosen)
        }
        ("LTRIM" | "RTRIM" | "BTRIM", 1) | ("TRIM", 1) => {
            args.push(literal::text(" "));
            scalar(name, args, span)
        }
        ("MOD", 2) => {
            let b = args.remove(1);
            arithmetic(Function::Mod, args.remove(0), b, span)
        }
        ("GREATEST" | "LEAST", 1..) => {
            if args.iter().any(|arg| arg.ty().kind == TypeKind::Null) {
                return Err(
                    Diagnostic::error("type", span, format!("{name} takes no bare NULL"))
                        .hint("CAST(NULL AS type)"),
                );
            }
            call(named(name), unify(args, name, span)?, span)
        }
        (
            "ARRAY_CONTAINS" | "ARRAY_POSITION" | "ARRAY_REMOVE" | "ARRAY_APPEND" | "ARRAY_PREPEND",
            2,
        ) => collection::with_element(name, args, span),
        (
            "ARRAY_UNION" | "ARRAY_CONCAT" | "ARRAY_EXCEPT" | "ARRAY_INTERSECT" | "MAP_UNION",
            1..,
        ) => collection::alike(name, args, span),
        ("ARRAY_SLICE", 2 | 3) => collection::with_places(name, args, span),
        ("TYPEOF", 1 | 2) => type_of(&args, span),
        ("JSON_STRING", 1) if args[0].ty().kind == TypeKind::Null => {
            Ok(cast(args.remove(0), &TypeKind::string()))
        }
        ("TIMESTAMPADD" | "TIMESTAMPDIFF", 3) => of_time(name, args, span),
        ("ROUND" | "TRUNCATE", 1 | 2) => to_places(name, args, span),
        ("COALESCE" | "GREATEST" | "LEAST", _) => Err(takes("at least one argument")),
        ("TYPEOF", _) => Err(takes("one or two arguments")),
        ("IFNULL" | "NULLIF" | "MOD", _) => Err(takes("two arguments")),
        ("IF", _) => Err(takes("three arguments")),
        ("LTRIM" | "RTRIM" | "BTRIM", 0 | 3..) => Err(takes("one or two arguments")),
        ("TRIM" | "ABS", 0 | 2..) => Err(takes("one argument")),
        _ => scalar(name, args, span),
    }
}

/// `TYPEOF(x)`: the type of the expression, as text; with TRUE behind it no short names (`STRING`).
fn type_of(args: &[Expr], span: Span) -> Result<Expr> {
    let in_full = match args.get(1) {
        None => false,
        Some(Expr::Literal {
            value: Value::Boolean(in_full),
            ..
        }) => *in_full,
        Some(_) => {
            let message = "the second argument of TYPEOF is TRUE or FALSE";
            return Err(Diagnostic::error("type", span, message));
        }
    };
    let mut name = args[0].ty().to_string();
    if args[0].ty().kind == TypeKind::Null {
        name = "NULL".to_string();
    }
    if in_full {
        name = name
            .replace("STRING", "VARCHAR(2147483647)")
            .replace("BYTES", "VARBINARY(2147483647)");
    }
    Ok(Expr::Literal {
        value: Value::String(name),
        ty: TypeKind::string().nullable(),
    })
}

pub(super) fn named(name: &str) -> Function {
    Function::named(name).expect("the caller looked it up")
}

/// ROUND and TRUNCATE. How many places a DECIMAL's result has depends on how many are asked for, so that must be a constant.
fn to_places(name: &str, mut args: Vec<Expr>, span: Span) -> Result<Expr> {
    let ty = args[0].ty().clone();
    let TypeKind::Decimal { precision, scale } = ty.kind else {
        return scalar(name, args, span);
    };
    let places = match args.get(1) {
        None => 0,
        Some(Expr::Literal {
            value: Value::Integer(places),
            ..
        }) => *places,
        Some(_) => {
            let what = format!("{name} of a DECIMAL to places that are no constant is");
            return Err(Diagnostic::unsupported(span, what)
                .detail("The type of the result depends on them.")
                .hint(format!("{name}(CAST(x AS DOUBLE), places)")));
        }
    };
    let Some(to) = rounded_decimal(&ty, places) else {
        return scalar(name, args, span);
    };
    // Rounding up may make a digit more.
    let wide = TypeKind::Decimal {
        precision: (precision + 1).min(38),
        scale,
    };
    args[0] = cast(args[0].clone(), &wide);
    let result = scalar(name, args, span)?;
    Ok(match cast(result, &to) {
        Expr::Cast { expr, or_null, .. } => Expr::Cast {
            expr,
            or_null,
            ty: to.nullable().with_nullable(ty.nullable),
        },
        other => other,
    })
}

/// A function that is no more than its row says.
fn scalar(name: &str, args: Vec<Expr>, span: Span) -> Result<Expr> {
    let function = named(name);
    let (least, most) = function.definition().arity();
    let given = args.len();
    if given < least || most.is_some_and(|most| given > most) {
        let takes = match (least, most) {
            (0, Some(0)) => "no arguments".to_string(),
            (1, Some(1)) => "one argument".to_string(),
            (least, None) => format!("at least {}", counted(least)),
            (least, Some(most)) if least == most => counted(least),
            (least, Some(most)) if least + 1 == most => {
                format!("{} or {}", NUMBERS[least], counted(most))
            }
            (least, Some(most)) => format!("{} to {}", NUMBERS[least], counted(most)),
        };
        let message = format!("{name} takes {takes}, {given} given");
        return Err(Diagnostic::error("type", span, message));
    }
    call_with(function, args, span)
}

const NUMBERS: [&str; 6] = ["no", "one", "two", "three", "four", "five"];

fn counted(arguments: usize) -> String {
    let plural = if arguments == 1 { "" } else { "s" };
    format!("{} argument{plural}", NUMBERS[arguments])
}

fn refuse(written: &str, upper: &str, over: bool, span: Span) -> Diagnostic {
    let aggregate = AGGREGATES.contains(&upper);
    if over || RANKS.contains(&upper) {
        return run_on_flink(Diagnostic::unsupported(
            span,
            format!("{upper} over a window is"),
        ));
    }
    if AggregateFunction::named(upper).is_some() {
        return endless(span, &format!("{upper} over rows without a window is"));
    }
    if aggregate {
        return run_on_flink(Diagnostic::unsupported(
            span,
            format!("the aggregate function {upper} is"),
        ));
    }
    if WINDOWS.contains(&upper) {
        let message = format!("{upper} stands in FROM or GROUP BY");
        return Diagnostic::error("window", span, message)
            .hint("FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(event_time), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end");
    }
    if CHANCE.contains(&upper) {
        return Diagnostic::unsupported(span, format!("{upper} is"))
            .detail("Its value is chance, so a replay would give other rows.")
            .hint(
                "MD5, SHA256 and the like of the record's columns are the same at every reading",
            );
    }
    if let Some(missing) = MISSING.iter().find(|missing| missing.name == upper) {
        let error = Diagnostic::unsupported(span, format!("the function {upper} is"));
        return run_on_flink(match missing.why {
            "" => error,
            why => error.detail(why),
        });
    }
    let rows = Function::all().filter(|row| matches!(row.syntax, Syntax::Call | Syntax::Word));
    let known = rows
        .flat_map(|row| row.aliases.iter().chain([&row.name]))
        .chain(REWRITTEN)
        .chain(AGGREGATES)
        .copied()
        .chain(MISSING.iter().map(|missing| missing.name));
    Diagnostic::error("unknown-function", span, format!("there is no function {written}"))
        .hint_if(did_you_mean(upper, known).or_else(|| {
            Some("user-defined functions are not supported yet; run this script on an Apache Flink cluster".to_string())
        }))
}
