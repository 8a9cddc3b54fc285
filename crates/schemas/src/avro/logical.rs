//! Which logical annotations hold. Avro says that one whose rules do not hold is ignored, not refused.

use super::{Kind, Logical, Type};

/// Reads the annotation; `None` when unknown or when its rules do not hold for the type.
pub(super) fn logical(ty: &Type) -> Option<Logical> {
    let word = ty.prop("logicalType")?.as_str()?;
    Some(match (word, &ty.kind) {
        ("decimal", Kind::Bytes) => decimal(ty, None)?,
        ("decimal", Kind::Fixed(fixed)) => decimal(ty, Some(fixed.size))?,
        ("uuid", Kind::String) => Logical::Uuid,
        ("uuid", Kind::Fixed(fixed)) if fixed.size == 16 => Logical::Uuid,
        ("date", Kind::Int) => Logical::Date,
        ("time-millis", Kind::Int) => Logical::TimeMillis,
        ("time-micros", Kind::Long) => Logical::TimeMicros,
        ("timestamp-millis", Kind::Long) => Logical::TimestampMillis,
        ("timestamp-micros", Kind::Long) => Logical::TimestampMicros,
        ("timestamp-nanos", Kind::Long) => Logical::TimestampNanos,
        ("local-timestamp-millis", Kind::Long) => Logical::LocalTimestampMillis,
        ("local-timestamp-micros", Kind::Long) => Logical::LocalTimestampMicros,
        ("local-timestamp-nanos", Kind::Long) => Logical::LocalTimestampNanos,
        ("duration", Kind::Fixed(fixed)) if fixed.size == 12 => Logical::Duration,
        _ => return None,
    })
}

/// A decimal needs 0 ≤ scale ≤ precision, precision ≥ 1, and digits that fit a fixed of that size.
fn decimal(ty: &Type, fixed_size: Option<usize>) -> Option<Logical> {
    let precision = u32::try_from(ty.prop("precision")?.as_i64()?).ok()?;
    let scale = match ty.prop("scale") {
        Some(scale) => u32::try_from(scale.as_i64()?).ok()?,
        None => 0,
    };
    // floor(log10(2^(8n-1) - 1)) digits always fit n bytes.
    let most = fixed_size.map_or(f64::MAX, |n| {
        ((8 * n).saturating_sub(1) as f64 * 2f64.log10()).floor()
    });
    (precision >= 1 && scale <= precision && f64::from(precision) <= most)
        .then_some(Logical::Decimal { precision, scale })
}
