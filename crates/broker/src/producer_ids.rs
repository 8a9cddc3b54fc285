//! Producer ids that are never given twice, not even across a crash.
//!
//! A block of ids is claimed in the log before the first of it is given; what a restart finds unused is skipped. Ids are
//! 64 bits: at a million lost per second they last 290,000 years.

use bytes::Bytes;
use lw_storage::{CommitError, Expect, Op, Storage, Table};
use parking_lot::Mutex;

const BLOCK: i64 = 1000;
const KEY: &[u8] = b"next";

pub(crate) struct ProducerIds {
    storage: Storage,
    /// The next id to give, and the end of the claimed block.
    block: Mutex<(i64, i64)>,
}

impl ProducerIds {
    pub(crate) fn new(storage: Storage) -> ProducerIds {
        ProducerIds {
            storage,
            block: Mutex::new((0, 0)),
        }
    }

    /// The next id. Every thousandth call waits for one sync of the log.
    ///
    /// # Errors
    /// When a new block cannot be claimed.
    pub(crate) fn next(&self) -> Result<i64, CommitError> {
        let mut block = self.block.lock();
        if block.0 == block.1 {
            *block = self.claim()?;
        }
        let id = block.0;
        block.0 += 1;
        Ok(id)
    }

    fn claim(&self) -> Result<(i64, i64), CommitError> {
        let stored = self.storage.get(Table::ProducerIds, KEY);
        let (start, expect) = match stored {
            None => (0, Expect::Absent),
            Some(value) => (decode(&value), Expect::Value(value)),
        };
        let end = start + BLOCK;
        let key = Bytes::from_static(KEY);
        let value = Some(Bytes::copy_from_slice(&end.to_be_bytes()));
        self.storage.commit_blocking(vec![Op::Put {
            table: Table::ProducerIds,
            key,
            value,
            expect,
        }])?;
        Ok((start, end))
    }
}

fn decode(value: &[u8]) -> i64 {
    i64::from_be_bytes(
        value
            .try_into()
            .expect("only this module writes this key, always eight bytes"),
    )
}
