//! Builds files with Parquet's outline for tests: magic, pages, footer.

/// One page, header included.
#[derive(Debug, Clone)]
pub(crate) struct Page(Vec<u8>);

impl Page {
    /// Builds a data page of `len` pseudo-random bytes.
    pub(crate) fn noise(seed: u64, len: usize) -> Self {
        let mut bytes = vec![0x15];
        integer(&mut bytes, 0);
        bytes.push(0x15);
        integer(&mut bytes, 3 * len as u64);
        bytes.push(0x15);
        integer(&mut bytes, len as u64);
        bytes.push(0);
        bytes.extend(noise(seed, len));
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Builds a file of one row group whose columns hold the given pages.
pub(crate) fn build(columns: &[&[Page]]) -> Vec<u8> {
    let mut file = b"PAR1".to_vec();
    let mut ranges = Vec::new();
    for pages in columns {
        let start = file.len() as u64;
        for page in *pages {
            file.extend_from_slice(&page.0);
        }
        ranges.push((start, file.len() as u64 - start));
    }
    let metadata = metadata(&ranges);
    file.extend_from_slice(&metadata);
    finish(file, metadata.len())
}

/// Encodes `FileMetaData` with column chunks at (start, length).
pub(crate) fn metadata(ranges: &[(u64, u64)]) -> Vec<u8> {
    let mut out = vec![0x49, 0x1c, 0x19, 0xfc];
    varint(&mut out, ranges.len() as u64);
    for (start, length) in ranges {
        // Field 3 of ColumnChunk, then codec, total_compressed_size, data_page_offset.
        out.extend_from_slice(&[0x3c, 0x45]);
        integer(&mut out, 6);
        out.push(0x36);
        integer(&mut out, *length);
        out.push(0x26);
        integer(&mut out, *start);
        out.extend_from_slice(&[0, 0]);
    }
    out.extend_from_slice(&[0, 0]);
    out
}

/// Appends length and magic to a file that ends with its metadata.
pub(crate) fn finish(mut file: Vec<u8>, metadata_len: usize) -> Vec<u8> {
    let len = u32::try_from(metadata_len).unwrap();
    file.extend_from_slice(&len.to_le_bytes());
    file.extend_from_slice(b"PAR1");
    file
}

/// Pseudo-random bytes by splitmix64.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    });
    words.flatten().take(len).collect()
}

fn integer(out: &mut Vec<u8>, value: u64) {
    varint(out, value << 1);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push(value.to_le_bytes()[0] | 128);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
