//! The storage seen from outside: on the real disk (`real`), in the simulator (`crash`, and with rotten bits `damage`), on a
//! disk in trouble (`trouble`), where old files are rewritten (`rewriting`), where retention must wait
//! (`holds`), where the log goes on during a read (`order`), where a thread of it panics (`panics`), under clocks that
//! leap (`producers`, `wall`), and as files of earlier versions (`format`).

mod crash;
mod damage;
mod format;
mod holds;
mod kit;
mod order;
mod panics;
mod producers;
mod real;
mod rewriting;
mod trouble;
mod wall;
