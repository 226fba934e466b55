//! The planner: walks the snapshot's tree in order, makes directories and everything small, and
//! hands files out in windows while earlier windows are at work.

use std::sync::Arc;

use repo_format::tree::{Entry, EntryType};
use repo_format::{BlobId, Content};
use rustix::fs::{FileType, OFlags};

use crate::archive::restore::PlanAction;
use crate::archive::restore::dir::{self, Dir, Origin};
use crate::archive::restore::existing;
use crate::archive::restore::file::FileWork;
use crate::archive::restore::job::{Handle, Job, Mode, chain};
use crate::archive::restore::limits::{DEPTH_OPEN, SLICE, SMALL};
use crate::archive::restore::meta::Attributes;
use crate::archive::restore::remove;
use crate::archive::restore::special::{self, Linked, Links};
use crate::archive::restore::window::{Look, Window};
use crate::archive::tree::Entries;

/// Walks and hands out windows.
pub(super) struct Planner<'a, F: FnMut(Window)> {
    job: &'a Arc<Job>,
    root: Option<Handle>,
    send: F,
    window: Window,
    links: Links,
}

/// What is to be done with a file that was prepared by the planner.
enum Prepared {
    /// Nothing.
    Settled,
    /// Its parts are compared, and written where they differ.
    Compare,
    /// All its parts are written.
    Write,
}

impl<'a, F: FnMut(Window)> Planner<'a, F> {
    pub(super) fn new(job: &'a Arc<Job>, root: Option<Handle>, send: F) -> Self {
        Self {
            job,
            root,
            send,
            window: Window::first(),
            links: Links::default(),
        }
    }

    /// Plans all below the directory `subtree`, which becomes the content of `root`.
    pub(super) fn directory(&mut self, root: Arc<Dir>, subtree: Option<BlobId>) {
        let mut stack = Vec::new();
        self.open(&mut stack, root, subtree);
        while let Some((dir, entries)) = stack.last_mut() {
            if self.job.stopped() {
                break;
            }
            let mut next = entries.next();
            if let Some(Ok(entry)) = &mut next
                && self.passes_over(dir, entry)
            {
                continue;
            }
            match next {
                None => {
                    if self.job.crowded() {
                        dir.release();
                    }
                    stack.pop();
                }
                Some(Err(error)) => {
                    let why = format!("the rest of it cannot be read: {}", chain(&error));
                    self.job.damage(dir, b"", why);
                    stack.pop();
                }
                Some(Ok(mut entry)) if entry.kind == EntryType::Directory => {
                    let read = entry.inode.is_some();
                    let attributes = read.then(|| Attributes::take(&mut entry));
                    let parent = Arc::clone(dir);
                    if let Some(dir) = parent.enter(&entry.name, attributes) {
                        if parent.depth >= DEPTH_OPEN {
                            parent.release();
                        }
                        self.open(&mut stack, dir, entry.subtree);
                        self.send_full();
                    }
                }
                Some(Ok(entry)) => {
                    let dir = Arc::clone(dir);
                    self.entry(&dir, entry);
                }
            }
        }
        self.flush();
    }

    /// Whether the caller wants an entry left out; else it is as the caller wants it.
    fn passes_over(&self, dir: &Dir, entry: &mut Entry) -> bool {
        let adapt = self.job.adapt.as_ref();
        adapt.is_some_and(|adapt| !adapt(&dir.path_of(&entry.name), entry))
    }

    fn open(&self, stack: &mut Vec<(Arc<Dir>, Entries)>, dir: Arc<Dir>, subtree: Option<BlobId>) {
        if self.job.delete && dir.existing() {
            remove::extra(self.job, &self.job.trees, &dir, subtree);
        }
        stack.push((dir, self.job.trees.entries(subtree)));
    }

    /// Plans one entry that is not a directory.
    pub(super) fn entry(&mut self, dir: &Arc<Dir>, entry: Entry) {
        let linked = match entry.link {
            Some(key) => {
                let at = (&entry.name[..], key);
                self.links.place(self.job, self.root.as_ref(), dir, at)
            }
            None => Linked::Alone,
        };
        match (linked, entry.kind) {
            (Linked::Done, _) => self.job.count_file(),
            (_, EntryType::Directory) => {}
            (linked, EntryType::File) => {
                self.file(dir, entry, matches!(linked, Linked::First));
                self.send_full();
            }
            _ => special::place(self.job, dir, entry),
        }
    }

    /// Hands out the last window.
    pub(super) fn flush(&mut self) {
        if !self.window.is_empty() {
            let next = self.window.next();
            (self.send)(std::mem::replace(&mut self.window, next));
        }
    }

    fn send_full(&mut self) {
        if self.window.is_full() {
            self.flush();
        }
    }

    fn file(&mut self, dir: &Arc<Dir>, mut entry: Entry, first_link: bool) {
        let content = entry.content.take();
        if content.as_ref().map_or(0, Content::len) != entry.size {
            self.job
                .damage(dir, &entry.name, "its content and its size disagree");
        }
        let flat = content.as_ref().is_none_or(|content| content.level == 0);
        if flat && entry.size <= SMALL && !first_link {
            return self.small(dir, entry, content);
        }
        let file = FileWork::new(dir, &mut entry, false);
        let prepared = self.prepare(&file, &entry, content.as_ref(), first_link);
        let look = match prepared {
            Prepared::Settled => return,
            Prepared::Compare => Look::Slice,
            Prepared::Write => Look::Fresh,
        };
        self.window.count_handle();
        self.large(&Arc::new(file), content.as_ref(), look);
    }

    /// A file of a few parts: everything else is left to the pool.
    fn small(&mut self, dir: &Arc<Dir>, mut entry: Entry, content: Option<Content>) {
        let fresh = dir.origin != Origin::Existing;
        if fresh && self.job.mode == Mode::Plan {
            self.job.plan(PlanAction::Create, dir, &entry.name);
            return self.job.count_file();
        }
        let file = Arc::new(FileWork::new(dir, &mut entry, fresh));
        let start = self.window.parts.len();
        self.window.push_file(&file);
        let mut offset = 0;
        for extent in content.iter().flat_map(|content| &content.extents) {
            self.window.push_part(offset, extent);
            offset += extent.len;
        }
        file.expect(self.window.parts.len() - start);
        let look = if fresh { Look::Fresh } else { Look::Small };
        self.window.close_unit(start, look);
    }

    /// A file of many parts, in as many windows as it takes.
    fn large(&mut self, file: &Arc<FileWork>, content: Option<&Content>, look: Look) {
        let job = Arc::clone(self.job);
        // Held while more is planned, so that the file is not complete before its end.
        file.expect(1);
        self.window.push_file(file);
        let mut start = self.window.parts.len();
        let mut bytes = 0;
        for extent in content
            .into_iter()
            .flat_map(|content| job.trees.extents(content, 0))
        {
            let (offset, extent) = match extent {
                Ok(extent) => extent,
                Err(error) => {
                    let why = format!("the rest of it is left as zeros: {}", chain(&error));
                    job.damage(&file.dir, &file.name, why);
                    break;
                }
            };
            file.expect(1);
            self.window.push_part(offset, &extent);
            bytes += extent.id.map_or(0, |_| extent.len);
            let full = self.window.is_full();
            if bytes >= SLICE || full {
                self.window.close_unit(start, look);
                bytes = 0;
                if full {
                    self.flush();
                    self.window.push_file(file);
                    self.window.count_handle();
                    if job.stopped() {
                        return;
                    }
                }
                start = self.window.parts.len();
            }
        }
        if self.window.parts.len() > start {
            self.window.close_unit(start, look);
        }
        file.done(&job, 1);
    }

    /// Opens or creates a file whose parts are spread over the pool, or that is the first of
    /// several links.
    fn prepare(
        &mut self,
        file: &FileWork,
        entry: &Entry,
        content: Option<&Content>,
        first_link: bool,
    ) -> Prepared {
        let done = match self.job.mode {
            Mode::Write => self.prepare_write(file, entry, content, first_link),
            Mode::Plan | Mode::Verify => self.prepare_read(file, first_link),
        };
        done.unwrap_or_else(|error| {
            self.job.trouble(&file.dir, &file.name, "create", error);
            Prepared::Settled
        })
    }

    fn prepare_write(
        &mut self,
        file: &FileWork,
        entry: &Entry,
        content: Option<&Content>,
        first_link: bool,
    ) -> rustix::io::Result<Prepared> {
        let job = self.job;
        let found = match file.dir.existing() {
            true => dir::stat(&file.dir.handle()?, &file.name)?,
            false => None,
        };
        if let Some(stat) = found {
            let regular = dir::is(&stat, FileType::RegularFile);
            let shared = stat.st_nlink > 1;
            if regular && file.untouched(&stat, first_link) && (!shared || self.links.claim(&stat))
            {
                job.count_kept(entry.size);
                job.count_file();
                return Ok(Prepared::Settled);
            }
            if regular
                && !shared
                && let Ok(fd) = file.open_existing(OFlags::RDWR)
            {
                file.keep_open(Arc::new(fd.into()));
                return Ok(Prepared::Compare);
            }
            // Not to be written in place: another name may show it, or it is read-only.
            if regular
                && (!shared || (first_link && self.links.claim(&stat)))
                && let Ok(opened) = existing::open(job, file)
                && existing::is_same(job, &opened, (entry, content), (file, &stat)).unwrap_or(false)
            {
                job.count_kept(entry.size);
                job.count_file();
                return Ok(Prepared::Settled);
            }
            remove::one(job, &file.dir, &file.name)?;
        }
        file.keep_open(Arc::new(file.create(job)?));
        Ok(Prepared::Write)
    }

    fn prepare_read(&self, file: &FileWork, first_link: bool) -> rustix::io::Result<Prepared> {
        let job = self.job;
        let found = match file.dir.existing() {
            true => dir::stat(&file.dir.handle()?, &file.name)?,
            false => None,
        };
        let regular = found
            .as_ref()
            .is_some_and(|stat| dir::is(stat, FileType::RegularFile));
        let shared = found.as_ref().is_some_and(|stat| stat.st_nlink > 1) && !first_link;
        if job.mode == Mode::Verify {
            if regular {
                file.keep_open(Arc::new(existing::open(job, file)?));
                return Ok(Prepared::Compare);
            }
            job.damage(&file.dir, &file.name, "is not what the snapshot has");
        } else if regular && !shared {
            if let Ok(opened) = existing::open(job, file) {
                file.keep_open(Arc::new(opened));
                return Ok(Prepared::Compare);
            }
            job.plan(PlanAction::Update, &file.dir, &file.name);
        } else {
            job.plan(PlanAction::of(found.is_some()), &file.dir, &file.name);
        }
        job.count_file();
        Ok(Prepared::Settled)
    }
}
