//! Which column of an Iceberg table a name of a script means, once somebody has renamed columns.
//!
//! A script has names, a table has field ids under names that change. So what a name meant when its query first wrote to the
//! table is kept with the table's commits, and holds from then on: 1. A name means the field that it is *bound* to. 2. Where
//! that is not there (the column was dropped, or nothing was written yet), the field of that name. 3. A name that was never
//! bound means the field that had it before. A field is at most one of the names, and the earlier rule has it.
//!
//! The writer asks about the table's columns, an audit about those of each file: with the same rules, so that they agree.

use crate::name_in_files;

/// A column as a script names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnName {
    pub name: String,
    /// The field id that it is bound to.
    pub bound: Option<i32>,
    /// Ids of the fields that ever had the name, the newest first.
    pub had: Vec<i32>,
}

impl ColumnName {
    /// Of a table in which nothing was ever renamed.
    pub fn plain(name: &str) -> ColumnName {
        ColumnName {
            name: name.to_owned(),
            ..ColumnName::default()
        }
    }
}

impl From<&str> for ColumnName {
    fn from(name: &str) -> ColumnName {
        ColumnName::plain(name)
    }
}

/// Where among `fields`, each a name (the table's own, or the one in files) and a field id, each of the columns is.
pub fn places<'a>(
    columns: &[ColumnName],
    fields: impl Iterator<Item = (&'a str, Option<i32>)>,
) -> Vec<Option<usize>> {
    let fields: Vec<(String, Option<i32>)> =
        fields.map(|(name, id)| (name_in_files(name), id)).collect();
    let with_id = |id: i32| fields.iter().position(|(_, own)| *own == Some(id));
    let bound = |column: &ColumnName| Vec::from_iter(column.bound.and_then(with_id));
    let named = |column: &ColumnName| {
        let name = name_in_files(&column.name);
        Vec::from_iter(fields.iter().position(|(own, _)| *own == name))
    };
    let had = |column: &ColumnName| {
        let had = column.had.iter().filter(|_| column.bound.is_none());
        had.filter_map(|id| with_id(*id)).collect::<Vec<_>>()
    };
    let mut places = vec![None; columns.len()];
    place(&mut places, columns, bound);
    place(&mut places, columns, named);
    place(&mut places, columns, had);
    places
}

/// Gives each column that has no place yet the first that the rule knows and no other has.
fn place(
    places: &mut [Option<usize>],
    columns: &[ColumnName],
    rule: impl Fn(&ColumnName) -> Vec<usize>,
) {
    for (index, column) in columns.iter().enumerate() {
        if places[index].is_none() {
            let mut found = rule(column).into_iter();
            places[index] = found.find(|at| !places.contains(&Some(*at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name`, `name@bound` and `name had id id`, against `name@id`; where each is.
    fn check(columns: &str, fields: &str, expected: &str) {
        let split = |text: &str| {
            let (name, id) = text.split_once('@').unwrap_or((text, ""));
            (name.to_owned(), id.parse().ok())
        };
        let column = |text: &str| {
            let mut words = text.split_whitespace();
            let (name, bound) = split(words.next().expect("a name"));
            let had = words.skip(1).map(|id| id.parse().expect("an id")).collect();
            ColumnName { name, bound, had }
        };
        let columns: Vec<ColumnName> = columns.split(", ").map(column).collect();
        let fields: Vec<(String, Option<i32>)> = fields.split(", ").map(split).collect();
        let found = places(&columns, fields.iter().map(|(name, id)| (&**name, *id)));
        let found = found.into_iter().map(|at| match at {
            Some(at) => fields[at].0.clone(),
            None => "-".to_owned(),
        });
        assert_eq!(found.collect::<Vec<_>>().join(" "), expected, "{fields:?}");
    }

    #[test]
    fn a_name_means_the_field_that_it_was_bound_to() {
        check("a@1, b@2", "a@1, b@2", "a b");
        check("a@1, b@2", "b@2, x@1", "x b");
        // Two columns have swapped their names, and another one has taken one that is free.
        check("a@1, b@2", "b@1, a@2", "b a");
        check("a@1, b@2", "c@1, b@2, a@5", "c b");
        // It was dropped, and added again.
        check("a@1, b@2", "b@2, a@5", "a b");
        check("a@1, b@2", "b@2", "- b");
        // Another field that once had its name is not it.
        check("a@1 had 1 4", "x@4", "-");
    }

    #[test]
    fn without_a_bond_it_is_the_field_of_that_name_or_the_one_that_had_it() {
        check("a had 1, b had 2", "x@1, b@2", "x b");
        check("a had 5 1", "x@1, y@5", "y");
        check("a had 5 1", "x@1", "x");
        check("a had 1, b had 2", "b@1", "- b");
        check("a had 1 2, b had 1", "x@1, y@2", "x -");
        check("sepal.length had 1", "sepal_x2Elength@1", "sepal_x2Elength");
        check("a, b", "b, a", "a b");
    }
}
