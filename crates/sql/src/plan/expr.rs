//! From `sqlparser`'s untyped expressions to typed ones: what each form of syntax means.
//!
//! Names are resolved by `scope`, operands are brought to one type by `coerce`, constants are made by `literal`, functions are
//! found by `function`; here is only the walk.

use super::coerce::arithmetic;
use super::coerce::{call, call_with, case, comparison, must_be_boolean, negate, refuse_cast};
use super::collection;
use super::function;
use super::group::Grouped;
use super::literal;
use super::over::Overs;
use super::scope::{Scope, field_of};
use super::watermark::Watermarked;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use crate::parse::{Cursor, parse_type};
use crate::script::Script;
use lw_graph::{Expr, Function, LogicalType, TypeKind, Value};
use sqlparser::ast::{self, Spanned};
use std::cell::Cell;

pub(crate) struct Binder<'a> {
    pub script: &'a Script<'a>,
    scope: &'a Scope,
    /// Where a message points when the expression itself has no place.
    fallback: Span,
    /// Nodes that were copied so far.
    copied: Cell<usize>,
    /// Where the query has groups: names are then of what they give.
    pub grouped: Option<&'a Grouped<'a>>,
    /// Where calls with OVER may stand.
    pub overs: Option<&'a Overs<'a>>,
    /// Where the watermark may be asked for.
    pub watermark: Option<&'a Watermarked>,
    /// Why there is no aggregate here, and what to write.
    pub no_aggregate: Option<[&'static str; 2]>,
}

/// A column of a view *is* its expression, so columns that use it twice, in views upon views, double it each time.
const MOST_NODES: usize = 100_000;
const MOST_LEVELS: usize = 200;

impl<'a> Binder<'a> {
    pub(crate) fn new(script: &'a Script<'a>, scope: &'a Scope, fallback: Span) -> Binder<'a> {
        Binder {
            script,
            scope,
            fallback,
            copied: Cell::new(0),
            grouped: None,
            overs: None,
            watermark: None,
            no_aggregate: None,
        }
    }

    /// A column as it is known here.
    pub(crate) fn seen(&self, column: Expr, span: Span) -> Result<Expr> {
        match self.grouped {
            Some(grouped) => grouped.column(column, span),
            None => Ok(column),
        }
    }

    /// Another copy of an expression, within reason.
    pub(super) fn copy(&self, expr: &Expr, span: Span) -> Result<Expr> {
        self.counted(expr.clone(), span)
    }

    fn counted(&self, expr: Expr, span: Span) -> Result<Expr> {
        let (nodes, levels) = expr.extent();
        self.copied.set(self.copied.get() + nodes);
        if self.copied.get() <= MOST_NODES && levels <= MOST_LEVELS {
            return Ok(expr);
        }
        let what = if levels > MOST_LEVELS {
            format!("{MOST_LEVELS} levels")
        } else {
            format!("{MOST_NODES} parts")
        };
        let message = format!("the expression has grown to more than {what}");
        Err(Diagnostic::error("too-long", span, message)
            .detail("A column of a view or a subquery is computed anew wherever it is used.")
            .hint("land the inner query in a table of its own"))
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
        if let Some(key) = self.grouped.and_then(|grouped| grouped.key(expr)) {
            return Ok(key);
        }
        match expr {
            E::Identifier(name)
                if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("UNKNOWN") =>
            {
                let null = literal::literal(Value::Null, TypeKind::Null);
                Ok(literal::cast(null, &TypeKind::Boolean))
            }
            E::Identifier(name) => {
                let column = self.scope.column(std::slice::from_ref(name), span)?;
                self.counted(self.seen(column, span)?, span)
            }
            E::CompoundIdentifier(parts) => {
                let column = self.scope.column(parts, span)?;
                self.counted(self.seen(column, span)?, span)
            }
            E::CompoundFieldAccess { root, access_chain } => {
                self.fields(expr, root, access_chain, span)
            }
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
            } => self.between(expr, *negated, low, high, span),
            E::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char,
            } => self.like(expr, *negated, pattern, escape_char.as_ref(), span),
            E::SimilarTo {
                negated,
                expr,
                pattern,
                escape_char,
            } => self.similar(expr, *negated, pattern, escape_char.as_ref(), span),
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
            E::Array(array) => collection::array(self.all(&array.elem)?, span),
            E::Map(map) => {
                let entries = map.entries.iter();
                let entries =
                    entries.map(|entry| Ok((self.bind(&entry.key)?, self.bind(&entry.value)?)));
                collection::map(entries.collect::<Result<_>>()?, span)
            }
            E::Tuple(values) => call(Function::Row, self.all(values)?, span),
            E::Substring {
                special: false,
                shorthand: true,
                ..
            } => Err(Diagnostic::error("syntax", span, "SUBSTR has no FROM")
                .hint("SUBSTR(text, from, length), or SUBSTRING(text FROM from FOR length)")),
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
                call_with(Function::Substring, args, span)
            }
            E::Position { expr, r#in } => self.apply_with(Function::Position, &[expr, r#in], span),
            E::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                let mut args: Vec<&ast::Expr> = vec![expr, overlay_what, overlay_from];
                args.extend(overlay_for.as_deref());
                self.apply_with(Function::Overlay, &args, span)
            }
            E::Ceil {
                expr,
                field: ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime),
            } => self.apply_with(Function::Ceil, &[expr], span),
            E::Floor {
                expr,
                field: ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime),
            } => self.apply_with(Function::Floor, &[expr], span),
            E::Extract { field, expr, .. } => function::extract(field, self.bind(expr)?, span),
            E::Ceil {
                expr,
                field: ast::CeilFloorKind::DateTimeField(field),
            } => function::cut(Function::CeilTo, self.bind(expr)?, field, span),
            E::Floor {
                expr,
                field: ast::CeilFloorKind::DateTimeField(field),
            } => function::cut(Function::FloorTo, self.bind(expr)?, field, span),
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

    /// `(row).field`, `(row).field.field`.
    fn fields(
        &self,
        whole: &ast::Expr,
        root: &ast::Expr,
        accesses: &[ast::AccessExpr],
        span: Span,
    ) -> Result<Expr> {
        let row = self.bind(root)?;
        accesses.iter().try_fold(row, |row, access| match access {
            ast::AccessExpr::Dot(ast::Expr::Identifier(field)) => field_of(row, field, span),
            ast::AccessExpr::Subscript(ast::Subscript::Index { index }) => {
                collection::element_at(row, self.bind(index)?, span)
            }
            _ => Err(self.unsupported(whole)),
        })
    }

    fn between(
        &self,
        expr: &ast::Expr,
        negated: bool,
        low: &ast::Expr,
        high: &ast::Expr,
        span: Span,
    ) -> Result<Expr> {
        let value = self.bind(expr)?;
        let low = comparison(
            Function::GreaterOrEqual,
            self.copy(&value, span)?,
            self.bind(low)?,
            span,
        )?;
        let high = comparison(Function::LessOrEqual, value, self.bind(high)?, span)?;
        let both = call(Function::And, vec![low, high], span)?;
        not_if(negated, both, span)
    }

    pub(super) fn value(&self, value: &ast::Value, span: Span) -> Result<Expr> {
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
        if let (
            ast::UnaryOperator::Minus,
            ast::Expr::Value(ast::ValueWithSpan {
                value: ast::Value::Number(digits, _),
                ..
            }),
        ) = (op, operand)
        {
            return literal::number(&format!("-{digits}"), span);
        }
        let value = self.bind(operand)?;
        match op {
            ast::UnaryOperator::Plus if value.ty().kind.is_character() => {
                // The same message as the minus has.
                call(Function::Negate, vec![value], span)
            }
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
            B::Overlaps => return self.overlaps(left, right, span),
            B::Eq => Function::Equal,
            B::NotEq => Function::NotEqual,
            B::Lt => Function::Less,
            B::LtEq => Function::LessOrEqual,
            B::Gt => Function::Greater,
            B::GtEq => Function::GreaterOrEqual,
            B::And => Function::And,
            B::Or => Function::Or,
            B::StringConcat => Function::Append,
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
            Function::Append => call(function, vec![self.bind(left)?, self.bind(right)?], span),
            Function::Plus
            | Function::Minus
            | Function::Times
            | Function::Divide
            | Function::Mod => arithmetic(function, self.bind(left)?, self.bind(right)?, span),
            _ => self.compare(function, left, right, span),
        }
    }

    fn all(&self, exprs: &[ast::Expr]) -> Result<Vec<Expr>> {
        exprs.iter().map(|expr| self.bind(expr)).collect()
    }

    fn apply(&self, function: Function, args: &[&ast::Expr], span: Span) -> Result<Expr> {
        let args = args
            .iter()
            .map(|arg| self.bind(arg))
            .collect::<Result<_>>()?;
        call(function, args, span)
    }

    /// As `apply`, with every argument brought to what the function's parameter takes.
    fn apply_with(&self, function: Function, args: &[&ast::Expr], span: Span) -> Result<Expr> {
        let args = args
            .iter()
            .map(|arg| self.bind(arg))
            .collect::<Result<_>>()?;
        call_with(function, args, span)
    }

    /// `IS [NOT] UNKNOWN`: `IS [NOT] NULL` of a BOOLEAN.
    fn unknown(&self, operand: &ast::Expr, function: Function, span: Span) -> Result<Expr> {
        let operand = self.bind(operand)?;
        call(Function::Not, vec![operand.clone()], span)?;
        call(function, vec![operand], span)
    }

    fn compare(&self, f: Function, a: &ast::Expr, b: &ast::Expr, span: Span) -> Result<Expr> {
        comparison(f, self.bind(a)?, self.bind(b)?, span)
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
            equals.push(comparison(
                Function::Equal,
                self.copy(&x, place)?,
                self.bind(item)?,
                place,
            )?);
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
                Some(operand) => comparison(
                    Function::Equal,
                    self.copy(operand, place)?,
                    condition,
                    place,
                )?,
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
        if !from.casts_to(&target.kind) {
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
        if !ty.nullable {
            let message = "a CAST is to a type without NOT NULL";
            return Err(
                Diagnostic::error("type", span, message).hint("COALESCE(value, …) is never NULL")
            );
        }
        Ok(ty)
    }

    fn unsupported(&self, expr: &ast::Expr) -> Diagnostic {
        use ast::Expr as E;
        let span = self.place(expr);
        let what = match expr {
            E::Exists { .. } | E::Subquery(_) | E::InSubquery { .. } => {
                "a subquery inside an expression is"
            }
            E::Ceil { .. } => "this form of CEIL is",
            E::Floor { .. } => "this form of FLOOR is",
            E::Trim { .. } => "this form of TRIM is",
            E::ILike { .. } => "ILIKE is",
            E::RLike { .. } => "RLIKE is",
            E::AtTimeZone { .. } => "AT TIME ZONE is",
            E::Dictionary(_) | E::Struct { .. } => "this constructor is",
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
pub(super) fn joined(function: Function, mut conditions: Vec<Expr>, span: Span) -> Result<Expr> {
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

pub(super) fn not_if(negated: bool, condition: Expr, span: Span) -> Result<Expr> {
    if negated {
        return call(Function::Not, vec![condition], span);
    }
    Ok(condition)
}
