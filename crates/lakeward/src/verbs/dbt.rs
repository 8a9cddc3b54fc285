//! `lakeward dbt init DIR`: a dbt project that works, over this server's catalog.
//!
//! What is written is `examples/inventory/dbt` with the macro package of `dbt/` inside it, so that the project can be moved about
//! and changed: it belongs to whoever asked for it. Nothing that is there already is touched.

use super::{say, show};
use crate::args::{Dbt, DbtVerb, Output};
use crate::client::{self, Client};
use crate::failure::failure;
use anyhow::Context;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// What a project consists of: its paths, and the texts as they are in the repository.
const PROJECT: &[(&str, &str)] = &[
    (
        ".gitignore",
        include_str!("../../../../examples/inventory/dbt/.gitignore"),
    ),
    (
        "dbt_project.yml",
        include_str!("../../../../examples/inventory/dbt/dbt_project.yml"),
    ),
    (
        "packages.yml",
        include_str!("../../../../examples/inventory/dbt/packages.yml"),
    ),
    (
        "profiles.yml",
        include_str!("../../../../examples/inventory/dbt/profiles.yml"),
    ),
    (
        "models/sources.yml",
        include_str!("../../../../examples/inventory/dbt/models/sources.yml"),
    ),
    (
        "models/silver/inventory_events.sql",
        include_str!("../../../../examples/inventory/dbt/models/silver/inventory_events.sql"),
    ),
    (
        "models/silver/silver.yml",
        include_str!("../../../../examples/inventory/dbt/models/silver/silver.yml"),
    ),
    (
        "models/gold/daily_movements.sql",
        include_str!("../../../../examples/inventory/dbt/models/gold/daily_movements.sql"),
    ),
    (
        "models/gold/gold.yml",
        include_str!("../../../../examples/inventory/dbt/models/gold/gold.yml"),
    ),
    (
        "models/gold/deliveries_by_hour.sql",
        include_str!("../../../../examples/inventory/dbt/models/gold/deliveries_by_hour.sql"),
    ),
    (
        "models/article/inventory_by_time.sql",
        include_str!("../../../../examples/inventory/dbt/models/article/inventory_by_time.sql"),
    ),
    (
        "snapshots/daily_movements_history.yml",
        include_str!("../../../../examples/inventory/dbt/snapshots/daily_movements_history.yml"),
    ),
    (
        "seeds/warehouses.csv",
        include_str!("../../../../examples/inventory/dbt/seeds/warehouses.csv"),
    ),
];

/// The macro package, which `packages.yml` finds beside itself.
const PACKAGE: &[(&str, &str)] = &[
    (
        "lakeward/README.md",
        include_str!("../../../../dbt/README.md"),
    ),
    (
        "lakeward/dbt_project.yml",
        include_str!("../../../../dbt/dbt_project.yml"),
    ),
    (
        "lakeward/macros/offsets.sql",
        include_str!("../../../../dbt/macros/offsets.sql"),
    ),
    (
        "lakeward/macros/relations.sql",
        include_str!("../../../../dbt/macros/relations.sql"),
    ),
    ("build.py", include_str!("../../../../dbt/build.py")),
    (
        "requirements.txt",
        include_str!("../../../../dbt/requirements.txt"),
    ),
];

/// Where the project of the repository has the package, the catalog, and the way in.
const PACKAGE_ELSEWHERE: &str = "local: ../../../dbt";
const USUAL_CATALOG: &str = "http://127.0.0.1:8181";
const NOBODY_ASKED: &str = "authorization_type: none";

pub fn dbt(args: Dbt) -> anyhow::Result<ExitCode> {
    let DbtVerb::Init { dir } = args.verb;
    let client = Client::new(&args.server.server)?;
    let answers = client.is_up();
    let catalog = match answers {
        true => client.get("/api/v1/status")?["catalog"]
            .as_str()
            .map(str::to_owned),
        false => None,
    };
    let catalog = catalog.unwrap_or_else(|| USUAL_CATALOG.into());
    let written = init(&dir, &catalog, client::token().is_some())?;
    match args.server.output {
        Output::Table => say(next_steps(&dir)),
        output => {
            let answer = json!({ "project": dir, "catalog": catalog, "files": written });
            let rows = written.into_iter().map(|file| vec![file]).collect();
            show(output, &answer, &["file"], rows);
        }
    }
    if !answers {
        eprintln!(
            "no server at {}: profiles.yml has the usual address, {catalog}",
            args.server.server
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the project, and says which files it is.
fn init(dir: &Path, catalog: &str, token: bool) -> anyhow::Result<Vec<String>> {
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(failure(
            format!("{} is not empty", dir.display()),
            "Name a folder that does not exist yet: `lakeward dbt init my_project`.",
        ));
    }
    let mut written = Vec::new();
    for (path, text) in PROJECT.iter().chain(PACKAGE) {
        let file = dir.join(path);
        let folder = file.parent().expect("a file of the project has a folder");
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&file, placed(path, text, catalog, token)))
            .with_context(|| format!("cannot write {}", file.display()))?;
        written.push((*path).to_owned());
    }
    Ok(written)
}

/// The text as it is right in a folder of its own, and for this server.
fn placed(path: &str, text: &str, catalog: &str, token: bool) -> String {
    match path {
        "packages.yml" => text.replace(PACKAGE_ELSEWHERE, "local: lakeward"),
        "profiles.yml" => {
            let text = text.replace(USUAL_CATALOG, catalog);
            match token {
                true => text.replace(NOBODY_ASKED, "token: \"{{ env_var('LAKEWARD_TOKEN') }}\""),
                false => text,
            }
        }
        _ => text.to_owned(),
    }
}

fn next_steps(dir: &Path) -> String {
    format!(
        "A dbt project is in {dir}. It builds on the table that examples/inventory/governed.sql fills:\n\n  \
         cd {dir}\n  pip install -r requirements.txt\n  export DBT_PROFILES_DIR=.\n  dbt deps\n  python build.py",
        dir = dir.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    /// The files below a folder of the repository, without what dbt makes there.
    fn files(folder: &str) -> BTreeSet<String> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(folder);
        let (mut found, mut folders) = (BTreeSet::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                match path.is_dir() {
                    true if !["target", "logs", "dbt_packages"].contains(&name.as_str()) => {
                        folders.push(path);
                    }
                    true => {}
                    false if name == "package-lock.yml" || name == ".user.yml" => {}
                    false => {
                        found.insert(name);
                    }
                }
            }
        }
        found
    }

    #[test]
    fn a_project_has_every_file_of_the_example_and_of_the_package() {
        let names = |list: &[(&str, &str)]| -> BTreeSet<String> {
            let named = list
                .iter()
                .map(|(path, _)| path.trim_start_matches("lakeward/"));
            named.map(str::to_owned).collect()
        };
        assert_eq!(names(PROJECT), files("examples/inventory/dbt"));
        assert_eq!(names(PACKAGE), files("dbt"));
    }

    #[test]
    fn a_project_stands_alone_and_knows_its_server() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("shop");
        init(&project, "http://10.0.0.7:18181", true).unwrap();
        let read = |path: &str| std::fs::read_to_string(project.join(path)).unwrap();
        assert!(read("packages.yml").contains("- local: lakeward\n"));
        assert!(project.join("lakeward/macros/offsets.sql").exists());
        let profile = read("profiles.yml");
        assert!(profile.contains("env_var('LAKEWARD_CATALOG', 'http://10.0.0.7:18181')"));
        assert!(profile.contains("token: \"{{ env_var('LAKEWARD_TOKEN') }}\"\n"));
        assert!(!profile.contains(NOBODY_ASKED));
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine.txt"), "kept").unwrap();
        let refused = init(dir.path(), USUAL_CATALOG, false)
            .unwrap_err()
            .to_string();
        assert!(refused.ends_with(
            "is not empty\nhint: Name a folder that does not exist yet: `lakeward dbt init my_project`."
        ));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
