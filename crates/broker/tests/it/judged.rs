//! Single requests with the answer that Apache Kafka gives: `tests/judged/*.txt`.
//!
//! A line is a request, `  -> ` below it the answer of both. Where we answer otherwise, there are two lines: `  kafka -> `
//! and `  here -> `, and the file says why. `UPDATE_EXPECT=1` writes our answers anew.
//!
//! To ask Kafka again: `tests/peers/kafka/kafka up DIR --port 0` on a fresh folder, then run this test with
//! `LAKEWARD_JUDGE=$(cat DIR/bootstrap)`; with `UPDATE_EXPECT=1` that writes Kafka's answers anew.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use lw_protocol::messages::*;
use lw_protocol::{BatchBuilder, Compression, ErrorCode, StrBytes, batch};

use crate::log::crc32c;
use crate::server::{Server, Socket, text, topic_name};

#[test]
fn answers_are_those_of_apache_kafka_or_the_file_says_why_not() {
    let judge = std::env::var("LAKEWARD_JUDGE").ok();
    let update = std::env::var("UPDATE_EXPECT").is_ok();
    let who = if judge.is_some() {
        Who::Kafka
    } else {
        Who::Here
    };
    let server = judge.is_none().then(Server::start);
    if let Some(server) = &server {
        // Kafka takes any producer id, we take those of blocks that were claimed.
        let ask = InitProducerIdRequest::default().with_transactional_id(None);
        server.connect().call(4, &ask);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judged");
    let mut differences = Vec::new();
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let script = std::fs::read_to_string(&path).unwrap();
        let mut socket = match (&server, &judge) {
            (Some(server), _) => server.connect(),
            (None, address) => {
                Socket::open(address.as_ref().unwrap().parse::<SocketAddr>().unwrap())
            }
        };
        let mut written = String::new();
        for mut case in cases(&script) {
            if let Some(request) = &case.request {
                let answer = ask(&mut socket, request);
                if case.answers.insert(who, answer.clone()).as_ref() != Some(&answer) {
                    differences.push(format!("{}: {request}\n  -> {answer}", path.display()));
                }
            }
            written.push_str(&case.show());
        }
        if update {
            std::fs::write(&path, written).unwrap();
        }
        files += 1;
    }
    assert!(files > 0);
    assert!(
        update || differences.is_empty(),
        "{}",
        differences.join("\n")
    );
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Kafka,
    Here,
}

/// A request with its answers, or a line that is none.
struct Case<'a> {
    request: Option<&'a str>,
    line: &'a str,
    answers: BTreeMap<Who, String>,
}

fn cases(script: &str) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    for line in script.lines() {
        let Some((whose, answer)) = line
            .strip_prefix("  ")
            .and_then(|line| line.split_once("-> "))
        else {
            let request = (!line.is_empty() && !line.starts_with('#')).then_some(line);
            cases.push(Case {
                request,
                line,
                answers: BTreeMap::new(),
            });
            continue;
        };
        let answers = &mut cases
            .last_mut()
            .expect("a request stands above its answer")
            .answers;
        for (name, who) in [("kafka", Who::Kafka), ("here", Who::Here)] {
            if whose.is_empty() || whose.trim() == name {
                answers.insert(who, answer.to_owned());
            }
        }
    }
    cases
}

impl Case<'_> {
    fn show(&self) -> String {
        let line = format!("{}\n", self.line);
        match (self.answers.get(&Who::Kafka), self.answers.get(&Who::Here)) {
            (Some(kafka), Some(here)) if kafka == here => format!("{line}  -> {here}\n"),
            (kafka, here) => {
                let kafka = kafka.map(|answer| format!("  kafka -> {answer}\n"));
                let here = here.map(|answer| format!("  here -> {answer}\n"));
                line + &kafka.unwrap_or_default() + &here.unwrap_or_default()
            }
        }
    }
}

/// The words of a request: `key=value`, or bare.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        let mut pairs = self.0.iter().filter_map(|word| word.split_once('='));
        pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn number<T: std::str::FromStr>(&self, key: &str, default: T) -> T {
        self.get(key)
            .map_or(default, |value| value.parse().ok().expect("a number"))
    }

    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    /// Settings are the pairs whose key has a dot, but for one.
    fn settings(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.0.iter().filter_map(|word| word.split_once('='));
        pairs.filter(|(key, _)| key.contains('.') || *key == "preallocate")
    }
}

fn ask(socket: &mut Socket, request: &str) -> String {
    let mut words = request.split_whitespace();
    let verb = words.next().expect("a verb");
    let name = words.next().expect("a topic");
    let name = if name == "\"\"" { "" } else { name };
    let args = Words(words.collect());
    match verb {
        "create" => create(socket, name, &args),
        "grow" => grow(socket, name, &args),
        "delete" => {
            let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(name)]);
            let reply = socket
                .call(5, &request.with_timeout_ms(5000))
                .responses
                .remove(0);
            told(reply.error_code, reply.error_message)
        }
        "alter" => alter(socket, name, &args),
        "replace" => replace(socket, name, &args),
        "config" => config(socket, name, &args),
        "produce" => produce(socket, name, &args),
        "fetch" => fetch(socket, name, &args),
        "offset" => offset(socket, name, &args),
        "epoch" => epoch(socket, name, &args),
        "delete-records" => {
            let partition = delete_records_request::DeleteRecordsPartition::default()
                .with_offset(args.number("before", -1));
            let topic = delete_records_request::DeleteRecordsTopic::default()
                .with_name(topic_name(name))
                .with_partitions(vec![partition]);
            let request = DeleteRecordsRequest::default().with_topics(vec![topic]);
            let reply = socket
                .call(2, &request.with_timeout_ms(5000))
                .topics
                .remove(0);
            let partition = &reply.partitions[0];
            format!(
                "{} low={}",
                code(partition.error_code),
                partition.low_watermark
            )
        }
        other => panic!("no verb {other}"),
    }
}

fn code(code: i16) -> String {
    match ErrorCode::try_from_code(code) {
        None => "ok".into(),
        Some(code) => format!("{code:?}"),
    }
}

fn told(error: i16, message: Option<StrBytes>) -> String {
    match message.filter(|text| !text.is_empty()) {
        None => code(error),
        Some(text) => format!("{}: {}", code(error), text.as_str()),
    }
}

fn create(socket: &mut Socket, name: &str, args: &Words) -> String {
    let setting = |(name, value): (&str, &str)| {
        create_topics_request::CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    };
    let by_hand = args.get("on").map(|nodes| {
        let nodes = nodes
            .split_terminator(',')
            .map(|node| BrokerId(node.parse().expect("a node")));
        create_topics_request::CreatableReplicaAssignment::default()
            .with_broker_ids(nodes.collect())
    });
    let topic = create_topics_request::CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(args.number("partitions", 1))
        .with_replication_factor(args.number("replicas", 1))
        .with_assignments(by_hand.into_iter().collect())
        .with_configs(args.settings().map(setting).collect());
    let topics = vec![topic; if args.has("twice") { 2 } else { 1 }];
    let request = CreateTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(5000)
        .with_validate_only(args.has("dry"));
    let reply = socket.call(7, &request).topics.remove(0);
    // Kafka answers before the topic can be used; the next request is not about that.
    while reply.error_code == 0
        && !args.has("dry")
        && !offset(socket, name, &Words(vec![])).starts_with("ok")
    {
        std::thread::yield_now();
    }
    match reply.error_code {
        0 => format!(
            "ok partitions={} replicas={}",
            reply.num_partitions, reply.replication_factor
        ),
        error => told(error, reply.error_message),
    }
}

fn grow(socket: &mut Socket, name: &str, args: &Words) -> String {
    let topic = create_partitions_request::CreatePartitionsTopic::default()
        .with_name(topic_name(name))
        .with_count(args.number("to", 0))
        .with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![topic]);
    let reply = socket
        .call(3, &request.with_timeout_ms(5000))
        .results
        .remove(0);
    told(reply.error_code, reply.error_message)
}

/// `alter t set k=v`, `delete`, `append` or `subtract`.
fn alter(socket: &mut Socket, name: &str, args: &Words) -> String {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let operations = ["set", "delete", "append", "subtract"];
    let operation = operations
        .iter()
        .position(|word| args.has(word))
        .expect("what to do");
    let change = |(name, value): (&str, &str)| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(operation as i8)
            .with_value((value != "null").then(|| text(value)))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(name))
        .with_configs(args.settings().map(change).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let reply = socket.call(1, &request).responses.remove(0);
    told(reply.error_code, reply.error_message)
}

fn replace(socket: &mut Socket, name: &str, args: &Words) -> String {
    use alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let setting = |(name, value): (&str, &str)| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(name))
        .with_configs(args.settings().map(setting).collect());
    let reply = socket.call(
        2,
        &AlterConfigsRequest::default().with_resources(vec![resource]),
    );
    let reply = &reply.responses[0];
    told(reply.error_code, reply.error_message.clone())
}

/// `config t key=…` shows one setting, `config t` the names and defaults of all.
fn config(socket: &mut Socket, name: &str, args: &Words) -> String {
    let resource = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(name))
        .with_configuration_keys(args.get("key").map(|key| vec![text(key)]));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true);
    let mut reply = socket.call(4, &request).results.remove(0);
    if reply.error_code != 0 {
        return told(reply.error_code, reply.error_message);
    }
    reply.configs.sort_by(|a, b| a.name.cmp(&b.name));
    let shown = reply.configs.iter().map(|config| {
        let value = config.value.as_ref().map_or("null", |value| value.as_str());
        let synonyms = config.synonyms.iter().map(|synonym| {
            let value = synonym
                .value
                .as_ref()
                .map_or("null", |value| value.as_str());
            format!(" {}={value}@{}", synonym.name.as_str(), synonym.source)
        });
        let synonyms: String = if args.get("key").is_some() {
            synonyms.collect()
        } else {
            String::new()
        };
        let (source, kind) = (config.config_source, config.config_type);
        format!(
            "{}={value}@{source} type={kind}{synonyms}",
            config.name.as_str()
        )
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// What is sent is right, but for the words that say what is wrong with it.
fn produce(socket: &mut Socket, name: &str, args: &Words) -> String {
    let codec =
        Compression::from_topic_config(args.get("codec").unwrap_or("none")).expect("a codec");
    let mut builder = BatchBuilder::new(codec);
    if let Some(pid) = args.get("pid") {
        let pid = pid.parse().expect("a producer id");
        builder = builder.producer(pid, args.number("epoch", 0), args.number("seq", 0));
    }
    if args.has("control") {
        builder = builder.control();
    }
    let now = crate::log::now();
    for index in 0..args.number("count", 1) {
        let time = match args.get("ago") {
            Some(ago) => now - ago.parse::<i64>().expect("milliseconds"),
            None => args.number("time", 1000) + index,
        };
        builder.push(
            time,
            Some(b"k"),
            Some(&vec![b'v'; args.number("size", 1)]),
            &[],
        );
    }
    let mut bytes = builder.build().unwrap().into_bytes().to_vec();
    let marked = bytes[22] | 8;
    let mut put = |at: usize, with: &[u8]| {
        bytes[at..at + with.len()].copy_from_slice(with);
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    };
    match args.get("wrong") {
        Some("count") => {
            put(23, &4_i32.to_be_bytes());
            put(57, &5_i32.to_be_bytes());
        }
        Some("delta") => put(23, &4_i32.to_be_bytes()),
        Some("maximum") => put(35, &(-1_i64).to_be_bytes()),
        Some("mark") => put(22, &[marked]),
        Some("codec") => put(21, &[0, 7]),
        Some("base") => put(0, &77_i64.to_be_bytes()),
        Some("crc") => bytes[20] ^= 1,
        Some("magic") => bytes[16] = 1,
        Some("length") => bytes[11] ^= 1,
        Some("twice") => bytes.extend_from_within(..),
        Some("nothing") => bytes.clear(),
        Some(other) => panic!("nothing is wrong by {other}"),
        None => {}
    }
    let data = produce_request::PartitionProduceData::default()
        .with_index(args.number("partition", 0))
        .with_records(Some(Bytes::from(bytes)));
    let data = produce_request::TopicProduceData::default()
        .with_name(topic_name(name))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(args.number("acks", -1))
        .with_timeout_ms(5000)
        .with_topic_data(vec![data]);
    let reply = match socket.try_call(args.number("v", 9), &request) {
        Ok(reply) => reply,
        Err(error) => return format!("hung up: {:?}", error.kind()),
    };
    let reply = &reply.responses[0].partition_responses[0];
    // The texts are ours; what clients act upon is the code.
    let stamped = if reply.log_append_time_ms < 0 {
        ""
    } else {
        " stamped"
    };
    format!("{} {}{stamped}", code(reply.error_code), reply.base_offset)
}

fn fetch(socket: &mut Socket, name: &str, args: &Words) -> String {
    let partition = fetch_request::FetchPartition::default()
        .with_partition(args.number("partition", 0))
        .with_current_leader_epoch(args.number("epoch", -1))
        .with_fetch_offset(args.number("at", 0))
        .with_partition_max_bytes(args.number("max", 1 << 20));
    let topic = fetch_request::FetchTopic::default()
        .with_topic(topic_name(name))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_wait_ms(0)
        .with_max_bytes(args.number("max", 1 << 20))
        .with_session_id(args.number("session", 0))
        .with_session_epoch(args.number("round", -1))
        .with_topics(vec![topic]);
    let reply = socket.call(args.number("v", 11), &request);
    let Some(topic) = reply.responses.first() else {
        return code(reply.error_code);
    };
    let partition = &topic.partitions[0];
    let mut offsets = Vec::new();
    for batch in batch::batches(partition.records.clone().unwrap_or_default()) {
        let batch = batch.unwrap();
        offsets.push(format!(
            "{}-{}",
            batch.header().base_offset,
            batch.header().last_offset()
        ));
    }
    let (error, high) = (code(partition.error_code), partition.high_watermark);
    format!(
        "{error} start={} high={high} {}",
        partition.log_start_offset,
        offsets.join(",")
    )
}

fn offset(socket: &mut Socket, name: &str, args: &Words) -> String {
    let partition = list_offsets_request::ListOffsetsPartition::default()
        .with_partition_index(args.number("partition", 0))
        .with_current_leader_epoch(args.number("epoch", -1))
        .with_timestamp(args.number("time", -1));
    let topic = list_offsets_request::ListOffsetsTopic::default()
        .with_name(topic_name(name))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_topics(vec![topic]);
    let reply = socket.call(args.number("v", 9), &request).topics.remove(0);
    let reply = &reply.partitions[0];
    let (error, epoch) = (code(reply.error_code), reply.leader_epoch);
    format!(
        "{error} {} at={} epoch={epoch}",
        reply.offset, reply.timestamp
    )
}

fn epoch(socket: &mut Socket, name: &str, args: &Words) -> String {
    let partition = offset_for_leader_epoch_request::OffsetForLeaderPartition::default()
        .with_current_leader_epoch(args.number("current", -1))
        .with_leader_epoch(args.number("of", 0));
    let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
        .with_topic(topic_name(name))
        .with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1));
    let reply = socket
        .call(4, &request.with_topics(vec![topic]))
        .topics
        .remove(0);
    let reply = &reply.partitions[0];
    format!(
        "{} epoch={} end={}",
        code(reply.error_code),
        reply.leader_epoch,
        reply.end_offset
    )
}
