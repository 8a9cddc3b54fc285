//! Columns that change: what `ALTER TABLE` asks for, or rows of a pipeline need (`mended`), as a new schema of the table.
//!
//! A field keeps its id whatever it is called, wherever it stands and however wide it becomes. So no file is touched and no
//! snapshot made: files that are there are read by ids, snapshots keep the schema that they were made with. What would make a value
//! that is there unreadable is refused: narrower types, NOT NULL where NULL may be.
//!
//! One commit is `add-schema` + `set-current-schema`, required to meet the table with this uuid, this schema and no newer
//! field; commits of rows do not come between. The [loop](super::publish) tries again when somebody else changed columns
//! meanwhile, and asks anew then whether the change is possible. A second look settles a lost reply: the schema that was sent is there.

mod properties;

pub(crate) use properties::produce_properties;

use super::branch::Ref;
use super::change::Change;
use super::committer::property;
use super::publish::{Published, Publisher, Step};
use super::rules::Rules;
use super::snapshot::Produced;
use crate::catalog::{LoadedTable, TableCatalog};
use crate::erasure::Erased;
use crate::error::CatalogError;
use crate::ids::Ids;
use crate::schema::{FieldIds, in_words, joined, widened};
use iceberg::spec::{NestedField, NestedFieldRef, Schema, TableMetadata, Type};
use iceberg::{TableIdent, TableRequirement, TableUpdate};
use lw_graph::{ColumnChange, ColumnDeclared, ColumnPlace};
use lw_stdx::clock::Clock;
use std::collections::BTreeSet;
use std::sync::Arc;
use thiserror::Error;
use uuid::Uuid;

/// Why columns do not change.
#[derive(Debug, Error)]
pub enum AlterError {
    #[error("the table has no column '{name}'")]
    Missing { name: String, has: Vec<String> },
    #[error("the table has a column '{0}' already")]
    Exists(String),
    #[error("column '{column}' is {from} and cannot become {to}")]
    Narrower {
        column: String,
        from: String,
        to: String,
    },
    #[error("column '{0}' cannot become NOT NULL")]
    BecomesRequired(String),
    #[error("column '{0}' cannot be added as NOT NULL")]
    AddedRequired(String),
    #[error("column '{column}' is used by the table's {what}")]
    Used { column: String, what: String },
    #[error("the property '{0}' is not set by hand: {1}")]
    Reserved(String, &'static str),
    #[error("'{0}' is the table's only column")]
    Only(String),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl AlterError {
    /// More about it; empty where there is no more.
    pub fn detail(&self) -> String {
        match self {
            AlterError::Missing { has, .. } => format!("It has: {}.", has.join(", ")),
            AlterError::Narrower { .. } => {
                "A type only widens: int to long, float to double, decimal to more digits of the same scale, also inside of lists, maps and structs whose fields stay.".into()
            }
            AlterError::BecomesRequired(_) => "Rows that are there may have NULL in it.".into(),
            AlterError::AddedRequired(_) => "Rows that are there have no value for it.".into(),
            AlterError::Exists(_)
            | AlterError::Reserved(..)
            | AlterError::Used { .. }
            | AlterError::Only(_)
            | AlterError::Catalog(_) => String::new(),
        }
    }

    /// Something to type; empty where there is nothing.
    pub fn hint(&self) -> String {
        match self {
            AlterError::Narrower { column, .. } => format!(
                "Add a column of that type, or RENAME {column} TO something else first and ADD {column} anew."
            ),
            AlterError::AddedRequired(_) => "Leave NOT NULL out.".into(),
            AlterError::Used { .. } => "Change that with Spark or PyIceberg first.".into(),
            _ => String::new(),
        }
    }
}

/// What became of a table's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Altered {
    /// Whether anything is other than before.
    pub changed: bool,
    /// What is gone though the pipeline that wrote the table last writes it.
    pub missed: Option<Missed>,
}

/// Columns of a script that have no place in the table any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    pub pipeline: Uuid,
    pub name: String,
    /// As the script calls them.
    pub columns: Vec<String>,
}

/// Changes the columns of tables of one catalog.
pub struct Alterer {
    publisher: Publisher,
}

impl Alterer {
    pub fn new(catalog: Arc<dyn TableCatalog>, clock: Arc<dyn Clock>, ids: Ids) -> Alterer {
        Alterer {
            publisher: Publisher::new(catalog, clock, ids, Rules::OURS),
        }
    }

    /// Makes all of the changes, in their order, or none.
    ///
    /// # Errors
    /// Why it does not, or that nobody knows whether it did.
    pub fn alter(
        &mut self,
        table: &TableIdent,
        changes: &[ColumnChange],
    ) -> Result<Altered, AlterError> {
        let mut sent: Option<Sent> = None;
        let decide = |loaded: &LoadedTable, _: i64| {
            let metadata = &*loaded.metadata;
            if let Some(sent) = sent.as_ref().filter(|sent| sent.arrived(metadata)) {
                return Ok(Step::Over(Ok(sent.altered.clone())));
            }
            let schema = match altered(metadata, changes) {
                Ok(schema) => schema,
                Err(refusal) => return Ok(Step::Over(Err(refusal))),
            };
            let missed = missed(metadata, &schema);
            let changed = schema.as_struct() != metadata.current_schema().as_struct();
            let altered = Altered { changed, missed };
            if !changed {
                return Ok(Step::Over(Ok(altered)));
            }
            sent = Some(Sent {
                known: metadata
                    .schemas_iter()
                    .map(|schema| schema.schema_id())
                    .collect(),
                schema: schema.clone(),
                altered,
            });
            Ok(Step::Send(Change::Columns(Box::new(schema))))
        };
        // Columns are the table's, not a branch's.
        match self.publisher.publish(table, &Ref::main(), decide)? {
            Published::Over(answer) => answer,
            Published::Landed(_) => Ok(sent.expect("what landed was sent").altered),
            Published::Busy(error) => Err(error.into()),
        }
    }
}

struct Sent {
    /// Ids of the schemas that were there before.
    known: BTreeSet<i32>,
    schema: Schema,
    altered: Altered,
}

impl Sent {
    /// It is the table's schema, or was since.
    fn arrived(&self, metadata: &TableMetadata) -> bool {
        let is_it = |schema: &Schema| schema.as_struct() == self.schema.as_struct();
        let newer = |schema: &Schema| !self.known.contains(&schema.schema_id());
        let mut schemas = metadata.schemas_iter();
        is_it(metadata.current_schema()) || schemas.any(|schema| newer(schema) && is_it(schema))
    }
}

/// The commit that gives a table this schema.
pub(crate) fn produce(metadata: &TableMetadata, schema: &Schema, snapshot_id: i64) -> Produced {
    let before = metadata.current_schema();
    assert!(
        before
            .as_struct()
            .fields()
            .iter()
            .all(|field| kept_or_gone(field, schema)),
        "F1: a field keeps its id and never narrows"
    );
    Produced {
        snapshot_id,
        sequence: metadata.last_sequence_number(),
        requirements: vec![
            TableRequirement::UuidMatch {
                uuid: metadata.uuid(),
            },
            TableRequirement::CurrentSchemaIdMatch {
                current_schema_id: metadata.current_schema_id(),
            },
            TableRequirement::LastAssignedFieldIdMatch {
                last_assigned_field_id: metadata.last_column_id(),
            },
        ],
        updates: vec![
            TableUpdate::AddSchema {
                schema: schema.clone(),
            },
            TableUpdate::SetCurrentSchema { schema_id: -1 },
        ],
        written: Vec::new(),
        expired: Vec::new(),
    }
}

/// What stood in this field can be read in the new schema, or the field is gone.
fn kept_or_gone(field: &NestedField, schema: &Schema) -> bool {
    let Some(now) = schema.field_by_id(field.id) else {
        return true;
    };
    let stays = widened(&field.field_type, &now.field_type).as_ref() == Some(&*now.field_type);
    stays && (field.required || !now.required)
}

/// The table's schema after all of the changes.
pub(crate) fn altered(
    metadata: &TableMetadata,
    changes: &[ColumnChange],
) -> Result<Schema, AlterError> {
    let current = metadata.current_schema();
    let mut columns = Columns {
        metadata,
        fields: current.as_struct().fields().to_vec(),
        ids: FieldIds::behind(metadata.last_column_id(), metadata.format_version()),
    };
    for change in changes {
        match change {
            ColumnChange::Add(column) => columns.add(column)?,
            ColumnChange::Modify(column) => columns.modify(column)?,
            ColumnChange::Drop(name) => columns.drop(name)?,
            ColumnChange::Rename { from, to } => columns.rename(from, to)?,
        }
    }
    Ok(built(metadata, columns.fields)?)
}

fn built(metadata: &TableMetadata, fields: Vec<NestedFieldRef>) -> Result<Schema, CatalogError> {
    let schemas = metadata.schemas_iter().map(|schema| schema.schema_id());
    let newest = schemas.max().unwrap_or_default();
    let key = metadata.current_schema().identifier_field_ids();
    Ok(Schema::builder()
        .with_schema_id(newest + 1)
        .with_fields(fields)
        .with_identifier_field_ids(key)
        .build()?)
}

/// The table's schema once rows with the columns of `wanted`, each at its place, fit it; `None` where no change makes them fit that
/// leaves what is there readable.
pub(crate) fn mended(
    metadata: &TableMetadata,
    wanted: &Schema,
    places: &[Option<usize>],
) -> Result<Option<Schema>, CatalogError> {
    let current = metadata.current_schema();
    let mut fields = current.as_struct().fields().to_vec();
    let mut ids = FieldIds::behind(metadata.last_column_id(), metadata.format_version());
    for (at, field) in fields.iter_mut().enumerate() {
        if !places.contains(&Some(at)) {
            Arc::make_mut(field).required = false;
        }
    }
    for (column, place) in wanted.as_struct().fields().iter().zip(places) {
        if let Some(at) = *place {
            let field = Arc::make_mut(&mut fields[at]);
            let Some(wide) = joined(&field.field_type, &column.field_type) else {
                return Ok(None);
            };
            *field.field_type = wide;
            field.required &= column.required;
        } else if fields.iter().any(|field| field.name == column.name) {
            // Another column of the script goes there.
            return Ok(None);
        } else {
            let mut field = ids.anew(column);
            Arc::make_mut(&mut field).required = false;
            fields.push(field);
        }
    }
    let key: Vec<i32> = current.identifier_field_ids().collect();
    let mut loose = fields.iter().filter(|field| !field.required);
    if loose.any(|field| key.contains(&field.id)) {
        return Ok(None);
    }
    Ok(Some(built(metadata, fields)?))
}

/// A table's columns while they change.
struct Columns<'a> {
    metadata: &'a TableMetadata,
    fields: Vec<NestedFieldRef>,
    ids: FieldIds,
}

impl Columns<'_> {
    fn add(&mut self, column: &ColumnDeclared) -> Result<(), AlterError> {
        self.check_free(&column.name)?;
        if !column.ty.nullable {
            return Err(AlterError::AddedRequired(column.name.clone()));
        }
        let field = self.ids.field(&column.name, &column.ty)?;
        let mut field = NestedField::clone(&field);
        field.doc.clone_from(&column.comment);
        let at = self.place(column.place.as_ref(), self.fields.len())?;
        self.fields.insert(at, Arc::new(field));
        Ok(())
    }

    /// What is not said stays: the comment, the place.
    fn modify(&mut self, column: &ColumnDeclared) -> Result<(), AlterError> {
        let at = self.position(&column.name)?;
        let version = self.metadata.format_version();
        // Only its type is asked for; the ids are those that are there.
        let asked = FieldIds::behind(0, version).field(&column.name, &column.ty)?;
        let mut field = NestedField::clone(&self.fields[at]);
        if asked.required && !field.required {
            return Err(AlterError::BecomesRequired(column.name.clone()));
        }
        if field.required && !asked.required {
            self.check_key(&field)?;
        }
        let wide = widened(&field.field_type, &asked.field_type);
        field.field_type = Box::new(wide.ok_or_else(|| AlterError::Narrower {
            column: column.name.clone(),
            from: in_words(&field.field_type),
            to: in_words(&asked.field_type),
        })?);
        field.required = asked.required;
        field.doc = column.comment.clone().or(field.doc);
        self.fields.remove(at);
        let at = self.place(column.place.as_ref(), at)?;
        self.fields.insert(at, Arc::new(field));
        Ok(())
    }

    fn drop(&mut self, name: &str) -> Result<(), AlterError> {
        let at = self.position(name)?;
        let field = self.fields[at].clone();
        self.check_key(&field)?;
        let mut within = BTreeSet::from([field.id]);
        ids_within(&field.field_type, &mut within);
        let used = |what: String| AlterError::Used {
            column: name.to_owned(),
            what,
        };
        let spec = self.metadata.default_partition_spec();
        if let Some(by) = spec
            .fields()
            .iter()
            .find(|by| within.contains(&by.source_id))
        {
            let what = format!("partitions, by {}({name})", by.transform);
            return Err(used(what));
        }
        let erased = Erased::of(self.metadata)?;
        if erased
            .entries()
            .iter()
            .any(|entry| entry.columns.contains(&field.id))
        {
            return Err(used("erasures, which go by its values".to_owned()));
        }
        let order = self.metadata.default_sort_order();
        if order.fields.iter().any(|by| within.contains(&by.source_id)) {
            return Err(used("sort order".to_owned()));
        }
        if self.fields.len() == 1 {
            return Err(AlterError::Only(name.to_owned()));
        }
        self.fields.remove(at);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), AlterError> {
        let at = self.position(from)?;
        self.check_free(to)?;
        let mut field = NestedField::clone(&self.fields[at]);
        to.clone_into(&mut field.name);
        self.fields[at] = Arc::new(field);
        Ok(())
    }

    fn position(&self, name: &str) -> Result<usize, AlterError> {
        let at = self.fields.iter().position(|field| field.name == name);
        at.ok_or_else(|| AlterError::Missing {
            name: name.to_owned(),
            has: self.fields.iter().map(|field| field.name.clone()).collect(),
        })
    }

    fn place(&self, place: Option<&ColumnPlace>, unsaid: usize) -> Result<usize, AlterError> {
        match place {
            None => Ok(unsaid),
            Some(ColumnPlace::First) => Ok(0),
            Some(ColumnPlace::After(name)) => Ok(self.position(name)? + 1),
        }
    }

    fn check_free(&self, name: &str) -> Result<(), AlterError> {
        match self.position(name) {
            Ok(_) => Err(AlterError::Exists(name.to_owned())),
            Err(_) => Ok(()),
        }
    }

    fn check_key(&self, field: &NestedField) -> Result<(), AlterError> {
        let mut key = self.metadata.current_schema().identifier_field_ids();
        match key.any(|id| id == field.id) {
            true => Err(AlterError::Used {
                column: field.name.clone(),
                what: "key (its identifier fields)".to_owned(),
            }),
            false => Ok(()),
        }
    }
}

fn ids_within(ty: &Type, ids: &mut BTreeSet<i32>) {
    let inside: Vec<&NestedFieldRef> = match ty {
        Type::Primitive(_) => Vec::new(),
        Type::List(list) => vec![&list.element_field],
        Type::Map(map) => vec![&map.key_field, &map.value_field],
        Type::Struct(fields) => fields.fields().iter().collect(),
    };
    for field in inside {
        ids.insert(field.id);
        ids_within(&field.field_type, ids);
    }
}

/// The columns that the newest commit's query writes, and that the table has no more.
fn missed(metadata: &TableMetadata, schema: &Schema) -> Option<Missed> {
    let marker = property(metadata).ok().flatten()?;
    let columns = marker.stints().last().map(|stint| &stint.columns);
    let gone = columns.into_iter().flatten().filter(|(name, id)| {
        schema.field_by_id(**id).is_none() && schema.field_by_name(name).is_none()
    });
    let columns: Vec<String> = gone.map(|(name, _)| name.clone()).collect();
    (!columns.is_empty()).then(|| Missed {
        pipeline: marker.pipeline,
        name: marker.name.clone(),
        columns,
    })
}
