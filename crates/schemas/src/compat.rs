//! May this reader read everything that writer wrote? Avro's schema resolution, judged before any data is seen.
//!
//! The verdicts, reasons, places and their order are those of Java's `SchemaCompatibility` (Avro 1.12), because Confluent's
//! registry runs exactly that and prints its findings. The rules in short, reader on the left:
//!
//! - int ⇐ long ⇐ float ⇐ double: the wider reads the narrower; string and bytes read each other; logical types do not count.
//! - Named types need the same name *without its namespace*, or a reader alias equal to the writer's full name.
//! - A record field is found by name or reader alias; one the writer lacks needs a default.
//! - An enum must know every symbol of the writer, unless it has a default. A fixed must have the same size.
//! - Every branch of a writer union must be readable; a reader union needs one branch that reads the writer.
//! - Recursion: a pair of types met again inside itself is compatible until something else disproves it.
//!
//! Java does this by memoising the verdict per pair of types, and so do we; its corner cases follow from that order of work
//! (findings inside a union collapse to `MISSING_UNION_BRANCH`, since only the verdict of a branch is used).
//!
//! Unlike Java, the work is bounded, and with it the memory that findings take: a pair of schemas that would need more than
//! [`MAX_WORK`] is refused as too complex.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::rc::Rc;

use crate::avro::{AvroSchema, Enum, Field, Kind, Record, Type, TypeId};

/// One reason why a reader cannot read a writer's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatibility {
    pub kind: IncompatibilityKind,
    /// JSON pointer into the reader schema, as Java prints it (`/` is the root).
    pub path: String,
    /// Java's short message; Confluent prints it as `additionalInfo`.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncompatibilityKind {
    NameMismatch,
    FixedSizeMismatch,
    MissingEnumSymbols,
    ReaderFieldMissingDefaultValue,
    TypeMismatch,
    MissingUnionBranch,
    /// Not a finding but a failure of the check: Java throws where a reader field matches two writer fields.
    Unexpected,
}

/// Work of one check: members looked at, bytes of findings kept, and [`PAIR`] for each two types compared. The largest honest
/// schemas compare some thousands of types.
pub const MAX_WORK: usize = 1 << 23;
/// What comparing two types costs at least.
const PAIR: usize = 64;
/// Findings reported by one check; repeats of shared types could otherwise grow without bound.
pub const MAX_FINDINGS: usize = 1_000;
/// Pairs of types inside each other. Recursive types can nest deeper than their texts do.
const MAX_DEPTH: usize = 160;

/// Returns every reason why `reader` cannot read what `writer` wrote; none means compatible.
pub fn check(reader: &AvroSchema, writer: &AvroSchema) -> Vec<Incompatibility> {
    let mut checker = Checker {
        reader,
        writer,
        memo: HashMap::new(),
        work: 0,
        depth: 0,
    };
    let mut path = Vec::new();
    match checker.pair(reader.root_id(), writer.root_id(), &mut path) {
        Ok(findings) => findings.to_vec(),
        Err(stop) => vec![Incompatibility {
            kind: IncompatibilityKind::Unexpected,
            path: "/".into(),
            message: stop.0,
        }],
    }
}

impl Incompatibility {
    /// Words the finding as Confluent's registry does; `reader` and `writer` say which of the two schemas is "new" or "old".
    pub fn describe(&self, reader: &str, writer: &str) -> String {
        use IncompatibilityKind::*;
        let (path, message) = (&self.path, &self.message);
        let description = match self.kind {
            FixedSizeMismatch => format!(
                "The size of FIXED type field at path '{path}' in the {reader} schema does not match with the {writer} schema"
            ),
            TypeMismatch => {
                format!(
                    "The type (path '{path}') of a field in the {reader} schema does not match with the {writer} schema"
                )
            }
            NameMismatch => format!("The name of the schema has changed (path '{path}')"),
            MissingEnumSymbols => format!(
                "The {reader} schema is missing enum symbols '{message}' at path '{path}' in the {writer} schema"
            ),
            MissingUnionBranch => format!(
                "The {reader} schema is missing a type inside a union field at path '{path}' in the {writer} schema"
            ),
            ReaderFieldMissingDefaultValue => format!(
                "The field '{message}' at path '{path}' in the {reader} schema has no default value and is missing in the \
                 {writer} schema"
            ),
            Unexpected => {
                return format!("Unexpected exception during compatibility check: {message}");
            }
        };
        format!(
            "{{errorType:'{}', description:'{description}', additionalInfo:'{message}'}}",
            self.kind
        )
    }
}

/// Java's constant for the kind.
impl fmt::Display for IncompatibilityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IncompatibilityKind::NameMismatch => "NAME_MISMATCH",
            IncompatibilityKind::FixedSizeMismatch => "FIXED_SIZE_MISMATCH",
            IncompatibilityKind::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            IncompatibilityKind::ReaderFieldMissingDefaultValue => {
                "READER_FIELD_MISSING_DEFAULT_VALUE"
            }
            IncompatibilityKind::TypeMismatch => "TYPE_MISMATCH",
            IncompatibilityKind::MissingUnionBranch => "MISSING_UNION_BRANCH",
            IncompatibilityKind::Unexpected => "UNEXPECTED",
        })
    }
}

/// Findings are shared between the memo and its users; an empty list is "compatible".
type Findings = Rc<Vec<Incompatibility>>;

/// Ends the whole check, as an exception does in Java.
struct Stop(String);

struct Checker<'a> {
    reader: &'a AvroSchema,
    writer: &'a AvroSchema,
    /// `None` while the pair is being compared.
    memo: HashMap<(TypeId, TypeId), Option<Findings>>,
    work: usize,
    depth: usize,
}

impl<'a> Checker<'a> {
    /// Compares two types, once per pair; the findings keep the place where the pair was met first, as Java's do.
    fn pair(
        &mut self,
        reader: TypeId,
        writer: TypeId,
        path: &mut Vec<String>,
    ) -> Result<Findings, Stop> {
        match self.memo.get(&(reader, writer)) {
            Some(Some(known)) => return Ok(known.clone()),
            Some(None) => return Ok(Findings::default()),
            None => {}
        }
        let members = |ty: &Type| match &ty.kind {
            Kind::Record(record) => record.fields.len() + record.aliases.len(),
            Kind::Enum(e) => e.symbols.len() + e.aliases.len(),
            Kind::Fixed(fixed) => fixed.aliases.len(),
            _ => 0,
        };
        self.spend(PAIR + members(self.reader.get(reader)) + members(self.writer.get(writer)))?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(too_complex());
        }
        self.memo.insert((reader, writer), None);
        let mut found = self.compare(reader, writer, path)?;
        found.truncate(MAX_FINDINGS);
        self.spend(found.iter().map(|f| f.path.len() + f.message.len()).sum())?;
        let found = Rc::new(found);
        self.memo.insert((reader, writer), Some(found.clone()));
        self.depth -= 1;
        Ok(found)
    }

    fn spend(&mut self, work: usize) -> Result<(), Stop> {
        self.work += work;
        if self.work > MAX_WORK {
            return Err(too_complex());
        }
        Ok(())
    }

    /// Goes one step down both schemas and adds what is found there.
    fn descend(
        &mut self,
        step: impl Into<String>,
        pair: (TypeId, TypeId),
        path: &mut Vec<String>,
        found: &mut Vec<Incompatibility>,
    ) -> Result<(), Stop> {
        path.push(step.into());
        let inner = self.pair(pair.0, pair.1, path)?;
        path.pop();
        let room = MAX_FINDINGS.saturating_sub(found.len());
        found.extend(inner.iter().take(room).cloned());
        Ok(())
    }

    /// The verdict alone, for branches of unions: findings inside start their paths anew and are not reported.
    fn readable(&mut self, reader: TypeId, writer: TypeId) -> Result<bool, Stop> {
        Ok(self.pair(reader, writer, &mut Vec::new())?.is_empty())
    }

    fn compare(
        &mut self,
        r: TypeId,
        w: TypeId,
        path: &mut Vec<String>,
    ) -> Result<Vec<Incompatibility>, Stop> {
        use IncompatibilityKind::*;
        let (reader, writer) = (self.reader.get(r), self.writer.get(w));
        let mut found = Vec::new();
        match (&reader.kind, &writer.kind) {
            (Kind::Array(r), Kind::Array(w)) => {
                self.descend("items", (*r, *w), path, &mut found)?
            }
            (Kind::Map(r), Kind::Map(w)) => self.descend("values", (*r, *w), path, &mut found)?,
            (Kind::Fixed(rf), Kind::Fixed(wf)) => {
                found.extend(names(reader, writer, path));
                if rf.size != wf.size {
                    let message = format!("expected: {}, found: {}", wf.size, rf.size);
                    found.push(finding(FixedSizeMismatch, path, &["size"], message));
                }
            }
            (Kind::Enum(re), Kind::Enum(we)) => {
                found.extend(names(reader, writer, path));
                found.extend(symbols(re, we, path));
            }
            (Kind::Record(rr), Kind::Record(wr)) => {
                found.extend(names(reader, writer, path));
                self.fields(rr, (wr, w), path, &mut found)?;
            }
            (Kind::Union(_), Kind::Union(branches)) => {
                for (i, branch) in branches.iter().enumerate() {
                    if !self.readable(r, *branch)? {
                        found.push(finding(
                            MissingUnionBranch,
                            path,
                            &[&i.to_string()],
                            lacking(self.writer.get(*branch)),
                        ));
                    }
                }
            }
            (_, Kind::Union(branches)) => {
                for (i, branch) in branches.iter().enumerate() {
                    self.descend(i.to_string(), (r, *branch), path, &mut found)?;
                }
            }
            (Kind::Union(branches), _) => {
                for branch in branches {
                    if self.readable(*branch, w)? {
                        return Ok(found);
                    }
                }
                found.push(finding(MissingUnionBranch, path, &[], lacking(writer)));
            }
            (rk, wk) if promotes(rk, wk) => {}
            (rk, wk) => {
                let message = format!(
                    "reader type: {} not compatible with writer type: {}",
                    upper(rk),
                    upper(wk)
                );
                found.push(finding(TypeMismatch, path, &[], message));
            }
        }
        Ok(found)
    }

    fn fields(
        &mut self,
        reader: &'a Record,
        (writer, writer_id): (&'a Record, TypeId),
        path: &mut Vec<String>,
        found: &mut Vec<Incompatibility>,
    ) -> Result<(), Stop> {
        let by_name: HashMap<&str, &Field> =
            writer.fields.iter().map(|f| (f.name.as_str(), f)).collect();
        path.push("fields".into());
        for (i, field) in reader.fields.iter().enumerate() {
            path.push(i.to_string());
            match self.writer_field(&by_name, writer_id, (i, field))? {
                Some(written) => self.descend("type", (field.ty, written.ty), path, found)?,
                None if field.default.is_some() => {}
                // Java looks at the enum's own default here and then compares the enum with the writer's record.
                None if has_enum_default(self.reader.get(field.ty)) => {
                    self.descend("type", (field.ty, writer_id), path, found)?;
                }
                None => {
                    let kind = IncompatibilityKind::ReaderFieldMissingDefaultValue;
                    found.push(finding(kind, path, &[], field.name.clone()));
                }
            }
            path.pop();
        }
        path.pop();
        Ok(())
    }

    fn writer_field(
        &self,
        by_name: &HashMap<&str, &'a Field>,
        writer: TypeId,
        (position, field): (usize, &Field),
    ) -> Result<Option<&'a Field>, Stop> {
        let names = std::iter::once(&field.name).chain(&field.aliases);
        let hits: Vec<&'a Field> = names
            .filter_map(|name| by_name.get(name.as_str()).copied())
            .collect();
        match hits[..] {
            [] => Ok(None),
            [only] => Ok(Some(only)),
            _ => {
                let ty = upper(&self.reader.get(field.ty).kind);
                let (name, record) = (&field.name, self.writer.text_of(writer));
                Err(Stop(format!(
                    "Reader record field {name} type:{ty} pos:{position} matches multiple fields in writer record \
                     schema {record}"
                )))
            }
        }
    }
}

fn too_complex() -> Stop {
    Stop("the schemas are too complex to compare".into())
}

/// Compares names without their namespaces; reader aliases compare with the writer's full name.
fn names(reader: &Type, writer: &Type, path: &[String]) -> Option<Incompatibility> {
    let (own, other) = (reader.name()?, writer.name()?);
    if own.name == other.name || reader.aliases().contains(other) {
        return None;
    }
    Some(finding(
        IncompatibilityKind::NameMismatch,
        path,
        &["name"],
        format!("expected: {}", other.full()),
    ))
}

fn symbols(reader: &Enum, writer: &Enum, path: &[String]) -> Option<Incompatibility> {
    let known: HashSet<&String> = reader.symbols.iter().collect();
    let mut missing: Vec<&str> = writer
        .symbols
        .iter()
        .filter(|s| !known.contains(s))
        .map(String::as_str)
        .collect();
    if missing.is_empty() || reader.default.is_some() {
        return None;
    }
    missing.sort_unstable();
    let message = format!("[{}]", missing.join(", "));
    Some(finding(
        IncompatibilityKind::MissingEnumSymbols,
        path,
        &["symbols"],
        message,
    ))
}

fn has_enum_default(ty: &Type) -> bool {
    matches!(&ty.kind, Kind::Enum(e) if e.default.is_some())
}

/// Primitive types: equal, or one of Avro's promotions.
fn promotes(reader: &Kind, writer: &Kind) -> bool {
    use Kind::*;
    matches!(
        (reader, writer),
        (Null, Null)
            | (Boolean, Boolean)
            | (Int, Int)
            | (Long, Int | Long)
            | (Float, Int | Long | Float)
            | (Double, Int | Long | Float | Double)
            | (Bytes | String, Bytes | String)
    )
}

fn lacking(writer: &Type) -> String {
    format!("reader union lacking writer type: {}", upper(&writer.kind))
}

fn upper(kind: &Kind) -> String {
    kind.word().to_ascii_uppercase()
}

fn finding(
    kind: IncompatibilityKind,
    path: &[String],
    more: &[&str],
    message: String,
) -> Incompatibility {
    let steps: Vec<String> = path
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .map(|step| step.replace('~', "~0").replace('/', "~1"))
        .collect();
    Incompatibility {
        kind,
        path: format!("/{}", steps.join("/")),
        message,
    }
}
