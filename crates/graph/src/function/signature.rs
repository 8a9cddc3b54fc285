//! What a row of the registry says.

use crate::{LogicalType, TypeKind};

/// A function: everything that planner, runtime and reference page know of it.
#[derive(Debug)]
pub struct Definition {
    /// Unique: what a script calls it, or for an operator the words for its sign.
    pub name: &'static str,
    /// Other names of the same function.
    pub aliases: &'static [&'static str],
    pub family: Family,
    pub syntax: Syntax,
    /// What it takes, in words: "two numbers".
    pub takes: &'static str,
    /// Whether the same arguments always give the same value. Those of the clock do not: the planner makes a column of the source of them.
    pub deterministic: bool,
    /// Whether there may be a row for which it has no value, not even NULL: a division by zero, text that is no base64.
    pub fails: bool,
    typing: Typing,
}

/// The parts of Flink's reference page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Comparison,
    Logical,
    Arithmetic,
    Text,
    Time,
    Conditional,
    Conversion,
    Collection,
    Json,
    Hash,
}

/// How a script writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// `NAME(a, b)`.
    Call,
    /// `NAME`, without parentheses.
    Word,
    /// By words of its own, as `TRIM(LEADING c FROM s)`: the planner finds it, not its name.
    Special,
    /// Not at all: the planner makes it of something else.
    Inner,
    Prefix(&'static str),
    Infix(&'static str),
    Postfix(&'static str),
}

#[derive(Debug)]
enum Typing {
    /// The first that takes the arguments.
    Forms(&'static [Form]),
    /// What no list of parameters says: operators over two kinds, values of one kind.
    Rule(fn(&[&LogicalType]) -> Option<LogicalType>),
}

/// One list of parameters and what it gives.
#[derive(Debug)]
pub(super) struct Form {
    parameters: &'static [Parameter],
    /// How many of the parameters may be left out, from the end.
    optional: usize,
    /// Whether the last may be repeated.
    repeats: bool,
    gives: fn(&[&LogicalType]) -> TypeKind,
    null: Null,
}

/// When the result may be NULL, by its type.
#[derive(Clone, Copy, Debug)]
enum Null {
    /// Where an argument may be.
    Argument,
    Always,
    Never,
}

/// What stands at one place of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    /// CHAR, VARCHAR, STRING.
    Text,
    /// BINARY, VARBINARY, BYTES.
    Bytes,
    /// TINYINT to INT, brought to INT.
    Int,
    /// TINYINT to BIGINT, brought to BIGINT.
    BigInt,
    /// A whole number, as it is.
    Whole,
    /// A DECIMAL, as it is.
    Decimal,
    /// FLOAT or DOUBLE, as it is.
    Approximate,
    /// Any number, brought to DOUBLE.
    Double,
    Date,
    Time,
    Timestamp,
    /// TIMESTAMP_LTZ.
    Instant,
    /// An INTERVAL of months, or one of milliseconds.
    Months,
    Millis,
    Array,
    Map,
}

impl Parameter {
    /// Whether an argument of this kind may stand here.
    fn takes(self, kind: &TypeKind) -> bool {
        match self {
            Parameter::Text => kind.is_character(),
            Parameter::Bytes => kind.is_binary(),
            Parameter::Int => kind.is_integer() && *kind != TypeKind::BigInt,
            Parameter::BigInt | Parameter::Whole => kind.is_integer(),
            Parameter::Decimal => matches!(kind, TypeKind::Decimal { .. }),
            Parameter::Approximate => kind.is_approximate(),
            Parameter::Double => kind.is_numeric(),
            Parameter::Date => *kind == TypeKind::Date,
            Parameter::Time => matches!(kind, TypeKind::Time(_)),
            Parameter::Timestamp => matches!(kind, TypeKind::Timestamp(_)),
            Parameter::Instant => matches!(kind, TypeKind::TimestampLtz(_)),
            Parameter::Months => *kind == TypeKind::IntervalMonths,
            Parameter::Millis => *kind == TypeKind::IntervalMillis,
            Parameter::Array => matches!(kind, TypeKind::Array(_)),
            Parameter::Map => matches!(kind, TypeKind::Map(..)),
        }
    }

    /// What an argument is brought to before the kernel sees it; `None` is as it is.
    fn wants(self) -> Option<TypeKind> {
        match self {
            Parameter::Int => Some(TypeKind::Int),
            Parameter::BigInt => Some(TypeKind::BigInt),
            Parameter::Double => Some(TypeKind::Double),
            _ => None,
        }
    }
}

impl Definition {
    const fn new(name: &'static str, family: Family, takes: &'static str, typing: Typing) -> Self {
        Definition {
            name,
            aliases: &[],
            family,
            syntax: Syntax::Call,
            takes,
            deterministic: true,
            fails: true,
            typing,
        }
    }

    pub(super) const fn forms(
        family: Family,
        name: &'static str,
        takes: &'static str,
        forms: &'static [Form],
    ) -> Definition {
        Definition::new(name, family, takes, Typing::Forms(forms))
    }

    pub(super) const fn rule(
        family: Family,
        name: &'static str,
        takes: &'static str,
        rule: fn(&[&LogicalType]) -> Option<LogicalType>,
    ) -> Definition {
        Definition::new(name, family, takes, Typing::Rule(rule))
    }

    pub(super) const fn also(mut self, aliases: &'static [&'static str]) -> Definition {
        self.aliases = aliases;
        self
    }

    pub(super) const fn never_fails(mut self) -> Definition {
        self.fails = false;
        self
    }

    pub(super) const fn may_fail(mut self) -> Definition {
        self.fails = true;
        self
    }

    /// It tells when the record of a row came.
    pub(super) const fn of_the_clock(mut self) -> Definition {
        self.deterministic = false;
        self
    }

    pub(super) const fn written(mut self, syntax: Syntax) -> Definition {
        self.syntax = syntax;
        self
    }

    /// How many arguments it takes at least and at most. A rule's own answer is its type.
    pub fn arity(&self) -> (usize, Option<usize>) {
        match self.typing {
            Typing::Rule(_) => (0, None),
            Typing::Forms(forms) => {
                let least = forms
                    .iter()
                    .map(|form| form.parameters.len() - form.optional);
                let most = forms
                    .iter()
                    .map(|form| (!form.repeats).then_some(form.parameters.len()));
                (
                    least.min().unwrap_or(0),
                    most.reduce(|a, b| Some(a?.max(b?))).flatten(),
                )
            }
        }
    }

    /// What the arguments are brought to, one for each; `None` when no form takes them. A rule takes them as they are.
    pub fn conversions(&self, args: &[&LogicalType]) -> Option<Vec<Option<TypeKind>>> {
        match self.typing {
            Typing::Rule(_) => Some(vec![None; args.len()]),
            Typing::Forms(forms) => {
                let form = forms.iter().find(|form| form.takes(args))?;
                let wanted = (0..args.len()).map(|at| form.parameter(at).and_then(|p| p.wants()));
                Some(wanted.collect())
            }
        }
    }

    pub(super) fn result_type(&self, args: &[&LogicalType]) -> Option<LogicalType> {
        match self.typing {
            Typing::Rule(rule) => rule(args),
            Typing::Forms(forms) => {
                let form = forms.iter().find(|form| form.takes(args))?;
                let nullable = match form.null {
                    Null::Argument => args.iter().any(|arg| arg.nullable),
                    Null::Always => true,
                    Null::Never => false,
                };
                Some((form.gives)(args).nullable().with_nullable(nullable))
            }
        }
    }
}

impl Form {
    /// The result is NULL where an argument is, and its type says so.
    pub(super) const fn new(
        parameters: &'static [Parameter],
        gives: fn(&[&LogicalType]) -> TypeKind,
    ) -> Form {
        Form {
            parameters,
            optional: 0,
            repeats: false,
            gives,
            null: Null::Argument,
        }
    }

    pub(super) const fn optional(mut self, last: usize) -> Form {
        self.optional = last;
        self
    }

    pub(super) const fn repeats(mut self) -> Form {
        self.repeats = true;
        self
    }

    pub(super) const fn nullable(mut self) -> Form {
        self.null = Null::Always;
        self
    }

    pub(super) const fn not_null(mut self) -> Form {
        self.null = Null::Never;
        self
    }

    fn parameter(&self, at: usize) -> Option<Parameter> {
        match self.parameters.get(at) {
            None if self.repeats => self.parameters.last().copied(),
            parameter => parameter.copied(),
        }
    }

    fn takes(&self, args: &[&LogicalType]) -> bool {
        args.len() >= self.parameters.len() - self.optional
            && args
                .iter()
                .enumerate()
                .all(|(at, arg)| self.parameter(at).is_some_and(|p| p.takes(&arg.kind)))
    }
}

// What functions give, for `Form::new`.

pub(super) fn string(_: &[&LogicalType]) -> TypeKind {
    TypeKind::string()
}

pub(super) fn boolean(_: &[&LogicalType]) -> TypeKind {
    TypeKind::Boolean
}

pub(super) fn int(_: &[&LogicalType]) -> TypeKind {
    TypeKind::Int
}

pub(super) fn bigint(_: &[&LogicalType]) -> TypeKind {
    TypeKind::BigInt
}

pub(super) fn double(_: &[&LogicalType]) -> TypeKind {
    TypeKind::Double
}

pub(super) fn bytes(_: &[&LogicalType]) -> TypeKind {
    TypeKind::bytes()
}

/// The kind of the first argument.
pub(super) fn first(args: &[&LogicalType]) -> TypeKind {
    args[0].kind.clone()
}

/// As long as the first argument, in letters.
pub(super) fn as_long_as_first(args: &[&LogicalType]) -> TypeKind {
    TypeKind::Varchar(length(&args[0].kind))
}

/// Letters at most.
pub(super) fn length(kind: &TypeKind) -> u32 {
    match kind {
        TypeKind::Char(n) | TypeKind::Varchar(n) => *n,
        _ => 0,
    }
}
