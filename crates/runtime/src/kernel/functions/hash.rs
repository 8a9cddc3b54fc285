//! MD5 and the SHA family (RFC 1321, FIPS 180-4), in hexadecimal digits.
//!
//! Written out here because a digest is a page, and the crates that have them would be four more.

use super::super::operand::Fault;
use super::{Kernel, Registered, Value};
use std::fmt::Write;
use std::sync::LazyLock;

pub(super) const KERNELS: &[Registered] = &[
    Registered::new(
        "MD5",
        Kernel::Text(|a, row, out| hex(&md5(a.bytes(0, row)), out)),
    ),
    Registered::new(
        "SHA1",
        Kernel::Text(|a, row, out| hex(&sha1(a.bytes(0, row)), out)),
    ),
    Registered::new(
        "SHA224",
        Kernel::Text(|a, row, out| sha2(224, a.bytes(0, row), out)),
    ),
    Registered::new(
        "SHA256",
        Kernel::Text(|a, row, out| sha2(256, a.bytes(0, row), out)),
    ),
    Registered::new(
        "SHA384",
        Kernel::Text(|a, row, out| sha2(384, a.bytes(0, row), out)),
    ),
    Registered::new(
        "SHA512",
        Kernel::Text(|a, row, out| sha2(512, a.bytes(0, row), out)),
    ),
    Registered::new(
        "SHA2",
        Kernel::Text(|a, row, out| sha2(a.whole(1, row), a.bytes(0, row), out)),
    ),
];

/// The 32 bytes of SHA-256.
pub fn sha256_of(message: &[u8]) -> Vec<u8> {
    sha256(message, SHA256)
}

#[expect(clippy::unnecessary_wraps, reason = "the end of a kernel")]
fn hex(digest: &[u8], out: &mut String) -> Value<()> {
    for byte in digest {
        let _ = write!(out, "{byte:02x}");
    }
    Ok(Some(()))
}

fn sha2(bits: i64, message: &[u8], out: &mut String) -> Value<()> {
    match bits {
        224 => hex(&sha256(message, SHA224)[..28], out),
        256 => hex(&sha256(message, SHA256), out),
        384 => hex(&sha512(message, SHA384)[..48], out),
        512 => hex(&sha512(message, SHA512), out),
        _ => Err(Fault {
            code: "argument",
            message: format!("SHA-{bits} MessageDigest not available"),
        }),
    }
}

/// Calls `f` with every block of the message, the last of them padded: a 1 bit, zeros, and the length in bits.
fn blocks<const SIZE: usize>(
    message: &[u8],
    length: impl Fn(u64, &mut [u8]),
    mut f: impl FnMut(&[u8; SIZE]),
) {
    let whole = message.chunks_exact(SIZE);
    let rest = whole.remainder();
    for block in whole {
        f(block.try_into().expect("chunks of the block's size"));
    }
    let mut last = [0; SIZE];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x80;
    if rest.len() + 1 + SIZE / 8 > SIZE {
        f(&last);
        last = [0; SIZE];
    }
    length(8 * message.len() as u64, &mut last[SIZE - 8..]);
    f(&last);
}

fn big_endian(bits: u64, at: &mut [u8]) {
    at.copy_from_slice(&bits.to_be_bytes());
}

fn little_endian(bits: u64, at: &mut [u8]) {
    at.copy_from_slice(&bits.to_le_bytes());
}

fn md5(message: &[u8]) -> Vec<u8> {
    const SHIFTS: [[u32; 4]; 4] = [
        [7, 12, 17, 22],
        [5, 9, 14, 20],
        [4, 11, 16, 23],
        [6, 10, 15, 21],
    ];
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    blocks::<64>(message, little_endian, |block| {
        let words: Vec<u32> = block
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")))
            .collect();
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64 {
            let (mix, word) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), 7 * i % 16),
            };
            let sum = a
                .wrapping_add(mix)
                .wrapping_add(SINES[i])
                .wrapping_add(words[word]);
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4]));
        }
        for (held, new) in state.iter_mut().zip([a, b, c, d]) {
            *held = held.wrapping_add(new);
        }
    });
    state.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the first 32 bits of sines"
)]
static SINES: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let first_bits = |i: u32| (f64::from(i).sin().abs() * 4_294_967_296.0) as u32;
    (1..=64).map(first_bits).collect()
});

fn sha1(message: &[u8]) -> Vec<u8> {
    let mut state = [
        0x6745_2301_u32,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0,
    ];
    blocks::<64>(message, big_endian, |block| {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        }
        for i in 16..80 {
            words[i] = (words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (i, word) in words.iter().enumerate() {
            let (mix, constant) = match i / 20 {
                0 => ((b & c) | (!b & d), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let sum = a
                .rotate_left(5)
                .wrapping_add(mix)
                .wrapping_add(e)
                .wrapping_add(constant)
                .wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, sum);
        }
        for (held, new) in state.iter_mut().zip([a, b, c, d, e]) {
            *held = held.wrapping_add(new);
        }
    });
    state.iter().flat_map(|word| word.to_be_bytes()).collect()
}

const SHA224: [u32; 8] = [
    0xc105_9ed8,
    0x367c_d507,
    0x3070_dd17,
    0xf70e_5939,
    0xffc0_0b31,
    0x6858_1511,
    0x64f9_8fa7,
    0xbefa_4fa4,
];
const SHA256: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
const SHA384: [u64; 8] = [
    0xcbbb_9d5d_c105_9ed8,
    0x629a_292a_367c_d507,
    0x9159_015a_3070_dd17,
    0x152f_ecd8_f70e_5939,
    0x6733_2667_ffc0_0b31,
    0x8eb4_4a87_6858_1511,
    0xdb0c_2e0d_64f9_8fa7,
    0x47b5_481d_befa_4fa4,
];
const SHA512: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// The two sizes differ in the word, the rounds and the distances of their rotations.
macro_rules! sha2_family {
    ($name:ident, $word:ty, $bytes:literal, $rounds:literal, $s0:expr, $s1:expr, $e0:expr, $e1:expr, $constant:expr) => {
        fn $name(message: &[u8], mut state: [$word; 8]) -> Vec<u8> {
            const SIZE: usize = 16 * $bytes;
            let rotated = |x: $word, by: [u32; 3]| {
                x.rotate_right(by[0]) ^ x.rotate_right(by[1]) ^ x.rotate_right(by[2])
            };
            let shifted = |x: $word, by: [u32; 3]| {
                x.rotate_right(by[0]) ^ x.rotate_right(by[1]) ^ (x >> by[2])
            };
            blocks::<SIZE>(message, big_endian, |block| {
                let mut words = [0 as $word; $rounds];
                for (word, bytes) in words.iter_mut().zip(block.chunks_exact($bytes)) {
                    *word = <$word>::from_be_bytes(bytes.try_into().expect("the bytes of a word"));
                }
                for i in 16..$rounds {
                    words[i] = words[i - 16]
                        .wrapping_add(shifted(words[i - 15], $s0))
                        .wrapping_add(words[i - 7])
                        .wrapping_add(shifted(words[i - 2], $s1));
                }
                let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
                for i in 0..$rounds {
                    let first = h
                        .wrapping_add(rotated(e, $e1))
                        .wrapping_add((e & f) ^ (!e & g))
                        .wrapping_add($constant(i))
                        .wrapping_add(words[i]);
                    let second = rotated(a, $e0).wrapping_add((a & b) ^ (a & c) ^ (b & c));
                    (h, g, f, e) = (g, f, e, d.wrapping_add(first));
                    (d, c, b, a) = (c, b, a, first.wrapping_add(second));
                }
                for (held, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
                    *held = held.wrapping_add(new);
                }
            });
            state.iter().flat_map(|word| word.to_be_bytes()).collect()
        }
    };
}

sha2_family!(
    sha256,
    u32,
    4,
    64,
    [7, 18, 3],
    [17, 19, 10],
    [2, 13, 22],
    [6, 11, 25],
    |i: usize| (CONSTANTS[i] >> 32) as u32
);
sha2_family!(
    sha512,
    u64,
    8,
    80,
    [1, 8, 7],
    [19, 61, 6],
    [28, 34, 39],
    [14, 18, 41],
    |i: usize| CONSTANTS[i]
);

/// The first 64 bits of the fractional parts of the cube roots of the first 80 primes; SHA-256 takes the first 32.
const CONSTANTS: [u64; 80] = [
    0x428a_2f98_d728_ae22,
    0x7137_4491_23ef_65cd,
    0xb5c0_fbcf_ec4d_3b2f,
    0xe9b5_dba5_8189_dbbc,
    0x3956_c25b_f348_b538,
    0x59f1_11f1_b605_d019,
    0x923f_82a4_af19_4f9b,
    0xab1c_5ed5_da6d_8118,
    0xd807_aa98_a303_0242,
    0x1283_5b01_4570_6fbe,
    0x2431_85be_4ee4_b28c,
    0x550c_7dc3_d5ff_b4e2,
    0x72be_5d74_f27b_896f,
    0x80de_b1fe_3b16_96b1,
    0x9bdc_06a7_25c7_1235,
    0xc19b_f174_cf69_2694,
    0xe49b_69c1_9ef1_4ad2,
    0xefbe_4786_384f_25e3,
    0x0fc1_9dc6_8b8c_d5b5,
    0x240c_a1cc_77ac_9c65,
    0x2de9_2c6f_592b_0275,
    0x4a74_84aa_6ea6_e483,
    0x5cb0_a9dc_bd41_fbd4,
    0x76f9_88da_8311_53b5,
    0x983e_5152_ee66_dfab,
    0xa831_c66d_2db4_3210,
    0xb003_27c8_98fb_213f,
    0xbf59_7fc7_beef_0ee4,
    0xc6e0_0bf3_3da8_8fc2,
    0xd5a7_9147_930a_a725,
    0x06ca_6351_e003_826f,
    0x1429_2967_0a0e_6e70,
    0x27b7_0a85_46d2_2ffc,
    0x2e1b_2138_5c26_c926,
    0x4d2c_6dfc_5ac4_2aed,
    0x5338_0d13_9d95_b3df,
    0x650a_7354_8baf_63de,
    0x766a_0abb_3c77_b2a8,
    0x81c2_c92e_47ed_aee6,
    0x9272_2c85_1482_353b,
    0xa2bf_e8a1_4cf1_0364,
    0xa81a_664b_bc42_3001,
    0xc24b_8b70_d0f8_9791,
    0xc76c_51a3_0654_be30,
    0xd192_e819_d6ef_5218,
    0xd699_0624_5565_a910,
    0xf40e_3585_5771_202a,
    0x106a_a070_32bb_d1b8,
    0x19a4_c116_b8d2_d0c8,
    0x1e37_6c08_5141_ab53,
    0x2748_774c_df8e_eb99,
    0x34b0_bcb5_e19b_48a8,
    0x391c_0cb3_c5c9_5a63,
    0x4ed8_aa4a_e341_8acb,
    0x5b9c_ca4f_7763_e373,
    0x682e_6ff3_d6b2_b8a3,
    0x748f_82ee_5def_b2fc,
    0x78a5_636f_4317_2f60,
    0x84c8_7814_a1f0_ab72,
    0x8cc7_0208_1a64_39ec,
    0x90be_fffa_2363_1e28,
    0xa450_6ceb_de82_bde9,
    0xbef9_a3f7_b2c6_7915,
    0xc671_78f2_e372_532b,
    0xca27_3ece_ea26_619c,
    0xd186_b8c7_21c0_c207,
    0xeada_7dd6_cde0_eb1e,
    0xf57d_4f7f_ee6e_d178,
    0x06f0_67aa_7217_6fba,
    0x0a63_7dc5_a2c8_98a6,
    0x113f_9804_bef9_0dae,
    0x1b71_0b35_131c_471b,
    0x28db_77f5_2304_7d84,
    0x32ca_ab7b_40c7_2493,
    0x3c9e_be0a_15c9_bebc,
    0x431d_67c4_9c10_0d4c,
    0x4cc5_d4be_cb3e_42b6,
    0x597f_299c_fc65_7e2a,
    0x5fcb_6fab_3ad6_faec,
    0x6c44_198c_4a47_5817,
];
