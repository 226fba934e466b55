//! Commits and checkpoints: stored bytes, and their records after opening.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::commit::{self, decode_checkpoint, decode_commit};
use repo_format::{decode_cbor, encode_cbor};

mod keys;

fuzz_target!(|data: &[u8]| {
    let ring = keys::public();
    let _ = commit::open(&ring, 1, data).is_ok();
    let _ = commit::open_checkpoint(&ring, 1, data).is_ok();
    if let Ok(record) = decode_commit(data) {
        let again: commit::Commit =
            decode_cbor("commit", &encode_cbor(&record)).expect("its own bytes");
        assert!(again == record);
        for found in &record.add_snapshots {
            assert!(found.snapshot.root.name.is_empty());
        }
    }
    if let Ok(record) = decode_checkpoint(data) {
        let again = decode_checkpoint(&encode_cbor(&record)).expect("its own bytes");
        assert!(again == record);
    }
    let _ = commit::parse_path(&String::from_utf8_lossy(data)).is_some();
});
