//! The tail of an index object after opening, with its filter, and a block.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::BlobKey;
use repo_format::index::{Block, Tail};

fuzz_target!(|data: &[u8]| {
    let Some((key, rest)) = data.split_first_chunk::<16>() else {
        return;
    };
    let key = BlobKey(*key);
    if let Ok(tail) = Tail::decode(rest)
        && let Some(number) = tail.block_of(&key)
    {
        assert!(number < tail.blocks());
        let (offset, len) = tail.block_range(number);
        assert!(offset >= 96 && len > 16);
    }
    if let Ok(block) = Block::new(rest) {
        if let Some(entry) = block.find(&key) {
            assert!(entry.key == key);
        }
        assert_eq!(block.iter().count() * 22, rest.len());
    }
});
