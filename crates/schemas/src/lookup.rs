//! How decoders and planners ask for a registered schema.
//!
//! The registry lives in the same process and implements this trait; readers of topics only ever see the trait,
//! so that they can also be given the schemas of a real registry.

use std::sync::Arc;

/// Answers questions about registered schemas, from memory.
///
/// The texts are *self-contained*: types that the schema takes from references to other subjects are written out,
/// so that [`AvroSchema::parse`](crate::AvroSchema::parse) alone understands them.
pub trait SchemaLookup: Send + Sync {
    /// Returns the text of the schema with this id. Soft-deleted versions still answer: old records carry their ids.
    fn schema_by_id(&self, id: u32) -> Option<Arc<str>>;

    /// Returns id, version and text of the newest live version under the subject.
    fn subject_latest(&self, subject: &str) -> Option<(u32, i32, Arc<str>)>;

    /// Tells whether the subject has at least one live version.
    fn has_subject(&self, subject: &str) -> bool;
}
