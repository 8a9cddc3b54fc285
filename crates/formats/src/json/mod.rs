//! JSON, with Flink's reading of it.
use crate::Decoder;
use crate::error::FormatError;
use lw_graph::Schema;

pub(crate) struct Options {
    pub(crate) fail_on_missing_field: bool,
    pub(crate) ignore_parse_errors: bool,
    pub(crate) iso_timestamps: bool,
}

pub(crate) fn decoder(
    _schema: &Schema,
    _projection: &[usize],
    _options: Options,
) -> Result<Box<dyn Decoder>, FormatError> {
    Err(FormatError::new("format 'json' is not supported yet"))
}
