//! The storage seen from outside: on the real disk (`real`), in the simulator (`crash`, and with rotten bits `damage`), on a
//! disk in trouble (`trouble`), where old files are rewritten (`rewriting`), and as files of earlier versions (`format`).

mod crash;
mod damage;
mod format;
mod kit;
mod real;
mod rewriting;
mod trouble;
