//! No text may bring the planner down: every script is cut short behind each word, and loses each word in turn.
//!
//! A script of *n* words has 2 *n* such texts, and to plan each of them from end to end takes the square of its length. So a
//! statement is broken among those that it has to do with: what declares something that it names, what names something that it
//! declares, and the next one, which a lost `;` joins to it. And where its words alone are no statement any more, they are none
//! among others either: nobody looks around while a statement is parsed.

use super::{World, mistakes, plans};
use lw_sql::{StatementKind, plan_script, statements};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

#[test]
fn a_broken_plan_is_planned_or_refused() {
    all_survive(plans());
}

#[test]
fn a_broken_mistake_is_planned_or_refused() {
    all_survive(mistakes());
}

fn all_survive(cases: Vec<(String, String)>) {
    let mut tried = Tried::default();
    for (prelude, script) in &cases {
        tried.all_of(prelude, script);
    }
    let Tried {
        texts,
        among_others,
    } = tried;
    // Most are no statements any more, but not nearly all.
    assert!(
        among_others > texts.len() / 10,
        "{among_others} of {}",
        texts.len()
    );
}

/// A statement with what stands before it, up to its `;`.
struct Piece<'a> {
    text: &'a str,
    /// All words of it.
    names: BTreeSet<String>,
    /// Those of what it declares.
    declared: BTreeSet<String>,
    /// It is for all that follow.
    is_setting: bool,
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty()).map(str::to_lowercase)
}

impl<'a> Piece<'a> {
    fn new(kind: StatementKind, statement: &str, text: &'a str) -> Piece<'a> {
        let is_setting = !matches!(
            kind,
            StatementKind::Insert
                | StatementKind::StatementSet
                | StatementKind::Explain
                | StatementKind::Query
                | StatementKind::Show
        );
        let mut declared = BTreeSet::new();
        let mut all = words(statement).peekable();
        let creates = all.next_if(|word| word == "create").is_some();
        if creates {
            let noise = [
                "or",
                "replace",
                "temporary",
                "table",
                "view",
                "database",
                "catalog",
                "if",
                "not",
                "exists",
            ];
            // The name, with those of its database and catalog, and perhaps a column or an option more.
            let name = all.skip_while(|word| noise.contains(&word.as_str()));
            declared.extend(name.take(3));
        }
        Piece {
            text,
            names: words(statement).collect(),
            declared,
            is_setting: is_setting && !creates,
        }
    }

    /// The statements of a script; all of it is one where it cannot be cut.
    fn all(script: &'a str) -> Vec<Piece<'a>> {
        let Ok(found) = statements(script) else {
            return vec![Piece::new(StatementKind::Other, script, script)];
        };
        let (mut pieces, mut from) = (Vec::new(), 0);
        for (n, statement) in found.iter().enumerate() {
            let next = found
                .get(n + 1)
                .map_or(script.len(), |next| next.span.start);
            let behind = &script[statement.span.end..next];
            let to = statement.span.end + behind.find(';').map_or(behind.len(), |at| at + 1);
            let text = &script[from..to];
            pieces.push(Piece::new(statement.kind, statement.text, text));
            from = to;
        }
        pieces
    }
}

/// The pieces that a statement has to do with.
fn around(pieces: &[Piece<'_>], at: usize) -> Vec<bool> {
    let mut is_near = vec![false; pieces.len()];
    let mut declared = pieces[at].declared.clone();
    for (n, piece) in pieces.iter().enumerate().skip(at) {
        let names_it = !piece.names.is_disjoint(&declared);
        if n <= at + 1 || names_it || pieces[at].is_setting {
            is_near[n] = true;
            declared.extend(piece.declared.iter().cloned());
        }
    }
    let near = pieces.iter().zip(&is_near).filter(|(_, is_near)| **is_near);
    let mut names: BTreeSet<&String> = near.flat_map(|(piece, _)| &piece.names).collect();
    for (n, piece) in pieces.iter().enumerate().rev() {
        let is_named = piece.declared.iter().any(|name| names.contains(name));
        if is_near[n] || piece.is_setting || is_named {
            is_near[n] = true;
            names.extend(&piece.names);
        }
    }
    is_near
}

#[derive(Default)]
struct Tried {
    /// Whether they are statements by their words.
    texts: HashMap<String, bool>,
    /// How many that were so by themselves were planned among others.
    among_others: usize,
}

impl Tried {
    /// Breaks each statement of a script behind `prelude`.
    fn all_of(&mut self, prelude: &str, script: &str) {
        let (before, own) = (Piece::all(prelude), Piece::all(script));
        let first = before.len();
        let pieces: Vec<Piece<'_>> = before.into_iter().chain(own).collect();
        for at in first..pieces.len() {
            let is_near = around(&pieces, at);
            let joined = |range: Range<usize>| -> String {
                let near = range.filter(|n| is_near[*n]);
                near.map(|n| pieces[n].text).collect()
            };
            let (before, after) = (joined(0..at), joined(at + 1..pieces.len()));
            let text = pieces[at].text;
            let mut last = 0;
            for (place, _) in text.match_indices([' ', '(', ')', ',', ';', '\'']) {
                self.try_among(&before, &text[..place], "");
                let lost = format!("{}{}", &text[..last], &text[place..]);
                self.try_among(&before, &lost, &after);
                last = place;
            }
            // Without it, and with nothing behind it.
            let all = |range: Range<usize>| -> String { range.map(|n| pieces[n].text).collect() };
            self.survives(all(0..at) + &all(at + 1..pieces.len()));
            self.survives(all(0..at + 1));
        }
    }

    fn try_among(&mut self, before: &str, broken: &str, after: &str) {
        // A quote that is open takes in what follows.
        let is_open = broken.matches('\'').count() % 2 == 1;
        if self.survives(broken.to_string()) || is_open {
            self.among_others += 1;
            self.survives(format!("{before}{broken}{after}"));
        }
    }

    /// Plans a text. Says whether its statements are such by their words.
    fn survives(&mut self, text: String) -> bool {
        if let Some(known) = self.texts.get(&text) {
            return *known;
        }
        let parses = match plan_script(&text, "broken.sql", &World) {
            Ok(_) => true,
            Err(diagnostics) => {
                assert!(!diagnostics.render("broken.sql", &text).is_empty());
                let mut codes = diagnostics.0.iter().map(|diagnostic| &diagnostic.code);
                !codes.any(|code| code == "syntax")
            }
        };
        self.texts.insert(text, parses);
        parses
    }
}
