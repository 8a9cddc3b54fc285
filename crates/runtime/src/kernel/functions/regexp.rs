//! Functions over text that find regular expressions in it, and that take text apart.
//!
//! A pattern that Java refuses finds nothing: FALSE, NULL or the number 0, as in Flink.

use super::{Args, Kernel, Registered, Texts, Value, long};

pub(super) const KERNELS: &[Registered] = &[
    boolean("REGEXP", |a, row| {
        let regex = a.regex(1, row)?;
        let empty = a.text(1, row).is_empty();
        Ok(Some(
            !empty && regex.is_some_and(|regex| regex.is_match(a.text(0, row))),
        ))
    }),
    boolean("SIMILAR TO", |a, row| {
        Ok(Some(a.similar(1, row)?.is_match(a.text(0, row))))
    }),
    text("REGEXP_REPLACE", |a, row, out| {
        let Some(regex) = a.regex(1, row)? else {
            return Ok(None);
        };
        let (text, with) = (a.text(0, row), a.text(2, row));
        let mut copied = 0;
        for found in regex.find_all(text) {
            out.push_str(&text[copied..found.start]);
            out.push_str(with);
            copied = found.end;
        }
        out.push_str(&text[copied..]);
        Ok(Some(()))
    }),
    text("REGEXP_EXTRACT", |a, row, out| {
        let Some(regex) = a.regex(1, row)? else {
            return Ok(None);
        };
        let group = if a.len() > 2 { a.whole(2, row) } else { 0 };
        let found = regex.find(a.text(0, row));
        let group = usize::try_from(group).ok();
        let text = found.and_then(|found| *found.groups.get(group?)?);
        Ok(text.map(|text| out.push_str(text)))
    }),
    Registered::new(
        "REGEXP_EXTRACT_ALL",
        Kernel::Texts(|a, row, out| {
            let Some(regex) = a.regex(1, row)? else {
                return Ok(None);
            };
            let group = if a.len() > 2 { a.whole(2, row) } else { 1 };
            let group = usize::try_from(group).ok();
            let Some(group) = group.filter(|group| *group <= regex.group_count()) else {
                return Ok(None);
            };
            for found in regex.find_all(a.text(0, row)) {
                out.push_option(found.groups[group]);
            }
            Ok(Some(()))
        }),
    ),
    whole("REGEXP_COUNT", |a, row| match a.regex(1, row)? {
        Some(regex) => long(regex.find_all(a.text(0, row)).count()),
        None => Ok(None),
    }),
    whole("REGEXP_INSTR", |a, row| {
        let text = a.text(0, row);
        match a.regex(1, row)? {
            // Java counts units of UTF-16.
            Some(regex) => long(
                regex
                    .find(text)
                    .map_or(0, |found| text[..found.start].encode_utf16().count() + 1),
            ),
            None => Ok(None),
        }
    }),
    text("REGEXP_SUBSTR", |a, row, out| {
        let regex = a.regex(1, row)?;
        let found = regex.and_then(|regex| regex.find(a.text(0, row))?.groups[0]);
        Ok(found.map(|text| out.push_str(text)))
    }),
    Registered::new("SPLIT", Kernel::Texts(split)),
    Registered::new("STR_TO_MAP", Kernel::TextMap(str_to_map)),
    text("PARSE_URL", parse_url),
];

const fn boolean(name: &'static str, f: fn(&Args<'_>, usize) -> Value<bool>) -> Registered {
    Registered::new(name, Kernel::Boolean(f))
}

const fn whole(name: &'static str, f: fn(&Args<'_>, usize) -> Value<i64>) -> Registered {
    Registered::new(name, Kernel::Whole(f))
}

const fn text(name: &'static str, f: fn(&Args<'_>, usize, &mut String) -> Value<()>) -> Registered {
    Registered::new(name, Kernel::Text(f))
}

/// At the separator, which is text; into letters where it is empty.
fn split(a: &Args<'_>, row: usize, out: &mut Texts) -> Value<()> {
    let (text, separator) = (a.text(0, row), a.text(1, row));
    if text.is_empty() {
        return Ok(Some(()));
    }
    if separator.is_empty() {
        let ends = text
            .char_indices()
            .map(|(at, letter)| at..at + letter.len_utf8());
        ends.for_each(|letter| out.push(&text[letter]));
    } else {
        text.split(separator).for_each(|piece| out.push(piece));
    }
    Ok(Some(()))
}

/// Entries `key=value` between commas. Both signs are regular expressions.
fn str_to_map(a: &Args<'_>, row: usize, out: &mut Texts) -> Value<()> {
    let entries = match a.len() {
        1 => a.regex_of(",")?,
        _ => a.regex(1, row)?,
    };
    let sides = match a.len() {
        1 => a.regex_of("=")?,
        _ => a.regex(2, row)?,
    };
    let (Some(entries), Some(sides)) = (entries, sides) else {
        return Ok(None);
    };
    if a.text(0, row).is_empty() {
        return Ok(Some(()));
    }
    for entry in entries.split(a.text(0, row), usize::MAX) {
        let mut entry = sides.split(entry, 2).into_iter();
        out.push(entry.next().unwrap_or_default());
        out.push_option(entry.next());
    }
    Ok(Some(()))
}

/// A part of a URL, as `java.net.URL` takes it apart; of the part QUERY perhaps the value of one key.
fn parse_url(a: &Args<'_>, row: usize, out: &mut String) -> Value<()> {
    let Some(url) = Url::parse(a.text(0, row)) else {
        return Ok(None);
    };
    let part = a.text(1, row);
    let found = if a.len() > 2 {
        let query = url.query.filter(|_| part == "QUERY");
        query.and_then(|query| value_of(query, a.text(2, row)))
    } else {
        url.part(part)
    };
    Ok(found.map(|found| match part {
        "PROTOCOL" => out.push_str(&found.to_ascii_lowercase()),
        _ => out.push_str(found),
    }))
}

/// The value behind `key=` in a query.
fn value_of<'q>(query: &'q str, key: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| {
        let (known, value) = pair.split_once('=')?;
        (known == key).then_some(value)
    })
}

struct Url<'u> {
    protocol: &'u str,
    authority: Option<&'u str>,
    user: Option<&'u str>,
    host: &'u str,
    path: &'u str,
    /// Path and query.
    file: &'u str,
    query: Option<&'u str>,
    reference: Option<&'u str>,
}

impl<'u> Url<'u> {
    fn parse(text: &'u str) -> Option<Url<'u>> {
        let text = text.trim_matches(|c: char| c <= ' ');
        let (protocol, rest) = text.split_once(':')?;
        let known = ["http", "https", "ftp", "file", "mailto", "jar"];
        if !known
            .iter()
            .any(|known| protocol.eq_ignore_ascii_case(known))
        {
            return None;
        }
        let (rest, reference) = match rest.split_once('#') {
            Some((rest, reference)) => (rest, Some(reference)),
            None => (rest, None),
        };
        let (before_query, query) = match rest.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = match before_query.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", before_query),
        };
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        let file = &rest[before_query.len() - path.len()..];
        Some(Url {
            protocol,
            authority: before_query.starts_with("//").then_some(authority),
            user,
            host: host(address)?,
            path,
            file,
            query,
            reference,
        })
    }

    fn part(&self, name: &str) -> Option<&'u str> {
        match name {
            "PROTOCOL" => Some(self.protocol),
            "AUTHORITY" => self.authority,
            "USERINFO" => self.user,
            "HOST" => Some(self.host),
            "PATH" => Some(self.path),
            "FILE" => Some(self.file),
            "QUERY" => self.query,
            "REF" => self.reference,
            _ => None,
        }
    }
}

/// The host without its port, which is a number where there is one.
fn host(address: &str) -> Option<&str> {
    let colon = match address.rfind(']') {
        Some(bracket) => address[bracket..].find(':').map(|at| at + bracket),
        None => address.find(':'),
    };
    let Some(colon) = colon else {
        return Some(address);
    };
    let port = &address[colon + 1..];
    let is_port = port.is_empty() || port.parse::<u32>().is_ok();
    is_port.then_some(&address[..colon])
}
