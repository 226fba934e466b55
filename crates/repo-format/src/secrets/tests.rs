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
