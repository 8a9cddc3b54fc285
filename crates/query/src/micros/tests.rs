//! Queries over the years 1 to 9999, each with what it gives.

use super::*;
use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};

/// All values of the answer, by rows.
async fn answer(sql: &str) -> Result<String> {
    let context = SessionContext::new();
    teach(&context)?;
    let query = crate::as_of::statement(&context, sql).await?;
    let plan = plan(&context, query).await?;
    let frame = context.execute_logical_plan(plan).await?;
    let batches = frame.collect().await?;
    Ok(batches.iter().map(values).collect::<Vec<_>>().join("; "))
}

fn values(batch: &RecordBatch) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let columns = batch.columns().iter();
    let columns: Vec<_> = columns
        .map(|column| ArrayFormatter::try_new(column, &options).expect("it can be shown"))
        .collect();
    let row = |row| {
        let values = columns.iter().map(|column| column.value(row).to_string());
        values.collect::<Vec<_>>().join(", ")
    };
    (0..batch.num_rows())
        .map(row)
        .collect::<Vec<_>>()
        .join("; ")
}

#[test]
fn dates_meet_timestamps_in_every_year() {
    let ts = "TIMESTAMP '9999-12-31 12:00:00'";
    let early = "TIMESTAMP '0001-01-02 00:00:00'";
    let cases = [
        (format!("SELECT {ts} - DATE '9999-12-31'"), "PT43200S"),
        (format!("SELECT DATE '0001-01-03' - {early}"), "PT86400S"),
        (
            format!("SELECT CASE WHEN 1 = 1 THEN DATE '9999-01-01' ELSE {ts} END"),
            "9999-01-01T00:00:00",
        ),
        (
            format!("SELECT COALESCE(NULL, DATE '0001-01-01', {ts})"),
            "0001-01-01T00:00:00",
        ),
        (
            format!("SELECT greatest(DATE '9999-01-01', {ts})"),
            "9999-12-31T12:00:00",
        ),
        (
            format!(
                "SELECT * FROM (SELECT {ts} AS t UNION ALL SELECT DATE '0001-01-01') ORDER BY t"
            ),
            "0001-01-01T00:00:00; 9999-12-31T12:00:00",
        ),
        (
            format!("SELECT * FROM (SELECT DATE '9999-01-01' AS t UNION SELECT {ts}) ORDER BY t"),
            "9999-01-01T00:00:00; 9999-12-31T12:00:00",
        ),
        (
            "SELECT to_timestamp('2300-01-01 10:11:12.5')".into(),
            "2300-01-01T10:11:12.500",
        ),
        (
            "SELECT to_timestamp(10413792000)".into(),
            "2300-01-01T00:00:00",
        ),
        (
            "SELECT to_timestamp(1.5) > TIMESTAMP '1970-01-01 00:00:01'".into(),
            "true",
        ),
        // Names stay what they were, types reach the queries around.
        (
            format!(
                "SELECT MAX(d) FROM (SELECT COALESCE(DATE '2300-01-01', {ts}) AS d) WHERE d < {ts}"
            ),
            "2300-01-01T00:00:00",
        ),
        (
            format!(
                "SELECT COUNT(*) FROM (SELECT {ts} AS t) AS a WHERE EXISTS (SELECT 1 WHERE a.t - DATE '9999-12-31' IS NOT NULL)"
            ),
            "1",
        ),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().expect("a runtime");
    for (sql, expected) in cases {
        let answer = runtime.block_on(answer(&sql));
        assert_eq!(answer.unwrap_or_else(|e| e.to_string()), expected, "{sql}");
    }
}
