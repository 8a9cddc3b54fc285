//! Whether the coordinator may say what it says: replies, and what each client learns of them; and the invariants.

use lw_protocol::ErrorCode;

use super::ground::Ground;
use super::{Asked, Client, Storm, assignment};
use crate::group::record::Record;
use crate::group::*;

impl<G: Ground> Storm<G> {
    pub(super) fn take_replies(&mut self) {
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
    pub(super) fn check(&self) {
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
