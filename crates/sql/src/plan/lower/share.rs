//! What is used more than once is computed once, as a column of a projection below the first operator that needs it.
//!
//! Unless that would compute it for a row for which nobody does, and it may fail there: then each user computes it anew, within bounds.

use super::super::arena::Id;
use super::{Assembly, Place, free_name};
use crate::Result;
use crate::diagnostic::Diagnostic;
use lw_graph::{Expr, Field, Operator, Schema};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Copies of expressions that could not be shared.
const MOST_COPIES: usize = 100_000;
const MOST_LEVELS: usize = 200;

/// What is computed from one place upwards.
#[derive(Clone, Copy)]
pub(super) struct Ahead<'a> {
    /// By the operators that come next.
    pub now: &'a [Id],
    /// By those behind them.
    pub later: &'a [Id],
    /// Whether those that come next compute all of it for every row.
    pub every_row: bool,
    /// What is a column in any case.
    pub must: Option<Id>,
}

impl<'a> Ahead<'a> {
    pub(super) fn new(now: &'a [Id], later: &'a [Id]) -> Ahead<'a> {
        Ahead {
            now,
            later,
            every_row: true,
            must: None,
        }
    }
}

/// How a node is used from one place upwards.
#[derive(Default)]
struct Uses {
    count: usize,
    /// By the operator that comes next.
    now: bool,
    /// By the operator that comes next, for each of its rows.
    certain: bool,
}

impl Assembly<'_> {
    /// Makes columns of what is used more than once ahead of a place, and by the operators that come next. What is made of another
    /// such column takes a projection of its own.
    pub(super) fn share(&mut self, mut place: Place, ahead: &Ahead<'_>) -> Result<Place> {
        let Ahead { now, later, .. } = *ahead;
        let picked = self.picked(&place, ahead);
        let mut levels: BTreeMap<usize, Vec<Id>> = BTreeMap::new();
        for (id, level) in self.levels(&place, &picked) {
            levels.entry(level).or_default().push(id);
        }
        while let Some((_, made)) = levels.pop_first() {
            let made_now: HashSet<Id> = made.iter().copied().collect();
            let above = levels.values().flatten().flat_map(|id| {
                let operands = self.arena.node(*id).form.operands();
                operands.into_iter().map(|(operand, _)| operand)
            });
            let roots = now.iter().chain(later).copied().chain(above);
            let have = |id: &Id| place.at.contains_key(id) || made_now.contains(id);
            let needed: HashSet<Id> = self.reached(roots, have).into_iter().collect();
            let kept = place.columns.iter().filter(|id| needed.contains(id));
            let columns = kept.copied().chain(made).collect();
            place = self.project(&place, columns)?;
        }
        Ok(place)
    }

    pub(super) fn project(&mut self, below: &Place, columns: Vec<Id>) -> Result<Place> {
        let given = &self.nodes[below.node].schema.fields;
        let mut names: HashSet<String> = HashSet::new();
        let mut fields: Vec<Field> = Vec::new();
        for id in &columns {
            let node = self.arena.node(*id);
            let field = match below.at.get(id) {
                Some(at) => given[*at].clone(),
                // Arithmetic that is NOT NULL by its type may be NULL; whether it may be, its users say.
                None => Field::new(
                    free_name(node.name.as_deref(), &names),
                    node.ty.clone().with_nullable(true),
                ),
            };
            names.insert(field.name.clone());
            fields.push(field);
        }
        let exprs = columns.iter().map(|id| self.expr(*id, below));
        let project = Operator::Project(exprs.collect::<Result<_>>()?);
        let node = self.push(project, vec![below.node], Schema::new(fields));
        Ok(Place::new(node, columns))
    }

    fn picked(&self, place: &Place, ahead: &Ahead<'_>) -> BTreeSet<Id> {
        let mut uses: BTreeMap<Id, Uses> = BTreeMap::new();
        for (roots, next) in [(ahead.now, true), (ahead.later, false)] {
            for id in roots {
                let of = uses.entry(*id).or_default();
                of.count += 1;
                of.now |= next;
                of.certain |= next && ahead.every_row;
            }
        }
        let mut picked = BTreeSet::new();
        // Users before what they use.
        while let Some((id, of)) = uses.pop_last() {
            let node = self.arena.node(id);
            if place.at.contains_key(&id) {
                continue;
            }
            let shared = of.count > 1 && of.now && node.computed && (of.certain || !node.fails);
            let pick = shared || ahead.must == Some(id);
            if pick {
                picked.insert(id);
            }
            let computed = of.certain || pick;
            for (operand, certain) in node.form.operands() {
                let operand = uses.entry(operand).or_default();
                // What is not made a column is computed anew by each user.
                let times = if pick { 1 } else { of.count };
                operand.count = operand.count.saturating_add(times);
                operand.now |= of.now;
                operand.certain |= computed && certain;
            }
        }
        picked
    }

    /// On how many of the others each of these stands.
    fn levels(&self, place: &Place, picked: &BTreeSet<Id>) -> Vec<(Id, usize)> {
        let have = |id: &Id| place.at.contains_key(id);
        let mut below: HashMap<Id, usize> = HashMap::new();
        let mut reached = self.reached(picked.iter().copied(), have);
        reached.sort_unstable();
        for id in &reached {
            let operands = self.arena.node(*id).form.operands();
            let operands = operands.into_iter().filter(|_| !have(id));
            let level = operands.map(|(operand, _)| {
                below.get(&operand).copied().unwrap_or(0) + usize::from(picked.contains(&operand))
            });
            let level = level.max().unwrap_or(0);
            below.insert(*id, level);
        }
        picked.iter().map(|id| (*id, below[id])).collect()
    }

    /// What is used in computing these, themselves included, down to what is there.
    pub(super) fn reached(
        &self,
        roots: impl Iterator<Item = Id>,
        have: impl Fn(&Id) -> bool,
    ) -> Vec<Id> {
        let mut reached = HashSet::new();
        let mut open: Vec<Id> = roots.collect();
        let mut found = Vec::new();
        while let Some(id) = open.pop() {
            if !reached.insert(id) {
                continue;
            }
            found.push(id);
            if !have(&id) {
                let operands = self.arena.node(id).form.operands();
                open.extend(operands.into_iter().map(|(operand, _)| operand));
            }
        }
        found
    }

    /// An expression over the columns of a place.
    pub(super) fn expr(&mut self, id: Id, place: &Place) -> Result<Expr> {
        self.write(id, place, 0)
    }

    fn write(&mut self, id: Id, place: &Place, level: usize) -> Result<Expr> {
        let arena = self.arena;
        let node = arena.node(id);
        if let Some(index) = place.at.get(&id) {
            return Ok(Expr::Column {
                index: *index,
                name: self.nodes[place.node].schema.fields[*index].name.clone(),
                ty: node.ty.clone(),
            });
        }
        self.copies += usize::from(!self.written.insert(id) && node.computed);
        if self.copies > MOST_COPIES {
            return Err(self.too_long(format!("{MOST_COPIES} parts")));
        }
        if level == MOST_LEVELS {
            return Err(self.too_long(format!("{MOST_LEVELS} levels")));
        }
        arena.expr(id, |operand| self.write(operand, place, level + 1))
    }

    fn too_long(&self, what: String) -> Diagnostic {
        let message = format!("the expression has grown to more than {what}");
        Diagnostic::error("too-long", self.span, message)
            .detail("A column of a view or a subquery that may fail is computed anew wherever not every row needs it.")
            .hint("land the inner query in a table of its own")
    }
}
