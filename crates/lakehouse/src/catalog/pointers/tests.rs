//! What the records of the catalog refuse when two plans meet.

use super::*;

struct Kept(BTreeMap<Vec<u8>, Bytes>);

impl Kept {
    /// As the log takes a frame: all of it or nothing.
    fn take(&mut self, ops: &[Op]) -> bool {
        let puts = ops.iter().filter_map(|op| match op {
            Op::Put {
                key, value, expect, ..
            } => Some((key, value, expect)),
            _ => None,
        });
        let puts: Vec<_> = puts.collect();
        let holds = puts.iter().all(|(key, _, expect)| match expect {
            Expect::Absent => !self.0.contains_key(&key[..]),
            Expect::Value(value) => self.0.get(&key[..]) == Some(value),
            _ => true,
        });
        for (key, value, _) in puts.into_iter().filter(|_| holds) {
            match value {
                Some(value) => drop(self.0.insert(key.to_vec(), value.clone())),
                None => drop(self.0.remove(&key[..])),
            }
        }
        holds
    }
}

impl Records for Kept {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.0.get(key).cloned()
    }

    fn scan(&self, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
        let below = self.0.iter().filter(|(key, _)| key.starts_with(prefix));
        below
            .map(|(key, value)| (Bytes::from(key.clone()), value.clone()))
            .collect()
    }
}

/// Whichever comes second was planned on what is no longer so.
#[test]
fn a_namespace_is_not_dropped_while_something_comes_into_it() {
    let outer = NamespaceIdent::new("n".to_owned());
    let inner = NamespaceIdent::from_strs(["n", "b"]).unwrap();
    for drop_first in [false, true] {
        let mut kept = Kept(BTreeMap::new());
        let made = create_namespace(&kept, &outer, BTreeMap::new()).unwrap();
        assert!(kept.take(&made));
        let comes = create_namespace(&kept, &inner, BTreeMap::new()).unwrap();
        let goes = drop_namespace(&kept, &outer).unwrap();
        let order = if drop_first {
            [goes, comes]
        } else {
            [comes, goes]
        };
        assert_eq!(order.map(|ops| kept.take(&ops)), [true, false]);
    }
}

/// Both were planned when the name was free.
#[test]
fn a_table_and_a_view_never_get_the_same_name() {
    let home = NamespaceIdent::new("n".to_owned());
    let name = TableIdent::new(home.clone(), "x".to_owned());
    let other = TableIdent::new(home.clone(), "y".to_owned());
    let pointer = Pointer {
        metadata_location: "file:///w/m.json".to_owned(),
        uuid: Uuid::nil(),
        location: None,
    };
    for (first, second) in [
        (Relation::Table, Relation::View),
        (Relation::View, Relation::Table),
    ] {
        let mut kept = Kept(BTreeMap::new());
        assert!(kept.take(&create_namespace(&kept, &home, BTreeMap::new()).unwrap()));
        let added = add(&kept, second, &other, &pointer).unwrap();
        assert!(kept.take(&added));
        let comes = add(&kept, first, &name, &pointer).unwrap();
        let late = [
            add(&kept, second, &name, &pointer).unwrap(),
            rename(&kept, second, &other, &name).unwrap(),
        ];
        assert!(kept.take(&comes));
        // What they wanted of the namespace's record is gone too; the name alone must hold them back.
        for mut ops in late {
            ops.retain(|op| !matches!(op, Op::Put { key, .. } if key.starts_with(b"n/")));
            assert!(!kept.take(&ops), "{second} after {first}");
        }
        let refused = add(&kept, second, &name, &pointer).unwrap_err();
        assert_eq!(refused.kind, Kind::AlreadyExists);
        let gone = drop_namespace(&kept, &home).unwrap_err();
        assert_eq!(gone.message, "Namespace n is not empty");
    }
}
