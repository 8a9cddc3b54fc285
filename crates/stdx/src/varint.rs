//! Varints as Kafka's records and Avro have them: seven bits a byte, the lowest first, the high bit where another one follows.

/// The number at the front of `bytes`, and how many bytes it takes. Bits of a tenth byte that have no room are dropped. `None` when
/// the bytes end early or ten are not enough.
#[inline]
pub fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    match bytes.first()? {
        // By far the most: lengths, branches of unions, small numbers.
        byte if *byte < 0x80 => Some((u64::from(*byte), 1)),
        _ => read_longer(bytes),
    }
}

fn read_longer(bytes: &[u8]) -> Option<(u64, usize)> {
    if let Some(word) = bytes.first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let ends = !word & 0x8080_8080_8080_8080;
        if ends != 0 {
            let length = ends.trailing_zeros() / 8 + 1;
            return Some((
                packed(word & u64::MAX >> (64 - 8 * length)),
                length as usize,
            ));
        }
    }
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * at);
        if *byte < 0x80 {
            return Some((value, at + 1));
        }
    }
    None
}

/// The low seven bits of each byte, side by side.
fn packed(word: u64) -> u64 {
    let low = word & 0x7F7F_7F7F_7F7F_7F7F;
    let pairs = low & 0x007F_007F_007F_007F | (low & 0x7F00_7F00_7F00_7F00) >> 1;
    let fours = pairs & 0x0000_3FFF_0000_3FFF | (pairs & 0x3FFF_0000_3FFF_0000) >> 2;
    fours & 0x0FFF_FFFF | (fours & 0x0FFF_FFFF_0000_0000) >> 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the definition says it, a byte at a time.
    fn one_by_one(bytes: &[u8]) -> Option<(u64, usize)> {
        let length = bytes.iter().take(10).position(|byte| *byte < 0x80)? + 1;
        let add = |(at, byte): (usize, &u8)| u128::from(byte & 0x7F) << (7 * at);
        let value: u128 = bytes[..length].iter().enumerate().map(add).sum();
        Some((value as u64, length))
    }

    proptest! {
        #[test]
        fn numbers_of_every_length_are_read((length, mut bytes, behind) in (0_usize..12, any::<[u8; 12]>(), any::<[u8; 12]>())) {
            bytes[..length].iter_mut().for_each(|byte| *byte |= 0x80);
            bytes[length] &= 0x7F;
            let all = [&bytes[..=length], &behind[..]].concat();
            // With much behind it, with little, and cut short.
            for end in 0..=all.len() {
                prop_assert_eq!(read(&all[..end]), one_by_one(&all[..end]), "{:?}", &all[..end]);
            }
        }
    }

    #[test]
    fn ten_bytes_are_the_most() {
        let mut most = [0xFF; 11];
        most[9] = 1;
        assert_eq!(read(&most), Some((u64::MAX, 10)));
        assert_eq!(read(&[0x80; 11]), None);
        assert_eq!(read(&[]), None);
    }
}
