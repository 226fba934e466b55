//! What every command works with: options, settings, output and cancellation.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use repo_core::{Finding, Repository, Severity};

use crate::args::Globals;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::location::{self, Place};
use crate::message::FindingMessage;
use crate::output::Output;
use crate::password::Source;
use crate::profile::Profile;
use crate::progress::Bars;

/// The surroundings of one command.
pub(crate) struct Context {
    pub(crate) globals: Globals,
    pub(crate) environment: Environment,
    pub(crate) profile: Profile,
    pub(crate) output: Output,
    pub(crate) place: Place,
    pub(crate) source: Option<Source>,
    pub(crate) cancel: Cancel,
    /// The repository, once the command has opened it as it is now.
    pub(crate) repository: OnceLock<Repository>,
}

impl Context {
    /// Reads settings and finds out which repository is meant. Touches no repository.
    pub(crate) fn new(
        globals: Globals,
        environment: Environment,
        output: Output,
        cancel: Cancel,
    ) -> Result<Self, Failure> {
        let name = match &globals.profile {
            Some(name) => Some(name.as_str()),
            None => environment.text("REPO_PROFILE")?,
        };
        let profile = Profile::load(name, &environment)?;
        let (place, source) = location::find(&globals, &environment, &profile)?;
        Ok(Self {
            globals,
            environment,
            profile,
            output,
            place,
            source,
            cancel,
            repository: OnceLock::new(),
        })
    }

    /// The repository, if the command has opened it as it is now.
    pub(crate) fn opened(&self) -> Option<&Repository> {
        self.repository.get()
    }

    /// Progress bars for a person at a terminal, else only cancellation.
    pub(crate) fn progress(&self) -> Arc<Bars> {
        // Bars and logs would write over each other.
        let visible = !self.globals.json
            && !self.globals.quiet
            && self.globals.verbose == 0
            && self.environment.get("REPO_LOG").is_none();
        self.cancel.end_by_asking();
        self.cancel.end_by_itself();
        Arc::new(Bars::new(visible, self.cancel.clone()))
    }

    /// This host, or what it is to be called.
    pub(crate) fn host(&self) -> Result<String, Failure> {
        Ok(match self.environment.text("REPO_HOST")? {
            Some(host) => host.to_owned(),
            None => {
                let system = rustix::system::uname();
                system.nodename().to_string_lossy().into_owned()
            }
        })
    }

    /// The user who runs the program.
    pub(crate) fn user(&self) -> String {
        let named = ["USER", "LOGNAME"].map(|name| self.environment.get(name));
        match named.into_iter().flatten().next() {
            Some(name) => name.to_string_lossy().into_owned(),
            None => rustix::process::getuid().as_raw().to_string(),
        }
    }

    /// What the log says was done, and by whom.
    pub(crate) fn action(&self, done: &str) -> Result<String, Failure> {
        Ok(format!("{done} by {}@{}", self.user(), self.host()?))
    }

    /// Writes a warning unless asked to be quiet.
    pub(crate) fn warn(&self, message: &str) {
        if !self.globals.quiet {
            self.output.warn(message);
        }
    }

    /// Writes findings that come beside the result: JSON lines with it, text to standard error.
    pub(crate) fn show_findings(&self, findings: &[Finding]) -> Result<(), Failure> {
        for finding in findings {
            let message = FindingMessage::from(finding);
            if self.output.is_json() {
                self.output.message(&message)?;
            } else if !self.globals.quiet || finding.severity > Severity::Note {
                crate::output::to_stderr(&message.to_string());
            }
        }
        Ok(())
    }
}

/// How many findings are at least as bad as `severity`.
pub(crate) fn count(findings: &[Finding], severity: Severity) -> u64 {
    let bad = findings
        .iter()
        .filter(|finding| finding.severity == severity);
    bad.count() as u64
}

/// Whether a signal asked the command to stop.
#[derive(Clone, Default)]
pub(crate) struct Cancel(Arc<CancelState>);

#[derive(Default)]
struct CancelState {
    asked: AtomicBool,
    graceful: AtomicBool,
    unhurried: AtomicBool,
}

impl Cancel {
    /// Asks the command to stop.
    pub(crate) fn ask(&self) {
        self.0.asked.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to.
    pub(crate) fn asked(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }

    /// Says that the command looks at [`Self::asked`] and ends by itself.
    pub(crate) fn end_by_itself(&self) {
        self.0.graceful.store(true, Ordering::Relaxed);
    }

    /// Says that what the command does once it is asked to stop is worth the time it takes.
    pub(crate) fn take_time(&self) {
        self.0.unhurried.store(true, Ordering::Relaxed);
    }

    /// Says that the command ends by itself once it is asked to.
    pub(crate) fn end_by_asking(&self) {
        self.0.graceful.store(true, Ordering::Relaxed);
    }

    /// Whether only a second signal may cut its end short.
    pub(crate) fn takes_time(&self) -> bool {
        self.0.unhurried.load(Ordering::Relaxed)
    }

    /// Whether the command looks at [`Self::asked`] and ends by itself.
    pub(crate) fn is_graceful(&self) -> bool {
        self.0.graceful.load(Ordering::Relaxed)
    }
}
