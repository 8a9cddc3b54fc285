//! How far an expression reaches and how deep its tree would be, found in one pass over its tokens.
//!
//! Parsing, typing, comparing and dropping a tree are recursive, and a stack has an end. So the depth is known before anything
//! recursive sees the text: each bracket and each `CASE` is a level, and `a + b + c` nests to the left, one level per
//! operator. AND and OR count for themselves, because the planner flattens their chains.

use crate::script::is_word;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// Brackets and CASEs within each other. `sqlparser` tries several readings of a bracket, each level doubling the work.
const NESTED: usize = 32;
pub(super) const OPERATORS: usize = 120;
pub(super) const CONDITIONS: usize = 300;

/// Where the text to be read ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// The comma or bracket behind an element of a list.
    Element,
    /// The `;` or the end of the statement.
    Statement,
}

/// What is too much, and the token with which it became so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooDeep {
    pub at: usize,
    pub why: Why,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Why {
    Nested,
    Operators,
    Conditions,
}

/// What is open: depths of trees over the tokens so far.
#[derive(Clone, Copy, Default)]
struct Level {
    case: bool,
    /// Operators since the last separator: each puts what stands before it one level down.
    operators: usize,
    conditions: usize,
    /// Deepest bracket since the last separator.
    inner: usize,
    /// Deepest tree before the last separator.
    deepest: usize,
}

impl Level {
    fn separator(&mut self) {
        self.deepest = self.depth();
        (self.operators, self.inner) = (0, 0);
    }

    fn depth(&self) -> usize {
        self.deepest.max(self.operators + self.inner)
    }
}

/// The number of tokens up to the end.
pub(super) fn measure(tokens: &[TokenWithSpan], until: Until) -> Result<usize, TooDeep> {
    let mut levels = vec![Level::default()];
    for (at, token) in tokens.iter().enumerate() {
        let outermost = levels.len() == 1;
        let level = levels.last_mut().expect("the outermost level stays");
        match role(token) {
            Role::End => return Ok(at),
            Role::Comma | Role::Close if outermost && until == Until::Element => return Ok(at),
            Role::Open | Role::Case => levels.push(Level {
                case: role(token) == Role::Case,
                ..Level::default()
            }),
            Role::Close | Role::CaseEnd
                if !outermost && level.case == (role(token) == Role::CaseEnd) =>
            {
                let depth = level.depth() + 1;
                levels.pop();
                let around = levels.last_mut().expect("not the outermost was closed");
                around.inner = around.inner.max(depth);
            }
            Role::Comma => {
                level.separator();
                level.conditions = 0;
            }
            Role::Clause if !is_distinct_from(tokens, at) => level.separator(),
            Role::Condition => {
                level.separator();
                level.conditions += 1;
            }
            Role::Operator => level.operators += 1,
            Role::Close | Role::CaseEnd | Role::Clause | Role::Operand => {}
        }
        let level = levels.last().expect("the outermost level stays");
        let too_deep = |why| Err(TooDeep { at, why });
        if levels.len() > NESTED {
            return too_deep(Why::Nested);
        } else if level.conditions > CONDITIONS {
            return too_deep(Why::Conditions);
        } else if level.depth() > OPERATORS {
            return too_deep(Why::Operators);
        }
    }
    Ok(tokens.len())
}

/// A FROM that is a part of `IS [NOT] DISTINCT FROM`, and begins nothing.
fn is_distinct_from(tokens: &[TokenWithSpan], at: usize) -> bool {
    let before = |n: usize, words: &[&str]| {
        let token = at.checked_sub(n).map(|at| &tokens[at]);
        token.is_some_and(|token| words.iter().any(|word| is_word(token, word)))
    };
    is_word(&tokens[at], "FROM") && before(1, &["DISTINCT"]) && before(2, &["IS", "NOT"])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Open,
    Close,
    Case,
    CaseEnd,
    Comma,
    /// A word that begins another expression.
    Clause,
    /// AND, OR, and what else chains queries and tables.
    Condition,
    Operator,
    Operand,
    End,
}

fn role(token: &TokenWithSpan) -> Role {
    let one_of = |words: &[&str]| words.iter().any(|word| is_word(token, word));
    match &token.token {
        Token::SemiColon | Token::EOF => Role::End,
        Token::LParen | Token::LBracket | Token::LBrace => Role::Open,
        Token::RParen | Token::RBracket | Token::RBrace => Role::Close,
        Token::Comma => Role::Comma,
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::HexStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::NationalStringLiteral(_) => Role::Operand,
        Token::Word(word) if word.quote_style.is_some() => Role::Operand,
        Token::Word(_) if one_of(&["CASE"]) => Role::Case,
        Token::Word(_) if one_of(&["END"]) => Role::CaseEnd,
        Token::Word(_) if one_of(&["WHEN", "THEN", "ELSE", "SELECT", "FROM", "WHERE"]) => {
            Role::Clause
        }
        Token::Word(_) if one_of(&["AND", "OR", "UNION", "EXCEPT", "INTERSECT", "JOIN"]) => {
            Role::Condition
        }
        Token::Word(_) if one_of(OPERATOR_WORDS) => Role::Operator,
        Token::Word(_) => Role::Operand,
        // Also the period: a chain of field accesses is a tree in some readings.
        _ => Role::Operator,
    }
}

const OPERATOR_WORDS: &[&str] = &[
    "NOT", "IS", "LIKE", "BETWEEN", "IN", "COLLATE", "AT", "SIMILAR", "RLIKE", "ILIKE", "ESCAPE",
    "OVER", "ISNULL", "NOTNULL", "DIV", "XOR", "REGEXP", "OVERLAPS", "MINUS", "INTERVAL", "EXISTS",
];
