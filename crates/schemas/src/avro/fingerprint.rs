//! CRC-64-AVRO, the Rabin fingerprint of the Avro specification ("Schema Fingerprints").
//!
//! `f(b) = table[(f ^ b) & 0xff] ^ (f >> 8)` starting at the polynomial itself, so that the empty text is not 0.

const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

const TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut value = i as u64;
        let mut bit = 0;
        while bit < 8 {
            value = (value >> 1) ^ (EMPTY & (value & 1).wrapping_neg());
            bit += 1;
        }
        table[i] = value;
        i += 1;
    }
    table
};

/// Returns the fingerprint of the bytes.
pub fn rabin(bytes: &[u8]) -> u64 {
    bytes.iter().fold(EMPTY, |f, b| {
        (f >> 8) ^ TABLE[((f ^ u64::from(*b)) & 0xff) as usize]
    })
}
