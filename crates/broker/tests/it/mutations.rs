//! Requests that were right once: every API in every version, and frames of real clients, with bytes changed, lost, put
//! in and doubled. Whatever a stranger sends, no handler panics, nobody else notices, and no memory is taken on a
//! declared length's word.
//!
//! Seeds count up from 0, so a failure is found again by running the test again. `MUTATIONS=100000` looks longer.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use lw_protocol::messages::{ApiVersionsRequest, MetadataRequest, metadata_request};
use lw_protocol::{Request, frame};

use crate::server::{Server, Socket, topic_name};
use crate::versions::{Each, every_request};
use crate::wire;

const DEFAULT_CASES: u64 = 4000;
/// Cases under way at once.
const WAVE: u64 = 50;

/// Frames with their length in front.
struct Frames(Vec<Vec<u8>>);

impl Each for Frames {
    fn request<R: Request>(&mut self, version: i16, request: &R) {
        let frame = frame::encode_request(1, version, "test", request).unwrap();
        self.0.push(frame.to_vec());
    }
}

#[test]
fn no_mutilated_request_hurts_anyone() {
    let cases = match std::env::var("MUTATIONS") {
        Ok(number) => number.parse().expect("MUTATIONS is a number"),
        Err(_) => DEFAULT_CASES,
    };
    let server = Server::start();
    server.with_topic("witness", 3, &[]);
    server.with_topic("t", 2, &[]);
    let mut frames = Frames(Vec::new());
    every_request(&mut frames, server.storage.topic("t").unwrap().id);
    let framed = |frame: &[u8]| [&(frame.len() as u32).to_be_bytes(), frame].concat();
    frames
        .0
        .extend(wire::captured().iter().map(|frame| framed(frame)));

    let before = testimony(&mut server.connect());
    for wave in 0..cases.div_ceil(WAVE) {
        let sent: Vec<TcpStream> = (0..WAVE)
            .map(|index| {
                let mut dice = Dice(wave * WAVE + index);
                let frame = &frames.0[dice.below(frames.0.len())];
                let mut stream = server.connect().stream;
                // It may hang up before it has read everything.
                let _ = stream.write_all(&mutilated(frame, &mut dice));
                let _ = stream.shutdown(Shutdown::Write);
                stream
            })
            .collect();
        for mut stream in sent {
            // An answer, or the end; silence is the one thing that it may not be.
            if let Err(error) = stream.read_to_end(&mut Vec::new()) {
                let kind = error.kind();
                assert!(
                    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
                    "wave {wave}: {error}"
                );
            }
        }
        let seeds = wave * WAVE..(wave + 1) * WAVE;
        assert_eq!(
            server.broker.metrics().panics.get(),
            0,
            "a handler panicked; seeds {seeds:?}"
        );
        assert_eq!(testimony(&mut server.connect()), before, "seeds {seeds:?}");
    }
    if let Some(peak) = peak_of_address_space() {
        assert!(peak < 8 << 30, "{peak} bytes were asked for at some moment");
    }
}

/// What an honest client is told, whatever else goes on.
fn testimony(socket: &mut Socket) -> String {
    let speaks = socket.call(3, &ApiVersionsRequest::default());
    let topic = metadata_request::MetadataRequestTopic::default();
    let topic = topic.with_name(Some(topic_name("witness")));
    let knows = socket.call(
        12,
        &MetadataRequest::default().with_topics(Some(vec![topic])),
    );
    format!("{speaks:?} {:?}", knows.topics)
}

/// The frame with one to four things done to it. Mostly its length is put right again, so that its body is looked at.
fn mutilated(frame: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut body = frame[4..].to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(body.len());
        match dice.below(7) {
            0 => body[at] ^= 1 << dice.below(8),
            1 => body[at] = dice.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            2 => {
                let extreme = dice
                    .pick(&[i32::MAX, i32::MIN, -1, 1 << 24, 0])
                    .to_be_bytes();
                body.iter_mut()
                    .skip(at)
                    .zip(extreme)
                    .for_each(|(byte, with)| *byte = with);
            }
            // The longest varint there is, where a length may stand.
            3 => drop(body.splice(at..at + 1, [0xff, 0xff, 0xff, 0xff, 0x0f])),
            4 => body.truncate(at.max(8)),
            5 => drop(body.splice(at..at, [dice.below(256) as u8; 3])),
            _ => {
                let end = (at + dice.below(40)).min(body.len());
                let again = body[at..end].to_vec();
                drop(body.splice(at..at, again));
            }
        }
    }
    let mut length = (body.len() as u32).to_be_bytes();
    if dice.below(20) == 0 {
        length[dice.below(4)] ^= 1 << dice.below(8);
    }
    [length.to_vec(), body].concat()
}

/// SplitMix64: a seed gives the same case everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// On Linux: the most address space that this process ever had, memory that was never touched included.
fn peak_of_address_space() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmPeak:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes << 10)
}
