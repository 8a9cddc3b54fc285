//! Bytes of the persisted formats: little-endian numbers, byte strings with a u32 length.
//!
//! Every format is written by [`Writer`] and read by [`Reader`], which never trusts a length: what is not there is
//! [`Damaged`], not a panic and not an allocation.

use std::collections::BTreeMap;

use uuid::Uuid;

/// The bytes are not what the format says; the text names the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damaged(pub(crate) &'static str);

#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.0.extend_from_slice(value.as_bytes());
    }

    pub(crate) fn count(&mut self, value: usize) {
        self.u32(u32::try_from(value).expect("a persisted list has under 4 G elements"));
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.0.extend_from_slice(value);
    }

    pub(crate) fn text_map(&mut self, map: &BTreeMap<String, String>) {
        self.count(map.len());
        for (key, value) in map {
            self.bytes(key.as_bytes());
            self.bytes(value.as_bytes());
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    read: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            rest: bytes,
            read: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes consumed so far.
    pub(crate) fn position(&self) -> usize {
        self.read
    }

    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Damaged> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Damaged(what))?;
        self.rest = rest;
        self.read += len;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Damaged> {
        let bytes = self.take(N, what)?;
        Ok(bytes.try_into().expect("take gave N bytes"))
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Damaged> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(crate) fn bool(&mut self, what: &'static str) -> Result<bool, Damaged> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damaged(what)),
        }
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Damaged> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Damaged> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn i16(&mut self, what: &'static str) -> Result<i16, Damaged> {
        Ok(i16::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32, Damaged> {
        Ok(i32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, Damaged> {
        Ok(i64::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn uuid(&mut self, what: &'static str) -> Result<Uuid, Damaged> {
        Ok(Uuid::from_bytes(self.array(what)?))
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Damaged> {
        let len = self.u32(what)? as usize;
        self.take(len, what)
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, Damaged> {
        let bytes = self.bytes(what)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| Damaged(what))
    }

    pub(crate) fn text_map(
        &mut self,
        what: &'static str,
    ) -> Result<BTreeMap<String, String>, Damaged> {
        let count = self.u32(what)?;
        let mut map = BTreeMap::new();
        for _ in 0..count {
            map.insert(self.text(what)?, self.text(what)?);
        }
        Ok(map)
    }
}

/// Appends the CRC-32C of everything before it.
pub(crate) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The bytes before a CRC that [`seal`] wrote, if it holds.
pub(crate) fn unseal(bytes: &[u8]) -> Result<&[u8], Damaged> {
    let (body, crc) = bytes
        .split_last_chunk::<4>()
        .ok_or(Damaged("the file is too short"))?;
    if crc32c::crc32c(body) == u32::from_le_bytes(*crc) {
        Ok(body)
    } else {
        Err(Damaged("the checksum does not hold"))
    }
}
