//! Rows are shown as `number:columns`.

use super::*;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use lw_graph::LogicalType;
use lw_sim::SimClock;

const NOW: Duration = Duration::ZERO;

fn table(fields: Vec<(&str, LogicalType, Generator)>, rows: Option<u64>) -> DatagenSource {
    DatagenSource {
        table: "made_up".to_string(),
        rows_per_second: 10,
        rows,
        columns: (0..fields.len()).map(SourceColumn::Value).collect(),
        value_schema: Schema::new(
            fields
                .iter()
                .map(|(name, ty, _)| Field::new(*name, ty.clone()))
                .collect(),
        ),
        fields: fields.into_iter().map(|(_, _, made)| made).collect(),
    }
}

/// A column of every type.
fn every_type() -> DatagenSource {
    let whole = Generator::Whole { min: -5, max: 5 };
    let real = Generator::Real { min: 0.0, max: 1.0 };
    let letters = Generator::Letters { length: 6 };
    let decimal = TypeKind::Decimal {
        precision: 5,
        scale: 2,
    };
    table(
        vec![
            (
                "n",
                TypeKind::BigInt.not_null(),
                Generator::Sequence {
                    start: 7,
                    end: i64::MAX,
                },
            ),
            ("b", TypeKind::Boolean.nullable(), Generator::Truth),
            ("ti", TypeKind::TinyInt.nullable(), whole.clone()),
            ("si", TypeKind::SmallInt.nullable(), whole.clone()),
            ("i", TypeKind::Int.nullable(), whole.clone()),
            ("f", TypeKind::Float.nullable(), real.clone()),
            ("d", TypeKind::Double.nullable(), real),
            ("dc", decimal.nullable(), whole),
            (
                "fs",
                TypeKind::Float.nullable(),
                Generator::Sequence { start: 1, end: 900 },
            ),
            ("s", TypeKind::string().nullable(), letters.clone()),
            ("by", TypeKind::bytes().nullable(), letters),
            (
                "t",
                TypeKind::Varchar(9).nullable(),
                Generator::Sequence {
                    start: 0,
                    end: 99_999,
                },
            ),
        ],
        None,
    )
}

fn open(spec: &DatagenSource, from: i64, until: Option<i64>) -> (Datagen, Arc<SimClock>) {
    let clock = Arc::new(SimClock::new());
    let mut source = Datagen::new(spec, clock.clone());
    let at = |next| [source.at(next)];
    let (from, until) = (at(from), until.map(at));
    source
        .open(&from, until.as_ref().map(|until| &until[..]))
        .unwrap();
    (source, clock)
}

fn rows_of(polled: &Polled) -> Vec<String> {
    let options = FormatOptions::default().with_null("null");
    let mut shown = Vec::new();
    for batch in &polled.batches {
        let columns = batch.columns.columns().iter();
        let columns: Vec<_> = columns
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for (row, origin) in batch.origins.runs().unwrap().iter().enumerate() {
            let values: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            shown.push(format!("{}:{}", origin.offset, values.join(" ")));
        }
    }
    shown
}

#[test]
fn a_row_is_the_same_wherever_a_read_begins() {
    let spec = every_type();
    let (mut whole, _) = open(&spec, 0, Some(50));
    let all = rows_of(&whole.poll(0, NOW).unwrap());
    assert_eq!(all.len(), 50);
    for begin in [1, 17, 49] {
        let (mut later, _) = open(&spec, begin, Some(50));
        assert_eq!(rows_of(&later.poll(0, NOW).unwrap()), all[begin as usize..]);
    }
    // Frozen: a job that goes on after an update must not make other rows of the same numbers.
    expect_test::expect![[r#"
        0:7 false 5 0 -2 0.23818117 0.3765787733257153 -0.01 1.0 05d47e ac1b8af52fb6 0
        1:8 true 3 3 -2 0.05072779 0.6687305431585399 -0.03 2.0 56a912 d2c2c788cec5 1
        2:9 false -4 4 -1 0.1074438 0.015958807723724378 0.03 3.0 9b90c3 e7a685671f97 2"#]]
    .assert_eq(&all[..3].join("\n"));
    let mut distinct = all.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 50);
}

#[test]
fn rows_come_at_their_pace_from_the_opening_on() {
    let endless = table(
        vec![("b", TypeKind::Boolean.nullable(), Generator::Truth)],
        None,
    );
    let (mut source, clock) = open(&endless, 100, None);
    let mut polled = |ran: u64| {
        clock.advance(Duration::from_millis(ran));
        rows_of(&source.poll(0, NOW).unwrap()).len()
    };
    assert_eq!([0, 99, 1, 450, 50].map(&mut polled), [0, 0, 1, 4, 1]);
    assert_eq!(source.positions()[0].next, 106);
    clock.advance(Duration::from_secs(3600));
    assert_eq!(source.lag(), 36_000);
    let polled = source.poll(0, NOW).unwrap();
    assert_eq!(rows_of(&polled).len(), 8192, "a poll is bounded");
    assert!(!polled.finished);
}

#[test]
fn a_table_ends_with_its_shortest_sequence_or_its_number_of_rows() {
    let sequence = |end| {
        let sequence = Generator::Sequence { start: 3, end };
        ("n", TypeKind::Int.not_null(), sequence)
    };
    for (rows, expected) in [(None, 3), (Some(2), 2), (Some(9), 3), (Some(0), 0)] {
        let (mut source, clock) = open(&table(vec![sequence(5)], rows), 0, None);
        clock.advance(Duration::from_secs(10));
        assert_eq!(source.ends().unwrap()[0].next, expected);
        let polled = source.poll(0, NOW).unwrap();
        assert!(polled.finished);
        let all = ["0:3", "1:4", "2:5"];
        assert_eq!(rows_of(&polled), all[..expected as usize]);
        assert!(source.poll(0, NOW).unwrap().finished);
    }
    let (source, _) = open(&every_type(), 0, None);
    assert_eq!(source.ends().unwrap()[0].next, 900);
}

#[test]
fn no_poll_reads_over_a_cut() {
    let (mut source, _) = open(&every_type(), 0, Some(10));
    source.cut_at(&[4, 7].map(|cut| source.at(cut)));
    let mut progress = Vec::new();
    loop {
        let polled = source.poll(0, NOW).unwrap();
        progress.extend(polled.progress.iter().map(|p| (p.from, p.to)));
        if polled.finished {
            break;
        }
    }
    assert_eq!(progress, [(0, 4), (4, 7), (7, 10)]);
}

#[test]
fn numbers_stay_within_their_bounds() {
    let bounds = [(i64::MIN, i64::MAX), (0, 0), (-3, 3)];
    for (min, max) in bounds {
        let whole_of = Generator::Whole { min, max };
        let drawn: Vec<i64> = (0..1000).map(|row| whole(&whole_of, 9, row)).collect();
        assert!(
            drawn.iter().all(|n| (min..=max).contains(n)),
            "{min}..={max}"
        );
    }
    let all = (0..1000).map(|row| whole(&Generator::Whole { min: -3, max: 3 }, 9, row));
    assert_eq!(all.collect::<std::collections::BTreeSet<_>>().len(), 7);
    let widest = Generator::Real {
        min: -f64::MAX,
        max: f64::MAX,
    };
    assert!((0..1000).all(|row| real(&widest, 9, row).is_finite()));
}
