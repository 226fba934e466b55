//! Concurrency: several `repo snapshot` at once into one repository against the same work done one
//! after another. What writers cost each other shows as time beyond the sum.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::data;
use crate::error::{Result, io};
use crate::measure;
use crate::scale::write_file;

/// Time of all at once that no run may pass, as a share of the sum of their times one by one.
const SHARE_MAX: f64 = 1.3;
const FILE_BYTES: u64 = 100_000;

/// Choices of `writers`.
#[derive(Args)]
pub(crate) struct Options {
    /// Directory for the repositories and the trees.
    #[arg(long)]
    work: PathBuf,
    /// Writers at once.
    #[arg(long, default_value_t = 8)]
    writers: u64,
    /// Files of each writer.
    #[arg(long, default_value_t = 2_000)]
    files: u64,
    /// The `repo` binary.
    #[arg(long, default_value = "target/release/repo")]
    repo_bin: PathBuf,
}

struct Place {
    program: PathBuf,
    dir: PathBuf,
    writers: u64,
}

impl Place {
    fn command(&self, repository: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("REPO_REPOSITORY", self.dir.join(repository))
            .env("REPO_CACHE_DIR", self.dir.join("cache"))
            .args(words);
        command
    }

    fn tree(&self, writer: u64) -> PathBuf {
        self.dir.join(format!("tree-{writer}"))
    }

    fn log(&self, writer: u64) -> PathBuf {
        self.dir.join(format!("log-{writer}"))
    }

    fn snapshot(&self, repository: &str, writer: u64) -> (Command, PathBuf) {
        let mut command = self.command(repository, &["snapshot"]);
        command.arg(self.tree(writer));
        (command, self.log(writer))
    }
}

/// Makes the trees, saves them in turn and then at once, and prints both; false when writers that
/// share a repository cost each other more than is promised.
pub(crate) fn all(options: &Options) -> Result<bool> {
    fs::create_dir_all(&options.work).map_err(io("create", &options.work))?;
    let work = fs::canonicalize(&options.work).map_err(io("find", &options.work))?;
    let _alone = data::occupy(&work)?;
    let place = Place {
        program: options.repo_bin.clone(),
        dir: work.join("writers"),
        writers: options.writers,
    };
    data::remove(&place.dir)?;
    fs::create_dir_all(&place.dir).map_err(io("create", &place.dir))?;
    for writer in 0..place.writers {
        for number in 0..options.files {
            let seed = writer * options.files + number;
            write_file(&place.tree(writer), number, seed, FILE_BYTES)?;
        }
    }
    for repository in ["in-turn", "at-once"] {
        measure::untimed(place.command(repository, &["init", "--no-encryption"]))?;
    }

    let mut sum = 0.0;
    for writer in 0..place.writers {
        let (command, log) = place.snapshot("in-turn", writer);
        sum += measure::timed(command, &log)?.wall_s;
    }
    let all = (0..place.writers).map(|writer| place.snapshot("at-once", writer));
    let together = measure::timed_at_once(all.collect())?;
    // That all of them committed, and what they stored, is for the check to say.
    measure::untimed(place.command("at-once", &["check", "--read-data"]))?;
    let committed = commits(&place.dir.join("at-once/log"))?;
    data::remove(&place.dir)?;

    let share = together / sum.max(f64::MIN_POSITIVE);
    data::print(&format!(
        "{} writers of {} files: {sum:.2} s one by one, {together:.2} s at once, {share:.2}x; \
         {committed} committed\n",
        options.writers, options.files
    ))?;
    Ok(share <= SHARE_MAX && committed == options.writers)
}

fn commits(log: &Path) -> Result<u64> {
    let mut commits = 0;
    for entry in fs::read_dir(log).map_err(io("list", log))? {
        let name = entry.map_err(io("list", log))?.file_name();
        let digits = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        commits += u64::from(digits);
    }
    Ok(commits)
}
