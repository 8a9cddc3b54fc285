//! The catalog under power cuts: namespaces, tables and views come, change, get other names and go, from a seed.
//!
//! Beside the catalog stands a model of it, some maps. After each operation the catalog, read through its public operations,
//! is what the model is, or the model said why not:
//!
//! - C1: what was answered stays, through any power cut;
//! - C2: an operation that the power cut short happened whole or not at all, a commit to two tables too;
//! - C3: what the catalog names can be read: the metadata behind every pointer is there;
//! - C4: a name is a table's or a view's, never both; a namespace with something in it stays;
//! - C5: a request with a key that is sent again after a cut is done then, once, whatever became of it the first time.

use super::world::{HandClock, World};
use crate::catalog::embedded::{Creation, LIFETIME, Purge, Request, TableChange};
use crate::catalog::{ViewCreation, ViewRequirement};
use crate::error::Kind;
use crate::{Catalog, CatalogError, Ids, TableCatalog};
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate, ViewUpdate};
use lw_sim::{SimClock, SimDisk, Trouble};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

const STEPS: usize = 60;
/// The property that every change sets anew.
const MARK: &str = "mark";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Table,
    View,
}

/// What the catalog has to have: names with what they are and their newest mark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    namespaces: Vec<String>,
    things: BTreeMap<(String, String), (Thing, u32)>,
}

#[derive(Clone, Debug)]
enum Change {
    MakeNamespace(String),
    DropNamespace(String),
    Make(Thing, (String, String), u32),
    Mark(Thing, (String, String), u32),
    /// Two tables in one commit.
    MarkBoth([(String, String); 2], u32),
    Rename(Thing, (String, String), (String, String)),
    Drop(Thing, (String, String)),
}

impl Model {
    /// What the catalog is after a change, or why it refuses it.
    fn after(&self, change: &Change) -> Result<Model, Kind> {
        let mut model = self.clone();
        let missing = |thing| match thing {
            Thing::Table => Kind::NoSuchTable,
            Thing::View => Kind::NoSuchView,
        };
        match change {
            Change::MakeNamespace(name) => {
                if self.namespaces.contains(name) {
                    return Err(Kind::AlreadyExists);
                }
                model.namespaces.push(name.clone());
                model.namespaces.sort();
            }
            Change::DropNamespace(name) => {
                if !self.namespaces.contains(name) {
                    return Err(Kind::NoSuchNamespace);
                }
                if self.things.keys().any(|(namespace, _)| namespace == name) {
                    return Err(Kind::NamespaceNotEmpty);
                }
                model.namespaces.retain(|other| other != name);
            }
            Change::Make(thing, name, mark) => {
                if !self.namespaces.contains(&name.0) {
                    return Err(Kind::NoSuchNamespace);
                }
                if self.things.contains_key(name) {
                    return Err(Kind::AlreadyExists);
                }
                model.things.insert(name.clone(), (*thing, *mark));
            }
            Change::Mark(thing, name, mark) => model.mark(*thing, name, *mark)?,
            Change::MarkBoth(names, mark) => {
                for name in names {
                    model.mark(Thing::Table, name, *mark)?;
                }
            }
            Change::Rename(thing, from, to) => {
                let there = model.things.remove(from);
                let Some(it) = there.filter(|(kind, _)| kind == thing) else {
                    return Err(missing(*thing));
                };
                if !self.namespaces.contains(&to.0) {
                    return Err(Kind::NoSuchNamespace);
                }
                if self.things.contains_key(to) {
                    return Err(Kind::AlreadyExists);
                }
                model.things.insert(to.clone(), it);
            }
            Change::Drop(thing, name) => {
                let there = model.things.remove(name);
                if there.is_none_or(|(kind, _)| kind != *thing) {
                    return Err(missing(*thing));
                }
            }
        }
        Ok(model)
    }

    fn mark(&mut self, thing: Thing, name: &(String, String), mark: u32) -> Result<(), Kind> {
        match self.things.get_mut(name) {
            Some((kind, newest)) if *kind == thing => *newest = mark,
            _ if thing == Thing::Table => return Err(Kind::NoSuchTable),
            _ => return Err(Kind::NoSuchView),
        }
        Ok(())
    }
}

/// Mistakes that the model has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// A commit to two tables is two commits.
    CommitInParts,
    /// A request's key is not kept.
    KeyForgotten,
    /// An answer comes before the change is durable.
    AnsweredEarly,
}

struct Machine {
    planted: Planted,
    random: StdRng,
    disk: SimDisk,
    clock: Arc<HandClock>,
    ids: Ids,
    model: Model,
    history: Vec<String>,
    cuts: u32,
    marks: u32,
}

impl Machine {
    fn new(seed: u64, planted: Planted) -> Machine {
        Machine {
            planted,
            random: StdRng::seed_from_u64(seed),
            disk: SimDisk::new(seed, Arc::new(SimClock::new())),
            clock: HandClock::new(),
            ids: Ids::seeded(seed),
            model: Model::default(),
            history: Vec::new(),
            cuts: 0,
            marks: 0,
        }
    }

    fn open(&self) -> World {
        World::open_stepped(
            Arc::new(self.disk.clone()),
            Path::new("/server"),
            self.clock.clone(),
            self.ids.clone(),
        )
    }

    fn run(&mut self) -> Result<(), String> {
        let mut world = self.open();
        for _ in 0..STEPS {
            self.clock.go(1_000);
            if self.random.random_bool(0.3) {
                let after = self.random.random_range(0..14);
                self.disk.cause(Trouble::PowerOff { after });
            }
            let change = self.change();
            let key = self.random.random_bool(0.5).then(|| self.ids.next());
            self.history.push(format!("{change:?} {key:?}"));
            let expected = self.model.after(&change);
            let answered = self.send(&world, &change, key);
            if self.disk.is_off() {
                self.history.push("the power is cut".to_owned());
                self.cuts += 1;
                drop(world);
                self.disk.crash();
                world = self.open();
                self.settle(&world, expected.clone().ok(), answered.is_ok())?;
                if key.is_some() {
                    self.send_again(&world, &change, key, expected)?;
                }
                continue;
            }
            self.disk.cause(Trouble::PowerOff {
                after: u64::MAX / 2,
            });
            match (expected, answered) {
                (Ok(model), Ok(())) => self.model = model,
                (Err(kind), Err(error)) if error.kind == kind => {}
                (expected, answered) => {
                    let expected = expected.map(|_| "done");
                    return Err(format!("{expected:?} was expected: {answered:?}"));
                }
            }
            let found = read(&world)?;
            if found != self.model {
                return Err(format!("C4: {found:#?} is not {:#?}", self.model));
            }
        }
        Ok(())
    }

    /// After a cut: what was answered before, and the change in doubt or nothing of it.
    fn settle(
        &mut self,
        world: &World,
        changed: Option<Model>,
        was_told: bool,
    ) -> Result<(), String> {
        let found = read(world)?;
        if let Some(changed) = changed.filter(|changed| *changed == found) {
            self.model = changed;
            return Ok(());
        }
        if was_told {
            return Err(format!("C1: it was answered, and is not there: {found:#?}"));
        }
        if found != self.model {
            return Err(format!(
                "C2: half of it: {found:#?}, before {:#?}",
                self.model
            ));
        }
        Ok(())
    }

    /// The client got no answer, and asks again under its key.
    fn send_again(
        &mut self,
        world: &World,
        change: &Change,
        key: Option<Uuid>,
        expected: Result<Model, Kind>,
    ) -> Result<(), String> {
        // A power cut may come before the refusal is kept, never between a change and its key.
        let answered = self.send(world, change, key).map_err(|error| error.kind);
        if answered != expected.clone().map(|_| ()) {
            return Err(format!(
                "C5: sent again, it is {answered:?} and not {expected:?}"
            ));
        }
        if let Ok(model) = expected {
            self.model = model;
        }
        let found = read(world)?;
        if found != self.model {
            return Err(format!("C5: {found:#?} is not {:#?}", self.model));
        }
        Ok(())
    }

    fn send(&self, world: &World, change: &Change, key: Option<Uuid>) -> Result<(), CatalogError> {
        match (self.planted, change) {
            (Planted::CommitInParts, Change::MarkBoth([one, two], mark))
                if self.model.after(change).is_ok() =>
            {
                send(world, &Change::Mark(Thing::Table, one.clone(), *mark), None)?;
                send(world, &Change::Mark(Thing::Table, two.clone(), *mark), key)
            }
            (Planted::KeyForgotten, _) => send(world, change, None),
            (Planted::AnsweredEarly, _) => match send(world, change, key) {
                Err(_) if self.disk.is_off() => Ok(()),
                told => told,
            },
            _ => send(world, change, key),
        }
    }

    fn change(&mut self) -> Change {
        self.marks += 1;
        let mark = self.marks;
        let thing = match self.random.random_bool(0.5) {
            true => Thing::Table,
            false => Thing::View,
        };
        let name = self.name();
        match self.random.random_range(0..20) {
            0..2 => Change::MakeNamespace(name.0),
            2 => Change::DropNamespace(name.0),
            3..9 => Change::Make(thing, name, mark),
            9..13 => Change::Mark(thing, name, mark),
            13..16 => Change::MarkBoth([name, self.name()], mark),
            16..18 => Change::Rename(thing, name, self.name()),
            _ => Change::Drop(thing, name),
        }
    }

    fn name(&mut self) -> (String, String) {
        let namespace = ["n", "m"][self.random.random_range(0..2)];
        let name = ["a", "b", "c"][self.random.random_range(0..3)];
        (namespace.to_owned(), name.to_owned())
    }
}

fn ident(name: &(String, String)) -> TableIdent {
    TableIdent::new(NamespaceIdent::new(name.0.clone()), name.1.clone())
}

fn marked(mark: u32) -> HashMap<String, String> {
    HashMap::from([(MARK.to_owned(), mark.to_string())])
}

fn schema() -> Schema {
    let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
    Schema::builder().with_fields([id.into()]).build().unwrap()
}

/// As REST carries out a request that came under a key, or under none.
fn send(world: &World, change: &Change, key: Option<Uuid>) -> Result<(), CatalogError> {
    match key {
        None => carry_out(&world.catalog, change),
        Some(key) => {
            let what = format!("{change:?}");
            let catalog = world.catalog.once(Request { key, what });
            catalog.carry_out(|catalog| carry_out(catalog, change), |_| Ok(()))
        }
    }
}

fn carry_out(catalog: &Catalog, change: &Change) -> Result<(), CatalogError> {
    let table_change = |name: &(String, String), mark| TableChange {
        ident: ident(name),
        requirements: Vec::<TableRequirement>::new(),
        updates: vec![TableUpdate::SetProperties {
            updates: marked(mark),
        }],
    };
    match change {
        Change::MakeNamespace(name) => {
            catalog.create_namespace(&NamespaceIdent::new(name.clone()), BTreeMap::new())
        }
        Change::DropNamespace(name) => catalog.drop_namespace(&NamespaceIdent::new(name.clone())),
        Change::Make(Thing::Table, name, mark) => {
            let creation = Creation {
                ident: ident(name),
                schema: schema(),
                partition_spec: None,
                sort_order: None,
                location: None,
                properties: marked(*mark),
            };
            catalog.create_table(creation).map(drop)
        }
        Change::Make(Thing::View, name, mark) => {
            let version = json!({
                "version-id": 1, "schema-id": 0, "timestamp-ms": 1, "summary": {},
                "representations": [{"type": "sql", "sql": "SELECT 1", "dialect": "spark"}],
                "default-namespace": [name.0],
            });
            let creation = ViewCreation {
                ident: ident(name),
                location: None,
                schema: schema(),
                version: serde_json::from_value(version).expect("a version as REST has it"),
                properties: marked(*mark),
            };
            catalog.create_view(creation).map(drop)
        }
        Change::Mark(Thing::Table, name, mark) => catalog
            .commit_tables(vec![table_change(name, *mark)])
            .map(drop),
        Change::Mark(Thing::View, name, mark) => {
            let updates = [ViewUpdate::SetProperties {
                updates: marked(*mark),
            }];
            let none: [ViewRequirement; 0] = [];
            catalog.commit_view(&ident(name), &none, &updates).map(drop)
        }
        Change::MarkBoth(names, mark) => {
            let changes = names.iter().map(|name| table_change(name, *mark));
            catalog.commit_tables(changes.collect()).map(drop)
        }
        Change::Rename(Thing::Table, from, to) => catalog.rename_table(&ident(from), &ident(to)),
        Change::Rename(Thing::View, from, to) => catalog.rename_view(&ident(from), &ident(to)),
        Change::Drop(Thing::Table, name) => catalog.drop_table(&ident(name), Purge::Nothing),
        Change::Drop(Thing::View, name) => catalog.drop_view(&ident(name)),
    }
}

/// The catalog as its users see it.
fn read(world: &World) -> Result<Model, String> {
    let catalog = &world.catalog;
    let broken = |error: CatalogError| format!("C3: {error} ({:?})", error.source);
    let mark = |properties: &HashMap<String, String>| {
        let mark = properties.get(MARK).and_then(|mark| mark.parse().ok());
        mark.ok_or("C3: something without a mark")
    };
    let mut model = Model::default();
    for namespace in catalog.list_namespaces(None).map_err(broken)? {
        let home = namespace.join(".");
        for table in catalog.list_tables(&namespace).map_err(broken)? {
            let found = catalog.load(&table).map_err(broken)?;
            let found = (Thing::Table, mark(found.metadata.properties())?);
            model.things.insert((home.clone(), table.name), found);
        }
        for view in catalog.list_views(&namespace).map_err(broken)? {
            let found = catalog.load_view(&view).map_err(broken)?;
            let found = (Thing::View, mark(found.metadata.properties())?);
            if model
                .things
                .insert((home.clone(), view.name), found)
                .is_some()
            {
                return Err("C4: a table and a view have the same name".to_owned());
            }
        }
        model.namespaces.push(home);
    }
    Ok(model)
}

#[test]
fn sim_the_catalog_keeps_what_it_answered_through_power_cuts() {
    let mut cuts = 0;
    let seeds = lw_sim::seeds(60);
    for seed in &seeds {
        let mut machine = Machine::new(*seed, Planted::Nothing);
        if let Err(what) = machine.run() {
            panic!(
                "seed {seed}: {what}\n    {}",
                machine.history.join("\n    ")
            );
        }
        cuts += machine.cuts;
    }
    assert!(cuts as usize >= seeds.len(), "only {cuts} cuts");
}

/// What the model says of the first seed of many under which a planted mistake shows.
fn caught(planted: Planted) -> String {
    let mut seeds = 0..200;
    let told = seeds.find_map(|seed| Machine::new(seed, planted).run().err());
    told.unwrap_or_else(|| panic!("{planted:?} was never noticed"))
}

#[test]
fn sim_catches_a_commit_to_two_tables_that_is_two_commits() {
    let told = caught(Planted::CommitInParts);
    assert!(
        told.starts_with("C2: ") || told.starts_with("C4: "),
        "{told}"
    );
}

#[test]
fn sim_catches_a_key_that_is_not_kept() {
    let told = caught(Planted::KeyForgotten);
    assert!(told.starts_with("C5: "), "{told}");
}

#[test]
fn sim_catches_an_answer_that_comes_too_early() {
    let told = caught(Planted::AnsweredEarly);
    assert!(told.starts_with("C1: "), "{told}");
}

/// A key lives as long as clients are told, by the log's time, and is not in the log for ever.
#[test]
fn a_key_is_forgotten_when_its_time_is_over() {
    let clock = HandClock::new();
    let world = World::at(clock.clone());
    let make = |name: &str, key: u128| {
        let change = Change::MakeNamespace(name.to_owned());
        let done = send(&world, &change, Some(Uuid::from_u128(key)));
        done.map_err(|error| error.kind)
    };
    let keys = || {
        let keys = world.storage.scan(lw_storage::Table::Catalog, b"k/");
        keys.len()
    };
    for key in 0..20 {
        make(&format!("n{key}"), key).unwrap();
    }
    let lifetime = i64::try_from(LIFETIME.as_millis()).unwrap();
    clock.go(lifetime - 1_000);
    make("n0", 0).unwrap();
    make("m", 100).unwrap();
    assert_eq!(keys(), 21, "none is too old yet");
    clock.go(2_000);
    for (key, left) in [(101, 14), (102, 7), (103, 4)] {
        make(&format!("m{key}"), key).unwrap();
        assert_eq!(keys(), left);
    }
    assert_eq!(make("n0", 0), Err(Kind::AlreadyExists), "a new request");
    assert_eq!(make("m", 100), Ok(()), "an old one");
}
