//! Data sets and trees on disk: making them, bringing the working tree to a state, sizes, comparison.
//! The makers are scripts in `benches/data/`, one a set.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::error::{Error, Result, io};
use crate::measure;

/// A kind of data to measure on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Set {
    Source,
    Postgres,
    Lakehouse,
    ParquetRewrites,
    Incompressible,
    Million,
}

impl Set {
    /// Those made and run unless others are named.
    pub(crate) const USUAL: [Self; 5] = [
        Self::Source,
        Self::Postgres,
        Self::Lakehouse,
        Self::ParquetRewrites,
        Self::Incompressible,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Postgres => "postgres",
            Self::Lakehouse => "lakehouse",
            Self::ParquetRewrites => "parquet-rewrites",
            Self::Incompressible => "incompressible",
            Self::Million => "million",
        }
    }

    fn maker(self) -> &'static str {
        match self {
            Self::Source => "source.py",
            Self::Postgres => "postgres.sh",
            Self::Lakehouse => "lakehouse.py",
            Self::ParquetRewrites => "parquet_rewrites.py",
            Self::Incompressible => "incompressible.py",
            Self::Million => "million.py",
        }
    }

    /// The pairs of states that a set holds; only the rewrites have more than one.
    pub(crate) fn cases(self, data: &Path) -> Result<Vec<Case>> {
        let base = data.join(self.name());
        if self != Self::ParquetRewrites {
            return Ok(vec![Case::new(self, self.name().to_owned(), &base, "B")?]);
        }
        let mut cases = Vec::new();
        for kind in ["zstd-plain", "zstd-cdc", "snappy-plain", "snappy-cdc"] {
            for (state, change) in [("B", "1% deleted"), ("C", "compacted")] {
                cases.push(Case::new(
                    self,
                    format!("{kind}, {change}"),
                    &base.join(kind),
                    state,
                )?);
            }
        }
        Ok(cases)
    }
}

impl std::fmt::Display for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Two states of one tree.
pub(crate) struct Case {
    pub(crate) set: Set,
    pub(crate) name: String,
    pub(crate) before: PathBuf,
    pub(crate) after: PathBuf,
}

impl Case {
    fn new(set: Set, name: String, base: &Path, state: &'static str) -> Result<Self> {
        for state in ["A", state] {
            if !base.join(state).is_dir() {
                return Err(Error::NoState {
                    path: base.to_path_buf(),
                    state,
                });
            }
        }
        Ok(Self {
            set,
            name,
            before: base.join("A"),
            after: base.join(state),
        })
    }
}

/// Makes one set below `data`, from nothing.
pub(crate) fn make(set: Set, data: &Path, peers: Option<&Path>) -> Result<()> {
    fs::create_dir_all(data).map_err(io("create", data))?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data")
        .join(set.maker());
    let mut command = match (set, peers) {
        (Set::Lakehouse | Set::ParquetRewrites, Some(peers)) => {
            let mut python = Command::new(peers.join("venv/bin/python"));
            python.arg(script);
            python
        }
        (Set::Lakehouse | Set::ParquetRewrites, None) => {
            return Err(Error::NoPython { set: set.name() });
        }
        _ => Command::new(script),
    };
    command.arg(data);
    let said = measure::untimed(command)?;
    print(&String::from_utf8_lossy(&said))
}

/// Makes `tree` equal to `state` in place: files that do not change keep inode and times.
pub(crate) fn sync(state: &Path, tree: &Path) -> Result<()> {
    fs::create_dir_all(tree).map_err(io("create", tree))?;
    let mut rsync = Command::new("rsync");
    // The window of -1 compares times to the nanosecond, not to the second.
    rsync.args([
        "-aH",
        "--delete",
        "--inplace",
        "--no-whole-file",
        "--modify-window=-1",
    ]);
    rsync.arg(state.join("")).arg(tree.join(""));
    measure::untimed(rsync).map(drop)
}

/// Files and bytes below a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Counts everything below `root` that is not a directory; a missing root is empty.
pub(crate) fn extent(root: &Path) -> Result<Extent> {
    let mut sum = Extent::default();
    visit(root, &mut |path| {
        let found = fs::symlink_metadata(path).map_err(io("look at", path))?;
        sum.files += 1;
        sum.bytes += found.len();
        Ok(())
    })?;
    Ok(sum)
}

/// Reads every file once, so that each tool finds the same pages in memory.
pub(crate) fn warm(root: &Path) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    visit(root, &mut |path| {
        if !fs::symlink_metadata(path)
            .map_err(io("look at", path))?
            .is_file()
        {
            return Ok(());
        }
        let mut file = fs::File::open(path).map_err(io("open", path))?;
        while file.read(&mut buffer).map_err(io("read", path))? > 0 {}
        Ok(())
    })
}

/// Calls `each` for everything below `root` that is not a directory, in no order.
pub(crate) fn visit(root: &Path, each: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    if !root.exists() {
        return Ok(());
    }
    let mut todo = vec![root.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).map_err(io("list", &folder))? {
            let entry = entry.map_err(io("list", &folder))?;
            if entry
                .file_type()
                .map_err(io("look at", &entry.path()))?
                .is_dir()
            {
                todo.push(entry.path());
            } else {
                each(&entry.path())?;
            }
        }
    }
    Ok(())
}

/// How a restored tree compares with its source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Lines of `diff` about files that are missing or not the same.
    pub(crate) wrong: Vec<String>,
    /// How many files are in the restored tree only.
    pub(crate) extra: usize,
}

/// Compares content with `diff`, following no link.
pub(crate) fn compare(source: &Path, restored: &Path) -> Result<Difference> {
    let mut diff = Command::new("diff");
    diff.args(["-rq", "--no-dereference"])
        .arg(source)
        .arg(restored)
        .env("LC_ALL", "C");
    let done = diff.output().map_err(io("start", Path::new("diff")))?;
    let said = String::from_utf8_lossy(&done.stdout);
    let here = format!("Only in {}", restored.display());
    let (extra, mut wrong): (Vec<_>, Vec<_>) = said
        .lines()
        .map(str::to_owned)
        .partition(|line| line.starts_with(&here));
    if done.status.code() == Some(2) {
        wrong.push(String::from_utf8_lossy(&done.stderr).trim().to_owned());
    }
    Ok(Difference {
        wrong,
        extra: extra.len(),
    })
}

/// Takes the work directory for as long as the result lives: two runs would spoil each other's tree.
pub(crate) fn occupy(work: &Path) -> Result<fs::File> {
    let path = work.join("lock");
    let file = fs::File::create(&path).map_err(io("create", &path))?;
    file.try_lock().map_err(|_| Error::Occupied {
        path: work.to_path_buf(),
    })?;
    Ok(file)
}

/// Removes a directory and all below it, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Writes a whole file of the report, its directory too.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io("create", folder))?;
    }
    fs::write(path, content).map_err(io("write", path))
}

/// Prints to standard output, which may be closed early.
pub(crate) fn print(text: &str) -> Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(io("write", Path::new("standard output")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_and_counts_trees() {
        let dir = tempfile::tempdir().unwrap();
        let (left, right) = (dir.path().join("left"), dir.path().join("right"));
        for (path, content) in [
            ("left/a", "1"),
            ("left/b/c", "22"),
            ("right/a", "1"),
            ("right/b/c", "333"),
            ("right/d", ""),
        ] {
            write(&dir.path().join(path), content.as_bytes()).unwrap();
        }
        assert_eq!(extent(&left).unwrap(), Extent { files: 2, bytes: 3 });
        assert_eq!(extent(&dir.path().join("none")).unwrap(), Extent::default());
        let found = compare(&left, &right).unwrap();
        assert_eq!((found.wrong.len(), found.extra), (1, 1));
        sync(&left, &right).unwrap();
        assert_eq!(compare(&left, &right).unwrap(), Difference::default());
    }

    #[test]
    fn a_work_directory_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = occupy(dir.path()).unwrap();
        assert!(matches!(occupy(dir.path()), Err(Error::Occupied { .. })));
        drop(first);
        drop(occupy(dir.path()).unwrap());
    }

    #[test]
    fn a_set_without_a_state_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            Set::Source.cases(dir.path()),
            Err(Error::NoState { state: "A", .. })
        ));
    }
}
