//! Bytes, text and file trees made from a seed: the same on every machine, and no download.

use std::fs;
use std::io;
use std::path::Path;

use tempfile::TempDir;

/// A small pseudo-random generator (splitmix64). Not for secrets.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Starts the sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, or 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        let number = self.next_u64().checked_rem(bound).unwrap_or(0);
        usize::try_from(number).unwrap_or(0)
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            part.copy_from_slice(&bytes[..part.len()]);
        }
    }
}

/// Bytes that do not compress.
#[must_use]
pub fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Random::new(seed).fill(&mut bytes);
    bytes
}

/// Lines of words, some far more frequent than others: compresses to about a third.
#[must_use]
pub fn text(seed: u64, len: usize) -> Vec<u8> {
    const SYLLABLES: [&str; 16] = [
        "ka", "lo", "mi", "ren", "tas", "u", "vel", "on", "shi", "dar", "e", "pra", "qui", "nor",
        "zet", "ba",
    ];
    let mut random = Random::new(seed);
    let mut text = Vec::with_capacity(len + 32);
    while text.len() < len {
        // Halving the range again and again makes low word numbers common.
        let range = 4096 >> random.below(11);
        let mut word = random.below(range);
        loop {
            text.extend_from_slice(SYLLABLES[word % 16].as_bytes());
            word /= 16;
            if word == 0 {
                break;
            }
        }
        text.push(if random.below(12) == 0 { b'\n' } else { b' ' });
    }
    text.truncate(len);
    text
}

/// A temporary directory with a tree of `files` files; see [`fill_tree`].
pub fn tree(seed: u64, files: usize) -> io::Result<TempDir> {
    let directory = TempDir::new()?;
    fill_tree(directory.path(), seed, files)?;
    Ok(directory)
}

/// Writes `files` files below `root`: nested directories, one of them empty; text and random
/// content of 0 bytes to 256 KiB, most of them small; duplicates; a name with spaces and one
/// that is not ASCII.
pub fn fill_tree(root: &Path, seed: u64, files: usize) -> io::Result<()> {
    let mut random = Random::new(seed);
    fs::create_dir_all(root.join("empty directory"))?;
    for number in 0..files {
        let mut directory = root.to_path_buf();
        for _ in 0..random.below(4) {
            directory.push(format!("dir{}", random.below(5)));
        }
        fs::create_dir_all(&directory)?;
        let name = match number {
            0 => "with some spaces".to_owned(),
            1 => "gr\u{fc}\u{df}e.txt".to_owned(),
            _ => format!("file{number:05}"),
        };
        let len = match number {
            0 => 0,
            2 => 256 * 1024,
            _ => {
                let range = 64 << random.below(12);
                random.below(range)
            }
        };
        // Few seeds, so that some files are prefixes or copies of others.
        let content_seed = seed ^ random.below(files / 2 + 1) as u64;
        let content = if random.below(2) == 0 {
            text(content_seed, len)
        } else {
            self::random(content_seed, len)
        };
        fs::write(directory.join(name), content)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Random, random, text, tree};

    #[test]
    fn the_generator_is_splitmix64() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn data_depends_on_the_seed_alone() {
        assert_eq!(random(7, 100)[..50], random(7, 50)[..]);
        assert_eq!(text(7, 1000), text(7, 1000));
        assert_ne!(text(7, 1000), text(8, 1000));
        let directory = tree(3, 20).unwrap();
        assert!(directory.path().join("empty directory").is_dir());
    }
}
