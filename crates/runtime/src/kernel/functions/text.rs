//! Functions over text.
//!
//! Positions and lengths count characters (code points), except where Flink leaves it to Java's strings, which count UTF-16 units
//! ([`units`]): LPAD, RPAD, OVERLAY.

use super::super::operand::Fault;
use super::{Args, Kernel, Registered, Value};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::fmt::Write;

pub(super) const KERNELS: &[Registered] = &[
    text("UPPER", |a, row, out| {
        mapped(
            a.text(0, row),
            out,
            str::make_ascii_uppercase,
            str::to_uppercase,
        )
    }),
    text("LOWER", |a, row, out| {
        mapped(
            a.text(0, row),
            out,
            str::make_ascii_lowercase,
            str::to_lowercase,
        )
    }),
    text("TRIM", |a, row, out| {
        let set = a.text(1, row);
        put(out, a.text(0, row).trim_matches(|c| set.contains(c)))
    }),
    text("TRIM LEADING", |a, row, out| {
        let set = a.text(1, row);
        put(out, a.text(0, row).trim_start_matches(|c| set.contains(c)))
    }),
    text("TRIM TRAILING", |a, row, out| {
        let set = a.text(1, row);
        put(out, a.text(0, row).trim_end_matches(|c| set.contains(c)))
    }),
    text("CONCAT", concat),
    text("APPEND", concat),
    text("CONCAT_WS", concat_ws).sees_null(),
    text("SUBSTRING", |a, row, out| {
        let length = (a.len() > 2).then(|| a.whole(2, row));
        match substring(a.text(0, row), a.whole(1, row), length) {
            Some(part) => put(out, part),
            None => Ok(None),
        }
    }),
    text("LEFT", |a, row, out| {
        let text = a.text(0, row);
        put(out, &text[..place(text, count(a.whole(1, row)))])
    }),
    text("RIGHT", |a, row, out| {
        let text = a.text(0, row);
        let skipped = text.chars().count().saturating_sub(count(a.whole(1, row)));
        put(out, &text[place(text, skipped)..])
    }),
    text("LPAD", |a, row, out| pad(a, row, out, true)),
    text("RPAD", |a, row, out| pad(a, row, out, false)),
    text("REPEAT", |a, row, out| {
        let (text, times) = (a.text(0, row), count(a.whole(1, row)));
        if text.len().saturating_mul(times) > MOST_TEXT {
            return Err(Fault::too_long("REPEAT"));
        }
        (0..times).for_each(|_| out.push_str(text));
        Ok(Some(()))
    }),
    text("REVERSE", |a, row, out| {
        out.extend(a.text(0, row).chars().rev());
        Ok(Some(()))
    }),
    text("INITCAP", |a, row, out| {
        // Only ASCII letters change, and only they and ASCII digits are inside a word.
        let mut inside = false;
        for c in a.text(0, row).chars() {
            out.push(if inside {
                c.to_ascii_lowercase()
            } else {
                c.to_ascii_uppercase()
            });
            inside = c.is_ascii_alphanumeric();
        }
        Ok(Some(()))
    }),
    text("REPLACE", replace),
    text("TRANSLATE", translate).sees_null(),
    text("OVERLAY", overlay),
    text("SPLIT_INDEX", split_index),
    text("ELT", |a, row, out| match chosen(a, row) {
        Some(arg) => put(out, a.text(arg, row)),
        None => Ok(None),
    })
    .sees_null(),
    whole("CHAR_LENGTH", |a, row| long(a.text(0, row).chars().count())),
    whole("LOCATE", |a, row| {
        let from = if a.len() > 2 { a.whole(2, row) } else { 1 };
        long(locate(a.text(0, row), a.text(1, row), from))
    }),
    whole("POSITION", |a, row| {
        long(locate(a.text(0, row), a.text(1, row), 1))
    }),
    whole("INSTR", instr),
    whole("ASCII", |a, row| {
        // The first byte, with its sign.
        let first = a.bytes(0, row).first().copied().unwrap_or(0);
        Ok(Some(i64::from(first.cast_signed())))
    }),
    text("CHR", |a, row, out| {
        let number = a.whole(0, row);
        if let (0.., Ok(letter)) = (number, u8::try_from(number & 0xff)) {
            out.push(char::from(letter));
        }
        Ok(Some(()))
    }),
    boolean("STARTSWITH", |a, row| {
        Ok(Some(a.bytes(0, row).starts_with(a.bytes(1, row))))
    }),
    boolean("ENDSWITH", |a, row| {
        Ok(Some(a.bytes(0, row).ends_with(a.bytes(1, row))))
    }),
    boolean("IS_ALPHA", |a, row| all(a, row, char::is_alphabetic)).sees_null(),
    boolean("IS_DIGIT", |a, row| all(a, row, |c| c.is_ascii_digit())).sees_null(),
    boolean("IS_DECIMAL", |a, row| {
        let decimal = |text| lw_formats::text::parse_double(text).is_some();
        Ok(Some(!a.is_null(0, row) && decimal(a.text(0, row))))
    })
    .sees_null(),
    text("TO_BASE64", |a, row, out| {
        BASE64.encode_string(a.bytes(0, row), out);
        Ok(Some(()))
    }),
    text("FROM_BASE64", |a, row, out| {
        let bytes = BASE64.decode(a.text(0, row)).map_err(|error| Fault {
            code: "base64",
            message: error.to_string(),
        })?;
        put(out, &String::from_utf8_lossy(&bytes))
    }),
    Registered::new("ENCODE", Kernel::Bytes(encode)),
    text("DECODE", decode),
    text("URL_ENCODE", |a, row, out| {
        for byte in a.bytes(0, row) {
            match byte {
                b' ' => out.push('+'),
                b'.' | b'-' | b'*' | b'_' => out.push(char::from(*byte)),
                byte if byte.is_ascii_alphanumeric() => out.push(char::from(*byte)),
                byte => {
                    let _ = write!(out, "%{byte:02X}");
                }
            }
        }
        Ok(Some(()))
    }),
    text("URL_DECODE", |a, row, out| {
        match url_decoded(a.bytes(0, row)) {
            Some(bytes) => put(out, &String::from_utf8_lossy(&bytes)),
            None => Ok(None),
        }
    }),
];

/// What one value may grow to.
const MOST_TEXT: usize = 64 << 20;

/// Padding is written, and read or not; bits behind the last byte are ignored: Java's basic decoder.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

const fn text(name: &'static str, f: fn(&Args<'_>, usize, &mut String) -> Value<()>) -> Registered {
    Registered::new(name, Kernel::Text(f))
}

const fn whole(name: &'static str, f: fn(&Args<'_>, usize) -> Value<i64>) -> Registered {
    Registered::new(name, Kernel::Whole(f))
}

const fn boolean(name: &'static str, f: fn(&Args<'_>, usize) -> Value<bool>) -> Registered {
    Registered::new(name, Kernel::Boolean(f))
}

#[expect(clippy::unnecessary_wraps, reason = "the end of a kernel")]
fn put(out: &mut String, text: &str) -> Value<()> {
    out.push_str(text);
    Ok(Some(()))
}

#[expect(clippy::unnecessary_wraps, reason = "the end of a kernel")]
pub(super) fn long(number: usize) -> Value<i64> {
    Ok(Some(i64::try_from(number).unwrap_or(i64::MAX)))
}

/// How many: a negative number is none.
fn count(number: i64) -> usize {
    usize::try_from(number.max(0)).unwrap_or(usize::MAX)
}

/// In place where the text is ASCII.
#[expect(clippy::unnecessary_wraps, reason = "a kernel")]
fn mapped(text: &str, out: &mut String, ascii: fn(&mut str), any: fn(&str) -> String) -> Value<()> {
    if text.is_ascii() {
        let from = out.len();
        out.push_str(text);
        ascii(&mut out[from..]);
    } else {
        out.push_str(&any(text));
    }
    Ok(Some(()))
}

#[expect(clippy::unnecessary_wraps, reason = "a kernel")]
fn concat(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    (0..a.len()).for_each(|arg| out.push_str(a.text(arg, row)));
    Ok(Some(()))
}

/// NULL only without a separator; what is NULL is left out.
#[expect(clippy::unnecessary_wraps, reason = "a kernel")]
fn concat_ws(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    if a.is_null(0, row) {
        return Ok(None);
    }
    let mut parts = (1..a.len()).filter(|arg| !a.is_null(*arg, row));
    if let Some(first) = parts.next() {
        out.push_str(a.text(first, row));
    }
    for arg in parts {
        out.push_str(a.text(0, row));
        out.push_str(a.text(arg, row));
    }
    Ok(Some(()))
}

/// 1-based; 0 is the start too; a negative place counts from the end, and one before the start gives nothing.
fn substring(text: &str, from: i64, length: Option<i64>) -> Option<&str> {
    if length.is_some_and(|length| length < 0) {
        return None;
    }
    let skip = match from {
        1.. => usize::try_from(from - 1).unwrap_or(usize::MAX),
        0 => 0,
        _ => {
            let back = usize::try_from(from.unsigned_abs()).unwrap_or(usize::MAX);
            match text.chars().count().checked_sub(back) {
                Some(skip) => skip,
                None => return Some(""),
            }
        }
    };
    let start = place(text, skip);
    let rest = &text[start..];
    Some(match length {
        None => rest,
        Some(length) => &rest[..place(rest, usize::try_from(length).unwrap_or(usize::MAX))],
    })
}

/// The byte at which character number `chars` begins; the end when there are fewer.
fn place(text: &str, chars: usize) -> usize {
    if chars >= text.len() {
        return text.len();
    }
    text.char_indices()
        .nth(chars)
        .map_or(text.len(), |(at, _)| at)
}

/// Appends the UTF-16 units `from..to` of a text; half a character is `?`, as where Java writes one out.
fn units(text: &str, from: usize, to: usize, out: &mut String) {
    if text.is_ascii() {
        out.push_str(&text[from.min(text.len())..to.min(text.len())]);
        return;
    }
    let mut at = 0;
    for c in text.chars() {
        let end = at + c.len_utf16();
        if at >= from && end <= to {
            out.push(c);
        } else if end > from && at < to {
            out.push('?');
        }
        at = end;
    }
}

fn count_units(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    text.chars().map(char::len_utf16).sum()
}

/// Cut to the length, or padded to it; NULL for a negative length and for empty padding.
fn pad(a: &Args<'_>, row: usize, out: &mut String, before: bool) -> Value<()> {
    let (base, padding) = (a.text(0, row), a.text(2, row));
    let Ok(length) = usize::try_from(a.whole(1, row)) else {
        return Ok(None);
    };
    if padding.is_empty() {
        return Ok(None);
    }
    if length > MOST_TEXT {
        return Err(Fault::too_long(if before { "LPAD" } else { "RPAD" }));
    }
    let missing = length.saturating_sub(count_units(base));
    if !before {
        units(base, 0, length, out);
    }
    let unit = count_units(padding);
    (0..missing / unit).for_each(|_| out.push_str(padding));
    units(padding, 0, missing % unit, out);
    if before {
        units(base, 0, length, out);
    }
    Ok(Some(()))
}

#[expect(clippy::unnecessary_wraps, reason = "a kernel")]
fn replace(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    let (text, search, by) = (a.text(0, row), a.text(1, row), a.text(2, row));
    if search.is_empty() {
        // Java finds nothing before every UTF-16 unit and at the end.
        for at in 0..count_units(text) {
            out.push_str(by);
            units(text, at, at + 1, out);
        }
        out.push_str(by);
        return Ok(Some(()));
    }
    let mut rest = 0;
    for (at, found) in text.match_indices(search) {
        out.push_str(&text[rest..at]);
        out.push_str(by);
        rest = at + found.len();
    }
    out.push_str(&text[rest..]);
    Ok(Some(()))
}

/// Each character of the second text becomes that at its place in the third, or nothing where there is none.
#[expect(clippy::unnecessary_wraps, reason = "a kernel")]
fn translate(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    if a.is_null(0, row) || a.is_null(1, row) {
        return Ok(None);
    }
    let to = if a.is_null(2, row) {
        ""
    } else {
        a.text(2, row)
    };
    for c in a.text(0, row).chars() {
        match a.text(1, row).chars().position(|from| from == c) {
            None => out.push(c),
            Some(at) => out.extend(to.chars().nth(at)),
        }
    }
    Ok(Some(()))
}

/// The second text in place of so many UTF-16 units of the first; nothing of the rest stays where the length is not positive.
fn overlay(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    let (text, by) = (a.text(0, row), a.text(1, row));
    let all = count_units(text);
    let start = match usize::try_from(a.whole(2, row)) {
        Ok(start) if (1..=all).contains(&start) => start,
        _ => return put(out, text),
    };
    let length = if a.len() > 3 {
        a.whole(3, row)
    } else {
        i64::try_from(count_units(by)).unwrap_or(i64::MAX)
    };
    units(text, 0, start - 1, out);
    out.push_str(by);
    if let Ok(length) = usize::try_from(length)
        && length > 0
        && start.saturating_add(length) <= all
    {
        units(text, start - 1 + length, all, out);
    }
    Ok(Some(()))
}

/// Parts are counted from 0; an empty separator is any white space.
fn split_index(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    let text = a.text(0, row);
    let Ok(index) = usize::try_from(a.whole(2, row)) else {
        return Ok(None);
    };
    let letter = [0; 4];
    let part = if text.is_empty() {
        None
    } else if a.is_text(1) {
        match a.text(1, row) {
            "" => text.split(char::is_whitespace).nth(index),
            separator => text.split(separator).nth(index),
        }
    } else {
        let separator = u8::try_from(a.whole(1, row)).ok().filter(|byte| *byte > 0);
        separator.and_then(|byte| {
            let mut letter = letter;
            let separator: &str = char::from(byte).encode_utf8(&mut letter);
            text.split(separator).nth(index)
        })
    };
    match part {
        Some(part) => put(out, part),
        None => Ok(None),
    }
}

/// The argument that the first one chooses.
fn chosen(a: &Args<'_>, row: usize) -> Option<usize> {
    if a.is_null(0, row) {
        return None;
    }
    let arg = usize::try_from(a.whole(0, row)).ok()?;
    ((1..a.len()).contains(&arg) && !a.is_null(arg, row)).then_some(arg)
}

/// The place of a text in another, counted from 1; 0 is nowhere. An empty text is found at 1, wherever the search begins.
fn locate(search: &str, text: &str, from: i64) -> usize {
    if search.is_empty() {
        return 1;
    }
    // As in Java, whose place before the least INT is the greatest.
    let from = if from == i64::from(i32::MIN) {
        i64::from(i32::MAX)
    } else {
        from - 1
    };
    let start = place(text, count(from));
    match text[start..].find(search) {
        Some(at) => text[..start + at].chars().count() + 1,
        None => 0,
    }
}

fn instr(a: &Args<'_>, row: usize) -> Value<i64> {
    let (text, search) = (a.text(0, row), a.text(1, row));
    let from = if a.len() > 2 { a.whole(2, row) } else { 1 };
    let nth = if a.len() > 3 { a.whole(3, row) } else { 1 };
    if nth <= 0 {
        return Err(Fault {
            code: "argument",
            message: "nthAppearance must be positive!".to_string(),
        });
    }
    if from > 0 {
        return long(nth_place(text, search, from, nth));
    }
    if from == 0 {
        return Ok(Some(0));
    }
    let backwards = |text: &str| text.chars().rev().collect::<String>();
    let place = nth_place(&backwards(text), &backwards(search), -from, nth);
    if place == 0 {
        return Ok(Some(0));
    }
    long((text.chars().count() + 2).saturating_sub(place + search.chars().count()))
}

fn nth_place(text: &str, search: &str, mut from: i64, nth: i64) -> usize {
    let mut found = 0;
    for _ in 0..nth {
        found = locate(search, text, from);
        if found == 0 || search.is_empty() {
            break;
        }
        from = i64::try_from(found).unwrap_or(i64::MAX) + 1;
    }
    found
}

/// Whether there are characters and each is one of these; FALSE for NULL.
#[expect(clippy::unnecessary_wraps, reason = "a kernel")]
fn all(a: &Args<'_>, row: usize, is: fn(char) -> bool) -> Value<bool> {
    let text = if a.is_null(0, row) {
        ""
    } else {
        a.text(0, row)
    };
    Ok(Some(!text.is_empty() && text.chars().all(is)))
}

fn unknown_encoding(name: &str) -> Fault {
    Fault {
        code: "argument",
        message: format!("Unsupported encoding: {name}"),
    }
}

/// What an encoding does not have is `?`.
fn encode(a: &Args<'_>, row: usize, out: &mut Vec<u8>) -> Value<()> {
    let (text, name) = (a.text(0, row), a.text(1, row));
    let below = |limit: u32, out: &mut Vec<u8>| {
        out.extend(text.chars().map(|c| match u8::try_from(u32::from(c)) {
            Ok(byte) if u32::from(byte) < limit => byte,
            _ => b'?',
        }));
    };
    match name.to_ascii_uppercase().as_str() {
        "UTF-8" | "UTF8" => out.extend_from_slice(text.as_bytes()),
        "US-ASCII" | "ASCII" => below(0x80, out),
        "ISO-8859-1" | "LATIN1" => below(0x100, out),
        "UTF-16" if text.is_empty() => {}
        "UTF-16" => {
            out.extend([0xfe, 0xff]);
            out.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
        }
        "UTF-16BE" => out.extend(text.encode_utf16().flat_map(u16::to_be_bytes)),
        "UTF-16LE" => out.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
        _ => return Err(unknown_encoding(name)),
    }
    Ok(Some(()))
}

/// Bytes that an encoding does not have are U+FFFD.
fn decode(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    let (bytes, name) = (a.bytes(0, row), a.text(1, row));
    let wide = |bytes: &[u8], order: fn([u8; 2]) -> u16, out: &mut String| {
        let units = bytes.chunks(2).map(|pair| match pair {
            [a, b] => order([*a, *b]),
            _ => 0xfffd,
        });
        out.extend(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
    };
    match name.to_ascii_uppercase().as_str() {
        "UTF-8" | "UTF8" => out.push_str(&String::from_utf8_lossy(bytes)),
        "US-ASCII" | "ASCII" => out.extend(bytes.iter().map(|byte| match byte {
            0..0x80 => char::from(*byte),
            _ => char::REPLACEMENT_CHARACTER,
        })),
        "ISO-8859-1" | "LATIN1" => out.extend(bytes.iter().copied().map(char::from)),
        "UTF-16" => match bytes {
            [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes, out),
            [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes, out),
            bytes => wide(bytes, u16::from_be_bytes, out),
        },
        "UTF-16BE" => wide(bytes, u16::from_be_bytes, out),
        "UTF-16LE" => wide(bytes, u16::from_le_bytes, out),
        _ => return Err(unknown_encoding(name)),
    }
    Ok(Some(()))
}

/// `None` where a `%` is not followed by two digits.
fn url_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) => {
                out.push(u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?);
                rest = after;
            }
            (b'%', _) => return None,
            (byte, _) => out.push(*byte),
        }
    }
    Some(out)
}
