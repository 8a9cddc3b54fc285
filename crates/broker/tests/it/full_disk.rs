//! A full disk refuses records, keeps serving what is there, and takes records again by itself.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lw_broker::BrokerConfig;
use lw_protocol::{Batch, BatchBuilder};
use lw_stdx::disk::{Disk, Entry, File, RealDisk};

use crate::log::{list_offset, now, produce};
use crate::server::Server;

/// The real disk, which says that it is full when told to.
#[derive(Default)]
struct Filling {
    full: AtomicBool,
}

impl Disk for Filling {
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        if self.full.load(Ordering::SeqCst) {
            Ok(0)
        } else {
            RealDisk.free_bytes(dir)
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        RealDisk.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        RealDisk.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
    fn total_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.total_bytes(dir)
    }
    fn exists(&self, path: &Path) -> bool {
        RealDisk.exists(path)
    }
}

fn large() -> Batch {
    let mut builder = BatchBuilder::default();
    builder.push(now(), None, Some(&vec![7; 900_000]), &[]);
    builder.build().unwrap()
}

#[test]
fn a_full_disk_refuses_records_serves_reads_and_recovers() {
    let disk = Arc::new(Filling::default());
    let server = Server::on(disk.clone(), BrokerConfig::default());
    let mut socket = server.with_topic("t", 1, &[]);
    assert_eq!(produce(&mut socket, "t", large()), ("ok".into(), 0));

    disk.full.store(true, Ordering::SeqCst);
    // What was preallocated may still be used; then it is over.
    let refused = (0..100)
        .map(|_| produce(&mut socket, "t", large()).0)
        .find(|outcome| outcome != "ok");
    let refused = refused.expect("a disk without space takes no 90 MB");
    assert!(
        refused.starts_with("KafkaStorageError: the disk is full: 0 bytes free, "),
        "{refused}"
    );
    assert_eq!(server.broker.metrics().rejected_disk_full.get(), 1);
    let (end, _) = list_offset(&mut socket, "t", -1);
    assert!(end >= 1, "reads go on");

    disk.full.store(false, Ordering::SeqCst);
    let (mut outcome, mut offset) = produce(&mut socket, "t", large());
    while outcome != "ok" {
        (outcome, offset) = produce(&mut socket, "t", large());
    }
    assert_eq!(offset, end, "nothing refused took an offset");
}
