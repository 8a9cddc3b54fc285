//! What a pool promises, whoever is quick and whoever is slow.

use super::*;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn here() -> ThreadId {
    std::thread::current().id()
}

type Piece<T> = Box<dyn FnOnce() -> T + Send>;

/// Two pieces that are over only when both are begun.
fn meeting<T: Send + 'static>(of: fn() -> T) -> Vec<Piece<T>> {
    let (to_one, one): (Sender<()>, Receiver<()>) = channel();
    let (to_other, other) = channel();
    let piece = |tell: Sender<()>, wait: Receiver<()>| -> Piece<T> {
        Box::new(move || {
            tell.send(()).expect("the other piece is there");
            wait.recv_timeout(SOON).expect("both are done at a time");
            of()
        })
    };
    vec![piece(to_other, one), piece(to_one, other)]
}

#[test]
fn results_are_in_the_order_of_the_pieces() {
    for threads in [1, 2, 7] {
        let pool = Pool::new(threads);
        for count in [0, 1, 2, 100] {
            let pieces = (0..count).map(|n| move || n * n).collect();
            let expected: Vec<i32> = (0..count).map(|n| n * n).collect();
            assert_eq!(pool.run(pieces), expected, "{count} on {threads}");
        }
    }
}

#[test]
fn pieces_are_done_at_the_same_time_and_the_caller_does_some() {
    let ids = Pool::new(2).run(meeting(here));
    assert_ne!(ids[0], ids[1]);
    assert!(ids.contains(&here()));
}

#[test]
fn a_pool_without_threads_and_a_piece_alone_are_done_by_the_caller() {
    assert_eq!(Pool::none().run(vec![here; 3]), [here(); 3]);
    assert_eq!(Pool::new(4).run(vec![here]), [here()]);
}

#[test]
fn a_panic_is_the_callers_when_all_pieces_are_over() {
    let (done, told) = channel();
    let pool = Pool::new(3);
    let pieces = (0..10).map(|n| {
        let done = done.clone();
        move || match n {
            3 => panic!("the third says so"),
            8 => panic!("the eighth says so"),
            _ => done.send(n).expect("it is counted"),
        }
    });
    let pieces = pieces.collect();
    let panic = catch_unwind(AssertUnwindSafe(|| pool.run(pieces))).expect_err("it panics");
    assert_eq!(
        panic.downcast_ref::<&str>().copied(),
        Some("the third says so")
    );
    assert_eq!(told.try_iter().count(), 8);
    // The pool is as good as before.
    assert_eq!(pool.run(meeting(|| 1)), [1, 1]);
}

#[test]
fn a_piece_may_fork_again() {
    let pool = Pool::new(2);
    let piece = |n: u64| {
        let pool = pool.clone();
        move || {
            let inner = (0..20).map(|m| move || n * m).collect();
            pool.run(inner).into_iter().sum::<u64>()
        }
    };
    let sums = pool.run((0..20).map(piece).collect());
    assert_eq!(sums, (0..20).map(|n| n * 190).collect::<Vec<u64>>());
}

#[test]
fn who_asks_a_busy_pool_does_the_work_alone() {
    let pool = Pool::new(2);
    let (busy, is_busy) = channel();
    let (free, is_freed) = channel::<()>();
    let (busy_pool, owner) = (pool.clone(), here());
    let other = std::thread::Builder::new().spawn(move || {
        // The one helper and its caller wait until they are let go.
        let (asked, answer) = channel();
        let held = move || {
            busy.send(()).expect("the test waits for it");
            answer.recv_timeout(SOON).expect("it is let go");
        };
        let let_go = move || {
            is_freed.recv_timeout(SOON).expect("the test lets it go");
            asked.send(()).expect("the other piece waits");
        };
        let pieces: Vec<Piece<()>> = vec![Box::new(held), Box::new(let_go)];
        busy_pool.run(pieces);
    });
    let other = other.expect("a thread");
    is_busy.recv_timeout(SOON).expect("it has begun");
    let ids = pool.run(vec![here; 5]);
    free.send(()).expect("it waits");
    other.join().expect("no panic");
    assert_eq!(ids, [owner; 5], "the helper was somebody else's");
}

#[test]
fn threads_end_with_the_pool() {
    thread_local!(static SENDER: std::cell::RefCell<Option<Last>> = const { std::cell::RefCell::new(None) });
    struct Last(Sender<()>);
    impl Drop for Last {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (gone, told) = channel();
    let pool = Pool::new(2);
    let owner = here();
    let pieces = meeting(here).into_iter().map(|piece| {
        let gone = gone.clone();
        move || {
            let id = piece();
            if id != owner {
                SENDER.with_borrow_mut(|sender| *sender = Some(Last(gone)));
            }
        }
    });
    pool.run(pieces.collect());
    assert!(told.try_recv().is_err(), "it waits for more");
    drop(pool);
    told.recv_timeout(SOON).expect("its last word");
}
