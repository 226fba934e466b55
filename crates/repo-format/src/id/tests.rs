use proptest::prelude::*;

use super::{BlobId, PackId, SessionId};
use crate::codec::{decode_cbor, encode_cbor};

proptest! {
    #[test]
    fn hex_and_cbor_give_the_id_back(bytes in any::<[u8; 32]>()) {
        let id = BlobId(bytes);
        prop_assert_eq!(BlobId::from_hex(&id.to_hex()), Some(id));
        prop_assert_eq!(decode_cbor::<BlobId>("id", &encode_cbor(&id)).unwrap(), id);
        prop_assert_eq!(&id.key().0[..], &bytes[..16]);
    }

    #[test]
    fn any_text_is_an_id_or_none(text in ".{0,70}") {
        if let Some(id) = PackId::from_hex(&text) {
            prop_assert_eq!(id.to_hex(), text);
        }
    }
}

#[test]
fn only_the_full_lower_case_form_is_read() {
    let hex = SessionId([0xab; 16]).to_hex();
    assert_eq!(hex, "ab".repeat(16));
    assert!(SessionId::from_hex(&hex.to_uppercase()).is_none());
    assert!(SessionId::from_hex(&hex[1..]).is_none());
    assert!(SessionId::from_hex(&format!("{hex}00")).is_none());
    assert!(decode_cbor::<BlobId>("id", &encode_cbor(&SessionId([0; 16]))).is_err());
}
