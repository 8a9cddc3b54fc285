//! A group under a seeded storm: clients join, rejoin, leave, fall silent, restart under their instance id, commit; the
//! disk takes its time; the broker restarts. After every step the invariants of [`super`] must hold.
//!
//! The clients are honest but forgetful state machines, each with its own idea of where it stands. What a leader
//! assigns is a function of generation and client, so that any reply can be judged alone. A failing seed prints itself;
//! `LAKEWARD_SEED=n` runs just that one.
//!
//! A storm goes over a [`Ground`]: here the core alone over a map ([`alone`]), beside the shell the whole coordinator
//! over the real storage on a simulated disk.

mod alone;
mod ground;
mod judge;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use uuid::Uuid;

use self::alone::Alone;
use super::record::Record;
use super::script::subscription;
use super::*;

pub(super) use self::ground::{Dice, Ground, Misfortune, Seen};

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
}

fn assignment(generation: i32, client: usize) -> Bytes {
    Bytes::from(format!("{generation}/{client}"))
}
