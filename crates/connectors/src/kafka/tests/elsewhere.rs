//! A log of another cluster, in which partitions have no order between them and offsets may be missing.

use super::*;

/// One partition of another cluster that ends at 5, and what its fetches bring.
struct Elsewhere(parking_lot::Mutex<Vec<TopicBatch>>);

impl LogSource for Elsewhere {
    fn look(&self, _: &[String]) -> Result<Vec<TopicBounds>, SourceError> {
        Ok(vec![TopicBounds {
            id: Uuid::nil(),
            partitions: vec![PartitionBounds {
                partition: 0,
                start: 0,
                end: 5,
            }],
        }])
    }

    fn topic_id(&self, _: &str) -> Result<Uuid, SourceError> {
        Ok(Uuid::nil())
    }

    fn read(
        &self,
        _: &str,
        _: &BTreeMap<i32, i64>,
        _: usize,
    ) -> Result<Vec<lw_storage::source::SourceBatch>, SourceError> {
        unreachable!("a source reads topics together")
    }

    fn wait(&self, _: &str, _: &BTreeMap<i32, i64>, _: Duration) -> bool {
        unreachable!("a source waits for its topics together")
    }

    fn read_topics(&self, _: &TopicOffsets, _: usize) -> Result<Vec<TopicBatch>, SourceError> {
        Ok(self.0.lock().pop().into_iter().collect())
    }

    fn wait_topics(&self, _: &TopicOffsets, _: Duration) -> bool {
        !self.0.lock().is_empty()
    }
}

impl EmbeddedLog for Elsewhere {
    fn log(&self) -> &dyn LogSource {
        self
    }

    fn offset_at(&self, _: &str, _: i32, _: i64) -> Result<Option<i64>, SourceError> {
        Ok(None)
    }

    fn committed(&self, _: &str, _: &str, _: i32) -> Result<Option<i64>, SourceError> {
        Ok(None)
    }

    fn in_one_order(&self) -> bool {
        false
    }
}

#[test]
fn offsets_that_no_reader_is_shown_are_passed_over_and_a_bounded_read_ends_behind_them() {
    let read = |bytes, next| TopicBatch {
        topic: "t".into(),
        batch: lw_storage::source::SourceBatch {
            partition: 0,
            order: lw_storage::source::Order::default(),
            appended_at: 0,
            wall: None,
            next,
            bytes,
        },
    };
    let records = batch(Compression::None, &[Some("a"), Some("b")]);
    let records = records.build().unwrap().into_bytes();
    // The last one first: two records, then three offsets of a transaction that was aborted, and its marker.
    let log = Elsewhere(parking_lot::Mutex::new(vec![
        read(Bytes::new(), 5),
        read(records, 2),
    ]));
    let spec = KafkaSource {
        bounded: true,
        ..raw(&["t"])
    };
    let mut source =
        EmbeddedKafka::new(&spec, "group", Arc::new(log), None, Arc::default()).unwrap();
    source.open(&[], None).unwrap();
    let first = source.poll(1 << 20, NOW).unwrap();
    assert!(!first.finished, "three offsets are missing to the end");
    let second = source.poll(1 << 20, NOW).unwrap();
    assert!(second.finished);
    let polls = [first, second];
    assert_eq!(rows_of(&polls), "t/0@0=a t/0@1=b");
    assert_eq!(progress_of(&polls), ["0: 0..2 c0 s0", "0: 2..5 c0 s0"]);
    assert_eq!(source.place(), None, "its partitions have no order");
}
