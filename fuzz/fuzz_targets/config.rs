//! The config: any bytes, as they are and behind a right magic and hash.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_format::config::{Config, Operation};

fuzz_target!(|data: &[u8]| {
    whole(data);
    let mut bytes = b"REPOconf".to_vec();
    bytes.extend_from_slice(data);
    let hash = Config::hash(&bytes);
    bytes.extend_from_slice(&hash);
    whole(&bytes);
});

fn whole(bytes: &[u8]) {
    let Ok(config) = Config::decode(bytes) else {
        return;
    };
    assert!(config.cipher().is_ok());
    let _ = config.allows(Operation::Read).is_ok();
    if let Some(public) = &config.public {
        let _ = public.secrets().is_ok();
    }
    // What is accepted is what a writer may write.
    let again = Config::decode(&config.encode()).expect("it was accepted before");
    assert!(again == config);
}
