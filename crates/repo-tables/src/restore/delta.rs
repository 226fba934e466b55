//! What stands where a Delta table is to be restored, and what must go first.

use std::collections::HashSet;

use super::write::{Job, Ready};
use crate::delta::{self, DeltaOptions, LOG, LogName, log_name};
use crate::discover::format;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::table::{At, Format};

impl Job {
    /// Makes sure that nothing else is in the way; removes it when that is asked for.
    pub(super) fn clear(&self) -> Result<Ready> {
        match format(&self.lake, &self.target)?.0 {
            None => return Ok(Ready::Fresh),
            Some(Format::Delta) => {}
            Some(Format::Iceberg) if self.force => return Ok(Ready::Occupied),
            Some(Format::Iceberg) => return Err(self.occupied("is an Iceberg table")),
        }
        if !self.force {
            self.check_same()?;
        }
        let ours: HashSet<&Location> = self.inside.iter().map(|(place, _)| place).collect();
        let (_, objects) = self.lake.children(&self.target.join(LOG)?)?;
        for object in objects {
            let name = log_name(object.location.name());
            let stale = match name {
                // It may point past the version, or to a checkpoint that is not there.
                LogName::Hint => true,
                LogName::Other | LogName::Sidecar | LogName::Staged => false,
                _ => self.force && !ours.contains(&object.location),
            };
            if stale {
                self.lake.delete(&object.location)?;
            }
        }
        Ok(Ready::Occupied)
    }

    /// Refuses unless the table there is the same one, at this version or an older one.
    fn check_same(&self) -> Result<()> {
        let options = DeltaOptions::default();
        let there = match delta::pin(&self.lake, &self.target, &At::Newest, options) {
            Ok(there) => there,
            Err(error @ (Error::Object { .. } | Error::Repository(_))) => return Err(error),
            Err(_) => return Err(self.occupied("is a table that cannot be read")),
        };
        if there.id != self.table.id {
            return Err(self.occupied("is another table"));
        }
        if there.version > self.table.version {
            return Err(self.occupied("is a newer version of the table"));
        }
        for (place, file) in &self.inside {
            if file.kind.is_metadata() && self.differs(place, file)? {
                return Err(Error::Occupied {
                    url: place.to_string(),
                    what: "is of a table that was written to since it was a copy of this one",
                });
            }
        }
        Ok(())
    }

    fn occupied(&self, what: &'static str) -> Error {
        Error::Occupied {
            url: self.target.to_string(),
            what,
        }
    }
}
