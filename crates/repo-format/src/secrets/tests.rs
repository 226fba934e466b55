use super::{BlobKind, Cipher, KeyRing, Secrets};
use crate::codec::{decode_cbor, encode_cbor};
use crate::sample::{REPOSITORY, ring, secrets};

#[test]
fn secrets_are_decoded_as_encoded() {
    let secrets = Secrets::generate().unwrap();
    let bytes = encode_cbor(&secrets);
    let decoded: Secrets = decode_cbor("secrets", &bytes).unwrap();
    assert_eq!(encode_cbor(&decoded), bytes);
    assert_eq!(
        (decoded.id_key, decoded.gear_seed),
        (secrets.id_key, secrets.gear_seed)
    );
    assert_eq!(decoded.epochs[0].key, secrets.epochs[0].key);
    assert_ne!(decoded.id_key, decoded.epochs[0].key);
}

#[test]
fn secrets_do_not_show_themselves() {
    assert_eq!(format!("{:?}", secrets()), "Secrets(..)");
    assert!(!format!("{:?}", ring(Cipher::Aes256Gcm)).contains("01010101"));
}

#[test]
fn secrets_without_an_epoch_are_refused() {
    let mut none = secrets();
    none.epochs.clear();
    assert!(KeyRing::new(REPOSITORY, Cipher::Aes256Gcm, none).is_err());
}

#[test]
fn ids_depend_on_kind_and_key_and_not_on_the_cipher() {
    let (aes, public) = (ring(Cipher::Aes256Gcm), ring(Cipher::None));
    let data = aes.blob_id(BlobKind::Data, b"bytes");
    assert_ne!(data, aes.blob_id(BlobKind::Tree, b"bytes"));
    assert_ne!(data, aes.blob_id(BlobKind::Data, b"byte"));
    assert_eq!(data, public.blob_id(BlobKind::Data, b"bytes"));
    let mut other = secrets();
    other.id_key = [5; 32];
    let other = KeyRing::new(REPOSITORY, Cipher::Aes256Gcm, other).unwrap();
    assert_ne!(data, other.blob_id(BlobKind::Data, b"bytes"));
}

#[test]
fn codes_are_read_as_written() {
    for code in 0..=u8::MAX {
        assert!(Cipher::from_code(code).is_none_or(|cipher| cipher.code() == code));
        assert!(BlobKind::from_code(code).is_none_or(|kind| kind.code() == code));
        assert!(crate::Codec::from_code(code).is_none_or(|codec| codec.code() == code));
    }
}

/// Secrets with epochs 1, 2 and so on, that begin with these commits.
fn with_epochs(firsts: &[Option<u64>]) -> Secrets {
    let mut secrets = secrets();
    for first in firsts {
        secrets.add_epoch(0).unwrap();
        secrets.epochs.last_mut().unwrap().first = *first;
    }
    secrets
}

fn with(firsts: &[Option<u64>]) -> KeyRing {
    KeyRing::new(REPOSITORY, Cipher::Aes256Gcm, with_epochs(firsts)).unwrap()
}

#[test]
fn an_epoch_is_stored_with_the_commit_that_began_it() {
    let bytes = encode_cbor(&with_epochs(&[Some(7), None]));
    let decoded: Secrets = decode_cbor("secrets", &bytes).unwrap();
    let epochs = decoded.epochs.iter().map(|e| (e.number, e.first));
    assert_eq!(
        epochs.collect::<Vec<_>>(),
        [(1, None), (2, Some(7)), (3, None)]
    );
    assert_eq!((decoded.begun(), decoded.newest()), (2, 3));
}

#[test]
fn commits_of_an_epoch_end_where_the_next_one_begins() {
    let ring = with(&[None, Some(7)]);
    assert_eq!((ring.sealing(), ring.begun()), (3, Some((3, 7))));
    for epoch in [1, 2] {
        assert!(ring.allows(6, epoch));
        assert!(!ring.allows(7, epoch));
        assert!(!ring.allows(8, epoch));
    }
    assert!(ring.allows(6, 3) && ring.allows(7, 3));
    let waiting = with(&[None]);
    assert_eq!((waiting.sealing(), waiting.begun()), (1, None));
    assert!(waiting.allows(u64::MAX, 1));
}

#[test]
fn epochs_out_of_order_are_refused() {
    for firsts in [&[Some(7), Some(7)][..], &[Some(7), Some(6)], &[Some(0)]] {
        let secrets = with_epochs(firsts);
        assert!(KeyRing::new(REPOSITORY, Cipher::Aes256Gcm, secrets).is_err());
    }
    let mut twice = with_epochs(&[None]);
    twice.epochs[1].number = 1;
    assert!(KeyRing::new(REPOSITORY, Cipher::Aes256Gcm, twice).is_err());
}

#[test]
fn a_ring_learns_later_epochs_of_its_own_secrets_only() {
    let ring = with(&[Some(7)]);
    let mut later = ring.secrets();
    later.add_epoch(0).unwrap();
    ring.learn(later.clone()).unwrap();
    assert_eq!((ring.sealing(), ring.newest()), (2, 3));
    // One that sealed nothing may be dropped, one that did may not.
    later.epochs.pop();
    ring.learn(later.clone()).unwrap();
    assert_eq!(ring.newest(), 2);
    let mut without = later.clone();
    without.epochs.remove(1);
    assert!(ring.learn(without).is_err());
    // Older ones than all that are told of stay until they are retired.
    let mut youngest = later.clone();
    youngest.epochs.remove(0);
    ring.learn(youngest).unwrap();
    assert_eq!(ring.secrets().epochs.len(), 2);
    let mut another_key = later.clone();
    another_key.epochs[1].key = [9; 32];
    assert!(ring.learn(another_key).is_err());
    let mut another_repository = later;
    another_repository.id_key = [9; 32];
    assert!(ring.learn(another_repository).is_err());
}
