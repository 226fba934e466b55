use proptest::prelude::*;

use super::{
    Checkpoint, Commit, LogName, Retag, SnapshotRef, checkpoint_path, decode_checkpoint,
    decode_commit, hash, open, open_checkpoint, parse_path, path, seal, seal_checkpoint,
    seal_record,
};
use crate::Error;
use crate::codec::{decode_cbor, encode_cbor};
use crate::id::SnapshotId;
use crate::limits::COMMIT_MAX;
use crate::sample::{self, CIPHERS, SESSION, noise, ring};
use crate::seal::ObjectKind;
use crate::secrets::Cipher;
use crate::snapshot::{Snapshot, SnapshotRecord, SnapshotStats};
use crate::tree::{Entry, EntryType};

fn commit() -> Commit {
    Commit {
        number: 5,
        previous: [4; 32],
        action: "snapshot".to_owned(),
        ..Commit::default()
    }
}

fn snapshot() -> SnapshotRecord {
    Snapshot {
        time_ms: 1,
        host: String::new(),
        user: String::new(),
        paths: Vec::new(),
        root: Entry::new(b"", EntryType::Directory),
        parent: None,
        stats: SnapshotStats::default(),
        program: String::new(),
        description: None,
        source: None,
        duration_ms: 0,
        original: None,
    }
    .into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_commit_is_opened_as_sealed(commit in sample::commit()) {
        let ring = ring(Cipher::Aes256Gcm);
        let stored = seal(&ring, SESSION, &commit).unwrap();
        prop_assert_eq!(open(&ring, commit.number, &stored).unwrap(), commit);
    }

    #[test]
    fn a_checkpoint_is_opened_as_sealed(checkpoint in sample::checkpoint()) {
        let ring = ring(Cipher::ChaCha20Poly1305);
        let stored = seal_checkpoint(&ring, SESSION, &checkpoint).unwrap();
        prop_assert_eq!(open_checkpoint(&ring, checkpoint.number, &stored).unwrap(), checkpoint);
    }

    #[test]
    fn arbitrary_records_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_commit(&bytes).is_ok();
        let _ = decode_checkpoint(&bytes).is_ok();
        let _ = open(&ring(Cipher::None), 1, &bytes).is_ok();
    }

    #[test]
    fn a_damaged_record_never_panics(
        commit in sample::commit(),
        at in any::<usize>(),
        byte in any::<u8>(),
    ) {
        let mut raw = encode_cbor(&commit);
        let at = at % raw.len();
        raw[at] = byte;
        let _ = decode_commit(&raw).is_ok();
        prop_assert!(decode_commit(&raw[..at]).is_err());
    }

    #[test]
    fn names_are_read_as_written(number in any::<u64>(), text in "log/[0-9a-z.]{0,31}") {
        prop_assert_eq!(parse_path(&path(number)), Some(LogName::Commit(number)));
        let checkpoint = parse_path(&checkpoint_path(number));
        prop_assert_eq!(checkpoint, Some(LogName::Checkpoint(number)));
        match parse_path(&text) {
            Some(LogName::Commit(number)) => prop_assert_eq!(path(number), text),
            Some(LogName::Checkpoint(number)) => prop_assert_eq!(checkpoint_path(number), text),
            None => {}
        }
    }
}

#[test]
fn every_flip_and_truncation_is_detected() {
    for cipher in CIPHERS {
        let ring = ring(cipher);
        let stored = seal(&ring, SESSION, &commit()).unwrap();
        for bit in 0..stored.len() * 8 {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&ring, 5, &damaged).is_err(), "{cipher:?}, bit {bit}");
            assert_ne!(hash(&damaged), hash(&stored));
        }
        for len in 0..stored.len() {
            assert!(open(&ring, 5, &stored[..len]).is_err(), "length {len}");
        }
        assert!(open(&ring, 5, &[&stored[..], &[0]].concat()).is_err());
    }
}

#[test]
fn a_commit_opens_under_its_number_and_kind_only() {
    let ring = ring(Cipher::Aes256Gcm);
    let stored = seal(&ring, SESSION, &commit()).unwrap();
    assert!(matches!(open(&ring, 6, &stored), Err(Error::Forged { .. })));
    assert!(open_checkpoint(&ring, 5, &stored).is_err());
    // Sealed for number 6 by a key holder, yet saying 5: refused as well.
    let crossed = seal_record(
        &ring,
        ObjectKind::Commit,
        SESSION,
        path(6),
        &encode_cbor(&commit()),
    );
    assert!(matches!(
        open(&ring, 6, &crossed.unwrap()),
        Err(Error::Malformed { .. })
    ));
}

#[test]
fn what_is_not_protected_is_encoded_as_before_protection() {
    let unprotected = Retag {
        id: SnapshotId([7; 32]),
        tags: vec!["a".to_owned()],
        protected: None,
    };
    let before = [&b"\xa2\x00\x58\x20"[..], &[7; 32], b"\x01\x81\x61a"].concat();
    assert_eq!(encode_cbor(&unprotected), before);
    assert_eq!(decode_cbor::<Retag>("retag", &before).unwrap(), unprotected);
    for (protected, byte) in [(true, 0xf5), (false, 0xf4)] {
        let mut changed = before.clone();
        changed[0] = 0xa3;
        changed.extend([2, byte]);
        let change = Retag {
            protected: Some(protected),
            ..unprotected.clone()
        };
        assert_eq!(encode_cbor(&change), changed);
    }
    // A reference begins with the length of its map.
    let encoded = |protected| {
        let snapshot = SnapshotRef {
            snapshot: snapshot(),
            tags: Vec::new(),
            protected,
        };
        assert_eq!(snapshot.is_protected(), protected == Some(true));
        encode_cbor(&snapshot)
    };
    let (plain, protected) = (encoded(None), encoded(Some(true)));
    assert_eq!((plain[0], protected[0]), (0xa2, 0xa3));
    assert_eq!(protected[1..plain.len()], plain[1..]);
    assert_eq!(protected[plain.len()..], [2, 0xf5]);
}

#[test]
fn unknown_needs_are_refused_and_unknown_keys_skipped() {
    let needing = encode_cbor(&Commit {
        needs: vec![9],
        ..commit()
    });
    assert!(matches!(
        decode_commit(&needing),
        Err(Error::Unsupported { .. })
    ));
    // { 0: "of another type", 11: [9] }: what is needed is found before the rest is looked at.
    let later = b"\xa2\x00\x67another\x0b\x81\x09";
    assert!(matches!(
        decode_commit(later),
        Err(Error::Unsupported { .. })
    ));
    let needing = encode_cbor(&Checkpoint {
        needs: vec![9],
        ..Checkpoint::default()
    });
    assert!(matches!(
        decode_checkpoint(&needing),
        Err(Error::Unsupported { .. })
    ));

    let mut longer = encode_cbor(&commit());
    assert_eq!(longer[0], 0xac, "a map of twelve");
    longer[0] = 0xad;
    longer.extend_from_slice(b"\x18\x63\x81\xa1\x61x\xf6");
    assert_eq!(decode_commit(&longer).unwrap(), commit());
    // A writer does not seal what it could not read back.
    let ring = ring(Cipher::Aes256Gcm);
    let unreadable = Commit {
        needs: vec![9],
        ..commit()
    };
    assert!(seal(&ring, SESSION, &unreadable).is_err());
}

#[test]
fn a_commit_that_is_too_long_is_neither_sealed_nor_opened() {
    let ring = ring(Cipher::None);
    let max = usize::try_from(COMMIT_MAX).unwrap();
    // Zeros compress below the limit of the stored form, but the raw form has one too.
    let long = seal_record(
        &ring,
        ObjectKind::Commit,
        SESSION,
        path(1),
        &vec![0; max + 1],
    );
    assert!(matches!(long, Err(Error::OutOfRange { .. })));
    let dense = seal_record(&ring, ObjectKind::Commit, SESSION, path(1), &noise(1, max));
    assert!(matches!(dense, Err(Error::OutOfRange { .. })));
    assert!(open(&ring, 1, &vec![0; max + 1]).is_err());
}
