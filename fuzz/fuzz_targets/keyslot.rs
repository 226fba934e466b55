//! The clear part of a key slot: any bytes, as they are and behind a right magic. No derivation is run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::keyslot::Slot;
use repo_format::{Secrets, decode_cbor};

fuzz_target!(|data: &[u8]| {
    for bytes in [data, &[&b"REPOkeys"[..], data].concat()] {
        if let Ok(slot) = Slot::decode(bytes) {
            let _ = slot.id();
        }
    }
    let _ = decode_cbor::<Secrets>("secrets", data).is_ok();
});
