//! Numbers, dates and times as text, the way that Java and Flink read and print them.
//!
//! Shared by the JSON decoder and by `CAST`. Everything works on bytes and integers: no allocation, no calendar library.

mod calendar;
mod number;

pub(crate) use calendar::{Digits, Seconds, instant, local_time, sql_date, time};
pub use calendar::{
    MICROS_PER_DAY, MICROS_PER_SECOND, Resolve, Width, civil_from_days, cut, days_from_civil,
    days_of_month, parse_date, parse_time, parse_timestamp, write_date, write_time,
    write_timestamp,
};
pub use number::{
    Malformed, checked_power_of_ten, divide_half_up, parse_decimal, parse_double, parse_float,
    power_of_ten, write_decimal, write_double, write_float,
};
pub(crate) use number::{Whole, integer, java_trim};
