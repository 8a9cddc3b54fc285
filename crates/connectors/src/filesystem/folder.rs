//! Which files a table has, and what their paths say.
//!
//! All below the folder, by path, but for those whose names, or whose folders', begin with `.` or `_`, and those whose paths do not
//! match the pattern that there may be. The columns that a table is
//! partitioned by are in the names of the folders, `year=2026/month=7/…`, one folder within the other in the order of PARTITIONED
//! BY. What lies between them is refused, as Flink does: nobody knows what it is of.

use super::parquet::converted;
use super::unreadable;
use arrow_array::{ArrayRef, BooleanArray, StringArray, new_null_array};
use arrow_cast::cast;
use lw_formats::arrow_type;
use lw_graph::{Field, FileSource, LogicalType, TypeKind};
use lw_runtime::connector::{ConnectorError, ErrorKind};
use lw_runtime::kernel::WholePattern;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files of a table, in the order in which they are read.
pub(super) fn paths(
    spec: &FileSource,
    pattern: Option<&WholePattern>,
) -> Result<Vec<PathBuf>, ConnectorError> {
    let mut found = Vec::new();
    gather(Path::new(&spec.path), &spec.partitions.fields, &mut found)?;
    if let Some(pattern) = pattern {
        found.retain(|path| path.to_str().is_none_or(|path| pattern.matches(path)));
    }
    found.sort();
    match found.iter().find(|path| path.to_str().is_none()) {
        Some(path) => {
            let message = format!("the name of {} is no text", path.display());
            Err(ConnectorError::new(ErrorKind::Fix, message).hint("Rename the file."))
        }
        None => Ok(found),
    }
}

/// Files below folders that each say one of the `partitions`, the outermost the first.
fn gather(
    path: &Path,
    partitions: &[Field],
    found: &mut Vec<PathBuf>,
) -> Result<(), ConnectorError> {
    let failed = |error| unreadable(path, &error);
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        if let Some(field) = partitions.first() {
            return Err(says_nothing(path, field));
        }
        found.push(path.to_path_buf());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        if name.starts_with(['.', '_']) {
            continue;
        }
        let below = match partitions.split_first() {
            None => partitions,
            Some((field, below)) => {
                said(&name, field).ok_or_else(|| says_nothing(&path, field))?;
                below
            }
        };
        gather(&path, below, found)?;
    }
    Ok(())
}

/// What the path of a file says, a value for each column that the table is partitioned by.
pub(super) fn partition(spec: &FileSource, file: &Path) -> Result<Vec<ArrayRef>, ConnectorError> {
    let below = file.strip_prefix(&spec.path).unwrap_or(file);
    let mut folders = below.components();
    let values = spec.partitions.fields.iter().map(|field| {
        let name = folders
            .next()
            .map(|name| name.as_os_str().to_string_lossy());
        let text = name.as_ref().and_then(|name| said(name, field));
        let text = text.ok_or_else(|| says_nothing(file, field))?;
        let text = Some(&*text).filter(|text| *text != spec.null_partition);
        value(text, &field.ty).ok_or_else(|| {
            let written = text.unwrap_or(&spec.null_partition);
            let message = format!(
                "the path '{}' says '{written}', which is no {}",
                file.display(),
                field.ty.kind
            );
            ConnectorError::new(ErrorKind::Fix, message).hint(format!(
                "Rename the folder, or declare `{}` as what the folders say.",
                field.name
            ))
        })
    });
    values.collect()
}

/// What a folder says of a column: what is behind `column=`.
fn said(folder: &str, field: &Field) -> Option<String> {
    let (name, value) = folder.split_once('=')?;
    (unescaped(name) == field.name && !value.is_empty()).then(|| unescaped(value).into_owned())
}

fn says_nothing(path: &Path, field: &Field) -> ConnectorError {
    let message = format!(
        "the path '{}' says no value of '{}'",
        path.display(),
        field.name
    );
    ConnectorError::new(ErrorKind::Fix, message)
        .detail(
            "The table is partitioned by it: each of its files is in a folder that says the value.",
        )
        .hint(format!(
            "Its place is in a folder '{}=…'; what begins with '_' is passed over.",
            field.name
        ))
}

/// `%3A` is a colon: Flink and Hive write characters so that mean something in a path.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3);
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                rest = &rest[at + 3..];
            }
            None => {
                plain.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// One value of this type; `None` where the text is none.
pub(super) fn value(text: Option<&str>, ty: &LogicalType) -> Option<ArrayRef> {
    let Some(text) = text else {
        return ty.nullable.then(|| new_null_array(&arrow_type(ty), 1));
    };
    let written: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let value = match &ty.kind {
        TypeKind::Char(_) | TypeKind::Varchar(_) => return Some(written),
        // As Java reads it: all that is not `true` is false.
        TypeKind::Boolean => {
            let is_true = text.eq_ignore_ascii_case("true");
            return Some(Arc::new(BooleanArray::from(vec![is_true])));
        }
        _ => cast(&written, &arrow_type(ty)).ok()?,
    };
    let value = converted(&value, ty).ok()?;
    value.is_valid(0).then_some(value)
}
