//! Expressions over the columns of one scan, each held once.
//!
//! An expression over another operator's columns becomes one over the scan's by naming the nodes that those columns are: nothing
//! is copied, so views upon views that double a column each cost one node each. A node's operands stand before it, so whoever
//! walks the nodes backwards sees every use of a node before the node.

use lw_graph::{Expr, Function, LogicalType, OperatorUid, TypeKind, Value};
use std::collections::HashMap;

/// Position of a node.
pub(super) type Id = usize;

#[derive(Debug, Default)]
pub(super) struct Arena {
    nodes: Vec<Node>,
    known: HashMap<Form, Id>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub form: Form,
    pub ty: LogicalType,
    /// What a literal is; its form only tells it from others.
    value: Option<Value>,
    /// The name under which a query first gave it.
    pub name: Option<String>,
    /// Whether some row has no value for it: a division by zero, a failed cast.
    pub fails: bool,
    /// Whether it is worth a column of its own: more than a column, a constant or a field of a ROW.
    pub computed: bool,
    constant: bool,
}

/// A node without its operands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// A column of the scan.
    Column(usize, String),
    Literal(String, LogicalType),
    Field(Id, usize),
    Call(Function, Vec<Id>),
    Cast {
        operand: Id,
        ty: LogicalType,
        or_null: bool,
    },
    Case {
        branches: Vec<(Id, Id)>,
        otherwise: Id,
        ty: LogicalType,
    },
}

impl Arena {
    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    pub(super) fn column(&mut self, index: usize, name: &str, ty: &LogicalType) -> Id {
        self.intern(Form::Column(index, name.to_string()), ty.clone(), None)
    }

    /// An expression over columns that are these nodes.
    pub(super) fn add(&mut self, expr: &Expr, columns: &[Id]) -> Id {
        let ty = expr.ty().clone();
        let mut value = None;
        let form = match expr {
            Expr::Column { index, .. } => return columns[*index],
            Expr::Literal { value: held, ty } => {
                value = Some(held.clone());
                Form::Literal(format!("{held:?}"), ty.clone())
            }
            Expr::Field { row, index, .. } => Form::Field(self.add(row, columns), *index),
            Expr::Call { function, args, .. } => {
                let args = args.iter().map(|arg| self.add(arg, columns));
                Form::Call(*function, args.collect())
            }
            Expr::Cast { expr, ty, or_null } => Form::Cast {
                operand: self.add(expr, columns),
                ty: ty.clone(),
                or_null: *or_null,
            },
            Expr::Case {
                branches,
                otherwise,
                ty,
            } => {
                let branches = branches.iter();
                let branches =
                    branches.map(|(when, then)| (self.add(when, columns), self.add(then, columns)));
                Form::Case {
                    branches: branches.collect(),
                    otherwise: self.add(otherwise, columns),
                    ty: ty.clone(),
                }
            }
        };
        self.intern(form, ty, value)
    }

    /// Conditions that all must hold, tried in this order.
    pub(super) fn all(&mut self, conditions: &[Id]) -> Option<Id> {
        let conditions = conditions.iter().copied();
        conditions.reduce(|all, condition| {
            let nullable = [all, condition]
                .iter()
                .any(|id| self.nodes[*id].ty.nullable);
            let ty = TypeKind::Boolean.nullable().with_nullable(nullable);
            self.intern(Form::Call(Function::And, vec![all, condition]), ty, None)
        })
    }

    pub(super) fn digests<'a>(&'a self, base: &'a HashMap<usize, String>) -> Digests<'a> {
        Digests {
            arena: self,
            base,
            known: HashMap::new(),
        }
    }

    pub(super) fn give_name(&mut self, id: Id, name: &str) {
        let node = &mut self.nodes[id];
        node.name.get_or_insert_with(|| name.to_string());
    }

    fn intern(&mut self, form: Form, ty: LogicalType, value: Option<Value>) -> Id {
        if let Some(known) = self.known.get(&form) {
            return *known;
        }
        let operands = form.operands();
        let mut below = operands.iter().map(|(id, _)| &self.nodes[*id]);
        let constant = !matches!(form, Form::Column(..)) && below.clone().all(|n| n.constant);
        let fails = below.any(|node| node.fails) || self.may_fail(&form, &ty);
        let computed = match form {
            Form::Column(..) | Form::Literal(..) => false,
            Form::Field(row, _) => self.nodes[row].computed,
            _ => !constant,
        };
        let id = self.nodes.len();
        self.known.insert(form.clone(), id);
        self.nodes.push(Node {
            form,
            ty,
            value,
            name: None,
            fails,
            computed,
            constant,
        });
        id
    }

    /// Whether the operation itself may have no value for a row. What is not known to be safe is not.
    fn may_fail(&self, form: &Form, ty: &LogicalType) -> bool {
        type F = Function;
        match form {
            Form::Column(..) | Form::Literal(..) | Form::Field(..) | Form::Case { .. } => false,
            Form::Cast { or_null: true, .. } => false,
            Form::Cast { operand, ty, .. } => {
                let from = &self.nodes[*operand].ty.kind;
                let exact = from.as_decimal().is_some() && ty.kind.is_numeric();
                !(exact || ty.kind.is_character())
            }
            // Numbers wrap or become NULL; a time may leave its range.
            Form::Call(F::Plus | F::Minus | F::Times | F::Negate | F::Abs, _) => {
                !ty.kind.is_numeric()
            }
            Form::Call(function, _) => function.definition().fails,
        }
    }

    /// The expression with its operands, which `operand` gives.
    pub(super) fn expr<E>(
        &self,
        id: Id,
        mut operand: impl FnMut(Id) -> Result<Expr, E>,
    ) -> Result<Expr, E> {
        let Node {
            form, ty, value, ..
        } = &self.nodes[id];
        let ty = ty.clone();
        Ok(match form {
            Form::Column(index, name) => Expr::Column {
                index: *index,
                name: name.clone(),
                ty,
            },
            Form::Literal(..) => Expr::Literal {
                value: value.clone().expect("a literal is added with its value"),
                ty,
            },
            Form::Field(row, index) => Expr::Field {
                row: Box::new(operand(*row)?),
                index: *index,
                ty,
            },
            Form::Call(function, args) => Expr::Call {
                function: *function,
                args: args
                    .iter()
                    .map(|arg| operand(*arg))
                    .collect::<Result<_, _>>()?,
                ty,
            },
            Form::Cast {
                operand: of,
                or_null,
                ..
            } => Expr::Cast {
                expr: Box::new(operand(*of)?),
                ty,
                or_null: *or_null,
            },
            Form::Case {
                branches,
                otherwise,
                ..
            } => {
                let branches = branches.iter();
                let branches = branches.map(|(when, then)| Ok((operand(*when)?, operand(*then)?)));
                Expr::Case {
                    branches: branches.collect::<Result<_, E>>()?,
                    otherwise: Box::new(operand(*otherwise)?),
                    ty,
                }
            }
        })
    }
}

/// Hashes of expressions: of what they mean, whatever else the arena holds and however its columns are called.
pub(super) struct Digests<'a> {
    arena: &'a Arena,
    /// What the columns are.
    base: &'a HashMap<usize, String>,
    known: HashMap<Id, String>,
}

impl Digests<'_> {
    pub(super) fn of(&mut self, id: Id) -> String {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let node = &self.arena.nodes[id];
        let operands = node.form.operands();
        let operands: Vec<String> = operands
            .iter()
            .map(|(operand, _)| self.of(*operand))
            .collect();
        let operands = operands.join(",");
        let own = match &node.form {
            Form::Column(index, _) => self.base[index].clone(),
            Form::Literal(..) => match self.arena.expr(id, |_| Err(())) {
                Ok(literal) => format!("{literal} {}", node.ty),
                Err(()) => unreachable!("a literal has no operands"),
            },
            Form::Field(_, index) => format!("field {index}"),
            Form::Call(function, _) => format!("{} {}", function.definition().name, node.ty),
            Form::Cast { or_null, .. } => format!("cast {} {or_null}", node.ty),
            Form::Case { .. } => format!("case {}", node.ty),
        };
        let digest = OperatorUid::of(&format!("{own}({operands})")).to_string();
        self.known.insert(id, digest.clone());
        digest
    }
}

impl Form {
    /// The operands, each with whether it is computed for every row for which the node is: `AND`, `OR`, `COALESCE` and `CASE` leave
    /// out what they do not need.
    pub(super) fn operands(&self) -> Vec<(Id, bool)> {
        match self {
            Form::Column(..) | Form::Literal(..) => Vec::new(),
            Form::Field(operand, _) | Form::Cast { operand, .. } => vec![(*operand, true)],
            Form::Call(Function::And | Function::Or | Function::Coalesce, args) => {
                let args = args.iter().enumerate();
                args.map(|(at, arg)| (*arg, at == 0)).collect()
            }
            Form::Call(_, args) => args.iter().map(|arg| (*arg, true)).collect(),
            Form::Case {
                branches,
                otherwise,
                ..
            } => {
                let branches = branches.iter().enumerate();
                let branches =
                    branches.flat_map(|(at, (when, then))| [(*when, at == 0), (*then, false)]);
                branches.chain([(*otherwise, false)]).collect()
            }
        }
    }
}
