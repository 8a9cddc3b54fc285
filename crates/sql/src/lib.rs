//! (born empty; see docs/ARCHITECTURE.md)
