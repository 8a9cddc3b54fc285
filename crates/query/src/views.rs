//! Views of a catalog: SQL that other engines keep there, run where it can be understood here.
//!
//! A view says which engine's SQL it is in, and may say it in several. Each is tried, Trino's first, since it is the nearest to ours;
//! the first that can be planned is the view. Names in it mean what they mean where the view is: a table without a namespace
//! is in the view's own default, and whatever the engine calls the catalog is the catalog that keeps the view.
//!
//! The view's columns are those that it was made with: what its SQL gives is named and cast by them. A view over itself is refused.

use crate::engine::Session;
use crate::left_out::LeftOut;
use crate::tables::damaged;
use crate::{as_of, micros};
use datafusion::catalog::TableProvider;
use datafusion::common::plan_err;
use datafusion::datasource::ViewTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::SessionContext;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{SqlViewRepresentation, ViewMetadata, ViewRepresentation};
use std::sync::Arc;

/// Which names a query, or the SQL of a view, takes for what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// The catalog that is meant where none is named.
    pub(crate) catalog: Option<String>,
    /// The namespace that is meant where none is named.
    pub(crate) namespace: Option<String>,
    /// What the SQL calls that catalog besides.
    pub(crate) alias: Option<String>,
    /// The views that are being planned, the outermost first.
    pub(crate) within: Vec<String>,
}

/// A view that a query names.
pub(crate) struct View<'a> {
    /// What the query calls it.
    pub(crate) name: String,
    /// The catalog that keeps it.
    pub(crate) catalog: Option<String>,
    pub(crate) metadata: &'a ViewMetadata,
}

impl View<'_> {
    /// Plans the view for a query of `session`, named in the SQL of the views `within`.
    ///
    /// # Errors
    /// When none of its SQL can be planned here.
    pub(crate) async fn provide(
        &self,
        session: &Session,
        left_out: &LeftOut,
        within: &[String],
    ) -> Result<Arc<dyn TableProvider>> {
        let mut all = within.to_vec();
        all.push(self.name.clone());
        if within.contains(&self.name) {
            return plan_err!(
                "view '{}' is defined by itself: {}",
                self.name,
                all.join(" -> ")
            );
        }
        let version = self.metadata.current_version();
        let namespace = version.default_namespace().join(".");
        let scope = Scope {
            catalog: self.catalog.clone(),
            namespace: Some(namespace).filter(|namespace| !namespace.is_empty()),
            alias: version.default_catalog().cloned(),
            within: all,
        };
        let context = session.context(left_out, &scope)?;
        let mut refused = None;
        for said in self.by_dialect() {
            match self.plan(&context, &said.sql).await {
                Ok(plan) => return Ok(Arc::new(ViewTable::new(plan, Some(said.sql.clone())))),
                // A catalog that is down is no matter of dialects.
                Err(error @ DataFusionError::External(_)) => return Err(error),
                Err(error) => refused = refused.or(Some((&said.dialect, error))),
            }
        }
        match refused {
            Some((dialect, error)) => plan_err!(
                "view '{}' is in the SQL of {dialect}, and cannot be run here: {}",
                self.name,
                crate::error::in_one_line(&error)
            ),
            None => plan_err!("view '{}' has no SQL", self.name),
        }
    }

    fn by_dialect(&self) -> Vec<&SqlViewRepresentation> {
        let version = self.metadata.current_version();
        let mut all: Vec<&SqlViewRepresentation> = version
            .representations()
            .iter()
            .map(|ViewRepresentation::Sql(said)| said)
            .collect();
        all.sort_by_key(|said| !said.dialect.eq_ignore_ascii_case("trino"));
        all
    }

    async fn plan(&self, context: &SessionContext, sql: &str) -> Result<LogicalPlan> {
        let query = as_of::statement(context, sql).await?;
        let plan = micros::plan(context, query).await?;
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)?;
        let version = self.metadata.current_version();
        let columns = version.schema(self.metadata).map_err(damaged)?;
        let columns = schema_to_arrow_schema(&columns).map_err(damaged)?;
        let (given, wanted) = (plan.schema().columns(), columns.fields());
        if given.len() != wanted.len() {
            return plan_err!(
                "it gives {} columns, and was made with {}",
                given.len(),
                wanted.len()
            );
        }
        let schema = plan.schema().clone();
        let named = given.into_iter().zip(wanted).map(|(given, wanted)| {
            let column = Expr::Column(given).cast_to(wanted.data_type(), &schema)?;
            Ok(column.alias(wanted.name()))
        });
        let named = named.collect::<Result<Vec<_>>>()?;
        LogicalPlanBuilder::from(plan).project(named)?.build()
    }
}
