//! The tables, views and databases that a script has declared so far.
//!
//! Everything lives in Flink's `default_catalog`. A `CREATE TABLE` checks its columns here; its options are checked where the
//! table is used, because only then it is known whether it is read or written (Flink does the same).

use crate::Result;
use crate::diagnostic::{Diagnostic, Span};
use crate::parse::{ColumnDef, Ident, Lifetime, Name, Noun, OptionText, Query, WatermarkDef};
use crate::suggest::{did_you_mean, near_or_all};
use lw_graph::{Expr, LogicalType, MetadataKey};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub(crate) const CATALOG: &str = "default_catalog";
const DATABASE: &str = "default_database";

/// `database.object` within the one catalog.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path {
    pub database: String,
    pub object: String,
}

#[derive(Debug)]
pub(crate) struct Table {
    pub path: Path,
    pub columns: Vec<Column>,
    pub watermark: Option<Watermark>,
    pub primary_key: Vec<Ident>,
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
    pub database: String,
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
    databases: BTreeSet<String>,
    pub current: String,
    objects: BTreeMap<Path, Entry>,
    /// Those that were declared TEMPORARY: they stand before the others.
    temporary: BTreeMap<Path, Entry>,
    /// The objects that were asked for since the last [`Catalog::forget_asked`].
    asked: RefCell<BTreeSet<Path>>,
    /// Databases that no statement has created, with the name that took them for granted.
    assumed: Vec<(String, Span)>,
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
        Catalog {
            databases: BTreeSet::from([DATABASE.to_string()]),
            current: DATABASE.to_string(),
            objects: BTreeMap::new(),
            temporary: BTreeMap::new(),
            asked: RefCell::default(),
            assumed: Vec::new(),
        }
    }

    /// Completes a name by the current database.
    pub(crate) fn path(&self, name: &Name) -> Result<Path> {
        let (database, object) = match name.parts.as_slice() {
            [object] => (self.current.clone(), object),
            [database, object] => (database.value.clone(), object),
            [catalog, database, object] => {
                self.check_catalog(catalog)?;
                (database.value.clone(), object)
            }
            _ => unreachable!("a name has one to three parts"),
        };
        Ok(Path {
            database,
            object: object.value.clone(),
        })
    }

    pub(crate) fn check_catalog(&self, catalog: &Ident) -> Result<()> {
        if catalog.value == CATALOG {
            return Ok(());
        }
        let message = format!("there is no catalog '{}'", catalog.value);
        Err(Diagnostic::error("unknown-catalog", catalog.span, message)
            .detail("A script's own tables live in default_catalog.")
            .hint("write database.table; the lakehouse's catalog is the table's option 'catalog-name'"))
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

    fn database_of(&self, name: &Name) -> Result<String> {
        match name.parts.as_slice() {
            [database] => Ok(database.value.clone()),
            [catalog, database] => {
                self.check_catalog(catalog)?;
                Ok(database.value.clone())
            }
            _ => Err(Diagnostic::error(
                "syntax",
                name.span,
                "a database's name has at most two parts: catalog.database",
            )),
        }
    }

    fn unknown_database(&self, database: &str, span: Span) -> Diagnostic {
        let message = format!("there is no database '{database}'");
        let known = self.databases.iter().map(String::as_str);
        Diagnostic::error("unknown-database", span, message)
            .hint(format!("CREATE DATABASE {database}"))
            .hint_if(did_you_mean(database, known))
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
        if self.databases.insert(path.database.clone()) {
            self.assumed.push((path.database.clone(), name.span));
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
        if database == DATABASE {
            let message = "the default database cannot be dropped";
            return Err(Diagnostic::error("unsupported", name.span, message));
        }
        if !self.databases.contains(&database) {
            return match if_exists {
                true => Ok(()),
                false => Err(self.unknown_database(&database, name.span)),
            };
        }
        if !cascade && self.entries().keys().any(|path| path.database == database) {
            let message = format!("database '{database}' is not empty");
            return Err(Diagnostic::error("not-empty", name.span, message)
                .hint(format!("DROP DATABASE {database} CASCADE")));
        }
        self.databases.remove(&database);
        self.objects.retain(|path, _| path.database != database);
        self.temporary.retain(|path, _| path.database != database);
        Ok(())
    }

    pub(crate) fn databases(&self) -> Vec<String> {
        self.databases.iter().cloned().collect()
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
            path.database == database && wanted(object) && !matches!(object, Object::Broken)
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
        if !self.databases.contains(&path.database) {
            return self.unknown_database(&path.database, span);
        }
        let message = format!("there is no table '{}'", path.object);
        let error = Diagnostic::error("unknown-table", span, message);
        let entries = self.entries();
        let elsewhere = entries.keys().find(|other| other.object == path.object);
        if let Some(other) = elsewhere {
            return error.hint(format!("did you mean {}.{}?", other.database, other.object));
        }
        let known: Vec<&str> = entries
            .keys()
            .filter(|other| other.database == path.database)
            .map(|other| other.object.as_str())
            .collect();
        if known.is_empty() {
            return error.hint("declare it with CREATE TABLE before it is used");
        }
        error.hint_if(near_or_all(&path.object, known, "tables of this script"))
    }
}
