//! The records of the `_schemas` topic, in Confluent's layout.
//!
//! ```text
//! key                                                                  value
//! {"keytype":"SCHEMA","subject":"s","version":1,"magic":1}             {"subject":"s","version":1,"id":7,"schema":"…","deleted":false}
//!                                                                      null: the version is gone for good
//! {"keytype":"CONFIG","subject":"s","magic":0}                         {"subject":"s","compatibilityLevel":"FULL"}
//! {"keytype":"MODE","subject":null,"magic":0}                          {"mode":"READONLY"}             (null: everywhere)
//! {"keytype":"DELETE_SUBJECT","subject":"s","magic":0}                 {"subject":"s","version":3}     versions ≤ 3 are soft-deleted
//! {"keytype":"CLEAR_SUBJECT","subject":"s","magic":0}                  {"subject":"s"}                 soft-deleted versions are gone
//! {"keytype":"NOOP","magic":0}                                         null
//! {"keytype":"NOOP","subject":"highest-id","magic":0}                  {"highestId":9}                ours: ids up to 9 were given
//! ```
//!
//! The last one outlives compaction, which takes away the versions that showed the highest id. It is a kind of NOOP, but not
//! the NOOP of Confluent's registry, whose next one would take it away. That registry says in its log that it does not know
//! the key, and passes over it; since another record follows always, it does not wait for this one.
//!
//! The order of a key's members is part of the layout: compaction compares keys as bytes. Members of a value that we do not
//! know (`md5`, `guid`, …) are kept and written back, so a topic mirrored from Confluent's registry loses nothing here.

use std::sync::Arc;

use lw_schemas::Json;

/// One change to the registry's state.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    Schema {
        subject: String,
        version: i32,
        value: Option<SchemaValue>,
    },
    /// Subject `None` is the global setting; value `None` removes the setting.
    Config {
        subject: Option<String>,
        value: Option<Json>,
    },
    Mode {
        subject: Option<String>,
        mode: Option<Mode>,
    },
    DeleteSubject {
        subject: String,
        up_to_version: i32,
    },
    ClearSubject {
        subject: Option<String>,
    },
    /// Every id up to this one was given once, and is not given again.
    HighestId(u32),
    /// Leader marks and kinds of later registries: they change nothing here.
    Ignored,
}

/// What is stored under a subject's version.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaValue {
    pub id: u32,
    pub deleted: bool,
    pub schema: Arc<Schema>,
}

/// A registered schema: everything that makes it the same as another one, and what came along with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// `AVRO`, `PROTOBUF` or `JSON`; the first is left out wherever it is written.
    pub kind: String,
    pub text: Arc<str>,
    pub references: Vec<Reference>,
    pub metadata: Option<Json>,
    pub rule_set: Option<Json>,
    /// Members of the stored value that this registry does not know.
    pub other: Vec<(String, Json)>,
}

/// A named type taken from another subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub name: String,
    pub subject: String,
    /// −1 is the latest one.
    pub version: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    ReadWrite,
    ReadOnly,
    ReadOnlyOverride,
    Import,
    /// Set only by mirrored topics; to us it is read-only.
    Forward,
}

pub(crate) const AVRO: &str = "AVRO";
const HIGHEST_ID: &str = "highest-id";

impl Schema {
    /// Two schemas are the same schema when these texts are the same; then they share an id. What was parsed counts, in which
    /// the members of an object have no order: `{"a":1,"b":1}` and `{"b":1,"a":1}` are the same property.
    pub fn identity(&self) -> String {
        let mut out = String::with_capacity(self.text.len() + 16);
        out.push_str(&self.kind);
        out.push('\0');
        match Json::parse_with_comments(&self.text) {
            Ok(parsed) if self.kind == AVRO => parsed.sorted().write(&mut out),
            _ => out.push_str(&self.text),
        }
        for reference in &self.references {
            out.push_str(&format!(
                "\0{}\0{}\0{}",
                reference.name, reference.subject, reference.version
            ));
        }
        for part in [&self.metadata, &self.rule_set] {
            out.push('\u{1}');
            part.iter().for_each(|json| json.sorted().write(&mut out));
        }
        out
    }

    /// Appends `schemaType`, `references`, `metadata` and `ruleSet`, each only when it says something.
    pub(crate) fn write_attributes(&self, members: &mut Vec<(String, Json)>) {
        if self.kind != AVRO {
            members.push(("schemaType".into(), Json::string(&self.kind)));
        }
        if !self.references.is_empty() {
            members.push((
                "references".into(),
                Json::Array(self.references.iter().map(Reference::to_json).collect()),
            ));
        }
        for (key, part) in [("metadata", &self.metadata), ("ruleSet", &self.rule_set)] {
            if let Some(json) = part {
                members.push((key.into(), json.clone()));
            }
        }
    }
}

impl Reference {
    pub(crate) fn to_json(&self) -> Json {
        Json::object([
            ("name", Json::string(&self.name)),
            ("subject", Json::string(&self.subject)),
            ("version", Json::int(self.version.into())),
        ])
    }

    /// Reads the `references` of a request or a stored value; `None` when they are malformed.
    pub(crate) fn list(json: Option<&Json>) -> Option<Vec<Reference>> {
        match json {
            None | Some(Json::Null) => Some(Vec::new()),
            Some(json) => json.as_array()?.iter().map(Reference::from_json).collect(),
        }
    }

    fn from_json(json: &Json) -> Option<Reference> {
        let text = |key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
        let version = i32::try_from(json.get("version")?.as_i64()?).ok()?;
        Some(Reference {
            name: text("name")?,
            subject: text("subject")?,
            version,
        })
    }
}

impl Mode {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Mode::ReadWrite => "READWRITE",
            Mode::ReadOnly => "READONLY",
            Mode::ReadOnlyOverride => "READONLY_OVERRIDE",
            Mode::Import => "IMPORT",
            Mode::Forward => "FORWARD",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Mode> {
        let all = [
            Mode::ReadWrite,
            Mode::ReadOnly,
            Mode::ReadOnlyOverride,
            Mode::Import,
            Mode::Forward,
        ];
        all.into_iter()
            .find(|mode| mode.word().eq_ignore_ascii_case(word))
    }
}

impl Record {
    /// Writes key and value; a value of `None` is a tombstone.
    pub fn encode(&self) -> (String, Option<String>) {
        let (key, value) = match self {
            Record::Schema {
                subject,
                version,
                value,
            } => {
                let key = [
                    ("keytype", Json::string("SCHEMA")),
                    ("subject", Json::string(subject)),
                    ("version", Json::int((*version).into())),
                    ("magic", Json::int(1)),
                ];
                (
                    Json::object(key),
                    value.as_ref().map(|v| v.encode(subject, *version)),
                )
            }
            Record::Config { subject, value } => (key("CONFIG", subject.as_deref()), value.clone()),
            Record::Mode { subject, mode } => {
                let value = mode.map(|mode| {
                    with_subject(subject.as_deref(), ("mode", Json::string(mode.word())))
                });
                (key("MODE", subject.as_deref()), value)
            }
            Record::DeleteSubject {
                subject,
                up_to_version,
            } => {
                let version = ("version", Json::int((*up_to_version).into()));
                (
                    key("DELETE_SUBJECT", Some(subject)),
                    Some(with_subject(Some(subject), version)),
                )
            }
            Record::ClearSubject { subject } => {
                let value =
                    Json::object([("subject", subject.as_ref().map_or(Json::Null, Json::string))]);
                (key("CLEAR_SUBJECT", subject.as_deref()), Some(value))
            }
            Record::HighestId(id) => (
                Json::object([
                    ("keytype", Json::string("NOOP")),
                    ("subject", Json::string(HIGHEST_ID)),
                    ("magic", Json::int(0)),
                ]),
                Some(Json::object([("highestId", Json::int((*id).into()))])),
            ),
            Record::Ignored => (
                Json::object([("keytype", Json::string("NOOP")), ("magic", Json::int(0))]),
                None,
            ),
        };
        (key.to_string(), value.map(|v| v.to_string()))
    }

    /// Reads a record of any registry that keeps this layout.
    ///
    /// # Errors
    /// When the bytes are not this layout; the text says what is wrong. Such a record changes nothing.
    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Record, String> {
        let Some(key) = key else {
            return Err("the record has no key".into());
        };
        let key = json(key, "key")?;
        let value = match value {
            Some(bytes) if !bytes.is_empty() => {
                Some(json(bytes, "value")?).filter(|v| !v.is_null())
            }
            _ => None,
        };
        let subject = key.get("subject").and_then(Json::as_str).map(str::to_owned);
        let needed = || {
            subject
                .clone()
                .ok_or_else(|| "the key has no subject".to_owned())
        };
        let keytype = key
            .get("keytype")
            .and_then(Json::as_str)
            .ok_or("the key has no keytype")?;
        Ok(match keytype {
            "SCHEMA" => {
                let version = int(&key, "version")
                    .filter(|version| *version > 0)
                    .ok_or("the key has no version from 1 to 2147483647")?;
                let value = value.as_ref().map(SchemaValue::decode).transpose()?;
                Record::Schema {
                    subject: needed()?,
                    version,
                    value,
                }
            }
            "CONFIG" => Record::Config { subject, value },
            "MODE" => {
                let word = value
                    .as_ref()
                    .and_then(|v| v.get("mode"))
                    .and_then(Json::as_str);
                let mode = word
                    .map(|w| Mode::from_word(w).ok_or(format!("unknown mode {w}")))
                    .transpose()?;
                Record::Mode { subject, mode }
            }
            "DELETE_SUBJECT" => match value {
                Some(value) => {
                    let up_to_version = int(&value, "version").ok_or("the value has no version")?;
                    Record::DeleteSubject {
                        subject: needed()?,
                        up_to_version,
                    }
                }
                None => Record::Ignored,
            },
            "NOOP" if subject.as_deref() == Some(HIGHEST_ID) => match value {
                Some(value) => int(&value, "highestId")
                    .and_then(|id| u32::try_from(id).ok())
                    .map(Record::HighestId)
                    .ok_or("the value has no highestId")?,
                None => Record::Ignored,
            },
            "CLEAR_SUBJECT" if value.is_some() => Record::ClearSubject { subject },
            _ => Record::Ignored,
        })
    }
}

impl SchemaValue {
    fn encode(&self, subject: &str, version: i32) -> Json {
        let mut members = vec![
            ("subject".to_owned(), Json::string(subject)),
            ("version".to_owned(), Json::int(version.into())),
            ("id".to_owned(), Json::int(self.id.into())),
        ];
        members.extend(self.schema.other.iter().cloned());
        self.schema.write_attributes(&mut members);
        members.push(("schema".to_owned(), Json::string(&*self.schema.text)));
        members.push(("deleted".to_owned(), Json::Bool(self.deleted)));
        Json::Object(members)
    }

    fn decode(json: &Json) -> Result<SchemaValue, String> {
        let id = int(json, "id")
            .and_then(|id| u32::try_from(id).ok())
            .ok_or("the value has no id from 0 to 2147483647")?;
        let text = json
            .get("schema")
            .and_then(Json::as_str)
            .ok_or("the value has no schema")?;
        let references = Reference::list(json.get("references"))
            .ok_or("the value's references are malformed")?;
        let present = |key: &str| json.get(key).filter(|part| !part.is_null()).cloned();
        let known = [
            "subject",
            "version",
            "id",
            "schemaType",
            "references",
            "metadata",
            "ruleSet",
            "schema",
            "deleted",
        ];
        let members = json.as_object().unwrap_or_default();
        let schema = Schema {
            kind: json
                .get("schemaType")
                .and_then(Json::as_str)
                .unwrap_or(AVRO)
                .to_owned(),
            text: text.into(),
            references,
            metadata: present("metadata"),
            rule_set: present("ruleSet"),
            other: members
                .iter()
                .filter(|(key, _)| !known.contains(&key.as_str()))
                .cloned()
                .collect(),
        };
        let deleted = json.get("deleted").and_then(Json::as_bool).unwrap_or(false);
        Ok(SchemaValue {
            id,
            deleted,
            schema: Arc::new(schema),
        })
    }
}

fn key(keytype: &str, subject: Option<&str>) -> Json {
    Json::object([
        ("keytype", Json::string(keytype)),
        ("subject", subject.map_or(Json::Null, Json::string)),
        ("magic", Json::int(0)),
    ])
}

/// Builds a value; the global one names no subject.
fn with_subject(subject: Option<&str>, member: (&str, Json)) -> Json {
    let subject = subject.map(|s| ("subject", Json::string(s)));
    Json::object(subject.into_iter().chain([member]))
}

fn json(bytes: &[u8], what: &str) -> Result<Json, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| format!("the {what} is not UTF-8"))?;
    Json::parse(text).map_err(|e| format!("the {what} is not JSON: {e}"))
}

fn int(json: &Json, key: &str) -> Option<i32> {
    i32::try_from(json.get(key)?.as_i64()?).ok()
}
