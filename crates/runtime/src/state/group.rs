//! Which group of the key space a key is in. Frozen: it stands in every checkpoint with state.

use std::ops::Range;

/// The key space is cut into so many groups; a shard has some of them.
pub const GROUPS: u16 = 128;

/// The hash by which a key has its group, as manifests call it.
pub const HASH: &str = "murmur3-32";

/// The group of a key, by its bytes as the operator encodes them.
pub fn key_group(key: &[u8]) -> u16 {
    (murmur3(key) % u32::from(GROUPS)) as u16
}

/// The same of a key that is a byte and some more behind it, which need not be brought together first: a byte that is written and
/// then read as part of a word holds the processor up for longer than the hash takes.
pub(crate) fn key_group_of(first: u8, rest: &[u8]) -> u16 {
    let Some((head, rest)) = rest.split_first_chunk::<3>() else {
        let mut key = [first; 3];
        key[1..=rest.len()].copy_from_slice(rest);
        return key_group(&key[..=rest.len()]);
    };
    let head = u32::from_le_bytes([first, head[0], head[1], head[2]]);
    (murmur3_behind(word_in(0, head), rest, 4) % u32::from(GROUPS)) as u16
}

/// The shard, of so many, that has a group.
pub(crate) fn shard_of(group: u16, shards: usize) -> usize {
    usize::from(group) * shards / usize::from(GROUPS)
}

/// The groups of a shard of so many.
///
/// # Panics
/// When there are more shards than groups.
pub(crate) fn groups_of(shard: usize, shards: usize) -> Range<u16> {
    assert!(
        shard < shards && shards <= usize::from(GROUPS),
        "S1: a shard has groups"
    );
    let first = |shard: usize| (shard * usize::from(GROUPS)).div_ceil(shards) as u16;
    first(shard)..first(shard + 1)
}

/// MurmurHash3, x86, 32 bits, seed 0.
fn murmur3(bytes: &[u8]) -> u32 {
    murmur3_behind(0, bytes, 0)
}

/// What it comes to when `before` bytes, whole words, came to `hash`.
fn murmur3_behind(mut hash: u32, bytes: &[u8], before: usize) -> u32 {
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        hash = word_in(hash, u32::from_le_bytes(*word));
    }
    let tail = tail.iter().rev();
    let tail = tail.fold(0_u32, |tail, byte| (tail << 8) | u32::from(*byte));
    if tail != 0 {
        hash ^= mixed(tail);
    }
    hash ^= (before + bytes.len()) as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

fn word_in(hash: u32, word: u32) -> u32 {
    (hash ^ mixed(word))
        .rotate_left(13)
        .wrapping_mul(5)
        .wrapping_add(0xe654_6b64)
}

fn mixed(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51)
        .rotate_left(15)
        .wrapping_mul(0x1b87_3593)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the algorithm's author and of Wikipedia's page on it.
    #[test]
    fn the_hash_is_the_published_one() {
        for (text, hash) in [
            ("", 0),
            ("test", 0xba6b_d213),
            ("Hello, world!", 0xc036_3e43),
            ("The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
        ] {
            assert_eq!(murmur3(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn a_key_in_two_parts_is_in_the_group_of_the_whole() {
        let text = "\0a key of \u{e9} some length";
        for length in 0..text.len() {
            for first in [0, 1, 0xFF] {
                let rest = &text.as_bytes()[..length];
                let whole = [&[first], rest].concat();
                assert_eq!(key_group_of(first, rest), key_group(&whole), "{whole:?}");
            }
        }
    }

    #[test]
    fn shards_share_the_groups_out() {
        for shards in 1..=usize::from(GROUPS) {
            let mut next = 0;
            for shard in 0..shards {
                let groups = groups_of(shard, shards);
                assert_eq!(groups.start, next);
                assert!(groups.clone().all(|group| shard_of(group, shards) == shard));
                next = groups.end;
            }
            assert_eq!(next, GROUPS);
        }
    }

    #[test]
    fn keys_spread_over_the_groups() {
        let mut keys = [0_u32; GROUPS as usize];
        (0..100_000_i64).for_each(|key| keys[key_group(&key.to_le_bytes()) as usize] += 1);
        let mean = 100_000 / u32::from(GROUPS);
        assert!(
            keys.iter().all(|n| (mean / 2..mean * 2).contains(n)),
            "{keys:?}"
        );
    }
}
