//! The Parquet footer and the walk over pages: any bytes give a layout or none, and cuts that cover them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_chunker::columnar::{Footer, footer};
use repo_chunker::{CHUNK_MAX, Chunker, Params, Plan};

/// What is between the metadata and the end of a file: its length and the magic.
const TRAILER: usize = 8;

fuzz_target!(|data: &[u8]| {
    // As they are, and as the metadata of a file, so that the trailer need not be guessed.
    whole(data);
    let mut file = b"PAR1".to_vec();
    file.extend_from_slice(data);
    // What stands before the metadata is decided by the first byte, so that data and metadata both vary.
    let metadata = data.len() - data.len() * usize::from(data.first().copied().unwrap_or(0)) / 255;
    let length = u32::try_from(metadata).expect("libFuzzer's inputs are shorter than 4 GiB");
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(b"PAR1");
    whole(&file);
});

/// Reads the footer as a caller does, tail by tail, then cuts the file by it.
fn whole(file: &[u8]) {
    let len = file.len() as u64;
    let mut answer = footer(&file[file.len().saturating_sub(TRAILER)..], len);
    if let Footer::NeedTail(need) = answer {
        assert!(need <= len, "asks for {need} bytes of {len}");
        let start = file.len() - usize::try_from(need).expect("no more than the file");
        answer = footer(&file[start..], len);
        assert!(!matches!(answer, Footer::NeedTail(_)), "asks again");
    }
    if let Footer::Layout(layout) = answer {
        let chunker = Chunker::new(Params::default(), 1).expect("the default sizes are valid");
        let mut cutter = chunker.cutter(Plan::Columnar(layout));
        let mut rest = file;
        while let Some(length) = cutter.next(rest, true) {
            assert!((1..=CHUNK_MAX.min(rest.len())).contains(&length));
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "the cuts do not cover the file");
    }
}
