//! Which partition of the table each row goes to, and what it is called.
//!
//! The values stand in the log, as text, and not in the data files. A folder `column=value/…` is only for people: what a file
//! system or a URI would not take is written `%XX` in its name, and a long name is cut.

use super::action::PartitionValues;
use super::schema::{Column, Type, decimal};
use crate::error::{CatalogError, Kind};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{ArrowError, DataType};
use std::collections::HashMap;

/// A folder's name may have 255 bytes.
const LONGEST_NAME: usize = 200;
const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// Rows of one partition.
pub(super) struct Part {
    /// The same for the same values, and for no others.
    pub(super) key: Vec<u8>,
    pub(super) values: PartitionValues,
    pub(super) folder: String,
    pub(super) rows: Vec<u32>,
}

/// A batch's rows by partition.
pub(super) struct Parted {
    pub(super) parts: Vec<Part>,
    /// For each row, which of the parts has it.
    pub(super) of_row: Vec<u32>,
}

/// Refuses a column whose values would have more than one text, or one that readers take apart.
pub(super) fn check(column: &Column) -> Result<(), CatalogError> {
    let of_one_text = match &column.ty {
        Type::Primitive(ty) => {
            let whole = ["byte", "short", "integer", "long"].contains(&ty.as_str());
            whole || ["string", "boolean", "date"].contains(&ty.as_str()) || decimal(ty).is_some()
        }
        Type::Nested(_) => false,
    };
    if of_one_text {
        return Ok(());
    }
    Err(CatalogError::new(
        Kind::BadRequest,
        format!(
            "a Delta table cannot be partitioned by {}, which is {}: take text, whole numbers, decimals, booleans or dates",
            column.name, column.ty
        ),
    ))
}

/// Deals the rows out by the values of these columns.
pub(super) fn split(names: &[String], columns: &[ArrayRef]) -> Result<Parted, ArrowError> {
    let fields = columns.iter();
    let fields = fields.map(|column| SortField::new(column.data_type().clone()));
    let keys = RowConverter::new(fields.collect())?.convert_columns(columns)?;
    let options = FormatOptions::default();
    let shown = columns
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let shown = shown.collect::<Result<Vec<_>, _>>()?;
    let mut known: HashMap<Vec<u8>, u32> = HashMap::new();
    let mut parted = Parted {
        parts: Vec::new(),
        of_row: Vec::with_capacity(keys.num_rows()),
    };
    for (row, key) in keys.iter().enumerate() {
        let row_number = u32::try_from(row).expect("rows of a batch are fewer than 2^32");
        let part = match known.get(key.as_ref()) {
            Some(part) => *part,
            None => {
                let part = u32::try_from(parted.parts.len()).expect("parts are fewer than rows");
                known.insert(key.as_ref().to_vec(), part);
                let value = |index: usize| value(&columns[index], &shown[index], row);
                let values = names.iter().enumerate();
                let values: PartitionValues = values
                    .map(|(index, name)| (name.clone(), value(index)))
                    .collect();
                parted.parts.push(Part {
                    key: key.as_ref().to_vec(),
                    folder: folder(names, &values),
                    values,
                    rows: Vec::new(),
                });
                part
            }
        };
        parted.of_row.push(part);
        parted.parts[part as usize].rows.push(row_number);
    }
    Ok(parted)
}

/// An empty text cannot be told from NULL in Delta, which has it for NULL.
fn value(column: &ArrayRef, shown: &ArrayFormatter<'_>, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    let text = match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        _ => shown.value(row).to_string(),
    };
    Some(text).filter(|text| !text.is_empty())
}

fn folder(names: &[String], values: &PartitionValues) -> String {
    let one = |name: &String| {
        let value = values[name].as_deref();
        let value = value.map_or_else(|| NULL_FOLDER.to_owned(), plain);
        format!("{}={value}", plain(name))
    };
    names.iter().map(one).collect::<Vec<_>>().join("/")
}

fn plain(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
        if name.len() >= LONGEST_NAME / 2 {
            break;
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{BooleanArray, Date32Array, Decimal128Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn values_are_deltas_texts_and_folders_are_harmless() {
        let names = ["day", "who", "price", "flag"].map(str::to_owned);
        let price = Decimal128Array::from(vec![Some(-1065), None, Some(5), Some(-1065)]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Date32Array::from(vec![
                Some(0),
                None,
                Some(20_000),
                Some(0),
            ])),
            Arc::new(StringArray::from(vec!["a/b %ü", "", "..", "a/b %ü"])),
            Arc::new(price.with_precision_and_scale(9, 2).expect("it fits")),
            Arc::new(BooleanArray::from(vec![true, false, true, true])),
        ];
        let parted = split(&names, &columns).expect("all can be split by");
        let shown: Vec<String> = parted
            .parts
            .iter()
            .map(|part| format!("{:?} {:?} {}", part.rows, part.values, part.folder))
            .collect();
        expect_test::expect![[r#"
            [0, 3] {"day": Some("1970-01-01"), "flag": Some("true"), "price": Some("-10.65"), "who": Some("a/b %ü")} day=1970-01-01/who=a%2Fb%20%25%C3%BC/price=-10.65/flag=true
            [1] {"day": None, "flag": Some("false"), "price": None, "who": None} day=__HIVE_DEFAULT_PARTITION__/who=__HIVE_DEFAULT_PARTITION__/price=__HIVE_DEFAULT_PARTITION__/flag=false
            [2] {"day": Some("2024-10-04"), "flag": Some("true"), "price": Some("0.05"), "who": Some("..")} day=2024-10-04/who=../price=0.05/flag=true
        "#]]
        .assert_eq(&(shown.join("\n") + "\n"));
        assert_eq!(parted.of_row, [0, 1, 2, 0]);
    }
}
