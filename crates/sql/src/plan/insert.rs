//! One INSERT into a job graph: Source → [Project] → [Watermark] → [Filter] → Project → Sink.
//!
//! 1. The query is one scan with filters and output columns (`query`).
//! 2. Output columns meet the sink's columns by position, and are cast where Flink casts by itself.
//! 3. Of the scanned table only the columns that something reads are asked from the source.

use super::coerce::castable;
use super::literal::{self, cast};
use super::query::{OutputColumn, Relation};
use super::scope::unknown_column;
use super::{Job, Planner};
use crate::Result;
use crate::catalog::{Column, ColumnSource, Object, Table};
use crate::connector::{self, Use, key_type};
use crate::diagnostic::Diagnostic;
use crate::parse::{Ident, Insert};
use lw_graph::{Expr, Field, JobGraph, Node, Operator, Schema, SinkSpec, SourceColumn, SourceSpec};
use lw_graph::{TypeKind, Value};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

impl Planner<'_> {
    pub(super) fn plan_insert(&mut self, insert: &Insert) -> Result<Job> {
        let target = self.sink_table(insert)?;
        let relation = self.relation(&insert.query)?;
        let mut options = target.options.clone();
        let hinted = self.options_hint(insert.target.span)?;
        options.retain(|o| hinted.iter().all(|h| h.key.value != o.key.value));
        options.extend(hinted);
        let mut notices = Vec::new();
        let sink = connector::sink(
            &Use {
                table: &target,
                options: &options,
                span: insert.target.span,
                env: self.env,
            },
            &mut notices,
        )?;
        let (schema, projection) = match_columns(&target, insert, &relation)?;
        let source = connector::source(
            &Use {
                table: &relation.table,
                options: &relation.options,
                span: relation.table_span,
                env: self.env,
            },
            &mut notices,
        )?;
        refuse_key(&relation)?;
        self.plan.notices.extend(notices);
        let sink_table = match &sink {
            SinkSpec::Iceberg(iceberg) => format!("{}.{}", iceberg.namespace, iceberg.table),
            _ => format!("{}.{}", target.path.database, target.path.object),
        };
        let graph = Assembly::new(&relation, projection).build(source, schema, sink);
        Ok(Job {
            graph,
            sink_table,
            text_span: insert.span,
        })
    }

    fn sink_table(&self, insert: &Insert) -> Result<Rc<Table>> {
        let (path, object) = self.catalog.get(&insert.target)?;
        match object {
            Object::Table(table) => Ok(table),
            Object::View(_) => {
                let message = format!("'{}' is a view, which cannot be written", path.object);
                Err(Diagnostic::error("view", insert.target.span, message))
            }
            Object::Broken => Err(Diagnostic::error(
                super::BROKEN,
                insert.target.span,
                "its CREATE was refused",
            )),
        }
    }
}

/// A Kafka topic cannot promise a key.
fn refuse_key(relation: &Relation) -> Result<()> {
    match relation.table.primary_key.first() {
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

/// The sink's columns and, for each, the expression that fills it.
fn match_columns(
    target: &Table,
    insert: &Insert,
    relation: &Relation,
) -> Result<(Schema, Vec<Expr>)> {
    let physical = |column: &&Column| matches!(column.source, ColumnSource::Physical);
    let columns: Vec<&Column> = target.columns.iter().filter(physical).collect();
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
    let order = target_order(&columns, insert)?;
    let given = relation.columns.len();
    let expected = order.iter().filter(|from| from.is_some()).count();
    if given != expected {
        let message = format!(
            "the query has {given} columns, table '{}' takes {expected}",
            target.path.object
        );
        return Err(Diagnostic::error("type", insert.query.span, message)
            .detail(both_schemas(relation, &columns)));
    }
    let mut projection = Vec::new();
    for (column, from) in columns.iter().zip(&order) {
        projection.push(match from {
            Some(from) => fit(&relation.columns[*from], column, relation, &columns)?,
            None => literal::literal(Value::Null, column.ty.kind.clone()),
        });
    }
    let fields = columns
        .iter()
        .map(|c| Field::new(c.name.clone(), c.ty.clone()));
    Ok((Schema::new(fields.collect()), projection))
}

/// For each column of the sink the position in the query that fills it.
fn target_order(columns: &[&Column], insert: &Insert) -> Result<Vec<Option<usize>>> {
    let Some(listed) = &insert.columns else {
        return Ok((0..columns.len()).map(Some).collect());
    };
    let mut order = vec![None; columns.len()];
    for (position, Ident { value, span }) in listed.iter().enumerate() {
        let Some(at) = columns.iter().position(|column| column.name == *value) else {
            return Err(unknown_column(
                value,
                columns.iter().map(|c| c.name.as_str()),
                *span,
            ));
        };
        if order[at].replace(position).is_some() {
            let message = format!("column '{value}' is listed twice");
            return Err(Diagnostic::error("duplicate-column", *span, message));
        }
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
fn fit(
    output: &OutputColumn,
    column: &Column,
    relation: &Relation,
    columns: &[&Column],
) -> Result<Expr> {
    let (from, to) = (output.expr.ty(), &column.ty);
    if !assignable(&from.kind, &to.kind) {
        let message = format!(
            "'{}' is {}, sink column '{}' is {}",
            output.name, from.kind, column.name, to.kind
        );
        let error =
            Diagnostic::error("type", output.span, message).detail(both_schemas(relation, columns));
        return Err(if castable(&from.kind, &to.kind) {
            error.hint(format!("CAST({} AS {})", written(&output.name), to.kind))
        } else {
            error.hint("columns meet by position, not by name: check their order")
        });
    }
    let fitted = cast(output.expr.clone(), &to.kind);
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
    let query = relation
        .columns
        .iter()
        .map(|c| format!("{}: {}", c.name, c.expr.ty()));
    let sink = columns.iter().map(|c| format!("{}: {}", c.name, c.ty));
    format!(
        "Query schema: [{}]\nSink schema:  [{}]",
        query.collect::<Vec<_>>().join(", "),
        sink.collect::<Vec<_>>().join(", ")
    )
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

/// The nodes of a job while they are put in a row.
struct Assembly<'a> {
    relation: &'a Relation,
    projection: Vec<Expr>,
    /// Positions of the scanned table that something reads, ascending: the source's output.
    read: Vec<usize>,
    nodes: Vec<Node>,
}

impl<'a> Assembly<'a> {
    fn new(relation: &'a Relation, projection: Vec<Expr>) -> Assembly<'a> {
        let mut read = BTreeSet::new();
        let mut visit = |index| {
            read.insert(index);
        };
        for expr in projection.iter().chain(&relation.filters) {
            expr.visit_columns(&mut visit);
        }
        if let Some(watermark) = &relation.table.watermark {
            watermark.expression.visit_columns(&mut visit);
            super::table::scope_column(watermark.column, &relation.table.columns[watermark.column])
                .expr
                .visit_columns(&mut visit);
        }
        if read.is_empty() {
            // A query of constants still has one row per record.
            let physical = |c: &Column| matches!(c.source, ColumnSource::Physical);
            read.extend(relation.table.columns.iter().position(physical));
        }
        Assembly {
            relation,
            projection,
            read: read.into_iter().collect(),
            nodes: Vec::new(),
        }
    }

    fn build(mut self, source: lw_graph::KafkaSource, schema: Schema, sink: SinkSpec) -> JobGraph {
        self.source(source);
        self.watermark();
        let filters = self.relation.filters.iter().map(|f| self.local(f));
        let all = filters.reduce(|a, b| {
            Expr::call(lw_graph::Function::And, vec![a, b]).expect("conditions are BOOLEAN")
        });
        let input = self
            .nodes
            .last()
            .map(|n| n.schema.clone())
            .unwrap_or_default();
        if let Some(condition) = all {
            self.push(Operator::Filter(condition), input);
        }
        let columns = self.projection.iter().map(|e| self.local(e)).collect();
        self.push(Operator::Project(columns), schema.clone());
        self.push(Operator::Sink(sink), schema);
        JobGraph { nodes: self.nodes }
    }

    fn source(&mut self, mut source: lw_graph::KafkaSource) {
        let table = &self.relation.table;
        let mut fields = Vec::new();
        let values: HashMap<&str, usize> = source.value_schema.names().zip(0..).collect();
        let mut read = Vec::new();
        for &position in &self.read {
            let column = &table.columns[position];
            let (from, ty) = match &column.source {
                ColumnSource::Metadata(key) => (SourceColumn::Metadata(*key), key_type(*key)),
                _ => {
                    let index = values.get(column.name.as_str());
                    let index = index.expect("a physical column is in the value's schema");
                    (SourceColumn::Value(*index), column.ty.clone())
                }
            };
            read.push(from);
            fields.push(Field::new(column.name.clone(), ty));
        }
        drop(values);
        source.columns = read;
        self.push(
            Operator::Source(SourceSpec::Kafka(source)),
            Schema::new(fields),
        );
    }

    /// The watermark, over the source's own column or over one computed for it.
    fn watermark(&mut self) {
        let Some(watermark) = &self.relation.table.watermark else {
            return;
        };
        let column = &self.relation.table.columns[watermark.column];
        let time = self.local(&super::table::scope_column(watermark.column, column).expr);
        let expression = self.local(&watermark.expression);
        let mut schema = self
            .nodes
            .last()
            .map(|n| n.schema.clone())
            .unwrap_or_default();
        let at = match &time {
            Expr::Column { index, .. } => *index,
            _ => {
                let fields = schema.fields.iter().enumerate();
                let mut all: Vec<Expr> = fields
                    .map(|(index, field)| Expr::Column {
                        index,
                        name: field.name.clone(),
                        ty: field.ty.clone(),
                    })
                    .collect();
                schema
                    .fields
                    .push(Field::new(column.name.clone(), time.ty().clone()));
                all.push(time);
                self.push(Operator::Project(all), schema.clone());
                schema.fields.len() - 1
            }
        };
        let operator = Operator::Watermark {
            column: at,
            expression,
        };
        self.push(operator, schema);
    }

    /// An expression over the table's positions, over the source's output instead.
    fn local(&self, expr: &Expr) -> Expr {
        expr.map_columns(&mut |index| {
            self.read
                .binary_search(&index)
                .expect("every column that is read was collected")
        })
    }

    fn push(&mut self, operator: Operator, schema: Schema) {
        let inputs = self.nodes.len().checked_sub(1).into_iter().collect();
        self.nodes.push(Node {
            operator,
            inputs,
            schema,
        });
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
