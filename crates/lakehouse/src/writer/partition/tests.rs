//! Names of folders. What goes where is tested with whole tables, in `tests/partitions.rs`.

use super::folder_name;

#[test]
fn names_are_escaped_and_cut_between_characters() {
    let cases = [
        ("day", "2026-07-01", 200, "day=2026-07-01"),
        ("a b", "x/../y?=%", 200, "a+b=x%2F..%2Fy%3F%3D%25"),
        ("k", "é", 200, "k=%C3%A9"),
        ("k", "éé", 10, "k=%C3%A9"),
        ("k", "..", 200, "k=.."),
        ("long name", "v", 6, "long+n"),
    ];
    for (field, value, longest, expected) in cases {
        assert_eq!(folder_name(field, value, longest), expected);
    }
    assert_eq!(folder_name("k", &"ü".repeat(500), 200).len(), 200);
}
