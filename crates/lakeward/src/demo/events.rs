//! Inventory events as a shop would send them: mostly in order, sometimes late, now and then not an event at all.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// One event in a hundred thousand bytes is not: how often a producer sends something that no schema knows.
const MALFORMED: f64 = 0.000_5;
/// How often an event was held up on its way.
const HELD_UP: f64 = 0.05;

const KINDS: [&str; 4] = ["received", "sold", "returned", "adjusted"];

/// A record ready to be produced.
pub struct Event {
    pub key: String,
    /// Bare Avro, as Flink's `avro` format reads it, or garbage.
    pub value: Vec<u8>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    pub malformed: bool,
}

/// An endless, seeded stream of events.
pub struct Events {
    random: StdRng,
    now_ms: i64,
}

impl Events {
    pub fn new(seed: u64, start_ms: i64) -> Events {
        Events {
            random: StdRng::seed_from_u64(seed),
            now_ms: start_ms,
        }
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let random = &mut self.random;
        self.now_ms += random.random_range(0..3);
        let delay = if random.random_bool(HELD_UP) {
            random.random_range(1..8_000)
        } else {
            random.random_range(0..40)
        };
        let event_time = self.now_ms - delay;
        let sku = format!("SKU-{:05}", random.random_range(0..5_000));
        let warehouse = format!("WH-{:02}", random.random_range(1..=12));
        let kind = KINDS[random.random_range(0..KINDS.len())];
        let quantity: i32 = random.random_range(1..50);
        let malformed = random.random_bool(MALFORMED);
        let value = if malformed {
            b"{\"this\": \"is not Avro\"}".to_vec()
        } else {
            encode(&sku, &warehouse, kind, quantity, event_time)
        };
        Some(Event {
            key: sku,
            value,
            timestamp: self.now_ms,
            malformed,
        })
    }
}

/// The article's five columns under the schema that Flink derives from the DDL: every field `["null", T]`.
fn encode(sku: &str, warehouse: &str, kind: &str, quantity: i32, event_time: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    for text in [sku, warehouse, kind] {
        out.push(SECOND_BRANCH);
        zigzag(&mut out, text.len() as i64);
        out.extend_from_slice(text.as_bytes());
    }
    out.push(SECOND_BRANCH);
    zigzag(&mut out, i64::from(quantity));
    out.push(SECOND_BRANCH);
    zigzag(&mut out, event_time);
    out
}

/// Avro's union index 1, zigzag encoded: the value is not null.
const SECOND_BRANCH: u8 = 2;

fn zigzag(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_events() {
        let values = |seed| {
            Events::new(seed, 0)
                .take(100)
                .map(|event| event.value)
                .collect::<Vec<_>>()
        };
        assert_eq!(values(7), values(7));
        assert_ne!(values(7), values(8));
    }

    #[test]
    fn an_event_is_flinks_derived_avro() {
        let bytes = encode("a", "b", "c", -1, 64);
        assert_eq!(
            bytes,
            [2, 2, b'a', 2, 2, b'b', 2, 2, b'c', 2, 1, 2, 0x80, 1]
        );
    }
}
