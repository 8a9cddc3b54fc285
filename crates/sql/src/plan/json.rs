//! The JSON functions: their clauses, which `dialect::json` made arguments of, become constants that the functions of the registry take.

use super::coerce::call;
use super::expr::Binder;
use super::literal::{cast, literal, text};
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, Function, LogicalType, TypeKind, Value};
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments};

/// The arguments of a call, and its clauses by name.
struct Parts<'e> {
    args: Vec<Expr>,
    clauses: Vec<(&'e str, &'e ast::Expr)>,
    name: String,
    span: Span,
}

/// The call, if it is one of a JSON function with words of its own.
pub(super) fn bind(binder: &Binder<'_>, f: &ast::Function, span: Span) -> Result<Option<Expr>> {
    let name = f.name.to_string().to_ascii_uppercase();
    let path_function = matches!(name.as_str(), "JSON_EXISTS" | "JSON_VALUE" | "JSON_QUERY");
    if let Some(function) = is_json(&name) {
        let parts = Parts::new(binder, f, name, span)?;
        return call(function, parts.args, span).map(Some);
    }
    if matches!(name.as_str(), "JSON_OBJECT" | "JSON_ARRAY") {
        return constructor(binder, f, name, span).map(Some);
    }
    if !path_function {
        return Ok(None);
    }
    let mut parts = Parts::new(binder, f, name, span)?;
    parts.text_and_path()?;
    let args = match parts.name.as_str() {
        "JSON_EXISTS" => exists(parts)?,
        "JSON_VALUE" => value(binder, parts)?,
        _ => query(binder, parts)?,
    };
    let (function, args) = args;
    call(function, args, span).map(Some)
}

fn is_json(name: &str) -> Option<Function> {
    Some(match name {
        "IS JSON VALUE" => Function::IsJsonValue,
        "IS JSON SCALAR" => Function::IsJsonScalar,
        "IS JSON ARRAY" => Function::IsJsonArray,
        "IS JSON OBJECT" => Function::IsJsonObject,
        _ => return None,
    })
}

impl<'e> Parts<'e> {
    fn new(
        binder: &Binder<'_>,
        f: &'e ast::Function,
        name: String,
        span: Span,
    ) -> Result<Parts<'e>> {
        let FunctionArguments::List(list) = &f.args else {
            return Err(Diagnostic::error(
                "type",
                span,
                format!("{name} needs arguments"),
            ));
        };
        let mut parts = Parts {
            args: Vec::new(),
            clauses: Vec::new(),
            name,
            span,
        };
        for arg in &list.args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                    parts.args.push(binder.bind(expr)?);
                }
                FunctionArg::Named {
                    name,
                    arg: FunctionArgExpr::Expr(expr),
                    ..
                } => parts.clauses.push((&name.value, expr)),
                other => {
                    let message = format!("{} does not take '{other}'", parts.name);
                    return Err(Diagnostic::error("type", span, message));
                }
            }
        }
        Ok(parts)
    }

    fn text_and_path(&mut self) -> Result<()> {
        if self.args.len() == 2 {
            return Ok(());
        }
        let message = format!(
            "{} takes a text and a path, {} given",
            self.name,
            self.args.len()
        );
        Err(Diagnostic::error("type", self.span, message)
            .hint(format!("{}(column, '$.member')", self.name)))
    }

    /// The expression of a clause, which is there once at most.
    fn clause(&mut self, name: &str) -> Result<Option<&'e ast::Expr>> {
        let mut found = None;
        self.clauses.retain(|(clause, expr)| {
            let wanted = *clause == name;
            if wanted {
                found = Some((*expr, found.is_some()));
            }
            !wanted
        });
        match found {
            Some((_, true)) => Err(self.refuse(&format!("two clauses {name}"))),
            found => Ok(found.map(|(expr, _)| expr)),
        }
    }

    /// The word of a clause, one of these; the first where there is none.
    fn word(&mut self, name: &str, known: &[&'static str]) -> Result<&'static str> {
        let Some(expr) = self.clause(name)? else {
            return Ok(known[0]);
        };
        let word = match expr {
            ast::Expr::Value(value) => match &value.value {
                ast::Value::SingleQuotedString(word) => word.as_str(),
                _ => "",
            },
            _ => "",
        };
        let found = known.iter().find(|known| **known == word);
        found
            .copied()
            .ok_or_else(|| self.refuse(&format!("{word} {name}")))
    }

    fn refuse(&self, what: &str) -> Diagnostic {
        Diagnostic::error("syntax", self.span, format!("{} has no {what}", self.name))
    }

    /// Refuses what was not asked for.
    fn nothing_left(&self) -> Result<()> {
        match self.clauses.first() {
            Some((name, _)) => Err(self.refuse(&format!("clause {name}"))),
            None => Ok(()),
        }
    }
}

/// `JSON_OBJECT` and `JSON_ARRAY`: values, and JSON that needs no quotes.
fn constructor(binder: &Binder<'_>, f: &ast::Function, name: String, span: Span) -> Result<Expr> {
    let object = name == "JSON_OBJECT";
    let known: &[&str] = if object {
        &["NULL", "ABSENT"]
    } else {
        &["ABSENT", "NULL"]
    };
    let FunctionArguments::List(list) = &f.args else {
        return Err(Diagnostic::error(
            "type",
            span,
            format!("{name} needs parentheses"),
        ));
    };
    let mut on_null = known[0];
    let mut args = Vec::new();
    for arg in &list.args {
        match arg {
            FunctionArg::Named {
                arg: FunctionArgExpr::Expr(word),
                ..
            } => {
                let word = word.to_string();
                on_null = known
                    .iter()
                    .find(|known| word.trim_matches('\'') == **known)
                    .unwrap_or(&known[0]);
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => {
                let is_key = object && args.len() % 3 == 0;
                if is_key {
                    args.push(binder.bind(value)?);
                    continue;
                }
                let (form, value) = match json_already(value) {
                    Some(value) => ("JSON", binder.bind(value)?),
                    None => ("VALUE", binder.bind(value)?),
                };
                if value.ty().kind == TypeKind::Null {
                    let message = format!("{name} takes no bare NULL");
                    return Err(Diagnostic::error("type", span, message).hint("CAST(NULL AS type)"));
                }
                args.extend([text(form), value]);
            }
            other => {
                let message = format!("{name} does not take '{other}'");
                return Err(Diagnostic::error("type", span, message));
            }
        }
    }
    args.insert(0, text(on_null));
    call(
        if object {
            Function::JsonObject
        } else {
            Function::JsonArray
        },
        args,
        span,
    )
}

/// What is put into JSON as it is: another JSON_OBJECT or JSON_ARRAY, and the text in `JSON(text)`.
fn json_already(value: &ast::Expr) -> Option<&ast::Expr> {
    let ast::Expr::Function(f) = value else {
        return None;
    };
    match f.name.to_string().to_ascii_uppercase().as_str() {
        "JSON_OBJECT" | "JSON_ARRAY" => Some(value),
        "JSON" => match &f.args {
            FunctionArguments::List(list) => match &list.args[..] {
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(text))] => Some(text),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn exists(mut parts: Parts<'_>) -> Result<(Function, Vec<Expr>)> {
    if !matches!(parts.args[1], Expr::Literal { .. }) {
        return Err(
            Diagnostic::error("type", parts.span, "the path of JSON_EXISTS is a constant")
                .hint("JSON_VALUE(column, path) IS NOT NULL"),
        );
    }
    let on_error = parts.word("ON ERROR", &["FALSE", "TRUE", "UNKNOWN", "ERROR"])?;
    parts.nothing_left()?;
    let mut args = parts.args;
    args.push(text(on_error));
    Ok((Function::JsonExists, args))
}

fn value(binder: &Binder<'_>, mut parts: Parts<'_>) -> Result<(Function, Vec<Expr>)> {
    let returning = match parts.clause("RETURNING")? {
        Some(null) => binder.bind(null)?.ty().kind.clone(),
        None => TypeKind::string(),
    };
    let known = [
        TypeKind::string(),
        TypeKind::Boolean,
        TypeKind::Int,
        TypeKind::Double,
    ];
    if !known.contains(&returning) {
        let message = format!("JSON_VALUE does not give {returning}");
        return Err(Diagnostic::error("type", parts.span, message)
            .hint("RETURNING STRING, BOOLEAN, INT or DOUBLE; then CAST(… AS type)"));
    }
    let mut cases = Vec::new();
    for (clause, of_default) in [
        ("ON EMPTY", "DEFAULT ON EMPTY"),
        ("ON ERROR", "DEFAULT ON ERROR"),
    ] {
        let default = parts.clause(of_default)?;
        let word = parts.word(clause, &["NULL", "ERROR"])?;
        let nothing = cast(literal(Value::Null, TypeKind::Null), &returning);
        match default {
            None => cases.extend([text(word), nothing]),
            Some(default) => {
                let default = binder.bind(default)?;
                let kind = &default.ty().kind;
                let fits =
                    *kind == TypeKind::Null || kind.common(&returning).as_ref() == Some(&returning);
                if !fits {
                    let message = format!("the default is {kind}, and {returning} is given");
                    return Err(Diagnostic::error("type", parts.span, message)
                        .hint(format!("CAST(… AS {returning})")));
                }
                cases.extend([text("DEFAULT"), cast(default, &returning)]);
            }
        }
    }
    parts.nothing_left()?;
    let mut args = parts.args;
    args.extend(cases);
    Ok((Function::JsonValue, args))
}

fn query(binder: &Binder<'_>, mut parts: Parts<'_>) -> Result<(Function, Vec<Expr>)> {
    if let Some(null) = parts.clause("RETURNING")? {
        let returning: LogicalType = binder.bind(null)?.ty().clone();
        if returning.kind != TypeKind::string() {
            let what = format!("JSON_QUERY that gives {} is", returning.kind);
            return Err(Diagnostic::unsupported(parts.span, what)
                .hint("without RETURNING it gives a STRING"));
        }
    }
    let wrapper = parts.word("WRAPPER", &["WITHOUT", "CONDITIONAL", "UNCONDITIONAL"])?;
    let known = ["NULL", "ERROR", "EMPTY ARRAY", "EMPTY OBJECT"];
    let on_empty = parts.word("ON EMPTY", &known)?;
    let on_error = parts.word("ON ERROR", &known)?;
    parts.nothing_left()?;
    let mut args = parts.args;
    args.extend([text(wrapper), text(on_empty), text(on_error)]);
    Ok((Function::JsonQuery, args))
}
