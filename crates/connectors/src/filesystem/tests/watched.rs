//! A folder that is looked at ever and again: what is found when, in which order, and where it is gone on with.

use super::*;
use lw_sim::SimClock;

fn watched(folder: &Folder, clock: &Arc<SimClock>) -> Filesystem {
    let table = FileSource {
        watch: Some(1000),
        ..folder.table(FileFormat::Lines(JSON))
    };
    Filesystem::new(&table, clock.clone()).expect("it can be decoded")
}

/// What is there now, by polls of a record each.
fn now(folder: &Folder, source: &mut Filesystem) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let polled = source.poll(1, Duration::ZERO).expect("it reads");
        assert!(!polled.finished, "a folder that is watched has no end");
        if polled.progress.is_empty() {
            return lines;
        }
        for chunk in &polled.batches {
            let runs = chunk.origins.runs().expect("rows of a file");
            let origins = runs.iter().map(|origin| {
                let file = folder.short(&chunk.splits[origin.split as usize].topic);
                format!("{file}@{}", origin.offset)
            });
            lines.extend(origins);
        }
    }
}

#[test]
fn new_files_are_read_when_it_is_looked_for_them() {
    let folder = Folder::of(&[("b.json", "{}\n{}\n")]);
    let clock = Arc::new(SimClock::new());
    let mut source = watched(&folder, &clock);
    source.open(&[], None).expect("the folder is there");
    assert_eq!(now(&folder, &mut source), ["b.json@0", "b.json@1"]);
    folder.write("c.json", "{}\n");
    folder.write("a.json", "{}\n");
    folder.write("empty.json", "");
    clock.advance(Duration::from_millis(999));
    assert_eq!(now(&folder, &mut source), [""; 0]);
    clock.advance(Duration::from_millis(1));
    assert_eq!(now(&folder, &mut source), ["a.json@0", "c.json@0"]);
    // What a file holds was decided when it was found, and an empty one was not.
    folder.write("c.json", "{}\n{}\n");
    folder.write("empty.json", "{}\n");
    clock.advance(Duration::from_millis(1000));
    assert_eq!(now(&folder, &mut source), ["empty.json@0"]);
}

#[test]
fn a_watch_is_gone_on_with_in_the_order_in_which_files_were_found() {
    let folder = Folder::of(&[("b.json", "{}\n")]);
    let clock = Arc::new(SimClock::new());
    let mut source = watched(&folder, &clock);
    source.open(&[], None).expect("the folder is there");
    assert_eq!(source.appeared(), []);
    assert_eq!(now(&folder, &mut source), ["b.json@0"]);
    folder.write("a.json", "{}\n{}\n");
    clock.advance(Duration::from_millis(1000));
    let polled = source.poll(1, Duration::ZERO).expect("it reads");
    assert_eq!(polled.progress.len(), 1);
    // The end and the id of what came are said once, before anything of it can be written down.
    let appeared = source.appeared();
    let found: Vec<_> = appeared
        .iter()
        .map(|(end, _)| (folder.short(&end.topic), end.next))
        .collect();
    assert_eq!(found, [("a.json".to_string(), 2)]);
    assert_eq!(source.topics()[&appeared[0].0.topic], appeared[0].1);
    assert_eq!(source.appeared(), []);
    let (positions, ends) = (source.positions(), source.ends().expect("files have ends"));
    // A file that is read may go; what came meanwhile comes behind what was begun.
    std::fs::remove_file(folder.0.path().join("b.json")).expect("it was there");
    folder.write("0.json", "{}\n");
    let mut again = watched(&folder, &clock);
    again
        .open(&positions, Some(&ends))
        .expect("nothing that is missed is gone");
    assert_eq!(now(&folder, &mut again), ["a.json@1", "0.json@0"]);
}
