//! A write on its way to disk, and whom its end sets free.

use lw_protocol::ErrorCode;

use crate::group::record::Record;
use crate::group::types::{GroupId, Output, PartitionReply, Reply, Token, WriteOutcome};

#[derive(Debug)]
pub(super) struct Write {
    pub(super) group: GroupId,
    pub(super) records: Vec<Record>,
    pub(super) then: Then,
}

/// What a write's end sets free.
#[derive(Debug)]
pub(super) enum Then {
    AnswerJoins(Vec<(Token, Reply)>),
    AnswerCommit(Token, Vec<PartitionReply>),
    AnswerDeleteOffsets(Token, Vec<PartitionReply>),
    AnswerDeleteGroup(Token),
    Nothing,
}

impl Then {
    pub(super) fn answer(self, outcome: WriteOutcome, out: &mut Vec<Output>) {
        // The one error that every client takes for "ask again", which is right: room may come back.
        let refused = match outcome {
            WriteOutcome::Durable => None,
            WriteOutcome::Refused => Some(ErrorCode::CoordinatorNotAvailable),
        };
        let judged = |mut replies: Vec<PartitionReply>| {
            for reply in replies.iter_mut().filter(|reply| reply.result.is_ok()) {
                reply.result = refused.map_or(Ok(()), Err);
            }
            replies
        };
        let (token, reply) = match self {
            Then::Nothing => return,
            // Told even when the disk refuses: reading must go on when it is full. What is lost is the promise that
            // a crash now cannot bring this generation's number a second time.
            Then::AnswerJoins(held) => {
                out.extend(
                    held.into_iter()
                        .map(|(token, reply)| Output::Reply { token, reply }),
                );
                return;
            }
            Then::AnswerCommit(token, replies) => (token, Reply::Commit(judged(replies))),
            Then::AnswerDeleteOffsets(token, replies) => {
                let reply = refused.map_or_else(|| Ok(judged(replies.clone())), Err);
                (token, Reply::DeleteOffsets(reply))
            }
            Then::AnswerDeleteGroup(token) => {
                (token, Reply::DeleteGroup(refused.map_or(Ok(()), Err)))
            }
        };
        out.push(Output::Reply { token, reply });
    }
}
