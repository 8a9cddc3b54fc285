//! A script's statements, one after the other, into job graphs.
//!
//! DDL changes the [`Catalog`]; each INSERT is planned against what the catalog holds at that point. What is refused does not stop
//! the rest, so one run shows every mistake ([`Told`]): other statements, other columns and options of the same statement. What
//! depends on something that was refused is passed over in silence: a column whose type is unknown is there, but nothing is said
//! of expressions over it, and a table that could not be read at all is remembered as broken.

mod advice;
mod algebra;
mod arena;
mod call;
mod catalog;
mod clock;
mod coerce;
mod collection;
mod describe;
mod distinct;
mod expr;
mod from;
mod function;
mod group;
mod insert;
mod join;
mod json;
mod like;
mod literal;
mod lookup;
mod lower;
mod over;
mod pattern;
mod query;
mod rank;
mod refuse;
mod scope;
mod semi;
mod set;
mod sets;
mod table;
mod tvf;
mod union;
mod unnest;
mod watermark;
mod zone;

use crate::Result;
use crate::catalog::{Catalog, Object, Path};
use crate::connector::{self, Use};
use crate::diagnostic::{Diagnostic, Diagnostics, Span, Told};
use crate::environment::Environment;
use crate::parse::{Cursor, Lifetime, OptionText, Statement};
use crate::script::{Hint, Script, is_word};
use crate::settings;
use lw_graph::{JobGraph, NodeId};
use lw_stdx::duration;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};
use std::collections::{BTreeMap, BTreeSet};

/// What a script asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// `SET 'key' = 'value'`, as they stand at the end of the script.
    pub settings: BTreeMap<String, String>,
    /// In the order of the script.
    pub jobs: Vec<Job>,
    /// Answers to EXPLAIN, DESCRIBE and SHOW, in order.
    pub explanations: Vec<Explanation>,
    /// What the script's author should know although nothing is wrong: what was given and does nothing here.
    pub notices: Vec<Diagnostic>,
    /// What `lakeward check` says besides: what is missing, and what a Flink cluster would not take.
    pub advice: Vec<Diagnostic>,
    /// `SET 'pipeline.name'`.
    pub pipeline_name: Option<String>,
}

/// What is read, computed and written as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub graph: JobGraph,
    /// One for each sink of the graph, in the order of the script.
    pub inserts: Vec<JobInsert>,
}

/// One `INSERT INTO … SELECT …`.
#[derive(Clone, Debug, PartialEq)]
pub struct JobInsert {
    /// The node of the job's graph that writes its rows.
    pub sink: NodeId,
    /// The INSERT alone, as an audit runs it again.
    pub graph: JobGraph,
    /// `namespace.table` of an Iceberg sink, `database.table` of any other.
    pub table: String,
    /// Where the INSERT stands.
    pub text_span: Span,
    /// All of the script that says what the INSERT means: its own text and that of every table and view that it reads or
    /// writes, without comments and layout. Two INSERTs of the same definition, under the same settings, are the same query.
    pub definition: String,
}

/// The answer to one EXPLAIN, DESCRIBE or SHOW.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub text: String,
    pub text_span: Span,
}

/// Plans a whole script. `name` is the file's, for the pipeline's name in messages.
///
/// # Errors
/// All that is wrong with the script, in its order.
pub fn plan_script(
    text: &str,
    name: &str,
    env: &dyn Environment,
) -> std::result::Result<Plan, Diagnostics> {
    let script = Script::new(text)?;
    let mut planner = Planner::new(&script, env);
    for mistake in &script.mistakes {
        planner.told.tell(mistake.clone());
    }
    for tokens in script.statements() {
        if planner.told.errors() >= MOST_ERRORS {
            break;
        }
        planner.read(tokens);
    }
    let plan = &planner.plan;
    if planner.told.errors() == 0 && plan.jobs.is_empty() && plan.explanations.is_empty() {
        planner.told.tell(nothing_to_run(&script, name));
    }
    planner.finish()
}

/// Nobody reads further.
const MOST_ERRORS: usize = 20;

fn nothing_to_run(script: &Script<'_>, name: &str) -> Diagnostic {
    let end = script.span_of(&script.tokens);
    let message = format!("'{name}' has no INSERT INTO, so there is nothing to run");
    Diagnostic::error("nothing-to-run", Span::new(end.end, end.end), message)
        .hint("INSERT INTO sink_table SELECT … FROM source_table;")
}

pub(crate) struct Planner<'a> {
    pub script: &'a Script<'a>,
    pub env: &'a dyn Environment,
    pub catalog: Catalog,
    pub plan: Plan,
    /// Hints that somebody understood, by where they begin.
    read_hints: BTreeSet<usize>,
    /// Iceberg tables that an INSERT of this script writes.
    targets: BTreeSet<String>,
    /// Mistakes and notices.
    pub told: Told,
    advice: Vec<Diagnostic>,
    /// Tables whose options were checked.
    checked: BTreeSet<Path>,
    /// The statement that is being read.
    statement: Span,
    /// Tables in which it looks rows up, and what it calls them.
    looked_up: Vec<String>,
    /// How many tables its query reads, each as often as it is named.
    reads: usize,
}

impl<'a> Planner<'a> {
    fn new(script: &'a Script<'a>, env: &'a dyn Environment) -> Planner<'a> {
        Planner {
            script,
            env,
            catalog: Catalog::new(),
            plan: Plan {
                settings: BTreeMap::new(),
                jobs: Vec::new(),
                explanations: Vec::new(),
                notices: Vec::new(),
                advice: Vec::new(),
                pipeline_name: None,
            },
            read_hints: BTreeSet::new(),
            targets: BTreeSet::new(),
            told: Told::default(),
            advice: Vec::new(),
            checked: BTreeSet::new(),
            statement: Span::default(),
            looked_up: Vec::new(),
            reads: 0,
        }
    }

    fn finish(mut self) -> std::result::Result<Plan, Diagnostics> {
        let (mut errors, notices) = std::mem::take(&mut self.told).sorted();
        if !errors.is_empty() {
            errors.truncate(MOST_ERRORS);
            return Err(Diagnostics(errors));
        }
        self.plan.pipeline_name = self.plan.settings.get("pipeline.name").cloned();
        self.plan.notices = notices;
        self.advise_on_script();
        let mut advice = Told::default();
        self.advice.into_iter().for_each(|said| advice.tell(said));
        self.plan.advice = advice.sorted().1;
        Ok(self.plan)
    }

    /// Reads and plans one statement. Whatever is wrong is told.
    fn read(&mut self, tokens: &[TokenWithSpan]) {
        let errors = self.told.errors();
        self.statement = self.script.span_of(tokens);
        self.looked_up.clear();
        let statement = Statement::parse(Cursor::new(self.script, tokens));
        let done = statement.and_then(|statement| self.statement(statement));
        if self.told.settle(done).is_none() {
            self.remember_broken(tokens);
            self.check_named(tokens);
        }
        if self.told.errors() == errors {
            self.read_state_hints(self.script.span_of(tokens));
            self.read_lookup_hints(self.script.span_of(tokens));
            let hints = self.refuse_unread_hints(self.script.span_of(tokens));
            self.told.settle(hints);
        }
    }

    fn statement(&mut self, statement: Statement) -> Result<()> {
        match statement {
            Statement::CreateTable(create) => {
                let (lifetime, if_not_exists) = (create.lifetime, create.if_not_exists);
                let path = self
                    .catalog
                    .prepare(&create.name, lifetime, if_not_exists)?;
                let Some(path) = path else {
                    return Ok(());
                };
                let (create, like) = self.declaration(&path, *create)?;
                let table = table::bind(self.script, &path, create, &mut self.told);
                let table = Object::Table(table.into());
                self.catalog
                    .insert(path, lifetime, table, self.statement, like);
                Ok(())
            }
            Statement::CreateView(create) => self.create_view(create),
            Statement::CreateDatabase {
                name,
                if_not_exists,
            } => self.catalog.create_database(&name, if_not_exists),
            Statement::Use(name) => self.catalog.use_database(&name),
            Statement::UseCatalog(catalog) => self.catalog.use_catalog(&catalog),
            Statement::CreateCatalog(create) => self.create_catalog(create),
            Statement::Set { key, value } => {
                let value = settings::check(&key, &value, self.env, &mut self.told)?;
                self.plan.settings.insert(key.value, value);
                Ok(())
            }
            Statement::Reset(None) => {
                self.plan.settings.clear();
                Ok(())
            }
            Statement::Reset(Some(key)) => {
                self.plan.settings.remove(&key.value);
                Ok(())
            }
            Statement::Drop {
                noun,
                lifetime,
                name,
                if_exists,
            } => self.catalog.remove(noun, lifetime, &name, if_exists),
            Statement::Inserts(inserts) => self.inserts(inserts),
            Statement::Explain(inserts) => self.explain(inserts),
            Statement::Describe(name) => self.describe(&name),
            Statement::Show(show) => self.show(&show),
            Statement::Query(span) => Err(Diagnostic::error(
                "not-a-pipeline",
                span,
                "a query without INSERT INTO is not a pipeline",
            )
            .hint(
                "ask tables with `lakeward sql -e \"…\"`, or write INSERT INTO before the query",
            )),
        }
    }

    /// The options of the hint that stands behind a table's name, if there is one.
    pub(crate) fn options_hint(&mut self, table: Span) -> Result<Vec<OptionText>> {
        let hints = &self.script.hints;
        let behind = hints.partition_point(|hint| hint.follows < table.end);
        let Some(hint) = hints.get(behind).filter(|hint| hint.follows == table.end) else {
            return Ok(Vec::new());
        };
        let mut cursor = Cursor::new(self.script, &hint.tokens);
        if !cursor.eat_word("OPTIONS") {
            return Ok(Vec::new());
        }
        let options = cursor.options(&mut self.told)?;
        cursor.expect_end()?;
        self.read_hints.insert(hint.span.start);
        Ok(options)
    }

    /// `SELECT /*+ STATE_TTL('table' = '1 d') */`: what it shortens in Flink is the state of joins and groups that nothing ends.
    fn read_state_hints(&mut self, statement: Span) {
        let script = self.script;
        let of_statement =
            |hint: &&Hint| hint.follows > statement.start && hint.follows <= statement.end;
        for hint in script.hints.iter().filter(of_statement) {
            let mut cursor = Cursor::new(script, &hint.tokens);
            let behind = script.text.get(..hint.follows).unwrap_or_default();
            let is_select = behind
                .get(behind.len().saturating_sub("SELECT".len())..)
                .is_some_and(|word| word.eq_ignore_ascii_case("SELECT"));
            if !is_select || !cursor.eat_word("STATE_TTL") {
                continue;
            }
            self.read_hints.insert(hint.span.start);
            let options = cursor.options(&mut self.told);
            let options = options.and_then(|options| cursor.expect_end().map(|()| options));
            for OptionText { value, .. } in self.told.settle(options).unwrap_or_default() {
                if duration::parse(&value.value).is_none() {
                    let message = format!("'{}' is not a duration", value.value);
                    let error = Diagnostic::error("option", value.span, message);
                    self.told.tell(error.hint("STATE_TTL('table' = '1 d')"));
                }
            }
            let message = "the hint STATE_TTL has no effect here";
            self.told.tell(
                Diagnostic::notice("hint", hint.span, message)
                    .detail("State of windows is let go when they fire."),
            );
        }
    }

    fn refuse_unread_hints(&self, statement: Span) -> Result<()> {
        let read = &self.read_hints;
        let hints = &self.script.hints;
        let first = hints.partition_point(|hint| hint.follows <= statement.start);
        let unread = hints[first..]
            .iter()
            .take_while(|hint| hint.follows <= statement.end)
            .find(|hint| !read.contains(&hint.span.start));
        let Some(hint) = unread else {
            return Ok(());
        };
        let name = hint.tokens.first().map(|name| name.token.to_string());
        let what = format!("hint {} here is", name.unwrap_or_default());
        Err(Diagnostic::unsupported(hint.span, what)
            .detail("A hint is obeyed or refused, never dropped. OPTIONS is obeyed behind the name of a table.")
            .hint("remove the hint"))
    }

    /// Remembers the table that a refused CREATE would have made.
    fn remember_broken(&mut self, tokens: &[TokenWithSpan]) {
        let mut cursor = Cursor::new(self.script, tokens);
        let starts = [
            (&["CREATE", "TABLE"][..], Lifetime::Permanent),
            (&["CREATE", "TEMPORARY", "TABLE"], Lifetime::Temporary),
            (&["CREATE", "VIEW"], Lifetime::Permanent),
            (&["CREATE", "TEMPORARY", "VIEW"], Lifetime::Temporary),
        ];
        let start = starts.iter().find(|(words, _)| cursor.eat_words(words));
        let Some((_, lifetime)) = start else {
            return;
        };
        cursor.eat_words(&["IF", "NOT", "EXISTS"]);
        if let Ok(name) = cursor.name("a name")
            && let Ok(Some(path)) = self.catalog.prepare(&name, *lifetime, true)
        {
            let (broken, statement) = (Object::Broken, self.statement);
            self.catalog
                .insert(path, *lifetime, broken, statement, Vec::new());
        }
    }

    /// Checks the options of the tables that a refused statement names: what it does with them is not known, but a misspelt option
    /// is one whoever uses it.
    pub(crate) fn check_named(&mut self, tokens: &[TokenWithSpan]) {
        let starts = ["CREATE", "DROP"];
        if starts
            .iter()
            .any(|word| tokens.first().is_some_and(|t| is_word(t, word)))
        {
            return;
        }
        let named: BTreeSet<&str> = tokens
            .iter()
            .filter_map(|token| match &token.token {
                Token::Word(Word { value, .. }) => Some(value.as_str()),
                _ => None,
            })
            .collect();
        for table in self.catalog.tables_named(&named) {
            if self.checked.insert(table.path.clone()) {
                let used = Use {
                    table: &table,
                    options: &table.options,
                    span: table.span,
                    env: self.env,
                };
                connector::check(&used, &mut self.told);
            }
        }
    }
}
