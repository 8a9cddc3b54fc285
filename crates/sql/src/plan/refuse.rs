//! What a query asks for and this version does not do: found in the syntax, told at the word that asks for it.

use super::Planner;
use super::expr::Binder;
use super::query::Around;
use super::scope::Scope;
use super::unnest::is_unnest;
use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use crate::script::is_word;
use sqlparser::ast::{self, TableFactor};

impl Planner<'_> {
    pub(super) fn refuse_query_clauses(&self, query: &ast::Query, around: &Around) -> Result<()> {
        if query.order_by.is_some() {
            return Err(self
                .refuse(around, "ORDER", "ORDER BY is")
                .detail(
                    "A stream has no end, so it cannot be sorted; the table has no order either.",
                )
                .hint("sort when reading the table"));
        }
        if query.limit_clause.is_some() || query.fetch.is_some() {
            let word = if query.fetch.is_some() {
                "FETCH"
            } else {
                "LIMIT"
            };
            return Err(self
                .refuse(around, word, &format!("{word} is"))
                .hint("limit when reading the table"));
        }
        let others = !query.locks.is_empty()
            || query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty();
        if others {
            return Err(Diagnostic::unsupported(
                around.span,
                "a clause of this query is",
            ));
        }
        Ok(())
    }

    pub(super) fn refuse_select_clauses(
        &self,
        select: &ast::Select,
        around: &Around,
    ) -> Result<()> {
        let clauses = [
            (
                matches!(select.distinct, Some(ast::Distinct::On(_))),
                "DISTINCT",
                "DISTINCT ON is",
            ),
            (select.top.is_some(), "TOP", "TOP is"),
            (select.into.is_some(), "INTO", "SELECT … INTO is"),
            (
                !select.lateral_views.is_empty(),
                "LATERAL",
                "LATERAL VIEW is",
            ),
            (!select.connect_by.is_empty(), "CONNECT", "CONNECT BY is"),
            (!select.sort_by.is_empty(), "SORT", "SORT BY is"),
            (!select.cluster_by.is_empty(), "CLUSTER", "CLUSTER BY is"),
            (
                !select.distribute_by.is_empty(),
                "DISTRIBUTE",
                "DISTRIBUTE BY is",
            ),
            (select.prewhere.is_some(), "PREWHERE", "PREWHERE is"),
        ];
        match clauses.iter().find(|(there, _, _)| *there) {
            None => Ok(()),
            Some((_, word, what)) => Err(self.refuse(around, word, what).detail(
                "This version runs projections, filters, unions and windows.",
            )
            .hint("land the rows with this pipeline and do this with `lakeward sql` or dbt, or run this script on an Apache Flink cluster")),
        }
    }

    pub(super) fn refuse_no_from(&self, around: &Around) -> Diagnostic {
        Diagnostic::error("syntax", around.span, "the query has no FROM")
            .detail("A pipeline reads a topic.")
            .hint("SELECT … FROM source_table")
    }

    pub(super) fn factor_span(&self, factor: &TableFactor, around: &Around) -> Span {
        match factor {
            TableFactor::Table { name, .. } => {
                let scope = Scope::default();
                Binder::new(self.script, &scope, around.span).place(name)
            }
            _ => around.span,
        }
    }

    pub(super) fn refuse_table_factor(&self, factor: &TableFactor, around: &Around) -> Diagnostic {
        match factor {
            TableFactor::Table {
                version: Some(_), ..
            } => self.refuse(around, "SYSTEM_TIME", "FOR SYSTEM_TIME AS OF is"),
            TableFactor::Table {
                sample: Some(_), ..
            } => self.refuse(around, "TABLESAMPLE", "TABLESAMPLE is"),
            TableFactor::MatchRecognize { .. } => {
                self.refuse(around, "MATCH_RECOGNIZE", "MATCH_RECOGNIZE is")
            }
            factor if is_unnest(factor) => self
                .refuse(around, "UNNEST", "UNNEST without a table before it is")
                .hint("FROM table CROSS JOIN UNNEST(items) AS t (item)"),
            _ => self.refuse(around, "FROM", "this kind of table is"),
        }
    }

    /// "not supported yet", under the first such word of the query.
    pub(super) fn refuse(&self, around: &Around, word: &str, what: &str) -> Diagnostic {
        let span = self.find_word(around, word).unwrap_or(around.span);
        let hint = "run this script on an Apache Flink cluster, or write it as projections, filters, unions and windows";
        Diagnostic::unsupported(span, what).hint(hint)
    }

    pub(super) fn find_word(&self, around: &Around, word: &str) -> Option<Span> {
        let mut tokens = self
            .script
            .tokens
            .iter()
            .map(|token| (self.script.span(token.span), token));
        let found = tokens.find(|(span, token)| {
            span.start >= around.span.start && span.end <= around.span.end && is_word(token, word)
        });
        found.map(|(span, _)| span)
    }
}
