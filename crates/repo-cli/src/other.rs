//! A second repository beside the one a command is about: where a copy goes, or help comes from.
//!
//! It has a location, password and store options of its own; settings of the first do not apply to
//! it. Its cache lies beside that of the first, because caches are apart by repository.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::context::Context;
use crate::exit::Failure;
use crate::location::Place;
use crate::password::Source;
use crate::profile::Profile;

/// How a second repository is named on the command line.
pub(crate) struct Named<'a> {
    /// The option that names its location.
    pub(crate) option: &'static str,
    /// Variable that holds its password; with `_FILE` and `_COMMAND`, where to find it.
    pub(crate) variables: &'static str,
    pub(crate) location: &'a OsStr,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) password_command: Option<OsString>,
    pub(crate) options: &'a [(String, String)],
}

impl Context {
    /// The surroundings of a command about another repository.
    pub(crate) fn other(&self, named: Named<'_>) -> Result<Self, Failure> {
        let place = Place::named(named.location, named.option)?;
        let pair = (named.password_file, named.password_command);
        let source = Source::of_variables(&self.environment, named.variables, pair);
        let mut globals = self.globals.clone();
        globals.options = named.options.to_vec();
        Ok(Self {
            globals,
            environment: self.environment.clone(),
            profile: Profile::default(),
            output: self.output.clone(),
            place,
            source,
            cancel: self.cancel.clone(),
            repository: OnceLock::new(),
        })
    }
}
