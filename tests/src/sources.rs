//! The tree that is saved in golden repositories, in its versions.
//!
//! Names, content, modes and times are fixed; everything is small, because it is kept for good.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use repo_testkit::data::random;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};

/// Entries of the directory that is long enough to be split into several nodes.
pub const MANY: u32 = 320;
/// Length of the file that changes in many places, in bytes: one chunk, and it does not compress.
pub const CHANGED: usize = 16 << 10;

/// Makes the first version below `root`, which must be empty.
pub fn first(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join("nested/deep/deeper"))?;
    fs::create_dir(root.join("many"))?;
    fs::write(root.join("nested/deep/deeper/leaf"), "the innermost file\n")?;
    fs::write(root.join("nested/note"), "kept\n")?;
    File::create(root.join("empty"))?;
    symlink("nested/../no such file", root.join("symlink"))?;
    fs::write(root.join("hard-a"), "one file, two names\n")?;
    fs::hard_link(root.join("hard-a"), root.join("nested/hard-b"))?;
    fs::write(root.join(OsStr::from_bytes(b"latin-\xe9")), "not UTF-8\n")?;
    fs::write(root.join("long"), lines(8_000))?;
    fs::write(root.join("changed"), random(1, CHANGED))?;
    let mut sparse = File::create(root.join("sparse"))?;
    sparse.write_all(b"before the hole")?;
    sparse.seek(SeekFrom::Start(3 << 20))?;
    sparse.write_all(b"after the hole")?;
    sparse.set_len(5 << 20)?;
    for number in 0..MANY {
        File::create(root.join("many").join(entry_name(number)))?;
    }
    for (name, value) in [("user.note", &b"first"[..]), ("user.bytes", b"\0\xff\n")] {
        let path = root.join("hard-a");
        rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())?;
    }
    stamp_all(root, 1_000_000_000)?;
    for (path, mode) in [("hard-a", 0o751), ("empty", 0o400), ("nested/deep", 0o1711)] {
        fs::set_permissions(root.join(path), Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// The file that changes, with every byte of a step changed.
fn changed(steps: &[usize]) -> Vec<u8> {
    let mut content = random(1, CHANGED);
    for step in steps {
        content
            .iter_mut()
            .step_by(*step)
            .for_each(|byte| *byte ^= 0x55);
    }
    content
}

/// Makes the second version of the first.
pub fn second(root: &Path) -> io::Result<()> {
    fs::write(root.join("changed"), changed(&[1000]))?;
    fs::remove_file(root.join("nested/note"))?;
    fs::write(root.join("added"), "only in the second version\n")?;
    fs::remove_file(root.join("many").join(entry_name(300)))?;
    fs::set_permissions(root.join("empty"), Permissions::from_mode(0o666))?;
    for path in ["changed", "added", "nested", "many", ""] {
        stamp(&root.join(path), 1_500_000_000, 7)?;
    }
    Ok(())
}

/// Makes the third version of the second.
pub fn third(root: &Path) -> io::Result<()> {
    fs::write(root.join("changed"), changed(&[1000, 1300]))?;
    for path in ["changed", ""] {
        stamp(&root.join(path), 1_600_000_000, 7)?;
    }
    Ok(())
}

fn entry_name(number: u32) -> String {
    format!("entry-{number:04}")
}

/// Numbered lines: many chunks, few bytes.
fn lines(count: u32) -> String {
    (0..count)
        .map(|number| format!("line {number:06} of a file of several chunks\n"))
        .collect()
}

/// Gives everything a mode that does not depend on the umask, and a time of its own.
fn stamp_all(root: &Path, seconds: i64) -> io::Result<()> {
    let mut open = vec![root.to_owned()];
    let mut all = Vec::new();
    while let Some(path) = open.pop() {
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        }
        if !kind.is_symlink() {
            let mode = if kind.is_dir() { 0o755 } else { 0o640 };
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
        }
        all.push(path);
    }
    all.sort();
    for (path, number) in all.iter().zip(1..) {
        stamp(path, seconds + number, number * 1_234_567 % 1_000_000_000)?;
    }
    Ok(())
}

fn stamp(path: &Path, seconds: i64, nanoseconds: i64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

#[cfg(test)]
mod tests {
    use super::{MANY, entry_name};

    #[test]
    fn the_long_directory_is_split() {
        let names = (0..MANY).map(entry_name);
        let ends = names.filter(|name| repo_format::tree::ends_leaf(name.as_bytes()));
        assert!(ends.count() >= 2);
    }
}
