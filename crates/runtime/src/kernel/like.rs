//! `LIKE`: a pattern that is constant is read once.

use super::KernelError;
use super::compile::Node;
use super::operand::{Active, Fault, Operand, RowError};
use super::rows::collect;
use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray};
use std::sync::Arc;

/// A compiled `LIKE`: the pattern, if it is a constant that is not NULL.
pub(super) struct Like(Option<Pattern>);

impl Like {
    /// # Errors
    /// When a constant pattern escapes what needs no escape.
    pub(super) fn new(args: &[Node]) -> Result<Like, KernelError> {
        let constant = |index: usize| {
            let value = args.get(index)?.literal()?;
            let text = value.array.as_string_opt::<i32>()?;
            text.is_valid(0).then(|| text.value(0))
        };
        let escape = match (args.len() > 2, constant(2)) {
            (true, None) => return Ok(Like(None)),
            (_, escape) => escape,
        };
        match constant(1) {
            None => Ok(Like(None)),
            Some(pattern) => Pattern::parse(pattern, escape)
                .map(|pattern| Like(Some(pattern)))
                .map_err(|fault| KernelError::new(fault.message)),
        }
    }

    pub(super) fn run(&self, args: &[Operand], active: &Active) -> Result<Operand, RowError> {
        let operands: Vec<&Operand> = args.iter().collect();
        let (values, nulls, constant) = collect(&operands, active, |row| {
            if args.iter().any(|arg| arg.array.is_null(arg.at(row))) {
                return Ok(None);
            }
            let subject = text(&args[0], row);
            match &self.0 {
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
}

fn text(operand: &Operand, row: usize) -> &str {
    operand.array.as_string::<i32>().value(operand.at(row))
}

/// A LIKE pattern.
struct Pattern(Vec<Step>);

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
