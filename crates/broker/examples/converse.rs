//! Holds the conversations of `tests/group/*.txt` with a broker over the wire, and shows where its replies differ from
//! those in the file: `cargo run -p lw-broker --example converse -- 127.0.0.1:9092 crates/broker/tests/group/static.txt`.
//!
//! Meant for Apache Kafka as the judge of our coordinator (`tests/peers/kafka/kafka up … --set
//! group.initial.rebalance.delay.ms=100`), and for our own broker. Real time passes: gaps of the script are waited for.
//! Topics are created by hand; files that stop the disk or the broker cannot be held.

#![expect(
    clippy::disallowed_methods,
    reason = "a client of real servers: real time passes, and it owns its threads"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lw_protocol::messages::*;
use lw_protocol::{Decodable, Encodable, ErrorCode, HeaderVersion, Request, StrBytes};

/// How long a reply that needs nothing else may take.
const PROMPT: Duration = Duration::from_millis(25);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let broker = args.next().ok_or("which broker?")?;
    let mut differences = 0;
    for file in args {
        let text = std::fs::read_to_string(&file)?;
        let expected = expected(&text);
        let found = Talk::new(&broker).hold(&text)?;
        for (key, line) in &expected {
            let other = found.get(key).map_or("(nothing)", String::as_str);
            if other != line {
                differences += 1;
                eprintln!("{file} {key}\n  file:   {line}\n  broker: {other}");
            }
        }
        eprintln!("{file}: {} replies compared", expected.len());
    }
    if differences == 0 {
        Ok(())
    } else {
        Err(format!("{differences} differences").into())
    }
}

/// `#n` → its reply; `line n` → what a `describe` or `list` in that line showed.
fn expected(text: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut step = 0;
    for line in text.lines() {
        if line.starts_with('@') {
            step += 1;
        }
        let Some(said) = line.strip_prefix("  -> ") else {
            continue;
        };
        let said = match said.strip_prefix('@') {
            Some(timed) => timed.split_once(' ').map_or(timed, |(_, rest)| rest),
            None => said,
        };
        match said.strip_prefix('#').and_then(|rest| rest.split_once(' ')) {
            Some((number, reply)) => drop(found.insert(format!("#{number}"), reply.to_owned())),
            None => {
                let words: Vec<_> = said
                    .split_whitespace()
                    .filter(|word| {
                        !(word.starts_with("generation=")
                            || is_list(said) && word.starts_with("members="))
                    })
                    .collect();
                let entry = found.entry(format!("line {step}")).or_default();
                *entry = format!("{entry}{} | ", words.join(" "));
            }
        }
    }
    found
}

/// A line of `list`; the protocol does not tell how many members a listed group has.
fn is_list(said: &str) -> bool {
    said.contains(" members=")
}

struct Talk {
    broker: String,
    token: u32,
    /// The file's name of a member, and the id that the broker gave it.
    ids: BTreeMap<String, String>,
    names: BTreeMap<u32, String>,
    sender: Sender<(u32, Reply)>,
    replies: Receiver<(u32, Reply)>,
    found: BTreeMap<String, String>,
    /// Makes group names fresh, so that a broker can be asked twice.
    salt: String,
}

enum Reply {
    Join(JoinGroupResponse),
    Text(String),
}

impl Talk {
    fn new(broker: &str) -> Talk {
        let (sender, replies) = channel();
        Talk {
            broker: broker.to_owned(),
            token: 0,
            ids: BTreeMap::new(),
            names: BTreeMap::new(),
            sender,
            replies,
            found: BTreeMap::new(),
            salt: format!("-{}", std::process::id()),
        }
    }

    fn hold(mut self, script: &str) -> std::io::Result<BTreeMap<String, String>> {
        self.find_coordinator()?;
        let start = Instant::now();
        let mut step = 0;
        for line in script.lines().filter(|line| line.starts_with('@')) {
            step += 1;
            let mut words = line[1..].split_whitespace();
            let at = words
                .next()
                .and_then(|word| word.parse().ok())
                .expect("@ms");
            self.listen(start + Duration::from_millis(at), None);
            let verb = words.next().expect("a verb");
            let args = Args::new(words, &self.salt);
            self.learn_id(&args);
            self.step(step, verb, &args)?;
            self.listen(Instant::now() + PROMPT, Some(self.token));
        }
        self.listen(Instant::now() + Duration::from_millis(500), None);
        let found = std::mem::take(&mut self.found);
        Ok(found
            .into_iter()
            .map(|(key, text)| (key, self.named(&text)))
            .collect())
    }

    /// Kafka makes its offsets topic when the first client looks for a coordinator, and then reads it.
    fn find_coordinator(&self) -> std::io::Result<()> {
        let seek = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("g"));
        let probe = DescribeGroupsRequest::default()
            .with_groups(vec![GroupId(text(&format!("g{}", self.salt)))]);
        while self.ask(2, &seek)?.error_code != 0 || self.ask(5, &probe)?.groups[0].error_code != 0
        {
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Takes replies up to that moment, or to the reply of `token`. A join's reply gives a member's name its id.
    fn listen(&mut self, until: Instant, token: Option<u32>) {
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let Ok((answered, reply)) = self.replies.recv_timeout(left) else {
                return;
            };
            let text = match reply {
                Reply::Text(text) => text,
                Reply::Join(reply) => {
                    if let Some(name) = self.names.get(&answered)
                        && !reply.member_id.is_empty()
                    {
                        self.ids.insert(name.clone(), reply.member_id.to_string());
                    }
                    show_join(&reply)
                }
            };
            self.found.insert(format!("#{answered}"), text);
            if token == Some(answered) {
                return;
            }
        }
    }

    /// A script speaks as a member in the millisecond in which its join is due; a broker's timer may be a little late.
    fn learn_id(&mut self, args: &Args) {
        let patience = Instant::now() + Duration::from_millis(300);
        let awaited = |talk: &Talk, name: &str| {
            !talk.ids.contains_key(name) && talk.names.values().any(|known| known == name)
        };
        let given = args
            .list("give")
            .filter_map(|pair| pair.split_once(':'))
            .map(|(name, _)| name);
        for name in args.list("member").chain(given) {
            while awaited(self, name) && Instant::now() < patience {
                self.listen(Instant::now() + Duration::from_millis(5), None);
            }
        }
    }

    /// Ids back to names; lists of members, whose order is free, by name.
    fn named(&self, shown: &str) -> String {
        let mut shown = shown.replace(&self.salt, "");
        for (name, id) in &self.ids {
            shown = shown.replace(id.as_str(), name);
        }
        if let Some((before, members)) = shown.split_once(" members=") {
            let (members, rest) = members.split_once(' ').unwrap_or((members, ""));
            let mut members: Vec<&str> = members.split(',').collect();
            members.sort_unstable();
            let rest = if rest.is_empty() {
                String::new()
            } else {
                format!(" {rest}")
            };
            return format!("{before} members={}{rest}", members.join(","));
        }
        if let Some((state, members)) = shown.split_once(" | ") {
            let mut members: Vec<&str> = members.split_terminator(" | ").collect();
            members.sort_unstable();
            return format!(
                "{state} | {}",
                members
                    .iter()
                    .map(|member| format!("{member} | "))
                    .collect::<String>()
            );
        }
        shown
    }

    fn id(&self, name: &str) -> StrBytes {
        text(self.ids.get(name).map_or(name, String::as_str))
    }

    fn step(&mut self, step: usize, verb: &str, args: &Args) -> std::io::Result<()> {
        let group = GroupId(text(&args.group));
        match verb {
            "wait" => return Ok(()),
            "describe" => {
                let request = DescribeGroupsRequest::default().with_groups(vec![group]);
                let reply = self.ask(5, &request)?;
                let shown = show_description(&reply.groups[0]);
                return self.show(step, shown);
            }
            "list" => {
                let reply = self.ask(4, &ListGroupsRequest::default())?;
                let ours = reply
                    .groups
                    .into_iter()
                    .filter(|group| group.group_id.ends_with(&self.salt));
                let mut shown: Vec<_> = ours
                    .map(|group| {
                        format!(
                            "{} {} type={} | ",
                            group.group_id.as_str(),
                            group.group_state,
                            group.protocol_type
                        )
                    })
                    .collect();
                shown.sort();
                return self.show(step, shown.concat());
            }
            "fetch" => {
                let request = OffsetFetchRequest::default()
                    .with_group_id(group)
                    .with_topics(None);
                let reply = self.ask(5, &request)?;
                return self.show(step, show_offsets(reply));
            }
            _ => {}
        }
        self.token += 1;
        match verb {
            "join" => self.join(args, group),
            "sync" => self.sync(args, group),
            "heartbeat" => {
                let request = HeartbeatRequest::default()
                    .with_group_id(group)
                    .with_member_id(self.id(args.get("member").unwrap_or_default()))
                    .with_generation_id(args.number("gen", -1))
                    .with_group_instance_id(args.get("instance").map(text));
                self.send(3, request, |reply| {
                    Reply::Text(format!("heartbeat {}", code(reply.error_code)))
                })
            }
            "leave" => self.leave(args, group),
            "commit" => self.commit(args, group),
            "delete-offsets" => self.delete_offsets(args, group),
            "delete" => {
                let request = DeleteGroupsRequest::default().with_groups_names(vec![group]);
                self.send(1, request, |reply| {
                    Reply::Text(format!("delete {}", code(reply.results[0].error_code)))
                })
            }
            other => panic!("cannot {other} over the wire"),
        }
    }

    fn show(&mut self, step: usize, shown: String) -> std::io::Result<()> {
        if !shown.is_empty() {
            self.found.insert(format!("line {step}"), shown);
        }
        Ok(())
    }

    fn join(&mut self, args: &Args, group: GroupId) -> std::io::Result<()> {
        let prefix = args.get("instance").or(args.get("client")).unwrap_or("c");
        let name = args.get("member").map_or_else(
            || {
                format!(
                    "{prefix}-{}",
                    args.get("as")
                        .map_or_else(|| self.token.to_string(), str::to_owned)
                )
            },
            str::to_owned,
        );
        self.names.insert(self.token, name);
        let topics: Vec<&str> = args.list("topics").collect();
        let protocols = args
            .get("protocols")
            .unwrap_or("range")
            .split(',')
            .filter(|name| !name.is_empty());
        let request = JoinGroupRequest::default()
            .with_group_id(group)
            .with_member_id(self.id(args.get("member").unwrap_or_default()))
            .with_group_instance_id(args.get("instance").map(text))
            .with_session_timeout_ms(args.number("session", 10_000))
            .with_rebalance_timeout_ms(args.number("rebalance", 30_000))
            .with_protocol_type(text(args.get("type").unwrap_or("consumer")))
            .with_protocols(
                protocols
                    .map(|name| {
                        join_group_request::JoinGroupRequestProtocol::default()
                            .with_name(text(name))
                            .with_metadata(subscription(&topics))
                    })
                    .collect(),
            );
        let version = if args.has("v9") {
            9
        } else if args.has("old") {
            3
        } else {
            5
        };
        self.send(version, request, Reply::Join)
    }

    fn sync(&mut self, args: &Args, group: GroupId) -> std::io::Result<()> {
        let given = args
            .list("give")
            .map(|pair| pair.split_once(':').expect("a:b"))
            .map(|(member, bytes)| {
                sync_group_request::SyncGroupRequestAssignment::default()
                    .with_member_id(self.id(member))
                    .with_assignment(Bytes::from(bytes.to_owned()))
            });
        let request = SyncGroupRequest::default()
            .with_group_id(group)
            .with_member_id(self.id(args.get("member").unwrap_or_default()))
            .with_generation_id(args.number("gen", -1))
            .with_group_instance_id(args.get("instance").map(text))
            .with_protocol_type(args.get("type").map(text))
            .with_protocol_name(args.get("protocol").map(text))
            .with_assignments(given.collect());
        let version = if args.has("type") || args.has("protocol") {
            5
        } else {
            3
        };
        self.send(version, request, |reply| {
            Reply::Text(match reply.error_code {
                0 => format!("sync {}", String::from_utf8_lossy(&reply.assignment)),
                error => format!("sync {}", code(error)),
            })
        })
    }

    fn leave(&mut self, args: &Args, group: GroupId) -> std::io::Result<()> {
        let leaver = |id: StrBytes, instance: Option<&str>| {
            leave_group_request::MemberIdentity::default()
                .with_member_id(id)
                .with_group_instance_id(instance.map(text))
        };
        let by_id = args
            .list("member")
            .map(|name| leaver(self.id(name), args.get("instance")));
        let by_name = args
            .list("names")
            .map(|name| leaver(StrBytes::default(), Some(name)));
        let request = LeaveGroupRequest::default()
            .with_group_id(group)
            .with_members(by_id.chain(by_name).collect());
        self.send(3, request, |reply| {
            if reply.error_code != 0 {
                return Reply::Text(format!("leave {}", code(reply.error_code)));
            }
            let show = |member: &leave_group_response::MemberResponse| {
                let id = member.member_id.as_str();
                let name = if id.is_empty() {
                    member.group_instance_id.as_deref().unwrap_or("")
                } else {
                    id
                };
                format!("{name}={}", code(member.error_code))
            };
            Reply::Text(format!(
                "leave {}",
                reply.members.iter().map(show).collect::<Vec<_>>().join(" ")
            ))
        })
    }

    fn commit(&mut self, args: &Args, group: GroupId) -> std::io::Result<()> {
        let metadata = args
            .get("metadata")
            .map_or_else(String::new, |text| text.replace("LONG", &"x".repeat(4097)));
        let topics = args.list("of").map(|place| {
            let parts: Vec<&str> = place.split(':').collect();
            let partition = offset_commit_request::OffsetCommitRequestPartition::default()
                .with_partition_index(parts[1].parse().expect("a partition"))
                .with_committed_offset(parts[2].parse().expect("an offset"))
                .with_committed_leader_epoch(-1)
                .with_committed_metadata(Some(text(&metadata)));
            offset_commit_request::OffsetCommitRequestTopic::default()
                .with_name(TopicName(text(parts[0])))
                .with_partitions(vec![partition])
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(group)
            .with_member_id(self.id(args.get("member").unwrap_or_default()))
            .with_generation_id_or_member_epoch(args.number("gen", -1))
            .with_group_instance_id(args.get("instance").map(text))
            .with_topics(topics.collect());
        self.send(if args.has("v9") { 9 } else { 7 }, request, |reply| {
            let mut shown = Vec::new();
            for topic in &reply.topics {
                for partition in &topic.partitions {
                    let (name, index) = (topic.name.as_str(), partition.partition_index);
                    shown.push(format!("{name}:{index}={}", code(partition.error_code)));
                }
            }
            Reply::Text(format!("commit {}", shown.join(" ")))
        })
    }

    fn delete_offsets(&mut self, args: &Args, group: GroupId) -> std::io::Result<()> {
        let topics = args.list("of").map(|place| {
            let (topic, index) = place.split_once(':').expect("topic:partition");
            let partition = offset_delete_request::OffsetDeleteRequestPartition::default()
                .with_partition_index(index.parse().expect("a partition"));
            offset_delete_request::OffsetDeleteRequestTopic::default()
                .with_name(TopicName(text(topic)))
                .with_partitions(vec![partition])
        });
        let request = OffsetDeleteRequest::default()
            .with_group_id(group)
            .with_topics(topics.collect());
        self.send(0, request, |reply| {
            if reply.error_code != 0 {
                return Reply::Text(format!("delete-offsets {}", code(reply.error_code)));
            }
            let mut shown = Vec::new();
            for topic in &reply.topics {
                for partition in &topic.partitions {
                    let (name, index) = (topic.name.as_str(), partition.partition_index);
                    shown.push(format!("{name}:{index}={}", code(partition.error_code)));
                }
            }
            Reply::Text(format!("delete-offsets {}", shown.join(" ")))
        })
    }

    /// Each request has a connection of its own, as each member has.
    fn send<R>(
        &self,
        version: i16,
        request: R,
        show: fn(R::Response) -> Reply,
    ) -> std::io::Result<()>
    where
        R: Request + Send + 'static,
        R::Response: Send,
    {
        let (broker, sender, token) = (self.broker.clone(), self.sender.clone(), self.token);
        std::thread::spawn(move || match exchange(&broker, version, &request) {
            Ok(reply) => drop(sender.send((token, show(reply)))),
            Err(error) => drop(sender.send((token, Reply::Text(error.to_string())))),
        });
        Ok(())
    }

    fn ask<R: Request>(&self, version: i16, request: &R) -> std::io::Result<R::Response> {
        exchange(&self.broker, version, request)
    }
}

fn exchange<R: Request>(broker: &str, version: i16, request: &R) -> std::io::Result<R::Response> {
    fn broken(error: impl ToString) -> std::io::Error {
        std::io::Error::other(error.to_string())
    }
    let mut out = BytesMut::new();
    out.put_i32(0);
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(1)
        .with_client_id(Some(StrBytes::from_static_str("c")))
        .encode(&mut out, R::header_version(version))
        .map_err(broken)?;
    request.encode(&mut out, version).map_err(broken)?;
    let length = i32::try_from(out.len() - 4).expect("small");
    out[..4].copy_from_slice(&length.to_be_bytes());
    let mut socket = TcpStream::connect(broker)?;
    socket.write_all(&out)?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap_or(0)];
    socket.read_exact(&mut frame)?;
    let mut frame = Bytes::from(frame);
    ResponseHeader::decode(&mut frame, R::Response::header_version(version)).map_err(broken)?;
    let reply = R::Response::decode(&mut frame, version).map_err(broken)?;
    assert!(!frame.has_remaining(), "the whole frame is the reply");
    Ok(reply)
}

fn show_join(reply: &JoinGroupResponse) -> String {
    if reply.error_code != 0 {
        return format!("join {} member={}", code(reply.error_code), reply.member_id);
    }
    let protocol = reply.protocol_name.as_deref().unwrap_or("-");
    let mut shown = format!(
        "join generation={} protocol={protocol} leader={} member={}",
        reply.generation_id, reply.leader, reply.member_id
    );
    if !reply.members.is_empty() {
        let members: Vec<_> = reply
            .members
            .iter()
            .map(|member| member.member_id.as_str())
            .collect();
        shown.push_str(&format!(" members={}", members.join(",")));
    }
    if reply.skip_assignment {
        shown.push_str(" skip-assignment");
    }
    shown
}

fn show_description(group: &describe_groups_response::DescribedGroup) -> String {
    let mut shown = format!(
        "{} type={} protocol={} | ",
        group.group_state, group.protocol_type, group.protocol_data
    );
    if group.group_state.as_str() == "Dead" {
        return "Dead | ".to_owned();
    }
    let members: Vec<_> = group
        .members
        .iter()
        .map(|member| {
            let instance = member
                .group_instance_id
                .as_ref()
                .map_or_else(String::new, |name| format!(" instance={name}"));
            let assignment = String::from_utf8_lossy(&member.member_assignment).into_owned();
            format!("{}{instance} assignment={assignment} | ", member.member_id)
        })
        .collect();
    shown.push_str(&members.concat());
    shown
}

fn show_offsets(reply: OffsetFetchResponse) -> String {
    let mut lines = Vec::new();
    for topic in &reply.topics {
        for found in &topic.partitions {
            let (name, index) = (topic.name.as_str(), found.partition_index);
            let metadata = found.metadata.as_deref().unwrap_or_default();
            lines.push(format!(
                "{name}:{index}={} {metadata:?} | ",
                found.committed_offset
            ));
        }
    }
    lines.sort();
    if lines.is_empty() {
        "none | ".to_owned()
    } else {
        lines.concat()
    }
}

/// `group word=value word …`, as in the conversations of the tests.
struct Args {
    group: String,
    words: Vec<(String, String)>,
}

impl Args {
    fn new<'a>(mut words: impl Iterator<Item = &'a str>, salt: &str) -> Args {
        let group = match words.next().unwrap_or_default().trim_matches('"') {
            "" => String::new(),
            name => format!("{name}{salt}"),
        };
        let words = words.map(|word| word.split_once('=').unwrap_or((word, "")));
        Args {
            group,
            words: words
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.words
            .iter()
            .find(|(word, _)| word == name)
            .map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn number(&self, name: &str, default: i32) -> i32 {
        self.get(name)
            .map_or(default, |text| text.parse().expect("a number"))
    }

    fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get(name)
            .into_iter()
            .flat_map(|text| text.split(','))
            .filter(|item| !item.is_empty())
    }
}

fn subscription(topics: &[&str]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(i32::try_from(topics.len()).expect("few"));
    for topic in topics {
        out.put_i16(i16::try_from(topic.len()).expect("short"));
        out.put_slice(topic.as_bytes());
    }
    out.put_i32(-1);
    out.freeze()
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn code(code: i16) -> String {
    let Some(error) = ErrorCode::try_from_code(code) else {
        return "ok".to_owned();
    };
    let mut text = String::new();
    for (index, letter) in format!("{error:?}").chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}
