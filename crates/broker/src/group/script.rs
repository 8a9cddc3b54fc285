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

mod disk;
mod shown;
mod words;

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use self::shown::{show_reply, shown};
use self::words::{Args, partition};
use super::coordinator::Coordinator;
use super::record::Record;
use super::*;

pub(super) use self::disk::{Disk, restore, store};
pub(super) use self::words::{subscription, topic_ref};

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
