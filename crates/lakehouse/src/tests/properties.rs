//! `write.*` properties of a table: the files and manifests are as they ask, or the table is not written. What they mean is judged
//! by PyIceberg as well, in `tests/e2e/test_properties.py`.

use super::world::{Fault, Pipeline, TABLE, World, ident, splits};
use crate::TableCatalog;
use crate::commit::alter::{AlterError, Alterer};
use crate::commit::manifests;
use crate::error::Kind;
use crate::upkeep::compaction::{Compactor, Effort};
use arrow_array::{Int32Array, Int64Array, RecordBatch, StringArray};
use iceberg::TableUpdate;
use iceberg::spec::DataFile;
use lw_runtime::Origin;
use lw_runtime::chunk::Chunk;
use lw_runtime::connector::{CommitOutcome, ErrorKind, Sink};
use lw_runtime::manifest::TableChain;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use std::sync::Arc;

const ROWS: i64 = 4000;
const PART: i32 = 1;
const OFF: i32 = 2;
const TEXT: i32 = 3;

/// A table with properties, and the one file of [`ROWS`] rows that was written into it.
struct Written {
    world: World,
    reader: SerializedFileReader<std::fs::File>,
    file: DataFile,
}

fn table(properties: &[(&str, &str)]) -> (World, Pipeline) {
    let world = World::new();
    let mut pipeline = Pipeline::new(&world, world.network(), TableChain::default(), [0, 0]);
    for (key, value) in properties {
        world.set_property(key, value);
    }
    // The table is looked at anew after each checkpoint.
    pipeline.sink.seal().expect("there is nothing to write");
    (world, pipeline)
}

/// Texts of twenty characters, all different.
fn rows() -> Chunk {
    let text = StringArray::from_iter_values((0..ROWS).map(|off| format!("text with a {off:>8}")));
    let columns = RecordBatch::try_from_iter_with_nullable([
        (
            "part",
            Arc::new(Int32Array::from_iter_values((0..ROWS).map(|_| 0))) as _,
            false,
        ),
        (
            "off",
            Arc::new(Int64Array::from_iter_values(0..ROWS)) as _,
            false,
        ),
        ("text", Arc::new(text) as _, true),
    ])
    .expect("columns of one length");
    let origin = |offset| Origin { split: 0, offset };
    Chunk::new(columns, (0..ROWS).map(origin).collect(), splits())
}

fn written(properties: &[(&str, &str)]) -> Written {
    let (world, mut pipeline) = table(properties);
    pipeline.sink.write(rows()).expect("rows are taken");
    pipeline.read[0] = ROWS;
    pipeline.checkpoint();
    assert!(matches!(pipeline.commit(), CommitOutcome::Confirmed { .. }));
    only_file(world)
}

fn only_file(world: World) -> Written {
    let metadata = world.metadata();
    let files = world.catalog.files();
    let head = metadata.current_snapshot().expect("a head");
    let mut found = Vec::new();
    for list in manifests::load_list(files, &metadata, head).expect("a list") {
        let manifest = manifests::load(files, &list).expect("a manifest");
        let there = manifest.entries().iter().filter(|entry| entry.is_alive());
        found.extend(there.map(|entry| entry.data_file().clone()));
    }
    assert_eq!(found.len(), 1, "one file");
    let file = found.remove(0);
    let path = crate::storage::local_path(file.file_path()).expect("a local file");
    let options = ReadOptionsBuilder::new().with_page_index().build();
    let opened = std::fs::File::open(path).expect("it is there");
    let reader = SerializedFileReader::new_with_options(opened, options).expect("Parquet");
    Written {
        world,
        reader,
        file,
    }
}

impl Written {
    fn parquet(&self) -> &ParquetMetaData {
        self.reader.metadata()
    }

    /// Of the column `text`.
    fn pages(&self) -> usize {
        let index = self.parquet().offset_index().expect("it was asked for");
        index[0][2].page_locations().len()
    }
}

#[test]
fn codecs_are_as_the_table_says() {
    let codec = |properties: &[(&str, &str)]| {
        let written = written(properties);
        let codec = written.parquet().row_group(0).column(2).compression();
        assert_eq!(written.world.rows().len(), ROWS as usize, "it can be read");
        codec
    };
    let key = "write.parquet.compression-codec";
    assert!(matches!(codec(&[]), Compression::ZSTD(_)));
    assert!(matches!(codec(&[(key, "gzip")]), Compression::GZIP(_)));
    assert!(matches!(codec(&[(key, "brotli")]), Compression::BROTLI(_)));
    assert_eq!(codec(&[(key, "LZ4")]), Compression::LZ4_RAW);
    assert_eq!(codec(&[(key, "snappy")]), Compression::SNAPPY);
    assert_eq!(codec(&[(key, "uncompressed")]), Compression::UNCOMPRESSED);
    let size = |level: &str| {
        let written = written(&[(key, "zstd"), ("write.parquet.compression-level", level)]);
        written.file.file_size_in_bytes()
    };
    assert!(size("19") < size("1"), "a level is obeyed");
}

#[test]
fn row_groups_pages_and_dictionaries_are_as_large_as_the_table_says() {
    let plain = written(&[]);
    assert_eq!((plain.parquet().num_row_groups(), plain.pages()), (1, 1));
    let grouped = written(&[("write.parquet.row-group-size-bytes", "40000")]);
    let groups = grouped.parquet().num_row_groups();
    assert!((2..20).contains(&groups), "{groups} row groups");
    let paged = written(&[("write.parquet.page-row-limit", "100")]);
    assert_eq!(paged.pages(), 40);
    let paged = written(&[
        ("write.parquet.page-size-bytes", "10000"),
        ("write.parquet.dict-size-bytes", "1"),
    ]);
    assert!((3..10).contains(&paged.pages()), "{} pages", paged.pages());
    let encodings = |written: &Written| -> Vec<Encoding> {
        written
            .parquet()
            .row_group(0)
            .column(2)
            .encodings()
            .collect()
    };
    assert!(encodings(&plain).contains(&Encoding::RLE_DICTIONARY));
    let dictionary = |written: &Written| {
        let chunk = written.parquet().row_group(0).column(2);
        chunk.data_page_offset()
            - chunk
                .dictionary_page_offset()
                .unwrap_or(chunk.data_page_offset())
    };
    let small = written(&[
        ("write.parquet.dict-size-bytes", "1000"),
        ("write.parquet.compression-codec", "none"),
    ]);
    let large = written(&[("write.parquet.compression-codec", "none")]);
    assert!(
        dictionary(&small) < dictionary(&large),
        "the rest is written as it is"
    );
}

#[test]
fn bloom_filters_and_statistics_are_of_the_columns_that_ask() {
    let plain = written(&[]);
    let filters = |written: &Written| -> Vec<Option<i32>> {
        let columns = written.parquet().row_group(0).columns().iter();
        columns
            .map(|chunk| chunk.bloom_filter_offset().and(chunk.bloom_filter_length()))
            .collect()
    };
    assert_eq!(filters(&plain), [None, None, None]);
    let asked = written(&[
        ("write.parquet.bloom-filter-enabled.column.text", "true"),
        ("write.parquet.bloom-filter-enabled.column.off", "false"),
        ("write.parquet.bloom-filter-max-bytes", "4096"),
        ("write.parquet.stats-enabled.column.off", "false"),
    ]);
    let [None, None, Some(length)] = filters(&asked)[..] else {
        panic!("one column has one: {:?}", filters(&asked));
    };
    // A header stands before the bits.
    assert!((2048..4096 + 64).contains(&length), "{length}");
    let has = |chunk: usize| {
        asked
            .parquet()
            .row_group(0)
            .column(chunk)
            .statistics()
            .is_some()
    };
    assert_eq!([has(0), has(1), has(2)], [true, false, true]);
    assert!(
        !asked.file.lower_bounds().contains_key(&OFF),
        "no bound without statistics"
    );
    assert!(asked.file.lower_bounds().contains_key(&PART));
}

#[test]
fn manifests_say_of_a_column_what_the_table_asks() {
    let bounds = |properties: &[(&str, &str)], id: i32| {
        let file = written(properties).file;
        let low = file.lower_bounds().get(&id).map(|bound| bound.to_string());
        let high = file.upper_bounds().get(&id).map(|bound| bound.to_string());
        let counted = file.value_counts().get(&id).copied();
        assert_eq!(
            file.null_value_counts().contains_key(&id),
            counted.is_some()
        );
        assert!(
            file.column_sizes().contains_key(&id),
            "sizes are always there"
        );
        (counted, low.zip(high))
    };
    let texts = |low: &str, high: &str| Some((format!("{low:?}"), format!("{high:?}")));
    let all = Some(4000);
    assert_eq!(
        bounds(&[], TEXT),
        (all, texts("text with a     ", "text with a    !"))
    );
    let mode = "write.metadata.metrics.default";
    assert_eq!(bounds(&[(mode, "none")], TEXT), (None, None));
    assert_eq!(bounds(&[(mode, "counts")], TEXT), (all, None));
    assert_eq!(
        bounds(&[(mode, "truncate(2)")], TEXT),
        (all, texts("te", "tf"))
    );
    assert_eq!(
        bounds(&[(mode, "full")], TEXT),
        (all, texts("text with a        0", "text with a     3999"))
    );
    let own = ("write.metadata.metrics.column.text", "counts");
    assert_eq!(bounds(&[(mode, "none"), own], TEXT), (all, None));
    assert_eq!(bounds(&[(mode, "none"), own], OFF), (None, None));
    let most = ("write.metadata.metrics.max-inferred-column-defaults", "2");
    assert_eq!(bounds(&[most], TEXT), (None, None));
    assert_eq!(bounds(&[most], OFF).0, all);
}

#[test]
fn a_compaction_writes_as_the_table_asks_too() {
    let (world, mut pipeline) = table(&[]);
    for _ in 0..5 {
        pipeline.epoch([3, 0]);
    }
    for (key, value) in [
        ("write.parquet.compression-codec", "gzip"),
        ("write.metadata.metrics.default", "counts"),
        ("write.parquet.bloom-filter-enabled.column.text", "true"),
        ("write.format.default", "orc"),
    ] {
        world.set_property(key, value);
    }
    let mut compactor = Compactor::new(world.network(), world.clock.clone(), world.ids.clone());
    let mut compact = || compactor.compact(&ident(TABLE), Effort::Full, &mut || true);
    assert_eq!(
        compact().expect_err("it asks for other files").to_string(),
        "the table lake.events cannot be compacted: its property write.format.default is 'orc'. Rows are written into Parquet files."
    );
    world.set_property("write.format.default", "parquet");
    assert_eq!(compact().expect("it can be").made, 1);
    assert_eq!(world.rows(), pipeline.expected());
    let made = only_file(world);
    let texts = made.parquet().row_group(0).column(2);
    assert!(matches!(texts.compression(), Compression::GZIP(_)));
    assert!(texts.bloom_filter_offset().is_some());
    assert_eq!(made.file.value_counts().get(&TEXT), Some(&15));
    assert!(made.file.lower_bounds().is_empty() && made.file.upper_bounds().is_empty());
}

#[test]
fn a_table_that_cannot_be_written_as_it_asks_is_not_written() {
    let (world, mut pipeline) = table(&[]);
    let cases = [
        (
            "write.format.default",
            "orc",
            "Its property write.format.default is 'orc'. Rows are written into Parquet files.",
        ),
        (
            "write.upsert.enabled",
            "true",
            "Its property write.upsert.enabled is 'true'. Rows are appended; none replaces another.",
        ),
        (
            "write.object-storage.enabled",
            "true",
            "Its property write.object-storage.enabled is 'true'. Files are in folders by partition, without a hash in their paths.",
        ),
        (
            "write.wap.enabled",
            "true",
            "Its property write.wap.enabled is 'true'. Rows are visible with the commit that appends them.",
        ),
        (
            "encryption.key-id",
            "k",
            "Its property encryption.key-id is 'k'. Files are not encrypted.",
        ),
        (
            "write.target-file-size-bytes",
            "1 GB",
            "Its property write.target-file-size-bytes is '1 GB', and takes a whole number above zero.",
        ),
        (
            "write.parquet.compression-level",
            "99",
            "Its property write.parquet.compression-level is '99', which zstd does not have.",
        ),
    ];
    for (key, value, why) in cases {
        world.set_property(key, value);
        pipeline.read([1, 0]);
        let error = pipeline.sink.seal().expect_err(key);
        assert_eq!(error.kind, ErrorKind::Fix, "{key}");
        assert_eq!(
            error.message, "the table lake.events cannot be written",
            "{key}"
        );
        assert_eq!(error.detail, why);
        world.commit(vec![TableUpdate::RemoveProperties {
            removals: vec![key.to_owned()],
        }]);
        // What was in memory is written once the table allows it.
        pipeline.checkpoint();
        assert!(
            matches!(pipeline.commit(), CommitOutcome::Confirmed { .. }),
            "{key}"
        );
    }
    assert_eq!(world.rows(), pipeline.expected());
}

/// Set and reset by hand, once, whatever becomes of the reply and whoever commits meanwhile.
#[test]
fn properties_are_set_and_reset_by_hand() {
    let set = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
    for fault in [
        Fault::ReplyLost,
        Fault::RequestLost,
        Fault::Resent,
        Fault::Raced,
        Fault::Widened("more"),
    ] {
        let world = World::new();
        Pipeline::new(&world, world.network(), TableChain::default(), [0, 0]).epoch([1, 1]);
        world.set_property("old", "1");
        let network = world.network();
        let mut faults = network.faults.lock().expect("no test panics here");
        faults.push_back(Some(fault));
        drop(faults);
        let mut alterer = Alterer::new(network, world.clock.clone(), world.ids.clone());
        let asked = [set("team", "lake"), ("old".to_owned(), None)];
        match (fault, alterer.set(&ident(TABLE), &asked)) {
            (Fault::RequestLost, Err(AlterError::Catalog(error))) => {
                assert_eq!(error.kind, Kind::Unknown);
                assert!(alterer.set(&ident(TABLE), &asked).expect("it arrives"));
            }
            (_, answer) => assert!(answer.expect("it is possible"), "{fault:?}"),
        }
        let metadata = world.metadata();
        let value = |key: &str| metadata.properties().get(key).map(String::as_str);
        assert_eq!(
            (value("team"), value("old")),
            (Some("lake"), None),
            "{fault:?}"
        );
        assert!(
            !alterer
                .set(&ident(TABLE), &asked)
                .expect("it is so already")
        );
        for key in [
            "lakeward.marker.main",
            "uuid",
            "format-version",
            "current-schema",
        ] {
            let told = alterer.set(&ident(TABLE), &[set(key, "x")]).expect_err(key);
            assert!(told.to_string().starts_with("the property '"), "{told}");
        }
        assert_eq!(world.metadata().properties(), metadata.properties());
    }
}
