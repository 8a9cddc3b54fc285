//! The other way round: the columns that the fields of a registered schema would be, as Flink's `AvroSchemaConverter` says, and
//! whether columns that a table has can be read of it.

use super::plan;
use lw_graph::{Field, LogicalType, TypeKind};
use lw_schemas::AvroSchema;
use lw_schemas::avro::{Kind, Logical, TypeId};

/// A record may hold itself; a column cannot.
const NESTED: usize = 20;

/// The fields of a registered record, each as the column that it would be: one that admits NULL, since records of older schemas do
/// not have it. `None` for a field that no column reads.
///
/// # Errors
/// Why the schema is that of no record.
pub fn registered_columns(text: &str) -> Result<Vec<(String, Option<LogicalType>)>, String> {
    let schema = AvroSchema::parse(text).map_err(|error| error.to_string())?;
    let Kind::Record(record) = &schema.root().kind else {
        return Err(format!("it is {}, not a record", schema.root().kind.word()));
    };
    let columns = record.fields.iter().map(|field| {
        let ty = column(&schema, field.ty, 0).map(|ty| ty.with_nullable(true));
        let own = |ty: &LogicalType| [Field::new(field.name.clone(), ty.clone())];
        let ty = ty.filter(|ty| plan::plan(&schema, &own(ty)).is_ok());
        (field.name.clone(), ty)
    });
    Ok(columns.collect())
}

/// Why no record of the schema can be read as these columns, in words.
pub fn why_unreadable(text: &str, columns: &[Field]) -> Option<String> {
    let schema = AvroSchema::parse(text).ok()?;
    plan::plan(&schema, columns).err()
}

fn column(schema: &AvroSchema, id: TypeId, within: usize) -> Option<LogicalType> {
    if within > NESTED {
        return None;
    }
    if let Some((_, other)) = schema.nullable(id) {
        return Some(column(schema, other, within + 1)?.with_nullable(true));
    }
    let inside = |id: TypeId| column(schema, id, within + 1);
    let ty = schema.get(id);
    let kind = match (&ty.kind, ty.logical) {
        (Kind::Boolean, _) => TypeKind::Boolean,
        (Kind::Int, Some(Logical::Date)) => TypeKind::Date,
        (Kind::Int, Some(Logical::TimeMillis)) => TypeKind::Time(3),
        (
            Kind::Long,
            Some(
                Logical::TimestampMillis
                | Logical::TimestampMicros
                | Logical::TimestampNanos
                | Logical::LocalTimestampMillis
                | Logical::LocalTimestampMicros
                | Logical::LocalTimestampNanos,
            ),
        ) => TypeKind::Timestamp(3),
        // A time of day in microseconds is read as no column.
        (Kind::Long, Some(_)) => return None,
        (Kind::Int, _) => TypeKind::Int,
        (Kind::Long, None) => TypeKind::BigInt,
        (Kind::Float, _) => TypeKind::Float,
        (Kind::Double, _) => TypeKind::Double,
        (Kind::String, _) => TypeKind::string(),
        (Kind::Bytes, Some(Logical::Decimal { precision, scale })) => TypeKind::Decimal {
            precision: u8::try_from(precision).ok().filter(|p| *p <= 38)?,
            scale: u8::try_from(scale).ok()?,
        },
        (Kind::Bytes, _) => TypeKind::bytes(),
        (Kind::Array(of), _) => TypeKind::Array(Box::new(inside(*of)?)),
        (Kind::Map(of), _) => {
            let key = TypeKind::string().not_null();
            TypeKind::Map(Box::new(key), Box::new(inside(*of)?))
        }
        (Kind::Record(record), _) => {
            let fields = record.fields.iter();
            let fields =
                fields.map(|field| Some(Field::new(field.name.clone(), inside(field.ty)?)));
            TypeKind::Row(fields.collect::<Option<Vec<_>>>()?)
        }
        (Kind::Null | Kind::Union(_) | Kind::Fixed(_) | Kind::Enum(_), _) => return None,
    };
    Some(kind.not_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"r","fields":[{fields}]}}"#)
    }

    #[test]
    fn fields_are_the_columns_that_flink_makes_of_them() {
        let cases = [
            (r#""int""#, "INT"),
            (r#"["null","long"]"#, "BIGINT"),
            (
                r#"{"type":"long","logicalType":"timestamp-millis"}"#,
                "TIMESTAMP(3)",
            ),
            (r#"{"type":"int","logicalType":"date"}"#, "DATE"),
            (r#"{"type":"int","logicalType":"time-millis"}"#, "TIME(3)"),
            (
                r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#,
                "DECIMAL(9, 2)",
            ),
            (r#"{"type":"string","logicalType":"uuid"}"#, "STRING"),
            (
                r#"{"type":"array","items":["null","string"]}"#,
                "ARRAY<STRING>",
            ),
            (
                r#"{"type":"map","values":"double"}"#,
                "MAP<STRING NOT NULL, DOUBLE NOT NULL>",
            ),
            (
                r#"{"type":"record","name":"s","fields":[{"name":"x","type":"boolean"}]}"#,
                "ROW<`x` BOOLEAN NOT NULL>",
            ),
            (r#"{"type":"enum","name":"e","symbols":["A"]}"#, "-"),
            (r#"["int","string"]"#, "-"),
            (r#"{"type":"long","logicalType":"time-micros"}"#, "-"),
            (
                r#"{"type":"record","name":"s","fields":[{"name":"x","type":["null","s"]}]}"#,
                "-",
            ),
        ];
        for (ty, expected) in cases {
            let text = record(&format!(r#"{{"name":"c","type":{ty}}}"#));
            let columns = registered_columns(&text).expect("a record");
            let [(name, ty)] = &columns[..] else {
                panic!("{columns:?}");
            };
            let ty = ty.as_ref().map_or("-".to_owned(), ToString::to_string);
            assert_eq!((name.as_str(), ty.as_str()), ("c", expected));
        }
        assert_eq!(
            registered_columns(r#""int""#),
            Err("it is int, not a record".to_owned())
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_field() {
        let text = record(r#"{"name":"n","type":"long"}"#);
        let read = |name: &str, ty: LogicalType| why_unreadable(&text, &[Field::new(name, ty)]);
        assert_eq!(read("n", TypeKind::BigInt.not_null()), None);
        assert_eq!(read("other", TypeKind::Int.nullable()), None);
        assert_eq!(
            read("n", TypeKind::Int.nullable()).as_deref(),
            Some("field 'n': the writer's long cannot be read as INT")
        );
    }
}
