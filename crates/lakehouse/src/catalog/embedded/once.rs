//! Requests with a key: carried out once, however often they come.
//!
//! A client that got no answer cannot know what became of its request, and sends it again under the same key
//! (`Idempotency-Key`). The key is a record of the log in the same frame as what the request changed, so that a kill leaves
//! both or neither; a request that was refused leaves its key with the refusal. Who comes again with the key gets the first
//! one's outcome: of a success, the table or view as it is by then. What nobody was told for certain (5xx), and a conflict,
//! which changed nothing and after which a client decides anew, leaves no key.
//!
//! A key stays for [`LIFETIME`] of the log's own time, which stands still while the server is off: never less than told. So
//! there are [`MOST`] of them at most, and a request with one more is not carried out: nothing that was told is forgotten for it.

use super::{Catalog, log_failed};
use crate::catalog::pointers::{self, PropertiesChanged, Records};
use crate::error::{CatalogError, Kind};
use lw_storage::{CommitError, Op};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;
use uuid::Uuid;

/// For how long a request that came before is known again.
pub const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// Keys past their lifetime that one frame takes away. More than one, so that they never pile up.
const SWEPT: usize = 8;
/// Keys that are kept at the same time: some tens of megabytes of records.
const MOST: usize = 100_000;

/// A request with a key.
#[derive(Debug)]
pub struct Request {
    pub key: Uuid,
    /// Method, path and a fingerprint of the body: a key is for one request only.
    pub what: String,
}

/// A key's record.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    at: i64,
    request: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
    /// The answer to a change of properties: it cannot be told from what is there afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed: Option<PropertiesChanged>,
}

/// What a frame leaves with its request's key, beside that it was carried out.
#[derive(Debug, Default)]
struct Told {
    refused: Option<Refused>,
    changed: Option<PropertiesChanged>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Refused {
    kind: Kind,
    message: String,
}

/// The keys in the order in which they came, read from the log when the first one is needed.
#[derive(Debug, Default)]
pub(super) struct Keys(Option<VecDeque<(i64, Uuid)>>);

impl Keys {
    /// The oldest ones whose lifetime is over, to make room for one more.
    fn expired(&mut self, records: &dyn Records, now: i64) -> Result<Vec<Uuid>, CatalogError> {
        let keys = match &mut self.0 {
            Some(keys) => keys,
            unread => unread.insert(read(records)?),
        };
        let lifetime = i64::try_from(LIFETIME.as_millis()).expect("half an hour fits");
        let over = keys.iter().take_while(|(at, _)| at + lifetime < now);
        let expired: Vec<Uuid> = over.take(SWEPT).map(|(_, key)| *key).collect();
        if keys.len() - expired.len() >= MOST {
            let message = format!(
                "{MOST} requests with an idempotency key came within half an hour: send this one without, or later"
            );
            return Err(CatalogError::new(Kind::Unavailable, message));
        }
        Ok(expired)
    }

    fn moved(&mut self, expired: &[Uuid], at: i64, new: Uuid) {
        if let Some(keys) = &mut self.0 {
            while keys.front().is_some_and(|(_, key)| expired.contains(key)) {
                keys.pop_front();
            }
            keys.push_back((at, new));
        }
    }
}

fn read(records: &dyn Records) -> Result<VecDeque<(i64, Uuid)>, CatalogError> {
    let mut keys = Vec::new();
    for (key, value) in pointers::request_keys(records)? {
        let kept: Kept = pointers::decode(&value)?;
        keys.push((kept.at, key));
    }
    keys.sort_unstable();
    Ok(keys.into())
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swap {
    Done,
    /// Others changed what it expected: nothing of it is there.
    Lost,
}

impl Catalog {
    /// This catalog for one request: what changes it leaves the request's key.
    #[must_use]
    pub fn once(&self, request: Request) -> Catalog {
        Catalog(self.0.clone(), Some(request.into()))
    }

    /// Carries out what the request of this catalog asks, unless it came before: `again` answers then for what was done.
    ///
    /// # Errors
    /// As `work`, or as it was the first time; [`Kind::Unprocessable`] when the key is another request's.
    pub fn carry_out<T>(
        &self,
        work: impl FnOnce(&Catalog) -> Result<T, CatalogError>,
        again: impl FnOnce(&Catalog) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        if let Some(earlier) = self.earlier()? {
            return earlier.and_then(|()| again(self));
        }
        work(self).or_else(|error| {
            self.keep_refusal(&error);
            // It may have come twice at once, and been refused for what the other one did.
            match self.earlier()? {
                Some(first) => first.and_then(|()| again(self)),
                None => Err(error),
            }
        })
    }

    /// What was answered to this request, a change of properties, when it came before.
    ///
    /// # Errors
    /// [`Kind::Repeated`] when its key went meanwhile.
    pub fn told_before(&self) -> Result<PropertiesChanged, CatalogError> {
        let changed = self.kept()?.and_then(|kept| kept.changed);
        changed.ok_or_else(|| {
            let message = "the request came before, and its key is over its time: try again";
            CatalogError::new(Kind::Repeated, message)
        })
    }

    /// What became of this request when it came before; `None` when it is new.
    fn earlier(&self) -> Result<Option<Result<(), CatalogError>>, CatalogError> {
        let Some(kept) = self.kept()? else {
            return Ok(None);
        };
        Ok(Some(match kept.refused {
            None => Ok(()),
            Some(refused) => Err(CatalogError::new(refused.kind, refused.message)),
        }))
    }

    /// The record of this request's key.
    fn kept(&self) -> Result<Option<Kept>, CatalogError> {
        let Some(request) = &self.1 else {
            return Ok(None);
        };
        let Some(bytes) = pointers::request(self.records(), request.key) else {
            return Ok(None);
        };
        let kept: Kept = pointers::decode(&bytes)?;
        if kept.request != request.what {
            let message = format!(
                "the idempotency key {} belongs to another request",
                request.key
            );
            return Err(CatalogError::new(Kind::Unprocessable, message));
        }
        Ok(Some(kept))
    }

    /// Best effort: a request whose refusal is not kept is judged anew when it comes again.
    fn keep_refusal(&self, error: &CatalogError) {
        if self.1.is_none() || !is_final(error.kind) {
            return;
        }
        let refused = Refused {
            kind: error.kind,
            message: error.message.clone(),
        };
        let told = Told {
            refused: Some(refused),
            changed: None,
        };
        if let Err(error) = self.take_telling(Vec::new(), told) {
            tracing::debug!(%error, "a refusal is not kept");
        }
    }

    /// Takes a frame, with the key of its request.
    pub(super) fn take(&self, ops: Vec<Op>) -> Result<Swap, CatalogError> {
        self.take_telling(ops, Told::default())
    }

    /// Takes a frame that changes properties, with the key of its request and the answer to it.
    pub(super) fn take_changed(
        &self,
        ops: Vec<Op>,
        changed: PropertiesChanged,
    ) -> Result<Swap, CatalogError> {
        let told = Told {
            refused: None,
            changed: Some(changed),
        };
        self.take_telling(ops, told)
    }

    fn take_telling(&self, mut ops: Vec<Op>, told: Told) -> Result<Swap, CatalogError> {
        let now = self.0.storage.log_time();
        let mut expired = Vec::new();
        if let Some(request) = &self.1 {
            let kept = Kept {
                at: now,
                request: request.what.clone(),
                refused: told.refused,
                changed: told.changed,
            };
            expired = self.0.keys.lock().expired(self.records(), now)?;
            ops.push(pointers::add_request(request.key, &kept));
            ops.extend(expired.iter().map(|key| pointers::forget_request(*key)));
        }
        match (self.0.storage.commit_blocking(ops), &self.1) {
            (Ok(_), request) => {
                if let Some(request) = request {
                    self.0.keys.lock().moved(&expired, now, request.key);
                }
                Ok(Swap::Done)
            }
            (Err(CommitError::Conflict { .. }), Some(request))
                if pointers::request(self.records(), request.key).is_some() =>
            {
                let message = "the same request is being carried out: try again";
                Err(CatalogError::new(Kind::Repeated, message))
            }
            (Err(CommitError::Conflict { .. }), _) => Ok(Swap::Lost),
            (Err(error), _) => Err(log_failed(error)),
        }
    }
}

/// Whether a refusal is the last word on a request.
fn is_final(kind: Kind) -> bool {
    match kind {
        Kind::NoSuchNamespace
        | Kind::NoSuchTable
        | Kind::NoSuchView
        | Kind::NoSuchFile
        | Kind::AlreadyExists
        | Kind::NamespaceNotEmpty
        | Kind::Malformed
        | Kind::BadRequest
        | Kind::Unprocessable
        | Kind::Unsupported => true,
        Kind::CommitFailed
        | Kind::Repeated
        | Kind::Unknown
        | Kind::Unavailable
        | Kind::Internal => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// A log without records.
    struct Nothing;

    impl Records for Nothing {
        fn get(&self, _: &[u8]) -> Option<Bytes> {
            None
        }

        fn scan(&self, _: &[u8]) -> Vec<(Bytes, Bytes)> {
            Vec::new()
        }
    }

    #[test]
    fn a_full_house_takes_no_key_until_one_is_over_its_time() {
        let mut keys = Keys::default();
        assert!(keys.expired(&Nothing, 0).unwrap().is_empty());
        for number in 0..MOST {
            keys.moved(&[], number as i64, Uuid::from_u128(number as u128));
        }
        let lifetime = LIFETIME.as_millis() as i64;
        let refused = keys.expired(&Nothing, lifetime).unwrap_err();
        assert_eq!(refused.kind, Kind::Unavailable);
        let expired = keys.expired(&Nothing, lifetime + 2).unwrap();
        assert_eq!(expired, [Uuid::from_u128(0), Uuid::from_u128(1)]);
        // Two requests see the same ones go.
        for new in [1_000_000, 1_000_001] {
            keys.moved(&expired, lifetime + 2, Uuid::from_u128(new));
        }
        let refused = keys.expired(&Nothing, lifetime + 2).unwrap_err();
        assert_eq!(refused.kind, Kind::Unavailable);
    }
}
