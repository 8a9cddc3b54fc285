//! What stands behind a bad frame, and whether it proves anything.

use std::sync::Arc;

use bytes::BytesMut;
use lw_sim::{SimClock, SimDisk};
use lw_stdx::disk::Disk;

use super::*;
use crate::frame::{FILE_HEADER, FileHeader, Group, mark};
use crate::numbers::FileNumber;

/// A WAL file in memory: groups of frames with these payloads, each synced before the next begins.
struct Log {
    bytes: Vec<u8>,
    begin: Place,
    /// The places before each frame, and the one behind all.
    places: Vec<Place>,
}

impl Log {
    fn new(id: u64, groups: &[&[usize]]) -> Log {
        let header = FileHeader {
            id: FileNumber(id),
            first_lsn: Lsn(10),
            link: 0,
            previous_end: 0,
        };
        let (bytes, begin) = header.encode();
        let mut log = Log {
            bytes,
            begin,
            places: vec![begin],
        };
        for group in groups {
            log.append(group);
        }
        log
    }

    fn end(&self) -> Place {
        *self.places.last().unwrap()
    }

    fn append(&mut self, payloads: &[usize]) {
        self.append_at(self.end(), payloads);
    }

    /// Writes a group at `place`, over what stands there.
    fn append_at(&mut self, place: Place, payloads: &[usize]) {
        let mut group = Group::at(place, BytesMut::new());
        for len in payloads {
            let place = group.frame(|out| out.extend_from_slice(&vec![b'p'; *len]));
            self.places.push(place);
        }
        self.put(place.position, &group.into_bytes());
    }

    fn mark(&mut self) {
        let end = self.end();
        self.put(end.position, &mark(&end));
    }

    fn put(&mut self, position: u64, bytes: &[u8]) {
        let end = position as usize + bytes.len();
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes[position as usize..end].copy_from_slice(bytes);
    }

    fn flip(mut self, position: u64) -> Log {
        self.bytes[position as usize] ^= 4;
        self
    }

    /// Where the scan ends, as the number of whole frames, and what proves that it should not have.
    fn read(&self) -> (usize, Option<Evidence>) {
        let disk = SimDisk::new(0, Arc::new(SimClock::new()));
        let file = disk.create("f".as_ref()).unwrap();
        file.write_at(&self.bytes, 0).unwrap();
        file.write_at(&[0; 5000], self.bytes.len() as u64).unwrap();
        let mut frames = 0;
        let end = scan::<io::Error>(&*file, self.begin, Trust::Tail, |_| {
            frames += 1;
            Ok(())
        });
        (frames, evidence(&*file, end.unwrap()).unwrap())
    }
}

fn proof(synced: Place, frames: u64) -> Option<Evidence> {
    Some(Evidence {
        synced: synced.position,
        frames,
    })
}

#[test]
fn a_later_group_proves_an_earlier_one_and_none_proves_itself() {
    let log = || Log::new(3, &[&[5, 2000], &[30, 7], &[1]]);
    let places = log().places;
    let in_payload = |n: usize| places[n].position + FRAME_HEADER as u64;
    let third = places[4];
    assert_eq!(log().read(), (5, None));
    for (flipped, expected) in [
        (places[0].position + 9, (0, proof(third, 3))), // a length: the next frame is searched byte by byte
        (in_payload(0), (0, proof(third, 3))),
        (places[1].position, (1, proof(third, 3))),
        (in_payload(1) + 1990, (1, proof(third, 3))),
        (places[2].position + 25, (2, proof(third, 1))),
        (in_payload(3), (3, proof(third, 1))),
        // The last group: as if torn.
        (places[4].position + 3, (4, None)),
        (in_payload(4), (4, None)),
    ] {
        assert_eq!(log().flip(flipped).read(), expected, "byte {flipped}");
    }
}

#[test]
fn a_mark_proves_the_last_group_until_another_overwrites_it() {
    let mut log = Log::new(3, &[&[50], &[60]]);
    log.mark();
    let (second, end) = (log.places[1], log.end());
    assert_eq!(log.read(), (2, None));
    let position = second.position + 40;
    assert_eq!(log.flip(position).read(), (1, proof(end, 0)));
    // The next group's first sectors were lost, its last frame was not.
    let mut log = Log::new(3, &[&[50], &[60]]);
    log.mark();
    log.append(&[2000, 10]);
    let torn = log.end().position as usize - 500..log.end().position as usize - 60;
    log.bytes[torn].fill(0);
    assert_eq!(
        log.read(),
        (2, None),
        "nothing behind a torn group proves it"
    );
}

#[test]
fn what_an_earlier_cut_left_behind_proves_nothing() {
    // A crash tears [40, 50, 60] after its first frame; the log goes on there with a shorter group, and is torn again.
    let mut log = Log::new(3, &[&[10]]);
    log.append(&[40, 50, 60]);
    let cut = log.places[2];
    let position = cut.position;
    log.bytes[position as usize] ^= 1;
    assert_eq!(log.read(), (2, None));
    log.places.truncate(3);
    log.append_at(cut, &[3]);
    assert_eq!(log.read(), (3, None));
    assert_eq!(log.flip(position + 2).read(), (2, None));
}

#[test]
fn frames_of_another_life_or_another_place_prove_nothing() {
    let old = Log::new(2, &[&[100], &[100], &[100], &[100]]);
    // Recycled: the header is another one, the old frames still stand there.
    let mut log = Log::new(3, &[&[100]]);
    let fresh = log.bytes.len();
    log.bytes.extend_from_slice(&old.bytes[fresh..]);
    assert_eq!(log.read(), (1, None));
    assert_eq!(log.flip(FILE_HEADER).read(), (0, None));
    // A record that holds a copy of this very file, in the last group, torn before it.
    let copy = Log::new(3, &[&[100], &[100], &[100]]).bytes;
    let mut log = Log::new(3, &[&[100]]);
    let place = log.end();
    let mut group = Group::at(place, BytesMut::new());
    group.frame(|out| out.extend_from_slice(&copy));
    log.put(place.position, &group.into_bytes());
    assert_eq!(log.flip(place.position).read(), (1, None));
}
