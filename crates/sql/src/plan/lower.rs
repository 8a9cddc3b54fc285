//! Relations over one scan into one job graph: what is read, computed and written, each once.
//!
//! 1. *Fuse* (`fuse`). All projections, filters and watermarks between the scan and the first operator with state, between two of
//!    those, and up to a sink, become expressions over the columns of what is below (`arena`): the conditions, one behind the other,
//!    and what is read above. That merges projections and filters, and moves filters below projections, where Flink's rules have
//!    them too.
//! 2. *Prune* (`prune`). An operator gives what somebody reads, the source too. Then each operator with state has its uid.
//! 3. *Share.* An expression that is used more than once is computed once, as a column of a projection below the first operator
//!    that needs it; unless that would compute it for a row for which nobody does (behind `CASE`, the right side of `AND`) and it
//!    may fail there.
//! 4. The watermark stands above the source and below every filter: rows that no query keeps move event time too.

mod fuse;
mod prune;

use self::fuse::{Computed, Fused, Segment, Stage, Watermark};
use self::prune::Lineage;
use super::algebra::Relation;
use super::arena::{Arena, Form, Id};
use crate::Result;
use crate::catalog::ColumnSource;
use crate::connector::key_name;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, Field, JobGraph, Node, NodeId, Operator, OperatorUid};
use lw_graph::{Schema, SinkSpec, SourceColumn, SourceSpec, TypeKind};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

/// What one INSERT writes, and where.
pub(super) struct Branch {
    pub relation: Relation,
    pub schema: Schema,
    pub sink: SinkSpec,
    /// `namespace.table` of an Iceberg sink, `database.table` of any other.
    pub table: String,
    /// Where the INSERT stands.
    pub span: Span,
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Sink({})", self.table)?;
        for (at, line) in self.relation.to_string().lines().enumerate() {
            let indent = if at == 0 { "+- " } else { "   " };
            writeln!(f, "{indent}{line}")?;
        }
        Ok(())
    }
}

/// Copies of expressions that could not be shared.
const MOST_COPIES: usize = 100_000;
const MOST_LEVELS: usize = 200;

/// The graph, and the sink of each branch in their order. All branches read the same scan.
///
/// # Errors
/// An expression that grows beyond all bounds where its parts cannot be shared.
pub(super) fn lower(source: &SourceSpec, branches: &[&Branch]) -> Result<(JobGraph, Vec<NodeId>)> {
    let mut fused = Fused::new();
    let mut computed: Vec<Computed> = branches
        .iter()
        .map(|branch| fused.branch(&branch.relation))
        .collect::<Result<_>>()?;
    for branch in &mut computed {
        let mut lineage = scanned(source, &branches[0].relation, &fused);
        for at in 0..branch.stages.len() {
            let above = &fused.arenas[branch.above(at).arena];
            let stage = &mut branch.stages[at];
            lineage.name(stage, &fused.arenas[stage.below.arena], above);
        }
    }
    let mut assembly = Assembly::new(&fused.arenas, branches[0].span);
    let bottoms: Vec<&Segment> = computed.iter().map(Computed::bottom).collect();
    let later: Vec<Id> = bottoms.iter().flat_map(|bottom| bottom.roots()).collect();
    let stem = assembly.source(
        source.clone(),
        &branches[0].relation,
        fused.watermark,
        &later,
    );
    let stem = assembly.watermark(stem, fused.watermark, &later)?;
    let stem = assembly.fork(stem, &bottoms)?;
    let mut sinks = Vec::new();
    for (branch, computed) in branches.iter().zip(&computed) {
        assembly.begin(branch.span);
        sinks.push(assembly.branch(stem.clone(), computed, branch)?);
    }
    let nodes = assembly.nodes;
    Ok((JobGraph { nodes }, sinks))
}

/// What the uids over a scan begin with: what is read and how its event time comes on. Where reading begins and how far it goes, and
/// under which address the topics are reached, is no part of it.
fn scanned(source: &SourceSpec, relation: &Relation, fused: &Fused) -> Lineage {
    let table = &relation.source().table;
    let positions = &relation.source().positions;
    let base = positions.iter().enumerate().map(|(index, position)| {
        let column = &table.columns[*position];
        let text = match &column.source {
            ColumnSource::Metadata(key) => format!("metadata {}", key_name(*key)),
            _ => format!("value {} {}", column.name, column.ty),
        };
        (index, text)
    });
    let base: HashMap<usize, String> = base.collect();
    let watermark = fused.watermark.map(|Watermark { column, expression }| {
        let mut digests = fused.arenas[0].digests(&base);
        format!("{} {}", digests.of(column), digests.of(expression))
    });
    let connector = match source {
        SourceSpec::Kafka(_) => "kafka",
        SourceSpec::Datagen(_) => "datagen",
    };
    let topics = source.topics().join(",");
    let below = format!(
        "{connector} {topics} watermark {}",
        watermark.unwrap_or_default()
    );
    Lineage::new(base, below)
}

/// A place in the graph above which something is to be computed.
#[derive(Clone)]
struct Place {
    node: NodeId,
    /// What the node's columns are.
    columns: Vec<Id>,
    /// Where each of them is.
    at: HashMap<Id, usize>,
}

impl Place {
    fn new(node: NodeId, columns: Vec<Id>) -> Place {
        let at = columns.iter().copied().zip(0..).collect();
        Place { node, columns, at }
    }
}

/// The nodes of a job while they are put together.
struct Assembly<'a> {
    arenas: &'a [Arena],
    /// Of the stage that is being put together.
    arena: &'a Arena,
    /// The operators with state that are there already.
    known: HashMap<OperatorUid, NodeId>,
    /// The INSERT that is being lowered.
    span: Span,
    nodes: Vec<Node>,
    written: HashSet<Id>,
    copies: usize,
}

/// What is computed from one place upwards.
#[derive(Clone, Copy)]
struct Ahead<'a> {
    /// By the operators that come next.
    now: &'a [Id],
    /// By those behind them.
    later: &'a [Id],
    /// Whether those that come next compute all of it for every row.
    every_row: bool,
    /// What is a column in any case.
    must: Option<Id>,
}

impl<'a> Ahead<'a> {
    fn new(now: &'a [Id], later: &'a [Id]) -> Ahead<'a> {
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

impl<'a> Assembly<'a> {
    fn new(arenas: &'a [Arena], span: Span) -> Assembly<'a> {
        Assembly {
            arenas,
            arena: &arenas[0],
            known: HashMap::new(),
            span,
            nodes: Vec::new(),
            written: HashSet::new(),
            copies: 0,
        }
    }

    /// From here on an expression that cannot be shared is counted for this INSERT.
    fn begin(&mut self, insert: Span) {
        self.span = insert;
        self.copies = 0;
        self.enter(0);
    }

    /// What follows is over what another operator gives.
    fn enter(&mut self, arena: usize) {
        self.arena = &self.arenas[arena];
        self.written.clear();
    }

    /// The source, with the columns that something reads.
    fn source(
        &mut self,
        mut source: SourceSpec,
        relation: &Relation,
        watermark: Option<Watermark>,
        later: &[Id],
    ) -> Place {
        let scan = relation.source();
        let watermark = watermark.map(|watermark| [watermark.column, watermark.expression]);
        let roots = watermark.into_iter().flatten().chain(later.iter().copied());
        let mut read: BTreeMap<usize, Id> = BTreeMap::new();
        for id in self.reached(roots, |_| false) {
            if let Form::Column(index, _) = &self.arena.node(id).form {
                read.insert(scan.positions[*index], id);
            }
        }
        let values: HashMap<&str, usize> = source.value_schema().names().zip(0..).collect();
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        if read.is_empty() {
            // A query of constants still has one row per record.
            let first = source.value_schema().fields.first();
            fields.extend(first.cloned());
            columns.extend(first.map(|_| SourceColumn::Value(0)));
        }
        for (position, id) in &read {
            let column = &scan.table.columns[*position];
            columns.push(match &column.source {
                ColumnSource::Metadata(key) => SourceColumn::Metadata(*key),
                _ => SourceColumn::Value(values[column.name.as_str()]),
            });
            fields.push(Field::new(
                column.name.clone(),
                self.arena.node(*id).ty.clone(),
            ));
        }
        source.set_columns(columns);
        let operator = Operator::Source(source);
        let node = self.push(operator, None, Schema::new(fields));
        Place::new(node, read.into_values().collect())
    }

    fn watermark(
        &mut self,
        stem: Place,
        watermark: Option<Watermark>,
        later: &[Id],
    ) -> Result<Place> {
        let Some(Watermark { column, expression }) = watermark else {
            return Ok(stem);
        };
        let now = [column, expression];
        let stem = self.share(
            stem,
            &Ahead {
                must: Some(column),
                ..Ahead::new(&now, later)
            },
        )?;
        let operator = Operator::Watermark {
            column: stem.at[&column],
            expression: self.expr(expression, &stem)?,
        };
        self.over(stem, operator)
    }

    fn branch(&mut self, stem: Place, computed: &Computed, branch: &Branch) -> Result<NodeId> {
        let mut place = stem;
        for (at, stage) in computed.stages.iter().enumerate() {
            place = self.stage(place, stage, computed.above(at).arena)?;
        }
        let top = &computed.top;
        place = self.kept(place, top)?;
        place = self.share(place, &Ahead::new(&top.columns, &[]))?;
        let columns = top.columns.iter();
        let columns = columns.map(|id| self.expr(*id, &place));
        let project = Operator::Project(columns.collect::<Result<_>>()?);
        let node = self.push(project, Some(place.node), branch.schema.clone());
        let sink = Operator::Sink(branch.sink.clone());
        Ok(self.push(sink, Some(node), branch.schema.clone()))
    }

    /// Only rows for which the condition is TRUE.
    fn kept(&mut self, place: Place, segment: &Segment) -> Result<Place> {
        let Some(condition) = segment.condition else {
            return Ok(place);
        };
        let place = self.share(place, &Ahead::new(&[condition], &segment.columns))?;
        let operator = Operator::Filter(self.expr(condition, &place)?);
        self.over(place, operator)
    }

    /// An operator with state, over a projection of what it reads. One that another branch has is not there twice: it is the same
    /// state.
    fn stage(&mut self, place: Place, stage: &Stage, above: usize) -> Result<Place> {
        if let Some(node) = self.known.get(&stage.uid).copied() {
            self.enter(above);
            return Ok(Place::new(node, stage.gives.clone()));
        }
        let below = &stage.below;
        let place = self.kept(place, below)?;
        let place = self.share(place, &Ahead::new(&below.columns, &[]))?;
        let place = match place.columns == below.columns {
            true => place,
            false => self.project(&place, below.columns.clone())?,
        };
        let input = self.nodes[place.node].schema.clone();
        self.enter(above);
        let schema = self.given(stage, &input);
        let node = self.push(stage.operator.clone(), Some(place.node), schema);
        self.known.insert(stage.uid, node);
        Ok(Place::new(node, stage.gives.clone()))
    }

    /// The columns of an operator with state. An aggregate may be NULL whatever its type says: a sum of DECIMALs that is too long.
    fn given(&self, stage: &Stage, input: &Schema) -> Schema {
        let passed = match &stage.operator {
            Operator::WindowAggregate { keys, .. } => {
                keys.iter().map(|key| input.fields[*key].clone()).collect()
            }
            _ => input.fields.clone(),
        };
        let calls = match &stage.operator {
            Operator::WindowAggregate { aggregates, .. } | Operator::Over { aggregates, .. } => {
                aggregates.len()
            }
            _ => 0,
        };
        let mut names: HashSet<String> = passed.iter().map(|field| field.name.clone()).collect();
        let mut fields = passed;
        for (at, id) in stage.gives.iter().skip(fields.len()).enumerate() {
            let node = self.arena.node(*id);
            let Form::Column(_, own) = &node.form else {
                unreachable!("what an operator gives is a column to those above");
            };
            let wanted = node.name.as_ref().unwrap_or(own);
            let name = free_name(Some(wanted), &names);
            names.insert(name.clone());
            let counts = node.ty.kind == TypeKind::BigInt && !node.ty.nullable;
            let ty = node.ty.clone();
            fields.push(Field::new(
                name,
                match at < calls && !counts {
                    true => ty.with_nullable(true),
                    false => ty,
                },
            ));
        }
        Schema::new(fields)
    }

    /// An operator that gives what it is given.
    fn over(&mut self, place: Place, operator: Operator) -> Result<Place> {
        let schema = self.nodes[place.node].schema.clone();
        let node = self.push(operator, Some(place.node), schema);
        Ok(Place { node, ..place })
    }

    /// What several branches need is computed below the place where they part, if it cannot fail: a row that one of them has no use
    /// for must not be lost to the others.
    fn fork(&mut self, stem: Place, branches: &[&Segment]) -> Result<Place> {
        if branches.len() == 1 {
            return Ok(stem);
        }
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for branch in branches {
            match branch.condition {
                Some(condition) => {
                    now.push(condition);
                    later.extend(&branch.columns);
                }
                None => now.extend(&branch.columns),
            }
        }
        let ahead = Ahead {
            every_row: false,
            ..Ahead::new(&now, &later)
        };
        self.share(stem, &ahead)
    }

    /// Makes columns of what is used more than once ahead of a place, and by the operators that come next. What is made of another
    /// such column takes a projection of its own.
    fn share(&mut self, mut place: Place, ahead: &Ahead<'_>) -> Result<Place> {
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

    fn project(&mut self, below: &Place, columns: Vec<Id>) -> Result<Place> {
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
        let node = self.push(project, Some(below.node), Schema::new(fields));
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
    fn reached(&self, roots: impl Iterator<Item = Id>, have: impl Fn(&Id) -> bool) -> Vec<Id> {
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
    fn expr(&mut self, id: Id, place: &Place) -> Result<Expr> {
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

    fn push(&mut self, operator: Operator, input: Option<NodeId>, schema: Schema) -> NodeId {
        self.nodes.push(Node {
            operator,
            inputs: input.into_iter().collect(),
            schema,
        });
        self.nodes.len() - 1
    }
}

/// The name that a query gives, else a number; and a number behind it where it is taken.
fn free_name(wanted: Option<&str>, taken: &HashSet<String>) -> String {
    let wanted = wanted.unwrap_or_default();
    let numbered = (1..).map(|n| format!("{wanted}${n}"));
    let plain = Some(wanted.to_string()).filter(|name| !name.is_empty());
    let mut names = plain.into_iter().chain(numbered);
    names
        .find(|name| !taken.contains(name))
        .expect("there is always a number more")
}
