//! Keys that need no password.

use repo_format::{Cipher, Epoch, KeyRing, RepositoryId, Secrets};

pub fn public() -> KeyRing {
    let secrets = Secrets {
        id_key: [1; 32],
        gear_seed: 2,
        epochs: vec![Epoch {
            number: 1,
            first: None,
            key: [9; 32],
        }],
    };
    KeyRing::new(RepositoryId([3; 32]), Cipher::None, secrets).expect("it has an epoch")
}
