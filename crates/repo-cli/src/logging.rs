//! Logs on standard error, by `-v` or REPO_LOG. Without either there are none.
//!
//! REPO_LOG takes levels by target: `debug`, or `warn,repo_core=trace`.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::environment::Environment;
use crate::exit::Failure;

/// Starts logging if it is asked for.
pub(crate) fn start(verbose: u8, environment: &Environment) -> Result<(), Failure> {
    let Some(targets) = targets(verbose, environment.text("REPO_LOG")?)? else {
        return Ok(());
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let subscriber = tracing_subscriber::registry().with(targets).with(layer);
    subscriber
        .try_init()
        .map_err(|error| Failure::because("cannot start logging", &error))
}

fn targets(verbose: u8, variable: Option<&str>) -> Result<Option<Targets>, Failure> {
    let level = match (verbose, variable) {
        (0, None) => return Ok(None),
        (0, Some(text)) => {
            let parsed = text.parse::<Targets>();
            return parsed
                .map(Some)
                .map_err(|error| Failure::usage(format!("REPO_LOG is not understood: {error}")));
        }
        (1, _) => LevelFilter::INFO,
        (2, _) => LevelFilter::DEBUG,
        (3.., _) => LevelFilter::TRACE,
    };
    Ok(Some(Targets::new().with_default(level)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbosity_is_a_level_and_the_variable_a_list() {
        assert_eq!(targets(0, None), Ok(None));
        for (verbose, variable, expected) in [
            (1, None, "info"),
            (2, Some("error"), "debug"),
            (9, None, "trace"),
            (0, Some("warn,repo_core=trace"), "warn,repo_core=trace"),
        ] {
            let parsed = targets(verbose, variable).expect("understood");
            assert_eq!(parsed, expected.parse().ok());
        }
        assert!(targets(0, Some("repo=loud")).is_err());
    }
}
