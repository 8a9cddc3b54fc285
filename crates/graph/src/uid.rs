//! What an operator with state is called from one version of a script to the next.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A hash of what an operator computes and of all below it, down to the scan. State is kept under it: an operator that computes
/// the same finds it again, whatever else the script's next version changes.
///
/// Kept in manifests: the same text has the same hash in every release (FNV-1a, 64 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct OperatorUid(u64);

impl OperatorUid {
    pub fn of(text: &str) -> OperatorUid {
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        OperatorUid(hash)
    }

    /// The uid that a person or a manifest wrote: 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<OperatorUid> {
        let digits =
            text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let uid = u64::from_str_radix(text, 16).ok();
        uid.filter(|_| digits).map(OperatorUid)
    }
}

impl fmt::Display for OperatorUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<OperatorUid> for String {
    fn from(uid: OperatorUid) -> String {
        uid.to_string()
    }
}

impl TryFrom<String> for OperatorUid {
    type Error = String;

    fn try_from(text: String) -> Result<OperatorUid, String> {
        OperatorUid::parse(&text).ok_or_else(|| format!("'{text}' is no operator's uid"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_the_same_in_every_release() {
        // The published vectors of FNV-1a.
        for (text, uid) in [
            ("", "cbf29ce484222325"),
            ("a", "af63dc4c8601ec8c"),
            ("foobar", "85944171f73967e8"),
        ] {
            let known = OperatorUid::parse(uid);
            assert_eq!(Some(OperatorUid::of(text)), known, "{text}");
            assert_eq!(known.map(|known| known.to_string()), Some(uid.to_string()));
        }
        for wrong in [
            "",
            "85944171F73967E8",
            "+5944171f73967e8",
            "85944171f73967e",
        ] {
            assert_eq!(OperatorUid::parse(wrong), None, "{wrong}");
        }
    }
}
