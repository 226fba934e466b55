//! POSIX tar: a header of 512 bytes an entry, and before it, where that is too narrow, an extended
//! header with what does not fit.

use std::collections::HashMap;
use std::io::Write;

use repo_format::tree::{Entry, EntryType, FileKey, Timestamp};
use tar::{EntryType as Flag, Header};

use super::{Archive, content, output};
use crate::archive::tree::Trees;
use crate::error::Result;
use crate::limits::EXPORT_LINKS_MAX;

const BLOCK: usize = 512;
/// Longest name in a header, in bytes.
const NAME_MAX: usize = 100;
/// Largest length in a header: eleven octal digits.
const SIZE_MAX: u64 = 0o777_7777_7777;
/// Largest owner in a header: seven octal digits.
const OWNER_MAX: u32 = 0o777_7777;
/// Longest name of an owner in a header, in bytes.
const OWNER_NAME_MAX: usize = 31;

/// Writes a tar archive.
pub(super) struct Tar<W> {
    out: W,
    /// Where files with several links stand, and a state they must have to be one file.
    links: HashMap<FileKey, (Vec<u8>, u64, Timestamp)>,
}

impl<W: Write> Tar<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            links: HashMap::new(),
        }
    }

    /// The earlier entry that this one is a link to.
    fn linked(&mut self, path: &[u8], entry: &Entry) -> Option<Vec<u8>> {
        let key = entry.link.filter(|_| entry.kind != EntryType::Directory)?;
        match self.links.get(&key) {
            Some((first, size, mtime)) if (*size, *mtime) == (entry.size, entry.mtime) => {
                return Some(first.clone());
            }
            Some(_) => {}
            // Past the bound, links become files of their own.
            None if self.links.len() < EXPORT_LINKS_MAX => {
                let state = (path.to_vec(), entry.size, entry.mtime);
                self.links.insert(key, state);
            }
            None => {}
        }
        None
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(output)
    }

    fn pad(&mut self, len: u64) -> Result<()> {
        let over = usize::try_from(len % BLOCK as u64).unwrap_or(0);
        self.put(&[0; BLOCK][..(BLOCK - over) % BLOCK])
    }

    fn extended(&mut self, records: &[u8]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(Flag::XHeader);
        header.set_size(records.len() as u64);
        header.set_mode(0o644);
        name(&mut header, b"attributes");
        header.set_cksum();
        self.put(header.as_bytes())?;
        self.put(records)?;
        self.pad(records.len() as u64)
    }
}

impl<W: Write> Archive for Tar<W> {
    fn add(&mut self, trees: &Trees, path: &[u8], entry: &Entry) -> Result<bool> {
        let link = self.linked(path, entry);
        let mut header = Header::new_ustar();
        let mut records = Vec::new();
        header.set_entry_type(match (&link, entry.kind) {
            (Some(_), _) => Flag::Link,
            (None, EntryType::File) => Flag::Regular,
            (None, EntryType::Directory) => Flag::Directory,
            (None, EntryType::Symlink) => Flag::Symlink,
            (None, EntryType::Fifo) => Flag::Fifo,
            (None, EntryType::CharDevice) => Flag::Char,
            (None, EntryType::BlockDevice) => Flag::Block,
        });
        let mut path = path.to_vec();
        if entry.kind == EntryType::Directory {
            path.push(b'/');
        }
        name(&mut header, &path);
        if path.len() > NAME_MAX {
            record(&mut records, b"path", &path);
        }
        if let Some(target) = link.as_ref().or(entry.target.as_ref()) {
            link_name(&mut header, target);
            if target.len() > NAME_MAX {
                record(&mut records, b"linkpath", target);
            }
        }
        let is_content = link.is_none() && entry.kind == EntryType::File;
        let size = if is_content { entry.size } else { 0 };
        header.set_size(size.min(SIZE_MAX));
        if size > SIZE_MAX {
            record(&mut records, b"size", size.to_string().as_bytes());
        }
        attributes(&mut header, &mut records, entry);
        header.set_cksum();
        self.extended(&records)?;
        self.put(header.as_bytes())?;
        if is_content {
            content(trees, entry, &mut self.out)?;
            self.pad(size)?;
        }
        Ok(true)
    }

    fn finish(&mut self) -> Result<()> {
        self.put(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(output)
    }
}

/// Everything but name, type and length.
fn attributes(header: &mut Header, records: &mut Vec<u8>, entry: &Entry) {
    header.set_mode(entry.mode & 0o7777);
    header.set_uid(entry.uid.min(OWNER_MAX).into());
    header.set_gid(entry.gid.min(OWNER_MAX).into());
    for (key, id) in [(b"uid", entry.uid), (b"gid", entry.gid)] {
        if id > OWNER_MAX {
            record(records, key, id.to_string().as_bytes());
        }
    }
    let short = |name: &&String| name.len() <= OWNER_NAME_MAX;
    // A name that does not fit is left out: the number stays.
    if let Some(user) = entry.user.as_ref().filter(short) {
        header.set_username(user).ok();
    }
    if let Some(group) = entry.group.as_ref().filter(short) {
        header.set_groupname(group).ok();
    }
    let Timestamp { seconds, nanos } = entry.mtime;
    let plain = u64::try_from(seconds).ok().filter(|s| *s <= SIZE_MAX);
    header.set_mtime(plain.unwrap_or(0));
    if plain.is_none() || nanos != 0 {
        record(records, b"mtime", decimal(entry.mtime).as_bytes());
    }
    if let Some(device) = entry.device {
        header.set_device_major(rustix::fs::major(device)).ok();
        header.set_device_minor(rustix::fs::minor(device)).ok();
    }
    for xattr in entry.xattrs.iter().flatten() {
        let key = [b"SCHILY.xattr.".as_slice(), &xattr.name].concat();
        record(records, &key, &xattr.value);
    }
}

/// A time as a decimal number of seconds.
fn decimal(time: Timestamp) -> String {
    let nanos = time.nanos.min(999_999_999);
    if time.seconds >= 0 || nanos == 0 {
        return format!("{}.{nanos:09}", time.seconds);
    }
    // Seconds are rounded down: -1 s and 250 ms is -0.75 s.
    let whole = (time.seconds + 1).unsigned_abs();
    format!("-{whole}.{:09}", 1_000_000_000 - nanos)
}

/// A record of an extended header: its own length in decimal, a space, key, `=`, value, line end.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(format!("{len} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn name(header: &mut Header, path: &[u8]) {
    if let Some(ustar) = header.as_ustar_mut() {
        copy(&mut ustar.name, path);
    }
}

fn link_name(header: &mut Header, target: &[u8]) {
    if let Some(ustar) = header.as_ustar_mut() {
        copy(&mut ustar.linkname, target);
    }
}

fn copy(field: &mut [u8; NAME_MAX], bytes: &[u8]) {
    let len = bytes.len().min(NAME_MAX);
    field[..len].copy_from_slice(&bytes[..len]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        for len in [1, 90, 91, 92, 93, 94, 95, 985, 990, 995] {
            let mut records = Vec::new();
            record(&mut records, b"path", &vec![b'x'; len]);
            let text = String::from_utf8(records).expect("ASCII");
            let (count, _) = text.split_once(' ').expect("a length");
            assert_eq!(count.parse(), Ok(text.len()), "{len}");
        }
    }

    #[test]
    fn times_are_decimal_numbers() {
        let time = |seconds, nanos| decimal(Timestamp { seconds, nanos });
        assert_eq!(time(5, 1), "5.000000001");
        assert_eq!(time(-1, 250_000_000), "-0.750000000");
        assert_eq!(time(-2, 0), "-2.000000000");
        assert_eq!(time(-3, 999_999_999), "-2.000000001");
    }
}
