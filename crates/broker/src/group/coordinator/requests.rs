//! Requests: what is refused, what is answered at once, and what has to be on disk first.

use lw_protocol::ErrorCode;

use super::Coordinator;
use super::group::Group;
use super::write::Then;
use crate::group::classic::Effect;
use crate::group::record::{OffsetRecord, Record};
use crate::group::types::{
    CommitRequest, DeleteOffsetsRequest, GroupId, JoinReply, JoinRequest, MemberId, Now,
    OffsetCommit, Output, PartitionReply, Reply, Request, Token,
};

/// What a commit leaves on disk.
fn kept(commit: OffsetCommit, now: Now) -> OffsetRecord {
    OffsetRecord {
        offset: commit.offset,
        leader_epoch: commit.leader_epoch,
        metadata: commit.metadata,
        committed_ms: now.wall_ms,
        expires_ms: commit
            .retention_ms
            .map(|retention| now.wall_ms.saturating_add(retention)),
    }
}

/// What Java calls a string's length, which is what `offset.metadata.max.bytes` bounds in spite of its name.
fn utf16_units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Strings carry a 15-bit length in the older versions; a longer name could not be told to clients that speak those.
const MAX_NAME: usize = 32_767;

impl Coordinator {
    pub(super) fn request(
        &mut self,
        now: Now,
        token: Token,
        request: Request,
        out: &mut Vec<Output>,
    ) {
        let id = request.group().clone();
        let mut refuse = |request: &Request, error| {
            out.push(Output::Reply {
                token,
                reply: request.refused(error),
            })
        };
        if id.as_str().len() > MAX_NAME || (id.as_str().is_empty() && request.needs_a_name()) {
            return refuse(&request, ErrorCode::InvalidGroupId);
        }
        if self.unreadable.contains(&id) {
            return refuse(&request, ErrorCode::CoordinatorNotAvailable);
        }
        if self.groups.get(&id).is_some_and(|group| group.deleting) {
            // Over in a moment; every client asks again.
            return refuse(&request, ErrorCode::CoordinatorLoadInProgress);
        }
        match request {
            Request::Join(request) => self.join(now, token, &request, out),
            Request::Commit(request) => self.commit(now, token, request, out),
            Request::DeleteOffsets(request) => self.delete_offsets(token, &request, out),
            Request::DeleteGroup(_) => self.delete_group(token, &id, out),
            request if !self.groups.contains_key(&id) => {
                refuse(&request, ErrorCode::UnknownMemberId)
            }
            Request::Sync(request) => {
                self.on_classic(now, &id, out, |group, fx| group.sync(token, &request, fx))
            }
            Request::Heartbeat(who) => self.on_classic(now, &id, out, |group, fx| {
                let reply = Reply::Heartbeat(group.heartbeat(&who, fx.now));
                fx.out.push(Effect::Reply(token, reply));
            }),
            Request::Leave(request) => self.on_classic(now, &id, out, |group, fx| {
                let reply = Reply::Leave(Ok(group.leave(&request.members, fx)));
                fx.out.push(Effect::Reply(token, reply));
            }),
        }
    }

    fn join(&mut self, now: Now, token: Token, request: &JoinRequest, out: &mut Vec<Output>) {
        let asked_as = request.member.as_ref().map_or("", MemberId::as_str);
        let session = i64::from(request.session_timeout_ms);
        let problem = if !self.config.session_timeout_ms.contains(&session) {
            Some(ErrorCode::InvalidSessionTimeout)
        } else if request.names().any(|name| name.len() > MAX_NAME) {
            Some(ErrorCode::InvalidRequest)
        } else if request.member.is_some() && !self.groups.contains_key(&request.group) {
            Some(ErrorCode::UnknownMemberId)
        } else {
            None
        };
        if let Some(error) = problem {
            let reply = Reply::Join(JoinReply::refused(asked_as, error));
            return out.push(Output::Reply { token, reply });
        }
        self.groups
            .entry(request.group.clone())
            .or_insert_with(|| Group::new(now));
        self.on_classic(now, &request.group, out, |group, fx| {
            group.join(token, request, fx)
        });
    }

    fn commit(&mut self, now: Now, token: Token, request: CommitRequest, out: &mut Vec<Output>) {
        let id = request.who.group.clone();
        let verdict = match self.groups.get_mut(&id) {
            Some(group) => group.classic.check_commit(&request.who, now),
            None if request.who.generation < 0 => Ok(()),
            None if request.knows_group_id_not_found => Err(ErrorCode::GroupIdNotFound),
            None => Err(ErrorCode::IllegalGeneration),
        };
        let limit = self.config.max_offset_metadata;
        let judge = |commit: &OffsetCommit| {
            verdict?;
            if utf16_units(&commit.metadata) > limit {
                Err(ErrorCode::OffsetMetadataTooLarge)
            } else {
                Ok(())
            }
        };
        let mut replies = Vec::with_capacity(request.offsets.len());
        let mut records = Vec::with_capacity(request.offsets.len());
        for commit in request.offsets {
            let result = judge(&commit);
            replies.push(PartitionReply {
                topic: commit.topic.clone(),
                partition: commit.partition,
                result,
            });
            if result.is_ok() {
                records.push(Record::Offset {
                    group: id.clone(),
                    topic: commit.topic.clone(),
                    partition: commit.partition,
                    value: Some(kept(commit, now)),
                });
            }
        }
        if records.is_empty() {
            out.push(Output::Reply {
                token,
                reply: Reply::Commit(replies),
            });
        } else {
            let group = self
                .groups
                .entry(id.clone())
                .or_insert_with(|| Group::new(now));
            if !group.recorded {
                records.insert(
                    0,
                    Record::Group {
                        group: id.clone(),
                        value: Some(group.classic.record()),
                    },
                );
            }
            self.write(&id, records, Then::AnswerCommit(token, replies), out);
        }
        self.settle(&id);
    }

    fn delete_offsets(
        &mut self,
        token: Token,
        request: &DeleteOffsetsRequest,
        out: &mut Vec<Output>,
    ) {
        let Some(group) = self.groups.get(&request.group) else {
            let reply = Reply::DeleteOffsets(Err(ErrorCode::GroupIdNotFound));
            return out.push(Output::Reply { token, reply });
        };
        let subscribed = group.classic.subscribed_topics();
        if !group.classic.is_empty() && subscribed.is_none() {
            let reply = Reply::DeleteOffsets(Err(ErrorCode::NonEmptyGroup));
            return out.push(Output::Reply { token, reply });
        }
        let subscribed = subscribed.unwrap_or_default();
        let mut replies = Vec::new();
        let mut records = Vec::new();
        for (topic, partition) in &request.partitions {
            let busy = subscribed.contains(&topic.name);
            let result = if busy {
                Err(ErrorCode::GroupSubscribedToTopic)
            } else {
                Ok(())
            };
            replies.push(PartitionReply {
                topic: topic.clone(),
                partition: *partition,
                result,
            });
            if !busy && group.has_offset(topic, *partition) {
                records.push(Record::tombstone(&request.group, topic, *partition));
            }
        }
        if records.is_empty() {
            out.push(Output::Reply {
                token,
                reply: Reply::DeleteOffsets(Ok(replies)),
            });
        } else {
            self.write(
                &request.group,
                records,
                Then::AnswerDeleteOffsets(token, replies),
                out,
            );
        }
    }

    fn delete_group(&mut self, token: Token, id: &GroupId, out: &mut Vec<Output>) {
        let verdict = match self.groups.get(id) {
            None => Err(ErrorCode::GroupIdNotFound),
            Some(group) if !group.classic.is_empty() => Err(ErrorCode::NonEmptyGroup),
            Some(_) => Ok(()),
        };
        match verdict {
            Ok(()) => self.write_deletion(id, Then::AnswerDeleteGroup(token), out),
            Err(error) => out.push(Output::Reply {
                token,
                reply: Reply::DeleteGroup(Err(error)),
            }),
        }
    }
}
