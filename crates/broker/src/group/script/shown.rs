//! Replies as a conversation shows them.

use std::fmt::Write as _;

use lw_protocol::ErrorCode;

use crate::group::*;

pub(super) fn show_reply(reply: &Reply) -> String {
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

pub(super) fn shown(topic: &TopicRef) -> String {
    let text = String::from_utf8_lossy(topic.id.as_bytes()).into_owned();
    text.trim_end_matches('\0').to_owned()
}
