//! States on their way to the disk: encoded and written, and links folded, beside the driver, which only lets operators write down
//! what they have.
//!
//! A fold reads what is stored and touches no operator. Its result is taken up by the next checkpoint, unless what was folded was
//! written as a whole meanwhile; until that checkpoint's manifest is durable the links stay where they are.

use crate::state::{
    Frozen, Leftovers, OperatorState, StateError, StateFiles, States, StoredRows, StoredSection,
};
use lw_graph::OperatorUid;

/// What is to be done with states.
pub(super) enum KeepOrder {
    Write(Box<Write>),
    Fold(Box<Fold>),
}

/// What operators wrote down is to be stored.
pub(super) struct Write {
    /// What stands in the manifest, which changes are of.
    before: Option<States>,
    frozen: Frozen,
    generation: u64,
    checkpoint: u64,
}

/// Links are to be folded into one.
#[derive(Clone)]
pub(super) struct Fold {
    uid: OperatorUid,
    section: StoredSection,
    generation: u64,
    number: u64,
}

/// What came of it.
pub(super) enum Kept {
    Written(Result<States, StateError>),
    Folded(Box<Fold>, Result<Vec<StoredRows>, StateError>),
}

impl KeepOrder {
    pub(super) fn carry_out(self, files: &StateFiles) -> Kept {
        match self {
            KeepOrder::Write(write) => Kept::Written(write.carry_out(files)),
            KeepOrder::Fold(fold) => {
                let which = format!("fold{}", fold.number);
                let mut to = files.writing(fold.generation, &which);
                let folded = fold.section.folded(files, &mut to);
                Kept::Folded(fold, folded)
            }
        }
    }
}

impl Write {
    fn carry_out(self, files: &StateFiles) -> Result<States, StateError> {
        let mut to = files.writing(self.generation, &self.checkpoint.to_string());
        let frozen = self.frozen.into_iter();
        let stored = frozen.map(|(uid, written)| {
            let before = self.before.as_ref();
            let before = before.and_then(|before| before.get(&uid));
            Ok((uid, OperatorState::behind(before, written, &mut to)?))
        });
        stored.collect()
    }
}

/// The states of one attempt as the driver sees them: what stands where, and what is folded.
pub(super) struct Keeper {
    pub(super) files: StateFiles,
    leftovers: Leftovers,
    generation: u64,
    folds: u64,
    /// A fold was ordered.
    folding: bool,
    /// One that the next checkpoint takes up.
    folded: Option<(Box<Fold>, Vec<StoredRows>)>,
}

impl Keeper {
    pub(super) fn new(files: StateFiles, generation: u64) -> Keeper {
        Keeper {
            leftovers: Leftovers::of(&files),
            files,
            generation,
            folds: 0,
            folding: false,
            folded: None,
        }
    }

    /// What operators wrote down is to be stored behind what stands in the manifest.
    pub(super) fn write(
        &mut self,
        before: Option<&States>,
        frozen: Frozen,
        checkpoint: u64,
    ) -> KeepOrder {
        let mut before = before.cloned();
        if let Some((fold, rows)) = self.folded.take() {
            // The manifest that comes of this names its files, or none ever does.
            self.leftovers
                .add(rows.iter().filter_map(|rows| rows.file.as_ref()));
            let state = before.as_mut().and_then(|before| before.get_mut(&fold.uid));
            if let Some(state) = state {
                state.fold(&fold.section, rows);
            }
        }
        KeepOrder::Write(Box::new(Write {
            before,
            frozen,
            generation: self.generation,
            checkpoint,
        }))
    }

    /// What was written is about to be named.
    pub(super) fn written(&mut self, states: &States) {
        self.leftovers
            .add(states.values().flat_map(OperatorState::files));
    }

    /// The manifest is durable: what it does not name goes.
    pub(super) fn keep<'a>(&mut self, states: impl Iterator<Item = &'a OperatorState>) {
        self.leftovers.keep(states);
    }

    /// What is to be folded, one thing at a time.
    pub(super) fn fold(&mut self, states: &States) -> Option<KeepOrder> {
        if self.folding || self.folded.is_some() {
            return None;
        }
        let mut long = states
            .iter()
            .filter_map(|(uid, state)| Some((*uid, state.long_section()?)));
        let (uid, section) = long.next()?;
        self.folding = true;
        self.folds += 1;
        Some(KeepOrder::Fold(Box::new(Fold {
            uid,
            section: section.clone(),
            generation: self.generation,
            number: self.folds,
        })))
    }

    pub(super) fn folded(&mut self, fold: Box<Fold>, folded: Result<Vec<StoredRows>, StateError>) {
        self.folding = false;
        match folded {
            Ok(rows) => self.folded = Some((fold, rows)),
            // What it read may have been written as a whole meanwhile, and be gone.
            Err(error) => {
                tracing::info!(operator = %fold.uid, section = fold.section.name, %error, "links of a state were not folded");
            }
        }
    }
}
