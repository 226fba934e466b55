//! The table of a parity object, after opening, and the places of blocks that follow from it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::limits::{PACK_MAX, PARITY_PACKS_MAX, PARITY_SHARDS_MAX};
use repo_format::parity::{Table, block_place, block_range, blocks};

fuzz_target!(|data: &[u8]| {
    let Ok(table) = Table::decode(data) else {
        return;
    };
    assert_eq!(table.encode(), data);
    assert!((1..=PARITY_PACKS_MAX as usize).contains(&table.members.len()));
    assert!(table.shard < table.shards && table.shards <= PARITY_SHARDS_MAX);
    let len = table.shard_len();
    assert!((64..=PACK_MAX).contains(&len) && len % 64 == 0);
    for member in &table.members {
        assert_eq!(member.hashes.len() as u64, blocks(member.size));
        assert!(!block_range(member.size, blocks(member.size) - 1).is_empty());
        assert!(block_range(member.size, blocks(member.size)).is_empty());
    }
    let last = block_place(len, blocks(len) - 1);
    assert!(!last.is_empty() && block_place(len, blocks(len)).is_empty());
});
