//! Folds a log into the live files of its newest version: newest commit first, the checkpoint last.
//!
//! What a newer action says of a file hides what older ones say, so each file is decided by the first
//! action met. Files that were added and are not live are history: older versions need them.

use std::collections::HashSet;

use bytes::Bytes;

use super::DeltaOptions;
use super::action::{self, Action, Add, Metadata, Protocol, Sidecar};
use super::checkpoint::{self, Wanted};
use super::log::{Checkpoint, LOG, Older};
use super::path::{resolve, vector_file};
use crate::error::{Error, Result};
use crate::lake::{Lake, LakeReader, ObjectInfo};
use crate::limits::{
    ACTION_MAX, BATCH_COMMITS, CHECKPOINT_MAX, FILES_MAX, SIDECARS_MAX, SMALL_OBJECT,
};
use crate::location::Location;
use crate::table::{FileKind, TableFile};

/// What an earlier look at the table knows, so that nothing old is read again.
pub(crate) struct Known<'k> {
    /// The table's own identity.
    pub(crate) id: Option<&'k str>,
    /// Whether a file of the log was read then.
    pub(crate) has: &'k dyn Fn(&ObjectInfo) -> bool,
    /// All files that the log referred to then, none of which must be there any more.
    pub(crate) files: Vec<TableFile>,
}

/// What a log amounts to.
pub(crate) struct State {
    pub(crate) protocol: Protocol,
    pub(crate) metadata: Metadata,
    /// Live files first.
    pub(crate) files: Vec<TableFile>,
    pub(crate) sidecars: Vec<TableFile>,
}

/// A fold in progress.
pub(crate) struct Replay<'t> {
    lake: &'t Lake,
    table: &'t Location,
    options: DeltaOptions,
    decided: HashSet<String>,
    /// All live files were met; what comes is of older versions.
    summed_up: bool,
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    files: Vec<TableFile>,
    history: Vec<TableFile>,
    sidecars: Vec<TableFile>,
}

impl<'t> Replay<'t> {
    pub(crate) fn new(lake: &'t Lake, table: &'t Location, options: DeltaOptions) -> Self {
        Self {
            lake,
            table,
            options,
            decided: HashSet::new(),
            summed_up: false,
            protocol: None,
            metadata: None,
            files: Vec::new(),
            history: Vec::new(),
            sidecars: Vec::new(),
        }
    }

    /// Takes commits, newest first. Small ones are asked for many at a time.
    pub(crate) fn commits(&mut self, commits: &[&ObjectInfo]) -> Result<()> {
        let lake = self.lake;
        for batch in commits.rchunks(BATCH_COMMITS) {
            let small = |commit: &ObjectInfo| commit.size <= SMALL_OBJECT;
            let asked = batch.iter().filter(|commit| small(commit));
            let asked: Vec<_> = asked.map(|commit| commit.location.clone()).collect();
            let mut read = lake.read_many(&asked, SMALL_OBJECT);
            for commit in batch.iter().rev() {
                let place = &commit.location;
                let bytes = if small(commit) { read.pop() } else { None };
                let take = |action| self.take(place, action);
                match bytes {
                    Some(bytes) => lines(place, &mut Parts::Held(bytes?), take)?,
                    None => far_lines(lake, commit, take)?,
                }
            }
        }
        Ok(())
    }

    /// Takes the checkpoint that everything before is summed up in, and its sidecars.
    pub(crate) fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let lake = self.lake;
        for sidecar in self.parts(checkpoint, Wanted::All)? {
            let file = self.sidecar(&sidecar, false)?;
            if let Some(object) = &file.object {
                let place = &object.location;
                let mut take = |action| self.take(place, action);
                checkpoint::read(lake, object, Wanted::All, &mut take)?;
            }
            self.sidecars.push(file);
        }
        Ok(())
    }

    /// Takes what older versions need besides: files of older commits, and of the oldest checkpoint
    /// where commits do not reach back to the first one. What is gone, no reader has any more.
    pub(crate) fn older(&mut self, older: &Older, known: Option<Known<'_>>) -> Result<()> {
        self.summed_up = true;
        let id = self.metadata.as_ref().map(|metadata| metadata.id.as_str());
        let known = known.filter(|known| known.id == id);
        let has = |object: &ObjectInfo| known.as_ref().is_some_and(|known| (known.has)(object));
        let commits: Vec<_> = older.commits.iter().filter(|commit| !has(commit)).collect();
        self.commits(&commits)?;
        let protocol = self.protocol.iter();
        let mut features = protocol.flat_map(|protocol| &protocol.reader_features);
        let sidecars = features.any(|feature| feature == "v2Checkpoint");
        for (number, checkpoint) in older.checkpoints.iter().enumerate() {
            let first = number == 0 && !older.whole;
            if (first || sidecars) && !checkpoint.parts.iter().all(has) {
                self.older_checkpoint(checkpoint, first)?;
            }
        }
        for file in known.into_iter().flat_map(|known| known.files) {
            match file.kind {
                FileKind::Checkpoint => self.sidecars.push(file),
                _ => self.history.push(file),
            }
        }
        Ok(())
    }

    /// Takes the sidecars of a checkpoint, and its files when no commit tells of them.
    fn older_checkpoint(&mut self, checkpoint: &Checkpoint, files: bool) -> Result<()> {
        let lake = self.lake;
        let wanted = if files { Wanted::All } else { Wanted::Sidecars };
        for sidecar in self.parts(checkpoint, wanted)? {
            let file = match self.sidecar(&sidecar, true) {
                Err(Error::NotFound { .. }) => continue,
                file => file?,
            };
            if let (true, Some(object)) = (files, &file.object) {
                let place = &object.location;
                let mut take = |action| self.take(place, action);
                checkpoint::read(lake, object, Wanted::All, &mut take)?;
            }
            self.sidecars.push(file);
        }
        Ok(())
    }

    /// Takes the actions of a checkpoint's own files, and gives its sidecars.
    fn parts(&mut self, checkpoint: &Checkpoint, wanted: Wanted) -> Result<Vec<Sidecar>> {
        let lake = self.lake;
        let mut sidecars = Vec::new();
        for part in &checkpoint.parts {
            let place = &part.location;
            let mut take = |action| match action {
                Action::Sidecar(sidecar) if sidecars.len() < SIDECARS_MAX => {
                    sidecars.push(sidecar);
                    Ok(())
                }
                Action::Sidecar(_) => Err(Error::malformed(place, "it has too many sidecars")),
                _ if wanted == Wanted::Sidecars => Ok(()),
                action => self.take(place, action),
            };
            match place.path().ends_with(".json") {
                true => far_lines(lake, part, take)?,
                false => checkpoint::read(lake, part, wanted, &mut take)?,
            }
        }
        Ok(sidecars)
    }

    fn sidecar(&self, sidecar: &Sidecar, optional: bool) -> Result<TableFile> {
        let directory = self.table.join(&format!("{LOG}/_sidecars"))?;
        let place = resolve(&directory, &sidecar.path)?;
        let object = self.lake.head(&place)?;
        let said = sidecar
            .size_in_bytes
            .and_then(|size| u64::try_from(size).ok());
        if said.is_some_and(|said| said != object.size) {
            let reason = format!("it has {} bytes, and not what the log says", object.size);
            return Err(Error::malformed(&place, reason));
        }
        Ok(TableFile {
            location: place,
            kind: FileKind::Checkpoint,
            size: Some(object.size),
            rows: None,
            deleted_rows: 0,
            optional,
            object: Some(object),
            content: None,
        })
    }

    fn take(&mut self, from: &Location, action: Action) -> Result<()> {
        match action {
            Action::Add(add) => {
                let vector = add.deletion_vector.as_ref();
                let vector = vector.map(action::Vector::id);
                let first = self.decide(from, &add.path, vector.as_deref())?;
                let live = first && !self.summed_up;
                if live || self.options.history {
                    self.add(from, add, live)?;
                }
            }
            Action::Remove(remove) => {
                let vector = remove.deletion_vector.as_ref();
                let vector = vector.map(action::Vector::id);
                self.decide(from, &remove.path, vector.as_deref())?;
            }
            Action::Change(change) if self.options.change_data => {
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

    fn add(&mut self, from: &Location, add: Add, live: bool) -> Result<()> {
        let mut deleted_rows = 0;
        let kind = |kind| if live { kind } else { FileKind::History };
        if let Some(vector) = &add.deletion_vector {
            let cardinality = vector.cardinality.unwrap_or(0);
            deleted_rows = u64::try_from(cardinality).unwrap_or(0);
            if let Some(location) = vector_file(self.table, vector)? {
                let file = TableFile {
                    location,
                    kind: kind(FileKind::Deletes),
                    // What the log says is the length of one of its vectors.
                    size: None,
                    rows: None,
                    deleted_rows: 0,
                    optional: !live,
                    object: None,
                    content: None,
                };
                self.push(from, file)?;
            }
        }
        let file = TableFile {
            location: resolve(self.table, &add.path)?,
            kind: kind(FileKind::Data),
            size: add.size.and_then(|size| u64::try_from(size).ok()),
            rows: add.stats.as_deref().and_then(action::rows),
            deleted_rows,
            optional: !live,
            object: None,
            content: None,
        };
        self.push(from, file)
    }

    fn push(&mut self, from: &Location, file: TableFile) -> Result<()> {
        if self.files.len() + self.history.len() >= FILES_MAX {
            return Err(Error::malformed(from, "the table has too many files"));
        }
        match file.kind {
            FileKind::History => self.history.push(file),
            _ => self.files.push(file),
        }
        Ok(())
    }

    pub(crate) fn finish(mut self, table: &str) -> Result<State> {
        // A file that is live, too, is met as that first.
        self.files.append(&mut self.history);
        let missing = |what| Error::malformed(table, format!("its log has no {what}"));
        Ok(State {
            protocol: self.protocol.ok_or_else(|| missing("protocol"))?,
            metadata: self.metadata.ok_or_else(|| missing("metadata"))?,
            files: self.files,
            sidecars: self.sidecars,
        })
    }
}

/// A file of lines, part by part.
enum Parts {
    Held(Bytes),
    Far(LakeReader),
}

impl Parts {
    /// The next bytes; none at the end.
    fn next(&mut self) -> Result<Bytes> {
        match self {
            Self::Held(bytes) => Ok(std::mem::take(bytes)),
            Self::Far(reader) => reader.next_part(),
        }
    }
}

/// Reads the actions of an object part by part.
fn far_lines(
    lake: &Lake,
    object: &ObjectInfo,
    take: impl FnMut(Action) -> Result<()>,
) -> Result<()> {
    let place = &object.location;
    if object.size > CHECKPOINT_MAX {
        return Err(Error::malformed(place, "it is too large"));
    }
    lines(
        place,
        &mut Parts::Far(lake.reader(place, object.size)),
        take,
    )
}

/// Reads the actions of a file, a line each.
fn lines(
    place: &Location,
    parts: &mut Parts,
    mut take: impl FnMut(Action) -> Result<()>,
) -> Result<()> {
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
        let part = parts.next()?;
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
