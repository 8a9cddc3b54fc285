//! A group under a seeded storm: clients join, rejoin, leave, fall silent, restart under their instance id, commit; the
//! disk takes its time; the broker restarts. After every step the invariants of [`super`] must hold.
//!
//! The clients are honest but forgetful state machines, each with its own idea of where it stands. What a leader
//! assigns is a function of generation and client, so that any reply can be judged alone. A failing seed prints itself;
//! `LAKEWARD_SEED=n` runs just that one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use lw_protocol::ErrorCode;

use super::coordinator::Coordinator;
use super::record::Record;
use super::script::{Disk, restore, store, subscription, topic_ref};
use super::*;

const CLIENTS: usize = 5;
const STEPS: u64 = 600;
const SEEDS: u64 = 300;

#[test]
fn invariants_hold_in_a_storm() {
    if let Ok(seed) = std::env::var("LAKEWARD_SEED") {
        return drop(storm(seed.parse().expect("LAKEWARD_SEED is a number")));
    }
    let mut seen = BTreeMap::new();
    for seed in 0..SEEDS {
        eprintln!("LAKEWARD_SEED={seed}");
        for (event, count) in storm(seed).seen {
            *seen.entry(event).or_insert(0) += count;
        }
    }
    // A storm in which these never happen proves nothing.
    for event in [
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
    ] {
        assert!(
            seen.get(event).is_some_and(|count| *count > 20),
            "too little of `{event}`: {seen:?}"
        );
    }
}

#[test]
fn a_seed_repeats_itself() {
    assert_eq!(storm(7).trace, storm(7).trace);
}

fn storm(seed: u64) -> Storm {
    let mut storm = Storm::new(seed);
    for _ in 0..STEPS {
        storm.step();
    }
    storm.calm();
    storm
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

struct Storm {
    random: u64,
    core: Coordinator,
    disk: Disk,
    now_ms: u64,
    clients: Vec<Client>,
    /// Asked and not answered: by whom, in which generation.
    open: BTreeMap<Token, (usize, i32)>,
    last_token: u64,
    under_way: VecDeque<(WriteId, Vec<Record>)>,
    /// The newest generation told to anyone, and the one before the last restart.
    told: i32,
    told_before_restart: i32,
    leaders: BTreeMap<i32, usize>,
    /// Whose member id is whose.
    owners: BTreeMap<String, usize>,
    next_offset: i64,
    /// Killed processes that turn out to run still.
    ghosts: Vec<MemberRef>,
    /// Some storms are breezes, or no group would ever be Stable for long.
    calmness: u64,
    seen: BTreeMap<String, u32>,
    trace: Vec<String>,
}

impl Storm {
    fn new(seed: u64) -> Storm {
        let now = Now {
            elapsed_ms: 0,
            wall_ms: 0,
        };
        let (core, _) = Coordinator::load(GroupConfig::default(), now, Vec::new(), BTreeSet::new());
        let mut clients = vec![Client::default(); CLIENTS];
        clients[0].instance = Some("a0".into());
        clients[1].instance = Some("a1".into());
        Storm {
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            core,
            disk: Disk::new(),
            now_ms: 0,
            clients,
            open: BTreeMap::new(),
            last_token: 0,
            under_way: VecDeque::new(),
            told: 0,
            told_before_restart: 0,
            leaders: BTreeMap::new(),
            owners: BTreeMap::new(),
            next_offset: 1,
            ghosts: Vec::new(),
            calmness: 1 + seed % 8,
            seen: BTreeMap::new(),
            trace: Vec::new(),
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    fn saw(&mut self, event: &str) {
        *self.seen.entry(event.to_owned()).or_default() += 1;
    }

    // ---- what happens -----------------------------------------------------------------------------------------

    fn step(&mut self) {
        match self.below(100) {
            0..15 => self.end_one_write(),
            15..30 => {
                let wait = if self.below(10 * self.calmness) == 0 {
                    12_000
                } else {
                    300
                };
                let wait = self.below(wait);
                self.pass_time(wait);
            }
            30 if self.below(self.calmness) == 0 => self.restart(),
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
            4..8 if client.member.is_some() => self.commit(who),
            _ if client.waits.is_some() => {}
            _ if client.member.is_none() || client.generation < 0 => self.join(who),
            _ if client.must_sync => self.sync(who),
            _ => self.heartbeat(who),
        }
    }

    fn ask(&mut self, who: usize, request: Request, waits: bool) {
        self.last_token += 1;
        let token = Token(self.last_token);
        self.open.insert(token, (who, self.clients[who].generation));
        if waits {
            self.clients[who].waits = Some(token);
        }
        self.trace
            .push(format!("{} #{} {who} {request:?}", self.now_ms, token.0));
        let outputs = self
            .core
            .handle(self.now(), Input::Request { token, request });
        self.outputs(outputs);
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
            .core
            .describe(&"g".into())
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
            topic: topic_ref("t"),
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

    fn now(&self) -> Now {
        Now {
            elapsed_ms: self.now_ms,
            wall_ms: self.now_ms as i64,
        }
    }

    fn pass_time(&mut self, wait_ms: u64) {
        let until = self.now_ms + wait_ms;
        while self.core.poll_timeout() <= until {
            self.now_ms = self.now_ms.max(self.core.poll_timeout());
            let outputs = self.core.on_timer(self.now());
            self.outputs(outputs);
            self.check();
        }
        self.now_ms = until;
    }

    fn end_one_write(&mut self) {
        let Some((write, records)) = self.under_way.pop_front() else {
            return;
        };
        // A refused generation is told all the same (see the coordinator): that case has its conversation.
        let holds_generation = records
            .iter()
            .any(|record| matches!(record, Record::Group { .. }));
        let outcome = if !holds_generation && self.below(8) == 0 {
            WriteOutcome::Refused
        } else {
            records
                .iter()
                .for_each(|record| store(&mut self.disk, record));
            WriteOutcome::Durable
        };
        let outputs = self
            .core
            .handle(self.now(), Input::Written { write, outcome });
        self.outputs(outputs);
    }

    /// The process dies: what was under way may or may not have reached the disk, a prefix of it in any case.
    fn restart(&mut self) {
        let landed = self.below(self.under_way.len() as u64 + 1) as usize;
        for (_, records) in self.under_way.drain(..).take(landed) {
            records
                .iter()
                .for_each(|record| store(&mut self.disk, record));
        }
        self.open.clear();
        for client in &mut self.clients {
            client.waits = None;
        }
        self.told_before_restart = self.told;
        let records = self
            .disk
            .iter()
            .map(|((table, key), value)| restore(*table, key, value))
            .collect();
        let (core, outputs) =
            Coordinator::load(GroupConfig::default(), self.now(), records, BTreeSet::new());
        self.core = core;
        self.outputs(outputs);
        self.saw("restarted");
    }

    /// Nobody asks any more; in the end nobody may be left waiting.
    fn calm(&mut self) {
        for _ in 0..50 {
            while !self.under_way.is_empty() {
                self.end_one_write();
            }
            self.pass_time(60_000);
        }
        assert!(self.open.is_empty(), "G4: never answered: {:?}", self.open);
        assert!(
            self.core.list().iter().all(|group| group.members == 0),
            "G8: silent members stay for ever"
        );
    }

    // ---- what comes of it -------------------------------------------------------------------------------------

    fn outputs(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Write { write, records } => self.under_way.push_back((write, records)),
                Output::Reply { token, reply } => {
                    self.trace
                        .push(format!("{} #{} {reply:?}", self.now_ms, token.0));
                    let (who, generation) = self.open.remove(&token).expect("G4: answered once");
                    self.judge(who, generation, &reply);
                    if self.clients[who].waits == Some(token) {
                        self.clients[who].waits = None;
                        self.learn(who, &reply);
                    }
                }
            }
        }
    }

    /// What must be true of a reply, whether or not its client still listens.
    fn judge(&mut self, who: usize, generation: i32, reply: &Reply) {
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
                let on_disk = self.disk_generation();
                assert!(
                    *generation <= on_disk,
                    "G5: generation {generation} told, {on_disk} on disk"
                );
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
                    assignment(generation, who),
                    "G1: another's assignment"
                );
                self.saw("synced");
            }
            Reply::Commit(replies) => {
                for reply in replies {
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

    /// G7, both ways: what is shown is what is on disk. (The core checks the rest of itself after each step.)
    fn check(&self) {
        let mut on_disk = GroupOffsets::new();
        for ((table, key), value) in &self.disk {
            if let Record::Offset {
                topic,
                partition,
                value: Some(value),
                ..
            } = restore(*table, key, value)
            {
                on_disk.entry(topic).or_default().insert(partition, value);
            }
        }
        let shown = self
            .core
            .offsets(&"g".into())
            .expect("readable")
            .cloned()
            .unwrap_or_default();
        assert_eq!(shown, on_disk, "G7: what is shown is what is on disk");
    }

    fn disk_generation(&self) -> i32 {
        let mut generations = self
            .disk
            .iter()
            .map(|((table, key), value)| restore(*table, key, value));
        generations
            .find_map(|record| match record {
                Record::Group {
                    value: Some(value), ..
                } => Some(value.generation),
                _ => None,
            })
            .unwrap_or(0)
    }
}

fn assignment(generation: i32, client: usize) -> Bytes {
    Bytes::from(format!("{generation}/{client}"))
}
