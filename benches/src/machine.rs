//! What the numbers were measured on.

use std::fs;
use std::thread;

use serde::{Deserialize, Serialize};

/// The parts of a machine that its numbers depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gb: u64,
    pub(crate) kernel: String,
}

impl Machine {
    /// Looks at the machine that this runs on; what it cannot tell stays empty.
    pub(crate) fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let memory_kib = field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
            .unwrap_or(0);
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            cores: thread::available_parallelism().map_or(0, usize::from),
            memory_gb: memory_kib * 1024 / 1_000_000_000,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// The value of the first `name : value` line.
fn field(text: &str, name: &str) -> Option<String> {
    let (_, value) = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_value_of_a_line() {
        assert_eq!(
            field("a : 1\nMemTotal:  12 kB\n", "MemTotal"),
            Some("12 kB".to_owned())
        );
        assert_eq!(field("a : 1\n", "b"), None);
    }
}
