//! Where tables and views may be, and what may be deleted: each has one folder, and no two share one.
//!
//! Locations come from clients, who are not trusted with the disk. Three rules hold for every location that a table or view
//! gets, by whatever way (creation, `set-location`, registration, `write.data.path`, a view's `write.metadata.path`):
//! - P1: it is below the warehouse or a place that `lakeward.toml` allows.
//! - P2: it is neither inside another's location nor around it.
//! - P3: a file is deleted only inside its own table's location and outside every other's ([`Fence`]).
//!
//! Places are compared as real paths: one spelling (`file:/x`, `file:///x//`), no `..`, symbolic links followed. A place in a store,
//! `s3://bucket/key`, is the path `s3:/bucket/key`: beginning with no slash, it is inside no local one and around none.

use super::pointers::Relation;
use super::views::METADATA_PATH;
use crate::error::{CatalogError, Kind};
use crate::storage::{Files, local_path, s3};
use iceberg::TableIdent;
use iceberg::spec::TableMetadata;
use std::path::{Component, Path, PathBuf};

/// Folders with our file names behind them stay below what Linux takes for a path.
const LONGEST: usize = 2048;

/// Properties that send a table's data files elsewhere.
const DATA_PATHS: [&str; 3] = [
    "write.data.path",
    "write.object-storage.path",
    "write.folder-storage.path",
];
/// All properties that name a place.
pub(super) const PLACE_PROPERTIES: [&str; 4] =
    [DATA_PATHS[0], DATA_PATHS[1], DATA_PATHS[2], METADATA_PATH];

/// The folders that tables may be in.
pub(super) struct Places {
    files: Files,
    warehouse: PathBuf,
    allowed: Vec<PathBuf>,
}

/// The folder of another table or view.
pub(super) struct Taken {
    pub(super) relation: Relation,
    pub(super) ident: TableIdent,
    pub(super) location: String,
}

impl Places {
    /// # Errors
    /// When one of them is neither a local folder nor a place in a store.
    pub(super) fn new(
        files: Files,
        warehouse: &str,
        allowed: &[String],
    ) -> Result<Places, CatalogError> {
        let places = Places {
            warehouse: real(&files, warehouse)?,
            allowed: allowed
                .iter()
                .map(|place| real(&files, place))
                .collect::<Result<_, _>>()?,
            files,
        };
        Ok(places)
    }

    /// P1 for a place that is not a table's yet, such as a namespace's default.
    pub(super) fn check_allowed(&self, what: &str, place: &str) -> Result<PathBuf, CatalogError> {
        let path = real(&self.files, place)?;
        let below = path != self.warehouse && path.starts_with(&self.warehouse);
        if below || self.allowed.iter().any(|root| path.starts_with(root)) {
            return Ok(path);
        }
        Err(CatalogError::new(
            Kind::BadRequest,
            format!(
                "{what} {place} is outside the warehouse {}: to allow it, add it to `allow-locations` under [catalog] in lakeward.toml",
                location_of(&self.warehouse)
            ),
        ))
    }

    /// P1 and P2 for every place of `table` that is not the one it had in `before`.
    pub(super) fn check(
        &self,
        table: &TableMetadata,
        before: Option<&TableMetadata>,
        taken: impl FnOnce() -> Result<Vec<Taken>, CatalogError>,
    ) -> Result<(), CatalogError> {
        let mut wished: Vec<(&str, &str)> = Vec::new();
        if before.is_none_or(|before| before.location() != table.location()) {
            wished.push(("the location", table.location()));
        }
        let properties = table.properties();
        for name in PLACE_PROPERTIES {
            let Some(place) = properties.get(name) else {
                continue;
            };
            let new = wished.len() == 1 && wished[0].0 == "the location";
            if new || before.is_none_or(|before| before.properties().get(name) != Some(place)) {
                wished.push((name, place));
            }
        }
        if wished.is_empty() {
            return Ok(());
        }
        let own = real(&self.files, table.location())?;
        let taken = taken()?;
        for (what, place) in wished {
            if what == METADATA_PATH {
                self.check_metadata_path(place, &own)?;
                continue;
            }
            let path = real(&self.files, place)?;
            if what != "the location" && path.starts_with(&own) {
                continue;
            }
            self.check_allowed(what, place)?;
            self.check_free(what, place, &path, &taken)?;
        }
        Ok(())
    }

    /// P1 and P2 for a view: its location, and where its metadata goes.
    pub(super) fn check_view(
        &self,
        location: &str,
        metadata_folder: &str,
        taken: &[Taken],
    ) -> Result<(), CatalogError> {
        for (what, place) in [("the location", location), (METADATA_PATH, metadata_folder)] {
            let path = self.check_allowed(what, place)?;
            self.check_free(what, place, &path, taken)?;
        }
        Ok(())
    }

    /// P2.
    fn check_free(
        &self,
        what: &str,
        place: &str,
        path: &Path,
        taken: &[Taken],
    ) -> Result<(), CatalogError> {
        for other in taken {
            let theirs = real(&self.files, &other.location)?;
            let side = match (path.starts_with(&theirs), theirs.starts_with(path)) {
                (true, _) => "inside",
                (_, true) => "around",
                _ => continue,
            };
            return Err(CatalogError::new(
                Kind::BadRequest,
                format!(
                    "{what} {place} is {side} the location of {} {}: every table has a folder of its own",
                    other.relation, other.ident
                ),
            ));
        }
        Ok(())
    }

    /// The place is a table's or a view's, or inside one.
    pub(super) fn is_taken(&self, place: &str, taken: &[Taken]) -> Result<bool, CatalogError> {
        let path = real(&self.files, place)?;
        for other in taken {
            if path.starts_with(real(&self.files, &other.location)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The catalog writes metadata to one place only, and says so instead of ignoring another wish.
    fn check_metadata_path(&self, place: &str, own: &Path) -> Result<(), CatalogError> {
        if real(&self.files, place)? == own.join("metadata") {
            return Ok(());
        }
        Err(CatalogError::new(
            Kind::BadRequest,
            format!(
                "{METADATA_PATH} {place} is not supported: metadata is in the folder `metadata` of the table's location"
            ),
        ))
    }

    /// P3 for a table at `location`.
    ///
    /// # Errors
    /// When a place cannot be told: then nothing may be deleted.
    pub(super) fn fence(&self, location: &str, taken: &[Taken]) -> Result<Fence, CatalogError> {
        Ok(Fence {
            files: self.files.clone(),
            own: real(&self.files, location)?,
            others: taken
                .iter()
                .map(|other| real(&self.files, &other.location))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// What may be deleted on behalf of one table.
pub(super) struct Fence {
    files: Files,
    own: PathBuf,
    others: Vec<PathBuf>,
}

impl Fence {
    /// The path to delete, if deleting it harms nobody else.
    fn admit(&self, file: &str) -> Option<PathBuf> {
        let path = tidy(file).ok()?;
        // The folder is followed through links, the last name is not: a link is removed, not what it points to.
        let folder = self.files.real_path(path.parent()?).ok()?;
        let real = folder.join(path.file_name()?);
        let own = real != self.own && real.starts_with(&self.own);
        // A table around this one would be a violation of P2 from before there was P2; its files are not these.
        let others = self
            .others
            .iter()
            .any(|other| real.starts_with(other) && !self.own.starts_with(other));
        (own && !others).then_some(real)
    }

    pub(super) fn admits(&self, file: &str) -> bool {
        self.admit(file).is_some()
    }

    /// Deletes a file of the table. Tells whether it was the table's to delete.
    ///
    /// # Errors
    /// As the disk says.
    pub(super) fn remove(&self, file: &str) -> Result<bool, CatalogError> {
        let Some(path) = self.admit(file) else {
            return Ok(false);
        };
        assert!(
            path.starts_with(&self.own),
            "P3: only files inside the table's own location are deleted"
        );
        self.files.remove(&location_of(&path))?;
        Ok(true)
    }
}

/// One spelling: an absolute path without `.`, `..`, doubled slashes or a slash at the end.
fn tidy(location: &str) -> Result<PathBuf, CatalogError> {
    let refused = |why: &str| {
        CatalogError::new(
            Kind::BadRequest,
            format!("\"{}\" cannot be a place: {why}", location.escape_debug()),
        )
    };
    if location.len() > LONGEST {
        return Err(CatalogError::new(
            Kind::BadRequest,
            format!(
                "a place has at most {LONGEST} bytes, this one {}",
                location.len()
            ),
        ));
    }
    if location.chars().any(char::is_control) {
        return Err(refused("it has a control character"));
    }
    let path = match s3::is_object(location) {
        true => {
            // An empty name is a name there.
            let (bucket, key) = s3::split(location)?;
            PathBuf::from(format!("{STORED}/{bucket}/{key}"))
        }
        false => local_path(location)?,
    };
    // Some engines decode escapes before they open a file, and some do not: a place must mean the same to all.
    let text = path.to_string_lossy();
    if text
        .split('/')
        .any(|name| name == "." || is_hidden_step(name))
    {
        return Err(refused("it has a step to elsewhere"));
    }
    Ok(path
        .components()
        .filter(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        .collect())
}

/// What a path of a place in a store begins with.
const STORED: &str = "s3:";

/// The location that a tidy path is.
fn location_of(path: &Path) -> String {
    match path.strip_prefix(STORED) {
        Ok(rest) => format!("s3://{}", rest.display()),
        Err(_) => format!("file://{}", path.display()),
    }
}

/// `..`, and what becomes `.`, `..` or a slash when percent escapes are undone.
pub(super) fn is_hidden_step(name: &str) -> bool {
    let decoded = undo_escapes(name);
    name == ".."
        || (decoded != name
            && (decoded == "."
                || decoded == ".."
                || decoded.chars().any(|c| c == '/' || c.is_control())))
}

fn undo_escapes(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, ..] if *first == b'%' => char::from(*high)
                .to_digit(16)
                .zip(char::from(*low).to_digit(16)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(u8::try_from(high << 4 | low).expect("two hex digits are a byte"));
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn real(files: &Files, location: &str) -> Result<PathBuf, CatalogError> {
    let path = tidy(location)?;
    files.real_path(&path).map_err(|error| {
        CatalogError::caused(
            Kind::BadRequest,
            format!("{location} cannot be a place: {error}"),
            error,
        )
    })
}

/// One form for local places: engines differ on `file:/` and `file:///`.
pub(super) fn tidy_location(wish: &str) -> Result<String, CatalogError> {
    Ok(location_of(&tidy(wish)?))
}

/// A place that somebody asked for, in the spelling of their own engine: `file:/x` stays that, since they look for it again.
pub(super) fn spelled(wish: &str) -> Result<String, CatalogError> {
    let tidy = tidy_location(wish)?;
    match wish.starts_with("file:/") && !wish.starts_with("file://") {
        true => Ok(tidy.replacen("file://", "file:", 1)),
        false => Ok(tidy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lw_stdx::disk::RealDisk;
    use std::sync::Arc;

    #[test]
    fn places_have_one_spelling_and_no_step_to_elsewhere() {
        let cases = [
            ("file:///w/t", Some("file:///w/t")),
            ("file:/w//t/", Some("file:///w/t")),
            ("/w/t", Some("file:///w/t")),
            ("file:///w/100%", Some("file:///w/100%")),
            ("file:///w/a%20b", Some("file:///w/a%20b")),
            ("file:///w/../t", None),
            ("file:///w/./t", None),
            ("file:///w/%2e%2e/t", None),
            ("file:///w/%2E./t", None),
            ("file:///w/a%2fb", None),
            ("file:///w/a%00", None),
            ("file:///w/a\0", None),
            ("file://host/w", None),
            ("s3://b/w/t/", Some("s3://b/w/t")),
            ("s3://b", Some("s3://b")),
            ("s3://b/w/x=%2Fa", None),
            ("s3://b/w/x%20=1", Some("s3://b/w/x%20=1")),
            ("s3://b/w//t", None),
            ("s3://b/w/../t", None),
            ("s3://", None),
            ("s3://b?x/t", None),
            ("s3a://b/w/t", None),
            ("FILE:///w", None),
            ("s3://bucket/w", Some("s3://bucket/w")),
            ("w", None),
        ];
        for (wish, expected) in cases {
            assert_eq!(tidy_location(wish).ok().as_deref(), expected, "{wish:?}");
        }
    }

    #[test]
    fn a_place_is_given_back_as_it_was_asked_for() {
        let cases = [
            ("file:/w/t", "file:/w/t"),
            ("file:/w//t/", "file:/w/t"),
            ("file:///w/t/", "file:///w/t"),
            ("/w/t", "file:///w/t"),
        ];
        for (wish, expected) in cases {
            assert_eq!(spelled(wish).unwrap(), expected, "{wish}");
        }
        assert!(spelled("file:/w/../t").is_err());
    }

    #[test]
    fn a_fence_admits_only_what_is_really_inside() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("w/t/data")).unwrap();
        std::fs::create_dir_all(root.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(root.join("elsewhere"), root.join("w/t/link")).unwrap();
        std::os::unix::fs::symlink(root.join("w"), root.join("alias")).unwrap();
        let files = Files::new(Arc::new(RealDisk));
        let at = |place: &str| format!("file://{}/{place}", root.display());
        let places = Places::new(files, &at("w"), &[]).unwrap();
        let inner = Taken {
            relation: Relation::Table,
            ident: TableIdent::from_strs(["n", "inner"]).unwrap(),
            location: at("w/t/inner"),
        };
        let fence = places.fence(&at("w/t"), &[inner]).unwrap();
        let cases = [
            ("w/t/data/a.parquet", true),
            ("w//t/data//a.parquet", true),
            ("alias/t/data/a.parquet", true),
            ("w/t", false),
            ("w/tt/a", false),
            ("w/u/a", false),
            ("elsewhere/a", false),
            ("w/t/../u/a", false),
            ("w/t/%2e%2e/u/a", false),
            ("w/t/link/a", false),
            ("w/t/inner/a", false),
        ];
        for (file, expected) in cases {
            assert_eq!(fence.admits(&at(file)), expected, "{file}");
        }
        let plain = root.join("w/t/data/b").display().to_string();
        assert!(fence.admits(&plain) && fence.admits(&format!("file:{plain}")));
    }
}
