//! Digests of text and bytes, in hexadecimal digits.

use super::signature::{Definition, Family, Form, Parameter::*};
use crate::TypeKind;

pub(super) const ROWS: &[Definition] = &[
    row(
        "MD5",
        &[
            Form::new(&[Text], |_| TypeKind::Char(32)),
            Form::new(&[Bytes], |_| TypeKind::Char(32)),
        ],
    ),
    row(
        "SHA1",
        &[
            Form::new(&[Text], |_| TypeKind::Char(40)),
            Form::new(&[Bytes], |_| TypeKind::Char(40)),
        ],
    ),
    row(
        "SHA224",
        &[
            Form::new(&[Text], |_| TypeKind::Char(56)),
            Form::new(&[Bytes], |_| TypeKind::Char(56)),
        ],
    ),
    row(
        "SHA256",
        &[
            Form::new(&[Text], |_| TypeKind::Char(64)),
            Form::new(&[Bytes], |_| TypeKind::Char(64)),
        ],
    ),
    row(
        "SHA384",
        &[
            Form::new(&[Text], |_| TypeKind::Char(96)),
            Form::new(&[Bytes], |_| TypeKind::Char(96)),
        ],
    ),
    row(
        "SHA512",
        &[
            Form::new(&[Text], |_| TypeKind::Char(128)),
            Form::new(&[Bytes], |_| TypeKind::Char(128)),
        ],
    ),
    // The bits: 224, 256, 384 or 512.
    row(
        "SHA2",
        &[
            Form::new(&[Text, Int], |_| TypeKind::Varchar(128)),
            Form::new(&[Bytes, Int], |_| TypeKind::Varchar(128)),
        ],
    ),
];

const fn row(name: &'static str, forms: &'static [Form]) -> Definition {
    Definition::forms(Family::Hash, name, "a string or BYTES", forms).never_fails()
}
