//! Variable-length integers: zigzag for record fields, plain for the lengths of flexible messages.

use bytes::BufMut;

/// Reads one zigzag varlong and moves the slice behind it; `None` when the bytes end early or ten are not enough.
#[inline]
pub(crate) fn read_zigzag(bytes: &mut &[u8]) -> Option<i64> {
    let raw = read_unsigned(bytes)?;
    Some(((raw >> 1) as i64) ^ -((raw & 1) as i64))
}

/// Reads one unsigned varint and moves the slice behind it.
#[inline]
pub(crate) fn read_unsigned(bytes: &mut &[u8]) -> Option<u64> {
    let (value, length) = lw_stdx::varint::read(bytes)?;
    *bytes = &bytes[length..];
    Some(value)
}

pub(crate) fn write_zigzag(out: &mut impl BufMut, value: i64) {
    write_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub(crate) fn write_unsigned(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn zigzag_round_trips(value: i64) {
            let mut bytes = Vec::new();
            write_zigzag(&mut bytes, value);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(read_zigzag(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn an_endless_varint_is_refused() {
        assert_eq!(read_unsigned(&mut [0xff; 11].as_slice()), None);
        assert_eq!(read_unsigned(&mut [0x80].as_slice()), None);
    }
}
