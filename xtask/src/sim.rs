//! The seeded simulation beyond what the gate runs: any number of seeds, or one again.

use std::path::Path;

use crate::process::Invocation;

const SEEDS: u64 = 1_000_000;

/// Which seeds to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    from: u64,
    seeds: u64,
}

impl Request {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut request = Self {
            from: 0,
            seeds: SEEDS,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut number = || {
                let value = rest
                    .next()
                    .ok_or_else(|| format!("{argument} needs a number"))?;
                let number = value.parse();
                number.map_err(|_| format!("not a number: {value}"))
            };
            match *argument {
                "--seeds" => request.seeds = number()?,
                "--from" => request.from = number()?,
                "--seed" => {
                    request.from = number()?;
                    request.seeds = 1;
                }
                other => return Err(format!("sim does not take {other}")),
            }
        }
        Ok(request)
    }
}

/// Runs them; fails with the schedules of those that fail.
pub(crate) fn run(root: &Path, request: &Request) -> Result<(), String> {
    let test = "cargo test --locked -p repo-tests --test simulation -- --exact --nocapture";
    Invocation::new(test)
        .arg("no_interleaving_loses_anything")
        .env("SIM_FROM", &request.from.to_string())
        .env("SIM_SEEDS", &request.seeds.to_string())
        .run(root)
}

#[cfg(test)]
mod tests {
    use super::{Request, SEEDS};

    #[test]
    fn seeds_are_a_range_or_one() {
        let parsed = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            Request::parse(&words)
        };
        let request = |from, seeds| Ok(Request { from, seeds });
        assert_eq!(parsed(""), request(0, SEEDS));
        assert_eq!(parsed("--seeds 7 --from 5"), request(5, 7));
        assert_eq!(parsed("--seed 9"), request(9, 1));
        assert!(parsed("--seed").is_err());
        assert!(parsed("--seeds many").is_err());
        assert!(parsed("--all").is_err());
    }
}
