//! `lakeward topic produce|consume`: lines in, lines out, in kcat's words.

use super::say;
use crate::args::{Codec, Consume, Output, Produce};
use crate::failure::failure;
use lw_client::Client as Kafka;
use lw_protocol::record::Record;
use lw_protocol::{BatchBuilder, Compression};
use lw_stdx::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// A batch is sent at this size, or when no line came for a moment.
const BATCH_BYTES: usize = 256 << 10;
const LINGER: Duration = Duration::from_millis(20);
const WAIT_MS: i32 = 500;

/// Java's murmur2, which its producer chooses partitions by.
fn murmur2(bytes: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    for (at, byte) in rest.iter().enumerate().rev() {
        hash ^= u32::from(*byte) << (8 * at);
        if at == 0 {
            hash = hash.wrapping_mul(M);
        }
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ (hash >> 15)) as i32
}

/// The partition that Java's producer chooses for a key.
pub(super) fn partition_of(key: &[u8], partitions: usize) -> i32 {
    (murmur2(key) & 0x7fff_ffff) % partitions as i32
}

/// Sends standard input's lines; what was acknowledged is told even if a later line fails.
pub fn produce(kafka: &mut Kafka, args: &Produce) -> anyhow::Result<()> {
    let topics = kafka.topics(Some(&[&args.topic]))?;
    let partitions = topics.first().map_or(0, |topic| topic.partitions.len());
    let mut sender = Sender {
        kafka,
        args,
        partitions: partitions.max(1),
        waiting: BTreeMap::new(),
        turn: 0,
        acked: 0,
    };
    let sent = sender.lines();
    let acked = sender.acked;
    match args.written.output {
        Output::Json => say(json!({ "topic": args.topic, "produced": acked })),
        Output::Table | Output::Csv => eprintln!("{acked} records produced to {}", args.topic),
    }
    sent
}

struct Sender<'a> {
    kafka: &'a mut Kafka,
    args: &'a Produce,
    partitions: usize,
    waiting: BTreeMap<i32, BatchBuilder>,
    /// Whose turn it is among partitions where no key decides; it changes with each batch.
    turn: usize,
    acked: u64,
}

impl Sender<'_> {
    fn lines(&mut self) -> anyhow::Result<()> {
        let (send, lines) = sync_channel::<std::io::Result<Vec<u8>>>(1024);
        let reader = move || {
            for line in std::io::stdin().lock().split(b'\n') {
                if send.send(line).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("stdin".into())
            .spawn(reader)?;
        loop {
            match lines.recv_timeout(LINGER) {
                Ok(line) => self.push(&line?)?,
                Err(RecvTimeoutError::Timeout) => self.flush()?,
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
        }
    }

    fn push(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let delimiter = self.args.key_delimiter.as_deref().unwrap_or_default();
        let (key, value) = match find(line, delimiter.as_bytes()) {
            Some(at) => (Some(&line[..at]), &line[at + delimiter.len()..]),
            None => (None, line),
        };
        let partition = match (self.args.partition, key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, self.partitions),
            (None, None) => (self.turn % self.partitions) as i32,
        };
        let batch = self
            .waiting
            .entry(partition)
            .or_insert_with(|| BatchBuilder::new(codec(self.args.compression)));
        batch.push(SystemClock::new().now_ms(), key, Some(value), &[]);
        if batch.size() >= BATCH_BYTES {
            self.turn += 1;
            self.send(partition)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.turn += 1;
        let partitions: Vec<i32> = self.waiting.keys().copied().collect();
        partitions
            .into_iter()
            .try_for_each(|partition| self.send(partition))
    }

    fn send(&mut self, partition: i32) -> anyhow::Result<()> {
        let Some(batch) = self.waiting.remove(&partition) else {
            return Ok(());
        };
        let records = batch.len() as u64;
        self.kafka
            .produce(&self.args.topic, partition, &batch.build()?)?;
        self.acked += records;
        Ok(())
    }
}

/// Where `what` stands first; nowhere if it is empty.
fn find(line: &[u8], what: &[u8]) -> Option<usize> {
    if what.is_empty() {
        return None;
    }
    line.windows(what.len()).position(|window| window == what)
}

fn codec(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}

/// Writes records until the count or, with `-e`, the end is reached.
pub fn consume(kafka: &mut Kafka, args: &Consume) -> anyhow::Result<()> {
    let mut json = args.output == Output::Json;
    let mut from = "beginning";
    for word in &args.offset {
        match word.as_str() {
            "json" => json = true,
            "table" => json = false,
            offset => from = offset,
        }
    }
    let mut offsets = begin(kafka, args, from)?;
    let format = match (&args.format, &args.key_delimiter) {
        (Some(format), _) => Format::parse(format)?,
        (None, Some(delimiter)) => Format::of_key_and_value(delimiter),
        (None, None) => Format::of_value(),
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let mut ended = 0;
        for fetched in kafka.fetch(&args.topic, &offsets, WAIT_MS)? {
            let from = offsets[&fetched.partition];
            for batch in &fetched.batches {
                for record in batch.records()?.iter() {
                    let record = record?;
                    if record.offset < from || left == 0 {
                        continue;
                    }
                    left -= 1;
                    let mut line = Vec::new();
                    match json {
                        true => {
                            let value = as_json(&args.topic, fetched.partition, &record);
                            line.extend_from_slice(format!("{value}\n").as_bytes());
                        }
                        false => format.write(&mut line, &args.topic, fetched.partition, &record),
                    }
                    if out.write_all(&line).is_err() {
                        std::process::exit(0);
                    }
                }
            }
            offsets.insert(fetched.partition, fetched.next);
            ended += usize::from(fetched.next >= fetched.end);
        }
        if out.flush().is_err() {
            std::process::exit(0);
        }
        if args.exit && ended == offsets.len() {
            break;
        }
    }
    Ok(())
}

/// The first offset of each partition.
fn begin(kafka: &mut Kafka, args: &Consume, from: &str) -> anyhow::Result<BTreeMap<i32, i64>> {
    let starts: BTreeMap<i32, i64> = kafka.list_offsets(&args.topic, -2)?.into_iter().collect();
    let ends: BTreeMap<i32, i64> = kafka.list_offsets(&args.topic, -1)?.into_iter().collect();
    let mut offsets = match from {
        "beginning" => starts,
        "end" => ends,
        time if time.starts_with("s@") => {
            let millis = crate::args::datetime(&time["s@".len()..])
                .map_err(|message| failure(message, "Write -o s@TIME."))?;
            let found = kafka.list_offsets(&args.topic, millis)?.into_iter();
            // Where no record is as late, the next one will be.
            let at = |(partition, at)| (partition, if at < 0 { ends[&partition] } else { at });
            found.map(at).collect()
        }
        number => {
            let number: i64 = number.parse().map_err(|_| {
                failure(
                    format!("'{number}' is not a place to begin"),
                    "Write -o beginning, -o end, -o N, -o -N for the last N, or -o s@TIME.",
                )
            })?;
            let at = |(partition, start): (&i32, &i64)| {
                let end = ends[partition];
                let wanted = if number < 0 { end + number } else { number };
                (*partition, wanted.clamp(*start, end))
            };
            starts.iter().map(at).collect()
        }
    };
    if let Some(partition) = args.partition {
        offsets.retain(|index, _| *index == partition);
        if offsets.is_empty() {
            return Err(failure(
                format!("topic '{}' has no partition {partition}", args.topic),
                format!("`lakeward topic show {}` shows what it has.", args.topic),
            ));
        }
    }
    Ok(offsets)
}

/// kcat's format string, read once.
#[derive(Debug, PartialEq, Eq)]
struct Format(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Field(char),
}

const FIELDS: &str = "skSKTtpoh";

impl Format {
    fn of_value() -> Format {
        Format(vec![Piece::Field('s'), Piece::Text(b"\n".to_vec())])
    }

    fn of_key_and_value(delimiter: &str) -> Format {
        let mut format = Format::of_value();
        format
            .0
            .insert(0, Piece::Text(delimiter.as_bytes().to_vec()));
        format.0.insert(0, Piece::Field('k'));
        format
    }

    fn parse(text: &str) -> anyhow::Result<Format> {
        let mut pieces = Vec::new();
        let mut open = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match (letter, letters.clone().next()) {
                ('%', Some('%')) => open.push(b'%'),
                ('%', Some(field)) if FIELDS.contains(field) => {
                    pieces.push(Piece::Text(std::mem::take(&mut open)));
                    pieces.push(Piece::Field(field));
                }
                ('%', field) => {
                    let field = field.map(String::from).unwrap_or_default();
                    return Err(failure(
                        format!("the format has no '%{field}'"),
                        "Known are %s value, %k key, %S and %K their lengths, %T time, %t topic, %p partition, %o offset, %h headers, %% for %.",
                    ));
                }
                ('\\', Some('n')) => open.push(b'\n'),
                ('\\', Some('t')) => open.push(b'\t'),
                ('\\', Some('r')) => open.push(b'\r'),
                ('\\', Some('\\')) => open.push(b'\\'),
                ('\\', Some('x')) => {
                    letters.next();
                    let digits: String = letters.clone().take(2).collect();
                    letters.next();
                    let byte = u8::from_str_radix(&digits, 16);
                    open.push(byte.map_err(|_| {
                        failure(
                            format!("'\\x{digits}' is not a byte"),
                            "Write, for example, \\x1f.",
                        )
                    })?);
                }
                (letter, _) => {
                    open.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            }
            letters.next();
        }
        pieces.push(Piece::Text(open));
        Ok(Format(pieces))
    }

    fn write(&self, out: &mut Vec<u8>, topic: &str, partition: i32, record: &Record<'_>) {
        let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Field('s') => out.extend_from_slice(record.value.unwrap_or_default()),
                Piece::Field('k') => out.extend_from_slice(record.key.unwrap_or_default()),
                Piece::Field('t') => out.extend_from_slice(topic.as_bytes()),
                Piece::Field('h') => headers(out, record),
                Piece::Field(number) => {
                    let number = match number {
                        'S' => length(record.value),
                        'K' => length(record.key),
                        'T' => record.timestamp,
                        'p' => i64::from(partition),
                        _ => record.offset,
                    };
                    out.extend_from_slice(number.to_string().as_bytes());
                }
            }
        }
    }
}

fn headers(out: &mut Vec<u8>, record: &Record<'_>) {
    for (at, (name, value)) in record.headers().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value.unwrap_or(b"NULL"));
    }
}

/// One line of JSON.
fn as_json(topic: &str, partition: i32, record: &Record<'_>) -> Value {
    let headers: Vec<Value> = record
        .headers()
        .map(|(name, value)| {
            json!([
                String::from_utf8_lossy(name),
                value.map(String::from_utf8_lossy)
            ])
        })
        .collect();
    let mut line = json!({
        "topic": topic,
        "partition": partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "headers": headers,
    });
    put_bytes(&mut line, "key", record.key);
    put_bytes(&mut line, "value", record.value);
    line
}

/// A member of an object: text as such, other bytes in hexadecimal digits, under a name that says so.
pub(super) fn put_bytes(object: &mut Value, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| hexadecimal(bytes))) {
        None => object[name] = Value::Null,
        Some(Ok(text)) => object[name] = text.into(),
        Some(Err(digits)) => object[format!("{name}_hex")] = digits.into(),
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn keys_hash_as_in_java() {
        let cases = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn records_are_written_by_kcats_format() {
        let mut batch = BatchBuilder::default().base_offset(7);
        batch.push(1_000, None, Some(b"v"), &[("h", Some(b"1")), ("g", None)]);
        let records = batch.build().expect("a batch").records().expect("records");
        let record = records.iter().next().expect("one").expect("whole");
        let cases = [
            (r"%t %p %o %k %s %T %h\n", "in 3 7  v 1000 h=1,g=NULL\n"),
            (r"%K %S %% \x41\t|", "-1 1 % A\t|"),
        ];
        for (format, expected) in cases {
            let mut out = Vec::new();
            let format = Format::parse(format).expect("a format");
            format.write(&mut out, "in", 3, &record);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
        let error = Format::parse("%q").expect_err("no such field");
        assert!(
            error.to_string().starts_with("the format has no '%q'"),
            "{error}"
        );
    }
}
