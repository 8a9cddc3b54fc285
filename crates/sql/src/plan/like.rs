//! `CREATE TABLE … LIKE`: what becomes of each part of the other table (Flink's `MergeTableLikeUtil`).
//!
//! Columns of the other table stand first, in their order; one that this table overwrites stays in its place. Without a word
//! about it every part is taken over, and options of this table count before the other's. All else that both have is a mistake.

use super::Planner;
use crate::Result;
use crate::catalog::{Object, Statement, Table};
use crate::diagnostic::{Diagnostic, Span};
use crate::parse::{ColumnDef, ColumnKind, CreateTable, Feature, LikeRule, Merge};
use std::rc::Rc;

impl Planner<'_> {
    /// The declaration with all that it takes over, and the statements that this is from.
    pub(super) fn like(
        &mut self,
        mut create: CreateTable,
    ) -> Result<(CreateTable, Vec<Statement>)> {
        let Some(like) = create.like.take() else {
            return Ok((create, Vec::new()));
        };
        let (path, object) = self.catalog.get(&like.table)?;
        let base: Rc<Table> = match object {
            Object::Table(table) => table,
            Object::View(_) => {
                let message = format!("'{}' is a view; a table is LIKE a table", path.object);
                return Err(Diagnostic::error("like", like.table.span, message));
            }
            Object::Broken => return Err(Diagnostic::told_before(like.table.span)),
        };
        let merging = Merging {
            base: &base,
            rules: &like.rules,
        };
        create.columns = merging.columns(&mut create)?;
        merging.key(&mut create)?;
        merging.partitions(&mut create)?;
        merging.watermark(&mut create)?;
        merging.options(&mut create)?;
        Ok((create, self.catalog.statements_of(&path)))
    }
}

struct Merging<'a> {
    base: &'a Table,
    rules: &'a [LikeRule],
}

impl Merging<'_> {
    /// The rule for the part, else that for ALL, else Flink's.
    fn merge(&self, feature: Feature) -> Merge {
        let of = |wanted: Option<Feature>| self.rules.iter().find(|rule| rule.feature == wanted);
        match of(Some(feature)).or_else(|| of(None)) {
            Some(rule) => rule.merge,
            None if feature == Feature::Options => Merge::Overwriting,
            None => Merge::Including,
        }
    }

    fn columns(&self, create: &mut CreateTable) -> Result<Vec<ColumnDef>> {
        let feature = |column: &ColumnDef| match column.kind {
            ColumnKind::Computed(..) => Some(Feature::Generated),
            ColumnKind::Metadata { .. } => Some(Feature::Metadata),
            ColumnKind::Physical(_) | ColumnKind::Broken => None,
        };
        let mut columns = self.base.declared.columns.clone();
        columns.retain(|column| {
            feature(column).is_none_or(|feature| self.merge(feature) != Merge::Excluding)
        });
        for own in std::mem::take(&mut create.columns) {
            let name = &own.name.value;
            let Some(at) = columns.iter().position(|column| column.name.value == *name) else {
                columns.push(own);
                continue;
            };
            let kind = feature(&own).filter(|kind| feature(&columns[at]) == Some(*kind));
            let overwritten = kind.is_some_and(|kind| self.merge(kind) == Merge::Overwriting);
            if !overwritten {
                return Err(self.twice(&format!("column '{name}'"), own.name.span, kind));
            }
            columns[at] = own;
        }
        Ok(columns)
    }

    fn key(&self, create: &mut CreateTable) -> Result<()> {
        let base = &self.base.primary_key;
        if base.is_empty() || self.merge(Feature::Constraints) == Merge::Excluding {
            return Ok(());
        }
        match create.primary_key.first() {
            None => create.primary_key.clone_from(base),
            Some(own) => {
                let kind = Some(Feature::Constraints);
                return Err(self.twice("a PRIMARY KEY", own.span, kind));
            }
        }
        Ok(())
    }

    fn partitions(&self, create: &mut CreateTable) -> Result<()> {
        let base = &self.base.partitioned;
        if base.is_none() || self.merge(Feature::Partitions) == Merge::Excluding {
            return Ok(());
        }
        match &create.partitioned {
            None => create.partitioned.clone_from(base),
            Some(own) => {
                let kind = Some(Feature::Partitions);
                return Err(self.twice("a PARTITIONED BY", own.span, kind));
            }
        }
        Ok(())
    }

    fn watermark(&self, create: &mut CreateTable) -> Result<()> {
        let base = self.base.declared.watermark.as_ref();
        let merge = self.merge(Feature::Watermarks);
        let Some(base) = base.filter(|_| merge != Merge::Excluding) else {
            return Ok(());
        };
        match &create.watermark {
            None => create.watermark = Some(base.clone()),
            // Only the watermark of the same column can be overwritten, since a table has but one.
            Some(own) if own.column.value != base.column.value => {
                let message = format!(
                    "table '{}' has a watermark for '{}' already",
                    self.base.path.object, base.column.value
                );
                return Err(Diagnostic::error("like", own.span, message)
                    .detail("A table has one watermark.")
                    .hint("LIKE … (EXCLUDING WATERMARKS)"));
            }
            Some(own) if merge == Merge::Including => {
                return Err(self.twice("a watermark", own.span, Some(Feature::Watermarks)));
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn options(&self, create: &mut CreateTable) -> Result<()> {
        let merge = self.merge(Feature::Options);
        if merge == Merge::Excluding {
            return Ok(());
        }
        let own = std::mem::take(&mut create.options);
        let is_own = |key: &str| own.iter().find(|option| option.key.value == key);
        let mut options = Vec::new();
        for option in &self.base.options {
            match is_own(&option.key.value) {
                None => options.push(option.clone()),
                Some(own) if merge == Merge::Including => {
                    let what = format!("option '{}'", own.key.value);
                    return Err(self.twice(&what, own.key.span, Some(Feature::Options)));
                }
                Some(_) => {}
            }
        }
        options.extend(own);
        create.options = options;
        Ok(())
    }

    fn twice(&self, what: &str, span: Span, feature: Option<Feature>) -> Diagnostic {
        let message = format!("table '{}' has {what} already", self.base.path.object);
        let error = Diagnostic::error("like", span, message);
        error.hint(match feature {
            Some(Feature::Constraints) => "LIKE … (EXCLUDING CONSTRAINTS)",
            Some(Feature::Generated) => "LIKE … (EXCLUDING GENERATED), or OVERWRITING GENERATED",
            Some(Feature::Metadata) => "LIKE … (EXCLUDING METADATA), or OVERWRITING METADATA",
            Some(Feature::Partitions) => "LIKE … (EXCLUDING PARTITIONS)",
            Some(Feature::Options) => "LIKE … (EXCLUDING OPTIONS), or OVERWRITING OPTIONS",
            Some(Feature::Watermarks) => "LIKE … (EXCLUDING WATERMARKS), or OVERWRITING WATERMARKS",
            _ => "give this one another name",
        })
    }
}
