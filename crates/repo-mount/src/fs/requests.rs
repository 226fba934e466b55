//! Requests of the kernel and their answers.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use fuser::{
    Errno, FileAttr, FileHandle, Filesystem, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use super::attr;
use super::inodes::LeafOf;
use super::{Found, Fs, Node, failed, lock};
use crate::limits::{BACKGROUND, CONTENT_TTL, LIST_TTL, NAME_MAX};

const GENERATION: Generation = Generation(0);

/// One row of a listing, for who takes rows until its buffer is full.
struct Row<'a> {
    name: &'a [u8],
    /// Where a listing goes on behind it.
    next: u64,
    attr: FileAttr,
    ttl: Duration,
}

trait Rows {
    /// Whether the kernel holds the numbers it is given here.
    const HELD: bool;
    /// Takes a row; false when it did not fit.
    fn take(&mut self, row: &Row<'_>) -> bool;
}

impl Rows for ReplyDirectory {
    const HELD: bool = false;
    fn take(&mut self, row: &Row<'_>) -> bool {
        let name = OsStr::from_bytes(row.name);
        !self.add(row.attr.ino, row.next, row.attr.kind, name)
    }
}

impl Rows for ReplyDirectoryPlus {
    const HELD: bool = true;
    fn take(&mut self, row: &Row<'_>) -> bool {
        let name = OsStr::from_bytes(row.name);
        !self.add(
            row.attr.ino,
            row.next,
            name,
            &row.ttl,
            &row.attr,
            GENERATION,
        )
    }
}

impl Fs {
    fn rows<R: Rows>(&self, ino: u64, from: u64, rows: &mut R) -> Result<(), Errno> {
        // `.` and `..`, whose numbers the kernel does not look at.
        for (at, name) in [&b"."[..], b".."].into_iter().enumerate() {
            let next = at as u64 + 1;
            if from < next {
                let (attr, _) = self.attr(ino)?;
                let ttl = LIST_TTL;
                if !rows.take(&Row {
                    name,
                    next,
                    attr,
                    ttl,
                }) {
                    return Ok(());
                }
            }
        }
        match self.node(ino)? {
            Node::Entry(found) => self.entries(ino, &found, from.saturating_sub(2), rows),
            Node::List => {
                self.names(ino, from, rows);
                Ok(())
            }
            Node::Link(_) => Err(Errno::ENOTDIR),
        }
    }

    /// Names in a list. Where a listing goes on is a place in the list as it was when it began.
    fn names<R: Rows>(&self, ino: u64, from: u64, rows: &mut R) {
        const PLACE_BITS: u32 = 32;
        let (layout, skip) = match from >> PLACE_BITS {
            0 => (self.current_layout(), 0),
            mark => (self.marked_layout(mark), from & ((1 << PLACE_BITS) - 1)),
        };
        let Some(list) = layout.get(ino) else { return };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        for (at, (name, (ino, item))) in list.names.iter().enumerate().skip(skip) {
            let Some(attr) = self.item(&layout, *ino, item) else {
                continue;
            };
            let row = Row {
                name,
                next: layout.mark() << PLACE_BITS | (at as u64 + 1),
                attr,
                ttl: LIST_TTL,
            };
            if !rows.take(&row) {
                return;
            }
        }
    }

    /// Entries of a directory from number `from` on, leaf by leaf.
    fn entries<R: Rows>(
        &self,
        ino: u64,
        found: &Found,
        mut from: u64,
        rows: &mut R,
    ) -> Result<(), Errno> {
        let directory = found.directory()?;
        while let Some((first, leaf)) = self.reader.leaf_at(directory, from).map_err(failed)? {
            let at = LeafOf {
                root: found.root,
                directory: ino,
                leaf: leaf.id(),
            };
            let skip = usize::try_from(from - first).unwrap_or(usize::MAX);
            let mut inodes = lock(&self.inodes);
            for (index, entry) in leaf.entries().iter().enumerate().skip(skip) {
                let ino = inodes.entry(at, index, entry, false);
                let row = Row {
                    name: &entry.name,
                    next: first + index as u64 + 3,
                    attr: attr::of_entry(ino, entry),
                    ttl: CONTENT_TTL,
                };
                if !rows.take(&row) {
                    return Ok(());
                }
                if R::HELD {
                    inodes.entry(at, index, entry, true);
                }
            }
            from = first + leaf.entries().len() as u64;
        }
        Ok(())
    }

    fn find(&self, parent: u64, name: &[u8]) -> Result<Option<(FileAttr, Duration)>, Errno> {
        match self.node(parent)? {
            Node::Entry(found) => {
                let attr = self.child(parent, &found, name)?;
                // What is not there never will be.
                Ok(Some((attr.unwrap_or_else(attr::absent), CONTENT_TTL)))
            }
            Node::List => {
                let layout = self.current_layout();
                let list = layout.get(parent).ok_or(Errno::ESTALE)?;
                let known = list.names.get(name);
                let attr = known.and_then(|(ino, item)| self.item(&layout, *ino, item));
                Ok(attr.map(|attr| (attr, LIST_TTL)))
            }
            Node::Link(_) => Err(Errno::ENOTDIR),
        }
    }

    fn target(&self, ino: u64) -> Result<Vec<u8>, Errno> {
        match self.node(ino)? {
            Node::Link(layout) => {
                let target = layout.target(ino).ok_or(Errno::ESTALE)?;
                Ok(target.as_bytes().to_vec())
            }
            Node::List => Err(Errno::EINVAL),
            Node::Entry(found) => found.entry()?.target.clone().ok_or(Errno::EINVAL),
        }
    }

    fn attribute(&self, ino: u64, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let Node::Entry(found) = self.node(ino)? else {
            return Err(Errno::NO_XATTR);
        };
        let attributes = found.entry()?.xattrs.iter().flatten();
        let mut named = attributes.filter(|attribute| attribute.name == name);
        let found = named.next().map(|attribute| attribute.value.clone());
        found.ok_or(Errno::NO_XATTR)
    }

    fn attributes(&self, ino: u64) -> Result<Vec<u8>, Errno> {
        let mut names = Vec::new();
        if let Node::Entry(found) = self.node(ino)? {
            for attribute in found.entry()?.xattrs.iter().flatten() {
                names.extend_from_slice(&attribute.name);
                names.push(0);
            }
        }
        Ok(names)
    }
}

/// Answers with `value`, or how long it is, as the caller's buffer allows.
fn answer(reply: ReplyXattr, size: u32, value: Result<Vec<u8>, Errno>) {
    match value {
        Err(error) => reply.error(error),
        Ok(value) => match u32::try_from(value.len()) {
            Ok(len) if size == 0 => reply.size(len),
            Ok(len) if len <= size => reply.data(&value),
            _ => reply.error(Errno::ERANGE),
        },
    }
}

impl Filesystem for Fs {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for wanted in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_AUTO_INVAL_DATA,
        ] {
            if config.add_capabilities(wanted).is_err() {
                tracing::debug!(?wanted, "the kernel does not offer this");
            }
        }
        if config.set_max_background(BACKGROUND).is_err() {
            tracing::debug!("the kernel keeps its own bound of requests");
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent.0, name.as_bytes()) {
            Ok(Some((attr, ttl))) => reply.entry(&ttl, &attr, GENERATION),
            Ok(None) => reply.error(Errno::ENOENT),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, times: u64) {
        lock(&self.inodes).forget(ino.0, times);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(ino.0) {
            Ok((attr, true)) => reply.attr(&CONTENT_TTL, &attr),
            Ok((attr, false)) => reply.attr(&LIST_TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.target(ino.0) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error),
        }
    }

    /// Files are not opened and closed here: the kernel takes this answer for all of them, and keeps
    /// what it has read of a file.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.file(ino.0).and_then(|file| {
            let len = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
            let bytes = file.read(offset, len).map_err(failed)?;
            Ok((file, bytes))
        });
        match read {
            Ok((file, bytes)) => {
                reply.data(&bytes);
                if file.has_jumped() {
                    self.spill.around(ino, file, offset);
                }
            }
            Err(error) => reply.error(error),
        }
    }

    /// Nor are directories. The kernel keeps their listings until their time changes, which that of
    /// a list of snapshots does.
    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.rows(ino.0, offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        match self.rows(ino.0, offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        const BLOCK: u32 = 4096;
        let names = u32::try_from(NAME_MAX).unwrap_or(u32::MAX);
        reply.statfs(0, 0, 0, 0, 0, BLOCK, names, BLOCK);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        answer(reply, size, self.attribute(ino.0, name.as_bytes()));
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        answer(reply, size, self.attributes(ino.0));
    }
}
