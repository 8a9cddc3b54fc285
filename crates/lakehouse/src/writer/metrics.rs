//! What a manifest says of each column: `write.metadata.metrics.*`, by field id.
//!
//! Where the table sets no default, and has more columns of values than `max-inferred-column-defaults`, the first so many have bounds
//! and the others only their sizes. First are the values of a struct itself, then those of the structs, lists and maps in it.

use iceberg::spec::{NestedFieldRef, Schema, Type};
use lw_graph::MetricsMode;
use std::collections::HashMap;

const DEFAULT: &str = "write.metadata.metrics.default";
const OF_COLUMN: &str = "write.metadata.metrics.column.";
const MOST: &str = "write.metadata.metrics.max-inferred-column-defaults";
/// Iceberg's own.
const MOST_DEFAULT: usize = 100;

/// Field ids that are not here are as the default says.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    default: MetricsMode,
    of: HashMap<i32, MetricsMode>,
}

impl Metrics {
    /// Properties that were [checked](lw_graph::heed).
    pub(super) fn of(properties: &HashMap<String, String>, schema: &Schema) -> Metrics {
        let said = properties.get(DEFAULT);
        let said = said.and_then(|text| MetricsMode::parse(text));
        let mut of = HashMap::new();
        if said.is_none() {
            let most = properties.get(MOST).and_then(|text| text.parse().ok());
            let mut leaves = Vec::new();
            collect(schema.as_struct().fields(), &mut leaves);
            let beyond = leaves.into_iter().skip(most.unwrap_or(MOST_DEFAULT));
            of.extend(beyond.map(|id| (id, MetricsMode::Sizes)));
        }
        for (key, value) in properties {
            let id = key.strip_prefix(OF_COLUMN);
            let id = id.and_then(|name| schema.field_id_by_name(name));
            if let (Some(id), Some(mode)) = (id, MetricsMode::parse(value)) {
                of.insert(id, mode);
            }
        }
        Metrics {
            default: said.unwrap_or(MetricsMode::DEFAULT),
            of,
        }
    }

    pub(super) fn mode(&self, id: i32) -> MetricsMode {
        self.of.get(&id).copied().unwrap_or(self.default)
    }

    /// Whether some bounds have more characters.
    pub(super) fn need_more_than(&self, characters: usize) -> bool {
        let longer = |mode: &MetricsMode| match mode {
            MetricsMode::Bounds(Some(length)) => *length > characters,
            MetricsMode::Bounds(None) => true,
            MetricsMode::Sizes | MetricsMode::Counts => false,
        };
        longer(&self.default) || self.of.values().any(longer)
    }
}

fn collect(fields: &[NestedFieldRef], leaves: &mut Vec<i32>) {
    let is_leaf = |field: &&NestedFieldRef| field.field_type.is_primitive();
    leaves.extend(fields.iter().filter(is_leaf).map(|field| field.id));
    for field in fields {
        match &*field.field_type {
            Type::Primitive(_) => {}
            Type::Struct(inner) => collect(inner.fields(), leaves),
            Type::List(list) => collect(std::slice::from_ref(&list.element_field), leaves),
            Type::Map(map) => {
                collect(&[map.key_field.clone(), map.value_field.clone()], leaves);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iceberg::spec::{NestedField, PrimitiveType, StructType};

    fn schema() -> Schema {
        let leaf = |id, name: &str| {
            NestedField::optional(id, name, Type::Primitive(PrimitiveType::String)).into()
        };
        let inner = StructType::new(vec![leaf(3, "b"), leaf(4, "c")]);
        let outer = NestedField::optional(2, "s", Type::Struct(inner)).into();
        let fields = vec![leaf(1, "a"), outer, leaf(5, "d"), leaf(6, "e")];
        Schema::builder()
            .with_fields(fields)
            .build()
            .expect("a schema")
    }

    #[test]
    fn columns_of_their_own_then_the_default_then_the_first_hundred() {
        use MetricsMode::{Bounds, Counts, Sizes};
        let all = [1, 3, 4, 5, 6];
        let modes = |properties: &[(&str, &str)]| {
            let pairs = properties.iter();
            let properties = pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            let metrics = Metrics::of(&properties.collect(), &schema());
            all.map(|id| metrics.mode(id))
        };
        let cut = Bounds(Some(16));
        assert_eq!(modes(&[]), [cut; 5]);
        assert_eq!(modes(&[(MOST, "3")]), [cut, Sizes, Sizes, cut, cut]);
        assert_eq!(modes(&[(MOST, "4")]), [cut, cut, Sizes, cut, cut]);
        assert_eq!(modes(&[(MOST, "1"), (DEFAULT, "counts")]), [Counts; 5]);
        let own = "write.metadata.metrics.column.s.c";
        assert_eq!(
            modes(&[(MOST, "3"), (own, "full")]),
            [cut, Sizes, Bounds(None), cut, cut]
        );
    }
}
