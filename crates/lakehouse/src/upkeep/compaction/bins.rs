//! Which small files become one.
//!
//! Files of one group stand in the order of their rows' age, and neighbours go together as long as they are no more than the
//! target: so the rows keep their order, and files their narrow ranges of time. A bin is worth it when it has as many files as
//! the table asks for, or fills a file.
//!
//! *By tiers*, which is how a table is kept up that grows all day, no row is copied more often than it pays: a file that is
//! more than half of its bin stays out of it. Each copy then at least doubles the file that a row is in.

/// Runs in a footer, which every reader reads: about half a megabyte of them.
const MOST_RUNS: usize = 4096;

/// A file that is too small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Small {
    /// Files of different ones never become one.
    pub(super) group: usize,
    pub(super) bytes: u64,
    pub(super) runs: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) target: u64,
    pub(super) min_files: usize,
    pub(super) by_tiers: bool,
}

impl Limits {
    /// Files from this size on stay as they are. Iceberg's share of the target.
    pub(super) fn large(&self) -> u64 {
        self.target / 4 * 3
    }

    /// Whether it pays to make one file of so many.
    pub(super) fn are_worth_it(&self, files: usize, bytes: u64) -> bool {
        files >= 2 && (files >= self.min_files || bytes >= self.large())
    }
}

/// The files of each bin, by their places in `small`.
pub(super) fn bins(small: &[Small], limits: Limits) -> Vec<Vec<usize>> {
    let groups = small.iter().map(|one| one.group + 1).max().unwrap_or(0);
    let mut bins: Vec<Vec<usize>> = Vec::new();
    // Per group, where its open bin is.
    let mut open: Vec<Option<usize>> = vec![None; groups];
    let sum = |bin: &[usize], of: fn(&Small) -> u64| -> u64 {
        bin.iter().map(|one| of(&small[*one])).sum()
    };
    for (place, one) in small.iter().enumerate() {
        let fits = |bin: &usize| {
            let bin = &bins[*bin];
            sum(bin, |one| one.bytes) + one.bytes <= limits.target
                && sum(bin, |one| one.runs as u64) + one.runs as u64 <= MOST_RUNS as u64
        };
        match open[one.group].filter(fits) {
            Some(bin) => bins[bin].push(place),
            None => {
                open[one.group] = Some(bins.len());
                bins.push(vec![place]);
            }
        }
    }
    if limits.by_tiers {
        for bin in &mut bins {
            leave_the_large(bin, small);
        }
    }
    let is_worth_it = |bin: &Vec<usize>| limits.are_worth_it(bin.len(), sum(bin, |one| one.bytes));
    bins.into_iter().filter(is_worth_it).collect()
}

fn leave_the_large(bin: &mut Vec<usize>, small: &[Small]) {
    loop {
        let total: u64 = bin.iter().map(|one| small[*one].bytes).sum();
        let largest = (0..bin.len()).max_by_key(|at| small[bin[*at]].bytes);
        match largest.filter(|at| small[bin[*at]].bytes * 2 > total) {
            Some(at) => drop(bin.remove(at)),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes of files, oldest first, each with its group as a letter (`a` where there is none); the bins' sizes.
    fn check(files: &str, by_tiers: bool, expected: &str) {
        let limits = Limits {
            target: 128,
            min_files: 5,
            by_tiers,
        };
        let small: Vec<Small> = files
            .split_whitespace()
            .map(|word| {
                let group = word.bytes().find(u8::is_ascii_lowercase).unwrap_or(b'a');
                let number = word.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
                Small {
                    group: usize::from(group - b'a'),
                    bytes: number.parse().expect("a number"),
                    runs: 1,
                }
            })
            .collect();
        let text = |bin: Vec<usize>| {
            let bytes = bin.iter().map(|one| small[*one].bytes.to_string());
            bytes.collect::<Vec<_>>().join(" ")
        };
        let found: Vec<String> = bins(&small, limits).into_iter().map(text).collect();
        assert_eq!(found.join(" | "), expected, "{files}");
    }

    #[test]
    fn neighbours_go_together_up_to_the_target() {
        check("1 1 1 1", false, "");
        check("1 1 1 1 1", false, "1 1 1 1 1");
        check("60 60 60 60", false, "60 60 | 60 60");
        check("60 30", false, "");
        check("60 40", false, "60 40");
        check("90 90 90", false, "");
    }

    #[test]
    fn groups_never_mix() {
        check("1a 1b 1a 1b 1a 1b 1a 1b 1a", false, "1 1 1 1 1");
    }

    #[test]
    fn by_tiers_a_file_that_is_most_of_its_bin_stays_out() {
        check("60 1 1 1 1 1", false, "60 1 1 1 1 1");
        check("60 1 1 1 1 1", true, "1 1 1 1 1");
        check("60 1 1 1 1", true, "");
        check("60 20 1 1 1 1 1", true, "1 1 1 1 1");
        check("70 20 9 9 9 9", true, "20 9 9 9 9");
        check("60 61 1", true, "60 61 1");
    }

    /// A table that gets a file of one unit each time, and is looked after each time.
    #[test]
    fn by_tiers_a_row_is_copied_a_few_times_however_long_its_table_grows() {
        let limits = Limits {
            target: 1024,
            min_files: 5,
            by_tiers: true,
        };
        let (mut files, mut copied, mut most) = (Vec::new(), 0, 0);
        for _ in 0..10_000 {
            files.push(1);
            let small: Vec<Small> = files
                .iter()
                .filter(|bytes| **bytes < limits.large())
                .map(|bytes| Small {
                    group: 0,
                    bytes: *bytes,
                    runs: 1,
                })
                .collect();
            for bin in bins(&small, limits).into_iter().rev() {
                let of_bin = bin.iter().map(|one| small[*one].bytes);
                let together: u64 = of_bin.sum();
                copied += together;
                let small_ones = files.iter().enumerate();
                let mut places: Vec<usize> = small_ones
                    .filter(|(_, bytes)| **bytes < limits.large())
                    .map(|(place, _)| place)
                    .collect();
                places = bin.iter().map(|one| places[*one]).collect();
                files[places[0]] = together;
                for place in places.into_iter().skip(1).rev() {
                    files.remove(place);
                }
            }
            most = most.max(
                files
                    .iter()
                    .filter(|bytes| **bytes < limits.large())
                    .count(),
            );
        }
        assert!(
            copied <= 8 * 10_000,
            "each row was copied {} times",
            copied / 10_000
        );
        assert!(most <= 100, "{most} small files at a time");
    }

    #[test]
    fn a_footer_stays_small() {
        let limits = Limits {
            target: 1 << 30,
            min_files: 5,
            by_tiers: false,
        };
        let one = Small {
            group: 0,
            bytes: 1,
            runs: 1000,
        };
        let found = bins(&[one; 12], limits);
        // Four of them fit; and four are not worth it.
        assert_eq!(found.len(), 0);
        let one = Small { runs: 700, ..one };
        let found: Vec<usize> = bins(&[one; 12], limits).iter().map(Vec::len).collect();
        assert_eq!(found, [5, 5]);
    }
}
