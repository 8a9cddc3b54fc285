//! Patterns of dates and times, as `java.time.format.DateTimeFormatter` reads them.
//!
//! A run of one letter is a field, as long as the run says; what stands between quotes, and every sign that is no letter, is itself. The
//! letters that need a locale's weeks, a zone or an offset (`w`, `Y`, `W`, `c`, `V`, `z`, `Z`, `x`, `X`, `O`) are refused.

use super::super::super::operand::Fault;
use super::super::Value;
use super::{Moment, day_of_year, weekday};
use lw_stdx::calendar::{civil_from_days, days_from_civil, days_of_month};
use std::fmt::Write;

pub(in super::super::super) struct Pattern(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(char, usize),
}

/// What becomes of the 30th of February.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// The last of the month; all of the text is read.
    Smart,
    /// Days run on; text may stand behind.
    Lenient,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

fn fault(message: String) -> Fault {
    Fault {
        code: "pattern",
        message,
    }
}

impl Pattern {
    pub(in super::super) fn new(pattern: &str) -> Result<Pattern, Fault> {
        let mut parts: Vec<Part> = Vec::new();
        let mut chars = pattern.chars().peekable();
        let literal = |parts: &mut Vec<Part>, c: char| match parts.last_mut() {
            Some(Part::Text(text)) => text.push(c),
            _ => parts.push(Part::Text(c.to_string())),
        };
        while let Some(c) = chars.next() {
            match c {
                '\'' if chars.next_if_eq(&'\'').is_some() => literal(&mut parts, '\''),
                '\'' => loop {
                    match chars.next() {
                        None => return Err(fault(format!("a quote is not closed: {pattern}"))),
                        Some('\'') if chars.next_if_eq(&'\'').is_none() => break,
                        Some(c) => literal(&mut parts, c),
                    }
                },
                c if c.is_ascii_alphabetic() => {
                    let mut count = 1;
                    while chars.next_if_eq(&c).is_some() {
                        count += 1;
                    }
                    if count > 9 {
                        return Err(fault(format!("Too many pattern letters: {c}")));
                    }
                    if !"GyuMLdDHhKkmsSnaEeQ".contains(c) {
                        return Err(fault(format!("Unknown pattern letter: {c}")));
                    }
                    parts.push(Part::Field(c, count));
                }
                '[' | ']' | '{' | '}' | '#' => {
                    return Err(fault(format!("Pattern includes reserved character: '{c}'")));
                }
                c => literal(&mut parts, c),
            }
        }
        Ok(Pattern(parts))
    }

    #[expect(clippy::unnecessary_wraps, reason = "the end of a kernel")]
    pub(in super::super) fn format(&self, moment: Moment, out: &mut String) -> Value<()> {
        let (year, month, day) = civil_from_days(moment.days);
        let second = moment.micros / 1_000_000;
        let hour = second / 3_600;
        for part in &self.0 {
            let (letter, count) = match part {
                Part::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Part::Field(letter, count) => (*letter, *count),
            };
            let number = match letter {
                'y' | 'u' if count == 2 => year.rem_euclid(100),
                'y' | 'u' => year,
                'M' | 'L' if count > 2 => {
                    let name = MONTHS[month as usize - 1];
                    out.push_str(if count == 3 { &name[..3] } else { name });
                    continue;
                }
                'M' | 'L' => i64::from(month),
                'd' => i64::from(day),
                'D' => day_of_year(moment.days),
                'H' => hour,
                'k' => (hour + 23) % 24 + 1,
                'K' => hour % 12,
                'h' => (hour + 11) % 12 + 1,
                'm' => second / 60 % 60,
                's' => second % 60,
                'n' => moment.micros % 1_000_000 * 1_000,
                'Q' => i64::from((month - 1) / 3 + 1),
                'e' => weekday(moment.days) + 1,
                'S' => {
                    let nanos = format!("{:09}", moment.micros % 1_000_000 * 1_000);
                    out.push_str(&nanos[..count.min(9)]);
                    continue;
                }
                'a' => {
                    out.push_str(if hour < 12 { "AM" } else { "PM" });
                    continue;
                }
                'G' => {
                    out.push_str(if year > 0 { "AD" } else { "BC" });
                    continue;
                }
                _ => {
                    let name = DAYS[weekday(moment.days) as usize];
                    out.push_str(if count < 4 { &name[..3] } else { name });
                    continue;
                }
            };
            let _ = write!(out, "{number:0count$}");
        }
        Ok(Some(()))
    }

    /// `None` where the text does not follow the pattern.
    pub(super) fn parse(&self, text: &str, reading: Reading) -> Value<Moment> {
        let mut rest = text;
        let mut found = Found::default();
        for (at, part) in self.0.iter().enumerate() {
            let read = match part {
                Part::Text(text) => rest.strip_prefix(text.as_str()),
                Part::Field(letter, count) => {
                    let reserved = self.digits_behind(at);
                    found.read(*letter, *count, reserved, rest)?
                }
            };
            match read {
                Some(after) => rest = after,
                None => return Ok(None),
            }
        }
        if !rest.is_empty() && reading == Reading::Smart {
            return Ok(None);
        }
        Ok(found.resolve(reading))
    }

    /// The digits that the fields right behind this one need.
    fn digits_behind(&self, at: usize) -> usize {
        self.0[at + 1..]
            .iter()
            .map_while(|part| match part {
                Part::Field(letter, count)
                    if "MLdHhKkmsS".contains(*letter) && (*count < 3 || *letter == 'S') =>
                {
                    Some(*count)
                }
                _ => None,
            })
            .sum()
    }
}

/// The fields that a text has.
#[derive(Default)]
struct Found {
    year: Option<i64>,
    month: Option<u32>,
    day: Option<u32>,
    hour: Option<i64>,
    /// 0 to 11, and whether it is after noon.
    half_hour: Option<i64>,
    after_noon: Option<bool>,
    minute: i64,
    second: i64,
    micros: i64,
}

impl Found {
    /// Reads one field off the text; `None` where there is none.
    fn read<'t>(
        &mut self,
        letter: char,
        count: usize,
        reserved: usize,
        text: &'t str,
    ) -> Result<Option<&'t str>, Fault> {
        let named = |names: &[&str], short: bool| {
            let mut names = names.iter().enumerate();
            names.find_map(|(at, name)| {
                let name = if short { &name[..3] } else { name };
                Some((at, text.strip_prefix(name)?))
            })
        };
        match letter {
            'M' | 'L' if count > 2 => {
                return Ok(named(&MONTHS, count == 3).map(|(at, rest)| {
                    self.month = u32::try_from(at + 1).ok();
                    rest
                }));
            }
            'E' => return Ok(named(&DAYS, count < 4).map(|(_, rest)| rest)),
            'a' => {
                let after_noon = text.starts_with("PM");
                self.after_noon = Some(after_noon);
                return Ok(text.strip_prefix(if after_noon { "PM" } else { "AM" }));
            }
            'y' | 'u' | 'M' | 'L' | 'd' | 'H' | 'k' | 'K' | 'h' | 'm' | 's' | 'S' => {}
            other => {
                let message = format!("the pattern letter {other} is not read from text");
                return Err(fault(message));
            }
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let fixed = count > 1 && !matches!(letter, 'y' | 'u') || count == 2 || letter == 'S';
        let width = if fixed {
            count
        } else {
            digits.saturating_sub(reserved).min(9)
        };
        if digits < width || width < count || width == 0 {
            return Ok(None);
        }
        let (number, rest) = text.split_at(width);
        let number: i64 = number
            .parse()
            .expect("nine digits at most, or as many as the pattern has");
        let small = |most: i64| (0..=most).contains(&number).then_some(number);
        let taken = match letter {
            'y' | 'u' => {
                self.year = Some(if count == 2 { 2_000 + number } else { number });
                Some(())
            }
            'M' | 'L' => small(12)
                .filter(|n| *n > 0)
                .map(|n| self.month = u32::try_from(n).ok()),
            'd' => small(31)
                .filter(|n| *n > 0)
                .map(|n| self.day = u32::try_from(n).ok()),
            'H' => small(23).map(|n| self.hour = Some(n)),
            'k' => small(24)
                .filter(|n| *n > 0)
                .map(|n| self.hour = Some(n % 24)),
            'K' => small(11).map(|n| self.half_hour = Some(n)),
            'h' => small(12)
                .filter(|n| *n > 0)
                .map(|n| self.half_hour = Some(n % 12)),
            'm' => small(59).map(|n| self.minute = n),
            's' => small(59).map(|n| self.second = n),
            _ => {
                let digits = format!("{:0<6}", &text[..width]);
                self.micros = digits[..6].parse().expect("six digits");
                Some(())
            }
        };
        Ok(taken.map(|()| rest))
    }

    /// What is not given is that of 1970-01-01 00:00:00.
    fn resolve(self, reading: Reading) -> Option<Moment> {
        let (year, month) = (self.year.unwrap_or(1970), self.month.unwrap_or(1));
        let day = self.day.unwrap_or(1);
        let days = match reading {
            Reading::Smart => days_from_civil(year, month, day.min(days_of_month(year, month))),
            Reading::Lenient => days_from_civil(year, month, 1) + i64::from(day) - 1,
        };
        let half = self.half_hour.zip(self.after_noon);
        let from_half = half.map(|(hour, after_noon)| if after_noon { hour + 12 } else { hour });
        let hour = self.hour.or(from_half).unwrap_or(0);
        let seconds = hour * 3_600 + self.minute * 60 + self.second;
        (0..=9_999).contains(&year).then_some(Moment {
            days,
            micros: seconds * 1_000_000 + self.micros,
        })
    }
}
