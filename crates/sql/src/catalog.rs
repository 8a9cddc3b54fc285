//! The tables, views and databases that a script has declared so far.
//!
//! A script begins in Flink's `default_catalog`; `CREATE CATALOG` makes others, which hold tables by name alone or are an Iceberg
//! catalog, whose tables need no connector. All are known by what the script declares. A `CREATE TABLE` checks its columns here; its options are checked where the
//! table is used, because only then it is known whether it is read or written (Flink does the same).

use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use crate::parse::WatermarkDef;
use crate::parse::{ColumnDef, Ident, Lifetime, Name, Noun, OptionText, Partitioned, Query};
use crate::suggest::{did_you_mean, near_or_all};
use lw_graph::{Expr, Function, LogicalType, MetadataKey};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

const CATALOG: &str = "default_catalog";
const DATABASE: &str = "default_database";

/// `catalog.database`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub catalog: String,
    pub database: String,
}

/// `catalog.database.object`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path {
    pub place: Place,
    pub object: String,
}

/// Without the catalog where that is the first one: so the definitions of INSERTs have been written since there are others.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.catalog.as_str() {
            CATALOG => f.write_str(&self.database),
            catalog => write!(f, "{catalog}.{}", self.database),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.place, self.object)
    }
}

#[derive(Debug)]
pub(crate) struct Table {
    pub path: Path,
    pub columns: Vec<Column>,
    pub watermark: Option<Watermark>,
    pub primary_key: Vec<Ident>,
    /// Those of PARTITIONED BY, which are stored columns.
    pub partitioned: Option<Partitioned>,
    pub options: Vec<OptionText>,
    pub span: Span,
    /// What was declared, for tables LIKE this one.
    pub declared: Declared,
}

#[derive(Debug)]
pub(crate) struct Declared {
    pub columns: Vec<ColumnDef>,
    pub watermark: Option<WatermarkDef>,
}

#[derive(Debug)]
pub(crate) struct Column {
    pub name: String,
    pub ty: LogicalType,
    pub span: Span,
    pub source: ColumnSource,
}

impl Table {
    /// The columns that a record or a row of the table holds, those whose declaration was refused included.
    pub(crate) fn stored(&self) -> impl Iterator<Item = &Column> {
        let stored =
            |c: &&Column| matches!(c.source, ColumnSource::Physical | ColumnSource::Broken);
        self.columns.iter().filter(stored)
    }

    /// Whether a column's declaration was refused, so that nothing can be said about the columns as a whole.
    pub(crate) fn is_broken(&self) -> bool {
        let mut columns = self.columns.iter();
        columns.any(|c| matches!(c.source, ColumnSource::Broken))
    }
}

impl Column {
    /// Whether it is a processing time: `name AS PROCTIME()`.
    pub(crate) fn is_proctime(&self) -> bool {
        let is_it = |expr: &Expr| matches!(expr, Expr::Call { function, .. } if *function == Function::ProcTime);
        matches!(&self.source, ColumnSource::Computed(expr) if is_it(expr))
    }

    /// What a reference to the column means, over what a record of the table holds (by positions in the table). `None` for a
    /// column whose declaration was refused.
    pub(crate) fn expr(&self, position: usize) -> Option<Expr> {
        let own = |ty: LogicalType| Expr::Column {
            index: position,
            name: self.name.clone(),
            ty,
        };
        Some(match &self.source {
            ColumnSource::Broken => return None,
            ColumnSource::Physical => own(self.ty.clone()),
            ColumnSource::Computed(expr) => expr.clone(),
            ColumnSource::Metadata(key) => {
                let ty = key.ty();
                if ty.kind == self.ty.kind {
                    return Some(own(ty));
                }
                let nullable = ty.nullable;
                Expr::Cast {
                    expr: Box::new(own(ty)),
                    ty: self.ty.kind.clone().nullable().with_nullable(nullable),
                    or_null: false,
                }
            }
        })
    }
}

#[derive(Debug)]
pub(crate) enum ColumnSource {
    Physical,
    Metadata(MetadataKey),
    /// Over what a record holds, by positions in the table.
    Computed(Expr),
    /// Its declaration was refused; expressions over it are not looked at. Where not even its name could be read, that is empty.
    Broken,
}

#[derive(Debug)]
pub(crate) struct Watermark {
    pub column: usize,
    /// Over the columns as they are declared, by their positions.
    pub expression: Expr,
}

#[derive(Debug)]
pub(crate) struct View {
    pub columns: Vec<Ident>,
    pub query: Query,
    /// The database in which the view's own names are looked up.
    pub place: Place,
}

#[derive(Clone, Debug)]
pub(crate) enum Object {
    Table(Rc<Table>),
    View(Rc<View>),
    /// Its CREATE was refused; whoever uses it has been told enough.
    Broken,
}

#[derive(Debug)]
pub(crate) struct Catalog {
    catalogs: BTreeMap<String, Mounted>,
    databases: BTreeSet<Place>,
    pub current: Place,
    objects: BTreeMap<Path, Entry>,
    /// Those that were declared TEMPORARY: they stand before the others.
    temporary: BTreeMap<Path, Entry>,
    /// The objects that were asked for since the last [`Catalog::forget_asked`].
    asked: RefCell<BTreeSet<Path>>,
    /// Databases that no statement has created, with the name that took them for granted.
    assumed: Vec<(String, Span)>,
}

/// What a CREATE CATALOG made.
#[derive(Debug)]
struct Mounted {
    default_database: String,
    /// The options that every table of an Iceberg catalog has.
    iceberg: Option<Vec<OptionText>>,
    /// `None` for the catalog that is there from the start.
    statement: Option<Span>,
}

#[derive(Debug)]
struct Entry {
    object: Object,
    /// The statement that declared it; before it, those of the tables that it is like.
    statements: Vec<Statement>,
}

/// A CREATE, with the name under which it made something.
pub(crate) type Statement = (Path, Span);

impl Catalog {
    pub(crate) fn new() -> Catalog {
        let current = Place {
            catalog: CATALOG.to_string(),
            database: DATABASE.to_string(),
        };
        let first = Mounted {
            default_database: DATABASE.to_string(),
            iceberg: None,
            statement: None,
        };
        Catalog {
            catalogs: BTreeMap::from([(CATALOG.to_string(), first)]),
            databases: BTreeSet::from([current.clone()]),
            current,
            objects: BTreeMap::new(),
            temporary: BTreeMap::new(),
            asked: RefCell::default(),
            assumed: Vec::new(),
        }
    }

    /// Completes a name by the current database.
    pub(crate) fn path(&self, name: &Name) -> Result<Path> {
        let (place, object) = match name.parts.as_slice() {
            [object] => (self.current.clone(), object),
            [database, object] => (self.place(None, database)?, object),
            [catalog, database, object] => (self.place(Some(catalog), database)?, object),
            _ => unreachable!("a name has one to three parts"),
        };
        Ok(Path {
            place,
            object: object.value.clone(),
        })
    }

    fn place(&self, catalog: Option<&Ident>, database: &Ident) -> Result<Place> {
        if let Some(catalog) = catalog {
            self.mounted(catalog)?;
        }
        let catalog = catalog.map_or(&self.current.catalog, |catalog| &catalog.value);
        Ok(Place {
            catalog: catalog.clone(),
            database: database.value.clone(),
        })
    }

    fn mounted(&self, catalog: &Ident) -> Result<&Mounted> {
        if let Some(mounted) = self.catalogs.get(&catalog.value) {
            return Ok(mounted);
        }
        let message = format!("there is no catalog '{}'", catalog.value);
        let known = self.catalogs.keys().map(String::as_str);
        Err(Diagnostic::error("unknown-catalog", catalog.span, message)
            .detail("A catalog is there once the script has created it; default_catalog is there from the start.")
            .hint(format!("CREATE CATALOG {} WITH ('type' = 'iceberg', …)", catalog.value))
            .hint_if(did_you_mean(&catalog.value, known)))
    }

    pub(crate) fn create_catalog(
        &mut self,
        name: &Ident,
        default_database: String,
        iceberg: Option<Vec<OptionText>>,
        statement: Span,
    ) {
        self.databases.insert(Place {
            catalog: name.value.clone(),
            database: default_database.clone(),
        });
        let mounted = Mounted {
            default_database,
            iceberg,
            statement: Some(statement),
        };
        self.catalogs.insert(name.value.clone(), mounted);
    }

    pub(crate) fn has_catalog(&self, name: &str) -> bool {
        self.catalogs.contains_key(name)
    }

    pub(crate) fn use_catalog(&mut self, name: &Ident) -> Result<()> {
        let database = self.mounted(name)?.default_database.clone();
        let catalog = name.value.clone();
        self.current = Place { catalog, database };
        Ok(())
    }

    pub(crate) fn catalogs(&self) -> Vec<String> {
        self.catalogs.keys().cloned().collect()
    }

    /// The options that a table has from its catalog, and the statement that says so.
    pub(crate) fn of_iceberg(&self, path: &Path) -> Option<(Vec<OptionText>, Statement)> {
        let mounted = self.catalogs.get(&path.place.catalog)?;
        let created = Path {
            place: path.place.clone(),
            object: String::new(),
        };
        let statement = (created, mounted.statement?);
        Some((mounted.iceberg.clone()?, statement))
    }

    fn remove_catalog(&mut self, name: &Name, if_exists: bool) -> Result<()> {
        let [catalog] = name.parts.as_slice() else {
            let message = "a catalog's name has one part";
            return Err(Diagnostic::error("syntax", name.span, message));
        };
        if let Err(unknown) = self.mounted(catalog) {
            return if if_exists { Ok(()) } else { Err(unknown) };
        }
        if self.current.catalog == catalog.value {
            let message = format!("catalog '{}' is in use", catalog.value);
            return Err(Diagnostic::error("in-use", name.span, message)
                .hint(format!("USE CATALOG {CATALOG};")));
        }
        self.catalogs.remove(&catalog.value);
        self.databases
            .retain(|place| place.catalog != catalog.value);
        let stays = |path: &Path, _: &mut Entry| path.place.catalog != catalog.value;
        self.objects.retain(stays);
        self.temporary.retain(stays);
        Ok(())
    }

    pub(crate) fn create_database(&mut self, name: &Name, if_not_exists: bool) -> Result<()> {
        let database = self.database_of(name)?;
        if self.databases.insert(database.clone()) || if_not_exists {
            return Ok(());
        }
        let message = format!("database '{database}' already exists");
        Err(Diagnostic::error("exists", name.span, message)
            .hint("write CREATE DATABASE IF NOT EXISTS"))
    }

    pub(crate) fn use_database(&mut self, name: &Name) -> Result<()> {
        let database = self.database_of(name)?;
        if !self.databases.contains(&database) {
            return Err(self.unknown_database(&database, name.span));
        }
        self.current = database;
        Ok(())
    }

    fn database_of(&self, name: &Name) -> Result<Place> {
        match name.parts.as_slice() {
            [database] => self.place(None, database),
            [catalog, database] => self.place(Some(catalog), database),
            _ => Err(Diagnostic::error(
                "syntax",
                name.span,
                "a database's name has at most two parts: catalog.database",
            )),
        }
    }

    fn unknown_database(&self, place: &Place, span: Span) -> Diagnostic {
        let message = format!("there is no database '{place}'");
        let known = self.databases.iter().filter(|p| p.catalog == place.catalog);
        let known = known.map(|place| place.database.as_str());
        Diagnostic::error("unknown-database", span, message)
            .hint(format!("CREATE DATABASE {place}"))
            .hint_if(did_you_mean(&place.database, known))
    }

    /// Whether a CREATE has something to do; its database is created where it is missing.
    pub(crate) fn prepare(
        &mut self,
        name: &Name,
        lifetime: Lifetime,
        if_not_exists: bool,
    ) -> Result<Option<Path>> {
        let path = self.path(name)?;
        if self.of(lifetime).contains_key(&path) {
            if if_not_exists {
                return Ok(None);
            }
            let message = format!("table '{}' already exists", path.object);
            return Err(Diagnostic::error("exists", name.span, message)
                .hint("give it another name, or write CREATE TABLE IF NOT EXISTS"));
        }
        // An Iceberg catalog has databases that no script has made.
        let is_new = self.databases.insert(path.place.clone());
        if is_new && self.catalogs[&path.place.catalog].iceberg.is_none() {
            self.assumed.push((path.place.to_string(), name.span));
        }
        Ok(Some(path))
    }

    /// `like` is what the object is made of besides the statement.
    pub(crate) fn insert(
        &mut self,
        path: Path,
        lifetime: Lifetime,
        object: Object,
        statement: Span,
        like: Vec<Statement>,
    ) {
        let mut statements = like;
        statements.push((path.clone(), statement));
        let entry = Entry { object, statements };
        self.of(lifetime).insert(path, entry);
    }

    fn of(&mut self, lifetime: Lifetime) -> &mut BTreeMap<Path, Entry> {
        match lifetime {
            Lifetime::Permanent => &mut self.objects,
            Lifetime::Temporary => &mut self.temporary,
        }
    }

    fn entry(&self, path: &Path) -> Option<&Entry> {
        self.temporary.get(path).or_else(|| self.objects.get(path))
    }

    /// All that a name may mean now, by name.
    fn entries(&self) -> BTreeMap<&Path, &Entry> {
        self.objects.iter().chain(&self.temporary).collect()
    }

    pub(crate) fn remove(
        &mut self,
        noun: Noun,
        lifetime: Lifetime,
        name: &Name,
        if_exists: bool,
    ) -> Result<()> {
        if let Noun::Database { cascade } = noun {
            return self.remove_database(cascade, name, if_exists);
        }
        if noun == Noun::Catalog {
            return self.remove_catalog(name, if_exists);
        }
        let path = self.path(name)?;
        let what = if noun == Noun::View { "view" } else { "table" };
        if lifetime == Lifetime::Permanent && self.temporary.contains_key(&path) {
            let message = format!("'{}' is a temporary {what}", path.object);
            return Err(Diagnostic::error("temporary", name.span, message)
                .hint(format!("DROP TEMPORARY {}", what.to_uppercase())));
        }
        let entries = match lifetime {
            Lifetime::Permanent => &self.objects,
            Lifetime::Temporary => &self.temporary,
        };
        let object = entries.get(&path).map(|entry| &entry.object);
        let fits = match object {
            Some(Object::Table(_)) => noun == Noun::Table,
            Some(Object::View(_)) => noun == Noun::View,
            Some(Object::Broken) => true,
            None => false,
        };
        match object {
            _ if fits => {
                self.of(lifetime).remove(&path);
                Ok(())
            }
            _ if if_exists => Ok(()),
            Some(_) => {
                let message = format!("'{}' is no {what}", path.object);
                Err(Diagnostic::error("unknown-table", name.span, message))
            }
            None if lifetime == Lifetime::Temporary && self.objects.contains_key(&path) => {
                let message = format!("there is no temporary {what} '{}'", path.object);
                Err(Diagnostic::error("unknown-table", name.span, message)
                    .hint(format!("DROP {}", what.to_uppercase())))
            }
            None => Err(self.unknown(&path, name.span)),
        }
    }

    fn remove_database(&mut self, cascade: bool, name: &Name, if_exists: bool) -> Result<()> {
        let database = self.database_of(name)?;
        let is_default = |mounted: &Mounted| mounted.default_database == database.database;
        if self.catalogs.get(&database.catalog).is_some_and(is_default) {
            let message = "the default database cannot be dropped";
            return Err(Diagnostic::error("unsupported", name.span, message));
        }
        if !self.databases.contains(&database) {
            return match if_exists {
                true => Ok(()),
                false => Err(self.unknown_database(&database, name.span)),
            };
        }
        if !cascade && self.entries().keys().any(|path| path.place == database) {
            let message = format!("database '{database}' is not empty");
            return Err(Diagnostic::error("not-empty", name.span, message)
                .hint(format!("DROP DATABASE {database} CASCADE")));
        }
        self.databases.remove(&database);
        self.objects.retain(|path, _| path.place != database);
        self.temporary.retain(|path, _| path.place != database);
        Ok(())
    }

    /// Of the current catalog.
    pub(crate) fn databases(&self) -> Vec<String> {
        let here = self.databases.iter();
        let here = here.filter(|place| place.catalog == self.current.catalog);
        here.map(|place| place.database.clone()).collect()
    }

    /// Names in a database, the current one where none is given, of what is wanted.
    pub(crate) fn names(
        &self,
        database: Option<&Name>,
        wanted: impl Fn(&Object) -> bool,
    ) -> Result<Vec<String>> {
        let database = match database {
            None => self.current.clone(),
            Some(name) => {
                let database = self.database_of(name)?;
                if !self.databases.contains(&database) {
                    return Err(self.unknown_database(&database, name.span));
                }
                database
            }
        };
        let entries = self.entries();
        let here = entries.iter().filter(|(path, entry)| {
            let object = &entry.object;
            path.place == database && wanted(object) && !matches!(object, Object::Broken)
        });
        Ok(here.map(|(path, _)| path.object.clone()).collect())
    }

    pub(crate) fn assumed_databases(&self) -> &[(String, Span)] {
        &self.assumed
    }

    /// The tables whose own name, without its database, is one of these.
    pub(crate) fn tables_named(&self, names: &BTreeSet<&str>) -> Vec<Rc<Table>> {
        let all = self.objects.iter().chain(&self.temporary);
        let named = |(path, entry): (&Path, &Entry)| match &entry.object {
            Object::Table(table) if names.contains(path.object.as_str()) => Some(table.clone()),
            _ => None,
        };
        all.filter_map(named).collect()
    }

    pub(crate) fn get(&self, name: &Name) -> Result<(Path, Object)> {
        let path = self.path(name)?;
        match self.entry(&path) {
            Some(entry) => {
                self.asked.borrow_mut().insert(path.clone());
                Ok((path, entry.object.clone()))
            }
            None => Err(self.unknown(&path, name.span)),
        }
    }

    /// The statements that a table is made of: its own, and those of the tables that it is like.
    pub(crate) fn statements_of(&self, path: &Path) -> Vec<Statement> {
        self.entry(path)
            .map_or_else(Vec::new, |entry| entry.statements.clone())
    }

    /// From here on [`Catalog::asked`] counts anew.
    pub(crate) fn forget_asked(&self) {
        self.asked.borrow_mut().clear();
    }

    /// The statements that declared what was asked for, each once.
    pub(crate) fn asked(&self) -> Vec<Statement> {
        let mut statements: Vec<Statement> = Vec::new();
        for path in self.asked.borrow().iter() {
            for statement in self.statements_of(path) {
                if !statements.contains(&statement) {
                    statements.push(statement);
                }
            }
        }
        statements
    }

    fn unknown(&self, path: &Path, span: Span) -> Diagnostic {
        let is_iceberg = |mounted: &Mounted| mounted.iceberg.is_some();
        let is_iceberg = self
            .catalogs
            .get(&path.place.catalog)
            .is_some_and(is_iceberg);
        if !is_iceberg && !self.databases.contains(&path.place) {
            return self.unknown_database(&path.place, span);
        }
        let message = format!("there is no table '{}'", path.object);
        let error = Diagnostic::error("unknown-table", span, message);
        if is_iceberg {
            return error
                .detail("A table of an Iceberg catalog is known by its declaration in the script, also where it exists.")
                .hint(format!("CREATE TABLE IF NOT EXISTS {path} (…);"));
        }
        let entries = self.entries();
        let elsewhere = entries.keys().find(|other| other.object == path.object);
        if let Some(other) = elsewhere {
            return error.hint(format!("did you mean {other}?"));
        }
        let known: Vec<&str> = entries
            .keys()
            .filter(|other| other.place == path.place)
            .map(|other| other.object.as_str())
            .collect();
        if known.is_empty() {
            return error.hint("declare it with CREATE TABLE before it is used");
        }
        error.hint_if(near_or_all(&path.object, known, "tables of this script"))
    }
}
