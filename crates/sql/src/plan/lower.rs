//! Relations into one job graph: what is read, computed and written, each once.
//!
//! 1. *Fuse* (`fuse`). All projections, filters and watermarks between a scan and the first operator that ends a stage (one with state,
//!    a union, an unnest), between two of those, and up to a sink, become expressions over the columns of what is below (`arena`): the
//!    conditions, one behind the other, and what is read above. That merges projections and filters, and moves filters below
//!    projections, where Flink's rules have them too.
//! 2. *Prune* (`prune`). An operator gives what somebody reads, a source too. Then each operator that ends a stage has its uid.
//! 3. *Share.* An expression that is used more than once is computed once, as a column of a projection below the first operator
//!    that needs it; unless that would compute it for a row for which nobody does (behind `CASE`, the right side of `AND`) and it
//!    may fail there.
//! 4. The watermark stands above the source and below every filter: rows that no query keeps move event time too.

mod fuse;
mod prune;
mod share;

use self::fuse::{Base, Computed, Fused, Scanned, Segment, Stage, Watermark};
use self::prune::Lineage;
use self::share::Ahead;
use super::algebra::{Relation, Scan, ScanKey};
use super::arena::{Arena, Form, Id};
use super::clock;
use crate::Result;
use crate::catalog::ColumnSource;
use crate::connector::key_name;
use crate::diagnostic::Span;
use crate::explain::idle_after;
use lw_graph::{Expr, Field, JobGraph, LogicalType, Node, NodeId, Operator, OperatorUid};
use lw_graph::{JoinKind, Schema, SinkSpec, SourceColumn, SourceSpec, TypeKind};
use std::collections::{BTreeMap, HashMap, HashSet};
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

/// What scans read, by what they are.
pub(super) type Sources = BTreeMap<ScanKey, SourceSpec>;

/// The graph, and the sink of each branch in their order. What several branches scan is read once.
///
/// # Errors
/// An expression that grows beyond all bounds where its parts cannot be shared.
pub(super) fn lower(sources: &Sources, branches: &[&Branch]) -> Result<(JobGraph, Vec<NodeId>)> {
    let mut fused = Fused::default();
    let mut computed: Vec<Computed> = branches
        .iter()
        .map(|branch| fused.branch(&branch.relation))
        .collect::<Result<_>>()?;
    name(&mut computed, sources, &fused);
    let Fused { arenas, scans } = &fused;
    let mut assembly = Assembly::new(arenas, branches[0].span);
    for (at, scanned) in scans.iter().enumerate() {
        let segments = computed.iter().flat_map(Computed::segments);
        let bottoms: Vec<&Segment> = segments
            .filter(|above| above.on == Base::Scan(at))
            .collect();
        let stem = assembly.stem(sources[&scanned.scan.key()].clone(), scanned, &bottoms)?;
        assembly.stems.push(stem);
    }
    let mut sinks = Vec::new();
    for (branch, computed) in branches.iter().zip(&computed) {
        assembly.begin(branch.span);
        sinks.push(assembly.branch(computed, branch)?);
    }
    let nodes = assembly.nodes;
    Ok((JobGraph { nodes }, sinks))
}

/// Gives each operator with state its uid.
fn name(computed: &mut [Computed], sources: &Sources, fused: &Fused<'_>) {
    let scans = fused.scans.iter();
    let scans = scans.map(|scan| lineage(&sources[&scan.scan.key()], scan, &fused.arenas));
    let scans: Vec<Lineage> = scans.collect();
    for branch in computed {
        let mut stages: Vec<Lineage> = Vec::new();
        for stage in &mut branch.stages {
            let inputs = stage.below.iter().map(|segment| match segment.on {
                Base::Scan(at) => scans[at].clone(),
                Base::Stage(at) => stages[at].clone(),
            });
            let inputs: Vec<Lineage> = inputs.collect();
            stages.push(Lineage::of(stage, &inputs, &fused.arenas));
        }
    }
}

/// What the uids over a scan begin with: what is read and how its event time comes on. Where reading begins and how far it goes, and
/// under which address the topics are reached, is no part of it.
fn lineage(source: &SourceSpec, scanned: &Scanned<'_>, arenas: &[Arena]) -> Lineage {
    let Scan {
        table, positions, ..
    } = scanned.scan;
    let stored = source.stored();
    let base = positions.iter().enumerate().map(|(index, position)| {
        let column = &table.columns[*position];
        let text = match &column.source {
            ColumnSource::Metadata(key) => format!("metadata {}", key_name(*key)),
            _ => {
                let side = match stored.get(&*column.name) {
                    Some(SourceColumn::Key(_)) => "key",
                    _ => "value",
                };
                format!("{side} {} {}", column.name, column.ty)
            }
        };
        (index, text)
    });
    let appended = (positions.len(), "appended".to_string());
    let base: HashMap<usize, String> = base.chain([appended]).collect();
    let watermark = scanned.watermark.map(|watermark| {
        let mut digests = arenas[scanned.arena].digests(&base);
        let column = digests.of(watermark.column);
        let expression = digests.of(watermark.expression);
        format!("{column} {expression}{}", idle_after(watermark.idle))
    });
    let connector = match source {
        SourceSpec::Kafka(_) => "kafka",
        SourceSpec::Datagen(_) => "datagen",
        SourceSpec::Files(_) => "filesystem",
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
    /// By scan.
    stems: Vec<Place>,
    /// The operators that end a stage and are there already.
    known: HashMap<OperatorUid, NodeId>,
    /// The INSERT that is being lowered.
    span: Span,
    nodes: Vec<Node>,
    written: HashSet<Id>,
    copies: usize,
}

impl<'a> Assembly<'a> {
    fn new(arenas: &'a [Arena], span: Span) -> Assembly<'a> {
        Assembly {
            arenas,
            arena: &arenas[0],
            stems: Vec::new(),
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
    }

    /// What follows is over what another operator gives.
    fn enter(&mut self, arena: usize) {
        self.arena = &self.arenas[arena];
        self.written.clear();
    }

    /// What is there of a scan before the segments over it part.
    fn stem(
        &mut self,
        source: SourceSpec,
        scanned: &Scanned<'_>,
        segments: &[&Segment],
    ) -> Result<Place> {
        self.enter(scanned.arena);
        let later: Vec<Id> = segments
            .iter()
            .flat_map(|segment| segment.roots())
            .collect();
        let stem = self.source(source, scanned, &later);
        let stem = self.watermark(stem, scanned.watermark, &later)?;
        self.fork(stem, segments)
    }

    /// The source, with the columns that something reads.
    fn source(&mut self, mut source: SourceSpec, scanned: &Scanned<'_>, later: &[Id]) -> Place {
        let Scanned {
            scan, watermark, ..
        } = scanned;
        let watermark = watermark.map(|watermark| [watermark.column, watermark.expression]);
        let roots = watermark.into_iter().flatten().chain(later.iter().copied());
        let mut read: BTreeMap<usize, Id> = BTreeMap::new();
        // Behind the table's columns stands when a record came (`clock`).
        let width = scan.table.columns.len();
        for id in self.reached(roots, |_| false) {
            if let Form::Column(index, _) = &self.arena.node(id).form {
                let position = scan.positions.get(*index);
                read.insert(position.copied().unwrap_or(width), id);
            }
        }
        let stored = source.stored();
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        if read.is_empty() {
            // A query of constants still has one row per record.
            let first = scan.table.stored().next();
            let field = first.map(|first| Field::new(first.name.clone(), first.ty.clone()));
            columns.extend(first.and_then(|first| stored.get(&*first.name).cloned()));
            fields.extend(field);
        }
        for (position, id) in &read {
            let ty = self.arena.node(*id).ty.clone();
            let Some(column) = scan.table.columns.get(*position) else {
                columns.push(SourceColumn::Appended);
                fields.push(Field::new(clock::COLUMN, ty));
                continue;
            };
            columns.push(match &column.source {
                ColumnSource::Metadata(key) => SourceColumn::Metadata(*key),
                _ => {
                    let stored = stored.get(&*column.name).cloned();
                    stored.expect("a column that is no metadata is the record's")
                }
            });
            fields.push(Field::new(column.name.clone(), ty));
        }
        source.set_columns(columns);
        let operator = Operator::Source(source);
        let node = self.push(operator, Vec::new(), Schema::new(fields));
        Place::new(node, read.into_values().collect())
    }

    fn watermark(
        &mut self,
        stem: Place,
        watermark: Option<Watermark>,
        later: &[Id],
    ) -> Result<Place> {
        let Some(Watermark {
            column,
            expression,
            idle,
        }) = watermark
        else {
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
            idle,
        };
        self.over(stem, operator)
    }

    fn branch(&mut self, computed: &Computed, branch: &Branch) -> Result<NodeId> {
        let mut places: Vec<Place> = Vec::new();
        for stage in &computed.stages {
            let place = self.stage(stage, &places)?;
            places.push(place);
        }
        let (place, columns) = self.computed(&computed.top, &places)?;
        let project = Operator::Project(columns);
        let node = self.push(project, vec![place.node], branch.schema.clone());
        let sink = Operator::Sink(branch.sink.clone());
        Ok(self.push(sink, vec![node], branch.schema.clone()))
    }

    /// The place above which a segment's columns are computed, and the columns over it.
    fn computed(&mut self, segment: &Segment, stages: &[Place]) -> Result<(Place, Vec<Expr>)> {
        let place = self.narrowed(segment, stages)?;
        let columns = segment.columns.iter();
        let columns = columns.map(|id| self.expr(*id, &place));
        let columns = columns.collect::<Result<_>>()?;
        Ok((place, columns))
    }

    /// The rows that a segment keeps, with what its columns are made of.
    fn narrowed(&mut self, segment: &Segment, stages: &[Place]) -> Result<Place> {
        self.enter(segment.arena);
        let place = match segment.on {
            Base::Scan(at) => self.stems[at].clone(),
            Base::Stage(at) => stages[at].clone(),
        };
        let place = self.kept(place, segment)?;
        self.share(place, &Ahead::new(&segment.columns, &[]))
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

    /// An operator that ends a stage, over projections of what it reads. One that is there already is not there twice: it is the same
    /// state.
    fn stage(&mut self, stage: &Stage, stages: &[Place]) -> Result<Place> {
        if let Some(node) = self.known.get(&stage.uid).copied() {
            return Ok(Place::new(node, stage.gives.clone()));
        }
        let inputs = match stage.operator {
            Operator::Union => self.alike(stage, stages)?,
            _ => {
                let inputs = stage.below.iter().map(|segment| {
                    let place = self.narrowed(segment, stages)?;
                    Ok(match place.columns == segment.columns {
                        true => place.node,
                        false => self.project(&place, segment.columns.clone())?.node,
                    })
                });
                inputs.collect::<Result<Vec<NodeId>>>()?
            }
        };
        let schema = self.given(stage, &inputs);
        let node = self.push(stage.operator.clone(), inputs, schema);
        self.known.insert(stage.uid, node);
        Ok(Place::new(node, stage.gives.clone()))
    }

    /// The inputs of a union: each the same columns, which may be NULL where one of them may be.
    fn alike(&mut self, stage: &Stage, stages: &[Place]) -> Result<Vec<NodeId>> {
        let above = &self.arenas[stage.above];
        let mut fields = named(above, &stage.gives, HashSet::new());
        let mut inputs = Vec::new();
        for segment in &stage.below {
            let (place, columns) = self.computed(segment, stages)?;
            for (field, column) in fields.iter_mut().zip(&columns) {
                let given = match column {
                    Expr::Column { index, .. } => {
                        self.nodes[place.node].schema.fields[*index].ty.nullable
                    }
                    _ => true,
                };
                field.ty.nullable |= given;
            }
            inputs.push((place.node, columns));
        }
        let inputs = inputs.into_iter().map(|(node, columns)| {
            let schema = Schema::new(fields.clone());
            self.push(Operator::Project(columns), vec![node], schema)
        });
        Ok(inputs.collect())
    }

    /// The columns of an operator that ends a stage. An aggregate may be NULL whatever its type says: a sum of DECIMALs that is too long.
    fn given(&self, stage: &Stage, inputs: &[NodeId]) -> Schema {
        let above = &self.arenas[stage.above];
        let of = |input: NodeId| &self.nodes[input].schema.fields;
        let input = of(inputs[0]);
        let passed: Vec<Field> = match &stage.operator {
            Operator::WindowAggregate { keys, .. } => {
                keys.iter().map(|key| input[*key].clone()).collect()
            }
            Operator::WindowJoin { kind, .. } => {
                return joined(above, &stage.gives, [input, of(inputs[1])], *kind);
            }
            _ => input.clone(),
        };
        let calls = match &stage.operator {
            Operator::WindowAggregate { aggregates, .. } | Operator::Over { aggregates, .. } => {
                aggregates.len()
            }
            _ => 0,
        };
        let names = passed.iter().map(|field| field.name.clone()).collect();
        let mut made = named(above, &stage.gives[passed.len()..], names);
        for Field { ty, .. } in &mut made[..calls] {
            let counts = ty.kind == TypeKind::BigInt && !ty.nullable;
            ty.nullable |= !counts;
        }
        Schema::new(passed.into_iter().chain(made).collect())
    }

    /// An operator that gives what it is given.
    fn over(&mut self, place: Place, operator: Operator) -> Result<Place> {
        let schema = self.nodes[place.node].schema.clone();
        let node = self.push(operator, vec![place.node], schema);
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

    fn push(&mut self, operator: Operator, inputs: Vec<NodeId>, schema: Schema) -> NodeId {
        self.nodes.push(Node {
            operator,
            inputs,
            schema,
        });
        self.nodes.len() - 1
    }
}

/// Columns that an operator makes, under names that are none of these.
fn named(arena: &Arena, made: &[Id], mut taken: HashSet<String>) -> Vec<Field> {
    let made = made.iter().map(|id| {
        let node = arena.node(*id);
        let Form::Column(_, own) = &node.form else {
            unreachable!("what an operator gives is a column to those above");
        };
        let name = free_name(Some(node.name.as_ref().unwrap_or(own)), &taken);
        taken.insert(name.clone());
        Field::new(name, node.ty.clone())
    });
    made.collect()
}

/// The columns of both sides of a join. What is not NULL on a side that may have no row is so nevertheless.
fn joined(arena: &Arena, gives: &[Id], sides: [&Vec<Field>; 2], kind: JoinKind) -> Schema {
    let fields = named(arena, gives, HashSet::new()).into_iter();
    let pads = kind.pads();
    let of_sides = sides.iter().zip(pads);
    let of_sides =
        of_sides.flat_map(|(fields, pads)| fields.iter().map(move |field| (field, pads)));
    let fields = fields.zip(of_sides).map(|(field, (of_side, pads))| {
        let LogicalType { kind, nullable } = of_side.ty.clone();
        Field::new(field.name, kind.nullable().with_nullable(nullable || pads))
    });
    Schema::new(fields.collect())
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
