use proptest::prelude::*;

use super::{Kdf, Slot, Stored, unwrap, wrap};
use crate::codec::{decode_cbor, encode_cbor};
use crate::error::Error;
use crate::id::KeyId;
use crate::limits::CONFIG_MAX;
use crate::sample::secrets;

const CONFIG: [u8; 32] = [2; 32];

/// A stored slot around `slot` that no password opens.
fn unopened(slot: &Slot) -> Vec<u8> {
    let stored = Stored {
        slot: encode_cbor(slot),
        commitment: [0; 32],
        wrapped: vec![0; 64],
    };
    [&super::MAGIC[..], &encode_cbor(&stored)].concat()
}

fn slot(kdf: Kdf) -> Slot {
    Slot {
        kdf,
        salt: [1; 32],
        config: CONFIG,
        created_ms: 7,
        label: "me".to_owned(),
    }
}

/// One slot, and everything that needs a derivation done on it: each takes 64 MiB.
#[test]
fn a_slot_opens_with_its_password_in_its_place_only() {
    let secrets = secrets();
    let (id, bytes) = wrap(&secrets, b"correct", CONFIG, 7, "me@host").unwrap();
    let opened = unwrap(&bytes, &id, b"correct", CONFIG).unwrap();
    assert_eq!(encode_cbor(&opened), encode_cbor(&secrets));
    let clear = Slot::decode(&bytes).unwrap();
    assert_eq!((clear.id(), clear.label.as_str()), (id, "me@host"));

    let wrong = unwrap(&bytes, &id, b"Correct", CONFIG).unwrap_err();
    assert!(matches!(wrong, Error::WrongPassword));
    let config = unwrap(&bytes, &id, b"correct", [3; 32]).unwrap_err();
    assert!(matches!(config, Error::Forged { what: "config" }));
    let renamed = unwrap(&bytes, &KeyId([0; 32]), b"correct", CONFIG).unwrap_err();
    assert!(matches!(renamed, Error::Forged { .. }));

    // A flip in each part: label (in the slot's bytes), commitment, wrapped secrets, tag.
    let label = bytes.windows(7).position(|w| w == b"me@host").unwrap();
    for at in [label, label + 15, bytes.len() - 30, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(
            unwrap(&damaged, &id, b"correct", CONFIG).is_err(),
            "byte {at}"
        );
    }
    for len in (0..bytes.len()).step_by(7) {
        assert!(unwrap(&bytes[..len], &id, b"correct", CONFIG).is_err());
    }
}

#[test]
fn every_slot_has_its_own_salt() {
    let salts = [
        wrap(&secrets(), b"", CONFIG, 0, ""),
        wrap(&secrets(), b"", CONFIG, 0, ""),
    ]
    .map(|slot| Slot::decode(&slot.unwrap().1).unwrap().salt);
    assert_ne!(salts[0], salts[1]);
}

#[test]
fn cheap_and_ruinous_derivations_are_refused_before_they_start() {
    let floor = Kdf::default();
    assert_eq!(
        (floor.memory_kib, floor.passes, floor.lanes),
        (65_536, 3, 4)
    );
    let bad = [
        Kdf {
            memory_kib: floor.memory_kib - 1,
            ..floor
        },
        Kdf {
            memory_kib: (1 << 20) + 1,
            ..floor
        },
        Kdf {
            memory_kib: u32::MAX,
            ..floor
        },
        Kdf { passes: 2, ..floor },
        Kdf {
            passes: 17,
            ..floor
        },
        Kdf {
            passes: u32::MAX,
            ..floor
        },
        Kdf { lanes: 0, ..floor },
        Kdf { lanes: 17, ..floor },
    ];
    for kdf in bad {
        let slot = slot(kdf);
        let error = unwrap(&unopened(&slot), &slot.id(), b"any", CONFIG).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{kdf:?}: {error}");
    }
}

#[test]
fn the_clear_part_is_decoded_as_encoded() {
    let slot = slot(Kdf::default());
    assert_eq!(Slot::decode(&unopened(&slot)).unwrap(), slot);
    let mut later = encode_cbor(&slot);
    assert_eq!(later[0], 0xa5, "a map of five");
    later[0] = 0xa6;
    later.extend_from_slice(b"\x18\x63\x63new");
    assert_eq!(decode_cbor::<Slot>("key slot", &later).unwrap(), slot);
}

#[test]
fn a_slot_that_is_too_long_is_neither_written_nor_read() {
    let label = "x".repeat(usize::try_from(CONFIG_MAX).unwrap());
    let written = wrap(&secrets(), b"", CONFIG, 0, &label);
    assert!(matches!(written, Err(Error::OutOfRange { .. })));
    let long = Slot {
        label,
        ..slot(Kdf::default())
    };
    assert!(Slot::decode(&unopened(&long)).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Slot::decode(&body).is_ok();
        let _ = Slot::decode(&[&super::MAGIC[..], &body].concat()).is_ok();
    }
}
