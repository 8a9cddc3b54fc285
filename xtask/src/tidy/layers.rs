//! The house's edges: `layers.toml` beside every crate's `Cargo.toml`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::SourceFile;

#[derive(Deserialize)]
struct Layers {
    layers: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    sideways: BTreeMap<String, String>,
    #[serde(default)]
    never: Vec<Never>,
}

#[derive(Deserialize)]
struct Never {
    crates: Vec<String>,
    on: Vec<String>,
    why: String,
}

impl Layers {
    fn read(files: &[SourceFile]) -> Result<Layers> {
        let file = files
            .iter()
            .find(|file| file.path == "layers.toml")
            .context("layers.toml is missing")?;
        toml::from_str(&file.text).context("layers.toml")
    }

    fn layer_of(&self, name: &str) -> Option<&str> {
        self.layers
            .iter()
            .find(|(_, crates)| crates.iter().any(|c| c == name))
            .map(|(layer, _)| layer.as_str())
    }

    /// Whether a crate of layer `user` may use one of layer `used`: downwards only; `dev` crates may use anything.
    fn allows(&self, user: &str, used: &str) -> bool {
        let (Some(user_layer), Some(used_layer)) = (self.layer_of(user), self.layer_of(used))
        else {
            return false;
        };
        let sideways = self.sideways.contains_key(&format!("{user} -> {used}"));
        sideways || (used_layer != "dev" && (user_layer == "dev" || used_layer < user_layer))
    }
}

struct Manifest {
    /// The folder's name, which is the package's without `lw-`.
    name: String,
    path: String,
    folder: String,
    dependencies: Vec<String>,
    inherits_lints: bool,
    lints_text: bool,
}

fn manifests(files: &[SourceFile]) -> Result<Vec<Manifest>> {
    let mut found = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
    {
        let folder = file.path.trim_end_matches("Cargo.toml").to_owned();
        let table: toml::Table = toml::from_str(&file.text).with_context(|| file.path.clone())?;
        let dependencies = table
            .get("dependencies")
            .and_then(toml::Value::as_table)
            .map(|deps| deps.keys().cloned().collect())
            .unwrap_or_default();
        let lints = table.get("lints").and_then(toml::Value::as_table);
        let inherits_lints = lints
            .and_then(|lints| lints.get("workspace"))
            .and_then(toml::Value::as_bool)
            .unwrap_or_default();
        let name = folder
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        found.push(Manifest {
            name,
            path: file.path.clone(),
            folder,
            dependencies,
            inherits_lints,
            lints_text: lints.is_some(),
        });
    }
    Ok(found)
}

/// Our own crates only point downwards, and what `never` forbids is nowhere.
pub(super) fn edges(files: &[SourceFile]) -> Result<Vec<String>> {
    let layers = Layers::read(files)?;
    let mut complaints = Vec::new();
    for manifest in manifests(files)? {
        let Some(layer) = layers.layer_of(&manifest.name) else {
            complaints.push(format!(
                "{}: {} stands in no layer of layers.toml",
                manifest.path, manifest.name
            ));
            continue;
        };
        for dependency in &manifest.dependencies {
            let own = dependency.strip_prefix("lw-");
            if let Some(used) = own
                && !layers.allows(&manifest.name, used)
            {
                complaints.push(format!(
                    "{}: {} ({layer}) must not use {used} ({})",
                    manifest.path,
                    manifest.name,
                    layers.layer_of(used).unwrap_or("no layer")
                ));
            }
            for rule in &layers.never {
                let meant = rule
                    .crates
                    .iter()
                    .any(|name| *name == manifest.name || name == layer);
                if meant && rule.on.contains(dependency) {
                    complaints.push(format!(
                        "{}: never {} -> {dependency}: {}",
                        manifest.path, manifest.name, rule.why
                    ));
                }
            }
        }
    }
    Ok(complaints)
}

/// Every dependency is named by the crate's source. What only a macro or a feature needs would be listed here by name.
pub(super) fn unused(files: &[SourceFile]) -> Result<Vec<String>> {
    /// Named for their features only; the workspace's Cargo.toml says why.
    const FEATURES_ONLY: [&str; 1] = ["getrandom"];
    let mut complaints = Vec::new();
    for manifest in manifests(files)? {
        let source: Vec<&str> = files
            .iter()
            .filter(|file| {
                file.is_rust() && file.path.starts_with(&format!("{}src/", manifest.folder))
            })
            .map(|file| file.text.as_str())
            .collect();
        for dependency in &manifest.dependencies {
            if FEATURES_ONLY.contains(&dependency.as_str()) {
                continue;
            }
            let ident = dependency.replace('-', "_");
            let named = [
                format!("{ident}::"),
                format!("use {ident} "),
                format!("use {ident};"),
                format!("extern crate {ident}"),
            ];
            if !source
                .iter()
                .any(|text| named.iter().any(|name| text.contains(name.as_str())))
            {
                complaints.push(format!(
                    "{}: {dependency} is not used by src/",
                    manifest.path
                ));
            }
        }
    }
    Ok(complaints)
}

/// Lints are set once, in the workspace. Only xtask differs, since printing is what it is for.
pub(super) fn lints(files: &[SourceFile]) -> Result<Vec<String>> {
    let bare = |manifest: &Manifest| {
        !(manifest.inherits_lints || manifest.name == "xtask" && manifest.lints_text)
    };
    Ok(manifests(files)?
        .into_iter()
        .filter(bare)
        .map(|manifest| format!("{}: add [lints] workspace = true", manifest.path))
        .collect())
}

/// A crate that stands in none of the lists of `cargo xtask test` has tests that never run.
pub(super) fn tested(files: &[SourceFile]) -> Result<Vec<String>> {
    untested(files, &crate::suites::tested().collect::<Vec<_>>())
}

fn untested(files: &[SourceFile], lists: &[&str]) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for manifest in manifests(files)? {
        let listed =
            |package: &&str| package.strip_prefix("lw-").unwrap_or(package) == manifest.name;
        if !lists.iter().any(listed) {
            complaints.push(format!(
                "{}: its tests never run: add {} to LIGHT or HEAVY in xtask/src/suites.rs",
                manifest.path, manifest.name
            ));
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::super::SourceFile;
    use super::{edges, untested};

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.into(),
            bytes: text.len() as u64,
            text: text.into(),
        }
    }

    const LAYERS: &str = "[layers]\nL0 = ['stdx']\nL1 = ['storage', 'state']\n[[never]]\ncrates = ['L1']\non = ['tokio']\nwhy = 'slow'\n";

    #[test]
    fn edges_point_down_and_forbidden_packages_are_named() {
        let cases = [
            ("storage", "lw-stdx = '1'", None),
            (
                "stdx",
                "lw-storage = '1'",
                Some("stdx (L0) must not use storage (L1)"),
            ),
            (
                "storage",
                "lw-state = '1'",
                Some("storage (L1) must not use state (L1)"),
            ),
            (
                "storage",
                "tokio = '1'",
                Some("never storage -> tokio: slow"),
            ),
            ("newcomer", "", Some("newcomer stands in no layer")),
        ];
        for (name, dependency, expected) in cases {
            let files = [
                file("layers.toml", LAYERS),
                file(
                    &format!("crates/{name}/Cargo.toml"),
                    &format!("[dependencies]\n{dependency}"),
                ),
            ];
            let complaints = edges(&files).unwrap();
            match expected {
                None => assert!(complaints.is_empty(), "{complaints:?}"),
                Some(text) => assert!(
                    complaints.len() == 1 && complaints[0].contains(text),
                    "{complaints:?}"
                ),
            }
        }
    }

    #[test]
    fn a_crate_in_no_list_of_tests_is_named() {
        let files = [
            file("crates/stdx/Cargo.toml", ""),
            file("crates/newcomer/Cargo.toml", ""),
            file("xtask/Cargo.toml", ""),
        ];
        let complaints = untested(&files, &["lw-stdx", "xtask"]).unwrap();
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].contains("add newcomer to LIGHT or HEAVY"));
    }
}
