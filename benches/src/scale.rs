//! Growth: `repo` alone on a generated tree of one, four and sixteen units. What changes between the
//! full and the incremental snapshot is the same number of files at each size, so that a cost that
//! follows the whole and not the change shows.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::data;
use crate::error::{Result, io};
use crate::measure::{self, Usage};
use crate::stats::{float, ratio};
use crate::tool::{Bench, Step, Tool};

const MULTIPLES: [u64; 3] = [1, 4, 16];
const CHANGED_FILES: u64 = 50;
const FILES_PER_DIRECTORY: u64 = 100;
const STEPS: [Step; 7] = [
    Step::Init,
    Step::Full,
    Step::Unchanged,
    Step::Restore,
    Step::Incremental,
    Step::RestoreInPlace,
    Step::Verify,
];

/// Choices of `scale`.
#[derive(Args)]
pub(crate) struct Options {
    /// Directory for the tree, the repository and restores.
    #[arg(long)]
    work: PathBuf,
    /// Files in one unit.
    #[arg(long, default_value_t = 5_000)]
    unit_files: u64,
    /// Mean size of a file, in bytes.
    #[arg(long, default_value_t = 20_000)]
    file_bytes: u64,
    /// The `repo` binary.
    #[arg(long, default_value = "target/release/repo")]
    repo_bin: PathBuf,
    /// Where `scale.md` goes.
    #[arg(long, default_value = "docs/bench")]
    out: PathBuf,
}

/// Runs all sizes, prints the table and leaves it in the output directory.
pub(crate) fn all(options: &Options) -> Result<()> {
    fs::create_dir_all(&options.work).map_err(io("create", &options.work))?;
    let work = fs::canonicalize(&options.work).map_err(io("find", &options.work))?;
    let _alone = data::occupy(&work)?;
    let bench = Bench {
        tool: Tool::Repo,
        program: options.repo_bin.clone(),
        dir: work.join("scale"),
        tree: work.join("scale-tree"),
    };
    let mut columns = Vec::new();
    for multiple in MULTIPLES {
        columns.push(one(&bench, options, multiple)?);
    }
    data::remove(&bench.dir)?;
    data::remove(&bench.tree)?;
    let text = table(options, &columns);
    data::write(&options.out.join("scale.md"), text.as_bytes())?;
    data::print(&text)
}

/// All steps at one size.
fn one(bench: &Bench, options: &Options, multiple: u64) -> Result<Vec<Usage>> {
    data::remove(&bench.dir)?;
    data::remove(&bench.tree)?;
    for folder in [bench.dir.join("log"), bench.target()] {
        fs::create_dir_all(&folder).map_err(io("create", &folder))?;
    }
    let count = options.unit_files * multiple;
    for number in 0..count {
        write_file(&bench.tree, number, number, options.file_bytes)?;
    }
    let mut used = Vec::new();
    for step in STEPS {
        if step == Step::Incremental {
            let apart = (count / CHANGED_FILES).max(1);
            for number in (0..count).step_by(usize::try_from(apart).unwrap_or(1)) {
                write_file(&bench.tree, number, count + number, options.file_bytes)?;
            }
        }
        let usage = measure::timed(
            bench.command(step),
            &bench.dir.join("log").join(step.name()),
        )?;
        eprintln!(
            "{multiple:3}x {:20} {:8.2} s {:8.2} cpu s",
            step.name(),
            usage.wall_s,
            usage.cpu_s
        );
        used.push(usage);
    }
    Ok(used)
}

/// Writes file `number`, its content drawn from `seed`: between a tenth and twice the mean size.
pub(crate) fn write_file(tree: &Path, number: u64, seed: u64, mean_bytes: u64) -> Result<()> {
    let mut random = Random(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let bytes = mean_bytes / 10 + random.next() % (mean_bytes * 19 / 10).max(1);
    let mut content = String::new();
    while length(&content) < bytes {
        // Words of few letters beside numbers of many: it compresses to about a third, as text does.
        let draw = random.next();
        content.push_str(
            ["while ", "value ", "return ", "index = ", "\n"]
                [usize::from(draw.to_le_bytes()[0] % 5)],
        );
        content.push_str(&format!("{:x} ", draw >> 44));
    }
    let folder = number / FILES_PER_DIRECTORY;
    data::write(
        &tree.join(format!("{folder:05}/{number:08}.txt")),
        content.as_bytes(),
    )
}

fn length(content: &str) -> u64 {
    u64::try_from(content.len()).unwrap_or(u64::MAX)
}

/// A small generator of the xorshift family: the same tree on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Steps down, sizes across, and by how much each grew from the first size to the last.
fn table(options: &Options, columns: &[Vec<Usage>]) -> String {
    let mut text = format!(
        "# The same work at 1x, 4x and 16x\n\n\
         One unit is {} files of about {} bytes; {CHANGED_FILES} files change before the incremental snapshot.\n\n\
         | wall, processor time, peak memory | 1x | 4x | 16x | growth of wall | growth of peak |\n|---|---|---|---|---|---|\n",
        options.unit_files, options.file_bytes
    );
    for (number, step) in STEPS.into_iter().enumerate() {
        let row: Vec<Usage> = columns
            .iter()
            .filter_map(|column| column.get(number).copied())
            .collect();
        text.push_str(&format!("| {} |", step.name()));
        for used in &row {
            let peak = float(used.peak_bytes) / 1e6;
            text.push_str(&format!(
                " {:.2} s, {:.2} s, {peak:.0} MB |",
                used.wall_s, used.cpu_s
            ));
        }
        let (first, last) = (
            row.first().copied().unwrap_or_default(),
            row.last().copied().unwrap_or_default(),
        );
        let wall = ratio(last.wall_s, first.wall_s).unwrap_or(0.0);
        let peak = ratio(float(last.peak_bytes), float(first.peak_bytes)).unwrap_or(0.0);
        text.push_str(&format!(" {wall:.1}x | {peak:.1}x |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_the_same_each_time() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&one, &two] {
            for number in 0..120 {
                write_file(dir.path(), number, number, 1000).unwrap();
            }
        }
        assert_eq!(
            data::compare(one.path(), two.path()).unwrap(),
            data::Difference::default()
        );
        let extent = data::extent(one.path()).unwrap();
        assert_eq!(extent.files, 120);
        assert!((60_000..180_000).contains(&extent.bytes), "{extent:?}");
    }
}
