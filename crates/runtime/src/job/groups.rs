//! Under which consumer groups a job's offsets are shown: each table's under its own; those of a replay under none.

use crate::connector::Connectors;
use crate::manifest::SplitOffset;
use crate::task::Publish;
use lw_graph::SourceSpec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Shows offsets under the `properties.group.id` of the table that they are of, else under `group`. Only topics have groups: nobody
/// asks how far a file is read.
pub(super) fn publish(
    scans: &[&SourceSpec],
    group: &str,
    connectors: Arc<dyn Connectors>,
) -> Publish {
    let mut groups: BTreeMap<String, String> = BTreeMap::new();
    for scan in scans {
        if let SourceSpec::Kafka(kafka) = scan {
            let own = kafka.group_id.as_deref().unwrap_or(group);
            let topics = kafka.topics.iter();
            groups.extend(topics.map(|topic| (topic.clone(), own.to_string())));
        }
    }
    Box::new(move |offsets| {
        let mut by_group: BTreeMap<&str, Vec<SplitOffset>> = BTreeMap::new();
        for at in offsets {
            if let Some(group) = groups.get(&at.topic) {
                by_group.entry(group).or_default().push(at.clone());
            }
        }
        for (group, offsets) in by_group {
            connectors.publish_offsets(group, &offsets);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::{ConnectorError, NamedSink, Output, Owner, Source};
    use lw_graph::{FormatSpec, KafkaSource, Schema, StartupMode};
    use parking_lot::Mutex;

    /// What was shown, as `group: topic@next …`.
    #[derive(Default)]
    struct Shown(Mutex<Vec<String>>);

    impl Connectors for Shown {
        fn source(&self, _: &SourceSpec, _: &str) -> Result<Box<dyn Source>, ConnectorError> {
            unreachable!("nothing is read")
        }
        fn sink(&self, _: NamedSink<'_>, _: &Owner) -> Result<Output, ConnectorError> {
            unreachable!("nothing is written")
        }
        fn publish_offsets(&self, group: &str, offsets: &[SplitOffset]) {
            let text = |at: &SplitOffset| format!(" {}@{}", at.topic, at.next);
            let offsets: String = offsets.iter().map(text).collect();
            self.0.lock().push(format!("{group}:{offsets}"));
        }
    }

    fn table(topics: &[&str], group_id: Option<&str>) -> SourceSpec {
        SourceSpec::Kafka(KafkaSource {
            table: "t".into(),
            topics: topics.iter().map(ToString::to_string).collect(),
            bootstrap: "b".into(),
            group_id: group_id.map(String::from),
            startup: StartupMode::Earliest,
            bounded: false,
            format: FormatSpec::Raw,
            key: None,
            value_schema: Schema::new(Vec::new()),
            columns: Vec::new(),
        })
    }

    fn shown(tables: &[SourceSpec], offsets: &[(&str, i64)]) -> Vec<String> {
        let (shown, scans): (Arc<Shown>, Vec<&SourceSpec>) =
            (Arc::default(), tables.iter().collect());
        let offsets = offsets.iter().map(|(topic, next)| SplitOffset {
            topic: topic.to_string(),
            partition: 0,
            next: *next,
        });
        let offsets: Vec<SplitOffset> = offsets.collect();
        publish(&scans, "lakeward-p", shown.clone())(&offsets);
        let shown = shown.0.lock();
        shown.clone()
    }

    #[test]
    fn each_table_shows_its_offsets_under_its_own_group() {
        let tables = [
            table(&["a", "a2"], Some("first")),
            table(&["b"], None),
            table(&["c"], Some("third")),
            table(&["d"], Some("first")),
        ];
        let offsets = [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("a2", 5)];
        assert_eq!(
            shown(&tables, &offsets),
            ["first: a@1 d@4 a2@5", "lakeward-p: b@2", "third: c@3"]
        );
    }

    #[test]
    fn what_is_of_no_topic_is_shown_to_nobody() {
        let tables = [table(&["a"], None)];
        assert_eq!(shown(&tables, &[("/data/file.json", 3)]), [""; 0]);
    }
}
