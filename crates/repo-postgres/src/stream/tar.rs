//! Headers of the archives that servers send: POSIX tar without extensions.

/// Length of a header, and what content is padded to.
pub(crate) const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Link,
}

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Names joined by `/`, none of them special.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Bytes that follow, without padding.
    pub(crate) size: u64,
    /// In seconds since 1970, UTC.
    pub(crate) mtime: i64,
    /// Where a link leads.
    pub(crate) target: Vec<u8>,
}

impl Header {
    /// Reads a header; `None` for the zeros at the end of an archive.
    pub(crate) fn parse(block: &[u8; BLOCK]) -> Result<Option<Self>, &'static str> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u64 = (0..)
            .zip(block)
            // The field of the sum counts as spaces.
            .map(|(at, byte)| {
                if (148..156).contains(&at) {
                    32
                } else {
                    u64::from(*byte)
                }
            })
            .sum();
        if number(&block[148..156]) != Some(sum) {
            return Err("the sum of a header is wrong");
        }
        let kind = match block[156] {
            b'0' | 0 => Kind::File,
            b'5' => Kind::Directory,
            b'2' => Kind::Link,
            _ => return Err("an entry is neither file, directory nor link"),
        };
        let field = |at: usize, len| number(&block[at..at + len]).ok_or("a number cannot be read");
        let small = |at, len| u32::try_from(field(at, len)?).map_err(|_| "a number is too large");
        let size = field(124, 12)?;
        Ok(Some(Self {
            path: path(block)?,
            kind,
            mode: small(100, 8)? & 0o7777,
            uid: small(108, 8)?,
            gid: small(116, 8)?,
            size: if kind == Kind::File { size } else { 0 },
            mtime: i64::try_from(field(136, 12)?).map_err(|_| "a time is too late")?,
            target: text(&block[157..257]).to_vec(),
        }))
    }

    /// Bytes after the content up to the next header.
    pub(crate) fn padding(&self) -> u64 {
        self.size.next_multiple_of(BLOCK as u64) - self.size
    }
}

fn path(block: &[u8; BLOCK]) -> Result<Vec<u8>, &'static str> {
    let mut path = Vec::new();
    if block[257..262] == *b"ustar" && block[345] != 0 {
        path.extend_from_slice(text(&block[345..500]));
        path.push(b'/');
    }
    path.extend_from_slice(text(&block[..100]));
    let kept: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
        .collect();
    if path.first() == Some(&b'/') || kept.contains(&&b".."[..]) {
        return Err("a path leads out of the archive");
    }
    Ok(kept.join(&b'/'))
}

/// Bytes up to the first zero.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number in octal digits, or in binary where the first bit is set.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((0x80, rest)) = field.split_first() {
        return rest.iter().try_fold(0_u64, |value, byte| {
            value.checked_mul(256)?.checked_add(u64::from(*byte))
        });
    }
    let digits = field.iter().skip_while(|byte| **byte == b' ');
    let mut digits = digits.take_while(|byte| !matches!(**byte, 0 | b' '));
    digits.try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header as servers write it.
    fn block(path: &str, kind: u8, size: u64) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..path.len()].copy_from_slice(path.as_bytes());
        let mut put = |at: usize, text: &str| {
            block[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(100, "0000600 ");
        put(108, "0000145 ");
        put(116, "0000150 ");
        put(124, &format!("{size:011o} "));
        put(136, "14700000000 ");
        put(257, "ustar\x0000");
        block[156] = kind;
        sealed(block)
    }

    fn sealed(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        block[154] = 0;
        block
    }

    #[test]
    fn entries_are_read() {
        let header = Header::parse(&block("base/1/1259", b'0', 0o1234)).expect("a header");
        let header = header.expect("an entry");
        assert_eq!(header.path, b"base/1/1259");
        assert_eq!(
            (header.kind, header.mode, header.uid),
            (Kind::File, 0o600, 0o145)
        );
        assert_eq!((header.size, header.padding()), (0o1234, 1024 - 0o1234));
        let directory = Header::parse(&block("./base/1/", b'5', 9)).expect("a header");
        let directory = directory.expect("an entry");
        assert_eq!((directory.path, directory.size), (b"base/1".to_vec(), 0));
        assert_eq!(Header::parse(&[0; BLOCK]), Ok(None));
    }

    #[test]
    fn large_sizes_are_binary() {
        let mut large = block("f", b'0', 0);
        large[124..136].fill(0);
        large[124] = 0x80;
        large[130] = 0x10;
        let header = Header::parse(&sealed(large))
            .expect("a header")
            .expect("an entry");
        assert_eq!(header.size, 0x10 << 40);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for (path, kind) in [
            ("/etc/passwd", b'0'),
            ("a/../b", b'0'),
            ("a", b'1'),
            ("a", b'x'),
        ] {
            assert!(Header::parse(&block(path, kind, 1)).is_err(), "{path}");
        }
        let mut flipped = block("a", b'0', 1);
        flipped[0] ^= 1;
        assert!(Header::parse(&flipped).is_err());
        let mut endless = block("a", b'0', 1);
        endless[124..136].fill(0xFF);
        assert!(Header::parse(&sealed(endless)).is_err());
    }
}
