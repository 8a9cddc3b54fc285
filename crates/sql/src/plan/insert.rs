//! One INSERT: its query (`query`), whose columns meet the sink's by position and are cast where Flink casts by itself, over
//! the source that it reads.

use super::Planner;
use super::algebra::{Attribute, Output, Relation, Scan};
use super::literal::{self, cast};
use super::lower::{Branch, Sources};
use super::query::Around;
use super::scope::unknown_column;
use super::zone::localise;
use crate::Result;
use crate::catalog::{Column, ColumnSource, Object, Table};
use crate::connector::{self, Use};
use crate::diagnostic::{Diagnostic, Told};
use crate::parse::{Ident, Insert};
use lw_graph::{Expr, Field, Schema, SinkSpec, SourceSpec, TypeKind, Value};
use std::rc::Rc;

/// An INSERT that nothing is wrong with.
pub(super) struct Planned {
    /// What its scans read.
    pub sources: Sources,
    pub branch: Branch,
    pub definition: String,
}

impl Planner<'_> {
    /// Source, sink and columns are checked each by itself, so that one run tells what is wrong with all of them.
    pub(super) fn plan_insert(&mut self, insert: &Insert) -> Result<Planned> {
        self.catalog.forget_asked();
        let target = self.sink_table(insert);
        let target = self.told.settle(target);
        let relation = self.relation(&insert.query);
        let relation = self.told.settle(relation);
        if relation.is_none() {
            let query = self.script.tokens_between(insert.query.span);
            self.check_named(query);
        }
        let sink = target.as_ref().and_then(|table| self.sink(table, insert));
        let sources = relation
            .as_ref()
            .and_then(|relation| self.sources(relation));
        let told_before = || Diagnostic::told_before(insert.span);
        let (Some(target), Some(relation)) = (target, relation) else {
            return Err(told_before());
        };
        let matched = match_columns(&target, insert, &relation, &mut self.told);
        let (schema, outputs) = matched?;
        let (Some(sources), Some(sink)) = (sources, sink) else {
            return Err(told_before());
        };
        if relation.scans().iter().any(|scan| scan.table.is_broken()) {
            return Err(told_before());
        }
        let table = match &sink {
            SinkSpec::Iceberg(iceberg) => format!("{}.{}", iceberg.namespace, iceberg.table),
            SinkSpec::Delta(delta) => delta.table_path.clone(),
            _ => target.path.to_string(),
        };
        let relation = relation.project(outputs);
        let mut relation = relation.clocked().map_err(|unclocked| {
            let place = self.find_word(&Around::of(insert.span), unclocked.function.key());
            unclocked.told(place.unwrap_or(insert.span))
        })?;
        let zone = self.plan.settings.get("table.local-time-zone");
        localise(
            &mut relation,
            zone.map_or("UTC", String::as_str),
            insert.span,
        )?;
        Ok(Planned {
            sources,
            branch: Branch {
                relation,
                schema,
                sink,
                table,
                span: insert.span,
            },
            definition: self.definition(insert),
        })
    }

    /// Each declaration under the name that it has, the INSERT under the database in which its names were looked up.
    fn definition(&self, insert: &Insert) -> String {
        let mut definition = String::new();
        for (path, statement) in self.catalog.asked() {
            let text = self.script.plain_text(statement);
            definition += &format!("{path}: {text};\n");
        }
        let text = self.script.plain_text(insert.span);
        definition + &format!("{}: {text}", self.catalog.current)
    }

    fn sink(&mut self, table: &Table, insert: &Insert) -> Option<SinkSpec> {
        let mut options = table.options.clone();
        let hinted = self.options_hint(insert.target.span);
        let hinted = self.told.settle(hinted)?;
        options.retain(|o| hinted.iter().all(|h| h.key.value != o.key.value));
        options.extend(hinted);
        self.checked.insert(table.path.clone());
        let used = Use {
            table,
            options: &options,
            span: insert.target.span,
            env: self.env,
        };
        let sink = connector::sink(&used, &mut self.told);
        self.told.settle(sink)
    }

    /// What the tables are that a query reads; all that is wrong with any is told.
    fn sources(&mut self, relation: &Relation) -> Option<Sources> {
        let mut sources = Some(Sources::new());
        for scan in relation.scans() {
            match (self.source(scan), &mut sources) {
                (Some(source), Some(sources)) => {
                    sources.insert(scan.key(), source);
                }
                (None, _) => sources = None,
                (Some(_), None) => {}
            }
        }
        sources
    }

    fn source(&mut self, scan: &Scan) -> Option<SourceSpec> {
        self.checked.insert(scan.table.path.clone());
        let used = Use {
            table: &scan.table,
            options: &scan.options,
            span: scan.span,
            env: self.env,
        };
        let source = connector::source(&used, &mut self.told);
        let source = self.told.settle(source);
        self.told.settle(refuse_key(&scan.table))?;
        source
    }

    fn sink_table(&self, insert: &Insert) -> Result<Rc<Table>> {
        let (path, object) = self.catalog.get(&insert.target)?;
        match object {
            Object::Table(table) => Ok(table),
            Object::View(_) => {
                let message = format!("'{}' is a view, which cannot be written", path.object);
                Err(Diagnostic::error("view", insert.target.span, message))
            }
            Object::Broken => Err(Diagnostic::told_before(insert.target.span)),
        }
    }
}

/// A Kafka topic cannot promise a key.
fn refuse_key(table: &Table) -> Result<()> {
    match table.primary_key.first() {
        None => Ok(()),
        Some(key) => Err(Diagnostic::error(
            "primary-key",
            key.span,
            "a table with 'connector' = 'kafka' has no PRIMARY KEY",
        )
        .detail("A topic may hold any number of records of one key.")
        .hint("remove the PRIMARY KEY")),
    }
}

/// The sink's columns and, for each, the expression that fills it. Every column that does not fit is told.
fn match_columns(
    target: &Table,
    insert: &Insert,
    relation: &Relation,
    told: &mut Told,
) -> Result<(Schema, Vec<Output>)> {
    let columns: Vec<&Column> = target.stored().collect();
    if let Some(metadata) = target
        .columns
        .iter()
        .find(|c| matches!(c.source, ColumnSource::Metadata(_)))
    {
        return Err(Diagnostic::unsupported(
            metadata.span,
            "a metadata column of a sink is",
        ));
    }
    let order = target_order(&columns, insert, told)?;
    let given = relation.columns.len();
    let expected = order.iter().filter(|from| from.is_some()).count();
    if given != expected {
        // Of a `*` that was refused nobody knows how many columns it is.
        if relation.columns.iter().any(|c| c.name.is_empty()) {
            return Err(Diagnostic::told_before(insert.query.span));
        }
        let message = format!(
            "the query has {given} columns, table '{}' takes {expected}",
            target.path.object
        );
        return Err(Diagnostic::error("type", insert.query.span, message)
            .detail(both_schemas(relation, &columns)));
    }
    let fitted = columns.iter().zip(&order).map(|(column, from)| match from {
        Some(from) => fit(*from, column, relation, &columns),
        None => Ok(literal::literal(Value::Null, column.ty.kind.clone())),
    });
    let fitted: Vec<Result<Expr>> = fitted.collect();
    let mut outputs = Vec::new();
    let mut schemas_shown = false;
    for (fitted, column) in fitted.into_iter().zip(&columns) {
        let fitted = fitted.map_err(|mut error| {
            // The same for all of them, and as long as the table is wide.
            if error.detail.is_some() && std::mem::replace(&mut schemas_shown, true) {
                error.detail = None;
            }
            error
        });
        outputs.extend(told.settle(fitted).map(|expr| {
            let attribute = Attribute {
                name: column.name.clone(),
                ty: Some(expr.ty().clone()),
                rowtime: false,
                window: None,
                span: column.span,
            };
            (attribute, Some(expr))
        }));
    }
    if outputs.len() < columns.len() {
        return Err(Diagnostic::told_before(insert.span));
    }
    let fields = columns
        .iter()
        .map(|c| Field::new(c.name.clone(), c.ty.clone()));
    Ok((Schema::new(fields.collect()), outputs))
}

/// For each column of the sink the position in the query that fills it.
fn target_order(
    columns: &[&Column],
    insert: &Insert,
    told: &mut Told,
) -> Result<Vec<Option<usize>>> {
    let Some(listed) = &insert.columns else {
        return Ok((0..columns.len()).map(Some).collect());
    };
    let mut order = vec![None; columns.len()];
    let errors = told.errors();
    let nameless = columns.iter().any(|column| column.name.is_empty());
    for (position, Ident { value, span }) in listed.iter().enumerate() {
        let Some(at) = columns.iter().position(|column| column.name == *value) else {
            if nameless {
                return Err(Diagnostic::told_before(*span));
            }
            let names = columns.iter().map(|c| c.name.as_str());
            told.tell(unknown_column(value, names, *span));
            continue;
        };
        if order[at].replace(position).is_some() {
            let message = format!("column '{value}' is listed twice");
            told.tell(Diagnostic::error("duplicate-column", *span, message));
        }
    }
    if told.errors() > errors {
        return Err(Diagnostic::told_before(insert.span));
    }
    for (column, from) in columns.iter().zip(&order) {
        if from.is_none() && !column.ty.nullable {
            let message = format!(
                "column '{}' is NOT NULL and is not in the list",
                column.name
            );
            return Err(Diagnostic::error("not-null", insert.target.span, message)
                .hint("add it to the list, or declare it without NOT NULL"));
        }
    }
    Ok(order)
}

/// An output column in the sink column's type.
fn fit(from: usize, column: &Column, relation: &Relation, columns: &[&Column]) -> Result<Expr> {
    let output = &relation.columns[from];
    let expr = relation.column(from);
    let (Some(expr), false) = (expr, matches!(column.source, ColumnSource::Broken)) else {
        return Err(Diagnostic::told_before(output.span));
    };
    let (from, to) = (expr.ty().clone(), &column.ty);
    if !assignable(&from.kind, &to.kind) {
        let message = format!(
            "'{}' is {}, sink column '{}' is {}",
            output.name, from.kind, column.name, to.kind
        );
        let error =
            Diagnostic::error("type", output.span, message).detail(both_schemas(relation, columns));
        return Err(if from.kind.casts_to(&to.kind) {
            error.hint(format!("CAST({} AS {})", written(&output.name), to.kind))
        } else {
            error.hint("columns meet by position, not by name: check their order")
        });
    }
    let fitted = cast(expr, &to.kind);
    if fitted.ty().nullable && !to.nullable {
        let message = format!(
            "'{}' may be NULL, sink column '{}' is NOT NULL",
            output.name, column.name
        );
        return Err(
            Diagnostic::error("not-null", output.span, message).hint(format!(
                "declare the sink's column without NOT NULL, or write COALESCE({}, …)",
                written(&output.name)
            )),
        );
    }
    Ok(fitted)
}

fn written(name: &str) -> &str {
    if name.starts_with("EXPR$") {
        "…"
    } else {
        name
    }
}

fn both_schemas(relation: &Relation, columns: &[&Column]) -> String {
    let query = relation.columns.iter().map(|c| match &c.ty {
        Some(ty) => format!("{}: {ty}", c.name),
        None => format!("{}: ?", c.name),
    });
    let sink = columns.iter().map(|c| match c.source {
        ColumnSource::Broken => format!("{}: ?", c.name),
        _ => format!("{}: {}", c.name, c.ty),
    });
    format!(
        "Query schema: [{}]\nSink schema:  [{}]",
        shown(query),
        shown(sink)
    )
}

/// The first columns; a table may have thousands.
fn shown(columns: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 200;
    let more = columns.len().saturating_sub(SHOWN);
    let mut columns: Vec<String> = columns.take(SHOWN).collect();
    if more > 0 {
        columns.push(format!("and {more} more"));
    }
    columns.join(", ")
}

/// What Flink casts by itself on the way into a sink (`LogicalTypeCasts`, implicit): widening, and some that lose digits.
fn assignable(from: &TypeKind, to: &TypeKind) -> bool {
    use TypeKind::*;
    match (from, to) {
        (a, b) if a == b => true,
        (Null, _) => true,
        (Char(_), Char(_)) => true,
        (a, Varchar(_)) => a.is_character(),
        (Binary(_), Binary(_)) => true,
        (a, Varbinary(_)) => a.is_binary(),
        (a, Decimal { .. } | Double) => a.is_numeric(),
        (TinyInt, SmallInt | Int | BigInt) | (SmallInt, Int | BigInt) | (Int, BigInt) => true,
        (a, Float) => a.is_integer() || matches!(a, Decimal { .. }),
        (Timestamp(_), Date | Time(_)) | (Time(_), Time(_)) => true,
        (a, b) if a.is_timestamp() && b.is_timestamp() => true,
        (Array(a), Array(b)) => assignable(&a.kind, &b.kind) && a.kind == b.kind,
        (Map(ak, av), Map(bk, bv)) => ak.kind == bk.kind && av.kind == bv.kind,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    //! Verdicts captured from Apache Flink 2.3.0 (`EXPLAIN INSERT INTO sink SELECT column`).
    use super::*;

    #[test]
    fn sinks_take_what_flinks_sinks_take() {
        use TypeKind::*;
        let decimal = || Decimal {
            precision: 5,
            scale: 1,
        };
        for (from, to, accepted) in [
            (BigInt, Int, false),
            (TypeKind::string(), Int, false),
            (Double, Int, false),
            (Double, decimal(), true),
            (Int, decimal(), true),
            (TypeKind::string(), Char(3), false),
            (Char(4), Char(3), true),
            (TypeKind::string(), Varchar(3), true),
            (Timestamp(3), Date, true),
            (Timestamp(3), Timestamp(6), true),
            (TimestampLtz(3), Timestamp(6), true),
            (Date, Timestamp(6), false),
            (Timestamp(3), TimestampLtz(3), true),
            (Double, Float, false),
            (decimal(), Float, true),
            (Int, BigInt, true),
            (decimal(), BigInt, false),
            (Boolean, BigInt, false),
        ] {
            assert_eq!(assignable(&from, &to), accepted, "{from} into {to}");
        }
    }
}
