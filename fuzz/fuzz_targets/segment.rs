//! The body of a segment after opening, and its payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::Decompressor;
use repo_format::segment::SegmentBody;

fuzz_target!(|data: &[u8]| {
    let Ok(body) = SegmentBody::parse(data) else {
        return;
    };
    // Any bytes may stand where the base was: here those of the segment itself.
    let base = body.base.map(|_| data);
    let mut out = Vec::new();
    if body
        .decode(&mut Decompressor::new(), base, &mut out)
        .is_err()
    {
        return;
    }
    assert_eq!(out.len(), body.raw_len);
    for ordinal in 0..body.lens.len() {
        let range = body.range(ordinal).expect("it has this chunk");
        assert_eq!(out[range].len(), body.lens[ordinal] as usize);
    }
    assert!(body.range(body.lens.len()).is_none());
});
