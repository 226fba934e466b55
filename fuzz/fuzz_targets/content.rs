//! The content of a file or a chunk list: any bytes are one content or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::{decode_extents, encode_extents};

fuzz_target!(|data: &[u8]| {
    if let Ok(content) = decode_extents(data) {
        assert!(content.len() <= i64::MAX as u64);
        assert!(encode_extents(&content) == data);
    }
});
