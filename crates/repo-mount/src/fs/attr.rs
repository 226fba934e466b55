//! Entries and lists as the attributes a file system shows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use repo_core::{Entry, EntryType, Timestamp};

const BLOCK: u64 = 512;
/// What directories are said to occupy, in bytes.
const DIRECTORY: u64 = 4096;

/// Attributes of an entry of a snapshot. A file that had several names says two: how many of them
/// are in the snapshot is not recorded.
pub(super) fn of_entry(ino: u64, entry: &Entry) -> FileAttr {
    let mtime = time(entry.mtime);
    let size = match entry.kind {
        EntryType::File => entry.size,
        EntryType::Directory => DIRECTORY,
        EntryType::Symlink => entry.target.as_ref().map_or(0, Vec::len) as u64,
        _ => 0,
    };
    let several = entry.link.is_some() && entry.kind != EntryType::Directory;
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(BLOCK),
        atime: mtime,
        mtime,
        ctime: entry.ctime.map_or(mtime, time),
        crtime: mtime,
        kind: file_type(entry.kind),
        perm: u16::try_from(entry.mode & 0o7777).unwrap_or_default(),
        nlink: if several { 2 } else { 1 },
        uid: entry.uid,
        gid: entry.gid,
        rdev: entry.device.map_or(0, device),
        blksize: 128 << 10,
        flags: 0,
    }
}

/// Attributes of a list of snapshots, or of a link in one.
pub(super) fn of_list(
    ino: u64,
    link: Option<&str>,
    time: SystemTime,
    owner: (u32, u32),
) -> FileAttr {
    let size = link.map_or(DIRECTORY, |target| target.len() as u64);
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(BLOCK),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: link.map_or(FileType::Directory, |_| FileType::Symlink),
        perm: link.map_or(0o555, |_| 0o777),
        nlink: 1,
        uid: owner.0,
        gid: owner.1,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// Says of a name that it is not there, and will not be.
pub(super) fn absent() -> FileAttr {
    of_list(0, None, UNIX_EPOCH, (0, 0))
}

pub(super) fn file_type(kind: EntryType) -> FileType {
    match kind {
        EntryType::File => FileType::RegularFile,
        EntryType::Directory => FileType::Directory,
        EntryType::Symlink => FileType::Symlink,
        EntryType::Fifo => FileType::NamedPipe,
        EntryType::CharDevice => FileType::CharDevice,
        EntryType::BlockDevice => FileType::BlockDevice,
    }
}

/// A point in time; what the system's clock cannot show is shown as its first second.
pub(super) fn time(stamp: Timestamp) -> SystemTime {
    // A number of seconds that has no opposite is none that the kernel's protocol can carry.
    if stamp.seconds == i64::MIN {
        return UNIX_EPOCH;
    }
    let seconds = Duration::from_secs(stamp.seconds.unsigned_abs());
    let whole = match stamp.seconds < 0 {
        true => UNIX_EPOCH.checked_sub(seconds),
        false => UNIX_EPOCH.checked_add(seconds),
    };
    let nanos = Duration::from_nanos(u64::from(stamp.nanos));
    let time = whole.and_then(|time| time.checked_add(nanos));
    time.unwrap_or(UNIX_EPOCH)
}

/// A device number as the kernel's protocol writes it, in 32 bits.
fn device(number: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xfff00) << 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nanoseconds_on_both_sides_of_the_epoch() {
        for (seconds, nanos, ahead, since) in [
            (5, 7, true, Duration::new(5, 7)),
            (0, 0, true, Duration::ZERO),
            (-1, 999_999_999, false, Duration::from_nanos(1)),
            (-10, 0, false, Duration::from_secs(10)),
        ] {
            let shown = time(Timestamp { seconds, nanos });
            let expected = match ahead {
                true => UNIX_EPOCH + since,
                false => UNIX_EPOCH - since,
            };
            assert_eq!(shown, expected, "{seconds} {nanos}");
        }
        let far = Timestamp {
            seconds: i64::MIN,
            nanos: 0,
        };
        assert_eq!(time(far), UNIX_EPOCH);
    }

    #[test]
    fn devices_are_those_recorded() {
        for (major, minor) in [(8, 1), (259, 70_000), (4095, 1_048_575)] {
            let number = rustix::fs::makedev(major, minor);
            let decoded_major = (device(number) & 0xfff00) >> 8;
            let decoded_minor = (device(number) & 0xff) | ((device(number) >> 12) & 0xfff00);
            assert_eq!((decoded_major, decoded_minor), (major, minor));
        }
    }
}
