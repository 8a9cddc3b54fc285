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

use lw_stdx::suggest::nearest;

use super::defaults::{self, DefaultToCheck};
use super::error::{Parsed, SchemaError, fail, hinted};
use super::logical::logical;
use super::{
    AvroSchema, Enum, Field, Fixed, Kind, Name, Order, ParseOptions, Record, Type, TypeId,
};
use crate::json::Json;

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
    // Alone, a text nests as deep as it is written. Entered in the middle of a reference, a recursive type can unroll further.
    let limit = options.limits.depth;
    if !references.is_empty() && !builder.is_flat(root, limit, &mut HashSet::new()) {
        return Err(SchemaError::in_text(text, 0, too_deep(limit)));
    }
    Ok(AvroSchema {
        types: builder.types,
        root,
        names: builder.names,
        own_from,
    })
}

#[derive(Default)]
struct Builder {
    options: ParseOptions,
    types: Vec<Type>,
    /// How deep each type goes below itself; cycles count as 0.
    heights: Vec<usize>,
    names: HashMap<String, TypeId>,
    /// Types being read at this moment: the recursion's depth.
    open: usize,
    /// Records around the place being read.
    around: Vec<TypeId>,
    defaults: Vec<DefaultToCheck>,
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

/// Words longer than this are no typing mistakes, and comparing them with every known name would be costly.
const LONGEST_GUESS: usize = 64;

impl Builder {
    fn text(&mut self, text: &str) -> Result<TypeId, SchemaError> {
        let (size, limit) = (text.len(), self.options.limits.bytes);
        if size > limit {
            let message = format!("schema text of {size} bytes is over the limit of {limit}");
            return Err(SchemaError::in_text(text, 0, message));
        }
        let json = Json::parse_with_comments(text)
            .map_err(|e| SchemaError::in_text(text, e.offset, e.message))?;
        self.schema(&json)
            .map_err(|fault| fault.locate(text, &json))
    }

    fn schema(&mut self, json: &Json) -> Parsed<TypeId> {
        self.around.clear();
        self.open = 0;
        let root = self.ty(json, None)?;
        let found = std::mem::take(&mut self.defaults);
        if self.options.validate_defaults {
            defaults::check(&self.types, &found)?;
        }
        Ok(root)
    }

    /// Adds a type whose children are complete.
    fn add(&mut self, json: &Json, kind: Kind) -> Parsed<TypeId> {
        let height = self.height(json, &kind)?;
        self.types.push(Type {
            kind,
            logical: None,
            props: Vec::new(),
        });
        self.heights.push(height);
        Ok(TypeId::new(self.types.len() - 1))
    }

    fn height(&self, json: &Json, kind: &Kind) -> Parsed<usize> {
        let deepest = kind.children().map(|id| self.heights[id.index()] + 1).max();
        let (height, limit) = (deepest.unwrap_or(0), self.options.limits.depth);
        if height > limit {
            return fail(json, too_deep(limit));
        }
        Ok(height)
    }

    /// Tells whether the type, written out, nests no deeper than `room`.
    fn is_flat(&self, id: TypeId, room: usize, written: &mut HashSet<TypeId>) -> bool {
        let ty = &self.types[id.index()];
        if ty.name().is_some() && !written.insert(id) {
            return true;
        }
        let mut children = ty.kind.children();
        match room.checked_sub(1) {
            Some(room) => children.all(|child| self.is_flat(child, room, written)),
            None => children.next().is_none(),
        }
    }

    fn ty(&mut self, json: &Json, space: Option<&str>) -> Parsed<TypeId> {
        // Heights bound finished types, references included; this bounds the recursion that builds them.
        let limit = self.options.limits.depth;
        if self.open > limit {
            return fail(json, too_deep(limit));
        }
        self.open += 1;
        let id = match json {
            Json::String(name) => match Kind::primitive(name) {
                Some(kind) => self.add(json, kind),
                None => self.named(json, name, space),
            },
            Json::Array(branches) => self.union(json, branches, space),
            Json::Object(_) => self.object(json, space),
            other => {
                let message = "a schema is a name, an object or an array of branches, not";
                fail(json, format!("{message} {}", other.kind()))
            }
        }?;
        self.open -= 1;
        Ok(id)
    }

    /// Finds the type that a name stands for.
    fn named(&self, json: &Json, name: &str, space: Option<&str>) -> Parsed<TypeId> {
        let near = self.names.get(&Name::new(name, space).full());
        // Java's second look: a name without a dot may live outside all namespaces.
        if let Some(id) = near.or_else(|| self.names.get(name)) {
            return Ok(*id);
        }
        let words = [
            "null", "boolean", "int", "long", "float", "double", "bytes", "string",
        ];
        let is_short = |word: &&str| word.len() <= LONGEST_GUESS;
        let mut known: Vec<&str> = self.names.keys().map(String::as_str).collect();
        known.retain(is_short);
        known.sort_unstable();
        let guess = Some(name)
            .filter(is_short)
            .and_then(|name| nearest(name, words.into_iter().chain(known)));
        let hint = match guess {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => "define it before its first use, or list its subject in the references".into(),
        };
        hinted(json, format!("type \"{name}\" is not known"), hint)
    }

    fn union(&mut self, json: &Json, branches: &[Json], space: Option<&str>) -> Parsed<TypeId> {
        let mut ids = Vec::with_capacity(branches.len());
        let mut seen = HashSet::new();
        for branch in branches {
            let id = self.ty(branch, space)?;
            let ty = &self.types[id.index()];
            if matches!(ty.kind, Kind::Union(_)) {
                return fail(branch, "a union may not contain a union directly");
            }
            let word = || ty.kind.word().to_owned();
            let label = ty.name().map_or_else(word, Name::full);
            if seen.contains(&label) {
                return fail(branch, format!("the union contains \"{label}\" twice"));
            }
            seen.insert(label);
            ids.push(id);
        }
        self.add(json, Kind::Union(ids))
    }

    fn object(&mut self, json: &Json, space: Option<&str>) -> Parsed<TypeId> {
        let Some(given) = json.get("type") else {
            return fail(json, "a schema object needs a \"type\"");
        };
        let word = match given {
            Json::String(word) => word.as_str(),
            Json::Object(_) | Json::Array(_) => {
                let hint = "write the inner schema in place of the object around it";
                return hinted(given, "\"type\" must be a name here", hint);
            }
            other => {
                return fail(
                    given,
                    format!("\"type\" must be a name, not {}", other.kind()),
                );
            }
        };
        let id = match word {
            "record" | "error" => self.record(json, space, word == "error")?,
            "enum" => self.enumeration(json, space)?,
            "fixed" => self.fixed(json, space)?,
            "array" => {
                let item = self.required(json, "items", space)?;
                self.add(json, Kind::Array(item))?
            }
            "map" => {
                let value = self.required(json, "values", space)?;
                self.add(json, Kind::Map(value))?
            }
            _ => match Kind::primitive(word) {
                Some(kind) => self.add(json, kind)?,
                // `{"type": "Known"}` is the named type itself; other keys of the object say nothing about it.
                None => return self.named(given, word, space),
            },
        };
        self.properties(id, json);
        Ok(id)
    }

    fn required(&mut self, json: &Json, key: &str, space: Option<&str>) -> Parsed<TypeId> {
        match json.get(key) {
            Some(inner) => self.ty(inner, space),
            None => fail(json, format!("missing \"{key}\"")),
        }
    }

    fn properties(&mut self, id: TypeId, json: &Json) {
        let ty = &mut self.types[id.index()];
        let is_enum = matches!(ty.kind, Kind::Enum(_));
        let kept = |key: &str| !(RESERVED.contains(&key) || is_enum && key == "default");
        let members = json.as_object().unwrap_or_default().iter();
        ty.props = members.filter(|(key, _)| kept(key)).cloned().collect();
        ty.logical = logical(ty);
    }

    /// Reserves the type's id and name before its inside is read, so that the inside may refer to it.
    fn declare(&mut self, json: &Json, full: String, kind: Kind) -> Parsed<TypeId> {
        if self.names.contains_key(&full) {
            let name = json.get("name").unwrap_or(json);
            return fail(name, format!("\"{full}\" is defined twice"));
        }
        let id = self.add(json, kind)?;
        self.names.insert(full, id);
        Ok(id)
    }

    fn record(&mut self, json: &Json, space: Option<&str>, is_error: bool) -> Parsed<TypeId> {
        let name = type_name(json, space)?;
        let (aliases, doc) = (type_aliases(json, &name)?, optional(json, "doc")?);
        let Some(list) = json.get("fields") else {
            return fail(json, "a record needs \"fields\"");
        };
        let Some(list) = list.as_array() else {
            let message = format!("\"fields\" must be an array, not {}", list.kind());
            return fail(list, message);
        };
        let (full, inner_space) = (name.full(), name.namespace.clone());
        let record = Record {
            name,
            aliases,
            doc,
            fields: Vec::new(),
            is_error,
        };
        let id = self.declare(json, full, Kind::Record(record))?;
        self.around.push(id);
        let fields = self.fields(list, inner_space.as_deref())?;
        self.around.pop();
        let Kind::Record(record) = &mut self.types[id.index()].kind else {
            unreachable!("declared as a record above")
        };
        record.fields = fields;
        self.heights[id.index()] = self.height(json, &self.types[id.index()].kind)?;
        Ok(id)
    }

    fn fields(&mut self, list: &[Json], space: Option<&str>) -> Parsed<Vec<Field>> {
        let mut fields: Vec<Field> = Vec::with_capacity(list.len());
        let mut seen = HashSet::new();
        for (position, json) in list.iter().enumerate() {
            let field = self.field(json, space)?;
            if !seen.insert(field.name.clone()) {
                let name = json.get("name").unwrap_or(json);
                let message = format!("the field \"{}\" is declared twice", field.name);
                return fail(name, message);
            }
            if let Some(default) = json.get("default") {
                self.defaults.push(DefaultToCheck {
                    around: self.around.clone(),
                    position,
                    at: default,
                });
            }
            fields.push(field);
        }
        Ok(fields)
    }

    fn field(&mut self, json: &Json, space: Option<&str>) -> Parsed<Field> {
        let Some(members) = json.as_object() else {
            return fail(
                json,
                format!("a field must be an object, not {}", json.kind()),
            );
        };
        let Some(name) = optional(json, "name")? else {
            return fail(json, "a field needs a \"name\"");
        };
        check_name(json.get("name").unwrap_or(json), &name)?;
        let doc = optional(json, "doc")?;
        let Some(inner) = json.get("type") else {
            return fail(json, format!("the field \"{name}\" needs a \"type\""));
        };
        let ty = self.ty(inner, space)?;
        let kept = |key: &str| !RESERVED_IN_FIELDS.contains(&key);
        let props = members.iter().filter(|(key, _)| kept(key));
        Ok(Field {
            aliases: field_aliases(json)?,
            name,
            doc,
            ty,
            default: json.get("default").map(|d| self.default_value(d, ty)),
            order: order(json)?,
            props: props.cloned().collect(),
        })
    }

    fn default_value(&self, json: &Json, ty: TypeId) -> Json {
        let is_number = matches!(self.types[ty.index()].kind, Kind::Float | Kind::Double);
        let read = json.as_str().filter(|_| is_number);
        read.and_then(defaults::number_in_text)
            .unwrap_or_else(|| json.clone())
    }

    fn enumeration(&mut self, json: &Json, space: Option<&str>) -> Parsed<TypeId> {
        let name = type_name(json, space)?;
        let (aliases, doc) = (type_aliases(json, &name)?, optional(json, "doc")?);
        if json.get("symbols").is_none() {
            return fail(json, "an enum needs \"symbols\"");
        }
        let symbols = strings(json, "symbols")?;
        let mut seen = HashSet::new();
        for (at, symbol) in &symbols {
            check_name(at, symbol)?;
            if !seen.insert(*symbol) {
                return fail(*at, format!("the symbol \"{symbol}\" appears twice"));
            }
        }
        let default = optional(json, "default")?;
        if let Some(word) = default.as_deref().filter(|word| !seen.contains(word)) {
            let message = format!("the default \"{word}\" is not one of the symbols");
            return fail(json.get("default").unwrap_or(json), message);
        }
        let full = name.full();
        let kind = Kind::Enum(Enum {
            name,
            aliases,
            doc,
            symbols: symbols.iter().map(|(_, s)| (*s).to_owned()).collect(),
            default,
        });
        self.declare(json, full, kind)
    }

    fn fixed(&mut self, json: &Json, space: Option<&str>) -> Parsed<TypeId> {
        let name = type_name(json, space)?;
        let (aliases, doc) = (type_aliases(json, &name)?, optional(json, "doc")?);
        let Some(given) = json.get("size") else {
            return fail(json, "a fixed needs a \"size\"");
        };
        let size = given.as_i64().and_then(|size| i32::try_from(size).ok());
        let Some(size) = size.and_then(|size| usize::try_from(size).ok()) else {
            let message = "\"size\" must be a whole number of bytes from 0 to 2147483647";
            return fail(given, message);
        };
        let full = name.full();
        let kind = Kind::Fixed(Fixed {
            name,
            aliases,
            doc,
            size,
        });
        self.declare(json, full, kind)
    }
}

fn too_deep(limit: usize) -> String {
    format!("types are nested deeper than {limit} levels")
}

fn type_name(json: &Json, space: Option<&str>) -> Parsed<Name> {
    let own_space = optional(json, "namespace")?;
    let Some(text) = optional(json, "name")? else {
        return fail(json, "a named type needs a \"name\"");
    };
    let at = json.get("name").unwrap_or(json);
    let name = Name::new(&text, own_space.as_deref().or(space));
    check_name(at, &name.name)?;
    if Kind::primitive(&name.full()).is_some() {
        let message = "is a primitive type and cannot be redefined";
        return fail(at, format!("\"{}\" {message}", name.name));
    }
    Ok(name)
}

fn type_aliases(json: &Json, name: &Name) -> Parsed<Vec<Name>> {
    let mut seen = HashSet::new();
    let mut aliases = Vec::new();
    for (at, text) in strings(json, "aliases")? {
        let alias = Name::new(text, name.namespace.as_deref());
        check_name(at, &alias.name)?;
        if seen.insert(alias.clone()) {
            aliases.push(alias);
        }
    }
    Ok(aliases)
}

fn field_aliases(json: &Json) -> Parsed<Vec<String>> {
    let mut seen = HashSet::new();
    let aliases = strings(json, "aliases")?.into_iter();
    let aliases = aliases.map(|(_, alias)| alias);
    Ok(aliases
        .filter(|alias| seen.insert(*alias))
        .map(str::to_owned)
        .collect())
}

fn check_name(at: &Json, name: &str) -> Parsed<()> {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_valid =
        name.starts_with(is_start) && name.chars().all(|c| is_start(c) || c.is_ascii_digit());
    if is_valid {
        return Ok(());
    }
    let hint = "letters, digits and '_' only, not starting with a digit";
    hinted(at, format!("\"{name}\" is not a valid name"), hint)
}

fn order(json: &Json) -> Parsed<Order> {
    let Some(word) = optional(json, "order")? else {
        return Ok(Order::Ascending);
    };
    match word.to_ascii_lowercase().as_str() {
        "ascending" => Ok(Order::Ascending),
        "descending" => Ok(Order::Descending),
        "ignore" => Ok(Order::Ignore),
        _ => {
            let hint = "one of \"ascending\", \"descending\", \"ignore\"";
            hinted(json.get("order").unwrap_or(json), "unknown order", hint)
        }
    }
}

fn optional(json: &Json, key: &str) -> Parsed<Option<String>> {
    match json.get(key) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        // Java takes these three for absent when they are not text; `"default": null` on an enum is common.
        Some(_) if matches!(key, "doc" | "default" | "namespace") => Ok(None),
        Some(other) => {
            let message = format!("\"{key}\" must be a string, not {}", other.kind());
            fail(other, message)
        }
    }
}

/// Returns the strings of an array, each with its place; none when the key is absent.
fn strings<'j>(json: &'j Json, key: &str) -> Parsed<Vec<(&'j Json, &'j str)>> {
    let Some(value) = json.get(key) else {
        return Ok(Vec::new());
    };
    let Some(items) = value.as_array() else {
        let message = format!(
            "\"{key}\" must be an array of strings, not {}",
            value.kind()
        );
        return fail(value, message);
    };
    let text = |item: &'j Json| match item.as_str() {
        Some(text) => Ok((item, text)),
        None => fail(item, format!("\"{key}\" must hold strings only")),
    };
    items.iter().map(text).collect()
}
