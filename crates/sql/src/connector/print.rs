//! Sinks without options worth a file of their own: `print` and `blackhole`.

use super::Use;
use super::options::{Known, NO_VERSIONS, ONE_THREAD, Options, no_effect, not_yet, obeyed};
use crate::diagnostic::Told;
use lw_graph::SinkSpec;

const PRINT: &[Known] = &[
    obeyed("connector"),
    obeyed("print-identifier"),
    not_yet("standard-error"),
    no_effect("sink.parallelism", ONE_THREAD),
    no_effect("property-version", NO_VERSIONS),
];

const BLACKHOLE: &[Known] = &[
    obeyed("connector"),
    no_effect("property-version", NO_VERSIONS),
];

pub(super) fn print(used: &Use<'_>, told: &mut Told) -> SinkSpec {
    let mut options = Options::new(used.options, used.table.span);
    options.check_known("print", &[PRINT], told);
    told.settle(options.integer("sink.parallelism"));
    let identifier = options.value("print-identifier");
    SinkSpec::Print {
        identifier: identifier.map_or(String::new(), |value| value.value.clone()),
    }
}

pub(super) fn blackhole(used: &Use<'_>, told: &mut Told) -> SinkSpec {
    let mut options = Options::new(used.options, used.table.span);
    options.check_known("blackhole", &[BLACKHOLE], told);
    SinkSpec::Blackhole
}
