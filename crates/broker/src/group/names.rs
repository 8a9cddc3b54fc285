//! What things are called in a group: names that cannot be taken for each other, and topics that cannot either.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// A shared, immutable name with a type of its own, so that a member id is never passed where a group id belongs.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(Arc<str>);

        impl $name {
            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// `group.id`.
    GroupId
);
name!(
    /// The id that the coordinator gave to one incarnation of a member.
    MemberId
);
name!(
    /// `group.instance.id`: the name that a static member keeps across its restarts (KIP-345).
    InstanceId
);
name!(
    /// The name of an assignment strategy (`range`, `cooperative-sticky`), or a group's protocol type (`consumer`).
    ProtocolName
);
name!(
    /// A topic's name, as consumers subscribe and commit by it.
    TopicName
);

/// A topic that existed when it was named. One that is created again under the same name is another topic, with another
/// id: offsets committed in the first say nothing about the second.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TopicRef {
    pub(crate) name: TopicName,
    pub(crate) id: Uuid,
}

impl TopicRef {
    pub(crate) fn new(name: &str, id: Uuid) -> TopicRef {
        TopicRef {
            name: name.into(),
            id,
        }
    }
}

impl fmt::Display for TopicRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}
