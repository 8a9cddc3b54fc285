//! A group under a seeded storm: clients join, rejoin, leave, fall silent, restart under their instance id, commit; the
//! disk takes its time; the broker restarts. After every step the invariants of [`super`] must hold.
//!
//! The clients are honest but forgetful state machines, each with its own idea of where it stands. What a leader
//! assigns is a function of generation and client, so that any reply can be judged alone. A failing seed prints itself;
//! `LAKEWARD_SEED=n` runs just that one.
//!
//! A storm goes over a [`Ground`]: here the core alone over a map ([`Alone`]), beside the shell the whole coordinator
//! over the real storage on a simulated disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use lw_protocol::ErrorCode;
use uuid::Uuid;

use super::coordinator::Coordinator;
use super::record::Record;
use super::script::{Disk, restore, store, subscription, topic_ref};
use super::*;

const CLIENTS: usize = 5;
pub(super) const STEPS: u64 = 600;
const SEEDS: u64 = 400;

#[test]
fn invariants_hold_in_a_storm() {
    if let Ok(seed) = std::env::var("LAKEWARD_SEED") {
        return drop(storm(seed.parse().expect("LAKEWARD_SEED is a number")));
    }
    let mut seen = Seen::default();
    for seed in 0..SEEDS {
        eprintln!("LAKEWARD_SEED={seed}");
        seen.add(storm(seed).seen);
    }
    seen.expect(&[
        "led",
        "followed",
        "synced",
        "committed",
        "restarted",
        "left",
        "MemberIdRequired",
        "skip assignment",
        "FencedInstanceId",
        "IllegalGeneration",
        "RebalanceInProgress",
        "UnknownMemberId",
        "commit refused by the disk",
        "replaced in place",
    ]);
}

#[test]
fn a_seed_repeats_itself() {
    assert_eq!(storm(7).trace, storm(7).trace);
}

fn storm(seed: u64) -> Storm<Alone> {
    let mut storm = Storm::new(seed, Alone::new());
    storm.rage();
    storm
}

/// What a storm goes over: a coordinator, its clock, and what it calls the disk.
pub(super) trait Ground {
    fn ask(&mut self, token: Token, request: Request);
    /// Everything answered since the last look.
    fn replies(&mut self) -> Vec<(Token, Reply)>;
    fn set_clock(&mut self, now_ms: u64);
    fn next_timer(&self) -> u64;
    fn on_timer(&mut self);
    /// Some of what is under way to the disk ends; false when nothing was.
    fn end_writes(&mut self, dice: &mut Dice) -> bool;
    /// The process dies and is started again, perhaps on what a power cut left.
    fn restart(&mut self, dice: &mut Dice);
    /// What else goes wrong where this ground is.
    fn misfortune(&mut self, _dice: &mut Dice) -> Option<Misfortune> {
        None
    }
    /// Nothing goes wrong from here on.
    fn calm(&mut self) {}
    /// It serves nothing any more, and has to be started again.
    fn is_down(&self) -> bool {
        false
    }
    /// The disk has refused nothing in this life.
    fn is_whole(&self) -> bool {
        true
    }
    /// The topic that offsets are committed in.
    fn topic(&self) -> TopicRef;
    fn describe(&self) -> Option<GroupDescription>;
    /// Offsets as a client is shown them; `None` while the coordinator cannot say.
    fn shown(&self) -> Option<GroupOffsets>;
    fn on_disk(&self) -> Vec<Record>;
}

/// What a storm must know of a misfortune.
pub(super) enum Misfortune {
    /// No more than its name.
    Other(&'static str),
    /// The coordinator broke down: everyone who waited is let go without an answer, and it starts again from the disk.
    LetGo,
    /// Somebody deletes this topic; from now on its offsets may be gone, and in the end they must be.
    Deleting(Uuid),
}

/// Random numbers that repeat themselves.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What happened, and how often.
#[derive(Default, Debug)]
pub(super) struct Seen(BTreeMap<String, u32>);

impl Seen {
    pub(super) fn add(&mut self, other: Seen) {
        for (event, count) in other.0 {
            *self.0.entry(event).or_insert(0) += count;
        }
    }

    /// A storm in which these never happen proves nothing.
    pub(super) fn expect(&self, events: &[&str]) {
        for event in events {
            assert!(
                self.0.get(*event).is_some_and(|count| *count > 20),
                "too little of `{event}`: {:?}",
                self.0
            );
        }
    }
}

/// One client's own view.
#[derive(Clone, Debug, Default)]
struct Client {
    instance: Option<InstanceId>,
    member: Option<MemberId>,
    generation: i32,
    /// From its last join, when it leads: who is to be assigned.
    team: Vec<MemberId>,
    /// The request that it waits for; replies to others are dropped, as a closed connection would.
    waits: Option<Token>,
    must_sync: bool,
    skip: bool,
    committed: i64,
}

/// A request that was not answered yet.
struct Asked {
    who: usize,
    generation: i32,
    commits: Option<(Place, i64)>,
}

/// A partition of one incarnation of a topic.
type Place = (TopicRef, i32);

/// What a client may count on in one partition.
#[derive(Default, Debug)]
struct Promised {
    acknowledged: Option<i64>,
    /// Sent later, and neither acknowledged nor refused before it was written.
    unknown: BTreeSet<i64>,
}

pub(super) struct Storm<G> {
    dice: Dice,
    pub(super) ground: G,
    now_ms: u64,
    clients: Vec<Client>,
    open: BTreeMap<Token, Asked>,
    last_token: u64,
    /// The newest generation told to anyone, and the newest told of which the disk had to know.
    told: i32,
    told_for_good: i32,
    told_before_restart: i32,
    leaders: BTreeMap<i32, usize>,
    /// Whose member id is whose.
    owners: BTreeMap<String, usize>,
    next_offset: i64,
    promised: BTreeMap<Place, Promised>,
    deleting: BTreeSet<Uuid>,
    /// Killed processes that turn out to run still.
    ghosts: Vec<MemberRef>,
    /// Some storms are breezes, or no group would ever be Stable for long.
    calmness: u64,
    pub(super) seen: Seen,
    pub(super) trace: Vec<String>,
}

impl<G: Ground> Storm<G> {
    pub(super) fn new(seed: u64, ground: G) -> Storm<G> {
        let mut clients = vec![Client::default(); CLIENTS];
        clients[0].instance = Some("a0".into());
        clients[1].instance = Some("a1".into());
        Storm {
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            ground,
            now_ms: 0,
            clients,
            open: BTreeMap::new(),
            last_token: 0,
            told: 0,
            told_for_good: 0,
            told_before_restart: 0,
            leaders: BTreeMap::new(),
            owners: BTreeMap::new(),
            next_offset: 1,
            promised: BTreeMap::new(),
            deleting: BTreeSet::new(),
            ghosts: Vec::new(),
            calmness: 1 + seed % 8,
            seen: Seen::default(),
            trace: Vec::new(),
        }
    }

    /// All of it: a storm, and the calm after it.
    pub(super) fn rage(&mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        self.calm();
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.dice.below(limit)
    }

    fn saw(&mut self, event: &str) {
        *self.seen.0.entry(event.to_owned()).or_default() += 1;
    }

    // ---- what happens -----------------------------------------------------------------------------------------

    fn step(&mut self) {
        match self.below(100) {
            _ if self.ground.is_down() => self.restart(),
            0..15 => self.end_writes(),
            15..30 => {
                let wait = if self.below(10 * self.calmness) == 0 {
                    12_000
                } else {
                    300
                };
                let wait = self.below(wait);
                self.pass_time(wait);
            }
            30 if self.dice.below(self.calmness) == 0 => self.restart(),
            31..36 => self.misfortune(),
            _ => {
                let who = self.below(CLIENTS as u64) as usize;
                self.act(who);
            }
        }
        self.check();
    }

    /// A client does what it would do next; now and then something foolish.
    fn act(&mut self, who: usize) {
        let client = self.clients[who].clone();
        match self.below(30 * self.calmness) {
            // Killed: a static one comes back under its name, a dynamic one as somebody new.
            0 | 8 => {
                self.ghosts.push(self.who(who));
                self.clients[who] = Client {
                    instance: client.instance,
                    ..Client::default()
                };
            }
            1 if client.member.is_some() => self.leave(who),
            2 => self.join(who),
            3 if !self.ghosts.is_empty() => {
                let ghost = self.below(self.ghosts.len() as u64) as usize;
                let request = self.ghosts.swap_remove(ghost);
                self.ask(who, Request::Heartbeat(request), false);
            }
            4..8 | 9..16 if client.member.is_some() => self.commit(who),
            _ if client.waits.is_some() => {}
            _ if client.member.is_none() || client.generation < 0 => self.join(who),
            _ if client.must_sync => self.sync(who),
            _ => self.heartbeat(who),
        }
    }

    fn ask(&mut self, who: usize, request: Request, waits: bool) {
        self.last_token += 1;
        let token = Token(self.last_token);
        let asked = Asked {
            who,
            generation: self.clients[who].generation,
            commits: match &request {
                Request::Commit(request) => request.offsets.first().map(|commit| {
                    let place = (commit.topic.clone(), commit.partition);
                    (place, commit.offset)
                }),
                _ => None,
            },
        };
        if let Some((place, offset)) = asked.commits.clone() {
            let promised = self.promised.entry(place).or_default();
            promised.unknown.insert(offset);
        }
        self.open.insert(token, asked);
        if waits {
            self.clients[who].waits = Some(token);
        }
        self.trace
            .push(format!("{} #{} {who} {request:?}", self.now_ms, token.0));
        self.ground.ask(token, request);
        self.take_replies();
    }

    fn join(&mut self, who: usize) {
        let client = self.clients[who].clone();
        let fresh = (self.last_token + 1).to_string();
        let prefix = client.instance.as_ref().map_or("c", InstanceId::as_str);
        self.owners.insert(format!("{prefix}-{fresh}"), who);
        let topics: &[&str] = if self.below(4 * self.calmness) == 0 {
            &["t", "u"]
        } else {
            &["t"]
        };
        let request = JoinRequest {
            group: "g".into(),
            member: client.member,
            instance: client.instance,
            fresh,
            client_id: "c".to_owned(),
            client_host: String::new(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 5_000,
            protocol_type: "consumer".into(),
            protocols: vec![("range".into(), subscription(topics))],
            must_know_member_id: self.below(2) == 0,
            can_skip_assignment: self.below(2) == 0,
        };
        let stable = self
            .ground
            .describe()
            .is_some_and(|group| group.state == "Stable");
        let newborn = self.clients[who].generation == 0 && request.instance.is_some();
        self.ask(who, Request::Join(request), true);
        if stable && newborn && self.clients[who].must_sync {
            self.saw("replaced in place");
        }
    }

    fn who(&self, who: usize) -> MemberRef {
        let client = &self.clients[who];
        MemberRef {
            group: "g".into(),
            member: client.member.clone().unwrap_or_else(|| "".into()),
            instance: client.instance.clone(),
            generation: client.generation,
        }
    }

    fn sync(&mut self, who: usize) {
        let client = self.clients[who].clone();
        let team = client.team.iter().filter(|_| !client.skip);
        let assignments = team
            .map(|member| {
                (
                    member.clone(),
                    assignment(client.generation, self.owners[member.as_str()]),
                )
            })
            .collect();
        let request = SyncRequest {
            who: self.who(who),
            protocol_type: None,
            protocol: Some("range".into()),
            assignments,
        };
        self.ask(who, Request::Sync(request), true);
    }

    fn heartbeat(&mut self, who: usize) {
        let request = self.who(who);
        self.ask(who, Request::Heartbeat(request), true);
    }

    fn leave(&mut self, who: usize) {
        let from = self.who(who);
        let members = vec![Leaver {
            member: from.member,
            instance: from.instance,
        }];
        self.clients[who] = Client {
            instance: self.clients[who].instance.clone(),
            ..Client::default()
        };
        self.ask(
            who,
            Request::Leave(LeaveRequest {
                group: "g".into(),
                members,
            }),
            false,
        );
    }

    fn commit(&mut self, who: usize) {
        let offset = self.next_offset;
        self.next_offset += 1;
        self.clients[who].committed = offset;
        let offsets = vec![OffsetCommit {
            topic: self.topic(),
            partition: who as i32,
            offset,
            leader_epoch: -1,
            metadata: String::new(),
            retention_ms: None,
        }];
        let request = CommitRequest {
            who: self.who(who),
            knows_group_id_not_found: true,
            offsets,
        };
        self.ask(who, Request::Commit(request), false);
    }

    /// The topic as a client knows it: now and then one that was deleted since it looked.
    fn topic(&mut self) -> TopicRef {
        let now = self.ground.topic();
        let before = self.promised.keys().map(|(topic, _)| topic);
        let gone = before.filter(|topic| **topic != now).max();
        match gone.cloned() {
            Some(gone) if self.below(8) == 0 => gone,
            _ => now,
        }
    }

    fn pass_time(&mut self, wait_ms: u64) {
        let until = self.now_ms + wait_ms;
        while self.ground.next_timer() <= until {
            self.now_ms = self.now_ms.max(self.ground.next_timer());
            self.ground.set_clock(self.now_ms);
            self.ground.on_timer();
            self.take_replies();
            self.check();
        }
        self.now_ms = until;
        self.ground.set_clock(until);
    }

    fn end_writes(&mut self) {
        self.ground.end_writes(&mut self.dice);
        self.take_replies();
    }

    fn misfortune(&mut self) {
        match self.ground.misfortune(&mut self.dice) {
            None => {}
            Some(Misfortune::Other(name)) => self.saw(name),
            Some(Misfortune::Deleting(topic)) => {
                self.deleting.insert(topic);
                self.saw("topic deleted");
            }
            Some(Misfortune::LetGo) => {
                self.begin_anew();
                self.saw("broke down");
            }
        }
        self.take_replies();
    }

    fn restart(&mut self) {
        self.begin_anew();
        self.trace.push(format!("{} restart", self.now_ms));
        self.ground.restart(&mut self.dice);
        self.take_replies();
        self.saw("restarted");
    }

    /// Nobody waits any more, and only what is on disk is remembered.
    fn begin_anew(&mut self) {
        self.open.clear();
        for client in &mut self.clients {
            client.waits = None;
        }
        self.told = self.told_for_good;
        self.told_before_restart = self.told;
        self.leaders
            .retain(|generation, _| *generation <= self.told_for_good);
    }

    /// Nobody asks any more; in the end nobody may be left waiting.
    fn calm(&mut self) {
        self.ground.calm();
        for _ in 0..50 {
            if self.ground.is_down() {
                self.restart();
            }
            while self.ground.end_writes(&mut self.dice) {
                self.take_replies();
            }
            self.pass_time(60_000);
        }
        while self.ground.end_writes(&mut self.dice) {
            self.take_replies();
        }
        self.check();
        let open: Vec<_> = self.open.keys().collect();
        assert!(open.is_empty(), "G4: never answered: {open:?}");
        let members = self
            .ground
            .describe()
            .map_or(0, |group| group.members.len());
        assert_eq!(members, 0, "G8: silent members stay for ever");
        for record in self.ground.on_disk() {
            if let Record::Offset { topic, .. } = record {
                assert_eq!(
                    topic,
                    self.ground.topic(),
                    "G9: offsets of a deleted topic stay for ever"
                );
            }
        }
        self.restart();
        self.check();
    }

    // ---- what comes of it -------------------------------------------------------------------------------------

    fn take_replies(&mut self) {
        for (token, reply) in self.ground.replies() {
            self.trace
                .push(format!("{} #{} {reply:?}", self.now_ms, token.0));
            let asked = self.open.remove(&token).expect("G4: answered once");
            self.judge(&asked, &reply);
            if self.clients[asked.who].waits == Some(token) {
                self.clients[asked.who].waits = None;
                self.learn(asked.who, &reply);
            }
        }
    }

    /// What must be true of a reply, whether or not its client still listens.
    fn judge(&mut self, asked: &Asked, reply: &Reply) {
        let who = asked.who;
        match reply {
            Reply::Join(JoinReply {
                error: None,
                generation,
                leader,
                member,
                members,
                skip_assignment,
                ..
            }) => {
                assert!(
                    *generation >= self.told,
                    "G5: generation {generation} after {}",
                    self.told
                );
                assert!(
                    *generation > self.told_before_restart,
                    "G5: generation {generation} told before the restart"
                );
                // A generation that the disk refused is told all the same (see the coordinator).
                if self.ground.is_whole() {
                    let on_disk = self.disk_generation();
                    assert!(
                        *generation <= on_disk,
                        "G5: generation {generation} told, {on_disk} on disk"
                    );
                    self.told_for_good = *generation;
                }
                self.told = *generation;
                if members.is_empty() {
                    return self.saw("followed");
                }
                assert_eq!(leader, member, "G1: only the leader is told the members");
                let before = self.leaders.insert(*generation, who);
                assert!(
                    before.is_none_or(|before| before == who),
                    "G1: generation {generation} has two leaders"
                );
                self.saw(if *skip_assignment {
                    "skip assignment"
                } else {
                    "led"
                });
            }
            Reply::Sync(Ok(reply)) => {
                assert_eq!(
                    reply.assignment,
                    assignment(asked.generation, who),
                    "G1: another's assignment"
                );
                self.saw("synced");
            }
            Reply::Commit(replies) => {
                for reply in replies {
                    self.promise(asked, reply.result);
                    match reply.result {
                        Ok(()) => self.saw("committed"),
                        Err(ErrorCode::CoordinatorNotAvailable) => {
                            self.saw("commit refused by the disk")
                        }
                        Err(error) => self.saw(&format!("{error:?}")),
                    }
                }
            }
            Reply::Leave(Ok(_)) => self.saw("left"),
            Reply::Sync(Err(error)) | Reply::Heartbeat(Err(error)) => {
                self.saw(&format!("{error:?}"))
            }
            Reply::Join(JoinReply {
                error: Some(error), ..
            }) => self.saw(&format!("{error:?}")),
            _ => {}
        }
    }

    /// What the answer to a commit lets its client count on.
    fn promise(&mut self, asked: &Asked, result: Result<(), ErrorCode>) {
        let (place, offset) = asked.commits.clone().expect("a commit was asked for");
        let promised = self.promised.entry(place).or_default();
        match result {
            Ok(()) => {
                promised.acknowledged = Some(offset);
                promised.unknown.retain(|later| *later > offset);
            }
            // A disk that failed in the middle may have it or not.
            Err(ErrorCode::CoordinatorNotAvailable) => {}
            Err(_) => drop(promised.unknown.remove(&offset)),
        }
    }

    /// What the client does with a reply that it waited for.
    fn learn(&mut self, who: usize, reply: &Reply) {
        let client = &mut self.clients[who];
        let error = match reply {
            Reply::Join(reply) => match reply.error {
                None => {
                    client.member = Some(reply.member.as_str().into());
                    client.generation = reply.generation;
                    client.team = reply
                        .members
                        .iter()
                        .map(|member| member.member.clone())
                        .collect();
                    client.must_sync = true;
                    client.skip = reply.skip_assignment;
                    return;
                }
                Some(ErrorCode::MemberIdRequired) => {
                    client.member = Some(reply.member.as_str().into());
                    client.generation = -1;
                    return;
                }
                Some(error) => error,
            },
            Reply::Sync(Ok(_)) => {
                client.must_sync = false;
                return;
            }
            Reply::Sync(Err(error)) | Reply::Heartbeat(Err(error)) => *error,
            _ => return,
        };
        match error {
            ErrorCode::RebalanceInProgress => client.generation = -1,
            // It starts again from the disk; all ask again.
            ErrorCode::CoordinatorLoadInProgress => {}
            ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::FencedInstanceId => {
                *client = Client {
                    instance: client.instance.clone(),
                    ..Client::default()
                };
            }
            other => panic!("{other:?} has no business here"),
        }
    }

    // ---- what must always be true -----------------------------------------------------------------------------

    /// G7, both ways: what is shown is what is on disk, and what was acknowledged is shown. (The core checks the rest of
    /// itself after each step.)
    fn check(&self) {
        let Some(mut shown) = self.ground.shown() else {
            return;
        };
        let mut on_disk = GroupOffsets::new();
        for record in self.ground.on_disk() {
            if let Record::Offset {
                topic,
                partition,
                value: Some(value),
                ..
            } = record
            {
                on_disk.entry(topic).or_default().insert(partition, value);
            }
        }
        // Offsets of a deleted topic are on their way out of both, in no order.
        let exists = self.ground.topic();
        shown.retain(|topic, _| *topic == exists);
        on_disk.retain(|topic, _| *topic == exists);
        assert_eq!(shown, on_disk, "G7: what is shown is what is on disk");
        for ((topic, partition), promised) in &self.promised {
            let shown = shown
                .get(topic)
                .and_then(|at| Some(at.get(partition)?.offset));
            let may_be_gone = shown.is_none() && self.deleting.contains(&topic.id);
            assert!(
                shown == promised.acknowledged
                    || shown.is_some_and(|offset| promised.unknown.contains(&offset))
                    || may_be_gone,
                "G7: partition {partition} of {} shows {shown:?}, but {promised:?}",
                topic.id
            );
        }
    }

    fn disk_generation(&self) -> i32 {
        let generation = |record| match record {
            Record::Group {
                value: Some(value), ..
            } => Some(value.generation),
            _ => None,
        };
        let records = self.ground.on_disk();
        records.into_iter().find_map(generation).unwrap_or(0)
    }
}

fn assignment(generation: i32, client: usize) -> Bytes {
    Bytes::from(format!("{generation}/{client}"))
}

/// The core without its shell, over a map that is told when a write ends.
struct Alone {
    core: Coordinator,
    disk: Disk,
    now_ms: u64,
    under_way: VecDeque<(WriteId, Vec<Record>)>,
    replies: Vec<(Token, Reply)>,
}

impl Alone {
    fn new() -> Alone {
        let now = Now {
            elapsed_ms: 0,
            wall_ms: 0,
        };
        let (core, _) = Coordinator::load(GroupConfig::default(), now, Vec::new(), BTreeSet::new());
        Alone {
            core,
            disk: Disk::new(),
            now_ms: 0,
            under_way: VecDeque::new(),
            replies: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            elapsed_ms: self.now_ms,
            wall_ms: self.now_ms as i64,
        }
    }

    fn outputs(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Write { write, records } => self.under_way.push_back((write, records)),
                Output::Reply { token, reply } => self.replies.push((token, reply)),
            }
        }
    }
}

impl Ground for Alone {
    fn ask(&mut self, token: Token, request: Request) {
        let input = Input::Request { token, request };
        let outputs = self.core.handle(self.now(), input);
        self.outputs(outputs);
    }

    fn replies(&mut self) -> Vec<(Token, Reply)> {
        std::mem::take(&mut self.replies)
    }

    fn set_clock(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    fn next_timer(&self) -> u64 {
        self.core.poll_timeout()
    }

    fn on_timer(&mut self) {
        let outputs = self.core.on_timer(self.now());
        self.outputs(outputs);
    }

    fn end_writes(&mut self, dice: &mut Dice) -> bool {
        let Some((write, records)) = self.under_way.pop_front() else {
            return false;
        };
        // A refused generation is told all the same (see the coordinator): that case has its conversation.
        let holds_generation = records
            .iter()
            .any(|record| matches!(record, Record::Group { .. }));
        let outcome = if !holds_generation && dice.below(8) == 0 {
            WriteOutcome::Refused
        } else {
            records
                .iter()
                .for_each(|record| store(&mut self.disk, record));
            WriteOutcome::Durable
        };
        let input = Input::Written { write, outcome };
        let outputs = self.core.handle(self.now(), input);
        self.outputs(outputs);
        true
    }

    /// What was under way may or may not have reached the disk, a prefix of it in any case.
    fn restart(&mut self, dice: &mut Dice) {
        let landed = dice.below(self.under_way.len() as u64 + 1) as usize;
        for (_, records) in self.under_way.drain(..).take(landed) {
            records
                .iter()
                .for_each(|record| store(&mut self.disk, record));
        }
        let (core, outputs) = Coordinator::load(
            GroupConfig::default(),
            self.now(),
            self.on_disk(),
            BTreeSet::new(),
        );
        self.core = core;
        self.outputs(outputs);
    }

    fn topic(&self) -> TopicRef {
        topic_ref("t")
    }

    fn describe(&self) -> Option<GroupDescription> {
        self.core.describe(&"g".into())
    }

    fn shown(&self) -> Option<GroupOffsets> {
        let offsets = self.core.offsets(&"g".into()).expect("readable");
        Some(offsets.cloned().unwrap_or_default())
    }

    fn on_disk(&self) -> Vec<Record> {
        let entries = self.disk.iter();
        entries
            .map(|((table, key), value)| restore(*table, key, value))
            .collect()
    }
}
