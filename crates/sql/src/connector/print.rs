//! Sinks without options worth a file of their own: `print` and `blackhole`.

use super::Use;
use super::options::{Known, Options, no_effect, not_yet, obeyed};
use crate::Result;
use lw_graph::SinkSpec;

const PRINT: &[Known] = &[
    obeyed("connector"),
    obeyed("print-identifier"),
    not_yet("standard-error"),
    no_effect("sink.parallelism"),
    no_effect("property-version"),
];

const BLACKHOLE: &[Known] = &[obeyed("connector"), no_effect("property-version")];

pub(super) fn print(used: &Use<'_>) -> Result<SinkSpec> {
    let options = Options::new(used.options, used.table.span);
    options.check_known("print", &[PRINT])?;
    options.integer("sink.parallelism")?;
    let identifier = options.value("print-identifier");
    Ok(SinkSpec::Print {
        identifier: identifier.map_or(String::new(), |value| value.value.clone()),
    })
}

pub(super) fn blackhole(used: &Use<'_>) -> Result<SinkSpec> {
    let options = Options::new(used.options, used.table.span);
    options.check_known("blackhole", &[BLACKHOLE])?;
    Ok(SinkSpec::Blackhole)
}
