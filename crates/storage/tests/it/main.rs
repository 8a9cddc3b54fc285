//! The storage seen from outside: on the real disk (`real`), in the simulator (`crash`), and its old formats (`format`).

mod crash;
mod kit;
mod real;
