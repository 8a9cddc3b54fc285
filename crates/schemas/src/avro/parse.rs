//! From JSON text to the arena of types.
//!
//! 1. Parse the text of each reference, then the schema's own, into one table of names: definitions come before uses,
//!    as in Java up to 1.11.
//! 2. Each JSON node becomes a [`Type`]; a name that is already in the table becomes the id of its definition.
//! 3. When everything is known, check the defaults (a default of a recursive type needs the whole type).
//!
//! The rules are Java's `Schema.Parser`, because a registry must accept what Confluent's accepts: an unknown name is first
//! looked for in the enclosing namespace, then without one; invalid logical types are ignored; namespaces are not checked.
//! Stricter on purpose: keys that appear twice.

use std::collections::{HashMap, HashSet};
use std::fmt;

use lw_stdx::suggest::nearest;

use super::{
    AvroSchema, Enum, Field, Fixed, Kind, Logical, Name, Order, ParseOptions, Record, Type, TypeId,
};
use crate::json::{self, Json, Step};

/// Why a text is not an Avro schema, and where.
///
/// `Display` prints it all in one line: `type "strin" is not known, at line 3, column 24 (/fields/1/type); did you mean "string"?`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaError {
    pub message: String,
    /// JSON pointer to the offending value; empty for the root and for texts that are not JSON.
    pub path: String,
    pub line: usize,
    pub column: usize,
    pub hint: Option<String>,
    /// Position in the list of references when the fault is in one of them.
    pub reference: Option<usize>,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, at line {}, column {}",
            self.message, self.line, self.column
        )?;
        if !self.path.is_empty() {
            write!(f, " ({})", self.path)?;
        }
        if let Some(reference) = self.reference {
            write!(f, " of reference {}", reference + 1)?;
        }
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SchemaError {}

pub(super) fn parse(
    text: &str,
    references: &[&str],
    options: ParseOptions,
) -> Result<AvroSchema, SchemaError> {
    let mut builder = Builder {
        options,
        ..Builder::default()
    };
    for (i, reference) in references.iter().enumerate() {
        builder.text(reference).map_err(|e| SchemaError {
            reference: Some(i),
            ..e
        })?;
    }
    let own_from = TypeId::new(builder.types.len());
    let root = builder.text(text)?;
    Ok(AvroSchema {
        types: builder.types,
        root,
        names: builder.names,
        own_from,
    })
}

/// A fault before its place in the text is worked out: the path is all the builder knows.
struct Fault {
    message: String,
    hint: Option<String>,
    path: Vec<Step>,
}

type Parsed<T> = Result<T, Fault>;

#[derive(Default)]
struct Builder {
    options: ParseOptions,
    types: Vec<Type>,
    /// How deep each type goes below itself; cycles count as 0.
    heights: Vec<usize>,
    names: HashMap<String, TypeId>,
    path: Vec<Step>,
    /// Types being read at this moment: the recursion's depth.
    open: usize,
    /// Records around the place being read.
    around: Vec<TypeId>,
    /// Fields with defaults, to be checked when everything is known.
    defaults: Vec<DefaultToCheck>,
}

struct DefaultToCheck {
    /// The records around the field, its own last.
    around: Vec<TypeId>,
    position: usize,
    path: Vec<Step>,
}

/// Properties that Avro defines somewhere are not kept as unknown ones, even where they mean nothing.
const RESERVED: [&str; 10] = [
    "aliases",
    "doc",
    "fields",
    "items",
    "name",
    "namespace",
    "size",
    "symbols",
    "values",
    "type",
];
const RESERVED_IN_FIELDS: [&str; 6] = ["default", "doc", "name", "order", "type", "aliases"];

impl Builder {
    fn text(&mut self, text: &str) -> Result<TypeId, SchemaError> {
        let limit = self.options.limits.bytes;
        if text.len() > limit {
            let message = format!(
                "schema text of {} bytes is over the limit of {limit}",
                text.len()
            );
            return Err(SchemaError {
                message,
                path: String::new(),
                line: 1,
                column: 1,
                hint: None,
                reference: None,
            });
        }
        let json = Json::parse(text).map_err(|e| {
            let (line, column) = json::line_and_column(text, e.offset);
            SchemaError {
                message: e.message,
                path: String::new(),
                line,
                column,
                hint: None,
                reference: None,
            }
        })?;
        self.types(&json).map_err(|fault| {
            let (line, column) = json::line_and_column(text, json::locate(text, &fault.path));
            SchemaError {
                message: fault.message,
                path: pointer(&fault.path),
                line,
                column,
                hint: fault.hint,
                reference: None,
            }
        })
    }

    fn types(&mut self, json: &Json) -> Parsed<TypeId> {
        self.path.clear();
        self.around.clear();
        self.open = 0;
        let root = self.ty(json, None)?;
        let defaults = std::mem::take(&mut self.defaults);
        if self.options.validate_defaults {
            for check in defaults {
                self.path = check.path;
                self.check_default(&check.around, check.position)?;
            }
        }
        Ok(root)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(Fault {
            message: message.into(),
            hint: None,
            path: self.path.clone(),
        })
    }

    fn hinted<T>(&self, message: impl Into<String>, hint: impl Into<String>) -> Parsed<T> {
        Err(Fault {
            message: message.into(),
            hint: Some(hint.into()),
            path: self.path.clone(),
        })
    }

    fn at<T>(&mut self, key: &str, f: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.step(Step::Key(key.to_owned()), f)
    }

    /// Runs `f` one step further inside the text; a fault keeps the path it was found at.
    fn step<T>(&mut self, step: Step, f: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.path.push(step);
        let result = f(self);
        self.path.pop();
        result
    }

    /// Adds a type whose children are complete.
    fn add(&mut self, kind: Kind) -> Parsed<TypeId> {
        let height = self.height(&kind);
        let limit = self.options.limits.depth;
        if height > limit {
            return self.fail(format!("types are nested deeper than {limit} levels"));
        }
        self.types.push(Type {
            kind,
            logical: None,
            props: Vec::new(),
        });
        self.heights.push(height);
        Ok(TypeId::new(self.types.len() - 1))
    }

    fn height(&self, kind: &Kind) -> usize {
        let below = |id: &TypeId| self.heights[id.index()];
        let deepest = match kind {
            Kind::Array(item) | Kind::Map(item) => Some(below(item)),
            Kind::Union(branches) => branches.iter().map(below).max(),
            Kind::Record(record) => record.fields.iter().map(|f| below(&f.ty)).max(),
            _ => None,
        };
        deepest.map_or(0, |h| h + 1)
    }

    fn ty(&mut self, json: &Json, space: Option<&str>) -> Parsed<TypeId> {
        // Heights bound finished types, references included; this bounds the recursion that builds them.
        let limit = self.options.limits.depth;
        if self.open > limit {
            return self.fail(format!("types are nested deeper than {limit} levels"));
        }
        self.open += 1;
        let id = self.ty_unbounded(json, space)?;
        self.open -= 1;
        Ok(id)
    }

    fn ty_unbounded(&mut self, json: &Json, space: Option<&str>) -> Parsed<TypeId> {
        match json {
            Json::String(name) => match Kind::primitive(name) {
                Some(kind) => self.add(kind),
                None => self.reference(name, space),
            },
            Json::Array(branches) => self.union(branches, space),
            Json::Object(_) => self.object(json, space),
            other => self.fail(format!(
                "a schema is a name, an object or an array of branches, not {}",
                other.kind()
            )),
        }
    }

    fn reference(&self, name: &str, space: Option<&str>) -> Parsed<TypeId> {
        let near = self.names.get(&Name::new(name, space).full());
        // Java's second look: a name without a dot may live outside all namespaces.
        if let Some(id) = near.or_else(|| self.names.get(name)) {
            return Ok(*id);
        }
        let words = [
            "null", "boolean", "int", "long", "float", "double", "bytes", "string",
        ];
        let message = format!("type \"{name}\" is not known");
        // Longer words would make the comparison costly and the guess useless.
        let mut known: Vec<&str> = self
            .names
            .keys()
            .map(String::as_str)
            .filter(|known| known.len() <= 64)
            .collect();
        known.sort_unstable();
        let guess = if name.len() <= 64 {
            nearest(name, words.into_iter().chain(known))
        } else {
            None
        };
        match guess {
            Some(word) => self.hinted(message, format!("did you mean \"{word}\"?")),
            None => self.hinted(
                message,
                "define it before its first use, or list its subject in the references",
            ),
        }
    }

    fn union(&mut self, branches: &[Json], space: Option<&str>) -> Parsed<TypeId> {
        let mut ids = Vec::with_capacity(branches.len());
        let mut seen = HashSet::new();
        for (i, branch) in branches.iter().enumerate() {
            let id = self.step(Step::Index(i), |b| {
                let id = b.ty(branch, space)?;
                let ty = &b.types[id.index()];
                if matches!(ty.kind, Kind::Union(_)) {
                    return b.fail("a union may not contain a union directly");
                }
                let label = ty
                    .name()
                    .map_or_else(|| ty.kind.word().to_owned(), Name::full);
                if !seen.insert(label.clone()) {
                    return b.fail(format!("the union contains \"{label}\" twice"));
                }
                Ok(id)
            })?;
            ids.push(id);
        }
        self.add(Kind::Union(ids))
    }

    fn object(&mut self, json: &Json, space: Option<&str>) -> Parsed<TypeId> {
        let word = match json.get("type") {
            Some(Json::String(word)) => word.as_str(),
            Some(Json::Object(_) | Json::Array(_)) => {
                return self.at("type", |b| {
                    b.hinted(
                        "\"type\" must be a name here",
                        "write the inner schema in place of the object around it",
                    )
                });
            }
            Some(other) => {
                return self.at("type", |b| {
                    b.fail(format!("\"type\" must be a name, not {}", other.kind()))
                });
            }
            None => return self.fail("a schema object needs a \"type\""),
        };
        let id = match word {
            "record" | "error" => self.record(json, space, word == "error")?,
            "enum" => self.enumeration(json, space)?,
            "fixed" => self.fixed(json, space)?,
            "array" => {
                let item = self.required(json, "items", space)?;
                self.add(Kind::Array(item))?
            }
            "map" => {
                let value = self.required(json, "values", space)?;
                self.add(Kind::Map(value))?
            }
            _ => match Kind::primitive(word) {
                Some(kind) => self.add(kind)?,
                // `{"type": "Known"}` is the named type itself; other keys of the object say nothing about it.
                None => return self.at("type", |b| b.reference(word, space)),
            },
        };
        self.properties(id, json);
        Ok(id)
    }

    fn required(&mut self, json: &Json, key: &str, space: Option<&str>) -> Parsed<TypeId> {
        match json.get(key) {
            Some(inner) => self.at(key, |b| b.ty(inner, space)),
            None => self.fail(format!("missing \"{key}\"")),
        }
    }

    fn properties(&mut self, id: TypeId, json: &Json) {
        let is_enum = matches!(self.types[id.index()].kind, Kind::Enum(_));
        let kept = |key: &str| !RESERVED.contains(&key) && !(is_enum && key == "default");
        let members = json.as_object().unwrap_or_default();
        let ty = &mut self.types[id.index()];
        ty.props = members
            .iter()
            .filter(|(key, _)| kept(key))
            .cloned()
            .collect();
        ty.logical = logical(ty);
    }

    /// Reserves the type's id and name before its inside is read, so that the inside may refer to it.
    fn declare(&mut self, name: &Name, kind: Kind) -> Parsed<TypeId> {
        let full = name.full();
        if self.names.contains_key(&full) {
            return self.at("name", |b| b.fail(format!("\"{full}\" is defined twice")));
        }
        let id = self.add(kind)?;
        self.names.insert(full, id);
        Ok(id)
    }

    fn record(&mut self, json: &Json, space: Option<&str>, is_error: bool) -> Parsed<TypeId> {
        let name = self.name(json, space)?;
        let (aliases, doc) = (self.aliases(json, &name)?, self.optional(json, "doc")?);
        let Some(list) = json.get("fields") else {
            return self.fail("a record needs \"fields\"");
        };
        let inner_space = name.namespace.clone();
        let record = Record {
            name: name.clone(),
            aliases,
            doc,
            fields: Vec::new(),
            is_error,
        };
        let id = self.declare(&name, Kind::Record(record))?;
        self.around.push(id);
        let fields = self.at("fields", |b| match list.as_array() {
            Some(list) => b.fields(list, inner_space.as_deref()),
            None => b.fail(format!("\"fields\" must be an array, not {}", list.kind())),
        })?;
        self.around.pop();
        let Kind::Record(record) = &mut self.types[id.index()].kind else {
            unreachable!("declared as a record above")
        };
        record.fields = fields;
        let height = self.height(&self.types[id.index()].kind);
        let limit = self.options.limits.depth;
        if height > limit {
            return self.fail(format!("types are nested deeper than {limit} levels"));
        }
        self.heights[id.index()] = height;
        Ok(id)
    }

    fn fields(&mut self, list: &[Json], space: Option<&str>) -> Parsed<Vec<Field>> {
        let mut fields: Vec<Field> = Vec::with_capacity(list.len());
        let mut seen = HashSet::new();
        for (i, json) in list.iter().enumerate() {
            let field = self.step(Step::Index(i), |b| {
                let field = b.field(json, space)?;
                if !seen.insert(field.name.clone()) {
                    return b.at("name", |b| {
                        b.fail(format!("the field \"{}\" is declared twice", field.name))
                    });
                }
                if field.default.is_some() {
                    let mut path = b.path.clone();
                    path.push(Step::Key("default".into()));
                    b.defaults.push(DefaultToCheck {
                        around: b.around.clone(),
                        position: i,
                        path,
                    });
                }
                Ok(field)
            })?;
            fields.push(field);
        }
        Ok(fields)
    }

    fn field(&mut self, json: &Json, space: Option<&str>) -> Parsed<Field> {
        let Some(members) = json.as_object() else {
            return self.fail(format!("a field must be an object, not {}", json.kind()));
        };
        let Some(name) = self.optional(json, "name")? else {
            return self.fail("a field needs a \"name\"");
        };
        self.at("name", |b| b.check_name(&name))?;
        let doc = self.optional(json, "doc")?;
        let Some(inner) = json.get("type") else {
            return self.fail(format!("the field \"{name}\" needs a \"type\""));
        };
        let ty = self.at("type", |b| b.ty(inner, space))?;
        let order = match self.optional(json, "order")?.as_deref() {
            None => Order::Ascending,
            Some(word) => match word.to_ascii_lowercase().as_str() {
                "ascending" => Order::Ascending,
                "descending" => Order::Descending,
                "ignore" => Order::Ignore,
                _ => {
                    return self.at("order", |b| {
                        b.hinted(
                            "unknown order",
                            "one of \"ascending\", \"descending\", \"ignore\"",
                        )
                    });
                }
            },
        };
        let default = json.get("default").map(|d| self.default_value(d, ty));
        let props = members
            .iter()
            .filter(|(k, _)| !RESERVED_IN_FIELDS.contains(&k.as_str()))
            .cloned()
            .collect();
        Ok(Field {
            aliases: self.strings(json, "aliases")?,
            name,
            doc,
            ty,
            default,
            order,
            props,
        })
    }

    /// Java reads `"1.5"` as 1.5 in the default of a float or a double.
    fn default_value(&self, json: &Json, ty: TypeId) -> Json {
        let numeric = matches!(self.types[ty.index()].kind, Kind::Float | Kind::Double);
        match json {
            Json::String(text) if numeric => match Json::parse(text) {
                Ok(Json::Number(number)) => Json::Number(number),
                _ => json.clone(),
            },
            _ => json.clone(),
        }
    }

    fn enumeration(&mut self, json: &Json, space: Option<&str>) -> Parsed<TypeId> {
        let name = self.name(json, space)?;
        let (aliases, doc) = (self.aliases(json, &name)?, self.optional(json, "doc")?);
        if json.get("symbols").is_none() {
            return self.fail("an enum needs \"symbols\"");
        }
        let symbols = self.strings(json, "symbols")?;
        let mut seen = HashSet::new();
        for (i, symbol) in symbols.iter().enumerate() {
            self.at("symbols", |b| {
                b.step(Step::Index(i), |b| {
                    b.check_name(symbol)?;
                    if seen.insert(symbol) {
                        Ok(())
                    } else {
                        b.fail(format!("the symbol \"{symbol}\" appears twice"))
                    }
                })
            })?;
        }
        let default = self.optional(json, "default")?;
        if let Some(default) = &default
            && !seen.contains(default)
        {
            return self.at("default", |b| {
                b.fail(format!(
                    "the default \"{default}\" is not one of the symbols"
                ))
            });
        }
        self.declare(
            &name.clone(),
            Kind::Enum(Enum {
                name,
                aliases,
                doc,
                symbols,
                default,
            }),
        )
    }

    fn fixed(&mut self, json: &Json, space: Option<&str>) -> Parsed<TypeId> {
        let name = self.name(json, space)?;
        let (aliases, doc) = (self.aliases(json, &name)?, self.optional(json, "doc")?);
        let size = match json.get("size") {
            Some(size) => match size
                .as_i64()
                .and_then(|s| i32::try_from(s).ok())
                .and_then(|s| usize::try_from(s).ok())
            {
                Some(size) => size,
                None => {
                    return self.at("size", |b| {
                        b.fail("\"size\" must be a whole number of bytes from 0 to 2147483647")
                    });
                }
            },
            None => return self.fail("a fixed needs a \"size\""),
        };
        self.declare(
            &name.clone(),
            Kind::Fixed(Fixed {
                name,
                aliases,
                doc,
                size,
            }),
        )
    }

    fn name(&mut self, json: &Json, space: Option<&str>) -> Parsed<Name> {
        let own_space = self.optional(json, "namespace")?;
        let Some(text) = self.optional(json, "name")? else {
            return self.fail("a named type needs a \"name\"");
        };
        let name = Name::new(&text, own_space.as_deref().or(space));
        self.at("name", |b| {
            b.check_name(&name.name)?;
            if Kind::primitive(&name.full()).is_some() {
                return b.fail(format!(
                    "\"{}\" is a primitive type and cannot be redefined",
                    name.name
                ));
            }
            Ok(())
        })?;
        Ok(name)
    }

    fn aliases(&mut self, json: &Json, name: &Name) -> Parsed<Vec<Name>> {
        let texts = self.strings(json, "aliases")?;
        let mut aliases: Vec<Name> = Vec::with_capacity(texts.len());
        for text in &texts {
            let alias = Name::new(text, name.namespace.as_deref());
            self.at("aliases", |b| b.check_name(&alias.name))?;
            if !aliases.contains(&alias) {
                aliases.push(alias);
            }
        }
        Ok(aliases)
    }

    fn check_name(&self, name: &str) -> Parsed<()> {
        let mut chars = name.chars();
        let first = chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if first && chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Ok(());
        }
        self.hinted(
            format!("\"{name}\" is not a valid name"),
            "letters, digits and '_' only, not starting with a digit",
        )
    }

    fn optional(&mut self, json: &Json, key: &str) -> Parsed<Option<String>> {
        match json.get(key) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.clone())),
            // Java takes these three for absent when they are not text; `"default": null` on an enum is common.
            Some(_) if matches!(key, "doc" | "default" | "namespace") => Ok(None),
            Some(other) => self.at(key, |b| {
                b.fail(format!("\"{key}\" must be a string, not {}", other.kind()))
            }),
        }
    }

    fn strings(&mut self, json: &Json, key: &str) -> Parsed<Vec<String>> {
        let Some(value) = json.get(key) else {
            return Ok(Vec::new());
        };
        self.at(key, |b| {
            let Some(items) = value.as_array() else {
                return b.fail(format!(
                    "\"{key}\" must be an array of strings, not {}",
                    value.kind()
                ));
            };
            let mut texts = Vec::with_capacity(items.len());
            for (i, item) in items.iter().enumerate() {
                match item.as_str() {
                    Some(text) => texts.push(text.to_owned()),
                    None => {
                        return b.step(Step::Index(i), |b| {
                            b.fail(format!("\"{key}\" must hold strings only"))
                        });
                    }
                }
            }
            Ok(texts)
        })
    }

    fn check_default(&self, around: &[TypeId], position: usize) -> Parsed<()> {
        let own = around.last().expect("a field stands in a record");
        let Kind::Record(record) = &self.types[own.index()].kind else {
            unreachable!("declared as a record")
        };
        let field = &record.fields[position];
        let Some(default) = &field.default else {
            return Ok(());
        };
        if fits(&self.types, field.ty, default, around) {
            return Ok(());
        }
        let wanted = describe(&self.types, field.ty);
        let message = format!(
            "the default {default} of field \"{}\" does not fit its type, {wanted}",
            field.name
        );
        match (&self.types[field.ty.index()].kind, default) {
            (_, Json::String(text)) if text == "null" => {
                self.hinted(message, "write null without quotes")
            }
            (kind, Json::Null) if !matches!(kind, Kind::Union(_)) => {
                let kind = kind.word();
                self.hinted(
                    message,
                    format!("make the type [\"null\",\"{kind}\"] to allow null"),
                )
            }
            _ => self.fail(message),
        }
    }
}

/// Tells whether a default's JSON is in Avro's mapping of the type. For unions any branch will do, as in Avro 1.12.
///
/// The records around the field have no defaults yet: a value of theirs could need itself without end.
fn fits(types: &[Type], id: TypeId, value: &Json, around: &[TypeId]) -> bool {
    let inner = |id: TypeId, value: &Json| fits(types, id, value, around);
    match (&types[id.index()].kind, value) {
        (Kind::Null, Json::Null) | (Kind::Boolean, Json::Bool(_)) => true,
        (Kind::Int, Json::Number(_)) => value.as_i64().is_some_and(|v| i32::try_from(v).is_ok()),
        (Kind::Long, Json::Number(_)) => value.as_i64().is_some(),
        (Kind::Float | Kind::Double, Json::Number(_)) => true,
        (Kind::Float | Kind::Double, Json::String(text)) => {
            matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity")
        }
        (Kind::Bytes | Kind::String | Kind::Fixed(_) | Kind::Enum(_), Json::String(_)) => true,
        (Kind::Array(item), Json::Array(values)) => values.iter().all(|v| inner(*item, v)),
        (Kind::Map(of), Json::Object(members)) => members.iter().all(|(_, v)| inner(*of, v)),
        (Kind::Union(branches), _) => branches.iter().any(|b| inner(*b, value)),
        (Kind::Record(_), Json::Object(_)) if around.contains(&id) => false,
        (Kind::Record(record), Json::Object(_)) => record.fields.iter().all(|field| {
            // A field that the value leaves out takes its own default, which is checked where it stands.
            value
                .get(&field.name)
                .map_or(field.default.is_some(), |v| inner(field.ty, v))
        }),
        _ => false,
    }
}

fn describe(types: &[Type], id: TypeId) -> String {
    let ty = &types[id.index()];
    match (&ty.kind, ty.name()) {
        (Kind::Union(branches), _) => {
            let branches: Vec<String> = branches.iter().map(|b| describe(types, *b)).collect();
            format!("a union of {}", branches.join(", "))
        }
        (kind, Some(name)) => format!("{} {}", kind.word(), name.full()),
        (kind, None) => kind.word().to_owned(),
    }
}

/// Reads the logical annotation; `None` when unknown or when its rules do not hold for the type.
fn logical(ty: &Type) -> Option<Logical> {
    let word = ty.prop("logicalType")?.as_str()?;
    Some(match (word, &ty.kind) {
        ("decimal", Kind::Bytes) => decimal(ty, None)?,
        ("decimal", Kind::Fixed(fixed)) => decimal(ty, Some(fixed.size))?,
        ("uuid", Kind::String) => Logical::Uuid,
        ("uuid", Kind::Fixed(fixed)) if fixed.size == 16 => Logical::Uuid,
        ("date", Kind::Int) => Logical::Date,
        ("time-millis", Kind::Int) => Logical::TimeMillis,
        ("time-micros", Kind::Long) => Logical::TimeMicros,
        ("timestamp-millis", Kind::Long) => Logical::TimestampMillis,
        ("timestamp-micros", Kind::Long) => Logical::TimestampMicros,
        ("timestamp-nanos", Kind::Long) => Logical::TimestampNanos,
        ("local-timestamp-millis", Kind::Long) => Logical::LocalTimestampMillis,
        ("local-timestamp-micros", Kind::Long) => Logical::LocalTimestampMicros,
        ("local-timestamp-nanos", Kind::Long) => Logical::LocalTimestampNanos,
        ("duration", Kind::Fixed(fixed)) if fixed.size == 12 => Logical::Duration,
        _ => return None,
    })
}

/// A decimal needs 0 ≤ scale ≤ precision, precision ≥ 1, and digits that fit a fixed of that size.
fn decimal(ty: &Type, fixed_size: Option<usize>) -> Option<Logical> {
    let precision = u32::try_from(ty.prop("precision")?.as_i64()?).ok()?;
    let scale = match ty.prop("scale") {
        Some(scale) => u32::try_from(scale.as_i64()?).ok()?,
        None => 0,
    };
    // floor(log10(2^(8n-1) - 1)) digits always fit n bytes.
    let most = fixed_size.map_or(f64::MAX, |n| {
        ((8 * n).saturating_sub(1) as f64 * 2f64.log10()).floor()
    });
    (precision >= 1 && scale <= precision && f64::from(precision) <= most)
        .then_some(Logical::Decimal { precision, scale })
}

fn pointer(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        out.push('/');
        match step {
            Step::Key(key) => out.push_str(&key.replace('~', "~0").replace('/', "~1")),
            Step::Index(i) => out.push_str(&i.to_string()),
        }
    }
    out
}
