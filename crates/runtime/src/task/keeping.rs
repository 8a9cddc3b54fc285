//! States on their way to the disk: encoded and written, and links folded, beside the driver, which only lets operators write down
//! what they have.
//!
//! A fold reads what is stored and touches no operator. Its result is taken up by the next checkpoint, unless what was folded was
//! written as a whole meanwhile; until that checkpoint's manifest is durable the links stay where they are.
//!
//! An attempt with another number of shards than the one before cannot write changes behind what that one stored. So all of it is
//! written down when it begins, before the first row; it is stored while rows are read, and the first checkpoint writes what changed
//! since behind it, as any other.

use crate::state::{
    Frozen, Leftovers, OperatorState, StateError, StateFiles, States, StoredRows, StoredSection,
};
use lw_graph::OperatorUid;

/// What is to be done with states.
pub(super) enum KeepOrder {
    /// For a checkpoint.
    Write(Box<Write>),
    /// For the first checkpoint of an attempt to go on from.
    Arrange(Box<Write>),
    Fold(Box<Fold>),
}

/// What operators wrote down is to be stored.
pub(super) struct Write {
    /// What stands already, which changes are of.
    before: Option<States>,
    frozen: Frozen,
    generation: u64,
    /// What its files are called.
    which: String,
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
    Arranged(Result<States, StateError>),
    Folded(Box<Fold>, Result<Vec<StoredRows>, StateError>),
}

impl KeepOrder {
    pub(super) fn carry_out(self, files: &StateFiles) -> Kept {
        match self {
            KeepOrder::Write(write) => Kept::Written(write.carry_out(files)),
            KeepOrder::Arrange(write) => Kept::Arranged(write.carry_out(files)),
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
        let mut to = files.writing(self.generation, &self.which);
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
    /// States that the next checkpoint goes on from, and the manifest does not have.
    arranged: States,
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
            arranged: States::new(),
        }
    }

    /// All that these operators have is to be stored: what stands in the manifest of them is of other key groups.
    pub(super) fn arrange(&self, frozen: Frozen) -> KeepOrder {
        KeepOrder::Arrange(Box::new(Write {
            before: None,
            frozen,
            generation: self.generation,
            which: "shards".to_string(),
        }))
    }

    pub(super) fn arranged(&mut self, states: States) {
        self.arranged = states;
    }

    /// What the next checkpoint goes on from: what stands in the manifest, with what was folded and arranged since.
    pub(super) fn standing(&mut self, manifest: Option<&States>) -> Option<States> {
        let mut standing = manifest?.clone();
        // The manifest that comes of this names their files, or none ever does.
        if let Some((fold, rows)) = self.folded.take() {
            self.leftovers
                .add(rows.iter().filter_map(|rows| rows.file.as_ref()));
            if let Some(state) = standing.get_mut(&fold.uid) {
                state.fold(&fold.section, rows);
            }
        }
        let arranged = std::mem::take(&mut self.arranged);
        self.leftovers
            .add(arranged.values().flat_map(OperatorState::files));
        standing.extend(arranged);
        Some(standing)
    }

    /// What operators wrote down is to be stored behind what stands.
    pub(super) fn write(
        &mut self,
        before: Option<States>,
        frozen: Frozen,
        checkpoint: u64,
    ) -> KeepOrder {
        KeepOrder::Write(Box::new(Write {
            before,
            frozen,
            generation: self.generation,
            which: checkpoint.to_string(),
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
