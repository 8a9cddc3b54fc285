//! `JOIN t FOR SYSTEM_TIME AS OF o.proc_time AS t ON …`: each row with the rows of a table that have its keys.
//!
//! The time has to be the processing time of what stands before the table, as in Flink. What is said of the table's columns alone says
//! which rows of it there are; equations with them are the keys, one at least; the rest is asked of each pair. In a LEFT JOIN what is
//! said of the row alone is too: a row that meets it not is there all the same.

use super::Planner;
use super::algebra::{Algebra, Relation};
use super::expr::{Binder, joined};
use super::from::From;
use super::join::{Said, Sides, columns_of, with_keys};
use super::query::{Around, keep};
use super::scope::Scope;
use crate::Result;
use crate::catalog::{ColumnSource, Object, Table};
use crate::connector::{self, Use};
use crate::diagnostic::{Diagnostic, Span};
use crate::parse::{Cursor, Name, OptionText};
use crate::script::Hint;
use lw_graph::{ElementCondition, Expr, Field, Function, JoinKind, LookupTable, Schema};
use sqlparser::ast::{self, TableFactor, TableVersion};

/// A table that rows are looked up in.
pub(super) struct Lookup {
    pub table: LookupTable,
    pub columns: Schema,
}

/// What such a join is in the algebra.
#[derive(Clone, Debug)]
pub(super) struct LookedUp {
    pub table: LookupTable,
    pub kind: JoinKind,
    pub columns: Schema,
    pub keys: Vec<(usize, Expr)>,
    pub filter: Option<Expr>,
    pub on: Option<ElementCondition>,
}

/// What the hint LOOKUP says besides the table.
const HINTS: &[&str] = &[
    "table",
    "async",
    "output-mode",
    "capacity",
    "timeout",
    "shuffle",
    "retry-predicate",
    "retry-strategy",
    "fixed-delay",
    "max-attempts",
];

impl Planner<'_> {
    /// The table that rows before it are looked up in, with its columns and their names; `None` for another table.
    pub(super) fn lookup(
        &mut self,
        factor: &TableFactor,
        from: &From,
        kind: JoinKind,
        around: &Around,
    ) -> Result<Option<(Lookup, Relation, Scope)>> {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            version: Some(TableVersion::ForSystemTimeAsOf(time)),
            sample: None,
            ..
        } = factor
        else {
            return Ok(None);
        };
        let span = self.factor_span(factor, around);
        if !matches!(kind, JoinKind::Inner | JoinKind::Left) {
            let message = format!(
                "{} JOIN of a table FOR SYSTEM_TIME AS OF has no meaning",
                kind.name()
            );
            return Err(Diagnostic::error("lookup", span, message)
                .detail("Rows of the table are looked up for rows before it.")
                .hint("JOIN, or LEFT JOIN"));
        }
        self.check_time(time, from, around)?;
        let (table, qualifier) = self.looked_up(name, alias.as_ref(), span)?;
        let mut options = table.options.clone();
        let hinted = self.options_hint(span)?;
        options.retain(|o| hinted.iter().all(|h| h.key.value != o.key.value));
        options.extend(hinted);
        self.checked.insert(table.path.clone());
        let used = Use {
            table: &table,
            options: &options,
            span,
            env: self.env,
        };
        let place = connector::lookup(&used, &mut self.told)?;
        let stored = table.stored();
        let columns = stored.map(|column| Field::new(column.name.clone(), column.ty.clone()));
        let columns = Schema::new(columns.collect());
        if let Some(alias) = alias {
            self.looked_up.push(alias.name.value.clone());
        }
        self.looked_up.push(table.path.object.clone());
        let mut relation = Relation::of_table(table, options, None, span);
        for column in &mut relation.columns {
            // Only what is read as a stream has a time that goes on.
            column.rowtime = false;
        }
        let renamed = self.alias_columns(alias.as_ref());
        let (relation, scope) = self.scoped(relation, qualifier, &renamed, span)?;
        let lookup = Lookup {
            table: place,
            columns,
        };
        Ok(Some((lookup, relation, scope)))
    }

    /// The table of this name, and what may stand before its columns.
    fn looked_up(
        &mut self,
        name: &ast::ObjectName,
        alias: Option<&ast::TableAlias>,
        span: Span,
    ) -> Result<(std::rc::Rc<Table>, Vec<String>)> {
        let parts = self.idents(name.0.iter().filter_map(|part| part.as_ident()));
        let (path, object) = self.catalog.get(&Name { parts, span })?;
        let table = match object {
            Object::Broken => return Err(Diagnostic::told_before(span)),
            Object::View(_) => {
                let message = format!(
                    "'{}' is a view, in which no row can be looked up",
                    path.object
                );
                return Err(Diagnostic::error("lookup", span, message)
                    .hint("name the table, and write the view's conditions into ON"));
            }
            Object::Table(table) => table,
        };
        if table.is_broken() {
            return Err(Diagnostic::told_before(span));
        }
        let made = table
            .columns
            .iter()
            .find(|column| !matches!(column.source, ColumnSource::Physical | ColumnSource::Broken));
        if let Some(column) = made {
            let what = "a column that is computed, in a table that rows are looked up in, is";
            return Err(Diagnostic::unsupported(column.span, what)
                .hint("compute it in the query, from the columns of the table"));
        }
        let qualifier = match alias {
            Some(alias) => vec![alias.name.value.clone()],
            None => vec![path.place.catalog, path.place.database, path.object],
        };
        Ok((table, qualifier))
    }

    /// The time is the processing time of a row before the table.
    fn check_time(&self, time: &ast::Expr, from: &From, around: &Around) -> Result<()> {
        let binder = Binder::new(self.script, &from.scope, around.span);
        let place = binder.place(time);
        let hint =
            "CREATE TABLE o (…, proc_time AS PROCTIME()) …  and  FOR SYSTEM_TIME AS OF o.proc_time";
        match binder.bind(time)? {
            Expr::Column { index, .. } if from.is_proctime(index) => Ok(()),
            Expr::Column { index, .. } if from.columns[index].rowtime => {
                let what = "a join with a table as it was at an event time is";
                Err(Diagnostic::unsupported(place, what)
                    .detail("Each version that a late row may ask for would have to be kept.")
                    .hint(hint))
            }
            _ => {
                let message =
                    "FOR SYSTEM_TIME AS OF takes the processing time of the rows before the table";
                Err(Diagnostic::error("lookup", place, message)
                    .detail("A query that stands still reads a table as of a time, with `lakeward sql`.")
                    .hint(hint))
            }
        }
    }

    /// `SELECT /*+ LOOKUP('table'='d', …) */`. What it tunes in Flink is how each row asks for its own; here all rows of the table are in
    /// memory.
    pub(super) fn read_lookup_hints(&mut self, statement: Span) {
        let script = self.script;
        let looked_up = std::mem::take(&mut self.looked_up);
        let of_statement =
            |hint: &&Hint| hint.follows > statement.start && hint.follows <= statement.end;
        for hint in script.hints.iter().filter(of_statement) {
            let mut cursor = Cursor::new(script, &hint.tokens);
            let behind = script.text.get(..hint.follows).unwrap_or_default();
            let is_select = behind
                .get(behind.len().saturating_sub("SELECT".len())..)
                .is_some_and(|word| word.eq_ignore_ascii_case("SELECT"));
            if !is_select || !cursor.eat_word("LOOKUP") {
                continue;
            }
            self.read_hints.insert(hint.span.start);
            let options = cursor.options(&mut self.told);
            let options = options.and_then(|options| cursor.expect_end().map(|()| options));
            if let Some(options) = self.told.settle(options) {
                let checked = check_hint(&options, hint.span, &looked_up);
                if self.told.settle(checked).is_some() {
                    let message = "the hint LOOKUP has no effect here";
                    self.told.tell(
                        Diagnostic::notice("hint", hint.span, message)
                            .detail("All rows of the table are in memory: nothing is waited for, and nothing comes out of order."),
                    );
                }
            }
        }
    }
}

/// # Errors
/// A hint that names no table that is looked up in, or asks for what is not done.
fn check_hint(options: &[OptionText], span: Span, looked_up: &[String]) -> Result<()> {
    let value = |key: &str| options.iter().find(|option| option.key.value == key);
    if let Some(option) = options
        .iter()
        .find(|o| !HINTS.contains(&o.key.value.as_str()))
    {
        let message = format!("the hint LOOKUP has no option '{}'", option.key.value);
        return Err(Diagnostic::error("hint", option.key.span, message)
            .hint(format!("options: {}", HINTS.join(", "))));
    }
    let Some(table) = value("table") else {
        return Err(
            Diagnostic::error("hint", span, "the hint LOOKUP says of no table")
                .hint("/*+ LOOKUP('table'='d') */"),
        );
    };
    if !looked_up.contains(&table.value.value) {
        let message = format!("no row is looked up in '{}' here", table.value.value);
        let error = Diagnostic::error("hint", table.value.span, message);
        return Err(match looked_up.first() {
            Some(known) => error.hint(format!("LOOKUP('table'='{known}')")),
            None => error.detail("It is about JOIN d FOR SYSTEM_TIME AS OF o.proc_time AS d."),
        });
    }
    for key in [
        "retry-predicate",
        "retry-strategy",
        "fixed-delay",
        "max-attempts",
    ] {
        if let Some(option) = value(key) {
            let what = "asking again for a row that was not found is";
            return Err(Diagnostic::unsupported(option.key.span, what)
                .detail("All rows behind it would wait. A row that comes to the table later is found from the table's next reload on.")
                .hint("'lookup.full-cache.periodic-reload.interval' = '10 s' in the table's WITH reloads it more often"));
        }
    }
    for key in ["async", "shuffle"] {
        if let Some(option) = value(key) {
            let said = option.value.value.to_ascii_lowercase();
            if !["true", "false"].contains(&said.as_str()) {
                let message = format!("'{}' is not a value of '{key}'", option.value.value);
                return Err(
                    Diagnostic::error("hint", option.value.span, message).hint("'true' or 'false'")
                );
            }
        }
    }
    Ok(())
}

impl Relation {
    /// Each row with those of its keys, their columns behind those that are there.
    ///
    /// # Errors
    /// A join without a key, or behind what keeps state.
    pub(super) fn lookup(
        self,
        (lookup, right): (Lookup, Relation),
        kind: JoinKind,
        conditions: Vec<Expr>,
        span: Span,
    ) -> Result<Relation> {
        if let Some(state) = self.all().into_iter().find_map(Relation::state) {
            let what = format!("looking rows up behind {state} is");
            return Err(Diagnostic::unsupported(span, what)
                .hint("look them up below: FROM (SELECT … FROM o JOIN d FOR SYSTEM_TIME AS OF o.proc_time AS d ON …)"));
        }
        let width = self.columns.len();
        let said = Said::of(conditions, kind, width);
        if said.equal.is_empty() {
            let message = format!(
                "nothing says which rows of '{}' a row is joined with",
                lookup.table.name
            );
            return Err(Diagnostic::error("lookup", span, message)
                .detail("An equation with a column of the table is needed; FLOAT and DOUBLE are no keys.")
                .hint("ON o.key = d.key"));
        }
        let left = keep(self, said.of_left, span)?;
        let (of_left, of_right): (Vec<Expr>, Vec<Expr>) = said.equal.into_iter().unzip();
        let (left, keys) = with_keys(left, &of_left);
        let all = |conditions: Vec<Expr>| match conditions.is_empty() {
            true => Ok(None),
            false => joined(Function::And, conditions, span).map(Some),
        };
        let on = all(said.others)?.map(|on| of_pairs(&on, width));
        let filter = all(said.of_right)?;
        let more = left.columns.len() - width;
        let columns = Sides::new(kind, &left.columns, &right.columns).columns();
        let relation = Relation {
            operator: Algebra::Lookup {
                input: Box::new(left),
                lookup: Box::new(LookedUp {
                    table: lookup.table,
                    kind,
                    columns: lookup.columns,
                    keys: keys.into_iter().zip(of_right).collect(),
                    filter,
                    on,
                }),
            },
            columns,
        };
        Ok(match more {
            0 => relation,
            more => relation.without(width..width + more),
        })
    }
}

/// A condition on a row and one of the table's, where the row has `width` columns before it has those of its keys.
fn of_pairs(on: &Expr, width: usize) -> ElementCondition {
    let reads = columns_of(on).into_iter().filter(|column| *column < width);
    let reads: Vec<usize> = reads.collect();
    let is = on.map_columns(&mut |column| match reads.binary_search(&column) {
        Ok(place) => place,
        Err(_) => reads.len() + column - width,
    });
    ElementCondition { reads, is }
}
