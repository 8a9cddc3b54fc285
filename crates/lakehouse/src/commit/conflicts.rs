//! Conflicts: whether a change that was made for one head still fits the table as it now is.
//!
//! An append fits every head: nothing that others add or take away makes its rows wrong, and whether it has landed already is
//! [`decide`](super::decide)'s to say. A rewrite says the same rows once more, so it fits only as long as the rows that it read
//! are those that the table shows:
//!
//! 1. A file that it adds is listed → it **landed**, whatever the reply said. This is asked first: once it has landed, the files
//!    that it replaced are gone, and that must not be taken for somebody else's doing.
//! 2. A file that it replaces is not listed any more → **conflict**: its rows were deleted, overwritten, rolled back, or stand in
//!    another file already. They would come back, or come twice.
//! 3. A delete may hide a row of a file that it replaces → **conflict**: the row would come back. What is rewritten had no
//!    deletes when it was read, so such a one is new; one by place says nothing of the new file.
//! 4. Else it **fits**. Files that others added meanwhile do not matter.
//!
//! The same holds for an erasure: what it leaves of a file is what was read.

use super::change::Change;
use super::listing::Listing;
use std::fmt;

/// What there is to be done about a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fits,
    Landed,
    Conflict(Conflict),
}

/// Why a change must not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// A file that it replaces is not in the table any more.
    Gone(String),
    /// Rows of a file that it replaces were deleted.
    Deleted(String),
    /// A file that it replaces is listed twice now, and has its rows twice.
    Doubled(String),
    /// It took so long that nobody could tell any more whether it is still under way.
    Late,
    /// The table was dropped and made again.
    Replaced,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Conflict::Gone(path) => write!(f, "{path} is not in the table any more"),
            Conflict::Deleted(path) => write!(f, "rows of {path} were deleted meanwhile"),
            Conflict::Doubled(path) => write!(f, "{path} is listed twice meanwhile"),
            Conflict::Late => f.write_str("the table has had too many commits meanwhile"),
            Conflict::Replaced => f.write_str("the table was dropped and made again meanwhile"),
        }
    }
}

/// The rule. Pure; see the head of this file.
pub(crate) fn check(head: &Listing, change: &Change<'_>) -> Verdict {
    let (removed, added) = match change {
        Change::Rewrite(rewrite) => (rewrite.removed(), rewrite.added()),
        Change::Erase(erase) => (&*erase.without.removed, &*erase.without.copies),
        _ => return Verdict::Fits,
    };
    let mut added = added.iter().map(|made| made.file.file_path());
    if added.any(|path| head.data.contains_key(path)) {
        return Verdict::Landed;
    }
    for removed in removed {
        let path = removed.file.file_path();
        if !head.data.contains_key(path) {
            return Verdict::Conflict(Conflict::Gone(path.to_owned()));
        }
        if head.doubled.contains(path) {
            return Verdict::Conflict(Conflict::Doubled(path.to_owned()));
        }
        if head.is_hit(removed) {
            return Verdict::Conflict(Conflict::Deleted(path.to_owned()));
        }
    }
    Verdict::Fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::change::{Made, Rewrite};
    use crate::commit::listing::{Delete, Hides, Listed};
    use iceberg::spec::{Literal, Struct};
    use std::sync::Arc;

    /// `path@sequence`, of the partition that the path's first letter names.
    fn listed(text: &str) -> Listed {
        let (path, sequence) = text.split_once('@').expect("path@sequence");
        let sequence = sequence.parse().expect("a number");
        Listed::made(path, sequence, partition(&path[..1]), 1)
    }

    fn partition(name: &str) -> Struct {
        match name {
            "-" => Struct::empty(),
            name => Struct::from_iter([Some(Literal::string(name))]),
        }
    }

    /// `partition@sequence values`, `partition@sequence in path …`, or `partition@sequence first last` where `*` is no bound.
    fn delete(text: &str) -> Delete {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (name, sequence) = words[0].split_once('@').expect("partition@sequence");
        let bound = |word: &str| Some(word.to_owned()).filter(|word| word != "*");
        Delete {
            hides: match words[1..] {
                ["values"] => Hides::Values,
                ["in", ref paths @ ..] => Hides::Files(Arc::new(
                    paths.iter().map(|path| (*path).to_owned()).collect(),
                )),
                [first, last] => Hides::Places {
                    first: bound(first),
                    last: bound(last),
                },
                _ => panic!("values, or two bounds"),
            },
            spec_id: 0,
            partition: partition(name),
            sequence: sequence.parse().expect("a number"),
        }
    }

    /// The files `a1@3 a2@4` are to become `a9`, of what the snapshot of sequence number 5 had.
    fn check_against(data: &str, deletes: &[&str], expected: &str) {
        let removed = vec![listed("a1@3"), listed("a2@4")];
        // As many rows as those two have.
        let added = vec![Made {
            spec_id: 0,
            file: Listed::made("a9", 5, partition("a"), 2).file,
        }];
        let rewrite = Rewrite::new(5, removed, added);
        let head = Listing {
            data: data
                .split_whitespace()
                .map(listed)
                .map(|one| (one.file.file_path().to_owned(), one))
                .collect(),
            doubled: Default::default(),
            deletes: deletes.iter().map(|text| delete(text)).collect(),
        };
        let verdict = match check(&head, &Change::Rewrite(&rewrite)) {
            Verdict::Fits => "fits".to_owned(),
            Verdict::Landed => "landed".to_owned(),
            Verdict::Conflict(why) => why.to_string(),
        };
        assert_eq!(verdict, expected, "{data} {deletes:?}");
    }

    #[test]
    fn a_rewrite_fits_as_long_as_its_files_stand_as_they_were_read() {
        check_against("a1@3 a2@4", &[], "fits");
        check_against("a1@3 a2@4 a3@6 b1@7", &[], "fits");
        check_against("a1@3", &[], "a2 is not in the table any more");
        check_against("", &[], "a1 is not in the table any more");
    }

    #[test]
    fn one_that_landed_is_known_by_its_files_though_those_it_replaced_are_gone() {
        check_against("a9@5", &[], "landed");
        check_against("a9@5 a3@6", &["a@7 * *"], "landed");
    }

    #[test]
    fn a_delete_of_what_it_replaces_is_a_conflict() {
        let (data, hit) = ("a1@3 a2@4", "rows of a1 were deleted meanwhile");
        check_against(data, &["a@6 * *"], hit);
        check_against(data, &["a@6 a0 a1"], hit);
        check_against(data, &["a@6 a2 a2"], "rows of a2 were deleted meanwhile");
        check_against(data, &["a@6 values"], hit);
        check_against(data, &["a@6 in a0 a1 a3"], hit);
        // Without a partition, by values alone it is about all of the table.
        check_against(data, &["-@6 values"], hit);
    }

    #[test]
    fn a_delete_of_others_is_none() {
        let data = "a1@3 a2@4 b1@6";
        check_against(data, &["b@7 * *"], "fits");
        check_against(data, &["b@7 values"], "fits");
        check_against(data, &["a@7 a3 a8"], "fits");
        // Opened, it says more than its bounds do.
        check_against(data, &["a@7 in a0 a3", "a@2 in a1", "b@7 in a1"], "fits");
        check_against(data, &["-@7 * *"], "fits");
        // Older than the rows; one by place may be of the same commit.
        check_against(data, &["a@2 * *", "a@3 values"], "fits");
        check_against(data, &["a@3 * *"], "rows of a1 were deleted meanwhile");
    }
}
