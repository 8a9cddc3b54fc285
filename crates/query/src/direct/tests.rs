//! The rows that are read are those that the condition keeps, and maybe others; what is read at all, and by whom.

use super::*;
use crate::scan::with_views;
use arrow_array::{
    Date32Array, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::prelude::{SessionContext, cast, col, is_null, lit};
use futures::TryStreamExt;
use futures::executor::block_on;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{NestedField, PrimitiveType, Type};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

const FILE: &str = "memory:/t/a.parquet";
const ROWS: i64 = 1000;
const GROUP: i64 = 100;

/// `id` rises; the others come as they like, every seventh of them NULL.
fn table() -> Schema {
    let field = |id, name: &str, of| Arc::new(NestedField::optional(id, name, Type::Primitive(of)));
    let fields = vec![
        Arc::new(NestedField::required(
            1,
            "id",
            Type::Primitive(PrimitiveType::Long),
        )),
        field(2, "n", PrimitiveType::Int),
        field(3, "ratio", PrimitiveType::Double),
        field(4, "kind", PrimitiveType::String),
        field(5, "moment", PrimitiveType::Timestamptz),
        field(6, "day", PrimitiveType::Date),
        field(7, "text", PrimitiveType::String),
    ];
    Schema::builder()
        .with_fields(fields)
        .build()
        .expect("a schema")
}

fn rows() -> RecordBatch {
    let some = |id: i64, salt: i64| {
        let number = (id * 7919 + salt * 104_729) % 1009;
        (number % 7 != 0).then_some(number)
    };
    let ids = || 0..ROWS;
    let kinds = ids().map(|id| some(id, 3).map(|number| format!("kind-{}", number % 5)));
    let texts = ids().map(|id| Some(format!("{id} {}", "long ".repeat(40))));
    let ratio = |id| {
        some(id, 2).map(|number| {
            if number % 10 == 1 {
                f64::NAN
            } else {
                number as f64 / 8.0
            }
        })
    };
    let moments = TimestampMicrosecondArray::from_iter(
        ids().map(|id| Some(1_700_000_000_000_000 + id * 60_000_000)),
    );
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids())),
        Arc::new(Int32Array::from_iter(
            ids().map(|id| some(id, 1).map(|number| number as i32)),
        )),
        Arc::new(Float64Array::from_iter(ids().map(ratio))),
        Arc::new(StringArray::from_iter(kinds)),
        Arc::new(moments.with_timezone("+00:00")),
        Arc::new(Date32Array::from_iter(
            ids().map(|id| some(id, 4).map(|number| number as i32)),
        )),
        Arc::new(StringArray::from_iter(texts)),
    ];
    let schema = schema_to_arrow_schema(&table()).expect("an Arrow schema");
    RecordBatch::try_new(Arc::new(schema), columns).expect("as many values each")
}

/// A file of these rows, in ten row groups.
fn file(rows: &RecordBatch) -> (FileIO, FileScanTask) {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(GROUP as usize));
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties.build()))
        .expect("a writer");
    writer.write(rows).expect("there is memory");
    let bytes = writer.into_inner().expect("there is memory");
    let task = FileScanTask::builder()
        .with_file_size_in_bytes(bytes.len() as u64)
        .with_start(0)
        .with_length(bytes.len() as u64)
        .with_data_file_path(FILE.to_owned())
        .with_data_file_format(DataFileFormat::Parquet)
        .with_schema(Arc::new(table()))
        .with_project_field_ids(Vec::new())
        .with_case_sensitive(true)
        .build();
    let io = FileIO::new_with_memory();
    let out = io.new_output(FILE).expect("a path");
    block_on(out.write(bytes.into())).expect("there is memory");
    (io, task)
}

fn direct(columns: &[usize], filter: Option<&Expr>) -> Direct {
    let context = SessionContext::new();
    let all = Arc::new(with_views(
        schema_to_arrow_schema(&table()).expect("an Arrow schema"),
    ));
    let filters: Vec<Expr> = filter.into_iter().cloned().collect();
    Direct::new(&context.state(), &all, &table(), columns, &filters)
        .expect("there are such columns")
}

/// What is read of a part of the file.
fn read(direct: Direct, io: &FileIO, task: &FileScanTask) -> Option<RecordBatch> {
    let schema = direct.wanted.schema.clone();
    let rows = block_on(Arc::new(direct).read(io.clone(), task, 64)).expect("it can be read")?;
    let batches: Vec<RecordBatch> = block_on(rows.try_collect()).expect("it can be read");
    Some(concat_batches(&schema, &batches).expect("of one schema"))
}

/// The rows of these columns that meet the condition, by the condition alone.
fn kept(rows: &RecordBatch, condition: &Expr, columns: &[usize]) -> RecordBatch {
    let context = SessionContext::new();
    let schema = DFSchema::try_from(rows.schema().as_ref().clone()).expect("a schema");
    let condition = context
        .state()
        .create_physical_expr(condition.clone(), &schema)
        .expect("a condition");
    let stays = condition
        .evaluate(rows)
        .and_then(|value| value.into_array(rows.num_rows()));
    let stays = as_boolean_array(&stays.expect("values"))
        .expect("booleans")
        .clone();
    filter_record_batch(rows, &stays)
        .and_then(|rows| rows.project(columns))
        .expect("of one schema")
}

/// Each with the rows of the row groups that it leaves.
#[test]
fn what_a_condition_keeps_is_read() {
    let rows = rows();
    let (io, task) = file(&rows);
    let moment = |minute: i64| {
        let micros = 1_700_000_000_000_000 + minute * 60_000_000;
        lit(ScalarValue::TimestampMicrosecond(
            Some(micros),
            Some("+00:00".into()),
        ))
    };
    let all = rows.num_rows();
    let cases = [
        (col("id").lt(lit(250_i64)), 300),
        (col("id").eq(lit(777_i64)), 100),
        (
            col("id").eq(lit(777_i64)).and(col("text").is_not_null()),
            100,
        ),
        (col("id").gt_eq(lit(2000_i64)), 0),
        (moment(950).lt(col("moment")), 100),
        (col("moment").between(moment(101), moment(199)), 100),
        (col("n").eq(lit(-1)), 0),
        (col("n").lt(lit(500)), all),
        (is_null(col("n")), all),
        (col("kind").eq(lit("kind-3")), all),
        (col("kind").eq(lit("no kind")), 0),
        (col("kind").not_eq(lit("kind-3")), all),
        (col("kind").like(lit("kind-%")), all),
        // A NaN is above all bounds, and in none.
        (col("ratio").gt(lit(1e9)), all),
        (col("ratio").is_not_null(), all),
        (cast(col("day"), DataType::Int32).lt(lit(2000)), all),
        (col("id").lt(lit(100_i64)).or(col("n").gt(lit(5000))), 100),
        (lit(true), all),
    ];
    for (condition, expected) in cases {
        for columns in [&[0][..], &[6, 0, 1, 3], &[0, 6], &[6, 5, 4, 3, 2, 1, 0]] {
            let direct = direct(columns, Some(&condition));
            let wanted = rows.project(columns).expect("columns");
            let wanted = direct.alike(&wanted).expect("columns");
            let read = read(direct, &io, &task).expect("nothing is to be fitted");
            assert_eq!(read.schema(), wanted.schema(), "{condition}");
            // One column alone spares nothing, so its row groups are read as a whole.
            if columns.len() == 1 {
                assert_eq!(read.num_rows(), expected, "{condition}");
            }
            // By their ids, since those that are read besides do not matter.
            let ids = |rows: &RecordBatch| {
                let ids = rows.column_by_name("id").expect("it is asked for");
                let ids = ids.as_any().downcast_ref::<Int64Array>().expect("numbers");
                ids.values().to_vec()
            };
            let kept = kept(&rows, &condition, columns);
            let found: HashSet<i64> = ids(&read).into_iter().collect();
            assert_eq!(found.len(), read.num_rows(), "{condition}: each once");
            assert!(
                ids(&kept).iter().all(|id| found.contains(id)),
                "{condition}"
            );
            let same = ids(&read)
                .into_iter()
                .map(|id| wanted.slice(id as usize, 1));
            let same: Vec<RecordBatch> = same.collect();
            assert_eq!(
                read,
                concat_batches(&wanted.schema(), &same).expect("rows"),
                "{condition}"
            );
        }
    }
}

#[test]
fn parts_of_a_file_have_each_row_group_once() {
    let rows = rows();
    let (io, task) = file(&rows);
    for parts in 1..=13 {
        let step = task.length.div_ceil(parts);
        let mut ids = Vec::new();
        for part in 0..parts {
            let start = part * step;
            let part = FileScanTask {
                start,
                length: step.min(task.length.saturating_sub(start)),
                ..task.clone()
            };
            if part.length > 0 {
                let read = read(direct(&[0], None), &io, &part).expect("nothing is to be fitted");
                ids.extend_from_slice(
                    read.column(0)
                        .as_any()
                        .downcast_ref::<Int64Array>()
                        .expect("numbers")
                        .values(),
                );
            }
        }
        assert_eq!(ids, (0..ROWS).collect::<Vec<_>>(), "{parts} parts");
    }
}

/// A filter over a narrow column spares a wide one; it spares nothing where it is all that is read, or keeps half.
#[test]
fn rows_are_tested_while_they_are_decoded_where_that_spares_bytes() {
    let rows = rows();
    let (io, task) = file(&rows);
    let check = |columns: &[usize], condition: Expr, expected: bool| {
        let direct = direct(columns, Some(&condition));
        let filter = direct.filter.as_ref().expect("a condition");
        let bytes = block_on(async { io.new_input(FILE).expect("a path").reader().await })
            .expect("it is there");
        let mut bytes = ArrowFileReader::new(FileMetadata { size: task.length }, bytes);
        let metadata = block_on(bytes.get_metadata(None)).expect("a footer");
        let file = File::of(ArrowReaderMetadata::try_new(
            metadata,
            ArrowReaderOptions::new().with_skip_arrow_metadata(true),
        ));
        let file = direct
            .fitting(file.expect("a footer").expect("ids"))
            .expect("a footer")
            .expect("as the table has it");
        let groups: Vec<usize> = (0..10).collect();
        assert_eq!(
            filter.spares(&file, &groups),
            expected,
            "{condition} for {columns:?}"
        );
    };
    check(&[6, 0], col("kind").eq(lit("kind-3")), true);
    check(&[6, 0], col("id").lt(lit(50_i64)), true);
    check(&[6, 0], col("id").lt(lit(500_i64)), false);
    check(&[3], col("kind").eq(lit("kind-3")), false);
    check(&[0], col("text").eq(lit("x")), false);
    check(&[6, 0], col("kind").like(lit("%-3")), false);
}

/// What Iceberg's reader is for.
#[test]
fn files_that_have_to_be_fitted_are_left_to_icebergs_reader() {
    let rows = rows();
    let changed = |at: usize, change: &dyn Fn(Field) -> Field, column: ArrayRef| {
        let schema = rows.schema();
        let mut fields: Vec<_> = schema.fields().to_vec();
        fields[at] = Arc::new(change(fields[at].as_ref().clone()));
        let mut columns = rows.columns().to_vec();
        columns[at] = column;
        RecordBatch::try_new(Arc::new(Columns::new(fields)), columns).expect("as many values each")
    };
    let id = |id: &str| {
        std::collections::HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_owned())])
    };
    let narrow =
        datafusion::arrow::compute::cast(rows.column(0), &DataType::Int32).expect("small numbers");
    let widened = changed(0, &|field| field.with_data_type(DataType::Int32), narrow);
    let added = changed(
        0,
        &|field| field.with_metadata(id("99")),
        rows.column(0).clone(),
    );
    let renamed = changed(
        0,
        &|field| field.with_name("number"),
        rows.column(0).clone(),
    );
    let bare = |field: Field| field.with_metadata(std::collections::HashMap::new());
    let without_id = changed(0, &bare, rows.column(0).clone());
    let condition = col("id").lt(lit(250_i64));
    for (rows, direct_read) in [
        (rows.clone(), true),
        (renamed, true),
        (widened, false),
        (added, false),
        (without_id, false),
    ] {
        let (io, task) = file(&rows);
        for direct in [direct(&[0, 1], None), direct(&[1], Some(&condition))] {
            assert_eq!(
                read(direct, &io, &task).is_some(),
                direct_read,
                "{:?}",
                rows.schema()
            );
        }
        // The other columns are as they were.
        assert!(read(direct(&[1], None), &io, &task).is_some());
    }
    let (io, mut task) = file(&rows);
    task.data_file_format = DataFileFormat::Orc;
    assert!(read(direct(&[0], None), &io, &task).is_none());
}
