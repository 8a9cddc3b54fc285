//! Where new ids come from: the machine's randomness, or a seed in simulations.

use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// A source of unique ids. Cheap to clone; clones share the source.
#[derive(Clone)]
pub struct Ids(Arc<dyn Fn() -> Uuid + Send + Sync>);

impl Ids {
    /// From the machine's randomness.
    pub fn random() -> Ids {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place of this crate where ids begin"
        )]
        Ids(Arc::new(Uuid::new_v4))
    }

    /// The same sequence for the same seed.
    pub fn seeded(seed: u64) -> Ids {
        let state = Mutex::new(seed);
        Ids(Arc::new(move || {
            let mut state = state.lock();
            let (high, low) = (split_mix(&mut state), split_mix(&mut state));
            uuid::Builder::from_random_bytes(
                ((u128::from(high) << 64) | u128::from(low)).to_be_bytes(),
            )
            .into_uuid()
        }))
    }

    pub fn next(&self) -> Uuid {
        (self.0)()
    }

    /// A positive number for a snapshot.
    pub(crate) fn next_snapshot(&self) -> i64 {
        let (high, low) = self.next().as_u64_pair();
        i64::try_from((high ^ low) >> 1)
            .expect("63 bits fit")
            .max(1)
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
