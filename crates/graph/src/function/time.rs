//! Functions over dates and times. Units of time are constants: the planner writes them as text.

use super::signature::{
    Definition, Family, Form, Parameter::*, Syntax, bigint, first, int, string,
};
use crate::{LogicalType, TypeKind};

pub(super) const ROWS: &[Definition] = &[
    // The unit, and of what.
    row(
        "EXTRACT",
        "a unit and a date, a time or an interval",
        &[
            Form::new(&[Text, Date], bigint),
            Form::new(&[Text, Time], bigint),
            Form::new(&[Text, Timestamp], bigint),
            Form::new(&[Text, Instant], bigint),
            Form::new(&[Text, Months], bigint),
            Form::new(&[Text, Millis], bigint),
        ],
    )
    .written(Syntax::Special),
    row("YEAR", DATES, OF_A_DATE),
    row("QUARTER", DATES, OF_A_DATE),
    row("MONTH", DATES, OF_A_DATE),
    row("WEEK", DATES, OF_A_DATE),
    row("DAYOFYEAR", DATES, OF_A_DATE),
    row("DAYOFMONTH", DATES, OF_A_DATE),
    row("DAYOFWEEK", DATES, OF_A_DATE),
    row("HOUR", TIMES, OF_A_TIME),
    row("MINUTE", TIMES, OF_A_TIME),
    row("SECOND", TIMES, OF_A_TIME),
    row("FLOOR TO", TO_UNIT, CUT).written(Syntax::Special),
    row("CEIL TO", TO_UNIT, CUT)
        .written(Syntax::Special)
        .may_fail(),
    row(
        "TIMESTAMPADD",
        "a unit, an integer and a date or a time",
        &[
            Form::new(&[Text, BigInt, Date], third),
            Form::new(&[Text, BigInt, Time], third),
            Form::new(&[Text, BigInt, Timestamp], third),
            Form::new(&[Text, BigInt, Instant], third),
        ],
    )
    .may_fail(),
    row(
        "TIMESTAMPDIFF",
        "a unit, and two dates or two timestamps",
        &[
            Form::new(&[Text, Date, Date], int),
            Form::new(&[Text, Timestamp, Timestamp], int),
            Form::new(&[Text, Instant, Instant], int),
        ],
    ),
    row(
        "DATE_FORMAT",
        "a timestamp or a string, and a pattern",
        &[
            Form::new(&[Timestamp, Text], string).nullable(),
            Form::new(&[Instant, Text], string).nullable(),
            Form::new(&[Text, Text], string).nullable(),
        ],
    )
    .may_fail(),
    row(
        "TO_DATE",
        "a string and perhaps a pattern",
        &[Form::new(&[Text, Text], |_| TypeKind::Date)
            .optional(1)
            .nullable()],
    )
    .may_fail(),
    row(
        "TO_TIMESTAMP",
        "a string and perhaps a pattern",
        &[Form::new(&[Text, Text], |_| TypeKind::Timestamp(3))
            .optional(1)
            .nullable()],
    )
    .may_fail(),
    // Of a number how many digits of it are a fraction of a second.
    row(
        "TO_TIMESTAMP_LTZ",
        "a number and perhaps digits, or a string and perhaps a pattern and a time zone",
        &[
            Form::new(&[BigInt, Int], |_| TypeKind::TimestampLtz(3))
                .optional(1)
                .nullable(),
            Form::new(&[Text, Text, Text], |_| TypeKind::TimestampLtz(3))
                .optional(2)
                .nullable(),
            Form::new(&[Double, Int], |_| TypeKind::TimestampLtz(3))
                .optional(1)
                .nullable(),
        ],
    )
    .may_fail(),
    // What a clock on the wall of the zone shows at an instant, and the instant at which it shows a time.
    row(
        "LOCAL TIME",
        "a TIMESTAMP_LTZ and a time zone",
        &[Form::new(&[Instant, Text], |args| match args[0].kind {
            TypeKind::TimestampLtz(digits) => TypeKind::Timestamp(digits),
            _ => TypeKind::Timestamp(3),
        })],
    )
    .written(Syntax::Inner),
    row(
        "INSTANT",
        "a TIMESTAMP and a time zone",
        &[Form::new(&[Timestamp, Text], |args| match args[0].kind {
            TypeKind::Timestamp(digits) => TypeKind::TimestampLtz(digits),
            _ => TypeKind::TimestampLtz(3),
        })],
    )
    .written(Syntax::Inner),
    // Text, and two time zones. A zone that is none is UTC.
    row(
        "CONVERT_TZ",
        "three strings",
        &[Form::new(&[Text, Text, Text], string).nullable()],
    ),
    // Without arguments it is of the clock.
    row(
        "UNIX_TIMESTAMP",
        "nothing, or a string and perhaps a pattern",
        &[
            Form::new(&[], bigint).not_null(),
            Form::new(&[Text, Text], bigint).optional(1),
        ],
    )
    .may_fail(),
    // Seconds since 1970 of an instant.
    row(
        "UNIX SECONDS",
        "a TIMESTAMP_LTZ",
        &[Form::new(&[Instant], bigint)],
    )
    .written(Syntax::Inner),
    clock("NOW", NOW),
    clock("CURRENT_TIMESTAMP", NOW).written(Syntax::Word),
    clock("CURRENT_ROW_TIMESTAMP", NOW),
    clock("PROCTIME", NOW),
    clock(
        "LOCALTIMESTAMP",
        &[Form::new(&[], |_| TypeKind::Timestamp(3)).not_null()],
    )
    .written(Syntax::Word),
    clock("LOCALTIME", TIME_OF_DAY).written(Syntax::Word),
    clock("CURRENT_TIME", TIME_OF_DAY).written(Syntax::Word),
    clock(
        "CURRENT_DATE",
        &[Form::new(&[], |_| TypeKind::Date).not_null()],
    )
    .written(Syntax::Word),
    row(
        "UNIX_TIMESTAMP IN",
        "a string, a pattern and a time zone",
        &[Form::new(&[Text, Text, Text], bigint)],
    )
    .written(Syntax::Inner)
    .may_fail(),
    row(
        "FROM_UNIXTIME IN",
        "an integer, a pattern and a time zone",
        &[Form::new(&[BigInt, Text, Text], string).nullable()],
    )
    .written(Syntax::Inner)
    .may_fail(),
    row(
        "FROM_UNIXTIME",
        "an integer and perhaps a pattern",
        &[Form::new(&[BigInt, Text], string).optional(1).nullable()],
    )
    .may_fail(),
];

const DATES: &str = "a date or a timestamp";
const OF_A_DATE: &[Form] = &[
    Form::new(&[Date], bigint),
    Form::new(&[Timestamp], bigint),
    Form::new(&[Instant], bigint),
];

const TIMES: &str = "a date, a time or a timestamp";
const OF_A_TIME: &[Form] = &[
    Form::new(&[Date], bigint),
    Form::new(&[Time], bigint),
    Form::new(&[Timestamp], bigint),
    Form::new(&[Instant], bigint),
];

const TO_UNIT: &str = "a date or a time, and a unit";
const CUT: &[Form] = &[
    Form::new(&[Date, Text], first),
    Form::new(&[Time, Text], first),
    Form::new(&[Timestamp, Text], first),
    Form::new(&[Instant, Text], first),
];

const NOW: &[Form] = &[Form::new(&[], |_| TypeKind::TimestampLtz(3)).not_null()];
const TIME_OF_DAY: &[Form] = &[Form::new(&[], |_| TypeKind::Time(0)).not_null()];

const fn clock(name: &'static str, forms: &'static [Form]) -> Definition {
    row(name, "nothing", forms).of_the_clock()
}

const fn row(name: &'static str, takes: &'static str, forms: &'static [Form]) -> Definition {
    Definition::forms(Family::Time, name, takes, forms).never_fails()
}

fn third(args: &[&LogicalType]) -> TypeKind {
    args[2].kind.clone()
}
