//! From the arena back to text: the form a Confluent registry stores, and Avro's Parsing Canonical Form.
//!
//! The stored form is that of Java's `Schema.toString`, since stored texts are compared byte by byte with what Java wrote.
//! Its rules: keys in Avro's order, then unknown properties in the order of the source, aliases last (of fields: before
//! the properties); a named type is written out once and by name afterwards; `namespace` appears only where it differs
//! from the one around it, and a primitive without properties is only its word.

use std::collections::HashSet;

use super::{AvroSchema, Enum, Field, Fixed, Kind, Name, Order, Record, Type, TypeId};
use crate::json::{Json, write_string};

#[derive(Clone, Copy)]
pub(super) struct Style {
    /// Writes out types that came from references, instead of naming them.
    pub(super) inline_references: bool,
    pub(super) sort_props: bool,
}

pub(super) fn write(schema: &AvroSchema, id: TypeId, style: Style) -> String {
    let mut writer = Writer {
        schema,
        style,
        out: String::new(),
        written: HashSet::new(),
        depth: 0,
    };
    writer.ty(id, None);
    writer.out
}

struct Writer<'a> {
    schema: &'a AvroSchema,
    style: Style,
    out: String,
    written: HashSet<TypeId>,
    depth: usize,
}

/// Deeper than any schema nests from its root. A recursive type told by itself, for a message, may unroll further: from
/// here on by name.
const MAX_DEPTH: usize = 256;

impl<'a> Writer<'a> {
    fn ty(&mut self, id: TypeId, space: Option<&str>) {
        let ty = self.schema.get(id);
        if let Some(name) = ty.name() {
            let by_reference = !self.style.inline_references && !self.schema.is_own(id);
            if by_reference || self.depth > MAX_DEPTH || !self.written.insert(id) {
                write_string(&name.relative_to(space), &mut self.out);
                return;
            }
        }
        self.depth += 1;
        match &ty.kind {
            Kind::Union(branches) => self.list(branches, |w, branch| w.ty(*branch, space)),
            Kind::Array(item) => self.container("array", "items", *item, ty, space),
            Kind::Map(value) => self.container("map", "values", *value, ty, space),
            Kind::Record(record) => self.record(record, ty, space),
            Kind::Enum(e) => self.enumeration(e, ty, space),
            Kind::Fixed(fixed) => self.fixed(fixed, ty, space),
            primitive if ty.props.is_empty() => write_string(primitive.word(), &mut self.out),
            primitive => {
                self.open("type");
                write_string(primitive.word(), &mut self.out);
                self.props(&ty.props);
                self.out.push('}');
            }
        }
        self.depth -= 1;
    }

    fn open(&mut self, key: &str) {
        self.out.push('{');
        write_string(key, &mut self.out);
        self.out.push(':');
    }

    fn key(&mut self, key: &str) {
        self.out.push(',');
        write_string(key, &mut self.out);
        self.out.push(':');
    }

    fn list<T>(&mut self, items: &'a [T], mut each: impl FnMut(&mut Self, &'a T)) {
        self.out.push('[');
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            each(self, item);
        }
        self.out.push(']');
    }

    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        write_string(text, &mut self.out);
    }

    fn props(&mut self, props: &[(String, Json)]) {
        let mut order: Vec<&(String, Json)> = props.iter().collect();
        if self.style.sort_props {
            order.sort_by(|a, b| a.0.cmp(&b.0));
        }
        for (key, value) in order {
            self.key(key);
            value.write(&mut self.out);
        }
    }

    fn container(&mut self, word: &str, key: &str, inner: TypeId, ty: &Type, space: Option<&str>) {
        self.open("type");
        write_string(word, &mut self.out);
        self.key(key);
        self.ty(inner, space);
        self.props(&ty.props);
        self.out.push('}');
    }

    /// Opens a named type: kind, name, namespace where it changes, doc.
    fn head(&mut self, word: &str, name: &Name, doc: Option<&str>, space: Option<&str>) {
        self.open("type");
        write_string(word, &mut self.out);
        self.text("name", &name.name);
        let namespace = name.namespace.as_deref();
        if namespace != space {
            self.text("namespace", namespace.unwrap_or(""));
        }
        if let Some(doc) = doc {
            self.text("doc", doc);
        }
    }

    /// Closes a named type: unknown properties, then aliases.
    fn tail(&mut self, ty: &'a Type, name: &Name) {
        self.props(&ty.props);
        if !ty.aliases().is_empty() {
            self.key("aliases");
            self.list(ty.aliases(), |w, alias| {
                write_string(&alias.relative_to(name.namespace.as_deref()), &mut w.out);
            });
        }
        self.out.push('}');
    }

    fn record(&mut self, record: &'a Record, ty: &'a Type, space: Option<&str>) {
        let word = if record.is_error { "error" } else { "record" };
        self.head(word, &record.name, record.doc.as_deref(), space);
        self.key("fields");
        self.list(&record.fields, |w, field| {
            w.field(field, record.name.namespace.as_deref())
        });
        self.tail(ty, &record.name);
    }

    fn field(&mut self, field: &'a Field, space: Option<&str>) {
        self.open("name");
        write_string(&field.name, &mut self.out);
        self.key("type");
        self.ty(field.ty, space);
        if let Some(doc) = &field.doc {
            self.text("doc", doc);
        }
        if let Some(default) = &field.default {
            self.key("default");
            default.write(&mut self.out);
        }
        if field.order != Order::Ascending {
            self.text("order", field.order.word());
        }
        if !field.aliases.is_empty() {
            self.key("aliases");
            self.list(&field.aliases, |w, alias| write_string(alias, &mut w.out));
        }
        self.props(&field.props);
        self.out.push('}');
    }

    fn enumeration(&mut self, e: &'a Enum, ty: &'a Type, space: Option<&str>) {
        self.head("enum", &e.name, e.doc.as_deref(), space);
        self.key("symbols");
        self.list(&e.symbols, |w, symbol| write_string(symbol, &mut w.out));
        if let Some(default) = &e.default {
            self.text("default", default);
        }
        self.tail(ty, &e.name);
    }

    fn fixed(&mut self, fixed: &'a Fixed, ty: &'a Type, space: Option<&str>) {
        self.head("fixed", &fixed.name, fixed.doc.as_deref(), space);
        self.key("size");
        self.out.push_str(&fixed.size.to_string());
        self.tail(ty, &fixed.name);
    }
}

/// Writes the Parsing Canonical Form of the specification: PRIMITIVES, FULLNAMES, STRIP, ORDER, STRINGS, INTEGERS, WHITESPACE.
pub(super) fn parsing_canonical_form(schema: &AvroSchema) -> String {
    let mut out = String::new();
    canonical(schema, schema.root_id(), &mut HashSet::new(), &mut out);
    out
}

fn canonical(schema: &AvroSchema, id: TypeId, written: &mut HashSet<TypeId>, out: &mut String) {
    let ty = schema.get(id);
    if let Some(name) = ty.name() {
        if !written.insert(id) {
            write_string(&name.full(), out);
            return;
        }
        out.push_str("{\"name\":");
        write_string(&name.full(), out);
        out.push_str(",\"type\":");
        write_string(ty.kind.word(), out);
    }
    match &ty.kind {
        Kind::Record(record) => {
            out.push_str(",\"fields\":[");
            for (i, field) in record.fields.iter().enumerate() {
                out.push_str(if i > 0 { ",{\"name\":" } else { "{\"name\":" });
                write_string(&field.name, out);
                out.push_str(",\"type\":");
                canonical(schema, field.ty, written, out);
                out.push('}');
            }
            out.push_str("]}");
        }
        Kind::Enum(e) => {
            out.push_str(",\"symbols\":");
            Json::Array(e.symbols.iter().map(Json::string).collect()).write(out);
            out.push('}');
        }
        Kind::Fixed(fixed) => out.push_str(&format!(",\"size\":{}}}", fixed.size)),
        Kind::Array(inner) | Kind::Map(inner) => {
            let key = if matches!(ty.kind, Kind::Array(_)) {
                "items"
            } else {
                "values"
            };
            out.push_str(&format!("{{\"type\":\"{}\",\"{key}\":", ty.kind.word()));
            canonical(schema, *inner, written, out);
            out.push('}');
        }
        Kind::Union(branches) => {
            out.push('[');
            for (i, branch) in branches.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                canonical(schema, *branch, written, out);
            }
            out.push(']');
        }
        primitive => write_string(primitive.word(), out),
    }
}
