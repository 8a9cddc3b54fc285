//! Functions over text. Positions and lengths count characters (code points).

use super::{Args, Registered, Value, int, text};

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
    text("SUBSTRING", |a, row, out| {
        let length = (a.len() > 2).then(|| a.whole(2, row));
        match substring(a.text(0, row), a.whole(1, row), length) {
            Some(part) => put(out, part),
            None => Ok(None),
        }
    }),
    int("CHAR_LENGTH", |a, row| {
        let length = a.text(0, row).chars().count();
        Ok(Some(i32::try_from(length).unwrap_or(i32::MAX)))
    }),
];

#[expect(clippy::unnecessary_wraps, reason = "the end of a kernel")]
fn put(out: &mut String, text: &str) -> Value<()> {
    out.push_str(text);
    Ok(Some(()))
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

fn concat(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    (0..a.len()).for_each(|arg| out.push_str(a.text(arg, row)));
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
