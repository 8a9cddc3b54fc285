//! "Did you mean …?", as a hint.

use lw_stdx::suggest::nearest;

/// Asks for the nearest of the words that exist; `None` when nothing is near.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean '{near}'?"))
}

/// The nearest word, or else all of them.
pub(crate) fn near_or_all<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    what: &str,
) -> Option<String> {
    did_you_mean(word, known.clone()).or_else(|| {
        let all: Vec<&str> = known.into_iter().collect();
        (!all.is_empty()).then(|| format!("{what}: {}", all.join(", ")))
    })
}
