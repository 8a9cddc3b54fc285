//! A script's statements, one after the other, into job graphs.
//!
//! DDL changes the [`Catalog`]; each INSERT is planned against what the catalog holds at that point. A statement that is
//! refused does not stop the others, so one run shows every mistake; a table whose CREATE was refused is remembered as broken,
//! and nobody is told about it twice.

mod coerce;
mod describe;
mod expr;
mod function;
mod insert;
mod literal;
mod query;
mod refuse;
mod scope;
mod table;

use crate::Result;
use crate::catalog::{Catalog, Object};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity, Span};
use crate::environment::Environment;
use crate::explain::explain;
use crate::parse::{Cursor, Insert, OptionText, Statement};
use crate::script::Script;
use crate::settings;
use lw_graph::{JobGraph, SinkSpec};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// What a script asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// `SET 'key' = 'value'`, as they stand at the end of the script.
    pub settings: BTreeMap<String, String>,
    /// One per INSERT, in the order of the script.
    pub jobs: Vec<Job>,
    /// Answers to EXPLAIN, DESCRIBE and SHOW, in order.
    pub explanations: Vec<Explanation>,
    /// What the script's author should know although nothing is wrong.
    pub notices: Vec<Diagnostic>,
    /// `SET 'pipeline.name'`.
    pub pipeline_name: Option<String>,
}

/// One `INSERT INTO … SELECT …`.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub graph: JobGraph,
    /// `namespace.table` of an Iceberg sink, `database.table` of any other.
    pub sink_table: String,
    /// Where the INSERT stands.
    pub text_span: Span,
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
    let mut errors = Vec::new();
    for tokens in script.statements() {
        if errors.len() == MOST_ERRORS {
            break;
        }
        let statement = Statement::parse(Cursor::new(&script, tokens));
        let done = statement.and_then(|statement| planner.statement(statement));
        let done = done.and_then(|()| planner.refuse_unread_hints(script.span_of(tokens)));
        if let Err(error) = done {
            planner.remember_broken(tokens);
            errors.push(error);
        }
    }
    errors.retain(|error| error.code != BROKEN);
    if errors.is_empty() && planner.plan.jobs.is_empty() && planner.plan.explanations.is_empty() {
        errors.push(nothing_to_run(&script, name));
    }
    if errors.is_empty() {
        return Ok(planner.finish());
    }
    errors.sort_by_key(|error| error.span.start);
    Err(Diagnostics(errors))
}

/// Nobody reads further.
const MOST_ERRORS: usize = 20;

/// Code of an error that was told before, at the CREATE.
const BROKEN: &str = "broken";

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
    read_hints: RefCell<BTreeSet<usize>>,
    /// Iceberg tables that an INSERT of this script writes.
    targets: BTreeSet<String>,
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
                pipeline_name: None,
            },
            read_hints: RefCell::new(BTreeSet::new()),
            targets: BTreeSet::new(),
        }
    }

    fn finish(mut self) -> Plan {
        self.plan.pipeline_name = self.plan.settings.get("pipeline.name").cloned();
        self.plan.notices.sort_by_key(|notice| notice.span.start);
        self.plan.notices.dedup();
        debug_assert!(
            self.plan
                .notices
                .iter()
                .all(|n| n.severity == Severity::Notice),
            "an error is returned, not noticed"
        );
        self.plan
    }

    fn statement(&mut self, statement: Statement) -> Result<()> {
        match statement {
            Statement::CreateTable(create) => {
                if let Some(path) = self.catalog.prepare(&create.name, create.if_not_exists)? {
                    let table = table::bind(self.script, &path, create)?;
                    self.catalog.insert(path, Object::Table(table.into()));
                }
                Ok(())
            }
            Statement::CreateView(create) => self.create_view(create),
            Statement::CreateDatabase {
                name,
                if_not_exists,
            } => self.catalog.create_database(&name, if_not_exists),
            Statement::Use(name) => self.catalog.use_database(&name),
            Statement::UseCatalog(catalog) => self.catalog.check_catalog(&catalog),
            Statement::Set { key, value } => {
                self.plan.notices.extend(settings::check(&key, &value)?);
                self.plan.settings.insert(key.value, value.value);
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
                name,
                if_exists,
            } => self.catalog.remove(noun, &name, if_exists),
            Statement::Inserts(inserts) => inserts.into_iter().try_for_each(|i| self.insert(i)),
            Statement::Explain(inserts) => inserts.into_iter().try_for_each(|i| self.explain(i)),
            Statement::Describe(name) => self.describe(&name),
            Statement::Show(shown, span) => {
                self.show(shown, span);
                Ok(())
            }
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

    fn insert(&mut self, insert: Insert) -> Result<()> {
        let job = self.plan_insert(&insert)?;
        if let Some(SinkSpec::Iceberg(_)) = job.graph.sink()
            && !self.targets.insert(job.sink_table.clone())
        {
            let message = format!("table '{}' is written by two INSERTs", job.sink_table);
            return Err(Diagnostic::unsupported(
                insert.target.span,
                format!("{message}, which is"),
            )
            .detail("Exactly-once needs one writer per table.")
            .hint("give each INSERT its own table"));
        }
        self.plan.jobs.push(job);
        Ok(())
    }

    fn explain(&mut self, insert: Insert) -> Result<()> {
        let job = self.plan_insert(&insert)?;
        self.plan.explanations.push(Explanation {
            text: explain(&job.graph),
            text_span: job.text_span,
        });
        Ok(())
    }

    /// The options of the hint that stands behind a table's name, if there is one.
    pub(crate) fn options_hint(&self, table: Span) -> Result<Vec<OptionText>> {
        let hints = &self.script.hints;
        let behind = hints.partition_point(|hint| hint.follows < table.end);
        let Some(hint) = hints.get(behind).filter(|hint| hint.follows == table.end) else {
            return Ok(Vec::new());
        };
        let mut cursor = Cursor::new(self.script, &hint.tokens);
        if !cursor.eat_word("OPTIONS") {
            return Ok(Vec::new());
        }
        let options = cursor.options()?;
        cursor.expect_end()?;
        self.read_hints.borrow_mut().insert(hint.span.start);
        Ok(options)
    }

    fn refuse_unread_hints(&self, statement: Span) -> Result<()> {
        let read = self.read_hints.borrow();
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
    fn remember_broken(&mut self, tokens: &[sqlparser::tokenizer::TokenWithSpan]) {
        let mut cursor = Cursor::new(self.script, tokens);
        let starts = [
            &["CREATE", "TABLE"][..],
            &["CREATE", "TEMPORARY", "TABLE"],
            &["CREATE", "VIEW"],
            &["CREATE", "TEMPORARY", "VIEW"],
        ];
        if !starts.iter().any(|words| cursor.eat_words(words)) {
            return;
        }
        cursor.eat_words(&["IF", "NOT", "EXISTS"]);
        if let Ok(name) = cursor.name("a name")
            && let Ok(Some(path)) = self.catalog.prepare(&name, true)
        {
            self.catalog.insert(path, Object::Broken);
        }
    }
}
