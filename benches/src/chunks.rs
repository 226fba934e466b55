//! Memory: `repo` on a repository whose index names millions of chunks. The index objects and the
//! commit that names them are real; the packs they speak of do not exist, which only a check would
//! notice. A small tree is then saved, saved again and restored beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use repo_format::commit::{self, Commit, IndexRef};
use repo_format::config::{self, Config};
use repo_format::index::{self, Entry, PackRow, SegmentRow};
use repo_format::{BlobKey, KeyRing, PackId, SessionId, random_array};

use crate::data;
use crate::error::{Error, Result, format, io};
use crate::measure::{self, Usage};
use crate::scale::{Random, write_file};
use crate::stats::float;

/// Peak memory that no command may pass with ten million chunks, in bytes.
const PEAK_BYTES_MAX: u64 = 256_000_000;
/// Chunks of 64 KiB in a segment of 2 MiB.
const CHUNKS_PER_SEGMENT: u16 = 32;
const SEGMENT_RAW: u32 = 2 << 20;
/// What a segment compressed to a third takes in a pack.
const SEGMENT_STORED: u32 = 680 << 10;
const SEGMENTS_PER_PACK: u32 = 24;
const PACK_SIZE: u64 = 17_000_000;
const FILE_BYTES: u64 = 20_000;

/// Choices of `chunks`.
#[derive(Args)]
pub(crate) struct Options {
    /// Directory for the repository, the tree and the restore.
    #[arg(long)]
    work: PathBuf,
    /// Chunks that the index names.
    #[arg(long, default_value_t = 10_000_000)]
    chunks: u64,
    /// Chunks in one index object.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..=4_194_304))]
    each: u64,
    /// Files in the tree.
    #[arg(long, default_value_t = 2_000)]
    files: u64,
    /// The `repo` binary.
    #[arg(long, default_value = "target/release/repo")]
    repo_bin: PathBuf,
    /// Only fill the index of this repository: a process of its own, whose memory is gone after it.
    #[arg(long, hide = true)]
    fill: Option<PathBuf>,
}

/// Makes the repository, runs the commands and prints a line for each; false when one of them took
/// more memory than is promised.
pub(crate) fn all(options: &Options) -> Result<bool> {
    if let Some(repository) = &options.fill {
        fill(repository, options.chunks, options.each)?;
        return Ok(true);
    }
    fs::create_dir_all(&options.work).map_err(io("create", &options.work))?;
    let work = fs::canonicalize(&options.work).map_err(io("find", &options.work))?;
    let _alone = data::occupy(&work)?;
    let place = Place {
        program: options.repo_bin.clone(),
        dir: work.join("chunks"),
    };
    data::remove(&place.dir)?;
    fs::create_dir_all(place.dir.join("log")).map_err(io("create", &place.dir))?;
    for number in 0..options.files {
        write_file(&place.tree(), number, number, FILE_BYTES)?;
    }
    measure::untimed(place.command(&["init", "--no-encryption"]))?;
    fill_apart(&place, options)?;
    let index = data::extent(&place.repository().join("index"))?;

    let mut text = format!(
        "{} chunks in {} index objects, {:.0} MB; a tree of {} files.\n\n\
         | command | wall | processor time | peak memory |\n|---|---|---|---|\n",
        options.chunks,
        index.files,
        float(index.bytes) / 1e6,
        options.files
    );
    let mut clean = true;
    for step in Step::ALL {
        let log = place.dir.join("log").join(step.name());
        let used = measure::timed(step.command(&place), &log)?;
        clean &= used.peak_bytes <= PEAK_BYTES_MAX;
        text.push_str(&row(step.name(), used));
    }
    let found = data::compare(&place.tree(), &place.target())?;
    if let Some(line) = found.wrong.into_iter().next() {
        return Err(Error::Restored {
            tree: place.tree(),
            restored: place.target(),
            line,
        });
    }
    data::remove(&place.dir)?;
    data::print(&text)?;
    Ok(clean)
}

fn row(name: &str, used: Usage) -> String {
    let over = if used.peak_bytes > PEAK_BYTES_MAX {
        ", more than promised"
    } else {
        ""
    };
    format!(
        "| {name} | {:.2} s | {:.2} s | {:.0} MB{over} |\n",
        used.wall_s,
        used.cpu_s,
        float(used.peak_bytes) / 1e6
    )
}

#[derive(Clone, Copy)]
enum Step {
    Full,
    Unchanged,
    Reread,
    Restore,
    Stats,
    Snapshots,
}

impl Step {
    const ALL: [Self; 6] = [
        Self::Full,
        Self::Unchanged,
        Self::Reread,
        Self::Restore,
        Self::Stats,
        Self::Snapshots,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Full => "full snapshot",
            Self::Unchanged => "unchanged snapshot",
            Self::Reread => "snapshot that reads all again",
            Self::Restore => "restore",
            Self::Stats => "stats",
            Self::Snapshots => "snapshots",
        }
    }

    fn command(self, place: &Place) -> Command {
        let with = |words: &[&str], path: PathBuf| {
            let mut command = place.command(words);
            command.arg(path);
            command
        };
        match self {
            Self::Full | Self::Unchanged => with(&["snapshot"], place.tree()),
            Self::Reread => with(&["snapshot", "--force"], place.tree()),
            Self::Restore => with(&["restore", "latest"], place.target()),
            Self::Stats => place.command(&["stats"]),
            Self::Snapshots => place.command(&["snapshots"]),
        }
    }
}

/// The program and the directory that everything is in.
struct Place {
    program: PathBuf,
    dir: PathBuf,
}

impl Place {
    fn repository(&self) -> PathBuf {
        self.dir.join("repository")
    }

    fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    fn target(&self) -> PathBuf {
        self.dir.join("restored")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("REPO_REPOSITORY", self.repository())
            .env("REPO_CACHE_DIR", self.dir.join("cache"))
            .args(words);
        command
    }
}

/// Runs [`fill`] in another process: a child that is measured starts out with the peak of its parent.
fn fill_apart(place: &Place, options: &Options) -> Result<()> {
    let own = Path::new("/proc/self/exe");
    let program = fs::read_link(own).map_err(io("find", own))?;
    let mut command = Command::new(program);
    command
        .args(["chunks", "--chunks", &options.chunks.to_string()])
        .args(["--each", &options.each.to_string()])
        .arg("--work")
        .arg(&place.dir)
        .arg("--fill")
        .arg(place.repository());
    measure::untimed(command).map(drop)
}

/// Writes index objects of `chunks` entries in all, `each` in one, and the first commit, which names
/// them.
fn fill(repository: &Path, chunks: u64, each: u64) -> Result<()> {
    let ring = keys(repository)?;
    let session = SessionId(random_array().map_err(format("make", "a session"))?);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut commit = Commit {
        number: 1,
        action: "repo-benches chunks".to_owned(),
        ..Commit::default()
    };
    let mut rest = chunks;
    while rest > 0 {
        let count = rest.min(each);
        let mut part = Part::new(&mut random, count);
        rest -= count;
        let (id, bytes) = part
            .encode(&ring, session)
            .map_err(format("encode", "an index object"))?;
        data::write(&repository.join(index::path(&id)), &bytes)?;
        commit.add_indexes.push(IndexRef {
            id,
            size: bytes.len() as u64,
            entries: part.entries.len() as u64,
        });
    }
    let stored = commit::seal(&ring, session, &commit).map_err(format("seal", "a commit"))?;
    data::write(&repository.join(commit::path(1)), &stored)
}

/// The keys of a repository that is not encrypted.
fn keys(repository: &Path) -> Result<KeyRing> {
    let path = repository.join(config::PATH);
    let stored = fs::read(&path).map_err(io("read", &path))?;
    let open = || {
        let config = Config::decode(&stored)?;
        let public = config
            .public
            .as_ref()
            .ok_or(repo_format::Error::Malformed {
                what: "config",
                why: "it holds no keys in clear",
            })?;
        KeyRing::new(config.repository, config.cipher()?, public.secrets()?)
    };
    open().map_err(format("open", "the config"))
}

/// What one index object describes.
struct Part {
    packs: Vec<PackRow>,
    segments: Vec<SegmentRow>,
    entries: Vec<Entry>,
}

impl Part {
    /// `count` chunks with keys drawn from `random`, in full segments of full packs.
    fn new(random: &mut Random, count: u64) -> Self {
        let mut part = Self {
            packs: Vec::new(),
            segments: Vec::new(),
            entries: Vec::new(),
        };
        let (mut pack, mut in_pack) = (0, SEGMENTS_PER_PACK);
        let (mut segment, mut ordinal) = (0, CHUNKS_PER_SEGMENT);
        for _ in 0..count {
            if ordinal == CHUNKS_PER_SEGMENT {
                if in_pack == SEGMENTS_PER_PACK {
                    pack = row_number(part.packs.len());
                    in_pack = 0;
                    part.packs.push(PackRow {
                        id: PackId(bytes(random)),
                        size: PACK_SIZE,
                    });
                }
                segment = row_number(part.segments.len());
                ordinal = 0;
                part.segments.push(SegmentRow {
                    pack,
                    offset: 104 + in_pack * (SEGMENT_STORED + 8),
                    stored: SEGMENT_STORED,
                    raw: SEGMENT_RAW,
                });
                in_pack += 1;
            }
            part.entries.push(Entry {
                key: BlobKey(bytes(random)),
                segment,
                ordinal,
            });
            ordinal += 1;
        }
        part
    }

    fn encode(
        &mut self,
        ring: &KeyRing,
        session: SessionId,
    ) -> std::result::Result<(repo_format::IndexId, Vec<u8>), repo_format::Error> {
        index::encode(
            ring,
            session,
            &self.packs,
            &self.segments,
            &mut self.entries,
        )
    }
}

fn row_number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn bytes<const N: usize>(random: &mut Random) -> [u8; N] {
    let mut bytes = [0; N];
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&random.next().to_le_bytes()[..part.len()]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use repo_format::index::Tail;
    use repo_format::{Cipher, HEADER_LEN, ObjectKind, Opener, RepositoryId, Secrets};

    #[test]
    fn an_index_object_opens_and_all_its_segments_lie_in_their_packs() {
        let secrets = Secrets::generate().unwrap();
        let ring = KeyRing::new(RepositoryId([1; 32]), Cipher::None, secrets).unwrap();
        let mut part = Part::new(&mut Random(1), 2_000);
        let (id, mut stored) = part.encode(&ring, SessionId([2; 16])).unwrap();
        let size = stored.len() as u64;
        let header = stored.first_chunk::<HEADER_LEN>().unwrap();
        let opener = Opener::new(
            &ring,
            ObjectKind::Index,
            &index::path(&id),
            Some(id.0),
            header,
        )
        .unwrap();
        let end = stored.len() - 8;
        let sealed = Tail::sealed_len(&stored[end..], size).unwrap() as usize;
        let tail = Tail::open(&opener, size, &mut stored[end - sealed..end]).unwrap();
        assert_eq!(
            (tail.entries, tail.segments.len(), tail.packs.len()),
            (2_000, 63, 3)
        );
    }
}
