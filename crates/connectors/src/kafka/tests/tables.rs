//! Several tables of one log, read together.

use super::*;
use lw_runtime::Chunk;

/// A table `a INT` over the topic.
fn numbers(topic: &str) -> KafkaSource {
    KafkaSource {
        table: topic.to_string(),
        topics: vec![topic.to_string()],
        ..json(false)
    }
}

fn tables(world: &World, specs: &[&KafkaSource]) -> Result<EmbeddedKafka, ConnectorError> {
    let log = Log {
        storage: world.storage.clone(),
        committed: BTreeMap::from([(0, 1)]),
    };
    let specs: Vec<_> = specs.iter().map(|spec| (*spec, Arc::default())).collect();
    EmbeddedKafka::of_tables(&specs, "group", Arc::new(log), None)
}

fn world() -> World {
    let world = World::new(&[("text", 1), ("number", 1)]);
    world.append("text", 0, &["x", "y"]);
    world.append("number", 0, &[r#"{"a": 1}"#, "bad"]);
    world.append("number", 0, &[r#"{"a": 2}"#]);
    world.append("text", 0, &["z"]);
    world
}

#[test]
fn tables_are_read_in_the_order_of_the_log_and_a_chunk_is_of_one() {
    let world = world();
    let both = [&raw(&["text"]), &numbers("number")];
    let mut source = tables(&world, &both).unwrap();
    source.open(&[], None).unwrap();
    let polls = drain(&mut source, 1 << 20);
    assert_eq!(
        rows_of(&polls),
        "text/0@0=x text/0@1=y number/0@0=1 number/0@2=2 text/0@2=z"
    );
    let chunks: Vec<usize> = polls
        .iter()
        .flat_map(|poll| &poll.batches)
        .map(Chunk::rows)
        .collect();
    assert_eq!(chunks, [2, 2, 1]);
    let dead: Vec<i64> = polls
        .iter()
        .flat_map(|poll| &poll.dead_letters)
        .map(|letter| letter.offset)
        .collect();
    assert_eq!(dead, [1]);
    let progress: Vec<(u32, i64, i64)> = polls
        .iter()
        .flat_map(|poll| &poll.progress)
        .map(|at| (at.split, at.from, at.to))
        .collect();
    assert_eq!(
        progress,
        [(0, 0, 3), (1, 0, 3)],
        "one progress for each split of a poll"
    );
}

/// A sink that is ahead of the others: what one poll counts ends where that sink stands, also behind rows of the other table.
#[test]
fn no_poll_reads_over_a_cut_in_two_steps() {
    let world = world();
    let both = [&raw(&["text"]), &numbers("number")];
    let mut source = tables(&world, &both).unwrap();
    source.open(&[], None).unwrap();
    let cut = SplitOffset {
        topic: "text".to_string(),
        partition: 0,
        next: 2,
    };
    source.cut_at(&[cut]);
    let polls = drain(&mut source, 1 << 20);
    let of_text = polls
        .iter()
        .flat_map(|poll| &poll.progress)
        .filter(|at| at.split == 0);
    let of_text: Vec<(i64, i64)> = of_text.map(|at| (at.from, at.to)).collect();
    assert_eq!(of_text, [(0, 2), (2, 3)]);
}

#[test]
fn each_table_begins_by_its_own_options() {
    let world = world();
    let late = KafkaSource {
        startup: StartupMode::Latest,
        ..raw(&["text"])
    };
    let by_group = KafkaSource {
        startup: StartupMode::GroupOffsets,
        group_id: Some("other".to_string()),
        ..numbers("number")
    };
    let mut source = tables(&world, &[&late, &by_group]).unwrap();
    source.open(&[], None).unwrap();
    let next: Vec<i64> = source.positions().iter().map(|at| at.next).collect();
    assert_eq!(next, [3, 0], "the group 'other' has committed nothing");
}

#[test]
fn what_cannot_be_read_together_is_refused() {
    let world = world();
    let refused = |specs: &[&KafkaSource]| {
        let error = tables(&world, specs).err().expect("refused");
        format!("{}; {}", error.message, error.hint)
    };
    let bounded = KafkaSource {
        bounded: true,
        ..numbers("number")
    };
    assert_eq!(
        refused(&[&raw(&["text"]), &bounded]),
        "the read of number has an end, and that of t has none; Give all of them 'scan.bounded.mode' = 'latest-offset', or none."
    );
    assert_eq!(
        refused(&[&raw(&["text", "number"]), &numbers("number")]),
        "topic 'number' is of two tables that are read together; Give the tables the same options, or bring the topic into one table."
    );
}
