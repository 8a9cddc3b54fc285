//! The Avro schema model: an arena of types in which names are already resolved.
//!
//! A schema is a graph, not a tree: a record may contain itself. So types live in a vector and point at each other by
//! [`TypeId`]; a reference by name is simply the id of the definition. There is no "reference" kind to handle.
//!
//! ```text
//! {"type":"record","name":"Node","fields":[              0 Record Node ──fields[0]──► 1 Long
//!   {"name":"value","type":"long"},                        ▲     └──────fields[1]──► 2 Union ─► 3 Null
//!   {"name":"next","type":["null","Node"]}]}               └─────────────────────────────┘
//! ```
//!
//! Types taken from references to other subjects come first in the arena (ids below `own_from`): the canonical text writes
//! them by name, the resolved text writes them out.

mod parse;

mod defaults;
mod error;
mod fingerprint;
mod logical;
mod text;

use std::collections::HashMap;

pub use error::SchemaError;
pub use fingerprint::rabin;

use crate::json::Json;

/// A type's place in its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(u32);

impl TypeId {
    fn new(index: usize) -> TypeId {
        TypeId(
            u32::try_from(index)
                .expect("Limits bound the text, and every type takes at least two bytes of it"),
        )
    }

    /// Returns the index into [`AvroSchema::types`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A parsed Avro schema.
#[derive(Debug, Clone, PartialEq)]
pub struct AvroSchema {
    types: Vec<Type>,
    root: TypeId,
    names: HashMap<String, TypeId>,
    /// Types below this id came from references.
    own_from: TypeId,
}

/// One type: what it is, what it means, and the properties Avro itself does not define.
#[derive(Debug, Clone, PartialEq)]
pub struct Type {
    pub kind: Kind,
    /// Set only when the annotation is known and valid for this type; Avro says that others are ignored.
    pub logical: Option<Logical>,
    /// All properties that Avro does not reserve, in the order of the text, `logicalType` and its parameters among them.
    pub props: Vec<(String, Json)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(TypeId),
    Map(TypeId),
    /// The branches, in order: the position is what the binary encoding writes.
    Union(Vec<TypeId>),
    Fixed(Fixed),
    Enum(Enum),
    Record(Record),
}

/// A logical type whose rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logical {
    Decimal { precision: u32, scale: u32 },
    Uuid,
    Date,
    TimeMillis,
    TimeMicros,
    TimestampMillis,
    TimestampMicros,
    TimestampNanos,
    LocalTimestampMillis,
    LocalTimestampMicros,
    LocalTimestampNanos,
    Duration,
}

/// A name with its namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub namespace: Option<String>,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub name: Name,
    pub aliases: Vec<Name>,
    pub doc: Option<String>,
    /// In the order of the text, which is the order of the encoding.
    pub fields: Vec<Field>,
    /// Declared as `"error"` (for protocols) instead of `"record"`.
    pub is_error: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    pub aliases: Vec<String>,
    pub doc: Option<String>,
    pub ty: TypeId,
    /// The default as JSON, in Avro's mapping (bytes and fixed are strings of code points 0–255).
    pub default: Option<Json>,
    pub order: Order,
    pub props: Vec<(String, Json)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    #[default]
    Ascending,
    Descending,
    Ignore,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Enum {
    pub name: Name,
    pub aliases: Vec<Name>,
    pub doc: Option<String>,
    pub symbols: Vec<String>,
    /// What a reader takes for a symbol it does not know.
    pub default: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Fixed {
    pub name: Name,
    pub aliases: Vec<Name>,
    pub doc: Option<String>,
    pub size: usize,
}

/// How much a schema text may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of one text, in bytes.
    pub bytes: usize,
    /// How deep types may contain types, references written out.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes: 1 << 20,
            depth: 128,
        }
    }
}

/// How strictly a text is read.
#[derive(Debug, Clone, Copy)]
pub struct ParseOptions {
    pub limits: Limits,
    /// Refuses defaults that do not fit their field's type. Off for schemas that were registered elsewhere long ago.
    pub validate_defaults: bool,
}

impl Default for ParseOptions {
    fn default() -> ParseOptions {
        ParseOptions {
            limits: Limits::default(),
            validate_defaults: true,
        }
    }
}

impl AvroSchema {
    /// Parses a self-contained schema.
    ///
    /// # Errors
    /// When the text is not JSON or not an Avro schema; the error says where.
    pub fn parse(text: &str) -> Result<AvroSchema, SchemaError> {
        AvroSchema::parse_with(text, &[], ParseOptions::default())
    }

    /// Parses a schema that may use the named types of other schemas. List a reference after those that it needs itself.
    pub fn parse_with(
        text: &str,
        references: &[&str],
        options: ParseOptions,
    ) -> Result<AvroSchema, SchemaError> {
        parse::parse(text, references, options)
    }

    /// Returns the type that the schema describes.
    pub fn root(&self) -> &Type {
        self.get(self.root)
    }

    pub fn root_id(&self) -> TypeId {
        self.root
    }

    /// Returns the type behind an id of this schema.
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.index()]
    }

    /// Returns all types, in the order of their ids.
    pub fn types(&self) -> &[Type] {
        &self.types
    }

    /// Finds a named type by its full name.
    pub fn named(&self, full_name: &str) -> Option<TypeId> {
        self.names.get(full_name).copied()
    }

    /// Returns the full name of a root that has one.
    pub fn full_name(&self) -> Option<String> {
        self.root().name().map(Name::full)
    }

    /// For a union of null and one other type, returns the other type's position and id.
    pub fn nullable(&self, id: TypeId) -> Option<(usize, TypeId)> {
        match &self.get(id).kind {
            Kind::Union(branches) if branches.len() == 2 => {
                let null = branches
                    .iter()
                    .position(|b| self.get(*b).kind == Kind::Null)?;
                Some((1 - null, branches[1 - null]))
            }
            _ => None,
        }
    }

    /// Returns the text that a Confluent registry stores and compares: Java's `Schema.toString`, references by name.
    pub fn canonical_text(&self) -> String {
        text::write(
            self,
            self.root,
            text::Style {
                inline_references: false,
                sort_props: false,
            },
        )
    }

    /// Returns the canonical text with the unreserved properties sorted, as `normalize=true` asks.
    pub fn normalized_text(&self) -> String {
        text::write(
            self,
            self.root,
            text::Style {
                inline_references: false,
                sort_props: true,
            },
        )
    }

    /// Returns a text that needs no references.
    pub fn resolved_text(&self) -> String {
        text::write(
            self,
            self.root,
            text::Style {
                inline_references: true,
                sort_props: false,
            },
        )
    }

    /// Returns the text of one type of this schema, by itself.
    pub(crate) fn text_of(&self, id: TypeId) -> String {
        text::write(
            self,
            id,
            text::Style {
                inline_references: true,
                sort_props: false,
            },
        )
    }

    /// Returns Avro's Parsing Canonical Form: only what decoding needs, full names, fixed order.
    pub fn parsing_canonical_form(&self) -> String {
        text::parsing_canonical_form(self)
    }

    /// Returns the 64-bit Rabin fingerprint of the Parsing Canonical Form, which single-object encoding carries.
    pub fn fingerprint(&self) -> u64 {
        rabin(self.parsing_canonical_form().as_bytes())
    }

    fn is_own(&self, id: TypeId) -> bool {
        id >= self.own_from
    }
}

impl Type {
    /// Returns the name of a record, enum or fixed.
    pub fn name(&self) -> Option<&Name> {
        match &self.kind {
            Kind::Record(r) => Some(&r.name),
            Kind::Enum(e) => Some(&e.name),
            Kind::Fixed(f) => Some(&f.name),
            _ => None,
        }
    }

    /// Returns the aliases of a record, enum or fixed; nothing for others.
    pub fn aliases(&self) -> &[Name] {
        match &self.kind {
            Kind::Record(r) => &r.aliases,
            Kind::Enum(e) => &e.aliases,
            Kind::Fixed(f) => &f.aliases,
            _ => &[],
        }
    }

    pub fn prop(&self, key: &str) -> Option<&Json> {
        self.props.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }
}

impl Kind {
    /// Returns the type's word as schemas spell it.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Float => "float",
            Kind::Double => "double",
            Kind::Bytes => "bytes",
            Kind::String => "string",
            Kind::Array(_) => "array",
            Kind::Map(_) => "map",
            Kind::Union(_) => "union",
            Kind::Fixed(_) => "fixed",
            Kind::Enum(_) => "enum",
            Kind::Record(_) => "record",
        }
    }

    /// Lists the types directly inside, in the order of the text.
    pub fn children(&self) -> impl Iterator<Item = TypeId> {
        let (one, branches, fields) = match self {
            Kind::Array(inner) | Kind::Map(inner) => (Some(*inner), &[][..], &[][..]),
            Kind::Union(branches) => (None, &branches[..], &[][..]),
            Kind::Record(record) => (None, &[][..], &record.fields[..]),
            _ => (None, &[][..], &[][..]),
        };
        let many = branches.iter().copied();
        one.into_iter()
            .chain(many)
            .chain(fields.iter().map(|field| field.ty))
    }

    /// Returns the primitive type with this word.
    pub fn primitive(word: &str) -> Option<Kind> {
        Some(match word {
            "null" => Kind::Null,
            "boolean" => Kind::Boolean,
            "int" => Kind::Int,
            "long" => Kind::Long,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "bytes" => Kind::Bytes,
            "string" => Kind::String,
            _ => return None,
        })
    }
}

impl Record {
    /// Finds a field and its position by name; aliases do not count.
    pub fn field(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields.iter().enumerate().find(|(_, f)| f.name == name)
    }
}

impl Name {
    /// Splits `name` at its last dot; without a dot it lives in `space`.
    pub fn new(name: &str, space: Option<&str>) -> Name {
        let (namespace, name) = match name.rsplit_once('.') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (space, name),
        };
        Name {
            namespace: namespace.filter(|n| !n.is_empty()).map(str::to_owned),
            name: name.to_owned(),
        }
    }

    /// Returns the name with its namespace in front.
    pub fn full(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}.{}", self.name),
            None => self.name.clone(),
        }
    }

    /// Returns the shortest spelling that means this name inside `space`.
    fn relative_to(&self, space: Option<&str>) -> String {
        match &self.namespace {
            // A record named `string` in the same namespace must not read as the primitive.
            Some(namespace) if Some(namespace.as_str()) == space && !is_type_word(&self.name) => {
                self.name.clone()
            }
            _ => self.full(),
        }
    }
}

fn is_type_word(word: &str) -> bool {
    Kind::primitive(word).is_some()
        || matches!(
            word,
            "record" | "enum" | "array" | "map" | "union" | "fixed"
        )
}

impl Order {
    fn word(self) -> &'static str {
        match self {
            Order::Ascending => "ascending",
            Order::Descending => "descending",
            Order::Ignore => "ignore",
        }
    }
}

#[cfg(test)]
mod tests;
