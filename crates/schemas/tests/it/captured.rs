//! Our verdicts against those of Apache Avro and Confluent's client, captured in `tests/captured/*.tsv`.

use std::path::{Path, PathBuf};

use lw_schemas::{AvroSchema, SchemaError, compat};

#[test]
fn captured_verdicts_agree() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captured");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|e| e == "tsv"))
        .collect();
    files.extend(std::env::var_os("LAKEWARD_CAPTURED").map(PathBuf::from));
    let (mut judged, mut faults) = (0, Vec::new());
    for file in files {
        for (number, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            judged += 1;
            if let Err(fault) = judge(line) {
                faults.push(format!("{}:{}: {fault}", file.display(), number + 1));
            }
        }
    }
    let shown: Vec<&str> = faults.iter().take(10).map(String::as_str).collect();
    assert!(
        faults.is_empty(),
        "{} of {judged} differ\n\n{}",
        faults.len(),
        shown.join("\n\n")
    );
    assert!(judged >= 300, "only {judged} lines were found");
}

fn judge(line: &str) -> Result<(), String> {
    let parts: Vec<&str> = line.split('\t').collect();
    let [reader, writer, .., backward, full] = parts[..] else {
        return Err("too few fields".into());
    };
    let (Some(told_r), Some(told_w)) = (parts.get(2..6), parts.get(6..10)) else {
        return Err("too few fields".into());
    };
    let (reader, writer) = (same_texts(reader, told_r)?, same_texts(writer, told_w)?);
    let (Some(reader), Some(writer)) = (reader, writer) else {
        return Ok(());
    };
    if backward == "UNPARSED" {
        return Ok(());
    }
    let backwards = compat::check(&reader, &writer)
        .into_iter()
        .map(|f| f.describe("new", "old"));
    let forwards = compat::check(&writer, &reader)
        .into_iter()
        .map(|f| f.describe("old", "new"));
    let backwards: Vec<String> = backwards.collect();
    same("BACKWARD", &backwards, backward, line)?;
    same(
        "FULL",
        &forwards.chain(backwards).collect::<Vec<_>>(),
        full,
        line,
    )
}

/// Compares the texts of one schema; nothing when both sides refuse it.
fn same_texts(text: &str, told: &[&str]) -> Result<Option<AvroSchema>, String> {
    let [canonical, form, fingerprint, forward] = told else {
        return Err("too few fields".into());
    };
    let parsed: Result<AvroSchema, SchemaError> = AvroSchema::parse(text);
    let schema = match (parsed, canonical.strip_prefix("REJECTED ")) {
        (Err(_), Some(_)) => return Ok(None),
        (Err(ours), None) if *forward == "FORWARD" && ours.message.contains("is not known") => {
            return Ok(None);
        }
        (Err(ours), None) => return Err(format!("refused here only: {ours}\n  {text}")),
        // Each Avro takes one thing that the other refuses; a schema with both is taken by neither, but by us.
        (Ok(_), Some(theirs)) if theirs.starts_with("Undefined schema") => return Ok(None),
        (Ok(_), Some(theirs)) => return Err(format!("refused there only: {theirs}\n  {text}")),
        (Ok(schema), None) => schema,
    };
    for (what, ours, theirs) in [
        ("canonical text", schema.canonical_text(), canonical),
        ("parsing form", schema.parsing_canonical_form(), form),
        (
            "fingerprint",
            (schema.fingerprint() as i64).to_string(),
            fingerprint,
        ),
    ] {
        if ours != *theirs {
            return Err(format!("{what}\n  ours   {ours}\n  theirs {theirs}"));
        }
    }
    Ok(Some(schema))
}

fn same(level: &str, ours: &[String], theirs: &str, line: &str) -> Result<(), String> {
    // The tail that tells the old schema belongs to the registry, which has its own tests.
    let findings = theirs
        .split('\u{1}')
        .filter(|f| !f.is_empty() && !f.starts_with("{oldSchema"));
    let theirs: Vec<&str> = findings.collect();
    let pairs = || ours.iter().zip(&theirs);
    if ours.len() == theirs.len() && pairs().all(|(ours, theirs)| is_same(ours, theirs)) {
        return Ok(());
    }
    let schemas: Vec<&str> = line.split('\t').take(2).collect();
    Err(format!(
        "{level}\n  ours   {ours:#?}\n  theirs {theirs:#?}\n  {}",
        schemas.join("\n  ")
    ))
}

/// The checker's older Avro starts a path anew below a writer's union, and 1.12 goes on: theirs may be the end of ours.
fn is_same(ours: &str, theirs: &str) -> bool {
    fn parts(finding: &str) -> Option<(&str, &str, &str)> {
        let (before, rest) = finding.split_once("path '")?;
        let (path, after) = rest.split_once('\'')?;
        Some((before, path, after))
    }
    match (parts(ours), parts(theirs)) {
        (Some(ours), Some(theirs)) => {
            let end = theirs.1.strip_suffix('/').unwrap_or(theirs.1);
            (ours.0, ours.2) == (theirs.0, theirs.2) && ours.1.ends_with(end)
        }
        _ => ours == theirs,
    }
}
