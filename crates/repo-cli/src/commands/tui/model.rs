//! What is on the screen, and what keys do to it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ratatui::crossterm::event::{KeyCode, KeyEvent};
use repo_core::{Entry, EntryType, Error, SnapshotRef, SnapshotView};

use super::job::{Job, Part};
use super::keys::{self, Action, Keys, Move};
use super::load::{Loader, Version};
use crate::exit::Failure;

/// A place in a list, and the first row that is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) at: usize,
    pub(super) top: usize,
}

impl Cursor {
    /// Moves in a list of so many rows.
    fn go(&mut self, to: Move, rows: usize, page: usize) {
        let last = rows.saturating_sub(1);
        self.at = match to {
            Move::Up => self.at.saturating_sub(1),
            Move::Down => self.at + 1,
            Move::PageUp => self.at.saturating_sub(page),
            Move::PageDown => self.at + page,
            Move::First => 0,
            Move::Last => last,
        }
        .min(last);
    }

    /// Shows the row at the cursor on a page of so many rows.
    pub(super) fn follow(&mut self, page: usize) {
        self.top = self.top.min(self.at);
        self.top = self.top.max((self.at + 1).saturating_sub(page));
    }
}

/// One screen. They lie upon each other; leaving one shows the one below.
pub(super) enum Screen {
    Snapshots(Cursor),
    Directory {
        path: Vec<u8>,
        entries: Vec<Entry>,
        /// There are more entries than are shown.
        more: bool,
        cursor: Cursor,
    },
    Versions {
        path: Vec<u8>,
        versions: Vec<Version>,
        cursor: Cursor,
    },
    Preview {
        title: String,
        lines: Vec<String>,
        cursor: Cursor,
    },
}

impl Screen {
    /// The keys that do something here.
    fn keys(&self) -> Keys {
        match self {
            Self::Snapshots(_) => keys::SNAPSHOTS,
            Self::Directory { .. } => keys::DIRECTORY,
            Self::Versions { .. } => keys::FILE_VERSIONS,
            Self::Preview { .. } => keys::FILE,
        }
    }
}

/// Text that is being typed, and what it is for.
pub(super) struct Prompt {
    pub(super) what: String,
    pub(super) text: String,
    view: SnapshotView,
    /// Paths, and whether each is a directory.
    paths: Vec<(Vec<u8>, bool)>,
}

/// The whole program.
pub(super) struct App {
    loader: Loader,
    pub(super) snapshots: Vec<SnapshotRef>,
    pub(super) screens: Vec<Screen>,
    /// The snapshot that is open.
    pub(super) view: Option<SnapshotView>,
    /// Selected paths of it, and whether each is a directory.
    pub(super) selected: BTreeSet<(Vec<u8>, bool)>,
    pub(super) prompt: Option<Prompt>,
    pub(super) status: String,
    /// Rows of a page; set when it is drawn.
    pub(super) page: usize,
    job: Option<Job>,
    done: bool,
}

impl App {
    pub(super) fn new(loader: Loader, snapshots: Vec<SnapshotRef>) -> Self {
        let status = match snapshots.len() {
            0 => "there is no snapshot".to_owned(),
            _ => String::new(),
        };
        Self {
            loader,
            snapshots,
            screens: vec![Screen::Snapshots(Cursor::default())],
            view: None,
            selected: BTreeSet::new(),
            prompt: None,
            status,
            page: 1,
            job: None,
            done: false,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Stops what still runs.
    pub(super) fn stop(&mut self) {
        if let Some(job) = self.job.take() {
            job.cancel();
            job.outcome(&self.loader);
        }
    }

    /// Says how far a restore is, or what it did.
    pub(super) fn look_after_job(&mut self) {
        match self.job.take() {
            Some(job) if job.is_finished() => self.status = job.outcome(&self.loader),
            Some(job) => {
                self.status = job.state();
                self.job = Some(job);
            }
            None => {}
        }
    }

    /// The keys that do something now, in words.
    pub(super) fn shown_keys(&self) -> Vec<String> {
        match self.prompt {
            Some(_) => keys::PROMPT.iter().map(|text| (*text).to_owned()).collect(),
            None => keys::shown(self.keys()),
        }
    }

    fn keys(&self) -> Keys {
        match (&self.job, self.screens.last()) {
            (None, Some(screen)) => screen.keys(),
            _ => keys::BUSY,
        }
    }

    pub(super) fn press(&mut self, key: KeyEvent) {
        if keys::ends(key) {
            self.done = true;
            return;
        }
        if self.prompt.is_some() {
            self.type_in(key.code);
            return;
        }
        let Some(action) = keys::action(self.keys(), key.code) else {
            return;
        };
        if !matches!(action, Action::Move(_)) {
            self.status.clear();
        }
        if let Err(error) = self.act(action) {
            self.status = Failure::from(error).message;
        }
    }

    fn go(&mut self, to: Move) {
        let (snapshots, page) = (self.snapshots.len(), self.page);
        match self.screens.last_mut() {
            Some(Screen::Snapshots(cursor)) => cursor.go(to, snapshots, page),
            Some(Screen::Directory {
                entries, cursor, ..
            }) => cursor.go(to, entries.len(), page),
            Some(Screen::Versions {
                versions, cursor, ..
            }) => cursor.go(to, versions.len(), page),
            Some(Screen::Preview { lines, cursor, .. }) => cursor.go(to, lines.len(), page),
            None => {}
        }
    }

    fn act(&mut self, action: Action) -> Result<(), Error> {
        match action {
            Action::Move(to) => self.go(to),
            Action::Open => self.open()?,
            Action::Back => self.back(),
            Action::Select => self.select(),
            Action::Versions => self.show_versions()?,
            Action::Restore => self.ask_target(),
            Action::Stop => {
                if let Some(job) = &self.job {
                    job.cancel();
                }
            }
            Action::Quit => self.done = true,
        }
        Ok(())
    }

    /// The entry at the cursor of a directory: its path, and it.
    fn entry(&self) -> Option<(Vec<u8>, &Entry)> {
        let Some(Screen::Directory {
            path,
            entries,
            cursor,
            ..
        }) = self.screens.last()
        else {
            return None;
        };
        let entry = entries.get(cursor.at)?;
        Some((join(path, &entry.name), entry))
    }

    fn open(&mut self) -> Result<(), Error> {
        let next = match self.screens.last() {
            Some(Screen::Snapshots(cursor)) => {
                let Some(known) = self.snapshots.get(cursor.at) else {
                    return Ok(());
                };
                let view = self.loader.view(known)?;
                let next = self.directory(&view, Vec::new())?;
                self.view = Some(view);
                self.selected.clear();
                next
            }
            Some(Screen::Directory { .. }) => {
                let (Some(view), Some((path, entry))) = (&self.view, self.entry()) else {
                    return Ok(());
                };
                match entry.kind {
                    EntryType::Directory => self.directory(view, path)?,
                    _ => self.preview(view, &path)?,
                }
            }
            Some(Screen::Versions {
                path,
                versions,
                cursor,
            }) => match versions.get(cursor.at) {
                Some(version) => self.preview(&version.view, path)?,
                None => return Ok(()),
            },
            Some(Screen::Preview { .. }) | None => return Ok(()),
        };
        self.screens.push(next);
        Ok(())
    }

    fn directory(&self, view: &SnapshotView, path: Vec<u8>) -> Result<Screen, Error> {
        let (entries, more) = self.loader.directory(view, &path)?;
        Ok(Screen::Directory {
            path,
            entries,
            more,
            cursor: Cursor::default(),
        })
    }

    fn preview(&self, view: &SnapshotView, path: &[u8]) -> Result<Screen, Error> {
        let id = crate::show::short(&view.id());
        Ok(Screen::Preview {
            title: format!("{id}:{}", crate::show::path(path)),
            lines: self.loader.preview(view, path)?,
            cursor: Cursor::default(),
        })
    }

    fn back(&mut self) {
        if self.screens.len() > 1 {
            self.screens.pop();
        }
    }

    fn select(&mut self) {
        let Some((path, entry)) = self.entry() else {
            return;
        };
        let selected = (path, entry.kind == EntryType::Directory);
        if !self.selected.remove(&selected) {
            self.selected.insert(selected);
        }
        self.go(Move::Down);
    }

    fn show_versions(&mut self) -> Result<(), Error> {
        let (Some(view), Some((path, _))) = (&self.view, self.entry()) else {
            return Ok(());
        };
        let versions = self.loader.versions(view, &path)?;
        self.screens.push(Screen::Versions {
            path,
            versions,
            cursor: Cursor::default(),
        });
        Ok(())
    }

    /// Asks where what is selected, or at the cursor, is to go.
    fn ask_target(&mut self) {
        let chosen = match self.screens.last() {
            Some(Screen::Directory { .. }) if self.selected.is_empty() => self
                .entry()
                .zip(self.view.clone())
                .map(|((path, entry), view)| {
                    (view, vec![(path, entry.kind == EntryType::Directory)])
                }),
            Some(Screen::Directory { .. }) => {
                let paths = self.selected.iter().cloned().collect();
                self.view.clone().map(|view| (view, paths))
            }
            Some(Screen::Versions {
                path,
                versions,
                cursor,
            }) => versions.get(cursor.at).map(|version| {
                let directory = version.entry.kind == EntryType::Directory;
                (version.view.clone(), vec![(path.clone(), directory)])
            }),
            _ => None,
        };
        let Some((view, paths)) = chosen else { return };
        let what = crate::show::count(paths.len() as u64, "path");
        let id = crate::show::short(&view.id());
        self.prompt = Some(Prompt {
            what: format!("restore {what} of {id} into directory: "),
            text: String::new(),
            view,
            paths,
        });
    }

    fn type_in(&mut self, key: KeyCode) {
        let Some(prompt) = &mut self.prompt else {
            return;
        };
        match key {
            KeyCode::Char(c) => prompt.text.push(c),
            KeyCode::Backspace => {
                prompt.text.pop();
            }
            KeyCode::Esc => self.prompt = None,
            KeyCode::Enter if !prompt.text.is_empty() => {
                if let Some(prompt) = self.prompt.take() {
                    let parts = parts(&prompt.paths, Path::new(&prompt.text));
                    self.job = Some(Job::start(&self.loader, prompt.view, parts));
                    self.selected.clear();
                }
            }
            _ => {}
        }
    }
}

/// Where each path goes: below the target as in the snapshot. What lies below another one of the paths
/// goes with that.
fn parts(paths: &[(Vec<u8>, bool)], target: &Path) -> Vec<Part> {
    let below = |path: &[u8], other: &[u8]| {
        path.strip_prefix(other)
            .is_some_and(|rest| rest.starts_with(b"/"))
    };
    let covered = |path: &[u8]| paths.iter().any(|(other, _)| below(path, other));
    let chosen = paths.iter().filter(|(path, _)| !covered(path));
    chosen
        .map(|(path, directory)| {
            let place = Path::new(OsStr::from_bytes(path));
            // A directory is made equal to its target, all else goes into it under its own name.
            let inside = match directory {
                true => place,
                false => place.parent().unwrap_or(Path::new("")),
            };
            Part {
                path: path.clone(),
                target: target.join(inside),
            }
        })
        .collect()
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        [] => name.to_vec(),
        _ => [directory, b"/", name].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_stays_in_its_list_and_on_its_page() {
        let mut cursor = Cursor::default();
        for (to, at, top) in [
            (Move::Up, 0, 0),
            (Move::PageDown, 4, 1),
            (Move::Down, 5, 2),
            (Move::Last, 9, 6),
            (Move::Down, 9, 6),
            (Move::PageUp, 5, 5),
            (Move::First, 0, 0),
        ] {
            cursor.go(to, 10, 4);
            cursor.follow(4);
            assert_eq!((cursor.at, cursor.top), (at, top), "{to:?}");
        }
        cursor.go(Move::Last, 0, 4);
        assert_eq!(cursor.at, 0, "an empty list has no rows");
    }

    #[test]
    fn paths_go_where_they_are_in_the_snapshot() {
        let paths = [
            (b"a".to_vec(), true),
            (b"a/b".to_vec(), false),
            (b"ab".to_vec(), false),
            (b"d/e/f".to_vec(), false),
        ];
        let parts = parts(&paths, Path::new("/t"));
        let rows: Vec<_> = parts
            .iter()
            .map(|part| (part.path.as_slice(), part.target.to_str().expect("UTF-8")))
            .collect();
        assert_eq!(
            rows,
            [
                (b"a".as_slice(), "/t/a"),
                (b"ab", "/t/"),
                (b"d/e/f", "/t/d/e")
            ]
        );
    }
}
