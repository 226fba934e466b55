use super::{HEADER_LEN, Header, ObjectKind, Opener, Sealer, TAG_LEN};
use crate::Error;
use crate::id::RepositoryId;
use crate::sample::{CIPHERS, REPOSITORY, SESSION, ring, secrets};
use crate::secrets::{Cipher, Epoch, KeyRing, Secrets};

const PATH: &str = "packs/aa/one";

/// An object of one sealed part, `body`, right after the header.
fn sealed(ring: &KeyRing, body: &[u8]) -> Vec<u8> {
    let mut sealer = Sealer::create(ring, ObjectKind::Pack, SESSION, |_| PATH.to_owned()).unwrap();
    let mut object = sealer.header().to_vec();
    object.extend_from_slice(body);
    sealer.seal_tail(&mut object, HEADER_LEN).unwrap();
    object
}

fn open_as(
    ring: &KeyRing,
    kind: ObjectKind,
    path: &str,
    start: u64,
    object: &[u8],
) -> Result<Vec<u8>, Error> {
    let (header, body) = object.split_first_chunk::<HEADER_LEN>().unwrap();
    let opener = Opener::new(ring, kind, path, None, header)?;
    let mut body = body.to_vec();
    Ok(opener.open(start, &mut body)?.to_vec())
}

fn open(ring: &KeyRing, object: &[u8]) -> Result<Vec<u8>, Error> {
    open_as(ring, ObjectKind::Pack, PATH, HEADER_LEN as u64, object)
}

fn with_epochs(epochs: &[(u32, u8)]) -> Secrets {
    let mut secrets = secrets();
    secrets.epochs = epochs
        .iter()
        .map(|(number, byte)| Epoch {
            number: *number,
            key: [*byte; 32],
            first: None,
        })
        .collect();
    secrets
}

#[test]
fn a_part_opens_in_its_place_only() {
    for cipher in CIPHERS {
        let ring = ring(cipher);
        for body in [&b""[..], b"a", b"a longer body of the object"] {
            let object = sealed(&ring, body);
            assert_eq!(object.len(), HEADER_LEN + body.len() + TAG_LEN);
            assert_eq!(open(&ring, &object).unwrap(), body);
            let elsewhere = open_as(&ring, ObjectKind::Pack, "packs/aa/two", 96, &object);
            assert!(matches!(elsewhere, Err(Error::Forged { .. })));
            let moved = open_as(&ring, ObjectKind::Pack, PATH, 97, &object);
            assert!(matches!(moved, Err(Error::Forged { .. })));
            let renamed = open_as(&ring, ObjectKind::Index, PATH, 96, &object);
            assert!(renamed.is_err());
        }
    }
}

#[test]
fn every_flipped_bit_is_detected() {
    for cipher in CIPHERS {
        let ring = ring(cipher);
        let object = sealed(&ring, b"body");
        for bit in 0..object.len() * 8 {
            let mut damaged = object.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&ring, &damaged).is_err(), "{cipher:?}, bit {bit}");
        }
    }
}

#[test]
fn every_truncation_is_detected() {
    for cipher in CIPHERS {
        let ring = ring(cipher);
        let object = sealed(&ring, b"body");
        for len in HEADER_LEN..object.len() {
            assert!(open(&ring, &object[..len]).is_err(), "{cipher:?}, {len}");
        }
        assert!(open(&ring, &[&object[..], &[0]].concat()).is_err());
        for len in 0..HEADER_LEN {
            assert!(Header::parse(ObjectKind::Pack, &object[..len]).is_err());
        }
    }
}

#[test]
fn the_kind_is_part_of_the_key() {
    let ring = ring(Cipher::Aes256Gcm);
    let mut object = sealed(&ring, b"body");
    object[..8].copy_from_slice(ObjectKind::Commit.magic());
    let error = open_as(&ring, ObjectKind::Commit, PATH, 96, &object).unwrap_err();
    assert!(matches!(error, Error::OtherKey { .. }));
}

#[test]
fn another_repository_key_or_epoch_does_not_open() {
    for cipher in CIPHERS {
        let object = sealed(&ring(cipher), b"body");
        let other_repository = KeyRing::new(RepositoryId([4; 32]), cipher, secrets()).unwrap();
        let other_key = KeyRing::new(REPOSITORY, cipher, with_epochs(&[(1, 8)])).unwrap();
        let other_epoch = KeyRing::new(REPOSITORY, cipher, with_epochs(&[(2, 9)])).unwrap();
        for ring in [other_repository, other_key, other_epoch] {
            let error = open(&ring, &object).unwrap_err();
            assert!(matches!(error, Error::OtherKey { .. }), "{error}");
        }
    }
}

#[test]
fn the_last_epoch_that_has_begun_seals_and_all_open() {
    let cipher = Cipher::Aes256Gcm;
    let old = sealed(&ring(cipher), b"old");
    let both = KeyRing::new(REPOSITORY, cipher, with_epochs(&[(1, 9), (2, 8)])).unwrap();
    let waiting = sealed(&both, b"waiting");
    assert_eq!(Header::parse(ObjectKind::Pack, &waiting).unwrap().epoch, 1);
    both.begin(2);
    both.begin(1);
    both.begin(3);
    let new = sealed(&both, b"new");
    assert_eq!(Header::parse(ObjectKind::Pack, &new).unwrap().epoch, 2);
    assert_eq!(open(&both, &old).unwrap(), b"old");
    assert_eq!(open(&both, &new).unwrap(), b"new");
    assert!(open(&ring(cipher), &new).is_err());
}

#[test]
fn encrypted_and_unencrypted_do_not_mix_and_ciphers_do() {
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        let object = sealed(&ring(cipher), b"body");
        assert_eq!(open(&ring(Cipher::Aes256Gcm), &object).unwrap(), b"body");
        assert_eq!(
            open(&ring(Cipher::ChaCha20Poly1305), &object).unwrap(),
            b"body"
        );
        assert!(matches!(
            open(&ring(Cipher::None), &object),
            Err(Error::Forged { .. })
        ));
        // Whoever knows the keys of an unencrypted repository cannot pass its objects off.
        let clear = sealed(&ring(Cipher::None), b"body");
        assert!(matches!(
            open(&ring(cipher), &clear),
            Err(Error::Forged { .. })
        ));
    }
}

#[test]
fn two_objects_share_no_key() {
    let ring = ring(Cipher::Aes256Gcm);
    let (one, two) = (sealed(&ring, b"body"), sealed(&ring, b"body"));
    assert_ne!(one[16..48], two[16..48]);
    assert_ne!(one[HEADER_LEN..], two[HEADER_LEN..]);
    let crossed = [&one[..HEADER_LEN], &two[HEADER_LEN..]].concat();
    assert!(open(&ring, &crossed).is_err());
}

#[test]
fn a_nonce_is_used_once() {
    let ring = ring(Cipher::Aes256Gcm);
    let mut sealer = Sealer::create(&ring, ObjectKind::Pack, SESSION, |_| PATH.to_owned()).unwrap();
    let mut object = sealer.header().to_vec();
    assert!(sealer.seal_tail(&mut object, 0).is_err());
    assert!(sealer.seal_tail(&mut object, HEADER_LEN + 1).is_err());
    object.extend_from_slice(b"first");
    sealer.seal_tail(&mut object, HEADER_LEN).unwrap();
    object.truncate(HEADER_LEN);
    object.extend_from_slice(b"other");
    assert!(sealer.seal_tail(&mut object, HEADER_LEN).is_err());
}

#[test]
fn a_name_made_of_the_header_is_checked() {
    let ring = ring(Cipher::Aes256Gcm);
    let sealer = Sealer::create(&ring, ObjectKind::Pack, SESSION, |_| PATH.to_owned()).unwrap();
    let open =
        |id| Opener::new(&ring, ObjectKind::Pack, PATH, Some(id), sealer.header()).map(|_| ());
    open(sealer.object_id()).unwrap();
    assert!(matches!(open([0; 32]), Err(Error::Forged { .. })));
}

#[test]
fn what_a_later_version_writes_is_unsupported() {
    let ring = ring(Cipher::Aes256Gcm);
    for at in [8, 9] {
        let mut object = sealed(&ring, b"body");
        object[at] = 77;
        let error = open(&ring, &object).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    }
}
