//! Folds a log into the live files of its newest version: newest commit first, the checkpoint last.
//!
//! What a newer action says of a file hides what older ones say, so each file is decided by the first
//! action met.

use std::collections::HashSet;

use super::action::{self, Action, Add, Metadata, Protocol, Sidecar};
use super::checkpoint;
use super::log::{Checkpoint, LOG};
use super::path::{resolve, vector_file};
use crate::error::{Error, Result};
use crate::lake::{Lake, ObjectInfo};
use crate::limits::{ACTION_MAX, CHECKPOINT_MAX, FILES_MAX, SIDECARS_MAX};
use crate::location::Location;
use crate::table::{FileKind, TableFile};

/// What a log amounts to.
pub(crate) struct State {
    pub(crate) protocol: Protocol,
    pub(crate) metadata: Metadata,
    pub(crate) files: Vec<TableFile>,
    pub(crate) sidecars: Vec<TableFile>,
}

/// A fold in progress.
pub(crate) struct Replay<'t> {
    table: &'t Location,
    change_data: bool,
    decided: HashSet<String>,
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    files: Vec<TableFile>,
    sidecars: Vec<TableFile>,
}

impl<'t> Replay<'t> {
    pub(crate) fn new(table: &'t Location, change_data: bool) -> Self {
        Self {
            table,
            change_data,
            decided: HashSet::new(),
            protocol: None,
            metadata: None,
            files: Vec::new(),
            sidecars: Vec::new(),
        }
    }

    /// Takes a commit, older than those before.
    pub(crate) fn commit(&mut self, lake: &Lake, object: &ObjectInfo) -> Result<()> {
        lines(lake, object, |action| self.take(&object.location, action))
    }

    /// Takes the checkpoint that everything before is summed up in, and its sidecars.
    pub(crate) fn checkpoint(&mut self, lake: &Lake, checkpoint: &Checkpoint) -> Result<()> {
        let mut sidecars = Vec::new();
        for part in &checkpoint.parts {
            let place = &part.location;
            let mut take = |action| match action {
                Action::Sidecar(sidecar) if sidecars.len() < SIDECARS_MAX => {
                    sidecars.push(sidecar);
                    Ok(())
                }
                Action::Sidecar(_) => Err(Error::malformed(place, "it has too many sidecars")),
                action => self.take(place, action),
            };
            match place.path().ends_with(".json") {
                true => lines(lake, part, take)?,
                false => checkpoint::read(lake, part, &mut take)?,
            }
        }
        for sidecar in sidecars {
            self.sidecar(lake, &sidecar)?;
        }
        Ok(())
    }

    fn sidecar(&mut self, lake: &Lake, sidecar: &Sidecar) -> Result<()> {
        let directory = self.table.join(&format!("{LOG}/_sidecars"))?;
        let place = resolve(&directory, &sidecar.path)?;
        let object = lake.head(&place)?;
        let said = sidecar
            .size_in_bytes
            .and_then(|size| u64::try_from(size).ok());
        if said.is_some_and(|said| said != object.size) {
            let reason = format!("it has {} bytes, and not what the log says", object.size);
            return Err(Error::malformed(&place, reason));
        }
        checkpoint::read(lake, &object, &mut |action| self.take(&place, action))?;
        self.sidecars.push(TableFile {
            location: place,
            kind: FileKind::Checkpoint,
            size: Some(object.size),
            rows: None,
            deleted_rows: 0,
            optional: false,
            object: Some(object),
            content: None,
        });
        Ok(())
    }

    fn take(&mut self, from: &Location, action: Action) -> Result<()> {
        match action {
            Action::Add(add) => {
                let vector = add.deletion_vector.as_ref();
                let vector = vector.map(action::Vector::id);
                if self.decide(from, &add.path, vector.as_deref())? {
                    self.add(from, add)?;
                }
            }
            Action::Remove(remove) => {
                let vector = remove.deletion_vector.as_ref();
                let vector = vector.map(action::Vector::id);
                self.decide(from, &remove.path, vector.as_deref())?;
            }
            Action::Change(change) if self.change_data => {
                self.push(
                    from,
                    TableFile {
                        location: resolve(self.table, &change.path)?,
                        kind: FileKind::Changes,
                        size: change.size.and_then(|size| u64::try_from(size).ok()),
                        rows: None,
                        deleted_rows: 0,
                        // Only change feeds need it, and vacuum removes it in its own time.
                        optional: true,
                        object: None,
                        content: None,
                    },
                )?;
            }
            Action::Metadata(metadata) => {
                self.metadata.get_or_insert(metadata);
            }
            Action::Protocol(protocol) => {
                self.protocol.get_or_insert(protocol);
            }
            Action::Change(_) | Action::CommitInfo(_) => {}
            Action::Sidecar(_) => {
                return Err(Error::malformed(
                    from,
                    "it has a sidecar where there is none",
                ));
            }
        }
        Ok(())
    }

    /// Whether nothing newer was said of a file, which it is from now on.
    fn decide(&mut self, from: &Location, path: &str, vector: Option<&str>) -> Result<bool> {
        if self.decided.len() >= FILES_MAX {
            return Err(Error::malformed(from, "the table has too many files"));
        }
        // A path has no NUL, as no store takes it.
        Ok(self.decided.insert(match vector {
            None => path.to_owned(),
            Some(vector) => format!("{path}\0{vector}"),
        }))
    }

    fn add(&mut self, from: &Location, add: Add) -> Result<()> {
        let mut deleted_rows = 0;
        if let Some(vector) = &add.deletion_vector {
            let cardinality = vector.cardinality.unwrap_or(0);
            deleted_rows = u64::try_from(cardinality).unwrap_or(0);
            if let Some(location) = vector_file(self.table, vector)? {
                self.push(
                    from,
                    TableFile {
                        location,
                        kind: FileKind::Deletes,
                        // What the log says is the length of one of its vectors.
                        size: None,
                        rows: None,
                        deleted_rows: 0,
                        optional: false,
                        object: None,
                        content: None,
                    },
                )?;
            }
        }
        self.push(
            from,
            TableFile {
                location: resolve(self.table, &add.path)?,
                kind: FileKind::Data,
                size: add.size.and_then(|size| u64::try_from(size).ok()),
                rows: add.stats.as_deref().and_then(action::rows),
                deleted_rows,
                optional: false,
                object: None,
                content: None,
            },
        )
    }

    fn push(&mut self, from: &Location, file: TableFile) -> Result<()> {
        if self.files.len() >= FILES_MAX {
            return Err(Error::malformed(from, "the table has too many files"));
        }
        self.files.push(file);
        Ok(())
    }

    pub(crate) fn finish(self, table: &str) -> Result<State> {
        let missing = |what| Error::malformed(table, format!("its log has no {what}"));
        Ok(State {
            protocol: self.protocol.ok_or_else(|| missing("protocol"))?,
            metadata: self.metadata.ok_or_else(|| missing("metadata"))?,
            files: self.files,
            sidecars: self.sidecars,
        })
    }
}

/// Reads the actions of a file, a line each.
fn lines(
    lake: &Lake,
    object: &ObjectInfo,
    mut take: impl FnMut(Action) -> Result<()>,
) -> Result<()> {
    let place = &object.location;
    if object.size > CHECKPOINT_MAX {
        return Err(Error::malformed(place, "it is too large"));
    }
    let mut reader = lake.reader(place, object.size);
    let (mut line, mut number) = (Vec::new(), 0_u64);
    let mut decode = |line: &[u8]| {
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let action = action::decode(line).map_err(|error| {
            Error::undecodable(place, format!("line {number} is no action"), error)
        })?;
        action.map_or(Ok(()), &mut take)
    };
    loop {
        let part = reader.next_part()?;
        if part.is_empty() {
            return decode(&line);
        }
        let mut rest = part.as_ref();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = rest.split_at(end);
            line.extend_from_slice(head);
            decode(&line)?;
            line.clear();
            rest = tail.get(1..).unwrap_or_default();
        }
        line.extend_from_slice(rest);
        if line.len() > ACTION_MAX {
            return Err(Error::malformed(place, "it has a line that is too long"));
        }
    }
}
