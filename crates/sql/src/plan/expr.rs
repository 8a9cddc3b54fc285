//! From `sqlparser`'s untyped expressions to typed ones: names resolved, types by Flink's rules, casts written out.
//!
//! Whatever the operands of a comparison, `CASE` or `COALESCE` share is cast to one type here, so that the runtime's kernels
//! never have to guess. Text and numbers are never converted into each other behind the author's back; text beside a time is
//! read as that time, as Flink does.

use super::function;
use super::literal::{self, cast};
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use crate::parse::{Cursor, parse_type};
use crate::reserved;
use crate::script::Script;
use lw_graph::{Expr, Function, LogicalType, TypeKind, Value};
use lw_stdx::suggest::nearest;
use sqlparser::ast::{self, Spanned};

/// The columns that names may mean, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub columns: Vec<ScopeColumn>,
}

#[derive(Clone, Debug)]
pub(crate) struct ScopeColumn {
    pub name: String,
    /// What may stand before it: an alias, or the parts of the table's path.
    pub qualifier: Vec<String>,
    /// What it means in terms of the scanned table.
    pub expr: Expr,
}

pub(crate) struct Binder<'a> {
    pub script: &'a Script<'a>,
    scope: &'a Scope,
    /// Where a message points when the expression itself has no place.
    fallback: Span,
}

impl<'a> Binder<'a> {
    pub(crate) fn new(script: &'a Script<'a>, scope: &'a Scope, fallback: Span) -> Binder<'a> {
        Binder {
            script,
            scope,
            fallback,
        }
    }

    pub(crate) fn place(&self, node: &impl Spanned) -> Span {
        let span = node.span();
        if span.start.line == 0 {
            return self.fallback;
        }
        self.script.span(span)
    }

    /// The typed expression.
    ///
    /// # Errors
    /// Unknown names, wrong types, and everything that this version does not have.
    pub(crate) fn bind(&self, expr: &ast::Expr) -> Result<Expr> {
        use ast::Expr as E;
        let span = self.place(expr);
        match expr {
            E::Identifier(name) => self.column(std::slice::from_ref(name), span),
            E::CompoundIdentifier(parts) => self.column(parts, span),
            E::Nested(inner) => self.bind(inner),
            E::Value(value) => self.value(&value.value, span),
            E::TypedString(typed) => match &typed.value.value {
                ast::Value::SingleQuotedString(text) => {
                    literal::typed(&typed.data_type, text, span)
                }
                _ => Err(self.unsupported(expr)),
            },
            E::Interval(interval) => literal::interval(interval, span),
            E::UnaryOp { op, expr: operand } => self.unary(*op, operand, span),
            E::BinaryOp { left, op, right } => self.binary(left, op, right, span),
            E::IsNull(e) => self.apply(Function::IsNull, &[e], span),
            E::IsNotNull(e) => self.apply(Function::IsNotNull, &[e], span),
            E::IsTrue(e) => self.apply(Function::IsTrue, &[e], span),
            E::IsNotTrue(e) => self.apply(Function::IsNotTrue, &[e], span),
            E::IsFalse(e) => self.apply(Function::IsFalse, &[e], span),
            E::IsNotFalse(e) => self.apply(Function::IsNotFalse, &[e], span),
            E::IsUnknown(e) => self.unknown(e, Function::IsNull, span),
            E::IsNotUnknown(e) => self.unknown(e, Function::IsNotNull, span),
            E::IsDistinctFrom(a, b) => self.compare(Function::IsDistinctFrom, a, b, span),
            E::IsNotDistinctFrom(a, b) => self.compare(Function::IsNotDistinctFrom, a, b, span),
            E::InList {
                expr,
                list,
                negated,
            } => self.in_list(expr, list, *negated, span),
            E::Between {
                expr,
                negated,
                low,
                high,
            } => {
                let value = self.bind(expr)?;
                let low = self.comparison(
                    Function::GreaterOrEqual,
                    value.clone(),
                    self.bind(low)?,
                    span,
                )?;
                let high = self.comparison(Function::LessOrEqual, value, self.bind(high)?, span)?;
                let both = call(Function::And, vec![low, high], span)?;
                not_if(*negated, both, span)
            }
            E::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char,
            } => {
                let mut args = vec![self.bind(expr)?, self.bind(pattern)?];
                if let Some(escape) = escape_char {
                    let escape = self.value(escape, span)?;
                    if *escape.ty() != TypeKind::Char(1).not_null() {
                        let message = "an escape is one character";
                        return Err(
                            Diagnostic::error("type", span, message).hint("LIKE '50!%' ESCAPE '!'")
                        );
                    }
                    args.push(escape);
                }
                not_if(*negated, call(Function::Like, args, span)?, span)
            }
            E::Case {
                operand,
                conditions,
                else_result,
                ..
            } => self.case(operand.as_deref(), conditions, else_result.as_deref(), span),
            E::Cast {
                kind,
                expr,
                data_type,
                ..
            } => self.cast(kind, expr, data_type, span),
            E::Function(f) => function::bind(self, f, span),
            E::Substring {
                expr,
                substring_from: Some(from),
                substring_for,
                ..
            } => {
                let mut args = vec![self.bind(expr)?, self.bind(from)?];
                if let Some(length) = substring_for {
                    args.push(self.bind(length)?);
                }
                call(Function::Substring, args, span)
            }
            E::Trim {
                expr,
                trim_where,
                trim_what,
                trim_characters: None,
            } => {
                let characters = match trim_what {
                    Some(what) => self.bind(what)?,
                    None => literal::text(" "),
                };
                let function = match trim_where {
                    None | Some(ast::TrimWhereField::Both) => Function::Trim,
                    Some(ast::TrimWhereField::Leading) => Function::TrimLeading,
                    Some(ast::TrimWhereField::Trailing) => Function::TrimTrailing,
                };
                call(function, vec![self.bind(expr)?, characters], span)
            }
            _ => Err(self.unsupported(expr)),
        }
    }

    fn column(&self, parts: &[ast::Ident], span: Span) -> Result<Expr> {
        let Some((name, qualifier)) = parts.split_last() else {
            return Err(Diagnostic::error("syntax", span, "a name is missing"));
        };
        if name.quote_style.is_none() && qualifier.is_empty() {
            reserved::check(&name.value, span)?;
        }
        let qualified: Vec<&ScopeColumn> = self
            .scope
            .columns
            .iter()
            .filter(|column| ends_with(&column.qualifier, qualifier))
            .collect();
        if qualified.is_empty() && !qualifier.is_empty() {
            return Err(self.unknown_qualifier(parts, span));
        }
        let mut found = qualified.iter().filter(|column| column.name == name.value);
        match (found.next(), found.next()) {
            (Some(column), None) => Ok(column.expr.clone()),
            (Some(_), Some(_)) => {
                let message = format!("column '{}' is ambiguous", name.value);
                Err(Diagnostic::error("ambiguous-column", span, message)
                    .detail("Two columns of the subquery have this name.")
                    .hint("give one of them another alias"))
            }
            (None, _) => Err(unknown_column(
                &name.value,
                qualified.iter().map(|c| c.name.as_str()),
                span,
            )),
        }
    }

    fn unknown_qualifier(&self, parts: &[ast::Ident], span: Span) -> Diagnostic {
        let first = &parts[0].value;
        if let Some(column) = self.scope.columns.iter().find(|c| c.name == *first)
            && matches!(column.expr.ty().kind, TypeKind::Row(_))
        {
            return Diagnostic::unsupported(span, "reading a field of a ROW is")
                .hint("write the whole column, and take the field out when reading the table");
        }
        let known: Vec<&str> = self
            .scope
            .columns
            .iter()
            .filter_map(|column| column.qualifier.last().map(String::as_str))
            .collect();
        let error = Diagnostic::error(
            "unknown-table",
            span,
            format!("there is no table '{first}' in this query"),
        );
        match known.first() {
            Some(known) => error.hint(format!("the query reads '{known}'")),
            None => error,
        }
    }

    fn value(&self, value: &ast::Value, span: Span) -> Result<Expr> {
        use ast::Value as V;
        match value {
            V::Number(digits, _) => literal::number(digits, span),
            V::SingleQuotedString(text)
            | V::UnicodeStringLiteral(text)
            | V::NationalStringLiteral(text) => Ok(literal::text(text)),
            V::HexStringLiteral(digits) => literal::hex(digits, span),
            V::Boolean(value) => Ok(literal::literal(Value::Boolean(*value), TypeKind::Boolean)),
            V::Null => Ok(literal::literal(Value::Null, TypeKind::Null)),
            other => Err(Diagnostic::unsupported(
                span,
                format!("the literal {other} is"),
            )),
        }
    }

    fn unary(&self, op: ast::UnaryOperator, operand: &ast::Expr, span: Span) -> Result<Expr> {
        let value = self.bind(operand)?;
        match op {
            ast::UnaryOperator::Plus => Ok(value),
            ast::UnaryOperator::Minus => negate(value, span),
            ast::UnaryOperator::Not => call(Function::Not, vec![value], span),
            other => Err(Diagnostic::unsupported(
                span,
                format!("the operator {other} is"),
            )),
        }
    }

    fn binary(
        &self,
        left: &ast::Expr,
        op: &ast::BinaryOperator,
        right: &ast::Expr,
        span: Span,
    ) -> Result<Expr> {
        use ast::BinaryOperator as B;
        let function = match op {
            B::Eq => Function::Equal,
            B::NotEq => Function::NotEqual,
            B::Lt => Function::Less,
            B::LtEq => Function::LessOrEqual,
            B::Gt => Function::Greater,
            B::GtEq => Function::GreaterOrEqual,
            B::And => Function::And,
            B::Or => Function::Or,
            B::StringConcat => Function::Concat,
            B::Plus => Function::Plus,
            B::Minus => Function::Minus,
            B::Multiply => Function::Times,
            B::Divide => Function::Divide,
            B::Modulo => Function::Mod,
            other => {
                return Err(Diagnostic::unsupported(
                    span,
                    format!("the operator {other} is"),
                ));
            }
        };
        match function {
            Function::And | Function::Or => {
                let operands = chain(left, op, right);
                let bound = operands.into_iter().map(|operand| self.bind(operand));
                joined(function, bound.collect::<Result<_>>()?, span)
            }
            Function::Concat => call(function, vec![self.bind(left)?, self.bind(right)?], span),
            Function::Plus
            | Function::Minus
            | Function::Times
            | Function::Divide
            | Function::Mod => arithmetic(function, self.bind(left)?, self.bind(right)?, span),
            _ => self.compare(function, left, right, span),
        }
    }

    fn apply(&self, function: Function, args: &[&ast::Expr], span: Span) -> Result<Expr> {
        let args = args
            .iter()
            .map(|arg| self.bind(arg))
            .collect::<Result<_>>()?;
        call(function, args, span)
    }

    /// `IS [NOT] UNKNOWN`: `IS [NOT] NULL` of a BOOLEAN.
    fn unknown(&self, operand: &ast::Expr, function: Function, span: Span) -> Result<Expr> {
        let operand = self.bind(operand)?;
        call(Function::Not, vec![operand.clone()], span)?;
        call(function, vec![operand], span)
    }

    fn compare(&self, f: Function, a: &ast::Expr, b: &ast::Expr, span: Span) -> Result<Expr> {
        self.comparison(f, self.bind(a)?, self.bind(b)?, span)
    }

    pub(super) fn comparison(&self, f: Function, a: Expr, b: Expr, span: Span) -> Result<Expr> {
        if let TypeKind::Array(_) | TypeKind::Map(..) | TypeKind::Row(_) = a.ty().kind {
            let what = format!("comparing values of type {} is", a.ty().kind);
            return Err(run_on_flink(Diagnostic::unsupported(span, what)));
        }
        check_time_text(&a, &b, span)?;
        check_time_text(&b, &a, span)?;
        let (a, b) = align(a, b);
        call(f, vec![a, b], span)
    }

    /// `x IN (a, b)` is `x = a OR x = b`, NULL rules included.
    fn in_list(
        &self,
        x: &ast::Expr,
        list: &[ast::Expr],
        negated: bool,
        span: Span,
    ) -> Result<Expr> {
        let x = self.bind(x)?;
        let mut equals = Vec::new();
        for item in list {
            let place = self.place(item);
            equals.push(self.comparison(Function::Equal, x.clone(), self.bind(item)?, place)?);
        }
        if equals.is_empty() {
            let message = "IN needs at least one value";
            return Err(Diagnostic::error("syntax", span, message));
        }
        let any = joined(Function::Or, equals, span)?;
        not_if(negated, any, span)
    }

    fn case(
        &self,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
        span: Span,
    ) -> Result<Expr> {
        let operand = operand.map(|operand| self.bind(operand)).transpose()?;
        let mut branches = Vec::new();
        for when in conditions {
            let place = self.place(&when.condition);
            let condition = self.bind(&when.condition)?;
            let condition = match &operand {
                Some(operand) => {
                    self.comparison(Function::Equal, operand.clone(), condition, place)?
                }
                None => must_be_boolean(condition, "WHEN", place)?,
            };
            branches.push((condition, self.bind(&when.result)?));
        }
        let otherwise = match otherwise {
            Some(otherwise) => self.bind(otherwise)?,
            None => literal::literal(Value::Null, TypeKind::Null),
        };
        case(branches, otherwise, span)
    }

    fn cast(
        &self,
        kind: &ast::CastKind,
        expr: &ast::Expr,
        data_type: &ast::DataType,
        span: Span,
    ) -> Result<Expr> {
        let value = self.bind(expr)?;
        let target = self.type_of(data_type, span)?;
        let from = &value.ty().kind;
        if !castable(from, &target.kind) {
            return Err(refuse_cast(from, &target.kind, span));
        }
        let or_null = *kind == ast::CastKind::TryCast;
        let nullable = or_null || value.ty().nullable || literal::may_overflow(from, &target.kind);
        if *from == target.kind && !or_null {
            return Ok(value);
        }
        if let Expr::Literal { value, ty } = &value
            && let Some(value) = literal::convert(value, &ty.kind, &target.kind)
        {
            let ty = target.with_nullable(value == Value::Null || or_null);
            return Ok(Expr::Literal { value, ty });
        }
        Ok(Expr::Cast {
            expr: Box::new(value),
            ty: target.with_nullable(nullable),
            or_null,
        })
    }

    /// The type whose tokens the dialect has skipped.
    fn type_of(&self, data_type: &ast::DataType, span: Span) -> Result<LogicalType> {
        let ast::DataType::Custom(name, _) = data_type else {
            return Err(Diagnostic::unsupported(span, "this cast is").hint("CAST(x AS type)"));
        };
        let tokens = self.script.tokens_in(name.span());
        let mut cursor = Cursor::new(self.script, tokens);
        let ty = parse_type(&mut cursor)?;
        cursor.expect_end()?;
        Ok(ty)
    }

    fn unsupported(&self, expr: &ast::Expr) -> Diagnostic {
        use ast::Expr as E;
        let span = self.place(expr);
        let what = match expr {
            E::Exists { .. } | E::Subquery(_) | E::InSubquery { .. } => {
                "a subquery inside an expression is"
            }
            E::Extract { .. } => "EXTRACT is",
            E::Ceil { .. } => "CEIL is",
            E::Floor { .. } => "FLOOR is",
            E::Position { .. } => "POSITION is",
            E::Overlay { .. } => "OVERLAY is",
            E::Trim { .. } => "this form of TRIM is",
            E::SimilarTo { .. } => "SIMILAR TO is",
            E::ILike { .. } => "ILIKE is",
            E::RLike { .. } => "RLIKE is",
            E::AtTimeZone { .. } => "AT TIME ZONE is",
            E::Array(_) => "ARRAY[…] is",
            E::Map(_) | E::Dictionary(_) => "MAP[…] is",
            E::Tuple(_) | E::Struct { .. } => "ROW(…) is",
            E::CompoundFieldAccess { .. } | E::JsonAccess { .. } => "access to an element is",
            E::Collate { .. } => "COLLATE is",
            _ => "this expression is",
        };
        run_on_flink(Diagnostic::unsupported(span, what))
    }
}

/// The last resort that always exists.
pub(super) fn run_on_flink(error: Diagnostic) -> Diagnostic {
    let hint = "run this script on an Apache Flink cluster, or compute it when reading the table";
    match error.hint {
        Some(_) => error,
        None => error.hint(hint),
    }
}

fn ends_with(path: &[String], qualifier: &[ast::Ident]) -> bool {
    let Some(from) = path.len().checked_sub(qualifier.len()) else {
        return false;
    };
    path[from..]
        .iter()
        .zip(qualifier)
        .all(|(part, ident)| *part == ident.value)
}

pub(super) fn unknown_column<'n>(
    name: &str,
    known: impl Iterator<Item = &'n str>,
    span: Span,
) -> Diagnostic {
    let known: Vec<&str> = known.collect();
    let error = Diagnostic::error(
        "unknown-column",
        span,
        format!("there is no column '{name}'"),
    );
    match nearest(name, known.iter().copied()) {
        Some(near) if near.eq_ignore_ascii_case(name) => error
            .detail("Names are case-sensitive.")
            .hint(format!("did you mean '{near}'?")),
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None if known.is_empty() => error,
        None => error.hint(format!("columns: {}", known.join(", "))),
    }
}

/// A call whose signature failure points at its place.
pub(super) fn call(function: Function, args: Vec<Expr>, span: Span) -> Result<Expr> {
    Expr::call(function, args).map_err(|error| {
        Diagnostic::error("type", span, error.to_string())
            .detail(format!("It takes {}.", error.expected))
            .hint("convert an argument with CAST(x AS type)")
    })
}

/// The operands of `a OR b OR c`, however long: the parser nests them to the left.
fn chain<'e>(
    left: &'e ast::Expr,
    op: &ast::BinaryOperator,
    right: &'e ast::Expr,
) -> Vec<&'e ast::Expr> {
    let mut operands = vec![right];
    let mut rest = left;
    while let ast::Expr::BinaryOp {
        left,
        op: same,
        right,
    } = rest
        && same == op
    {
        operands.push(right);
        rest = left;
    }
    operands.push(rest);
    operands.reverse();
    operands
}

/// Conditions under one AND or OR, as a balanced tree: a list of ten thousand values is fourteen levels deep.
fn joined(function: Function, mut conditions: Vec<Expr>, span: Span) -> Result<Expr> {
    while conditions.len() > 1 {
        let mut halved = Vec::with_capacity(conditions.len().div_ceil(2));
        let mut conditions_left = conditions.into_iter();
        while let Some(a) = conditions_left.next() {
            halved.push(match conditions_left.next() {
                Some(b) => call(function, vec![a, b], span)?,
                None => a,
            });
        }
        conditions = halved;
    }
    Ok(conditions
        .pop()
        .expect("the callers give at least one condition"))
}

fn not_if(negated: bool, condition: Expr, span: Span) -> Result<Expr> {
    if negated {
        return call(Function::Not, vec![condition], span);
    }
    Ok(condition)
}

/// A negative number is one literal, not a negated one.
fn negate(value: Expr, span: Span) -> Result<Expr> {
    if let Expr::Literal { value: held, ty } = &value {
        let negated = match held {
            Value::Integer(v) => v.checked_neg().map(Value::Integer),
            Value::Decimal(v) => Some(Value::Decimal(-v)),
            Value::Double(v) => Some(Value::Double(-v)),
            _ => None,
        };
        if let Some(value) = negated {
            let ty = ty.clone();
            return Ok(Expr::Literal { value, ty });
        }
    }
    call(Function::Negate, vec![value], span)
}

pub(super) fn must_be_boolean(condition: Expr, clause: &str, span: Span) -> Result<Expr> {
    match condition.ty().kind {
        TypeKind::Boolean => Ok(condition),
        TypeKind::Null => Ok(cast(condition, &TypeKind::Boolean)),
        ref other => Err(Diagnostic::error(
            "type",
            span,
            format!("{clause} needs a condition, this is {other}"),
        )
        .hint("compare it with something: column > 0, column = 'x', column IS NOT NULL")),
    }
}

/// Text beside a time is read as that time; a constant that is none would only fail when rows come.
fn check_time_text(time: &Expr, text: &Expr, span: Span) -> Result<()> {
    let Expr::Literal {
        value: Value::String(text),
        ..
    } = text
    else {
        return Ok(());
    };
    let kind = &time.ty().kind;
    if literal::reads_as(text, kind) {
        return Ok(());
    }
    let message = format!("'{text}' is not a {kind}");
    Err(
        Diagnostic::error("literal", span, message).hint(match kind {
            TypeKind::Date => "DATE '2026-01-31'",
            _ => "TIMESTAMP '2026-01-31 10:11:12.123'",
        }),
    )
}

/// Both sides of a comparison in one type, where there is one.
fn align(a: Expr, b: Expr) -> (Expr, Expr) {
    let is_time =
        |kind: &TypeKind| kind.is_timestamp() || matches!(kind, TypeKind::Date | TypeKind::Time(_));
    let (ka, kb) = (a.ty().kind.clone(), b.ty().kind.clone());
    if ka.is_character() && kb.is_character() {
        return (a, b);
    }
    if is_time(&ka) && kb.is_character() {
        let b = cast(b, &ka);
        return (a, b);
    }
    if is_time(&kb) && ka.is_character() {
        let a = cast(a, &kb);
        return (a, b);
    }
    let common = match (&ka, &kb) {
        (TypeKind::Timestamp(p), TypeKind::TimestampLtz(q))
        | (TypeKind::TimestampLtz(q), TypeKind::Timestamp(p)) => {
            Some(TypeKind::Timestamp(*p.max(q)))
        }
        _ => ka.common(&kb),
    };
    match common {
        Some(common) => (cast(a, &common), cast(b, &common)),
        None => (a, b),
    }
}

pub(super) fn arithmetic(function: Function, a: Expr, b: Expr, span: Span) -> Result<Expr> {
    let result = call(function, vec![a.clone(), b.clone()], span)?;
    let (ka, kb) = (&a.ty().kind, &b.ty().kind);
    let as_decimal = |kind: &TypeKind| {
        kind.as_decimal()
            .map(|(precision, scale)| TypeKind::Decimal { precision, scale })
    };
    let (to_a, to_b) = match &result.ty().kind {
        kind if kind.is_integer() => (Some(kind.clone()), Some(kind.clone())),
        TypeKind::Decimal { .. } => (as_decimal(ka), as_decimal(kb)),
        kind if kind.is_approximate() => {
            let exact = |k: &TypeKind| (!k.is_approximate()).then(|| kind.clone());
            (exact(ka), exact(kb))
        }
        _ => (None, None),
    };
    let to = |expr: Expr, kind: Option<TypeKind>| match kind {
        Some(kind) => cast(expr, &kind),
        None => expr,
    };
    call(function, vec![to(a, to_a), to(b, to_b)], span)
}

/// All values in the one type that they fit into.
pub(super) fn unify(values: Vec<Expr>, what: &str, span: Span) -> Result<Vec<Expr>> {
    let mut kinds = values.iter().map(|value| value.ty().kind.clone());
    let first = kinds.next().unwrap_or(TypeKind::Null);
    let common = kinds.try_fold(first, |common, kind| {
        common.common(&kind).ok_or_else(|| {
            Diagnostic::error(
                "type",
                span,
                format!("the values of {what} have no common type: {common} and {kind}"),
            )
            .hint("convert one of them with CAST(x AS type)")
        })
    })?;
    Ok(values
        .into_iter()
        .map(|value| cast(value, &common))
        .collect())
}

pub(super) fn case(branches: Vec<(Expr, Expr)>, otherwise: Expr, span: Span) -> Result<Expr> {
    let (conditions, mut values): (Vec<Expr>, Vec<Expr>) = branches.into_iter().unzip();
    values.push(otherwise);
    let mut values = unify(values, "CASE", span)?;
    let nullable = values.iter().any(|value| value.ty().nullable);
    let otherwise = values.pop().expect("the ELSE value was pushed above");
    let ty = otherwise.ty().clone().with_nullable(nullable);
    Ok(Expr::Case {
        branches: conditions.into_iter().zip(values).collect(),
        otherwise: Box::new(otherwise),
        ty,
    })
}

/// Whether `CAST` takes one to the other (Flink `LogicalTypeCasts`, explicit).
pub(super) fn castable(from: &TypeKind, to: &TypeKind) -> bool {
    let time =
        |kind: &TypeKind| kind.is_timestamp() || matches!(kind, TypeKind::Date | TypeKind::Time(_));
    match (from, to) {
        (a, b) if a == b => true,
        (TypeKind::Null, _) => true,
        (_, to) if to.is_character() => true,
        (from, to) if from.is_character() => {
            to.is_numeric() || to.is_binary() || time(to) || *to == TypeKind::Boolean
        }
        (from, to) if from.is_numeric() && to.is_numeric() => true,
        (TypeKind::Boolean, to) => to.is_numeric(),
        (from, TypeKind::Boolean) => from.is_integer(),
        (from, to) if from.is_binary() && to.is_binary() => true,
        (from, to) if from.is_timestamp() => time(to),
        (TypeKind::Date, to) => to.is_timestamp(),
        (TypeKind::Time(_), TypeKind::Time(_)) => true,
        _ => false,
    }
}

fn refuse_cast(from: &TypeKind, to: &TypeKind, span: Span) -> Diagnostic {
    let error = Diagnostic::error("type", span, format!("{from} cannot be cast to {to}"));
    if from.is_numeric() && to.is_timestamp() {
        return error
            .detail("Flink does not say whether the number would be seconds or milliseconds.");
    }
    if from.is_timestamp() && to.is_numeric() {
        return error.hint("write the time itself, and convert it when reading the table");
    }
    error
}
