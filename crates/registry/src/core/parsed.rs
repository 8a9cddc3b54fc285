//! Schemas that were parsed to be compared, so that the thousandth version is not compared by parsing the 999 before it.
//!
//! Only what stands for itself is kept: what a reference leads to may change. A schema is known by its place in memory,
//! which it keeps for as long as it is kept here. When what is kept grows over a bound, all of it is dropped: a subject
//! that is registered to often is soon parsed again.

use std::collections::HashMap;
use std::sync::Arc;

use lw_schemas::AvroSchema;
use parking_lot::Mutex;

use super::State;
use super::posted::{lenient, parse};
use crate::record::Schema;

/// Of texts; a parsed schema takes several times its text.
const MAX_TEXT: usize = 8 << 20;

#[derive(Debug, Default)]
pub(super) struct Parsed(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    schemas: HashMap<usize, (Arc<Schema>, Arc<AvroSchema>)>,
    text: usize,
    #[cfg(test)]
    parses: usize,
}

impl Parsed {
    /// The schema, parsed as one that was registered before.
    ///
    /// # Errors
    /// When it cannot be parsed, or refers to what is not there.
    pub(super) fn get(
        &self,
        state: &State,
        schema: &Arc<Schema>,
    ) -> Result<Arc<AvroSchema>, String> {
        let place = Arc::as_ptr(schema).addr();
        if let Some((_, parsed)) = self.0.lock().schemas.get(&place) {
            return Ok(parsed.clone());
        }
        let parsed = Arc::new(parse(state, schema, lenient())?);
        let mut kept = self.0.lock();
        #[cfg(test)]
        {
            kept.parses += 1;
        }
        if schema.references.is_empty() {
            if kept.text > MAX_TEXT {
                kept.schemas.clear();
                kept.text = 0;
            }
            let entry = (schema.clone(), parsed.clone());
            if kept.schemas.insert(place, entry).is_none() {
                kept.text += schema.text.len();
            }
        }
        Ok(parsed)
    }

    #[cfg(test)]
    pub(super) fn parses(&self) -> usize {
        self.0.lock().parses
    }
}
