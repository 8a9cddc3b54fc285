//! Functions over text. Positions and lengths count characters (code points).

use super::KernelError;
use super::compile::Node;
use super::operand::{Active, Fault, Operand, RowError};
use super::rows::{collect, unary};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, BooleanArray, Int32Array, StringArray};
use lw_graph::TypeKind;
use std::sync::Arc;

/// A compiled function over text.
pub(super) enum Function {
    Upper,
    Lower,
    Trim {
        start: bool,
        end: bool,
    },
    Substring,
    Concat,
    /// The pattern, if it is a constant that is not NULL.
    Like(Option<Pattern>),
    CharLength,
}

/// Brings an argument to what [`Function::run`] takes: text, or whole numbers of 64 bits.
pub(super) fn argument(node: Node) -> Result<Node, KernelError> {
    if node.ty.kind.is_integer() {
        return node.converted(TypeKind::BigInt);
    }
    if node.ty.kind == TypeKind::Null {
        return node.converted(TypeKind::string());
    }
    Ok(node)
}

pub(super) fn compile(
    function: lw_graph::Function,
    args: &[Node],
) -> Result<Function, KernelError> {
    use lw_graph::Function as F;
    let trim = |start, end| Ok(Function::Trim { start, end });
    match function {
        F::Upper => Ok(Function::Upper),
        F::Lower => Ok(Function::Lower),
        F::Trim => trim(true, true),
        F::TrimLeading => trim(true, false),
        F::TrimTrailing => trim(false, true),
        F::Substring => Ok(Function::Substring),
        F::Concat | F::Append => Ok(Function::Concat),
        F::CharLength => Ok(Function::CharLength),
        F::Like => constant_pattern(args).map(Function::Like),
        other => Err(KernelError::new(format!(
            "{other} is not a function over text"
        ))),
    }
}

fn constant_pattern(args: &[Node]) -> Result<Option<Pattern>, KernelError> {
    let constant = |index: usize| {
        let value = args.get(index)?.literal()?;
        let text = value.array.as_string_opt::<i32>()?;
        text.is_valid(0).then(|| text.value(0))
    };
    let escape = match (args.len() > 2, constant(2)) {
        (true, None) => return Ok(None),
        (_, escape) => escape,
    };
    match constant(1) {
        None => Ok(None),
        Some(pattern) => Pattern::parse(pattern, escape)
            .map(Some)
            .map_err(|fault| KernelError::new(fault.message)),
    }
}

impl Function {
    pub(super) fn run(&self, args: &[Operand], active: &Active) -> Result<Operand, RowError> {
        match self {
            Function::Upper => texts(args, active, |row| {
                Ok(Some(text(&args[0], row).to_uppercase()))
            }),
            Function::Lower => texts(args, active, |row| {
                Ok(Some(text(&args[0], row).to_lowercase()))
            }),
            Function::Trim { start, end } => texts(args, active, |row| {
                let set = text(&args[1], row);
                let mut rest = text(&args[0], row);
                if *start {
                    rest = rest.trim_start_matches(|c| set.contains(c));
                }
                if *end {
                    rest = rest.trim_end_matches(|c| set.contains(c));
                }
                Ok(Some(rest.to_string()))
            }),
            Function::Concat => texts(args, active, |row| {
                Ok(Some(args.iter().map(|arg| text(arg, row)).collect()))
            }),
            Function::Substring => texts(args, active, |row| {
                let from = number(&args[1], row);
                let length = args.get(2).map(|length| number(length, row));
                Ok(substring(text(&args[0], row), from, length).map(str::to_string))
            }),
            Function::CharLength => char_length(&args[0], active),
            Function::Like(pattern) => like(pattern.as_ref(), args, active),
        }
    }
}

fn text(operand: &Operand, row: usize) -> &str {
    operand.array.as_string::<i32>().value(operand.at(row))
}

fn number(operand: &Operand, row: usize) -> i64 {
    operand
        .array
        .as_primitive::<Int64Type>()
        .value(operand.at(row))
}

fn any_null(args: &[Operand], row: usize) -> bool {
    args.iter().any(|arg| arg.array.is_null(arg.at(row)))
}

/// One text per row, NULL where any argument is.
fn texts(
    args: &[Operand],
    active: &Active,
    f: impl Fn(usize) -> Result<Option<String>, Fault>,
) -> Result<Operand, RowError> {
    let operands: Vec<&Operand> = args.iter().collect();
    let (values, _, constant) = collect(&operands, active, |row| {
        if any_null(args, row) {
            return Ok(None);
        }
        f(row).map(Some)
    })?;
    Ok(Operand {
        array: Arc::new(values.into_iter().collect::<StringArray>()),
        constant,
    })
}

fn char_length(value: &Operand, active: &Active) -> Result<Operand, RowError> {
    let strings = value.array.as_string::<i32>();
    let lengths: Int32Array = strings
        .iter()
        .map(|text| text.map(|text| i32::try_from(text.chars().count()).unwrap_or(i32::MAX)))
        .collect();
    let ty = lengths.data_type().clone();
    unary::<Int32Type, Int32Type>(&value.with(Arc::new(lengths)), &ty, active, |n| Ok(Some(n)))
}

/// 1-based; 0 is the start too; a negative place counts from the end, and one before the start gives nothing.
fn substring(text: &str, from: i64, length: Option<i64>) -> Option<&str> {
    if length.is_some_and(|length| length < 0) {
        return None;
    }
    let skip = match from {
        1.. => usize::try_from(from - 1).unwrap_or(usize::MAX),
        0 => 0,
        _ => {
            let back = usize::try_from(from.unsigned_abs()).unwrap_or(usize::MAX);
            match text.chars().count().checked_sub(back) {
                Some(skip) => skip,
                None => return Some(""),
            }
        }
    };
    let start = place(text, skip);
    let rest = &text[start..];
    Some(match length {
        None => rest,
        Some(length) => &rest[..place(rest, usize::try_from(length).unwrap_or(usize::MAX))],
    })
}

/// The byte at which character number `chars` begins; the end when there are fewer.
fn place(text: &str, chars: usize) -> usize {
    if chars >= text.len() {
        return text.len();
    }
    text.char_indices()
        .nth(chars)
        .map_or(text.len(), |(at, _)| at)
}

fn like(pattern: Option<&Pattern>, args: &[Operand], active: &Active) -> Result<Operand, RowError> {
    let operands: Vec<&Operand> = args.iter().collect();
    let (values, nulls, constant) = collect(&operands, active, |row| {
        if any_null(args, row) {
            return Ok(None);
        }
        let subject = text(&args[0], row);
        match pattern {
            Some(pattern) => Ok(Some(pattern.matches(subject))),
            None => {
                let escape = args.get(2).map(|escape| text(escape, row));
                let pattern = Pattern::parse(text(&args[1], row), escape)?;
                Ok(Some(pattern.matches(subject)))
            }
        }
    })?;
    Ok(Operand {
        array: Arc::new(BooleanArray::new(values.into(), nulls)),
        constant,
    })
}

/// A LIKE pattern.
pub(super) struct Pattern(Vec<Step>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Char(char),
    /// `_`: one character that does not end a line.
    One,
    /// `%`: any number of characters.
    Any,
}

impl Pattern {
    /// Without ESCAPE no character escapes.
    fn parse(pattern: &str, escape: Option<&str>) -> Result<Pattern, Fault> {
        let escape = match escape {
            None => None,
            Some(escape) => {
                let mut chars = escape.chars();
                match (chars.next(), chars.next()) {
                    (Some(c), None) => Some(c),
                    _ => {
                        return Err(Fault {
                            code: "like",
                            message: format!("Invalid escape character '{escape}'"),
                        });
                    }
                }
            }
        };
        let mut steps = Vec::new();
        let mut chars = pattern.chars().enumerate();
        while let Some((at, c)) = chars.next() {
            let step = match c {
                c if Some(c) == escape => match chars.next() {
                    Some((_, c)) if matches!(c, '_' | '%') || Some(c) == escape => Step::Char(c),
                    _ => {
                        return Err(Fault {
                            code: "like",
                            message: format!("Invalid escape sequence '{pattern}', {at}"),
                        });
                    }
                },
                '_' => Step::One,
                '%' => Step::Any,
                c => Step::Char(c),
            };
            if !(step == Step::Any && steps.last() == Some(&Step::Any)) {
                steps.push(step);
            }
        }
        Ok(Pattern(steps))
    }

    /// Goes back only to the last `%`: time is the product of the lengths at worst.
    fn matches(&self, subject: &str) -> bool {
        let steps = &self.0;
        let mut rest = subject.chars();
        let mut step = 0;
        // Where to go on when the characters after a `%` did not match: one character further.
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            if steps.get(step) == Some(&Step::Any) {
                step += 1;
                retry = Some((step, rest.clone()));
                continue;
            }
            let mut ahead = rest.clone();
            let matched = match (steps.get(step), ahead.next()) {
                (None, None) => return true,
                (Some(Step::Char(c)), Some(next)) => *c == next,
                (Some(Step::One), Some(next)) => !ends_line(next),
                _ => false,
            };
            if matched {
                rest = ahead;
                step += 1;
                continue;
            }
            match &mut retry {
                Some((after, from)) => {
                    if from.next().is_none() {
                        return false;
                    }
                    step = *after;
                    rest = from.clone();
                }
                None => return false,
            }
        }
    }
}

/// What `.` of a Java regular expression does not match.
fn ends_line(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}
