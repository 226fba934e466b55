//! The directory at the end of a pack, after opening, and the trailer behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::limits::{CHUNK_MAX, SEGMENT_RAW_MAX};
use repo_format::pack::{TRAILER_LEN, TRAILER_MAGIC, decode_directory, trailer};

fuzz_target!(|data: &[u8]| {
    let tail = &data[data.len().saturating_sub(TRAILER_LEN)..];
    if let Ok(len) = trailer("pack", tail, TRAILER_MAGIC, data.len() as u64) {
        assert!(len as usize <= data.len());
    }
    // The end of the last segment, and so the place of the directory, is part of the input.
    let Some((end, raw)) = data.split_first_chunk::<4>() else {
        return;
    };
    let end = u64::from(u32::from_le_bytes(*end));
    let Ok(segments) = decode_directory(raw, end) else {
        return;
    };
    for segment in segments {
        assert!(u64::from(segment.place.offset) + u64::from(segment.place.stored) <= end);
        let lens = || segment.chunks.iter().map(|(_, len)| *len as usize);
        assert!(lens().all(|len| (1..=CHUNK_MAX).contains(&len)));
        assert!(lens().sum::<usize>() <= SEGMENT_RAW_MAX);
    }
});
