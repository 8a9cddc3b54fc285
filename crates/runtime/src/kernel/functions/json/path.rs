//! Paths into JSON: `lax $.a.b[0]`, `strict $['a'][*]`, `$..c`.
//!
//! The language is that of Jayway's JsonPath, which Flink uses: members, elements (from the end where negative), slices, lists of elements,
//! all (`*`), and members at any depth (`..`). Filters (`?(…)`), functions (`.length()`) and lists of members are refused.
//!
//! A path of members and single elements is *definite*: it finds one value, or its absence is an error (strict) or NULL (lax). Any other finds
//! a list, in which what is absent is left out; only its definite beginning must be there.

use lw_formats::Json;

/// A path that was read.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Path {
    pub(super) lax: bool,
    steps: Vec<Step>,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(i64),
    Elements(Vec<i64>),
    Slice(Option<i64>, Option<i64>),
    All,
    /// What the next step finds, at any depth.
    Anywhere,
}

/// Why a text does not become a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Problem {
    /// It is none, in Flink either: an error when it is used.
    Invalid,
    /// None of this version.
    Unsupported(String),
}

/// Nothing is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Absent;

/// What a path finds.
#[derive(Debug, PartialEq)]
pub(super) enum Found<'j, 'a> {
    One(&'j Json<'a>),
    Many(Vec<&'j Json<'a>>),
}

impl Path {
    /// # Errors
    /// [`Problem`]: it is no path, or none of this version.
    pub(in super::super) fn parse(text: &str) -> Result<Path, Problem> {
        let trimmed = text.trim_start();
        let mode = |word: &str| {
            let rest = trimmed.get(word.len()..)?;
            let same = trimmed[..word.len()].eq_ignore_ascii_case(word);
            (same && rest.starts_with(char::is_whitespace)).then_some(rest)
        };
        let (lax, path) = match (mode("lax"), mode("strict")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => (false, text),
        };
        let steps = Reader { rest: path.trim() }.steps()?;
        Ok(Path { lax, steps })
    }

    fn is_definite(&self) -> bool {
        self.steps.iter().all(Step::is_definite)
    }

    /// # Errors
    /// [`Absent`] when there is nothing where the definite part of the path leads.
    pub(super) fn find<'j, 'a>(&self, root: &'j Json<'a>) -> Result<Found<'j, 'a>, Absent> {
        let mut found = vec![root];
        let mut definite = true;
        let mut anywhere = false;
        for step in &self.steps {
            if *step == Step::Anywhere {
                (definite, anywhere) = (false, true);
                continue;
            }
            if anywhere {
                found = found.into_iter().flat_map(at_any_depth).collect();
                anywhere = false;
            }
            found = if !step.is_definite() {
                let listed = matches!(step, Step::Elements(_) | Step::Slice(..));
                if definite && listed && !matches!(found[0], Json::Array(_)) {
                    return Err(Absent);
                }
                definite = false;
                let all = found.into_iter().flat_map(|value| step.of_many(value));
                all.collect()
            } else if definite {
                vec![step.of_one(found[0]).ok_or(Absent)?]
            } else {
                let there = found.into_iter().filter_map(|value| step.of_one(value));
                there.collect()
            };
        }
        Ok(match self.is_definite() {
            true => Found::One(found[0]),
            false => Found::Many(found),
        })
    }
}

impl Step {
    /// Whether it leads from one value to one.
    fn is_definite(&self) -> bool {
        matches!(self, Step::Member(_) | Step::Element(_))
    }

    fn of_one<'j, 'a>(&self, value: &'j Json<'a>) -> Option<&'j Json<'a>> {
        match (self, value) {
            (Step::Member(key), value) => value.member(key),
            (Step::Element(at), Json::Array(elements)) => element(elements, *at),
            _ => None,
        }
    }

    fn of_many<'j, 'a>(&self, value: &'j Json<'a>) -> Vec<&'j Json<'a>> {
        match (self, value) {
            (Step::All, Json::Array(elements)) => elements.iter().collect(),
            (Step::All, Json::Object(members)) => members.iter().map(|(_, value)| value).collect(),
            (Step::Elements(places), Json::Array(elements)) => places
                .iter()
                .filter_map(|at| element(elements, *at))
                .collect(),
            (Step::Slice(from, to), Json::Array(elements)) => {
                let count = elements.len();
                let place = |at: i64| match usize::try_from(at) {
                    Ok(at) => at.min(count),
                    Err(_) => count.saturating_sub(usize::try_from(-at).unwrap_or(count)),
                };
                let (from, to) = (from.map_or(0, place), to.map_or(count, place));
                elements.get(from..to).unwrap_or_default().iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

fn element<'j, 'a>(elements: &'j [Json<'a>], at: i64) -> Option<&'j Json<'a>> {
    let count = i64::try_from(elements.len()).ok()?;
    let at = if at < 0 { at + count } else { at };
    elements.get(usize::try_from(at).ok()?)
}

/// The value and all within it, from the outside.
fn at_any_depth<'j, 'a>(value: &'j Json<'a>) -> Vec<&'j Json<'a>> {
    let mut found = vec![value];
    let mut next = 0;
    while next < found.len() {
        found.extend(Step::All.of_many(found[next]));
        next += 1;
    }
    found
}

fn unsupported(what: &str) -> Problem {
    Problem::Unsupported(format!("{what} in a path into JSON is not supported"))
}

struct Reader<'p> {
    rest: &'p str,
}

impl Reader<'_> {
    fn steps(mut self) -> Result<Vec<Step>, Problem> {
        let mut steps = Vec::new();
        if self.rest.is_empty() {
            return Err(Problem::Invalid);
        }
        if !self.eat("$") {
            // `x` is `$.x`.
            steps.push(self.member()?);
        }
        while !self.rest.is_empty() {
            if self.eat("..") {
                steps.push(Step::Anywhere);
                if !self.rest.starts_with('[') {
                    steps.push(self.member()?);
                }
            } else if self.eat(".") {
                steps.push(self.member()?);
            } else if self.eat("[") {
                steps.push(self.subscript()?);
            } else {
                return Err(Problem::Invalid);
            }
        }
        if steps.last() == Some(&Step::Anywhere) {
            return Err(Problem::Invalid);
        }
        Ok(steps)
    }

    fn eat(&mut self, sign: &str) -> bool {
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn member(&mut self) -> Result<Step, Problem> {
        if self.eat("*") {
            return Ok(Step::All);
        }
        let end = self
            .rest
            .find(['.', '[', '(', ' '])
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() {
            return Err(Problem::Invalid);
        }
        if rest.starts_with('(') {
            return Err(unsupported(&format!("the function {name}()")));
        }
        self.rest = rest;
        Ok(Step::Member(name.to_string()))
    }

    fn subscript(&mut self) -> Result<Step, Problem> {
        self.rest = self.rest.trim_start();
        if self.rest.starts_with('?') {
            return Err(unsupported("a filter"));
        }
        let step = if self.eat("*") {
            Step::All
        } else if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            Step::Member(self.quoted(quote)?)
        } else {
            self.places()?
        };
        self.rest = self.rest.trim_start();
        if self.rest.starts_with(',') {
            return Err(unsupported("a list of members"));
        }
        if !self.eat("]") {
            return Err(Problem::Invalid);
        }
        Ok(step)
    }

    fn quoted(&mut self, quote: char) -> Result<String, Problem> {
        let mut name = String::new();
        let mut chars = self.rest[1..].char_indices();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.rest = &self.rest[at + 2..];
                return Ok(name);
            }
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                c => name.push(c),
            }
        }
        Err(Problem::Invalid)
    }

    /// `0`, `-1`, `0, 2`, `1:3`, `:2`.
    fn places(&mut self) -> Result<Step, Problem> {
        let Some(end) = self.rest.find(']') else {
            return Err(Problem::Invalid);
        };
        let (inside, rest) = self.rest.split_at(end);
        self.rest = rest;
        let number = |text: &str| text.trim().parse::<i64>().map_err(|_| Problem::Invalid);
        if let Some((from, to)) = inside.split_once(':') {
            let side = |text: &str| (!text.trim().is_empty()).then(|| number(text)).transpose();
            return Ok(Step::Slice(side(from)?, side(to)?));
        }
        let places = inside
            .split(',')
            .map(number)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(match places[..] {
            [place] => Step::Element(place),
            _ => Step::Elements(places),
        })
    }
}
