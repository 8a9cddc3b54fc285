//! The environment of the end-to-end cases: a Python environment and node modules, made once per lock file under the cache.
//!
//! Each is made in a folder named after a checksum of the file that pins it, and marked complete by a file written last,
//! so an interrupted installation is made anew and an edited pin gets its own folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::steps::{cache_dir, workspace};

/// The Python interpreter of the environment that `tests/e2e/requirements.txt` pins.
pub(crate) fn python() -> Result<PathBuf> {
    let pins = workspace().join("tests/e2e/requirements.txt");
    let dir = once("venv", &[&pins], |dir| {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(dir))?;
        run(Command::new(dir.join("bin/pip"))
            .args(["install", "--quiet", "--requirement"])
            .arg(&pins))
    })?;
    Ok(dir.join("bin/python"))
}

/// The folder with `node_modules` of `tests/e2e/node`; none where npm is not installed (the cases then say so and skip).
pub(crate) fn node_modules() -> Result<Option<PathBuf>> {
    if Command::new("npm").arg("--version").output().is_err() {
        return Ok(None);
    }
    let source = workspace().join("tests/e2e/node");
    let pins = [
        source.join("package.json"),
        source.join("package-lock.json"),
    ];
    let dir = once("node", &[&pins[0], &pins[1]], |dir| {
        fs::create_dir_all(dir)?;
        for file in &pins {
            fs::copy(
                file,
                dir.join(file.file_name().expect("the pins are files")),
            )?;
        }
        run(Command::new("npm")
            .args([
                "ci",
                "--silent",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
            ])
            .current_dir(dir))
    })?;
    Ok(Some(dir))
}

fn once(name: &str, pins: &[&Path], make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let mut text = Vec::new();
    for pin in pins {
        text.extend(fs::read(pin).with_context(|| format!("cannot read {}", pin.display()))?);
    }
    let dir = cache_dir().join(format!("e2e-{name}-{:016x}", fnv1a(&text)));
    let complete = dir.join("complete");
    if !complete.exists() {
        eprintln!("xtask: making {}", dir.display());
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(cache_dir())?;
        make(&dir)?;
        fs::write(&complete, "")?;
    }
    Ok(dir)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{:?} ended with {status}", command.get_program());
    }
    Ok(())
}

/// Names a folder after a text; collisions would only mean a stale folder, so 64 bits are plenty.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
