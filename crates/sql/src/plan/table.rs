//! `CREATE TABLE`: columns get types, computed columns and the watermark get expressions over the others.

use super::Planner;
use super::expr::Binder;
use super::scope::{Scope, ScopeColumn};
use crate::Result;
use crate::catalog::{Column, ColumnSource, Declared, Path, Table, Watermark};
use crate::connector::{self, metadata_key};
use crate::diagnostic::{Diagnostic, Span, Told};
use crate::parse::{ColumnKind, CreateTable, Ident, OptionText, Partitioned, WatermarkDef};
use crate::script::Script;
use crate::settings;
use crate::suggest::near_or_all;
use lw_graph::{Expr, LogicalType, MetadataKey, TypeKind};
use lw_stdx::duration;
use sqlparser::ast;
use std::collections::{BTreeMap, BTreeSet};

/// A column whose type is still to be found.
struct Computed {
    position: usize,
    name: Ident,
    expr: ast::Expr,
    span: Span,
}

/// Every mistake is told; a column whose declaration is refused stays as a broken one.
pub(super) fn bind(
    script: &Script<'_>,
    path: &Path,
    create: CreateTable,
    told: &mut Told,
) -> Table {
    told.append(create.mistakes);
    let declared = Declared {
        columns: create.columns.clone(),
        watermark: create.watermark.clone(),
    };
    let mut columns = Vec::new();
    let mut computed = Vec::new();
    for (position, def) in create.columns.into_iter().enumerate() {
        let Ident { value: name, span } = def.name.clone();
        let (ty, source) = match def.kind {
            ColumnKind::Broken => untyped(),
            ColumnKind::Physical(ty) => (ty, ColumnSource::Physical),
            ColumnKind::Metadata { ty, key } => {
                let key = key.unwrap_or_else(|| def.name.clone());
                let found = metadata_key(&create.options, &key.value, key.span);
                let checked = found.and_then(|found| {
                    check_metadata(&columns, found, &key, &ty, span)?;
                    Ok((ty, ColumnSource::Metadata(found)))
                });
                told.settle(checked).unwrap_or_else(untyped)
            }
            ColumnKind::Computed(expr, expr_span) => {
                computed.push(Computed {
                    position,
                    name: def.name,
                    expr: *expr,
                    span: expr_span,
                });
                untyped()
            }
        };
        columns.push(Column {
            name,
            ty,
            span,
            source,
        });
    }
    bind_computed(script, &mut columns, computed, told);
    let keyed = check_primary_key(&mut columns, &create.primary_key);
    told.settle(keyed);
    if let Some(by) = &create.partitioned {
        let checked = check_partitioned(&columns, by, &create.options);
        told.settle(checked);
    }
    let watermark = create.watermark.and_then(|def| {
        let bound = bind_watermark(script, &columns, &def);
        told.settle(bound)
    });
    Table {
        path: path.clone(),
        columns,
        watermark,
        primary_key: create.primary_key,
        partitioned: create.partitioned,
        options: create.options,
        span: create.span,
        declared,
    }
}

fn untyped() -> (LogicalType, ColumnSource) {
    (TypeKind::Null.nullable(), ColumnSource::Broken)
}

fn check_metadata(
    columns: &[Column],
    key: MetadataKey,
    written: &Ident,
    ty: &LogicalType,
    column: Span,
) -> Result<()> {
    let same = |c: &&Column| matches!(c.source, ColumnSource::Metadata(other) if other == key);
    if let Some(other) = columns.iter().find(same) {
        let message = format!(
            "metadata key '{}' is already column '{}'",
            written.value, other.name
        );
        return Err(Diagnostic::error("metadata", column, message).hint(format!(
            "compute the second column from the first: name AS `{}`",
            other.name
        )));
    }
    let from = key.ty();
    if from.kind != ty.kind && !from.kind.casts_to(&ty.kind) {
        let message = format!(
            "metadata key '{}' is {}, which is not read as {}",
            written.value, from.kind, ty.kind
        );
        return Err(Diagnostic::error("type", column, message)
            .hint(format!("declare the column as {}", from.kind)));
    }
    Ok(())
}

/// A computed column sees physical and metadata columns, wherever they stand; never another computed one (as in Flink).
fn bind_computed(
    script: &Script<'_>,
    columns: &mut [Column],
    computed: Vec<Computed>,
    told: &mut Told,
) {
    let skip: BTreeSet<usize> = computed.iter().map(|c| c.position).collect();
    let visible = columns.iter().enumerate();
    let visible = visible.filter(|(position, _)| !skip.contains(position));
    let visible = visible.map(|(position, column)| scope_column(position, column));
    let scope = Scope::new(visible.collect());
    for column in computed {
        let binder = Binder::new(script, &scope, column.span);
        let expr = binder.bind(&column.expr).map_err(|error| {
            let names_computed = skip.iter().any(|at| error.message.contains(&format!("'{}'", columns[*at].name)));
            if error.code == "unknown-column" && names_computed {
                return error.detail("A computed column is computed from physical and metadata columns, not from another computed one.");
            }
            error
        });
        let Some(expr) = told.settle(expr) else {
            continue;
        };
        if expr.ty().kind == TypeKind::Null {
            let message = format!("column '{}' has no type", column.name.value);
            told.tell(Diagnostic::error("type", column.span, message).hint("CAST(NULL AS type)"));
            continue;
        }
        columns[column.position].ty = expr.ty().clone();
        columns[column.position].source = ColumnSource::Computed(expr);
    }
}

/// A column under its name, as what a record holds gives it.
fn scope_column(position: usize, column: &Column) -> ScopeColumn {
    ScopeColumn {
        name: column.name.clone(),
        qualifier: Vec::new(),
        expr: column.expr(position),
    }
}

fn check_primary_key(columns: &mut [Column], key: &[Ident]) -> Result<()> {
    for part in key {
        let names: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
        let Some(column) = columns.iter_mut().find(|c| c.name == part.value) else {
            if names.iter().any(String::is_empty) {
                return Err(Diagnostic::told_before(part.span));
            }
            let message = format!("primary key column '{}' does not exist", part.value);
            return Err(
                Diagnostic::error("unknown-column", part.span, message).hint_if(near_or_all(
                    &part.value,
                    names.iter().map(String::as_str),
                    "columns",
                )),
            );
        };
        if matches!(column.source, ColumnSource::Broken) {
            continue;
        }
        if !matches!(column.source, ColumnSource::Physical) {
            let message = format!(
                "primary key column '{}' is not a physical column",
                part.value
            );
            return Err(Diagnostic::error("primary-key", part.span, message));
        }
        column.ty.nullable = false;
    }
    Ok(())
}

/// Folders of files are partitioned, and what is declared so is in their names; and tables of a lakehouse, by values.
fn check_partitioned(columns: &[Column], by: &Partitioned, options: &[OptionText]) -> Result<()> {
    if !matches!(
        connector::named(options),
        Some("filesystem" | "iceberg" | "delta")
    ) {
        return Err(Diagnostic::unsupported(by.span, "PARTITIONED BY is")
            .detail("Tables of 'iceberg' and 'delta' and folders of 'filesystem' have partitions.")
            .hint("remove the PARTITIONED BY clause"));
    }
    let has_nameless = columns.iter().any(|column| column.name.is_empty());
    let known = columns.iter().map(|column| (&*column.name, column));
    let known: BTreeMap<&str, &Column> = known.collect();
    let mut named = BTreeSet::new();
    for part in &by.columns {
        let column = known.get(&*part.value);
        let message = match column.map(|column| &column.source) {
            Some(ColumnSource::Broken) => return Ok(()),
            Some(ColumnSource::Physical) if named.insert(&*part.value) => continue,
            Some(ColumnSource::Physical) => "is named twice",
            Some(ColumnSource::Computed(_) | ColumnSource::Metadata(_)) => {
                "is not a physical column"
            }
            None if has_nameless => return Ok(()),
            None => "does not exist",
        };
        let message = format!("partition column '{}' {message}", part.value);
        let physical = columns.iter();
        let physical = physical.filter(|column| matches!(column.source, ColumnSource::Physical));
        let names: Vec<&str> = physical.map(|column| column.name.as_str()).collect();
        let hint = near_or_all(&part.value, names, "columns");
        return Err(Diagnostic::error("unknown-column", part.span, message)
            .hint_if(hint.filter(|_| column.is_none())));
    }
    Ok(())
}

fn bind_watermark(
    script: &Script<'_>,
    columns: &[Column],
    def: &WatermarkDef,
) -> Result<Watermark> {
    let Some(column) = columns.iter().position(|c| c.name == def.column.value) else {
        if columns.iter().any(|c| c.name.is_empty()) {
            return Err(Diagnostic::told_before(def.column.span));
        }
        let message = format!(
            "there is no column '{}' for the watermark",
            def.column.value
        );
        let names = columns.iter().map(|c| c.name.as_str());
        return Err(
            Diagnostic::error("unknown-column", def.column.span, message).hint_if(near_or_all(
                &def.column.value,
                names.clone().collect::<Vec<_>>(),
                "columns",
            )),
        );
    };
    if columns[column].is_proctime() {
        let name = &def.column.value;
        let message = format!("'{name}' is a processing time, and a watermark is of an event time");
        return Err(
            Diagnostic::error("watermark", def.column.span, message).hint(format!(
                "'{name}' AS NOW() is when the log took the record in, which may be an event time"
            )),
        );
    }
    let is_time = |kind: &TypeKind| matches!(kind, TypeKind::Timestamp(p) | TypeKind::TimestampLtz(p) if *p <= 3);
    let ty = &columns[column].ty;
    if matches!(columns[column].source, ColumnSource::Broken) {
        return Err(Diagnostic::told_before(def.column.span));
    }
    if !is_time(&ty.kind) {
        let message = format!(
            "the watermark's column '{}' is {}, not a time",
            def.column.value, ty.kind
        );
        return Err(Diagnostic::error("type", def.column.span, message)
            .detail("An event time is TIMESTAMP(p) or TIMESTAMP_LTZ(p) with p from 0 to 3.")
            .hint(watermark_hint(&ty.kind, &def.column.value)));
    }
    let declared = columns.iter().enumerate().map(|(index, column)| {
        let ty = column.expr(index).map(|expr| expr.ty().clone());
        let name = column.name.clone();
        ScopeColumn {
            expr: ty.map(|ty| Expr::Column { index, name, ty }),
            ..scope_column(index, column)
        }
    });
    let scope = Scope::new(declared.collect());
    let expression = Binder::new(script, &scope, def.span).bind(&def.expression)?;
    if !is_time(&expression.ty().kind) {
        let message = format!(
            "the watermark's expression is {}, not a time",
            expression.ty().kind
        );
        return Err(Diagnostic::error("type", def.span, message).hint(format!(
            "WATERMARK FOR {0} AS {0} - INTERVAL '5' SECOND",
            def.column.value
        )));
    }
    Ok(Watermark { column, expression })
}

impl Planner<'_> {
    /// Milliseconds without a row behind which a partition of a table with these options is not waited for. As in Flink, the setting is
    /// for tables that do not say it, and nothing is never.
    pub(super) fn idle_after(&self, options: &[OptionText]) -> Option<i64> {
        let is_kafka = connector::named(options) == Some("kafka");
        let mut said = options.iter();
        let table = said.find(|option| option.key.value == connector::IDLE_TIMEOUT);
        let table = table.map(|option| option.value.value.as_str());
        let setting = self.plan.settings.get(settings::IDLE_TIMEOUT);
        let said = table.into_iter().chain(setting.map(String::as_str));
        let mut said = said.filter_map(duration::parse).map(|it| it.as_millis());
        let millis = said.find(|millis| *millis > 0).filter(|_| is_kafka)?;
        Some(i64::try_from(millis).unwrap_or(i64::MAX))
    }
}

fn watermark_hint(kind: &TypeKind, column: &str) -> String {
    match kind {
        TypeKind::Timestamp(_) => format!("declare '{column}' as TIMESTAMP(3)"),
        TypeKind::TimestampLtz(_) => format!("declare '{column}' as TIMESTAMP_LTZ(3)"),
        _ => format!(
            "add a computed column of type TIMESTAMP(3) made from '{column}', and put the watermark on it"
        ),
    }
}
