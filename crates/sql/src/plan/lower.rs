//! Relations over one scan into one job graph: what is read, computed and written, each once.
//!
//! 1. *Fuse.* All projections, filters and watermarks between the scan and a sink become expressions over the scan's columns
//!    (`arena`): the conditions of a branch, one behind the other, and what it writes. That merges projections and filters, and
//!    moves filters below projections, where Flink's rules have them too.
//! 2. *Prune.* The source gives what some expression reads.
//! 3. *Share.* An expression that is used more than once is computed once, as a column of a projection below the first operator
//!    that needs it; unless that would compute it for a row for which nobody does (behind `CASE`, the right side of `AND`) and it
//!    may fail there.
//! 4. The watermark stands above the source and below every filter: rows that no query keeps move event time too.

use super::algebra::{Algebra, Relation};
use super::arena::{Arena, Form, Id};
use crate::Result;
use crate::catalog::ColumnSource;
use crate::diagnostic::{Diagnostic, Span};
use lw_graph::{Expr, Field, JobGraph, KafkaSource, Node, NodeId, Operator, Schema};
use lw_graph::{SinkSpec, SourceColumn, SourceSpec};
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
pub(super) fn lower(source: &KafkaSource, branches: &[&Branch]) -> Result<(JobGraph, Vec<NodeId>)> {
    let mut fused = Fused::default();
    let computed: Vec<Computed> = branches
        .iter()
        .map(|branch| fused.branch(&branch.relation))
        .collect();
    let mut assembly = Assembly::new(&fused.arena, branches[0].span);
    let later: Vec<Id> = computed.iter().flat_map(Computed::roots).collect();
    let stem = assembly.source(
        source.clone(),
        &branches[0].relation,
        fused.watermark,
        &later,
    );
    let stem = assembly.watermark(stem, fused.watermark, &later)?;
    let stem = assembly.fork(stem, &computed)?;
    let mut sinks = Vec::new();
    for (branch, computed) in branches.iter().zip(&computed) {
        assembly.begin(branch.span);
        sinks.push(assembly.branch(stem.clone(), computed, branch)?);
    }
    let nodes = assembly.nodes;
    Ok((JobGraph { nodes }, sinks))
}

/// All that is computed, in one arena.
#[derive(Default)]
struct Fused {
    arena: Arena,
    watermark: Option<Watermark>,
}

#[derive(Clone, Copy)]
struct Watermark {
    column: Id,
    expression: Id,
}

/// What a branch computes.
struct Computed {
    condition: Option<Id>,
    columns: Vec<Id>,
}

impl Computed {
    fn roots(&self) -> impl Iterator<Item = Id> {
        self.condition
            .into_iter()
            .chain(self.columns.iter().copied())
    }
}

impl Fused {
    fn branch(&mut self, relation: &Relation) -> Computed {
        let mut conditions = Vec::new();
        let columns = self.fuse(relation, &mut conditions);
        Computed {
            condition: self.arena.all(&conditions),
            columns,
        }
    }

    fn fuse(&mut self, relation: &Relation, conditions: &mut Vec<Id>) -> Vec<Id> {
        match &relation.operator {
            Algebra::Scan(_) => {
                let columns = relation.columns.iter().enumerate();
                let columns = columns.map(|(index, column)| {
                    let ty = column.ty.as_ref().expect("a refused column is in no job");
                    self.arena.column(index, &column.name, ty)
                });
                columns.collect()
            }
            Algebra::Project(input, exprs) => {
                let input = self.fuse(input, conditions);
                let columns = exprs.iter().zip(&relation.columns).map(|(expr, column)| {
                    let id = self.arena.add(expr, &input);
                    self.arena.give_name(id, &column.name);
                    id
                });
                columns.collect()
            }
            Algebra::Filter(input, condition) => {
                let input = self.fuse(input, conditions);
                conditions.push(self.arena.add(condition, &input));
                input
            }
            Algebra::Watermark {
                input,
                column,
                expression,
            } => {
                let input = self.fuse(input, conditions);
                self.watermark = Some(Watermark {
                    column: input[*column],
                    expression: self.arena.add(expression, &input),
                });
                input
            }
        }
    }
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
    arena: &'a Arena,
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
    fn new(arena: &'a Arena, span: Span) -> Assembly<'a> {
        Assembly {
            arena,
            span,
            nodes: Vec::new(),
            written: HashSet::new(),
            copies: 0,
        }
    }

    /// From here on an expression that cannot be shared is counted for this INSERT.
    fn begin(&mut self, insert: Span) {
        self.span = insert;
        self.written.clear();
        self.copies = 0;
    }

    /// The source, with the columns that something reads.
    fn source(
        &mut self,
        mut source: KafkaSource,
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
        let values: HashMap<&str, usize> = source.value_schema.names().zip(0..).collect();
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        if read.is_empty() {
            // A query of constants still has one row per record.
            let first = source.value_schema.fields.first();
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
        source.columns = columns;
        let operator = Operator::Source(SourceSpec::Kafka(source));
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
        if let Some(condition) = computed.condition {
            place = self.share(place, &Ahead::new(&[condition], &computed.columns))?;
            let operator = Operator::Filter(self.expr(condition, &place)?);
            place = self.over(place, operator)?;
        }
        place = self.share(place, &Ahead::new(&computed.columns, &[]))?;
        let columns = computed.columns.iter();
        let columns = columns.map(|id| self.expr(*id, &place));
        let project = Operator::Project(columns.collect::<Result<_>>()?);
        let node = self.push(project, Some(place.node), branch.schema.clone());
        let sink = Operator::Sink(branch.sink.clone());
        Ok(self.push(sink, Some(node), branch.schema.clone()))
    }

    /// An operator that gives what it is given.
    fn over(&mut self, place: Place, operator: Operator) -> Result<Place> {
        let schema = self.nodes[place.node].schema.clone();
        let node = self.push(operator, Some(place.node), schema);
        Ok(Place { node, ..place })
    }

    /// What several branches need is computed below the place where they part, if it cannot fail: a row that one of them has no use
    /// for must not be lost to the others.
    fn fork(&mut self, stem: Place, branches: &[Computed]) -> Result<Place> {
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
