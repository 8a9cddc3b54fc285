//! What the server's own compactions do to the table, in two steps between which everything else may come.

use super::job::REACH;
use super::{Machine, Process, Stop};
use crate::TableCatalog;
use crate::commit::listing::named_by_any;
use crate::error::Kind;
use crate::tests::world::{Fault, TABLE, ident};
use crate::upkeep::compaction::Outcome;
use crate::upkeep::leftovers;
use crate::writer::orphans::whole_name;
use crate::writer::replaced::Sealed;
use rand::Rng;
use std::collections::BTreeSet;

impl Machine {
    /// Makes copies, or asks for the commit of those that are made.
    pub(super) fn compact(&mut self, process: &mut Process) -> Result<(), Stop> {
        if process.world.head()?.is_none() {
            return Ok(());
        }
        if self.random.random_bool(0.2) {
            self.sweep(process)?;
        }
        let Some(copies) = process.copies.take() else {
            process.copies = process.compactor.copies(&ident(TABLE))?;
            if process.copies.is_some() {
                self.history.push("small files are copied".to_owned());
            }
            return Ok(());
        };
        if self.random.random_bool(0.2) {
            let mut faults = process.network.faults.lock().expect("no panic there");
            faults.push_front(Some(Fault::ReplyLost));
        }
        match process.compactor.publish(copies) {
            Ok(Outcome::Landed) => {
                self.history.push("the copies take their place".to_owned());
                self.compactions += 1;
            }
            Ok(Outcome::Conflict(why)) => {
                self.history.push(format!("the copies are given up: {why}"));
                self.in_the_way += 1;
            }
            Err(error) if error.kind == Kind::Unknown => {
                self.history.push("no reply to the copies".to_owned());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Removes what no snapshot lists any more.
    fn sweep(&mut self, process: &mut Process) -> Result<(), Stop> {
        let sealed = Sealed {
            manifest: process.manifest(),
            beside: Vec::new(),
        };
        let files = process.compactor.sweep(&ident(TABLE), || Some(sealed))?;
        self.history
            .push(format!("{files} files go that nobody lists"));
        self.replaced += files;
        Ok(())
    }

    /// At last everything small becomes large, and nothing is left of what came to nothing.
    pub(super) fn compact_undisturbed(&mut self, process: &mut Process) -> Result<(), Stop> {
        for _ in 0..2 {
            self.compact(process)?;
            self.harmless(process)?;
        }
        let metadata = process.world.catalog.load(&ident(TABLE))?.metadata;
        let given = metadata.last_sequence_number();
        let is_old = |name: &str| {
            let ours = leftovers::parse(whole_name(name));
            ours.is_some_and(|(_, sequence)| given >= sequence + REACH)
        };
        self.sweep(process)?;
        let old = process.world.data_folder().into_iter();
        let old: BTreeSet<String> = old.filter(|name| is_old(name)).collect();
        let files = process.world.catalog.files();
        let named: BTreeSet<String> = named_by_any(files, &metadata, &old)?;
        match old.iter().find(|name| !named.contains(*name)) {
            Some(name) => Err(Stop::Violation(format!(
                "S13: {name} is of no snapshot, and stays"
            ))),
            None => Ok(()),
        }
    }
}
