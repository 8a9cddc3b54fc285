//! Which of an operator's groups changed since its state was written down last.

/// Groups by their numbers, each once.
#[derive(Debug)]
pub(crate) enum Changed {
    /// Nothing was written down yet: all of them.
    All,
    Since {
        /// By group, 64 in a word.
        is: Vec<u64>,
        groups: Vec<u32>,
    },
}

impl Changed {
    /// What is there was written down.
    pub(crate) fn none() -> Changed {
        Changed::Since {
            is: Vec::new(),
            groups: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, changed: &[u32]) {
        let Changed::Since { is, groups } = self else {
            return;
        };
        for group in changed {
            let (word, bit) = ((*group / 64) as usize, 1_u64 << (*group % 64));
            if word >= is.len() {
                is.resize(word + 1, 0);
            }
            if is[word] & bit == 0 {
                is[word] |= bit;
                groups.push(*group);
            }
        }
    }

    /// Whether anything of it was written down before.
    pub(crate) fn is_known(&self) -> bool {
        matches!(self, Changed::Since { .. })
    }

    /// Those of `count` groups that are to be written down: the ones that changed, rising, or all. From now on none has changed.
    pub(crate) fn take(&mut self, count: usize, all: bool) -> Vec<u32> {
        match std::mem::replace(self, Changed::none()) {
            Changed::Since { mut groups, .. } if !all => {
                groups.sort_unstable();
                groups
            }
            _ => (0..count as u32).collect(),
        }
    }

    pub(crate) fn size(&self) -> usize {
        match self {
            Changed::All => 0,
            Changed::Since { is, groups } => is.len() * 8 + groups.len() * 4,
        }
    }
}
