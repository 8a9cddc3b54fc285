//! In which order batches come, and how far one poll reads.

use super::*;

#[test]
fn several_topics_come_in_the_order_in_which_they_became_durable() {
    let world = World::new(&[("a", 2), ("b", 1)]);
    let mut expected = Vec::new();
    let mut next = BTreeMap::new();
    for n in 0..20 {
        let (topic, partition) = [("a", 1), ("b", 0), ("a", 0)][n * n % 7 % 3];
        let offset: &mut i64 = next.entry((topic, partition)).or_default();
        world.append(topic, partition, &[&n.to_string()]);
        expected.push(format!("{topic}/{partition}@{offset}={n}"));
        *offset += 1;
    }
    for max_bytes in [1, 300, 1 << 20] {
        let mut source = world.source(&raw(&["b", "a"]), &[]);
        source.open(&[], None).unwrap();
        assert_eq!(rows_of(&drain(&mut source, max_bytes)), expected.join(" "));
    }
}

#[test]
fn a_place_is_the_same_however_much_a_poll_takes() {
    let world = World::new(&[("t", 2)]);
    for n in 0..6 {
        world.append("t", n * n % 3 % 2, &[&n.to_string()]);
    }
    let places = |max_bytes| {
        let mut source = world.source(&raw(&["t"]), &[]);
        source.open(&[], None).unwrap();
        assert_eq!(source.place(), None, "nothing is read yet");
        let mut places = Vec::new();
        while !source.poll(max_bytes, NOW).unwrap().progress.is_empty() {
            places.push(source.place().expect("something was read"));
        }
        places
    };
    let (each, all) = (places(1), places(1 << 20));
    assert_eq!(each.len(), 6);
    assert!(
        each.is_sorted_by(|before, after| before < after),
        "{each:?}"
    );
    assert_eq!(all, [each[5]]);
}

#[test]
fn a_poll_says_when_its_batches_were_appended() {
    let world = World::new(&[("t", 2)]);
    world.append("t", 0, &["a", "b"]);
    world.append("t", 1, &["c"]);
    world.append("t", 0, &["d"]);
    let mut source = world.source(&raw(&["t"]), &[]);
    source.open(&[], None).unwrap();
    let told = source.poll(1 << 20, NOW).unwrap().appended;
    let batches: Vec<_> = told.iter().map(|batch| (batch.split, batch.to)).collect();
    assert_eq!(batches, [(0, 2), (1, 1), (0, 3)]);
    assert!(told[0].at > 0 && told.is_sorted_by_key(|batch| batch.at));
    // As often as it is read.
    source.open(&[], None).unwrap();
    let mut again = Vec::new();
    for _ in 0..3 {
        again.extend(source.poll(1, NOW).unwrap().appended);
    }
    assert_eq!(again, told);
}

/// In the middle of a batch, at its end, and where nothing is.
#[test]
fn no_poll_reads_over_a_cut() {
    let world = World::new(&[("t", 2)]);
    world.append("t", 0, &["a", "b", "c"]);
    world.append("t", 1, &["x"]);
    world.append("t", 0, &["d", "e"]);
    world.append("t", 1, &["y"]);
    let read = |cuts: &[SplitOffset]| {
        let mut source = world.source(&raw(&["t"]), &[]);
        source.open(&[], None).unwrap();
        source.cut_at(cuts);
        let polls = drain(&mut source, 1 << 20);
        let polls = polls.iter().map(|poll| rows_of(std::slice::from_ref(poll)));
        polls.filter(|rows| !rows.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(
        read(&[at("t", 0, 1), at("t", 0, 3), at("t", 1, 7)]),
        [
            "t/0@0=a",
            "t/0@1=b t/0@2=c t/1@0=x",
            "t/0@3=d t/0@4=e t/1@1=y"
        ]
    );
    assert_eq!(
        read(&[]),
        ["t/0@0=a t/0@1=b t/0@2=c t/1@0=x t/0@3=d t/0@4=e t/1@1=y"]
    );
}
