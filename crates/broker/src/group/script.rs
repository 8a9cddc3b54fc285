//! Conversations with the coordinator as text, in `tests/group/*.txt`.
//!
//! A line is a clock and a request, or an event; the indented lines below it are what came of it. `UPDATE_EXPECT=1`
//! writes them anew, and the diff is what a reviewer reads. One line, one step:
//!
//! ```text
//! @0 join g client=a                       word=value settings have defaults, see `Script::join`
//!   -> #1 join MEMBER_ID_REQUIRED member=a-1
//! @5 hold                                  from here writes stay under way; `land` ends them, `refuse` refuses them
//! @9 restart                               a new coordinator from what is on disk
//! @9 repeat 10 500 heartbeat g member=a-1 gen=1    ten times, 500 ms apart
//! ```
//!
//! `@` is the time in milliseconds; on the way there every timer fires when it is due, and says `@when` if something
//! came of it. `#n` numbers the requests; members are named `client-n` after the
//! request that made them, or `client-x` with `as=x`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes, BytesMut};
use lw_protocol::ErrorCode;
use uuid::Uuid;

use super::coordinator::Coordinator;
use super::record::{self, GroupRecord, OffsetKey, OffsetRecord, Record};
use super::*;

/// 2000-01-01, so that wall time and elapsed time cannot be taken for each other unnoticed.
const EPOCH: i64 = 946_684_800_000;

#[test]
fn conversations() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/group");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("tests/group exists")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(
        !files.is_empty(),
        "no conversations in {}",
        folder.display()
    );
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        expect_test::expect_file![&file].assert_eq(&run(&text));
    }
}

fn run(text: &str) -> String {
    let mut script = Script::new();
    let mut shown = String::new();
    for line in text.lines().filter(|line| !line.starts_with("  ")) {
        shown.push_str(line);
        shown.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        script.step(line);
        for said in script.said.drain(..) {
            writeln!(shown, "  -> {said}").expect("a String takes all");
        }
    }
    assert!(
        script.open.is_empty() || text.contains("leaves requests open"),
        "G4: unanswered {:?}",
        script.open
    );
    shown
}

/// Table (0 groups, 1 offsets) and key to value.
pub(super) type Disk = BTreeMap<(u8, Bytes), Bytes>;

struct Script {
    core: Coordinator,
    disk: Disk,
    now_ms: u64,
    token: u64,
    open: BTreeSet<u64>,
    holding: bool,
    under_way: VecDeque<(WriteId, Vec<Record>)>,
    said: Vec<String>,
}

impl Script {
    fn new() -> Script {
        let now = Now {
            elapsed_ms: 0,
            wall_ms: EPOCH,
        };
        let (core, _) = Coordinator::load(GroupConfig::default(), now, Vec::new(), BTreeSet::new());
        Script {
            core,
            disk: Disk::new(),
            now_ms: 0,
            token: 0,
            open: BTreeSet::new(),
            holding: false,
            under_way: VecDeque::new(),
            said: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            elapsed_ms: self.now_ms,
            wall_ms: EPOCH + i64::try_from(self.now_ms).expect("small"),
        }
    }

    fn step(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let clock = words.next().expect("a line has words");
        self.advance(
            clock
                .strip_prefix('@')
                .expect("a line starts with @ms")
                .parse()
                .expect("@ms is a number"),
        );
        let verb = words.next().expect("a verb follows the clock");
        let args = Args::new(words);
        match verb {
            "wait" => {}
            "hold" => self.holding = true,
            "land" => self.end_writes(WriteOutcome::Durable),
            "refuse" => self.end_writes(WriteOutcome::Refused),
            "restart" => self.restart(),
            "describe" => self.describe(&args.group),
            "list" => self.list(),
            "fetch" => self.fetch(&args.group),
            "repeat" => self.repeat(line),
            "drop-topic" => self.input(Input::TopicDeleted {
                topic: topic_ref(args.group.as_str()).id,
            }),
            _ => {
                self.token += 1;
                self.open.insert(self.token);
                let request = self.request(verb, &args);
                self.input(Input::Request {
                    token: Token(self.token),
                    request,
                });
            }
        }
    }

    /// `@t repeat TIMES EVERY_MS request…`, shown only where its reply changes.
    fn repeat(&mut self, line: &str) {
        let mut words = line.splitn(5, ' ').skip(2);
        let mut number = || -> u64 {
            words
                .next()
                .and_then(|word| word.parse().ok())
                .expect("TIMES EVERY_MS")
        };
        let (times, every) = (number(), number());
        let request = words.next().expect("a request to repeat");
        let mut shown = BTreeSet::new();
        let said = std::mem::take(&mut self.said);
        for _ in 0..times {
            self.step(&format!("@{} {request}", self.now_ms + every));
        }
        for line in std::mem::replace(&mut self.said, said) {
            let line = line
                .trim_start_matches(|letter: char| letter != ' ')
                .trim_start();
            if shown.insert(line.to_owned()) {
                self.said.push(line.to_owned());
            }
        }
    }

    fn advance(&mut self, to_ms: u64) {
        assert!(to_ms >= self.now_ms, "time does not run backwards");
        while self.core.poll_timeout() <= to_ms {
            self.now_ms = self.now_ms.max(self.core.poll_timeout());
            let from = self.said.len();
            let outputs = self.core.on_timer(self.now());
            self.outputs(outputs);
            for said in &mut self.said[from..] {
                *said = format!("@{} {said}", self.now_ms);
            }
        }
        self.now_ms = to_ms;
    }

    fn request(&self, verb: &str, args: &Args) -> Request {
        match verb {
            "join" => Request::Join(self.join(args)),
            "sync" => Request::Sync(SyncRequest {
                who: args.who(),
                protocol_type: args.get("type").map(Into::into),
                protocol: args.get("protocol").map(Into::into),
                assignments: args
                    .pairs("give")
                    .map(|(m, a)| (m.into(), Bytes::from(a.to_owned())))
                    .collect(),
            }),
            "heartbeat" => Request::Heartbeat(args.who()),
            "leave" => Request::Leave(LeaveRequest {
                group: args.group.clone(),
                members: args.leavers(),
            }),
            "commit" => Request::Commit(CommitRequest {
                who: args.who(),
                knows_group_id_not_found: args.has("v9"),
                offsets: args.offsets(),
            }),
            "delete-offsets" => Request::DeleteOffsets(DeleteOffsetsRequest {
                group: args.group.clone(),
                partitions: args.list("of").map(partition).collect(),
            }),
            "delete" => Request::DeleteGroup(args.group.clone()),
            other => panic!("no such verb: {other}"),
        }
    }

    fn join(&self, args: &Args) -> JoinRequest {
        let number = |name, default| {
            args.get(name)
                .map_or(default, |text| text.parse().expect("a number"))
        };
        let topics: Vec<&str> = args.list("topics").collect();
        let protocols = args
            .get("protocols")
            .unwrap_or("range")
            .split(',')
            .filter(|name| !name.is_empty());
        JoinRequest {
            group: args.group.clone(),
            member: args.get("member").map(Into::into),
            instance: args.get("instance").map(Into::into),
            fresh: args
                .get("as")
                .map_or_else(|| self.token.to_string(), str::to_owned),
            client_id: args.get("client").unwrap_or("c").to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout_ms: number("session", 10_000),
            rebalance_timeout_ms: number("rebalance", 30_000),
            protocol_type: args.get("type").unwrap_or("consumer").into(),
            protocols: protocols
                .map(|name| (name.into(), subscription(&topics)))
                .collect(),
            must_know_member_id: !args.has("old"),
            can_skip_assignment: args.has("v9"),
        }
    }

    fn input(&mut self, input: Input) {
        let outputs = self.core.handle(self.now(), input);
        self.outputs(outputs);
    }

    fn outputs(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Reply { token, reply } => {
                    assert!(
                        self.open.remove(&token.0),
                        "G4: #{} is answered once",
                        token.0
                    );
                    self.said
                        .push(format!("#{} {}", token.0, show_reply(&reply)));
                }
                Output::Write { write, records } => self.under_way.push_back((write, records)),
            }
        }
        if !self.holding {
            self.end_writes(WriteOutcome::Durable);
        }
    }

    fn end_writes(&mut self, outcome: WriteOutcome) {
        self.holding = false;
        while let Some((write, records)) = self.under_way.pop_front() {
            if outcome == WriteOutcome::Durable {
                records
                    .iter()
                    .for_each(|record| store(&mut self.disk, record));
            }
            self.input(Input::Written { write, outcome });
        }
    }

    fn restart(&mut self) {
        self.holding = false;
        self.under_way.clear();
        self.open.clear();
        let records = self
            .disk
            .iter()
            .map(|((table, key), value)| restore(*table, key, value))
            .collect();
        let (core, outputs) =
            Coordinator::load(GroupConfig::default(), self.now(), records, BTreeSet::new());
        self.core = core;
        self.outputs(outputs);
    }

    fn describe(&mut self, group: &GroupId) {
        let Some(found) = self.core.describe(group) else {
            return self.said.push("Dead".to_owned());
        };
        let listed = self
            .core
            .list()
            .into_iter()
            .find(|listed| listed.group == *group)
            .expect("described, so listed");
        self.said.push(format!(
            "{} generation={} type={} protocol={}",
            found.state, listed.generation, found.protocol_type, found.protocol
        ));
        for member in found.members {
            let instance = member
                .instance
                .map_or_else(String::new, |name| format!(" instance={name}"));
            let assignment = String::from_utf8_lossy(&member.assignment).into_owned();
            self.said.push(format!(
                "  {}{instance} assignment={assignment}",
                member.member
            ));
        }
    }

    fn list(&mut self) {
        for group in self.core.list() {
            self.said.push(format!(
                "{} {} type={} members={}",
                group.group,
                group.state,
                group
                    .protocol_type
                    .as_ref()
                    .map_or("", ProtocolName::as_str),
                group.members
            ));
        }
    }

    fn fetch(&mut self, group: &GroupId) {
        let Ok(Some(offsets)) = self.core.offsets(group) else {
            return self.said.push("none".to_owned());
        };
        let mut lines = Vec::new();
        for (topic, partitions) in offsets {
            for (partition, found) in partitions {
                lines.push(format!(
                    "{}:{partition}={} {:?}",
                    shown(topic),
                    found.offset,
                    found.metadata
                ));
            }
        }
        self.said.extend(lines);
    }
}

/// `group word=value word …`
struct Args {
    group: GroupId,
    words: Vec<(String, String)>,
}

impl Args {
    fn new<'a>(mut words: impl Iterator<Item = &'a str>) -> Args {
        let group = words.next().unwrap_or_default().trim_matches('"').into();
        let words = words.map(|word| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            (name.to_owned(), value.to_owned())
        });
        Args {
            group,
            words: words.collect(),
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

    fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get(name)
            .into_iter()
            .flat_map(|text| text.split(','))
            .filter(|item| !item.is_empty())
    }

    fn pairs(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        self.list(name)
            .map(|pair| pair.split_once(':').expect("a:b"))
    }

    fn who(&self) -> MemberRef {
        MemberRef {
            group: self.group.clone(),
            member: self.get("member").unwrap_or_default().into(),
            instance: self.get("instance").map(Into::into),
            generation: self
                .get("gen")
                .map_or(-1, |text| text.parse().expect("a number")),
        }
    }

    fn leavers(&self) -> Vec<Leaver> {
        let by_id = self.list("member").map(|id| Leaver {
            member: id.into(),
            instance: self.get("instance").map(Into::into),
        });
        let by_name = self.list("names").map(|name| Leaver {
            member: "".into(),
            instance: Some(name.into()),
        });
        by_id.chain(by_name).collect()
    }

    /// `of=topic:partition:offset,…`
    fn offsets(&self) -> Vec<OffsetCommit> {
        let offset = |text: &str| {
            let (place, offset) = text.rsplit_once(':').expect("topic:partition:offset");
            let (topic, partition) = partition(place);
            OffsetCommit {
                topic,
                partition,
                offset: offset.parse().expect("a number"),
                leader_epoch: -1,
                metadata: self
                    .get("metadata")
                    .map_or_else(String::new, |text| text.replace("LONG", &"x".repeat(4097))),
                retention_ms: self
                    .get("retention")
                    .map(|text| text.parse().expect("a number")),
            }
        };
        self.list("of").map(offset).collect()
    }
}

fn partition(text: &str) -> (TopicRef, i32) {
    let (topic, partition) = text.split_once(':').expect("topic:partition");
    (topic_ref(topic), partition.parse().expect("a number"))
}

/// `t`; or `t~2`, the topic that was created as `t` after the first was deleted. The id is the text.
pub(super) fn topic_ref(text: &str) -> TopicRef {
    let name = text.split('~').next().expect("split gives something");
    let mut id = [0; 16];
    id[..text.len()].copy_from_slice(text.as_bytes());
    TopicRef::new(name, Uuid::from_bytes(id))
}

fn shown(topic: &TopicRef) -> String {
    let text = String::from_utf8_lossy(topic.id.as_bytes()).into_owned();
    text.trim_end_matches('\0').to_owned()
}

/// A consumer's subscription as the Java client writes it (version 0).
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(i32::try_from(topics.len()).expect("few"));
    for topic in topics {
        out.put_i16(i16::try_from(topic.len()).expect("short"));
        out.put_slice(topic.as_bytes());
    }
    out.freeze()
}

pub(super) fn store(disk: &mut Disk, record: &Record) {
    let (key, value) = match record {
        Record::Group { group, value } => (
            (0, record::group_key(group)),
            value.as_ref().map(GroupRecord::encode),
        ),
        Record::Offset {
            group,
            topic,
            partition,
            value,
        } => (
            (1, offset_key(group, topic.id, *partition)),
            value.as_ref().map(OffsetRecord::encode),
        ),
    };
    match value {
        Some(value) => disk.insert(key, value),
        None => disk.remove(&key),
    };
}

fn offset_key(group: &GroupId, topic: Uuid, partition: i32) -> Bytes {
    let group = group.clone();
    let key = OffsetKey::Identified {
        group,
        topic,
        partition,
    };
    key.encode()
}

pub(super) fn restore(table: u8, key: &[u8], value: &[u8]) -> Record {
    if table == 0 {
        let group = record::decode_group_key(key).expect("written by us");
        return Record::Group {
            group,
            value: Some(GroupRecord::decode(value).expect("written by us")),
        };
    }
    let Ok(OffsetKey::Identified {
        group,
        topic,
        partition,
    }) = OffsetKey::decode(key)
    else {
        panic!("written by us");
    };
    let text = std::str::from_utf8(topic.as_bytes()).expect("an id is a text here");
    let topic = topic_ref(text.trim_end_matches('\0'));
    Record::Offset {
        group,
        topic,
        partition,
        value: Some(OffsetRecord::decode(value).expect("written by us")),
    }
}

fn show_reply(reply: &Reply) -> String {
    match reply {
        Reply::Join(reply) => show_join(reply),
        Reply::Sync(Ok(reply)) => format!("sync {}", String::from_utf8_lossy(&reply.assignment)),
        Reply::Sync(Err(error)) => format!("sync {}", code(*error)),
        Reply::Heartbeat(result) => format!("heartbeat {}", show_result(*result)),
        Reply::Leave(Err(error)) => format!("leave {}", code(*error)),
        Reply::Leave(Ok(members)) => {
            let name = |leaver: &Leaver| match &leaver.instance {
                Some(instance) if leaver.member.as_str().is_empty() => instance.to_string(),
                _ => leaver.member.to_string(),
            };
            let members: Vec<_> = members
                .iter()
                .map(|member| format!("{}={}", name(&member.leaver), show_result(member.result)))
                .collect();
            format!("leave {}", members.join(" "))
        }
        Reply::Commit(partitions) => format!("commit {}", show_partitions(partitions)),
        Reply::DeleteOffsets(Ok(partitions)) => {
            format!("delete-offsets {}", show_partitions(partitions))
        }
        Reply::DeleteOffsets(Err(error)) => format!("delete-offsets {}", code(*error)),
        Reply::DeleteGroup(result) => format!("delete {}", show_result(*result)),
    }
}

fn show_join(reply: &JoinReply) -> String {
    if let Some(error) = reply.error {
        return format!("join {} member={}", code(error), reply.member);
    }
    let protocol = reply.protocol.as_ref().map_or("-", ProtocolName::as_str);
    let mut text = format!(
        "join generation={} protocol={protocol} leader={} member={}",
        reply.generation, reply.leader, reply.member
    );
    if !reply.members.is_empty() {
        let members: Vec<_> = reply
            .members
            .iter()
            .map(|member| member.member.as_str())
            .collect();
        write!(text, " members={}", members.join(",")).expect("a String takes all");
    }
    if reply.skip_assignment {
        text.push_str(" skip-assignment");
    }
    text
}

fn show_partitions(partitions: &[PartitionReply]) -> String {
    let show = |reply: &PartitionReply| {
        format!(
            "{}:{}={}",
            shown(&reply.topic),
            reply.partition,
            show_result(reply.result)
        )
    };
    partitions.iter().map(show).collect::<Vec<_>>().join(" ")
}

fn show_result(result: Result<(), ErrorCode>) -> String {
    result.map_or_else(code, |()| "ok".to_owned())
}

/// `UnknownMemberId` as the protocol's documents write it: `UNKNOWN_MEMBER_ID`.
fn code(error: ErrorCode) -> String {
    let mut text = String::new();
    for (index, letter) in format!("{error:?}").chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}
