//! Producer ids that are never given twice, not even across a crash.
//!
//! A block of ids is claimed in the log before the first of it is given; what a restart finds unused is skipped. Ids are
//! 64 bits: at a million lost per second they last 290,000 years. Who comes while a block is being claimed waits for it
//! without holding a thread.
//!
//! The log keeps some memory for each id that writes, so it takes only ids that were given: see [`ProducerIds::was_given`].

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lw_storage::{CommitError, Expect, Op, Storage, Table};
use parking_lot::Mutex;
use tokio::sync::oneshot;

const BLOCK: i64 = 1000;
const KEY: &[u8] = b"next";

pub(crate) struct ProducerIds {
    shared: Arc<Shared>,
}

struct Shared {
    storage: Storage,
    block: Mutex<Block>,
}

struct Block {
    /// Claimed and not given. Everything below was given, by this process or one before, or is lost.
    free: Range<i64>,
    claiming: bool,
    waiting: Vec<oneshot::Sender<Result<i64, CommitError>>>,
}

impl ProducerIds {
    pub(crate) fn new(storage: Storage) -> ProducerIds {
        let end = claimed(&storage).map_or(0, |(end, _)| end);
        let block = Block {
            free: end..end,
            claiming: false,
            waiting: Vec::new(),
        };
        ProducerIds {
            shared: Arc::new(Shared {
                storage,
                block: Mutex::new(block),
            }),
        }
    }

    /// The next id. Every thousandth call waits for one sync of the log.
    ///
    /// # Errors
    /// When a new block cannot be claimed.
    pub(crate) async fn next(&self) -> Result<i64, CommitError> {
        let given = {
            let mut block = self.shared.block.lock();
            if let Some(id) = block.free.next() {
                return Ok(id);
            }
            let (give, given) = oneshot::channel();
            block.waiting.push(give);
            if block.claiming {
                given
            } else {
                block.claiming = true;
                drop(block);
                self.shared.claim();
                given
            }
        };
        given
            .await
            .unwrap_or_else(|_| Err(CommitError::Failed("the log is closed".into())))
    }

    /// Whether a producer may have this id from us: it lies in a block that was claimed.
    pub(crate) fn was_given(&self, id: i64) -> bool {
        (0..self.shared.block.lock().free.end).contains(&id)
    }
}

impl Shared {
    /// One block at a time is claimed; the end of the claim gives its ids to those who wait.
    fn claim(self: &Arc<Self>) {
        let (start, expect) = match claimed(&self.storage) {
            None => (0, Expect::Absent),
            Some((end, value)) => (end, Expect::Value(value)),
        };
        let end = start + BLOCK;
        let claim = Op::Put {
            table: Table::ProducerIds,
            key: Bytes::from_static(KEY),
            value: Some(Bytes::copy_from_slice(&end.to_be_bytes())),
            expect,
        };
        let shared = self.clone();
        self.storage.commit(vec![claim], move |outcome| {
            shared.claimed(outcome.map(|_| start..end));
        });
    }

    fn claimed(self: &Arc<Self>, outcome: Result<Range<i64>, CommitError>) {
        let mut answers = Vec::new();
        let again = {
            let mut block = self.block.lock();
            let refused = outcome.map(|range| block.free = range).err();
            while let Some(give) = block.waiting.pop() {
                match (&refused, block.free.next()) {
                    (Some(error), _) => answers.push((give, Err(error.clone()))),
                    (None, Some(id)) => answers.push((give, Ok(id))),
                    (None, None) => {
                        block.waiting.push(give);
                        break;
                    }
                }
            }
            block.claiming = !block.waiting.is_empty();
            block.claiming
        };
        for (give, answer) in answers {
            // Who asked may have gone; the id is lost then, like those of a crash.
            let _ = give.send(answer);
        }
        if again {
            self.claim();
        }
    }
}

/// The end of the newest claimed block, with the value that says so.
fn claimed(storage: &Storage) -> Option<(i64, Bytes)> {
    let value = storage.get(Table::ProducerIds, KEY)?;
    let end = value
        .as_ref()
        .try_into()
        .expect("only this module writes this key, always eight bytes");
    Some((i64::from_be_bytes(end), value))
}
