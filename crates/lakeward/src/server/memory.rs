//! How much memory states may take where nobody says it.

use std::path::Path;

/// What was asked for, or half of what this machine lets a process have.
pub(super) fn for_states(asked: Option<usize>) -> u64 {
    asked.map_or_else(|| available() / 2, |bytes| bytes as u64)
}

/// The machine's memory, or what the control group of a container leaves of it.
fn available() -> u64 {
    let machine = rustix::system::sysinfo();
    let machine = machine.totalram as u64 * u64::from(machine.mem_unit);
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limits = limits
        .iter()
        .filter_map(|path| limit(&std::fs::read_to_string(Path::new(path)).ok()?));
    limits.fold(machine, u64::min)
}

/// A control group's limit; `max` is none.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_there_is() {
        assert_eq!(for_states(Some(7)), 7);
        let machine = rustix::system::sysinfo();
        let machine = machine.totalram as u64 * u64::from(machine.mem_unit);
        assert!((1..=machine / 2).contains(&for_states(None)));
    }

    #[test]
    fn a_container_without_a_limit_has_the_machines_memory() {
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("1073741824\n"), Some(1 << 30));
    }
}
