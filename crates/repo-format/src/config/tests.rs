use proptest::prelude::*;

use super::{ChunkSizes, Config, Features, LOCK_FOR_MAX, Lock, Operation, PublicKeys};
use crate::codec::encode_cbor;
use crate::error::Error;
use crate::id::RepositoryId;
use crate::limits::CONFIG_MAX;
use crate::sample::secrets;
use crate::secrets::Cipher;

fn config(cipher: Cipher) -> Config {
    let sizes = ChunkSizes {
        min: 16 << 10,
        avg: 64 << 10,
        max: 256 << 10,
    };
    Config {
        version: super::VERSION,
        repository: RepositoryId([6; 32]),
        cipher: cipher.code(),
        created_ms: -5,
        generic: sizes,
        columnar: sizes,
        page_chunk: 256 << 10,
        segment_size: 1 << 20,
        pack_size: 32 << 20,
        features: Features::default(),
        public: (cipher == Cipher::None).then(|| PublicKeys::new(&secrets())),
        lock: None,
    }
}

/// Magic and hash around a body.
fn wrapped(body: &[u8]) -> Vec<u8> {
    let mut bytes = [&super::MAGIC[..], body].concat();
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

#[test]
fn a_config_is_decoded_as_encoded() {
    for cipher in crate::sample::CIPHERS {
        let config = config(cipher);
        let decoded = Config::decode(&config.encode()).unwrap();
        assert_eq!(decoded, config);
        assert_eq!(decoded.cipher().unwrap(), cipher);
        if let Some(public) = decoded.public {
            assert_eq!(
                encode_cbor(&public.secrets().unwrap()),
                encode_cbor(&secrets())
            );
        }
    }
}

#[test]
fn locks_are_optional_and_checked() {
    let without = config(Cipher::Aes256Gcm);
    // Absent, the field takes no byte: the map has the ten entries it had before there were locks.
    assert_eq!(encode_cbor(&without)[0], 0xaa);
    for (mode, for_ms, good) in [
        (1, 1, true),
        (2, LOCK_FOR_MAX, true),
        (0, 1, false),
        (3, 1, false),
        (1, 0, false),
        (1, LOCK_FOR_MAX + 1, false),
    ] {
        let with = Config {
            lock: Some(Lock { mode, for_ms }),
            ..without.clone()
        };
        let decoded = Config::decode(&wrapped(&encode_cbor(&with)));
        assert_eq!(decoded.is_ok(), good, "{mode} {for_ms}");
        if let Ok(decoded) = decoded {
            assert_eq!(decoded, with);
        }
    }
}

#[test]
fn every_flip_and_truncation_is_detected() {
    let bytes = config(Cipher::None).encode();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Config::decode(&damaged).is_err(), "bit {bit}");
        assert_ne!(Config::hash(&damaged), Config::hash(&bytes));
    }
    for len in 0..bytes.len() {
        assert!(Config::decode(&bytes[..len]).is_err(), "length {len}");
    }
    assert!(Config::decode(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_later_version_is_unsupported_whatever_else_it_holds() {
    // { 0: 2, 99: "new" }
    let error = Config::decode(&wrapped(b"\xa2\x00\x02\x18\x63\x63new")).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(Config::decode(&wrapped(b"\xa1\x00\x01")).is_err());
    assert!(Config::decode(&wrapped(&[])).is_err());
}

#[test]
fn an_unknown_key_is_skipped() {
    let config = config(Cipher::Aes256Gcm);
    let mut body = encode_cbor(&config);
    assert_eq!(body[0], 0xaa, "a map of ten");
    body[0] = 0xab;
    body.extend_from_slice(b"\x18\x63\x82\x01\xa1\x02\x03");
    assert_eq!(Config::decode(&wrapped(&body)).unwrap(), config);
}

#[test]
fn a_feature_stops_the_operations_that_need_it() {
    let mut config = config(Cipher::Aes256Gcm);
    config.features.write = vec![7];
    config.features.delete = vec![8];
    let config = Config::decode(&config.encode()).unwrap();
    config.allows(Operation::Read).unwrap();
    config.allows(Operation::Check).unwrap();
    for operation in [Operation::Write, Operation::Delete] {
        let error = config.allows(operation).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }));
    }
}

#[test]
fn parameters_out_of_range_are_refused() {
    let good = config(Cipher::Aes256Gcm);
    let sizes = |min, avg, max| ChunkSizes { min, avg, max };
    let bad = [
        Config {
            generic: sizes(63, 64, 65),
            ..good.clone()
        },
        Config {
            generic: sizes(65, 64, 65),
            ..good.clone()
        },
        Config {
            columnar: sizes(64, 66, 65),
            ..good.clone()
        },
        Config {
            columnar: sizes(64, 64, (1 << 20) + 1),
            ..good.clone()
        },
        Config {
            page_chunk: 0,
            ..good.clone()
        },
        Config {
            page_chunk: (1 << 20) + 1,
            ..good.clone()
        },
        Config {
            segment_size: 0,
            ..good.clone()
        },
        Config {
            segment_size: (7 << 20) + 1,
            ..good.clone()
        },
        Config {
            pack_size: 0,
            ..good.clone()
        },
        Config {
            pack_size: (256 << 20) + 1,
            ..good.clone()
        },
        Config {
            cipher: 0,
            ..good.clone()
        },
        Config {
            cipher: 3,
            ..good.clone()
        },
        Config {
            public: Some(PublicKeys::new(&secrets())),
            ..good.clone()
        },
    ];
    for bad in bad {
        assert!(
            Config::decode(&wrapped(&encode_cbor(&bad))).is_err(),
            "{bad:?}"
        );
    }
    let edge = Config {
        generic: sizes(64, 64, 64),
        page_chunk: 1 << 20,
        segment_size: 7 << 20,
        pack_size: 256 << 20,
        ..good
    };
    assert_eq!(Config::decode(&edge.encode()).unwrap(), edge);
}

#[test]
fn a_config_that_is_too_long_is_refused() {
    let mut config = config(Cipher::Aes256Gcm);
    config.features.check = vec![0; 1 << 16];
    let bytes = config.encode();
    assert!(bytes.len() as u64 > CONFIG_MAX);
    assert!(Config::decode(&bytes).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Config::decode(&body).is_ok();
        let _ = Config::decode(&wrapped(&body)).is_ok();
    }
}
