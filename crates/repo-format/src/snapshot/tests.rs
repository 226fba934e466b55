use proptest::prelude::*;

use super::{Snapshot, SnapshotRecord};
use crate::codec::{decode_cbor, encode_cbor};
use crate::sample;
use crate::tree::EntryType;

/// `bytes` as a CBOR byte string.
fn byte_string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    minicbor::Encoder::new(&mut out).bytes(bytes).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_record_is_decoded_as_encoded(snapshot in sample::snapshot()) {
        let bytes = encode_cbor(&snapshot);
        prop_assert_eq!(&decode_cbor::<Snapshot>("snapshot", &bytes).unwrap(), &snapshot);
        let record = SnapshotRecord::from(snapshot.clone());
        let decoded: SnapshotRecord = decode_cbor("snapshot", &encode_cbor(&record)).unwrap();
        prop_assert_eq!(decoded.id(), record.id());
        prop_assert_eq!(&*decoded, &snapshot);
    }

    #[test]
    fn a_field_of_a_later_version_is_neither_lost_nor_changes_the_name(
        snapshot in sample::snapshot(),
    ) {
        let mut bytes = encode_cbor(&snapshot);
        prop_assert!((0xa8..0xb7).contains(&bytes[0]));
        bytes[0] += 1;
        bytes.extend_from_slice(b"\x18\x63\x63new");
        let stored = byte_string(&bytes);
        let record: SnapshotRecord = decode_cbor("snapshot", &stored).unwrap();
        prop_assert_eq!(&*record, &snapshot);
        prop_assert_eq!(encode_cbor(&record), stored);
        prop_assert_eq!(record.id().0, *blake3::hash(&bytes).as_bytes());
    }

    #[test]
    fn a_root_with_a_name_or_that_is_no_directory_is_refused(snapshot in sample::snapshot()) {
        let mut named = snapshot.clone();
        named.root.name = b"etc".to_vec();
        let mut file = snapshot;
        file.root.kind = EntryType::Symlink;
        for bad in [named, file] {
            let stored = byte_string(&encode_cbor(&bad));
            prop_assert!(decode_cbor::<SnapshotRecord>("snapshot", &stored).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_cbor::<Snapshot>("snapshot", &bytes).is_ok();
        let _ = decode_cbor::<SnapshotRecord>("snapshot", &byte_string(&bytes)).is_ok();
    }
}
