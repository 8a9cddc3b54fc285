//! `lakeward dlq list|show|retry`: dead letters are worked off.
//!
//! A letter is a record that could not be decoded or computed; `<table>__dead_letters` keeps its bytes. Where the script was
//! wrong, the script is mended and the bytes are sent again; where the record was, a command of the user's mends it on the way.
//! They go to a topic that the pipeline reads beside its own, and so the usual way to the table, exactly once, as the audit
//! shows. Each carries a header that says whose letter it is, and what the topic has already is not sent a second time: a
//! retry that was cut off is simply run again. (Two at the same moment do not see each other.)
//!
//! The letter itself stays in its table: that this record failed remains true, and is what the audit counts.

use super::records::partition_of;
use super::rows::{Rows, named, quoted};
use super::topic::connect;
use super::{say, show, text};
use crate::args::{Dlq, DlqVerb, Letters, Output, Retry};
use crate::client::Client;
use anyhow::Context;
use lw_client::Client as Kafka;
use lw_lakehouse::writer::sink::DEAD_LETTERS;
use lw_protocol::{BatchBuilder, Compression};
use lw_stdx::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

/// Whose letter a record is: `topic/partition@offset`.
const HEADER: &str = "lakeward.dead-letter";
/// A batch is sent at this size.
const BATCH_BYTES: usize = 256 << 10;
/// What people see of a value.
const SHOWN: usize = 60;

pub fn dlq(args: Dlq) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server.server)?;
    match args.verb {
        DlqVerb::List => list(&client, args.server.output)?,
        DlqVerb::Show {
            table,
            letters,
            limit,
        } => {
            let limit = match limit {
                0 => String::new(),
                limit => format!(" LIMIT {limit}"),
            };
            let letters = read(&client, &table, &letters, &limit)?;
            let value = json!(letters.iter().map(Letter::as_json).collect::<Vec<_>>());
            let rows = letters.iter().map(|letter| {
                let mut row = letter.named();
                row.extend([letter.error.clone(), readable(letter.value.as_deref())]);
                row
            });
            let columns = [
                "topic",
                "partition",
                "offset",
                "error_code",
                "error",
                "value",
            ];
            show(args.server.output, &value, &columns, rows.collect());
        }
        DlqVerb::Retry(retry) => {
            return again(&client, &args.server.server, args.server.output, &retry);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A dead letter as its table has it.
#[derive(Debug)]
struct Letter {
    topic: String,
    partition: i32,
    offset: i64,
    /// Milliseconds since 1970; `None` where the producer's was no time.
    timestamp: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    stage: String,
    code: String,
    error: String,
}

impl Letter {
    fn of_row(row: &[Value]) -> anyhow::Result<Letter> {
        let [
            topic,
            partition,
            offset,
            timestamp,
            key,
            value,
            stage,
            code,
            error,
        ] = row
        else {
            anyhow::bail!("a letter has nine columns, not {}", row.len());
        };
        let partition = partition.as_i64().and_then(|number| number.try_into().ok());
        Ok(Letter {
            topic: text(topic),
            partition: partition.context("a letter's partition is a number")?,
            offset: offset.as_i64().context("a letter's offset is a number")?,
            timestamp: timestamp.as_i64(),
            key: bytes(key)?,
            value: bytes(value)?,
            stage: text(stage),
            code: text(code),
            error: text(error),
        })
    }

    fn id(&self) -> String {
        format!("{}/{}@{}", self.topic, self.partition, self.offset)
    }

    fn named(&self) -> Vec<String> {
        let (partition, offset) = (self.partition.to_string(), self.offset.to_string());
        vec![self.topic.clone(), partition, offset, self.code.clone()]
    }

    fn as_json(&self) -> Value {
        let mut letter = json!({
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp": self.timestamp,
            "stage": self.stage,
            "error_code": self.code,
            "error": self.error,
        });
        super::records::put_bytes(&mut letter, "key", self.key.as_deref());
        super::records::put_bytes(&mut letter, "value", self.value.as_deref());
        letter
    }
}

/// The bytes of a column that is written in hexadecimal digits.
fn bytes(value: &Value) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(digits) = value.as_str() else {
        return Ok(None);
    };
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| Some((digit(*high)? << 4 | digit(*low)?) as u8);
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    let bytes = bytes.filter(|_| rest.is_empty());
    Ok(Some(
        bytes.context("a letter's bytes are hexadecimal digits")?,
    ))
}

/// A value as people read it, cut off.
fn readable(value: Option<&[u8]>) -> String {
    let Some(value) = value else {
        return "-".into();
    };
    let text = match std::str::from_utf8(value) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => format!("0x{}", super::records::hexadecimal(value)),
    };
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// The table whose letters are meant, also where that of the letters is named itself.
fn main_table(table: &str) -> &str {
    table.strip_suffix(DEAD_LETTERS).unwrap_or(table)
}

impl Letters {
    fn condition(&self) -> String {
        let mut all = vec!["TRUE".to_owned()];
        all.extend(
            self.topic
                .as_deref()
                .map(|topic| format!("topic = {}", quoted(topic, '\''))),
        );
        all.extend(
            self.partition
                .map(|partition| format!("\"partition\" = {partition}")),
        );
        all.extend(self.offset.map(|offset| format!("\"offset\" = {offset}")));
        all.extend(
            self.error_code
                .as_deref()
                .map(|code| format!("error_code = {}", quoted(code, '\''))),
        );
        all.join(" AND ")
    }
}

fn read(client: &Client, table: &str, which: &Letters, limit: &str) -> anyhow::Result<Vec<Letter>> {
    let table = main_table(table);
    let sql = format!(
        "SELECT topic, \"partition\", \"offset\", CAST(round(date_part('epoch', \"timestamp\") * 1000) AS BIGINT), \
         \"key\", \"value\", stage, error_code, error FROM {} WHERE {} ORDER BY 1, 2, 3{limit}",
        named(table, DEAD_LETTERS)?,
        which.condition()
    );
    let answer = Rows::ask(client, &sql)
        .with_context(|| format!("the dead letters of {table} cannot be read"))?;
    answer.rows.iter().map(|row| Letter::of_row(row)).collect()
}

fn list(client: &Client, output: Output) -> anyhow::Result<()> {
    let columns = [
        "table",
        "topic",
        "stage",
        "error_code",
        "letters",
        "last_seen",
        "example",
    ];
    let mut told: Vec<Vec<Value>> = Vec::new();
    // Those of the embedded catalog. A list of names loads no table.
    let tables = Rows::ask(client, "SHOW TABLES")?;
    let tables = tables.rows.iter().filter_map(|row| row[0].as_str());
    for table in tables.filter_map(|table| table.strip_suffix(DEAD_LETTERS)) {
        let sql = format!(
            "SELECT topic, stage, error_code, count(*), max(first_seen), min(error) FROM {} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
            named(table, DEAD_LETTERS)?
        );
        for mut row in Rows::ask(client, &sql)?.rows {
            row.insert(0, table.into());
            told.push(row);
        }
    }
    let named = |row: &Vec<Value>| {
        columns
            .iter()
            .map(ToString::to_string)
            .zip(row.clone())
            .collect::<serde_json::Map<_, _>>()
    };
    let value = json!(told.iter().map(named).collect::<Vec<_>>());
    let rows = told
        .iter()
        .map(|row| row.iter().map(text).collect())
        .collect();
    show(output, &value, &columns, rows);
    Ok(())
}

/// What became of a letter.
enum Fate {
    /// The topic has it already.
    There,
    /// The command could not mend it.
    Left(String),
    Send(Option<Vec<u8>>),
}

fn again(client: &Client, server: &str, output: Output, args: &Retry) -> anyhow::Result<ExitCode> {
    let letters = read(client, &args.table, &args.letters, "")?;
    let mut kafka = connect(None, server)?;
    let partitions = super::topic::exists(&mut kafka, &args.to)?;
    let there = match args.again {
        true => HashSet::new(),
        false => sent(&mut kafka, &args.to)?,
    };
    let mut fates = Vec::new();
    for letter in &letters {
        fates.push(match there.contains(&letter.id()) {
            true => Fate::There,
            false => mended(letter, args.mend.as_deref())?,
        });
    }
    let count = |of: fn(&Fate) -> bool| fates.iter().filter(|fate| of(fate)).count();
    let (already, left) = (
        count(|fate| matches!(fate, Fate::There)),
        count(|fate| matches!(fate, Fate::Left(_))),
    );
    let mut told = json!({
        "table": main_table(&args.table),
        "to": args.to,
        "letters": letters.len(),
        "retried": letters.len() - already - left,
        "already_there": already,
        "not_mended": left,
        "executed": args.execute,
    });
    if args.execute {
        let sending = letters.iter().zip(&fates);
        let sending = sending.filter_map(|(letter, fate)| match fate {
            Fate::Send(value) => Some((letter, value.as_deref())),
            Fate::There | Fate::Left(_) => None,
        });
        told["retried"] = send(&mut kafka, &args.to, partitions, sending)?.into();
    }
    tell(output, &told, &letters, &fates);
    if output == Output::Table && !read_by_some(client, &args.to)? {
        eprintln!(
            "notice: no pipeline reads {0}: let its source do, 'topic' = '…;{0}', and `lakeward run FILE.sql --replace`",
            args.to
        );
    }
    Ok(match left {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn tell(output: Output, told: &Value, letters: &[Letter], fates: &[Fate]) {
    if output == Output::Json {
        return say(format!("{told:#}"));
    }
    let rows = letters.iter().zip(fates).map(|(letter, fate)| {
        let mut row = letter.named();
        row.push(match fate {
            Fate::There => "already there".into(),
            Fate::Left(why) => format!("not mended: {why}"),
            Fate::Send(value) => readable(value.as_deref()),
        });
        row
    });
    let columns = ["topic", "partition", "offset", "error_code", "becomes"];
    show(output, told, &columns, rows.collect());
    let did = match told["executed"] == true {
        true => "sent",
        false => "would be sent; --execute sends them",
    };
    eprintln!(
        "{} of {} letters {did} ({} already there, {} not mended)",
        told["retried"], told["letters"], told["already_there"], told["not_mended"]
    );
}

/// Whose letters the topic has.
fn sent(kafka: &mut Kafka, topic: &str) -> anyhow::Result<HashSet<String>> {
    let mut offsets: BTreeMap<i32, i64> = kafka.list_offsets(topic, -2)?.into_iter().collect();
    let ends: BTreeMap<i32, i64> = kafka.stable_ends(topic)?.into_iter().collect();
    let mut sent = HashSet::new();
    loop {
        offsets.retain(|partition, at| ends.get(partition).is_some_and(|end| *at < *end));
        if offsets.is_empty() {
            return Ok(sent);
        }
        for fetched in kafka.fetch(topic, &offsets, 0)? {
            for batch in &fetched.batches {
                for record in batch.records()?.iter() {
                    let record = record?;
                    let ours = record
                        .headers()
                        .filter(|(name, _)| *name == HEADER.as_bytes());
                    let ids = ours.filter_map(|(_, id)| std::str::from_utf8(id?).ok());
                    sent.extend(ids.map(str::to_owned));
                }
            }
            offsets.insert(fetched.partition, fetched.next);
        }
    }
}

fn mended(letter: &Letter, command: Option<&str>) -> anyhow::Result<Fate> {
    let Some(command) = command else {
        return Ok(Fate::Send(letter.value.clone()));
    };
    let mut shell = Command::new("sh")
        .args(["-c", command])
        .env("LAKEWARD_TOPIC", &letter.topic)
        .env("LAKEWARD_PARTITION", letter.partition.to_string())
        .env("LAKEWARD_OFFSET", letter.offset.to_string())
        .env("LAKEWARD_ERROR_CODE", &letter.code)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("no shell can be started")?;
    let value = letter.value.clone().unwrap_or_default();
    let mut input = shell.stdin.take().context("the shell's standard input")?;
    // A command may write before it has read all; one that reads nothing closes its end, which is no error of ours.
    let writer = std::thread::Builder::new()
        .name("mend".into())
        .spawn(move || drop(input.write_all(&value)))?;
    let done = shell.wait_with_output()?;
    writer.join().expect("writing does not panic");
    Ok(match done.status.success() {
        // A shell's pipe hides that its first command failed.
        true if done.stdout.is_empty() => Fate::Left("it wrote nothing".into()),
        true => Fate::Send(Some(done.stdout)),
        false => {
            let told = String::from_utf8_lossy(&done.stderr);
            let told = told.lines().next_back().unwrap_or_default();
            Fate::Left(format!("{} {told}", done.status).trim_end().to_owned())
        }
    })
}

/// How many were acknowledged. Where a letter's partition is none of the topic's, its key decides, as in Java's producer.
fn send<'a>(
    kafka: &mut Kafka,
    topic: &str,
    partitions: usize,
    letters: impl Iterator<Item = (&'a Letter, Option<&'a [u8]>)>,
) -> anyhow::Result<usize> {
    let mut waiting: BTreeMap<i32, BatchBuilder> = BTreeMap::new();
    let mut acked = 0;
    let mut produce = |partition, batch: BatchBuilder| {
        let count = batch.len();
        kafka.produce(topic, partition, &batch.build()?)?;
        acked += count;
        anyhow::Ok(())
    };
    let now = SystemClock::new().now_ms();
    for (letter, value) in letters {
        let partition = match usize::try_from(letter.partition) {
            Ok(same) if same < partitions => letter.partition,
            _ => partition_of(letter.key.as_deref().unwrap_or_default(), partitions),
        };
        let batch = waiting
            .entry(partition)
            .or_insert_with(|| BatchBuilder::new(Compression::None));
        let id = letter.id();
        let headers = [(HEADER, Some(id.as_bytes()))];
        let timestamp = letter.timestamp.unwrap_or(now);
        batch.push(timestamp, letter.key.as_deref(), value, &headers);
        if batch.size() >= BATCH_BYTES {
            let batch = waiting.remove(&partition).expect("it was just filled");
            produce(partition, batch)?;
        }
    }
    for (partition, batch) in waiting {
        produce(partition, batch)?;
    }
    Ok(acked)
}

fn read_by_some(client: &Client, topic: &str) -> anyhow::Result<bool> {
    let pipelines = client.get("/api/v1/pipelines")?;
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let jobs = all(&pipelines)
        .into_iter()
        .flat_map(|pipeline| all(&pipeline["jobs"]));
    let mut topics = jobs.flat_map(|job| all(&job["topics"]));
    Ok(topics.any(|name| name.as_str() == Some(topic)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(partition: i32, offset: i64) -> Letter {
        Letter {
            topic: "orders".into(),
            partition,
            offset,
            timestamp: Some(7),
            key: None,
            value: Some(b"{\"n\": \"x\"}".to_vec()),
            stage: "decode".into(),
            code: "json.type".into(),
            error: "x is no number".into(),
        }
    }

    #[test]
    fn a_command_mends_a_letter_or_says_why_not() {
        let sent = |command| match mended(&letter(0, 5), command).expect("a shell") {
            Fate::Send(value) => String::from_utf8(value.unwrap_or_default()).expect("text"),
            Fate::Left(why) => why,
            Fate::There => unreachable!("nobody looked"),
        };
        assert_eq!(sent(None), "{\"n\": \"x\"}");
        assert_eq!(sent(Some("sed s/\\\"x\\\"/1/")), "{\"n\": 1}");
        assert_eq!(
            sent(Some("echo -n $LAKEWARD_TOPIC/$LAKEWARD_OFFSET")),
            "orders/5"
        );
        assert_eq!(
            sent(Some("echo no idea >&2; exit 3")),
            "exit status: 3 no idea"
        );
        assert_eq!(sent(Some("grep -a y | sed s/y/z/")), "it wrote nothing");
    }

    #[test]
    fn letters_are_chosen_by_what_sql_cannot_take_for_more() {
        let letters = Letters {
            topic: Some("it's".into()),
            partition: Some(2),
            offset: Some(9),
            error_code: None,
        };
        let condition = "TRUE AND topic = 'it''s' AND \"partition\" = 2 AND \"offset\" = 9";
        assert_eq!(letters.condition(), condition);
        assert_eq!(main_table("a.b"), "a.b");
        assert_eq!(main_table("a.b__dead_letters"), "a.b");
    }

    #[test]
    fn bytes_come_as_digits_and_are_shown_as_text_where_they_are_text() {
        let read = |text: &str| bytes(&Value::from(text)).map(Option::unwrap_or_default);
        assert_eq!(read("00ff41").expect("digits"), [0, 255, 65]);
        assert!(read("0").is_err() && read("zz").is_err() && read("+1").is_err());
        assert_eq!(bytes(&Value::Null).expect("NULL"), None);
        assert_eq!(readable(Some(b"plain")), "plain");
        assert_eq!(readable(Some(&[0, 255])), "0x00ff");
        assert_eq!(
            readable(Some("é".repeat(61).as_bytes())),
            format!("{}…", "é".repeat(60))
        );
    }
}
